//! A vault opened to decide about it: the owner's session and the key that signs for the root.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use unseen_common::log::chain::{Record, SignedEntry};
use unseen_common::log::entry::{Author, Body, Entry};
use unseen_common::time::Clock;
use unseen_common::vault::{Principal, Service, Vault, VaultError};

use super::RepoError;
use super::clocks::Clocks;
use super::log::Log;
use super::reader::{Place, log_of};
use super::session::login;
use crate::crypto::schedule::{OwnerKeys, Unlocked};

/// Attempts to win the race for the head of the log.
const ATTEMPTS: u32 = 32;

/// A vault whose owner is at hand.
#[derive(Debug)]
pub struct OwnerRepo {
    /// The session of the owner.
    pub vault: Arc<dyn Vault>,
    /// The log.
    pub log: Log,
    /// The server's clock and this machine's, when it was opened.
    pub clocks: Clocks,
    keys: OwnerKeys,
    clock: Arc<dyn Clock>,
}

impl OwnerRepo {
    /// Logs in as the owner, takes the log and checks that it is the one of these keys.
    pub async fn open(
        service: &Arc<dyn Service>,
        place: Place<'_>,
        unlocked: &Unlocked,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RepoError> {
        if unlocked.vault != place.account {
            return Err(RepoError::OtherOwner);
        }
        let keys = unlocked.owner_keys();
        let (principal, key) = (Principal::Owner, &keys.login);
        let vault = login(service, &place.identity, place.account, principal, key).await?;
        let log = log_of(&*vault, place, unlocked).await?;
        let clocks = Clocks::read(&**service, (unlocked.vault, principal), &*clock).await?;
        Ok(Self { vault, log, clocks, keys, clock })
    }

    /// What signs for the root.
    pub fn signer(&self) -> &SigningKey {
        &self.keys.root
    }

    /// An entry signed by the root key that follows the head as it is known.
    pub fn sign(&self, body: Body) -> SignedEntry {
        next_entry(&self.log, (Author::Root, &self.keys.root, &*self.clock), body)
    }

    /// Appends a root-signed entry. While the clocks are too far apart, only what takes something
    /// back: that must not wait.
    pub async fn append(&mut self, body: Body) -> Result<Record, RepoError> {
        if !matches!(body, Body::Cancel { .. }) {
            self.clocks.check()?;
        }
        append_root(&mut self.log, &*self.vault, (&self.keys.root, &*self.clock), body).await
    }
}

/// Appends an entry signed by the root key, whoever else writes at the same time.
pub async fn append_root(
    log: &mut Log,
    session: &dyn Vault,
    (root, clock): (&SigningKey, &dyn Clock),
    body: Body,
) -> Result<Record, RepoError> {
    append_as(log, session, (Author::Root, root, clock), body).await
}

/// Appends an entry signed by its author, whoever else writes at the same time.
pub(super) async fn append_as(
    log: &mut Log,
    session: &dyn Vault,
    (author, key, clock): (Author, &SigningKey, &dyn Clock),
    body: Body,
) -> Result<Record, RepoError> {
    for _ in 0..ATTEMPTS {
        let entry = next_entry(log, (author, key, clock), body.clone());
        match session.append(entry).await {
            Ok(record) => {
                log.update(session).await?;
                return Ok(record);
            }
            Err(VaultError::Conflict(_)) => log.update(session).await?,
            Err(error) => return Err(error.into()),
        }
    }
    Err(VaultError::Busy(60).into())
}

fn next_entry(
    log: &Log,
    (author, key, clock): (Author, &SigningKey, &dyn Clock),
    body: Body,
) -> SignedEntry {
    let state = &log.state;
    let (vault, seq, prev) = (state.vault, state.head_seq + 1, state.head);
    let entry = Entry { vault, seq, prev, author, time: clock.now(), body };
    SignedEntry::sign(&entry, key)
}
