//! One layer of a configuration as figment merges it, which remembers where each key was written and keeps what may be a
//! secret out of figment's hands: those show all they have.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::problems::Problem;
use super::schema::{self, Kind};
use crate::config::endpoint::Endpoint;

/// What a source says, before any check.
#[derive(Clone)]
pub(super) enum Node {
    Table(Table),
    List(Vec<Node>),
    Text(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    /// What no key accepts, by its kind.
    Other(&'static str),
}

pub(super) type Table = BTreeMap<String, Entry>;

/// A node, and where it was written.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) node: Node,
    pub(super) place: String,
}

/// A layer of our own.
#[derive(Clone)]
pub(super) struct Layer {
    name: &'static str,
    /// The file it's from.
    path: Option<PathBuf>,
    profile: Profile,
    dict: Dict,
    notes: Arc<Notes>,
}

/// What goes along with a layer, by path.
#[derive(Default)]
struct Notes {
    places: BTreeMap<Vec<String>, String>,
    sealed: BTreeMap<Vec<String>, Sealed>,
}

/// A value that isn't shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Sealed {
    Text(String),
    /// Of the wrong kind: an error names the kind and no more.
    Other(&'static str),
}

pub(super) const DEFAULTS: &str = "defaults of cache-house";
const FILE: &str = "configuration file of cache-house";
const ENVIRONMENT: &str = "environment of cache-house";
const BROKEN: &str = "layers of cache-house";

/// What figment gets in place of a sealed value.
const PLACEHOLDER: &str = "(hidden)";

/// Asked of a layer's interpolater, it's answered with what is sealed; no key begins like this.
const UNSEAL: &str = "\0unseal";

impl Layer {
    pub(super) fn defaults(table: Table) -> Self {
        Self::new(DEFAULTS, None, table)
    }

    pub(super) fn file(path: PathBuf, table: Table) -> Self {
        Self::new(FILE, Some(path), table)
    }

    pub(super) fn environment(table: Table) -> Self {
        Self::new(ENVIRONMENT, None, table)
    }

    fn new(name: &'static str, path: Option<PathBuf>, table: Table) -> Self {
        let mut notes = Notes::default();
        let dict = notes.take_table(&mut Vec::new(), table);
        Self { name, path, profile: Profile::Default, dict, notes: Arc::new(notes) }
    }

    /// The same in this profile.
    pub(super) fn in_profile(self, profile: &Profile) -> Self {
        Self { profile: profile.clone(), ..self }
    }

    /// Where the key at this path was written.
    pub(super) fn place(&self, path: &[&str]) -> Option<&str> {
        self.notes.place(path)
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        let metadata = match &self.path {
            Some(path) => Metadata::from(self.name, path.as_path()),
            None => Metadata::named(self.name),
        };
        let notes = Arc::clone(&self.notes);
        metadata.interpolater(move |_: &Profile, path: &[&str]| match path {
            [UNSEAL, path @ ..] => notes.unseal(path),
            path => notes.place(path).map_or_else(|| schema::written(path), str::to_owned),
        })
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(self.profile.collect(self.dict.clone()))
    }
}

/// Stands for layers that couldn't be read.
pub(super) struct Broken(pub(super) Vec<String>);

impl Provider for Broken {
    fn metadata(&self) -> Metadata {
        Metadata::named(BROKEN)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Err(figment::Error::from(self.0.join("\n")))
    }
}

/// Whether an error is that of [`Broken`], whose text may be reported as it is.
pub(super) fn is_broken(metadata: Option<&Metadata>) -> bool {
    metadata.is_some_and(|metadata| metadata.name == BROKEN)
}

/// Whether values of this origin are those of a [`Layer`].
pub(super) fn is_own(metadata: &Metadata) -> bool {
    [DEFAULTS, FILE, ENVIRONMENT].contains(&metadata.name.as_ref())
}

/// The value behind a placeholder.
pub(super) fn unsealed(metadata: &Metadata, path: &[String]) -> Option<Sealed> {
    let path: Vec<&str> = std::iter::once(UNSEAL).chain(path.iter().map(String::as_str)).collect();
    let sealed = metadata.interpolate(&Profile::Default, &path);
    match sealed.split_at_checked(1)? {
        ("t", text) => Some(Sealed::Text(text.to_owned())),
        ("o", kind) => OTHERS.iter().find(|known| **known == kind).map(|known| Sealed::Other(known)),
        _ => None,
    }
}

const OTHERS: [&str; 5] = ["a whole number", "a number", "true or false", "a date", "a list"];

impl Notes {
    fn take_table(&mut self, path: &mut Vec<String>, table: Table) -> Dict {
        let mut dict = Dict::new();
        for (name, Entry { node, place }) in table {
            path.push(name.clone());
            self.places.insert(path.clone(), place);
            dict.insert(name, self.take(path, node));
            path.pop();
        }
        dict
    }

    fn take(&mut self, path: &mut Vec<String>, node: Node) -> Value {
        let key = match schema::key_at(path) {
            // A text of a list.
            None if path.len() > 1 => schema::key_at(&path[..path.len() - 1]).filter(|key| key.kind.is_list()),
            key => key,
        };
        let is_shown = key.is_some_and(|key| !matches!(key.kind, Kind::Secret | Kind::Secrets));
        let is_list = key.is_some_and(|key| key.kind.is_list());
        let is_endpoint = key.is_some_and(|key| matches!(key.kind, Kind::Endpoint | Kind::Endpoints));
        match node {
            Node::Table(table) => self.take_table(path, table).into(),
            Node::List(nodes) if is_shown || is_list => {
                let mut values = Vec::new();
                for (number, node) in nodes.into_iter().enumerate() {
                    path.push(number.to_string());
                    values.push(self.take(path, node));
                    path.pop();
                }
                values.into()
            }
            Node::Text(text) if is_shown && !may_hold_login(&text) && !(is_endpoint && is_no_endpoint(&text)) => {
                text.into()
            }
            Node::Integer(number) if is_shown => number.into(),
            Node::Float(number) if is_shown => number.into(),
            Node::Flag(flag) if is_shown => flag.into(),
            Node::Text(text) => self.seal(path, Sealed::Text(text)),
            Node::Integer(_) => self.seal(path, Sealed::Other(OTHERS[0])),
            Node::Float(_) => self.seal(path, Sealed::Other(OTHERS[1])),
            Node::Flag(_) => self.seal(path, Sealed::Other(OTHERS[2])),
            Node::Other(kind) => self.seal(path, Sealed::Other(kind)),
            Node::List(_) => self.seal(path, Sealed::Other(OTHERS[4])),
        }
    }

    fn seal(&mut self, path: &[String], value: Sealed) -> Value {
        self.sealed.insert(path.to_vec(), value);
        PLACEHOLDER.into()
    }

    fn place(&self, path: &[&str]) -> Option<&str> {
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        self.places.get(&path).map(String::as_str)
    }

    fn unseal(&self, path: &[&str]) -> String {
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        match self.sealed.get(&path) {
            Some(Sealed::Text(text)) => format!("t{text}"),
            Some(Sealed::Other(kind)) => format!("o{kind}"),
            None => String::new(),
        }
    }
}

/// Whether a text may be a URL with a password in it, or a piece of one.
pub(super) fn may_hold_login(text: &str) -> bool {
    text.contains('@') || text.contains("://") || text.contains("%40")
}

/// Whether a text in the place of an endpoint is none, so that a password may be anywhere in it.
fn is_no_endpoint(text: &str) -> bool {
    text.parse::<Endpoint>().is_err()
}

/// The keys of `over` in place of those of `under`, table by table; [`keep_tls_table`] holds.
pub(super) fn merge(under: &mut Table, mut over: Table) {
    keep_tls_table(under, &mut over);
    lay(under, over);
}

/// `connection.tls` is a flag or a table: `true` over a table asks for what the table sets up, so it doesn't replace the table.
pub(super) fn keep_tls_table(under: &Table, over: &mut Table) {
    if let (Some(Entry { node: Node::Table(_), .. }), Some(Entry { node: Node::Flag(true), .. })) =
        (tls(under), tls(over))
    {
        remove_tls(over);
    }
}

/// The same where what is under `over` are a program's defaults.
pub(super) fn keep_tls_table_of(under: &Figment, over: &mut Table) {
    if let Ok(Value::Dict(..)) = under.find_value(&TLS.join("."))
        && let Some(Entry { node: Node::Flag(true), .. }) = tls(over)
    {
        remove_tls(over);
    }
}

/// Whether these settings say anything of TLS.
pub(super) fn has_tls(settings: &Table) -> bool {
    tls(settings).is_some()
}

fn remove_tls(table: &mut Table) {
    if let Some(Entry { node: Node::Table(connection), .. }) = table.get_mut(TLS[0]) {
        connection.remove(TLS[1]);
    }
}

/// What is wrong if one variable has `connection.tls` as `false` and another as a table: which of them was meant isn't known. A
/// variable over a file is no contradiction, it wins.
pub(super) fn tls_contradiction(one: &Table, two: &Table) -> Option<Problem> {
    let (one, two) = (tls(one)?, tls(two)?);
    matches!((&one.node, &two.node), (Node::Table(_), Node::Flag(false)) | (Node::Flag(false), Node::Table(_))).then(
        || {
            let text = "is false in one place and in the other a table, which turns TLS on; keep one";
            Problem::new(TLS.join("."), text, &one.place).and(&two.place)
        },
    )
}

const TLS: [&str; 2] = ["connection", "tls"];

fn tls(table: &Table) -> Option<&Entry> {
    match &table.get(TLS[0])?.node {
        Node::Table(connection) => connection.get(TLS[1]),
        _ => None,
    }
}

fn lay(under: &mut Table, over: Table) {
    for (name, entry) in over {
        match (under.get_mut(&name), entry) {
            (Some(Entry { node: Node::Table(under), place }), Entry { node: Node::Table(over), place: newer }) => {
                *place = newer;
                lay(under, over);
            }
            (_, entry) => {
                under.insert(name, entry);
            }
        }
    }
}

/// The tables down to a node.
pub(super) fn nested(path: &[String], mut node: Node, place: &str) -> Table {
    let mut names = path.iter().rev();
    let mut name = names.next().cloned().unwrap_or_default();
    for outer in names {
        let table = Table::from([(name, Entry { node, place: place.to_owned() })]);
        (node, name) = (Node::Table(table), outer.clone());
    }
    Table::from([(name, Entry { node, place: place.to_owned() })])
}
