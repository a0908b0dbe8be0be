//! A vault opened for reading, with the owner's keys.

mod index;
mod maps;
mod pack_map;

use std::collections::BTreeMap;
use std::sync::Arc;

use ed25519_dalek::VerifyingKey;
use unseen_common::id::{DeviceId, VaultId};
use unseen_common::log::fold::State;
use unseen_common::vault::{Principal, Service, Vault};

use super::RepoError;
use super::footers::Known;
use super::log::{Keeping, Log};
use super::session::{Folders, login};
use super::vouch::{KitHead, vouched};
use crate::crypto::content_id::ContentKeys;
use crate::crypto::introduction::{Introduction, IntroductionError};
use crate::crypto::schedule::{ReaderKeys, Unlocked};

pub use index::{DamagedFooter, PackEnds, ReaderIndex};
pub use pack_map::PackInfo;

/// Where a vault to be read is.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The account.
    pub account: VaultId,
    /// The server's identity key, pinned by the device key or the kit.
    pub identity: [u8; 32],
    /// Where this machine keeps the log and its pin.
    pub folders: &'a Folders,
    /// What the kit remembers of the log, if a kit is at hand.
    pub kit: Option<&'a KitHead>,
    /// The device that this machine is enrolled as.
    pub device: Option<DeviceId>,
}

/// A vault opened for reading. Holds what opens packs, and nothing that signs.
#[derive(Debug)]
pub struct ReaderRepo {
    /// The session of the owner.
    pub vault: Arc<dyn Vault>,
    /// The log.
    pub log: Log,
    /// Where things are kept.
    pub folders: Folders,
    local: bool,
    keys: ReaderKeys,
    ids: ContentKeys,
    devices: BTreeMap<DeviceId, Introduced>,
    strangers: Vec<(DeviceId, IntroductionError)>,
}

/// A device whose introduction opened.
#[derive(Debug)]
struct Introduced {
    name: String,
    known: Known,
}

impl ReaderRepo {
    /// Logs in as the owner, takes the log and checks that it is the one of these keys. The root
    /// secret is dropped when this returns.
    pub async fn open(
        service: &Arc<dyn Service>,
        place: Place<'_>,
        unlocked: Unlocked,
    ) -> Result<Self, RepoError> {
        if unlocked.vault != place.account {
            return Err(RepoError::OtherOwner);
        }
        let owner = unlocked.owner_keys();
        let (principal, key) = (Principal::Owner, &owner.login);
        let vault = login(service, &place.identity, place.account, principal, key).await?;
        let keys = unlocked.reader_keys();
        let log = log_of(&*vault, place, &unlocked).await?;
        let ids = keys.write_set().content_keys();
        let mut repo = Self {
            vault,
            log,
            folders: place.folders.clone(),
            local: service.host().is_empty(),
            keys,
            ids,
            devices: BTreeMap::new(),
            strangers: Vec::new(),
        };
        repo.meet_devices();
        Ok(repo)
    }

    /// Opens what every device said of itself. One that was forged stays a stranger: its packs
    /// cannot be read, and it is told by [`Self::strangers`].
    fn meet_devices(&mut self) {
        let root = VerifyingKey::from_bytes(&self.log.state.root_key);
        for (id, device) in &self.log.state.devices {
            let key = VerifyingKey::from_bytes(&device.add.manifest_key);
            let opened = Introduction::open(&self.keys, self.keys.epoch(), *id, &device.add.sealed);
            match (opened, key, &root) {
                (Ok(introduction), Ok(manifest_key), Ok(root)) => {
                    let signers = [manifest_key, *root];
                    let known = Known { device: *id, index_key: introduction.index_key, signers };
                    let name = introduction.name;
                    self.devices.insert(*id, Introduced { name, known });
                }
                (Err(error), ..) => self.strangers.push((*id, error)),
                _ => self.strangers.push((*id, IntroductionError::Forged)),
            }
        }
    }

    /// Asks for what came since.
    pub async fn update(&mut self) -> Result<(), RepoError> {
        self.log.update(&*self.vault).await?;
        self.devices.clear();
        self.strangers.clear();
        self.meet_devices();
        Ok(())
    }

    /// The vault.
    pub fn account(&self) -> VaultId {
        self.keys.vault()
    }

    /// Whether the vault is in a folder of this machine.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// What opens packs and manifests.
    pub fn keys(&self) -> &ReaderKeys {
        &self.keys
    }

    /// What names chunks and sets.
    pub fn ids(&self) -> &ContentKeys {
        &self.ids
    }

    /// What a device is called.
    pub fn device_name(&self, device: DeviceId) -> Option<&str> {
        self.devices.get(&device).map(|d| d.name.as_str())
    }

    /// The devices that are known, with their names.
    pub fn devices(&self) -> impl Iterator<Item = (DeviceId, &str)> {
        self.devices.iter().map(|(id, d)| (*id, d.name.as_str()))
    }

    /// Devices whose introduction does not open: nothing they wrote can be read.
    pub fn strangers(&self) -> &[(DeviceId, IntroductionError)] {
        &self.strangers
    }

    /// What opens the tables of contents of a device.
    pub fn known(&self, device: DeviceId) -> Option<&Known> {
        self.devices.get(&device).map(|d| &d.known)
    }
}

/// The log of the vault that these secrets open, checked against the pin and the kit.
pub(super) async fn log_of(
    vault: &dyn Vault,
    place: Place<'_>,
    unlocked: &Unlocked,
) -> Result<Log, RepoError> {
    let (owner, keys) = (unlocked.owner_keys(), unlocked.reader_keys());
    let belongs = |state: &State| {
        let vault_key = keys.key(keys.epoch()).map(|key| key.public().hash());
        let same = state.vault == place.account
            && state.root_key == owner.root_verify().to_bytes()
            && Some(state.vault_key_hash) == vault_key;
        if same { Ok(()) } else { Err(RepoError::OtherOwner) }
    };
    let keeping = Keeping::new(place.folders, place.device);
    vouched(vault, keeping, place.kit, belongs).await
}
