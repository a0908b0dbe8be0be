//! Restores to where the files came from. A folder stands for the root of the file system.

use super::*;

/// Options that restore in place.
fn in_place(scene: &Scene) -> RestoreOptions {
    RestoreOptions { in_place: true, verify: true, ..scene.options() }
}

/// Where a path of the source is beneath the folder that stands for the root.
fn place(scene: &Scene, path: &str) -> PathBuf {
    scene.target.join(scene.source.strip_prefix("/").unwrap()).join(path)
}

/// `a/b/file` and `a/b/deep/x`, in folders with modes and times of their own.
fn scene() -> Scene {
    let mut scene = Scene::new();
    for path in ["a/b/file", "a/b/deep/x", "a/beside"] {
        let path = scene.source.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"snapshot").unwrap();
    }
    for (path, mode) in [("a/b/deep", 0o550), ("a/b", 0o750), ("a", 0o711)] {
        let path = scene.source.join(path);
        set_time(&path, 1000);
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    scene.backup();
    scene
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn what_is_above_is_made_as_recorded_or_stays_as_it_is() {
    let scene = scene();
    let done = scene.restore(&format!("{}/a/b/file", scene.latest()), &in_place(&scene));
    assert_eq!((done.files, done.verified, done.problem_count), (1, 1, 0));
    assert_eq!(fs::read(place(&scene, "a/b/file")).unwrap(), b"snapshot");
    let all = picture(&scene.source);
    for path in ["a", "a/b"] {
        let made = &picture(&place(&scene, ""))[Path::new(path)];
        assert_eq!(made, &all[Path::new(path)], "{path}");
    }
    assert!(!place(&scene, "a/beside").exists() && !place(&scene, "a/b/deep").exists());
    // What is there now is not touched for what is beneath it.
    fs::set_permissions(place(&scene, "a"), PermissionsExt::from_mode(0o700)).unwrap();
    set_time(&place(&scene, "a"), 77);
    let options = RestoreOptions { delete: true, ..in_place(&scene) };
    fs::write(place(&scene, "a/mine"), b"x").unwrap();
    fs::write(place(&scene, "a/b/mine"), b"x").unwrap();
    set_time(&place(&scene, "a"), 77);
    let done = scene.restore(&format!("{}/a/b", scene.latest()), &options);
    assert_eq!((done.files, done.unmodified, done.deleted), (1, 1, 1));
    assert_eq!(picture(&place(&scene, "a/b")), picture(&scene.source.join("a/b")));
    assert_eq!(mode(&place(&scene, "a/b")), 0o750);
    assert_eq!(mode(&place(&scene, "a")), 0o700);
    assert_eq!(fs::metadata(place(&scene, "a")).unwrap().mtime(), 77);
    assert!(place(&scene, "a/mine").exists());
}

#[test]
fn a_link_above_stays_and_is_followed_and_one_beneath_is_replaced() {
    let scene = scene();
    let data = scene.world.folder("data");
    let home = scene.source.parent().unwrap().strip_prefix("/").unwrap();
    let link = scene.target.join(home);
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    symlink(&data, &link).unwrap();
    for text in ["latest".to_owned(), format!("{}/a/b/file", scene.latest())] {
        fs::remove_dir_all(data.join("source")).ok();
        scene.restore(&text, &in_place(&scene));
        assert!(link.is_symlink(), "{text}");
        assert_eq!(fs::read(data.join("source/a/b/file")).unwrap(), b"snapshot", "{text}");
    }
    // Beneath the source the snapshot says what there is.
    let outside = scene.world.folder("outside");
    fs::remove_dir_all(data.join("source/a/b")).unwrap();
    symlink(&outside, data.join("source/a/b")).unwrap();
    scene.restore("latest", &in_place(&scene));
    assert!(data.join("source/a/b").is_dir() && !data.join("source/a/b").is_symlink());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn something_else_above_is_left_alone_and_told() {
    let scene = scene();
    let parent = place(&scene, "").parent().unwrap().to_path_buf();
    fs::create_dir_all(&parent).unwrap();
    fs::write(place(&scene, "").with_file_name("source"), b"mine").unwrap();
    let text = format!("{}/a/b/file", scene.latest());
    let done = scene.restore(&text, &RestoreOptions { delete: true, ..in_place(&scene) });
    assert_eq!((done.files, done.problem_count), (0, 1));
    assert_eq!(fs::read(parent.join("source")).unwrap(), b"mine");
}

#[test]
fn delete_replaces_a_folder_by_the_file_that_was_asked_for_and_looks_at_nothing_else() {
    let scene = scene();
    for path in ["a/b/file/inner", "a/b/aa mine", "a/b/zz mine"] {
        let path = place(&scene, path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"x").unwrap();
    }
    let text = format!("{}/a/b/file", scene.latest());
    let done = scene.restore(&text, &in_place(&scene));
    assert_eq!(done.problem_count, 1, "a folder is in the way");
    let options = RestoreOptions { delete: true, dry_run: true, ..in_place(&scene) };
    let planned = scene.restore(&text, &options);
    assert_eq!((planned.deleted, planned.files), (2, 1));
    assert!(place(&scene, "a/b/file").is_dir());
    let done = scene.restore(&text, &RestoreOptions { dry_run: false, ..options });
    assert_eq!((done.deleted, done.files, done.problem_count), (2, 1, 0));
    assert!(place(&scene, "a/b/aa mine").exists() && place(&scene, "a/b/zz mine").exists());
    // The same for one file that goes into a folder.
    let target = scene.world.folder("elsewhere");
    fs::write(target.join("aa mine"), b"x").unwrap();
    let options = RestoreOptions { target: target.clone(), delete: true, ..scene.options() };
    assert_eq!(scene.restore(&text, &options).deleted, 0);
    assert!(target.join("aa mine").exists() && target.join("file").is_file());
}

#[test]
fn a_dry_run_in_place_makes_nothing_above() {
    let scene = scene();
    let options = RestoreOptions { dry_run: true, ..in_place(&scene) };
    for (text, files) in [("latest".to_owned(), 3), (format!("{}/a/b/file", scene.latest()), 1)] {
        let done = scene.restore(&text, &options);
        assert_eq!((done.files, done.problem_count), (files, 0), "{text}");
        assert!(!scene.target.exists());
    }
}

#[test]
fn patterns_are_about_the_full_path() {
    let mut scene = scene();
    let source = scene.source.display().to_string();
    for (at, (include, exclude, expected)) in [
        (vec!["x"], vec![], vec!["deep", "deep/x"]),
        (vec![], vec!["deep"], vec!["file"]),
        (vec![&*format!("{source}/a/b/file")], vec![], vec!["file"]),
        // What leads there was asked for by name.
        (vec![], vec!["a"], vec!["deep", "deep/x", "file"]),
    ]
    .into_iter()
    .enumerate()
    {
        scene.target = scene.world.dir.path().join(format!("target {at}"));
        let include: &[&str] = &include;
        let exclude: &[&str] = &exclude;
        let select = Select::new(patterns(include), patterns(exclude));
        let options = RestoreOptions { select, ..in_place(&scene) };
        scene.restore(&format!("{}/a/b", scene.latest()), &options);
        let names: Vec<_> = picture(&place(&scene, "a/b")).into_keys().collect();
        let expected: Vec<_> = expected.into_iter().map(PathBuf::from).collect();
        assert_eq!(names, expected, "{include:?} {exclude:?}");
        assert!(!place(&scene, "a/beside").exists());
    }
}

#[test]
fn a_folder_that_was_chosen_becomes_the_target_unless_nothing_of_it_is_taken() {
    let scene = scene();
    let text = format!("{}/a/b", scene.latest());
    fs::create_dir(&scene.target).unwrap();
    let nothing = RestoreOptions {
        select: Select::new(patterns(&["*.none"]), Vec::new()),
        ..scene.options()
    };
    scene.restore(&text, &nothing);
    assert_ne!(mode(&scene.target), 0o750);
    for existing in [Existing::Never, Existing::Always, Existing::IfChanged] {
        scene.restore(&text, &RestoreOptions { existing, ..scene.options() });
        assert_eq!(mode(&scene.target), 0o750, "{existing:?}");
        assert_eq!(fs::metadata(&scene.target).unwrap().mtime(), 1000, "{existing:?}");
    }
    // Something is there, and it is to stay.
    fs::set_permissions(&scene.target, PermissionsExt::from_mode(0o700)).unwrap();
    scene.restore(&text, &RestoreOptions { existing: Existing::Never, ..scene.options() });
    assert_eq!(mode(&scene.target), 0o700);
}

/// Names of one inode that belong to two groups in the snapshot.
#[test]
fn groups_of_names_that_became_one_are_parted() {
    let mut scene = Scene::new();
    for (first, second) in [("a1", "a2"), ("b1", "b2")] {
        let first = scene.source.join(first);
        fs::write(&first, b"the same").unwrap();
        set_time(&first, 1000);
        fs::hard_link(first, scene.source.join(second)).unwrap();
    }
    scene.backup();
    scene.restore(&scene.latest(), &scene.options());
    for name in ["a2", "b1", "b2"] {
        fs::remove_file(scene.target.join(name)).unwrap();
        fs::hard_link(scene.target.join("a1"), scene.target.join(name)).unwrap();
    }
    let done = scene.restore(&scene.latest(), &scene.options());
    assert_eq!(picture(&scene.target), picture(&scene.source));
    // Both names of the first stay, both of the second are made.
    assert_eq!((done.unmodified, done.files), (2, 2));
}
