//! Bytes that must not be copied, printed or left behind.

use std::fmt;

use subtle::ConstantTimeEq;
use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// `N` secret bytes: wiped on drop, compared in constant time, never printed, never cloned.
///
/// A move may leave the old bytes on the stack; what lives longer than one function and opens
/// backups is held in [`super::locked::Locked`] instead.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Takes the bytes over. The caller wipes its own copy.
    pub const fn from_bytes(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// `None` unless `bytes` has exactly `N` bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes themselves: pass them on, do not keep them.
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// A second holder of the same bytes, for keys that two owners need.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0)
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{N}>(..)")
    }
}

/// Why a text cannot be a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// Nothing was typed.
    #[error("the passphrase is empty")]
    Empty,
    /// Longer than [`Passphrase::MAX_LEN`].
    #[error("the passphrase is longer than {max} bytes")]
    TooLong {
        /// The limit in bytes.
        max: usize,
    },
}

/// A passphrase in Unicode NFKC, so that two keyboards type the same secret.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Longest text accepted, in bytes before normalisation.
    pub const MAX_LEN: usize = 1024;

    /// NFKC makes a UTF-8 text at most this many times longer (Unicode normalisation FAQ).
    const NFKC_GROWTH: usize = 11;

    /// Normalises `text`. The caller wipes its own copy.
    pub fn new(text: &str) -> Result<Self, PassphraseError> {
        if text.is_empty() {
            return Err(PassphraseError::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(PassphraseError::TooLong { max: Self::MAX_LEN });
        }
        // Reserved at once: growing would leave copies behind.
        let capacity = text.len().saturating_mul(Self::NFKC_GROWTH);
        let mut normal = Zeroizing::new(String::with_capacity(capacity));
        normal.extend(text.nfkc());
        Ok(Self(normal))
    }

    /// The normalised text, for a strength estimate or a key derivation.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// The process could not be closed to core dumps and debuggers.
#[derive(Debug, thiserror::Error)]
#[error("cannot close this process to debuggers and core dumps")]
pub struct HardenError(#[from] std::io::Error);

/// Keeps this process's memory out of core dumps and, on Linux, away from other processes of the
/// same user. To be called before the first secret is read.
pub fn harden_process() -> Result<(), HardenError> {
    use rustix::process::{Resource, Rlimit, setrlimit};

    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(std::io::Error::from)?;
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(std::io::Error::from)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::from_bytes([7; 32])), "Secret<32>(..)");
        assert_eq!(format!("{:?}", Passphrase::new("swordfish").unwrap()), "Passphrase(..)");
    }

    #[test]
    fn slices_of_another_length_are_refused() {
        assert_eq!(Secret::<4>::from_slice(&[1, 2, 3]), None);
        assert_eq!(Secret::from_slice(&[1, 2, 3]), Some(Secret::from_bytes([1, 2, 3])));
        assert_ne!(Secret::from_bytes([1, 2, 3]), Secret::from_bytes([1, 2, 4]));
    }

    #[test]
    fn passphrases_are_normalised() {
        // Composed and decomposed u-umlaut, the "fi" ligature, a full-width A.
        let typed = Passphrase::new("\u{fc} \u{fb01} \u{ff21}").unwrap();
        assert_eq!(typed.expose(), "\u{fc} fi A");
        assert_eq!(Passphrase::new("u\u{308}").unwrap().expose(), "\u{fc}");
    }

    #[test]
    fn the_worst_growth_stays_within_the_reserve() {
        let worst = "\u{fdfa}".repeat(Passphrase::MAX_LEN / 3);
        let reserved = worst.len() * Passphrase::NFKC_GROWTH;
        assert_eq!(Passphrase::new(&worst).unwrap().0.capacity(), reserved);
    }

    #[test]
    fn empty_and_endless_passphrases_are_refused() {
        assert_eq!(Passphrase::new("").unwrap_err(), PassphraseError::Empty);
        let long = "x".repeat(Passphrase::MAX_LEN + 1);
        assert_eq!(Passphrase::new(&long).unwrap_err(), PassphraseError::TooLong { max: 1024 });
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn hardening_closes_the_process() {
        use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};
        harden_process().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).maximum, Some(0));
    }
}
