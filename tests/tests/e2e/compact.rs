//! Packs are written anew: every snapshot that stays can be restored, and space becomes free.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use unseen_tests::eager::Eager;
use unseen_tests::trees::{self, Tree, build};
use unseen_tests::watch::{self, Watch};
use unseen_tests::{Machine, World, world};

const EAGER: &str = env!("CARGO_BIN_EXE_unseen-test-eager-server");
const ROUNDS: u64 = 5;

/// Some files stay, most are new; files of all sizes, a link and a folder that is deep.
fn change(source: &Path, round: u64) {
    for n in 0..12 {
        let seed = if n % 4 == 0 { n } else { round * 100 + n };
        build::write(source, format!("{n:02}/noise"), build::noise(seed, 150_000));
        build::write(source, format!("{n:02}/text"), format!("{seed} ").repeat(2000));
        for tiny in 0..20 {
            let seed = if tiny % 5 == 0 { tiny } else { seed };
            build::write(source, format!("{n:02}/tiny/{tiny}"), format!("{seed} {tiny}"));
        }
    }
    build::write(source, "large", build::noise(1000 + round / 3, 700_000));
}

/// Backs up again and again, and forgets all but two: of what the first ones sent only the files
/// that stay are needed. Oldest first.
fn snapshots(machine: &Machine, source: &Path) -> Vec<(String, Tree)> {
    let mut made = Vec::new();
    for round in 0..ROUNDS {
        change(source, round);
        made.push((machine.back_up(source, &[]).snapshot(), trees::capture(source)));
    }
    let kept = vec![made.remove(2), made.remove(3)];
    let mut words = vec!["forget", "--yes"];
    words.extend(made.iter().map(|(id, _)| id.as_str()));
    let said = machine.ok(&words);
    assert!(said.err.contains("backup compact"), "{said}");
    kept
}

fn compact(machine: &Machine, words: &[&str]) -> Value {
    let all = [&["compact", "--json", "--yes"], words].concat();
    let lines = machine.ok(&all).json_lines();
    lines.into_iter().rfind(|line| line["message_type"] == "compact").unwrap()
}

fn stored(data: &Path) -> u64 {
    trees::packs(data).iter().map(|pack| pack.1).sum()
}

/// Forgotten packs, too: what the vault would hold if a month had passed.
fn sweep(data: &Path) {
    let nowhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
    Eager::start(Path::new(EAGER), data, nowhere).sweep();
}

fn restores_all(machine: &Machine, source: &Path, made: &[(String, Tree)]) {
    for (id, tree) in made {
        machine.restores_to(id, source, tree);
    }
    machine.ok(&["check", "--read-data"]);
}

#[test]
fn a_local_vault_is_compacted() {
    let world = world!();
    let (machine, vault) = world.local();
    let source = world.folder("source");
    let made = snapshots(&machine, &source);
    let before = trees::packs(&vault);

    let dry = compact(&machine, &["-n"]);
    assert!(dry["devices"][0]["rewrite"].as_u64().unwrap() > 0, "{dry}");
    assert_eq!((&dry["packs_removed"], &dry["dry_run"]), (&0.into(), &true.into()));
    assert_eq!(trees::packs(&vault), before, "-n changes nothing");
    let said = machine.ok(&["compact", "-n"]).text();
    for words in ["Unused", "would become", "when the grace is over", "more would be stored"] {
        assert!(said.contains(words), "{words}: {said}");
    }

    let done = compact(&machine, &[]);
    let number = |key: &str| done[key].as_u64().unwrap();
    assert!(number("packs_removed") > 0 && number("packs_made") > 0, "{done}");
    assert!(number("bytes_made") < number("bytes_removed"), "{done}");
    assert_eq!(number("snapshots_changed"), 2);
    restores_all(&machine, &source, &made);

    sweep(&vault);
    let (after, before) = (stored(&vault), before.iter().map(|pack| pack.1).sum::<u64>());
    assert!(after < before * 4 / 5, "{after} of {before} bytes are left");
    restores_all(&machine, &source, &made);

    // What was there is not sent again; nor is it read again, but for the folder of the last run.
    let again = machine.back_up(&source, &[]);
    assert_eq!(again.number("packs_uploaded"), 0, "{}", again.0);
    assert_eq!(stored(&vault), after);
    let said = machine.ok(&["compact"]).text();
    assert!(said.contains("nothing to do"), "{said}");
    machine.exits(2, &["compact", "--max-unused", "much"]);
    let none = compact(&machine, &["--max-unused", "0", "--max-rewrite", "1k"]);
    assert_eq!(none["packs_removed"], 0, "{none}");
}

/// Two machines of one owner; one knows nothing of it, and one lost its index.
#[test]
fn machines_with_old_indexes_go_on_after_a_compaction() {
    let world = world!();
    let (mut server, machine, kit) = world.remote();
    let other = world.machine("other").with("BACKUP_RECOVERY_CODE", &kit.code);
    other.ok(&["connect", &kit.address]);
    let (source, elsewhere) = (world.folder("source"), world.folder("elsewhere"));
    let theirs = snapshots(&other, &elsewhere);
    let made = snapshots(&machine, &source);
    server.stop();
    let mut eager = Eager::start(Path::new(EAGER), &server.data, server.address);
    let before = stored(&server.data);

    let done = compact(&other, &[]);
    assert_eq!(done["devices"].as_array().unwrap().len(), 2, "{done}");
    assert_eq!(done["snapshots_changed"], 4, "{done}");
    assert!(eager.sweep() > 0);
    assert!(stored(&server.data) < before);

    let again = machine.back_up(&source, &[]);
    assert_eq!(again.number("packs_uploaded"), 0, "{}", again.0);
    std::fs::remove_dir_all(other.cache()).unwrap();
    let again = other.back_up(&elsewhere, &[]);
    assert_eq!(again.number("packs_uploaded"), 0, "{}", again.0);
    restores_all(&machine, &source, &made);
    restores_all(&other, &elsewhere, &theirs);
    assert_eq!(eager.sweep(), 0);
}

/// A run is stopped in its middle, the vault is compacted and swept, the run goes on.
#[test]
fn a_compaction_beside_a_run() {
    let world = world!();
    let (mut server, machine, _) = world.remote();
    let source = world.folder("source");
    let mut made = snapshots(&machine, &source);
    server.stop();
    let mut eager = Eager::start(Path::new(EAGER), &server.data, server.address);
    let words = ["run", "--json", source.to_str().unwrap()];
    let data = server.data.clone();
    // A run that was through before it could be stopped shows nothing.
    let caught = (20..40).find_map(|round| {
        change(&source, round);
        let tree = trees::capture(&source);
        let child = machine.spawn(&words);
        let watch = Watch::new(std::slice::from_ref(&data), Pid::from_child(&child));
        if watch.signal_after(6, Signal::STOP) {
            return Some((child, tree));
        }
        assert!(child.wait_with_output().unwrap().status.success());
        None
    });
    let (child, tree) = caught.expect("one of twenty runs is stopped in time");
    // The same machine decides: what it is enrolled as does not matter for that.
    let done = compact(&machine, &["--max-unused", "0"]);
    assert!(done["packs_removed"].as_u64().unwrap() > 0, "{done}");
    kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && !errors.contains("panicked"), "{said}\n{errors}");
    let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    made.push((last["snapshot_id"].as_str().unwrap().to_owned(), tree));
    eager.sweep();
    restores_all(&machine, &source, &made);
    let again = machine.back_up(&source, &[]);
    assert_eq!(again.number("packs_uploaded"), 0, "{}", again.0);
}

fn killed_at_many_points(machine: &Machine, source: &Path, (data, watched): (&Path, &[PathBuf])) {
    let made = snapshots(machine, source);
    let (mut killed, mut count) = (0, 1);
    loop {
        let mut child = machine.spawn(&["compact", "--yes", "--max-unused", "0"]);
        if watch::kill_after(&mut child, watched, count).is_none() {
            break;
        }
        killed += 1;
        assert!(killed < 60, "a compaction never gets through");
        count += 1 + count / 2;
    }
    assert!(killed >= 3, "only {killed} were killed");
    compact(machine, &["--max-unused", "0"]);
    let before = stored(data);
    sweep(data);
    assert!(stored(data) < before);
    restores_all(machine, source, &made);
    let again = machine.back_up(source, &[]);
    assert_eq!(again.number("packs_uploaded"), 0, "{}", again.0);
}

#[test]
fn killed_at_many_points_with_a_local_vault() {
    let world = world!();
    let (machine, vault) = world.local();
    let source = world.folder("source");
    killed_at_many_points(
        &machine,
        &source,
        (&vault, &[vault.join("accounts"), vault.join("journal")]),
    );
}

#[test]
fn killed_at_many_points_with_a_server() {
    let world = world!();
    let (mut server, machine, _) = world.remote();
    let source = world.folder("source");
    let made = snapshots(&machine, &source);
    let watched = [server.data.join("accounts")];
    let killed = [1, 3, 6, 10, 15].map(|count| {
        let mut child = machine.spawn(&["compact", "--yes", "--max-unused", "0"]);
        watch::kill_after(&mut child, &watched, count).is_some()
    });
    assert!(killed.contains(&true), "none was killed");
    restores_all(&machine, &source, &made);
    compact(&machine, &["--max-unused", "0"]);
    server.stop();
    let before = stored(&server.data);
    let mut eager = Eager::start(Path::new(EAGER), &server.data, server.address);
    eager.sweep();
    assert!(stored(&server.data) < before);
    restores_all(&machine, &source, &made);
    let again = machine.back_up(&source, &[]);
    assert_eq!(again.number("packs_uploaded"), 0, "{}", again.0);
}

fn told(world: &World, data: &Path, words: &[&str], code: i32) -> Value {
    let data = data.to_str().unwrap();
    let all = [words, &["--data", data, "--json"]].concat();
    let ran = world.backup_server(&all);
    assert_eq!(ran.code, Some(code), "{ran}");
    serde_json::from_str(&ran.text()).unwrap()
}

/// Bytes of the pack that came since `before` are no longer what they were.
fn rot(data: &Path, before: &[(PathBuf, u64)], places: impl Iterator<Item = usize>) -> PathBuf {
    let packs = trees::packs(data);
    let (pack, _) = packs.iter().find(|pack| !before.contains(pack)).unwrap();
    let mut bytes = std::fs::read(pack).unwrap();
    places.for_each(|at| bytes[at] ^= 1);
    build::chmod(pack, 0o600);
    std::fs::write(pack, bytes).unwrap();
    pack.clone()
}

/// A pack rots on the server's disk. A run sends its chunks again, a compaction takes the older
/// snapshots off it, and from then on nobody tells of damage; all snapshots can be restored.
#[test]
fn a_healed_pack_is_told_of_until_a_compaction() {
    let world = world!();
    let (server, machine, _) = world.remote();
    let source = world.folder("source");
    build::write(&source, "first", build::noise(1, 400_000));
    let first = (machine.back_up(&source, &[]).snapshot(), trees::capture(&source));
    let before = trees::packs(&server.data);
    build::write(&source, "second", build::noise(2, 400_000));
    let second = (machine.back_up(&source, &[]).snapshot(), trees::capture(&source));
    rot(&server.data, &before, (1..8).map(|part| part * 60_000));
    let scrub = |words: &[&str], code| told(&world, &server.data, words, code)[0].clone();
    let damaged = |told: &Value| told["damaged_packs"].as_array().unwrap().len();
    assert_eq!(damaged(&scrub(&["scrub", "--now"], 20)), 1);
    let stats = |code| told(&world, &server.data, &["stats"], code)["totals"]["damaged"].clone();
    assert_eq!(stats(20), 1);

    assert!(machine.back_up(&source, &[]).number("data_added") > 400_000);
    assert_eq!(stats(20), 1, "the second snapshot names it");
    let ran = machine.ok(&["check"]);
    assert!(ran.text().contains("nothing is lost. 1 pack is damaged"), "{ran}");
    assert!(ran.err.contains("`backup compact` takes the snapshots off it"), "{ran}");
    let dry = compact(&machine, &["-n"]);
    assert_eq!((&dry["packs_to_mend"], &dry["packs_mended"]), (&1.into(), &0.into()), "{dry}");
    let said = machine.ok(&["compact", "-n"]).text();
    assert!(said.contains("1 pack is damaged: 1 snapshot is taken off"), "{said}");
    let done = machine.ok(&["compact", "--yes"]).text();
    assert!(done.contains("no snapshot needs 1 damaged pack any more"), "{done}");

    assert_eq!(stats(0), 0);
    let after = scrub(&["scrub", "--now"], 0);
    assert_eq!(damaged(&after), 0, "{after}");
    assert_eq!(after["unneeded_damaged_packs"].as_array().unwrap().len(), 1, "{after}");
    let ran = machine.ok(&["check", "--read-data"]);
    assert!(ran.text().contains("no damage found"), "{ran}");
    assert!(!machine.ok(&["status"]).text().contains("damaged"));
    restores_all(&machine, &source, &[first, second]);
    let said = machine.ok(&["compact"]).text();
    assert!(said.contains("nothing to do"), "{said}");
}

/// What nobody has a second time is not let go: alarm and pack stay, and `check` names the files.
#[test]
fn a_damaged_pack_with_the_only_copy_stays_and_is_told_of() {
    let world = world!();
    let (server, machine, _) = world.remote();
    let source = world.folder("source");
    build::write(&source, "first", build::noise(1, 400_000));
    machine.back_up(&source, &[]);
    let before = trees::packs(&server.data);
    build::write(&source, "lost", build::noise(2, 400_000));
    machine.back_up(&source, &[]);
    // The folder is in another pack, too, so that the snapshot can be walked.
    let pack = rot(&server.data, &before, std::iter::once(2000));
    std::fs::remove_file(source.join("lost")).unwrap();
    told(&world, &server.data, &["scrub", "--now"], 20);
    machine.back_up(&source, &[]);
    let ran = machine.exits(20, &["compact", "--yes"]);
    assert!(ran.err.contains("it is damaged, and stays: "), "{ran}");
    let found = told(&world, &server.data, &["scrub"], 20);
    assert_eq!(found[0]["damaged_packs"].as_array().unwrap().len(), 1, "{found}");
    assert!(pack.exists());
    let ran = machine.exits(20, &["check"]);
    assert!(ran.text().contains("/lost\n"), "{ran}");
}
