//! A vault in a folder: the server's core, in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use unseen_common::id::VaultId;
use unseen_common::time::Timestamp;
use unseen_common::vault::{Service, VaultError};
use unseen_server::store::journal::JournalError;
use unseen_server::vault::load::LoadError;
use unseen_server::vault::rounds::Rounds;
use unseen_server::vault::{Core, OpenError, Swept};

pub use unseen_server::vault::scrub::ScrubReport;

/// Why a local vault cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Another process has it open: another run, or a server.
    #[error("the vault in {0} is in use by another process")]
    Busy(PathBuf),
    /// What was stored is there, and nothing says what it is.
    #[error("the vault in {0} has packs and no journal")]
    NoJournal(PathBuf),
    /// A journal of it cannot be read.
    #[error("the vault in {folder} is damaged")]
    Journal {
        /// The folder.
        folder: PathBuf,
        /// Where.
        #[source]
        source: LoadError,
    },
    /// The accounts in it cannot be listed.
    #[error("the accounts in {folder} cannot be listed")]
    List {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Anything else.
    #[error("the vault in {folder} cannot be opened")]
    Open {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: OpenError,
    },
}

impl LocalError {
    /// Whether there was no room for the journal that every vault begins with.
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let Self::Open { source: OpenError::Journal(LoadError::Journal(error)), .. } = self else {
            return false;
        };
        matches!(error, JournalError::Io { kind: StorageFull | QuotaExceeded, .. })
    }
}

/// A local vault that is open. The folder stays locked until this, the service and every session
/// of it are dropped.
#[derive(Debug)]
pub struct LocalVault {
    /// The service.
    pub service: Arc<dyn Service>,
    /// The accounts in the folder: a local vault has one, a server's folder any number.
    pub accounts: Vec<VaultId>,
    /// What a server does by itself.
    pub sweeper: Sweeper,
}

/// Lets go what the rules no longer keep, and deletes what nothing needs: a local vault has no
/// server that does so now and again.
#[derive(Debug, Clone)]
pub struct Sweeper {
    core: Core,
    folder: PathBuf,
}

impl Sweeper {
    /// Does what is due. Blocks.
    pub fn sweep(&self, now: Timestamp) -> Result<Swept, VaultError> {
        self.core.sweep(now)
    }
}

impl Sweeper {
    /// Reads some of what is stored again, if that was long ago; `go_on` is told how many bytes were
    /// read, and says whether to go on. Blocks.
    pub fn scrub(
        &self,
        every: u64,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Vec<ScrubReport>, VaultError> {
        Rounds::new(self.core.clone(), Some(&self.folder)).scrub_due(every, go_on)
    }
}

/// Opens a local vault folder, which is made if absent. Blocks.
pub fn open(folder: &Path) -> Result<LocalVault, LocalError> {
    match Core::open_local(folder) {
        Ok(core) => match core.accounts() {
            Ok(accounts) if accounts.is_empty() && core.has_blobs() => {
                Err(LocalError::NoJournal(folder.to_owned()))
            }
            Ok(accounts) => {
                let sweeper = Sweeper { core: core.clone(), folder: folder.to_owned() };
                Ok(LocalVault { service: Arc::new(core), accounts, sweeper })
            }
            Err(source) => Err(LocalError::List { folder: folder.to_owned(), source }),
        },
        Err(OpenError::Busy(folder)) => Err(LocalError::Busy(folder)),
        Err(OpenError::NoJournal(folder)) => Err(LocalError::NoJournal(folder)),
        Err(OpenError::Journal(source)) if source.is_damage() => {
            Err(LocalError::Journal { folder: folder.to_owned(), source })
        }
        Err(source) => Err(LocalError::Open { folder: folder.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("vault");
        let vault = open(&folder).unwrap();
        assert_eq!(vault.service.host(), "");
        assert!(matches!(open(&folder), Err(LocalError::Busy(f)) if f == folder));
        drop(vault);
        open(&folder).unwrap();
    }
}
