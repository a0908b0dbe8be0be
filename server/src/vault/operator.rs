//! What whoever runs the server can do with accounts and invites. Every look at an account lands
//! in its access record before anything is shown.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use unseen_common::id::VaultId;
use unseen_common::privacy::Looked;
use unseen_common::receipt::{ErasedBy, SignedReceipt};
use unseen_common::time::Timestamp;
use unseen_common::vault::{Result, VaultError};

use super::account::{Account, storage_error};
use super::core::Core;
use super::ledger::InviteInfo;
use crate::store::lock;
use crate::store::row::AccountRow;
use crate::store::server_row::ServerRow;

/// Fewest digits by which an account or an invite can be named.
const SHORTEST: usize = 4;

/// An account as whoever runs the server sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountInfo {
    /// Its pseudonym: the first digits of its id.
    pub account: String,
    /// When its first entry was received.
    pub created: Timestamp,
    /// Bytes that it may use; no limit with `None`.
    pub quota: Option<u64>,
    /// Bytes that count against the quota: packs, manifests, packsets.
    pub used: u64,
    /// Packs.
    pub packs: u64,
    /// Live snapshots.
    pub snapshots: u64,
    /// Devices that are not revoked.
    pub devices: u64,
    /// When the newest snapshot was received.
    pub last_backup: Option<Timestamp>,
    /// Since when it is suspended.
    pub suspended: Option<Timestamp>,
    /// When its owner's wish to erase it is carried out.
    pub erase_due: Option<Timestamp>,
}

/// An account in a list: one that cannot be opened has its reason instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Listed {
    /// It can be opened.
    Sound(AccountInfo),
    /// It cannot.
    Damaged {
        /// Its pseudonym.
        account: String,
        /// Why.
        problem: String,
    },
}

impl Core {
    /// All accounts, by pseudonym. Blocks.
    pub fn account_list(&self) -> Result<Vec<Listed>> {
        let mut ids = self.accounts().map_err(|error| storage_error(&error))?;
        ids.sort();
        let mut list = Vec::new();
        for id in ids {
            let info = self.account(id).and_then(|found| match found {
                Some(account) => {
                    account.note(Looked::List, None)?;
                    account.info().map(Some)
                }
                None => Ok(None),
            });
            match info {
                Ok(Some(info)) => list.push(Listed::Sound(info)),
                Ok(None) => {}
                Err(error) => {
                    let (account, problem) = (id.short(), error.to_string());
                    list.push(Listed::Damaged { account, problem });
                }
            }
        }
        Ok(list)
    }

    /// One account, by the beginning of its id. Blocks.
    pub fn account_show(&self, name: &str) -> Result<AccountInfo> {
        self.with_account(name, |account| account.note(Looked::Show, None))
    }

    /// Changes a quota; it counts at once, and removes nothing. Blocks.
    pub fn account_quota(&self, name: &str, quota: Option<u64>) -> Result<AccountInfo> {
        self.with_account(name, |account| {
            let row = AccountRow::Quota { quota, at: account.clock.now() };
            account.note(Looked::Quota, Some(row))
        })
    }

    /// Suspends an account: it can be read, and not written. Blocks.
    pub fn account_suspend(&self, name: &str) -> Result<AccountInfo> {
        self.with_account(name, |account| {
            let row = AccountRow::Suspended { suspended: true, at: account.clock.now() };
            let already = lock(&account.tables).standing.suspended.is_some();
            account.note(Looked::Suspend, (!already).then_some(row))
        })
    }

    /// Lets a suspended account be written again. Blocks.
    pub fn account_resume(&self, name: &str) -> Result<AccountInfo> {
        self.with_account(name, |account| {
            let row = AccountRow::Suspended { suspended: false, at: account.clock.now() };
            account.note(Looked::Resume, Some(row))
        })
    }

    /// Erases an account at once, one that is damaged too. Blocks.
    pub fn account_erase(&self, name: &str) -> Result<SignedReceipt> {
        let id = self.find_account(name)?;
        self.0.erase(id, ErasedBy::Operator, self.0.shared.clock.now())
    }

    /// The invites that are still good. Blocks.
    pub fn invites(&self) -> Vec<InviteInfo> {
        self.0.ledger.invites(self.0.shared.clock.now())
    }

    /// Takes an invite back, by the beginning of its name; gives its name. Blocks.
    pub fn revoke_invite(&self, name: &str) -> Result<String> {
        let found = self.0.ledger.good_invites(checked(name)?, self.0.shared.clock.now());
        let secret = one_of(&found, "invite", name)?;
        let row = ServerRow::Revoked { secret: *secret };
        self.0.write_ledger(&row)?;
        Ok(secret.short())
    }

    /// The id of the account whose id begins like this. Blocks.
    pub fn find_account(&self, name: &str) -> Result<VaultId> {
        account_among(self.accounts().map_err(|error| storage_error(&error))?, name)
    }

    fn with_account(
        &self,
        name: &str,
        act: impl FnOnce(&Arc<Account>) -> Result<()>,
    ) -> Result<AccountInfo> {
        let id = self.find_account(name)?;
        let account = self.account(id)?;
        let account = account.ok_or_else(|| VaultError::NotFound(format!("account {name}")))?;
        act(&account)?;
        account.info()
    }
}

impl Account {
    fn info(&self) -> Result<AccountInfo> {
        let first = self.record(0)?;
        let tables = lock(&self.tables);
        let state = &tables.state;
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Ok(AccountInfo {
            account: self.id.short(),
            created: first.map_or(Timestamp(0), |record| record.received),
            quota: tables.standing.quota,
            used: tables.used(),
            packs: tables.packs.totals().0,
            snapshots: count(state.snapshots.len()),
            devices: count(state.devices.values().filter(|d| d.revoked.is_none()).count()),
            last_backup: state.snapshots.values().map(|s| s.received).max(),
            suspended: tables.standing.suspended,
            erase_due: super::erase::due(state),
        })
    }
}

/// The one of these accounts whose id begins like this.
pub fn account_among(ids: impl IntoIterator<Item = VaultId>, name: &str) -> Result<VaultId> {
    let name = checked(name)?;
    let found: Vec<_> = ids.into_iter().filter(|id| id.to_string().starts_with(name)).collect();
    one_of(&found, "account", name).copied()
}

/// Names are the beginnings of hexadecimal ids.
fn checked(name: &str) -> Result<&str> {
    if name.len() < SHORTEST || !name.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
    {
        return Err(VaultError::Invalid(format!(
            "{name:?} is no name: names are the first {SHORTEST} or more digits of an id"
        )));
    }
    Ok(name)
}

fn one_of<'a, T>(found: &'a [T], what: &str, name: &str) -> Result<&'a T> {
    match found {
        [one] => Ok(one),
        [] => Err(VaultError::NotFound(format!("{what} {name}"))),
        _ => Err(VaultError::Invalid(format!(
            "{} {what}s begin with {name}: give more digits",
            found.len()
        ))),
    }
}
