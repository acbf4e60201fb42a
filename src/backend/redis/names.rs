//! From host names to addresses, and which address is tried first.
//!
//! fred would try a name's addresses in the resolver's order under one timeout, and resolve it in the program's blocking pool.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use crate::apart::Apart;

/// How names are resolved, and what came of their addresses.
pub(super) struct Names {
    resolve: Resolve,
    turns: Mutex<HashMap<(String, u16), Turns>>,
}

type Resolve = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// The addresses, or what is wrong.
type Resolved = Result<Vec<SocketAddr>, String>;

/// The addresses of one name, in the order in which they're tried.
#[derive(Debug, Default)]
struct Turns {
    worked: Option<SocketAddr>,
    /// Those that were tried since one worked. Only some of those that there are.
    tried: Vec<SocketAddr>,
}

/// Names that are remembered; a cluster's nodes may announce ever new ones.
const MAX_NAMES: usize = 1024;

impl Default for Names {
    fn default() -> Self {
        Self::by(|host, port| Ok((host, port).to_socket_addrs()?.collect()))
    }
}

impl Names {
    pub(super) fn by(resolve: Resolve) -> Self {
        Self { resolve, turns: Mutex::default() }
    }

    /// The addresses of the host, the one to be tried first in front. Waits without a bound.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> Resolved {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        // One for the process: handles that share a name share the thread that resolves it.
        static RESOLVING: LazyLock<Arc<Apart<(String, u16), Resolved>>> = LazyLock::new(Arc::default);
        let resolve = self.resolve;
        let begun = RESOLVING.begin((host.to_owned(), port), move |(host, port)| {
            resolve(host, *port).map_err(|error| error.to_string())
        });
        let found = begun.map_err(|error| format!("no thread can be started: {error}"))?.outcome().await?;
        let name = (host.to_owned(), port);
        let mut turns = self.turns.lock();
        if turns.len() >= MAX_NAMES && !turns.contains_key(&name) {
            turns.clear();
        }
        Ok(turns.entry(name).or_default().order(found))
    }

    /// That this address is tried now.
    pub(super) fn tries(&self, host: &str, address: SocketAddr) {
        if let Some(turns) = self.turns.lock().get_mut(&(host.to_owned(), address.port())) {
            turns.tries(address);
        }
    }

    pub(super) fn worked(&self, host: &str, address: SocketAddr) {
        if let Some(turns) = self.turns.lock().get_mut(&(host.to_owned(), address.port())) {
            turns.worked(address);
        }
    }

    /// That another address than the one that worked is to be tried first: what is there isn't what it should be.
    pub(super) fn pass_over(&self, host: &str, port: u16) {
        if let Some(turns) = self.turns.lock().get_mut(&(host.to_owned(), port)) {
            turns.pass_over();
        }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.turns.lock().fmt(f)
    }
}

impl Turns {
    /// What was found, in the order in which it's to be tried: what wasn't tried since one worked, with that one in front, and then
    /// what was, the longest ago in front.
    fn order(&mut self, found: Vec<SocketAddr>) -> Vec<SocketAddr> {
        self.tried.retain(|tried| found.contains(tried));
        let mut order = Vec::with_capacity(found.len());
        for address in found {
            if !order.contains(&address) {
                order.push(address);
            }
        }
        let rank = |address: &SocketAddr| match self.tried.iter().position(|tried| tried == address) {
            Some(when) => 2 + when,
            None => usize::from(self.worked != Some(*address)),
        };
        order.sort_by_key(rank);
        order
    }

    fn tries(&mut self, address: SocketAddr) {
        self.tried.retain(|tried| *tried != address);
        self.tried.push(address);
    }

    fn worked(&mut self, address: SocketAddr) {
        self.worked = Some(address);
        self.tried.clear();
    }

    fn pass_over(&mut self) {
        if let Some(worked) = self.worked.take() {
            self.tries(worked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 6379))
    }

    fn found(last: impl IntoIterator<Item = u8>) -> Vec<SocketAddr> {
        last.into_iter().map(address).collect()
    }

    /// What is first, attempt by attempt, where each fails at its first address.
    fn firsts(turns: &mut Turns, attempts: impl IntoIterator<Item = Vec<SocketAddr>>) -> Vec<SocketAddr> {
        let first = |found| {
            let first = turns.order(found)[0];
            turns.tries(first);
            first
        };
        attempts.into_iter().map(first).collect()
    }

    #[test]
    fn what_works_and_is_passed_over_each_time_gives_each_of_the_others_its_turn() {
        let mut turns = Turns::default();
        turns.worked(address(1));
        let seen: Vec<_> = (0..4)
            .map(|_| {
                turns.pass_over();
                let first = turns.order(found([1, 2]))[0];
                turns.worked(first);
                first
            })
            .collect();
        assert_eq!(seen, found([2, 1, 2, 1]));
    }

    #[test]
    fn each_attempt_begins_with_another_address_until_one_works() {
        let mut turns = Turns::default();
        assert_eq!(firsts(&mut turns, vec![found(1..=3); 7]), found([1, 2, 3, 1, 2, 3, 1]));
        turns.worked(address(2));
        assert_eq!(turns.order(found(1..=3)), found([2, 1, 3]));
        assert_eq!(firsts(&mut turns, vec![found(1..=3); 4]), found([2, 1, 3, 2]));
    }

    #[test]
    fn a_resolver_that_changes_the_order_or_the_addresses_hides_none() {
        let mut turns = Turns::default();
        let shuffled = [found([1, 2, 3]), found([3, 1, 2]), found([1, 3, 2]), found([2, 3, 1])];
        assert_eq!(firsts(&mut turns, shuffled), found([1, 3, 2, 1]));
        // The one that worked is gone, and so is what is known of it.
        turns.worked(address(1));
        assert_eq!(firsts(&mut turns, vec![found([4, 5]); 3]), found([4, 5, 4]));
        assert_eq!(turns.order(found([1, 4, 5])), found([1, 5, 4]));
        assert_eq!(turns.order(Vec::new()), []);
        assert_eq!(turns.tried, []);
    }

    #[tokio::test]
    async fn an_address_is_no_name_and_names_that_are_remembered_are_bounded() {
        let names = Names::by(|host, port| {
            assert!(host.starts_with("n"), "{host} is asked for");
            Ok([2, 2, 1].map(|last| SocketAddr::from(([127, 0, 0, last], port))).to_vec())
        });
        let of = async |host: &str| names.addresses(host, 7).await.expect("it has some");
        assert_eq!(of("::1").await, ["[::1]:7".parse().expect("it's one")]);
        assert_eq!(of("127.0.0.3").await, ["127.0.0.3:7".parse().expect("it's one")]);
        assert_eq!(of("n").await.len(), 2);
        for n in 0..2 * MAX_NAMES {
            of(&format!("n{n}")).await;
        }
        assert!(names.turns.lock().len() <= MAX_NAMES);
    }
}
