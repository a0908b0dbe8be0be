//! Progress on the screen: two bars, *reading* and *sending*, drawn by a thread of its own.
//!
//! Not a terminal: a plain line every ten seconds. `--json`: restic's `status` lines, one a second.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use unseen_common::id::SnapshotId;

use super::escape::escape_for_terminal;
use super::output::Ui;
use crate::progress::{Amount, Change, Counts, Item, Monitor, Note, Problem, Stored, Tally};

mod words;

pub use words::{Sample, Task};

use words::Rates;

/// The longest path of a current file that is kept, in bytes; the terminal cuts it further.
const MAX_CURRENT: usize = 512;

/// A [`Monitor`] that draws until it is finished or dropped.
#[derive(Debug)]
pub struct Bars {
    shared: Arc<Shared>,
    ticker: Mutex<Option<Ticker>>,
    deleted: Option<Deleted>,
}

#[derive(Debug)]
struct Ticker {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// Where the files of a restore lie, for those that a dry run would delete.
#[derive(Debug)]
struct Deleted {
    target: PathBuf,
    /// The path in the snapshot that the target stands for.
    stands_for: Vec<u8>,
}

#[derive(Debug)]
struct Shared {
    ui: Arc<Ui>,
    task: Task,
    tally: Tally,
    current: Mutex<Vec<u8>>,
    /// Whether anybody looks at the current file.
    watched: AtomicBool,
    begun: OnceLock<Instant>,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Nothing,
    Json,
    Lines,
    Bars,
}

impl Manner {
    fn of(ui: &Ui) -> Self {
        if ui.is_quiet() {
            Self::Nothing
        } else if ui.is_json() {
            Self::Json
        } else if ui.surroundings().stderr_terminal {
            Self::Bars
        } else {
            Self::Lines
        }
    }

    /// How often something is shown.
    fn every(self) -> Duration {
        match self {
            Self::Bars => Duration::from_millis(100),
            Self::Json => Duration::from_secs(1),
            Self::Lines | Self::Nothing => Duration::from_secs(10),
        }
    }
}

impl Bars {
    /// Begins to show progress as suits the outputs.
    pub fn start(ui: &Arc<Ui>, task: Task) -> Self {
        let bars = Self::waiting(ui, task);
        bars.show();
        bars
    }

    /// Counts, and shows nothing before [`Self::show`].
    pub fn waiting(ui: &Arc<Ui>, task: Task) -> Self {
        let manner = Manner::of(ui);
        let shared = Arc::new(Shared {
            ui: Arc::clone(ui),
            task,
            tally: Tally::default(),
            current: Mutex::default(),
            watched: AtomicBool::new(matches!(manner, Manner::Json | Manner::Bars)),
            begun: OnceLock::new(),
        });
        Self { shared, ticker: Mutex::default(), deleted: None }
    }

    /// Begins to show progress, and to count the time.
    pub fn show(&self) {
        self.shared.begun.get_or_init(Instant::now);
        let manner = Manner::of(&self.shared.ui);
        let mut ticker = self.ticker.lock().unwrap_or_else(PoisonError::into_inner);
        if manner == Manner::Nothing || ticker.is_some() {
            return;
        }
        let (stop, stopped) = bounded(1);
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("progress".to_owned());
        // Without a thread to spare, the work goes on unseen.
        let thread = thread.spawn(move || draw(&shared, manner, &stopped));
        *ticker = thread.ok().map(|thread| Ticker { stop, thread });
    }

    /// For a dry run: each thing that would be deleted is named as part of the result. `stands_for`
    /// is the path in the snapshot that the target stands for.
    pub fn name_deleted(&mut self, target: &Path, stands_for: Vec<u8>) {
        self.deleted = Some(Deleted { target: target.to_path_buf(), stands_for });
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.shared.tally.counts()
    }

    /// Shows what somebody else has counted.
    pub fn follow(&self, counts: &Counts, current: &[u8]) {
        self.shared.tally.set(counts);
        self.file_started(current);
    }

    /// How long it has been.
    pub fn elapsed(&self) -> Duration {
        self.shared.elapsed()
    }

    /// Takes the bars off the screen; returns the last counts and the time it took.
    pub fn finish(mut self) -> (Counts, Duration) {
        self.end();
        (self.counts(), self.elapsed())
    }

    fn end(&mut self) {
        let ticker = self.ticker.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Ticker { stop, thread }) = ticker {
            // It ends when its channel does.
            drop(stop);
            thread.join().ok();
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.end();
    }
}

impl Deleted {
    /// Where a path of the snapshot lies.
    fn place(&self, path: &[u8]) -> Vec<u8> {
        let beneath = path.strip_prefix(self.stands_for.as_slice()).unwrap_or(path);
        let target = self.target.as_os_str().as_bytes();
        [target.strip_suffix(b"/").unwrap_or(target), beneath].concat()
    }
}

impl Shared {
    fn elapsed(&self) -> Duration {
        self.begun.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    fn sample(&self, rates: &mut Rates) -> Sample {
        let counts = self.tally.counts();
        let elapsed = self.elapsed();
        rates.update(&counts, elapsed);
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        Sample { task: self.task, counts, elapsed, rates: *rates, current: current.clone() }
    }
}

fn draw(shared: &Shared, manner: Manner, stopped: &crossbeam_channel::Receiver<()>) {
    let mut rates = Rates::default();
    let screen = (manner == Manner::Bars).then(|| Screen::open(&shared.ui, shared.task));
    while stopped.recv_timeout(manner.every()) == Err(RecvTimeoutError::Timeout) {
        let sample = shared.sample(&mut rates);
        match (&screen, manner) {
            (Some(screen), _) => screen.show(&sample),
            (None, Manner::Json) => shared.ui.json_now(&sample.to_json()),
            (None, _) => shared.ui.status(&sample.to_line()),
        }
    }
    if let Some(screen) = screen {
        screen.close(&shared.ui);
    }
}

/// The bars themselves.
struct Screen {
    all: MultiProgress,
    reading: ProgressBar,
    sending: ProgressBar,
    current: ProgressBar,
}

impl Screen {
    fn open(ui: &Ui, task: Task) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let bar = |label: &'static str, template: &str| {
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("█░");
            let bar = all.add(ProgressBar::new(1));
            bar.set_style(style);
            bar.set_prefix(label);
            bar
        };
        let (first, second) = task.labels();
        let screen = Self {
            reading: bar(first, "{prefix:<9} {bar:20} {wide_msg}"),
            sending: bar(second, "{prefix:<9} {bar:20} {wide_msg}"),
            current: bar("", "{prefix:<9} {wide_msg}"),
            all,
        };
        ui.set_bars(Some(screen.all.clone()));
        screen
    }

    fn show(&self, sample: &Sample) {
        let (reading, sending) = (sample.reading(), sample.sending());
        for (bar, part) in [(&self.reading, reading), (&self.sending, sending)] {
            bar.set_length(part.total.max(1));
            bar.set_position(part.done.min(part.total));
            bar.set_message(part.words.join("  "));
        }
        let current = escape_for_terminal(&sample.current).into_owned();
        self.current.set_message(current);
    }

    fn close(self, ui: &Ui) {
        ui.set_bars(None);
        for bar in [&self.reading, &self.sending, &self.current] {
            bar.finish_and_clear();
        }
        self.all.clear().ok();
    }
}

impl Monitor for Bars {
    fn scanned(&self, found: Amount) {
        self.shared.tally.scanned(found);
    }

    fn scan_done(&self) {
        self.shared.tally.scan_done();
    }

    fn file_started(&self, path: &[u8]) {
        if !self.shared.watched.load(Ordering::Relaxed) {
            return;
        }
        // Whoever comes second is shown next time.
        if let Ok(mut current) = self.shared.current.try_lock() {
            current.clear();
            current.extend_from_slice(path.get(..MAX_CURRENT).unwrap_or(path));
        }
    }

    fn bytes_read(&self, bytes: u64) {
        self.shared.tally.bytes_read(bytes);
    }

    fn done(&self, item: Item<'_>) {
        self.shared.tally.done(item);
        let ui = &self.shared.ui;
        if let Some(deleted) = self.deleted.as_ref().filter(|_| item.change == Change::Deleted) {
            if ui.is_json() {
                ui.json(&words::item_json(&item));
            } else {
                let path = deleted.place(item.path);
                let slash = if item.is_dir { "/" } else { "" };
                ui.line(&format!("would delete {}{slash}", escape_for_terminal(&path)));
            }
        } else if ui.is_verbose(1) {
            if ui.is_json() {
                ui.json(&words::item_json(&item));
            } else {
                ui.detail(words::verbosity(&item), || words::item_line(&item));
            }
        }
    }

    fn unvisited(&self, amount: Amount) {
        self.shared.tally.unvisited(amount);
    }

    fn stored(&self, stored: Stored) {
        self.shared.tally.stored(stored);
    }

    fn transfer_planned(&self, bytes: u64) {
        self.shared.tally.transfer_planned(bytes);
    }

    fn transferred(&self, bytes: u64) {
        self.shared.tally.transferred(bytes);
    }

    fn problem(&self, problem: &Problem) {
        self.shared.tally.problem(problem);
        self.shared.ui.problem(problem);
    }

    fn note(&self, note: &Note) {
        self.shared.ui.note(note);
    }

    fn checkpoint(&self, snapshot: &SnapshotId) {
        self.shared.tally.checkpoint(snapshot);
        let ui = &self.shared.ui;
        ui.detail(1, || format!("checkpoint {} saved", snapshot.short()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Voice;
    use crate::progress::During;

    fn item(change: Change) -> Item<'static> {
        Item { path: b"/a\xff", is_dir: false, change, size: 7 }
    }

    fn run(voice: Voice) -> (Counts, String, String) {
        let (ui, seen) = Ui::captured(voice);
        let ui = Arc::new(ui);
        let bars = Bars::start(&ui, Task::Backup);
        let monitor: &dyn Monitor = &bars;
        monitor.scanned(Amount { files: 2, dirs: 1, bytes: 7 });
        monitor.file_started(b"/a\xff");
        monitor.done(item(Change::New));
        monitor.done(item(Change::Unmodified));
        monitor.problem(&Problem {
            path: b"/b".to_vec(),
            during: During::Archival,
            what: "gone".to_owned(),
        });
        monitor.checkpoint(&SnapshotId::from_bytes([0xab; 32]));
        let (counts, _) = bars.finish();
        ui.finish().unwrap();
        (counts, seen.out(), seen.err())
    }

    fn voice(json: bool, level: i8) -> Voice {
        Voice { json, level }
    }

    #[test]
    fn problems_are_told_at_once_and_all_is_counted() {
        let (counts, out, err) = run(voice(false, 0));
        assert_eq!((counts.files.new, counts.files.unmodified), (1, 1));
        assert_eq!((counts.problems, counts.checkpoints), (1, 1));
        assert_eq!((out.as_str(), err.as_str()), ("", "error: /b: gone\n"));
    }

    #[test]
    fn verbose_names_files() {
        let (_, _, err) = run(voice(false, 1));
        assert_eq!(err, "new        /a\\xff, 7 B\nerror: /b: gone\ncheckpoint abababab saved\n");
        let (_, _, err) = run(voice(false, 2));
        assert!(err.contains("unmodified /a\\xff, 7 B\n"), "{err}");
        let (_, out, _) = run(voice(true, 1));
        let first: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
        assert_eq!(first["message_type"], "verbose_status");
        assert_eq!(first["action"], "new");
        assert_eq!(first["item_b64"], "L2H/");
    }

    #[test]
    fn quiet_shows_problems_only() {
        let (_, out, err) = run(voice(false, -1));
        assert_eq!((out.as_str(), err.as_str()), ("", "error: /b: gone\n"));
    }

    #[test]
    fn a_dry_run_names_what_it_would_delete_where_it_lies() {
        for (target, stands_for, shown) in [
            ("/t", "", "/t/home/a\\xff/"),
            ("/t/", "/home", "/t/a\\xff/"),
            ("/", "", "/home/a\\xff/"),
        ] {
            let (ui, seen) = Ui::captured(voice(false, 0));
            let ui = Arc::new(ui);
            let mut bars = Bars::waiting(&ui, Task::Restore);
            bars.name_deleted(Path::new(target), stands_for.as_bytes().to_vec());
            let path = b"/home/a\xff";
            bars.done(Item { path, is_dir: true, change: Change::Deleted, size: 0 });
            bars.done(item(Change::New));
            assert_eq!(bars.finish().1, Duration::ZERO, "nothing has begun");
            ui.finish().unwrap();
            assert_eq!(seen.out(), format!("would delete {shown}\n"));
        }
    }

    /// Not a test of time: the ticker must end when asked to, however long its pause is.
    #[test]
    fn finishing_does_not_wait_for_the_next_line() {
        let (ui, _) = Ui::captured(voice(false, 0));
        let bars = Bars::start(&Arc::new(ui), Task::Restore);
        let (_, took) = bars.finish();
        assert!(took < Manner::Lines.every());
    }
}
