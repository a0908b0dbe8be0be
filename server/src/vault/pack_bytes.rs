//! Whether the bytes of a pack are those of its name, and putting them together from two copies.

use bytes::Bytes;
use unseen_common::id::{Hash, PackNumber};
use unseen_common::limits::{PACK_HEADER, PACK_TRAILER};
use unseen_common::vault::{FooterItem, pack_id};

use super::packs::length_of;
use super::table::Pack;

/// Whether a second copy is of this pack, by the pack's name.
pub(super) fn is_of(copy: &FooterItem, pack: &Pack) -> bool {
    copy.id == pack.id
        && length_of(&copy.footer) == pack.footer_len + PACK_TRAILER
        && length_of(&copy.header) == PACK_HEADER
        && pack_id(copy.content_hash, &copy.footer, pack.length, pack.footer_len) == pack.id
}

/// The ends of a pack, if its bytes are those of its name.
pub(super) fn whole(number: PackNumber, pack: &Pack, bytes: &Bytes) -> Option<FooterItem> {
    let (content, footer) = parts(pack, bytes)?;
    let content_hash = Hash::of(&content);
    let id = pack_id(content_hash, &footer, pack.length, pack.footer_len);
    let header = usize::try_from(PACK_HEADER).ok()?;
    (id == pack.id).then(|| FooterItem {
        number,
        id,
        content_hash,
        length: pack.length,
        header: content.slice(..header),
        footer,
    })
}

fn parts(pack: &Pack, bytes: &Bytes) -> Option<(Bytes, Bytes)> {
    let tail = pack.footer_len + PACK_TRAILER;
    let split = usize::try_from(pack.length.checked_sub(tail)?).ok()?;
    let fits = length_of(bytes) == pack.length && pack.length >= tail + PACK_HEADER;
    fits.then(|| (bytes.slice(..split), bytes.slice(split..)))
}

/// The pack as it was, if something was only put behind it.
pub(super) fn cut(number: PackNumber, pack: &Pack, bytes: &Bytes) -> Option<Vec<u8>> {
    let length = usize::try_from(pack.length).ok()?;
    let start = (bytes.len() > length).then(|| bytes.slice(..length))?;
    whole(number, pack, &start).map(|_| start.to_vec())
}

/// The pack as it was, if only its ends are damaged.
pub(super) fn mended(pack: &Pack, bytes: &Bytes, copy: &FooterItem) -> Option<Vec<u8>> {
    let split = usize::try_from(pack.length - pack.footer_len - PACK_TRAILER).ok()?;
    let body = bytes.get(copy.header.len()..split)?;
    let mut out = Vec::with_capacity(usize::try_from(pack.length).ok()?);
    out.extend_from_slice(&copy.header);
    out.extend_from_slice(body);
    if Hash::of(&out) != copy.content_hash {
        return None;
    }
    out.extend_from_slice(&copy.footer);
    Some(out)
}
