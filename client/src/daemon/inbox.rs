//! What the source of changes tells, until the daemon looks: collected, so that a storm of events
//! is a handful of marks.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::changes::{Event, Lost, Names, Sink};
use crate::backup::{Changes, Depth};

/// Directories that are kept; beyond that all of them count as lost.
const MOST: usize = 100_000;

/// What was noticed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Noticed {
    /// Directories that may have changed.
    pub changes: Changes,
    /// What in them, as far as that is known.
    pub names: HashMap<PathBuf, Names>,
    /// Where events were lost: the root, if it is known.
    pub lost: Vec<(Option<PathBuf>, Lost)>,
}

impl Noticed {
    /// Whether nothing was noticed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.lost.is_empty()
    }

    /// Takes in an event.
    pub fn add(&mut self, event: Event) {
        match event {
            Event::Changed { dir, depth } => {
                self.changes.add(&dir, depth);
                self.names.entry(dir).or_default().merge(&Names::any());
            }
            Event::Entries { dir, names } => {
                self.changes.add(&dir, Depth::Listing);
                self.names.entry(dir).or_default().merge(&names);
            }
            Event::Lost { root, why } => {
                let lost = (root, why);
                if !self.lost.contains(&lost) {
                    self.lost.push(lost);
                }
            }
        }
        if self.changes.len() > MOST {
            *self = Self { lost: vec![(None, Lost::Overflow)], ..Self::default() };
        }
    }
}

/// Collects events.
#[derive(Debug, Clone, Default)]
pub struct Inbox(Arc<Mutex<Noticed>>);

impl Inbox {
    /// A sink that collects here, and calls `ring` with the first event after a look.
    pub fn sink(&self, ring: impl Fn() + Send + Sync + 'static) -> Sink {
        let inner = Arc::clone(&self.0);
        Arc::new(move |event| {
            let mut noticed = inner.lock().unwrap_or_else(PoisonError::into_inner);
            let first = noticed.is_empty();
            noticed.add(event);
            drop(noticed);
            if first {
                ring();
            }
        })
    }

    /// Takes what has come.
    pub fn take(&self) -> Noticed {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_storm_is_a_few_marks_and_one_ring() {
        let (inbox, rung) = (Inbox::default(), Arc::new(AtomicU32::new(0)));
        let bell = Arc::clone(&rung);
        let sink = inbox.sink(move || {
            bell.fetch_add(1, Ordering::Relaxed);
        });
        for n in 0..1000 {
            let dir = format!("/a/{}", n % 3).into();
            sink(Event::Changed { dir, depth: Depth::Listing });
            sink(Event::Lost { root: None, why: Lost::Gone });
        }
        let noticed = inbox.take();
        assert_eq!((noticed.changes.len(), noticed.lost.len()), (3, 1));
        assert_eq!(rung.load(Ordering::Relaxed), 1);
        assert!(inbox.take().is_empty());
        sink(Event::Lost { root: None, why: Lost::Overflow });
        assert_eq!(rung.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_name_beside_something_unnamed_stays_known() {
        let dir = PathBuf::from("/d");
        let mut names = Names::default();
        names.add("letter".as_ref());
        let named = Event::Entries { dir: dir.clone(), names };
        let unnamed = Event::Changed { dir: dir.clone(), depth: Depth::Listing };
        for events in [[&named, &unnamed], [&unnamed, &named]] {
            let mut noticed = Noticed::default();
            for event in events {
                noticed.add(event.clone());
            }
            let names = &noticed.names[&dir];
            assert!(names.iter().eq(["letter"]) && names.has("other".as_ref()), "{names:?}");
        }
    }

    #[test]
    fn too_many_are_as_good_as_lost() {
        let mut noticed = Noticed::default();
        for n in 0..=MOST {
            noticed.add(Event::Changed { dir: format!("/{n}").into(), depth: Depth::Listing });
        }
        assert!(noticed.changes.is_empty());
        assert_eq!(noticed.lost, [(None, Lost::Overflow)]);
    }
}
