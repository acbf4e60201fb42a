//! Real clusters.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cache_house::config::Cluster as ClusterState;
use cache_house::{CacheHandle, CacheHouse, CacheHouseBuilder, Reconnect};

use super::resp::Reply;
use super::server::{Server, free_port, is_before_7};
use super::{DEADLINE, wait_until};

/// Servers that form a cluster: primaries with an equal share of the slots, then their replicas, in the same order.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
    primaries: usize,
}

/// How long a node may be silent before the others take it for dead.
pub(crate) const NODE_TIMEOUT: Duration = Duration::from_millis(1_000);

const SLOTS: usize = 16_384;

impl Cluster {
    /// Three primaries, each with a replica. A dead shard without one doesn't keep the others from serving.
    pub(crate) fn start() -> Self {
        Self::of(3, 1, &[])
    }

    pub(crate) fn of(primaries: usize, replicas_each: usize, arguments: &[&str]) -> Self {
        let nodes = (0..primaries * (1 + replicas_each)).map(|_| node(arguments)).collect();
        let cluster = Self { nodes, primaries };
        for (number, node) in cluster.nodes.iter().enumerate() {
            ok(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            if number < primaries {
                let (first, last) = cluster.share(number);
                let slots: Vec<_> = (first..=last).map(|slot| slot.to_string()).collect();
                let words = ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots.iter().map(String::as_str));
                ok(node, &words.collect::<Vec<_>>());
            }
            meet(node, &cluster.nodes[0]);
        }
        let all = cluster.nodes.len();
        wait_until("the nodes know each other", DEADLINE, || cluster.nodes.iter().all(|node| knows(node, all)));
        for (number, replica) in cluster.nodes.iter().enumerate().skip(primaries) {
            cluster.nodes[number % primaries].replicated_by(replica);
        }
        cluster.until_settled();
        // Without full coverage a node reports the state `ok` before it knows all slots.
        wait_until("the nodes know all slots", DEADLINE, || cluster.nodes.iter().all(knows_all_slots));
        cluster
    }

    /// The slots that a primary began with.
    pub(crate) fn share(&self, primary: usize) -> (usize, usize) {
        (primary * SLOTS / self.primaries, (primary + 1) * SLOTS / self.primaries - 1)
    }

    pub(crate) fn endpoint(&self) -> String {
        self.nodes[0].endpoint()
    }

    pub(crate) fn servers(&self) -> impl Iterator<Item = &Server> {
        self.nodes.iter()
    }

    /// Waits until all nodes that run agree that all is well, and all replicas follow.
    pub(crate) fn until_settled(&self) {
        let all = self.nodes.len();
        let settled = |node: &Server| {
            let replication = node.command(&["INFO", "replication"]).text();
            let follows = replication.contains("role:master") || replication.contains("master_link_status:up");
            let nodes = node.command(&["CLUSTER", "NODES"]).text();
            let replicas = nodes.lines().filter(|line| line.contains("slave")).count();
            follows && is_ok(node) && !nodes.contains("fail") && replicas == all - self.primaries
        };
        wait_until("the cluster is settled", DEADLINE, || self.nodes.iter().all(settled));
    }

    /// The node that has `key` now, as those that run say.
    pub(crate) fn owner(&self, key: &str) -> &Server {
        let slot = self.any().command(&["CLUSTER", "KEYSLOT", key]).integer();
        self.owner_of_slot(usize::try_from(slot).expect("a slot is no negative number"))
    }

    pub(crate) fn owner_of_slot(&self, slot: usize) -> &Server {
        let mut port = None;
        wait_until("somebody has the slot", DEADLINE, || {
            port = self.owner_port(slot);
            port.is_some_and(|port| self.nodes.iter().any(|node| node.port() == port))
        });
        self.nodes.iter().find(|node| Some(node.port()) == port).expect("it was just found")
    }

    fn owner_port(&self, slot: usize) -> Option<u16> {
        let Reply::Array(ranges) = self.any().command(&["CLUSTER", "SLOTS"]) else { return None };
        ranges.into_iter().find_map(|range| {
            let Reply::Array(range) = range else { return None };
            let [first, last, Reply::Array(primary), ..] = range.as_slice() else { return None };
            let has = (first.integer()..=last.integer()).contains(&i64::try_from(slot).ok()?);
            has.then(|| u16::try_from(primary[1].integer()).ok()).flatten()
        })
    }

    /// A node that runs.
    fn any(&self) -> &Server {
        self.nodes.iter().find(|node| node.answers()).expect("a node runs")
    }

    /// Sends a command to the node that has `key`.
    pub(crate) fn command(&self, key: &str, words: &[&[u8]]) -> Reply {
        self.owner(key).command_bytes(words)
    }

    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.command(key, &[b"GET", key.as_bytes()]).bytes()
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.command(key, &[b"EXISTS", key.as_bytes()]).integer() == 1
    }

    /// The keys on all primaries that run.
    pub(crate) fn keys(&self) -> Vec<String> {
        let running = self.nodes.iter().filter(|node| node.answers());
        let primaries = running.filter(|node| node.command(&["INFO", "replication"]).text().contains("role:master"));
        primaries.flat_map(Server::keys).collect()
    }

    /// Adds a node that has no slots.
    pub(crate) fn add_node(&mut self) -> usize {
        let added = node(&[]);
        meet(&added, self.any());
        self.nodes.push(added);
        let all = self.nodes.len();
        wait_until("all know the new node", DEADLINE, || {
            self.nodes.iter().filter(|node| node.answers()).all(|node| knows(node, all) && is_ok(node))
        });
        all - 1
    }

    /// From here on no node that runs is taken for dead, however busy the machine: after [`NODE_TIMEOUT`] of silence others would
    /// answer `CLUSTERDOWN` for a while.
    pub(crate) fn without_failover(&self) {
        for node in &self.nodes {
            ok(node, &["CONFIG", "SET", "cluster-node-timeout", "15000"]);
        }
    }

    /// Announces that `slot` is to move.
    pub(crate) fn begin_move(&self, slot: usize, from: &Server, to: &Server) {
        let slot = slot.to_string();
        ok(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from.cluster_id()]);
        ok(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to.cluster_id()]);
    }

    /// Moves up to so many of the slot's keys; whether there may be more.
    pub(crate) fn move_keys(&self, slot: usize, from: &Server, to: &Server, count: usize) -> bool {
        let Reply::Array(keys) = from.command(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), &count.to_string()])
        else {
            panic!("GETKEYSINSLOT lists")
        };
        for key in &keys {
            let Reply::Bulk(key) = key else { panic!("a key is a string") };
            let port = to.port().to_string();
            let migrate = [b"MIGRATE", &b"127.0.0.1"[..], port.as_bytes(), key, b"0", b"5000"];
            let mut reply = from.command_bytes(&migrate);
            // A client that was frozen has followed an ASK of an earlier move, and written there before this one began.
            if matches!(&reply, Reply::Error(text) if text.contains("BUSYKEY")) {
                reply = from.command_bytes(&[&migrate[..], &[b"REPLACE"]].concat());
            }
            assert!(matches!(&reply, Reply::Simple(text) if text == "OK" || text == "NOKEY"), "{reply:?}");
        }
        !keys.is_empty()
    }

    /// Hands the slot over, all of whose keys have been moved.
    pub(crate) fn end_move(&self, slot: usize, to: &Server) {
        let (slot, id) = (slot.to_string(), to.cluster_id());
        ok(to, &["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        for node in self.nodes.iter().filter(|node| node.answers()) {
            // A replica is told by its primary.
            let _ = node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        }
    }
}

impl Server {
    pub(crate) fn cluster_id(&self) -> String {
        self.command(&["CLUSTER", "MYID"]).text()
    }

    fn replicated_by(&self, replica: &Server) {
        ok(replica, &["CLUSTER", "REPLICATE", &self.cluster_id()]);
    }
}

/// A server that may become part of a cluster. An argument `auto` is a free port, another for each.
fn node(arguments: &[&str]) -> Server {
    let port = free_port().to_string();
    let arguments: Vec<_> =
        arguments.iter().map(|argument| if *argument == "auto" { &port } else { *argument }).collect();
    let (bus, timeout) = (free_port().to_string(), NODE_TIMEOUT.as_millis().to_string());
    let mut all = vec!["--cluster-enabled", "yes", "--cluster-node-timeout", &timeout];
    if !is_before_7() {
        all.extend(["--cluster-port", &bus]);
    }
    // What comes later wins.
    all.extend(["--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0"]);
    all.extend(["--repl-diskless-sync-delay", "0"]);
    all.extend(arguments);
    Server::start_with(&all)
}

fn meet(node: &Server, other: &Server) {
    // Redis 6 has it there always.
    let bus = other.argument("--cluster-port").unwrap_or_else(|| (other.port() + 10_000).to_string());
    ok(node, &["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string(), &bus]);
}

fn knows(node: &Server, count: usize) -> bool {
    let nodes = node.command(&["CLUSTER", "NODES"]).text();
    nodes.lines().count() == count && !nodes.contains("handshake") && !nodes.contains(":0@")
}

fn is_ok(node: &Server) -> bool {
    node.command(&["CLUSTER", "INFO"]).text().contains("cluster_state:ok")
}

fn knows_all_slots(node: &Server) -> bool {
    node.command(&["CLUSTER", "INFO"]).text().contains(&format!("cluster_slots_assigned:{SLOTS}\r\n"))
}

#[track_caller]
fn ok(node: &Server, words: &[&str]) {
    let reply = node.command(words);
    assert_eq!(reply, Reply::Simple("OK".into()), "{words:?}");
}

/// A builder for a cluster, that looks for its nodes often once they are lost.
pub(crate) fn clustered(first_node: impl AsRef<str>) -> CacheHouseBuilder<ClusterState> {
    let quick = Reconnect::default().min_delay(Duration::from_millis(10)).max_delay(Duration::from_millis(50));
    CacheHouse::builder().cluster(first_node.as_ref()).reconnect(quick).command_timeout(Duration::from_secs(5))
}

/// A handle that is connected to all shards.
#[track_caller]
pub(crate) fn connected_to(cluster: &Cluster) -> CacheHandle {
    let cache = clustered(cluster.endpoint()).build().expect("the builder is right");
    super::until_connected(&cache);
    cache
}

/// Three primaries, empty and for one test at a time: it takes seconds to make a cluster.
pub(crate) struct Borrowed(Option<Cluster>);

static IDLE: Mutex<Vec<Cluster>> = Mutex::new(Vec::new());

impl Borrowed {
    pub(crate) fn get() -> Self {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let cluster = idle.unwrap_or_else(|| Cluster::of(3, 0, &[]));
        cluster.nodes.iter().for_each(|node| ok(node, &["FLUSHALL"]));
        Self(Some(cluster))
    }
}

impl std::ops::Deref for Borrowed {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.0.as_ref().expect("it's given back on drop only")
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let cluster = self.0.take().expect("it's dropped once");
        // After a failure nobody knows what it's like.
        if !std::thread::panicking() {
            IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(cluster);
        }
    }
}
