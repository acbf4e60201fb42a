//! The shape of the sources: who may import whom, who may name fred, how long a file may be.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules by floor, the lowest first. A module imports only from floors below its own.
const FLOORS: [&[&str]; 8] = [
    &["error", "clock", "deadline", "telemetry", "apart"],
    &["key", "codec", "health", "watchdog"],
    &["policy"],
    &["options", "config"],
    &["backend"],
    &["handle"],
    &["connect"],
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
fn only_the_redis_backend_names_fred() {
    let named: Vec<_> = sources("src")
        .into_iter()
        .filter(|file| !file.name.starts_with(NAMES_FRED))
        .flat_map(|file| file.lines_with_word("fred"))
        .collect();
    assert!(named.is_empty(), "\n{}", named.join("\n"));
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let long: Vec<_> = ["src", "macros/src", "tests", "benches", "examples"]
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
fn fred_is_found_as_a_word() {
    let file = |text: &str| Source { name: "src/a.rs".into(), text: text.into() };
    assert_eq!(file("use fred::Client;").lines_with_word("fred"), ["src/a.rs:1: use fred::Client;"]);
    assert!(file("// fred's own\nlet alfred = freddy;").lines_with_word("fred").is_empty());
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
