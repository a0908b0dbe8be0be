//! Words planted where they must stay secret, and the search for them in every disguise.

use std::path::Path;

use aho_corasick::AhoCorasick;
use data_encoding::{BASE32, BASE64, BASE64URL, HEXLOWER, HEXUPPER};

use crate::trees;

/// The words that are looked for.
#[derive(Debug)]
pub struct Markers {
    found_by: AhoCorasick,
    patterns: Vec<(String, Vec<u8>)>,
}

impl Markers {
    /// Looks for these, each at least 12 bytes long and under a name for the report: raw, in
    /// either case, UTF-16, hexadecimal, base32, and base64 at all three alignments.
    pub fn new<'a>(words: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut patterns = Vec::new();
        for (name, word) in words {
            assert!(word.len() >= 12, "{name} is found by chance");
            let mut add =
                |how: &str, bytes: Vec<u8>| patterns.push((format!("{name}, {how}"), bytes));
            add("raw", word.to_vec());
            add("upper case", word.to_ascii_uppercase());
            add("lower case", word.to_ascii_lowercase());
            add("UTF-16", word.iter().flat_map(|&byte| [byte, 0]).collect());
            add("hex", HEXLOWER.encode(word).into_bytes());
            add("HEX", HEXUPPER.encode(word).into_bytes());
            add("JSON numbers", numbers(word));
            add("base32", BASE32.encode(&word[..word.len() / 5 * 5]).into_bytes());
            for shift in 0..3 {
                // Whole groups only: what stands before and after the word is not known.
                let skip = (3 - shift) % 3;
                let whole = (word.len() - skip) / 3 * 3;
                let bytes = &word[skip..skip + whole];
                add("base64", BASE64.encode(bytes).into_bytes());
                add("base64url", BASE64URL.encode(bytes).into_bytes());
            }
        }
        let found_by = AhoCorasick::new(patterns.iter().map(|(_, bytes)| bytes)).unwrap();
        Self { found_by, patterns }
    }

    /// The names of the words that these bytes hold.
    pub fn in_bytes(&self, bytes: &[u8]) -> Vec<String> {
        let hits = self.found_by.find_overlapping_iter(bytes);
        let mut found: Vec<_> = hits.map(|hit| self.patterns[hit.pattern()].0.clone()).collect();
        found.sort();
        found.dedup();
        found
    }

    /// The same for every file beneath a folder, and for their names.
    pub fn in_folder(&self, folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for (path, _) in trees::files(folder) {
            let mut here = self.in_bytes(&std::fs::read(&path).unwrap());
            here.extend(self.in_bytes(&trees::bytes(&path)));
            found.extend(here.into_iter().map(|what| format!("{}: {what}", path.display())));
        }
        found
    }
}

fn numbers(word: &[u8]) -> Vec<u8> {
    let numbers: Vec<String> = word.iter().map(u8::to_string).collect();
    numbers.join(",").into_bytes()
}
