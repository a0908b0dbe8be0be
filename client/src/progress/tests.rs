use super::*;

#[test]
fn counts_from_many_threads() {
    let recorder = Recorder::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let monitor: &dyn Monitor = &recorder;
                for index in 0..100 {
                    monitor.scanned(Amount { files: 1, dirs: 0, bytes: 3 });
                    monitor.bytes_read(3);
                    monitor.done(Item {
                        path: b"x",
                        is_dir: index % 10 == 0,
                        change: Change::Changed,
                        size: 3,
                    });
                }
            });
        }
    });
    let counts = recorder.counts();
    assert_eq!((counts.found.files, counts.found.bytes), (400, 1200));
    assert_eq!((counts.files.changed, counts.dirs.changed), (360, 40));
    assert_eq!(counts.files.total() + counts.dirs.total(), 400);
    assert!(!counts.scan_done);
    assert_eq!(recorder.events().done.len(), 400);
}

#[test]
fn counts_of_another_are_taken_over() {
    let first = Tally::default();
    first.scanned(Amount { files: 1, dirs: 2, bytes: 3 });
    first.scan_done();
    first.bytes_read(4);
    for (n, change) in (1..).zip([Change::New, Change::Changed, Change::Unmodified]) {
        for is_dir in [true, false].repeat(n) {
            first.done(Item { path: b"x", is_dir, change, size: 0 });
        }
    }
    first.stored(Stored { raw: 5, packed: 6 });
    first.transfer_planned(7);
    first.transferred(8);
    first.checkpoint(&SnapshotId::from_bytes([1; 32]));
    let second = Tally::default();
    second.set(&first.counts());
    assert_eq!(second.counts(), first.counts());
}

#[test]
fn remembers_problems_and_notes() {
    let recorder = Recorder::default();
    let problem = Problem {
        path: b"/a\xff".to_vec(),
        during: During::Archival,
        what: "permission denied".to_owned(),
    };
    let note = Note { level: Level::Info, text: "a note".to_owned() };
    recorder.problem(&problem);
    recorder.note(&note);
    recorder.checkpoint(&SnapshotId::from_bytes([1; 32]));
    let events = recorder.events();
    assert_eq!((events.problems, events.notes), (vec![problem], vec![note]));
    assert_eq!((recorder.counts().problems, recorder.counts().checkpoints), (1, 1));
}
