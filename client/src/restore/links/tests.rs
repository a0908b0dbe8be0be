use std::path::PathBuf;

use super::*;
use crate::restore::dirs::Dirs;
use crate::restore::testkit::{name, safe, target};

fn id(n: u64) -> FileId {
    FileId { dev: 7, ino: n }
}

/// Directories of which each is in the one before.
fn chain(dirs: &Dirs, length: usize) -> Vec<Arc<DirNode>> {
    let mut chain = vec![dirs.target(b"/saved".to_vec(), None)];
    for n in 0..length {
        let parent = chain.last().cloned().unwrap();
        let entry = (name(format!("d{n}")), Meta::default());
        chain.push(dirs.below(&parent, entry, n == 0));
    }
    chain
}

#[test]
fn groups_are_the_same_in_memory_and_in_a_file() {
    let (folder, root) = target();
    let dirs = Dirs::new(Some(root), safe());
    for memory in [0, MEMORY] {
        let links = Links::new(folder.path(), memory);
        let chain = chain(&dirs, 9);
        let dir_of = |group: u64| chain.get(usize::try_from(group % 10).unwrap()).unwrap();
        for group in 0..2000 {
            let (dir, name) = (dir_of(group), name(format!("first {group}")));
            assert_eq!(links.role(group, group / 2, dir, &name).unwrap(), Role::First);
        }
        for group in 0..2000 {
            let role = |digest| links.role(group, digest, dir_of(3), &name("x")).unwrap();
            assert_eq!(role(group / 2), Role::Further);
            assert_eq!(role(group / 2 + 1), Role::Alone, "another content");
            assert!(links.first(group).unwrap().is_none(), "it is not there yet");
        }
        for group in (0..2000).step_by(2) {
            links.placed(group, id(group)).unwrap();
        }
        for group in 0..2000 {
            let Some((dir, called, at)) = links.first(group).unwrap() else {
                assert_eq!(group % 2, 1);
                continue;
            };
            assert_eq!((called, at), (name(format!("first {group}")), id(group)));
            assert_eq!(dir.path(), dir_of(group).path());
            let known = dir_of(group);
            assert_eq!((dir.id(), dir.is_above()), (known.id(), known.is_above()));
        }
    }
}

#[test]
fn directories_are_let_go_of_and_found_again() {
    let (folder, root) = target();
    let dirs = Dirs::new(Some(root), safe());
    let links = Links::new(folder.path(), 0);
    let many = 3 * u64::try_from(DIRS).unwrap();
    let top = dirs.target(Vec::new(), None);
    for group in 0..many {
        let dir = dirs.below(&top, (name(format!("d{group}")), Meta::default()), false);
        dirs.make(&dir).unwrap();
        assert_eq!(links.role(group, 0, &dir, &name("f")).unwrap(), Role::First);
        links.placed(group, id(group)).unwrap();
        assert_eq!(Arc::strong_count(&dir), 1, "nobody else holds it");
    }
    for group in 0..many {
        let (dir, ..) = links.first(group).unwrap().unwrap();
        assert_eq!(dir.path(), format!("/d{group}").into_bytes());
        dirs.open(&dir).unwrap();
    }
}

#[test]
fn a_file_that_stays_stays_for_one_group() {
    for memory in [0, MEMORY] {
        let links = Links::new(&std::env::temp_dir(), memory);
        for n in 0..100 {
            assert!(links.may_stay(n, id(n)).unwrap());
        }
        for n in 0..100 {
            assert!(links.may_stay(n, id(n)).unwrap());
            assert!(!links.may_stay(n + 1, id(n)).unwrap());
        }
    }
}

#[test]
fn what_was_never_noted_is_nowhere() {
    let links = Links::new(&PathBuf::from("/nowhere"), 0);
    links.placed(5, id(5)).unwrap();
    assert!(links.first(5).unwrap().is_none());
}
