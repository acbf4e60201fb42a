//! Removing many keys of one server, by page: each page under its own deadline, so that it never holds up the callers.

use std::sync::Arc;

use bytes::Bytes;

use super::super::journal::{Clearings, Refusals};
use super::super::lease::{fenced_by, lease_prefix};
use super::super::server::{ServerError, Unavailable};
use super::command::{Command, Scan};
use super::node::{Failed, Node};
use super::pool::Pool;
use super::reply;
use crate::key::ServerKey;

/// How many entries of the server's table one page looks at. Measured over 100,000 keys: 69 ms in pages of 1000, 625 ms
/// in pages of 10.
pub(super) const PAGE: i64 = 400;

/// Pages of one walk. A server has 2^32 keys at most, in a table of twice as many entries; one that goes on beyond that never ends.
const MOST_PAGES: u32 = ((1 << 33) / PAGE) as u32;

/// A walk over the keys of one node, for all that is to be cleared.
pub(super) struct Walk<'a> {
    node: &'a Node,
    pool: &'a Arc<Pool>,
    clearings: &'a Clearings,
    pattern: Bytes,
    /// `None` once all of them have been seen.
    cursor: Option<Bytes>,
    pages: u32,
    finds: Finds,
}

/// What a walk finds.
enum Finds {
    Keys,
    /// The leases of the keys.
    Leases,
}

impl<'a> Walk<'a> {
    /// Over the leases of what is to be cleared. It has to end before that over the keys begins: otherwise a fill may store a value behind
    /// the one, and take its lease away before the other finds it.
    pub(super) fn over_leases(node: &'a Node, pool: &'a Arc<Pool>, clearings: &'a Clearings) -> Self {
        let common = clearings.single().map_or(clearings.common_text(), |prefix| prefix.as_str());
        let pattern = match clearings.single().is_some() || common.contains(':') {
            true => format!("{}*", escaped(&lease_prefix(common, &node.key_prefix))),
            false => "*::lease:*".to_owned(),
        };
        Self::new(node, pool, clearings, pattern, Finds::Leases)
    }

    pub(super) fn over_keys(node: &'a Node, pool: &'a Arc<Pool>, clearings: &'a Clearings) -> Self {
        let pattern = match clearings.single() {
            Some(prefix) => format!("{}:*", escaped(prefix.as_str())),
            None => format!("{}*", escaped(clearings.common_text())),
        };
        Self::new(node, pool, clearings, pattern, Finds::Keys)
    }

    fn new(node: &'a Node, pool: &'a Arc<Pool>, clearings: &'a Clearings, pattern: String, finds: Finds) -> Self {
        Self { node, pool, clearings, pattern: pattern.into(), cursor: Some(Bytes::from_static(b"0")), pages: 0, finds }
    }

    /// The next keys, perhaps none; `None` at the end.
    pub(super) async fn next_page(&mut self, refusals: &Refusals) -> Result<Option<Vec<ServerKey>>, Failed> {
        let Some(cursor) = self.cursor.take().filter(|_| !refusals.are_all_of(self.clearings)) else { return Ok(None) };
        self.pages += 1;
        if self.pages > MOST_PAGES {
            return Err(Failed::Server(ServerError::Unavailable(Unavailable::NotReady)));
        }
        let scan = Command::Scan(Box::new(Scan { cursor, pattern: self.pattern.clone(), count: PAGE }));
        let (next, mut page) = reply::scan_page(self.node.send(self.pool, &self.pattern, scan).await?)?;
        page.retain(|key| match self.finds {
            // A lease that is there now was taken after the walk over them: its work began later.
            Finds::Keys => self.clearings.names(key, refusals) && fenced_by(key).next().is_none(),
            Finds::Leases => fenced_by(key).any(|key| self.clearings.names(key, refusals)),
        });
        self.cursor = (next.as_ref() != b"0").then_some(next);
        Ok(Some(page))
    }
}

/// Waits until the server has executed what was sent on any connection, so that no earlier write arrives behind a walk.
pub(super) async fn settle_connections(node: &Node, pool: &Arc<Pool>) -> Result<(), Failed> {
    if pool.has_several_connections() {
        node.watched(pool, Arc::clone(pool).barrier()).await?;
    }
    Ok(())
}

/// The key that is all of the one prefix: no pattern for the others matches it. A walk for several finds such keys itself.
pub(super) fn exact(clearings: &Clearings) -> Option<ServerKey> {
    clearings.single().map(|prefix| Bytes::copy_from_slice(prefix.as_str().as_bytes()))
}

/// The text as a glob pattern that matches only itself.
pub(super) fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glob_characters_stand_for_themselves() {
        assert_eq!(escaped(r"a*b?[c-d]^\"), r"a\*b\?\[c\-d\]\^\\");
        assert_eq!(escaped("cachehouse:main"), "cachehouse:main");
    }
}
