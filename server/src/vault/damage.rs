//! What is told of damage that is no pack's: which thing it is, and what to do next, by whom.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use unseen_common::id::SnapshotId;
use unseen_common::vault::VaultError;

/// How damaged journals are told. A local vault is named by its folder; an account on a server is
/// not: where a server keeps things is nobody's business.
#[derive(Debug, Clone)]
pub(super) struct Words {
    whose: Arc<str>,
    next: Arc<str>,
}

impl Words {
    /// To who has the folder of a local vault.
    pub(super) fn local(folder: &Path) -> Self {
        let folder = folder.display();
        let next = format!(
            "`backup-server rebuild --data {folder}` makes the journal anew from what is there; \
             it deletes nothing"
        );
        Self { whose: format!("the vault in {folder}").into(), next: next.into() }
    }

    /// To who asks a server.
    pub(super) fn remote() -> Self {
        let next = "ask whoever runs the server to stop it and to run `backup-server rebuild`: it \
                    makes the journal anew from what is there, and deletes nothing";
        Self { whose: "this account".into(), next: next.into() }
    }

    /// A journal cannot be read.
    pub(super) fn journal(&self, why: &dyn Display) -> VaultError {
        self.of(format!("{} is damaged: {why}", self.whose))
    }

    /// A journal can be read only as far as its copies among the blobs go.
    pub(super) fn read_only(&self, why: &dyn Display) -> VaultError {
        self.of(format!("{} can be read and not written, since it is damaged: {why}", self.whose))
    }

    /// There is no journal, but there is what was stored.
    pub(super) fn no_journal(&self) -> VaultError {
        self.of(format!("{} has packs and no journal", self.whose))
    }

    fn of(&self, what: String) -> VaultError {
        VaultError::Damaged { what, next: self.next.as_ref().to_owned() }
    }
}

/// Neither copy of the manifest of a snapshot is as it was stored, or they are not there.
pub(super) fn manifest_lost(id: SnapshotId) -> VaultError {
    of_snapshot(format!("the manifest of snapshot {} is lost", id.short()))
}

/// The list of packs of a snapshot is not the one that was stored, or is not there.
pub(super) fn list_damaged(id: SnapshotId) -> VaultError {
    of_snapshot(format!("the list of packs of snapshot {} is damaged", id.short()))
}

fn of_snapshot(what: String) -> VaultError {
    let next = "both copies in the vault's folder are; a copy of that folder may have a whole one. \
                The other snapshots do not need it";
    VaultError::Damaged { what, next: next.to_owned() }
}

/// The unlock slots are not there.
pub(super) fn slots_lost() -> VaultError {
    let next = "put the folder `slots` of the account back from a copy of the vault's folder: \
                without it neither passphrase nor code opens anything";
    VaultError::Damaged { what: "the unlock slots are lost".to_owned(), next: next.to_owned() }
}
