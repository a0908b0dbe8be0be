//! Other roots, or others of their directories are left out: what stays is watched without a gap.

use std::path::PathBuf;

use super::eyes::{Eyes, Root};
use super::job::{End, Job};
use super::watches::dir_id;
use crate::daemon::changes::Lost;

impl Eyes {
    /// Watches these roots, none of which lies in another, and looks through the directories in
    /// `again`.
    pub(super) fn watch_others(&mut self, wanted: Vec<PathBuf>, again: &[PathBuf]) {
        if self.watches.is_none() {
            let root = |path| Root { path, here: None };
            let failed = self.broken.is_some();
            self.roots = wanted.into_iter().map(root).collect();
            self.begin_anew(if failed { End::Lost(Lost::Failed) } else { End::Quiet });
            return;
        }
        let within = |path: &PathBuf| wanted.iter().position(|root| path.starts_with(root));
        let numbers: Vec<Option<usize>> =
            self.roots.iter().map(|root| within(&root.path)).collect();
        let before = std::mem::take(&mut self.roots);
        let gone: Vec<PathBuf> = before
            .iter()
            .zip(&numbers)
            .filter(|(_, number)| number.is_none())
            .map(|(root, _)| root.path.clone())
            .collect();
        for path in &gone {
            self.drop_tree(path);
        }
        self.jobs.retain_mut(|job| match numbers.get(job.root).copied().flatten() {
            Some(number) => {
                job.root = number;
                true
            }
            None => job.stack.is_empty(),
        });
        if let Some(watches) = &mut self.watches {
            watches.renumber(&numbers, wanted.len());
        }
        for (number, path) in wanted.into_iter().enumerate() {
            if let Some(same) = before.iter().find(|root| root.path == path) {
                self.roots.push(Root { path, here: same.here });
                continue;
            }
            self.roots.push(Root { here: dir_id(&path), path: path.clone() });
            // Beneath another one it was watched, and for a moment it is not.
            let gap = gone.iter().any(|above| path.starts_with(above));
            let end = if gap { End::Everything(path.clone()) } else { End::Quiet };
            self.jobs.push_back(Job::through(path, number, end));
        }
        for path in again {
            if let Some(number) = self.root_of(path) {
                self.jobs.push_back(Job::through(path.clone(), number, End::Quiet));
            }
        }
    }
}
