//! The recovery kit: there before the vault, and all that a bare machine needs, to the letter.

use std::fs;
use std::path::{Path, PathBuf};

use unseen_tests::machine::PASSPHRASE;
use unseen_tests::trees::{self, build};
use unseen_tests::{Kit, Machine, Server, Typist, World, watch, world};

/// The commands that a kit prints.
fn commands(kit: &Path) -> Vec<String> {
    let text = fs::read_to_string(kit).unwrap();
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with("backup "));
    lines.map(str::to_owned).collect()
}

/// The id in the row of a table that names this folder.
fn id_of(table: &str, folder: &Path) -> String {
    let name = folder.to_str().unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.trim_end().ends_with(name)).collect();
    let [row] = rows[..] else { panic!("{} rows have {name}:\n{table}", rows.len()) };
    row.split_whitespace().next().unwrap().to_owned()
}

/// Two sets of one machine and one of another.
struct Saved {
    kit: PathBuf,
    code: String,
    sources: Vec<PathBuf>,
}

fn saved(world: &World, machine: &Machine, kit: &Kit) -> Saved {
    let sources = ["papers", "pictures", "elsewhere"].map(|name| world.folder(name));
    for (number, source) in (0..).zip(&sources) {
        build::contents(source);
        build::write(source, "only here", format!("{number}"));
    }
    machine.back_up(&sources[0], &["--set", "papers"]);
    machine.back_up(&sources[1], &[]);
    let other = world.machine("second").with("BACKUP_RECOVERY_CODE", &kit.code);
    other.ok(&["connect", &kit.address, "--name", "second"]);
    other.back_up(&sources[2], &[]);
    Saved { kit: machine.home.join("kit.txt"), code: kit.code.clone(), sources: sources.into() }
}

/// What a kit says is done on a machine with nothing at all, in the words of the kit; `run` is told
/// a line and gives what the program printed.
fn follow(new: &Machine, saved: &Saved, mut run: impl FnMut(&str) -> String) {
    let lines = commands(&saved.kit);
    let [connect, look, restore] = &lines[..] else { panic!("{lines:?}") };
    run(connect);
    let table = run(look);
    assert!(table.contains("papers") && table.contains("3 snapshots"), "{table}");
    for (number, source) in saved.sources.iter().enumerate() {
        let target = new.home.join(format!("restored {number}"));
        let quoted = format!("'{}'", target.display());
        run(&restore
            .replace(" ID ", &format!(" {} ", id_of(&table, source)))
            .replace("DIR", &quoted));
        let restored = trees::capture(&trees::beneath(&target, source));
        trees::assert_same(&trees::capture(source), &restored);
    }
}

#[test]
fn a_kits_steps_bring_everything_back_from_a_folder() {
    let world = world!();
    let machine = world.machine("home");
    let kit = machine.init_local(&world.path("vault"));
    let saved = saved(&world, &machine, &kit);
    // What the kit says about those who do not type.
    let text = fs::read_to_string(&saved.kit).unwrap();
    assert!(text.contains("BACKUP_RECOVERY_CODE_FILE the name of a file with nothing else in it"));
    let new = world.machine("new").without_secrets();
    let file = build::write(&new.home, "code", format!("{}\n", saved.code));
    let new = new.with("BACKUP_RECOVERY_CODE_FILE", file);
    follow(&new, &saved, |line| new.types(line).text());
}

#[test]
fn a_kits_steps_bring_everything_back_from_a_server() {
    let world = world!();
    let (_server, machine, kit) = world.remote();
    let saved = saved(&world, &machine, &kit);
    let new = world.machine("new").without_secrets();
    follow(&new, &saved, |line| {
        let mut typist = Typist::start(&new, line);
        typist.sees("ecovery code: ");
        typist.types(&saved.code.to_lowercase());
        let ran = typist.ends().check(0);
        assert!(!ran.text().to_lowercase().contains(&saved.code.to_lowercase()), "{ran}");
        ran.text()
    });
}

/// Without a secret nothing is asked, and nothing of others is shown; with one at hand it is.
#[test]
fn snapshots_are_shown_in_full_to_those_who_can_open_them() {
    let world = world!();
    let machine = world.machine("home");
    let kit = machine.init_local(&world.path("vault"));
    let saved = saved(&world, &machine, &kit);
    let silent = machine.clone().without_secrets();
    let locked = silent.ok(&["snapshots"]);
    assert!(locked.text().contains("(sealed)") && locked.err.contains("--unlock"), "{locked}");
    id_of(&locked.text(), &saved.sources[1]);
    silent.exits(12, &["snapshots", "--unlock"]);
    let opened = silent.clone().with("BACKUP_RECOVERY_CODE", &saved.code).ok(&["snapshots"]);
    assert!(!opened.text().contains("(sealed)") && opened.err.is_empty(), "{opened}");
    id_of(&opened.text(), &saved.sources[2]);
    // A passphrase for something else is no reason to show less than without one.
    let wrong = silent.with("BACKUP_PASSPHRASE", "something else");
    // What this machine made it shows without: then none is tried.
    let own = id_of(&locked.text(), &saved.sources[1]);
    let shown = wrong.ok(&["snapshots", &own]);
    assert!(!shown.text().contains("(sealed)") && shown.err.is_empty(), "{shown}");
    let shown = wrong.ok(&["snapshots"]);
    assert_eq!(shown.text(), locked.text());
    assert!(shown.err.contains("wrong passphrase"), "{shown}");
    wrong.exits(12, &["snapshots", "--unlock"]);
}

#[test]
fn a_passphrase_and_a_code_are_typed_at_one_prompt() {
    let world = world!();
    let machine = world.machine("home");
    let kit = machine.init_local(&world.path("vault"));
    let machine = machine.without_secrets();
    let mut typo = kit.code.clone();
    let last = if typo.pop() == Some('0') { '1' } else { '0' };
    typo.push(last);
    for (typed, code, said) in [
        (PASSPHRASE, 0, "no snapshot"),
        (&kit.code, 0, "no snapshot"),
        (&typo, 12, "the recovery code has a typing error"),
        ("seven lanterns drift passed", 12, "wrong passphrase"),
    ] {
        let mut typist = Typist::start(&machine, "backup snapshots --unlock");
        for _ in 0..if code == 0 { 1 } else { 3 } {
            typist.sees("Passphrase or recovery code: ");
            typist.types(typed);
        }
        let ran = typist.ends().check(code);
        assert!(ran.err.contains(said), "{ran}");
    }
    let mut typist = Typist::start(&machine, "backup snapshots --unlock");
    typist.sees("Passphrase or recovery code: ");
    typist.types("seven lanterns drift passed");
    typist.sees("this does not open it");
    typist.sees("Passphrase or recovery code: ");
    typist.types(PASSPHRASE);
    drop(typist.ends().check(0));
}

fn accounts(world: &World, data: &Path) -> usize {
    if !data.join("journal").exists() {
        return 0;
    }
    let ran = world.backup_server(&["account", "list", "--json", "--data", data.to_str().unwrap()]);
    ran.check(0).json_lines()[0].as_array().unwrap().len()
}

/// Kills `init` after ever more events until one gets through. Whenever that was: there is no vault
/// yet, or its kit opens it. On a server if there is one, else in a new folder each time.
fn killed_init(world: &World, mut server: Option<Server>) {
    let (mut killed, mut without, mut count) = (0, 0, 1);
    loop {
        let (data, mut words) = if let Some(server) = &server {
            (server.data.clone(), vec![server.invite(&[])])
        } else {
            let vault = world.folder(format!("vault {count}"));
            let words = ["--local", vault.to_str().unwrap()].map(str::to_owned).to_vec();
            (vault, words)
        };
        let before = accounts(world, &data);
        let machine = world.machine(&format!("home {count}"));
        let kit = machine.home.join("kit.txt");
        fs::create_dir_all(machine.data()).unwrap();
        words.splice(0..0, ["init", "--kit", kit.to_str().unwrap()].map(str::to_owned));
        let mut child = machine.spawn(&words);
        let watched = [machine.home.clone(), machine.data(), data.clone()];
        let ended = watch::kill_after(&mut child, &watched, count).is_none();
        if let Some(server) = &mut server {
            // It brings to an end what was asked before.
            server.stop();
            server.restart();
        }
        let made = accounts(world, &data) - before;
        nothing_lies_about(&machine.home);
        assert!(made == 0 || kit.exists(), "a vault without a kit after {count} events");
        let new = world.machine(&format!("new {count}")).without_secrets();
        let connect = ["connect", "--kit", kit.to_str().unwrap()];
        if made > 0 {
            new.ok(&connect);
            let source = world.folder("source");
            build::write(&source, "file", format!("{count}"));
            let snapshot = new.back_up(&source, &[]).snapshot();
            let reader = new.with("BACKUP_RECOVERY_CODE", Kit::read(&kit).code);
            reader.restores_to(&snapshot, &source, &trees::capture(&source));
            // The machine whose `init` was killed goes on by itself.
            machine.back_up(&source, &[]);
        } else {
            without += 1;
            if kit.exists() {
                let ran = new.run(&connect);
                assert!(matches!(ran.code, Some(10 | 12)), "{ran}");
            }
        }
        if ended {
            assert_eq!(made, 1);
            break;
        }
        killed += 1;
        count += 1 + count / 3;
    }
    assert!(
        killed >= 3 && without >= 1,
        "{killed} were killed, {without} before there was a vault"
    );
}

/// No code under a name that nobody knows.
fn nothing_lies_about(home: &Path) {
    for (file, _) in trees::files(home) {
        let text = String::from_utf8_lossy(&fs::read(home.join(&file)).unwrap()).into_owned();
        let is_kit = file.file_name().is_some_and(|name| name == "kit.txt");
        assert!(is_kit || !text.contains("Recovery code"), "{}", file.display());
    }
}

#[test]
fn an_init_killed_at_many_points_leaves_no_vault_without_a_kit_in_a_folder() {
    killed_init(&world!(), None);
}

#[test]
fn an_init_killed_at_many_points_leaves_no_vault_without_a_kit_on_a_server() {
    let world = world!();
    let server = world.server("server");
    killed_init(&world, Some(server));
}

/// A machine whose `init` was cut off, and its server as it was before.
struct Cut {
    server: Server,
    before: PathBuf,
    invite: String,
    machine: Machine,
    kit: String,
}

/// The account is made, and the answer was lost with all that follows it.
fn cut(world: &World) -> Cut {
    let mut server = world.server("server");
    let invite = server.invite(&[]);
    server.stop();
    let before = world.path("before");
    trees::copy(&server.data, &before);
    server.restart();
    let machine = world.machine("home");
    machine.init_remote(&invite);
    fs::remove_file(machine.data().join("pins")).unwrap();
    fs::remove_file(machine.home.join(".config/unseen/config.toml")).unwrap();
    let kit = machine.home.join("kit.txt").to_str().unwrap().to_owned();
    Cut { server, before, invite, machine, kit }
}

/// The command in a hint, between backquotes.
fn hinted(said: &str) -> String {
    let (_, hint) = said.split_once("hint: ").expect("a hint");
    hint.split('`').nth(1).expect("a command in the hint").to_owned()
}

#[test]
fn an_init_that_lost_its_answer_says_how_to_go_on() {
    let world = world!();
    let Cut { server: _server, invite, machine, kit, .. } = cut(&world);
    let source = world.folder("source");
    build::write(&source, "file", "x");
    let ran = machine.exits(1, &["init", &invite, "--kit", "other.txt"]);
    assert!(ran.err.contains("was cut off") && ran.err.contains("device.key"), "{ran}");
    let next = hinted(&ran.err);
    assert_eq!(next, format!("backup connect --kit {kit}"));
    let joined = machine.clone().without_secrets().types(&next);
    assert!(joined.err.contains("had joined as"), "{joined}");
    assert!(joined.err.contains("1 device,"), "{joined}");
    let snapshot = machine.back_up(&source, &[]).snapshot();
    machine.restores_to(&snapshot, &source, &trees::capture(&source));
    let ran = machine.exits(1, &["init", &invite, "--kit", "other.txt"]);
    assert!(ran.err.contains("already has a vault"), "{ran}");
}

#[test]
fn an_init_that_never_got_through_says_what_to_remove() {
    let world = world!();
    let Cut { mut server, before, invite, machine, kit } = cut(&world);
    server.stop();
    fs::remove_dir_all(&server.data).unwrap();
    trees::copy(&before, &server.data);
    server.restart();
    let source = world.folder("source");
    build::write(&source, "file", "x");
    let key = machine.data().join("device.key");
    let remove = format!("remove {} and {kit}, and run `backup init` again", key.display());
    for (code, words) in [
        (1, vec!["init", &invite, "--kit", "other.txt"]),
        (22, vec!["run", source.to_str().unwrap()]),
        (12, vec!["connect", "--kit", &kit]),
    ] {
        let ran = machine.exits(code, &words);
        assert!(ran.err.contains(&remove), "{ran}");
    }
    // To the letter.
    fs::remove_file(&key).unwrap();
    let ran = machine.exits(1, &["init", &invite, "--kit", &kit]);
    assert!(ran.err.contains("never replaces one"), "{ran}");
    fs::remove_file(&kit).unwrap();
    machine.init_remote(&invite);
    let snapshot = machine.back_up(&source, &[]).snapshot();
    machine.restores_to(&snapshot, &source, &trees::capture(&source));
}

#[test]
fn a_refused_init_takes_its_kit_back() {
    let world = world!();
    let (server, _machine, kit) = world.remote();
    let used = server.invite(&[]);
    world.machine("first").init_remote(&used);
    let late = world.machine("late");
    let ran = late.exits(22, &["init", &used, "--kit", "kit.txt"]);
    assert!(ran.err.contains("kit.txt is removed again"), "{ran}");
    assert!(ran.err.contains("backup-server invite"), "{ran}");
    assert!(!late.home.join("kit.txt").exists() && !late.data().exists());
    // An account is no invitation.
    let ran = late.exits(2, &["init", &kit.address, "--kit", "kit.txt"]);
    assert!(ran.err.contains("backup connect"), "{ran}");
}

#[test]
fn the_kit_is_no_part_of_a_backup() {
    let world = world!();
    let (machine, _) = world.local();
    build::write(&machine.home, "letter.txt", "x");
    let snapshot = machine.back_up(&machine.home, &[]).snapshot();
    let listed = machine.ok(&["ls", &snapshot]).text();
    assert!(listed.contains("letter.txt"), "{listed}");
    assert!(!listed.contains("kit.txt"), "{listed}");
}
