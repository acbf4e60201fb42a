//! Reads the merged settings, key by key, and collects all problems.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::value::{Dict, Value};
use figment::{Figment, Profile, Source};

use super::environment::{self, SPECIAL};
use super::hints::{hint, is_of_kubernetes};
use super::kind::{Seen, Typed};
use super::layer::{self, Sealed};
use super::problems::{Problem, Problems};
use super::schema::{self, Key, VARIABLE_PREFIX};
use crate::codec::SharedCodec;
use crate::config::file::LOAD_PATIENCE;
use crate::config::secret::{NO_FILE, is_secret_for_path};

/// The source of what nothing has set.
pub(super) const DEFAULT: &str = "default";

const FILES_OF_SECRETS: [&str; 2] = ["connection.password_file", "encryption.key_file"];

/// A value, and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) value: Typed,
    pub(super) source: String,
}

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// By path; what was wrong isn't here.
    pub(super) found: BTreeMap<Vec<String>, Found>,
    /// The keys that were given, whether rightly or not.
    given: BTreeSet<Vec<String>>,
    /// Where each table was written; of the tables that may decide the topology, those that were.
    pub(super) tables: BTreeMap<Vec<String>, String>,
    pub(super) problems: Problems,
}

/// Whether a text in the place of a path may be a secret.
fn is_secret(seen: &Seen, found: &Typed) -> bool {
    let (Seen::Text(given), Typed::File(found)) = (seen, found) else { return false };
    is_secret_for_path(Path::new(given), found, LOAD_PATIENCE)
}

impl Settings {
    /// Of the layers of a figment, merged.
    pub(super) fn of(figment: &Figment) -> Self {
        let mut this = Self::default();
        // The empty path is that of the whole.
        match figment.find_value("") {
            Ok(Value::Dict(_, root)) => this.walk(figment, &mut Vec::new(), root),
            Ok(_) => {}
            Err(errors) => this.problems.extend(errors.into_iter().flat_map(|error| foreign(&error))),
        }
        this
    }

    pub(super) fn get(&self, path: &str) -> Option<&Found> {
        self.found.get(&path.split('.').map(String::from).collect::<Vec<_>>())
    }

    /// Whether the key was given, be it wrongly.
    pub(super) fn is_given(&self, path: &str) -> bool {
        self.given.contains(&path.split('.').map(String::from).collect::<Vec<_>>())
    }

    /// Sets what is in effect of a key that wasn't given.
    pub(super) fn put(&mut self, path: &str, found: Found) {
        self.found.insert(path.split('.').map(String::from).collect(), found);
    }

    pub(super) fn value(&self, path: &str) -> Option<Typed> {
        self.get(path).map(|found| found.value.clone())
    }

    pub(super) fn time(&self, path: &str) -> Option<Duration> {
        match self.value(path)? {
            Typed::Time(time) => Some(time),
            _ => None,
        }
    }

    pub(super) fn flag(&self, path: &str) -> Option<bool> {
        match self.value(path)? {
            Typed::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    pub(super) fn count(&self, path: &str) -> Option<u64> {
        match self.value(path)? {
            Typed::Count(number) | Typed::Size(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn codec(&self, path: &[&str]) -> Option<SharedCodec> {
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        match &self.found.get(&path)?.value {
            Typed::Codec(codec) => Some(codec.clone()),
            _ => None,
        }
    }

    pub(super) fn table(&self, path: &str) -> Option<&str> {
        self.tables.get(&path.split('.').map(String::from).collect::<Vec<_>>()).map(String::as_str)
    }

    /// Where a key or a table was written.
    pub(super) fn source(&self, path: &str) -> String {
        let key = self.get(path).map(|found| found.source.as_str());
        let table = path.rsplit_once('.').and_then(|(table, _)| self.table(table));
        key.or_else(|| self.table(path)).or(table).unwrap_or(DEFAULT).to_owned()
    }

    fn walk(&mut self, figment: &Figment, path: &mut Vec<String>, table: Dict) {
        for (name, value) in table {
            path.push(name);
            self.visit(figment, path, value);
            path.pop();
        }
    }

    fn visit(&mut self, figment: &Figment, path: &mut Vec<String>, value: Value) {
        let origin = Origin::of(figment, &value, path);
        match (schema::key_at(path), value) {
            (_, Value::Empty(..)) => {}
            (_, Value::Dict(_, table)) if schema::is_table(path) => {
                if path.len() == 2 && path[0] == schema::NAMESPACES && path[1].is_empty() {
                    let text = "names an empty namespace, which no call has; accepts a name of at least one character";
                    self.problems.push(Problem::new(schema::written(path), text, origin.place.clone()));
                }
                self.tables.insert(path.clone(), origin.place);
                self.walk(figment, path, table);
            }
            // Two variables, one of which is named as if the other were a table.
            (Some(_), Value::Dict(_, table)) if origin.is_variable() => self.walk(figment, path, table),
            (Some(key), value) => self.read(key, path, &seen(figment, path, &value), origin),
            (None, Value::Dict(_, table)) if origin.is_variable() => self.walk(figment, path, table),
            (None, value) => self.unknown(path, &value, origin),
        }
    }

    fn read(&mut self, key: &Key, path: &[String], seen: &Seen, origin: Origin) {
        self.given.insert(path.to_vec());
        match key.kind.read(seen, origin.base.as_deref()) {
            // With the folder of the configuration's file in front, a later error would quote it.
            Ok(found) if FILES_OF_SECRETS.contains(&key.path) && is_secret(seen, &found) => {
                self.problems.push(Problem::new(schema::written(path), NO_FILE, origin.place));
            }
            Ok(value) => {
                self.found.insert(path.to_vec(), Found { value, source: origin.place });
            }
            Err(problem) => self.problems.push(Problem::new(schema::written(path), problem, origin.place)),
        }
    }

    /// Its value isn't shown, whatever it is: it may be a secret under a misspelt name.
    fn unknown(&mut self, path: &[String], value: &Value, origin: Origin) {
        if self.problems.is_full() {
            // Looking for the nearest key takes time.
            return self.problems.count();
        }
        if schema::is_table(path) {
            let keys = schema::KEYS.iter().filter_map(|key| key.path.strip_prefix(&format!("{}.", path.join("."))));
            let mut keys: Vec<_> =
                keys.map(|key| format!("`{}`", key.split('.').next().unwrap_or_default().replace('*', "…"))).collect();
            keys.dedup();
            let keys = if keys.is_empty() { "no keys".into() } else { format!("the keys {}", keys.join(", ")) };
            let text = format!("is no table (it isn't shown); accepts a table, with {keys}");
            return self.problems.push(Problem::new(schema::written(path), text, origin.place));
        }
        if let Some(variable) = origin.variable_of(path) {
            if let [first, name, _] = path
                && first == schema::NAMESPACES
            {
                let known = schema::of_namespaces().map(|key| schema::variable(&[first.as_str(), name.as_str(), key]));
                let known: Vec<_> = known.collect();
                let paths: Vec<_> = schema::of_namespaces().collect();
                let near = hint(&path[2], &paths);
                let near = paths.iter().position(|path| Some(*path) == near).map(|at| known[at].as_str());
                let text = format!("is no variable of cache-house; {}", advice(near));
                return self.problems.push(Problem::new(variable, text, environment::SOURCE));
            }
            if is_of_kubernetes(&variable[VARIABLE_PREFIX.len()..]) {
                return self.problems.push(Problem::new(variable, OF_KUBERNETES, environment::SOURCE));
            }
            let known: Vec<String> = schema::KEYS
                .iter()
                .filter(|key| !key.path.contains('*'))
                .map(|key| schema::variable(&key.path.split('.').collect::<Vec<_>>()))
                .chain(SPECIAL.map(String::from))
                .collect();
            let paths = known.iter().map(|name| name[VARIABLE_PREFIX.len()..].replace("__", ".").to_lowercase());
            let paths: Vec<_> = paths.collect();
            let near = hint(&schema::written(path), &paths.iter().map(String::as_str).collect::<Vec<_>>());
            let near = paths.iter().position(|path| Some(path.as_str()) == near).map(|at| known[at].as_str());
            let text = format!("is no variable of cache-house; {}", advice(near));
            return self.problems.push(Problem::new(variable, text, environment::SOURCE));
        }
        let written = schema::written(path);
        let text = match misplaced(path) {
            Some(why) => why.to_owned(),
            None => {
                let what = if value.as_dict().is_some() { "table" } else { "key" };
                format!("is no {what} of the configuration; {}", advice_for(path, value))
            }
        };
        self.problems.push(Problem::new(written, text, origin.place));
    }
}

/// A known key in a table where it means nothing.
fn misplaced(path: &[String]) -> Option<&'static str> {
    let path: Vec<_> = path.iter().map(String::as_str).collect();
    match path[..] {
        ["cluster", "database"] => Some(
            "means nothing here: a cluster has database 0 alone; accepts no such key, use `namespace` to keep entries apart",
        ),
        ["autodetect", "database"] => Some(
            "means nothing here: what is found may be a cluster, which has database 0 alone; use [standalone], or `namespace` to keep entries apart",
        ),
        ["standalone" | "autodetect", "read_from_replicas"] => {
            Some("means nothing here: only a cluster's replicas are read from; use [cluster]")
        }
        ["standalone", "nodes"] => {
            Some("means nothing here: one server has one `endpoint`; use [cluster] or [autodetect] for several nodes")
        }
        ["cluster", "endpoint"] => Some("means nothing here; a cluster takes a list, `nodes = [\"host:port\"]`"),
        _ => None,
    }
}

/// Variables that Kubernetes makes of a service's name.
const OF_KUBERNETES: &str = "is no variable of cache-house; Kubernetes sets it where there is a service that is named `cachehouse`: set \
    `enableServiceLinks: false` for the pod, or give the service another name";

/// The end of a problem with an unknown key.
fn advice(near: Option<&str>) -> String {
    match near {
        Some(near) => format!("the nearest known one is {near}"),
        None => "docs/configuration.md has a table of all".to_owned(),
    }
}

/// The same for a key or table of a file or provider.
fn advice_for(path: &[String], value: &Value) -> String {
    // A namespace's name with dots, without the quotes that it takes.
    if let [first, name @ ..] = path
        && first == schema::NAMESPACES
        && name.len() > 1
    {
        let (mut name, mut inside) = (name.join("."), value.as_dict());
        while let Some((part, deeper)) = inside.filter(|table| table.len() == 1).and_then(|table| table.iter().next())
            && deeper.as_dict().is_some()
        {
            name = format!("{name}.{part}");
            inside = deeper.as_dict();
        }
        if inside.is_some() {
            let meant = schema::written(&[first.clone(), name]);
            return format!("a namespace with a dot in its name stands in quotes: {meant}");
        }
    }
    let tables = [
        "connection",
        "connection.tls",
        "connection.reconnect",
        "near_cache",
        "compression",
        "encryption",
        "memory_tier",
        schema::NAMESPACES,
    ];
    // Inside of a namespace there are only its own keys to be meant.
    let (inside, own) = match path {
        [first, name, _] if first == schema::NAMESPACES => (true, schema::written(&[first, name])),
        _ => (false, String::new()),
    };
    let candidates: Vec<String> = if inside {
        schema::of_namespaces().map(|key| format!("{own}.{key}")).collect()
    } else if value.as_dict().is_some() {
        schema::TOPOLOGIES.iter().chain(&tables).map(ToString::to_string).collect()
    } else {
        schema::KEYS.iter().map(|key| key.path.to_owned()).filter(|path| !path.contains('*')).collect()
    };
    advice(hint(&schema::written(path), &candidates.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// Where a value comes from.
struct Origin {
    place: String,
    /// The folder of the file.
    base: Option<PathBuf>,
}

impl Origin {
    fn of(figment: &Figment, value: &Value, path: &[String]) -> Self {
        let Some(metadata) = figment.get_metadata(value.tag()) else {
            return Self { place: "a provider".into(), base: None };
        };
        let file = metadata.source.as_ref().and_then(Source::file_path);
        let base = file.and_then(|path| path.parent()).filter(|base| !base.as_os_str().is_empty()).map(PathBuf::from);
        if layer::is_own(metadata) {
            let is_default = metadata.name == layer::DEFAULTS;
            let place = if is_default { "default".into() } else { metadata.interpolate(&Profile::Default, path) };
            return Self { place, base };
        }
        let place = match (&file, &metadata.source) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(source)) => format!("provider {}, {source}", metadata.name),
            (None, None) => format!("provider {}", metadata.name),
        };
        Self { place, base }
    }

    fn is_variable(&self) -> bool {
        self.place.starts_with("variable ")
    }

    /// The variable as it's set, where it stands for just this key.
    fn variable_of(&self, path: &[String]) -> Option<&str> {
        self.place.strip_prefix("variable ").filter(|name| name.to_uppercase() == schema::variable(path))
    }
}

/// The value, also behind a placeholder.
fn seen(figment: &Figment, path: &[String], value: &Value) -> Seen {
    let own = figment.get_metadata(value.tag()).filter(|metadata| layer::is_own(metadata));
    if let Some(metadata) = own {
        match layer::unsealed(metadata, path) {
            Some(Sealed::Text(text)) => return Seen::Text(text),
            Some(Sealed::Other(kind)) => return Seen::Other(kind),
            None => {}
        }
    }
    match value {
        Value::String(_, text) => Seen::Text(text.clone()),
        Value::Char(_, c) => Seen::Text(c.to_string()),
        Value::Bool(_, flag) => Seen::Flag(*flag),
        Value::Num(_, number) => {
            let unsigned = number.to_u128().and_then(|number| i128::try_from(number).ok());
            number.to_i128().or(unsigned).map(Seen::Integer).unwrap_or_else(|| match number.to_f64() {
                Some(float) => Seen::Float(float),
                None => Seen::Other("a number that is too large"),
            })
        }
        Value::Empty(..) => Seen::Other("nothing"),
        Value::Dict(..) => Seen::Table,
        Value::Array(_, values) => {
            let item = |(number, value): (usize, &Value)| {
                let path: Vec<_> = path.iter().cloned().chain([number.to_string()]).collect();
                seen(figment, &path, value)
            };
            Seen::List((0..).zip(values).map(item).collect())
        }
    }
}

/// What a provider says that couldn't be read. It may quote what it couldn't, so the problem shows only what is outside of quotes.
fn foreign(error: &figment::Error) -> Vec<Problem> {
    let text = error.kind.to_string();
    if layer::is_broken(error.metadata.as_ref()) {
        return text.lines().map(Problem::verbatim).collect();
    }
    let first = text.lines().next().unwrap_or_default();
    let mut quoted = None;
    let shown: String = first
        .chars()
        .filter_map(|c| match quoted {
            None if matches!(c, '"' | '`') => {
                quoted = Some(c);
                Some('…')
            }
            None => Some(c),
            Some(mark) => {
                quoted = Some(mark).filter(|mark| *mark != c);
                None
            }
        })
        .collect();
    let (name, source) = error.metadata.as_ref().map_or(("a provider".into(), None), |metadata| {
        (metadata.name.to_string(), metadata.source.as_ref().map(ToString::to_string))
    });
    vec![match source {
        Some(source) => Problem::new(name, format!("can't be read: {shown}"), source),
        None => Problem::verbatim(&format!("{name}: can't be read: {shown}")),
    }]
}
