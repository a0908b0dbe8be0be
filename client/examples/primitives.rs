//! Prints how levels of compression and sizes of the index compare, on one core. How near each
//! primitive comes to what it is made of is shown by `benches/primitives.rs`.
//!
//! `cargo run --release -p unseen-client --example primitives`, then the names of files to
//! compress besides the made-up inputs.
#![expect(clippy::print_stdout, reason = "a report on standard output is all it is for")]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use unseen_client::compress::{Compressor, Decompressor, Level};
use unseen_client::crypto::content_id::ChunkId;
use unseen_client::index::Index;
use unseen_common::id::{PackNumber, VaultId};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const MIB: usize = 1 << 20;

fn main() -> Result {
    let noise = noise(64 * MIB);
    compression("noise", &noise)?;
    drop(noise);
    index(1_000_000)?;
    index(10_000_000)?;
    for path in std::env::args().skip(1) {
        compression(&path, &std::fs::read(Path::new(&path))?)?;
    }
    Ok(())
}

fn compression(name: &str, data: &[u8]) -> Result {
    for size in [64 << 10, MIB] {
        for level in ["off", "-5", "fastest", "default", "better"] {
            let level: Level = level.parse()?;
            let mut compressor = Compressor::new(level);
            // Written once, so that the system has handed out the memory before the clock runs.
            let mut packed = vec![1; 2 * data.len()];
            let mut sizes = Vec::new();
            let used = measure(4, || {
                packed.clear();
                sizes.clear();
                for raw in data.chunks(size) {
                    let start = packed.len();
                    let encoding = compressor.compress_into(raw, &mut packed);
                    sizes.push((encoding, start..packed.len(), raw.len()));
                }
                Ok(())
            })?;
            report(&format!("{name}: {level}, {} KiB", size / 1024), 4 * data.len(), used);
            let mut decompressor = Decompressor::new();
            let mut out = Vec::with_capacity(size);
            let opened = measure(4, || {
                for (encoding, range, length) in &sizes {
                    let packed = packed.get(range.clone()).unwrap_or_default();
                    decompressor.decompress(*encoding, packed, *length, &mut out)?;
                }
                Ok(())
            })?;
            let percent = 100 * packed.len() / data.len();
            println!("    to {percent} %, back at {:.2} GB/s", gigabytes(4 * data.len(), opened));
        }
    }
    Ok(())
}

/// As many chunks as `count`, a thousand a pack.
fn index(count: u32) -> Result {
    let dir = tempfile::tempdir()?;
    let index = Index::open(dir.path(), VaultId::from_bytes([1; 16]))?;
    let mut ids = Vec::new();
    let began = Instant::now();
    let used = measure(1, || {
        for pack in 0..count / 1000 {
            ids.clear();
            ids.extend((pack * 1000..(pack + 1) * 1000).map(chunk_id));
            index.add_pack(PackNumber(pack), &ids)?;
        }
        Ok(index.flush()?)
    })?;
    rate(&format!("index: {count} chunks added"), count, used);
    println!("    {:.1} s on the wall", began.elapsed().as_secs_f64());
    let ram = index.ram_bytes() * 100 / usize::try_from(count)?;
    println!("    {}.{:02} bytes of RAM a chunk", ram / 100, ram % 100);
    let asked = 1_000_000;
    // Steps through the numbers in an order far from that of adding.
    let known = measure(1, || lookups(&index, asked, |step| step.wrapping_mul(7_368_787) % count))?;
    rate("index: known chunks looked up", asked, known);
    let unknown = measure(1, || lookups(&index, asked, |step| count + step))?;
    rate("index: unknown chunks looked up", asked, unknown);
    let hashing = measure(1, || {
        let all = (0..asked).map(|step| u64::from(chunk_id(step).0[0])).sum::<u64>();
        if all > 0 { Ok(()) } else { Err("all ids begin with zero".into()) }
    })?;
    rate("    of which making up the ids", asked, hashing);
    drop(index);
    let began = Instant::now();
    Index::open(dir.path(), VaultId::from_bytes([1; 16]))?;
    println!("    opened again in {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn lookups(index: &Index, asked: u32, number: impl Fn(u32) -> u32) -> Result {
    for step in 0..asked {
        index.lookup(&chunk_id(number(step)), None)?;
    }
    Ok(())
}

fn chunk_id(number: u32) -> ChunkId {
    ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn rate(name: &str, count: u32, used: Duration) {
    let seconds = used.as_secs_f64().max(1e-9);
    let (a_second, each) = (f64::from(count) / seconds, seconds * 1e6 / f64::from(count));
    println!("{name:36} {:6.2} M/s   {each:.2} us", a_second / 1e6);
}

/// Bytes that nothing can compress, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// Time that this thread had a processor; where the system does not say, time on the wall.
fn measure(rounds: u32, mut work: impl FnMut() -> Result) -> Result<Duration> {
    let (wall, processor) = (Instant::now(), processor_time());
    for _ in 0..rounds {
        work()?;
    }
    Ok(match (processor, processor_time()) {
        (Some(start), Some(end)) => end.saturating_sub(start),
        _ => wall.elapsed(),
    })
}

fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn gigabytes(bytes: usize, used: Duration) -> f64 {
    bytes as f64 / 1e9 / used.as_secs_f64().max(1e-9)
}

fn report(name: &str, bytes: usize, used: Duration) {
    let speed = gigabytes(bytes, used);
    println!("{name:32} {speed:6.2} GB/s   {:.3} s/GB", 1.0 / speed);
}
