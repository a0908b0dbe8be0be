//! What a device knows that nobody else does.

use std::fmt;

use ed25519_dalek::{SigningKey, VerifyingKey};
use unseen_common::id::DeviceId;

use super::rng::Hedged;
use super::schedule::signing_key;
use super::secret::Secret;

/// The secrets of one device, made on it, so that it can be revoked alone. None opens a backup.
pub struct DeviceSecrets {
    /// Its random id.
    pub device: DeviceId,
    /// Signs log entries and tables of contents.
    pub manifest: SigningKey,
    /// Logs in.
    pub login: SigningKey,
    /// Seals the device's tables of contents.
    pub index_key: Secret<32>,
    /// Stirred into every random value.
    pub hedge: Secret<32>,
}

/// The public half of a device, as the log holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DevicePublic {
    /// Its id.
    pub device: DeviceId,
    /// Checks its log entries and tables of contents.
    pub manifest: VerifyingKey,
    /// Checks its logins.
    pub login: VerifyingKey,
}

impl DeviceSecrets {
    /// A new device; `rng` is [`Hedged::fresh`], there being no hedge secret yet.
    pub fn generate(rng: &mut Hedged) -> Self {
        Self {
            device: DeviceId::from_bytes(rng.bytes()),
            manifest: signing_key(&rng.secret()),
            login: signing_key(&rng.secret()),
            index_key: rng.secret(),
            hedge: rng.secret(),
        }
    }

    /// What others may know.
    pub fn public(&self) -> DevicePublic {
        DevicePublic {
            device: self.device,
            manifest: self.manifest.verifying_key(),
            login: self.login.verifying_key(),
        }
    }

    /// The generator of this device.
    pub fn rng(&self) -> Hedged {
        Hedged::new(&self.hedge)
    }
}

impl fmt::Debug for DeviceSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceSecrets({})", self.device.short())
    }
}
