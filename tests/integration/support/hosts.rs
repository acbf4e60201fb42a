//! Hosts with addresses of their own, whose network can be cut: network namespaces, on systems that let this process make them.
//!
//! A namespace lasts as long as a process in it, so nothing is left behind, however a test ends.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::Once;
use std::thread;
use std::time::Duration;

use super::process::Process;
use super::{DEADLINE, SKIPPED, run_alone, say, wait_until};

/// The address of the test's own host, on which the servers are.
pub(crate) const WORLD: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// What each host keeps from its network, as rules of `nft`; none at first.
const RULES: &str = "add table ip faults; \
    add chain ip faults sent { type filter hook output priority 0; }; \
    add chain ip faults received { type filter hook input priority 0; }";

/// Runs the test of this name in a process and a network of its own, where [`Host`]s can be made and nothing else is. Says so on the
/// terminal where that isn't possible.
#[track_caller]
pub(crate) fn in_a_network_of_its_own(name: &str, test: impl FnOnce()) {
    // A user who isn't root is, in a namespace of users.
    let all = ["--net", "--map-root-user"];
    let words = if is_root() { &all[..1] } else { &all[..] };
    let needs = "ip -Version && nft --version && ip link add probe type bridge && nft add table ip probe";
    let probe = Command::new("unshare").args(words).args(["sh", "-c", needs]).stdin(Stdio::null()).output();
    match probe {
        Ok(probe) if probe.status.success() => {
            let mut command = Command::new("unshare");
            command.args(words).arg(std::env::current_exe().expect("the test binary has a path"));
            run_alone(command, name, || {
                prepare();
                test();
            });
        }
        Ok(probe) => skip(name, &String::from_utf8_lossy(&probe.stderr)),
        Err(error) => skip(name, &error.to_string()),
    }
}

fn skip(name: &str, why: &str) {
    say(&format!("{SKIPPED} {name}: it needs network namespaces, `ip` and `nft`: {}", why.trim()));
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("`id` can be run");
    id.stdout.trim_ascii() == b"0"
}

/// The network that all hosts of a test are connected to.
fn prepare() {
    for words in [
        "link set lo up",
        "link add hosts type bridge",
        "link set hosts up",
        &format!("address add {WORLD}/24 dev hosts"),
    ] {
        succeeds(Command::new("ip").args(words.split(' ')));
    }
}

/// A host.
pub(crate) struct Host {
    /// Sleeps, and keeps the namespace.
    holder: Process,
}

/// What a host loses of what it sends to servers, and of what they send to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    Both,
    Sent,
    Received,
    /// So many packets of a hundred, both ways.
    Some(u8),
}

impl Host {
    /// The numbers of a test's hosts are different and below 250.
    pub(crate) fn start(number: u8) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "sleep", "86400"]).stdin(Stdio::null());
        let holder = Process::watched(command.spawn().expect("`unshare` has been run before"));
        let process = holder.id();
        let own = std::fs::read_link("/proc/self/ns/net").expect("this process has a namespace");
        wait_until("the namespace is made", DEADLINE, || {
            std::fs::read_link(format!("/proc/{process}/ns/net")).is_ok_and(|other| other != own)
        });
        let host = Self { holder };
        let words = format!("link add host{number} type veth peer name eth0 netns {process}");
        succeeds(Command::new("ip").args(words.split(' ')));
        succeeds(Command::new("ip").args(format!("link set host{number} master hosts up").split(' ')));
        for words in [format!("ip address add 10.77.0.{}/24 dev eth0", number + 2), "ip link set eth0 up".to_owned()] {
            succeeds(host.command("ip").args(words.split(' ').skip(1)));
        }
        succeeds(host.command("nft").arg(RULES));
        host
    }

    /// A command that runs on this host.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--net", program]).stdin(Stdio::null());
        command
    }

    /// Loses packets from here on, of the servers with these ports.
    pub(crate) fn lose(&self, loss: Loss, ports: &[u16]) {
        let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
        let ports = ports.join(",");
        let which =
            if let Loss::Some(percent) = loss { format!("numgen random mod 100 < {percent} ") } else { String::new() };
        let mut rules = "flush table ip faults;".to_owned();
        if loss != Loss::Received {
            rules += &format!("add rule ip faults sent tcp dport {{ {ports} }} {which}drop;");
        }
        if loss != Loss::Sent {
            rules += &format!("add rule ip faults received tcp sport {{ {ports} }} {which}drop;");
        }
        succeeds(self.command("nft").arg(rules));
    }

    /// Whether a connection to the server of this port can be made.
    pub(crate) fn reaches(&self, port: u16) -> bool {
        let connect = format!("exec 3<>/dev/tcp/{WORLD}/{port}");
        let status = self.command("timeout").args(["0.5", "bash", "-c", &connect]).stderr(Stdio::null()).status();
        status.expect("`timeout` can be run").success()
    }

    /// Loses nothing any more.
    pub(crate) fn lose_nothing(&self) {
        succeeds(self.command("nft").arg("flush table ip faults"));
    }

    /// Delays what is sent, by different times, so that packets overtake each other. Says so on the terminal where the system can't.
    pub(crate) fn delay_for(&self, time: Duration) {
        static SAID: Once = Once::new();
        let added = "qdisc add dev eth0 root netem delay 20ms 15ms reorder 25%";
        if !self.command("tc").args(added.split(' ')).output().is_ok_and(|output| output.status.success()) {
            return SAID.call_once(|| say(&format!("{SKIPPED} delayed packets: the system has no `netem`")));
        }
        thread::sleep(time);
        succeeds(self.command("tc").args("qdisc del dev eth0 root".split(' ')));
    }
}

#[track_caller]
fn succeeds(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
