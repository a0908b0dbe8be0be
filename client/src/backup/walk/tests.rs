use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crossbeam_channel::unbounded;
use unseen_common::id::VaultId;

use super::super::plan::plan;
use super::*;
use crate::backup::outbox::BATCH;
use crate::index::Index;
use crate::progress::Silent;

/// Such a tree has no files to make batches go out; the other end must not wait for its end.
#[test]
fn empty_directories_are_told_of_in_batches() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    for number in 0..1500 {
        std::fs::create_dir_all(source.join(number.to_string())).unwrap();
    }
    let state = StateDb::open(&dir.path().join("state")).unwrap();
    let index = Index::open(&dir.path().join("index"), VaultId::from_bytes([5; 16])).unwrap();
    let dedup = Dedup::new(&index, roaring::RoaringBitmap::new());
    let (flow, flag) = (Flow::default(), AtomicBool::new(false));
    let context = WalkContext {
        rules: &Rules::default(),
        changes: None,
        state: &state,
        dedup: &dedup,
        owners: &OwnerNames::of_this_machine(),
        monitor: &Silent,
        flow: &flow,
        stop: &Stop::new(&flag, Duration::ZERO, &Silent),
        force: false,
        dry_run: true,
        limit: Limit::None,
        one_file_system: false,
        racy_from: 0,
    };
    let ((events_in, events), (jobs_in, _jobs)) = (unbounded(), unbounded());
    Walker::new(context, events_in, jobs_in).walk(plan([source.as_path()])).unwrap();
    let batches: Vec<Vec<Event>> = events.iter().collect();
    let entered = batches.iter().flatten().filter(|e| matches!(e, Event::Enter(_))).count();
    assert_eq!(entered, 1500 + source.components().count(), "with `/` and what is on the way");
    // A directory that is entered or left brings a few events at a time.
    let longest = batches.iter().map(Vec::len).max();
    assert!(longest.is_some_and(|events| events < BATCH + 8), "{longest:?} events in a batch");
}
