//! Envelopes, segments and footers: what opens, and everything that must not.

use std::collections::BTreeSet;

use proptest::prelude::*;
use unseen_common::id::{DeviceId, Hash, PackUid, VaultId};

use super::envelope::{EnvelopeKind, HEADER_LEN, HeaderInfo, OpenError, SealError, SealTo};
use super::rng::testing::rng;
use super::schedule::{ReaderKeys, RootSecret, Unlocked, WriteSet};
use super::seal::{PackKey, TAG_LEN, footer_key};
use super::secret::Secret;
use super::vault_key::VaultPublicKey;

const VAULT: VaultId = VaultId::from_bytes([7; 16]);
const DEVICE: DeviceId = DeviceId::from_bytes([9; 16]);

struct Vault {
    public: VaultPublicKey,
    write_set: WriteSet,
    reader: ReaderKeys,
}

impl Vault {
    fn new() -> Self {
        let unlocked = Unlocked::generate(VAULT, &mut rng(1));
        let public = unlocked.root.vault_key(VAULT).public().clone();
        Self { public, write_set: unlocked.write_set(), reader: unlocked.reader_keys() }
    }

    fn seal_to(&self) -> SealTo<'_> {
        let psk = &self.write_set.writer_psk;
        SealTo { vault: VAULT, epoch: 0, device: DEVICE, public: &self.public, psk }
    }

    fn header(&self, kind: EnvelopeKind, seed: u8) -> (Box<[u8; HEADER_LEN]>, PackKey) {
        self.seal_to().new_header(kind, &mut rng(seed)).unwrap()
    }

    fn open(&self, header: &[u8]) -> Result<(HeaderInfo, PackKey), OpenError> {
        self.reader.open_header(EnvelopeKind::Pack, header)
    }
}

fn refusal<T>(result: Result<T, OpenError>) -> Option<OpenError> {
    result.err()
}

/// `text` sealed as segment `index`.
fn sealed(key: &PackKey, index: u64, text: &[u8]) -> Vec<u8> {
    let mut buf = [text, &[0; TAG_LEN]].concat();
    key.seal_segment(index, &mut buf).unwrap();
    buf
}

#[test]
fn a_reader_gets_the_key_the_writer_made() {
    let vault = Vault::new();
    for kind in [EnvelopeKind::Pack, EnvelopeKind::Manifest] {
        let (header, writer) = vault.header(kind, 2);
        let (info, reader) = vault.reader.open_header(kind, &*header).unwrap();
        assert_eq!(info, HeaderInfo { epoch: 0, device: DEVICE, uid: writer.uid() });
        assert_eq!(HeaderInfo::peek(kind, &*header), Ok(info));
        assert_eq!(reader.header_hash(), Hash::of(&*header));
        for index in [0, 1, u64::from(u32::MAX)] {
            let mut buf = sealed(&writer, index, b"segment");
            assert_ne!(&buf[..7], b"segment");
            assert_eq!(reader.open_segment(index, &mut buf).unwrap(), b"segment");
        }
    }
}

#[test]
fn every_flipped_byte_of_a_header_is_refused() {
    let vault = Vault::new();
    let (header, _) = vault.header(EnvelopeKind::Pack, 2);
    for index in 0..HEADER_LEN {
        let mut bad = header.clone();
        bad[index] ^= 0x80;
        let refused = refusal(vault.open(&*bad));
        let expected = match index {
            0..8 => OpenError::Magic,
            8 => OpenError::Suite { suite: 0x81 },
            9..13 => OpenError::Epoch { epoch: 0x80 << (8 * (index - 9)) },
            13..1213 => OpenError::Envelope,
            _ => OpenError::Commitment,
        };
        assert_eq!(refused, Some(expected), "byte {index}");
    }
}

#[test]
fn a_header_has_one_length_and_one_kind() {
    let vault = Vault::new();
    let (header, _) = vault.header(EnvelopeKind::Pack, 2);
    let short = refusal(vault.open(&header[..HEADER_LEN - 1]));
    assert_eq!(short, Some(OpenError::Length { len: 1244 }));
    let long = [header.as_slice(), &[0]].concat();
    assert_eq!(refusal(vault.open(&long)), Some(OpenError::Length { len: 1246 }));

    let manifest = vault.header(EnvelopeKind::Manifest, 2).0;
    assert_eq!(refusal(vault.open(&*manifest)), Some(OpenError::Magic));
    // Another magic alone does not turn a manifest into a pack.
    let mut posing = manifest;
    posing[..8].copy_from_slice(EnvelopeKind::Pack.magic());
    assert_eq!(refusal(vault.open(&*posing)), Some(OpenError::Envelope));
}

#[test]
fn another_vault_root_or_writer_key_does_not_open() {
    let vault = Vault::new();
    let (header, _) = vault.header(EnvelopeKind::Pack, 2);
    let root = || RootSecret::generate(0, &mut rng(1));
    let write_set = || WriteSet::from_bytes(&vault.write_set.to_bytes());

    let mut other_psk = write_set();
    other_psk.writer_psk = Secret::from_bytes([1; 32]);
    let other_root = RootSecret::generate(0, &mut rng(3));
    let readers = [
        ReaderKeys::new(VaultId::from_bytes([8; 16]), &root(), write_set()),
        ReaderKeys::new(VAULT, &other_root, write_set()),
        ReaderKeys::new(VAULT, &root(), other_psk),
    ];
    for reader in readers {
        let refused = refusal(reader.open_header(EnvelopeKind::Pack, &*header));
        assert_eq!(refused, Some(OpenError::Envelope));
    }
    let same = ReaderKeys::new(VAULT, &root(), write_set());
    assert!(same.open_header(EnvelopeKind::Pack, &*header).is_ok());
}

#[test]
fn an_envelope_moved_to_another_uid_does_not_open() {
    let vault = Vault::new();
    let (first, _) = vault.header(EnvelopeKind::Pack, 2);
    let (second, _) = vault.header(EnvelopeKind::Pack, 3);
    let mut mixed = first;
    mixed[29..45].copy_from_slice(&second[29..45]);
    assert_eq!(refusal(vault.open(&*mixed)), Some(OpenError::Envelope));
}

#[test]
fn packs_of_an_older_epoch_open_with_its_root() {
    let vault = Vault::new();
    let (header, _) = vault.header(EnvelopeKind::Pack, 2);
    let next = RootSecret::generate(1, &mut rng(4));
    let write_set = WriteSet::from_bytes(&vault.write_set.to_bytes());
    let mut reader = ReaderKeys::new(VAULT, &next, write_set);
    let unknown = refusal(reader.open_header(EnvelopeKind::Pack, &*header));
    assert_eq!(unknown, Some(OpenError::Epoch { epoch: 0 }));
    reader.add_epoch(&RootSecret::generate(0, &mut rng(1)));
    assert!(reader.open_header(EnvelopeKind::Pack, &*header).is_ok());
}

#[test]
fn headers_never_repeat_even_with_a_stuck_source() {
    let vault = Vault::new();
    let mut rng = rng(2);
    let mut seen = BTreeSet::new();
    for _ in 0..8 {
        let (header, key) = vault.seal_to().new_header(EnvelopeKind::Pack, &mut rng).unwrap();
        let text = sealed(&key, 0, &[0; 32]);
        assert!(seen.insert(header[45..1165].to_vec()) && seen.insert(text));
    }
}

#[test]
fn a_segment_opens_only_in_its_place() {
    let vault = Vault::new();
    let (_, key) = vault.header(EnvelopeKind::Pack, 2);
    let (_, other) = vault.header(EnvelopeKind::Pack, 3);
    let text = sealed(&key, 5, b"segment");
    for (opener, index) in [(&key, 4), (&key, 0), (&other, 5)] {
        let refused = refusal(opener.open_segment(index, &mut text.clone()));
        assert_eq!(refused, Some(OpenError::Forged));
    }
    for index in 0..text.len() {
        let mut bad = text.clone();
        bad[index] ^= 1;
        assert_eq!(refusal(key.open_segment(5, &mut bad)), Some(OpenError::Forged));
    }
    let short = refusal(key.open_segment(5, &mut [0; 15]));
    assert_eq!(short, Some(OpenError::Length { len: 15 }));
}

#[test]
fn a_nonce_is_never_used_twice() {
    let vault = Vault::new();
    let (header, key) = vault.header(EnvelopeKind::Pack, 2);
    sealed(&key, 3, b"once");
    let mut buf = [0; 32];
    assert_eq!(key.seal_segment(3, &mut buf), Err(SealError::Reused { index: 3 }));
    let beyond = 1 << 32;
    let out_of_range = Err(SealError::SegmentIndex { index: beyond });
    assert_eq!(key.seal_segment(beyond, &mut buf), out_of_range);
    let refused = refusal(key.open_segment(beyond, &mut buf));
    assert_eq!(refused, Some(OpenError::SegmentIndex { index: beyond }));
    assert_eq!(key.seal_segment(4, &mut [0; 15]), Err(SealError::Length { len: 15 }));
    // A buffer without room used no number up.
    assert_eq!(key.seal_segment(4, &mut buf), Ok(()));

    let (_, opened) = vault.open(&*header).unwrap();
    assert_eq!(opened.seal_segment(9, &mut buf), Err(SealError::ReadOnly));
}

#[test]
fn a_footer_opens_with_its_device_and_pack_only() {
    let vault = Vault::new();
    let (_, key) = vault.header(EnvelopeKind::Pack, 2);
    let index_key = Secret::from_bytes([1; 32]);
    let mut footer = *b"table of contents................";
    key.footer_key(&index_key).seal(&mut footer).unwrap();

    let (uid, hash) = (key.uid(), key.header_hash());
    let opened = footer_key(&index_key, uid, hash).open(&mut footer.clone()).unwrap().to_vec();
    assert_eq!(opened, b"table of contents");
    let others = [
        footer_key(&Secret::from_bytes([2; 32]), uid, hash),
        footer_key(&index_key, PackUid::from_bytes([0; 16]), hash),
        footer_key(&index_key, uid, Hash::of(b"")),
    ];
    for other in others {
        assert_eq!(refusal(other.open(&mut footer.clone())), Some(OpenError::Forged));
    }
    // Nor with the pack's own key: a reader of bodies is not a reader of tables.
    assert_eq!(refusal(key.open_segment(0, &mut footer.clone())), Some(OpenError::Forged));
    let tiny = footer_key(&index_key, uid, hash).seal(&mut [0; 15]);
    assert_eq!(tiny, Err(SealError::Length { len: 15 }));
}

proptest! {
    #[test]
    fn any_header_is_parsed_without_panic(
        header in proptest::collection::vec(any::<u8>(), 0..HEADER_LEN + 2),
    ) {
        prop_assert!(HeaderInfo::peek(EnvelopeKind::Pack, &header).is_err());
    }

    #[test]
    fn segments_of_any_content_round_trip(
        text in proptest::collection::vec(any::<u8>(), 0..300),
        index: u32,
    ) {
        let header = [0; HEADER_LEN];
        let uid = PackUid::from_bytes([0; 16]);
        let key = PackKey::for_sealing(&Secret::from_bytes([1; 32]), &header, uid);
        let index = u64::from(index);
        let mut buf = sealed(&key, index, &text);
        let opened = key.open_segment(index, &mut buf.clone()).map(|plain| plain.to_vec());
        prop_assert_eq!(opened, Ok(text));
        let wrong = key.open_segment(index ^ 1, &mut buf).err();
        prop_assert_eq!(wrong, Some(OpenError::Forged));
    }
}
