//! Where each option was written, and its key in a file.

use super::problems::{Problem, Problems};
use crate::error::Error;

/// Where each option of a topology was written, for errors that `build` finds.
#[doc(hidden)]
#[derive(Debug, Clone, Default)]
pub struct Sources(Vec<(String, String)>);

impl Sources {
    /// `source` finds the one of a key.
    pub(super) fn of(source: impl Fn(&str) -> String) -> Self {
        Self(OPTIONS.iter().map(|(_, path)| (path.to_string(), source(path))).collect())
    }

    /// The same error with the key of the file and its source, in place of the builder's option.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let Some(option) = error.option() else { return error };
        let path = path_of(option);
        let Some((_, source)) = self.0.iter().find(|(known, _)| *known == path) else { return error };
        let mut problems = Problems::default();
        problems.push(translated(option, &error.problem(), path, source));
        problems.into_error()
    }
}

/// The options of the builder, and the keys that stand for them.
const OPTIONS: [(&str, &str); 19] = [
    ("standalone", "standalone.endpoint"),
    ("cluster", "cluster.nodes"),
    ("autodetect", "autodetect.endpoint"),
    ("database", "standalone.database"),
    ("username", "connection.username"),
    ("password", "connection.password"),
    ("password_file", "connection.password_file"),
    ("connect_timeout", "connection.connect_timeout"),
    ("command_timeout", "connection.command_timeout"),
    ("pool_size", "connection.pool_size"),
    ("max_in_flight", "connection.max_in_flight"),
    ("tls", "connection.tls"),
    ("tls.ca_file", "connection.tls.ca_file"),
    ("tls.cert_file", "connection.tls.cert_file"),
    ("tls.key_file", "connection.tls.key_file"),
    ("reconnect", "connection.reconnect"),
    ("wait_for_server", "connection.wait_for_server"),
    ("fallback_max_age", "fallback_max_age"),
    ("near_cache", "near_cache"),
];

/// The same of those that code may still set after loading, so that an error which is found later may be about what code has set.
const COMMON_OPTIONS: [(&str, &str); 3] = [
    ("fallback_to_memory", "fallback_to_memory"),
    ("memory_max_entries", "memory_tier.max_entries"),
    ("memory_max_bytes", "memory_tier.max_bytes"),
];

pub(super) fn path_of(option: &str) -> &str {
    OPTIONS.iter().chain(&COMMON_OPTIONS).find(|(known, _)| *known == option).map_or(option, |(_, path)| path)
}

/// With the options that it names as keys.
pub(super) fn translated(option: &str, problem: &str, path: &str, source: &str) -> Problem {
    let named =
        |text: String, (option, path): &(&str, &str)| text.replace(&format!("`.{option}(…)`"), &format!("`{path}`"));
    let text = OPTIONS.iter().chain(&COMMON_OPTIONS).fold(problem.to_owned(), named);
    Problem::new(path, text.replace(&format!("`.{option}(…)`"), &format!("`{path}`")), source)
}
