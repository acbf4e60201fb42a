/// A test that is a whole message.
macro_rules! message {
    ($(#[$gate:meta])? $name:ident, $told:expr, @$expected:literal) => {
        $(#[$gate])?
        #[test]
        fn $name() {
            insta::assert_snapshot!($told, @$expected);
        }
    };
}

mod bad;
mod bad_environment;
mod freshness;
mod fuzz;
mod good;
mod hints;
mod near_cache;
#[cfg(all(feature = "encryption", feature = "lz4"))]
mod sealing;
mod tags;
#[cfg(not(any(feature = "encryption", feature = "lz4")))]
mod unsealed;

use std::ffi::OsString;
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A folder with files, in which configurations are loaded under a given environment.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder can be made"))
    }

    fn with(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.path(name), content).expect("the file can be written");
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn stack(&self, variables: &[(&str, &str)]) -> Stack {
        Stack::new(self.variables(variables), None, self.path(DEFAULT_FILE))
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Config, Error> {
        Config::of(self.stack(variables))
    }

    fn load_file(&self, name: &str) -> Result<Config, Error> {
        Config::of(Stack::new(Vec::new(), Some(self.path(name)), self.path(DEFAULT_FILE)))
    }

    /// `FOLDER` in a value is the folder.
    fn variables(&self, variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        let folder = self.0.path().to_string_lossy();
        variables.iter().map(|(name, value)| (name.into(), value.replace("FOLDER", &folder).into())).collect()
    }

    /// The error's text, without the name of the folder.
    fn problems(&self, result: Result<Config, Error>) -> String {
        let error = result.expect_err("it's wrong");
        assert!(error.is_config(), "{error:?}");
        // The password in all of these tests.
        assert!(!format!("{error}{error:?}").contains("hunter"), "{error}");
        self.anonymous(&error.to_string())
    }

    fn anonymous(&self, text: &str) -> String {
        let folder = self.0.path().to_string_lossy();
        text.replace(&format!("{folder}/"), "").replace(&*folder, "FOLDER")
    }
}

/// The error of a file with this text.
fn file(text: &str) -> String {
    let place = Place::new().with(DEFAULT_FILE, text);
    place.problems(place.load(&[]))
}

/// The error of these variables, without a file.
fn variables(variables: &[(&str, &str)]) -> String {
    let place = Place::new();
    place.problems(place.load(variables))
}

/// What is in effect of a key.
fn value(config: &Config, key: &str) -> Option<String> {
    config.settings().iter().find(|setting| setting.key() == key).map(|setting| setting.value().to_owned())
}

fn path_exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}
