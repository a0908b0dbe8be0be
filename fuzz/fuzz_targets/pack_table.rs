//! Tables of contents of packs: from any device.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unseen_client::pack::table::Table;

fuzz_target!(|data: &[u8]| {
    if let Ok(table) = Table::from_bytes(data) {
        assert_eq!(table.to_bytes(), data);
    }
});
