//! Files of the server's journal: headers, prefixes of frames and their items.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unseen_server::store::frame::{HEADER, Header, PREFIX, Prefix, find_magic, items};

fuzz_target!(|data: &[u8]| {
    if let Some(header) = data.first_chunk::<HEADER>().and_then(Header::from_bytes) {
        assert_eq!(header.to_bytes(), data[..HEADER]);
    }
    if let Some((prefix, payload)) = data.split_first_chunk::<PREFIX>() {
        if let Some(prefix) = Prefix::parse(prefix) {
            let header = Header::from_bytes(&[0; HEADER]);
            assert!(header.is_none());
            assert!(prefix.length > 0 || items(&[]).is_some());
        }
        drop(items(payload));
    }
    assert!(find_magic(data, 0).is_none_or(|at| at < data.len()));
});
