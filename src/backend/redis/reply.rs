//! Replies by their meaning, read from the reply's code: its first word.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use fred::error::{Error as FredError, ErrorKind};
use fred::types::{Resp3Frame as Frame, Value};

use super::super::script::ScriptReply;
use super::super::server::{ServerError, Unavailable};
use super::super::slots::SLOTS;
use super::mask::Mask;
use crate::config::Address;
use crate::error::one_line;
use crate::health::{Reason, ReasonKind};

/// An error reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ErrorReply {
    pub(super) code: String,
    pub(super) message: String,
}

impl ErrorReply {
    /// The reply that an error of fred's is made of.
    ///
    /// # Errors
    ///
    /// Returns the error if it isn't a reply of the server.
    pub(super) fn of(error: FredError, mask: &Mask) -> Result<Self, FredError> {
        let from_server = !matches!(
            error.kind(),
            ErrorKind::IO
                | ErrorKind::Canceled
                | ErrorKind::Timeout
                | ErrorKind::Protocol
                | ErrorKind::Routing
                | ErrorKind::Backpressure
        );
        // fred has some errors of its own without a kind, in sentences; a reply begins with its code.
        let code = error.details().split(' ').next().unwrap_or_default();
        if from_server && code.len() > 1 && is_code(code) {
            return Ok(Self::parse(error.details(), mask));
        }
        Err(masked(error, mask))
    }

    /// Splits the text of an error reply, and makes it fit for logs: one line, bounded, and without the password. What the server
    /// quotes of our arguments is cut off: it may be a key.
    pub(super) fn parse(text: &str, mask: &Mask) -> Self {
        let (code, message) = text.split_once(' ').unwrap_or((text, ""));
        // These decide what a reply means, so they aren't masked, whatever the password.
        if let Some(code) = KNOWN.into_iter().find(|known| *known == code) {
            let is_address = matches!(code, "MOVED" | "ASK") && is_slot_and_address(message);
            let message = match message {
                full if full.starts_with(TOO_MANY_CLIENTS) => TOO_MANY_CLIENTS.to_owned(),
                address if is_address => address.to_owned(),
                message => readable(message, mask),
            };
            return Self { code: code.to_owned(), message };
        }
        let text = readable(text, mask);
        let (code, message) = text.split_once(' ').unwrap_or((&text, ""));
        Self { code: code.to_owned(), message: message.to_owned() }
    }

    /// The server is there and can't serve now, whatever the command.
    pub(super) fn is_not_ready(&self) -> bool {
        matches!(self.code.as_str(), "LOADING" | "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" | "BUSY")
            || (self.code == "ERR" && self.message.starts_with(TOO_MANY_CLIENTS))
    }

    /// The reason that it gives for giving the server up; of kind `otherwise` if it concerns the one command.
    pub(super) fn as_reason(&self, otherwise: ReasonKind) -> Reason {
        self.reason().unwrap_or_else(|| Reason::new(otherwise, format!("{} {}", self.code, self.message)))
    }

    /// What the reply says about the whole connection; `None` if it's about the one command.
    pub(super) fn reason(&self) -> Option<Reason> {
        let kind = if self.is_authentication() {
            ReasonKind::Authentication
        } else if self.code == "NOPERM" {
            ReasonKind::Permission
        } else if self.is_not_ready() {
            ReasonKind::NotReady
        } else {
            return None;
        };
        Some(Reason::new(kind, format!("{} {}", self.code, self.message)))
    }

    /// Where in a cluster the command belongs, if that's the reply. `asked` is the node that replied; its host is used if the reply
    /// names none.
    pub(super) fn redirect(&self, asked: &Address) -> Option<Redirect> {
        if !self.is_redirect() {
            return None;
        }
        let asking = self.code == "ASK";
        let (slot, address) = self.message.split_once(' ')?;
        let slot = slot.parse().ok().filter(|slot| *slot < SLOTS)?;
        // An IPv6 address has colons too, and no brackets here.
        let (host, port) = address.rsplit_once(':')?;
        let port = port.parse().ok()?;
        Some(Redirect { slot, address: address_of(host, port, asked)?, asking })
    }

    /// Whether only a node of a cluster says so; it may make no sense all the same.
    pub(super) fn is_redirect(&self) -> bool {
        matches!(self.code.as_str(), "MOVED" | "ASK")
    }

    /// The user may run no scripts.
    pub(super) fn is_script_refused(&self) -> bool {
        self.code == "NOPERM" && self.message.to_ascii_lowercase().contains("'eval")
    }

    /// The server doesn't know a script by its SHA-1.
    pub(super) fn is_no_script(&self) -> bool {
        self.code == NO_SCRIPT
    }

    /// The server takes no writes, whatever the key: it's a replica, perhaps since a moment ago.
    pub(super) fn is_read_only(&self) -> bool {
        self.code == "READONLY"
    }

    pub(super) fn is_authentication(&self) -> bool {
        matches!(self.code.as_str(), "NOAUTH" | "WRONGPASS")
    }
}

/// The codes that this crate acts on.
const KNOWN: [&str; 16] = [
    "ASK",
    "BUSY",
    "CLUSTERDOWN",
    "ERR",
    "LOADING",
    "MASTERDOWN",
    "MOVED",
    "NOAUTH",
    "NOPERM",
    NO_SCRIPT,
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "UNEXPECTED",
    "WRONGPASS",
    "WRONGTYPE",
];

const NO_SCRIPT: &str = "NOSCRIPT";
const TOO_MANY_CLIENTS: &str = "max number of clients";
/// Of a slot, a host name and a port.
const LONGEST_ADDRESS: usize = 300;

/// An error of fred's, fit to be shown: without the password, and of one line.
pub(super) fn masked(error: FredError, mask: &Mask) -> FredError {
    FredError::new(error.kind().clone(), readable(error.details(), mask))
}

/// What a server or fred says, without the Rust around the system's own words, without what a server quotes of our arguments, and without
/// the password; of one line, and bounded.
pub(super) fn readable(text: &str, mask: &Mask) -> String {
    let text = text.split(", with args").next().unwrap_or_default();
    let quoted = text.split_once("message: \"").and_then(|(_, rest)| rest.split_once('"'));
    one_line(&mask.masked(quoted.map_or(text, |(message, _)| message)))
}

/// Whether that's all there is to it, so that it may stand as it is.
fn is_slot_and_address(text: &str) -> bool {
    let is_number = |text: &str| text.parse::<u16>().is_ok();
    text.len() <= LONGEST_ADDRESS
        && text.split_once(' ').is_some_and(|(slot, address)| {
            let (host, port) = address.rsplit_once(':').unwrap_or_default();
            is_number(slot) && is_number(port) && host.bytes().all(|byte| byte.is_ascii_graphic())
        })
}

fn is_code(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Another node of the cluster has the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Redirect {
    pub(super) slot: u16,
    pub(super) address: Address,
    /// The slot is on its way there, and this key has arrived.
    pub(super) asking: bool,
}

/// The address that a node announces; without a host, that of the node that was `asked`.
fn address_of(host: &str, port: u16, asked: &Address) -> Option<Address> {
    if !host.is_empty() && host != "?" {
        // Its host is shown.
        let is_host = host.len() <= 255 && host.bytes().all(|byte| byte.is_ascii_graphic());
        return is_host.then(|| Address::Tcp { host: host.to_owned(), port });
    }
    match asked {
        Address::Tcp { host, .. } => Some(Address::Tcp { host: host.clone(), port }),
        Address::Unix(_) => None,
    }
}

impl From<ErrorReply> for ServerError {
    fn from(reply: ErrorReply) -> Self {
        if reply.is_not_ready() {
            Self::Unavailable(Unavailable::NotReady)
        } else if reply.code == "WRONGTYPE" {
            Self::WrongType
        } else {
            Self::Refused { code: reply.code, message: reply.message }
        }
    }
}

/// The frame, unless it's an error reply.
pub(super) fn checked(frame: Frame, mask: &Mask) -> Result<Frame, ErrorReply> {
    match frame {
        Frame::SimpleError { data, .. } => Err(ErrorReply::parse(&data, mask)),
        Frame::BlobError { data, .. } => Err(ErrorReply::parse(&String::from_utf8_lossy(&data), mask)),
        frame => Ok(frame),
    }
}

pub(super) fn bytes(frame: Frame) -> Result<Option<Bytes>, ServerError> {
    match frame {
        Frame::Null => Ok(None),
        Frame::BlobString { data, .. } | Frame::SimpleString { data, .. } | Frame::VerbatimString { data, .. } => {
            Ok(Some(data))
        }
        _ => Err(unexpected()),
    }
}

pub(super) fn number(frame: &Frame) -> Result<i64, ServerError> {
    match frame {
        Frame::Number { data, .. } => Ok(*data),
        _ => Err(unexpected()),
    }
}

/// The same of an error that callers see.
pub(super) fn is_no_script(error: &ServerError) -> bool {
    matches!(error, ServerError::Refused { code, .. } if code == NO_SCRIPT)
}

/// What a script returned.
pub(super) fn script_reply(frame: Frame) -> Result<ScriptReply, ServerError> {
    match frame {
        Frame::Number { data, .. } => Ok(ScriptReply::Integer(data)),
        Frame::Array { data, .. } => {
            Ok(ScriptReply::Array(data.into_iter().map(script_reply).collect::<Result<_, _>>()?))
        }
        frame => Ok(bytes(frame)?.map_or(ScriptReply::Nil, ScriptReply::Bytes)),
    }
}

/// The reply to SCAN: the next cursor, and a page of keys.
pub(super) fn scan_page(frame: Frame) -> Result<(Bytes, Vec<Bytes>), ServerError> {
    let Frame::Array { data, .. } = frame else { return Err(unexpected()) };
    let [cursor, Frame::Array { data: keys, .. }] = <[Frame; 2]>::try_from(data).map_err(|_| unexpected())? else {
        return Err(unexpected());
    };
    let cursor = bytes(cursor)?.ok_or_else(unexpected)?;
    let keys = keys.into_iter().filter_map(|key| bytes(key).transpose()).collect::<Result<_, _>>()?;
    Ok((cursor, keys))
}

/// A range of slots, and the nodes that have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotRange {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) primary: Address,
    pub(super) replicas: Vec<Address>,
}

/// Primaries that a map may name. A cluster has a thousand nodes at most, says its specification.
const MOST_PRIMARIES: usize = 1_000;
/// Replicas that it may name: three for each of so many primaries.
const MOST_REPLICAS: usize = 3_000;

/// The reply to CLUSTER SLOTS; `asked` is the node that gave it.
///
/// # Errors
///
/// What is wrong with it. Each node that it names takes memory and a connection, so their number is bounded.
pub(super) fn cluster_slots(frame: Frame, asked: &Address) -> Result<Vec<SlotRange>, String> {
    const NO_SENSE: &str = "the reply to CLUSTER SLOTS makes no sense";
    let Frame::Array { data, .. } = frame else { return Err(NO_SENSE.into()) };
    let mut ranges = Vec::with_capacity(data.len().min(usize::from(SLOTS)));
    let (mut slots, mut replicas) = (0, 0);
    let mut primaries: HashMap<Address, HashSet<Address>> = HashMap::new();
    for range in data {
        let range = slot_range(range, asked).ok_or(NO_SENSE)?;
        slots += usize::from(range.last).checked_sub(range.first.into()).ok_or(NO_SENSE)? + 1;
        // More only where one is named twice.
        if slots > usize::from(SLOTS) {
            return Err(NO_SENSE.into());
        }
        if !primaries.contains_key(&range.primary) {
            primaries.insert(range.primary.clone(), HashSet::new());
        }
        // One that is named for two primaries is two nodes.
        let own = primaries.get_mut(&range.primary).ok_or(NO_SENSE)?;
        for replica in &range.replicas {
            if !own.contains(replica) {
                own.insert(replica.clone());
                replicas += 1;
            }
        }
        if primaries.len() > MOST_PRIMARIES {
            return Err(format!("the cluster's map names more than {MOST_PRIMARIES} primaries"));
        }
        if replicas > MOST_REPLICAS {
            return Err(format!("the cluster's map names more than {MOST_REPLICAS} replicas"));
        }
        ranges.push(range);
    }
    Ok(ranges)
}

fn slot_range(frame: Frame, asked: &Address) -> Option<SlotRange> {
    let Frame::Array { data, .. } = frame else { return None };
    let [first, last, nodes @ ..] = data.as_slice() else { return None };
    let slot = |frame| number(frame).ok().and_then(|slot| u16::try_from(slot).ok()).filter(|slot| *slot < SLOTS);
    let mut nodes = nodes.iter().map(|node| {
        let Frame::Array { data, .. } = node else { return None };
        let [host, port, ..] = data.as_slice() else { return None };
        let port = u16::try_from(number(port).ok()?).ok()?;
        address_of(&text(host).unwrap_or_default(), port, asked)
    });
    let primary = nodes.next()??;
    // A replica that can't be reached is no reason to know nothing.
    Some(SlotRange { first: slot(first)?, last: slot(last)?, primary, replicas: nodes.flatten().collect() })
}

/// The frame of a value, as far as there are such replies to a cache's commands.
pub(super) fn frame_of(value: Value) -> Frame {
    match value {
        Value::Integer(data) => Frame::Number { data, attributes: None },
        Value::String(text) => Frame::BlobString { data: text.into_inner(), attributes: None },
        Value::Bytes(data) => Frame::BlobString { data, attributes: None },
        Value::Array(values) => Frame::Array { data: values.into_iter().map(frame_of).collect(), attributes: None },
        Value::Boolean(data) => Frame::Boolean { data, attributes: None },
        Value::Double(data) => Frame::Double { data, attributes: None },
        Value::Null => Frame::Null,
        // Nothing that any of our commands replies with.
        Value::Queued | Value::Map(_) => Frame::Array { data: Vec::new(), attributes: None },
    }
}

/// The text of field `name` in the reply to HELLO.
pub(super) fn hello_field(frame: &Frame, name: &str) -> Option<String> {
    let Frame::Map { data, .. } = frame else { return None };
    data.iter().find_map(|(key, value)| match (text(key)?, value) {
        (key, Frame::Number { data, .. }) if key == name => Some(data.to_string()),
        (key, value) if key == name => text(value),
        _ => None,
    })
}

pub(super) fn text(frame: &Frame) -> Option<String> {
    match frame {
        Frame::BlobString { data, .. } | Frame::SimpleString { data, .. } | Frame::VerbatimString { data, .. } => {
            Some(String::from_utf8_lossy(data).into_owned())
        }
        _ => None,
    }
}

fn unexpected() -> ServerError {
    ServerError::Refused { code: "UNEXPECTED".into(), message: "a reply of another type than the command has".into() }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(text: &str) -> ServerError {
        ErrorReply::parse(text, &Mask::default()).into()
    }

    #[test]
    fn a_server_that_is_not_ready_is_unavailable() {
        for text in [
            "LOADING Redis is loading the dataset in memory",
            "CLUSTERDOWN The cluster is down",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "BUSY Redis is busy running a script.",
            "ERR max number of clients reached",
        ] {
            assert_eq!(meaning(text), ServerError::Unavailable(Unavailable::NotReady), "{text}");
        }
    }

    #[test]
    fn a_healthy_server_refuses_by_its_code() {
        assert_eq!(meaning("WRONGTYPE Operation against a key"), ServerError::WrongType);
        let oom = ServerError::Refused { code: "OOM".into(), message: "command not allowed".into() };
        assert_eq!(meaning("OOM command not allowed"), oom);
    }

    #[test]
    fn a_replica_counts_for_each_primary_that_it_is_named_for() {
        let asked = Address::Tcp { host: "asked".into(), port: 1 };
        let array = |data| Frame::Array { data, attributes: None };
        let number = |data: usize| Frame::Number { data: data as i64, attributes: None };
        let node = |port| array(vec![Frame::BlobString { data: "node".into(), attributes: None }, number(port)]);
        // All primaries name the same fifty.
        let map = |primaries: usize| {
            let range = |slot| {
                let nodes = [node(10_000 + slot)].into_iter().chain((1..=50).map(node));
                array([number(slot), number(slot)].into_iter().chain(nodes).collect())
            };
            cluster_slots(array((0..primaries).map(range).collect()), &asked)
        };
        assert_eq!(map(MOST_REPLICAS / 50).map(|ranges| ranges.len()), Ok(MOST_REPLICAS / 50));
        assert!(map(MOST_REPLICAS / 50 + 1).is_err_and(|problem| problem.contains("replicas")));
    }

    #[test]
    fn only_a_slot_that_there_is_is_redirected_to() {
        let asked = Address::Tcp { host: "asked".into(), port: 1 };
        let redirect = |text: &str| ErrorReply::parse(text, &Mask::default()).redirect(&asked);
        let to = |host: &str| Address::Tcp { host: host.into(), port: 7 };
        let moved = Redirect { slot: 16_383, address: to("::1"), asking: false };
        assert_eq!(redirect("MOVED 16383 ::1:7"), Some(moved));
        assert_eq!(redirect("ASK 0 :7"), Some(Redirect { slot: 0, address: to("asked"), asking: true }));
        for wrong in
            ["MOVED 16384 ::1:7", "ASK 65535 ::1:7", "MOVED -1 ::1:7", "MOVED 1 ::1:65536", "MOVED", "ERR 1 ::1:7"]
        {
            assert_eq!(redirect(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_the_server_quotes_of_our_arguments_is_cut_off() {
        let text = "ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `hunter2`";
        let reply = ErrorReply::parse(text, &Mask::default());
        assert_eq!(reply, ErrorReply { code: "ERR".into(), message: "unknown command `HELLO`".into() });
    }

    #[test]
    fn a_password_is_masked_and_what_a_reply_means_stays() {
        let parse = |text: &str, password| ErrorReply::parse(text, &Mask::of(password));
        assert_eq!(parse("NOPERM not for hunter2, hunter2", "hunter2").message, "not for ***, ***");
        assert_eq!(parse("hunter2 is no word", "hunter2").code, "***");
        assert_eq!(parse("NOPERM is NOPERM", "NOPERM"), ErrorReply { code: "NOPERM".into(), message: "is ***".into() });
        assert!(parse("ERR max number of clients reached", "max").is_not_ready());
        assert!(parse("MOVED 7 10.0.0.7:7007", "7").redirect(&Address::Unix("/".into())).is_some());
        let endless = parse(&format!("{} {}\r\nx", "A".repeat(3_000_000), "b".repeat(3_000_000)), "hunter2");
        assert!(endless.code.len() + endless.message.len() < 300);
        assert_eq!(parse("NOPERM a\nWARN b", "").message, "a\\nWARN b");
    }

    #[test]
    fn what_only_looks_like_a_redirect_is_an_ordinary_error() {
        for text in [
            "MOVED a\nWARN b",
            "MOVED 7 a\nWARN b:7",
            "ASK 7 a\u{202e}b:7",
            "MOVED 7 hunter2",
            "ASK hunter2 a:7",
            "MOVED 7 a:hunter2",
        ] {
            let reply = ErrorReply::parse(text, &Mask::of("hunter2"));
            assert!(!reply.message.contains("hunter2") && reply.message.is_ascii(), "{reply:?}");
            assert!(!reply.message.contains(char::is_control), "{reply:?}");
        }
    }
}
