//! What is kept in the cache.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::conditional::has_validator;
use crate::directives::Directives;

/// The version of the layout: raised where [`Kept`] or the keys change, so that no build reads what another has written.
pub(crate) const VERSION: u32 = 2;

/// How long it's remembered which headers the responses of a URI vary by. Its variants are lost with it.
const VARIES_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// A response that is never asked for again goes after this.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// What there is under a key.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Kept {
    Response(Shared),
    /// The URI has several variants. They are under keys made of `generation` and of what the request has of the headers
    /// `names`, in lower case and sorted. So variants are found through this entry alone, and go with it.
    Varies {
        names: Vec<String>,
        generation: u64,
    },
}

/// A response without copying; hits clone it.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Stored>);

/// A stored response.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stored {
    #[serde(serialize_with = "write_status", deserialize_with = "read_status")]
    pub(crate) status: StatusCode,
    /// Without those of the connection, and without `Age`.
    #[serde(serialize_with = "write_headers", deserialize_with = "read_headers")]
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    #[serde(serialize_with = "write_headers", deserialize_with = "read_headers")]
    pub(crate) trailers: HeaderMap,
    /// When the origin made or confirmed it, in milliseconds since 1970: its age is counted from here.
    pub(crate) born: u64,
    /// How long it's fresh from then on, in milliseconds.
    pub(crate) lifetime: u64,
}

impl Kept {
    /// How long to keep it; `grace` is for responses that can be revalidated.
    pub(crate) fn ttl(&self, now: SystemTime, grace: Duration) -> Duration {
        match self {
            Self::Varies { .. } => VARIES_FOR,
            Self::Response(stored) => {
                let directives = Directives::of(&stored.headers);
                let windows = [directives.stale_while_revalidate, directives.stale_if_error];
                let window = windows.into_iter().flatten().max().filter(|_| !directives.forbids_stale());
                let grace = has_validator(&stored.headers).then_some(grace);
                let stale = window.max(grace).unwrap_or_default();
                stored.lifetime().saturating_add(stale).saturating_sub(stored.age(now)).min(LONGEST)
            }
        }
    }
}

impl Stored {
    pub(crate) fn lifetime(&self) -> Duration {
        Duration::from_millis(self.lifetime)
    }

    pub(crate) fn age(&self, now: SystemTime) -> Duration {
        // The clock of the process that stored it may be ahead.
        Duration::from_millis(millis(now).saturating_sub(self.born))
    }

    /// How long it has been stale.
    pub(crate) fn staleness(&self, now: SystemTime) -> Option<Duration> {
        self.age(now).checked_sub(self.lifetime())
    }

    /// Whether requests that find it stale may share one answer of the origin. They may not where each of them has to ask.
    pub(crate) fn is_shared_while_revalidating(&self) -> bool {
        let directives = Directives::of(&self.headers);
        let is_served_stale = directives.stale_while_revalidate.or(directives.stale_if_error).is_some();
        self.lifetime > 0 || is_served_stale && !directives.forbids_stale()
    }

    /// The seconds that it's fresh for; negative if it's stale.
    pub(crate) fn ttl_seconds(&self, now: SystemTime) -> i64 {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        seconds(self.lifetime()) - seconds(self.age(now))
    }
}

impl From<Stored> for Shared {
    fn from(stored: Stored) -> Self {
        Self(Arc::new(stored))
    }
}

impl std::ops::Deref for Shared {
    type Target = Stored;

    fn deref(&self) -> &Stored {
        &self.0
    }
}

impl Serialize for Shared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Shared {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Stored::deserialize(deserializer).map(Self::from)
    }
}

/// Milliseconds since 1970.
pub(crate) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn write_status<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    status.as_u16().serialize(serializer)
}

fn read_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StatusCode, D::Error> {
    StatusCode::from_u16(u16::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn write_headers<S: Serializer>(headers: &HeaderMap, serializer: S) -> Result<S::Ok, S::Error> {
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), Bytes::copy_from_slice(value.as_bytes())));
    serializer.collect_seq(pairs)
}

fn read_headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderMap, D::Error> {
    let pairs = Vec::<(String, Bytes)>::deserialize(deserializer)?;
    // More than a map takes would be a panic.
    let mut headers = HeaderMap::try_with_capacity(pairs.len()).map_err(D::Error::custom)?;
    for (name, value) in pairs {
        let name = HeaderName::try_from(name).map_err(D::Error::custom)?;
        let value = HeaderValue::from_maybe_shared(value).map_err(D::Error::custom)?;
        headers.try_append(name, value).map_err(D::Error::custom)?;
    }
    Ok(headers)
}
