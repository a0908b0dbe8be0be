//! All slots of a vault, in the order in which the log hashes them.

use unseen_common::id::{Hash, SlotId};

use super::slot::{Slot, SlotError};

/// Why slots are not a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotSetError {
    /// Nothing would open the vault.
    #[error("a vault without an unlock slot")]
    Empty,
    /// More than [`SlotSet::MAX`].
    #[error("{found} unlock slots, at most {} are allowed", SlotSet::MAX)]
    TooMany {
        /// How many there are.
        found: usize,
    },
    /// Two slots of one name.
    #[error("two unlock slots have the id {0}")]
    Duplicate(SlotId),
    /// Slots of different vaults or epochs.
    #[error("unlock slot {0} belongs to another vault or epoch")]
    Mixed(SlotId),
    /// One of them cannot be read.
    #[error("unlock slot {position} cannot be read")]
    Slot {
        /// Its place in the list, from 0.
        position: usize,
        /// Why.
        #[source]
        source: SlotError,
    },
}

/// At least one slot, of one vault and epoch, in ascending order of id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotSet(Vec<Slot>);

impl SlotSet {
    /// How many slots a vault may have.
    pub const MAX: usize = unseen_common::limits::MAX_SLOTS;

    /// Sorts and checks.
    pub fn new(mut slots: Vec<Slot>) -> Result<Self, SlotSetError> {
        let first = slots.first().ok_or(SlotSetError::Empty)?;
        let belongs = (first.vault(), first.epoch());
        if slots.len() > Self::MAX {
            return Err(SlotSetError::TooMany { found: slots.len() });
        }
        if let Some(odd) = slots.iter().find(|slot| (slot.vault(), slot.epoch()) != belongs) {
            return Err(SlotSetError::Mixed(odd.id()));
        }
        slots.sort_by_key(Slot::id);
        let mut pairs = slots.iter().zip(slots.iter().skip(1));
        if let Some((twin, _)) = pairs.find(|(left, right)| left.id() == right.id()) {
            return Err(SlotSetError::Duplicate(twin.id()));
        }
        Ok(Self(slots))
    }

    /// Reads what a server sent, in any order.
    pub fn parse<T: AsRef<[u8]>>(slots: &[T]) -> Result<Self, SlotSetError> {
        if slots.len() > Self::MAX {
            return Err(SlotSetError::TooMany { found: slots.len() });
        }
        let parsed = slots.iter().enumerate().map(|(position, bytes)| {
            Slot::parse(bytes.as_ref()).map_err(|source| SlotSetError::Slot { position, source })
        });
        Self::new(parsed.collect::<Result<_, _>>()?)
    }

    /// What the root-signed log entry holds: BLAKE3 over the slots, one after the other.
    pub fn hash(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        for slot in &self.0 {
            hasher.update(slot.as_bytes());
        }
        Hash::from_bytes(*hasher.finalize().as_bytes())
    }

    /// The slots in order.
    pub fn slots(&self) -> &[Slot] {
        &self.0
    }
}
