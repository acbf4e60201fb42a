//! What a cluster takes beyond its nodes: following redirects, and what concerns all shards at once.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fred::types::Resp3Frame as Frame;
use futures_util::future::join_all;
use tokio::time::sleep;

use super::super::journal::{Cleared, Clearings, Invalidate, Refusals};
use super::super::server::{ServerError, Unavailable};
use super::super::slots::{SlotSet, slot_of};
use super::command::Command;
use super::node::{Failed, Node};
use super::pool::Pool;
use super::recent_invalidations::Invalidated;
use super::reply::{self, Redirect};
use super::scan::{self, Walk};
use super::{Inner, wire};
use crate::config::Address;
use crate::key::{KeyPrefix, ServerKey};

/// How often one operation may be redirected. A slot that moves back and forth isn't chased for ever.
const MAX_HOPS: usize = 4;
/// How often clearing begins again because slots moved meanwhile.
const MAX_ROUNDS: usize = 3;
/// How often invalidations that wait are tried again while nothing says that a shard is back.
const REPLAY: Duration = Duration::from_secs(1);

impl Inner {
    /// Sends one command to where it has been redirected, and on from there. Boxed: few calls need it, and the futures of all would
    /// contain it.
    pub(super) fn follow<'a>(
        &'a self,
        redirect: Redirect,
        key: &'a Bytes,
        command: Command,
    ) -> Pin<Box<dyn Future<Output = Result<Frame, ServerError>> + Send + 'a>> {
        Box::pin(self.chase(redirect, key, command))
    }

    async fn chase(&self, mut redirect: Redirect, key: &Bytes, command: Command) -> Result<Frame, ServerError> {
        let begun = Instant::now();
        for _ in 0..MAX_HOPS {
            // Each hop is an operation of its own, with its own deadline; none begins after that of the first.
            if begun.elapsed() > self.context.command_timeout {
                return Err(ServerError::Unavailable(Unavailable::TimedOut));
            }
            if !redirect.asking {
                if let Some(map) = self.layout.load().map() {
                    if map.is_failover(redirect.slot, &redirect.address) {
                        let mut slots = SlotSet::none();
                        slots.insert(redirect.slot);
                        self.invalidate_again(&slots);
                    }
                    map.moved(redirect.slot, &redirect.address);
                }
                self.requests.refresh.notify_one();
            }
            let (node, pool) = self.reach(&redirect.address).await?;
            let operation = match redirect.asking {
                true => pool.send_asking(key, command.clone()),
                false => pool.send(key, command.clone()),
            };
            match node.noting_permission(command.is_essential(), node.watched(&pool, operation).await) {
                Err(Failed::Redirected(next)) => redirect = next,
                reply => return Ok(reply?),
            }
        }
        Err(ServerError::Unavailable(Unavailable::NotReady))
    }

    /// The primary at `address`. One that isn't known yet is connected to, and waited for.
    async fn reach(&self, address: &Address) -> Result<(Arc<Node>, Arc<Pool>), ServerError> {
        let node = self.layout.load().map().and_then(|map| map.primary_at(address).cloned());
        if let Some(node) = node
            && !self.node_health.is_connecting(node.id)
        {
            let pool = node.pool()?;
            return Ok((node, pool));
        }
        if !self.requests.add(address) {
            return Err(ServerError::Unavailable(Unavailable::NotConnected));
        }
        let Some(permit) = self.waiting.enter() else { return Err(ServerError::Unavailable(Unavailable::Shed)) };
        let connected = async {
            loop {
                let changed = self.node_health.changed.notified();
                let layout = self.layout.load_full();
                let Some(map) = layout.map() else { return Err(ServerError::Unavailable(Unavailable::NotConnected)) };
                if let Some(node) = map.primary_at(address) {
                    match node.pool() {
                        Ok(pool) => return Ok((Arc::clone(node), pool)),
                        Err(error) if !self.node_health.is_connecting(node.id) => return Err(error),
                        Err(_) => {}
                    }
                }
                changed.await;
            }
        };
        let timed_out = Err(ServerError::Unavailable(Unavailable::TimedOut));
        permit.run(connected).await.unwrap_or(timed_out)
    }

    /// Waits until the map has been looked at again.
    async fn refreshed(&self) {
        let changed = self.node_health.changed.notified();
        self.requests.refresh.notify_one();
        if let Some(permit) = self.waiting.enter() {
            let _ = permit.run(changed).await;
        }
    }

    /// A replica has taken these slots over: it may not know of what its primary confirmed last.
    pub(super) fn invalidate_again(&self, slots: &SlotSet) {
        let journal = &self.context.journal;
        for invalidated in self.recent_invalidations.all() {
            match invalidated {
                Invalidated::Key(key) if slots.contains(slot_of(&key)) => journal.add_server_key(key),
                Invalidated::Key(_) => {}
                Invalidated::Matching(prefix) => journal.add_prefix_in(prefix, slots.clone()),
            }
        }
    }

    /// Removes keys of any slots, together as far as they share a node; what came of each.
    async fn remove_all(&self, keys: &[ServerKey]) -> Vec<Result<u64, ServerError>> {
        let mut by_node: HashMap<_, (Arc<Node>, Vec<usize>)> = HashMap::new();
        let mut results = vec![Err(ServerError::Unavailable(Unavailable::NotConnected)); keys.len()];
        for (index, key) in keys.iter().enumerate() {
            if let Ok(node) = self.writer(key) {
                by_node.entry(node.id).or_insert_with(|| (node, Vec::new())).1.push(index);
            }
        }
        let parts = by_node.into_values().map(|(node, indices)| async move {
            let part = indices.iter().map(|&index| keys[index].clone()).collect();
            let removed = match node.pool() {
                Ok(pool) => self.remove_on(&node, &pool, part).await,
                Err(error) => vec![Err(error); indices.len()],
            };
            indices.into_iter().zip(removed)
        });
        for (index, result) in join_all(parts).await.into_iter().flatten() {
            results[index] = result;
        }
        results
    }

    /// Removes keys on `node`, and what it no longer has wherever that has gone; what came of each.
    async fn remove_on(&self, node: &Node, pool: &Arc<Pool>, keys: Vec<ServerKey>) -> Vec<Result<u64, ServerError>> {
        // One command a key: two of one slot may be on either side while it moves. Each by its own connection, so that it can't
        // overtake a write that waits there.
        let send = |indices: Vec<usize>| {
            let commands = indices.iter().map(|&index| Command::Unlink(vec![keys[index].clone()])).collect();
            let sent = pool.send_together(&keys[indices[0]], commands);
            async move { sent.await.map(|replies| indices.into_iter().zip(replies)) }
        };
        let operations: Vec<_> = pool.by_connection(&keys).into_iter().map(send).collect();
        if operations.is_empty() {
            return Vec::new();
        }
        let all = async { wire::all(join_all(operations).await) };
        let mut replies = match node.watched(pool, all).await {
            Ok(connections) => connections.into_iter().flatten().collect::<Vec<_>>(),
            Err(failed) => return vec![Err(failed.into()); keys.len()],
        };
        replies.sort_unstable_by_key(|(index, _)| *index);
        let mut results = Vec::with_capacity(keys.len());
        for (key, (_, reply)) in keys.into_iter().zip(replies) {
            results.push(match reply {
                Ok(frame) => reply::number(&frame).map(|removed| u64::try_from(removed).unwrap_or(0)),
                Err(error) => match error.redirect(&node.address) {
                    Some(redirect) => {
                        let frame = self.follow(redirect, &key, Command::Unlink(vec![key.clone()])).await;
                        frame.and_then(|frame| reply::number(&frame)).map(|removed| u64::try_from(removed).unwrap_or(0))
                    }
                    None => Err(error.into()),
                },
            });
        }
        results
    }
}

/// Removes every key that `prefix` names and that was there when the call began, wherever its slot goes meanwhile; how many there
/// were.
///
/// # Errors
///
/// Where it isn't certain of all slots; what could be reached is gone all the same.
pub(super) async fn clear(inner: &Inner, prefix: &KeyPrefix) -> Result<u64, ServerError> {
    let progress = clear_slots(inner, &Clearings::of(prefix.clone()), None).await;
    match progress.trouble.or(progress.refusals.into_error()) {
        None => {
            inner.recent_invalidations.note(Invalidated::Matching(prefix.clone()));
            Ok(progress.removed)
        }
        Some(error) => Err(error),
    }
}

/// What clearing has come to.
struct Progress {
    removed: u64,
    /// Where it's certain that nothing is left of what was there, but for what was refused.
    certain: SlotSet,
    refusals: Refusals,
    /// Why it isn't certain everywhere.
    trouble: Option<ServerError>,
}

impl Progress {
    fn add(&mut self, (removed, refusals): (u64, Refusals)) {
        self.removed += removed;
        self.refusals.join(refusals);
    }
}

/// What a primary says of its own slots.
struct Survey {
    owned: SlotSet,
    /// Slots that are on their way to it.
    arriving: SlotSet,
    /// Slots that are on their way from it.
    leaving: SlotSet,
}

/// Clears slot by slot's owner, all owners at once. A key whose slot moves is on its old node until that has been walked, or has
/// got to the new one before: so nodes that slots move to are walked once more, after all others.
async fn clear_slots(inner: &Inner, clearings: &Clearings, until: Option<Instant>) -> Progress {
    let wanted = clearings.left();
    let (certain, refusals) = (SlotSet::none(), Refusals::default());
    let mut cleared = Progress { removed: 0, certain, refusals, trouble: None };
    for _ in 0..MAX_ROUNDS {
        let mut left = wanted.clone();
        left.subtract(&cleared.certain);
        let layout = inner.layout.load_full();
        let Some(map) = layout.map() else {
            cleared.trouble = Some(ServerError::Unavailable(Unavailable::NotConnected));
            return cleared;
        };
        let mut unowned = SlotSet::all();
        let mut owners = map.slots_by_primary();
        owners.iter().for_each(|(_, slots)| unowned.subtract(slots));
        owners.retain(|(_, slots)| slots.intersects(&left));
        cleared.trouble = None;
        let walks = owners.iter().map(|(node, slots)| async move {
            let before = survey(node, slots).await?;
            let walked = walk(inner, node, clearings, until).await?;
            Ok::<_, ServerError>((before, walked, survey(node, slots).await?))
        });
        let (mut walked_all, mut moving) = (SlotSet::none(), SlotSet::none());
        for walked in join_all(walks).await {
            match walked {
                Err(error) => cleared.trouble = Some(error),
                Ok((before, walked, after)) => {
                    cleared.add(walked);
                    // What it had all the while, and what has left it since: that is walked again where it went.
                    walked_all.add(&before.owned);
                    let mut gone = before.owned.clone();
                    gone.subtract(&after.owned);
                    moving.add(&gone);
                    for slots in [&before.leaving, &after.leaving, &before.arriving, &after.arriving] {
                        moving.add(slots);
                    }
                }
            }
        }
        let mut certain = walked_all.clone();
        if !moving.is_empty() {
            certain.subtract(&moving);
            // Where a slot goes says nothing about what is left where it comes from, unless that has been walked.
            moving.keep(&walked_all);
            certain.add(&walk_targets(inner, clearings, &moving, until, &mut cleared).await);
        }
        // Nobody has them, so nothing of ours is there.
        certain.add(&unowned);
        certain.keep(&wanted);
        cleared.certain.add(&certain);
        if cleared.certain == wanted {
            cleared.trouble = None;
            return cleared;
        }
        if cleared.trouble.is_some() {
            return cleared;
        }
        inner.refreshed().await;
    }
    cleared.trouble.get_or_insert(ServerError::Unavailable(Unavailable::NotReady));
    cleared
}

/// Walks the nodes that slots have moved to or are moving to; of which of `moving` it's certain then.
async fn walk_targets(
    inner: &Inner,
    clearings: &Clearings,
    moving: &SlotSet,
    until: Option<Instant>,
    cleared: &mut Progress,
) -> SlotSet {
    let layout = inner.layout.load_full();
    let primaries = layout.map().map(|map| map.shards.iter().map(|shard| Arc::clone(&shard.primary)).collect());
    let primaries: Vec<_> = primaries.unwrap_or_default();
    let none = SlotSet::none();
    let surveys = join_all(primaries.iter().map(|node| survey(node, &none))).await;
    let mut certain = SlotSet::none();
    let targets = primaries.iter().zip(surveys).filter_map(|(node, survey)| {
        let survey = survey.ok()?;
        let mut concerned = survey.owned;
        concerned.add(&survey.arriving);
        concerned.keep(moving);
        (!concerned.is_empty()).then_some((node, concerned))
    });
    let walks = targets.map(|(node, slots)| async move { (walk(inner, node, clearings, until).await, slots) });
    let mut failed = SlotSet::none();
    for (walked, slots) in join_all(walks).await {
        match walked {
            Ok(walked) => {
                cleared.add(walked);
                certain.add(&slots);
            }
            Err(error) => {
                cleared.trouble = Some(error);
                failed.add(&slots);
            }
        }
    }
    certain.subtract(&failed);
    certain
}

/// Removes what `clearings` name of all that is on `node`; how many keys, and what was refused.
async fn walk(
    inner: &Inner,
    node: &Node,
    clearings: &Clearings,
    until: Option<Instant>,
) -> Result<(u64, Refusals), ServerError> {
    let pool = node.pool()?;
    scan::settle_connections(node, &pool).await?;
    let (mut removed, mut refusals) = (0, Refusals::default());
    if let Some(exact) =
        scan::exact(clearings).filter(|exact| inner.writer(exact).is_ok_and(|owner| owner.id == node.id))
    {
        removed += remove_allowed(inner, node, &pool, vec![exact], clearings, &mut refusals).await?;
    }
    let mut walk = Walk::new(node, &pool, clearings);
    while let Some(keys) = walk.next_page(&refusals).await? {
        removed += remove_allowed(inner, node, &pool, keys, clearings, &mut refusals).await?;
        scan::check(until)?;
    }
    Ok((removed, refusals))
}

/// Removes keys that `clearings` name; how many there were, but for what is refused.
async fn remove_allowed(
    inner: &Inner,
    node: &Node,
    pool: &Arc<Pool>,
    keys: Vec<ServerKey>,
    clearings: &Clearings,
    refusals: &mut Refusals,
) -> Result<u64, ServerError> {
    let mut removed = 0;
    for (key, result) in keys.clone().iter().zip(inner.remove_on(node, pool, keys).await) {
        match result {
            Err(error @ ServerError::Refused { .. }) if !error.is_read_only() => refusals.add(clearings, key, error),
            result => removed += result?,
        }
    }
    Ok(removed)
}

/// What `node` says of its own slots; where its user may not ask, it's taken to have what the map says.
async fn survey(node: &Node, on_map: &SlotSet) -> Result<Survey, ServerError> {
    let pool = node.pool()?;
    match node.watched(&pool, pool.cluster_nodes()).await {
        Ok(frame) => {
            let text = reply::text(&frame).unwrap_or_default();
            Ok(Survey::parse(&text).unwrap_or_else(|| Survey::settled(on_map.clone())))
        }
        Err(Failed::Server(ServerError::Refused { .. })) => Ok(Survey::settled(on_map.clone())),
        Err(failed) => Err(failed.into()),
    }
}

impl Survey {
    fn settled(owned: SlotSet) -> Self {
        Self { owned, arriving: SlotSet::none(), leaving: SlotSet::none() }
    }

    /// The line of the node itself, in the reply to CLUSTER NODES.
    fn parse(text: &str) -> Option<Self> {
        let own = text.lines().find(|line| line.split(' ').nth(2).is_some_and(|flags| flags.contains("myself")))?;
        let mut survey = Self::settled(SlotSet::none());
        for slots in own.split_whitespace().skip(8) {
            if let Some(moving) = slots.strip_prefix('[') {
                let (slot, direction) = moving.split_once('-')?;
                let slot = slot.parse().ok()?;
                if direction.starts_with('>') { survey.leaving.insert(slot) } else { survey.arriving.insert(slot) }
            } else {
                let (first, last) = slots.split_once('-').unwrap_or((slots, slots));
                survey.owned.insert_range(first.parse().ok()?..=last.parse().ok()?);
            }
        }
        Some(survey)
    }
}

/// Replays the journal for as long as there is a cluster: when something is added, when a node has come back, and every second
/// while something waits.
pub(super) async fn replay_journal(inner: &Inner) {
    loop {
        let changed = inner.node_health.changed.notified();
        if inner.layout.load().map().is_none() {
            changed.await;
            continue;
        }
        if inner.context.journal.len() > 0 {
            replay_once(inner, None).await;
        }
        let waits = inner.context.journal.len() > 0;
        tokio::select! {
            () = changed => {}
            () = inner.context.journal.added() => {}
            () = sleep(REPLAY), if waits => {}
        }
    }
}

/// Replays the journal once, but not beyond `until`.
pub(super) async fn replay_once(inner: &Inner, until: Option<Instant>) {
    if inner.context.journal.replay(&OverCluster { inner, until }).await.is_err() {
        tracing::debug!(target: "cache_house", "invalidations wait for a shard");
    }
}

/// The journal's hands on a cluster.
struct OverCluster<'a> {
    inner: &'a Inner,
    until: Option<Instant>,
}

impl Invalidate for OverCluster<'_> {
    const HAS_PARTS: bool = true;

    async fn remove_all(&self, keys: &[ServerKey]) -> Vec<Result<(), ServerError>> {
        if let Err(overdue) = scan::check(self.until) {
            return vec![Err(overdue); keys.len()];
        }
        self.inner.remove_all(keys).await.into_iter().map(|result| result.map(|_| ())).collect()
    }

    async fn clear(&self, clearings: &Clearings) -> Result<Cleared, ServerError> {
        scan::check(self.until)?;
        let progress = clear_slots(self.inner, clearings, self.until).await;
        match progress.trouble {
            Some(error) if progress.certain.is_empty() => Err(error),
            _ => Ok(Cleared { certain: progress.certain, refusals: progress.refusals }),
        }
    }
}
