//! Folders that an earlier program made are opened, read and written by this one.
//!
//! `tests/golden/folders.tar.gz` holds a server's data folder, a local vault, and for each a home
//! with the device's keys and state. It is made by
//!
//!     cargo test -p unseen-tests --test e2e -- --ignored make_the_golden_folders
//!
//! and replaced only as long as formats may change: before the first release, together with the
//! vectors in `docs/vectors`. From then on each release adds a file of its own.

use std::fs;
use std::path::{Path, PathBuf};

use unseen_common::time::Clock;
use unseen_server::clock::SystemClock;
use unseen_tests::trees::{self, Tree, build};
use unseen_tests::{Kit, Machine, Server, World, world};

/// Everything is made in this folder, so that no path of the machine gets into the file.
const PLACE: &str = "/tmp/unseen-golden";
/// A repository has room for it.
const LONGEST: u64 = 200_000;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/folders.tar.gz")
}

/// Files of several kinds, small ones: a pack of the smallest length is enough.
fn fill(source: &Path) {
    build::write(source, "text", "a line that comes again and again\n".repeat(500));
    build::write(source, "noise", build::noise(1, 9000));
    build::write(source, "empty", "");
    build::write(source, "folder/within/it", "deep down");
    fs::create_dir_all(source.join("empty folder")).unwrap();
    std::os::unix::fs::symlink("text", source.join("link")).unwrap();
    fs::hard_link(source.join("noise"), source.join("second name")).unwrap();
    build::chmod(&source.join("text"), 0o640);
    let mut paths: Vec<PathBuf> = trees::files(source).into_iter().map(|(path, _)| path).collect();
    paths.extend(["link", "empty folder", "folder/within", "folder", ""].map(|p| source.join(p)));
    for path in paths {
        build::set_mtime(&path, 1_700_000_000, 123_456_789);
    }
}

/// A first snapshot that is forgotten, one that is pinned, and rules.
fn live(machine: &Machine, source: &Path) {
    let back_up = || machine.back_up(source, &["--set", "golden"]).snapshot();
    let (first, second) = (back_up(), back_up());
    machine.ok(&["pin", &second]);
    machine.ok(&["forget", "--yes", &first]);
    machine.ok(&["policy", "set", "--yes", "--keep-last", "50", "--keep-daily", "30"]);
}

#[test]
#[ignore = "replaces the folders, which are to be of an earlier program"]
fn make_the_golden_folders() {
    let world = world!();
    let place = Path::new(PLACE);
    fs::create_dir(place).expect("it is in nobody's use");
    let source = place.join("source");
    fill(&source);
    let data = place.join("server");
    let mut server = world.server(data.to_str().unwrap());
    let (remote, local) = (machine(&world, "remote"), machine(&world, "local"));
    let kit = remote.init_remote(&server.invite(&["--quota", "1GB"]));
    live(&remote.with("BACKUP_RECOVERY_CODE", kit.code), &source);
    server.stop();
    let kit = local.init_local(&place.join("vault"));
    live(&local.with("BACKUP_RECOVERY_CODE", kit.code), &source);
    // What is made anew, and what a server has only while it runs.
    for name in ["server.log", "server/index", "server/lock", "server/reserve", "vault/index"] {
        let path = place.join(name);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).ok();
        }
    }
    for home in ["remote", "local"] {
        fs::remove_dir_all(place.join(home).join(".cache")).ok();
    }
    fs::write(place.join("made"), SystemClock.now().0.to_string()).unwrap();
    let packed = fixture();
    fs::create_dir_all(packed.parent().unwrap()).unwrap();
    let words =
        ["--format=posix", "--sort=name", "-C", PLACE, "-czf", packed.to_str().unwrap(), "."];
    trees::tool("tar", &words);
    fs::remove_dir_all(place).unwrap();
    let length = fs::metadata(&packed).unwrap().len();
    assert!(length < LONGEST, "{length} bytes");
}

/// A machine whose home is a folder of the golden ones.
fn machine(world: &World, name: &str) -> Machine {
    let home = Path::new(PLACE).join(name);
    fs::create_dir_all(&home).unwrap();
    Machine::new(world.programs().backup.clone(), home)
}

/// The golden folders, unpacked.
struct Golden {
    folder: PathBuf,
    tree: Tree,
}

impl Golden {
    /// Nothing, and the reason is printed, on a machine whose clock is behind theirs: no client
    /// signs after stamps that lie ahead.
    fn unpack(world: &World) -> Option<Self> {
        let folder = world.folder("golden");
        let words = ["-C".as_ref(), folder.as_os_str(), "-xpzf".as_ref()];
        trees::tool("tar", &[&words[..], &[fixture().as_os_str()]].concat());
        let made: u64 = fs::read_to_string(folder.join("made")).unwrap().parse().unwrap();
        if SystemClock.now().0 < made {
            println!("skipped: the clock is behind that of the golden folders");
            return None;
        }
        Some(Self { tree: trees::capture(&folder.join("source")), folder })
    }

    /// The machine of this home, whose vault is at another address now.
    fn machine(&self, world: &World, name: &str, address: &dyn Fn(&str) -> String) -> Machine {
        let home = self.folder.join(name);
        let kit = Kit::read(&home.join("kit.txt"));
        Machine::new(world.programs().backup.clone(), home)
            .with("BACKUP_PROFILE", "default")
            .with("BACKUP_VAULT", address(&kit.address))
            .with("BACKUP_RECOVERY_CODE", kit.code)
    }

    /// The golden snapshot is what it was.
    fn restores(&self, machine: &Machine, snapshot: &str) {
        let target = tempfile::tempdir_in(&machine.home).unwrap();
        let out = target.path().join("out");
        machine.restore(&format!("{snapshot}:{PLACE}/source"), &out, &[]);
        trees::assert_same(&self.tree, &trees::capture(&out));
    }
}

/// Lists, restores, checks, goes on, brings back, and restores what is new.
fn is_at_home(world: &World, golden: &Golden, machine: &Machine) {
    let listed = machine.ok(&["snapshots", "--json"]).text();
    assert_eq!(listed.matches("\"short_id\"").count(), 1, "{listed}");
    let rules = machine.ok(&["policy", "show"]).text();
    assert!(rules.contains("50") && rules.contains("30"), "{rules}");
    golden.restores(machine, "latest");
    // The passphrase opens it here, and the recovery code on a machine that knows nothing else.
    golden.restores(&machine.clone().by_passphrase(), "latest");
    let bare = world.folder(format!("bare {}", machine.home.file_name().unwrap().display()));
    let bare = Machine::new(world.programs().backup.clone(), bare);
    let command = machine.command(&["version"]);
    let told = command.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?)));
    let told = told.filter(|(name, _)| ["BACKUP_VAULT", "BACKUP_RECOVERY_CODE"].contains(name));
    let bare = told.fold(bare, |bare, (name, value)| bare.with(name, value));
    golden.restores(&bare, "latest");
    machine.ok(&["check", "--read-data"]);

    let again = world.folder("again");
    if !again.join("source").exists() {
        trees::copy(&golden.folder.join("source"), &again.join("source"));
    }
    let source = again.join("source");
    let options = ["--set", "golden"];
    let first = machine.back_up(&source, &options);
    // The folders above it are others now; what the files hold is known.
    assert!(first.number("data_added") < 4000, "{}", first.0);
    build::write(&source, format!("new for {}", machine.home.display()).replace('/', "_"), "new");
    let second = machine.back_up(&source, &options).snapshot();
    machine.restores_to(&second, &source, &trees::capture(&source));
    golden.restores(machine, &snapshot_of(&listed));
    assert_eq!(machine.ok(&["snapshots", "--json"]).text().matches("\"short_id\"").count(), 3);
    machine.ok(&["check", "--read-data"]);
}

fn snapshot_of(listed: &str) -> String {
    let listed: serde_json::Value = serde_json::from_str(listed).unwrap();
    listed[0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn the_local_vault_of_an_earlier_program_is_read_and_goes_on() {
    let world = world!();
    let Some(golden) = Golden::unpack(&world) else { return };
    let vault = format!("file://{}", golden.folder.join("vault").display());
    let machine = golden.machine(&world, "local", &|_| vault.clone());
    is_at_home(&world, &golden, &machine);
}

#[test]
fn the_server_of_an_earlier_program_is_read_and_goes_on() {
    let world = world!();
    let Some(golden) = Golden::unpack(&world) else { return };
    let server: Server = world.server(golden.folder.join("server").to_str().unwrap());
    let machine = golden.machine(&world, "remote", &|old| {
        let (_, rest) = old.strip_prefix("unseen://").unwrap().split_once('/').unwrap();
        format!("unseen://{}/{rest}", server.address)
    });
    is_at_home(&world, &golden, &machine);
    let data = server.data.to_str().unwrap();
    let listed = world.backup_server(&["account", "list", "--json", "--data", data]).check(0);
    let listed = &listed.json_lines()[0];
    assert_eq!((&listed[0]["quota"], &listed[0]["snapshots"]), (&1_000_000_000.into(), &3.into()));
    drop(world.backup_server(&["scrub", "--data", data]).check(0));
}

/// A server that does not know the index of an earlier program makes its own, and so does a client
/// with its state.
#[test]
fn what_can_be_made_anew_need_not_be_of_an_earlier_program() {
    let world = world!();
    let Some(golden) = Golden::unpack(&world) else { return };
    let vault = golden.folder.join("vault");
    let address = format!("file://{}", vault.display());
    let machine = golden.machine(&world, "local", &|_| address.clone());
    fs::remove_dir_all(machine.state()).unwrap();
    fs::create_dir_all(vault.join("index")).unwrap();
    fs::write(vault.join("index/db"), "of another kind").unwrap();
    is_at_home(&world, &golden, &machine);
}
