//! The file of a device's keys.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unseen_client::crypto::device_file::DeviceKey;

fuzz_target!(|data: &[u8]| {
    if let Ok(key) = DeviceKey::decode(data) {
        assert_eq!(&key.encode().expect("it was decoded")[..], data);
    }
});
