//! Rules of the repository, as tests.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::path::{Path, PathBuf};

/// One source file: where it is in the repository, and its text.
struct Source {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every `.rs` file under these folders of the repository.
fn sources(folders: &[&str]) -> Vec<Source> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<Source>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path: path.strip_prefix(root).unwrap().display().to_string(), text });
            }
        }
    }
    let (root, mut found) = (root(), Vec::new());
    folders.iter().for_each(|folder| walk(&root.join(folder), &root, &mut found));
    assert!(!found.is_empty(), "no sources under {folders:?}");
    found
}

const LIBRARY: [&str; 2] = ["crates/minigun/src", "crates/minigun-os/src"];
const ALL: [&str; 1] = ["crates"];

impl Source {
    /// The code: lines without their comments, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines.map(|(at, line)| (at + 1, line.split_once("//").map_or(line, |(code, _)| code)))
    }

    /// The code before the file's unit tests.
    fn code_without_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code().take_while(|(_, line)| line.trim() != "#[cfg(test)]")
    }

    fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// The line that names this module of the crate: `crate::stage::tx` and `crate::{stage::tx, wire}` both
    /// name `stage::tx`, and `stage`.
    fn names(&self, module: &str) -> Option<usize> {
        let word_ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let names = |path: &str| path.strip_prefix(module).is_some_and(word_ends);
        let mut in_list = false;
        for (number, line) in self.code_without_tests() {
            // Lists are short and flat, `rustfmt` sees to their shape: what a list names begins a line, or
            // follows a comma or the brace.
            if in_list && line.split(',').any(|part| names(part.trim())) {
                return Some(number);
            }
            for (at, found) in line.match_indices("crate::") {
                let rest = &line[at + found.len()..];
                let list = rest.strip_prefix('{');
                in_list |= list.is_some();
                if names(rest) || list.is_some_and(|list| list.split(',').any(|part| names(part.trim()))) {
                    return Some(number);
                }
            }
            in_list &= !line.contains(';');
        }
        None
    }
}

#[test]
fn a_module_is_found_by_its_name_in_an_import_and_in_a_list() {
    let names =
        |text: &str, module| Source { path: String::new(), text: text.to_string() }.names(module).is_some();
    for text in ["use crate::stage::tx;", "use crate::{wire, stage::tx};", "use crate::{\n    stage::tx,\n};"]
    {
        assert!(names(text, "stage") && names(text, "stage::tx"), "{text}");
        assert!(!names(text, "stage::t") && !names(text, "tx") && !names(text, "run"), "{text}");
    }
    assert!(!names("// crate::stage", "stage"));
    assert!(!names("#[cfg(test)]\nmod tests { use crate::stage; }", "stage"));
}

/// Whether a line of code has this word.
fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

#[track_caller]
fn assert_none(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// The crash tests break descriptors on purpose, in one marked module.
#[test]
fn unsafe_code_lives_in_the_system_crate() {
    let elsewhere = sources(&ALL).into_iter().filter(|source| {
        !source.path.starts_with("crates/minigun-os/")
            && source.path != "crates/minigun/tests/crash_kit/mod.rs"
    });
    let broken = elsewhere.flat_map(|source| {
        let uses = source.code().filter(|(_, line)| has_word(line, "unsafe") && !line.contains('"'));
        uses.map(|(number, _)| format!("{}:{number}", source.path)).collect::<Vec<_>>()
    });
    assert_none("`unsafe` outside of crates/minigun-os", broken.collect());
    let library = fs::read_to_string(root().join("crates/minigun/src/lib.rs")).unwrap();
    assert!(library.contains("#![forbid(unsafe_code)]"), "the library forbids unsafe code");
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    let silent = sources(&LIBRARY).into_iter().filter(|source| !source.text.starts_with("//! "));
    assert_none("files that do not begin with `//!`", silent.map(|source| source.path).collect());
}

#[test]
fn no_file_is_too_long_to_read() {
    let long = sources(&LIBRARY).into_iter().filter_map(|source| {
        let lines = source.text.lines().count();
        (lines > 600).then(|| format!("{}: {lines} lines", source.path))
    });
    assert_none("files of more than 600 lines", long.collect());
}

/// What is waited for must be able to wake whoever waits.
#[test]
fn the_library_never_sleeps() {
    let broken = sources(&LIBRARY).into_iter().filter(|source| !source.is_test()).flat_map(|source| {
        let sleeps = source.code_without_tests().filter(|(_, line)| has_word(line, "sleep"));
        sleeps.map(|(number, _)| format!("{}:{number}", source.path)).collect::<Vec<_>>()
    });
    assert_none("sleeps in library code", broken.collect());
}

#[test]
fn nothing_is_left_to_do() {
    // Put together here, so that this file keeps its own rule.
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X"].concat()];
    let broken = sources(&ALL).into_iter().flat_map(|source| {
        let lines = source.text.lines().enumerate();
        let left = lines.filter(|(_, line)| words.iter().any(|word| has_word(line, word)));
        left.map(|(at, _)| format!("{}:{}", source.path, at + 1)).collect::<Vec<_>>()
    });
    assert_none("notes of unfinished work", broken.collect());
}

/// The floors of the library, from the ground up: code names only what is on its own floor or below.
/// Documentation may name anything.
const FLOORS: [&[&str]; 13] = [
    &[
        "sync",
        "defaults",
        "failure",
        "panics",
        "limits",
        "gate",
        "graph",
        "codec",
        "apart",
        "meter",
        "shared_data",
    ],
    &["error", "wire", "journal", "working", "locked", "events", "timers"],
    &["stats", "queue", "in_flight"],
    &["shared"],
    // What a stage does with an item, free of where it runs.
    &["stage"],
    &["report"],
    &["plan"],
    &["process"],
    &["exec"],
    &["run"],
    &["observe"],
    &["pipeline"],
    // What is made for the users of a pipeline, out of its public parts.
    &["testing", "hud", "metrics"],
];

#[test]
fn arrows_between_modules_point_down() {
    let library = sources(&LIBRARY[..1]);
    let mut broken = Vec::new();
    for (floor, modules) in FLOORS.iter().enumerate() {
        let above = || FLOORS[floor + 1..].iter().flat_map(|modules| modules.iter());
        for module in *modules {
            let file = format!("crates/minigun/src/{module}.rs");
            let folder = format!("crates/minigun/src/{module}/");
            let mut own = library
                .iter()
                .filter(|source| source.path == file || source.path.starts_with(&folder))
                .filter(|source| !source.is_test())
                .peekable();
            assert!(own.peek().is_some(), "there is no module `{module}` any more: this list is out of date");
            for source in own {
                for name in above() {
                    if let Some(number) = source.names(name) {
                        broken.push(format!("{}:{number} names `{name}`", source.path));
                    }
                }
            }
        }
    }
    assert_none("modules that name what is above them", broken);
}
