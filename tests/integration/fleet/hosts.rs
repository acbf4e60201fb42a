//! Processes on hosts of their own, which the network cuts off from a cluster, wholly or in part.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::history::faults::Fault;
use super::history::tally::Outcome;
use super::history::{History, Settings};
use super::{SetOnDrop, is_as_promised, this_binary};
use crate::support::hosts::{Host, Loss, WORLD, in_a_network_of_its_own};
use crate::support::{Cluster, DEADLINE, Server, wait_until};

const HOSTS: u8 = 4;
/// How long a fault lasts: shorter and longer than a command may take.
const LENGTHS: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(1_200)];
/// How long all is well between two faults.
const PAUSE: Duration = Duration::from_millis(300);

/// What the network does to one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    FromAll(Loss),
    FromOne(Loss),
    Delay,
}

const CUTS: [Cut; 6] = [
    Cut::FromAll(Loss::Both),
    Cut::FromOne(Loss::Both),
    Cut::FromAll(Loss::Sent),
    Cut::FromAll(Loss::Received),
    Cut::FromAll(Loss::Some(30)),
    Cut::Delay,
];

#[test]
fn no_answer_is_older_while_hosts_are_cut_off() {
    in_a_network_of_its_own("fleet::hosts::no_answer_is_older_while_hosts_are_cut_off", || {
        with_cuts(Settings::default(), |history, all_were_made| {
            is_as_promised(history, |outcome| outcome.faults.freezes > 0 && all_were_made());
        });
    });
}

#[test]
fn without_a_fence_an_old_answer_is_found_on_a_host() {
    in_a_network_of_its_own("fleet::hosts::without_a_fence_an_old_answer_is_found_on_a_host", || {
        with_cuts(Settings { fence: false, ..Settings::default() }, |history, _| {
            let found = |outcome: &Outcome| outcome.total().violations > 0;
            let outcome = history.run(DEADLINE, found);
            assert!(found(&outcome), "{outcome:#?}");
        });
    });
}

#[test]
fn a_host_loses_what_it_is_to_lose_and_nothing_else() {
    in_a_network_of_its_own("fleet::hosts::a_host_loses_what_it_is_to_lose_and_nothing_else", || {
        let servers = [(); 2].map(|()| Server::start_with(&["--bind", "0.0.0.0", "--protected-mode", "no"]));
        let (hosts, [lost, other]) = ([0, 1].map(Host::start), [servers[0].port(), servers[1].port()]);
        for loss in [Loss::Both, Loss::Sent, Loss::Received] {
            hosts[0].lose(loss, &[lost]);
            assert!(!hosts[0].reaches(lost), "{loss:?}");
            wait_until("the other server is reached", DEADLINE, || hosts[0].reaches(other));
            wait_until("the other host reaches it", DEADLINE, || hosts[1].reaches(lost));
            hosts[0].lose_nothing();
            wait_until("nothing is lost any more", DEADLINE, || hosts[0].reaches(lost));
        }
    });
}

/// Runs a history of four hosts over a cluster, and cuts them off in turn meanwhile. `run` gets to know whether each cut was made.
fn with_cuts(wanted: Settings, run: impl FnOnce(&History<'_>, &dyn Fn() -> bool)) {
    let world = WORLD.to_string();
    let announced = ["--bind", "0.0.0.0", "--protected-mode", "no", "--cluster-announce-ip", &world];
    let cluster = Cluster::of(3, 0, &announced);
    cluster.without_failover();
    let ports: Vec<_> = cluster.servers().map(|node| node.port()).collect();
    let hosts: Vec<_> = (0..HOSTS).map(Host::start).collect();
    let member = |number: usize| {
        let binary = this_binary("fleet::member");
        let mut command = hosts[number].command(&binary.get_program().to_string_lossy());
        command.args(binary.get_args());
        command
    };
    let history = History {
        settings: Settings { endpoint: format!("{WORLD}:{}", ports[0]), ..wanted },
        processes: hosts.len(),
        host: WORLD,
        member: &member,
        servers: &cluster.nodes,
        // No member is killed: of one that is cut off, the system would go on sending what it has written.
        faults: &[Fault::FreezeMember],
    };
    let (made, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            for (turn, cut) in CUTS.iter().cycle().enumerate() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let length = LENGTHS[turn / CUTS.len() % LENGTHS.len()];
                make(*cut, &hosts[turn % hosts.len()], &ports, turn, length);
                made.fetch_add(1, Ordering::SeqCst);
                thread::sleep(PAUSE);
            }
        });
        let _over = SetOnDrop(&is_over);
        run(&history, &|| made.load(Ordering::SeqCst) >= CUTS.len() * LENGTHS.len());
    });
}

/// Cuts `host` off for a while.
fn make(cut: Cut, host: &Host, ports: &[u16], turn: usize, length: Duration) {
    match cut {
        Cut::FromAll(loss) => host.lose(loss, ports),
        Cut::FromOne(loss) => host.lose(loss, &ports[turn % ports.len()..][..1]),
        Cut::Delay => return host.delay_for(length),
    }
    thread::sleep(length);
    host.lose_nothing();
}
