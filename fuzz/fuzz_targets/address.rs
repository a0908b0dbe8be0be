//! Addresses and invitations: pasted by people.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unseen_client::remote::address::Address;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
});
