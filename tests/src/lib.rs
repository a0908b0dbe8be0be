//! What the end-to-end tests share: machines with a home of their own, servers on loopback, trees
//! of files and what is known about them, and the means to end a program at a bad moment.
//!
//! Everything happens in a temporary folder beneath `target/` (a real disk, so that extended
//! attributes and holes are what they are for users). Nothing sleeps: a test waits for the line,
//! the file or the end of the program itself. Programs that a test starts die with it.

pub mod eager;
pub mod machine;
pub mod markers;
pub mod proxy;
pub mod server;
pub mod trees;
pub mod typist;
pub mod watch;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

pub use machine::{Kit, Machine, Ran};
pub use server::Server;
pub use typist::Typist;

/// Where the programs under test are, and where there is room.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `backup`.
    pub backup: PathBuf,
    /// `backup-server`.
    pub server: PathBuf,
    /// A folder for temporary files.
    pub scratch: PathBuf,
}

/// A [`World`] on the programs that cargo built for the test that says this.
#[macro_export]
macro_rules! world {
    () => {
        $crate::World::new($crate::programs!())
    };
}

/// The programs that cargo built for the test that says this.
#[macro_export]
macro_rules! programs {
    () => {
        $crate::Programs {
            backup: env!("CARGO_BIN_EXE_unseen-test-backup").into(),
            server: env!("CARGO_BIN_EXE_unseen-test-backup-server").into(),
            scratch: env!("CARGO_TARGET_TMPDIR").into(),
        }
    };
}

/// How many tests can run at once.
const ROOMS: usize = 64;

/// A temporary folder with machines and servers in it.
///
/// It lies in a room of its own. A snapshot holds the folders above what was saved, too, with
/// their times: no test may change anything above the files of another.
#[derive(Debug)]
pub struct World {
    programs: Programs,
    dir: PathBuf,
    /// Held as long as the room is taken; the system lets go of it if the test dies.
    _lock: File,
}

impl World {
    /// An empty one.
    pub fn new(programs: Programs) -> Self {
        let rooms = programs.scratch.join("rooms");
        // All of them before any is used: from then on this folder never changes.
        for number in 0..ROOMS {
            fs::create_dir_all(rooms.join(number.to_string())).unwrap();
        }
        let (room, lock) = (0..ROOMS)
            .find_map(|number| take(rooms.join(number.to_string())))
            .expect("a free room");
        let dir = room.join("world");
        // What a test that died left behind.
        clear(&dir);
        fs::create_dir(&dir).unwrap();
        Self { programs, dir: dir.canonicalize().unwrap(), _lock: lock }
    }

    /// A path in the folder. Nothing is made there.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    /// A new folder.
    pub fn folder(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// A machine whose home is the folder of this name: empty at first.
    pub fn machine(&self, name: &str) -> Machine {
        Machine::new(self.programs.backup.clone(), self.folder(name))
    }

    /// A machine `home` with a local vault in the folder `vault`. It unlocks by the recovery code,
    /// which costs nothing; a passphrase takes a second.
    pub fn local(&self) -> (Machine, PathBuf) {
        let (machine, vault) = (self.machine("home"), self.path("vault"));
        let kit = machine.init_local(&vault);
        (machine.with("BACKUP_RECOVERY_CODE", kit.code), vault)
    }

    /// A server in the folder `server`, and a machine `home` with a vault on it, likewise.
    pub fn remote(&self) -> (Server, Machine, Kit) {
        let (server, machine) = (self.server("server"), self.machine("home"));
        let kit = machine.init_remote(&server.invite(&[]));
        (server, machine.with("BACKUP_RECOVERY_CODE", &kit.code), kit)
    }

    /// A server in the folder `server` behind a proxy that records everything in the clear.
    pub fn overheard(&self) -> (proxy::Proxy, Server) {
        let mut proxy = proxy::Proxy::new(&self.folder("proxy"));
        let public = proxy.address.to_string();
        let certificate = proxy.certificate.to_str().expect("a path of a test is text").to_owned();
        let arguments = ["--behind-proxy", "--public-address", &public, "--tls-cert", &certificate];
        let server = self.server_with("server", &arguments);
        proxy.forward_to(server.address);
        (proxy, server)
    }

    /// A server on loopback that keeps everything in the folder of this name.
    pub fn server(&self, name: &str) -> Server {
        self.server_with(name, &[])
    }

    /// The same with more arguments.
    pub fn server_with(&self, name: &str, arguments: &[&str]) -> Server {
        Server::start(&self.programs.server, &self.path(name), arguments)
    }

    /// Runs `backup-server` with these arguments to its end.
    pub fn backup_server(&self, arguments: &[&str]) -> Ran {
        server::run(&self.programs.server, arguments)
    }

    /// The programs.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Whoever takes the room next tries again.
        clear(&self.dir);
    }
}

/// Removes a folder, if it is there, with parts that are closed even to their owner.
fn clear(folder: &Path) {
    if folder.exists() && fs::remove_dir_all(folder).is_err() {
        // Whoever needs the place finds out if this was in vain.
        Command::new("chmod").args(["-R", "u+rwx"]).arg(folder).status().ok();
        fs::remove_dir_all(folder).ok();
    }
}

/// The room, if nobody has it.
fn take(room: PathBuf) -> Option<(PathBuf, File)> {
    let lock = File::options().create(true).append(true).open(room.join("lock")).unwrap();
    lock.try_lock().ok()?;
    Some((room, lock))
}

/// Whether the tests run as root, who alone can make devices and give files away.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
