//! From what the user types to the keys of the vault.

use bytes::Bytes;
use unseen_common::id::Hash;
use unseen_common::vault::{Vault, VaultError, slot_set_hash};

use crate::crypto::kdf::KdfError;
use crate::crypto::recovery::RecoveryCode;
use crate::crypto::schedule::Unlocked;
use crate::crypto::secret::{Passphrase, Secret};
use crate::crypto::slot::{Slot, SlotError, SlotKind, SlotSecret};
use crate::crypto::slot_set::SlotSet;

/// What was typed.
#[derive(Debug)]
pub enum UnlockSecret {
    /// The code from the kit.
    Code(RecoveryCode),
    /// A passphrase; opens both kinds of passphrase slots.
    Passphrase(Passphrase),
    /// A passphrase on a machine that is not enrolled.
    PassphraseAnywhere(Passphrase),
}

/// Why a vault does not unlock. For the user only: the server is never told which.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// No slot opens with it.
    #[error("wrong {}", if *.code { "recovery code" } else { "passphrase" })]
    WrongSecret {
        /// A recovery code was given, and not a passphrase.
        code: bool,
    },
    /// A slot that might have opened is not what was written.
    #[error("an unlock slot is damaged")]
    Damaged(#[source] SlotError),
    /// The server sent other slots than the log names.
    #[error("the server's unlock slots are not those that the log names")]
    NotTheLogs,
    /// The vault has no slot for this kind of secret.
    #[error("the vault cannot be unlocked with a {}", kind_name(*.needed))]
    NoSuchSlot {
        /// The kind that was looked for.
        needed: SlotKind,
    },
    /// The passphrase works on enrolled machines alone, and this is none.
    #[error("the passphrase opens the vault on enrolled machines only; use the recovery code")]
    NeedsEnrolledMachine,
    /// The passphrase cannot be stretched.
    #[error("the key of the unlock slot cannot be derived")]
    Kdf(#[from] KdfError),
}

/// Most slots that are looked at.
const MAX_SLOTS: usize = SlotSet::MAX;

/// The slots of a vault. That it has none at all is damage: no vault is made without.
pub async fn fetch_slots<E>(vault: &dyn Vault) -> Result<Vec<Bytes>, E>
where
    E: From<VaultError> + From<SlotError>,
{
    match vault.slots().await {
        Err(VaultError::NotFound(_) | VaultError::Damaged { .. }) => Err(SlotError::Lost.into()),
        slots => Ok(slots?),
    }
}

/// Opens the vault with the first slot that the secret fits.
///
/// `expected` is the hash of the slots in the log, where the log is known; it is compared before
/// any key is derived, so that a server cannot bring back an old passphrase. `share` is this
/// machine's half of a default passphrase slot.
///
/// Costs one Argon2id a passphrase slot tried: about a second.
pub fn unlock<T: AsRef<[u8]>>(
    slots: &[T],
    secret: &UnlockSecret,
    expected: Option<Hash>,
    share: Option<&Secret<16>>,
) -> Result<Unlocked, UnlockError> {
    let parsed: Vec<Result<Slot, SlotError>> =
        slots.iter().take(MAX_SLOTS).map(|bytes| Slot::parse(bytes.as_ref())).collect();
    if let Some(expected) = expected {
        compare(slots, &parsed, expected)?;
    }
    let attempts = secret.attempts(share);
    let (mut fits, mut trouble) = (false, None);
    for slot in &parsed {
        let slot = match slot {
            Ok(slot) => slot,
            Err(error) => {
                trouble = trouble.or(Some(*error));
                continue;
            }
        };
        for attempt in attempts.iter().filter(|a| a.kind() == slot.kind()) {
            fits = true;
            match slot.open(attempt) {
                Ok(unlocked) => return Ok(unlocked),
                Err(SlotError::WrongSecret) => {}
                Err(SlotError::Kdf(error)) => return Err(error.into()),
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
    }
    Err(refusal(secret, (fits, trouble), &parsed))
}

fn compare<T: AsRef<[u8]>>(
    slots: &[T],
    parsed: &[Result<Slot, SlotError>],
    expected: Hash,
) -> Result<(), UnlockError> {
    // As sent first: it needs nothing to be readable.
    if slot_set_hash(slots) == expected || SlotSet::parse(slots).is_ok_and(|s| s.hash() == expected)
    {
        return Ok(());
    }
    match parsed.iter().find_map(|slot| slot.as_ref().err()) {
        Some(error) => Err(UnlockError::Damaged(*error)),
        None => Err(UnlockError::NotTheLogs),
    }
}

fn refusal(
    secret: &UnlockSecret,
    (fits, trouble): (bool, Option<SlotError>),
    parsed: &[Result<Slot, SlotError>],
) -> UnlockError {
    let has = |kind| parsed.iter().flatten().any(|slot| slot.kind() == kind);
    if let Some(error) = trouble {
        return UnlockError::Damaged(error);
    }
    let needed = secret.kind();
    if fits {
        UnlockError::WrongSecret { code: needed == SlotKind::Recovery }
    } else if needed != SlotKind::Recovery && has(SlotKind::Passphrase) {
        UnlockError::NeedsEnrolledMachine
    } else {
        UnlockError::NoSuchSlot { needed }
    }
}

impl UnlockSecret {
    fn attempts<'a>(&'a self, share: Option<&'a Secret<16>>) -> Vec<SlotSecret<'a>> {
        match self {
            Self::Code(code) => vec![SlotSecret::Code(code)],
            Self::Passphrase(passphrase) => share
                .map(|share| SlotSecret::Passphrase { passphrase, share })
                .into_iter()
                .chain([SlotSecret::PassphraseAnywhere(passphrase)])
                .collect(),
            Self::PassphraseAnywhere(passphrase) => {
                vec![SlotSecret::PassphraseAnywhere(passphrase)]
            }
        }
    }

    const fn kind(&self) -> SlotKind {
        match self {
            Self::Code(_) => SlotKind::Recovery,
            Self::Passphrase(_) => SlotKind::Passphrase,
            Self::PassphraseAnywhere(_) => SlotKind::PassphraseAnywhere,
        }
    }
}

const fn kind_name(kind: SlotKind) -> &'static str {
    match kind {
        SlotKind::Recovery => "recovery code",
        SlotKind::Passphrase | SlotKind::PassphraseAnywhere => "passphrase",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::kdf::KdfParams;
    use crate::crypto::rng::testing::rng;
    use unseen_common::id::VaultId;

    fn made() -> (Unlocked, RecoveryCode, Vec<Vec<u8>>) {
        let mut rng = rng(3);
        let unlocked = Unlocked::generate(VaultId::from_bytes([1; 16]), &mut rng);
        let code = RecoveryCode::generate(&mut rng);
        let pass = Passphrase::new("correct").unwrap();
        let passphrase = SlotSecret::Passphrase { passphrase: &pass, share: &unlocked.share };
        let slots = [SlotSecret::Code(&code), passphrase]
            .map(|secret| Slot::seal(&unlocked, &secret, KdfParams::FLOOR, &mut rng).unwrap());
        let slots = SlotSet::new(slots.to_vec()).unwrap();
        let bytes = slots.slots().iter().map(|s| s.as_bytes().to_vec()).collect();
        (unlocked, code, bytes)
    }

    fn typed(text: &str) -> UnlockSecret {
        UnlockSecret::Passphrase(Passphrase::new(text).unwrap())
    }

    #[test]
    fn each_secret_opens_its_slot() {
        let (vault, code, slots) = made();
        let hash = Some(slot_set_hash(&slots));
        let share = Some(&vault.share);
        let reversed: Vec<_> = slots.iter().rev().cloned().collect();
        let opened = unlock(&reversed, &UnlockSecret::Code(code), hash, None).unwrap();
        assert_eq!(opened, vault);
        let opened = unlock(&slots, &typed("correct"), hash, share).unwrap();
        assert_eq!(opened, vault);
        let wrong = unlock(&slots, &typed("incorrect"), hash, share).unwrap_err();
        assert!(matches!(wrong, UnlockError::WrongSecret { code: false }));
    }

    #[test]
    fn what_cannot_open_says_why() {
        let (vault, code, slots) = made();
        let alone = unlock(&slots, &typed("correct"), None, None).unwrap_err();
        assert!(matches!(alone, UnlockError::NeedsEnrolledMachine));
        let mut rng = rng(9);
        let other = UnlockSecret::Code(RecoveryCode::generate(&mut rng));
        let wrong = unlock(&slots, &other, None, None).unwrap_err();
        assert!(matches!(wrong, UnlockError::WrongSecret { code: true }));
        let none = unlock(&slots[..0], &other, None, None).unwrap_err();
        assert!(matches!(none, UnlockError::NoSuchSlot { needed: SlotKind::Recovery }));
        let anywhere = UnlockSecret::PassphraseAnywhere(Passphrase::new("correct").unwrap());
        let refused = unlock(&slots, &anywhere, None, Some(&vault.share)).unwrap_err();
        assert!(matches!(refused, UnlockError::NeedsEnrolledMachine));
        let zero = Some(Hash::from_bytes([0; 32]));
        let swapped = unlock(&slots, &UnlockSecret::Code(code), zero, None).unwrap_err();
        assert!(matches!(swapped, UnlockError::NotTheLogs));
    }

    #[test]
    fn a_rotten_slot_is_not_a_wrong_secret_and_does_not_lock_out_the_other() {
        let (vault, code, mut slots) = made();
        let hash = slot_set_hash(&slots);
        let code_at =
            slots.iter().position(|s| Slot::parse(s).unwrap().kind() == SlotKind::Recovery);
        let passphrase_at = 1 - code_at.unwrap();
        slots[passphrase_at][100] ^= 1;
        let share = Some(&vault.share);
        let damaged = unlock(&slots, &typed("correct"), None, share).unwrap_err();
        assert!(matches!(damaged, UnlockError::Damaged(SlotError::Damaged)));
        let known = unlock(&slots, &typed("correct"), Some(hash), share).unwrap_err();
        assert!(matches!(known, UnlockError::Damaged(SlotError::Damaged)));
        let opened = unlock(&slots, &UnlockSecret::Code(code), None, None).unwrap();
        assert_eq!(opened, vault);
    }
}
