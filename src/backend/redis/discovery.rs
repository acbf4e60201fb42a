//! Finds the servers at the endpoints, and keeps the layout up to date.
//!
//! One task owns the supervisors of all nodes: it starts them, restarts one that panicked, and ends those of nodes that have left. It
//! ends when the handle closes. If it's dropped earlier (its runtime was shut down) or panics, a thread of its own takes over, so that
//! the handle goes on working.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::runtime::{Builder, Handle, RuntimeFlavor};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::super::slots::{SLOTS, SlotSet, slot_of};
use super::backoff::Backoff;
use super::connector::Connector;
use super::inner::Inner;
use super::layout::{Layout, Shard, SlotMap};
use super::node::Node;
use super::node_health::Parts;
use super::reply::{self, SlotRange};
use super::role::{Mode, Role};
use super::stage::Stage;
use super::supervisor::Supervisor;
use super::wire::SendError;
use super::{fills, replay};
use crate::config::{Address, Expected};
use crate::health::{Reason, ReasonKind};

/// How old the map of a cluster may become while nothing says that it has changed.
const MAP_AGE: Duration = Duration::from_secs(10);
/// How often the map is read while a shard is away: a part of the half second in which a promoted replica is to be used.
const WHILE_AWAY: Duration = Duration::from_millis(200);
/// The least time between two refreshes, however many redirects there are.
const REFRESH_GAP: Duration = Duration::from_millis(20);
/// How long one node may take to report the map: at first, and twice as long after each look that finds nothing, up to `connect_timeout`.
/// A machine that is busy may take longer to read a large map, and would never read one otherwise.
const MAP_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a supervisor that panicked is left alone: a second time soon after would only be the same again.
const AFTER_A_PANIC: Duration = Duration::from_secs(1);
/// So many new nodes are connected to at once, then as many more: a thousand together would keep all else from running.
const AT_ONCE: usize = 32;
const TURN: Duration = Duration::from_millis(10);

pub(super) struct Discovery {
    inner: Arc<Inner>,
    /// Whether it runs on a thread of its own, not in a runtime of the program's.
    has_thread: bool,
    /// Another one has taken over once the generation is another.
    generation: u64,
}

/// What was found.
enum Found {
    Standalone(Address),
    Cluster(Vec<SlotRange>),
    Nothing(Reason),
}

impl Discovery {
    /// Starts where I/O runs best: in the multi-thread runtime that `build()` was called in, else on a thread of its own, because a
    /// current-thread runtime may be blocked by the very caller that waits.
    pub(super) fn start(inner: Arc<Inner>) -> std::io::Result<()> {
        let generation = inner.home.generation();
        let discovery = Self { inner, has_thread: false, generation };
        match Handle::try_current() {
            Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => {
                handle.spawn(Self::run(Guard(Some(discovery))));
                Ok(())
            }
            _ => discovery.start_on_thread(),
        }
    }

    /// Starts on a thread of its own, in place of the one that runs.
    pub(super) fn start_anew(inner: Arc<Inner>, generation: u64) -> std::io::Result<()> {
        Self { inner, has_thread: true, generation }.start_on_thread()
    }

    fn start_on_thread(mut self) -> std::io::Result<()> {
        self.has_thread = true;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let run = move || {
            runtime.block_on(Self::run(Guard(Some(self))));
            // What is left are fred's aborted tasks.
            runtime.shutdown_background();
        };
        thread::Builder::new().name("cache-house-io".into()).spawn(run).map(|_| ())
    }

    /// Guarded from before it's polled: a runtime that shuts down may drop it first.
    async fn run(guard: Guard) {
        let Some(Self { inner, has_thread, generation }) = &guard.0 else { return };
        let (inner, has_thread, generation) = (Arc::clone(inner), *has_thread, *generation);
        if !inner.home.settle(generation, has_thread) {
            return;
        }
        let (supervisors, running) = (JoinSet::new(), HashMap::new());
        let mut nodes = Nodes { inner: &inner, has_thread, generation, supervisors, running };
        tokio::select! {
            biased;
            () = inner.home.left(generation) => {}
            () = nodes.discover() => {}
            () = inner.waiting.sweep(|_| ()) => {}
            () = replay::replay_journal(&inner) => {}
            () = fills::renew(&inner) => {}
        }
        nodes.close().await;
        if inner.home.generation() == generation {
            inner.advance(Stage::Closed);
        }
    }
}

/// The nodes and their supervisors.
struct Nodes<'a> {
    inner: &'a Arc<Inner>,
    has_thread: bool,
    generation: u64,
    supervisors: JoinSet<()>,
    /// By the id of its supervisor's task.
    running: HashMap<tokio::task::Id, Arc<Node>>,
}

impl Nodes<'_> {
    /// Until the handle closes.
    async fn discover(&mut self) {
        if let Expected::Standalone { .. } = self.inner.expected {
            self.adopt(Found::Standalone(self.inner.seeds[0].clone()));
            return self.tend(pending()).await;
        }
        let mut backoff = Backoff::new(self.inner.reconnect);
        let mut map_timeout = MAP_TIMEOUT;
        while self.inner.stage() == Stage::Running {
            let inner = Arc::clone(self.inner);
            let found = tokio::select! {
                biased;
                () = inner.reached(Stage::Closing) => return,
                found = look(&inner, map_timeout) => found,
            };
            let asked = Instant::now();
            let is_known = !matches!(found, Found::Nothing(_));
            map_timeout = match is_known {
                true => MAP_TIMEOUT,
                false => (2 * map_timeout).min(inner.recipe.connect_timeout.max(MAP_TIMEOUT)),
            };
            let pause = match &found {
                Found::Nothing(reason) if reason.kind().may_end_at_any_time() => backoff.wait(&inner.wanted).boxed(),
                Found::Nothing(_) => sleep(backoff.next_delay()).boxed(),
                // It calls itself what it isn't, and will again.
                Found::Standalone(_) if self.is_of_another_kind() => sleep(backoff.next_delay()).boxed(),
                _ => {
                    backoff.reset();
                    sleep(REFRESH_GAP).boxed()
                }
            };
            self.adopt(found);
            self.tend(pause).await;
            if is_known {
                self.wait_for_a_change(asked).await;
            }
        }
    }

    /// Whether the one server that there is has turned out to be none.
    fn is_of_another_kind(&self) -> bool {
        matches!(&**self.inner.layout.load(), Layout::Single(node) if self.inner.node_health.has_another_kind(node.id))
    }

    /// Waits until the layout may be another: something says so, a shard is away, or a while has passed.
    async fn wait_for_a_change(&mut self, asked: Instant) {
        while self.inner.stage() == Stage::Running {
            let inner = Arc::clone(self.inner);
            let changed = inner.node_health.changed.notified();
            let refresh = inner.requests.refresh.notified();
            let layout = inner.layout.load_full();
            let patience = match &*layout {
                Layout::Unknown => return,
                // Its own supervisor reconnects, and reports if it finds a cluster.
                Layout::Single(node) if inner.node_health.has_another_kind(node.id) => return,
                Layout::Single(node) if node.is_available() || inner.seeds.len() == 1 => None,
                Layout::Single(_) => Some(inner.reconnect.max_delay),
                Layout::Cluster(map) if !map.is_whole() => Some(WHILE_AWAY),
                // The cluster is being made or changed.
                Layout::Cluster(map) if map.has_unowned_slots() => Some(inner.reconnect.max_delay.min(MAP_AGE)),
                Layout::Cluster(_) => Some(MAP_AGE),
            };
            let left = patience.map(|patience| patience.saturating_sub(asked.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return;
            }
            tokio::select! {
                biased;
                () = inner.reached(Stage::Closing) => return,
                () = refresh => return,
                () = changed => {}
                () = self.tend(after(left)) => {}
            }
        }
    }

    /// Keeps a supervisor running for every node, until this is over.
    async fn tend(&mut self, over: impl Future<Output = ()>) {
        let inner = Arc::clone(self.inner);
        let mut over = pin!(over);
        loop {
            tokio::select! {
                biased;
                () = inner.reached(Stage::Closing) => return,
                () = &mut over => return,
                Some(ended) = self.supervisors.join_next_with_id() => self.ended(ended),
            }
        }
    }

    /// A supervisor has ended: because its node closes, or by a panic.
    fn ended(&mut self, ended: Result<(tokio::task::Id, ()), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        let node = self.running.remove(&id).filter(|node| node.stage() == Stage::Running);
        if let Err(error) = ended
            && error.is_panic()
            && !self.has_thread
        {
            // The program's runtime may lack what it takes, a timer say: so all I/O moves to a thread.
            std::panic::resume_unwind(error.into_panic());
        }
        if let Some(node) = node {
            self.supervise(&node, AFTER_A_PANIC);
        }
    }

    fn supervise(&mut self, node: &Arc<Node>, delay: Duration) {
        let connector = Connector::new(&self.inner.recipe, &node.address, node.role, node.probe_key.clone());
        let gone = self.inner.home.left_at(&node.address);
        let (inner, node_of_task) = (Arc::clone(self.inner), Arc::clone(node));
        let supervisor = Supervisor { inner, node: node_of_task, connector, reconnect: self.inner.reconnect, gone };
        let task = self.supervisors.spawn(async move {
            if !delay.is_zero() {
                sleep(delay).await;
            }
            supervisor.run().await;
        });
        self.running.insert(task.id(), Arc::clone(node));
    }

    /// Makes what was found the layout: nodes that stay are kept, new ones are connected to, those that left are drained and closed.
    fn adopt(&mut self, found: Found) {
        let before = self.inner.layout.load_full();
        let kept: HashMap<_, _> =
            before.nodes().into_iter().map(|node| ((node.address.clone(), node.role), node)).collect();
        let mut added = Vec::new();
        let is_kept = |address: &Address, role: Role| kept.contains_key(&(address.clone(), role));
        let mut node = |address: &Address, role: Role, probe_key: Option<&Bytes>| {
            kept.get(&(address.clone(), role)).cloned().unwrap_or_else(|| {
                let probe_key = probe_key.cloned().unwrap_or_else(|| self.inner.probe_key.clone().into());
                let node = Arc::new(Node::new(address.clone(), role, probe_key, &self.inner.context));
                added.push(Arc::clone(&node));
                node
            })
        };
        let mut failed_over = SlotSet::none();
        let (layout, parts) = match found {
            Found::Nothing(reason) => return self.inner.node_health.nothing_found(reason),
            Found::Standalone(address) => {
                let node = node(&address, Role::Standalone, None);
                let parts = Parts::Single(node.id);
                (Layout::Single(node), parts)
            }
            Found::Cluster(ranges) => {
                if let Some(map) = before.map() {
                    failed_over = map.failed_over(&ranges);
                }
                let mut primaries: HashMap<&Address, HashSet<&Address>> = HashMap::new();
                for range in &ranges {
                    let replicas = primaries.entry(&range.primary).or_default();
                    if self.inner.expected == (Expected::Cluster { read_from_replicas: true }) {
                        replicas.extend(&range.replicas);
                    }
                }
                let is_new = |(primary, replicas): &(&&Address, &HashSet<&Address>)| {
                    !is_kept(primary, Role::Primary) || replicas.iter().any(|replica| !is_kept(replica, Role::Replica))
                };
                let new = primaries.iter().filter(is_new).map(|(primary, _)| *primary).collect();
                let probe_keys = probe_keys(&self.inner.probe_key, &ranges, &new);
                let shard = |(primary, replicas): (&Address, HashSet<&Address>)| {
                    let probe_key = probe_keys.get(primary);
                    Shard {
                        primary: node(primary, Role::Primary, probe_key),
                        replicas: replicas.into_iter().map(|it| node(it, Role::Replica, probe_key)).collect(),
                    }
                };
                let mut shards: Vec<_> = primaries.into_iter().map(shard).collect();
                let parts = Parts::Shards(shards.iter().map(|shard| shard.primary.id).collect());
                let known: HashSet<_> = shards.iter().map(|shard| shard.primary.address.clone()).collect();
                let requested = self.inner.requests.beside(&known);
                shards.extend(
                    requested.iter().map(|it| Shard { primary: node(it, Role::Primary, None), replicas: Vec::new() }),
                );
                (Layout::Cluster(SlotMap::new(shards, &ranges)), parts)
            }
        };
        let stays: HashSet<_> = layout.nodes().iter().map(|node| node.id).collect();
        let layout = Arc::new(layout);
        let store = || self.inner.home.while_at(self.generation, || self.inner.layout.store(layout));
        if !self.inner.fail_over(&failed_over, store) {
            return;
        }
        for node in before.nodes() {
            if !stays.contains(&node.id) {
                node.advance(Stage::Draining);
            }
        }
        for (delay, nodes) in (0..).map(|turn| TURN * turn).zip(added.chunks(AT_ONCE)) {
            nodes.iter().for_each(|node| self.supervise(node, delay));
        }
        self.inner.node_health.expect(parts);
    }

    /// Ends all nodes; done when their connections are gone.
    async fn close(&mut self) {
        for node in self.running.values() {
            node.advance(Stage::Closing);
        }
        while self.supervisors.join_next().await.is_some() {}
    }
}

/// Waits for `time`; indefinitely without.
async fn after(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => pending().await,
    }
}

/// Reads the map from a known node, else from the seeds, all at once.
async fn look(inner: &Inner, map_timeout: Duration) -> Found {
    let layout = inner.layout.load_full();
    if let Layout::Cluster(_) = &*layout {
        let mut nodes = layout.nodes();
        // A node that is cut off from the others refuses calls, and still reports an old map.
        nodes.sort_by_key(|node| !node.is_available());
        for node in nodes {
            // Nodes report it also while the cluster is down and no call goes to them.
            if let Some(pool) = node.standing()
                && let Ok(Ok(slots)) = timeout(map_timeout, pool.cluster_slots()).await
                && let Ok(ranges) = reply::cluster_slots(slots, &node.address)
                && !ranges.is_empty()
            {
                return Found::Cluster(ranges);
            }
        }
    }
    let mut last = Reason::new(ReasonKind::Unreachable, "no node answers");
    // All at once: one that is frozen mustn't hold up the others.
    let mut answers: FuturesUnordered<_> = inner.seeds.iter().map(|seed| ask_seed(inner, seed, map_timeout)).collect();
    // If nodes are known, the map may come from them before long.
    let patience = if layout.map().is_some() { 2 * map_timeout } else { Duration::MAX };
    let mut over = pin!(sleep(patience));
    loop {
        let answer = tokio::select! {
            biased;
            Some(answer) = answers.next() => answer,
            () = &mut over, if !answers.is_empty() => break,
            else => break,
        };
        match answer {
            Found::Nothing(reason) => last = reason,
            // Two servers that know nothing of each other don't stand in for each other.
            Found::Standalone(address) if matches!(&*layout, Layout::Single(node) if node.address != address) => {}
            found => return found,
        }
    }
    Found::Nothing(last)
}

async fn ask_seed(inner: &Inner, seed: &Address, map_timeout: Duration) -> Found {
    let (pool, ended) =
        match Connector::new(&inner.recipe, seed, Role::Any, inner.probe_key.clone().into()).connect().await {
            Ok(connected) => connected,
            Err(reason) => return Found::Nothing(reason),
        };
    let found = match (pool.mode(), inner.expected) {
        (Mode::Standalone, Expected::Cluster { .. }) => {
            let problem = "the server isn't a node of a cluster; configure `standalone` or `autodetect`";
            Found::Nothing(Reason::new(ReasonKind::WrongTopology, problem))
        }
        (Mode::Standalone, _) => Found::Standalone(seed.clone()),
        (Mode::Cluster, _) => match timeout(map_timeout, pool.cluster_slots()).await {
            Ok(Ok(slots)) => match reply::cluster_slots(slots, seed) {
                Ok(ranges) if !ranges.is_empty() => Found::Cluster(ranges),
                Ok(_) => Found::Nothing(Reason::new(ReasonKind::NotReady, "the cluster has no slots yet")),
                Err(problem) => Found::Nothing(Reason::new(ReasonKind::Unreachable, problem)),
            },
            Ok(Err(SendError::Refused(reply))) => Found::Nothing(reply.as_reason(ReasonKind::Permission)),
            Ok(Err(SendError::Lost(_))) | Err(_) => Found::Nothing(Reason::new(
                ReasonKind::Unreachable,
                format!("{seed} doesn't report the cluster's slots"),
            )),
        },
    };
    pool.abort();
    ended.all().await;
    found
}

/// For each of these primaries a key to probe it and its replicas with: in one of its slots, so that a slot without an owner isn't
/// taken for a cluster that is down. All in one go, because each key that is tried fits some primary.
fn probe_keys<'a>(base: &str, ranges: &'a [SlotRange], of: &HashSet<&'a Address>) -> HashMap<&'a Address, Bytes> {
    let mut keys = HashMap::with_capacity(of.len());
    let mut owners = vec![None; usize::from(SLOTS)];
    for range in ranges.iter().filter(|range| of.contains(&range.primary)) {
        owners[usize::from(range.first)..=usize::from(range.last)].fill(Some(&range.primary));
    }
    let mut numbers = 0..u32::from(SLOTS) * 16;
    while keys.len() < of.len()
        && let Some(number) = numbers.next()
    {
        let key = format!("{base}:{number}");
        if let Some(owner) = owners[usize::from(slot_of(key.as_bytes()))] {
            keys.entry(owner).or_insert_with(|| key.into());
        }
    }
    keys
}

/// Restarts the discovery on a thread if its task ends too early.
struct Guard(Option<Discovery>);

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(discovery) = self.0.take() else { return };
        let inner = Arc::clone(&discovery.inner);
        if inner.home.generation() != discovery.generation {
            return;
        }
        if inner.stage() != Stage::Running {
            inner.advance(Stage::Closed);
            return;
        }
        // Its supervisors are gone with it; and the next map has none before it that would show a failover.
        inner.fail_over(&SlotSet::all(), || inner.layout.store(Arc::new(Layout::Unknown)));
        inner.node_health.expect(Parts::Unknown);
        if discovery.start_on_thread().is_err() {
            // No task is left that could finish `close`.
            inner.advance(Stage::Closed);
            inner
                .node_health
                .nothing_found(Reason::new(ReasonKind::Unreachable, "no thread could be started to connect on"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_primary_is_probed_in_a_slot_of_its_own() {
        let node = |number: u16| Address::Tcp { host: "node".into(), port: number };
        let range =
            |slot: u16| SlotRange { first: slot, last: slot, primary: node(slot % 1_000), replicas: Vec::new() };
        let ranges: Vec<_> = (0..SLOTS).map(range).collect();
        let new: Vec<_> = (0..500).map(node).collect();
        let keys = probe_keys("p:n:probe", &ranges, &new.iter().collect());
        assert_eq!(keys.len(), 500);
        for (primary, key) in keys {
            assert_eq!(*primary, node(slot_of(&key) % 1_000));
        }
        assert!(probe_keys("{p}:n:probe", &ranges, &[&node(1), &node(2)].into()).len() < 2, "a tag is one slot");
    }
}
