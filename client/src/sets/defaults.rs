//! What a set leaves out with `default_excludes = true`: what no restore needs. The list is in
//! docs/CONFIG.md, too.
//!
//! Later patterns take any of it back (`!~/.cache/`), and a set that names a part of it has it.

use std::path::{Path, PathBuf};

use super::named::quoted;
use crate::scan::exclude::{Beside, Case, Marker, Options, Pattern};

/// One part of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// What it is.
    pub title: &'static str,
    /// Patterns; `~/` in front is home.
    pub patterns: &'static [&'static str],
}

/// Patterns.
pub const PATTERNS: [Group; 4] = [
    Group {
        title: "caches",
        patterns: &[
            "~/.cache/",
            "~/.thumbnails/",
            "~/.var/app/*/cache/",
            "~/snap/*/common/.cache/",
            "~/.config/**/Cache/",
            "~/.config/**/CacheStorage/",
            "~/.config/**/Code Cache/",
            "~/.config/**/GPUCache/",
            "~/.mozilla/firefox/*/cache2/",
            "~/.npm/_cacache/",
            "~/.cargo/registry/",
            "~/.cargo/git/",
            "~/.gradle/caches/",
            "~/Library/Caches/",
        ],
    },
    Group { title: "trash", patterns: &["~/.local/share/Trash/", "~/.Trash/", ".Trash-*/"] },
    Group { title: "build output", patterns: &["__pycache__/"] },
    Group {
        title: "what a running system keeps for itself",
        patterns: &["/proc/*", "/sys/*", "/dev/*", "/run/*", "/tmp/*"],
    },
];

/// Folders that are build output if a file is beside them.
pub const BESIDE: [(&str, &[&str]); 13] = [
    ("target", &["Cargo.toml", "pom.xml", "build.sbt"]),
    ("node_modules", &["package.json"]),
    (".next", &["package.json"]),
    (".gradle", &["build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"]),
    ("build", &["build.gradle", "build.gradle.kts"]),
    (".tox", &["tox.ini", "pyproject.toml"]),
    (".dart_tool", &["pubspec.yaml"]),
    (".stack-work", &["stack.yaml"]),
    ("dist-newstyle", &["cabal.project"]),
    ("_build", &["mix.exs", "dune-project"]),
    ("zig-out", &["build.zig"]),
    (".zig-cache", &["build.zig"]),
    ("Pods", &["Podfile"]),
];

/// Folders with such a file are build output or caches, except for the file.
pub const MARKERS: [&str; 1] = ["pyvenv.cfg"];

/// How many rules there are.
pub fn count() -> usize {
    let patterns: usize = PATTERNS.iter().map(|group| group.patterns.len()).sum();
    // And `CACHEDIR.TAG`.
    patterns + BESIDE.len() + MARKERS.len() + 1
}

/// Puts the list in front of the patterns of a set that reads these paths. How many patterns it
/// put there.
pub fn add(options: &mut Options, sources: &[PathBuf], home: Option<&Path>) -> usize {
    let texts = PATTERNS.iter().flat_map(|group| group.patterns);
    let patterns = texts.filter_map(|text| pattern(text, sources, home));
    let patterns: Vec<Pattern> = patterns.collect();
    let count = patterns.len();
    options.patterns.splice(0..0, patterns);
    options.caches = true;
    let marker = |name: &&str| Marker { name: name.as_bytes().to_vec(), header: Vec::new() };
    options.if_present.extend(MARKERS.iter().map(marker));
    for (name, markers) in BESIDE {
        let beside = |marker: &&str| Beside { name: name.into(), marker: (**marker).into() };
        options.beside.extend(markers.iter().map(beside));
    }
    count
}

/// Nothing if it is about a home that nobody knows, or would leave out what was asked for.
fn pattern(text: &str, sources: &[PathBuf], home: Option<&Path>) -> Option<Pattern> {
    let text = match text.strip_prefix("~/") {
        Some(rest) => [&quoted(home?), b"/".as_slice(), rest.as_bytes()].concat(),
        None => text.as_bytes().to_vec(),
    };
    let made = Pattern::parse(&text, Case::Sensitive).ok()?;
    let named = sources.iter().any(|source| leaves_out(&made, source));
    (!named).then_some(made)
}

/// Whether a pattern matches a path or something above it.
fn leaves_out(pattern: &Pattern, path: &Path) -> bool {
    let alone = crate::scan::exclude::Patterns::new(vec![pattern.clone()]);
    let mut reached = alone.root();
    for part in path.components() {
        let std::path::Component::Normal(name) = part else {
            continue;
        };
        let name = std::os::unix::ffi::OsStrExt::as_bytes(name);
        if alone.last_match(&reached, name, true).is_some() {
            return true;
        }
        reached = alone.enter(&reached, name);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::exclude::{Candidate, Decision, Rules};

    fn excluded(sources: &[&str], path: &str) -> bool {
        let mut options = Options::default();
        let sources: Vec<PathBuf> = sources.iter().map(PathBuf::from).collect();
        add(&mut options, &sources, Some(Path::new("/home/ann")));
        let rules = Rules::new(options);
        let path = Path::new(path);
        let Ok(ctx) = rules.at(path.parent().unwrap()) else {
            return true;
        };
        let name = path.file_name().unwrap().as_encoded_bytes();
        let candidate = Candidate { name, is_dir: true, size: 0 };
        rules.decide(&ctx, candidate) != Decision::Include
    }

    #[test]
    fn all_patterns_are_good() {
        let mut options = Options::default();
        let all: usize = PATTERNS.iter().map(|group| group.patterns.len()).sum();
        assert_eq!(add(&mut options, &[], Some(Path::new("/h"))), all);
        let without_home = add(&mut Options::default(), &[], None);
        let about_home = |text: &&&str| text.starts_with('~');
        let texts = || PATTERNS.iter().flat_map(|group| group.patterns);
        assert_eq!(without_home, all - texts().filter(about_home).count());
    }

    #[test]
    fn caches_trash_and_system_folders_are_out() {
        for path in [
            "/home/ann/.cache",
            "/home/ann/.config/chromium/Default/Code Cache",
            "/home/ann/.local/share/Trash",
            "/mnt/stick/.Trash-1000",
            "/home/ann/p/__pycache__",
            "/proc/1",
            "/tmp/x",
        ] {
            assert!(excluded(&["/"], path), "{path}");
        }
        for path in ["/home/bob/.cache", "/proc", "/home/ann/tmp", "/home/ann/.config/chromium"] {
            assert!(!excluded(&["/"], path), "{path}");
        }
    }

    #[test]
    fn what_was_asked_for_is_in() {
        assert!(!excluded(&["/tmp/work"], "/tmp/work"));
        assert!(!excluded(&["/home/ann/.cache/keep"], "/home/ann/.cache/keep"));
        assert!(excluded(&["/tmp/work"], "/home/ann/.cache"));
    }
}
