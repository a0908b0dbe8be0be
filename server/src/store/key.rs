//! Names of blobs: built from identifiers alone, so that no text from outside is in a path.

use std::fmt;

use unseen_common::id::{Hash, PackId, PackNumber, SnapshotId, VaultId};

/// The folder of all accounts.
pub const ACCOUNTS: &str = "accounts";
/// The folder of packs, below that of an account.
pub const PACKS: &str = "packs";
/// Packs of one shard folder: 2 to this power.
const SHARD_BITS: u32 = 12;

/// The name of a blob, relative to the data folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    folder: String,
    name: String,
}

impl Key {
    /// A pack.
    pub fn pack(account: VaultId, number: PackNumber, id: PackId) -> Self {
        Self { folder: pack_shard(account, number), name: format!("{:08x}-{id}", number.0) }
    }

    /// A sealed manifest.
    pub fn manifest(account: VaultId, id: SnapshotId) -> Self {
        Self::of(account, "manifests", id.to_string())
    }

    /// The packs that a snapshot needs.
    pub fn packset(account: VaultId, id: SnapshotId) -> Self {
        Self::of(account, "packsets", id.to_string())
    }

    /// The packs that a snapshot needs since a compaction, by their packset hash.
    pub fn compacted(account: VaultId, id: SnapshotId, packs: Hash) -> Self {
        Self::of(account, "packsets", format!("{id}-{packs}"))
    }

    /// A set of unlock slots, by its hash.
    pub fn slots(account: VaultId, hash: Hash) -> Self {
        Self::of(account, "slots", hash.to_string())
    }

    /// The copy of a log record.
    pub fn log(account: VaultId, seq: u64) -> Self {
        Self::of(account, "log", format!("{seq:016x}"))
    }

    /// The second copy of the footers of a range of packs, by its first number.
    pub fn footers(account: VaultId, first: PackNumber) -> Self {
        Self::of(account, "footers", format!("{:08x}", first.0))
    }

    /// What was found by listing the folder of an account, and folders in it.
    pub fn listed(account: VaultId, folder: &str, name: &str) -> Self {
        Self::of(account, folder, name.to_owned())
    }

    /// The second copy of what is stored twice.
    #[must_use]
    pub fn second(&self) -> Self {
        Self { folder: second_folder(&self.folder), name: self.name.clone() }
    }

    fn of(account: VaultId, kind: &str, name: String) -> Self {
        Self { folder: format!("accounts/{account}/{kind}"), name }
    }

    /// The folder, with `/` between its parts.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// The name in the folder.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.folder, self.name)
    }
}

/// The folder of the shard that holds a pack.
pub fn pack_shard(account: VaultId, number: PackNumber) -> String {
    format!("accounts/{account}/{PACKS}/{:05x}", number.0 >> SHARD_BITS)
}

/// The folder of the shards of packs.
pub fn packs_folder(account: VaultId) -> String {
    format!("accounts/{account}/{PACKS}")
}

/// The first number of the shard after the one that holds `number`.
pub fn next_shard(number: PackNumber) -> PackNumber {
    let shard = (number.0 >> SHARD_BITS).saturating_add(1);
    PackNumber(shard.wrapping_shl(SHARD_BITS))
}

/// The folder of the copies of log records.
pub fn log_folder(account: VaultId) -> String {
    format!("accounts/{account}/log")
}

/// The folder of the slot sets.
pub fn slots_folder(account: VaultId) -> String {
    format!("accounts/{account}/slots")
}

/// The folder of everything that belongs to an account.
pub fn account_folder(account: VaultId) -> String {
    format!("accounts/{account}")
}

/// The folder of the second copies of what is in a folder.
pub fn second_folder(folder: &str) -> String {
    format!("{folder}2")
}

/// The folder of the sealed manifests.
pub fn manifest_folder(account: VaultId) -> String {
    format!("accounts/{account}/manifests")
}

/// The folder of the lists of packs.
pub fn packset_folder(account: VaultId) -> String {
    format!("accounts/{account}/packsets")
}

/// The snapshot in the name of a list of packs, and the packset hash if a compaction made it.
pub fn packset_of(name: &str) -> Option<(SnapshotId, Option<Hash>)> {
    match name.split_once('-') {
        Some((id, packs)) => Some((id.parse().ok()?, Some(packs.parse().ok()?))),
        None => Some((name.parse().ok()?, None)),
    }
}

/// The folder of the second copies of footers.
pub fn footers_folder(account: VaultId) -> String {
    format!("accounts/{account}/footers")
}

/// The first number in the name of a second copy of footers.
pub fn footers_of(name: &str) -> Option<PackNumber> {
    u32::from_str_radix(name, 16).ok().map(PackNumber)
}

/// The number in the name of a pack's blob.
pub fn pack_number_of(name: &str) -> Option<PackNumber> {
    pack_of(name).map(|(number, _)| number)
}

/// Number and id in the name of a pack's blob.
pub fn pack_of(name: &str) -> Option<(PackNumber, PackId)> {
    let (number, id) = name.split_once('-')?;
    let number = u32::from_str_radix(number, 16).ok()?;
    Some((PackNumber(number), id.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_documented() {
        let account = VaultId::from_bytes([0xaa; 16]);
        let id = PackId::from_bytes([0x0b; 32]);
        let key = Key::pack(account, PackNumber(0x1234), id);
        assert_eq!(
            key.to_string(),
            format!("accounts/{}/packs/00001/00001234-{}", "aa".repeat(16), "0b".repeat(32))
        );
        assert_eq!(pack_number_of(key.name()), Some(PackNumber(0x1234)));
        assert_eq!(pack_number_of(".tmp-00"), None);
        assert_eq!(pack_of(key.name()), Some((PackNumber(0x1234), id)));
        let (snapshot, packs) = (SnapshotId::from_bytes([3; 32]), Hash::from_bytes([4; 32]));
        let key = Key::compacted(account, snapshot, packs);
        assert_eq!(packset_of(key.name()), Some((snapshot, Some(packs))));
        assert_eq!(
            Key::slots(account, packs).second().to_string(),
            format!("accounts/{}/slots2/{packs}", "aa".repeat(16))
        );
        assert_eq!(packset_of(Key::packset(account, snapshot).name()), Some((snapshot, None)));
        assert_eq!(Key::log(account, 5).name(), "0000000000000005");
        let footers = Key::footers(account, PackNumber(0x1200));
        assert_eq!(footers.folder(), footers_folder(account));
        assert_eq!(footers_of(footers.name()), Some(PackNumber(0x1200)));
    }
}
