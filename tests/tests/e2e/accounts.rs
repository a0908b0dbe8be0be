//! What whoever runs the server does with accounts, and what their owners see of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use unseen_common::log::entry::{Body, Policy};
use unseen_common::log::fold::DEFAULT_POLICY;
use unseen_common::time::{Clock, Timestamp};
use unseen_common::vault::Service;
use unseen_server::clock::SystemClock;
use unseen_server::testkit::{Head, Owner, TestClock};
use unseen_server::vault::{Core, Options};
use unseen_tests::trees::{self, build};
use unseen_tests::{Machine, Server, World, world};

/// A machine with one snapshot, and the pseudonym of its account.
fn enrolled(world: &World, server: &Server) -> (Machine, String) {
    let machine = world.machine("home");
    machine.init_remote(&server.invite(&["--quota", "1GB"]));
    machine.back_up(&build::write(&world.path("source"), "file", "x"), &[]);
    let listed = account(world, server, &["list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let name = listed[0]["account"].as_str().unwrap().to_owned();
    assert_eq!(name.len(), 8);
    assert_eq!(listed[0]["quota"], 1_000_000_000);
    (machine, name)
}

fn account(world: &World, server: &Server, words: &[&str]) -> String {
    let data = server.data.to_str().unwrap();
    let ran = world.backup_server(&[&["account"], words, &["--data", data]].concat());
    assert_eq!(ran.code, Some(0), "{ran}");
    ran.text()
}

#[test]
fn a_suspended_account_restores_and_does_not_back_up() {
    let world = world!();
    let mut server = world.server("server");
    let (machine, name) = enrolled(&world, &server);
    let source = world.path("source");
    let said = account(&world, &server, &["suspend", &name]);
    assert!(said.contains("suspended since"), "{said}");
    build::write(&source, "file", "y");
    let ran = machine.run(&["run", source.to_str().unwrap()]);
    assert_eq!(ran.code, Some(22), "{ran}");
    assert!(ran.to_string().contains("suspended"), "{ran}");
    let target = world.path("target");
    machine.restore("latest", &target, &[]);
    let restored = trees::beneath(&target, &source.join("file"));
    assert_eq!(fs::read(restored).unwrap(), b"x");

    // The same commands on the folder of a server that does not run.
    server.stop();
    account(&world, &server, &["resume", &name]);
    let shown = account(&world, &server, &["show", &name]);
    assert!(shown.contains("active"), "{shown}");
    server.restart();
    machine.back_up(&source, &[]);
    let looks = machine.ok(&["privacy", "access-log"]).text();
    let looks: Vec<_> = looks.lines().map(|line| line[21..].to_owned()).collect();
    let wanted = ["listed among all accounts", "suspended", "resumed", "shown by itself"];
    assert_eq!(looks[..4], wanted, "{looks:?}");
}

#[test]
fn everything_that_is_held_is_shown() {
    let world = world!();
    let server = world.server("server");
    let (machine, _) = enrolled(&world, &server);
    let shown = machine.run(&["privacy", "-v"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    assert!(!shown.to_string().contains("warning"), "{shown}");
    let held = machine.ok(&["privacy", "--json"]).text();
    let held: serde_json::Value = serde_json::from_str(&held).unwrap();
    assert_eq!(held["addresses_logged"], false);
    assert!(held["differences"].as_array().unwrap().is_empty());
    for field in held["held"].as_array().unwrap() {
        let name = field["name"].as_str().unwrap();
        assert!(shown.text().contains(name), "{name}: {shown}");
        assert!(field["place"].is_string() && field["kept"].is_string(), "{field}");
    }
}

/// All of it in one document: fields, log, access record, files; nothing that opens a backup.
#[test]
fn everything_that_is_held_is_exported() {
    let world = world!();
    let (server, machine, kit) = world.remote();
    let source = world.folder("source");
    fs::write(source.join("private-name"), b"private content").unwrap();
    let snapshot = machine.back_up(&source, &["--tag", "private-tag"]).snapshot();
    machine.ok(&["pin", &snapshot]);
    let accounts = account(&world, &server, &["list", "--json"]);
    let accounts: serde_json::Value = serde_json::from_str(&accounts).unwrap();
    let name = accounts[0]["account"].as_str().unwrap().to_owned();
    account(&world, &server, &["show", &name]);

    let file = world.path("export.json");
    let file_name = file.to_str().unwrap();
    let told = machine.ok(&["privacy", "export", file_name]).text();
    assert!(told.contains("4 records of the log"), "{told}");
    machine.exits(1, &["privacy", "export", file_name]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    for secret in ["private", &kit.code, source.to_str().unwrap()] {
        assert!(!text.contains(secret), "{secret}");
    }
    let export: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(export["account"].as_str().unwrap().starts_with(&name));
    let kinds: Vec<_> = rows(&export["log"]).iter().map(|entry| entry["kind"].clone()).collect();
    assert_eq!(kinds, ["genesis", "device-add", "snapshot", "pin"]);
    assert_eq!(export["log"][2]["body"]["id"], snapshot.as_str());
    assert_eq!(export["log"][3]["body"]["snapshots"][0], snapshot.as_str());
    assert!(rows(&export["differences"]).is_empty());
    let looks: Vec<_> = rows(&export["access"]).iter().map(|line| line["what"].clone()).collect();
    assert_eq!(looks, ["list", "show"]);
    let held = rows(&export["held"]);
    let field = |name: &str| held.iter().find(|held| held["name"] == name).unwrap();
    let packs: Vec<_> =
        rows(&export["objects"]).iter().filter(|object| object["pack"].is_object()).collect();
    assert_eq!(field("pack.number")["count"], packs.len());
    // Every file that there is, and its length.
    let folder = fs::read_dir(server.data.join("accounts")).unwrap().next().unwrap().unwrap();
    for object in rows(&export["objects"]) {
        let path = folder.path().join(object["name"].as_str().unwrap());
        assert_eq!(fs::metadata(&path).unwrap().len(), object["bytes"], "{path:?}");
    }
    let files = trees::files(&folder.path()).len();
    assert_eq!(rows(&export["objects"]).len(), files);
    assert_eq!(export["totals"]["objects"], files);

    let line = machine.ok(&["privacy", "export", "--json"]).json_lines();
    assert_eq!((line.len(), &line[0]["log"]), (1, &export["log"]));
    machine.without_secrets().exits(12, &["privacy", "export"]);
}

fn rows(value: &serde_json::Value) -> &Vec<serde_json::Value> {
    value.as_array().unwrap()
}

/// The same figures from a server that runs and from its folder; who it is about is told to them.
#[test]
fn stats_are_counts_and_times_without_names() {
    let world = world!();
    let mut server = world.server("server");
    let (machine, name) = enrolled(&world, &server);
    let data = server.data.to_str().unwrap().to_owned();
    let stats = || {
        let ran = world.backup_server(&["stats", "--data", &data, "--json"]).check(0);
        ran.json_lines().pop().unwrap()
    };
    let running = stats();
    assert_eq!((&running["running"], &running["totals"]["packs"]), (&true.into(), &1.into()));
    assert_eq!(running["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(running["accounts"][0]["account"], name);
    assert_eq!(running["accounts"][0]["snapshots"], 1);
    assert!(running["disk"]["free"].as_u64().unwrap() > 0);
    let text = world.backup_server(&["stats", "--data", &data]).check(0).text();
    for part in ["ACCOUNT", &name, "disk", "gc ", "scrub ", "1, 64 KiB; 0 damaged"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    server.stop();
    let stopped = stats();
    assert_eq!((&stopped["running"], &stopped["jobs"]), (&false.into(), &serde_json::json!([])));
    assert_eq!(stopped["totals"], running["totals"]);
    server.restart();
    let looks = machine.ok(&["privacy", "access-log"]).text();
    assert_eq!(looks.matches("listed among all accounts").count(), 1, "one an hour: {looks}");
}

#[test]
fn an_owner_has_a_vault_erased_and_thinks_again() {
    let world = world!();
    let server = world.server("server");
    let (machine, name) = enrolled(&world, &server);
    machine.exits(1, &["privacy", "erase"]);
    machine.exits(1, &["privacy", "erase", "--cancel"]);
    machine.ok(&["privacy", "erase", "--yes"]);
    let source = world.path("source");
    let ran = machine.run(&["run", source.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(ran.to_string().contains("will be erased on"), "{ran}");
    let shown = account(&world, &server, &["show", &name]);
    assert!(shown.contains("its owner has it erased on"), "{shown}");
    machine.ok(&["privacy", "erase", "--cancel"]);
    let ran = machine.run(&["run", source.to_str().unwrap()]);
    assert!(!ran.to_string().contains("erased"), "{ran}");
}

/// Kinds of files are told only when the owner says so, and by a closed list.
#[test]
fn snapshots_disclose_what_the_level_says() {
    let world = world!();
    let server = world.server("server");
    let (machine, _) = enrolled(&world, &server);
    let source = world.path("source");
    let told = |field: &str| {
        let held = machine.ok(&["privacy", "--json"]).text();
        let held: serde_json::Value = serde_json::from_str(&held).unwrap();
        let all = held["held"].as_array().unwrap();
        all.iter().find(|held| held["name"] == field).unwrap()["count"].as_u64().unwrap()
    };
    assert_eq!((told("disclosure.totals"), told("disclosure.types")), (1, 0));
    machine.ok(&["privacy", "level", "types"]);
    machine.back_up(&source, &[]);
    assert_eq!((told("disclosure.totals"), told("disclosure.types")), (2, 1));
    machine.ok(&["privacy", "level", "none"]);
    machine.back_up(&source, &[]);
    assert_eq!((told("disclosure.totals"), told("disclosure.types")), (2, 1));
}

#[test]
fn an_erased_account_leaves_nothing_but_a_receipt() {
    let world = world!();
    let mut server = world.server("server");
    let (machine, name) = enrolled(&world, &server);
    let data = server.data.to_str().unwrap().to_owned();
    let unconfirmed = world.backup_server(&["account", "erase", &name, "--data", &data]);
    assert_eq!(unconfirmed.code, Some(1), "{unconfirmed}");
    machine.exits(10, &["privacy", "receipt"]);
    let said = account(&world, &server, &["erase", &name, "--yes"]);
    assert!(said.contains("is gone"), "{said}");
    let left = trees::capture(&server.data);
    assert!(!format!("{left:?}").contains(&name), "{left:?}");
    machine.exits(22, &["run", world.path("source").to_str().unwrap()]);
    let receipt = machine.ok(&["privacy", "receipt"]).text();
    assert!(receipt.contains("1 snapshot, 1 pack") && receipt.contains("operator"), "{receipt}");
    // Kept, it can be checked without the server, on any machine.
    let kept = machine.ok(&["privacy", "receipt", "--json"]).text();
    let file = world.path("receipt.json");
    fs::write(&file, &kept).unwrap();
    let file = file.to_str().unwrap();
    server.stop();
    let known = machine.ok(&["privacy", "receipt", "--verify", file]).text();
    assert!(known.contains("server that this machine knows"), "{known}");
    let stranger = world.machine("stranger").ok(&["privacy", "receipt", "--verify", file]).text();
    assert!(stranger.contains("signed with the key"), "{stranger}");
    fs::write(file, "{}").unwrap();
    machine.exits(2, &["privacy", "receipt", "--verify", file]);
}

#[test]
fn invites_are_listed_and_taken_back() {
    let world = world!();
    let server = world.server("server");
    let data = server.data.to_str().unwrap();
    let link = server.invite(&["--quota", "1GB"]);
    let listed = world.backup_server(&["invite", "list", "--json", "--data", data]);
    let listed: serde_json::Value = serde_json::from_str(&listed.text()).unwrap();
    let name = listed[0]["invite"].as_str().unwrap();
    let revoked = world.backup_server(&["invite", "revoke", name, "--data", data]);
    assert_eq!(revoked.code, Some(0), "{revoked}");
    let machine = world.machine("home");
    let kit = machine.home.join("kit.txt");
    let ran = machine.run(&["init", &link, "--kit", kit.to_str().unwrap()]);
    assert_ne!(ran.code, Some(0), "{ran}");
    let listed = world.backup_server(&["invite", "list", "--data", data]);
    assert_eq!(listed.text().trim(), "");
}

/// A program of the operator's hears of a device that went quiet while the server was off, and once.
#[test]
fn a_silent_device_is_told_to_a_program_of_the_operator() {
    let world = world!();
    let data = world.folder("server");
    let day = 86_400;
    let now = SystemClock.now().0;
    let (account, device) = backed_up_at(&data, Timestamp(now - 10 * day));
    let heard = world.path("heard");
    let part = world.path("part");
    let program = world.path("program");
    let script = format!(
        "#!/bin/sh\nset -e\ncat >> {part}\ncp {part} {heard}.new\nmv {heard}.new {heard}\n",
        part = part.display(),
        heard = heard.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let server = world.server_with("server", &["--on-silent", program.to_str().unwrap()]);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !heard.exists() {
        assert!(std::time::Instant::now() < end, "{}", fs::read_to_string(&server.log).unwrap());
        std::thread::yield_now();
    }
    let text = fs::read_to_string(&heard).unwrap();
    let news: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(news["silent"][0]["account"], account.as_str());
    assert_eq!(news["silent"][0]["device"], device.as_str());
    assert_eq!(news["silent"][0]["last_backup"], now - 10 * day);
    assert_eq!((news["silent"].as_array().unwrap().len(), &news["heard"]), (1, &json!([])));
}

/// A data folder with one account, whose owner wants to hear of silent devices after three days,
/// and whose only snapshot is of `then`.
fn backed_up_at(data: &Path, then: Timestamp) -> (String, String) {
    let clock = Arc::new(TestClock::default());
    clock.set(then);
    let options = Options { clock, ..Options::default() };
    let core = Core::open(data, options).unwrap();
    let owner = Owner::new(1);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let invite = core.invite(None, 3600).unwrap();
        let account = owner.account_at(then, core.identity(), &invite);
        core.create_account(account).await.unwrap();
        let root = owner.log_in(&core).await.unwrap();
        let head = Head::of(owner.vault, &*root).await;
        let policy = Policy { silent_days: 3, ..DEFAULT_POLICY.clone() };
        root.append(owner.sign(&head, Body::Policy(policy))).await.unwrap();
        let device = owner.log_in_device(&core, &owner.machine).await.unwrap();
        let pack = owner.machine.small_pack(1);
        let packs = [(device.put_pack(pack.clone()).await.unwrap(), pack)];
        let head = Head::of(owner.vault, &*device).await;
        device.commit(owner.machine.snapshot(&head, b"manifest", &packs)).await.unwrap();
    });
    (owner.vault.short(), owner.machine.id.short())
}
