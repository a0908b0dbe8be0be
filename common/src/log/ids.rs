//! The snapshots that an entry names.

use minicbor::decode::Decoder;

use crate::codec::{DecodeError, Enc, EncodeResult, array_len, bytes_n};
use crate::id::SnapshotId;
use crate::limits::MAX_ENTRY_SNAPSHOTS;

/// One to [`MAX_ENTRY_SNAPSHOTS`] snapshots, ascending, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotIds(Vec<SnapshotId>);

impl SnapshotIds {
    /// Splits any number of ids into as few lists as hold them; none for none.
    pub fn batches(ids: impl IntoIterator<Item = SnapshotId>) -> Vec<Self> {
        let mut all: Vec<SnapshotId> = ids.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        all.chunks(MAX_ENTRY_SNAPSHOTS).map(|part| Self(part.to_vec())).collect()
    }

    /// One list; `None` if there are none or more than one entry may name.
    pub fn one(ids: impl IntoIterator<Item = SnapshotId>) -> Option<Self> {
        let mut batches = Self::batches(ids);
        if batches.len() == 1 { batches.pop() } else { None }
    }

    /// The ids, ascending.
    pub fn as_slice(&self) -> &[SnapshotId] {
        &self.0
    }

    /// The ids, ascending.
    pub fn iter(&self) -> impl Iterator<Item = SnapshotId> + '_ {
        self.0.iter().copied()
    }

    pub(super) fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        e.array(u64::try_from(self.0.len()).unwrap_or(u64::MAX))?;
        for id in &self.0 {
            e.bytes(id.as_bytes())?;
        }
        Ok(())
    }

    pub(super) fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let count = array_len(d, "snapshots of an entry", MAX_ENTRY_SNAPSHOTS)?;
        let mut ids: Vec<SnapshotId> = Vec::new();
        for _ in 0..count {
            let id = SnapshotId::from_bytes(bytes_n(d, "snapshot id")?);
            if ids.last().is_some_and(|last| *last >= id) {
                return Err(DecodeError::NotCanonical("snapshots of an entry must ascend"));
            }
            ids.push(id);
        }
        if ids.is_empty() {
            return Err(DecodeError::Invalid("an entry that names no snapshot"));
        }
        Ok(Self(ids))
    }
}
