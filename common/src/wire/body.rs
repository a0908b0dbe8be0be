//! The JSON bodies. Unknown fields are refused.

use serde::{Deserialize, Serialize};

use super::base64::{Base64, Base64N};
use crate::codec::DecodeError;
use crate::id::{PackNumber, VaultId};
use crate::log::chain::{Record, SignedEntry};
use crate::pack_map::PackMap;
use crate::packset::PackSet;
use crate::privacy::Access;
use crate::receipt::SignedReceipt;
use crate::time::Timestamp;
use crate::vault::{
    Challenge, CommitRequest, CompactRequest, LogPage, LoginRequest, NewAccount, Principal,
};

/// A signed log entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryBody {
    /// Its canonical bytes.
    pub entry: Base64,
    /// Ed25519 over them.
    pub signature: Base64N<64>,
}

/// A log record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordBody {
    /// The entry's canonical bytes.
    pub entry: Base64,
    /// Ed25519 over them.
    pub signature: Base64N<64>,
    /// The server's stamp.
    pub received: Timestamp,
}

/// [`super::endpoint::CREATE_ACCOUNT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountBody {
    /// The invite's secret.
    pub invite: Base64,
    /// Genesis and first device.
    pub entries: Vec<EntryBody>,
    /// The unlock slots.
    pub slots: Vec<Base64>,
}

/// [`super::endpoint::CHALLENGE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeBody {
    /// The account.
    pub account: VaultId,
    /// Who wants to log in.
    pub principal: Principal,
}

/// Its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeAnswer {
    /// Random, used once.
    pub nonce: Base64N<32>,
    /// When it stops being accepted.
    pub expires: Timestamp,
}

/// [`super::endpoint::SESSION`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginBody {
    /// The account.
    pub account: VaultId,
    /// Who logs in.
    pub principal: Principal,
    /// The challenge's nonce.
    pub nonce: Base64N<32>,
    /// Ed25519 over [`crate::vault::login_message`].
    pub signature: Base64N<64>,
}

/// Its answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenAnswer {
    /// Goes into `Authorization: Bearer`.
    pub token: String,
    /// Seconds that it is good for.
    pub seconds: u64,
}

impl std::fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenAnswer").field("seconds", &self.seconds).finish_non_exhaustive()
    }
}

/// Answer of [`super::endpoint::SLOTS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotsBody {
    /// The slots, in the order in which they are hashed.
    pub slots: Vec<Base64>,
}

/// [`super::endpoint::PUT_SLOTS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutSlotsBody {
    /// The new slots.
    pub slots: Vec<Base64>,
    /// The root-signed entry that hashes them.
    pub entry: EntryBody,
}

/// Answer of [`super::endpoint::LOG`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogBody {
    /// The records, oldest first.
    pub records: Vec<RecordBody>,
    /// Whether more follow.
    pub more: bool,
}

/// [`super::endpoint::COMMIT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitBody {
    /// The sealed manifest.
    pub manifest: Base64,
    /// The packs that it needs, as [`PackSet::to_bytes`] writes them.
    pub packs: Base64,
    /// The signed snapshot entry.
    pub entry: EntryBody,
}

/// [`super::endpoint::COMPACT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompactBody {
    /// Which packs took the place of which, as [`PackMap::to_bytes`] writes it.
    pub map: Base64,
    /// The packs of each snapshot that the entry names, as [`PackSet::to_bytes`] writes them.
    pub packs: Vec<Base64>,
    /// The root-signed compact entry.
    pub entry: EntryBody,
}

/// Answer of [`super::endpoint::PUT_PACK`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackAnswer {
    /// The pack's number.
    pub number: PackNumber,
}

/// Answer of [`super::endpoint::ACCESS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessBody {
    /// Oldest first.
    pub access: Vec<Access>,
}

/// Answer of [`super::endpoint::ERASED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptBody {
    /// The canonical bytes of the receipt.
    pub receipt: Base64,
    /// Ed25519 by the server's identity key.
    pub signature: Base64N<64>,
}

impl From<SignedReceipt> for ReceiptBody {
    fn from(signed: SignedReceipt) -> Self {
        Self { receipt: signed.bytes.into(), signature: Base64N(signed.signature) }
    }
}

impl From<ReceiptBody> for SignedReceipt {
    fn from(body: ReceiptBody) -> Self {
        Self { bytes: body.receipt.into(), signature: body.signature.0 }
    }
}

impl From<SignedEntry> for EntryBody {
    fn from(signed: SignedEntry) -> Self {
        Self { entry: signed.bytes.into(), signature: Base64N(signed.signature) }
    }
}

impl From<EntryBody> for SignedEntry {
    fn from(body: EntryBody) -> Self {
        Self { bytes: body.entry.into(), signature: body.signature.0 }
    }
}

impl From<Record> for RecordBody {
    fn from(record: Record) -> Self {
        Self {
            entry: record.signed.bytes.into(),
            signature: Base64N(record.signed.signature),
            received: record.received,
        }
    }
}

impl From<RecordBody> for Record {
    fn from(body: RecordBody) -> Self {
        Self {
            signed: SignedEntry { bytes: body.entry.into(), signature: body.signature.0 },
            received: body.received,
        }
    }
}

impl From<NewAccount> for AccountBody {
    fn from(new: NewAccount) -> Self {
        Self {
            invite: new.invite.into(),
            entries: new.entries.into_iter().map(Into::into).collect(),
            slots: new.slots.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<AccountBody> for NewAccount {
    fn from(body: AccountBody) -> Self {
        Self {
            invite: body.invite.into(),
            entries: body.entries.into_iter().map(Into::into).collect(),
            slots: body.slots.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Challenge> for ChallengeAnswer {
    fn from(challenge: Challenge) -> Self {
        Self { nonce: Base64N(challenge.nonce), expires: challenge.expires }
    }
}

impl From<ChallengeAnswer> for Challenge {
    fn from(body: ChallengeAnswer) -> Self {
        Self { nonce: body.nonce.0, expires: body.expires }
    }
}

impl From<LoginRequest> for LoginBody {
    fn from(request: LoginRequest) -> Self {
        Self {
            account: request.account,
            principal: request.principal,
            nonce: Base64N(request.nonce),
            signature: Base64N(request.signature),
        }
    }
}

impl From<LoginBody> for LoginRequest {
    fn from(body: LoginBody) -> Self {
        Self {
            account: body.account,
            principal: body.principal,
            nonce: body.nonce.0,
            signature: body.signature.0,
        }
    }
}

impl From<LogPage> for LogBody {
    fn from(page: LogPage) -> Self {
        Self { records: page.records.into_iter().map(Into::into).collect(), more: page.more }
    }
}

impl From<LogBody> for LogPage {
    fn from(body: LogBody) -> Self {
        Self { records: body.records.into_iter().map(Into::into).collect(), more: body.more }
    }
}

impl From<CommitRequest> for CommitBody {
    fn from(request: CommitRequest) -> Self {
        Self {
            manifest: Base64(request.manifest),
            packs: request.packs.to_bytes().into(),
            entry: request.entry.into(),
        }
    }
}

impl TryFrom<CommitBody> for CommitRequest {
    type Error = DecodeError;

    fn try_from(body: CommitBody) -> Result<Self, DecodeError> {
        Ok(Self {
            manifest: body.manifest.0,
            packs: PackSet::from_bytes(&body.packs.0)?,
            entry: body.entry.into(),
        })
    }
}

impl From<CompactRequest> for CompactBody {
    fn from(request: CompactRequest) -> Self {
        Self {
            map: request.map.to_bytes().into(),
            packs: request.packs.iter().map(|packs| packs.to_bytes().into()).collect(),
            entry: request.entry.into(),
        }
    }
}

impl TryFrom<CompactBody> for CompactRequest {
    type Error = DecodeError;

    fn try_from(body: CompactBody) -> Result<Self, DecodeError> {
        let packs = body.packs.iter().map(|packs| PackSet::from_bytes(&packs.0));
        Ok(Self {
            map: PackMap::from_bytes(&body.map.0)?,
            packs: packs.collect::<Result<_, DecodeError>>()?,
            entry: body.entry.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::DeserializeOwned;

    fn through_json<T: Serialize + DeserializeOwned>(value: &T) -> T {
        serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
    }

    prop_compose! {
        fn entry()(bytes in prop::collection::vec(any::<u8>(), 0..40), sign in any::<[u8; 32]>()) -> SignedEntry {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&sign);
            SignedEntry { bytes, signature }
        }
    }

    proptest! {
        #[test]
        fn accounts(invite in prop::collection::vec(any::<u8>(), 0..20), entries in prop::collection::vec(entry(), 0..3),
                    slots in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..3)) {
            let new = NewAccount { invite, entries, slots };
            let body = through_json(&AccountBody::from(new.clone()));
            prop_assert_eq!(NewAccount::from(body), new);
        }

        #[test]
        fn pages(entries in prop::collection::vec((entry(), any::<u64>()), 0..4), more in any::<bool>()) {
            let records = entries.into_iter().map(|(signed, at)| Record { signed, received: Timestamp(at) }).collect();
            let page = LogPage { records, more };
            prop_assert_eq!(LogPage::from(through_json(&LogBody::from(page.clone()))), page);
        }

        #[test]
        fn commits(entry in entry(), manifest in prop::collection::vec(any::<u8>(), 0..40),
                   packs in prop::collection::btree_set(any::<u32>(), 0..40)) {
            let packs: PackSet = packs.into_iter().map(PackNumber).collect();
            let request = CommitRequest { manifest: manifest.into(), packs, entry };
            let back = CommitRequest::try_from(through_json(&CommitBody::from(request.clone()))).unwrap();
            prop_assert_eq!(back.manifest, request.manifest);
            prop_assert_eq!(back.packs, request.packs);
            prop_assert_eq!(back.entry, request.entry);
        }
    }

    proptest! {
        #[test]
        fn compactions(entry in entry(), rows in prop::collection::btree_map(any::<u32>(), any::<u32>(), 0..9)) {
            let one = |n: &u32| PackSet::from_iter([PackNumber(*n)]);
            let map = PackMap(rows.iter().map(|(old, new)| (PackNumber(*old), one(new))).collect());
            let packs: Vec<PackSet> = rows.values().map(one).collect();
            let request = CompactRequest { map, packs, entry };
            let back = CompactRequest::try_from(through_json(&CompactBody::from(request.clone()))).unwrap();
            prop_assert_eq!(back.map, request.map);
            prop_assert_eq!(back.packs, request.packs);
            prop_assert_eq!(back.entry, request.entry);
        }
    }

    #[test]
    fn logins_and_pins() {
        let body = ChallengeBody {
            account: VaultId::from_bytes([1; 16]),
            principal: Principal::Device(crate::id::DeviceId::from_bytes([2; 16])),
        };
        let text = serde_json::to_string(&body).unwrap();
        assert_eq!(
            text,
            format!(
                r#"{{"account":"{}","principal":{{"device":"{}"}}}}"#,
                "01".repeat(16),
                "02".repeat(16)
            )
        );
        assert_eq!(through_json(&body), body);
        let owner = format!(r#"{{"account":"{}","principal":"owner"}}"#, "01".repeat(16));
        let owner: ChallengeBody = serde_json::from_str(&owner).unwrap();
        assert_eq!(owner.principal, Principal::Owner);
        let extra = text.replace("{\"account\"", "{\"surprise\":1,\"account\"");
        assert!(serde_json::from_str::<ChallengeBody>(&extra).is_err());
    }
}
