//! A vault in a folder: the server's core, in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use unseen_common::id::VaultId;
use unseen_common::vault::Service;
use unseen_server::vault::{Core, OpenError};

/// Why a local vault cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Another process has it open: another run, or a server.
    #[error("the vault in {0} is in use by another process")]
    Busy(PathBuf),
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

/// Opens a local vault folder, which is made if absent. Blocks. The folder stays locked until the
/// service and every session of it are dropped.
pub fn open(folder: &Path) -> Result<Arc<dyn Service>, LocalError> {
    open_with_accounts(folder).map(|(service, _)| service)
}

/// The same, and the accounts in the folder: a local vault has one, a server's folder any number.
pub fn open_with_accounts(folder: &Path) -> Result<(Arc<dyn Service>, Vec<VaultId>), LocalError> {
    match Core::open_local(folder) {
        Ok(core) => match core.accounts() {
            Ok(accounts) => Ok((Arc::new(core), accounts)),
            Err(source) => Err(LocalError::List { folder: folder.to_owned(), source }),
        },
        Err(OpenError::Busy(folder)) => Err(LocalError::Busy(folder)),
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
        let service = open(&folder).unwrap();
        assert_eq!(service.host(), "");
        assert!(matches!(open(&folder), Err(LocalError::Busy(f)) if f == folder));
        drop(service);
        open(&folder).unwrap();
    }
}
