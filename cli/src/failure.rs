//! Why a command ends with another code than 0.

use std::fmt;
use std::io;
use std::process::ExitCode;

use cache_house::Error;

use crate::output;

/// What is printed on stderr, and the exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// 1: what was looked at isn't as it should be, or what was asked wasn't done.
    Finding(String),
    /// 1, where all has been printed already.
    Told,
    /// 2: what the command was called with.
    Usage(String),
}

impl Failure {
    pub(crate) fn finding(text: impl Into<String>) -> Self {
        Self::Finding(text.into())
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    pub(crate) fn report(&self) -> ExitCode {
        if !matches!(self, Self::Told) {
            output::tell(&format!("{} {}", output::red("error:"), output::harmless(&self.to_string())));
        }
        ExitCode::from(if matches!(self, Self::Usage(_)) { 2 } else { 1 })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finding(text) | Self::Usage(text) => f.write_str(text),
            Self::Told => Ok(()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::finding(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::finding(error.to_string())
    }
}
