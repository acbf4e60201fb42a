//! The documents: no dead link, nothing that only rustdoc shows, none left out of the index, no feature left out of the crate's page.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Whose links are checked, beside `docs/*.md`.
const OUTSIDE_DOCS: [&str; 6] =
    ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "docker/README.md", "macros/README.md"];

#[test]
fn every_relative_link_leads_somewhere() {
    let documents: BTreeMap<PathBuf, Document> =
        names().into_iter().map(|name| (root().join(&name), read(&name))).collect();
    let mut dead = Vec::new();
    for (path, document) in &documents {
        for (line, link) in &document.links {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { path.clone() } else { normal(&path.with_file_name(file)) };
            let anchored =
                |anchor| documents.get(&target).is_none_or(|found| found.anchors.iter().any(|own| own == anchor));
            if !target.exists() || !anchor.is_none_or(anchored) {
                dead.push(format!("{}:{line}: {link}", path.display()));
            }
        }
    }
    assert!(dead.is_empty(), "\n{}", dead.join("\n"));
}

#[test]
fn the_index_names_every_document_once() {
    let index = read("docs/README.md");
    for name in names() {
        let from_docs = name.strip_prefix("docs/").map_or_else(|| format!("../{name}"), String::from);
        // The changelog speaks for itself, and what is of the other package stays there.
        if ["README.md", "../CHANGELOG.md", "../macros/README.md"].contains(&from_docs.as_str()) {
            continue;
        }
        let named = index.links.iter().filter(|(_, link)| *link == from_docs).count();
        assert_eq!(named, 1, "docs/README.md names {from_docs} {named} times");
    }
}

/// Sites that show a repository know neither rustdoc's links nor its hidden lines.
#[test]
fn every_document_is_readable_without_rustdoc() {
    let mut wrong = Vec::new();
    for name in names() {
        let text = fs::read_to_string(root().join(&name)).expect("a document can be read");
        if !text.starts_with("# ") {
            wrong.push(format!("{name}:1: no title"));
        }
        wrong.extend(for_rustdoc_alone(&text).map(|line| format!("{name}:{line}")));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_only_rustdoc_understands_is_found() {
    let text = "[`A`] and [`B`](b.md)\n```rust\nlet a = [`A`];\n# Ok(())\n```\n```sh\n# a comment\n```\n[`C`](C::new) [d](https://d.rs/a::b)";
    assert_eq!(for_rustdoc_alone(text).collect::<Vec<_>>(), [1, 4, 9]);
}

#[test]
fn the_page_of_the_crate_names_every_feature() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest is there");
    let page = fs::read_to_string(root().join("src/lib.rs")).expect("the library is there");
    let section = manifest.split("\n[features]\n").nth(1).expect("there are features");
    let section = section.split("\n[").next().unwrap_or(section);
    // A published manifest has an entry of a list on each line.
    let default =
        section.split("default = [").nth(1).and_then(|rest| rest.split(']').next()).expect("there is a default");
    let names = section.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = ["));
    for name in names.map(|(name, _)| name).filter(|name| *name != "default") {
        let state = if default.contains(&format!("\"{name}\"")) { "on" } else { "off" };
        let row = format!("//! | `{name}` | {state} | ");
        assert!(page.contains(&row), "src/lib.rs has no row that begins with {row:?}");
    }
}

#[test]
fn links_and_anchors_are_read_as_they_are_shown() {
    let text = "# A, b\n[one](x.md) and ![two](y.png)\n```\n# no heading\n[none](z.md)\n```\n## `c_d`: e!\n[a\nb](#a-b) `[none](z.md)`\n## A, b";
    let document = Document::new(text);
    let links: Vec<_> = document.links.iter().map(|(line, link)| (*line, link.as_str())).collect();
    assert_eq!(links, [(2, "x.md"), (2, "y.png"), (9, "#a-b")]);
    assert_eq!(document.anchors, ["a-b", "c_d-e", "a-b-1"]);
    assert_eq!(normal(Path::new("/a/docs/../b.md")), Path::new("/a/b.md"));
}

/// What matters here of a document.
struct Document {
    /// With the lines they end on.
    links: Vec<(usize, String)>,
    /// Of its headings, as GitHub makes them.
    anchors: Vec<String>,
}

impl Document {
    fn new(text: &str) -> Self {
        let (mut links, mut anchors, mut fenced) = (Vec::new(), Vec::new(), false);
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            } else if !fenced {
                links.extend(links_of(line).map(|link| (number, link)));
                anchors.extend(line.starts_with('#').then(|| anchor(line, &anchors)));
            }
        }
        Self { links, anchors }
    }
}

/// The lines with a link to a path of Rust, with or without a target, and those that rustdoc hides in an example.
fn for_rustdoc_alone(text: &str) -> impl Iterator<Item = usize> {
    let mut fence: Option<&str> = None;
    (1..).zip(text.lines()).filter_map(move |(number, line)| {
        if let Some(language) = line.strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(language) };
            return None;
        }
        let is_found = match fence {
            Some(language) => language.starts_with("rust") && (line == "#" || line.trim_start().starts_with("# ")),
            None => {
                let mut ends = line.split("`]").skip(1);
                let has_no_target = line.contains("[`") && ends.any(|rest| !rest.starts_with(['(', '[', ':']));
                has_no_target || links_of(line).any(|link| link.contains("::") && !link.contains("://"))
            }
        };
        is_found.then_some(number)
    })
}

/// The targets of the links that end on a line.
fn links_of(line: &str) -> impl Iterator<Item = String> {
    // Every other part is code.
    let shown: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
    let parts: Vec<_> = shown.split("](").skip(1).map(String::from).collect();
    parts.into_iter().filter_map(|part| part.split_once(')').map(|(link, _)| link.to_owned()))
}

fn anchor(heading: &str, before: &[String]) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
    let same = before.iter().filter(|other| other.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit()) == anchor);
    match same.count() {
        0 => anchor,
        count => format!("{anchor}-{count}"),
    }
}

/// All documents, from the package's root. The published package lacks those of the other one.
fn names() -> Vec<String> {
    let entries = fs::read_dir(root().join("docs")).expect("there are documents");
    let names = entries.map(|entry| entry.expect("a folder can be read").file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")).collect();
    assert!(!names.is_empty(), "no document under docs");
    names.extend(OUTSIDE_DOCS.map(String::from).into_iter().filter(|name| {
        let is_published = !root().join("macros").exists();
        !(is_published && name.starts_with("macros/"))
    }));
    names.sort();
    names
}

fn read(name: &str) -> Document {
    Document::new(&fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}")))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut normal, part| {
        if part.as_os_str() == ".." {
            normal.pop();
        } else {
            normal.push(part);
        }
        normal
    })
}
