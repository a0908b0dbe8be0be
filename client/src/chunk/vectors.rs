//! `docs/vectors/chunker.json`: what another implementation has to arrive at.

use std::path::Path;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::tests::{lengths, noise};
use super::*;

fn key(index: u8) -> [u8; 32] {
    std::array::from_fn(|at| u8::try_from(at).unwrap().wrapping_mul(index))
}

fn gear(index: u8, bits: u32) -> Value {
    let gear = Gear::derive(&key(index), bits);
    let hex = |word: u64| format!("{word:016x}");
    json!({
        "key": HEXLOWER.encode(&key(index)),
        "average": 1_u64 << bits,
        "table_0": hex(gear.table()[0]),
        "table_1": hex(gear.table()[1]),
        "table_255": hex(gear.table()[255]),
        "mask_small": hex(gear.mask_small),
        "mask_large": hex(gear.mask_large),
    })
}

fn cuts(index: u8, params: Params, seed: &str, length: usize) -> Value {
    let data = if seed.is_empty() { vec![0; length] } else { noise(seed, length) };
    json!({
        "key": HEXLOWER.encode(&key(index)),
        "min": params.min(),
        "average": params.average(),
        "max": params.max(),
        "input_seed": seed,
        "input_length": length,
        "chunk_lengths": lengths(&Chunker::new(&key(index), params), &data),
    })
}

#[test]
fn vectors_match_the_published_file() {
    let tiny = Params::new(64, 256, 1024).unwrap();
    let vectors = json!({
        "about": "Chunker vectors: see FORMAT.md. Input: the first input_length bytes of the \
                  BLAKE3 extended output of the ASCII input_seed; with an empty seed, zeros.",
        "gear": [gear(0, 19), gear(1, 19), gear(1, 8)],
        "cuts": [
            cuts(0, Params::DEFAULT, "unseen", 8 << 20),
            cuts(1, Params::DEFAULT, "unseen", 8 << 20),
            cuts(1, Params::DEFAULT, "short", 131_071),
            cuts(1, Params::DEFAULT, "", 5 << 20),
            cuts(1, tiny, "tiny", 10_000),
        ],
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors/chunker.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&vectors).unwrap());
    if std::env::var_os("UNSEEN_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, text).unwrap();
        return;
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "UNSEEN_BLESS=1 rewrites it");
}
