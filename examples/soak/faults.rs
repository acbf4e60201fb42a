//! What goes wrong with the servers meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, Health, Topology};
use rand::Rng;

use super::world::World;
use crate::support::{Cluster, Server};

/// Servers that aren't used again for so long after a fault count as lost.
const LOST: Duration = Duration::from_secs(10);

/// What the members share.
pub(crate) enum Servers {
    One(Server),
    /// Three primaries, with so many replicas each.
    Cluster(Cluster, usize),
}

#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) kills: u64,
    pub(crate) freezes: u64,
    pub(crate) cuts: u64,
    pub(crate) failovers: u64,
    pub(crate) lost: u64,
    pub(crate) slowest_recovery: Duration,
}

impl Servers {
    pub(crate) fn start(replicas: Option<usize>) -> Self {
        match replicas {
            None => Self::One(Server::start()),
            Some(replicas) => Self::Cluster(Cluster::of(3, replicas, &[]), replicas),
        }
    }

    pub(crate) fn all(&self) -> &[Server] {
        match self {
            Self::One(server) => std::slice::from_ref(server),
            Self::Cluster(cluster, _) => &cluster.nodes,
        }
    }

    /// Waits until all is well among the servers themselves.
    fn settle(&self) {
        if let Self::Cluster(cluster, _) = self {
            cluster.until_settled();
        }
    }

    /// Whether another server may take the place of one that is away, which may lack what was confirmed last.
    fn fail_over(&self) -> bool {
        matches!(self, Self::Cluster(_, replicas) if *replicas > 0)
    }
}

impl Faults {
    pub(crate) fn all(&self) -> u64 {
        self.kills + self.freezes + self.cuts
    }

    /// One fault, and the wait for all servers to be used again.
    pub(crate) fn disturb(&mut self, servers: &Servers, caches: &[CacheHandle], world: &World) {
        let mut rng = rand::thread_rng();
        let server = &servers.all()[rng.gen_range(0..servers.all().len())];
        // Longer than the others wait until they take a node for dead, where there are others.
        let longest = if servers.fail_over() { 4_000 } else { 1_500 };
        let pause = Duration::from_millis(rng.gen_range(10..longest));
        let was_primary = servers.fail_over() && is_primary(server);
        let fault = rng.gen_range(0..3);
        if servers.fail_over() && fault < 2 {
            world.may_lose();
        }
        match fault {
            0 => {
                server.kill();
                thread::sleep(pause);
                server.restart();
                self.kills += 1;
            }
            1 => {
                server.freeze();
                thread::sleep(pause);
                server.thaw();
                self.freezes += 1;
            }
            _ => {
                server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
                self.cuts += 1;
            }
        }
        let back = Instant::now();
        // A fault may not have been noticed yet.
        thread::sleep(Duration::from_millis(20));
        while !caches.iter().all(|cache| is_served(&cache.health())) {
            if back.elapsed() > LOST {
                self.lost += 1;
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        self.slowest_recovery = self.slowest_recovery.max(back.elapsed());
        if fault < 2 {
            servers.settle();
        }
        self.failovers += u64::from(was_primary && !is_primary(server));
        world.loses_nothing();
    }
}

fn is_primary(server: &Server) -> bool {
    server.command(&["INFO", "replication"]).text().contains("role:master")
}

/// Whether all servers are used.
pub(crate) fn is_served(health: &Health) -> bool {
    match health {
        Health::Connected { topology: Topology::Cluster { shards, served } } => served == shards,
        health => health.is_connected(),
    }
}
