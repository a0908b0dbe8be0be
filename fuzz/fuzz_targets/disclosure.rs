//! What a snapshot discloses: from any device, through the server.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unseen_common::codec::Canonical;
use unseen_common::disclosure::Disclosure;

fuzz_target!(|data: &[u8]| {
    // What is taken has one form only.
    if let Ok(value) = Disclosure::from_bytes(data) {
        assert_eq!(value.to_bytes(), data);
    }
});
