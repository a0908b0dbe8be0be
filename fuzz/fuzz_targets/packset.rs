//! Sets of pack numbers: from any device, through the server.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unseen_common::packset::PackSet;

fuzz_target!(|data: &[u8]| {
    if let Ok(set) = PackSet::from_bytes(data) {
        assert_eq!(set.to_bytes(), data);
    }
});
