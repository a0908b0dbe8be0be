//! Files that cannot be read, or not in peace: told one by one, exit code 3, and the rest is safe.

use std::fs::{self, File};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use unseen_tests::trees::{self, build};
use unseen_tests::{is_root, world};

/// A file that nobody may read, root neither: it is there only to be written to.
const UNREADABLE: &str = "/sys/bus/cpu/uevent";

#[test]
fn unreadable_files_are_told_and_the_rest_is_safe() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    build::write(&source, "good", "x");
    let closed = source.join("closed folder");
    build::write(&closed, "in", "x");
    build::chmod(&build::write(&source, "closed", "x"), 0);
    build::chmod(&closed, 0);
    let path = source.to_str().unwrap();
    let ran = machine.exits(3, &["run", UNREADABLE, path]);
    let json = machine.exits(3, &["run", "--json", UNREADABLE, path]);
    build::chmod(&closed, 0o700);
    let mut told = vec![UNREADABLE];
    if !is_root() {
        told.extend(["source/closed", "source/closed folder"]);
    }
    for file in told {
        let named = |line: &str| line.contains(&format!("{file}: ")) && line.contains("denied");
        assert!(ran.err.lines().any(named), "{file} is not told: {ran}");
    }
    let errors = json.err.lines().filter(|line| line.contains(r#""message_type":"error""#));
    assert_eq!(errors.count(), if is_root() { 1 } else { 3 }, "{json}");
    let target = world.path("target");
    machine.restore("latest", &target, &[]);
    let good = trees::beneath(&target, &source.join("good"));
    assert_eq!(fs::read(good).unwrap(), b"x");
}

/// Files that grow, shrink and vanish while they are read: the run ends with 0 or 3, and what was
/// quiet is whole.
#[test]
fn files_that_change_while_they_are_read_spoil_nothing() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    let quiet = source.join("quiet");
    build::contents(&quiet);
    let wanted = trees::capture(&quiet);
    let restless = world.folder("source/restless");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        let restless = &restless;
        scope.spawn(move || {
            let mut n = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                let path = |k: u64| restless.join(format!("{}", k % 50));
                build::write(restless, path(n), build::noise(n, 40_000));
                if let Ok(mut file) = File::options().append(true).open(path(n / 2)) {
                    file.write_all(b"more").ok();
                }
                if let Ok(file) = File::options().write(true).open(path(n / 3)) {
                    file.set_len(n % 30_000).ok();
                }
                fs::remove_file(path(n + 25)).ok();
                fs::rename(path(n + 7), path(n + 13)).ok();
            }
        });
        for _ in 0..4 {
            let ran = machine.run(&["run", source.to_str().unwrap()]);
            assert!(matches!(ran.code, Some(0 | 3)), "{ran}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    let target = world.path("target");
    machine.restore("latest", &target, &[]);
    let restored = trees::capture(&trees::beneath(&target, &quiet));
    trees::assert_same(&wanted, &restored);
    machine.ok(&["check", "--read-data"]);
}

#[test]
fn a_path_that_is_not_there_is_an_error_before_anything_is_stored() {
    let world = world!();
    let (machine, vault) = world.local();
    let before = trees::files(&vault.join("accounts"));
    let ran = machine.exits(1, &["run", "no such path"]);
    assert!(ran.err.contains("no such path"), "{ran}");
    assert_eq!(trees::files(&vault.join("accounts")), before);
}

/// One of several paths is gone, such as that of a disk that is not plugged in: each is told by the
/// name it was given, the snapshot says what it lacks, and what was saved before stays where it was.
#[test]
fn a_path_that_is_gone_is_told_and_the_rest_is_saved() {
    let world = world!();
    let (machine, _) = world.local();
    let (here, disk) = (world.folder("here"), world.folder("disk"));
    build::write(&here, "file", "here");
    let (one, two) = (disk.join("one"), disk.join("deep/two"));
    build::write(&one, "file", "one");
    build::write(&two, "file", "two");
    let paths = [&one, &here, &two].map(|path| path.to_str().unwrap());
    let words = |json| [&["run", json], &paths[..]].concat();
    machine.ok(&words("--json"));
    let away = world.path("away");
    fs::rename(&disk, &away).unwrap();

    let ran = machine.exits(3, &words("-v"));
    for gone in [&one, &two] {
        let told = format!("{}: no such file", gone.display());
        assert_eq!(ran.err.matches(&told).count(), 1, "{told}: {ran}");
    }
    let ran = machine.exits(3, &words("--json"));
    assert!(ran.text().contains(r#""status":"partial""#), "{ran}");
    assert_eq!(ran.err.matches(r#""message_type":"error""#).count(), 2, "{ran}");
    let files = |snapshot: &str| {
        let target = tempfile::tempdir_in(world.path("")).unwrap();
        machine.restore(snapshot, target.path(), &[]);
        let all = [&here, &one, &two].map(|path| path.join("file"));
        all.map(|path| trees::beneath(target.path(), &path).exists())
    };
    assert_eq!(files("latest"), [true, false, false]);
    assert_eq!(files("latest~2"), [true; 3], "what was saved stays in the older snapshot");

    // All are gone: nothing is saved, and nothing is forgotten.
    fs::rename(&here, world.path("here away")).unwrap();
    let ran = machine.exits(1, &words("--json"));
    assert!(ran.err.contains("nor 2 other paths"), "{ran}");
    assert_eq!(files("latest"), [true, false, false]);

    fs::rename(world.path("here away"), &here).unwrap();
    fs::rename(&away, &disk).unwrap();
    machine.ok(&words("--json"));
    assert_eq!(files("latest"), [true; 3]);
}

#[test]
fn damage_is_found_named_and_costs_no_more_than_it_hit() {
    let world = world!();
    let (machine, vault) = world.local();
    let source = world.folder("source");
    build::write(&source, "first", build::noise(1, 400_000));
    machine.back_up(&source, &[]);
    let early = trees::packs(&vault);
    build::write(&source, "second", build::noise(2, 400_000));
    machine.back_up(&source, &[]);
    machine.ok(&["check", "--read-data"]);
    let packs = trees::packs(&vault);
    let (later, size) = packs.iter().find(|pack| !early.contains(pack)).unwrap();
    let mut bytes = fs::read(later).unwrap();
    let middle = usize::try_from(size / 2).unwrap();
    bytes[middle] ^= 1;
    build::chmod(later, 0o600);
    fs::write(later, bytes).unwrap();
    let ran = machine.exits(20, &["check", "--read-data"]);
    let second = source.join("second");
    let told = format!("{}{}", ran.text(), ran.err);
    assert!(told.contains(second.to_str().unwrap()), "the file that suffers is named: {ran}");
    let target = world.path("target");
    let ran = machine.exits(20, &["restore", "latest", "--target", target.to_str().unwrap()]);
    assert!(ran.err.contains("second"), "the lost file is named: {ran}");
    let first = trees::beneath(&target, &source.join("first"));
    assert_eq!(fs::read(first).unwrap(), build::noise(1, 400_000));
    assert!(!trees::beneath(&target, &source.join("second")).exists());
}

#[test]
fn lost_slots_and_a_damaged_pin_are_told_with_what_to_do() {
    let world = world!();
    let (machine, vault) = world.local();
    let source = world.folder("source");
    build::write(&source, "file", "contents");
    machine.back_up(&source, &[]);

    let slots: Vec<_> = trees::files(&vault.join("accounts"))
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| {
            path.parent().is_some_and(|at| at.ends_with("slots") || at.ends_with("slots2"))
        })
        .collect();
    assert_eq!(slots.len(), 2);
    fs::remove_file(&slots[0]).unwrap();
    machine.ok(&["ls", "latest"]);
    fs::remove_file(&slots[1]).unwrap();
    let ran = machine.exits(20, &["ls", "latest"]);
    assert!(ran.err.contains("slots are lost") && ran.err.contains("hint:"), "{ran}");
    // A backup needs none of them.
    machine.back_up(&source, &[]);

    let pins = machine.data().join("pins");
    let mut bytes = fs::read(&pins).unwrap();
    bytes.truncate(20);
    fs::write(&pins, bytes).unwrap();
    let ran = machine.exits(1, &["run", source.to_str().unwrap()]);
    assert!(ran.err.contains("pins is damaged") && ran.err.contains("hint:"), "{ran}");
}

/// A snapshot whose trees are lost says so, and names the root by a name.
#[test]
fn a_lost_pack_of_trees_is_told() {
    let world = world!();
    let (machine, vault) = world.local();
    let source = world.folder("source");
    build::write(&source, "file", "contents");
    machine.back_up(&source, &[]);
    for (pack, _) in trees::packs(&vault) {
        fs::remove_file(pack).unwrap();
    }
    let ran = machine.exits(20, &["check"]);
    assert!(ran.err.contains("the vault lists it and does not have it"), "{ran}");
    let told = ran.text().lines().filter(|line| line.starts_with("  /")).count();
    assert_eq!(told, 1, "the root, once: {ran}");
    let target = world.path("target");
    let ran = machine.exits(1, &["restore", "latest", "--target", target.to_str().unwrap()]);
    assert!(ran.err.contains("error: /: no pack holds a chunk of it"), "{ran}");
}

/// The files of an account in a vault's folder, of this kind.
fn stored(vault: &std::path::Path, kind: &str) -> Vec<std::path::PathBuf> {
    let all = trees::files(&vault.join("accounts")).into_iter().map(|(path, _)| path);
    all.filter(|path| path.components().any(|part| part.as_os_str() == kind)).collect()
}

#[test]
fn a_damaged_or_lost_journal_of_a_local_vault_names_the_folder_and_what_to_do() {
    let world = world!();
    let (machine, vault) = world.local();
    let source = world.folder("source");
    build::write(&source, "file", "contents");
    machine.back_up(&source, &[]);
    let wanted = trees::capture(&source);
    let journals: Vec<_> =
        fs::read_dir(vault.join("journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let account = journals.iter().find(|path| path.file_name().unwrap().len() == 32).unwrap();
    let whole = fs::read(account).unwrap();
    let place = vault.to_str().unwrap();
    let run = ["run", source.to_str().unwrap()];
    let rebuild = format!("`backup-server rebuild --data {place}`");

    let mut bad = whole.clone();
    bad[whole.len() / 2] ^= 1;
    fs::write(account, &bad).unwrap();
    let ran = machine.exits(20, &run);
    assert!(ran.err.contains(place) && ran.err.contains("damaged at byte"), "{ran}");
    assert!(ran.err.contains(&rebuild), "{ran}");
    // What is there can be read.
    machine.restores_to("latest", &source, &wanted);

    fs::remove_file(account).unwrap();
    for words in [&run[..], &["snapshots"], &["check"]] {
        let ran = machine.exits(20, words);
        assert!(ran.err.contains("has packs and no journal"), "{ran}");
        assert!(ran.err.contains(&rebuild), "{ran}");
    }
    fs::remove_dir_all(vault.join("journal")).unwrap();
    let ran = machine.exits(20, &run);
    assert!(ran.err.contains("has packs and no journal") && ran.err.contains(&rebuild), "{ran}");
    drop(world.backup_server(&["rebuild", "--data", place]).check(0));
    machine.back_up(&source, &[]);
    machine.restores_to("latest", &source, &wanted);
    machine.ok(&["check", "--read-data"]);

    let server = vault.join("journal/server");
    let mut bad = fs::read(&server).unwrap();
    bad[3] ^= 1;
    fs::write(&server, bad).unwrap();
    let ran = machine.exits(20, &run);
    assert!(ran.err.contains(place) && ran.err.contains(&rebuild), "{ran}");
}

#[test]
fn a_damaged_journal_of_a_server_is_for_whoever_runs_it() {
    let world = world!();
    let (mut server, machine, _) = world.remote();
    let source = world.folder("source");
    build::write(&source, "file", "contents");
    machine.back_up(&source, &[]);
    server.stop();
    let journals = fs::read_dir(server.data.join("journal")).unwrap();
    let mut journals = journals.map(|entry| entry.unwrap().path());
    let account = journals.find(|path| path.file_name().unwrap().len() == 32).unwrap();
    fs::remove_file(account).unwrap();
    server.restart();
    let ran = machine.exits(20, &["run", source.to_str().unwrap()]);
    assert!(ran.err.contains("this account has packs and no journal"), "{ran}");
    assert!(ran.err.contains("ask whoever runs the server"), "{ran}");
    assert!(!ran.err.contains(server.data.to_str().unwrap()), "where it is is nobody's business");
}

#[test]
fn lost_manifests_and_lists_of_packs_are_named() {
    let world = world!();
    let (machine, vault) = world.local();
    let source = world.folder("source");
    build::write(&source, "file", "contents");
    let id = machine.back_up(&source, &[]).snapshot();
    let wanted = trees::capture(&source);
    let [list] = &stored(&vault, "packsets")[..] else {
        panic!("one list");
    };
    let mut bytes = fs::read(list).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let [second] = &stored(&vault, "packsets2")[..] else {
        panic!("and a copy of it");
    };
    for list in [list, second] {
        build::chmod(list, 0o600);
        fs::write(list, &bytes).unwrap();
    }
    let ran = machine.exits(20, &["check"]);
    assert!(ran.err.contains(&format!("snapshot {}: its list of packs", &id[..8])), "{ran}");
    // All packs are searched.
    machine.restores_to("latest", &source, &wanted);
    let [manifest] = &stored(&vault, "manifests")[..] else {
        panic!("one manifest");
    };
    fs::remove_file(manifest).unwrap();
    machine.restores_to("latest", &source, &wanted);
    for second in stored(&vault, "manifests2") {
        fs::remove_file(second).unwrap();
    }
    let target = world.path("target");
    let ran = machine.exits(20, &["restore", "latest", "--target", target.to_str().unwrap()]);
    assert!(ran.err.contains(&format!("the manifest of snapshot {} is lost", &id[..8])), "{ran}");
    machine.exits(20, &["check"]);
}

/// The files that suffer are shown, the first of them; `-v` names all.
#[test]
fn a_check_shows_the_first_lost_files_and_counts_the_others() {
    let world = world!();
    let (machine, vault) = world.local();
    let source = world.folder("source");
    for n in 0..30 {
        build::write(&source, format!("file {n}"), build::noise(n, 20_000));
    }
    machine.back_up(&source, &[]);
    let [(first, _)] = &trees::packs(&vault)[..] else {
        panic!("one pack");
    };
    // The folders of this snapshot are in a pack of its own, the files in the first one.
    build::write(&source, "more", "x");
    machine.back_up(&source, &[]);
    fs::remove_file(first).unwrap();
    let shown =
        |ran: &unseen_tests::Ran| ran.text().lines().filter(|line| line.contains("/file ")).count();
    let ran = machine.exits(20, &["check"]);
    assert!(ran.text().contains("30 files and folders are lost"), "{ran}");
    assert_eq!(shown(&ran), 20, "{ran}");
    assert!(ran.text().contains("and 10 more; -v names all"), "{ran}");
    assert!(!ran.err.contains("file 7"), "no line of its own for each: {ran}");
    assert_eq!(shown(&machine.exits(20, &["check", "-v"])), 30);
}
