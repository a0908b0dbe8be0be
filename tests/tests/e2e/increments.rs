//! What a later run sends: what is new, once.

use std::io::{BufRead, BufReader};
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use unseen_tests::Machine;
use unseen_tests::trees::{self, build};
use unseen_tests::world;

#[test]
fn a_second_run_uploads_nothing_and_a_small_change_one_small_pack() {
    let world = world!();
    let (machine, vault) = world.local();
    let source = world.folder("source");
    build::contents(&source);
    let first = machine.back_up(&source, &[]);
    assert!(first.number("files_new") > 120);
    let packs = trees::packs(&vault);
    assert!(!packs.is_empty());

    let second = machine.back_up(&source, &[]);
    assert_eq!(trees::packs(&vault), packs, "an unchanged tree needs no pack");
    assert_eq!(second.number("data_uploaded"), 0);
    assert_eq!(second.number("files_new") + second.number("files_changed"), 0);
    let forced = machine.back_up(&source, &["--force"]);
    assert_eq!(trees::packs(&vault), packs, "the same contents need no pack");
    assert_eq!(forced.number("data_added"), 0);

    build::write(&source, "many/003/small", "changed");
    let third = machine.back_up(&source, &[]);
    let more = trees::packs(&vault);
    assert_eq!(more.len(), packs.len() + 1, "one pack for a small change");
    let added: u64 = more.iter().filter(|p| !packs.contains(p)).map(|p| p.1).sum();
    assert!(added <= 64 * 1024, "{added} bytes for a small change");
    assert_eq!(third.number("files_changed"), 1);
}

/// The same contents under other names, in other places and on another machine are sent once.
#[test]
fn contents_are_stored_once() {
    let world = world!();
    let (machine, vault) = world.local();
    let source = world.folder("source");
    build::write(&source, "a", build::noise(1, 6_000_000));
    machine.back_up(&source, &[]);
    let size = |packs: &[(std::path::PathBuf, u64)]| packs.iter().map(|p| p.1).sum::<u64>();
    let before = size(&trees::packs(&vault));
    std::fs::rename(source.join("a"), source.join("b")).unwrap();
    build::write(&source, "c", build::noise(1, 6_000_000));
    machine.back_up(&source, &[]);
    let grown = size(&trees::packs(&vault)) - before;
    assert!(grown <= 64 * 1024, "{grown} bytes for nothing new");
}

#[test]
fn lost_state_and_cache_cost_no_upload() {
    let world = world!();
    let (machine, vault) = world.local();
    let source = world.folder("source");
    build::contents(&source);
    let wanted = trees::capture(&source);
    machine.back_up(&source, &[]);
    let packs = trees::packs(&vault);
    for lost in [machine.cache(), machine.state()] {
        std::fs::remove_dir_all(&lost).unwrap();
        let summary = machine.back_up(&source, &[]);
        assert_eq!(trees::packs(&vault), packs, "without {}", lost.display());
        assert_eq!(summary.number("data_uploaded"), 0);
    }
    std::fs::remove_dir_all(machine.cache()).unwrap();
    std::fs::remove_dir_all(machine.state()).unwrap();
    let snapshot = machine.back_up(&source, &[]).snapshot();
    assert_eq!(trees::packs(&vault), packs);
    machine.restores_to(&snapshot, &source, &wanted);
}

/// Ctrl-C in the middle keeps what was done as a checkpoint; the next run goes on from there.
#[test]
fn an_interrupted_run_keeps_a_checkpoint() {
    const FILES: u64 = 400;
    const SIZE: u64 = 30_000;
    let world = world!();
    let (machine, vault) = world.local();
    let source = world.folder("source");
    for n in 0..FILES {
        // Each file is told by its long name, and nobody reads on after the tenth: the run cannot
        // get to its end before the signal, however fast it is.
        let path = format!("{n:03} {}/file", "long name ".repeat(20));
        build::write(&source, path, build::noise(n, usize::try_from(SIZE).unwrap()));
    }
    let wanted = trees::capture(&source);
    let path = source.to_str().unwrap();
    let mut child = machine.spawn(&["run", "-vv", path]);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let tenth = lines.by_ref().filter(|line| line.as_ref().unwrap().starts_with("new ")).nth(9);
    assert!(tenth.is_some(), "no tenth file");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let said: Vec<String> = lines.map(Result::unwrap).collect();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{said:?}");
    assert!(!trees::packs(&vault).is_empty(), "nothing was kept");

    let target = world.path("checkpoint");
    machine.restore("latest", &target, &[]);
    let restored = trees::files(&trees::beneath(&target, &source));
    let kept = u64::try_from(restored.len()).unwrap();
    assert!((10..FILES).contains(&kept), "{kept} files");
    let words = ["restore", "latest", "--delete", "--yes", "--target", target.to_str().unwrap()];
    let refused = machine.exits(2, &words);
    assert!(refused.err.contains("--delete needs a whole snapshot"), "{refused}");

    let next = machine.back_up(&source, &[]);
    // Trees and tables come on top.
    let (sent, left) = (next.number("data_added"), (FILES - kept) * SIZE);
    assert!(sent < left + left / 10 + SIZE, "the checkpoint was not used: {sent} of {left}");
    machine.restores_to("latest", &source, &wanted);
}

#[test]
fn a_dry_run_stores_nothing() {
    let world = world!();
    let (machine, vault) = world.local();
    let source = world.folder("source");
    build::contents(&source);
    let before = trees::files(&vault.join("accounts"));
    machine.ok(&["run", "--dry-run", source.to_str().unwrap()]);
    assert_eq!(trees::files(&vault.join("accounts")), before);
    let first = machine.back_up(&source, &["--skip-if-unchanged"]);
    let logged = trees::files(&vault.join("accounts"));
    assert!(!first.snapshot().is_empty());
    machine.ok(&["run", "--skip-if-unchanged", source.to_str().unwrap()]);
    assert_eq!(trees::files(&vault.join("accounts")), logged);
}

/// What a watcher says of a change: `d` for a folder, `D` for all that is beneath it.
fn told(file: &Path, changes: &[(char, &Path)]) {
    let mut bytes = Vec::new();
    for (kind, path) in changes {
        bytes.extend_from_slice(format!("{kind} {}\0", path.display()).as_bytes());
    }
    std::fs::write(file, bytes).unwrap();
}

/// Files that are new when they are saved are looked at once more; when that is over, a run that
/// is told of no change looks at nothing.
fn settled(machine: &Machine, source: &Path, list: &str) {
    told(Path::new(list), &[]);
    for _ in 0..200 {
        let words = ["run", "--json", "-v", "--changes-from", list, source.to_str().unwrap()];
        let lines = machine.ok(&words).json_lines();
        let beneath = |line: &serde_json::Value| {
            line["item"]
                .as_str()
                .is_some_and(|item| Path::new(item).starts_with(source.join("many")))
        };
        if !lines.iter().any(beneath) {
            return;
        }
    }
    panic!("every run looks at everything");
}

#[test]
fn a_run_that_is_told_what_changed_saves_that() {
    let world = world!();
    let (machine, vault) = world.local();
    let source = world.folder("source");
    build::contents(&source);
    build::links(&source.join("links"));
    machine.back_up(&source, &[]);
    let list = world.path("changes");
    let from = list.to_str().unwrap();
    settled(&machine, &source, from);
    let packs = trees::packs(&vault);
    let before = trees::capture(&source);

    // Nobody tells: nobody finds out, before a whole run does.
    build::write(&source, "many/007/small", "not told");
    told(&list, &[]);
    let unheard = machine.back_up(&source, &["--changes-from", from]);
    assert_eq!(trees::packs(&vault), packs);
    machine.restores_to(&unheard.snapshot(), &source, &before);

    build::write(&source, "many/003/small", "told");
    build::write(&source, "new/one/file", build::noise(5, 10_000));
    std::fs::remove_file(source.join("text")).unwrap();
    let dirs = [("many/003", 'd'), ("many/007", 'd'), ("new", 'D'), ("", 'd')];
    let dirs = dirs.map(|(dir, kind)| (kind, source.join(dir)));
    let dirs: Vec<_> = dirs.iter().map(|(kind, dir)| (*kind, dir.as_path())).collect();
    told(&list, &dirs);
    let wanted = trees::capture(&source);
    let run = machine.back_up(&source, &["--changes-from", from]);
    assert_eq!((run.number("files_new"), run.number("files_changed")), (1, 2));
    let more = trees::packs(&vault);
    assert_eq!(more.len(), packs.len() + 1, "one pack for a small change");
    machine.restores_to(&run.snapshot(), &source, &wanted);

    let whole = machine.back_up(&source, &["--skip-if-unchanged"]);
    assert!(whole.0["snapshot_id"].is_null(), "a whole run made another snapshot");
    assert_eq!(trees::packs(&vault), more);
    for key in ["total_files_processed", "total_bytes_processed"] {
        assert_eq!(run.number(key), whole.number(key), "{key}");
    }
}

#[test]
fn a_list_of_changes_that_makes_no_sense_is_refused() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    let list = world.path("changes");
    std::fs::write(&list, "x /a\0").unwrap();
    let words = ["run", "--changes-from", list.to_str().unwrap(), source.to_str().unwrap()];
    assert!(machine.exits(2, &words).err.contains("neither"));
    std::fs::write(&list, "d a\0").unwrap();
    assert!(machine.exits(2, &words).err.contains("absolute"));
}
