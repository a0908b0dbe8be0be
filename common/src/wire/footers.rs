//! A page of footers, as an octet-stream.
//!
//! ```text
//! page = more u8 (0 or 1) | item ...
//! item = number u32 LE | pack id 32 | content hash 32 | pack length u64 LE | header length u32 LE
//!        | footer length u32 LE | header | footer and trailer
//! ```

use bytes::{Buf, Bytes};

use crate::codec::{DecodeError, check_cap};
use crate::id::{Hash, PackId, PackNumber};
use crate::limits::{MAX_FOOTER, PACK_HEADER, PACK_TRAILER};
use crate::vault::{FooterItem, FooterPage};

const FIXED: usize = 4 + 32 + 32 + 8 + 4 + 4;

/// Writes a page.
pub fn encode(page: &FooterPage) -> Vec<u8> {
    let mut out = vec![u8::from(page.more)];
    for item in &page.items {
        encode_item(item, &mut out);
    }
    out
}

/// Writes one item.
pub fn encode_item(item: &FooterItem, out: &mut Vec<u8>) {
    out.extend_from_slice(&item.number.0.to_le_bytes());
    out.extend_from_slice(item.id.as_bytes());
    out.extend_from_slice(item.content_hash.as_bytes());
    out.extend_from_slice(&item.length.to_le_bytes());
    out.extend_from_slice(&length(&item.header));
    out.extend_from_slice(&length(&item.footer));
    out.extend_from_slice(&item.header);
    out.extend_from_slice(&item.footer);
}

/// Reads a page; its items share the memory of `bytes`.
pub fn decode(mut bytes: Bytes) -> Result<FooterPage, DecodeError> {
    let more = match bytes.first() {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(DecodeError::Invalid("malformed page of footers")),
    };
    bytes.advance(1);
    let mut items: Vec<FooterItem> = Vec::new();
    while !bytes.is_empty() {
        let item = decode_item(&mut bytes)?;
        if items.last().is_some_and(|last| last.number >= item.number) {
            return Err(DecodeError::Invalid("footers must come in ascending order"));
        }
        items.push(item);
    }
    Ok(FooterPage { items, more })
}

/// Reads one item, and takes it off `bytes`.
pub fn decode_item(bytes: &mut Bytes) -> Result<FooterItem, DecodeError> {
    if bytes.len() < FIXED {
        return Err(DecodeError::Invalid("a footer is cut off"));
    }
    let number = PackNumber(bytes.get_u32_le());
    let mut id = [0; 32];
    bytes.copy_to_slice(&mut id);
    let mut content_hash = [0; 32];
    bytes.copy_to_slice(&mut content_hash);
    let length = bytes.get_u64_le();
    let header_len = bytes.get_u32_le();
    let footer_len = bytes.get_u32_le();
    Ok(FooterItem {
        number,
        id: PackId::from_bytes(id),
        content_hash: Hash::from_bytes(content_hash),
        length,
        header: part(bytes, header_len, PACK_HEADER)?,
        footer: part(bytes, footer_len, MAX_FOOTER + PACK_TRAILER)?,
    })
}

fn part(bytes: &mut Bytes, length: u32, cap: u64) -> Result<Bytes, DecodeError> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    check_cap("part of a footer", length, usize::try_from(cap).unwrap_or(usize::MAX))?;
    if length > bytes.len() {
        return Err(DecodeError::Invalid("a footer is cut off"));
    }
    Ok(bytes.split_to(length))
}

fn length(part: &Bytes) -> [u8; 4] {
    u32::try_from(part.len()).expect("headers and footers are capped far below 4 GiB").to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn pages()(list in prop::collection::btree_map(any::<u32>(), (any::<[u8; 32]>(), 0usize..50, 0usize..90), 0..5),
                   more in any::<bool>()) -> FooterPage {
            let items = list.into_iter().map(|(number, (id, header, footer))| FooterItem {
                number: PackNumber(number),
                id: PackId::from_bytes(id),
                content_hash: Hash::of(&id),
                length: 65536,
                header: vec![1; header].into(),
                footer: vec![2; footer].into(),
            }).collect();
            FooterPage { items, more }
        }
    }

    proptest! {
        #[test]
        fn round_trip(page in pages()) {
            prop_assert_eq!(decode(encode(&page).into()).unwrap(), page);
        }

        #[test]
        fn mutations_never_panic(page in pages(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut bytes = encode(&page);
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(read) = decode(bytes.clone().into()) {
                prop_assert_eq!(encode(&read), bytes);
            }
        }

        #[test]
        fn cut_off_is_refused(page in pages(), at in any::<prop::sample::Index>()) {
            let bytes = encode(&page);
            let cut = bytes[..at.index(bytes.len())].to_vec();
            let whole_items = decode(cut.into());
            prop_assert!(whole_items.is_err() || whole_items.unwrap().items.len() < page.items.len());
        }
    }
}
