//! The second copy of the footers of a range of packs.
//!
//! ```text
//! segment  "UNSEENF1" | account id 16 | first number u32 LE | item ...
//! item     length of the body u32 LE | checksum 16 | body
//! body     as an item in a page of footers (docs/PROTOCOL.md)
//! ```
//!
//! The checksum is the first half of BLAKE3, in key derivation mode with the context
//! "unseen 2026-11 v1 footer segment", over (account id | body). Items ascend by number, within the
//! range. A damaged item costs itself alone, unless its length is what is damaged.

use bytes::{Buf, Bytes};
use unseen_common::id::{PackNumber, VaultId};
use unseen_common::limits::{MAX_FOOTER, PACK_HEADER};
use unseen_common::vault::FooterItem;
use unseen_common::wire::footers;

/// Numbers of one segment: 2 to this power.
const RANGE_BITS: u32 = 6;
/// Longest segment that is written or read, in bytes. The footers of a range that are longer
/// together have no second copy.
pub const MAX_SEGMENT: usize = 32 * 1024 * 1024;

const MAGIC: &[u8; 8] = b"UNSEENF1";
const CONTEXT: &str = "unseen 2026-11 v1 footer segment";
/// Longest body: both ends of the largest pack, and what stands before them.
const MAX_BODY: u64 = MAX_FOOTER + PACK_HEADER + 256;

/// The first number of the range that holds `number`.
pub const fn first_of(number: PackNumber) -> PackNumber {
    PackNumber((number.0 >> RANGE_BITS) << RANGE_BITS)
}

/// The last number of the range that holds `number`.
pub const fn last_of(number: PackNumber) -> PackNumber {
    PackNumber(first_of(number).0 | ((1 << RANGE_BITS) - 1))
}

/// A segment that is being written.
#[derive(Debug)]
pub struct Segment {
    account: VaultId,
    /// Nothing once it would be too long.
    bytes: Option<Vec<u8>>,
}

impl Segment {
    /// An empty one, of the range that begins with `first`.
    pub fn new(account: VaultId, first: PackNumber) -> Self {
        let head = [&MAGIC[..], account.as_bytes(), &first.0.to_le_bytes()].concat();
        Self { account, bytes: Some(head) }
    }

    /// Adds an item. Items ascend and are of one range.
    pub fn push(&mut self, item: &FooterItem) {
        self.bytes = self.bytes.take().and_then(|bytes| with_item(self.account, bytes, item));
    }

    /// What is stored; `None` if it is too long.
    pub fn finish(self) -> Option<Vec<u8>> {
        self.bytes
    }
}

fn with_item(account: VaultId, mut bytes: Vec<u8>, item: &FooterItem) -> Option<Vec<u8>> {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 20]);
    footers::encode_item(item, &mut bytes);
    let (head, body) = bytes.get_mut(start..)?.split_at_mut_checked(20)?;
    let (length, sum) = head.split_at_mut_checked(4)?;
    length.copy_from_slice(&u32::try_from(body.len()).ok()?.to_le_bytes());
    sum.copy_from_slice(&checksum(account, body));
    (bytes.len() <= MAX_SEGMENT).then_some(bytes)
}

/// Reads a segment: its good items, which share the memory of `bytes`, and whether all are good.
pub fn decode(account: VaultId, first: PackNumber, mut bytes: Bytes) -> (Vec<FooterItem>, bool) {
    let mut items: Vec<FooterItem> = Vec::new();
    let head = [&MAGIC[..], account.as_bytes(), &first.0.to_le_bytes()].concat();
    if bytes.len() > MAX_SEGMENT || !bytes.starts_with(&head) {
        return (items, false);
    }
    bytes.advance(head.len());
    let mut whole = true;
    while !bytes.is_empty() {
        let Some((body, good)) = next_body(account, &mut bytes) else {
            return (items, false);
        };
        match good.then(|| item_of(body)).flatten() {
            Some(item) if fits(first, items.last(), &item) => items.push(item),
            _ => whole = false,
        }
    }
    (items, whole)
}

/// The next body, and whether its checksum holds; `None` where it is cut off.
fn next_body(account: VaultId, bytes: &mut Bytes) -> Option<(Bytes, bool)> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?);
    let sum: [u8; 16] = bytes.get(4..20)?.try_into().ok()?;
    let length = usize::try_from(length).ok().filter(|_| u64::from(length) <= MAX_BODY)?;
    bytes.get(20..length.checked_add(20)?)?;
    bytes.advance(20);
    let body = bytes.split_to(length);
    let good = checksum(account, &body) == sum;
    Some((body, good))
}

fn item_of(mut body: Bytes) -> Option<FooterItem> {
    let item = footers::decode_item(&mut body).ok()?;
    body.is_empty().then_some(item)
}

fn fits(first: PackNumber, before: Option<&FooterItem>, item: &FooterItem) -> bool {
    first_of(item.number) == first && before.is_none_or(|before| before.number < item.number)
}

fn checksum(account: VaultId, body: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(account.as_bytes()).update(body);
    let mut out = [0; 16];
    hasher.finalize_xof().fill(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use unseen_common::id::{Hash, PackId};

    fn encode(account: VaultId, first: PackNumber, items: &[FooterItem]) -> Option<Vec<u8>> {
        let mut segment = Segment::new(account, first);
        for item in items {
            segment.push(item);
        }
        segment.finish()
    }

    const ACCOUNT: VaultId = VaultId::from_bytes([5; 16]);
    const FIRST: PackNumber = PackNumber(128);

    fn item(number: u32, length: usize) -> FooterItem {
        FooterItem {
            number: PackNumber(number),
            id: PackId::from_bytes([1; 32]),
            content_hash: Hash::from_bytes([2; 32]),
            length: 65536,
            header: vec![3; 5].into(),
            footer: vec![4; length].into(),
        }
    }

    #[test]
    fn bytes_are_pinned() {
        let bytes = encode(ACCOUNT, FIRST, &[item(129, 3)]).unwrap();
        assert_eq!(bytes[..8], *b"UNSEENF1");
        assert_eq!(bytes[8..24], [5; 16]);
        assert_eq!(bytes[24..32], [128, 0, 0, 0, 92, 0, 0, 0]);
        assert_eq!(
            data_encoding::HEXLOWER.encode(&bytes[32..48]),
            "a58e8a53381a5666471844a78278c0ae"
        );
        assert_eq!(bytes[48..52], [129, 0, 0, 0]);
        assert_eq!(bytes.len(), 48 + 92);
        assert_eq!((first_of(PackNumber(191)), last_of(PackNumber(128))), (FIRST, PackNumber(191)));
    }

    #[test]
    fn a_damaged_item_costs_itself_alone() {
        let items = [item(130, 30), item(131, 40), item(191, 50)];
        let mut bytes = encode(ACCOUNT, FIRST, &items).unwrap();
        let second = 28 + 20 + 84 + 5 + 30 + 20;
        bytes[second + 60] ^= 1;
        let (good, whole) = decode(ACCOUNT, FIRST, bytes.into());
        assert_eq!((good, whole), (vec![items[0].clone(), items[2].clone()], false));
    }

    #[test]
    fn what_is_of_another_range_or_account_is_refused() {
        let bytes = Bytes::from(encode(ACCOUNT, FIRST, &[item(130, 3)]).unwrap());
        let other = VaultId::from_bytes([6; 16]);
        assert_eq!(decode(other, FIRST, bytes.clone()), (vec![], false));
        assert_eq!(decode(ACCOUNT, PackNumber(64), bytes), (vec![], false));
        for odd in [vec![item(127, 3)], vec![item(192, 3)], vec![item(131, 3), item(131, 3)]] {
            let bytes = encode(ACCOUNT, FIRST, &odd).unwrap();
            let (good, whole) = decode(ACCOUNT, FIRST, bytes.into());
            assert_eq!((good.len(), whole), (odd.len() - 1, false));
        }
        let many: Vec<_> = (128..192).map(|number| item(number, 600_000)).collect();
        assert_eq!(encode(ACCOUNT, FIRST, &many), None);
    }

    proptest! {
        #[test]
        fn any_change_is_seen_and_none_panics(
            lengths in prop::collection::vec(0usize..60, 0..5),
            at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<prop::sample::Index>(),
        ) {
            let items: Vec<_> = (128..).zip(&lengths).map(|(n, length)| item(n, *length)).collect();
            let bytes = encode(ACCOUNT, FIRST, &items).unwrap();
            prop_assert_eq!(decode(ACCOUNT, FIRST, bytes.clone().into()), (items.clone(), true));
            let mut changed = bytes.clone();
            let at = at.index(changed.len());
            changed[at] = to;
            let (good, whole) = decode(ACCOUNT, FIRST, changed.clone().into());
            prop_assert_eq!(whole, changed == bytes);
            prop_assert!(good.iter().all(|item| items.contains(item)));
            let cut = bytes[..cut.index(bytes.len())].to_vec();
            let (good, whole) = decode(ACCOUNT, FIRST, cut.into());
            prop_assert!(good.len() < items.len() || (items.is_empty() && !whole));
        }
    }
}
