//! The rules of the house that no compiler knows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const LONGEST_FILE: usize = 500;

/// The rooms of the client, by floor: a room may use those on lower floors, and its own.
const FLOORS: [&[&str]; 7] = [
    &["crypto", "chunk", "compress", "progress"],
    &["tree", "pack", "pins", "remote", "index", "state"],
    &["scan"],
    &["repo"],
    &["enrol", "backup", "restore", "maintain", "browse", "sets"],
    &["daemon", "web", "mount"],
    &["cli"],
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The project's own sources with their path from the root.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["client", "server", "common", "tests", "fuzz"]
        .iter()
        .map(|name| root().join(name))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_path_buf(), text));
            }
        }
    }
    assert!(found.len() > 100, "the sources were not found");
    found.sort();
    found
}

fn none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

#[test]
fn no_file_is_too_long() {
    let long = sources().into_iter().filter_map(|(path, text)| {
        let lines = text.lines().count();
        (lines > LONGEST_FILE).then(|| format!("{} has {lines} lines", path.display()))
    });
    none(&long.collect::<Vec<_>>(), "files have one job and at most 500 lines");
}

#[test]
fn only_the_output_files_print() {
    let printers = ["client/src/cli/output.rs", "server/src/cli/output.rs"];
    let ways = ["println!(", "eprintln!(", "print!(", "eprint!(", "io::stdout()", "io::stderr()"];
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let in_program = ["client/src", "server/src", "common/src"]
            .iter()
            .any(|folder| path.starts_with(folder));
        if !in_program
            || is_test(&path)
            || printers.iter().any(|printer| path == Path::new(printer))
        {
            continue;
        }
        for (number, line) in program_lines(&text) {
            let code = line.split("//").next().unwrap_or_default();
            if ways.iter().any(|way| code.contains(way)) && !code.contains(".is_terminal()") {
                broken.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    none(&broken, "results and messages go through output.rs");
}

#[test]
fn nothing_is_left_for_later() {
    // In parts, so that this file does not find itself.
    let words = ["TO", "FIX", "XX"].iter().zip(["DO", "ME", "X"]);
    let mut words: Vec<String> = words.map(|(a, b)| format!("{a}{b}")).collect();
    words.extend(["todo", "unimplemented", "dbg"].map(|name| format!("{name}!(")));
    let mut broken = Vec::new();
    for (path, text) in sources() {
        for (number, line) in (1..).zip(text.lines()) {
            if words.iter().any(|word| line.contains(word.as_str())) {
                broken.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    none(&broken, "what is left undone stands in the issues");
}

/// `use crate::…` in the client follows the arrows of docs/ARCHITECTURE.md.
#[test]
fn arrows_go_one_way() {
    let floor = |room: &str| FLOORS.iter().position(|rooms| rooms.contains(&room));
    let mut broken = BTreeSet::new();
    for (path, text) in sources() {
        let Ok(within) = path.strip_prefix("client/src") else {
            continue;
        };
        let name = within.components().next().unwrap().as_os_str().to_str().unwrap();
        let room = name.trim_end_matches(".rs");
        if ["lib", "main"].contains(&room) || is_test(within) {
            continue;
        }
        let Some(here) = floor(room) else {
            broken.insert(format!("the room {room} is on no floor"));
            continue;
        };
        for (number, line) in program_lines(&text) {
            let code = line.split("//").next().unwrap_or_default();
            for used in code.split("crate::").skip(1).flat_map(rooms_used) {
                if floor(&used).is_some_and(|there| there > here) {
                    let at = format!("{}:{number}", path.display());
                    broken.insert(format!("{at}: {room} uses {used}"));
                }
            }
        }
    }
    none(&broken.into_iter().collect::<Vec<_>>(), "arrows go one way");
}

/// The rooms named right after `crate::`, also in braces.
fn rooms_used(after: &str) -> Vec<String> {
    let word = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    match after.strip_prefix('{') {
        Some(list) => list.split(',').map(|part| word(part.trim())).collect(),
        None => vec![word(after)],
    }
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| {
        let name = part.as_os_str().to_str().unwrap().trim_end_matches(".rs");
        name.ends_with("tests") || ["testing", "testkit", "vectors"].contains(&name)
    })
}

/// The numbered lines before the unit tests at the end of a file.
fn program_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let before = text.lines().take_while(|line| *line != "#[cfg(test)]");
    (1..).zip(before)
}

#[test]
fn every_package_but_the_tests_takes_the_lints_of_the_workspace() {
    for package in ["client", "server", "common"] {
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{package}");
    }
}

/// The tests that docs/ARCHITECTURE.md names for what goes wrong are there.
#[test]
fn the_table_of_tests_is_true() {
    let text = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let table = text.split("\n## ").find(|part| part.starts_with("What goes wrong")).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what"));
    let sources = sources();
    let (mut named, mut broken) = (0, Vec::new());
    for row in rows {
        let tests = row.trim_end_matches('|').rsplit('|').next().unwrap();
        // Every second part is between quotes.
        for name in tests.split('`').skip(1).step_by(2).filter(|name| !name.contains(' ')) {
            named += 1;
            let (file, test) = match name.rsplit_once("::") {
                Some((file, test)) => (format!("{}.rs", file.replace("::", "/")), Some(test)),
                None => (name.to_owned(), None),
            };
            let there = sources.iter().filter(|(path, _)| path.ends_with(&file));
            if !there.into_iter().any(|(_, text)| test.is_none_or(|test| has_test(text, test))) {
                broken.push(name.to_owned());
            }
        }
    }
    assert!(named > 100, "the table was not found");
    none(&broken, "docs/ARCHITECTURE.md names tests that are not there");
}

fn has_test(text: &str, name: &str) -> bool {
    let head = format!("fn {name}(");
    let Some((before, _)) = text.split_once(&head) else {
        return false;
    };
    // Its attributes are between it and the end of what stands before it.
    let attributes = before.rsplit(['}', ';']).next().unwrap_or_default();
    attributes.contains("#[test]") || attributes.contains("::test")
}
