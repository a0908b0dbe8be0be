//! A whole small pack and a manifest.

use ed25519_dalek::{SigningKey, VerifyingKey};
use serde_json::{Value, json};
use unseen_common::codec::Canonical;
use unseen_common::id::{Hash, PackId, PackNumber, SnapshotId};
use unseen_common::time::Timestamp;

use super::{
    DEVICE, EPOCH, INDEX_KEY, MANIFEST_SEED, VAULT, hex, inputs, published, unhex, unlocked,
};
use crate::compress::Encoding;
use crate::crypto::content_id::{ChunkId, ChunkKind};
use crate::crypto::envelope::{EnvelopeKind, HEADER_LEN, SealTo};
use crate::crypto::rng::testing::rng;
use crate::pack::builder::{BufferPool, PackBuilder, Sealer};
use crate::pack::chunk_map::{ChunkMap, MappedPack};
use crate::pack::ladder::{footer_len, pack_len};
use crate::pack::manifest::{open_manifest, seal_manifest};
use crate::pack::reader::{Ends, OpenedFooter, PackError, SegmentOpener, TableKeys, open_footer};
use crate::pack::table::{ChunkRow, SegmentRow, Table};
use crate::tree::manifest::{Manifest, MapRef, Problem, Totals};
use crate::tree::object::Object;
use crate::tree::run_rules::{RunPattern, RunRules};

/// 1000 times `a`: magic, descriptor, a window of 2 MiB, one last block of kind RLE.
const FRAME: [u8; 10] = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x43, 0x1f, 0x00, b'a'];

/// Kind, how it is stored, what is stored, its chunks.
type Made = (ChunkKind, Encoding, Vec<u8>, Vec<Vec<u8>>);

fn rows() -> Vec<(SegmentRow, Vec<u8>)> {
    let leaf = Object::Leaf(Vec::new()).to_bytes();
    let segments: [Made; 3] = [
        (
            ChunkKind::Data,
            Encoding::Stored,
            b"the quick brown foxjumps".to_vec(),
            vec![b"the quick brown fox".to_vec(), b"jumps".to_vec()],
        ),
        (ChunkKind::Data, Encoding::Zstd, FRAME.to_vec(), vec![vec![b'a'; 600], vec![b'a'; 400]]),
        (ChunkKind::Tree, Encoding::Stored, leaf.clone(), vec![leaf.clone()]),
    ];
    let ids = unlocked().write_set().content_keys();
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
    let row = |(kind, encoding, encoded, chunks): Made| {
        let chunk =
            |bytes: &Vec<u8>| ChunkRow { id: ids.chunk_id(kind, bytes), length: length(bytes) };
        let row = SegmentRow {
            sealed: 0,
            raw: chunks.iter().map(|c| length(c)).sum(),
            encoding,
            kind,
            chunks: chunks.iter().map(chunk).collect(),
        };
        (row, encoded)
    };
    segments.into_iter().map(row).collect()
}

/// The device's signature, and the owner's on a pack that a compaction made.
fn signers() -> [SigningKey; 2] {
    [SigningKey::from_bytes(&MANIFEST_SEED), unlocked().owner_keys().root.clone()]
}

fn pack(signer: &SigningKey, seed: u8) -> Value {
    let unlocked = unlocked();
    let (write_set, vault_key) = (unlocked.write_set(), unlocked.root.vault_key(VAULT));
    let to = SealTo {
        vault: VAULT,
        epoch: EPOCH,
        device: DEVICE,
        public: vault_key.public(),
        psk: &write_set.writer_psk,
    };
    let mut builder = PackBuilder::new(&BufferPool::new(1));
    for (row, encoded) in rows() {
        assert!(builder.append(&encoded, row));
    }
    let sealer = Sealer { to, signer, index_key: &INDEX_KEY };
    let sealed = builder.seal(&sealer, &mut rng(seed)).unwrap();
    let upload = sealed.upload();
    let footer_len = usize::try_from(upload.footer_len).unwrap();
    let (body_end, trailer_at) = (upload.bytes.len() - 16 - footer_len, upload.bytes.len() - 16);
    let mut at = HEADER_LEN;
    let mut segments = Vec::new();
    for (row, (_, encoded)) in sealed.table.segments.iter().zip(rows()) {
        let end = at + usize::try_from(row.sealed).unwrap();
        segments.push(json!({
            "kind": row.kind.code(),
            "zstd": row.encoding == Encoding::Zstd,
            "raw": row.raw,
            "chunks": row.chunks.iter().map(|c| json!({"id": hex(c.id.0), "length": c.length}))
                .collect::<Vec<_>>(),
            "encoded": hex(encoded),
            "sealed": hex(&upload.bytes[at..end]),
        }));
        at = end;
    }
    json!({
        "length": upload.bytes.len(),
        "id": hex(upload.id.as_bytes()),
        "content_hash": hex(blake3::hash(&upload.bytes[..body_end]).as_bytes()),
        "header": hex(&upload.bytes[..HEADER_LEN]),
        "segments": segments,
        "padding_length": body_end - at,
        "padding_hash": hex(blake3::hash(&upload.bytes[at..body_end]).as_bytes()),
        "table": hex(sealed.table.to_bytes()),
        "footer": hex(&upload.bytes[body_end..trailer_at]),
        "trailer": hex(&upload.bytes[trailer_at..]),
    })
}

fn sample() -> Manifest {
    Manifest {
        set: "default".into(),
        paths: vec![b"/home/\xff".to_vec(), b"/srv".to_vec()],
        host: "host".into(),
        user: "user".into(),
        tags: vec!["weekly".into()],
        start: Timestamp(1_800_000_000),
        end: Timestamp(1_800_000_100),
        program: "0.1.0".into(),
        root: ChunkId([9; 32]),
        totals: Totals { files: 1, dirs: 2, bytes: 3 },
        errors: vec![Problem { path: b"/home/x".to_vec(), why: "permission denied".into() }],
        error_count: 1,
        rules: Some(RunRules {
            patterns: vec![
                RunPattern { text: b"*.tmp".to_vec(), any_case: false },
                RunPattern { text: b"!/home/\xff/keep.tmp".to_vec(), any_case: true },
            ],
            caches: true,
            if_present: vec![(b".nobackup".to_vec(), b"yes".to_vec())],
            beside: vec![(b"target".to_vec(), b"Cargo.toml".to_vec())],
            larger_than: Some(1_000_000_000),
            git_ignore: true,
            one_file_system: false,
            own: vec![b"/home/me/.cache/unseen/default".to_vec()],
        }),
        disclosure_hash: Hash::from_bytes([1; 32]),
        maps: vec![MapRef {
            number: PackNumber(70),
            pack: PackId::from_bytes([2; 32]),
            chunk: ChunkId([3; 32]),
        }],
    }
}

fn manifest() -> Value {
    let unlocked = unlocked();
    let (write_set, vault_key) = (unlocked.write_set(), unlocked.root.vault_key(VAULT));
    let to = SealTo {
        vault: VAULT,
        epoch: EPOCH,
        device: DEVICE,
        public: vault_key.public(),
        psk: &write_set.writer_psk,
    };
    let (sealed, id) = seal_manifest(&sample(), &to, &mut rng(8)).unwrap();
    json!({
        "cbor": hex(sample().to_bytes()),
        "sealed": hex(sealed),
        "snapshot_id": hex(id.as_bytes()),
    })
}

/// Lengths of sealed segments and of the table; what footer and pack come to.
fn ladder() -> Value {
    let cases = [
        (0, 1),
        (1000, 3980),
        (1000, 3981),
        (60_163, 200),
        (60_164, 200),
        (16_771_843, 200),
        (16_771_844, 200),
    ];
    let line = |(body, table): (u64, u64)| {
        json!({
            "body": body,
            "table": table,
            "footer": footer_len(table),
            "pack": pack_len(body, table),
        })
    };
    cases.into_iter().map(line).collect()
}

/// Tables that break one rule each.
fn refused() -> Value {
    let id = "00".repeat(32);
    json!([
        {"why": "the count is longer than needed", "table": "8000"},
        {"why": "a number of six bytes", "table": "808080808000"},
        {"why": "a byte behind the last row", "table": "0000"},
        {"why": "a segment shorter than its tag", "table": format!("010f01000 1{id}01").replace(' ', "")},
        {"why": "no chunks", "table": "0111010000"},
        {"why": "flags beyond 3", "table": format!("0111010401{id}01")},
        {"why": "an empty chunk", "table": format!("0111010001{id}00")},
        {"why": "chunks shorter than the segment", "table": format!("0111020001{id}01")},
        {"why": "more than 4 MiB of content", "table": format!("011181808002000 1{id}01").replace(' ', "")},
        {"why": "cut short", "table": format!("0111010001{}", "00".repeat(31))},
    ])
}

#[test]
fn packs_and_manifests_are_as_they_were() {
    let [device, owner] = signers();
    let computed = json!({
        "inputs": inputs(),
        "pack": pack(&device, 7),
        "pack_by_owner": pack(&owner, 8),
        "manifest": manifest(),
        "ladder": ladder(),
        "refused_tables": refused(),
        "chunk_map": chunk_map(),
    });
    let stored = published("pack.json", &computed);
    let [device, owner] = [device.verifying_key(), owner.verifying_key()];
    pack_opens(&stored["pack"], &[device]);
    pack_opens(&stored["pack"], &[device, owner]);
    pack_opens(&stored["pack_by_owner"], &[device, owner]);
    for (section, other) in [("pack", owner), ("pack_by_owner", device)] {
        let refused = open_stored(&stored[section], &[other]);
        assert!(matches!(refused, Err(PackError::Signature(_))), "{section}");
    }

    let map = unhex(&stored["chunk_map"]["map"]);
    assert_eq!(ChunkMap::from_bytes(&map).unwrap(), mapped());

    let manifest = &stored["manifest"];
    let id = SnapshotId::from_slice(&unhex(&manifest["snapshot_id"])).unwrap();
    let keys = unlocked().reader_keys();
    let (info, opened) = open_manifest(&keys, id, &unhex(&manifest["sealed"])).unwrap();
    assert_eq!((info.device, opened), (DEVICE, sample()));

    let whole = format!("0111010001{}01", "00".repeat(32));
    assert!(Table::from_bytes(&unhex(&Value::String(whole))).is_ok());
    for case in stored["refused_tables"].as_array().unwrap() {
        assert!(Table::from_bytes(&unhex(&case["table"])).is_err(), "{case}");
    }
}

/// Two packs, in a map of chunks.
fn mapped() -> ChunkMap {
    let pack = |number, length, footer| MappedPack {
        number: PackNumber(number),
        id: PackId::from_bytes([u8::try_from(number).unwrap(); 32]),
        length,
        footer,
    };
    let mut map = ChunkMap::default();
    assert!(map.push(pack(3, 1 << 24, 4096), vec![0x0403_0201, 7]));
    assert!(map.push(pack(70, 1 << 16, 8192), vec![0x0403_0201]));
    map
}

fn chunk_map() -> Value {
    let ids = unlocked().write_set().content_keys();
    let map = mapped().to_bytes();
    json!({ "map": hex(&map), "id": hex(ids.chunk_id(ChunkKind::Tree, &map).0) })
}

fn open_stored(stored: &Value, signers: &[VerifyingKey]) -> Result<OpenedFooter, PackError> {
    let header = unhex(&stored["header"]);
    let footer = [unhex(&stored["footer"]), unhex(&stored["trailer"])].concat();
    let ends = Ends {
        id: PackId::from_slice(&unhex(&stored["id"])).unwrap(),
        length: stored["length"].as_u64().unwrap(),
        content_hash: Hash::from_bytes(unhex(&stored["content_hash"]).try_into().unwrap()),
        header: &header,
        footer: &footer,
    };
    open_footer(&ends, VAULT, TableKeys { index_key: &INDEX_KEY, signers })
}

fn pack_opens(stored: &Value, signers: &[VerifyingKey]) {
    let opened = open_stored(stored, signers).unwrap();
    let header = unhex(&stored["header"]);
    assert_eq!(opened.table.to_bytes(), unhex(&stored["table"]));
    let unlocked = unlocked();
    let (keys, ids) = (unlocked.reader_keys(), unlocked.write_set().content_keys());
    let (_, key) = keys.open_header(EnvelopeKind::Pack, &header).unwrap();
    let mut opener = SegmentOpener::default();
    let mut all = Vec::new();
    for (index, row) in (0..).zip(&opened.table.segments) {
        let place = usize::try_from(index).unwrap();
        let mut sealed = unhex(&stored["segments"][place]["sealed"]);
        let each = |chunk: crate::pack::reader::VerifiedChunk<'_>| {
            all.push(chunk.bytes.to_vec());
            Ok::<(), PackError>(())
        };
        opener.open(&key, (index, row), &mut sealed, &ids, each).unwrap();
    }
    let leaf = Object::Leaf(Vec::new()).to_bytes();
    let expected: Vec<Vec<u8>> = vec![
        b"the quick brown fox".to_vec(),
        b"jumps".to_vec(),
        vec![b'a'; 600],
        vec![b'a'; 400],
        leaf,
    ];
    assert_eq!(all, expected);
}
