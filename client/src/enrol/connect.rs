//! This machine joins a vault that exists, by recovery code or by a passphrase that opens it
//! anywhere.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use unseen_common::id::{DeviceId, Hash, VaultId};
use unseen_common::log::entry::{Body, DeviceRevoke};
use unseen_common::log::fold::State;
use unseen_common::time::Clock;
use unseen_common::vault::{Principal, Service, Vault, VaultError};

use super::EnrolError;
use super::init::{device_add, device_key};
use crate::crypto::device::DeviceSecrets;
use crate::crypto::device_file::{DeviceKey, Existing};
use crate::crypto::introduction::Introduction;
use crate::crypto::recovery::{RecoveryCode, slots_login_from_passphrase};
use crate::crypto::rng::Hedged;
use crate::crypto::schedule::{ReaderKeys, Unlocked};
use crate::crypto::secret::Passphrase;
use crate::crypto::slot::{SlotError, SlotSecret};
use crate::crypto::slot_set::SlotSet;
use crate::repo::log::Log;
use crate::repo::owner::append_root;
use crate::repo::session::login;
use crate::repo::{Folders, RepoError};

/// What opens the vault on a machine that knows nothing of it.
#[derive(Debug)]
pub enum Opener {
    /// The code from the kit.
    Code(RecoveryCode),
    /// The passphrase, where the owner chose that it opens the vault anywhere.
    Passphrase(Passphrase),
}

/// Where the vault is.
#[derive(Debug, Clone)]
pub struct Target {
    /// The server.
    pub service: Arc<dyn Service>,
    /// The vault.
    pub account: VaultId,
    /// The address as the new device keeps it.
    pub address: String,
    /// The server's identity key as the kit names it; for a local vault, what the folder says.
    pub identity: [u8; 32],
    /// The pinned hash of the server's TLS key.
    pub tls_pin: Option<[u8; 32]>,
}

/// How to join.
#[derive(Debug, Default)]
pub struct JoinOptions {
    /// The name of this machine, for people.
    pub device_name: String,
    /// Take the place of this machine, by its name or the start of its id.
    pub replaces: Option<String>,
    /// Keep nothing that helps to unlock.
    pub backup_only: bool,
}

/// What joining found.
#[derive(Debug)]
pub struct Joined {
    /// This machine's new id.
    pub device: DeviceId,
    /// The machine whose place it took, by name.
    pub replaced: Option<String>,
    /// Devices that are enrolled and not revoked, this one included.
    pub devices: usize,
    /// Live snapshots.
    pub snapshots: usize,
}

/// Joins. Nothing is kept on this machine before the log has the new device.
pub async fn connect(
    target: &Target,
    opener: &Opener,
    options: &JoinOptions,
    (folders, clock): (&Folders, &dyn Clock),
) -> Result<Joined, EnrolError> {
    let path = folders.device_key();
    if path.exists() {
        return Err(EnrolError::AlreadyEnrolled(path));
    }
    let (unlocked, slots) = open_anywhere(target, opener).await?;
    let owner = unlocked.owner_keys();
    let service = &target.service;
    let session =
        login(service, &target.identity, target.account, Principal::Owner, &owner.login).await?;
    let mut log = Log::sync(&folders.log(), &folders.pin(), &*session).await?;
    check_genesis(&log.state, &unlocked, target)?;
    check_slots(&log.state, slots)?;
    let mut rng = Hedged::fresh();
    let secrets = DeviceSecrets::generate(&mut rng);
    let place = (target.address.as_str(), target.identity, target.tls_pin);
    let mut key = device_key(&unlocked, secrets, place, !options.backup_only)?;
    let old = match &options.replaces {
        Some(wanted) => Some(find_device(&log.state, &unlocked.reader_keys(), wanted)?),
        None => None,
    };
    if let Some(old) = &old {
        key.inherited = inheritance(&log.state, &unlocked.reader_keys(), old.0)?;
    }
    let add = device_add(&key, &options.device_name, old.as_ref().map(|o| o.0), &mut rng)?;
    // On disk first: if the answer to the append is lost, the enrolled key must not be.
    key.save(&path, Existing::Keep)?;
    let signer = (&owner.root, clock);
    let result = append_root(&mut log, &*session, signer, Body::DeviceAdd(add)).await;
    if let Err(error) = result.map_err(EnrolError::from) {
        if !error.is_transient() {
            std::fs::remove_file(&path).ok();
        }
        return Err(error);
    }
    if let Some((device, _)) = &old {
        revoke(&mut log, &*session, signer, *device).await?;
    }
    Ok(Joined {
        device: key.secrets.device,
        replaced: old.map(|o| o.1),
        devices: log.state.devices.values().filter(|d| d.revoked.is_none()).count(),
        snapshots: log.state.snapshots.len(),
    })
}

/// Takes a device out of use, unless it is already.
async fn revoke(
    log: &mut Log,
    session: &dyn Vault,
    signer: (&SigningKey, &dyn Clock),
    device: DeviceId,
) -> Result<(), EnrolError> {
    let Ok(known) = log.state.active_device(device) else {
        return Ok(());
    };
    let last_valid = known.last_entry.unwrap_or(known.added);
    let revoke = DeviceRevoke { device, last_valid };
    append_root(log, session, signer, Body::DeviceRevoke(revoke)).await?;
    Ok(())
}

/// Opens the vault with nothing but an address and a secret. Tells the hash of the slots, which
/// the log must confirm: see [`check_slots`].
pub async fn open_anywhere(
    target: &Target,
    opener: &Opener,
) -> Result<(Unlocked, Hash), EnrolError> {
    let login_key = match opener {
        Opener::Code(code) => code.slots_login(target.account),
        Opener::Passphrase(passphrase) => slots_login_from_passphrase(passphrase, target.account)?,
    };
    let name = Hash::of(login_key.verifying_key().as_bytes());
    let principal = Principal::Slots(name);
    let session =
        match login(&target.service, &target.identity, target.account, principal, &login_key).await
        {
            // The server cannot tell a wrong code from an unknown vault, and says so to neither.
            Err(VaultError::Unauthorized | VaultError::Forbidden(_)) => {
                return Err(EnrolError::WrongSecret);
            }
            session => session?,
        };
    let set = SlotSet::parse(&session.slots().await?)?;
    let secret = match opener {
        Opener::Code(code) => SlotSecret::Code(code),
        Opener::Passphrase(passphrase) => SlotSecret::PassphraseAnywhere(passphrase),
    };
    let mut last = SlotError::Damaged;
    for slot in set.slots().iter().filter(|s| s.kind() == secret.kind()) {
        match slot.open(&secret) {
            Ok(unlocked) if unlocked.vault == target.account => return Ok((unlocked, set.hash())),
            Ok(_) => {}
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

/// Whether the slots that the server handed out are those of the log: no swapped slot, and no old
/// one back from the dead (attacks.md K3, K4).
pub fn check_slots(state: &State, handed_out: Hash) -> Result<(), EnrolError> {
    if state.slots.hash == handed_out { Ok(()) } else { Err(EnrolError::OtherSlots) }
}

fn check_genesis(state: &State, unlocked: &Unlocked, target: &Target) -> Result<(), EnrolError> {
    let owner = unlocked.owner_keys();
    let same = state.vault == target.account
        && state.root_key == owner.root_verify().to_bytes()
        && state.vault_key_hash == unlocked.root.vault_key(unlocked.vault).public().hash()
        && state.server_identity == target.identity;
    if same { Ok(()) } else { Err(RepoError::OtherOwner.into()) }
}

fn find_device(
    state: &State,
    keys: &ReaderKeys,
    wanted: &str,
) -> Result<(DeviceId, String), EnrolError> {
    let mut found = Vec::new();
    for (id, device) in &state.devices {
        let name = Introduction::open(keys, keys.epoch(), *id, &device.add.sealed)
            .map(|i| i.name)
            .unwrap_or_default();
        if name == wanted || (wanted.len() >= 4 && id.to_string().starts_with(wanted)) {
            found.push((*id, name));
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(EnrolError::NoSuchDevice(wanted.to_owned())),
        _ => {
            let ids = found.iter().map(|f| f.0.short()).collect();
            Err(EnrolError::AmbiguousDevice { wanted: wanted.to_owned(), ids })
        }
    }
}

/// What opens the tables of contents of a device and of those whose place it took.
fn inheritance(
    state: &State,
    keys: &ReaderKeys,
    device: DeviceId,
) -> Result<Vec<(DeviceId, crate::crypto::secret::Secret<32>)>, EnrolError> {
    let mut all = Vec::new();
    for id in state.lineage(device) {
        let Some(known) = state.devices.get(&id) else {
            continue;
        };
        let introduction = Introduction::open(keys, keys.epoch(), id, &known.add.sealed)?;
        all.push((id, introduction.index_key));
    }
    Ok(all)
}

/// The device key of this machine, with a hint at what to do when there is none.
pub fn load_device_key(folders: &Folders) -> Result<DeviceKey, EnrolError> {
    let path = folders.device_key();
    if !path.exists() {
        return Err(EnrolError::NotEnrolled(path));
    }
    Ok(DeviceKey::load(&path)?)
}
