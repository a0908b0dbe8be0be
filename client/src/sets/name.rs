//! The name of a set: given, or made from what is backed up.
//!
//! Rules of retention run for each set by itself, and a run compares itself with the last one of
//! its set. So two lists of paths must never share a name by accident, and one list must always
//! get the same.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use unseen_common::id::Hash;

/// Bytes of the longest name.
pub const MAX_NAME: usize = 255;
/// Bytes of a name that is cut, before the hash of all of it.
const HEAD: usize = 200;
/// Digits of that hash.
const DIGITS: usize = 16;

/// A text that names no set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a name of a set: {0:?} (1 to {MAX_NAME} bytes, no control characters)")]
pub struct NotASetName(String);

/// The name as it was typed. A path loses the slash that a shell puts at its end.
pub fn typed(text: &str) -> Result<String, NotASetName> {
    let name = match text.trim_end_matches('/') {
        "" => text,
        shorter if text.starts_with('/') => shorter,
        _ => text,
    };
    let good = !name.is_empty() && name.len() <= MAX_NAME && !name.contains(char::is_control);
    if good { Ok(name.to_owned()) } else { Err(NotASetName(text.chars().take(80).collect())) }
}

/// The name of the set of these absolute paths: the paths themselves. The order is of no matter,
/// nor are paths within other ones.
pub fn of_paths<'a>(paths: impl IntoIterator<Item = &'a Path>) -> String {
    let mut sorted: Vec<&Path> = paths.into_iter().collect();
    sorted.sort();
    let mut kept: Vec<&Path> = Vec::new();
    for path in sorted {
        // Paths are ordered by component, so those within another one follow it.
        if kept.last().is_none_or(|last| !path.starts_with(last)) {
            kept.push(path);
        }
    }
    let parts: Vec<String> =
        kept.iter().map(|path| readable(path.as_os_str().as_bytes())).collect();
    capped(parts.join(", "))
}

/// The name of the set of a stream that is saved as a file of this name.
pub fn of_stream(file: &[u8]) -> String {
    capped(readable(file))
}

/// Whether a name says no more than the paths that a snapshot has.
pub fn is_derived(name: &str, paths: &[Vec<u8>]) -> bool {
    if let [only] = paths
        && let Some(file) = only.strip_prefix(b"/")
        && !file.contains(&b'/')
        && name == of_stream(file)
    {
        return true;
    }
    name == of_paths(paths.iter().map(|path| Path::new(std::ffi::OsStr::from_bytes(path))))
}

/// Every path in its own way: `, /` is what stands between two, and a backslash begins an escape.
fn readable(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for (at, c) in chunk.valid().char_indices() {
            let rest = chunk.valid().get(at..).unwrap_or_default();
            if c.is_control() || rest.starts_with(", /") {
                escape(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes());
            } else if c == '\\' {
                out.push_str("\\\\");
            } else {
                out.push(c);
            }
        }
        escape(&mut out, chunk.invalid());
    }
    out
}

fn escape(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(out, "\\x{byte:02x}").expect("a string takes all");
    }
}

fn capped(name: String) -> String {
    if name.len() <= MAX_NAME {
        return name;
    }
    let mut end = HEAD;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let hash = Hash::of(name.as_bytes()).to_string();
    let (head, digits) = (name.get(..end), hash.get(..DIGITS));
    format!("{}… {}", head.unwrap_or_default(), digits.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(paths: &[&str]) -> String {
        of_paths(paths.iter().map(Path::new))
    }

    #[test]
    fn paths_are_the_name_of_their_set() {
        assert_eq!(of(&["/home/ann/Documents"]), "/home/ann/Documents");
        assert_eq!(of(&["/b", "/a"]), "/a, /b");
        assert_eq!(of(&["/a", "/b", "/a"]), of(&["/b", "/a"]));
        assert_eq!(of(&["/a/x", "/a", "/a-b", "/a/x/y"]), "/a, /a-b");
        assert_eq!(of(&["/"]), "/");
        assert_eq!(of_stream(b"db.sql"), "db.sql");
    }

    #[test]
    fn no_path_can_look_like_two() {
        assert_eq!(of(&["/a, /b"]), "/a\\x2c /b");
        assert_eq!(of(&["/a\\x2c /b"]), "/a\\\\x2c /b");
        assert_eq!(of(&["/a, b"]), "/a, b");
        let raw = Path::new(std::ffi::OsStr::from_bytes(b"/\xff\n"));
        assert_eq!(of_paths([raw]), "/\\xff\\x0a");
    }

    #[test]
    fn long_names_are_cut_and_still_differ() {
        let long = |end: &str| format!("/{}{end}", "ä".repeat(300));
        let (one, other) = (of(&[&long("1")]), of(&[&long("2")]));
        assert_ne!(one, other);
        assert!(one.len() <= MAX_NAME && typed(&one).is_ok(), "{one}");
        let hash: String = Hash::of(long("1").as_bytes()).to_string().chars().take(16).collect();
        assert!(one.starts_with("/ää") && one.ends_with(&format!("… {hash}")), "{one}");
    }

    #[test]
    fn names_are_typed() {
        assert_eq!(typed("photos").unwrap(), "photos");
        assert_eq!(typed("/home/ann/").unwrap(), "/home/ann");
        assert_eq!(typed("/").unwrap(), "/");
        assert_eq!(typed("a/").unwrap(), "a/");
        for bad in ["", "a\nb", &"x".repeat(MAX_NAME + 1)] {
            assert!(typed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_that_says_no_more_than_the_paths() {
        let paths =
            |paths: &[&str]| paths.iter().map(|p| p.as_bytes().to_vec()).collect::<Vec<_>>();
        assert!(is_derived("/a, /b", &paths(&["/b", "/a"])));
        assert!(is_derived("db.sql", &paths(&["/db.sql"])));
        assert!(is_derived("/a", &paths(&["/a"])));
        assert!(!is_derived("a/b", &paths(&["/a/b"])));
        assert!(!is_derived("photos", &paths(&["/a"])));
    }

    proptest! {
        /// Different lists have different names, whatever bytes the paths have.
        #[test]
        fn names_tell_lists_apart(
            one in prop::collection::btree_set("/[a, /\\\\x2c]{0,6}", 1..4),
            other in prop::collection::btree_set("/[a, /\\\\x2c]{0,6}", 1..4),
        ) {
            // What they cover is what makes them different.
            let cover = |list: &std::collections::BTreeSet<String>| {
                crate::backup::plan::plan(list.iter().map(Path::new))
            };
            let clean = |list: &std::collections::BTreeSet<String>| -> Vec<std::path::PathBuf> {
                list.iter().map(|p| crate::backup::plan::absolute(Path::new(p), Path::new("/"))).collect()
            };
            let name = |list| of_paths(clean(list).iter().map(std::path::PathBuf::as_path));
            prop_assert_eq!(name(&one) == name(&other), cover(&one) == cover(&other));
        }
    }
}
