//! Patterns of what is left out: files of patterns, and names they meet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unseen_client::scan::exclude::{Case, Pattern, parse_pattern_file};

fuzz_target!(|data: &[u8]| {
    for case in [Case::Sensitive, Case::Ignored] {
        drop(Pattern::parse(data, case));
        drop(parse_pattern_file(data, case, &|name| Some(name.as_bytes().to_vec())));
    }
});
