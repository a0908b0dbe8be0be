//! A new vault: keys made here, slots, the first two log entries, the first device.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ed25519_dalek::VerifyingKey;
use unseen_common::id::{Hash, VaultId};
use unseen_common::log::chain::{Record, SignedEntry};
use unseen_common::log::entry::{Author, Body, DeviceAdd, Entry, Genesis, Slots};
use unseen_common::time::{Clock, Timestamp};
use unseen_common::vault::{NewAccount, Principal, Service, VaultError};

use super::EnrolError;
use crate::crypto::device::DeviceSecrets;
use crate::crypto::device_file::{DeviceKey, Existing};
use crate::crypto::introduction::Introduction;
use crate::crypto::kdf::KdfParams;
use crate::crypto::recovery::{RecoveryCode, slots_login_from_passphrase};
use crate::crypto::rng::Hedged;
use crate::crypto::schedule::Unlocked;
use crate::crypto::secret::{Passphrase, Secret};
use crate::crypto::slot::{Slot, SlotSecret};
use crate::crypto::slot_set::SlotSet;
use crate::pins::{self, Pin};
use crate::remote::address::{Address, ServerAddress, Target};
use crate::repo::Folders;
use crate::repo::session::login;

/// Where the vault is to be.
#[derive(Debug, Clone)]
pub struct Place {
    /// The server.
    pub service: Arc<dyn Service>,
    /// Its address; the account takes the place of the invite.
    pub address: Address,
    /// The identity key that the invite names; for a local vault, whatever the folder says.
    pub identity: Option<[u8; 32]>,
    /// The pinned hash of the server's TLS key.
    pub tls_pin: Option<[u8; 32]>,
    /// The invite's secret; empty for a local vault.
    pub invite: Vec<u8>,
}

/// What the owner chooses.
#[derive(Debug)]
pub struct Wishes {
    /// Opens the vault on this machine, and on others that are enrolled.
    pub passphrase: Passphrase,
    /// The passphrase alone opens the vault anywhere.
    pub anywhere: bool,
    /// The name of this machine, for people.
    pub device_name: String,
    /// The cost of the passphrase slot; calibrated upward when none is given.
    pub kdf: Option<KdfParams>,
}

/// A vault: what its owner is to keep of it.
#[derive(Debug)]
pub struct Made {
    /// Opens everything, anywhere. Shown once.
    pub code: RecoveryCode,
    /// The vault.
    pub vault: VaultId,
    /// The address that `connect` takes.
    pub address: String,
    /// The server's identity key.
    pub identity: [u8; 32],
    /// The head of its log.
    pub head: (u64, Hash),
    /// When it was made.
    pub created: Timestamp,
}

/// A vault that is ready to be made. Nothing of it is written anywhere yet: first its owner must
/// have the recovery code in hand, or a machine that stops in between backs up to a vault that
/// nobody can open elsewhere.
#[derive(Debug)]
pub struct Founding {
    made: Made,
    key: DeviceKey,
    account: NewAccount,
}

/// Why a vault was not made.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct NotMade {
    /// Why.
    #[source]
    pub error: EnrolError,
    /// It is certain that there is none. Otherwise the device key stays, and the kit must, too.
    pub certain: bool,
}

/// Makes all keys, and what the vault begins with. The service is asked for its name alone.
pub async fn prepare(
    place: &Place,
    wishes: &Wishes,
    clock: &dyn Clock,
) -> Result<Founding, EnrolError> {
    let identity = check_identity(place).await?;
    let mut rng = Hedged::fresh();
    let vault = VaultId::from_bytes(rng.bytes());
    let unlocked = Unlocked::generate(vault, &mut rng);
    let code = RecoveryCode::generate(&mut rng);
    let (slots, login_keys) = slots(&unlocked, &code, wishes, &mut rng)?;
    let secrets = DeviceSecrets::generate(&mut rng);
    let address = with_account(&place.address, vault);
    let key = device_key(&unlocked, secrets, (&address, identity, place.tls_pin), true)?;
    let created = clock.now();
    let set = Slots { hash: slots.hash(), login_keys };
    let records = first_records(&unlocked, &key, (set, identity), (wishes, created), &mut rng)?;
    let head = records.last().map(Record::hash).ok_or(EnrolError::Server("no records".into()))?;
    let account = NewAccount {
        invite: place.invite.clone(),
        entries: records.iter().map(|r| r.signed.clone()).collect(),
        slots: slots.slots().iter().map(|s| s.as_bytes().to_vec()).collect(),
    };
    let made = Made { code, vault, address, identity, head: (1, head), created };
    Ok(Founding { made, key, account })
}

impl Founding {
    /// What goes into the kit.
    pub fn made(&self) -> &Made {
        &self.made
    }

    /// Makes the vault and enrols this machine. The device key is on disk before the service hears
    /// of the vault, so that nothing is lost to a crash between the two.
    pub async fn create(self, place: &Place, folders: &Folders) -> Result<Made, NotMade> {
        let path = folders.device_key();
        let saved = self.key.save(&path, Existing::Keep).map_err(EnrolError::from);
        saved.map_err(|error| NotMade { error, certain: true })?;
        if let Err(error) = place.service.create_account(self.account.clone()).await {
            // The request may have been carried out, or still be on its way, if its answer was lost.
            let lost = error.is_transient();
            match self.is_there(place).await {
                Ok(()) => {}
                Err(VaultError::Unauthorized | VaultError::Forbidden(_)) if !lost => {
                    // The key would stand in the way of another try.
                    std::fs::remove_file(&path).ok();
                    return Err(NotMade { error: refused(error), certain: true });
                }
                Err(_) => return Err(NotMade { error: refused(error), certain: false }),
            }
        }
        let Made { vault, head: (seq, head), .. } = self.made;
        pins::write(&folders.pin(), &Pin { vault, seq, head })
            .map_err(|error| NotMade { error: error.into(), certain: false })?;
        Ok(self.made)
    }

    /// Whether the service knows this device. It tells nobody whether a vault is unknown to it or
    /// the device is.
    async fn is_there(&self, place: &Place) -> Result<(), VaultError> {
        let secrets = &self.key.secrets;
        let principal = Principal::Device(secrets.device);
        let (vault, identity) = (self.made.vault, &self.made.identity);
        login(&place.service, identity, vault, principal, &secrets.login).await.map(drop)
    }
}

fn refused(error: VaultError) -> EnrolError {
    match error {
        VaultError::NotFound(_) => EnrolError::NoSuchInvite,
        error => error.into(),
    }
}

/// The device's key file for a vault that has been opened, or is being made.
pub(super) fn device_key(
    unlocked: &Unlocked,
    secrets: DeviceSecrets,
    (address, identity, tls_pin): (&str, [u8; 32], Option<[u8; 32]>),
    with_share: bool,
) -> Result<DeviceKey, EnrolError> {
    let vault_key = unlocked.root.vault_key(unlocked.vault);
    let share = with_share.then(|| unlocked.share.duplicate());
    Ok(DeviceKey {
        vault: unlocked.vault,
        server: address.to_owned(),
        server_identity: VerifyingKey::from_bytes(&identity)
            .map_err(|_e| EnrolError::Server("its identity is no key".to_owned()))?,
        tls_pin,
        secrets,
        write_set: unlocked.write_set(),
        vault_public: vault_key.public().clone(),
        epoch: unlocked.root.epoch(),
        root_verify: unlocked.owner_keys().root_verify(),
        share,
        inherited: Vec::new(),
    })
}

/// The entry that adds a device.
pub(super) fn device_add(
    key: &DeviceKey,
    name: &str,
    replaces: Option<unseen_common::id::DeviceId>,
    rng: &mut Hedged,
) -> Result<DeviceAdd, EnrolError> {
    let introduction = Introduction {
        name: name.to_owned(),
        index_key: Secret::from_bytes(*key.secrets.index_key.expose()),
    };
    let sealed = introduction.seal(&key.seal_to(), rng)?;
    let public = key.secrets.public();
    Ok(DeviceAdd {
        device: public.device,
        manifest_key: public.manifest.to_bytes(),
        login_key: public.login.to_bytes(),
        sealed: sealed.to_vec(),
        backup_only: key.share.is_none(),
        replaces,
    })
}

fn with_account(address: &Address, vault: VaultId) -> String {
    match address {
        Address::Folder(_) => address.to_string(),
        Address::Server(server) => {
            let server = ServerAddress { target: Target::Account(vault), ..server.clone() };
            server.to_string()
        }
    }
}

async fn check_identity(place: &Place) -> Result<[u8; 32], EnrolError> {
    let info = place.service.describe().await?;
    if let Some(fault) = info.fault() {
        return Err(EnrolError::Unfit(fault));
    }
    let identity = *info.identity.as_bytes();
    match place.identity {
        Some(pinned) if pinned != identity => Err(VaultError::WrongServer(
            "its identity is not the one that the invite names".to_owned(),
        )
        .into()),
        _ => Ok(identity),
    }
}

fn slots(
    unlocked: &Unlocked,
    code: &RecoveryCode,
    wishes: &Wishes,
    rng: &mut Hedged,
) -> Result<(SlotSet, Vec<[u8; 32]>), EnrolError> {
    let kdf = match wishes.kdf {
        Some(kdf) => kdf,
        None => calibrated()?,
    };
    let mut login_keys = vec![code.slots_login(unlocked.vault).verifying_key().to_bytes()];
    let recovery = Slot::seal(unlocked, &SlotSecret::Code(code), kdf, rng)?;
    let passphrase = &wishes.passphrase;
    let second = if wishes.anywhere {
        let login = slots_login_from_passphrase(passphrase, unlocked.vault)?;
        login_keys.push(login.verifying_key().to_bytes());
        Slot::seal(unlocked, &SlotSecret::PassphraseAnywhere(passphrase), kdf, rng)?
    } else {
        let share = &unlocked.share;
        Slot::seal(unlocked, &SlotSecret::Passphrase { passphrase, share }, kdf, rng)?
    };
    Ok((SlotSet::new(vec![recovery, second])?, login_keys))
}

/// The default cost, raised until this machine takes about a second for it.
fn calibrated() -> Result<KdfParams, EnrolError> {
    let probe = Passphrase::new("calibration")?;
    let start = Instant::now();
    KdfParams::DEFAULT.stretch(&probe, &[0; 32])?;
    let took = start.elapsed().max(Duration::from_millis(1));
    Ok(KdfParams::calibrate(took))
}

fn first_records(
    unlocked: &Unlocked,
    key: &DeviceKey,
    (slots, server_identity): (Slots, [u8; 32]),
    (wishes, time): (&Wishes, Timestamp),
    rng: &mut Hedged,
) -> Result<Vec<Record>, EnrolError> {
    let owner = unlocked.owner_keys();
    let genesis = Genesis {
        root_key: owner.root_verify().to_bytes(),
        vault_key_hash: key.vault_public.hash(),
        owner_login: owner.login.verifying_key().to_bytes(),
        server_identity,
        slots,
    };
    let add = device_add(key, &wishes.device_name, None, rng)?;
    let mut records: Vec<Record> = Vec::new();
    for body in [Body::Genesis(genesis), Body::DeviceAdd(add)] {
        let entry = Entry {
            vault: unlocked.vault,
            seq: u64::try_from(records.len()).unwrap_or(u64::MAX),
            prev: records.last().map_or(Hash::from_bytes([0; 32]), Record::hash),
            author: Author::Root,
            time,
            body,
        };
        let signed = SignedEntry::sign(&entry, &owner.root);
        records.push(Record { signed, received: time });
    }
    Ok(records)
}

#[cfg(test)]
mod tests;
