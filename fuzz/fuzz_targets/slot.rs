//! Slots: from the server, before anything is unlocked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unseen_client::crypto::slot::Slot;

fuzz_target!(|data: &[u8]| {
    if let Ok(slot) = Slot::parse(data) {
        assert_eq!(slot.as_bytes(), data);
    }
});
