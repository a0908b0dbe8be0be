//! What the server's own journal says: one variant a kind of record.

use minicbor::decode::Decoder;
use unseen_common::codec::{Canonical, DecodeError, Enc, EncodeResult, bytes_capped, bytes_n};
use unseen_common::id::{Hash, VaultId};
use unseen_common::receipt::{Receipt, SignedReceipt};
use unseen_common::time::Timestamp;

use super::row::unknown;

/// A record of the server's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// An invite was taken back.
    Revoked {
        /// BLAKE3 of its secret.
        secret: Hash,
    },
    /// An account is being erased: from here on it does not exist.
    ///
    /// The receipt that is to be signed once nothing is left; its time of erasure is 0.
    Erasing(Receipt),
    /// Nothing is left of an account but this.
    Erased(SignedReceipt),
    /// The server's clock was seen at this time, and is believed.
    Clock {
        /// The time.
        at: Timestamp,
        /// Whoever runs the server said that it is right.
        confirmed: bool,
    },
}

const INVITE: u8 = 0;
const USED: u8 = 1;
const REVOKED: u8 = 16;
const ERASING: u8 = 17;
const ERASED: u8 = 18;
const CLOCK: u8 = 48;

impl Canonical for ServerRow {
    const WHAT: &'static str = "journal record of the server";
    const CAP: usize = 512;

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
            Self::Revoked { secret } => e.array(2)?.u8(REVOKED)?.bytes(secret.as_bytes())?,
            Self::Erasing(receipt) => {
                e.array(2)?.u8(ERASING)?;
                return receipt.encode(e);
            }
            Self::Erased(signed) => {
                e.array(3)?.u8(ERASED)?.bytes(&signed.bytes)?.bytes(&signed.signature)?
            }
            Self::Clock { at, confirmed } => e.array(3)?.u8(CLOCK)?.u64(at.0)?.bool(*confirmed)?,
        };
        Ok(())
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let length = d.array()?;
        Ok(match (d.u8()?, length) {
            (INVITE, Some(4)) => Self::Invite {
                secret: invite(d)?,
                quota: d.decode()?,
                expires: Timestamp(d.u64()?),
            },
            (USED, Some(4)) => Self::Used {
                secret: invite(d)?,
                account: VaultId::from_bytes(bytes_n(d, "account")?),
                genesis: Hash::from_bytes(bytes_n(d, "genesis hash")?),
            },
            (REVOKED, Some(2)) => Self::Revoked { secret: invite(d)? },
            (ERASING, Some(2)) => Self::Erasing(Receipt::decode(d)?),
            (ERASED, Some(3)) => {
                let bytes = bytes_capped(d, "receipt", Receipt::CAP)?.to_vec();
                Receipt::from_bytes(&bytes)?;
                Self::Erased(SignedReceipt { bytes, signature: bytes_n(d, "signature")? })
            }
            (CLOCK, Some(3)) => Self::Clock { at: Timestamp(d.u64()?), confirmed: d.bool()? },
            (number, _) => return unknown(number),
        })
    }
}

fn invite(d: &mut Decoder<'_>) -> Result<Hash, DecodeError> {
    Ok(Hash::from_bytes(bytes_n(d, "invite")?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;
    use unseen_common::receipt::ErasedBy;

    const ACCOUNT: VaultId = VaultId::from_bytes([6; 16]);

    /// One of every kind.
    pub(crate) fn every() -> Vec<ServerRow> {
        let secret = Hash::from_bytes([4; 32]);
        let key = SigningKey::from_bytes(&[7; 32]);
        let receipt = Receipt {
            account: ACCOUNT,
            by: ErasedBy::Operator,
            requested: Timestamp(1),
            erased: Timestamp(2),
            packs: 3,
            bytes: 4,
            snapshots: 5,
            head: secret,
            identity: key.verifying_key().to_bytes(),
        };
        vec![
            ServerRow::Revoked { secret },
            ServerRow::Erasing(receipt),
            ServerRow::Invite { secret, quota: Some(7), expires: Timestamp(9) },
            ServerRow::Used { secret, account: ACCOUNT, genesis: secret },
            ServerRow::Erased(SignedReceipt::sign(&receipt, &key)),
            ServerRow::Clock { at: Timestamp(5), confirmed: true },
        ]
    }

    #[test]
    fn rows_round_trip() {
        for row in every() {
            assert_eq!(ServerRow::from_bytes(&row.to_bytes()).unwrap(), row);
        }
    }

    #[test]
    fn the_bytes_are_pinned() {
        let rows = every();
        let hex = |at: usize| data_encoding::HEXLOWER.encode(&rows[at].to_bytes());
        assert_eq!(hex(0), format!("82105820{}", "04".repeat(32)));
        assert_eq!(hex(5), "83183005f5");
        assert_eq!(hex(1).get(..42).unwrap(), format!("82118a0150{}", "06".repeat(16)));
    }

    proptest! {
        #[test]
        fn mutations_never_panic(at in any::<prop::sample::Index>(), to in any::<u8>()) {
            for row in every() {
                let mut bytes = row.to_bytes();
                let at = at.index(bytes.len());
                bytes[at] = to;
                if let Ok(row) = ServerRow::from_bytes(&bytes) {
                    prop_assert_eq!(row.to_bytes(), bytes);
                }
            }
        }
    }
}
