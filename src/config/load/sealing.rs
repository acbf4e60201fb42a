//! What is done with values on their way to a server: the tables `compression` and `encryption`.

#[cfg(feature = "lz4")]
use super::kind::Typed;
use super::problems::Problem;
use super::walk::Settings;
#[cfg(feature = "lz4")]
use super::walk::{DEFAULT, Found};
#[cfg(feature = "lz4")]
use crate::codec::Compression;
#[cfg(feature = "encryption")]
use crate::codec::EncryptionKey;
use crate::codec::Sealing;

/// What the tables ask for; what is wrong is added to the problems of the settings.
pub(super) fn sealing(settings: &mut Settings) -> Sealing {
    let mut sealing = Sealing::default();
    if let Some(place) = settings.table("compression").map(String::from)
        && settings.flag("compression.enabled") != Some(false)
    {
        compression(settings, &mut sealing, place);
    }
    if let Some(place) = settings.table("encryption").map(String::from) {
        encryption(settings, &mut sealing, place);
    }
    sealing
}

#[cfg(feature = "lz4")]
fn compression(settings: &mut Settings, sealing: &mut Sealing, place: String) {
    // What is in effect of an empty table is shown, too.
    if !settings.is_given("compression.enabled") {
        settings.put("compression.enabled", Found { value: Typed::Flag(true), source: place });
    }
    let size = settings.count("compression.min_size").unwrap_or_else(|| {
        let size = Compression::DEFAULT_MIN_SIZE;
        settings.put("compression.min_size", Found { value: Typed::Size(size), source: DEFAULT.to_owned() });
        size
    });
    sealing.compress(size);
}

#[cfg(not(feature = "lz4"))]
fn compression(settings: &mut Settings, _: &mut Sealing, place: String) {
    let problem = "isn't in this build; turn on the feature `lz4` of cache-house";
    settings.problems.push(Problem::new("compression", problem, place));
}

#[cfg(feature = "encryption")]
fn encryption(settings: &mut Settings, sealing: &mut Sealing, place: String) {
    let (text, file) = ("encryption.key", "encryption.key_file");
    match (settings.is_given(text), settings.is_given(file)) {
        (true, true) => {
            let problem = "is given, and so is `encryption.key_file`; keep one";
            let (one, two) = (settings.source(text), settings.source(file));
            settings.problems.push(Problem::new(text, problem, one).and(two));
        }
        (false, false) => {
            let problem = format!("is missing; accepts {}, or `{file}` in its place", EncryptionKey::ACCEPTED);
            settings.problems.push(Problem::new(text, problem, place));
        }
        _ => {}
    }
    let key = keys::of(settings, text).into_iter().chain(keys::of(settings, file)).next();
    let lists = ["encryption.previous_keys", "encryption.previous_key_files"];
    let previous: Vec<_> = lists.into_iter().flat_map(|list| keys::of(settings, list)).collect();
    // Without a right one there is a problem already.
    if let Some(key) = key {
        sealing.encrypt(key, previous);
    }
}

#[cfg(not(feature = "encryption"))]
fn encryption(settings: &mut Settings, _: &mut Sealing, place: String) {
    let problem = "isn't in this build; turn on the feature `encryption` of cache-house";
    settings.problems.push(Problem::new("encryption", problem, place));
}

#[cfg(feature = "encryption")]
mod keys {
    use std::path::{Path, PathBuf};

    use crate::codec::EncryptionKey;
    use crate::config::file::LOAD_PATIENCE;
    use crate::config::load::kind::Typed;
    use crate::config::load::problems::Problem;
    use crate::config::load::walk::Settings;
    use crate::config::secret::{Password, Secret};
    use crate::error::Error;

    /// The keys at this path that are right; each that isn't is added to the problems of the settings.
    pub(super) fn of(settings: &mut Settings, path: &str) -> Vec<EncryptionKey> {
        let keys: Vec<Result<EncryptionKey, String>> = match settings.value(path) {
            Some(Typed::Secret(text)) => vec![in_text(&text)],
            Some(Typed::Secrets(texts)) => {
                let numbered = |number: usize, problem| format!("has as number {number} what {problem}");
                (1..).zip(&texts).map(|(at, text)| in_text(text).map_err(|problem| numbered(at, problem))).collect()
            }
            Some(Typed::File(path)) => vec![in_file(path)],
            Some(Typed::Files(paths)) => paths.into_iter().map(in_file).collect(),
            _ => Vec::new(),
        };
        let source = settings.source(path);
        let mut right = Vec::new();
        for key in keys {
            match key {
                Ok(key) => right.push(key),
                Err(problem) => settings.problems.push(Problem::new(path, problem, &source)),
            }
        }
        right
    }

    fn in_text(text: &Secret) -> Result<EncryptionKey, String> {
        text.expose().parse().map_err(|error: Error| error.problem())
    }

    fn in_file(path: PathBuf) -> Result<EncryptionKey, String> {
        let text = Password::File(path.clone()).read(LOAD_PATIENCE).map_err(|problem| match is_key(&path) {
            true => "is a key itself (it isn't shown); accepts the path of a file".to_owned(),
            false => problem,
        })?;
        in_text(&text).map_err(|problem| format!("{path:?} {problem}"))
    }

    /// Whether a path that leads to no file ends in a key, which was given in its place.
    fn is_key(path: &Path) -> bool {
        let text = path.to_string_lossy();
        let text = text.trim_end();
        let ends =
            [64, 44, 43].into_iter().filter_map(|len| text.len().checked_sub(len)).filter_map(|at| text.get(at..));
        ends.into_iter().any(|end| end.parse::<EncryptionKey>().is_ok())
    }
}
