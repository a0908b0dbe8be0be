//! Manifests: from any device.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unseen_common::codec::Canonical;
use unseen_client::tree::manifest::Manifest;

fuzz_target!(|data: &[u8]| {
    // What is taken has one form only.
    if let Ok(value) = Manifest::from_bytes(data) {
        assert_eq!(value.to_bytes(), data);
    }
});
