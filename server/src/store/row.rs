//! What an account's journal says: one variant a kind of record.

use minicbor::decode::Decoder;
use unseen_common::codec::{
    Canonical, DecodeError, Enc, EncodeResult, bytes_capped, bytes_n, optional,
};
use unseen_common::id::{DeviceId, Hash, PackId, PackNumber, SnapshotId};
use unseen_common::limits::{footer_size_ok, on_ladder};
use unseen_common::log::chain::Record;
use unseen_common::packset::PackSet;
use unseen_common::privacy::{Access, Looked};
use unseen_common::time::Timestamp;

/// A pack that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackRow {
    /// Its number.
    pub number: PackNumber,
    /// Its name.
    pub id: PackId,
    /// Plain BLAKE3 of header and body.
    pub content_hash: Hash,
    /// The device that wrote it.
    pub device: DeviceId,
    /// Length of the whole pack, in bytes.
    pub length: u64,
    /// Length of its sealed footer, in bytes.
    pub footer_len: u64,
    /// When it was stored.
    pub received: Timestamp,
}

/// A record of an account's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountRow {
    /// The account begins: bytes that it may use, or no limit.
    Opened {
        /// In bytes.
        quota: Option<u64>,
    },
    /// The next record of the log.
    Log(Record),
    /// A pack was stored.
    Pack(PackRow),
    /// From here on the account may use so many bytes, or has no limit.
    Quota {
        /// In bytes.
        quota: Option<u64>,
        /// When it was set.
        at: Timestamp,
    },
    /// The account may not be written from here on, or may again.
    Suspended {
        /// Whether it is suspended now.
        suspended: bool,
        /// Since when.
        at: Timestamp,
    },
    /// Whoever runs the server looked at the account, or changed something.
    Access(Access),
    /// The record of a snapshot was stored, with manifest and packset.
    Metadata {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Bytes of its manifest and its packset.
        bytes: u64,
    },
    /// A pack that was there was sent again: its grace begins anew.
    Touched {
        /// The pack.
        number: PackNumber,
        /// When it was sent.
        at: Timestamp,
    },
    /// Packs that nothing needed any more are gone. Their numbers are not given again.
    Removed {
        /// Them, all of one block of 65536 numbers.
        packs: PackSet,
        /// When they went.
        at: Timestamp,
    },
    /// The list of the packs of a snapshot was stored.
    Packset {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The packset hash that its file is named by, if a compaction made it.
        compacted: Option<Hash>,
        /// BLAKE3 of the file, so that rot in it shows.
        checksum: Hash,
    },
    /// A list of packs that is not needed any more is gone.
    Dropped {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The packset hash that its file was named by, if a compaction made it.
        compacted: Option<Hash>,
        /// The manifest went too: nothing is left of the snapshot.
        whole: bool,
    },
}

const OPENED: u8 = 0;
const LOG: u8 = 1;
const PACK: u8 = 2;
const QUOTA: u8 = 16;
const SUSPENDED: u8 = 17;
const ACCESS: u8 = 18;
const METADATA: u8 = 19;
const TOUCHED: u8 = 48;
const REMOVED: u8 = 49;
const PACKSET: u8 = 50;
const DROPPED: u8 = 51;

/// Longest set in a row of removed packs: one block of 65536 numbers.
const MAX_REMOVED: usize = 9 * 1024;

impl Canonical for AccountRow {
    const WHAT: &'static str = "journal record of an account";
    const CAP: usize = Record::CAP + 64;

    fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        match self {
            Self::Opened { quota } => e.array(2)?.u8(OPENED)?.encode(quota)?,
            Self::Log(record) => {
                e.array(2)?.u8(LOG)?;
                return record.encode(e);
            }
            Self::Pack(pack) => e
                .array(8)?
                .u8(PACK)?
                .u32(pack.number.0)?
                .bytes(pack.id.as_bytes())?
                .bytes(pack.content_hash.as_bytes())?
                .bytes(pack.device.as_bytes())?
                .u64(pack.length)?
                .u64(pack.footer_len)?
                .u64(pack.received.0)?,
            Self::Quota { quota, at } => e.array(3)?.u8(QUOTA)?.encode(quota)?.u64(at.0)?,
            Self::Suspended { suspended, at } => {
                e.array(3)?.u8(SUSPENDED)?.bool(*suspended)?.u64(at.0)?
            }
            Self::Access(access) => {
                e.array(3)?.u8(ACCESS)?.u8(access.what.number())?.u64(access.at.0)?
            }
            Self::Metadata { snapshot, bytes } => {
                e.array(3)?.u8(METADATA)?.bytes(snapshot.as_bytes())?.u64(*bytes)?
            }
            Self::Touched { number, at } => e.array(3)?.u8(TOUCHED)?.u32(number.0)?.u64(at.0)?,
            Self::Removed { packs, at } => {
                e.array(3)?.u8(REMOVED)?.bytes(&packs.to_bytes())?.u64(at.0)?
            }
            Self::Packset { snapshot, compacted, checksum } => {
                e.array(4)?.u8(PACKSET)?.bytes(snapshot.as_bytes())?;
                optional_hash(compacted.as_ref(), e)?;
                e.bytes(checksum.as_bytes())?
            }
            Self::Dropped { snapshot, compacted, whole } => {
                e.array(4)?.u8(DROPPED)?.bytes(snapshot.as_bytes())?;
                optional_hash(compacted.as_ref(), e)?;
                e.bool(*whole)?
            }
        };
        Ok(())
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let length = d.array()?;
        Ok(match (d.u8()?, length) {
            (OPENED, Some(2)) => Self::Opened { quota: d.decode()? },
            (LOG, Some(2)) => Self::Log(Record::decode(d)?),
            (PACK, Some(8)) => {
                let pack = PackRow {
                    number: PackNumber(d.u32()?),
                    id: PackId::from_bytes(bytes_n(d, "pack id")?),
                    content_hash: Hash::from_bytes(bytes_n(d, "content hash")?),
                    device: DeviceId::from_bytes(bytes_n(d, "device id")?),
                    length: d.u64()?,
                    footer_len: d.u64()?,
                    received: Timestamp(d.u64()?),
                };
                if !on_ladder(pack.length) || !footer_size_ok(pack.footer_len) {
                    return Err(DecodeError::Invalid("pack row with odd lengths"));
                }
                Self::Pack(pack)
            }
            (QUOTA, Some(3)) => Self::Quota { quota: d.decode()?, at: Timestamp(d.u64()?) },
            (SUSPENDED, Some(3)) => {
                Self::Suspended { suspended: d.bool()?, at: Timestamp(d.u64()?) }
            }
            (ACCESS, Some(3)) => {
                let what = Looked::from_number(d.u8()?)?;
                Self::Access(Access { what, at: Timestamp(d.u64()?) })
            }
            (METADATA, Some(3)) => Self::Metadata {
                snapshot: SnapshotId::from_bytes(bytes_n(d, "snapshot id")?),
                bytes: d.u64()?,
            },
            (TOUCHED, Some(3)) => {
                Self::Touched { number: PackNumber(d.u32()?), at: Timestamp(d.u64()?) }
            }
            (REMOVED, Some(3)) => {
                let packs = PackSet::from_bytes(bytes_capped(d, "removed packs", MAX_REMOVED)?)?;
                Self::Removed { packs, at: Timestamp(d.u64()?) }
            }
            (PACKSET, Some(4)) => Self::Packset {
                snapshot: SnapshotId::from_bytes(bytes_n(d, "snapshot id")?),
                compacted: optional(d, hash)?,
                checksum: hash(d)?,
            },
            (DROPPED, Some(4)) => Self::Dropped {
                snapshot: SnapshotId::from_bytes(bytes_n(d, "snapshot id")?),
                compacted: optional(d, hash)?,
                whole: d.bool()?,
            },
            (number, _) => return unknown(number),
        })
    }
}

fn optional_hash(value: Option<&Hash>, e: &mut Enc<'_>) -> EncodeResult {
    match value {
        Some(value) => e.bytes(value.as_bytes())?,
        None => e.null()?,
    };
    Ok(())
}

fn hash(d: &mut Decoder<'_>) -> Result<Hash, DecodeError> {
    Ok(Hash::from_bytes(bytes_n(d, "hash")?))
}

pub(super) fn unknown<T>(number: u8) -> Result<T, DecodeError> {
    Err(DecodeError::Unknown { what: "journal record of kind", number: number.into() })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pack() -> PackRow {
        PackRow {
            number: PackNumber(3),
            id: PackId::from_bytes([1; 32]),
            content_hash: Hash::from_bytes([2; 32]),
            device: DeviceId::from_bytes([3; 16]),
            length: 65536,
            footer_len: 4096,
            received: Timestamp(5),
        }
    }

    /// One of every kind, the log aside.
    pub(crate) fn every() -> Vec<AccountRow> {
        let mut rows = operators();
        rows.extend(collected());
        rows.push(AccountRow::Opened { quota: None });
        rows.push(AccountRow::Opened { quota: Some(u64::MAX) });
        rows.push(AccountRow::Pack(pack()));
        rows
    }

    fn collected() -> [AccountRow; 5] {
        let (snapshot, checksum) = (SnapshotId::from_bytes([8; 32]), Hash::from_bytes([9; 32]));
        let compacted = Some(Hash::from_bytes([7; 32]));
        let packs = [300, 301].map(PackNumber).into_iter().collect();
        [
            AccountRow::Touched { number: PackNumber(300), at: Timestamp(5) },
            AccountRow::Removed { packs, at: Timestamp(5) },
            AccountRow::Packset { snapshot, compacted: None, checksum },
            AccountRow::Packset { snapshot, compacted, checksum },
            AccountRow::Dropped { snapshot, compacted, whole: true },
        ]
    }

    #[test]
    fn the_bytes_of_collected_rows_are_pinned() {
        let hex = |row: &AccountRow| data_encoding::HEXLOWER.encode(&row.to_bytes());
        let (snapshot, [touched, removed, first, second, dropped]) = ("08".repeat(32), collected());
        assert_eq!(hex(&touched), "83183019012c05");
        assert_eq!(hex(&removed), "831831543a3000000100000000000100100000002c012d0105");
        let sum = "09".repeat(32);
        assert_eq!(hex(&first), format!("8418325820{snapshot}f65820{sum}"));
        assert_eq!(hex(&second), format!("8418325820{snapshot}5820{}5820{sum}", "07".repeat(32)));
        assert_eq!(hex(&dropped), format!("8418335820{snapshot}5820{}f5", "07".repeat(32)));
    }

    fn operators() -> Vec<AccountRow> {
        let at = Timestamp(5);
        let mut rows = vec![
            AccountRow::Quota { quota: Some(7), at },
            AccountRow::Quota { quota: None, at },
            AccountRow::Suspended { suspended: true, at },
            AccountRow::Metadata { snapshot: SnapshotId::from_bytes([8; 32]), bytes: 9000 },
        ];
        rows.extend(Looked::ALL.map(|what| AccountRow::Access(Access { at, what })));
        rows
    }

    #[test]
    fn the_bytes_are_pinned() {
        let rows = operators();
        let hex = |at: usize| data_encoding::HEXLOWER.encode(&rows[at].to_bytes());
        assert_eq!(hex(0), "83100705");
        assert_eq!(hex(1), "8310f605");
        assert_eq!(hex(2), "8311f505");
        assert_eq!(hex(3), format!("83135820{}192328", "08".repeat(32)));
        assert_eq!(hex(4), "83120005");
    }

    #[test]
    fn rows_round_trip() {
        for row in every() {
            assert_eq!(AccountRow::from_bytes(&row.to_bytes()).unwrap(), row);
        }
    }

    #[test]
    fn odd_lengths_are_refused() {
        let odd = AccountRow::Pack(PackRow { length: 65537, ..pack() });
        assert!(AccountRow::from_bytes(&odd.to_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn mutations_never_panic(at in any::<prop::sample::Index>(), to in any::<u8>()) {
            for row in every() {
                let mut bytes = row.to_bytes();
                let at = at.index(bytes.len());
                bytes[at] = to;
                if let Ok(row) = AccountRow::from_bytes(&bytes) {
                    prop_assert_eq!(row.to_bytes(), bytes);
                }
            }
        }
    }
}
