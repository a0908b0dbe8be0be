//! What the end-to-end tests share: machines with a home of their own, servers on loopback, trees
//! of files and what is known about them, and the means to end a program at a bad moment.
//!
//! Everything happens in a temporary folder beneath `target/` (a real disk, so that extended
//! attributes and holes are what they are for users). Nothing sleeps: a test waits for the line,
//! the file or the end of the program itself. Programs that a test starts die with it.

pub mod machine;
pub mod markers;
pub mod proxy;
pub mod server;
pub mod trees;
pub mod watch;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub use machine::{Kit, Machine, Ran};
pub use server::Server;

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

/// A temporary folder with machines and servers in it.
#[derive(Debug)]
pub struct World {
    programs: Programs,
    dir: TempDir,
}

impl World {
    /// An empty one.
    pub fn new(programs: Programs) -> Self {
        std::fs::create_dir_all(&programs.scratch).unwrap();
        let dir = tempfile::Builder::new()
            .prefix("world-")
            .tempdir_in(&programs.scratch)
            .unwrap();
        Self { programs, dir }
    }

    /// A path in the folder. Nothing is made there.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new folder.
    pub fn folder(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// A machine whose home is the folder of this name: empty at first.
    pub fn machine(&self, name: &str) -> Machine {
        Machine::new(self.programs.backup.clone(), self.folder(name))
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

/// Whether the tests run as root, who alone can make devices and give files away.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
