//! The snapshots that this device has sent, or was about to: beside the pin, and as durable.
//!
//! An entry of the log that is signed with this device's key and names none of them was made by a
//! copy of the key. Kept apart from the state, which can be lost: nothing is sent before it stands
//! here, so an answer that got lost is no false alarm.

use std::fs;
use std::io;
use std::path::Path;

use minicbor::decode::Decoder;
use unseen_common::codec::{
    Canonical, DecodeError, Enc, EncodeResult, array_len, array_of, bytes_n,
};
use unseen_common::id::SnapshotId;
use unseen_common::log::ids::SnapshotIds;

use super::{PinError, write_durably};

/// The newest snapshots, oldest first; at most [`Sent::MOST`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sent(Vec<SnapshotId>);

impl Sent {
    /// Only entries beyond the pinned head are judged. Two processes of one machine may be a few
    /// snapshots apart; nobody is a thousand behind.
    pub const MOST: usize = 1024;

    /// The list in `path`; empty if there is none.
    pub fn read(path: &Path) -> Result<Self, PinError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(PinError::Io { path: path.to_path_buf(), source }),
        };
        Self::from_bytes(&bytes)
            .map_err(|source| PinError::Damaged { path: path.to_path_buf(), source })
    }

    /// What stands in the list for an entry that holds these snapshots.
    pub fn of_hold(ids: &SnapshotIds) -> SnapshotId {
        let mut hasher = blake3::Hasher::new_derive_key("unseen 2026-11 v1 sent hold");
        for id in ids.iter() {
            hasher.update(id.as_bytes());
        }
        SnapshotId::from_bytes(*hasher.finalize().as_bytes())
    }

    /// Whether this device sent it, or was about to.
    pub fn contains(&self, snapshot: &SnapshotId) -> bool {
        self.0.contains(snapshot)
    }

    /// Notes durably that a snapshot is about to be sent.
    pub fn announce(path: &Path, snapshot: SnapshotId) -> Result<(), PinError> {
        let mut sent = Self::read(path)?;
        if sent.contains(&snapshot) {
            return Ok(());
        }
        sent.0.drain(..(sent.0.len() + 1).saturating_sub(Self::MOST));
        sent.0.push(snapshot);
        write_durably(path, &sent.to_bytes())
            .map_err(|source| PinError::Io { path: path.to_path_buf(), source })
    }
}

impl Canonical for Sent {
    const WHAT: &'static str = "list of sent snapshots";
    const CAP: usize = 64 + Self::MOST * 34;

    fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        e.array(2)?.u8(1)?.array(u64::try_from(self.0.len()).unwrap_or(u64::MAX))?;
        for snapshot in &self.0 {
            e.bytes(snapshot.as_bytes())?;
        }
        Ok(())
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        array_of(d, 2, Self::WHAT)?;
        let version = d.u8()?;
        if version != 1 {
            return Err(DecodeError::Unknown { what: Self::WHAT, number: version.into() });
        }
        let mut sent = Vec::new();
        for _ in 0..array_len(d, "snapshots", Self::MOST)? {
            sent.push(SnapshotId::from_bytes(bytes_n(d, "snapshot")?));
        }
        Ok(Self(sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> SnapshotId {
        let mut bytes = [7; 32];
        bytes[..2].copy_from_slice(&n.to_le_bytes());
        SnapshotId::from_bytes(bytes)
    }

    #[test]
    fn the_newest_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sent");
        assert_eq!(Sent::read(&path).unwrap(), Sent::default());
        let most = u16::try_from(Sent::MOST).unwrap();
        let full = Sent((0..most).map(id).collect());
        write_durably(&path, &full.to_bytes()).unwrap();
        Sent::announce(&path, id(5)).unwrap();
        assert_eq!(Sent::read(&path).unwrap(), full, "it was there");
        Sent::announce(&path, id(most)).unwrap();
        let sent = Sent::read(&path).unwrap();
        assert_eq!(sent.0.len(), Sent::MOST);
        assert!(!sent.contains(&id(0)) && sent.contains(&id(1)) && sent.contains(&id(most)));
    }

    #[test]
    fn a_damaged_list_is_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sent");
        let bytes = Sent(vec![id(1), id(2)]).to_bytes();
        assert_eq!(Sent::from_bytes(&bytes).unwrap().to_bytes(), bytes);
        for damaged in [&bytes[..bytes.len() - 1], &[], &[0x82, 2, 0x80]] {
            fs::write(&path, damaged).unwrap();
            assert!(matches!(Sent::read(&path), Err(PinError::Damaged { .. })), "{damaged:?}");
            assert!(Sent::announce(&path, id(3)).is_err());
        }
    }
}
