//! Counters that cost next to nothing, and the text that Prometheus reads. The core counts with
//! them too, where there is no HTTP: hence no crate for it.

use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// What it has come to.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// One more, for as long as what this returns lives.
    pub fn hold(&self) -> Held<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Held(self)
    }

    /// What it is now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One of what a gauge counts.
#[derive(Debug)]
pub struct Held<'g>(&'g Gauge);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Upper bounds of the buckets of times: microseconds, and seconds as Prometheus writes them.
const BOUNDS: [(u64, &str); 14] = [
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (10_000_000, "10"),
    (60_000_000, "60"),
];

/// How long something took, in buckets.
#[derive(Debug)]
pub struct Times {
    buckets: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Default for Times {
    fn default() -> Self {
        Self::new()
    }
}

impl Times {
    /// None yet.
    pub const fn new() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BOUNDS.len()],
            count: AtomicU64::new(0),
            micros: AtomicU64::new(0),
        }
    }

    /// Counts one.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS.partition_point(|(bound, _)| *bound < micros);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Does something and counts how long it took.
    pub fn of<T>(&self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        self.record(start.elapsed());
        done
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// How long this process waits for disks: every fsync of a file or folder in the store.
pub static FSYNC: Times = Times::new();

/// Metrics in the text format of Prometheus.
#[derive(Debug, Default)]
pub struct Text(String);

/// Labels of one series: names and values. Values come from the program, never from outside.
pub type Labels<'l> = &'l [(&'l str, &'l str)];

impl Text {
    /// Begins a metric.
    pub fn begin(&mut self, name: &str, kind: &str, help: &str) -> &mut Self {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
        self
    }

    /// One value of the metric.
    pub fn value(&mut self, name: &str, labels: Labels<'_>, value: impl std::fmt::Display) {
        let labels = join(labels, None);
        self.line(format_args!("{name}{labels} {value}"));
    }

    /// A metric with one value.
    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.begin(name, kind, help).value(name, &[], value);
    }

    /// The buckets of one series.
    pub fn times(&mut self, name: &str, labels: Labels<'_>, times: &Times) {
        let mut below = 0_u64;
        for (bucket, (_, bound)) in times.buckets.iter().zip(BOUNDS) {
            below = below.saturating_add(bucket.load(Ordering::Relaxed));
            let labels = join(labels, Some(bound));
            self.line(format_args!("{name}_bucket{labels} {below}"));
        }
        // One that is being counted this moment must not make the last bucket the smaller.
        let count = times.count().max(below);
        let all = join(labels, Some("+Inf"));
        self.line(format_args!("{name}_bucket{all} {count}"));
        let micros = times.micros.load(Ordering::Relaxed);
        let labels = join(labels, None);
        let (whole, rest) = (micros / 1_000_000, micros % 1_000_000);
        self.line(format_args!("{name}_sum{labels} {whole}.{rest:06}"));
        self.line(format_args!("{name}_count{labels} {count}"));
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.0
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("writing to memory cannot fail");
    }
}

fn join(labels: Labels<'_>, bound: Option<&str>) -> String {
    let bound = bound.map(|bound| ("le", bound));
    let parts: Vec<String> = labels
        .iter()
        .copied()
        .chain(bound)
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    if parts.is_empty() { String::new() } else { format!("{{{}}}", parts.join(",")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_buckets() {
        let times = Times::new();
        for micros in [0, 500, 501, 1_000_000, 61_000_000] {
            times.record(Duration::from_micros(micros));
        }
        let mut text = Text::default();
        text.times("t_seconds", &[("route", "/x")], &times);
        let text = text.finish();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "t_seconds_bucket{route=\"/x\",le=\"0.0005\"} 2");
        assert_eq!(lines[1], "t_seconds_bucket{route=\"/x\",le=\"0.001\"} 3");
        assert_eq!(lines[13], "t_seconds_bucket{route=\"/x\",le=\"60\"} 4");
        assert_eq!(lines[14], "t_seconds_bucket{route=\"/x\",le=\"+Inf\"} 5");
        assert_eq!(lines[15], "t_seconds_sum{route=\"/x\"} 62.001001");
        assert_eq!(lines[16], "t_seconds_count{route=\"/x\"} 5");
    }

    #[test]
    fn counts_and_holds() {
        let (counter, gauge) = (Counter::default(), Gauge::default());
        counter.add(3);
        let held = gauge.hold();
        let second = gauge.hold();
        assert_eq!((counter.get(), gauge.get()), (3, 2));
        drop(held);
        drop(second);
        assert_eq!(gauge.get(), 0);
        let mut text = Text::default();
        text.single("c_total", "counter", "What.", counter.get());
        assert_eq!(text.finish(), "# HELP c_total What.\n# TYPE c_total counter\nc_total 3\n");
        assert_eq!(FSYNC.of(|| 7), 7);
    }
}
