//! A source that tells what a test wants it to.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{ChangeSource, Coverage, Event, Sink};
use crate::backup::Depth;

/// The source.
#[derive(Debug)]
pub(crate) struct Fake(Script);

/// What a test holds of it.
#[derive(Clone)]
pub(crate) struct Script(Arc<Mutex<State>>);

struct State {
    sink: Sink,
    roots: Vec<PathBuf>,
    /// What was to be looked through again the last time.
    again: Vec<PathBuf>,
    /// Of roots that are not well watched.
    coverage: Vec<(PathBuf, Coverage)>,
    /// Told by the next `catch_up`.
    held: Vec<Event>,
    watched: usize,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Script")
    }
}

impl Fake {
    /// A source that tells this sink, and what a test moves it by.
    pub(crate) fn new(sink: Sink) -> (Self, Script) {
        let (roots, coverage, held) = (Vec::new(), Vec::new(), Vec::new());
        let state = State { sink, roots, again: Vec::new(), coverage, held, watched: 0 };
        let script = Script(Arc::new(Mutex::new(state)));
        (Self(script.clone()), script)
    }
}

impl Script {
    /// Tells this now.
    pub(crate) fn tell(&self, event: Event) {
        let sink = Arc::clone(&self.with(|state| Arc::clone(&state.sink)));
        sink(event);
    }

    /// Tells that something in this directory changed.
    pub(crate) fn changed(&self, dir: &Path) {
        self.tell(Event::Changed { dir: dir.to_path_buf(), depth: Depth::Listing });
    }

    /// Tells that this directory appeared.
    pub(crate) fn appeared(&self, dir: &Path) {
        self.tell(Event::Changed { dir: dir.to_path_buf(), depth: Depth::Everything });
    }

    /// Keeps this until somebody wants to catch up.
    pub(crate) fn hold(&self, event: Event) {
        self.with(|state| state.held.push(event));
    }

    /// From now on this root is watched so well.
    pub(crate) fn cover(&self, root: &Path, coverage: Coverage) {
        self.with(|state| {
            state.coverage.retain(|(other, _)| other != root);
            state.coverage.push((root.to_path_buf(), coverage));
        });
    }

    /// What is watched.
    pub(crate) fn roots(&self) -> Vec<PathBuf> {
        self.with(|state| state.roots.clone())
    }

    /// What of it was to be looked through again.
    pub(crate) fn again(&self) -> Vec<PathBuf> {
        self.with(|state| state.again.clone())
    }

    /// How often somebody said what to watch.
    pub(crate) fn watched(&self) -> usize {
        self.with(|state| state.watched)
    }

    fn with<T>(&self, job: impl FnOnce(&mut State) -> T) -> T {
        job(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ChangeSource for Fake {
    fn watch(&mut self, roots: &[PathBuf], again: &[PathBuf]) -> Vec<(PathBuf, Coverage)> {
        self.0.with(|state| {
            state.roots = roots.to_vec();
            state.again = again.to_vec();
            state.watched += 1;
        });
        self.coverage()
    }

    fn coverage(&self) -> Vec<(PathBuf, Coverage)> {
        self.0.with(|state| {
            let of = |root: &PathBuf| {
                let told = state.coverage.iter().find(|(other, _)| other == root);
                told.cloned().unwrap_or((root.clone(), Coverage::Watched { dirs: 1 }))
            };
            state.roots.iter().map(of).collect()
        })
    }

    fn catch_up(&self, _: Duration) -> bool {
        for event in self.0.with(|state| std::mem::take(&mut state.held)) {
            self.0.tell(event);
        }
        true
    }
}

#[test]
fn it_tells_what_it_is_told_to() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&told);
    let (mut source, script) = Fake::new(Arc::new(move |event| into.lock().unwrap().push(event)));
    let root = PathBuf::from("/home");
    source.watch(std::slice::from_ref(&root), std::slice::from_ref(&root));
    script.cover(&root, Coverage::Watched { dirs: 7 });
    assert_eq!(source.coverage(), [(root.clone(), Coverage::Watched { dirs: 7 })]);
    script.hold(Event::Changed { dir: root.clone(), depth: Depth::Listing });
    script.appeared(&root);
    assert_eq!(told.lock().unwrap().len(), 1);
    assert!(source.catch_up(Duration::ZERO));
    script.changed(&root);
    assert_eq!(told.lock().unwrap().len(), 3);
    assert_eq!((script.roots(), script.again()), (vec![root.clone()], vec![root]));
    assert_eq!(script.watched(), 1);
}
