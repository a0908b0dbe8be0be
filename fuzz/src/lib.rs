//! Every parser of bytes from outside, as a function that must not panic whatever it gets.
//!
//! A name in [`TARGETS`] is a program in `fuzz_targets/` and a folder in `seeds/`. What has one form
//! only is written again and compared: two texts that mean the same would be two names for it.

use unseen_common::codec::Canonical;

mod content;
mod disk;
mod fold;
mod keys;
mod log;
mod texts;
mod wire;

/// Takes any bytes; panics if something is wrong with the parser.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("address", texts::address),
    ("chunk_map", content::chunk_map),
    ("decompress", content::decompress),
    ("device_key", keys::device_key),
    ("disclosure", log::disclosure),
    ("exclude_patterns", texts::exclude_patterns),
    ("footer", content::footer),
    ("footer_page", wire::footer_page),
    ("footer_segment", disk::footer_segment),
    ("journal", disk::journal),
    ("journal_file", disk::journal_file),
    ("kit", texts::kit),
    ("log_entry", log::entry),
    ("log_fold", fold::fold),
    ("log_record", log::record),
    ("manifest", content::manifest),
    ("own_files", disk::own_files),
    ("pack_footer", content::pack_footer),
    ("pack_map", log::pack_map),
    ("pack_table", content::pack_table),
    ("packset", log::packset),
    ("policy", log::policy),
    ("receipt", log::receipt),
    ("recovery_code", texts::recovery_code),
    ("server_rows", disk::server_rows),
    ("shown", texts::shown),
    ("slot", keys::slot),
    ("slot_set", keys::slot_set),
    ("tree_entry", content::tree_entry),
    ("tree_object", content::tree_object),
    ("typed", texts::typed),
    ("vault_key", keys::vault_key),
    ("wire_bodies", wire::bodies),
];

/// Runs the target `name`.
///
/// # Panics
/// If there is no such target, or its parser does not stand up to `data`.
pub fn run(name: &str, data: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = found.expect("the names of the programs are those of the table");
    target(data);
}

/// What is taken has one form only.
fn canonical<T: Canonical>(data: &[u8]) {
    if let Ok(value) = T::from_bytes(data) {
        assert_eq!(value.to_bytes(), data, "{} of two forms", T::WHAT);
    }
}
