use proptest::prelude::*;

use super::*;

fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// Five bits a byte: compressible by entropy coding only.
fn dull(length: usize) -> Vec<u8> {
    noise(9, length).into_iter().map(|byte| b'A' + (byte & 31)).collect()
}

fn round_trip(level: Level, raw: &[u8]) -> (Encoding, usize) {
    let mut packed = b"before".to_vec();
    let encoding = Compressor::new(level).compress_into(raw, &mut packed);
    let packed = packed.strip_prefix(b"before").unwrap();
    let mut opened = noise(1, 100);
    Decompressor::new().decompress(encoding, packed, raw.len(), &mut opened).unwrap();
    assert!(opened == raw, "{level} changed {} bytes", raw.len());
    (encoding, packed.len())
}

#[test]
fn every_level_gives_back_what_it_got() {
    for level in ["off", "fastest", "default", "better", "max", "-7", "-1", "1", "12", "19"] {
        let level: Level = level.parse().unwrap();
        for length in [0, 1, 40, 1000, 65_535, 65_536, 300_000] {
            let (encoding, size) = round_trip(level, &dull(length));
            assert!(size <= length);
            assert_eq!(encoding == Encoding::Stored, size == length);
            assert_eq!(round_trip(level, &noise(2, length)), (Encoding::Stored, length));
        }
    }
    assert_eq!(round_trip(Level::Default, &dull(300_000)).0, Encoding::Zstd);
    assert_eq!(round_trip(Level::Off, &dull(300_000)).0, Encoding::Stored);
}

#[test]
fn the_longest_segment_fits_the_window_at_every_level() {
    for level in [Level::Default, Level::Exact(-7), Level::Exact(13)] {
        assert_eq!(round_trip(level, &b"abcdefgh".repeat(MAX_RAW / 8)).0, Encoding::Zstd);
    }
    let mut repeats = noise(3, MAX_RAW / 2);
    repeats.extend_from_within(..);
    // Max does not probe, and its window spans the segment.
    let (encoding, size) = round_trip(Level::Max, &repeats);
    assert_eq!(encoding, Encoding::Zstd);
    assert!(size < MAX_RAW / 2 + 10_000, "{size}");
}

#[test]
fn a_saving_under_two_per_cent_is_not_taken() {
    assert!(pays_off(10_000, 9_800) && !pays_off(10_000, 9_801));
    assert!(pays_off(1, 0) && !pays_off(1, 1) && !pays_off(60, 59));
    let mut raw = noise(4, 50_000);
    raw.extend_from_slice(&[0; 900]);
    assert_eq!(round_trip(Level::Default, &raw).0, Encoding::Stored);
    raw.extend_from_slice(&[0; 2000]);
    assert_eq!(round_trip(Level::Default, &raw).0, Encoding::Zstd);
}

#[test]
fn the_probe_tells_noise_from_the_rest() {
    let mut probe = Probe::new();
    for length in [PROBE_FROM, 100_000, 1 << 20, MAX_RAW] {
        assert!(!probe.is_worth_compressing(&noise(5, length)), "{length}");
        assert!(probe.is_worth_compressing(&dull(length)), "{length}");
    }
    // A bundle of photographs with a text among them.
    let mut bundle = noise(6, 1 << 20);
    bundle[300_000..500_000].copy_from_slice(&dull(200_000));
    assert!(probe.is_worth_compressing(&bundle));
    assert!(probe.is_worth_compressing(&noise(7, PROBE_FROM - 1)));
}

#[test]
fn one_context_serves_many_segments_and_levels() {
    let mut compressor = Compressor::new(Level::Fastest);
    let mut decompressor = Decompressor::new();
    let (mut packed, mut opened) = (Vec::new(), Vec::new());
    for (round, level) in [Level::Better, Level::Off, Level::Exact(-5)].iter().enumerate() {
        for raw in [dull(1000 + round), noise(8, 200_000), dull(MAX_RAW), Vec::new()] {
            packed.clear();
            let encoding = compressor.compress_into(&raw, &mut packed);
            decompressor.decompress(encoding, &packed, raw.len(), &mut opened).unwrap();
            assert!(opened == raw);
        }
        compressor.set_level(*level);
    }
    assert_eq!(compressor.level, Level::Exact(-5));
}

/// A frame of one repeated byte, `blocks` times 128 KiB long.
fn bomb(blocks: u32, window: u8) -> Vec<u8> {
    let mut frame = FRAME_START.to_vec();
    frame.push(window);
    for block in 1..=blocks {
        let header = (128_u32 << 10) << 3 | 1 << 1 | u32::from(block == blocks);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(0x55);
    }
    frame
}

#[test]
fn bombs_stop_at_the_stated_length() {
    let mut decompressor = Decompressor::new();
    let mut out = Vec::new();
    let mut open = |frame: &[u8], raw_len| {
        let result = decompressor.decompress(Encoding::Zstd, frame, raw_len, &mut out);
        assert!(out.capacity() <= MAX_RAW);
        result
    };
    assert!(open(&bomb(32, 12 << 3), 4 << 20).is_ok());
    assert!(matches!(open(&bomb(32, 12 << 3), 1 << 20), Err(DecompressError::Damaged(_))));
    assert!(matches!(open(&bomb(10_000, 12 << 3), 4 << 20), Err(DecompressError::Damaged(_))));
    assert!(matches!(
        open(&bomb(31, 12 << 3), 4 << 20),
        Err(DecompressError::WrongLength { expected: 4_194_304, actual: 4_063_232 })
    ));
    assert!(matches!(
        open(&bomb(33, 12 << 3), MAX_RAW + 1),
        Err(DecompressError::TooLong { raw_len: 4_194_305 })
    ));
    // Windows just over 4 MiB, and of 3.75 TiB.
    for window in [12 << 3 | 1, 0xff] {
        assert!(matches!(open(&bomb(32, window), 4 << 20), Err(DecompressError::Frame)));
    }
}

#[test]
fn only_one_plain_frame_is_accepted() {
    let raw = dull(10_000);
    let mut packed = Vec::new();
    assert_eq!(Compressor::new(Level::Default).compress_into(&raw, &mut packed), Encoding::Zstd);
    let refused = |frame: &[u8], raw_len| {
        let mut out = Vec::new();
        let result = Decompressor::new().decompress(Encoding::Zstd, frame, raw_len, &mut out);
        assert!(matches!(result, Err(DecompressError::Frame)), "{result:?}");
    };
    refused(&[], 0);
    refused(&[], 10);
    refused(&packed[..5], 10_000);
    refused(&packed[..packed.len() - 1], 10_000);
    refused(&[packed.as_slice(), &packed].concat(), 20_000);
    refused(&[packed.as_slice(), &[0]].concat(), 10_000);
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
    refused(&[packed.as_slice(), &skippable].concat(), 10_000);
    refused(&[skippable.as_slice(), &packed].concat(), 10_000);
    // Not shorter than its content.
    refused(&packed, packed.len());
    // What the plain encoder writes: with a content size.
    refused(&bulk::compress(&raw, 3).unwrap(), 10_000);
}

#[test]
fn stored_bytes_have_exactly_the_stated_length() {
    let mut out = Vec::new();
    let mut stored = |bytes: &[u8], raw_len| {
        Decompressor::new().decompress(Encoding::Stored, bytes, raw_len, &mut out)
    };
    assert!(stored(b"abc", 3).is_ok());
    for wrong in [0, 2, 4] {
        let error = stored(b"abc", wrong).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("a segment holds 3 bytes of content instead of {wrong}")
        );
    }
}

#[test]
fn level_names_go_both_ways() {
    for text in ["off", "fastest", "default", "better", "max", "-7", "-1", "1", "19"] {
        assert_eq!(text.parse::<Level>().unwrap().to_string(), text);
    }
    for text in ["", "0", "20", "-8", "Max", "300", "3.0", " 3"] {
        assert!(text.parse::<Level>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn damaged_frames_never_exceed_the_length(
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
        raw_len in 0_usize..40_000,
    ) {
        let raw = [dull(10_000), vec![7; 5_000]].concat();
        let mut packed = Vec::new();
        Compressor::new(Level::Default).compress_into(&raw, &mut packed);
        let at = at.index(packed.len());
        packed[at] ^= flip;
        let mut out = Vec::new();
        let result = Decompressor::new().decompress(Encoding::Zstd, &packed, raw_len, &mut out);
        prop_assert!(out.len() <= raw_len);
        prop_assert!(result.is_err() || out.len() == raw_len);
    }
}
