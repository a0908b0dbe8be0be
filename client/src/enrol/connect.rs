//! This machine joins a vault that exists, by recovery code or by a passphrase that opens it
//! anywhere.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use unseen_common::id::{DeviceId, Hash, VaultId};
use unseen_common::log::entry::{Body, DeviceAdd, DeviceRevoke};
use unseen_common::log::fold::State;
use unseen_common::time::Clock;
use unseen_common::vault::{Principal, Service, Vault, VaultError};

use super::EnrolError;
use super::earlier::{Earlier, is_start_of};
use super::init::{device_add, device_key};
use crate::crypto::device::DeviceSecrets;
use crate::crypto::device_file::{DeviceKey, Existing};
use crate::crypto::introduction::Introduction;
use crate::crypto::recovery::{RecoveryCode, slots_login_from_passphrase};
use crate::crypto::rng::Hedged;
use crate::crypto::schedule::{OwnerKeys, ReaderKeys, Unlocked};
use crate::crypto::secret::Passphrase;
use crate::crypto::slot::{SlotError, SlotSecret};
use crate::crypto::slot_set::SlotSet;
use crate::repo::clocks::Clocks;
use crate::repo::log::{Keeping, Log};
use crate::repo::owner::append_root;
use crate::repo::session::login;
use crate::repo::unlock::fetch_slots;
use crate::repo::vouch::{KitHead, vouched};
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
    /// What the kit remembers of the log.
    pub kit: Option<KitHead>,
}

/// What joining found.
#[derive(Debug)]
pub struct Joined {
    /// This machine's id.
    pub device: DeviceId,
    /// It had joined before.
    pub already: bool,
    /// The machine whose place it took, by name.
    pub replaced: Option<String>,
    /// Devices that are enrolled and not revoked, this one included.
    pub devices: usize,
    /// Live snapshots.
    pub snapshots: usize,
}

/// Joins. Done again after it was interrupted, it goes on: a device that the log has stays the
/// device of this machine, and one that it does not have is made anew. `earlier` is what
/// [`Earlier::find`] found.
pub async fn connect(
    target: &Target,
    opener: &Opener,
    options: &JoinOptions,
    (folders, earlier): (&Folders, Option<Earlier>),
    clock: &dyn Clock,
) -> Result<Joined, EnrolError> {
    let (unlocked, slots) = open_anywhere(target, opener).await?;
    if let Some(fault) = target.service.describe().await?.fault() {
        return Err(EnrolError::Unfit(fault));
    }
    let owner = unlocked.owner_keys();
    let session = owner_session(target, &owner).await?;
    let clocks = Clocks::read(&*target.service, (target.account, Principal::Owner), clock).await?;
    clocks.check().map_err(RepoError::from)?;
    let keeping = Keeping::new(folders, earlier.as_ref().and_then(Earlier::device));
    let mut log = vouched(&*session, keeping, options.kit.as_ref(), |state| {
        check_genesis(state, &unlocked, target)?;
        check_slots(state, slots)
    })
    .await?;
    let signer = (&owner.root, clock);
    let (device, old, already) = match earlier {
        Some(earlier) if earlier.is_device_of(&log.state) => {
            let keys = unlocked.reader_keys();
            let wanted = options.replaces.as_deref();
            let wanted = wanted.map(|w| find_device(&log.state, &keys, w)).transpose()?;
            let wanted = wanted.map(|found| found.0);
            let (device, old) = earlier.resume(&log.state, target, (folders, wanted))?;
            (device, old.map(|old| named(&log.state, &keys, old)), true)
        }
        earlier => {
            let (key, add, old) = new_device(&log.state, &unlocked, target, options)?;
            let path = folders.device_key();
            // On disk first: if the answer to the append is lost, the enrolled key must not be.
            key.save(&path, Existing::Replace)?;
            let added = append_root(&mut log, &*session, signer, Body::DeviceAdd(add)).await;
            if let Err(error) = added.map_err(EnrolError::from) {
                if !error.is_transient() {
                    Earlier::bring_back(earlier, &path);
                }
                return Err(error);
            }
            (key.secrets.device, old, false)
        }
    };
    if let Some((old, _)) = &old {
        revoke(&mut log, &*session, signer, *old).await?;
    }
    Ok(Joined {
        device,
        already,
        replaced: old.map(|old| old.1),
        devices: log.state.devices.values().filter(|d| d.revoked.is_none()).count(),
        snapshots: log.state.snapshots.len(),
    })
}

async fn owner_session(target: &Target, owner: &OwnerKeys) -> Result<Arc<dyn Vault>, EnrolError> {
    let (service, account) = (&target.service, target.account);
    Ok(login(service, &target.identity, account, Principal::Owner, &owner.login).await?)
}

/// A device and its name.
type Named = (DeviceId, String);

/// A device key that the log has yet to hear of, and the device whose place it takes.
fn new_device(
    state: &State,
    unlocked: &Unlocked,
    target: &Target,
    options: &JoinOptions,
) -> Result<(DeviceKey, DeviceAdd, Option<Named>), EnrolError> {
    let mut rng = Hedged::fresh();
    let secrets = DeviceSecrets::generate(&mut rng);
    let place = (target.address.as_str(), target.identity, target.tls_pin);
    let mut key = device_key(unlocked, secrets, place, !options.backup_only)?;
    let keys = unlocked.reader_keys();
    let wanted = options.replaces.as_deref();
    let old = wanted.map(|wanted| find_device(state, &keys, wanted)).transpose()?;
    if let Some(old) = &old {
        key.inherited = inheritance(state, &keys, old.0)?;
    }
    let add = device_add(&key, &options.device_name, old.as_ref().map(|o| o.0), &mut rng)?;
    Ok((key, add, old))
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
    let set = SlotSet::parse(&fetch_slots::<EnrolError>(&*session).await?)?;
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

fn find_device(state: &State, keys: &ReaderKeys, wanted: &str) -> Result<Named, EnrolError> {
    let mut found = Vec::new();
    for id in state.devices.keys() {
        let (id, name) = named(state, keys, *id);
        if name == wanted || is_start_of(wanted, id) {
            found.push((id, name));
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

fn named(state: &State, keys: &ReaderKeys, id: DeviceId) -> Named {
    let sealed = state.devices.get(&id).map(|device| device.add.sealed.as_slice());
    let name = sealed
        .and_then(|sealed| Introduction::open(keys, keys.epoch(), id, sealed).ok())
        .map(|introduction| introduction.name);
    (id, name.unwrap_or_else(|| id.short()))
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
