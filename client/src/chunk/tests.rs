use std::collections::HashSet;

use proptest::prelude::*;

use super::gear::WINDOW;
use super::*;

const KEY: [u8; 32] = [7; 32];

fn small() -> Params {
    Params::new(512, 2048, 8192).unwrap()
}

/// Pseudo-random bytes named by a seed, the same on every machine.
pub(super) fn noise(seed: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

pub(super) fn lengths(chunker: &Chunker, mut data: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let Some(length) = chunker.cut(data, true) {
        lengths.push(length);
        data = &data[length..];
    }
    lengths
}

/// The definition, word for word and slowly.
fn slow_cut(chunker: &Chunker, data: &[u8]) -> usize {
    let Params { min, max, .. } = chunker.params;
    for length in min..data.len().min(max) {
        let mut hash = 0_u64;
        for age in 0..WINDOW {
            let entry = chunker.gear.table()[usize::from(data[length - 1 - age])];
            hash = hash.wrapping_add(entry << age);
        }
        let early = length < chunker.params.pivot();
        let mask = if early { chunker.gear.mask_small } else { chunker.gear.mask_large };
        if hash & mask == 0 {
            return length;
        }
    }
    data.len().min(max)
}

#[test]
fn cuts_follow_the_definition() {
    let chunker = Chunker::new(&KEY, Params::new(64, 256, 1024).unwrap());
    let data = noise("definition", 100_000);
    let mut rest = data.as_slice();
    let mut cuts = 0;
    while let Some(length) = chunker.cut(rest, true) {
        assert_eq!(length, slow_cut(&chunker, rest), "after {cuts} cuts");
        rest = &rest[length..];
        cuts += 1;
    }
    assert!((300..500).contains(&cuts), "{cuts}");
}

#[test]
fn lengths_keep_their_bounds_and_their_average() {
    let chunker = Chunker::new(&KEY, small());
    let data = noise("bounds", 16 << 20);
    let lengths = lengths(&chunker, &data);
    let (_, full) = lengths.split_last().unwrap();
    assert!(full.iter().all(|length| (512..=8192).contains(length)));
    let average = data.len() / lengths.len();
    assert!((1945..2150).contains(&average), "{average}");
    assert!(full.iter().filter(|length| **length == 8192).count() < full.len() / 1000);
}

#[test]
fn default_sizes_average_half_a_mebibyte() {
    let chunker = Chunker::new(&KEY, Params::DEFAULT);
    let data = noise("default", 64 << 20);
    let count = lengths(&chunker, &data).len();
    assert!((116..142).contains(&count), "{count}");
}

#[test]
fn constant_bytes_make_chunks_of_the_maximum() {
    for key in [[0; 32], KEY] {
        let chunker = Chunker::new(&key, Params::DEFAULT);
        for byte in [0, b' ', 0xff] {
            let data = vec![byte; 5 << 20];
            assert_eq!(lengths(&chunker, &data), [2 << 20, 2 << 20, 1 << 20]);
        }
    }
}

#[test]
fn an_insertion_moves_only_the_first_cuts() {
    let chunker = Chunker::new(&KEY, small());
    let data = noise("insertion", 4 << 20);
    let pieces = |data: &[u8]| -> Vec<blake3::Hash> {
        let mut at = 0;
        let mut hashes = Vec::new();
        for length in lengths(&chunker, data) {
            hashes.push(blake3::hash(&data[at..at + length]));
            at += length;
        }
        hashes
    };
    let before: HashSet<_> = pieces(&data).into_iter().collect();
    for inserted in [1, 63, 64, 1000, 20_000] {
        let mut moved = noise("inserted", inserted);
        moved.extend_from_slice(&data);
        let fresh = pieces(&moved).iter().filter(|hash| !before.contains(*hash)).count();
        assert!(fresh <= 16 + inserted / 1024, "{inserted} bytes made {fresh} new chunks");
    }
}

#[test]
fn another_key_cuts_elsewhere() {
    let data = noise("keys", 1 << 20);
    let cuts = |key: u8| -> HashSet<usize> {
        let chunker = Chunker::new(&[key; 32], small());
        let ends = lengths(&chunker, &data).into_iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        });
        ends.filter(|end| *end != data.len()).collect()
    };
    let (one, two) = (cuts(1), cuts(2));
    assert!(one.len() > 400 && two.len() > 400);
    assert!(one.intersection(&two).count() < 8);
}

#[test]
fn short_data_waits_unless_it_is_the_end() {
    let chunker = Chunker::new(&KEY, small());
    assert_eq!(chunker.cut(&[], false), None);
    assert_eq!(chunker.cut(&[], true), None);
    assert_eq!(chunker.cut(&[1], false), None);
    assert_eq!(chunker.cut(&[1], true), Some(1));
    let flat = [0; 8193];
    assert_eq!(chunker.cut(&flat[..8191], false), None);
    assert_eq!(chunker.cut(&flat[..8191], true), Some(8191));
    assert_eq!(chunker.cut(&flat[..8192], false), Some(8192));
    assert_eq!(chunker.cut(&flat, false), Some(8192));
}

#[test]
fn masks_have_the_stated_bits() {
    for seed in 0..50 {
        let gear = Gear::derive(&[seed; 32], 19);
        assert_eq!(gear.mask_small.count_ones(), 21);
        assert_eq!(gear.mask_large.count_ones(), 17);
        assert_eq!(gear.mask_small & gear.mask_large, gear.mask_large);
        assert_eq!(gear.mask_small & !0x7fff_ffff_c000_0000, 0);
    }
}

#[test]
fn impossible_sizes_are_refused() {
    for (min, average, max) in [
        (63, 256, 1024),
        (64, 128, 1024),
        (256, 256, 1024),
        (64, 1024, 1024),
        (64, 1000, 4096),
        (64, 1024, (4 << 20) + 1),
        (0, 0, 0),
    ] {
        assert!(Params::new(min, average, max).is_err(), "{min} {average} {max}");
    }
    let default = Params::default();
    let same = Params::new(default.min(), default.average(), default.max());
    assert_eq!(same, Ok(Params::DEFAULT));
}

#[test]
fn debug_output_shows_no_table() {
    let shown = format!("{:?}", Chunker::new(&KEY, Params::DEFAULT));
    assert_eq!(
        shown,
        "Chunker { params: Params { min: 131072, average: 524288, max: 2097152 }, .. }"
    );
}

/// Reads `data` in pieces of the given lengths, over and over.
fn streamed(chunker: &Chunker, data: &[u8], reads: &[usize]) -> Vec<usize> {
    let mut reads = reads.iter().copied().cycle();
    let (mut start, mut filled, mut scanned) = (0, 0, 0);
    let mut lengths = Vec::new();
    loop {
        let eof = filled == data.len();
        if let Some(length) = chunker.cut_after(&data[start..filled], scanned, eof) {
            lengths.push(length);
            start += length;
            scanned = 0;
        } else if eof {
            return lengths;
        } else {
            scanned = filled - start;
            filled = data.len().min(filled + reads.next().unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn buffer_sizes_do_not_move_cuts(
        seed in any::<u8>(),
        length in 0_usize..60_000,
        reads in prop::collection::vec(1_usize..3000, 1..8),
    ) {
        let chunker = Chunker::new(&[seed; 32], Params::new(64, 256, 1024).unwrap());
        let data = noise(&format!("stream {seed}"), length);
        let whole = lengths(&chunker, &data);
        prop_assert_eq!(whole.iter().sum::<usize>(), length);
        prop_assert_eq!(streamed(&chunker, &data, &reads), whole);
    }
}
