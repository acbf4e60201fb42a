//! What goes wrong meanwhile.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::{Process, Server};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A member is killed, and another takes its place.
    KillMember,
    /// A member is stopped and continued, long after its operations were due.
    FreezeMember,
    /// All connections to the servers are cut.
    Cut,
    /// The servers are stopped and continued.
    FreezeServers,
}

impl Fault {
    pub(crate) const ALL: &[Self] = &[Self::KillMember, Self::FreezeMember, Self::Cut, Self::FreezeServers];
}

/// How often each was made.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) kills: u64,
    pub(crate) freezes: u64,
    pub(crate) cuts: u64,
    pub(crate) server_freezes: u64,
}

/// Faults in turn, one at a time, with pauses.
pub(crate) struct Faults<'a> {
    turns: std::iter::Cycle<std::slice::Iter<'a, Fault>>,
    rng: StdRng,
    next: Instant,
    pub(crate) counts: Counts,
}

impl<'a> Faults<'a> {
    pub(crate) fn new(faults: &'a [Fault], seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let mut faults = Self { turns: faults.iter().cycle(), rng, next: Instant::now(), counts: Counts::default() };
        faults.pause();
        faults
    }

    /// Makes the next fault, if it's time; which member was killed.
    pub(crate) fn disturb(&mut self, members: &mut [Process], servers: &[Server]) -> Option<usize> {
        if Instant::now() < self.next {
            return None;
        }
        let member = self.rng.gen_range(0..members.len());
        let mut killed = None;
        match self.turns.next()? {
            Fault::KillMember => {
                members[member].kill();
                killed = Some(member);
                self.counts.kills += 1;
            }
            Fault::FreezeMember => {
                members[member].freeze();
                self.sleep(600..1200);
                members[member].thaw();
                self.counts.freezes += 1;
            }
            Fault::Cut => {
                for server in servers {
                    server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
                }
                self.counts.cuts += 1;
            }
            Fault::FreezeServers => {
                servers.iter().for_each(Server::freeze);
                self.sleep(50..400);
                servers.iter().for_each(Server::thaw);
                self.counts.server_freezes += 1;
            }
        }
        self.pause();
        killed
    }

    fn pause(&mut self) {
        self.next = Instant::now() + Duration::from_millis(self.rng.gen_range(100..500));
    }

    fn sleep(&mut self, millis: std::ops::Range<u64>) {
        std::thread::sleep(Duration::from_millis(self.rng.gen_range(millis)));
    }
}
