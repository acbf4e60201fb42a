//! A text that is never shown, and where it comes from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::file::{self, Size};

/// A password: handed to the server and shown nowhere, neither by `Debug` nor in errors or logs.
///
/// ```
/// use cache_house::Secret;
///
/// assert_eq!(format!("{:?}", Secret::from("hunter2")), "Secret(hidden)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Where the password of a login is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Password {
    Given(Secret),
    /// Read at each connect, so that a rotated one works without a restart.
    File(PathBuf),
}

impl Password {
    /// The password as it is now; of a file all but one line break at its end. An error names the file, unless its path may be the
    /// password itself. Waits for `patience` at most.
    pub(crate) fn read(&self, patience: Duration) -> Result<Secret, String> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(path) => in_file(path, file::read(path, Size::Password, Instant::now() + patience, patience)),
        }
    }

    /// The same for a task.
    pub(crate) async fn read_async(&self, patience: Duration) -> Result<Secret, String> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(path) => in_file(path, file::read_async(path, Size::Password, patience).await),
        }
    }
}

impl fmt::Debug for Password {
    /// A path that doesn't begin at the root may be a secret; whether it leads to a file isn't looked up here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(secret) => f.debug_tuple("Given").field(secret).finish(),
            Self::File(path) if !path.has_root() => f.write_str("File(hidden)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// What is wrong with a path that may be a secret, given in its file's place.
pub(crate) const NO_FILE: &str =
    "isn't there (it isn't shown, it may be the secret itself); accepts the path of a file";

fn in_file(path: &Path, read: Result<impl AsRef<[u8]>, String>) -> Result<Secret, String> {
    read.and_then(|bytes| password_of(bytes.as_ref())).map_err(|problem| {
        if file::is_unreadable(&problem) && may_be_secret(path, path) {
            NO_FILE.into()
        } else {
            format!("{path:?} {problem}")
        }
    })
}

/// Whether a path that was given, and leads to `found`, can't be read and may be a secret. Waits for `patience` at most.
pub(crate) fn is_secret_for_path(given: &Path, found: &Path, patience: Duration) -> bool {
    let read = || file::read(found, Size::Password, Instant::now() + patience, patience);
    !given.has_root() && read().is_err_and(|problem| file::is_unreadable(&problem)) && may_be_secret(given, found)
}

/// Whether a path that was given, and leads to `found`, may be a secret: there is no file, and it's a bare name, or its folder isn't
/// there, as of base64 with a slash.
fn may_be_secret(given: &Path, found: &Path) -> bool {
    let is_bare = given.parent().is_none_or(|folder| folder.as_os_str().is_empty());
    !given.has_root() && !found.exists() && (is_bare || !found.parent().is_some_and(Path::is_dir))
}

fn password_of(bytes: &[u8]) -> Result<Secret, String> {
    let Ok(text) = str::from_utf8(bytes) else { return Err("isn't UTF-8".into()) };
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() { Err("is empty".into()) } else { Ok(text.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn a_password_file_is_literal_but_for_one_line_break_at_its_end() {
        let folder = tempfile::TempDir::new().expect("a temporary folder can be made");
        let path = folder.path().join("password");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("the file can be written");
            Password::File(path.clone()).read(LONG)
        };
        for (bytes, password) in
            [("x", "x"), ("x\n", "x"), ("x\r\n", "x"), ("x\n\n", "x\n"), (" a b ", " a b "), ("x\r", "x\r")]
        {
            assert_eq!(read(bytes.as_bytes()), Ok(password.into()), "{bytes:?}");
        }
        for (bytes, problem) in [(&b""[..], "is empty"), (b"\n", "is empty"), (b"\xff", "isn't UTF-8")] {
            let problem_read = read(bytes).expect_err("it's no password");
            assert_eq!(problem_read, format!("{path:?} {problem}"));
        }
        let long = read(&vec![b'x'; 70_000]).expect_err("it's no password");
        assert!(long.ends_with("is longer than 64 KiB"), "{long}");
    }

    #[test]
    fn a_missing_password_file_is_named() {
        // The tests run in the folder that has `src`.
        for path in ["/no/such/file", "src/no-such-file", "./no-such-file"] {
            let problem = Password::File(path.into()).read(LONG).expect_err("there is none");
            assert!(problem.starts_with(&format!("{path:?} can't be read: No such file")), "{problem}");
        }
        let problem = Password::File("src".into()).read(LONG).expect_err("it's a folder");
        assert!(problem.starts_with("\"src\" can't be read"), "{problem}");
    }

    #[test]
    fn a_password_in_place_of_its_file_is_not_shown() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("it can be built");
        let long = "hunter2".repeat(100);
        for text in ["hunter2", "hunter2/+x=", "hunter2\0", "", &long] {
            let password = Password::File(text.into());
            for read in [password.read(LONG), runtime.block_on(password.read_async(LONG))] {
                let problem = read.expect_err("it's no file");
                assert_eq!(problem, NO_FILE, "{text}");
            }
            assert_eq!(format!("{password:?}"), "File(hidden)");
        }
        assert_eq!(format!("{:?}", Password::Given("hunter2".into())), "Given(Secret(hidden))");
        assert_eq!(format!("{:?}", Password::File("/run/secrets/redis".into())), "File(\"/run/secrets/redis\")");
    }
}
