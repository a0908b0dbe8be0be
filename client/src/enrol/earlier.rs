//! The device key that a machine has already: of a vault in use, or of a joining that was cut off.

use std::path::Path;

use unseen_common::id::{DeviceId, VaultId};
use unseen_common::log::fold::State;

use super::EnrolError;
use super::connect::Target;
use crate::crypto::device_file::{DeviceKey, Existing};
use crate::repo::Folders;

/// A device key of the vault that is to be joined.
#[derive(Debug)]
pub struct Earlier {
    key: DeviceKey,
    /// The user wants a new key in its place.
    replaced: bool,
}

impl Earlier {
    /// Looks for one, before any secret is asked for. A key of another vault is an error, and so
    /// is one that keeps its place while another device's is to be taken.
    pub fn find(
        folders: &Folders,
        account: VaultId,
        replaces: Option<&str>,
    ) -> Result<Option<Self>, EnrolError> {
        let path = folders.device_key();
        if !path.exists() {
            return Ok(None);
        }
        let key = DeviceKey::load(&path)?;
        if key.vault != account {
            return Err(in_the_way(folders));
        }
        let replaced = replaces.is_some_and(|wanted| is_start_of(wanted, key.secrets.device));
        Ok(Some(Self { key, replaced }))
    }

    /// The device whose entries in the log are held against what this machine sent; none if its
    /// key is given up.
    pub(super) fn device(&self) -> Option<DeviceId> {
        (!self.replaced).then_some(self.key.secrets.device)
    }

    /// Whether this machine is in the log by this key, and is to stay so.
    pub(super) fn is_device_of(&self, state: &State) -> bool {
        !self.replaced && state.active_device(self.key.secrets.device).is_ok()
    }

    /// Goes on as this device, at the address that is now given. Tells the device whose place it
    /// took, which is to be revoked; `replaces` is the one that the user names now.
    pub(super) fn resume(
        mut self,
        state: &State,
        target: &Target,
        (folders, replaces): (&Folders, Option<DeviceId>),
    ) -> Result<(DeviceId, Option<DeviceId>), EnrolError> {
        let device = self.key.secrets.device;
        let old = state.devices.get(&device).and_then(|device| device.add.replaces);
        let path = folders.device_key();
        if replaces.is_some() && replaces != old {
            return Err(EnrolError::AlreadyEnrolled(path));
        }
        if self.key.server != target.address || self.key.tls_pin != target.tls_pin {
            self.key.server.clone_from(&target.address);
            self.key.tls_pin = target.tls_pin;
            self.key.save(&path, Existing::Replace)?;
        }
        Ok((device, old))
    }

    /// After a refusal: the key that was there is there again.
    pub(super) fn bring_back(earlier: Option<Self>, path: &Path) {
        let kept = earlier.is_some_and(|earlier| earlier.key.save(path, Existing::Replace).is_ok());
        if !kept {
            std::fs::remove_file(path).ok();
        }
    }
}

/// Whether a text is the beginning of a device's id, as people type it.
pub(super) fn is_start_of(text: &str, device: DeviceId) -> bool {
    text.len() >= 4 && device.to_string().starts_with(text)
}

/// The device key that is here belongs to another vault, or to one that was never made.
fn in_the_way(folders: &Folders) -> EnrolError {
    let path = folders.device_key();
    if is_begun(folders) { EnrolError::CutOff(path) } else { EnrolError::AlreadyEnrolled(path) }
}

/// Whether there are keys of a vault of which this machine has never seen anything: what an `init`
/// leaves that was cut off before the answer.
pub fn is_begun(folders: &Folders) -> bool {
    folders.device_key().exists() && !folders.pin().exists()
}

/// Makes sure that this machine has no keys yet.
pub fn check_unused(folders: &Folders) -> Result<(), EnrolError> {
    if folders.device_key().exists() { Err(in_the_way(folders)) } else { Ok(()) }
}

/// The device key of this machine, with a hint at what to do when there is none.
pub fn load_device_key(folders: &Folders) -> Result<DeviceKey, EnrolError> {
    let path = folders.device_key();
    if !path.exists() {
        return Err(EnrolError::NotEnrolled(path));
    }
    Ok(DeviceKey::load(&path)?)
}
