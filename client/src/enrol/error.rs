//! Why a vault was not made or not joined.

use std::path::PathBuf;

use unseen_common::vault::VaultError;

use crate::crypto::device_file::DeviceKeyError;
use crate::crypto::introduction::IntroductionError;
use crate::crypto::kdf::KdfError;
use crate::crypto::secret::PassphraseError;
use crate::crypto::slot::SlotError;
use crate::crypto::slot_set::SlotSetError;
use crate::pins::PinError;
use crate::repo::RepoError;

/// Why a vault was not made or not joined.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// This profile has a vault.
    #[error("this profile already has a vault: {}", .0.display())]
    AlreadyEnrolled(PathBuf),
    /// This profile has the keys of a vault that has never been reached.
    #[error("an earlier `backup init` was cut off: {} is of a vault that may not exist", .0.display())]
    CutOff(PathBuf),
    /// This profile has none.
    #[error("this profile has no vault yet: there is no {}", .0.display())]
    NotEnrolled(PathBuf),
    /// Nothing at that address opens with this secret.
    #[error("the recovery code or passphrase does not open a vault at this address")]
    WrongSecret,
    /// The invitation is not, or no longer, good.
    #[error("the server does not know this invitation: it was used, has expired, or is another's")]
    NoSuchInvite,
    /// The server is of another version, and takes less than this program may have to send.
    #[error("this program cannot work with that server: {0}")]
    Unfit(String),
    /// The server handed out other unlock slots than the log names.
    #[error("the server's unlock slots are not those that the vault's log names")]
    OtherSlots,
    /// No device of that name.
    #[error("there is no device {0}")]
    NoSuchDevice(String),
    /// Several devices of that name.
    #[error("{wanted} names several devices: {}", ids.join(", "))]
    AmbiguousDevice {
        /// The name or start of an id.
        wanted: String,
        /// The ids, shortened.
        ids: Vec<String>,
    },
    /// The server's answer makes no sense.
    #[error("the server's answer makes no sense: {0}")]
    Server(String),
    /// The vault refused, or cannot be reached.
    #[error("the vault cannot be used")]
    Vault(#[from] VaultError),
    /// The repository cannot be used.
    #[error("the repository cannot be used")]
    Repo(#[from] RepoError),
    /// The device key cannot be used.
    #[error("the device key cannot be used")]
    DeviceKey(#[from] DeviceKeyError),
    /// A device's sealed name cannot be used.
    #[error("a device's sealed name cannot be used")]
    Introduction(#[from] IntroductionError),
    /// A slot cannot be made or opened.
    #[error("an unlock slot cannot be used")]
    Slot(#[from] SlotError),
    /// The slots as a whole cannot be used.
    #[error("the unlock slots cannot be used")]
    SlotSet(#[from] SlotSetError),
    /// The passphrase cannot be used.
    #[error("the passphrase cannot be used")]
    Passphrase(#[from] PassphraseError),
    /// The passphrase cannot be stretched.
    #[error("the passphrase cannot be stretched")]
    Kdf(#[from] KdfError),
    /// The head of the log cannot be kept.
    #[error("the head of the log cannot be kept")]
    Pin(#[from] PinError),
}

impl EnrolError {
    /// Whether the answer was lost rather than negative: what was asked may have happened.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Vault(error) | Self::Repo(RepoError::Vault(error)) => error.is_transient(),
            _ => false,
        }
    }
}
