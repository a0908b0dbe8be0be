//! What the server counts about itself. Never anything by account or address.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use unseen_common::time::Timestamp;

use super::meter::{Counter, FSYNC, Gauge, Text, Times};
use crate::store::lock;

/// Work that the server does by itself, on a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// Expiring snapshots by the owners' rules, and deleting packs that nothing needs.
    Gc,
    /// Reading everything again to find damage.
    Scrub,
}

impl Job {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Gc, Self::Scrub];

    /// Its name in metrics and on the status page.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gc => "gc",
            Self::Scrub => "scrub",
        }
    }
}

/// How a job stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobState {
    /// It runs now.
    pub running: bool,
    /// When it last ended well.
    pub succeeded: Option<Timestamp>,
    /// Runs that did not end well.
    pub failures: u64,
    /// What the last run found, for the operator: counts, no names.
    pub found: String,
}

/// A run of a job. Dropped without [`succeed`](Self::succeed), it counts as a failure.
#[derive(Debug)]
pub struct Run<'m> {
    metrics: &'m Metrics,
    job: Job,
    found: Option<(Timestamp, String)>,
}

impl Run<'_> {
    /// It ended well, and found this.
    pub fn succeed(mut self, now: Timestamp, found: impl Into<String>) {
        self.found = Some((now, found.into()));
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let mut jobs = lock(&self.metrics.jobs);
        let state = jobs.entry(self.job).or_default();
        state.running = false;
        match self.found.take() {
            Some((now, found)) => {
                state.succeeded = Some(now);
                state.found = found;
            }
            None => state.failures += 1,
        }
    }
}

#[derive(Debug, Default)]
struct Route {
    by_status: BTreeMap<u16, u64>,
    times: Times,
}

/// Memory that requests wait for.
pub trait Starving: std::fmt::Debug + Send + Sync {
    /// Whether requests have not got any for long, and are not to blame for it themselves.
    fn is_starved(&self) -> bool;
}

/// All counters of one server.
#[derive(Debug, Default)]
pub struct Metrics {
    routes: Mutex<BTreeMap<String, Route>>,
    jobs: Mutex<BTreeMap<Job, JobState>>,
    memory: Mutex<Option<Arc<dyn Starving>>>,
    /// Bytes of request bodies.
    pub received: Counter,
    /// Bytes of answers.
    pub sent: Counter,
    /// Packs that are being received.
    pub uploads: Gauge,
    /// Connections of clients.
    pub connections: Gauge,
}

impl Metrics {
    /// Counts a request by the template of its route.
    pub fn request(&self, route: &str, status: u16, took: Duration) {
        let mut routes = lock(&self.routes);
        if !routes.contains_key(route) {
            routes.insert(route.to_owned(), Route::default());
        }
        if let Some(counts) = routes.get_mut(route) {
            *counts.by_status.entry(status).or_default() += 1;
            counts.times.record(took);
        }
    }

    /// From now on this is the memory that requests wait for.
    pub fn watch_memory(&self, memory: Arc<dyn Starving>) {
        *lock(&self.memory) = Some(memory);
    }

    /// Whether requests cannot get memory.
    pub fn is_starved(&self) -> bool {
        lock(&self.memory).as_ref().is_some_and(|memory| memory.is_starved())
    }

    /// Notes that a job begins.
    pub fn start(&self, job: Job) -> Run<'_> {
        lock(&self.jobs).entry(job).or_default().running = true;
        Run { metrics: self, job, found: None }
    }

    /// A job ended well at this time, in an earlier process or by hand.
    pub fn remember(&self, job: Job, succeeded: Option<Timestamp>) {
        if succeeded.is_some() {
            lock(&self.jobs).entry(job).or_default().succeeded = succeeded;
        }
    }

    /// How a job stands.
    pub fn job(&self, job: Job) -> JobState {
        lock(&self.jobs).get(&job).cloned().unwrap_or_default()
    }

    /// Everything counted here, for Prometheus.
    pub fn write(&self, text: &mut Text) {
        self.write_requests(text);
        let (received, sent) = (self.received.get(), self.sent.get());
        let what = "Bytes of request bodies.";
        text.single("unseen_http_received_bytes_total", "counter", what, received);
        text.single("unseen_http_sent_bytes_total", "counter", "Bytes of answers.", sent);
        let what = "Packs that are being received.";
        text.single("unseen_uploads_in_flight", "gauge", what, self.uploads.get());
        let what = "Connections of clients.";
        text.single("unseen_connections", "gauge", what, self.connections.get());
        let name = "unseen_fsync_seconds";
        text.begin(name, "histogram", "Waiting for the disk.").times(name, &[], &FSYNC);
        self.write_jobs(text);
    }

    fn write_requests(&self, text: &mut Text) {
        let routes = lock(&self.routes);
        let name = "unseen_http_requests_total";
        text.begin(name, "counter", "Requests by route and status.");
        for (route, counts) in routes.iter() {
            for (status, count) in &counts.by_status {
                let labels = [("route", route.as_str()), ("status", &status.to_string())];
                text.value(name, &labels, count);
            }
        }
        let name = "unseen_http_request_seconds";
        text.begin(name, "histogram", "Time from the head of a request to that of its answer.");
        for (route, counts) in routes.iter() {
            text.times(name, &[("route", route)], &counts.times);
        }
    }

    fn write_jobs(&self, text: &mut Text) {
        let jobs = Job::ALL.map(|job| (job.name(), self.job(job)));
        let name = "unseen_job_running";
        text.begin(name, "gauge", "Whether a job of the server's own runs.");
        for (job, state) in &jobs {
            text.value(name, &[("job", job)], u8::from(state.running));
        }
        let name = "unseen_job_last_success_timestamp_seconds";
        text.begin(name, "gauge", "When a job last ended well; absent if never.");
        for (job, state) in &jobs {
            if let Some(when) = state.succeeded {
                text.value(name, &[("job", job)], when.0);
            }
        }
        let name = "unseen_job_failures_total";
        text.begin(name, "counter", "Runs of a job that did not end well.");
        for (job, state) in &jobs {
            text.value(name, &[("job", job)], state.failures);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let metrics = Metrics::default();
        metrics.request("/v1/log", 200, Duration::from_millis(1));
        metrics.request("/v1/log", 200, Duration::from_millis(1));
        metrics.request("/v1/log", 401, Duration::ZERO);
        metrics.received.add(10);
        let upload = metrics.uploads.hold();
        let mut text = Text::default();
        metrics.write(&mut text);
        drop(upload);
        let text = text.finish();
        for line in [
            "unseen_http_requests_total{route=\"/v1/log\",status=\"200\"} 2",
            "unseen_http_requests_total{route=\"/v1/log\",status=\"401\"} 1",
            "unseen_http_request_seconds_count{route=\"/v1/log\"} 3",
            "unseen_http_received_bytes_total 10",
            "unseen_uploads_in_flight 1",
            "unseen_job_running{job=\"scrub\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn jobs_succeed_or_fail() {
        let metrics = Metrics::default();
        let run = metrics.start(Job::Scrub);
        assert!(metrics.job(Job::Scrub).running);
        run.succeed(Timestamp(7), "3 packs");
        let wanted = JobState {
            running: false,
            succeeded: Some(Timestamp(7)),
            failures: 0,
            found: "3 packs".to_owned(),
        };
        assert_eq!(metrics.job(Job::Scrub), wanted);
        drop(metrics.start(Job::Scrub));
        assert_eq!(metrics.job(Job::Scrub), JobState { failures: 1, ..wanted });
        assert_eq!(metrics.job(Job::Gc), JobState::default());
    }
}
