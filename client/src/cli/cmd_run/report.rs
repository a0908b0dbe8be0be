//! What `run` says at the end, as restic users know it.

use std::time::Duration;

use serde_json::json;
use unseen_common::log::entry::Status;

use super::super::output::Ui;
use super::super::units::{bytes, count, duration, plural};
use crate::backup::Outcome;
use crate::progress::{Changes, Counts};

/// Says how it went.
pub(in crate::cli) fn finished(
    ui: &Ui,
    (set, dry_run): (&str, bool),
    outcome: &Outcome,
    counts: &Counts,
    took: Duration,
) {
    if ui.is_json() {
        ui.json(&json!({
            "message_type": "summary",
            "set": set,
            "dry_run": dry_run,
            "files_new": counts.files.new,
            "files_changed": counts.files.changed,
            "files_unmodified": counts.files.unmodified,
            "dirs_new": counts.dirs.new,
            "dirs_changed": counts.dirs.changed,
            "dirs_unmodified": counts.dirs.unmodified,
            "data_added": counts.stored.raw,
            "data_added_packed": counts.stored.packed,
            "data_uploaded": outcome.uploaded,
            "packs_uploaded": outcome.packs,
            "total_files_processed": outcome.totals.files,
            "total_bytes_processed": outcome.totals.bytes,
            "total_duration": took.as_secs_f64(),
            "errors": outcome.problem_count,
            "status": outcome.status,
            "snapshot_id": outcome.snapshot.map(|id| id.to_string()),
        }));
        return;
    }
    ui.summary(&line("Files:", counts.files));
    ui.summary(&line("Dirs: ", counts.dirs));
    ui.summary(&format!(
        "Added: {:>12} ({} stored, {} {})",
        bytes(counts.stored.raw),
        bytes(counts.stored.packed),
        bytes(outcome.uploaded),
        if dry_run { "to upload" } else { "uploaded" },
    ));
    ui.summary(&format!(
        "processed {}, {} in {}",
        plural(outcome.totals.files, "file", "files"),
        bytes(outcome.totals.bytes),
        duration(took)
    ));
    if outcome.problem_count > 0 {
        ui.warn(&format!(
            "{} could not be read, or changed meanwhile: see above",
            plural(outcome.problem_count, "file or folder", "files or folders")
        ));
    }
    match (outcome.snapshot, outcome.status) {
        (Some(id), Status::Checkpoint) => {
            ui.summary(&format!("checkpoint {} saved: the next run goes on from here", id.short()));
        }
        (Some(id), _) => ui.summary(&format!("snapshot {} saved", id.short())),
        (None, _) if dry_run => ui.summary("dry run: nothing was saved"),
        (None, _) => ui.summary("nothing has changed: no snapshot was made"),
    }
}

fn line(title: &str, changes: Changes) -> String {
    format!(
        "{title} {:>10} new, {:>8} changed, {:>10} unmodified",
        count(changes.new),
        count(changes.changed),
        count(changes.unmodified)
    )
}
