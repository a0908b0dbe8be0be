//! See `unseen_fuzz::TARGETS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| unseen_fuzz::run("chunk_map", data));
