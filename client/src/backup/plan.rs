//! Which parts of `/` a run covers, from the paths that the user named.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::seen::join;
use crate::tree::entry::Name;

/// A directory on the way to what was named, or what was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// All of it.
    Whole,
    /// Only these children.
    Via(BTreeMap<Name, Node>),
}

impl Node {
    /// The paths that were named at or beneath this one, in order.
    pub fn named(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let mut named = Vec::new();
        let mut waiting = vec![(path.to_vec(), self)];
        while let Some((path, node)) = waiting.pop() {
            match node {
                Self::Whole => named.push(path),
                Self::Via(children) => {
                    let beneath = |(name, node)| (join(&path, Name::as_bytes(name)), node);
                    waiting.extend(children.iter().rev().map(beneath));
                }
            }
        }
        named
    }
}

/// The path made absolute, without `.` and with `..` taken by its letters. Symbolic links stay.
pub fn absolute(path: &Path, current: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in current.join(path).components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

/// The tree of what is covered; a path within another named path adds nothing.
pub fn plan<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Node {
    let mut root = Node::Via(BTreeMap::new());
    for path in paths {
        let mut node = &mut root;
        for part in path.components() {
            let Component::Normal(name) = part else {
                continue;
            };
            let Ok(name) = Name::new(name.as_bytes()) else {
                continue;
            };
            match node {
                Node::Whole => break,
                Node::Via(children) => {
                    node = children.entry(name).or_insert_with(|| Node::Via(BTreeMap::new()));
                }
            }
        }
        *node = Node::Whole;
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_by_their_letters() {
        let current = Path::new("/home/me");
        for (path, expected) in
            [("a/./b", "/home/me/a/b"), ("../x", "/home/x"), ("/a//b/", "/a/b"), ("/../..", "/")]
        {
            assert_eq!(absolute(Path::new(path), current), Path::new(expected));
        }
    }

    #[test]
    fn nested_paths_are_covered_once() {
        let one = plan([Path::new("/a/b"), Path::new("/a/b/c"), Path::new("/d")]);
        let other = plan([Path::new("/a/b/c"), Path::new("/d"), Path::new("/a/b")]);
        assert_eq!(one, other);
        let Node::Via(children) = one else { panic!("only parts of /") };
        assert_eq!(children.len(), 2);
        assert_eq!(children[&Name::new(b"d").unwrap()], Node::Whole);
        assert_eq!(plan([Path::new("/a"), Path::new("/")]), Node::Whole);
    }

    #[test]
    fn what_was_named_beneath_a_node_is_told_in_order() {
        let paths = ["/a/b/c", "/a/b/d/e", "/a/x", "/z"].map(Path::new);
        let Node::Via(children) = plan(paths) else { panic!("only parts of /") };
        let a = &children[&Name::new(b"a").unwrap()];
        assert_eq!(a.named(b"/a"), [&b"/a/b/c"[..], b"/a/b/d/e", b"/a/x"]);
        assert_eq!(Node::Whole.named(b"/z"), [b"/z"]);
    }
}
