//! What the journals say: one type a kind of record.

use minicbor::decode::Decoder;
use unseen_common::codec::{Canonical, DecodeError, Enc, EncodeResult, array_of, bytes_n};
use unseen_common::id::{DeviceId, Hash, PackId, PackNumber, VaultId};
use unseen_common::limits::{footer_size_ok, on_ladder};
use unseen_common::log::chain::Record;
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
    /// A pack was found damaged: from here on it counts as missing.
    Damaged(PackMark),
    /// A damaged pack is whole again.
    Healed(PackMark),
    /// The journal was made anew from the blobs; pack numbers below this one are not given again.
    Rebuilt(PackMark),
}

/// What was found of a pack, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackMark {
    /// The pack.
    pub number: PackNumber,
    /// The time.
    pub at: Timestamp,
}

/// A record of the server's journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerRow {
    /// An invite was made.
    Invite {
        /// BLAKE3 of its secret.
        secret: Hash,
        /// Bytes that its account may use.
        quota: Option<u64>,
        /// When it stops being accepted.
        expires: Timestamp,
    },
    /// An invite was used.
    Used {
        /// BLAKE3 of its secret.
        secret: Hash,
        /// By which account.
        account: VaultId,
        /// BLAKE3 of the account's genesis entry.
        genesis: Hash,
    },
}

const OPENED: u8 = 0;
const LOG: u8 = 1;
const PACK: u8 = 2;
const DAMAGED: u8 = 32;
const HEALED: u8 = 33;
const REBUILT: u8 = 34;
const INVITE: u8 = 0;
const USED: u8 = 1;

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
            Self::Damaged(mark) => return mark.encode(DAMAGED, e),
            Self::Healed(mark) => return mark.encode(HEALED, e),
            Self::Rebuilt(mark) => return mark.encode(REBUILT, e),
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
            (DAMAGED, Some(3)) => Self::Damaged(PackMark::decode(d)?),
            (HEALED, Some(3)) => Self::Healed(PackMark::decode(d)?),
            (REBUILT, Some(3)) => Self::Rebuilt(PackMark::decode(d)?),
            (number, _) => return unknown(number),
        })
    }
}

impl PackMark {
    fn encode(&self, kind: u8, e: &mut Enc<'_>) -> EncodeResult {
        e.array(3)?.u8(kind)?.u32(self.number.0)?.u64(self.at.0)?;
        Ok(())
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self { number: PackNumber(d.u32()?), at: Timestamp(d.u64()?) })
    }
}

impl Canonical for ServerRow {
    const WHAT: &'static str = "journal record of the server";
    const CAP: usize = 256;

    fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        match self {
            Self::Invite { secret, quota, expires } => {
                e.array(4)?.u8(INVITE)?.bytes(secret.as_bytes())?.encode(quota)?.u64(expires.0)?
            }
            Self::Used { secret, account, genesis } => e
                .array(4)?
                .u8(USED)?
                .bytes(secret.as_bytes())?
                .bytes(account.as_bytes())?
                .bytes(genesis.as_bytes())?,
        };
        Ok(())
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        array_of(d, 4, "journal record")?;
        let kind = d.u8()?;
        let secret = Hash::from_bytes(bytes_n(d, "invite")?);
        Ok(match kind {
            INVITE => Self::Invite { secret, quota: d.decode()?, expires: Timestamp(d.u64()?) },
            USED => Self::Used {
                secret,
                account: VaultId::from_bytes(bytes_n(d, "account")?),
                genesis: Hash::from_bytes(bytes_n(d, "genesis hash")?),
            },
            number => return unknown(number),
        })
    }
}

fn unknown<T>(number: u8) -> Result<T, DecodeError> {
    Err(DecodeError::Unknown { what: "journal record of kind", number: number.into() })
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn rows_round_trip() {
        let rows = [
            AccountRow::Opened { quota: None },
            AccountRow::Opened { quota: Some(u64::MAX) },
            AccountRow::Pack(pack()),
            AccountRow::Damaged(PackMark { number: PackNumber(0), at: Timestamp(u64::MAX) }),
            AccountRow::Healed(PackMark { number: PackNumber(24), at: Timestamp(0) }),
            AccountRow::Rebuilt(PackMark { number: PackNumber(u32::MAX), at: Timestamp(7) }),
        ];
        for row in rows {
            assert_eq!(AccountRow::from_bytes(&row.to_bytes()).unwrap(), row);
        }
        let secret = Hash::from_bytes([4; 32]);
        let rows = [
            ServerRow::Invite { secret, quota: Some(7), expires: Timestamp(9) },
            ServerRow::Used { secret, account: VaultId::from_bytes([6; 16]), genesis: secret },
        ];
        for row in rows {
            assert_eq!(ServerRow::from_bytes(&row.to_bytes()).unwrap(), row);
        }
    }

    #[test]
    fn odd_lengths_are_refused() {
        let odd = AccountRow::Pack(PackRow { length: 65537, ..pack() });
        assert!(AccountRow::from_bytes(&odd.to_bytes()).is_err());
    }

    #[test]
    fn marks_are_pinned() {
        let mark = PackMark { number: PackNumber(300), at: Timestamp(5) };
        assert_eq!(AccountRow::Damaged(mark).to_bytes(), b"\x83\x18\x20\x19\x01\x2c\x05");
        assert_eq!(AccountRow::Healed(mark).to_bytes(), b"\x83\x18\x21\x19\x01\x2c\x05");
        assert_eq!(AccountRow::Rebuilt(mark).to_bytes(), b"\x83\x18\x22\x19\x01\x2c\x05");
    }

    proptest! {
        #[test]
        fn marks_mutated_never_panic(
            number in any::<u32>(), time in any::<u64>(), kind in 0u8..3,
            at in any::<prop::sample::Index>(), to in any::<u8>(),
        ) {
            let mark = PackMark { number: PackNumber(number), at: Timestamp(time) };
            let row = match kind {
                0 => AccountRow::Damaged(mark),
                1 => AccountRow::Healed(mark),
                _ => AccountRow::Rebuilt(mark),
            };
            let mut bytes = row.to_bytes();
            prop_assert_eq!(AccountRow::from_bytes(&bytes).unwrap(), row);
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(row) = AccountRow::from_bytes(&bytes) {
                prop_assert_eq!(row.to_bytes(), bytes);
            }
        }

        #[test]
        fn mutations_never_panic(at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut bytes = AccountRow::Pack(pack()).to_bytes();
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(row) = AccountRow::from_bytes(&bytes) {
                prop_assert_eq!(row.to_bytes(), bytes);
            }
        }
    }
}
