//! The shape of the sources: which module may import which, that no files import each other, where fred may be named, how long a file
//! may be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Modules by floor, the lowest first. A module imports only from floors below its own.
const FLOORS: [&[&str]; 9] = [
    &["surroundings"],
    &["error", "clock", "deadline", "telemetry", "apart", "fuzz"],
    &["key", "codec", "health", "watchdog"],
    &["policy"],
    &["options", "config"],
    &["backend"],
    &["handle"],
    &["connect", "operate"],
    &["lib"],
];

/// The one folder that may name fred.
const NAMES_FRED: &str = "src/backend/redis/";

const MOST_LINES: usize = 600;

#[test]
fn modules_import_only_from_floors_below() {
    let mut wrong = Vec::new();
    for file in sources("src") {
        let module = file.module_path();
        let Some(own) = floor_of(&module[0]) else {
            wrong.push(format!("{}: `{}` has no floor; give it one in FLOORS", file.name, module[0]));
            continue;
        };
        for (line, path) in file.crate_paths() {
            // What isn't a module is a re-export of lib.rs, the top floor.
            let below = floor_of(&path).is_some_and(|floor| floor < own) || path == module[0];
            if !below {
                wrong.push(format!("{}:{line}: `{}` may not import `{path}`", file.name, module[0]));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_circle_among_files() {
    let circles = circles(&sources("src"));
    assert!(circles.is_empty(), "{} circles:\n\n{}", circles.len(), circles.join("\n\n"));
}

#[test]
fn only_the_redis_backend_names_fred() {
    let named: Vec<_> = sources("src")
        .into_iter()
        .filter(|file| !file.name.starts_with(NAMES_FRED))
        .flat_map(|file| file.lines_with_word("fred"))
        .collect();
    assert!(named.is_empty(), "\n{}", named.join("\n"));
}

/// What reads the time, sleeps, parks or spawns does so through `surroundings`, where a model can stand in.
#[test]
fn the_engine_has_its_surroundings_handed_in() {
    let engine = ["src/handle/", "src/backend/tiers", "src/backend/journal", "src/watchdog.rs", "src/deadline.rs"];
    // It waits for tasks of the I/O, which the model has none of.
    let apart = ["src/handle/mod.rs"];
    let is_of_the_engine =
        |file: &Source| engine.iter().any(|start| file.name.starts_with(start)) && !apart.contains(&file.name.as_str());
    let named: Vec<_> = sources("src")
        .into_iter()
        .filter(is_of_the_engine)
        .flat_map(|file| {
            let code: Vec<_> = file.code().map(|(number, line)| (number, line.to_owned())).collect();
            let outside =
                ["Instant::now", "thread::", "parking_lot", "tokio::sync", "tokio::time", "Handle::try_current"];
            let is_outside = move |line: &str| outside.iter().any(|outside| line.contains(outside));
            code.into_iter()
                .filter(move |(_, line)| is_outside(line))
                .map(move |(number, line)| format!("{}:{number}: {line}", file.name))
        })
        .collect();
    assert!(named.is_empty(), "\n{}", named.join("\n"));
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let long: Vec<_> = ["src", "macros/src", "cli/src", "cli/tests", "tower", "tests", "benches", "examples"]
        .into_iter()
        .flat_map(sources)
        .map(|file| (file.text.lines().count(), file.name))
        .filter(|(lines, _)| *lines > MOST_LINES)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn every_way_to_write_an_import_is_read() {
    let paths = |name: &str, text: &str| {
        let file = Source { name: name.into(), text: text.into() };
        file.crate_paths().into_iter().map(|(_, path)| path).collect::<Vec<_>>()
    };
    assert_eq!(paths("src/a.rs", "use crate::b::C;\nfn f() { crate::d::e() }"), ["b", "d"]);
    assert_eq!(paths("src/a.rs", "use crate::{b, c::{d, e}, f};"), ["b", "c", "f"]);
    assert_eq!(paths("src/a.rs", "pub(in crate::b) use crate::{\n    c,\n    d::E,\n};"), ["b", "c", "d"]);
    // `super` leads out of a module, and no further than its own file's depth.
    assert_eq!(paths("src/a.rs", "use super::b::C;"), ["b"]);
    assert_eq!(paths("src/a/mod.rs", "use super::{b, c};"), ["b", "c"]);
    assert_eq!(paths("src/a/b.rs", "use super::c;\nuse super::super::d;"), ["d"]);
    assert_eq!(paths("src/a/b/c.rs", "use super::super::d;\nuse super::super::super::e;"), ["e"]);
    // Not code of the crate: comments, macros' own paths, tests, which may reach up.
    assert!(paths("src/a.rs", "/// [`B`](crate::B)\n// crate::c\nmacro!($crate::d);").is_empty());
    assert!(paths("src/a.rs", "#[cfg(test)]\nmod tests {\n    use crate::b;\n}").is_empty());
}

#[test]
fn every_path_leads_to_the_file_of_its_module() {
    let files = ["lib", "a/mod", "a/b/mod", "a/b/c", "a/d", "e", "e/f"];
    let imports = |name: &str, text: &str| {
        let others = files.iter().map(|file| (format!("src/{file}.rs"), "")).filter(|(file, _)| file != name);
        let files: Vec<_> = others.chain([(name.to_owned(), text)]).map(source).collect();
        let found = imports(&files).into_iter().filter(|import| import.from == name);
        found.map(|import| format!("{}:{}", import.to.trim_start_matches("src/"), import.line)).collect::<Vec<_>>()
    };
    // A path leads to the deepest module in it, and what it names there is an item of that file.
    assert_eq!(imports("src/e.rs", "use crate::a::b::c::Item;"), ["a/b/c.rs:1"]);
    assert_eq!(imports("src/e.rs", "use crate::a::Item;\nuse crate::Item;"), ["a/mod.rs:1", "lib.rs:2"]);
    assert_eq!(imports("src/e.rs", "use crate::{Item, a::{b::c, self}};"), ["lib.rs:1", "a/b/c.rs:1", "a/mod.rs:1"]);
    assert_eq!(imports("src/a/b/c.rs", "use super::super::d::{\n    Item,\n};"), ["a/d.rs:2"]);
    assert_eq!(imports("src/a/d.rs", "use super::{\n    b::c::Item,\n    Other,\n};"), ["a/b/c.rs:2", "a/mod.rs:3"]);
    let inline = "fn f(x: &super::b::Item)\n-> crate::e::f::Item\n{ super::g() }";
    assert_eq!(imports("src/a/d.rs", inline), ["a/b/mod.rs:1", "e/f.rs:2", "a/mod.rs:3"]);
    let renamed = "use super::*;\nuse super::b::{\nItem as Other,\nc as d};";
    assert_eq!(imports("src/a/d.rs", renamed), ["a/mod.rs:1", "a/b/mod.rs:3", "a/b/c.rs:4"]);
    // To declare a child is no import, to name what is in it is one.
    assert!(imports("src/e.rs", "mod f;\nfn g() { f() }").is_empty());
    assert_eq!(imports("src/e.rs", "pub(crate) mod f;\npub use f::Item;"), ["e/f.rs:2"]);
    assert_eq!(imports("src/e.rs", "mod f;\nfn g() { self::f::g() }"), ["e/f.rs:2"]);
    assert_eq!(
        imports("src/a/mod.rs", "mod b;\nmod d;\nuse b::{\nOther,\nc::Item};\n"),
        ["a/b/mod.rs:4", "a/b/c.rs:5"]
    );
    assert!(imports("src/e.rs", "use f::Item;\nuse serde::a::d;").is_empty(), "a crate, not a child");
    // A module in a file is a part of the file.
    assert_eq!(
        imports("src/a/d.rs", "mod sealed {\n    impl Sealed for super::Item {}\n}\nuse super::b::c;"),
        ["a/b/c.rs:4"]
    );
    assert_eq!(imports("src/a/d.rs", "mod inner {\n    use super::super::b::Item;\n}"), ["a/b/mod.rs:2"]);
    // Not code of the crate: comments, texts, macros' own paths, other crates, who may see an item, tests.
    let no_code = "/// [`B`](crate::a)\n// crate::a\nfn f() {} // super::a\n/* crate::a */ macro!($crate::a, \"crate::a\", r#\"super::a\"#);";
    assert!(imports("src/e.rs", no_code).is_empty());
    assert!(imports("src/e.rs", "use ::a::b;\npub(in crate::a) fn f<'a>() -> char { '\"' }").is_empty());
    assert!(imports("src/e.rs", "#[cfg(test)]\nmod tests {\n    use crate::a;\n}").is_empty());
    assert!(imports("src/e/tests.rs", "use crate::a;").is_empty());
}

#[test]
fn circles_are_shown_with_their_imports() {
    let circles = |files: &[(&str, &str)]| {
        circles(&files.iter().map(|(name, text)| source((name.to_string(), text))).collect::<Vec<_>>())
    };
    let parent = ("src/a/mod.rs", "mod b;\nmod c;\npub use b::Item;");
    assert!(
        circles(&[parent, ("src/a/b.rs", "use super::c::Other;"), ("src/a/c.rs", "use crate::d;"), ("src/d.rs", "")])
            .is_empty()
    );
    // By the parent, though the item is the sibling's.
    let shown = circles(&[parent, ("src/a/b.rs", "use super::c::Other;"), ("src/a/c.rs", "\nuse super::Item;")]);
    assert_eq!(
        shown,
        [
            "src/a/b.rs, src/a/c.rs, src/a/mod.rs\n  src/a/b.rs:1: super::c::Other\n  src/a/c.rs:2: super::Item\n  src/a/mod.rs:3: b::Item"
        ]
    );
}

#[test]
fn fred_is_found_as_a_word() {
    let file = |text: &str| Source { name: "src/a.rs".into(), text: text.into() };
    assert_eq!(file("use fred::Client;").lines_with_word("fred"), ["src/a.rs:1: use fred::Client;"]);
    assert!(file("// fred's own\nlet alfred = freddy;").lines_with_word("fred").is_empty());
}

/// A path in one file that leads to another.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Import {
    from: String,
    line: usize,
    path: String,
    to: String,
}

/// The imports among these files, sorted, each path once a line.
fn imports(files: &[Source]) -> BTreeSet<Import> {
    let by_module: BTreeMap<Vec<String>, &str> = files.iter().map(|file| (file.module(), file.name.as_str())).collect();
    let mut imports = BTreeSet::new();
    for file in files {
        for named in file.paths() {
            let deepest = (0..=named.module.len()).rev().find_map(|len| by_module.get(&named.module[..len]));
            if let Some(to) = deepest.filter(|to| **to != file.name) {
                let (from, to) = (file.name.clone(), (*to).to_owned());
                imports.insert(Import { from, to, line: named.line, path: named.written });
            }
        }
    }
    imports
}

/// Groups of files that all lead to each other by imports, with those imports.
fn circles(files: &[Source]) -> Vec<String> {
    let imports = imports(files);
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in files {
        let mut next = vec![file.name.as_str()];
        while let Some(from) = next.pop() {
            for import in imports.iter().filter(|import| import.from == from) {
                if reached.entry(&file.name).or_default().insert(&import.to) {
                    next.push(&import.to);
                }
            }
        }
    }
    let leads = |from: &str, to: &str| reached.get(from).is_some_and(|reached| reached.contains(to));
    let circle_of = |file: &str| -> Vec<&str> {
        files.iter().map(|other| other.name.as_str()).filter(|other| leads(file, other) && leads(other, file)).collect()
    };
    let circles: BTreeSet<Vec<&str>> = files.iter().map(|file| circle_of(&file.name)).collect();
    let shown = circles.into_iter().filter(|circle| !circle.is_empty()).map(|mut circle| {
        circle.sort_unstable();
        let inside = imports.iter().filter(|import| circle.contains(&&*import.from) && circle.contains(&&*import.to));
        let lines = inside.map(|Import { from, line, path, .. }| format!("\n  {from}:{line}: {path}"));
        format!("{}{}", circle.join(", "), lines.collect::<String>())
    });
    shown.collect()
}

/// A path in a file, from the crate's root.
struct Named {
    module: Vec<String>,
    written: String,
    line: usize,
}

/// Goes through the tokens of a file: words, and signs of one character, `::` as one.
struct Reader<'a> {
    tokens: &'a [(&'a str, usize)],
    at: usize,
    /// The modules around it, with how many braces are open in each.
    modules: Vec<(String, usize)>,
    own: Vec<String>,
    children: BTreeSet<&'a str>,
    found: Vec<Named>,
}

impl<'a> Reader<'a> {
    fn new(own: Vec<String>, tokens: &'a [(&'a str, usize)]) -> Self {
        let children = tokens.windows(3).filter(|of| of[0].0 == "mod" && of[2].0 == ";").map(|of| of[1].0).collect();
        Self { tokens, at: 0, modules: Vec::new(), own, children, found: Vec::new() }
    }

    fn token(&self, at: usize) -> &'a str {
        self.tokens.get(at).map_or("", |(token, _)| token)
    }

    fn read(mut self) -> Vec<Named> {
        while self.at < self.tokens.len() {
            let before = if self.at > 0 { self.token(self.at - 1) } else { "" };
            match (self.token(self.at), self.token(self.at + 1), self.token(self.at + 2)) {
                ("mod", name, "{") => {
                    self.modules.push((name.to_owned(), 0));
                    self.at += 2;
                    continue;
                }
                ("{", ..) => self.braces(1),
                ("}", ..) => self.braces(-1),
                // Who may see an item.
                ("in", ..) if before == "(" => self.at += 1,
                (first, "::", _) if !matches!(before, "::" | "$" | ".") => {
                    let mut module = self.own.clone();
                    module.extend(self.modules.iter().map(|(name, _)| name.clone()));
                    match first {
                        "crate" => self.path(Vec::new(), vec![first]),
                        "self" => self.path(module, vec![first]),
                        "super" => {
                            module.pop();
                            self.path(module, vec![first]);
                        }
                        child if self.modules.is_empty() && self.children.contains(child) => {
                            module.push(child.to_owned());
                            self.path(module, vec![first]);
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
        self.found
    }

    fn braces(&mut self, more: isize) {
        let Some((_, open)) = self.modules.last_mut() else { return };
        *open = open.saturating_add_signed(more);
        if *open == 0 {
            self.modules.pop();
        }
    }

    /// Follows a path from its part at `self.at` to its end, or to the ends of its group; `self.at` is then at the last token of it.
    fn path(&mut self, module: Vec<String>, written: Vec<&'a str>) {
        let line = self.tokens[self.at].1;
        match (self.token(self.at + 1), self.token(self.at + 2)) {
            ("::", "{") => {
                self.at += 3;
                while !matches!(self.token(self.at), "}" | "") {
                    if self.token(self.at) != "," {
                        let (mut module, mut written) = (module.clone(), written.clone());
                        written.push(self.token(self.at));
                        self.step(&mut module);
                        self.path(module, written);
                        // `as another`
                        if self.token(self.at + 1) == "as" {
                            self.at += 2;
                        }
                    }
                    self.at += 1;
                }
            }
            ("::", next) if next == "*" || next.starts_with(is_of_word) => {
                let (mut module, mut written) = (module, written);
                self.at += 2;
                written.push(next);
                self.step(&mut module);
                self.path(module, written);
            }
            _ => self.found.push(Named { module, written: written.join("::"), line }),
        }
    }

    fn step(&self, module: &mut Vec<String>) {
        match self.token(self.at) {
            "super" => {
                module.pop();
            }
            "self" | "*" => {}
            name => module.push(name.to_owned()),
        }
    }
}

/// The tokens of code, by line, without comments and texts.
fn tokens(text: &str) -> Vec<(&str, usize)> {
    let (mut tokens, mut rest, mut line) = (Vec::new(), text, 1);
    while let Some(first) = rest.chars().next() {
        let is_raw = |rest: &str| {
            let hashes = rest.strip_prefix('r').map(|rest| rest.trim_start_matches('#'));
            hashes.is_some_and(|rest| rest.starts_with('"'))
        };
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if is_raw(rest) {
            let start = rest.find('"').unwrap_or_default();
            let end = format!("\"{}", "#".repeat(start - 1));
            rest[start + 1..].find(&end).map_or(rest.len(), |at| start + 1 + at + end.len())
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let is_end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                is_end
            });
            end.map_or(rest.len(), |at| at + 2)
        } else if first == '\'' {
            // A character, or the mark of a lifetime.
            let mut chars = rest[1..].char_indices();
            match (chars.next().map(|(_, c)| c), chars.next()) {
                (Some('\\'), Some((at, c))) => {
                    let after = 1 + at + c.len_utf8();
                    rest[after..].find('\'').map_or(rest.len(), |end| after + end + 1)
                }
                (Some(_), Some((at, '\''))) => 1 + at + 1,
                _ => 1,
            }
        } else {
            let word = rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len());
            let len = if rest.starts_with("::") { 2 } else { word.max(first.len_utf8()) };
            if !first.is_whitespace() {
                tokens.push((&rest[..len], line));
            }
            len
        };
        line += rest[..len].matches('\n').count();
        rest = &rest[len..];
    }
    tokens
}

fn source((name, text): (String, &str)) -> Source {
    Source { name, text: text.to_owned() }
}

/// A Rust file, by its path from the package's root.
struct Source {
    name: String,
    text: String,
}

impl Source {
    /// `backend`, `redis`, `link` for `src/backend/redis/link.rs`.
    fn module_path(&self) -> Vec<String> {
        let path = self.name.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').filter(|part| *part != "mod").map(String::from).collect()
    }

    /// The same, where `lib` is the root.
    fn module(&self) -> Vec<String> {
        self.module_path().into_iter().filter(|part| part != "lib").collect()
    }

    /// The paths of the crate that its code names.
    fn paths(&self) -> Vec<Named> {
        let lines = (1..).zip(self.text.lines());
        let last = self.code().map(|(number, _)| number).last().unwrap_or(0);
        let code: String =
            lines.take_while(|(number, _)| *number <= last).map(|(_, line)| format!("{line}\n")).collect();
        Reader::new(self.module(), &tokens(&code)).read()
    }

    /// Its code, without comments and tests, by line number.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_tests = self.name.ends_with("/tests.rs") || self.name.contains("/tests/");
        // Unit tests stand last in their file.
        let lines =
            (1..).zip(self.text.lines()).take_while(move |(_, line)| !is_tests && !line.starts_with("mod tests"));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The first part of each path that starts at the crate's root, with the line it's on.
    fn crate_paths(&self) -> Vec<(usize, String)> {
        let depth = self.module_path().len();
        let (mut text, mut starts) = (String::new(), Vec::new());
        for (number, line) in self.code() {
            starts.push((text.len(), number));
            text.push_str(line);
            text.push('\n');
        }
        let line_of = |at: usize| starts[starts.partition_point(|(start, _)| *start <= at) - 1].1;

        let root = "super::".repeat(depth);
        let mut paths = Vec::new();
        for (at, _) in text.match_indices("crate::") {
            if !text[..at].ends_with(|c: char| c == '$' || is_of_word(c)) {
                paths.extend(first_parts(&text[at + "crate::".len()..]).into_iter().map(|path| (line_of(at), path)));
            }
        }
        for (at, _) in text.match_indices(&root) {
            if !text[..at].ends_with(|c: char| c == ':' || is_of_word(c)) {
                paths.extend(first_parts(&text[at + root.len()..]).into_iter().map(|path| (line_of(at), path)));
            }
        }
        paths.sort();
        paths
    }

    /// Lines of code that hold `word`, as `file:line: text`.
    fn lines_with_word(&self, word: &str) -> Vec<String> {
        let holds = |line: &str| line.split(|c: char| !is_of_word(c)).any(|part| part == word);
        let lines =
            (1..).zip(self.text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//") && holds(line));
        lines.map(|(number, line)| format!("{}:{number}: {line}", self.name)).collect()
    }
}

/// The names that a path goes on with: one, or those of a `{…}` group at its first level.
fn first_parts(rest: &str) -> Vec<String> {
    let name = |text: &str| text.trim_start().chars().take_while(|c| is_of_word(*c)).collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                parts.push(name(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// All Rust files under a folder of the package; none where the folder doesn't exist.
fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join(folder), &mut files);
    assert!(folder != "src" || !files.is_empty(), "no sources under {}", root.display());
    files.sort();
    let source = |path: PathBuf| {
        let name = path.strip_prefix(root).expect("it was found under the root").to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        Source { name, text }
    };
    files.into_iter().map(source).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display())).path();
        if path.is_dir() {
            // A package of its own may have been built where it stands.
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
