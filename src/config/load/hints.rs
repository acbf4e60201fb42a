//! What a key that isn't known was probably meant to be.

/// Words of other libraries for a key, and the key.
const SYNONYMS: [(&[&str], &str); 12] = [
    (&["ttl", "expiry", "expires", "expires_in", "expiration", "lifetime", "max_age", "time_to_live"], "expire"),
    (&["url", "uri", "host", "address", "addr", "redis_url", "server_url"], "autodetect.endpoint"),
    (&["db"], "standalone.database"),
    (&["prefix"], "key_prefix"),
    (&["user", "login"], "connection.username"),
    (&["pass", "passwd", "pwd"], "connection.password"),
    (&["serializer", "format", "encoding"], "codec"),
    (&["timeout", "read_timeout", "response_timeout"], "connection.command_timeout"),
    (&["connections", "max_connections", "pool", "max_pool_size"], "connection.pool_size"),
    (&["capacity", "max_capacity", "max_size", "size"], "memory_tier.max_entries"),
    (&["swr", "grace"], "stale_while_revalidate"),
    (&["redis", "valkey", "server"], "autodetect"),
];

/// The key in which a word of another library is said here, for the last part of `written`.
fn synonym(written: &str) -> Option<&'static str> {
    let last = written.rsplit('.').next().unwrap_or_default();
    SYNONYMS.iter().find(|(words, _)| words.contains(&last)).map(|(_, key)| *key)
}

/// How a problem with an unknown key ends: the known one that was most likely meant, or where they all are. `written` is in the candidates'
/// form.
pub(super) fn hint<'a>(written: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let meant = synonym(written);
    let by_meaning = candidates.iter().find(|candidate| {
        meant.is_some_and(|meant| {
            **candidate == meant || candidate.strip_suffix(meant).is_some_and(|table| table.ends_with('.'))
        })
    });
    by_meaning.copied().or_else(|| nearest(written, candidates.iter().copied()))
}

/// Whether Kubernetes sets this variable in the pods beside a service that is named `cachehouse`. `name` is without the prefix.
pub(super) fn is_of_kubernetes(name: &str) -> bool {
    name == "SERVICE_HOST" || name == "PORT" || name.starts_with("SERVICE_PORT") || name.starts_with("PORT_")
}

/// The candidate that takes the fewest changes to become `text`, if those are few; `.`, `_` and `__` are taken for the same.
fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace("__", "_").replace('.', "_");
    let (table, last) = text.rsplit_once('.').unwrap_or(("", text));
    let changes = |candidate: &str| {
        let (its_table, its_last) = candidate.rsplit_once('.').unwrap_or(("", candidate));
        // What is cut short, or was taken for a table, is nearer than any other spelling.
        let is_cut = its_table == table && its_last.starts_with(last) && !last.is_empty();
        let is_above = text.strip_prefix(candidate).is_some_and(|rest| rest.starts_with('.'));
        // What was put into the wrong table is one change away.
        let elsewhere = distance(&plain(last), &plain(its_last)) + 1;
        let least = distance(&plain(text), &plain(candidate)).min(elsewhere);
        match (is_cut, is_above) {
            (true, _) => least.min(1),
            (false, true) => least.min(2),
            (false, false) => least,
        }
    };
    let few = (plain(last).len() / 3).max(2);
    let nearest =
        candidates.into_iter().map(|candidate| (changes(candidate), candidate)).min_by_key(|(changes, _)| *changes);
    nearest.filter(|(changes, _)| *changes <= few).map(|(_, candidate)| candidate)
}

/// Levenshtein's, with two neighbours that changed places as one change.
pub(super) fn distance(one: &str, two: &str) -> usize {
    // Whatever is longer than any key is far from all.
    let one: Vec<char> = one.chars().take(100).collect();
    let two: Vec<char> = two.chars().collect();
    let mut rows = vec![vec![0; two.len() + 1]; one.len() + 1];
    for i in 0..=one.len() {
        for j in 0..=two.len() {
            rows[i][j] = match (i, j) {
                (i, 0) => i,
                (0, j) => j,
                _ => {
                    let replaced = rows[i - 1][j - 1] + usize::from(one[i - 1] != two[j - 1]);
                    let least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    let swapped = i > 1 && j > 1 && one[i - 1] == two[j - 2] && one[i - 2] == two[j - 1];
                    if swapped { least.min(rows[i - 2][j - 2] + 1) } else { least }
                }
            };
        }
    }
    rows[one.len()][two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_counted() {
        for (one, two, changes) in [("", "", 0), ("abc", "abc", 0), ("abc", "acb", 1), ("abc", "ac", 1), ("", "abc", 3)]
        {
            assert_eq!((distance(one, two), distance(two, one)), (changes, changes), "{one} {two}");
        }
    }

    #[test]
    fn the_nearest_is_the_one_that_was_most_likely_meant() {
        let known = ["namespace", "connection.password", "connection.username", "memory_tier.max_bytes"];
        for (text, meant) in [
            ("namespce", "namespace"),
            ("connection.pasword", "connection.password"),
            ("CONNECTION_PASSWORD", "connection.password"),
            ("username", "connection.username"),
            ("memory.max_bytes", "memory_tier.max_bytes"),
            ("memory_tier.max", "memory_tier.max_bytes"),
        ] {
            assert_eq!(nearest(text, known), Some(meant), "{text}");
        }
    }
}
