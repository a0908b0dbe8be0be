//! The server's own journal and what it says: invites, and accounts that were erased.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use unseen_common::codec::Canonical;
use unseen_common::id::{Hash, VaultId};
use unseen_common::receipt::{Receipt, SignedReceipt};
use unseen_common::time::Timestamp;

use super::account::is_full;
use super::load::LoadError;
use super::making::Making;
use crate::store::frame::Owner;
use crate::store::journal::{Journal, JournalError};
use crate::store::journal_files::Journals;
use crate::store::lock;
use crate::store::server_row::ServerRow;
use crate::store::space::Disk;

#[derive(Debug, Clone, Copy)]
struct Invite {
    quota: Option<u64>,
    expires: Timestamp,
    revoked: bool,
    used: Option<(VaultId, Hash)>,
}

/// What an invite allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant {
    pub(super) quota: Option<u64>,
}

/// An invite that can still be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InviteInfo {
    /// What it is called: the first digits of the hash of its secret.
    pub invite: String,
    /// Bytes that its account may use.
    pub quota: Option<u64>,
    /// When it stops being accepted.
    pub expires: Timestamp,
}

/// The invite that made an account, as far as it is remembered.
#[derive(Debug, Clone, Copy)]
pub(super) struct UsedInvite {
    pub(super) secret: Hash,
    pub(super) quota: Option<u64>,
    pub(super) expires: Timestamp,
    pub(super) genesis: Hash,
}

#[derive(Debug, Default)]
struct Known {
    invites: HashMap<Hash, Invite>,
    /// Accounts that are being erased, with the receipt that is to be signed.
    erasing: BTreeMap<VaultId, Receipt>,
    receipts: HashMap<VaultId, SignedReceipt>,
    /// When the clock was last seen and believed.
    clock: Option<Timestamp>,
}

/// The server's own journal.
#[derive(Debug)]
pub(super) struct Ledger {
    journal: Journal,
    known: Mutex<Known>,
    pub(super) making: Making,
    /// Held while an invite is redeemed: it is good for one.
    redeeming: Mutex<()>,
}

impl Ledger {
    pub(super) fn open(journals: &dyn Journals) -> Result<Self, LoadError> {
        loop {
            let mut known = Known::default();
            let journal = Journal::open(journals, Owner::Server, |_, bytes| {
                known.take(&ServerRow::from_bytes(bytes)?)?;
                Ok::<(), LoadError>(())
            })?;
            match journal {
                Some(journal) => {
                    return Ok(Self {
                        journal,
                        known: Mutex::new(known),
                        making: Making::default(),
                        redeeming: Mutex::default(),
                    });
                }
                None => Journal::create(journals, Owner::Server, &[])?,
            }
        }
    }

    pub(super) fn append(&self, row: &ServerRow, disk: &Disk) -> Result<(), JournalError> {
        let mut done = self.journal.append(vec![row.to_bytes()]);
        while done.as_ref().is_err_and(is_full) && disk.spend() {
            done = self.journal.append(vec![row.to_bytes()]);
        }
        done?;
        // A row that we have just written can be read.
        drop(lock(&self.known).take(row));
        Ok(())
    }

    /// Marks an invite as used by this account; again for the same account is no error. Nothing
    /// for an invite that is not good, or not any more.
    pub(super) fn redeem(
        &self,
        secret: &[u8],
        (account, genesis): (VaultId, Hash),
        now: Timestamp,
        disk: &Disk,
    ) -> Result<Option<Grant>, JournalError> {
        let secret = Hash::of(secret);
        let _redeeming = lock(&self.redeeming);
        let Some(invite) = lock(&self.known).invites.get(&secret).copied() else {
            return Ok(None);
        };
        let grant = Grant { quota: invite.quota };
        match invite.used {
            Some(by) if by == (account, genesis) => return Ok(Some(grant)),
            Some(_) => return Ok(None),
            None if invite.revoked || invite.expires < now => return Ok(None),
            None => {}
        }
        self.append(&ServerRow::Used { secret, account, genesis }, disk)?;
        Ok(Some(grant))
    }

    /// The invites that are good at this time, by when they expire.
    pub(super) fn invites(&self, now: Timestamp) -> Vec<InviteInfo> {
        let known = lock(&self.known);
        let good = known.invites.iter().filter(|(_, invite)| invite.is_good(now));
        let mut list: Vec<_> = good
            .map(|(secret, invite)| InviteInfo {
                invite: secret.short(),
                quota: invite.quota,
                expires: invite.expires,
            })
            .collect();
        list.sort_by(|a, b| (a.expires, &a.invite).cmp(&(b.expires, &b.invite)));
        list
    }

    /// The good invites whose names begin like this.
    pub(super) fn good_invites(&self, name: &str, now: Timestamp) -> Vec<Hash> {
        let known = lock(&self.known);
        let good = known.invites.iter().filter(|(_, invite)| invite.is_good(now));
        good.map(|(secret, _)| *secret)
            .filter(|secret| secret.to_string().starts_with(name))
            .collect()
    }

    /// The invite that made an account.
    pub(super) fn invite_of(&self, account: VaultId) -> Option<UsedInvite> {
        lock(&self.known).invites.iter().find_map(|(secret, invite)| {
            let (by, genesis) = invite.used?;
            let Invite { quota, expires, .. } = *invite;
            (by == account).then_some(UsedInvite { secret: *secret, quota, expires, genesis })
        })
    }

    /// Whether an account was erased, or is about to be.
    pub(super) fn is_erased(&self, account: VaultId) -> bool {
        let known = lock(&self.known);
        known.erasing.contains_key(&account) || known.receipts.contains_key(&account)
    }

    /// Accounts that are being erased.
    pub(super) fn erasing(&self) -> Vec<Receipt> {
        lock(&self.known).erasing.values().copied().collect()
    }

    /// When the clock was last seen and believed.
    pub(super) fn clock(&self) -> Option<Timestamp> {
        lock(&self.known).clock
    }

    /// Where it is written.
    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The receipt for an account.
    pub(super) fn receipt(&self, account: VaultId) -> Option<SignedReceipt> {
        lock(&self.known).receipts.get(&account).cloned()
    }
}

impl Invite {
    fn is_good(&self, now: Timestamp) -> bool {
        self.used.is_none() && !self.revoked && self.expires >= now
    }
}

impl Known {
    fn take(&mut self, row: &ServerRow) -> Result<(), LoadError> {
        match row {
            ServerRow::Invite { secret, quota, expires } => {
                let (quota, expires) = (*quota, *expires);
                let invite = Invite { quota, expires, revoked: false, used: None };
                self.invites.insert(*secret, invite);
            }
            ServerRow::Used { secret, account, genesis } => {
                if let Some(invite) = self.invites.get_mut(secret) {
                    invite.used = Some((*account, *genesis));
                }
            }
            ServerRow::Revoked { secret } => {
                if let Some(invite) = self.invites.get_mut(secret) {
                    invite.revoked = true;
                }
            }
            ServerRow::Erasing(receipt) => {
                self.erasing.insert(receipt.account, *receipt);
            }
            // Who says that the clock is right takes back what was believed before.
            ServerRow::Clock { at, confirmed: true } => self.clock = Some(*at),
            ServerRow::Clock { at, confirmed: false } => self.clock = self.clock.max(Some(*at)),
            ServerRow::Erased(signed) => {
                let account = Receipt::from_bytes(&signed.bytes)?.account;
                self.erasing.remove(&account);
                self.receipts.insert(account, signed.clone());
            }
        }
        Ok(())
    }
}
