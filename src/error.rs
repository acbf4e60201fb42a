//! The one error type of this crate.

use std::error::Error as StdError;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// An error of the cache.
///
/// Ask for its [`kind`](Self::kind), or with the `is_*` methods. Neither
/// [`Display`](fmt::Display) nor [`Debug`] ever shows a password, a cached value or an argument.
///
/// ```
/// use cache_house::CacheHouse;
///
/// let error = CacheHouse::builder().standalone("localhost:port").build().unwrap_err();
/// assert!(error.is_config());
/// assert!(error.to_string().starts_with("standalone: "));
/// ```
pub struct Error {
    kind: Kind,
    source: Option<BoxError>,
}

/// The kind of an [`Error`].
///
/// An `Error` of a kind can be made for tests of code that handles it, as mocks return it:
///
/// ```
/// use cache_house::{Applied, Error, ErrorKind};
///
/// fn remove_user(removed: Result<Applied, Error>) -> &'static str {
///     match removed {
///         Ok(_) => "done",
///         Err(error) if error.is_refused() => "ask an operator",
///         Err(_) => "a mistake",
///     }
/// }
///
/// assert_eq!(remove_user(Err(ErrorKind::Refused.into())), "ask an operator");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// See [`Error::is_config`].
    Config,
    /// See [`Error::is_unavailable`].
    Unavailable,
    /// See [`Error::is_refused`].
    Refused,
    /// See [`Error::is_key`].
    Key,
    /// See [`Error::is_codec`].
    Codec,
    /// See [`Error::is_too_large`].
    TooLarge,
    /// See [`Error::is_closed`].
    Closed,
}

impl From<ErrorKind> for Error {
    /// An error of this kind that didn't happen, for tests.
    fn from(kind: ErrorKind) -> Self {
        const MADE: &str = "made for a test";
        Self::new(match kind {
            ErrorKind::Config => Kind::Config { option: "option".into(), problem: MADE.into() },
            ErrorKind::Unavailable => Kind::Unavailable { reason: MADE.into() },
            ErrorKind::Refused => Kind::Reply { code: "ERR".into(), message: MADE.into() },
            ErrorKind::Key => Kind::Key { problem: MADE.into() },
            ErrorKind::Codec => Kind::Encode,
            ErrorKind::TooLarge => Kind::TooLarge { bytes: 2, limit: 1 },
            ErrorKind::Closed => Kind::Closed,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An option that `build()` refuses.
    Config {
        option: String,
        problem: String,
    },
    /// A configuration that was loaded; a line for each problem, and how many more there are.
    Load {
        problems: Vec<String>,
        more: usize,
    },
    /// The server can't be reached now. `insert`, `remove` and the clearings don't return it: they're `Ok` and journalled then.
    Unavailable {
        reason: String,
    },
    /// The same for an operator, whom memory doesn't serve.
    #[cfg(feature = "operate")]
    Unanswered {
        reason: String,
    },
    /// The server answered with an error; `code` is the first word of the reply.
    Reply {
        code: String,
        message: String,
    },
    /// The call can't be given a key.
    Key {
        problem: String,
    },
    Encode,
    Decode,
    TooLarge {
        bytes: usize,
        limit: u64,
    },
    /// Neither form of the value fits into memory, which is all there is.
    TooLargeForMemory {
        bytes: usize,
    },
    Closed,
}

impl Error {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn with_source(kind: Kind, source: impl Into<BoxError>) -> Self {
        Self { kind, source: Some(source.into()) }
    }

    /// `option` is the name the user wrote; `problem` says what was read and what is accepted.
    pub(crate) fn config(option: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::new(Kind::Config { option: option.into(), problem: problem.into() })
    }

    /// All that is wrong with a configuration that was loaded.
    pub(crate) fn load(problems: Vec<String>, more: usize) -> Self {
        Self::new(Kind::Load { problems, more })
    }

    /// The option that it's about.
    pub(crate) fn option(&self) -> Option<&str> {
        match &self.kind {
            Kind::Config { option, .. } => Some(option),
            _ => None,
        }
    }

    /// What is wrong with the option.
    pub(crate) fn problem(&self) -> String {
        match &self.kind {
            Kind::Config { problem, .. } => problem.clone(),
            _ => self.to_string(),
        }
    }

    /// The same error about another option: that of the setter which was handed the value.
    pub(crate) fn within(mut self, setter: &str) -> Self {
        if let Kind::Config { option, .. } = &mut self.kind {
            setter.clone_into(option);
        }
        self
    }

    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable { reason: reason.into() })
    }

    #[cfg(feature = "operate")]
    pub(crate) fn unanswered(reason: impl Into<String>) -> Self {
        Self::new(Kind::Unanswered { reason: reason.into() })
    }

    pub(crate) fn key(problem: impl Into<String>) -> Self {
        Self::new(Kind::Key { problem: problem.into() })
    }

    pub(crate) fn closed() -> Self {
        Self::new(Kind::Closed)
    }

    /// Whether the user's codec panicked.
    pub(crate) fn is_panic(&self) -> bool {
        self.source.as_deref().is_some_and(|source| source.is::<Panicked>())
    }

    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self.kind {
            Kind::Config { .. } | Kind::Load { .. } => ErrorKind::Config,
            Kind::Unavailable { .. } => ErrorKind::Unavailable,
            #[cfg(feature = "operate")]
            Kind::Unanswered { .. } => ErrorKind::Unavailable,
            Kind::Reply { .. } => ErrorKind::Refused,
            Kind::Key { .. } => ErrorKind::Key,
            Kind::Encode | Kind::Decode => ErrorKind::Codec,
            Kind::TooLarge { .. } | Kind::TooLargeForMemory { .. } => ErrorKind::TooLarge,
            Kind::Closed => ErrorKind::Closed,
        }
    }

    /// A configuration that can't be built: the message names the option and what it accepts. Of one that was loaded from a file or the
    /// environment it has a line for each problem, with the file and line, or the variable.
    #[must_use]
    pub fn is_config(&self) -> bool {
        self.kind() == ErrorKind::Config
    }

    /// The server couldn't be reached. `insert`, `remove`, `clear_namespace` and `clear_keys` never return this: in an outage they
    /// return `Ok`, and [`Applied::journalled`](crate::Applied::journalled) is true.
    #[doc(alias("outage", "timeout", "circuit breaker"))]
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }

    /// The server refused the operation: out of memory, read-only, no permission, a key that holds another type.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.kind() == ErrorKind::Refused
    }

    /// The call can't be given a key: an argument whose `Serialize` fails, a float that isn't finite, an empty namespace, a tag that is
    /// empty or longer than 512 bytes, a key builder that returned nothing, a panic in either.
    #[must_use]
    pub fn is_key(&self) -> bool {
        self.kind() == ErrorKind::Key
    }

    /// A codec or an encoder failed; [`source`](StdError::source) is its error, or says that it panicked.
    #[must_use]
    pub fn is_codec(&self) -> bool {
        self.kind() == ErrorKind::Codec
    }

    /// The encoded value is larger than `max_value_bytes`, or without a server than memory has room for.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.kind() == ErrorKind::TooLarge
    }

    /// The handle has been closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.kind() == ErrorKind::Closed
    }
}

/// The user's code panicked. What it panicked with may quote a value, so that isn't kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Runs the user's code, a panic of which the cache doesn't hand on: a codec's, a key builder's, an argument's.
#[inline]
pub(crate) fn catching<R>(code: impl FnOnce() -> R) -> Result<R, Panicked> {
    // What a panic leaves half-done is the caller's to throw away.
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        // Dropping what was panicked with is the user's code again.
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(another);
        }
        Panicked
    })
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it panicked")
    }
}

impl StdError for Panicked {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Config { option, problem } => write!(f, "{option}: {problem}"),
            Kind::Load { problems, more } => match (&problems[..], more) {
                ([one], 0) => f.write_str(one),
                (all, 0) => write!(f, "{} problems in the configuration:\n{}", all.len(), all.join("\n")),
                (all, more) => {
                    let count = all.len().saturating_add(*more);
                    write!(f, "{count} problems in the configuration:\n{}\nand {more} more", all.join("\n"))
                }
            },
            Kind::Unavailable { reason } => {
                write!(f, "the cache server is unavailable ({reason}); done in memory and journalled for its return")
            }
            #[cfg(feature = "operate")]
            Kind::Unanswered { reason } => write!(f, "the cache server is unavailable ({reason})"),
            Kind::Reply { code, message } => {
                write!(f, "the cache server refused: {code}")?;
                if message.is_empty() { Ok(()) } else { write!(f, " {message}") }
            }
            Kind::Key { problem } => write!(f, "the call has no key: {problem}"),
            Kind::Encode => f.write_str("the value could not be encoded"),
            Kind::Decode => f.write_str("the stored bytes could not be decoded"),
            Kind::TooLarge { bytes, limit } => {
                write!(f, "the encoded value has {bytes} bytes, more than max_value_bytes = {limit}")
            }
            Kind::TooLargeForMemory { bytes } => {
                write!(f, "the encoded value has {bytes} bytes, for which memory_max_bytes has no room")
            }
            Kind::Closed => f.write_str("the cache handle is closed"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The source of a codec error may quote the value, so only its presence is shown.
        f.debug_struct("Error").field("kind", &self.kind).field("has_source", &self.source.is_some()).finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl Clone for Error {
    /// Clones what happened; the [`source`](StdError::source) stays with the original.
    fn clone(&self) -> Self {
        Self::new(self.kind.clone())
    }
}

/// Another program's text, fit for a log: of one line and bounded. What isn't printable is escaped, and `…` ends a text that was cut.
pub(crate) fn one_line(text: &str) -> String {
    const MOST: usize = 200;
    let mut line = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == MOST {
            line.push('…');
            break;
        }
        match c {
            '\'' | '"' | '\\' => line.push(c),
            c => line.extend(c.escape_debug()),
        }
    }
    line
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Ask = fn(&Error) -> bool;

    #[test]
    fn an_error_that_a_test_makes_is_of_its_kind() {
        let asks: [(ErrorKind, Ask); 7] = [
            (ErrorKind::Config, Error::is_config),
            (ErrorKind::Unavailable, Error::is_unavailable),
            (ErrorKind::Refused, Error::is_refused),
            (ErrorKind::Key, Error::is_key),
            (ErrorKind::Codec, Error::is_codec),
            (ErrorKind::TooLarge, Error::is_too_large),
            (ErrorKind::Closed, Error::is_closed),
        ];
        for (kind, _) in asks {
            let error = Error::from(kind);
            assert_eq!(error.kind(), kind);
            let answers: Vec<_> = asks.iter().filter(|(_, is)| is(&error)).map(|(kind, _)| *kind).collect();
            assert_eq!(answers, [kind]);
        }
    }

    #[test]
    fn a_text_of_another_s_is_of_one_line_and_bounded() {
        assert_eq!(one_line(r#"ERR unknown command 'x' "y\z" é"#), r#"ERR unknown command 'x' "y\z" é"#);
        assert_eq!(one_line("a\r\nWARN b\0\x1b[2J"), r"a\r\nWARN b\0\u{1b}[2J");
        assert_eq!(one_line("\u{2028}\u{202e}\u{85}"), r"\u{2028}\u{202e}\u{85}");
        assert_eq!(one_line(&"x".repeat(200)).len(), 200);
        assert_eq!(one_line(&"é".repeat(20_000_000)).chars().count(), 201);
    }
}
