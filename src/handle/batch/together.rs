//! Lookups of a batch that are one command.

use std::any::Any;
use std::collections::VecDeque;

use super::{Call, Led, Outcomes};
use crate::backend::server::Server;
use crate::backend::tiers::Route;
use crate::codec::ValueCodec;
use crate::handle::engine::Engine;

/// Keys of one command: as many as are sent together of single calls.
const MOST_KEYS: usize = 256;

impl<S: Server> Engine<S> {
    /// Takes those calls out of `led` whose values the server may be asked for by one command, in pieces.
    pub(super) fn take_together<T, C>(&self, calls: &[Call<T, C>], led: &mut VecDeque<Led>) -> VecDeque<Vec<Led>> {
        let tiers = &self.inner.tiers;
        let is_one_of_many = |led: &Led| {
            let Call { key, options, .. } = &calls[led.at];
            // Where the near cache may answer a call, its key is marked when it's read.
            let is_near = || tiers.near.is_some() || options.is_token();
            led.stores.is_none() && !is_near() && tiers.route(key) == Route::Server
        };
        let (mut together, apart): (Vec<_>, Vec<_>) = led.drain(..).partition(is_one_of_many);
        led.extend(apart);
        let mut pieces = VecDeque::new();
        while together.len() > 1 {
            let rest = together.split_off(together.len().min(MOST_KEYS));
            pieces.push_back(together);
            together = rest;
        }
        led.extend(together);
        pieces
    }

    /// What these calls find; or they are given back, where each has to look for itself.
    pub(super) async fn look_up_together<T, C>(
        &self,
        calls: &[Call<T, C>],
        piece: Vec<Led>,
    ) -> Result<Outcomes<T>, Vec<Led>>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let tiers = &self.inner.tiers;
        let Some(server) = &tiers.server else { return Err(piece) };
        let resolve = |led: &Led| self.resolve(&calls[led.at].key, &calls[led.at].options);
        let resolved: Vec<_> = piece.iter().map(resolve).collect();
        piece.iter().for_each(|led| led.leader.asks());
        let fence = |place: usize| &piece[place].leader;
        let Some(reads) = tiers.read_together(server, &resolved, fence).await else { return Err(piece) };
        let outcomes =
            piece.into_iter().zip(resolved.iter().zip(reads)).map(|(Led { at, leader, .. }, (call, read))| {
                let Call { options, old, .. } = &calls[at];
                (at, self.after_lookup(call, options, leader, old.as_ref(), self.found(call, read)))
            });
        Ok(outcomes.collect())
    }
}
