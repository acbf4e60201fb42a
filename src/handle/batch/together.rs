//! Lookups of a batch that are one command.

use std::any::Any;
use std::collections::VecDeque;

use super::Joined;
use super::call::{Asking, Call, Led, Outcomes};
use super::progress::NoValue;
use crate::backend::server::Server;
use crate::backend::tiers::{Read, ResolvedCall, Route};
use crate::codec::ValueCodec;
use crate::handle::caller::Caller;
use crate::handle::coalescing::together::Hold;
use crate::handle::engine::Engine;
use crate::handle::entry::Source;
use crate::handle::freshness::{Fetched, Verdict};
use crate::handle::read_through::Outcome;
use crate::options::CacheOptions;

/// Keys of one command: as many as are sent together of single calls.
const MOST_KEYS: usize = 256;

impl<S: Server> Engine<S> {
    /// Takes those calls out of `joined` whose values the server may be asked for by one command, in pieces.
    pub(super) fn take_together<T, C>(
        &self,
        calls: &[Call<'_, T, C>],
        joined: &mut Joined,
        caller: Caller,
    ) -> VecDeque<Vec<Asking>> {
        let tiers = &self.inner.tiers;
        // Where the near cache may answer a call, its key is marked when it's read.
        let (has_near, all_ask) = (tiers.near.is_some(), tiers.all_go_to_server());
        let is_one_of_many = |at: usize| {
            let Call { key, options, .. } = &calls[at];
            !has_near && !options.is_token() && (all_ask || tiers.route(key) == Route::Server)
        };
        let mut together = Vec::with_capacity(joined.led.len() + joined.beside.len());
        for led in std::mem::take(&mut joined.led) {
            if led.stores.is_none() && is_one_of_many(led.at) {
                together.push(Asking { at: led.at, hold: Hold::Leads(led.leader) });
            } else {
                joined.led.push_back(led);
            }
        }
        for at in std::mem::take(&mut joined.beside) {
            if is_one_of_many(at) {
                let observer = self.inner.flights.observe(&calls[at].key, caller);
                together.push(Asking { at, hold: Hold::Beside(observer) });
            } else {
                joined.awaited.push_back(at);
            }
        }
        let mut pieces = VecDeque::new();
        while together.len() > 1 {
            let rest = together.split_off(together.len().min(MOST_KEYS));
            pieces.push_back(together);
            together = rest;
        }
        joined.hand_back(together);
        pieces
    }

    /// What these calls find; or they are given back, where each has to look for itself.
    pub(super) async fn look_up_together<T, C>(
        &self,
        calls: &[Call<'_, T, C>],
        piece: Vec<Asking>,
    ) -> Result<Outcomes<T>, Vec<Asking>>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let tiers = &self.inner.tiers;
        let Some(server) = &tiers.server else { return Err(piece) };
        let resolve = |asking: &Asking| self.resolve(&calls[asking.at].key, calls[asking.at].options);
        let resolved: Vec<_> = piece.iter().map(resolve).collect();
        piece.iter().for_each(|asking| asking.hold.asks());
        let fence = |place: usize| &piece[place].hold;
        let Some(reads) = tiers.read_together(server, &resolved, fence).await else { return Err(piece) };
        let outcomes = piece.into_iter().zip(resolved.iter().zip(reads)).map(|(Asking { at, hold }, (call, read))| {
            let Call { options, old, .. } = &calls[at];
            let outcome = match hold {
                Hold::Leads(leader) => {
                    Some(self.after_lookup(call, options, leader, old.as_deref(), self.found(call, read)))
                }
                Hold::Beside(_) => self.found_beside(call, options, read),
            };
            (at, outcome)
        });
        Ok(outcomes.collect())
    }

    /// A fresh value that was read beside the call that leads. `None`: that call is waited for.
    fn found_beside<T, C>(
        &self,
        call: &ResolvedCall<'_, C>,
        options: &CacheOptions<C>,
        read: Read<T>,
    ) -> Option<Outcome<T, NoValue>>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let Read::Hit(value, remaining) = read else { return None };
        let found = Fetched { value, source: Source::Server, remaining };
        if self.verdict(call, options, &found) != Verdict::Fresh {
            return None;
        }
        self.served(options, call.key, &found, Verdict::Fresh);
        Some(Outcome::Found(found))
    }
}

impl Joined {
    /// Takes calls back that aren't read together: each looks or waits for itself.
    pub(super) fn hand_back(&mut self, apart: Vec<Asking>) {
        for Asking { at, hold } in apart {
            match hold {
                Hold::Leads(leader) => self.led.push_back(Led { at, leader, stores: None }),
                Hold::Beside(_) => self.awaited.push_back(at),
            }
        }
    }
}
