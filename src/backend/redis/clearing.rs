//! Clearing a prefix: on one server, and over the shards of a cluster, whose slots may move meanwhile.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;

use super::super::journal::{Clearings, Refusals};
use super::super::server::{ServerError, Unavailable, if_permitted};
use super::super::slots::SlotSet;
use super::inner::Inner;
use super::node::{Failed, Node};
use super::pool::Pool;
use super::removals::{drop_leases, unlink, unlink_permitted};
use super::reply;
use super::scan::{self, Walk};
use crate::backend::invalidation::Invalidation;
use crate::key::{KeyPrefix, ServerKey};

/// How often clearing begins again because slots moved meanwhile.
const MAX_ROUNDS: usize = 3;

/// Removes every key that `prefix` names and that was there when the call began; how many there were.
pub(super) async fn clear_node(node: &Node, pool: &Arc<Pool>, prefix: &KeyPrefix) -> Result<u64, ServerError> {
    let (removed, refusals) = clear_all(node, pool, &Clearings::of(prefix.clone()), None).await?;
    refusals.into_error().map_or(Ok(removed), Err)
}

/// The same for all that `clearings` name, in one walk; also returns what was refused.
pub(super) async fn clear_all(
    node: &Node,
    pool: &Arc<Pool>,
    clearings: &Clearings,
    until: Option<Instant>,
) -> Result<(u64, Refusals), ServerError> {
    scan::settle_connections(node, pool).await?;
    let (mut removed, mut refusals) = (0, Refusals::default());
    let mut leases = Walk::over_leases(node, pool, clearings);
    while let Some(page) = leases.next_page(&refusals).await? {
        // Where it isn't permitted, no fill has a lease.
        unlink_permitted(node, pool, &page).await?;
        check_deadline(until)?;
    }
    let exact = scan::exact(clearings);
    if let Some(exact) = &exact {
        drop_leases(node, pool, std::slice::from_ref(exact)).await?;
    }
    let mut walk = Walk::over_keys(node, pool, clearings);
    // One after the other: at once, the two would need room for two in flight, and there may be room for one.
    while let Some(page) = walk.next_page(&refusals).await? {
        removed += unlink_allowed(node, pool, &page, clearings, &mut refusals).await?;
        check_deadline(until)?;
    }
    // A walk that finds nothing has nothing refused. A replica that is yet without its data refuses this.
    match exact {
        Some(exact) => removed += unlink_allowed(node, pool, &[exact], clearings, &mut refusals).await?,
        None => unlink_permitted(node, pool, std::slice::from_ref(&node.probe_key)).await?,
    }
    Ok((removed, refusals))
}

/// Removes keys that `clearings` name; how many there were, but for what is refused.
async fn unlink_allowed(
    node: &Node,
    pool: &Arc<Pool>,
    keys: &[ServerKey],
    clearings: &Clearings,
    refusals: &mut Refusals,
) -> Result<u64, ServerError> {
    match unlink(node, pool, keys).await {
        // Only some of the keys may be the reason.
        Err(error @ ServerError::Refused { .. }) if !error.is_read_only() => {}
        removed => return removed,
    }
    let mut removed = 0;
    for key in keys {
        if !clearings.names(key, refusals) {
            continue;
        }
        match unlink(node, pool, std::slice::from_ref(key)).await {
            Err(error @ ServerError::Refused { .. }) if !error.is_read_only() => refusals.add(clearings, key, error),
            one => removed += one?,
        }
    }
    Ok(removed)
}

/// Fails once `until` has passed.
pub(super) fn check_deadline(until: Option<Instant>) -> Result<(), ServerError> {
    match until.is_some_and(|until| Instant::now() > until) {
        true => Err(ServerError::Unavailable(Unavailable::TimedOut)),
        false => Ok(()),
    }
}

/// Removes every key that `prefix` names and that was there when the call began, wherever its slot goes meanwhile; how many there
/// were.
///
/// # Errors
///
/// Where it isn't certain of all slots; what could be reached is gone all the same.
pub(super) async fn clear_cluster(inner: &Inner, prefix: &KeyPrefix) -> Result<u64, ServerError> {
    let sent = inner.failovers.epoch();
    let progress = clear_slots(inner, &Clearings::of(prefix.clone()), None).await;
    match progress.trouble.or(progress.refusals.into_error()) {
        None => {
            inner.confirmed(Invalidation::Matching(prefix.clone()), sent);
            Ok(progress.removed)
        }
        Some(error) => Err(error),
    }
}

/// How far clearing has got.
pub(super) struct Progress {
    removed: u64,
    /// Where it's certain that nothing is left of what was there, but for what was refused.
    pub(super) certain: SlotSet,
    pub(super) refusals: Refusals,
    /// Why it isn't certain everywhere.
    pub(super) trouble: Option<ServerError>,
}

impl Progress {
    fn add(&mut self, (removed, refusals): (u64, Refusals)) {
        self.removed += removed;
        self.refusals.join(refusals);
    }
}

/// What a primary reports of its own slots.
struct Survey {
    owned: SlotSet,
    /// Slots that are on their way to it.
    arriving: SlotSet,
    /// Slots that are on their way from it.
    leaving: SlotSet,
}

/// Walks all primaries concurrently. A key whose slot moves is found on its old node, or has reached the new one before the old one was
/// walked. So nodes that slots move to are walked once more, after all walks.
pub(super) async fn clear_slots(inner: &Inner, clearings: &Clearings, until: Option<Instant>) -> Progress {
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
        // No node has these slots, so they hold nothing of ours.
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
    let mut leases = Walk::over_leases(node, &pool, clearings);
    while let Some(page) = leases.next_page(&refusals).await? {
        drop_found(inner, node, &pool, page).await?;
        check_deadline(until)?;
    }
    if let Some(exact) =
        scan::exact(clearings).filter(|exact| inner.writer(exact).is_ok_and(|owner| owner.id == node.id))
    {
        drop_found(inner, node, &pool, inner.leases.name(&exact).into_iter().collect()).await?;
        removed += remove_allowed(inner, node, &pool, vec![exact], clearings, &mut refusals).await?;
    }
    let mut walk = Walk::over_keys(node, &pool, clearings);
    while let Some(keys) = walk.next_page(&refusals).await? {
        removed += remove_allowed(inner, node, &pool, keys, clearings, &mut refusals).await?;
        check_deadline(until)?;
    }
    Ok((removed, refusals))
}

/// Takes leases away. Where that isn't permitted, no fill has one.
async fn drop_found(inner: &Inner, node: &Node, pool: &Arc<Pool>, leases: Vec<ServerKey>) -> Result<(), ServerError> {
    inner.remove_on(node, pool, leases).await.into_iter().try_for_each(|dropped| if_permitted(dropped).map(drop))
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

/// What `node` reports of its own slots. If its user may not run CLUSTER NODES, the map is believed.
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
