//! Whether a change in a directory matters to a set: what is left out of its snapshots is no reason
//! to make one. The program's own folders among them: each run writes there.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::scan::exclude::{Candidate, Decision, Listing, Rules};

/// The paths of a set, and what is left out of it.
#[derive(Debug, Default)]
pub struct Filter {
    roots: Vec<PathBuf>,
    rules: Rules,
}

impl Filter {
    /// Of these absolute paths.
    pub fn new(roots: Vec<PathBuf>, rules: Rules) -> Self {
        Self { roots, rules }
    }

    /// The paths.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// The paths of which something may have changed when this directory has. Above a root, only
    /// the root itself matters.
    pub fn touched<'a>(&'a self, dir: &'a Path) -> impl Iterator<Item = &'a Path> {
        self.roots.iter().filter_map(move |root| {
            if dir.starts_with(root) {
                self.keeps(root, dir).then_some(dir)
            } else {
                root.starts_with(dir).then_some(root.as_path())
            }
        })
    }

    /// Whether anything directly in this directory, at or beneath `root`, is saved.
    fn keeps(&self, root: &Path, dir: &Path) -> bool {
        let Ok(mut ctx) = self.rules.at(root.parent().unwrap_or(root)) else {
            return false;
        };
        let mut path = root.parent().unwrap_or(root).to_path_buf();
        let Ok(beneath) = dir.strip_prefix(&path) else {
            return true;
        };
        for name in beneath {
            path.push(name);
            let entry = Candidate { name: name.as_bytes(), is_dir: true, size: 0 };
            if self.rules.decide(&ctx, entry) != Decision::Include {
                return false;
            }
            ctx = self.rules.enter(&ctx, name.as_bytes());
            self.rules.look(&mut ctx, &OnDisk(&path));
        }
        !ctx.is_marked()
    }
}

struct OnDisk<'a>(&'a Path);

impl OnDisk<'_> {
    fn path(&self, name: &[u8]) -> PathBuf {
        self.0.join(std::ffi::OsStr::from_bytes(name))
    }
}

impl Listing for OnDisk<'_> {
    fn has(&self, name: &[u8]) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    fn head(&self, name: &[u8], limit: usize) -> io::Result<Vec<u8>> {
        let path = self.path(name);
        if !path.symlink_metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut head = Vec::new();
        File::open(path)?.take(u64::try_from(limit).unwrap_or(u64::MAX)).read_to_end(&mut head)?;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::exclude::{Case, Options, Pattern};

    #[test]
    fn only_what_is_saved_matters() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("home");
        for folder in ["doc/deep", "cache/a", "own", "x.tmp/y"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let tag = "Signature: 8a477f597d28d172789f06886806bc55";
        std::fs::write(root.join("cache/CACHEDIR.TAG"), tag).unwrap();
        let rules = Rules::new(Options {
            patterns: vec![Pattern::parse(b"*.tmp", Case::Sensitive).unwrap()],
            caches: true,
            own: vec![root.join("own")],
            ..Options::default()
        });
        let filter = Filter::new(vec![root.clone()], rules);
        let touched = |path: &Path| filter.touched(path).map(Path::to_path_buf).collect::<Vec<_>>();
        for kept in ["", "doc", "doc/deep", "doc/gone"] {
            assert_eq!(touched(&root.join(kept)), [root.join(kept)], "{kept}");
        }
        for left_out in ["cache", "cache/a", "own", "own/deep", "x.tmp", "x.tmp/y"] {
            assert!(touched(&root.join(left_out)).is_empty(), "{left_out}");
        }
        assert_eq!(touched(dir.path()), [root]);
        assert!(touched(Path::new("/elsewhere")).is_empty());
    }
}
