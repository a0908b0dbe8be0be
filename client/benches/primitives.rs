//! The client's primitives, each beside the least that must be done for the same bytes.
//!
//!     tests/bench/primitives.py --write
//!
//! In each group `ours` is what the client runs and `bare` what it comes down to: one pass of the
//! cipher, the hash or the compressor over a buffer that is there.
#![expect(clippy::expect_used, reason = "a bench that cannot begin has nothing to say")]

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ed25519_dalek::SigningKey;
use unseen_client::chunk::{Chunker, Params};
use unseen_client::compress::{Compressor, Decompressor, Encoding, Level};
use unseen_client::crypto::content_id::{ChunkId, ChunkKind};
use unseen_client::crypto::envelope::{EnvelopeKind, SealTo};
use unseen_client::crypto::rng::Hedged;
use unseen_client::crypto::schedule::Unlocked;
use unseen_client::crypto::seal::TAG_LEN;
use unseen_client::crypto::secret::Secret;
use unseen_client::index::Index;
use unseen_client::pack::builder::{BufferPool, PackBuilder, Sealer};
use unseen_client::pack::table::{ChunkRow, SegmentRow};
use unseen_common::id::{DeviceId, PackNumber, VaultId};

const MIB: usize = 1 << 20;
const VAULT: VaultId = VaultId::from_bytes([1; 16]);

fn chunker(c: &mut Criterion) {
    let data = noise(8 * MIB);
    let table: Vec<u64> = (0..256).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    let table: &[u64; 256] = table.as_slice().try_into().expect("256 words");
    let average = Params::DEFAULT.average();
    let shortest = Params::new(64, average, Params::DEFAULT.max()).expect("ordered sizes");
    for (name, params) in [("chunker", Params::DEFAULT), ("chunker that skips nothing", shortest)] {
        let chunker = Chunker::new(&[7; 32], params);
        let mut group = c.benchmark_group(name);
        group.throughput(bytes(data.len()));
        group.bench_function("ours", |b| {
            b.iter(|| {
                let (mut rest, mut count) = (data.as_slice(), 0);
                while let Some(length) = chunker.cut(rest, true) {
                    rest = rest.get(length..).unwrap_or_default();
                    count += 1;
                }
                count
            });
        });
        // What any gear hash needs for each byte: a shift, an entry of the table, a look at the sum.
        let mask = (black_box(average) as u64 - 1) << 40;
        group.bench_function("bare", |b| {
            b.iter(|| {
                let (mut hash, mut cuts) = (0_u64, 0_u64);
                for byte in &data {
                    hash = (hash << 1).wrapping_add(table[usize::from(*byte)]);
                    cuts += u64::from(hash & mask == 0);
                }
                cuts
            });
        });
        group.finish();
    }
}

fn id(c: &mut Criterion) {
    let keys = Unlocked::generate(VAULT, &mut Hedged::fresh()).write_set().content_keys();
    for (name, length) in [("id of 512 KiB", MIB / 2), ("id of 4 KiB", 4096)] {
        let data = noise(length);
        let mut group = c.benchmark_group(name);
        group.throughput(bytes(length));
        group.bench_function("ours", |b| b.iter(|| keys.chunk_id(ChunkKind::Data, &data)));
        group.bench_function("bare", |b| b.iter(|| blake3::hash(&data)));
        group.finish();
    }
}

fn seal(c: &mut Criterion) {
    let (unlocked, mut rng) = vault();
    let (write_set, vault_key) = (unlocked.write_set(), unlocked.root.vault_key(VAULT));
    let to = to(&vault_key, &write_set.writer_psk);
    let (_, key) = to.new_header(EnvelopeKind::Pack, &mut rng).expect("it is a good key");
    let mut segment = noise(MIB);
    segment.resize(MIB + TAG_LEN, 0);
    let mut group = c.benchmark_group("seal");
    group.throughput(bytes(MIB));
    let mut number = 0;
    group.bench_function("ours", |b| {
        b.iter(|| {
            number += 1;
            key.seal_segment(number, &mut segment)
        });
    });
    let cipher = cipher();
    group.bench_function("bare", |b| {
        b.iter(|| {
            let (text, _) = segment.split_at_mut(MIB);
            cipher.encrypt_inout_detached(&Nonce::default(), b"", InOutBuf::from(text))
        });
    });
    group.finish();
}

fn zstd_segments(c: &mut Criterion) {
    let source = source();
    let mut compressor = Compressor::new(Level::Default);
    let mut out = Vec::with_capacity(2 * source.len());
    let mut group = c.benchmark_group("compress source");
    group.throughput(bytes(source.len()));
    group.bench_function("ours", |b| {
        b.iter(|| {
            out.clear();
            compressor.compress_into(&source, &mut out)
        });
    });
    let mut bare = zstd::bulk::Compressor::new(3).expect("a level that it has");
    let mut room = vec![0; zstd::zstd_safe::compress_bound(source.len())];
    group.bench_function("bare", |b| b.iter(|| bare.compress_to_buffer(&source, &mut room)));
    group.finish();

    let packed = out.clone();
    let mut group = c.benchmark_group("decompress source");
    group.throughput(bytes(source.len()));
    let mut decompressor = Decompressor::new();
    group.bench_function("ours", |b| {
        b.iter(|| decompressor.decompress(Encoding::Zstd, &packed, source.len(), &mut out));
    });
    let mut bare = zstd::bulk::Decompressor::new().expect("memory");
    let mut room = vec![0; source.len()];
    group.bench_function("bare", |b| b.iter(|| bare.decompress_to_buffer(&packed, &mut room)));
    group.finish();

    // What does not compress is found out by a look and copied.
    let noise = noise(MIB);
    let mut group = c.benchmark_group("compress noise");
    group.throughput(bytes(noise.len()));
    group.bench_function("ours", |b| {
        b.iter(|| {
            out.clear();
            compressor.compress_into(&noise, &mut out)
        });
    });
    group.bench_function("bare", |b| {
        b.iter(|| {
            out.clear();
            out.extend_from_slice(black_box(&noise));
        });
    });
    group.finish();
}

/// A pack of 16 MiB out of 15 segments that are compressed already: copied, sealed, hashed, signed.
fn pack(c: &mut Criterion) {
    const SEGMENTS: usize = 15;
    let (unlocked, mut rng) = vault();
    let (write_set, vault_key) = (unlocked.write_set(), unlocked.root.vault_key(VAULT));
    let index_key: Secret<32> = rng.secret();
    let signer = SigningKey::from_bytes(&[3; 32]);
    let to = to(&vault_key, &write_set.writer_psk);
    let sealer = Sealer { to, signer: &signer, index_key: &index_key };
    let segment = noise(MIB);
    let length = u32::try_from(MIB).expect("it is small");
    let row = SegmentRow {
        sealed: 0,
        raw: length,
        encoding: Encoding::Stored,
        kind: ChunkKind::Data,
        chunks: vec![ChunkRow { id: chunk_id(1), length }],
    };
    let pool = BufferPool::new(2);
    let mut group = c.benchmark_group("pack build");
    group.throughput(bytes(SEGMENTS * MIB));
    group.bench_function("ours", |b| {
        b.iter(|| {
            let mut builder = PackBuilder::new(&pool);
            for _ in 0..SEGMENTS {
                assert!(builder.append(&segment, row.clone()), "it fits");
            }
            builder.seal(&sealer, &mut rng).map(|pack| pack.len())
        });
    });
    let cipher = cipher();
    let mut buffer = Vec::with_capacity(16 * MIB);
    group.bench_function("bare", |b| {
        b.iter(|| {
            buffer.clear();
            for _ in 0..SEGMENTS {
                buffer.extend_from_slice(black_box(&segment));
            }
            // Packs have padding: all of it is sealed and hashed.
            buffer.resize(16 * MIB, 0);
            let sealed =
                cipher.encrypt_inout_detached(&Nonce::default(), b"", buffer.as_mut_slice().into());
            (sealed, blake3::hash(&buffer))
        });
    });
    group.finish();
}

fn index(c: &mut Criterion) {
    const CHUNKS: u32 = 1_000_000;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let index = Index::open(dir.path(), VAULT).expect("an empty folder");
    let mut known = HashMap::new();
    for pack in 0..CHUNKS / 1000 {
        let ids: Vec<_> = (pack * 1000..(pack + 1) * 1000).map(chunk_id).collect();
        index.add_pack(PackNumber(pack), &ids).expect("the disk has room");
        known.extend(ids.iter().map(|id| (id.0, PackNumber(pack))));
    }
    index.flush().expect("the disk has room");
    // Far from the order in which they were added.
    let inside: Vec<_> =
        (0..CHUNKS).map(|n| chunk_id(n.wrapping_mul(7_368_787) % CHUNKS)).collect();
    let outside: Vec<_> = (CHUNKS..2 * CHUNKS).map(chunk_id).collect();
    for (name, ids) in [("look up known", inside), ("look up unknown", outside)] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        let mut asked = ids.iter().cycle();
        group.bench_function("ours", |b| {
            b.iter(|| asked.next().map(|id| index.lookup(id, None)));
        });
        let mut asked = ids.iter().cycle();
        group.bench_function("bare", |b| b.iter(|| asked.next().map(|id| known.get(&id.0))));
        group.finish();
    }
}

fn vault() -> (Unlocked, Hedged) {
    let mut rng = Hedged::fresh();
    (Unlocked::generate(VAULT, &mut rng), rng)
}

fn to<'a>(
    key: &'a unseen_client::crypto::vault_key::VaultPrivateKey,
    psk: &'a Secret<32>,
) -> SealTo<'a> {
    let device = DeviceId::from_bytes([2; 16]);
    SealTo { vault: VAULT, epoch: 0, device, public: key.public(), psk }
}

fn cipher() -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(&[5; 32].into())
}

fn chunk_id(number: u32) -> ChunkId {
    ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn bytes(length: usize) -> Throughput {
    Throughput::Bytes(u64::try_from(length).expect("it is in memory"))
}

/// Bytes that nothing can compress, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// A segment of this program's own source.
fn source() -> Vec<u8> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the sources are there") {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let mut bytes = Vec::new();
    for file in files {
        bytes.extend(fs::read(file).expect("it can be read"));
    }
    bytes.truncate(MIB);
    assert_eq!(bytes.len(), MIB, "there is less source than a segment");
    bytes
}

criterion_group! {
    name = primitives;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = chunker, id, seal, zstd_segments, pack, index
}
criterion_main!(primitives);
