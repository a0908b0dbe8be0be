//! Footers of packs as they come from the server, before anything is opened.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unseen_client::crypto::secret::Secret;
use unseen_client::crypto::envelope::{EnvelopeKind, HeaderInfo};
use unseen_client::crypto::seal::footer_key;
use unseen_common::id::Hash;

fuzz_target!(|data: &[u8]| {
    for kind in [EnvelopeKind::Pack, EnvelopeKind::Manifest] {
        let Ok(info) = HeaderInfo::peek(kind, data) else {
            continue;
        };
        let key = Secret::from_slice(&[7; 32]).expect("32 bytes");
        let mut sealed = data.to_vec();
        let opened = footer_key(&key, info.uid, Hash::of(data)).open(&mut sealed);
        assert!(opened.is_err(), "nobody sealed this");
    }
});
