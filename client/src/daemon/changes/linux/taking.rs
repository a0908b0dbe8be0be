//! Taking in what was told: what is there now is what counts.

use std::collections::HashMap;
use std::path::PathBuf;

use super::eyes::Eyes;
use super::job::{End, Job};
use super::told::{Entry, Happened};
use super::watches::{Watches, dir_id};
use crate::daemon::changes::{Event, Lost, Names};

/// Directories that may wait to be watched because of events. With more, all is begun anew.
const MAX_JOBS: usize = 50_000;

/// Directories in which something happened, and to what.
type Marks = HashMap<PathBuf, Names>;

impl Eyes {
    /// Takes in all that was told since the last time.
    pub(super) fn take_news(&mut self) {
        let Some(watches) = &self.watches else { return };
        let mut news = watches.news();
        if news.ended {
            // It is tried again when roots are looked for, not at once: it may end again.
            self.watches = None;
            self.broken = Some("the thread that is told of changes has ended".into());
            self.jobs.retain(|job| matches!(job.end, End::Answer(_)));
            (self.catching_up.left, self.catching_up.now) = (0, Vec::new());
            (self.sink)(Event::Lost { root: None, why: Lost::Failed });
            return;
        }
        if let Some(why) = news.lost {
            self.recover(why);
            return;
        }
        let entries = news.entries();
        let mut marks = news.dirs;
        for (path, entry) in entries {
            self.settle(path, entry, &mut marks);
        }
        // After all that they tell of has happened.
        for (dir, names) in marks {
            if self.root_of(&dir).is_none() {
                continue;
            }
            (self.sink)(Event::Entries { dir, names });
        }
        self.catching_up.left = self.catching_up.left.saturating_sub(news.marks);
        if self.jobs.len() > MAX_JOBS {
            self.recover(Lost::Overflow);
        }
    }

    /// Something happened to what may be a directory, in a watched one or a watched one itself.
    fn settle(&mut self, path: PathBuf, entry: Entry, marks: &mut Marks) {
        let happened = entry.happened;
        let Some(root) = self.root_of(&path) else { return };
        let top = self.roots.get(root).is_some_and(|top| top.path == path);
        if top && happened == Happened::Replaced {
            self.root_is_gone(root);
            return;
        }
        let was_watched = self.watches.as_ref().is_some_and(|watches| watches.has(&path));
        let is_dir = entry.is_dir || was_watched || dir_id(&path).is_some();
        if !top {
            if self.options.excluded.has(&path, is_dir) {
                return;
            }
            if let (Some(dir), Some(name)) = (path.parent(), path.file_name()) {
                marks.entry(dir.to_path_buf()).or_default().add(name);
            }
        }
        match happened {
            // Whatever happened in it on its way here was told by another path, or not at all.
            // Of what was a directory, all beneath is to be forgotten.
            Happened::Replaced if is_dir => self.place_again(path, root),
            Happened::Replaced => self.drop_tree(&path),
            Happened::Attributes if was_watched => {
                marks.entry(path).or_default().merge(&Names::any());
            }
            // With other attributes it may be readable now.
            Happened::Attributes if !is_dir => {}
            Happened::Attributes | Happened::Made => {
                self.jobs.push_back(Job::new(path.clone(), root, End::Everything(path)));
            }
        }
    }

    /// Answers those who wait for what has been told by now, and makes a mark for the next ones.
    pub(super) fn catch_up(&mut self) {
        let waiting = &mut self.catching_up;
        if waiting.left == 0 {
            let told = waiting.now.drain(..).map(|to| Job::only(End::Answer(to)));
            self.jobs.extend(told);
        }
        if waiting.left > 0 || waiting.next.is_empty() {
            return;
        }
        // Without a mark nobody knows: that the answer never comes says so.
        let next = std::mem::take(&mut waiting.next);
        if let Some(left) = self.watches.as_ref().and_then(Watches::mark) {
            (waiting.now, waiting.left) = (next, left);
        }
    }
}
