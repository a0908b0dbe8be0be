use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use crossbeam_channel::bounded;
use unseen_common::time::Timestamp;

use super::*;
use crate::backup::Depth;
use crate::daemon::alerts::Outcome;
use crate::daemon::book::Book;
use crate::daemon::changes::Event;
use crate::daemon::changes::fake::Fake;
use crate::daemon::control::{Answer, Call, CallError, Request};
use crate::daemon::core::Status;
use crate::daemon::core::tests::summary;
use crate::daemon::marks::InMemory;
use crate::daemon::schedule::Pace;
use crate::daemon::signs::Why;
use crate::progress::Monitor;
use crate::scan::exclude::Rules;
use crate::sets::JobSource;

#[derive(Debug, Default)]
struct Hand(AtomicU64);

impl Clocks for Hand {
    fn read(&self) -> Clocked {
        let seconds = self.0.load(Ordering::SeqCst);
        let time = Duration::from_secs(seconds);
        Clocked { boot: time, awake: time, wall: Timestamp(seconds) }
    }
}

/// Runs as it is told, one order a run.
#[derive(Debug)]
struct Ordered {
    orders: Receiver<RunResult>,
    jobs: Sender<Job>,
}

impl Runner for Ordered {
    fn run(&self, job: &Job, monitor: &dyn Monitor, stop: &Arc<AtomicBool>) -> RunResult {
        monitor.bytes_read(1);
        self.jobs.send(job.clone()).ok();
        loop {
            match self.orders.recv_timeout(Duration::from_millis(5)) {
                Ok(order) => return order,
                Err(_) if stop.load(Ordering::Relaxed) => {
                    return Err(Trouble::new(Trouble::STOPPED, "stopped"));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("no more orders"),
            }
        }
    }
}

#[derive(Default)]
struct Quiet {
    vault: Arc<Mutex<String>>,
    read: String,
    names: Arc<Mutex<Vec<&'static str>>>,
    held: Arc<AtomicBool>,
    edited: Arc<AtomicBool>,
    said: Arc<Mutex<Vec<String>>>,
    refused: Arc<AtomicBool>,
    mouth: Arc<Mutex<Option<Sender<Message>>>>,
}

impl Around for Quiet {
    fn may_run(&mut self, _: u32) -> Verdict {
        let why = Why::Battery { percent: 9 };
        if self.held.load(Ordering::SeqCst) { Verdict::Wait { why } } else { Verdict::Go }
    }
    fn sets(&mut self) -> Result<Vec<SetSpec>, Trouble> {
        self.vault.lock().unwrap().clone_into(&mut self.read);
        let names = self.names.lock().unwrap().clone();
        if names.contains(&"wrong") {
            return Err(Trouble::new(2, "line 7: wrong"));
        }
        let spec = |name: &str| SetSpec {
            name: name.to_owned(),
            source: JobSource::Paths(vec![PathBuf::from("/").join(name)]),
            rules: Rules::default(),
            one_file_system: false,
            pace: Pace::default(),
        };
        Ok(names.into_iter().map(spec).collect())
    }
    fn has_other_sets(&mut self) -> bool {
        self.edited.swap(false, Ordering::SeqCst)
    }
    fn log(&mut self, line: &str) {
        self.said.lock().unwrap().push(line.to_owned());
    }
    fn state(&mut self, state: State<'_>) {
        self.said.lock().unwrap().push(format!("{state:?}"));
    }
    fn vault(&self) -> String {
        self.read.clone()
    }
    fn keep(&mut self, _: &Book) {}
    fn warn(&mut self, alert: &Alert) {
        self.said.lock().unwrap().push(alert.text.clone());
    }
    fn tell(&mut self, alert: &Alert, way: Way) {
        let outcome = match way {
            Way::Webhook if self.refused.load(Ordering::SeqCst) => {
                Outcome::Failed("refused".to_owned())
            }
            Way::Webhook => Outcome::Told,
            Way::Desktop | Way::Command => Outcome::Unwanted,
        };
        let (key, state) = (alert.key.clone(), alert.state.clone());
        let told = Message::Told(Told { key, state, way, outcome });
        self.mouth.lock().unwrap().as_ref().unwrap().send(told).unwrap();
        if way == Way::Webhook {
            self.said.lock().unwrap().push(format!("told {}", alert.key));
        }
    }
}

/// A daemon on a thread, and everything that happens to it.
struct Lab {
    socket: PathBuf,
    hand: Arc<Hand>,
    orders: Sender<RunResult>,
    jobs: Receiver<Job>,
    mouth: Sender<Message>,
    sink: Sink,
    names: Arc<Mutex<Vec<&'static str>>>,
    vault: Arc<Mutex<String>>,
    held: Arc<AtomicBool>,
    edited: Arc<AtomicBool>,
    said: Arc<Mutex<Vec<String>>>,
    refused: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<(), Trouble>>,
    _dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("run/d.sock");
        let hand = Arc::new(Hand(AtomicU64::new(1_000_000)));
        let ((orders, todo), (done, jobs)) = (unbounded(), unbounded());
        let (send_sink, sink) = bounded(1);
        let around = Quiet::default();
        around.names.lock().unwrap().push("a");
        let (names, held) = (Arc::clone(&around.names), Arc::clone(&around.held));
        let (edited, said) = (Arc::clone(&around.edited), Arc::clone(&around.said));
        let vault = Arc::clone(&around.vault);
        let refused = Arc::clone(&around.refused);
        let told_by = Arc::clone(&around.mouth);
        let now = Now { at: hand.read().boot, wall: hand.read().wall };
        let parts = Parts {
            core: Core::new(Box::new(InMemory::default()), Book::default(), now),
            runner: Arc::new(Ordered { orders: todo, jobs: done }),
            source: Box::new(move |sink| {
                send_sink.send(Arc::clone(&sink)).unwrap();
                Ok(Box::new(Fake::new(sink).0))
            }),
            clocks: Arc::clone(&hand) as _,
            chance: || 1 << 31,
            around: Box::new(around),
            socket: socket.clone(),
        };
        let ears = Ears::new();
        let mouth = ears.mouth();
        *told_by.lock().unwrap() = Some(ears.mouth());
        let thread = std::thread::spawn(move || run(parts, &ears));
        let sink = sink.recv().unwrap();
        Self {
            socket,
            hand,
            orders,
            jobs,
            mouth,
            sink,
            names,
            vault,
            held,
            edited,
            said,
            refused,
            thread,
            _dir: dir,
        }
    }

    fn ask(&self, request: &Request) -> Result<Answer, CallError> {
        Call::send(std::slice::from_ref(&self.socket), request)?.only()
    }

    fn status(&self) -> Status {
        match self.ask(&Request::Status).unwrap() {
            Answer::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    /// Ends the run under way; returns when the daemon knows.
    fn order(&self, result: RunResult) {
        self.orders.send(result).unwrap();
        while self.status().running.is_some() {}
    }

    fn later(&self, seconds: u64) {
        self.hand.0.fetch_add(seconds, Ordering::SeqCst);
        // It looks at its clock when something happens.
        self.mouth.send(Message::Noticed).unwrap();
    }

    fn stop(self) {
        self.mouth.send(Message::Stop).unwrap();
        self.thread.join().unwrap().unwrap();
    }
}

#[test]
fn it_scans_watches_and_saves_what_changes() {
    let lab = Lab::new();
    assert_eq!(lab.jobs.recv().unwrap().changes, None);
    lab.order(Ok(summary(None)));
    (lab.sink)(Event::Changed { dir: "/a/x".into(), depth: Depth::Listing });
    assert_eq!(lab.status().sets[0].pending, 1);
    lab.later(400);
    let job = lab.jobs.recv().unwrap();
    assert_eq!(job.changes.unwrap().len(), 1);
    let running = lab.status().running.unwrap();
    assert_eq!((running.run, running.counts.read), (2, 1));
    lab.order(Ok(summary(None)));
    assert_eq!(lab.status().sets[0].pending, 0);
    lab.stop();
}

/// Watches take long in a large tree, and a service manager does not wait that long.
#[test]
fn it_is_ready_before_it_watches() {
    let lab = Lab::new();
    lab.jobs.recv().unwrap();
    let said = lab.said.lock().unwrap().clone();
    assert_eq!(said[..3], ["Ready", "watching", "Doing(\"watching\")"], "{said:?}");
    lab.names.lock().unwrap().push("wrong");
    lab.said.lock().unwrap().clear();
    lab.ask(&Request::Reload).unwrap_err();
    let said = lab.said.lock().unwrap().clone();
    assert!(said.starts_with(&["Reloading".into(), "config.toml is read again".into()]));
    assert!(said.contains(&"Ready".to_owned()), "the old configuration is in force: {said:?}");
    lab.stop();
}

#[test]
fn commands_are_followed() {
    let lab = Lab::new();
    lab.jobs.recv().unwrap();
    let run = Request::Run { set: "a".to_owned() };
    let mut call = Call::send(std::slice::from_ref(&lab.socket), &run).unwrap();
    assert_eq!(call.answer().unwrap(), Some(Answer::Done { sets: vec!["a".to_owned()] }));
    lab.orders.send(Err(Trouble::new(1, "the first scan"))).unwrap();
    assert!(lab.jobs.recv().unwrap().wanted);
    lab.orders.send(Ok(summary(None))).unwrap();
    let last = std::iter::from_fn(|| call.answer().unwrap()).last().unwrap();
    assert!(matches!(&last, Answer::Ended { result, run: 2, .. } if result.is_ok()), "{last:?}");
    let no_such = lab.ask(&Request::Now { set: Some("x".to_owned()), full: false }).unwrap_err();
    assert_eq!(no_such.to_string(), "there is no set x");
    let why = lab.ask(&Request::Why { path: "/a/y".into() }).unwrap();
    assert!(matches!(why, Answer::Why(why) if why.watched && why.set.as_deref() == Some("a")));
    lab.stop();
}

#[test]
fn a_pause_stops_what_runs_and_keeps_what_comes() {
    let lab = Lab::new();
    lab.jobs.recv().unwrap();
    lab.ask(&Request::Pause { seconds: 7200 }).unwrap();
    while lab.status().running.is_some() {}
    let until = lab.status().paused_until.unwrap();
    assert_eq!(until, Timestamp(1_007_200));
    lab.later(3600);
    assert_eq!(lab.status().running, None);
    lab.ask(&Request::Resume).unwrap();
    let said = lab.said.lock().unwrap().clone();
    for line in ["paused for 120 min", "resumed"] {
        assert_eq!(said.iter().filter(|said| *said == line).count(), 1, "{line} {said:?}");
    }
    for seconds in [0, MAX_PAUSE.as_secs() + 1, 99_999_999_999] {
        match lab.ask(&Request::Pause { seconds }) {
            Err(CallError::Refused(trouble)) => {
                assert_eq!(trouble.code, Trouble::USAGE);
                assert_eq!(trouble.message, "a pause is from 1 to 31622400 seconds long");
            }
            other => panic!("{seconds}: {other:?}"),
        }
    }
    assert_eq!(lab.status().paused_until, None);
    assert_eq!(lab.jobs.recv().unwrap().changes, None, "the scan was not made");
    lab.order(Ok(summary(None)));
    lab.stop();
}

#[test]
fn a_low_battery_holds_but_not_what_somebody_wants() {
    let lab = Lab::new();
    lab.jobs.recv().unwrap();
    lab.held.store(true, Ordering::SeqCst);
    lab.later(1);
    while lab.status().running.is_some() {}
    assert_eq!(lab.status().held.as_deref(), Some("for power: the battery is at 9 %"));
    lab.ask(&Request::Now { set: None, full: false }).unwrap();
    assert!(lab.jobs.recv().unwrap().wanted);
    lab.later(1);
    assert!(lab.status().running.is_some());
    lab.order(Ok(summary(None)));
    lab.stop();
}

#[test]
fn the_configuration_is_read_again_and_stopping_is_orderly() {
    let lab = Lab::new();
    lab.jobs.recv().unwrap();
    lab.names.lock().unwrap().push("b");
    lab.mouth.send(Message::Reload).unwrap();
    assert_eq!(lab.status().sets.len(), 2);
    // The run is stopped, and waited for.
    lab.stop();
}

#[test]
fn a_configuration_that_changes_is_read_by_itself_and_failures_are_tried_at_once() {
    let lab = Lab::new();
    lab.jobs.recv().unwrap();
    lab.order(Err(Trouble::new(24, "gone")));
    lab.names.lock().unwrap().push("wrong");
    lab.edited.store(true, Ordering::SeqCst);
    lab.later(0);
    assert_eq!(lab.jobs.recv().unwrap().set, "a", "the old set is tried again");
    let alerts = lab.status().alerts;
    assert!(alerts.iter().any(|alert| alert.text.contains("line 7: wrong")), "{alerts:?}");
    lab.order(Ok(summary(None)));
    *lab.names.lock().unwrap() = vec!["a", "b"];
    assert_eq!(
        lab.ask(&Request::Reload).unwrap(),
        Answer::Done { sets: vec!["a".to_owned(), "b".to_owned()] }
    );
    assert_eq!(lab.jobs.recv().unwrap().set, "b");
    assert_eq!(lab.status().alerts, []);
    lab.order(Ok(summary(None)));
    lab.stop();
}

#[test]
fn a_run_makes_way_for_others_but_not_one_that_somebody_waits_for() {
    let lab = Lab::new();
    lab.jobs.recv().unwrap();
    let way = Request::MakeWay { seconds: 30 };
    assert_eq!(lab.ask(&way).unwrap(), Answer::Done { sets: vec!["a".to_owned()] });
    while lab.status().running.is_some() {}
    lab.later(20);
    assert_eq!(lab.status().running, None, "others come first");
    lab.later(11);
    assert_eq!(lab.jobs.recv().unwrap().changes, None, "the scan was not made");
    // What was asked for goes on by itself.
    lab.order(Ok(summary(None)));
    lab.ask(&Request::Now { set: None, full: true }).unwrap();
    assert!(lab.jobs.recv().unwrap().wanted);
    lab.ask(&way).unwrap();
    while lab.status().running.is_some() {}
    lab.later(31);
    assert!(lab.jobs.recv().unwrap().wanted);
    lab.order(Ok(summary(None)));
    let run = Request::Run { set: "a".to_owned() };
    let mut call = Call::send(std::slice::from_ref(&lab.socket), &run).unwrap();
    assert!(matches!(call.answer().unwrap(), Some(Answer::Done { .. })));
    lab.jobs.recv().unwrap();
    let refused = lab.ask(&way).unwrap_err();
    assert!(matches!(refused, CallError::Refused(Trouble { code: Trouble::BUSY, .. })));
    assert!(lab.status().running.is_some());
    lab.order(Ok(summary(None)));
    lab.stop();
}

#[test]
fn a_set_that_goes_stops_its_run_and_no_other_begins_beside_it() {
    let lab = Lab::new();
    lab.names.lock().unwrap().push("b");
    lab.ask(&Request::Reload).unwrap();
    assert_eq!(lab.jobs.recv().unwrap().set, "a");
    *lab.names.lock().unwrap() = vec!["b"];
    lab.ask(&Request::Reload).unwrap();
    // It ends, as it was told to, and only then the next begins.
    assert_eq!(lab.jobs.recv().unwrap().set, "b");
    lab.order(Ok(summary(None)));
    assert_eq!(lab.status().sets.len(), 1);
    lab.stop();
}

#[test]
fn a_vault_that_moves_stops_the_run_which_begins_again_there() {
    let lab = Lab::new();
    lab.jobs.recv().unwrap();
    "file:///other".clone_into(&mut lab.vault.lock().unwrap());
    lab.ask(&Request::Reload).unwrap();
    assert_eq!(lab.jobs.recv().unwrap().changes, None, "the scan was not made");
    assert_eq!(lab.status().vault, "file:///other");
    lab.order(Ok(summary(None)));
    lab.stop();
}

/// A run that somebody waits for makes a snapshot whatever has changed; others need a reason.
#[test]
fn a_run_knows_whether_somebody_waits_for_it() {
    let lab = Lab::new();
    assert!(!lab.jobs.recv().unwrap().followed, "the first scan");
    lab.order(Ok(summary(None)));
    let run = Request::Run { set: "a".to_owned() };
    let follow = || {
        let mut call = Call::send(std::slice::from_ref(&lab.socket), &run).unwrap();
        assert!(matches!(call.answer().unwrap(), Some(Answer::Done { .. })));
        call
    };
    lab.ask(&Request::Now { set: None, full: true }).unwrap();
    assert!(!lab.jobs.recv().unwrap().followed, "nobody waits for it");
    // Whoever comes during a run waits for the next one, and so does whoever comes during that.
    let _first = follow();
    lab.orders.send(Ok(summary(None))).unwrap();
    assert!(lab.jobs.recv().unwrap().followed);
    let _second = follow();
    lab.orders.send(Ok(summary(None))).unwrap();
    assert!(lab.jobs.recv().unwrap().followed);
    lab.order(Ok(summary(None)));
    lab.stop();
}

#[test]
fn what_is_not_taken_is_told_again_and_the_log_says_so_once() {
    let lab = Lab::new();
    lab.jobs.recv().unwrap();
    lab.refused.store(true, Ordering::SeqCst);
    lab.order(Err(Trouble::new(Trouble::REFUSED, "revoked")));
    let said = |words: &str| {
        let said = lab.said.lock().unwrap();
        said.iter().filter(|line| line.contains(words)).count()
    };
    let until = |words: &str, times: usize| {
        while said(words) < times {
            lab.status();
        }
    };
    until("told refused", 1);
    lab.later(6);
    until("told refused", 2);
    until("does not work: refused", 1);
    let shown = lab.status().alerts;
    assert!(shown.iter().any(|alert| alert.text.contains("could not be told")), "{shown:?}");
    lab.refused.store(false, Ordering::SeqCst);
    lab.later(60);
    until("works again", 1);
    assert_eq!((said("told refused"), said("does not work")), (3, 1));
    assert!(lab.status().alerts.iter().all(|alert| !alert.text.contains("could not be told")));
    lab.later(7200);
    lab.status();
    assert_eq!(said("told refused"), 3, "it has arrived");
    lab.stop();
}
