//! What other devices of a vault have written, which the server has had in its hands.

use ed25519_dalek::SigningKey;
use unseen_client::compress::{Decompressor, Encoding, MAX_RAW};
use unseen_client::crypto::content_id::ChunkId;
use unseen_client::crypto::envelope::{EnvelopeKind, HEADER_LEN, HeaderInfo};
use unseen_client::crypto::seal::{TAG_LEN, footer_key};
use unseen_client::crypto::secret::Secret;
use unseen_client::crypto::sign::{Domain, sign};
use unseen_client::pack::chunk_map::ChunkMap;
use unseen_client::pack::reader::{PackError, TableKeys, open_own};
use unseen_client::pack::table::Table;
use unseen_client::tree::entry::Entry;
use unseen_client::tree::manifest::Manifest;
use unseen_client::tree::object::Object;
use unseen_common::id::{Hash, VaultId};
use unseen_common::vault::pack_id;

use crate::canonical;

pub(crate) fn tree_entry(data: &[u8]) {
    canonical::<Entry>(data);
}

pub(crate) fn tree_object(data: &[u8]) {
    canonical::<Object>(data);
}

pub(crate) fn manifest(data: &[u8]) {
    canonical::<Manifest>(data);
}

pub(crate) fn pack_table(data: &[u8]) {
    if let Ok(table) = Table::from_bytes(data) {
        assert_eq!(table.to_bytes(), data);
    }
}

/// Maps of chunks, which any device of the vault may have written.
pub(crate) fn chunk_map(data: &[u8]) {
    if let Ok(map) = ChunkMap::from_bytes(data) {
        assert_eq!(map.to_bytes(), data);
        assert_eq!(map.size(), data.len());
        let first = data.get(50..54).and_then(|start| start.first_chunk::<4>());
        let mut id = [0; 32];
        id[..4].copy_from_slice(first.expect("every row has a chunk"));
        assert!(
            map.may_hold(&ChunkId(id)).next().is_some(),
            "the first chunk is in the first pack"
        );
    }
}

/// Footers as they come from the server, before anything is opened.
pub(crate) fn footer(data: &[u8]) {
    for kind in [EnvelopeKind::Pack, EnvelopeKind::Manifest] {
        let Ok(info) = HeaderInfo::peek(kind, data) else {
            continue;
        };
        let mut sealed = data.to_vec();
        let opened = footer_key(&secret(7), info.uid, Hash::of(data)).open(&mut sealed);
        assert!(opened.is_err(), "nobody sealed this");
    }
}

const LENGTH: u64 = 65_536;
const FOOTER: usize = 4096;

/// Footers that a hostile device has sealed with its own key. The first byte says whether what
/// follows is its table of contents, duly signed, or all of the plaintext.
pub(crate) fn pack_footer(data: &[u8]) {
    let Some((signed, rest)) = data.split_first() else {
        return;
    };
    let (vault, content) = (VaultId::from_bytes([1; 16]), Hash::from_bytes([2; 32]));
    let device = SigningKey::from_bytes(&[3; 32]);
    // Magic number, suite, epoch; the rest is not looked at without the vault's key.
    let mut header = [b"UNSEENP1".as_slice(), &[1, 3, 0, 0, 0]].concat();
    header.resize(HEADER_LEN, 0x22);
    let info = HeaderInfo::peek(EnvelopeKind::Pack, &header).expect("it is a header");
    let mut plain = rest.to_vec();
    if *signed == 1 {
        let table = Hash::of(rest);
        let parts: [&[u8]; 5] = [
            vault.as_bytes(),
            &info.epoch.to_le_bytes(),
            info.uid.as_bytes(),
            content.as_bytes(),
            table.as_bytes(),
        ];
        let signature = sign(&device, Domain::Pack, &parts.concat());
        let length = u32::try_from(rest.len()).expect("no input is so long").to_le_bytes();
        plain = [&length, rest, content.as_bytes(), &signature].concat();
    }
    plain.resize(FOOTER, 0);
    plain.truncate(FOOTER - TAG_LEN);
    plain.resize(FOOTER, 0);
    let key = footer_key(&secret(7), info.uid, Hash::of(&header));
    key.seal(&mut plain).expect("it has room for the tag");
    plain.extend_from_slice(&[0, 0x10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let id = pack_id(content, &plain, LENGTH, 4096);
    let (index_key, signers) = (secret(7), [device.verifying_key()]);
    let keys = TableKeys { index_key: &index_key, signers: &signers };
    match open_own((id, LENGTH), (&header, &plain), vault, keys) {
        Ok((opened, _)) => assert!(opened.table.body_len() < LENGTH),
        // Everything but the content stands.
        Err(PackError::Open(error)) => unreachable!("{error:?}"),
        Err(PackError::Signature(_)) => assert_ne!(*signed, 1),
        Err(_) => {}
    }
}

/// What was sealed as a compressed segment. The first four bytes say what its length is to be.
pub(crate) fn decompress(data: &[u8]) {
    let Some((length, packed)) = data.split_first_chunk::<4>() else {
        return;
    };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (mut decompressor, mut out) = (Decompressor::new(), Vec::new());
    for encoding in [Encoding::Stored, Encoding::Zstd] {
        if decompressor.decompress(encoding, packed, length, &mut out).is_ok() {
            assert_eq!(out.len(), length);
        }
        assert!(out.len() <= MAX_RAW);
    }
}

fn secret(byte: u8) -> Secret<32> {
    Secret::from_bytes([byte; 32])
}
