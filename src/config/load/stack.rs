//! The layers of a configuration, in their order: defaults, file, environment.

use std::ffi::OsString;
use std::path::PathBuf;

use figment::{Figment, Profile, Provider};

use super::environment::{self, Environment};
use super::file::{self, Which};
use super::layer::{self, Broken, Layer, Table, merge, nested};
use super::problems::{Problem, Problems};
use super::schema;

/// The layers, and what was wrong with them as such.
pub(super) struct Stack {
    pub(super) figment: Figment,
    pub(super) problems: Problems,
    /// Which of the file's profiles is in effect, and which aren't, in words; `None` where it has none.
    pub(super) profile: Option<String>,
    /// A layer is missing, so that what seems to be missing may have been in it.
    pub(super) is_incomplete: bool,
}

impl Stack {
    /// `default` is read if it's there and neither `named` nor a variable names another.
    pub(super) fn new(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        named: Option<PathBuf>,
        default: PathBuf,
    ) -> Self {
        Self::in_profile(Profile::Default, defaults(), variables, named, default)
    }

    /// The same over a program's defaults, which may have profiles. What is in figment's profile `global` wins over all others.
    pub(super) fn over(
        lower: impl Provider,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        default: PathBuf,
    ) -> Self {
        Self::in_profile(Profile::Global, defaults().merge(lower), variables, None, default)
    }

    /// The file and the environment over `lower`, in this profile of figment's.
    fn in_profile(
        profile: Profile,
        lower: Figment,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        named: Option<PathBuf>,
        default: PathBuf,
    ) -> Self {
        let environment = Environment::read(variables);
        let which = match (named, environment.config) {
            (Some(path), _) => Which::Named(path, None),
            (None, Some((path, by))) => Which::Named(path.into(), Some(by)),
            (None, None) => Which::Default(default),
        };
        let mut this = Self { figment: lower, problems: Problems::default(), profile: None, is_incomplete: false };
        let selected = environment.profile.as_ref().map(|(name, _)| name.as_str());
        let (settings, profiles) = this.read_file(&which, selected);
        let (Which::Default(path) | Which::Named(path, _)) = which;
        if let Some((name, by)) = &environment.profile {
            let is_known =
                name.eq_ignore_ascii_case("default") || profiles.iter().any(|known| known.eq_ignore_ascii_case(name));
            if !is_known && !this.is_incomplete {
                let mut known: Vec<_> = profiles.iter().filter(|name| !name.eq_ignore_ascii_case("default")).collect();
                known.sort();
                let known: String = known.into_iter().map(|name| format!(", {name:?}")).collect();
                let text =
                    format!("is {name:?}, which is no profile of {}; accepts \"default\"{known}", path.display());
                this.problems.push(Problem::new(by, text, environment::SOURCE));
                this.is_incomplete = true;
            }
            this.figment = this.figment.select(Profile::new(name));
        }
        this.profile = profile_line(environment.profile.as_ref(), &profiles);
        let (mut settings, mut variables) = (settings, environment.settings);
        layer::keep_tls_table(&settings, &mut variables);
        layer::keep_tls_table_of(&this.figment, &mut settings);
        // Where the file has TLS off, the variable is there to turn it on.
        if !layer::has_tls(&settings) {
            layer::keep_tls_table_of(&this.figment, &mut variables);
        }
        let (file, variables) = (Layer::file(path, settings), Layer::environment(variables));
        for secret in [["connection", "password"], ["encryption", "key"]] {
            if let (Some(one), Some(two)) = (file.place(&secret), variables.place(&secret)) {
                let text = "is given twice, in the file and in the environment; keep one";
                this.problems.push(Problem::new(secret.join("."), text, one).and(two));
            }
        }
        this.figment = this.figment.merge(file.in_profile(&profile)).merge(variables.in_profile(&profile));
        this.problems = this.problems.and(environment.problems);
        this
    }

    /// For others to go on with: what is wrong is kept in it, until it's loaded.
    pub(super) fn into_figment(self) -> Figment {
        if self.problems.is_empty() {
            return self.figment;
        }
        self.figment.merge(Broken(self.problems.lines()))
    }

    fn read_file(&mut self, which: &Which, selected: Option<&str>) -> (Table, Vec<String>) {
        let (Which::Default(path) | Which::Named(path, _)) = which;
        let root = match file::read(which) {
            Ok(None) => return Default::default(),
            Ok(Some(text)) => file::parse(path, &text),
            Err(problem) => Err(problem),
        };
        match root {
            Ok(root) => file::flatten(root, selected),
            Err(problem) => {
                self.problems.push(problem);
                self.is_incomplete = true;
                Default::default()
            }
        }
    }
}

fn profile_line(selected: Option<&(String, String)>, profiles: &[String]) -> Option<String> {
    let name = selected.map_or("default", |(name, _)| name.as_str());
    let by = selected.map_or("CACHEHOUSE_PROFILE isn't set".into(), |(_, variable)| format!("variable {variable}"));
    let others: Vec<_> = profiles
        .iter()
        .filter(|other| !other.eq_ignore_ascii_case(name) && !other.eq_ignore_ascii_case("default"))
        .map(|other| format!("{other:?}"))
        .collect();
    let others = if others.is_empty() { String::new() } else { format!("; not in effect: {}", others.join(", ")) };
    (!profiles.is_empty()).then(|| format!("the profile {name:?} is in effect ({by}){others}"))
}

/// The lowest layer.
pub(super) fn defaults() -> Figment {
    let mut root = Table::new();
    for key in schema::KEYS.iter().filter(|key| schema::has_default(key)) {
        let path: Vec<_> = key.path.split('.').map(String::from).collect();
        if let Some(node) = file::parse_value(key.default, "default") {
            merge(&mut root, nested(&path, node, "default"));
        }
    }
    Figment::from(Layer::defaults(root))
}
