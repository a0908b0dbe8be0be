//! Very many files of several names.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Files, by their names, and what is in them.
fn files(root: &Path) -> BTreeSet<(BTreeSet<PathBuf>, Vec<u8>)> {
    let mut files: BTreeMap<u64, (BTreeSet<PathBuf>, Vec<u8>)> = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::metadata(&path).unwrap();
            if meta.is_dir() {
                todo.push(path);
                continue;
            }
            let file = files.entry(meta.ino()).or_default();
            file.0.insert(path.strip_prefix(root).unwrap().to_path_buf());
            file.1 = fs::read(&path).unwrap();
        }
    }
    files.into_values().collect()
}

#[test]
fn names_of_one_file_stay_names_of_one_file_however_many() {
    let mut scene = Scene::new();
    let at = |n: u64, called: &str| format!("{}/{called} {}/{n}", n % 3, n % 7);
    for n in 0..700 {
        for called in ["a", "b", "c"] {
            let path = scene.source.join(at(n, called));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match called {
                "a" => fs::write(&path, noise(n % 5, 50)).unwrap(),
                "b" => fs::hard_link(scene.source.join(at(n, "a")), &path).unwrap(),
                _ if n % 9 > 0 => {}
                _ => fs::hard_link(scene.source.join(at(n, "a")), &path).unwrap(),
            }
        }
        set_time(&scene.source.join(at(n, "a")), 1_000_000_000);
    }
    scene.backup();
    let (repo, index) = scene.world.reader();
    let chosen = scene.choose(&repo, &scene.latest());
    let (options, go_on) = (scene.options(), AtomicBool::new(false));
    let runtime = scene.world.runtime.handle();
    let restored = || {
        let limits = Limits { things: 50, links: 2000, ..Limits::DEFAULT };
        let prepared = Prepared::new((&repo, &index), &chosen, &options, &Silent, runtime);
        let done = prepared.unwrap().open().unwrap().run_within(limits, &go_on).unwrap();
        assert_eq!(done.problems, []);
        assert!(files(&scene.target) == files(&scene.source));
        (done.files, done.unmodified)
    };
    let names = 700 * 2 + 700_u64.div_ceil(9);
    assert_eq!(restored(), (names, 0));
    assert_eq!(restored(), (0, names));
    // Names of two equal files that became names of one do not stay so.
    for n in [1, 11, 21, 41] {
        for called in ["a", "b"] {
            fs::remove_file(scene.target.join(at(n + 5, called))).unwrap();
            let (stays, more) = (at(n, called), at(n + 5, called));
            fs::hard_link(scene.target.join(stays), scene.target.join(more)).unwrap();
        }
    }
    assert_eq!(restored(), (4 * 2, names - 4 * 2));
}

#[test]
fn without_room_to_note_them_it_goes_on_in_memory() {
    let mut scene = Scene::new();
    for n in 0..50 {
        let (one, other) = (format!("a{n}"), format!("b{n}"));
        fs::write(scene.source.join(&one), noise(n, 50)).unwrap();
        fs::hard_link(scene.source.join(&one), scene.source.join(&other)).unwrap();
    }
    scene.backup();
    let (repo, index) = scene.world.reader();
    let chosen = scene.choose(&repo, &scene.latest());
    let (options, go_on) = (scene.options(), AtomicBool::new(false));
    let runtime = scene.world.runtime.handle();
    let prepared = Prepared::new((&repo, &index), &chosen, &options, &Silent, runtime).unwrap();
    let ready = prepared.open().unwrap();
    let away = index.folder().with_extension("away");
    fs::rename(index.folder(), &away).unwrap();
    let limits = Limits { links: 0, ..Limits::DEFAULT };
    assert_eq!(ready.run_within(limits, &go_on).unwrap().files, 100);
    assert!(files(&scene.target) == files(&scene.source));
    fs::rename(&away, index.folder()).unwrap();
}
