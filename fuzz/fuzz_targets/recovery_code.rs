//! Recovery codes: typed by people.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unseen_client::crypto::recovery::RecoveryCode;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(code) = RecoveryCode::parse(text) {
        // As printed, it is the same code.
        let printed = code.to_text();
        let again = RecoveryCode::parse(&printed).expect("it was printed by us");
        assert_eq!(*again.to_text(), *printed);
    }
});
