//! Where the paths of a set are watched. A directory itself; of anything else, the directory that
//! it is in: a program that saves a file puts another one in its place, and a watch stays with the
//! old one. Nothing else in there is watched for it, nor told.

use std::path::{Path, PathBuf};

use super::{Core, Now};
use crate::backup::Depth;
use crate::daemon::changes::{Coverage, Names};
use crate::daemon::schedule::Kind;

/// A path of a set, and the directory that is watched for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    root: PathBuf,
    pub(super) dir: PathBuf,
}

impl Place {
    /// As it looks now.
    pub(super) fn of(root: &Path) -> Self {
        let dir = dir_of(root).unwrap_or_else(|| root.to_path_buf());
        Self { root: root.to_path_buf(), dir }
    }

    /// How well the path is watched, with its directory.
    pub(super) fn covered(&self, all: &[(PathBuf, Coverage)]) -> Option<(PathBuf, Coverage)> {
        let (_, how) = all.iter().find(|(dir, _)| *dir == self.dir)?;
        let how = match how {
            how if self.root == self.dir => how.clone(),
            Coverage::Scanned { roots, why } if roots.iter().any(|r| self.dir.starts_with(r)) => {
                Coverage::Scanned { roots: vec![self.root.clone()], why: why.clone() }
            }
            Coverage::Watched { .. } | Coverage::Scanned { .. } => Coverage::Watched { dirs: 1 },
        };
        Some((self.root.clone(), how))
    }
}

impl Core {
    /// All directories that are to be watched.
    pub fn watched(&self) -> Vec<PathBuf> {
        let watched = self.sets.values().filter(|set| set.kind == Kind::Watched);
        let mut dirs: Vec<PathBuf> =
            watched.flat_map(|set| &set.places).map(|place| place.dir.clone()).collect();
        dirs.sort();
        dirs.dedup();
        dirs
    }

    /// Looks again at what the paths are: a file may be a directory by now, or be there at last.
    /// The directories that are to be watched anew. What was missed until they are is saved.
    pub fn look_at_places(&mut self, now: Now) -> Vec<PathBuf> {
        let mut other = Vec::new();
        for (name, set) in &mut self.sets {
            for place in &mut set.places {
                // What is gone may be about to be replaced.
                let Some(dir) = dir_of(&place.root).filter(|dir| *dir != place.dir) else {
                    continue;
                };
                place.dir.clone_from(&dir);
                other.push(dir);
                self.marks.add(name, (&place.root, Depth::Everything), now);
                self.schedule.changed(name, now.at);
            }
        }
        other
    }
}

/// The directory that is to be watched for a path; nothing if nothing is there.
fn dir_of(root: &Path) -> Option<PathBuf> {
    let meta = root.symlink_metadata().ok()?;
    let above = root.parent().filter(|_| !meta.is_dir());
    // Who may not list a directory cannot watch it either.
    let above = above.filter(|above| std::fs::read_dir(above).is_ok());
    Some(above.unwrap_or(root).to_path_buf())
}

/// Whether something happened to what lies on the way from a directory to a path beneath it, when
/// it happened to these entries of the directory.
pub(super) fn is_on_the_way(dir: &Path, path: &Path, names: &Names) -> bool {
    let next = path.strip_prefix(dir).ok().and_then(|rest| rest.components().next());
    next.is_none_or(|next| names.has(next.as_os_str()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use unseen_common::time::Timestamp;

    use super::*;
    use crate::daemon::book::Book;
    use crate::daemon::changes::{Event, Unwatched};
    use crate::daemon::core::{SetSpec, Step, tests::summary};
    use crate::daemon::inbox::Noticed;
    use crate::daemon::marks::InMemory;
    use crate::daemon::schedule::Pace;
    use crate::scan::exclude::Rules;
    use crate::sets::JobSource;

    fn now(seconds: u64) -> Now {
        Now { at: Duration::from_secs(seconds), wall: Timestamp(1_800_000_000 + seconds) }
    }

    /// The mind of a daemon with one set, that has just been scanned.
    fn core(root: &Path) -> Core {
        let mut core = Core::new(Box::new(InMemory::default()), Book::default(), now(0));
        let spec = SetSpec {
            name: "a".to_owned(),
            source: JobSource::Paths(vec![root.to_path_buf()]),
            rules: Rules::default(),
            one_file_system: false,
            pace: Pace::default(),
        };
        let again = core.set_sets(vec![spec], now(0));
        assert_eq!(again, core.watched(), "all is new");
        let Step::Run(job) = core.step(now(0)) else { panic!("nothing is due") };
        core.ended(&job, &Ok(summary(None)), (now(0), 0));
        core
    }

    fn noticed(core: &mut Core, dir: &Path, name: &str, at: u64) {
        let mut names = Names::default();
        names.add(name.as_ref());
        let mut noticed = Noticed::default();
        noticed.add(Event::Entries { dir: dir.to_path_buf(), names });
        core.noticed(&noticed, now(at));
    }

    #[test]
    fn a_file_is_watched_by_its_folder_and_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, file) = (dir.path(), dir.path().join("file"));
        fs::write(&file, "x").unwrap();
        let mut core = core(&file);
        assert_eq!((core.watched(), core.roots()), (vec![dir.into()], vec![file.clone()]));
        noticed(&mut core, dir, "other", 1000);
        assert_eq!(core.status(now(1000)).sets[0].pending, 0);
        noticed(&mut core, dir, "file", 1000);
        let Step::Run(job) = core.step(now(1031)) else { panic!("nothing is due") };
        let changes = job.changes.unwrap();
        let marked: Vec<_> = changes.iter().collect();
        assert_eq!(marked, [(file.as_path(), Depth::Everything)]);
    }

    #[test]
    fn how_well_a_folder_is_watched_counts_for_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, file) = (dir.path(), dir.path().join("file"));
        fs::write(&file, "x").unwrap();
        let mut core = core(&file);
        let why = Unwatched::Network { kind: "nfs".to_owned() };
        let scanned = |root: PathBuf| Coverage::Scanned { roots: vec![root], why: why.clone() };
        for (how, lines) in [
            (Coverage::Watched { dirs: 7 }, 0),
            // Somebody else's, beside the file.
            (scanned(dir.join("deep")), 0),
            (scanned(dir.to_path_buf()), 1),
        ] {
            core.covered(&[(dir.to_path_buf(), how)], now(1).at);
            let status = core.status(now(1));
            assert_eq!(status.sets[0].not_watched.len(), lines, "{status:?}");
            let told = status.sets[0].not_watched.concat();
            assert!(lines == 0 || told.starts_with(file.to_str().unwrap()), "{told}");
        }
    }

    #[test]
    fn what_becomes_something_else_is_watched_elsewhere_and_saved() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, path) = (dir.path(), dir.path().join("x"));
        let mut core = core(&path);
        assert_eq!(core.watched(), [path.as_path()], "nothing is there");
        assert!(core.look_at_places(now(1000)).is_empty());
        fs::write(&path, "x").unwrap();
        assert_eq!(core.look_at_places(now(1000)), [dir]);
        assert_eq!(core.watched(), [dir]);
        assert!(matches!(core.step(now(1031)), Step::Run(_)));
        fs::remove_file(&path).unwrap();
        assert!(core.look_at_places(now(2000)).is_empty(), "it may come again");
        fs::create_dir(&path).unwrap();
        assert_eq!(core.look_at_places(now(2000)), [path.as_path()]);
        assert_eq!(core.watched(), [path]);
    }

    #[test]
    fn names_matter_only_on_the_way() {
        let mut names = Names::default();
        names.add("b".as_ref());
        let way = |dir: &str, path: &str| is_on_the_way(dir.as_ref(), path.as_ref(), &names);
        assert!(way("/a", "/a/b") && way("/a", "/a/b/c") && way("/a", "/a"));
        assert!(!way("/a", "/a/c") && !way("/", "/a/b"));
        assert!(is_on_the_way("/a".as_ref(), "/a/c".as_ref(), &Names::any()));
    }
}
