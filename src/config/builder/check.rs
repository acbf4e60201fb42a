//! From the builder to a configuration that has been checked.

use std::sync::Arc;
use std::time::Duration;

use super::CacheHouseBuilder;
use crate::config::checked::Checked;
use crate::config::connection::Topology;
use crate::config::freshness::{check_handle, check_namespace};
use crate::config::limits::{EXPIRE, LEASE, within};
use crate::config::load::sources::Sources;
use crate::config::memory::Tier;
use crate::config::state::Buildable;
use crate::error::Error;
use crate::key::Scope;
use crate::policy::{Overrides, problem_with_tag};

impl<S> CacheHouseBuilder<S> {
    /// Checks the whole.
    pub(crate) fn into_config(self) -> Result<Checked, Error>
    where
        S: Buildable,
    {
        if let Some(error) = self.first_error {
            return Err(error);
        }
        let common = self.common;
        check_expire("expire", common.overrides.expire)?;
        check_lease("lease", common.overrides.lease)?;
        if let Some(problem) = problem_with_tags(&common.overrides) {
            return Err(Error::config("tag", problem));
        }
        let freshness = common.overrides.freshness();
        freshness.map_or(Ok(()), check_handle)?;
        for (namespace, options) in &common.namespaces {
            if namespace.is_empty() {
                return Err(Error::config("namespace_options", "names an empty namespace, which no call has"));
            }
            check_expire("namespace_options", options.0.expire)?;
            check_lease("namespace_options", options.0.lease)?;
            if let Some(problem) = problem_with_tags(&options.0) {
                let problem = format!("has for {namespace:?} a `tag` that {problem}");
                return Err(Error::config("namespace_options", problem));
            }
            let own = options.0.freshness();
            own.map_or(Ok(()), |own| check_namespace(namespace, own, freshness))?;
        }
        let mut problems = Vec::new();
        let topology = self.state.into_topology(&mut problems);
        if let Some(first) = problems.into_iter().next() {
            return Err(first);
        }
        let topology = topology.ok_or_else(|| Error::config("build", "has no topology"))?.0;
        if let Topology::Server(connection) = &topology
            && !common.fallback_to_memory
        {
            if connection.fallback_max_age.is_some() {
                let problem = "is set, but `.fallback_to_memory(…)` is off, so nothing is served from memory; remove one of the two";
                return Err(Error::config("fallback_max_age", problem));
            }
            if connection.near_cache.is_some() {
                let problem = "is set, but the near cache keeps its copies in memory, which `.fallback_to_memory(…)` switches off; remove one of the two";
                return Err(Error::config("near_cache", problem));
            }
        }
        let memory =
            common.memory.check(Tier::of(matches!(topology, Topology::Server(_)), common.fallback_to_memory))?;
        Ok(Checked {
            scope: Scope::new(&common.key_prefix, &common.namespace)?,
            overrides: common.overrides,
            namespaces: common.namespaces,
            key_builder: common.key_builder,
            fallback_to_memory: common.fallback_to_memory,
            memory,
            clock: common.clock,
            sealing: common.sealing,
            topology,
        })
    }

    /// What is wrong with the bounds of memory, if it's beside a server or not; and the largest value that is stored.
    pub(in crate::config) fn check_memory(&self, has_server: bool) -> Result<u64, Error> {
        let tier = Tier::of(has_server, self.common.fallback_to_memory);
        self.common.memory.clone().check(tier).map(|memory| memory.max_value_bytes)
    }

    pub(crate) fn sources(&self) -> Option<Arc<Sources>>
    where
        S: Buildable,
    {
        self.state.sources()
    }
}

fn problem_with_tags(set: &Overrides) -> Option<String> {
    set.tags().iter().find_map(|tag| problem_with_tag(tag))
}

fn check_lease(option: &str, lease: Option<Duration>) -> Result<(), Error> {
    lease.map_or(Ok(()), |lease| within(option, lease, &LEASE).map(drop))
}

fn check_expire(option: &str, expire: Option<Duration>) -> Result<(), Error> {
    if expire.is_none_or(|expire| EXPIRE.contains(&expire)) {
        return Ok(());
    }
    let problem = "is zero, so nothing would ever be stored; accepts any longer time (zero is for single calls)";
    Err(Error::config(option, problem))
}
