//! Pages of footers: from the server.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unseen_common::wire::footers::{decode, encode};

fuzz_target!(|data: &[u8]| {
    if let Ok(page) = decode(bytes::Bytes::copy_from_slice(data)) {
        assert_eq!(encode(&page), data);
    }
});
