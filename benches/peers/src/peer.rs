//! What every peer can do, and how it's asked.

use std::error::Error;
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::scenarios::KEYS;
use crate::user::User;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// One way to cache.
pub(crate) trait Peer: Send + Sync + 'static {
    /// The user of this id: the cached one, or what `origin::load` says.
    ///
    /// # Errors
    ///
    /// What the peer's own call returns for trouble with the cache; the work never fails.
    fn get(&self, id: u64) -> impl Future<Output = Result<User, Failure>> + Send;
}

pub(crate) type Shared = Arc<dyn Entrant>;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A peer whose type is forgotten. The loops are inside, so that no measured hit pays for that.
pub(crate) trait Entrant: Send + Sync {
    fn get(&self, id: u64) -> Boxed<'_, Result<User, Failure>>;

    /// Calls until the round is over; how many.
    fn calls(&self, task: u64, start: Instant, round: Duration) -> Boxed<'_, u64>;

    /// Nanoseconds a call, over so many.
    fn nanos(&self, calls: u64) -> Boxed<'_, f64>;
}

impl<P: Peer> Entrant for P {
    fn get(&self, id: u64) -> Boxed<'_, Result<User, Failure>> {
        Box::pin(Peer::get(self, id))
    }

    fn calls(&self, task: u64, start: Instant, round: Duration) -> Boxed<'_, u64> {
        Box::pin(async move {
            let mut done = 0;
            while start.elapsed() < round {
                black_box(Peer::get(self, (task * 7 + done) % KEYS).await.expect("a hit"));
                done += 1;
            }
            done
        })
    }

    fn nanos(&self, calls: u64) -> Boxed<'_, f64> {
        Box::pin(async move {
            let start = Instant::now();
            for call in 0..calls {
                black_box(Peer::get(self, call % KEYS).await.expect("a hit"));
            }
            start.elapsed().as_nanos() as f64 / calls as f64
        })
    }
}
