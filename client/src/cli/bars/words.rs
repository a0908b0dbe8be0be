//! What progress says: pure, from counts to text.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cli::escape::{escape_for_terminal, insert_name};
use crate::cli::units::{bytes, duration, plural};
use crate::progress::{Change, Counts, Item};

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Reading files, sending packs.
    Backup,
    /// Writing files, fetching packs.
    Restore,
    /// Verifying what is stored.
    Check,
    /// Writing packs anew.
    Compact,
}

impl Task {
    /// The names of the two bars.
    pub(super) fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::Backup => ("reading", "sending"),
            Self::Restore => ("writing", "fetching"),
            Self::Check => ("checking", "fetching"),
            Self::Compact => ("rewriting", "fetching"),
        }
    }
}

/// Progress at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What is being done.
    pub task: Task,
    /// The counts.
    pub counts: Counts,
    /// How long it has been.
    pub elapsed: Duration,
    /// How fast it goes.
    pub rates: Rates,
    /// The file being worked on, not escaped.
    pub current: Vec<u8>,
}

/// One bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Bytes done.
    pub done: u64,
    /// Bytes in all, as far as is known.
    pub total: u64,
    /// What stands beside the bar, piece by piece.
    pub words: Vec<String>,
}

impl Sample {
    /// The bar of the local side.
    pub fn reading(&self) -> Part {
        let Counts { found, read, .. } = self.counts;
        let total = found.bytes.max(read);
        let mut words: Vec<String> = self.percent(read, total).into_iter().collect();
        words.push(format!("{} of {}", bytes(read), self.at_least(bytes(total))));
        if self.task != Task::Compact {
            words.push(plural(self.counts.files.total(), "file", "files"));
        }
        words.push(format!("{}/s", bytes(self.rates.reading())));
        words.extend(self.remaining().map(|left| format!("{} left", duration(left))));
        if self.counts.problems > 0 {
            words.push(plural(self.counts.problems, "error", "errors"));
        }
        Part { done: read, total, words }
    }

    /// The bar of the network side.
    pub fn sending(&self) -> Part {
        let Counts { planned, transferred, stored, .. } = self.counts;
        let total = planned.max(transferred);
        let mut words = vec![
            format!("{} of {}", bytes(transferred), self.at_least(bytes(total))),
            format!("{}/s", bytes(self.rates.sending())),
        ];
        if self.task == Task::Backup {
            let packed = bytes(stored.packed);
            words.push(format!("{} new, {packed} stored", bytes(stored.raw)));
        }
        Part { done: transferred, total, words }
    }

    /// One line for a log.
    pub fn to_line(&self) -> String {
        let (first, second) = self.task.labels();
        format!(
            "[{}] {first} {}; {second} {}",
            duration(self.elapsed),
            self.reading().words.join(", "),
            self.sending().words.join(", ")
        )
    }

    /// A line of `--json`: restic's `status`, and what we know besides.
    pub fn to_json(&self) -> Value {
        let c = &self.counts;
        let total = c.found.bytes.max(c.read);
        let mut status = json!({
            "message_type": "status",
            "seconds_elapsed": self.elapsed.as_secs(),
            "percent_done": fraction(c.read, total),
            "total_files": c.found.files,
            "files_done": c.files.total(),
            "total_bytes": total,
            "bytes_done": c.read,
            "scan_done": c.scan_done,
            "bytes_added": c.stored.raw,
            "bytes_stored": c.stored.packed,
            "bytes_to_transfer": c.planned,
            "bytes_transferred": c.transferred,
            "error_count": c.problems,
        });
        if let Some(object) = status.as_object_mut() {
            if let Some(left) = self.remaining() {
                object.insert("seconds_remaining".into(), left.as_secs().into());
            }
            if !self.current.is_empty() {
                let shown = escape_for_terminal(&self.current);
                object.insert("current_files".into(), json!([shown]));
            }
        }
        status
    }

    /// The time left, once everything has been found: of the slower side, where what is still to
    /// be sent is judged by what reading has yielded so far.
    pub fn remaining(&self) -> Option<Duration> {
        let c = &self.counts;
        if !c.scan_done || self.elapsed < Duration::from_secs(2) {
            return None;
        }
        let unread = c.found.bytes.saturating_sub(c.read);
        let to_come = match c.read {
            0 => 0,
            read => u128::from(c.planned) * u128::from(unread) / u128::from(read),
        };
        let to_come = u64::try_from(to_come).unwrap_or(u64::MAX);
        let unsent = c.planned.saturating_sub(c.transferred).saturating_add(to_come);
        let seconds = |left: u64, rate: u64| match (left, rate) {
            (0, _) => Some(0),
            (_, 0) => None,
            (left, rate) => Some(left / rate),
        };
        let reading = seconds(unread, self.rates.reading())?;
        let sending = seconds(unsent, self.rates.sending())?;
        Some(Duration::from_secs(reading.max(sending)))
    }

    /// Rounded down: 100 % means all. None before the total is known.
    fn percent(&self, done: u64, total: u64) -> Option<String> {
        let known = self.counts.scan_done && total > 0;
        known.then(|| format!("{} %", u128::from(done) * 100 / u128::from(total)))
    }

    /// Until everything has been found, a total is only what is known so far.
    fn at_least(&self, total: String) -> String {
        if self.counts.scan_done { total } else { format!("{total}+") }
    }
}

/// Bytes a second, smoothed over about ten seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    reading: Rate,
    sending: Rate,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Rate {
    at: Duration,
    bytes: u64,
    per_second: u64,
    begun: bool,
}

impl Rates {
    /// Takes in the counts of a later moment.
    pub fn update(&mut self, counts: &Counts, elapsed: Duration) {
        self.reading.update(counts.read, elapsed);
        self.sending.update(counts.transferred, elapsed);
    }

    /// Of the local side.
    pub fn reading(&self) -> u64 {
        self.reading.per_second
    }

    /// Of the network side.
    pub fn sending(&self) -> u64 {
        self.sending.per_second
    }
}

/// In milliseconds.
const SMOOTHING: u128 = 10_000;

impl Rate {
    fn update(&mut self, total: u64, now: Duration) {
        let millis = now.saturating_sub(self.at).as_millis();
        if millis == 0 {
            return;
        }
        let new = u128::from(total.saturating_sub(self.bytes)) * 1000 / millis;
        let old = u128::from(self.per_second);
        let weight = millis.min(SMOOTHING);
        let mixed =
            if self.begun { (old * (SMOOTHING - weight) + new * weight) / SMOOTHING } else { new };
        *self = Self {
            at: now,
            bytes: total,
            per_second: u64::try_from(mixed).unwrap_or(u64::MAX),
            begun: self.begun || new > 0,
        };
    }
}

fn fraction(done: u64, total: u64) -> f64 {
    if total == 0 {
        return 0.0;
    }
    // In thousandths, so that no precision is lost on the way to a float.
    let thousandths = u128::from(done) * 1000 / u128::from(total);
    f64::from(u32::try_from(thousandths).unwrap_or(1000)) / 1000.0
}

fn action(change: Change) -> &'static str {
    match change {
        Change::New => "new",
        Change::Changed => "modified",
        Change::Unmodified => "unchanged",
        Change::Skipped => "skipped",
        Change::Deleted => "deleted",
    }
}

/// At how many `-v` an item is named.
pub(super) fn verbosity(item: &Item<'_>) -> i8 {
    match item.change {
        Change::New | Change::Changed | Change::Deleted => 1,
        Change::Unmodified | Change::Skipped => 2,
    }
}

pub(super) fn item_line(item: &Item<'_>) -> String {
    let word = match item.change {
        Change::Unmodified => "unmodified",
        Change::Changed => "changed",
        change => action(change),
    };
    let path = escape_for_terminal(item.path);
    if item.is_dir {
        format!("{word:<10} {path}/")
    } else {
        format!("{word:<10} {path}, {}", bytes(item.size))
    }
}

pub(super) fn item_json(item: &Item<'_>) -> Value {
    let mut object = Map::new();
    object.insert("message_type".into(), "verbose_status".into());
    object.insert("action".into(), action(item.change).into());
    insert_name(&mut object, "item", item.path);
    object.insert("data_size".into(), item.size.into());
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::{Amount, Changes, Stored};

    const MIB: u64 = 1 << 20;

    fn counts(scan_done: bool) -> Counts {
        Counts {
            found: Amount { files: 2000, dirs: 10, bytes: 400 * MIB },
            scan_done,
            read: 100 * MIB,
            files: Changes { new: 1204, ..Changes::default() },
            stored: Stored { raw: 50 * MIB, packed: 20 * MIB },
            planned: 20 * MIB,
            transferred: 10 * MIB,
            ..Counts::default()
        }
    }

    fn sample(counts: Counts) -> Sample {
        let elapsed = Duration::from_secs(10);
        let mut rates = Rates::default();
        rates.update(&counts, elapsed);
        Sample { task: Task::Backup, counts, elapsed, rates, current: b"/home/x/\xff".to_vec() }
    }

    #[test]
    fn no_time_left_before_all_is_found() {
        let early = sample(counts(false));
        assert_eq!(early.remaining(), None);
        assert_eq!(
            early.to_line(),
            "[0:10] reading 100 MiB of 400 MiB+, 1 204 files, 10 MiB/s; \
             sending 10 MiB of 20 MiB+, 1 MiB/s, 50 MiB new, 20 MiB stored"
        );
        assert!(early.to_json().get("seconds_remaining").is_none());
    }

    #[test]
    fn time_left_is_that_of_the_slower_side() {
        // 300 MiB at 10 MiB/s to read, but 10 and about 60 MiB at 1 MiB/s to send.
        let late = sample(counts(true));
        assert_eq!(late.remaining(), Some(Duration::from_secs(70)));
        assert_eq!(
            late.reading().words.join(" | "),
            "25 % | 100 MiB of 400 MiB | 1 204 files | 10 MiB/s | 1:10 left"
        );
    }

    #[test]
    fn sending_goes_on_when_reading_is_over() {
        let all_read = Counts { read: 400 * MIB, ..counts(true) };
        let late = sample(all_read);
        assert_eq!(late.remaining(), Some(Duration::from_secs(10)));
        assert!(late.reading().words[0].starts_with("100 %"));
        assert_eq!(late.sending().done, 10 * MIB);
        let stuck = Counts { transferred: 0, ..all_read };
        assert_eq!(sample(stuck).remaining(), None);
    }

    #[test]
    fn status_is_restics() {
        assert_eq!(
            sample(counts(true)).to_json(),
            json!({
                "message_type": "status",
                "seconds_elapsed": 10,
                "seconds_remaining": 70,
                "percent_done": 0.25,
                "total_files": 2000,
                "files_done": 1204,
                "total_bytes": 400 * MIB,
                "bytes_done": 100 * MIB,
                "scan_done": true,
                "bytes_added": 50 * MIB,
                "bytes_stored": 20 * MIB,
                "bytes_to_transfer": 20 * MIB,
                "bytes_transferred": 10 * MIB,
                "error_count": 0,
                "current_files": ["/home/x/\\xff"],
            })
        );
    }

    #[test]
    fn a_file_that_grew_does_not_pass_100_percent() {
        let grown = sample(Counts { read: 500 * MIB, ..counts(true) });
        assert_eq!(grown.reading().total, 500 * MIB);
        assert!(grown.reading().words[0].starts_with("100 %"));
    }

    #[test]
    fn rates_follow_slowly() {
        let mut rates = Rates::default();
        let at = |read| Counts { read, ..Counts::default() };
        rates.update(&at(0), Duration::from_secs(1));
        rates.update(&at(1000), Duration::from_secs(2));
        assert_eq!(rates.reading(), 1000);
        rates.update(&at(1000), Duration::from_secs(3));
        assert_eq!(rates.reading(), 900);
        rates.update(&at(1000), Duration::from_secs(60));
        assert_eq!(rates.reading(), 0);
        rates.update(&at(1000), Duration::from_secs(60));
        assert_eq!(rates.reading(), 0);
    }
}
