//! The engine of a handle: the tiers, the flights and the settings that all clones share, with the scope of one of them.
//!
//! It's generic over the server, so that its tests bring one whose answers they hold back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::coalescing::Flights;
use super::first_connection::FirstConnection;
use super::freshness::{Retries, WorkTimes};
use super::renewals::Renewals;
use crate::backend::server::Server;
use crate::backend::tiers::{ResolvedCall, Tiers};
use crate::clock::Clock;
use crate::codec::SharedCodec;
use crate::config::Namespaces;
use crate::error::Error;
use crate::health::HealthReporter;
use crate::key::{CallKey, KeyBuilder, Scope};
use crate::options::CacheOptions;
use crate::policy::{Overrides, Policy};
use crate::surroundings;
use crate::telemetry::metrics::{Requests, Series};

/// How long a call waits for another process at most.
const LONGEST_LEASE: Duration = Duration::from_secs(3600);

/// Commands that a batch has under way at once; as many reads as are sent together.
const MOST_AT_ONCE: usize = 256;

/// What a handle calls. Cheap to clone.
pub(crate) struct Engine<S> {
    pub(super) inner: Arc<Inner<S>>,
    /// Key prefix and namespace of calls that name none.
    pub(super) scope: Scope,
    /// What those calls are counted under.
    pub(super) series: Series,
}

/// What all clones of a handle share.
pub(crate) struct Inner<S> {
    pub(super) tiers: Tiers<S>,
    pub(super) health: Arc<HealthReporter>,
    pub(super) defaults: Defaults,
    key_builder: Option<Arc<dyn KeyBuilder>>,
    hasher: foldhash::quality::RandomState,
    pub(super) flights: Arc<Flights>,
    /// How long a sync caller on a worker of a runtime waits for another's work.
    pub(super) patience: Duration,
    /// How many commands a batch has under way at once at most; as many of its calls wait for others, which may have to look up too.
    pub(super) at_once: usize,
    pub(super) requests: Requests,
    pub(super) retries: Retries,
    pub(super) work_times: WorkTimes,
    pub(super) renewals: Arc<Renewals>,
    pub(super) first_connection: FirstConnection,
    closed: AtomicBool,
}

/// What calls have that don't say otherwise.
#[derive(Debug)]
pub(crate) struct Defaults {
    pub(crate) overrides: Overrides,
    /// Over the others, for calls of a namespace.
    pub(crate) namespaces: Namespaces,
    /// Whether a namespace sets a version, so that other hits are spared looking for one.
    has_versions: bool,
    /// Whether a namespace or the handle has tags.
    pub(super) has_tags: bool,
    /// Whether a namespace or the handle sets an option of freshness.
    has_freshness: bool,
}

impl Defaults {
    pub(crate) fn new(overrides: Overrides, namespaces: Namespaces) -> Self {
        let has_versions = namespaces.values().any(|options| options.0.version.is_some());
        let of_namespaces = namespaces.values().any(|options| !options.0.tags().is_empty());
        let has_tags = of_namespaces || !overrides.tags().is_empty();
        let of_namespaces = namespaces.values().any(|options| options.0.freshness().is_some());
        let has_freshness = of_namespaces || overrides.freshness().is_some();
        Self { overrides, namespaces, has_versions, has_tags, has_freshness }
    }

    /// The version of calls of this namespace that have none of their own.
    #[inline]
    fn version(&self, namespace: &str) -> u32 {
        let own = if self.has_versions { self.namespaces.get(namespace) } else { None };
        own.and_then(|own| own.0.version).or(self.overrides.version).unwrap_or_default()
    }
}

impl<S> Engine<S> {
    pub(crate) fn new(inner: Inner<S>, scope: Scope) -> Self {
        let series = inner.requests.series(scope.namespace());
        Self { inner: Arc::new(inner), scope, series }
    }

    pub(super) fn scoped(&self, namespace: &str) -> Self {
        let series = self.inner.requests.series(namespace);
        Self { inner: Arc::clone(&self.inner), scope: self.scope.with_namespace(namespace), series }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::Acquire)
    }

    /// From here on calls just run their work.
    pub(super) fn close(&self) {
        self.inner.closed.store(true, Ordering::Release);
        self.inner.renewals.end();
    }

    /// Drops all that memory holds, and keeps nothing of what is being computed.
    pub(super) fn forget_all(&self) {
        let _ = self.inner.flights.invalidate_all();
        if let Some(memory) = &self.inner.tiers.memory {
            memory.clear();
        }
    }

    pub(super) fn call_key<C>(&self, options: &CacheOptions<C>) -> Result<CallKey, Error> {
        self.call_key_with(options, None)
    }

    /// The same with these tokens for the call's tags.
    pub(super) fn call_key_with<C>(
        &self,
        options: &CacheOptions<C>,
        tokens: Option<&[Box<str>]>,
    ) -> Result<CallKey, Error> {
        let mut key = CallKey::unwritten();
        self.write_key(&mut key, options, tokens).map(|()| key)
    }

    /// Writes the key of a call in place.
    #[inline]
    pub(super) fn write_key<C>(
        &self,
        key: &mut CallKey,
        options: &CacheOptions<C>,
        tokens: Option<&[Box<str>]>,
    ) -> Result<(), Error> {
        let version = self.inner.defaults.version(options.own_namespace().unwrap_or(self.scope.namespace()));
        options.write_key(key, &self.scope, self.inner.key_builder.as_ref(), version, tokens, &self.inner.hasher)
    }

    /// What calls of one name have in common.
    pub(super) fn name_hash<C>(&self, options: &CacheOptions<C>) -> u64 {
        options.name_hash(&self.inner.hasher)
    }

    /// The key of a call, on a handle that isn't closed.
    pub(super) fn open_key<C>(&self, options: &CacheOptions<C>) -> Result<CallKey, Error> {
        if self.is_closed() { Err(Error::closed()) } else { self.call_key(options) }
    }

    /// A call with its settings: its own win over those of its namespace, and those over the handle's.
    pub(super) fn resolve<'a, C>(&'a self, key: &'a CallKey, options: &'a CacheOptions<C>) -> ResolvedCall<'a, C> {
        if options.is_token() {
            return Self::resolve_token(key, options);
        }
        let policy = self.policy(options);
        ResolvedCall {
            key,
            codec: &options.codec,
            inherited: policy.codec,
            ttl: policy.expire,
            freshness: policy.freshness,
            asks_ttl: false,
            fence: policy.fence,
            lease: policy.lease.min(LONGEST_LEASE),
            is_token: false,
        }
    }

    /// A tag's token, whatever the handle's settings are.
    #[cold]
    fn resolve_token<'a, C>(key: &'a CallKey, options: &'a CacheOptions<C>) -> ResolvedCall<'a, C> {
        let policy = Policy::of_token(&options.overrides);
        ResolvedCall {
            key,
            codec: &options.codec,
            inherited: policy.codec,
            ttl: policy.expire,
            freshness: policy.freshness,
            asks_ttl: false,
            fence: policy.fence,
            lease: policy.lease,
            is_token: true,
        }
    }

    /// Whether an option of freshness is in effect for the call. Else each value is fresh until it expires.
    #[inline]
    pub(super) fn has_freshness<C>(&self, options: &CacheOptions<C>) -> bool {
        self.inner.defaults.has_freshness || options.overrides.freshness().is_some()
    }

    /// The codec in effect for a call, unless it has a pair of functions.
    #[inline]
    pub(super) fn codec<'a, C>(&'a self, options: &'a CacheOptions<C>) -> &'a SharedCodec {
        Policy::codec(&self.inner.defaults.overrides, self.of_namespace(options), &options.overrides)
    }

    #[inline]
    pub(super) fn policy<'a, C>(&'a self, options: &'a CacheOptions<C>) -> Policy<'a> {
        Policy::merged(&self.inner.defaults.overrides, self.of_namespace(options), &options.overrides)
    }

    /// What the namespace of a call sets.
    #[inline]
    fn of_namespace<'a, C>(&'a self, options: &CacheOptions<C>) -> Option<&'a Overrides> {
        let namespaces = &self.inner.defaults.namespaces;
        if namespaces.is_empty() {
            return None;
        }
        namespaces.get(options.own_namespace().unwrap_or(self.scope.namespace())).map(|options| &options.0)
    }
}

impl<S: Server> Engine<S> {
    /// Waits for the first connection, where that was asked for and is still to come.
    ///
    /// Boxed: the futures of all calls would contain it.
    #[cold]
    pub(super) fn first_connection(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let first = &self.inner.first_connection;
            if first.is_pending() && !self.is_closed() {
                first.wait(&self.inner.health).await;
            }
        })
    }

    /// When a wait that begins now, for what the server has been sent, ends at the latest.
    pub(super) fn server_deadline(&self) -> Option<Instant> {
        self.inner.tiers.server.as_ref().map(|server| surroundings::now() + server.patience())
    }
}

impl<S> Inner<S> {
    pub(crate) fn new(
        tiers: Tiers<S>,
        health: Arc<HealthReporter>,
        defaults: Defaults,
        key_builder: Option<Arc<dyn KeyBuilder>>,
        patience: Duration,
        clock: Clock,
    ) -> Self {
        Self {
            tiers,
            health,
            defaults,
            key_builder,
            hasher: foldhash::quality::RandomState::default(),
            flights: Flights::new(),
            patience,
            at_once: MOST_AT_ONCE,
            requests: Requests::new(),
            retries: Retries::new(clock),
            work_times: WorkTimes::new(),
            renewals: Arc::default(),
            first_connection: FirstConnection::new(Duration::ZERO),
            closed: AtomicBool::new(false),
        }
    }

    /// A batch leaves half of what may be in flight to other calls, also where those that it waits for leave it all their keys.
    pub(crate) fn with_max_in_flight(self, max_in_flight: usize) -> Self {
        Self { at_once: (max_in_flight / 4).clamp(1, MOST_AT_ONCE), ..self }
    }

    /// The first calls wait for the first connection, for so long at most.
    pub(crate) fn with_wait_for_server(self, limit: Duration) -> Self {
        Self { first_connection: FirstConnection::new(limit), ..self }
    }
}

impl<S> Clone for Engine<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), scope: self.scope.clone(), series: self.series.clone() }
    }
}
