//! Reads the files that a configuration names: within a time, up to a size.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::apart::{Apart, Running};

/// How long a file may take to be read while a configuration is loaded, before it's known whether `connect_timeout` is right.
pub(crate) const LOAD_PATIENCE: Duration = Duration::from_secs(5);

const UNREADABLE: &str = "can't be read";

/// The most that is read of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Size {
    /// Far more than a server takes for a password.
    Password,
    /// All the authorities of a system have a quarter of it.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "certificates are of TLS alone"))]
    Certificates,
    /// Only checks that the file can be opened.
    Nothing,
}

/// The bytes, or what is wrong.
type Outcome = Result<Arc<[u8]>, String>;

/// The whole file. `patience` is what the deadline is called where it's over.
pub(crate) fn read(path: &Path, size: Size, deadline: Instant, patience: Duration) -> Outcome {
    begin(path, size)?.by(deadline).unwrap_or_else(|| Err(too_slow(patience)))
}

/// The same, waited for by a task.
pub(crate) async fn read_async(path: &Path, size: Size, patience: Duration) -> Outcome {
    let running = begin(path, size)?;
    tokio::time::timeout(patience, running.outcome()).await.unwrap_or_else(|_| Err(too_slow(patience)))
}

fn begin(path: &Path, size: Size) -> Result<Arc<Running<Outcome>>, String> {
    // Of the process: handles that share a file which hangs share the thread that hangs with it.
    static READING: LazyLock<Arc<Apart<(PathBuf, Size), Outcome>>> = LazyLock::new(Arc::default);
    let begun = READING.begin((path.to_owned(), size), |(path, size)| all_of(path, *size));
    begun.map_err(|error| format!("{UNREADABLE}: no thread can be started: {error}"))
}

fn all_of(path: &Path, size: Size) -> Outcome {
    let (most, shown) = match size {
        Size::Password => (64 << 10, "64 KiB"),
        Size::Certificates => (1 << 20, "1 MiB"),
        Size::Nothing => (0, ""),
    };
    let unreadable = |error| format!("{UNREADABLE}: {error}");
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    if size != Size::Nothing {
        file.take(most + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    if bytes.len() as u64 > most { Err(format!("is longer than {shown}")) } else { Ok(bytes.into()) }
}

/// Whether this is why a file couldn't be read at all, such as that there is none; not that its file system doesn't answer.
pub(crate) fn is_unreadable(problem: &str) -> bool {
    problem.starts_with(UNREADABLE)
}

fn too_slow(patience: Duration) -> String {
    format!("isn't read within {patience:?}")
}
