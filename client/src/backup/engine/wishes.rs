//! What a snapshot says of its run, and what is said of it.

use roaring::RoaringBitmap;
use unseen_common::id::{Hash, SnapshotId};
use unseen_common::log::entry::Status;
use unseen_common::time::Timestamp;

use super::{Outcome, RunOptions, Source};
use crate::backup::commit::Wish;
use crate::backup::listener::Listener;
use crate::backup::maps::Sent;
use crate::backup::threads::Passed;
use crate::crypto::device_file::DeviceKey;
use crate::repo::Repository;
use crate::tree::manifest::{MAX_PATHS, MAX_TAGS, Manifest};

pub(super) fn status(passed: &Passed, listener: &Listener<'_>) -> Status {
    if passed.interrupted || passed.left_out > 0 {
        Status::Checkpoint
    } else if listener.count() > 0 {
        Status::Partial
    } else {
        Status::Complete
    }
}

pub(super) fn describe(source: &Source) -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    match source {
        Source::Paths(paths) => paths.iter().map(|p| p.as_os_str().as_bytes().to_vec()).collect(),
        Source::Stream(Some(stream)) => vec![[b"/", stream.name.as_bytes()].concat()],
        Source::Stream(None) => Vec::new(),
    }
}

pub(super) fn wish(
    repo: &Repository,
    options: &RunOptions,
    made: (&Passed, RoaringBitmap, Status),
    about: (Timestamp, Vec<Vec<u8>>),
    listener: &Listener<'_>,
) -> Wish {
    let who = (&repo.key, repo.clock.now());
    make_wish(who, options, made, about, listener)
}

pub(super) fn make_wish(
    (key, end): (&DeviceKey, Timestamp),
    options: &RunOptions,
    (passed, packs, status): (&Passed, RoaringBitmap, Status),
    (start, paths): (Timestamp, Vec<Vec<u8>>),
    listener: &Listener<'_>,
) -> Wish {
    let manifest = Manifest {
        set: fitting(&options.set),
        paths: fitting_paths(paths),
        host: fitting(&options.host),
        user: fitting(&options.user),
        tags: options.tags.iter().take(MAX_TAGS).map(|tag| fitting(tag)).collect(),
        start,
        end,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        root: passed.root,
        totals: passed.contents.totals,
        errors: listener.problems(),
        error_count: listener.count(),
        rules: options.rules.record(options.one_file_system),
        disclosure_hash: Hash::from_bytes([0; 32]),
        maps: Vec::new(),
    };
    let set = key.write_set.content_keys().set_tag(&options.set);
    Wish { manifest, set, status, packs, kinds: passed.contents.kinds }
}

pub(super) fn outcome(
    passed: &Passed,
    snapshot: Option<SnapshotId>,
    (packs, uploaded): Sent,
    listener: &Listener<'_>,
) -> Outcome {
    Outcome {
        snapshot,
        status: status(passed, listener),
        totals: passed.contents.totals,
        uploaded,
        packs,
        problems: listener.problems(),
        problem_count: listener.count(),
        left_out: passed.left_out,
        interrupted: passed.interrupted,
        clocks: None,
    }
}

/// As much of a text as a manifest holds.
fn fitting(text: &str) -> String {
    text.chars().take(1000).collect()
}

/// As many paths as a manifest holds: the first ones, up to half a MiB.
fn fitting_paths(paths: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut left: usize = 512 * 1024;
    let fits = |path: &Vec<u8>| {
        left = left.saturating_sub(path.len());
        left > 0
    };
    paths.into_iter().take(MAX_PATHS).take_while(fits).collect()
}
