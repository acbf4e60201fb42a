//! What members and their source say to each other: a line of JSON each, over a socket for each caller.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Settings;

/// What a member says. Only some of it has a reply.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    /// Replied to with [`Reply::Settings`].
    Hello { process: usize },
    /// A call is about to begin. Replied to with [`Reply::Go`] or [`Reply::Over`].
    Begin { key: usize },
    /// The work of this call runs. Replied to with [`Reply::Version`].
    Read,
    /// The call has returned this version.
    Answer { version: u64 },
    /// The call has returned, but its process was cut off meanwhile.
    NotJudged,
    /// Replied to with [`Reply::Changed`], [`Reply::Busy`] or [`Reply::Over`].
    Change(Change),
    /// The invalidation of this change has returned with `journalled: true`.
    Journalled,
    /// The invalidation of this change is confirmed.
    Confirmed { change: u64 },
    /// How many fills of this process have been refused.
    Fenced { count: u64 },
}

/// A change of what the work reads, and how its key is invalidated.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Change {
    Remove(usize),
    Insert(usize),
    ClearNamespace(usize),
    ClearKeys,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Settings(Settings),
    /// The call may begin; an older version than `floor` isn't allowed.
    Go {
        floor: u64,
    },
    Version(u64),
    /// The change is made. `version` is the new version of a single key.
    Changed {
        change: u64,
        version: u64,
    },
    /// Somebody else is inserting a value of this key.
    Busy,
    /// The history has ended.
    Over,
}

/// One end of the connection.
pub(crate) struct Link(BufReader<TcpStream>);

impl Link {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// A member's end.
    pub(crate) fn to(source: SocketAddr) -> Self {
        TcpStream::connect(source).and_then(Self::new).unwrap_or_else(|_| leave())
    }

    pub(crate) fn tell(&mut self, said: &Said) {
        self.send(said).unwrap_or_else(|_| leave());
    }

    pub(crate) fn ask(&mut self, said: &Said) -> Reply {
        self.tell(said);
        self.receive().ok().flatten().unwrap_or_else(|| leave())
    }

    pub(crate) fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.0.get_mut().write_all(&line)
    }

    /// `None` at the end.
    pub(crate) fn receive<M: DeserializeOwned>(&mut self) -> io::Result<Option<M>> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Ok(None),
            _ => Ok(Some(serde_json::from_str(&line)?)),
        }
    }
}

/// A member without its source has nothing left to do.
fn leave() -> ! {
    std::process::exit(1)
}
