//! Every target with the inputs in `seeds/`: good ones, and those that once broke something. Each is
//! also cut short and changed byte by byte.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use unseen_fuzz::{TARGETS, Target};

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn names_in(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(here().join(folder)).expect("it is in the repository");
    let stem = |path: &Path| path.file_stem().map(|name| name.to_string_lossy().into_owned());
    entries.filter_map(|entry| stem(&entry.expect("it can be listed").path())).collect()
}

/// Places of a seed that are changed, so that all of this takes seconds.
const CHANGES: usize = 48;

fn disturbed(seed: &[u8], target: Target) {
    target(seed);
    let step = seed.len().div_ceil(CHANGES).max(1);
    let mut changed = seed.to_vec();
    for at in (0..seed.len()).step_by(step) {
        target(&seed[..at]);
        let kept = seed[at];
        for byte in [kept ^ 1, kept ^ 0x80, 0, 0xff] {
            changed[at] = byte;
            target(&changed);
        }
        changed[at] = kept;
    }
}

#[test]
fn every_target_stands_up_to_its_seeds() {
    let mut seen = 0;
    for (name, target) in TARGETS {
        target(&[]);
        for entry in fs::read_dir(here().join("seeds").join(name)).unwrap() {
            disturbed(&fs::read(entry.unwrap().path()).unwrap(), *target);
            seen += 1;
        }
    }
    assert!(seen > 2 * TARGETS.len(), "{seen} seeds are too few to mean anything");
}

#[test]
fn every_target_is_a_program_with_seeds() {
    let table: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(table.len(), TARGETS.len(), "a name stands twice");
    assert_eq!(names_in("fuzz_targets"), table);
    assert_eq!(names_in("seeds"), table);
    for name in &table {
        let program = fs::read_to_string(here().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("run(\"{name}\", data)")), "{name} runs another");
    }
}
