//! What is done with accounts and invites: the same commands over the admin socket and on a folder
//! whose server does not run. The result travels as JSON.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use unseen_common::wire::body::ReceiptBody;

use super::admin::{self, Ask};
use super::error::CliError;
use crate::store::space::{DiskLimits, FolderSpace};
use crate::vault::{Core, Options};

/// What can be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Manage {
    /// Lists all accounts.
    List,
    /// Shows one.
    Show {
        /// Which.
        account: String,
    },
    /// Changes a quota.
    Quota {
        /// Of which.
        account: String,
        /// In bytes; no limit with `None`.
        bytes: Option<u64>,
    },
    /// Suspends an account.
    Suspend {
        /// Which.
        account: String,
    },
    /// Ends that.
    Resume {
        /// Of which.
        account: String,
    },
    /// Tells which account a name means, before it is erased.
    Find {
        /// The name.
        account: String,
    },
    /// Erases an account.
    Erase {
        /// Which.
        account: String,
    },
    /// Lists the invites that are good.
    Invites,
    /// Expires and deletes what is due.
    Gc {
        /// The clock is right.
        confirm_clock: bool,
    },
    /// Takes an invite back.
    Revoke {
        /// Which.
        invite: String,
    },
}

impl Manage {
    /// Does it; gives the result as JSON.
    pub(super) fn fulfil(&self, core: &Core) -> Result<String, CliError> {
        let result = match self {
            Self::List => serde_json::to_string(&core.account_list()?),
            Self::Show { account } => serde_json::to_string(&core.account_show(account)?),
            Self::Quota { account, bytes } => {
                serde_json::to_string(&core.account_quota(account, *bytes)?)
            }
            Self::Suspend { account } => serde_json::to_string(&core.account_suspend(account)?),
            Self::Resume { account } => serde_json::to_string(&core.account_resume(account)?),
            Self::Find { account } => serde_json::to_string(&core.find_account(account)?),
            Self::Erase { account } => {
                serde_json::to_string(&ReceiptBody::from(core.account_erase(account)?))
            }
            Self::Gc { confirm_clock } => serde_json::to_string(&core.gc(*confirm_clock)?),
            Self::Invites => serde_json::to_string(&core.invites()),
            Self::Revoke { invite } => serde_json::to_string(&core.revoke_invite(invite)?),
        };
        result.map_err(CliError::Answer)
    }

    /// Has it done by the server that runs on this folder, else on the folder itself.
    pub(super) fn done<T: DeserializeOwned>(self, data: &Path) -> Result<T, CliError> {
        let text = match admin::ask(data, &Ask::Manage(self.clone()))? {
            Some(text) => text,
            None => self.fulfil(&existing(data)?)?,
        };
        serde_json::from_str(&text).map_err(CliError::Answer)
    }
}

/// Opens a data folder that is there: nothing is made in one that was mistyped.
fn existing(data: &Path) -> Result<Core, CliError> {
    if !data.join("journal").is_dir() {
        return Err(CliError::NoFolder(data.to_owned()));
    }
    let core = Core::open(data, Options::default())?;
    watch(&core, data, DiskLimits::default());
    Ok(core)
}

/// Watches the disk that a data folder is on.
pub(super) fn watch(core: &Core, data: &Path, limits: DiskLimits) {
    core.disk().watch(Box::new(FolderSpace::new(data)), limits);
}
