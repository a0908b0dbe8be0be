//! What `run` leaves out. Pure: the walker supplies names, sizes and listings.
//!
//! ```text
//! let above = rules.at(parent_of_the_root)?;          // once a root
//! if rules.decide(&above, entry) == Include {          // once an entry
//!     let mut dir = rules.enter(&above, name);         // once a directory
//!     rules.look(&mut dir, &listing);                  //   after it has been listed
//! }
//! ```
//!
//! With no rules all of these return at once and nothing is allocated.

mod file;
mod git;
mod glob;
mod pattern;
mod recorded;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Component, Path, PathBuf};

pub use file::{PatternFileError, parse_pattern_file};
pub use glob::{Case, GlobError};
pub use pattern::{MAX_PATTERN, Pattern, PatternError, Patterns, Reached};

use git::WorkTree;

/// The first bytes of a `CACHEDIR.TAG` that is one (<https://bford.info/cachedir/>).
const CACHE_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// What to leave out, as given on the command line and by the profile.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--exclude`, `--iexclude` and the lines of `--exclude-file`, in this order.
    pub patterns: Vec<Pattern>,
    /// `--exclude-caches`: directories with a `CACHEDIR.TAG`; the tag itself is kept.
    pub caches: bool,
    /// `--exclude-if-present`: directories with such a file; the file itself is kept.
    pub if_present: Vec<Marker>,
    /// Directories that are out if a file of a certain name is beside them.
    pub beside: Vec<Beside>,
    /// `--exclude-larger-than`, in bytes: files with more than that.
    pub larger_than: Option<u64>,
    /// `--git-ignore`: what `.gitignore` files say, within work trees of git.
    pub git_ignore: bool,
    /// The program's own folders as absolute paths. No pattern takes these back. Where symbolic
    /// links lead to one, give each path by which it can be reached.
    pub own: Vec<PathBuf>,
}

/// A file whose presence excludes the directory that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Its name, without wildcards.
    pub name: Vec<u8>,
    /// What it must begin with, if anything.
    pub header: Vec<u8>,
}

impl Marker {
    /// Reads `NAME` or `NAME:HEADER`; `None` if the name is empty or has a slash.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (name, header) = match text.iter().position(|&b| b == b':') {
            Some(colon) => (text.get(..colon)?, text.get(colon + 1..)?),
            None => (text, &[][..]),
        };
        let good = !name.is_empty() && !name.contains(&b'/');
        good.then(|| Self { name: name.to_vec(), header: header.to_vec() })
    }
}

/// A directory that can be made again from what is beside it: `target` beside `Cargo.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// The name of the directory.
    pub name: Vec<u8>,
    /// What must be in the same directory.
    pub marker: Vec<u8>,
}

/// An entry of a directory, as far as rules care.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its name in the directory.
    pub name: &'a [u8],
    /// Whether it is a directory itself; a symbolic link is not.
    pub is_dir: bool,
    /// Bytes of a regular file; 0 for everything else.
    pub size: u64,
}

/// What lies in a directory. Asked only when a rule looks for markers or `.gitignore`.
pub trait Listing {
    /// Whether there is an entry of this name.
    fn has(&self, name: &[u8]) -> bool;
    /// The first `limit` bytes of a regular file of this name.
    fn head(&self, name: &[u8], limit: usize) -> io::Result<Vec<u8>>;
}

/// Whether an entry is backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is.
    Include,
    /// It is not, nor anything beneath it.
    Exclude(Reason),
}

/// Why something is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A pattern, by its place in [`Options::patterns`].
    Pattern(u32),
    /// One of the program's own folders.
    Own,
    /// Larger than the limit.
    TooLarge,
    /// In a directory with a `CACHEDIR.TAG`.
    Cache,
    /// In a directory with a marker, by its place in [`Options::if_present`].
    Marker(u32),
    /// It is beside a file that tells that it can be made again, by its place in
    /// [`Options::beside`].
    Beside(u32),
    /// A `.gitignore` says so.
    GitIgnore,
}

/// What has been learned on the way down to a directory.
#[derive(Debug, Clone, Default)]
pub struct DirCtx {
    patterns: Reached,
    own: Reached,
    /// All of the directory is out, except for the marker itself.
    marked: Option<Reason>,
    /// Those of [`Options::beside`] whose marker is in it.
    beside: Vec<u32>,
    git: Option<Box<WorkTree>>,
}

impl DirCtx {
    /// Whether all that is in the directory is out, but for the file that says so.
    pub fn is_marked(&self) -> bool {
        self.marked.is_some()
    }
}

/// The rules of one backup.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    patterns: Patterns,
    own: Patterns,
    caches: bool,
    if_present: Vec<Marker>,
    beside: Vec<Beside>,
    larger_than: Option<u64>,
    git_ignore: bool,
    /// Whether any of them is about what a directory holds.
    looks: bool,
    /// Of all that they were made of.
    digest: [u8; 32],
}

impl Rules {
    /// Compiles the rules.
    pub fn new(options: Options) -> Self {
        let own = options.own.iter().map(|path| Pattern::literal_path(path));
        let mut rules = Self {
            digest: [0; 32],
            own: Patterns::new(own.collect()),
            looks: options.caches
                || options.git_ignore
                || !options.if_present.is_empty()
                || !options.beside.is_empty(),
            patterns: Patterns::new(options.patterns),
            caches: options.caches,
            if_present: options.if_present,
            beside: options.beside,
            larger_than: options.larger_than,
            git_ignore: options.git_ignore,
        };
        // Everything shows in it, also what is added to the rules one day.
        rules.digest = *blake3::hash(format!("{rules:?}").as_bytes()).as_bytes();
        rules
    }

    /// Names the rules. The same name: the same is left out.
    pub const fn name(&self) -> [u8; 32] {
        self.digest
    }

    /// Names the rules and, in the directory of this context, what those above it brought. The
    /// same name: the same entries of the directory are left out, whoever walks it.
    pub fn digest(&self, ctx: &DirCtx) -> [u8; 32] {
        match &ctx.git {
            None => self.digest,
            Some(git) => *blake3::hash(&[self.digest, *git.digest()].concat()).as_bytes(),
        }
    }

    /// Whether what holds in a directory depends on files in those above it.
    pub const fn hang_on_files_above(&self) -> bool {
        self.git_ignore
    }

    /// The context of an absolute path: for the directory that holds a root of the backup.
    ///
    /// Asked for explicitly, a root is excluded by what matches its own name, by a pattern that
    /// begins with `/` and matches a directory above it, and by being one of the program's own
    /// folders; not by a name that happens to occur above it. In the last two cases this is an
    /// error.
    pub fn at(&self, path: &Path) -> Result<DirCtx, Reason> {
        let mut ctx = DirCtx {
            patterns: self.patterns.root(),
            own: self.own.root(),
            marked: None,
            beside: Vec::new(),
            git: self.git_ignore.then(|| Box::new(WorkTree::outside(Path::new("/")))),
        };
        for part in path.components() {
            let Component::Normal(name) = part else {
                continue;
            };
            let name = std::os::unix::ffi::OsStrExt::as_bytes(name);
            if self.own.last_anchored_match(&ctx.own, name).is_some() {
                return Err(Reason::Own);
            }
            if let Some(index) = self.patterns.last_anchored_match(&ctx.patterns, name)
                && self.excludes(index)
            {
                return Err(Reason::Pattern(index));
            }
            ctx = self.enter(&ctx, name);
        }
        Ok(ctx)
    }

    /// The context of the directory `name` in a directory. Call [`Self::look`] when it is listed.
    pub fn enter(&self, above: &DirCtx, name: &[u8]) -> DirCtx {
        DirCtx {
            patterns: self.patterns.enter(&above.patterns, name),
            own: self.own.enter(&above.own, name),
            marked: None,
            beside: Vec::new(),
            git: above.git.as_ref().map(|git| Box::new(git.enter(name))),
        }
    }

    /// Takes in what the directory holds. What cannot be read excludes nothing.
    pub fn look(&self, ctx: &mut DirCtx, listing: &dyn Listing) {
        if !self.looks {
            return;
        }
        let begins = |name: &[u8], wanted: &[u8]| {
            wanted.is_empty() || listing.head(name, wanted.len()).is_ok_and(|head| head == wanted)
        };
        if self.caches && listing.has(CACHE_NAME) && begins(CACHE_NAME, CACHE_TAG) {
            ctx.marked = Some(Reason::Cache);
        }
        for (index, marker) in (0..).zip(&self.if_present) {
            if ctx.marked.is_none()
                && listing.has(&marker.name)
                && begins(&marker.name, &marker.header)
            {
                ctx.marked = Some(Reason::Marker(index));
            }
        }
        for (index, rule) in (0..).zip(&self.beside) {
            if listing.has(&rule.name) && listing.has(&rule.marker) {
                ctx.beside.push(index);
            }
        }
        if let Some(git) = &mut ctx.git {
            git.look(listing);
        }
    }

    /// Whether an entry of a directory is backed up.
    pub fn decide(&self, ctx: &DirCtx, entry: Candidate<'_>) -> Decision {
        let Candidate { name, is_dir, size } = entry;
        if let Some(reason) = ctx.marked
            && self.marker_name(reason) != Some(name)
        {
            return Decision::Exclude(reason);
        }
        if self.own.last_match(&ctx.own, name, is_dir).is_some() {
            return Decision::Exclude(Reason::Own);
        }
        match self.patterns.last_match(&ctx.patterns, name, is_dir) {
            Some(index) if self.excludes(index) => {
                return Decision::Exclude(Reason::Pattern(index));
            }
            // Taken back by a pattern.
            Some(_) => {}
            None => {
                let named = |index: &&u32| self.beside(**index).is_some_and(|b| b.name == name);
                if is_dir && let Some(index) = ctx.beside.iter().find(named) {
                    return Decision::Exclude(Reason::Beside(*index));
                }
            }
        }
        if !is_dir && self.larger_than.is_some_and(|limit| size > limit) {
            return Decision::Exclude(Reason::TooLarge);
        }
        match &ctx.git {
            Some(git) if git.ignores(name, is_dir) => Decision::Exclude(Reason::GitIgnore),
            _ => Decision::Include,
        }
    }

    /// The rule in words, as bytes of the user's own patterns: escape before showing.
    pub fn explain(&self, reason: Reason) -> Vec<u8> {
        let with = |what: &str, rule: &[u8]| [what.as_bytes(), rule].concat();
        match reason {
            Reason::Pattern(index) => {
                let text = self.patterns.get(index).map_or(&[][..], Pattern::text);
                with("excluded by the pattern ", text)
            }
            Reason::Own => b"one of this program's own folders".to_vec(),
            Reason::TooLarge => b"larger than --exclude-larger-than".to_vec(),
            Reason::Cache => b"in a directory with CACHEDIR.TAG".to_vec(),
            Reason::Marker(_) => {
                let name = self.marker_name(reason).unwrap_or_default();
                with("in a directory with ", name)
            }
            Reason::Beside(index) => {
                let marker = self.beside(index).map_or(&[][..], |beside| &beside.marker);
                with("can be made again from ", marker)
            }
            Reason::GitIgnore => b"ignored by git".to_vec(),
        }
    }

    /// Whether something in the directory may be out because of this file of it.
    pub fn hangs_on(&self, ctx: &DirCtx, name: &[u8]) -> bool {
        let beside = |index: &u32| self.beside(*index).is_some_and(|rule| rule.marker == name);
        ctx.marked.is_some_and(|reason| self.marker_name(reason) == Some(name))
            || ctx.beside.iter().any(beside)
            || ctx.git.as_ref().is_some_and(|git| git.reads(name))
    }

    /// Whether [`Self::look`] may ask for this name.
    pub fn asks_for(&self, name: &[u8]) -> bool {
        (self.caches && name == CACHE_NAME)
            || self.if_present.iter().any(|marker| marker.name == name)
            || self.beside.iter().any(|rule| rule.marker == name)
            || self.is_made_again(name)
            || (self.git_ignore && WorkTree::names().contains(&name))
    }

    /// Whether a directory of this name is out where the right file is beside it.
    pub fn is_made_again(&self, name: &[u8]) -> bool {
        self.beside.iter().any(|rule| rule.name == name)
    }

    /// Whether [`Self::look`] asks for anything at all.
    pub fn looks(&self) -> bool {
        self.looks
    }

    fn excludes(&self, index: u32) -> bool {
        self.patterns.get(index).is_some_and(|pattern| !pattern.is_negated())
    }

    fn beside(&self, index: u32) -> Option<&Beside> {
        self.beside.get(usize::try_from(index).ok()?)
    }

    fn marker_name(&self, reason: Reason) -> Option<&[u8]> {
        match reason {
            Reason::Cache => Some(CACHE_NAME),
            Reason::Marker(index) => self
                .if_present
                .get(usize::try_from(index).ok()?)
                .map(|marker| marker.name.as_slice()),
            _ => None,
        }
    }
}

const CACHE_NAME: &[u8] = b"CACHEDIR.TAG";
