//! Removing many keys, by page: each page under its own deadline, so that it never holds up the callers.

use std::sync::Arc;

use bytes::Bytes;
use fred::types::Value;

use super::super::journal::Invalidate;
use super::super::{ServerError, Unavailable};
use super::link::Link;
use super::node::Node;
use super::reply;
use crate::key::{KeyPrefix, ServerKey};

/// How many slots of the server's table one page looks at. Measured over 100,000 keys: 69 ms in pages of 1000, 625 ms
/// in pages of 10.
const PAGE: i64 = 1000;

/// Removes every key that `prefix` names and that was there when the call began; how many there were.
pub(super) async fn clear(node: &Node, link: &Arc<Link>, prefix: &KeyPrefix) -> Result<u64, ServerError> {
    if link.has_several_lanes() {
        // What was sent on another lane must not arrive behind the scan.
        node.watched(link, Arc::clone(link).barrier()).await?;
    }
    let exact = Bytes::copy_from_slice(prefix.as_str().as_bytes());
    let mut removed = unlink(node, link, vec![exact]).await?;
    let pattern = Bytes::from(format!("{}:*", escaped(prefix.as_str())));
    let mut cursor = Bytes::from_static(b"0");
    loop {
        // One after the other: at once, the two would need room for two in flight, and there may be room for one.
        let args = vec![cursor.into(), "MATCH".into(), pattern.clone().into(), "COUNT".into(), PAGE.into()];
        let (next, mut page) = reply::scan_page(node.send(link, &pattern, "SCAN", args).await?)?;
        page.retain(|key| prefix.matches(key));
        removed += unlink(node, link, page).await?;
        if next.as_ref() == b"0" {
            return Ok(removed);
        }
        cursor = next;
    }
}

/// Removes these keys; how many of them were there.
pub(super) async fn unlink(node: &Node, link: &Arc<Link>, keys: Vec<ServerKey>) -> Result<u64, ServerError> {
    let Some(first) = keys.first().cloned() else { return Ok(0) };
    let args = keys.into_iter().map(Value::from).collect();
    let removed = reply::number(&node.send(link, &first, "UNLINK", args).await?)?;
    Ok(u64::try_from(removed).unwrap_or(0))
}

/// Carries the journal out over `link`, whether or not that is published.
pub(super) async fn replay(node: &Node, link: &Arc<Link>) -> Result<(), Unavailable> {
    node.journal.replay(&OverLink { node, link }).await
}

/// The journal's hands on a link.
struct OverLink<'a> {
    node: &'a Node,
    link: &'a Arc<Link>,
}

impl Invalidate for OverLink<'_> {
    async fn remove_all(&self, keys: &[ServerKey]) -> Result<(), ServerError> {
        unlink(self.node, self.link, keys.to_vec()).await.map(|_| ())
    }

    async fn clear(&self, prefix: &KeyPrefix) -> Result<(), ServerError> {
        clear(self.node, self.link, prefix).await.map(|_| ())
    }
}

/// The text as a glob pattern that matches only itself.
fn escaped(text: &str) -> String {
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
