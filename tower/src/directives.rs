//! The directives of `Cache-Control`, of a request or of a response.

use std::time::Duration;

use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};

/// What `Cache-Control` says (RFC 9111, section 5.2; RFC 5861). Names are read in any case, and values quoted or not.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Directives {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) private: bool,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) only_if_cached: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) s_maxage: Option<Duration>,
    pub(crate) min_fresh: Option<Duration>,
    /// [`Duration::MAX`] without a value.
    pub(crate) max_stale: Option<Duration>,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
}

/// What a number of seconds counts as that is too large (RFC 9111, section 1.2.2).
const MOST_SECONDS: u64 = 1 << 31;

impl Directives {
    /// Those of a message.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for line in headers.get_all(CACHE_CONTROL) {
            match line.to_str() {
                Ok(line) => split_outside_quotes(line).for_each(|directive| found.add(directive)),
                // It may say that nothing is to be stored.
                Err(_) => found.no_store = true,
            }
        }
        if !headers.contains_key(CACHE_CONTROL) {
            // Section 5.4.
            let is_no_cache = |line: &str| line.split(',').any(|word| word.trim().eq_ignore_ascii_case("no-cache"));
            found.no_cache = headers.get_all(PRAGMA).iter().any(|line| line.to_str().is_ok_and(is_no_cache));
        }
        found
    }

    fn add(&mut self, directive: &str) {
        let (name, value) = match directive.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (directive.trim(), None),
        };
        match name.to_ascii_lowercase().as_str() {
            "no-store" => self.no_store = true,
            // With names of fields too: those could be left out of what is stored, but nothing has to be stored.
            "private" => self.private = true,
            "no-cache" => self.no_cache = true,
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "only-if-cached" => self.only_if_cached = true,
            // What can't be read counts as the strictest value (section 4.2.1), and so does the least of several.
            "max-age" => least(&mut self.max_age, seconds(value).unwrap_or_default()),
            "s-maxage" => least(&mut self.s_maxage, seconds(value).unwrap_or_default()),
            "stale-while-revalidate" => {
                least(&mut self.stale_while_revalidate, seconds(value).unwrap_or_default());
            }
            "stale-if-error" => least(&mut self.stale_if_error, seconds(value).unwrap_or_default()),
            "max-stale" if value.is_none() => least(&mut self.max_stale, Duration::MAX),
            "max-stale" => least(&mut self.max_stale, seconds(value).unwrap_or_default()),
            "min-fresh" => {
                let seconds = seconds(value).unwrap_or_default();
                self.min_fresh = Some(self.min_fresh.map_or(seconds, |other| other.max(seconds)));
            }
            _ => {}
        }
    }

    /// Whether a stale answer is forbidden to every client. `s-maxage` forbids it too (section 5.2.2.10),
    /// but not beside an explicit permission of RFC 5861.
    pub(crate) fn forbids_stale(&self) -> bool {
        self.no_cache || self.must_revalidate || self.proxy_revalidate
    }

    /// Whether the response to a request with `Authorization` may be stored (section 3.5).
    pub(crate) fn allows_authorized(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some()
    }
}

fn least(known: &mut Option<Duration>, next: Duration) {
    *known = Some(known.map_or(next, |known| known.min(next)));
}

fn seconds(value: Option<&str>) -> Option<Duration> {
    let digits = value.filter(|value| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(Duration::from_secs(digits.parse().unwrap_or(MOST_SECONDS).min(MOST_SECONDS)))
}

/// The parts between commas; a comma inside quotes is no separator.
fn split_outside_quotes(line: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    line.split(move |character| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match character {
            '"' if !was_escaped => is_quoted = !is_quoted,
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            _ => {}
        }
        character == ',' && !is_quoted
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(lines: &[&str]) -> Directives {
        let values = lines.iter().map(|line| (CACHE_CONTROL, HeaderValue::from_str(line).unwrap()));
        Directives::of(&HeaderMap::from_iter(values))
    }

    const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

    #[test]
    fn names_are_read_in_any_case_over_several_lines() {
        assert_eq!(of(&["Max-Age=60, PUBLIC"]), Directives { max_age: MINUTE, public: true, ..Directives::default() });
        assert!(of(&["public", "No-Store"]).no_store);
        assert_eq!(of(&["max-age=\"60\" , ,x=1"]).max_age, MINUTE);
    }

    #[test]
    fn what_is_quoted_is_no_directive() {
        let read = of(&["ext=\"a, no-store, \\\", private\", s-maxage=60"]);
        assert_eq!(read, Directives { s_maxage: MINUTE, ..Directives::default() });
        assert!(of(&["private=\"x, y\""]).private);
    }

    #[test]
    fn what_cannot_be_read_counts_as_the_strictest() {
        for wrong in ["max-age=soon", "max-age=-1", "max-age", "max-age=", "max-age=1.5", "max-age=60, max-age=0"] {
            assert_eq!(of(&[wrong]).max_age, Some(Duration::ZERO), "{wrong}");
        }
        assert_eq!(of(&["max-age=99999999999999999999999"]).max_age, Some(Duration::from_secs(1 << 31)));
        assert_eq!(of(&["max-stale"]).max_stale, Some(Duration::MAX));
        let unreadable = HeaderValue::from_bytes(b"max-age=60, x=\xe9").unwrap();
        assert!(Directives::of(&HeaderMap::from_iter([(CACHE_CONTROL, unreadable)])).no_store);
    }

    #[test]
    fn pragma_counts_without_cache_control_alone() {
        let pragma = (PRAGMA, HeaderValue::from_static("x, No-Cache"));
        assert!(Directives::of(&HeaderMap::from_iter([pragma.clone()])).no_cache);
        let other = (CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        assert!(!Directives::of(&HeaderMap::from_iter([pragma, other])).no_cache);
    }
}
