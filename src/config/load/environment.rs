//! The variables `CACHEHOUSE_*`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::file;
use super::layer::{self, Node, Table, merge, nested};
use super::problems::{Problem, Problems};
use super::schema::{self, Kind, VARIABLE_PREFIX};

/// What the environment says.
#[derive(Default)]
pub(super) struct Environment {
    pub(super) settings: Table,
    /// `CACHEHOUSE_CONFIG`, and its name as it's set.
    pub(super) config: Option<(OsString, String)>,
    /// `CACHEHOUSE_PROFILE`, and its name as it's set.
    pub(super) profile: Option<(String, String)>,
    pub(super) problems: Problems,
}

/// Where it is, of what is named by its variable.
pub(super) const SOURCE: &str = "environment";

/// The variables that have a meaning of their own.
pub(super) const SPECIAL: [&str; 2] = ["CACHEHOUSE_CONFIG", "CACHEHOUSE_PROFILE"];

/// More than any key has. Each is a table in another, and what goes through them does so by recursion.
const MOST_PARTS: usize = 16;

impl Environment {
    pub(super) fn read(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut this = Self::default();
        // By their name in capitals, since case doesn't count.
        let mut own: BTreeMap<String, (String, OsString)> = BTreeMap::new();
        for (name, value) in variables {
            let name = name.to_string_lossy().into_owned();
            let canonical = name.to_uppercase();
            if !canonical.starts_with(VARIABLE_PREFIX) {
                continue;
            }
            if let Some((other, _)) = own.get(&canonical) {
                let (one, two) =
                    if *other < name { (other.as_str(), name.as_str()) } else { (name.as_str(), other.as_str()) };
                let text = "is set twice, since the case of letters doesn't count; keep one";
                this.problems.push(Problem::new(one, text, format!("variable {one}")).and(format!("variable {two}")));
            } else {
                own.insert(canonical, (name, value));
            }
        }
        for (canonical, (name, value)) in own {
            this.add(&canonical, name, value);
        }
        this
    }

    fn add(&mut self, canonical: &str, name: String, value: OsString) {
        let place = format!("variable {name}");
        if canonical == SPECIAL[0] {
            if value.is_empty() {
                let text = "is empty; accepts the path of a file, or not to be set";
                return self.problems.push(Problem::new(&name, text, SOURCE));
            }
            self.config = Some((value, place));
            return;
        }
        let Ok(text) = value.into_string() else {
            return self.problems.push(Problem::new(&name, "isn't UTF-8 (it isn't shown); accepts UTF-8", SOURCE));
        };
        if canonical == SPECIAL[1] {
            if text.is_empty() {
                let text = "is empty; accepts the name of a profile, or not to be set";
                return self.problems.push(Problem::new(&name, text, SOURCE));
            }
            self.profile = Some((text, name));
            return;
        }
        let parts = canonical[VARIABLE_PREFIX.len()..].split("__").count();
        if parts > MOST_PARTS {
            let start: String = name.chars().take(40).collect();
            let text = format!("is no variable of cache-house: its name has {parts} parts, and none has more than 3");
            return self.problems.push(Problem::new(format!("{start}…"), text, SOURCE));
        }
        let path: Vec<String> = canonical[VARIABLE_PREFIX.len()..].split("__").map(str::to_lowercase).collect();
        let node = match schema::key_at(&path) {
            Some(key) => literal(&key.kind, &text, &place),
            None if schema::is_table(&path) => match file::parse_value(&text, &place) {
                Some(node @ Node::Table(_)) => node,
                _ => {
                    let problem = format!(
                        "names the table `{}`, and isn't one (it isn't shown); accepts a table such as {{}} or {{ key = \"value\" }}, \
                         or variables for its keys, {}",
                        schema::written(&path),
                        example(&path),
                    );
                    return self.problems.push(Problem::new(&name, problem, SOURCE));
                }
            },
            None => Node::Text(text),
        };
        let one = nested(&path, node, &place);
        self.problems.extend(layer::tls_contradiction(&self.settings, &one));
        merge(&mut self.settings, one);
    }
}

/// A text stays as it is; what isn't text is taken for what it's meant to be, and where it's nothing of the kind stays a text too.
fn literal(kind: &Kind, text: &str, place: &str) -> Node {
    let trimmed = text.trim();
    let node = match kind {
        Kind::Text | Kind::Endpoint | Kind::Codec | Kind::Secret | Kind::File => None,
        Kind::Endpoints | Kind::Tags | Kind::Secrets | Kind::Files => {
            file::parse_value(text, place).filter(|node| matches!(node, Node::List(_)))
        }
        Kind::Flag if trimmed.starts_with('{') => file::parse_value(text, place),
        Kind::Flag => trimmed.parse().map(Node::Flag).ok(),
        Kind::Time(_) | Kind::Size(_) | Kind::Count(_) => trimmed.parse().map(Node::Integer).ok(),
        Kind::Number(_) => trimmed.parse().map(Node::Float).ok(),
    };
    node.unwrap_or_else(|| match kind {
        Kind::Time(_) | Kind::Size(_) | Kind::Count(_) | Kind::Number(_) | Kind::Flag => Node::Text(trimmed.to_owned()),
        _ => Node::Text(text.to_owned()),
    })
}

/// A variable of a key below the table at `path`.
fn example(path: &[String]) -> String {
    let prefix = schema::variable(path);
    let known = schema::KEYS.iter().map(|key| key.path.replace('*', "name"));
    let mut known = known.map(|path| schema::variable(&path.split('.').collect::<Vec<_>>()));
    known
        .find(|name| name.starts_with(&format!("{prefix}__")))
        .map_or_else(|| "of which it has none".into(), |name| format!("as {name}"))
}
