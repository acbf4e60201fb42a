//! From what a source says to what a key takes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::layer::may_hold_login;
use super::schema::Kind;
#[cfg(feature = "messagepack")]
use crate::codec::MessagePack;
use crate::codec::{BuiltIn, Json, SharedCodec};
use crate::config::endpoint::Endpoint;
use crate::config::secret::Secret;
use crate::error::Error;
use crate::policy::problem_with_tag;

/// A value as a source has it.
#[derive(Clone, PartialEq)]
pub(super) enum Seen {
    Text(String),
    Integer(i128),
    Float(f64),
    Flag(bool),
    List(Vec<Seen>),
    Table,
    /// Of a kind that no key takes, or that its key doesn't.
    Other(&'static str),
}

/// A value as its key takes it.
#[derive(Debug, Clone)]
pub(super) enum Typed {
    Text(String),
    Flag(bool),
    Count(u64),
    Number(f64),
    Size(u64),
    Time(Duration),
    Codec(SharedCodec),
    Endpoint(Endpoint),
    Endpoints(Vec<Endpoint>),
    Tags(Vec<String>),
    Secret(Secret),
    Secrets(
        #[cfg_attr(not(feature = "encryption"), expect(dead_code, reason = "keys are of encryption alone"))]
        Vec<Secret>,
    ),
    File(PathBuf),
    Files(Vec<PathBuf>),
}

impl Kind {
    /// The value, or what is wrong with it. A relative path is meant from `base`.
    pub(super) fn read(&self, seen: &Seen, base: Option<&Path>) -> Result<Typed, String> {
        let typed = match (self, seen) {
            (Self::Secret, Seen::Text(text)) if text.is_empty() => {
                return Err("is empty; accepts a text of at least one character, or not to be given".into());
            }
            (Self::Secret, Seen::Text(text)) => Some(Typed::Secret(text.as_str().into())),
            (Self::Secret, Seen::Table) => return Err(format!("is a table; accepts {}", self.accepts())),
            (Self::Secret, _) => return Err(format!("isn't a text (it isn't shown); accepts {}", self.accepts())),
            (Self::Secrets, Seen::List(list)) => return self.secrets(list),
            (Self::Secrets, _) => return Err(format!("isn't a list (it isn't shown); accepts {}", self.accepts())),
            (Self::Endpoint, Seen::Text(text)) => return endpoint(text).map(Typed::Endpoint),
            (Self::Endpoints, Seen::List(list)) if !list.is_empty() => return self.endpoints(list),
            (Self::Tags, Seen::List(list)) => return self.tags(list),
            (Self::Endpoints, Seen::Text(text))
                if !text.is_empty() && text.split(',').any(|one| one.trim().parse::<Endpoint>().is_err()) =>
            {
                return Err(format!("is a text (it isn't shown, it may hold a password); accepts {}", self.accepts()));
            }
            (Self::Text, Seen::Text(text)) => Some(text).filter(|text| !text.is_empty()).cloned().map(Typed::Text),
            // What isn't a path may be the secret that its file was to hold.
            (Self::File, Seen::Text(_)) => file(seen, base).map(Typed::File),
            (Self::File, _) => return Err(format!("isn't a text (it isn't shown); accepts {}", self.accepts())),
            (Self::Files, Seen::List(list)) => {
                list.iter().map(|seen| file(seen, base)).collect::<Option<_>>().map(Typed::Files)
            }
            (Self::Files, _) => return Err(format!("isn't a list (it isn't shown); accepts {}", self.accepts())),
            (Self::Flag, Seen::Flag(flag)) => Some(Typed::Flag(*flag)),
            (Self::Codec, Seen::Text(text)) => return codec(text).map(Typed::Codec),
            (Self::Time(range), seen) => time(seen).filter(|time| range.contains(time)).map(Typed::Time),
            (Self::Size(range), seen) => size(seen).filter(|size| range.contains(size)).map(Typed::Size),
            (Self::Count(range), Seen::Integer(number)) => {
                u64::try_from(*number).ok().filter(|number| range.contains(number)).map(Typed::Count)
            }
            (Self::Number(range), seen) => number(seen).filter(|number| range.contains(number)).map(Typed::Number),
            _ => None,
        };
        typed.ok_or_else(|| format!("is {seen}; accepts {}", self.accepts()))
    }

    /// In words.
    pub(super) fn accepts(&self) -> String {
        match self {
            Self::Text => "a text of at least one character".into(),
            Self::Endpoint => "an endpoint such as \"localhost:6379\", in quotes".into(),
            Self::Endpoints => "a list of one endpoint at least, such as [\"a:7000\", \"b:7000\"]".into(),
            Self::Tags => "a list of tags of 1 to 512 bytes each, such as [\"prices\", \"team-7\"]".into(),
            Self::Time(range) => {
                let bounds = match *range.end() {
                    Duration::MAX => "longer than zero".into(),
                    longest => format!("from {} to {}", time_text(*range.start()), time_text(longest)),
                };
                format!("a time such as \"250ms\" or \"3m\", or whole seconds as a number, {bounds}")
            }
            Self::Size(range) => format!(
                "a size such as \"64MiB\" (or B, KiB, GiB, TiB, kB, MB, GB, TB), or bytes as a number, from {} to {}",
                size_text(*range.start()),
                size_text(*range.end()),
            ),
            Self::Count(range) => format!("a whole number from {} to {}", range.start(), range.end()),
            Self::Number(range) => format!("a number such as 1.0, at least {}", range.start()),
            Self::Flag => "true or false".into(),
            Self::Codec => codec_names(),
            Self::Secret => "a text in quotes".into(),
            Self::Secrets => "a list of texts in quotes".into(),
            Self::File => "the path of a file".into(),
            Self::Files => "a list of paths of files, such as [\"old.key\"]".into(),
        }
    }

    fn endpoints(&self, list: &[Seen]) -> Result<Typed, String> {
        let one = |(number, seen): (usize, &Seen)| match seen {
            Seen::Text(text) => {
                endpoint(text).map_err(|problem| format!("has as number {} what {problem}", number + 1))
            }
            seen => Err(format!("has {seen} as number {}; accepts {}", number + 1, self.accepts())),
        };
        (0..).zip(list).map(one).collect::<Result<_, _>>().map(Typed::Endpoints)
    }

    fn secrets(&self, list: &[Seen]) -> Result<Typed, String> {
        let one = |(number, seen): (usize, &Seen)| match seen {
            Seen::Text(text) if !text.is_empty() => Ok(text.as_str().into()),
            _ => {
                let problem = "what is empty or isn't a text (it isn't shown)";
                Err(format!("has as number {} {problem}; accepts {}", number + 1, self.accepts()))
            }
        };
        (0..).zip(list).map(one).collect::<Result<_, _>>().map(Typed::Secrets)
    }

    /// An empty list takes away what a lower layer has.
    fn tags(&self, list: &[Seen]) -> Result<Typed, String> {
        let one = |(number, seen): (usize, &Seen)| match seen {
            Seen::Text(tag) => match problem_with_tag(tag) {
                Some(problem) => Err(format!("has as number {} a tag that {problem}", number + 1)),
                None => Ok(tag.clone()),
            },
            seen => Err(format!("has {seen} as number {}; accepts {}", number + 1, self.accepts())),
        };
        (0..).zip(list).map(one).collect::<Result<_, _>>().map(Typed::Tags)
    }
}

fn file(seen: &Seen, base: Option<&Path>) -> Option<PathBuf> {
    let Seen::Text(text) = seen else { return None };
    let path = Path::new(text);
    (!text.is_empty()).then(|| base.map_or_else(|| path.to_owned(), |base| base.join(path)))
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    // Of the forms that are accepted, pairs are those of code.
    text.parse().map_err(|error: Error| error.problem().replace(", (\"host\", port)", ""))
}

fn codec(name: &str) -> Result<SharedCodec, String> {
    match name {
        "json" => Ok(SharedCodec::new(Json)),
        #[cfg(feature = "messagepack")]
        "messagepack" => Ok(SharedCodec::new(MessagePack)),
        #[cfg(not(feature = "messagepack"))]
        "messagepack" => Err("is \"messagepack\", which isn't in this build; turn on the feature `messagepack`".into()),
        other => Err(format!("is {}; accepts {}", Seen::Text(other.to_owned()), codec_names())),
    }
}

fn codec_names() -> String {
    let messagepack = if cfg!(feature = "messagepack") { " or \"messagepack\"" } else { "" };
    format!("\"json\"{messagepack}; a codec of one's own is set in code")
}

fn time(seen: &Seen) -> Option<Duration> {
    match seen {
        Seen::Integer(seconds) => Some(Duration::from_secs(u64::try_from(*seconds).ok()?)),
        Seen::Text(text) => humantime::parse_duration(text).ok(),
        _ => None,
    }
}

fn number(seen: &Seen) -> Option<f64> {
    match seen {
        Seen::Float(number) => Some(*number),
        Seen::Integer(number) => i32::try_from(*number).ok().map(f64::from),
        _ => None,
    }
}

/// Bytes. Units need no crate: they are nine, and the crates for them take fractions and guess at `M`.
fn size(seen: &Seen) -> Option<u64> {
    let text = match seen {
        Seen::Integer(bytes) => return u64::try_from(*bytes).ok(),
        Seen::Text(text) => text.trim(),
        _ => return None,
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim_start();
    let (_, factor) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.checked_mul(*factor)
}

/// The binary ones first, the largest of them first: sizes are shown in the largest that fits.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

fn size_text(bytes: u64) -> String {
    let (name, factor) =
        UNITS.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor)).unwrap_or(&UNITS[4]);
    format!("{}{name}", bytes / factor)
}

fn time_text(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

impl fmt::Display for Seen {
    /// As a message may show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 60;
        match self {
            Self::Text(text) if text.is_empty() => f.write_str("empty"),
            Self::Text(text) if may_hold_login(text) => f.write_str("a text (it isn't shown, it may hold a password)"),
            Self::Text(text) if text.chars().count() > LONGEST => {
                write!(f, "{:?}", text.chars().take(LONGEST).chain("…".chars()).collect::<String>())
            }
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::List(list) if list.is_empty() => f.write_str("an empty list"),
            Self::List(_) => f.write_str("a list"),
            Self::Table => f.write_str("a table"),
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

impl fmt::Display for Typed {
    /// As a file would have it; of secrets nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Count(number) => write!(f, "{number}"),
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Size(bytes) => write!(f, "\"{}\"", size_text(*bytes)),
            Self::Time(time) => write!(f, "\"{}\"", time_text(*time)),
            Self::Codec(SharedCodec::BuiltIn(BuiltIn::Json)) => f.write_str("\"json\""),
            #[cfg(feature = "messagepack")]
            Self::Codec(SharedCodec::BuiltIn(BuiltIn::MessagePack)) => f.write_str("\"messagepack\""),
            Self::Codec(SharedCodec::Custom(..)) => f.write_str("custom"),
            Self::Endpoint(endpoint) => write!(f, "\"{}\"", shown(endpoint)),
            Self::Endpoints(list) => {
                write!(f, "[{}]", list.iter().map(|one| format!("\"{}\"", shown(one))).collect::<Vec<_>>().join(", "))
            }
            Self::Tags(tags) => write!(f, "{tags:?}"),
            Self::Secret(_) | Self::Secrets(_) => f.write_str("(hidden)"),
            Self::File(path) => write!(f, "{path:?}"),
            Self::Files(paths) => write!(f, "{paths:?}"),
        }
    }
}

/// An endpoint without what is secret of it, but saying that there is.
fn shown(endpoint: &Endpoint) -> String {
    let login = if endpoint.password.is_some() || endpoint.username.is_some() { " (login hidden)" } else { "" };
    format!("{endpoint}{}{login}", endpoint.database.map_or(String::new(), |database| format!("/{database}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::limits;

    #[test]
    fn sizes_have_binary_and_decimal_units_and_no_guesses() {
        let size = |text: &str| size(&Seen::Text(text.into()));
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("1kB", 1_000),
            ("3 GB", 3_000_000_000),
            ("7B", 7),
            ("2TiB", 2 << 40),
            ("0B", 0),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "64M", "64", "1.5GiB", "-1B", "99999999999TiB", "1 MiB extra", "١B"] {
            assert_eq!(size(text), None, "{text}");
        }
        for bytes in [0, 1, 1023, 1024, 64 << 20, 1 << 50, 3 << 30, 1_000_000] {
            assert_eq!(super::size(&Seen::Text(size_text(bytes))), Some(bytes));
        }
    }

    #[test]
    fn times_are_humantime_or_whole_seconds() {
        let kind = Kind::Time(limits::EXPIRE);
        let read = |seen| match kind.read(&seen, None) {
            Ok(Typed::Time(time)) => Some(time),
            _ => None,
        };
        assert_eq!(read(Seen::Text("1m 30s".into())), Some(Duration::from_secs(90)));
        assert_eq!(read(Seen::Text("250ms".into())), Some(Duration::from_millis(250)));
        assert_eq!(read(Seen::Integer(180)), Some(Duration::from_secs(180)));
        for seen in [Seen::Integer(0), Seen::Integer(-1), Seen::Integer(i128::MAX), Seen::Float(1.5)] {
            assert_eq!(read(seen), None);
        }
        for text in ["", "0s", "180", "soon", "-1s", "99999999999999999999y", "1.5"] {
            assert_eq!(read(Seen::Text(text.into())), None, "{text}");
        }
    }

    #[test]
    fn a_relative_path_is_meant_from_the_file_that_names_it() {
        let read = |text: &str, base| match Kind::File.read(&Seen::Text(text.into()), base) {
            Ok(Typed::File(path)) => path,
            _ => panic!("{text} is a path"),
        };
        assert_eq!(read("ca.pem", Some(Path::new("/etc/app"))), Path::new("/etc/app/ca.pem"));
        assert_eq!(read("/ca.pem", Some(Path::new("/etc/app"))), Path::new("/ca.pem"));
        assert_eq!(read("ca.pem", None), Path::new("ca.pem"));
    }
}
