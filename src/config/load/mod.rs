//! Fills the builder from a file and the environment.

mod apply;
mod environment;
mod file;
mod hints;
mod kind;
mod layer;
mod problems;
mod schema;
mod sealing;
pub(super) mod sources;
mod stack;
mod walk;

use std::fmt;
use std::path::{Path, PathBuf};

use figment::{Figment, Provider};

use super::builder::CacheHouseBuilder;
use super::state::Loaded;
use crate::error::Error;
use problems::Problems;
use stack::Stack;
use walk::Settings;

/// The file that is read where no other is named.
const DEFAULT_FILE: &str = "cachehouse.toml";

/// A configuration from a file and the environment: checked, with the source of each value.
///
/// [`CacheHouse::load`](crate::CacheHouse::load) makes a handle in one go. Use `Config` to see the values in effect before.
/// Neither `Display` nor `Debug` shows a secret. `docs/configuration.md` has a table of all keys.
///
/// ```
/// use cache_house::Config;
///
/// let config = Config::from_provider(("expire", "5m"))?;
/// let expire = config.settings().iter().find(|setting| setting.key() == "expire");
/// assert_eq!(expire.map(|setting| setting.value()), Some("\"5m\""));
///
/// let cache = config.into_builder().namespace("app").build()?;
/// # Ok::<(), cache_house::Error>(())
/// ```
#[must_use = "a configuration does nothing until it is built"]
pub struct Config {
    builder: CacheHouseBuilder<Loaded>,
    settings: Vec<Setting>,
    /// Which of the file's profiles is in effect; `None` where it has none.
    profile: Option<String>,
}

/// One value that is in effect, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    key: String,
    value: String,
    source: String,
}

impl Config {
    /// Defaults, then `cachehouse.toml` in the current folder if it's there, or the file that `CACHEHOUSE_CONFIG` names and that has
    /// to be there, then the variables `CACHEHOUSE_*`; later ones win. A file has 1 MiB at most.
    ///
    /// # Errors
    ///
    /// [`is_config`](Error::is_config): all that is wrong, a line each, with the file and line or the variable.
    pub fn load() -> Result<Self, Error> {
        Self::of(Stack::new(std::env::vars_os(), None, DEFAULT_FILE.into()))
    }

    /// As [`load`](Self::load), with defaults of the program's own: built-in defaults, then this provider, then the file, then the
    /// variables; later ones win, whatever profiles the provider has. What is set on the builder afterwards would win over the file.
    ///
    /// Leave the topology to the file: two are an error.
    ///
    /// ```
    /// use cache_house::Config;
    ///
    /// // An operator may still give another namespace, in `cachehouse.toml` or by CACHEHOUSE_NAMESPACE.
    /// let cache = Config::load_with_defaults(("namespace", "shop"))?.into_builder().build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_with_defaults(defaults: impl Provider) -> Result<Self, Error> {
        Self::of(Stack::over(defaults, std::env::vars_os(), DEFAULT_FILE.into()))
    }

    /// Defaults, then this file, which has to be there, then the variables `CACHEHOUSE_*`, of which `CACHEHOUSE_CONFIG` has no
    /// say here.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::of(Stack::new(std::env::vars_os(), Some(path.as_ref().to_owned()), DEFAULT_FILE.into()))
    }

    /// Defaults, then this provider: neither a file nor the environment, unless it brings them.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load). A provider's name takes the place of file and line.
    pub fn from_provider(provider: impl Provider) -> Result<Self, Error> {
        let figment = stack::defaults().merge(provider);
        Self::of(Stack { figment, problems: Problems::default(), profile: None, is_incomplete: false })
    }

    /// The layers of [`load`](Self::load), to be extended with one's own and handed to
    /// [`CacheHouse::from_provider`](crate::CacheHouse::from_provider). Problems with them are kept, and reported there.
    ///
    /// Profiles are laid over each other already: whatever is merged into it wins. Secrets are in it as placeholders only, so that its
    /// `Debug` is harmless; those that you merge into it yourself are not.
    ///
    /// ```
    /// use cache_house::{CacheHouse, Config};
    ///
    /// let figment = Config::figment().merge(("namespace", "tests")).merge(("memory", std::collections::BTreeMap::<String, u8>::new()));
    /// let cache = CacheHouse::from_provider(figment).build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[must_use]
    pub fn figment() -> Figment {
        Stack::new(std::env::vars_os(), None, DEFAULT_FILE.into()).into_figment()
    }

    /// The nearest `cachehouse.toml` in the current folder or one above it, for [`from_file`](Self::from_file): no file above the
    /// current folder is read unless you ask like this.
    #[must_use]
    pub fn find_file_upwards() -> Option<PathBuf> {
        let here = std::env::current_dir().ok()?;
        here.ancestors().map(|folder| folder.join(DEFAULT_FILE)).find(|path| path.is_file())
    }

    /// What is in effect, in the order of the table of keys. A key without a default is here only if it was given.
    ///
    /// ```
    /// use cache_house::Config;
    ///
    /// let config = Config::from_file("examples/cachehouse.toml")?;
    /// for setting in config.settings() {
    ///     println!("{} = {} ({})", setting.key(), setting.value(), setting.source());
    /// }
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[must_use]
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// A builder that has all this; what is set on it wins.
    pub fn into_builder(self) -> CacheHouseBuilder<Loaded> {
        self.builder
    }

    fn of(stack: Stack) -> Result<Self, Error> {
        let mut settings = Settings::of(&stack.figment);
        settings.problems = stack.problems.and(settings.problems);
        // Of settings that aren't all there it can't be said what is missing.
        let builder = if stack.is_incomplete { None } else { apply::apply(&mut settings) };
        match builder {
            Some(builder) if settings.problems.is_empty() => {
                Ok(Self { builder, settings: in_effect(&settings), profile: stack.profile })
            }
            _ => Err(settings.problems.into_error()),
        }
    }
}

/// The settings in the order of the schema, with the defaults of the topology that was chosen.
fn in_effect(settings: &Settings) -> Vec<Setting> {
    let chosen = schema::TOPOLOGIES.into_iter().find(|name| settings.tables.contains_key(&[name.to_string()][..]));
    let topology = chosen.unwrap_or("autodetect");
    let mut all = Vec::new();
    for key in &schema::KEYS {
        let table = key.path.split('.').next().unwrap_or_default();
        let means_something = match table {
            "connection" => topology != "memory",
            table => table == topology || !schema::TOPOLOGIES.contains(&table),
        };
        let own: Vec<_> = settings
            .found
            .iter()
            .filter(|(path, _)| schema::key_at(path).is_some_and(|known| known.path == key.path))
            .map(|(path, found)| Setting::new(schema::written(path), found.value.to_string(), &found.source))
            .collect();
        let is_missing = own.is_empty() && table == topology && !key.default.is_empty();
        let default = is_missing.then(|| Setting::new(key.path.to_owned(), key.default.to_owned(), "default"));
        if means_something {
            all.extend(own.into_iter().chain(default));
        }
    }
    if let Some(place) = settings.tables.get(&["memory".to_owned()][..]) {
        let after =
            all.iter().position(|setting: &Setting| setting.key.starts_with("memory_tier")).unwrap_or(all.len());
        all.insert(after, Setting::new("memory".into(), "{}".into(), place));
    }
    all
}

impl Setting {
    fn new(key: String, value: String, source: &str) -> Self {
        Self { key, value, source: source.to_owned() }
    }

    /// The key with its tables, as `connection.command_timeout`.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value as a file would have it; `(hidden)` for a secret, and endpoints without their credentials.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// `default`, the file with its line, the variable, or the provider's name.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl fmt::Display for Config {
    /// A line for each setting: its key, its value, its source. Before them, if the file has profiles, a line about them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |of: fn(&Setting) -> &str| self.settings.iter().map(|setting| of(setting).chars().count()).max();
        let (keys, values) = (width(Setting::key).unwrap_or(0), width(Setting::value).unwrap_or(0).min(40));
        if let Some(profile) = &self.profile {
            writeln!(f, "{profile}\n")?;
        }
        for (number, Setting { key, value, source }) in self.settings.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{key:keys$} = {value:values$}  ({source})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl CacheHouseBuilder<Loaded> {
    /// A builder with what was loaded, or one whose `build` returns why nothing was.
    pub(crate) fn loaded(config: Result<Config, Error>) -> Self {
        config.map_or_else(Self::refused, Config::into_builder)
    }
}

impl From<Config> for CacheHouseBuilder<Loaded> {
    fn from(config: Config) -> Self {
        config.into_builder()
    }
}

#[cfg(test)]
mod tests;
