//! What has come of the calls of a batch.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::surroundings::oneshot;

/// What has come of the calls so far, by their places in the batch.
pub(super) struct Progress<T> {
    pub(super) ends: Vec<Option<End<T>>>,
    /// By which calls that are to be given a value get it.
    pub(super) gifts: Vec<Option<oneshot::Sender<Given<T>>>>,
    /// Whether the work runs for one whose value isn't kept.
    pub(super) is_alone: bool,
}

/// What has come of a call.
pub(super) enum End<T> {
    Value(T),
    /// The work runs for it, and nothing is kept.
    Alone,
    NoValue,
}

/// The work has failed, or has no value for this key. The error itself, if there is one, is the batch's.
#[derive(Debug)]
pub(super) struct NoValue;

/// What the work has given a call.
pub(super) type Given<T> = Result<T, NoValue>;

impl<T> Progress<T> {
    pub(super) fn new(calls: usize) -> Self {
        let (ends, gifts) = ((0..calls).map(|_| None).collect(), (0..calls).map(|_| None).collect());
        Self { ends, gifts, is_alone: false }
    }

    /// Whether the work is to run for this call.
    pub(super) fn lacks(&self, at: usize) -> bool {
        matches!(self.ends[at], None | Some(End::Alone))
    }

    /// Takes the value of a call, or a clone of it where others take it too.
    pub(super) fn value(&mut self, at: usize, has_twins: bool) -> Option<T>
    where
        T: Clone,
    {
        match &mut self.ends[at] {
            Some(End::Value(value)) if has_twins => Some(value.clone()),
            end => match end.take() {
                Some(End::Value(value)) => Some(value),
                _ => None,
            },
        }
    }

    /// Polls the calls until that holds.
    pub(super) async fn follow<R>(&mut self, runs: &mut FuturesUnordered<R>, holds: impl Fn() -> bool)
    where
        R: Future<Output = (usize, Given<T>)>,
    {
        poll_fn(|cx| {
            self.poll(runs, cx);
            if holds() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// What the work comes to, whose calls go on meanwhile. `None` where all of them have ended first, and it isn't needed otherwise.
    pub(super) async fn beside<R, Fut>(
        &mut self,
        runs: &mut FuturesUnordered<R>,
        work: Fut,
        is_needed: bool,
    ) -> Option<Fut::Output>
    where
        R: Future<Output = (usize, Given<T>)>,
        Fut: Future,
    {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(result) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(result));
            }
            self.poll(runs, cx);
            if is_needed || !runs.is_empty() { Poll::Pending } else { Poll::Ready(None) }
        })
        .await
    }

    fn poll<R>(&mut self, runs: &mut FuturesUnordered<R>, cx: &mut Context<'_>)
    where
        R: Future<Output = (usize, Given<T>)>,
    {
        while let Poll::Ready(Some((at, given))) = runs.poll_next_unpin(cx) {
            self.ends[at] = Some(given.into());
        }
    }

    /// Gives the calls what the work has for them, so many at once: each then has a command under way. Says of which the work has none.
    pub(super) async fn give<R>(
        &mut self,
        has_none: impl Fn(usize),
        mut gifts: VecDeque<(usize, Option<T>)>,
        runs: &mut FuturesUnordered<R>,
        at_once: usize,
        has_failed: bool,
    ) where
        R: Future<Output = (usize, Given<T>)>,
    {
        let mut under_way = 0;
        loop {
            while under_way < at_once
                && let Some((at, value)) = gifts.pop_front()
            {
                if value.is_none() && !has_failed {
                    has_none(at);
                }
                let unsent = match self.gifts[at].take() {
                    Some(gift) => gift.send(value.ok_or(NoValue)),
                    None => Err(value.ok_or(NoValue)),
                };
                match unsent {
                    Ok(()) => under_way += 1,
                    Err(Err(NoValue)) if has_failed => {}
                    // It runs alone, or it has ended before the work did: with an old value, which this one replaces.
                    Err(given) => self.ends[at] = Some(given.into()),
                }
            }
            let Some((at, given)) = runs.next().await else {
                if gifts.is_empty() {
                    return;
                }
                continue;
            };
            under_way -= usize::from(self.gifts[at].is_none());
            self.ends[at] = Some(given.into());
        }
    }
}

impl<T> From<Given<T>> for End<T> {
    fn from(given: Given<T>) -> Self {
        given.map_or(Self::NoValue, Self::Value)
    }
}
