//! Where a server is, in every form that users write it.

use std::fmt::{self, Write as _};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::Url;

use super::secret::Secret;
use crate::error::Error;

/// The port where an endpoint names none.
const DEFAULT_PORT: u16 = 6379;

const SCHEMES: [&str; 5] = ["redis", "rediss", "valkey", "valkeys", "unix"];

const ACCEPTED: &str = "accepts \"host\", \"host:port\", (\"host\", port), \"[::1]:6379\", \
    \"redis://user:password@host:port/database\", \"rediss://…\" for TLS, or \"unix:///path.sock\"";

/// Where a server is, and what a URL says about logging in to it.
///
/// | form | meaning |
/// | --- | --- |
/// | `"host"`, `"host:port"`, `("host", port)` | TCP; the port is 6379 where none is given |
/// | `"[::1]:6379"`, `"::1"` | TCP to an IPv6 address |
/// | `"redis://user:password@host:port/database"` | the same with credentials, percent-encoded where needed |
/// | `"rediss://…"` | over TLS |
/// | `"unix:///path.sock"` | a Unix domain socket |
///
/// `valkey://` and `valkeys://` mean the same as `redis://` and `rediss://`.
///
/// ```
/// use cache_house::Endpoint;
///
/// let endpoint: Endpoint = "rediss://app:s%20cret@cache.example:7000/2".parse()?;
/// assert_eq!(endpoint.to_string(), "rediss://cache.example:7000");
///
/// let error = Endpoint::try_from("localhost:port").unwrap_err();
/// assert!(error.to_string().starts_with("endpoint: \"localhost:***\" has a port that is no number from 1 to 65535"));
/// # Ok::<(), cache_house::Error>(())
/// ```
#[doc(alias("url", "host", "port", "address"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub(crate) address: Address,
    pub(crate) tls: bool,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    /// An IPv6 host stands without its brackets.
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl Endpoint {
    fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::bare(Address::Tcp { host: host.into(), port })
    }

    fn bare(address: Address) -> Self {
        Self { address, tls: false, username: None, password: None, database: None }
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once("://") {
            Some((scheme, rest)) => parse_url(text, &scheme.to_ascii_lowercase(), rest),
            None => parse_host_port(text),
        }
        .map_err(|problem| {
            let shown = redacted(text);
            Error::config("endpoint", format!("{shown:?} {problem}; {ACCEPTED}"))
        })
    }
}

impl TryFrom<&str> for Endpoint {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self, Error> {
        text.parse()
    }
}

impl TryFrom<String> for Endpoint {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl TryFrom<&String> for Endpoint {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self, Error> {
        text.parse()
    }
}

impl TryFrom<(&str, u16)> for Endpoint {
    type Error = Error;

    fn try_from((host, port): (&str, u16)) -> Result<Self, Error> {
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let checked = check_host(host).and_then(|()| check_port(port));
        let problem =
            |problem| Error::config("endpoint", format!("({:?}, {port}) {problem}; {ACCEPTED}", redacted(host)));
        checked.map(|()| Self::tcp(host, port)).map_err(problem)
    }
}

impl TryFrom<(String, u16)> for Endpoint {
    type Error = Error;

    fn try_from((host, port): (String, u16)) -> Result<Self, Error> {
        Self::try_from((host.as_str(), port))
    }
}

impl fmt::Display for Endpoint {
    /// Without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss://" } else { "" };
        write!(f, "{scheme}{}", self.address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => {
                f.write_str("unix://")?;
                // Escaped, so that it reads back.
                path.display().to_string().chars().try_for_each(|c| match c {
                    '?' | '#' | '%' | '\0'..' ' | '\x7f' => write!(f, "%{:02X}", u32::from(c)),
                    c => f.write_char(c),
                })
            }
        }
    }
}

fn parse_host_port(text: &str) -> Result<Endpoint, String> {
    if text.contains('@') {
        return Err("has an @ but no scheme".into());
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or("lacks the closing ]")?;
        host.parse::<Ipv6Addr>().map_err(|_| "has in brackets what is no IPv6 address")?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok(Endpoint::tcp(host, parse_port(port)?)),
            None if rest.is_empty() => Ok(Endpoint::tcp(host, DEFAULT_PORT)),
            None => Err("goes on after its ], and not with a : and a port".into()),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(Endpoint::tcp(text, DEFAULT_PORT));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, parse_port(port)?),
        None => (text, DEFAULT_PORT),
    };
    check_host(host)?;
    Ok(Endpoint::tcp(host, port))
}

fn parse_url(text: &str, scheme: &str, rest: &str) -> Result<Endpoint, String> {
    let tls = match scheme {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        "unix" => return parse_unix(rest),
        _ if is_word(scheme) => return Err(format!("has the scheme {scheme:?}")),
        _ => return Err("has a scheme that is no word".into()),
    };
    // The library's own message can't quote the text, so it can't quote the password.
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a ? or a #, which means nothing here (in a password write %3F, %23)".into());
    }
    if url.path().contains('@') || url.path().contains("%40") {
        return Err("has a / before its @ (in a password write %2F)".into());
    }
    let host = url.host_str().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let host = decode(host, "host")?;
    check_host(&host)?;
    let port = url.port().unwrap_or(DEFAULT_PORT);
    check_port(port)?;
    let username = Some(decode(url.username(), "user name")?).filter(|name| !name.is_empty());
    let password = url.password().map(|password| decode(password, "password")).transpose()?.map(Secret::from);
    let database = match url.path().trim_start_matches('/') {
        "" => None,
        number => Some(number.parse().map_err(|_| match number {
            number if is_harmless(number) => format!("has the database {number}, which is no number from 0 to 255"),
            _ => "has a database that is no number from 0 to 255".into(),
        })?),
    };
    Ok(Endpoint { tls, username, password, database, ..Endpoint::tcp(host, port) })
}

fn parse_unix(path: &str) -> Result<Endpoint, String> {
    if !path.starts_with('/') {
        return Err("doesn't name an absolute path".into());
    }
    if path.contains(['?', '#']) {
        return Err("has a ? or a #, which means nothing here (in a path write %3F, %23)".into());
    }
    let path = decode(path, "path")?;
    Ok(Endpoint::bare(Address::Unix(PathBuf::from(path))))
}

fn parse_port(text: &str) -> Result<u16, String> {
    // `parse` would take a sign.
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let port = digits.and_then(|digits| digits.parse().ok());
    let port = port.ok_or_else(|| match text {
        "" => "has no port after its colon".into(),
        number if is_harmless(number) => format!("has the port {number}, which is no number from 1 to 65535"),
        _ => String::from("has a port that is no number from 1 to 65535"),
    })?;
    check_port(port)?;
    Ok(port)
}

fn check_port(port: u16) -> Result<(), String> {
    if port == 0 { Err("has the port 0".into()) } else { Ok(()) }
}

fn check_host(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("names no host".into());
    }
    let known = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.chars().all(known) || host.parse::<Ipv6Addr>().is_ok() {
        Ok(())
    } else {
        Err(format!("has a character that no host name has, in {:?}", redacted(host)))
    }
}

fn decode(text: &str, what: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(String::from).map_err(|_| format!("has a {what} that isn't UTF-8 once its percent escapes are decoded"))
}

/// The text as a message may show it. A password may stand before an `@`, after a `?`, and where the host was forgotten, after the
/// first colon, so that behind a host only short numbers are shown; each of these marks may be escaped.
fn redacted(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme)) => {
            (&text[..scheme.len() + 3], rest)
        }
        // Perhaps a user name and a password.
        Some((scheme, _)) if is_word(scheme) => return format!("{scheme}://***"),
        _ => ("", text),
    };
    let rest = percent_decode_str(rest).decode_utf8_lossy();
    let query = rest.find(['?', '#']).unwrap_or(rest.len());
    // Escaped twice, perhaps; or it's unclear which mark ends what.
    if rest.contains('%') || rest[query..].contains('@') {
        return format!("{scheme}***");
    }
    let (login, rest) = rest.rsplit_once('@').map_or(("", &*rest), |(_, after)| ("***@", after));
    let (rest, query) = rest.split_once(['?', '#']).map_or((rest, ""), |(before, _)| (before, "?***"));
    let is_path = scheme.eq_ignore_ascii_case("unix://") && (rest.starts_with('/') || !rest.contains(':'));
    let host_end = match rest.find(']') {
        Some(end) if rest.starts_with('[') => end + 1,
        None if rest.starts_with('[') => rest.len(),
        _ if is_path || rest.parse::<Ipv6Addr>().is_ok() => rest.len(),
        _ => rest.find([':', '/']).unwrap_or(rest.len()),
    };
    let (host, after) = rest.split_at(host_end);
    let in_address = |c: char| c.is_ascii_hexdigit() || "[:.]".contains(c);
    let host = if host.starts_with('[') && !host.chars().all(in_address) { "[***]" } else { host };
    let after = match after.chars().next() {
        Some(mark) if !after.split([':', '/']).all(is_harmless) => format!("{mark}***"),
        _ => after.to_owned(),
    };
    format!("{scheme}{login}{host}{after}{query}")
}

/// Whether it's too short a number for a password, or nothing.
fn is_harmless(text: &str) -> bool {
    text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests;
