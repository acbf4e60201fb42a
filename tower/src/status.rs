//! `Cache-Status` (RFC 9211).

use std::fmt::{self, Write};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The name of a cache, as a structured field writes it (RFC 8941): a token, or else a string.
#[derive(Clone)]
pub(crate) struct CacheName(Arc<str>);

/// How a request was handled.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Handled {
    /// From the cache; fresh for so many seconds more, negative if it's stale.
    Hit {
        ttl: i64,
    },
    Forwarded(Forwarded),
    /// Neither: nothing stored could answer it, and it forbids to ask.
    Refused,
}

/// A request that went to the inner service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forwarded {
    pub(crate) why: Why,
    /// What the inner service said; shown where the response has another status.
    pub(crate) status: Option<StatusCode>,
    /// Known where nothing was stored before.
    pub(crate) is_stored: bool,
    /// Another request went there, and this one got its response.
    pub(crate) is_collapsed: bool,
    /// The stored response was served, because the inner service failed.
    pub(crate) is_stale: bool,
}

/// Why a request went to the inner service (RFC 9211, section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Bypass,
    Method,
    UriMiss,
    VaryMiss,
    /// It isn't known which of the two.
    Miss,
    Request,
    Stale,
}

impl CacheName {
    pub(crate) fn new(name: &str) -> Self {
        let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
        let begins = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*');
        if begins && name.bytes().all(is_of_token) {
            return Self(name.into());
        }
        let mut text = String::from("\"");
        for character in name.chars().filter(|character| matches!(character, ' '..='~')) {
            if matches!(character, '"' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
        text.push('"');
        Self(text.into())
    }
}

impl fmt::Debug for CacheName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Why {
    pub(crate) fn forwarded(self) -> Forwarded {
        Forwarded { why: self, status: None, is_stored: false, is_collapsed: false, is_stale: false }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

impl Handled {
    /// Adds this cache to those that the response, of this status, has passed.
    pub(crate) fn note(self, name: &CacheName, status: StatusCode, headers: &mut HeaderMap) {
        let mut line = name.0.to_string();
        // Writing to a `String` doesn't fail.
        let _ = match self {
            Self::Hit { ttl } => write!(line, "; hit; ttl={ttl}"),
            Self::Forwarded(forwarded) => forwarded.write(&mut line, status),
            Self::Refused => write!(line, "; detail=only-if-cached"),
        };
        if let Ok(value) = HeaderValue::try_from(line) {
            headers.append(CACHE_STATUS, value);
        }
    }
}

impl Forwarded {
    fn write(self, line: &mut String, status_of_response: StatusCode) -> fmt::Result {
        write!(line, "; fwd={}", self.why.text())?;
        if let Some(status) = self.status.filter(|status| *status != status_of_response) {
            write!(line, "; fwd-status={}", status.as_u16())?;
        }
        let flags = [
            (self.is_stored, "; stored"),
            (self.is_collapsed, "; collapsed"),
            (self.is_stale, "; detail=stale-if-error"),
        ];
        flags.into_iter().filter(|(is_set, _)| *is_set).try_for_each(|(_, flag)| line.write_str(flag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_token_is_quoted() {
        let name = |text: &str| format!("{:?}", CacheName::new(text));
        assert_eq!(name("cache-house"), "cache-house");
        assert_eq!(name("edge/7"), "edge/7");
        assert_eq!(name("7 \"edges\"\r\n\u{e9}"), "\"7 \\\"edges\\\"\"");
        assert_eq!(name(""), "\"\"");
    }

    #[test]
    fn it_comes_after_the_caches_before() {
        let mut headers = HeaderMap::from_iter([(CACHE_STATUS, HeaderValue::from_static("origin; hit"))]);
        let stored = Forwarded { is_stored: true, status: Some(StatusCode::NOT_MODIFIED), ..Why::Stale.forwarded() };
        Handled::Forwarded(stored).note(&CacheName::new("edge"), StatusCode::OK, &mut headers);
        let lines: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
        assert_eq!(lines, ["origin; hit", "edge; fwd=stale; fwd-status=304; stored"]);
    }
}
