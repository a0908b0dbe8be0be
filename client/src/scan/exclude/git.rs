//! `.gitignore` files, for `--git-ignore`: only within a work tree of git, from its top down.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::Listing;

/// The largest `.gitignore` that is read, in bytes.
const MAX_FILE: usize = 1024 * 1024;

/// The ignore files that hold in a directory.
#[derive(Debug, Clone)]
pub(super) struct WorkTree {
    directory: PathBuf,
    /// Whether a `.git` has been seen, here or above.
    inside: bool,
    rules: Option<Arc<Level>>,
    /// Of everything that was read to get here.
    digest: [u8; 32],
}

#[derive(Debug)]
struct Level {
    own: Gitignore,
    above: Option<Arc<Self>>,
}

impl WorkTree {
    pub(super) fn outside(directory: &Path) -> Self {
        Self { directory: directory.to_path_buf(), inside: false, rules: None, digest: [0; 32] }
    }

    pub(super) fn enter(&self, name: &[u8]) -> Self {
        Self {
            directory: self.directory.join(as_path(name)),
            inside: self.inside,
            rules: self.rules.clone(),
            digest: self.digest,
        }
    }

    /// Takes in what lies in the directory itself.
    pub(super) fn look(&mut self, listing: &dyn Listing) {
        if listing.has(b".git") {
            // A repository within another is ruled by its own files alone.
            self.inside = true;
            self.rules = None;
            self.learn(b"");
        }
        if !self.inside || !listing.has(b".gitignore") {
            return;
        }
        let Ok(text) = listing.head(b".gitignore", MAX_FILE) else {
            return;
        };
        self.learn(&text);
        let mut builder = GitignoreBuilder::new(&self.directory);
        for line in text.split(|&b| b == b'\n') {
            // Like git: a line that is no pattern means nothing.
            if let Ok(line) = std::str::from_utf8(line) {
                builder.add_line(None, line.trim_end_matches('\r')).ok();
            }
        }
        if let Ok(own) = builder.build()
            && !own.is_empty()
        {
            self.rules = Some(Arc::new(Level { own, above: self.rules.take() }));
        }
    }

    /// The names that make a difference in a directory.
    pub(super) const fn names() -> [&'static [u8]; 2] {
        [b".git", b".gitignore"]
    }

    /// Whether what is ignored here hangs on a file of this name.
    pub(super) fn reads(&self, name: &[u8]) -> bool {
        self.inside && Self::names().contains(&name)
    }

    /// Names what holds here: two that are the same ignore the same.
    pub(super) const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    fn learn(&mut self, text: &[u8]) {
        use std::os::unix::ffi::OsStrExt;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.digest);
        let directory = self.directory.as_os_str().as_bytes();
        hasher.update(&(directory.len() as u64).to_le_bytes());
        hasher.update(directory);
        hasher.update(text);
        self.digest = *hasher.finalize().as_bytes();
    }

    pub(super) fn ignores(&self, name: &[u8], is_dir: bool) -> bool {
        if self.rules.is_none() || name == b".git" {
            return false;
        }
        let path = self.directory.join(as_path(name));
        let mut level = self.rules.as_deref();
        while let Some(rules) = level {
            match rules.own.matched(&path, is_dir) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => level = rules.above.as_deref(),
            }
        }
        false
    }
}

fn as_path(name: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(name))
}
