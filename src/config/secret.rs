//! A text that is never shown, and where it comes from.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Password {
    Given(Secret),
    /// Read at each connect, so that a rotated one works without a restart.
    File(PathBuf),
}

impl Password {
    /// The password as it is now; of a file all but one line break at its end. The problem names the file.
    pub(crate) fn read(&self) -> Result<Secret, String> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(path) => read_file(path).map_err(|problem| format!("{path:?} {problem}")),
        }
    }
}

fn read_file(path: &Path) -> Result<Secret, String> {
    // Far more than a server takes, far less than a device without an end.
    const MOST: u64 = 64 * 1024;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes));
    file.map_err(|error| format!("can't be read: {error}"))?;
    if bytes.len() as u64 > MOST {
        return Err("is longer than 64 KiB".into());
    }
    let Ok(mut text) = String::from_utf8(bytes) else { return Err("isn't UTF-8".into()) };
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() { Err("is empty".into()) } else { Ok(text.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_file_is_literal_but_for_one_line_break_at_its_end() {
        let folder = tempfile::TempDir::new().expect("a temporary folder can be made");
        let path = folder.path().join("password");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("the file can be written");
            Password::File(path.clone()).read()
        };
        for (bytes, password) in
            [("x", "x"), ("x\n", "x"), ("x\r\n", "x"), ("x\n\n", "x\n"), (" a b ", " a b "), ("x\r", "x\r")]
        {
            assert_eq!(read(bytes.as_bytes()), Ok(password.into()), "{bytes:?}");
        }
        for (bytes, problem) in [(&b""[..], "is empty"), (b"\n", "is empty"), (b"\xff", "isn't UTF-8")] {
            let told = read(bytes).expect_err("it's no password");
            assert_eq!(told, format!("{path:?} {problem}"));
        }
        let long = read(&vec![b'x'; 70_000]).expect_err("it's no password");
        assert!(long.ends_with("is longer than 64 KiB"), "{long}");
    }

    #[test]
    fn a_missing_password_file_is_named() {
        let told = Password::File("/no/such/file".into()).read().expect_err("there is none");
        assert!(told.starts_with("\"/no/such/file\" can't be read: No such file"), "{told}");
    }
}
