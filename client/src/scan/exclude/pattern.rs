//! Path patterns, matched one component at a time on the way down.
//!
//! A directory carries the places that patterns have reached ([`Reached`]), so a name is compared
//! with a component and never a path with a path: nothing is allocated for a file.

use super::glob::{Case, Glob, GlobError};

/// The longest pattern, in bytes: the longest path.
pub const MAX_PATTERN: usize = 4096;

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing but slashes, dots or a `!`.
    #[error("an empty pattern")]
    Empty,
    /// Longer than any path.
    #[error("a pattern of {length} bytes; the longest path has {MAX_PATTERN}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A component that cannot be read.
    #[error("pattern {}", .pattern.escape_ascii())]
    Component {
        /// The whole pattern.
        pattern: Vec<u8>,
        /// What is wrong in it.
        source: GlobError,
    },
}

/// One pattern as restic users write them.
///
/// - `NAME` matches that component anywhere; `a/b` those two in a row, anywhere.
/// - A `/` at the start binds it to the root of the file system; one at the end to directories.
/// - `**` stands for any number of components; at the end, for everything beneath.
/// - `!` at the start takes back what earlier patterns matched. What is beneath an excluded
///   directory cannot be taken back, because it is never looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<[u8]>,
    case: Case,
    segments: Box<[Segment]>,
    anchored: bool,
    only_directories: bool,
    negated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    AnyDepth,
    One(Glob),
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(text: &[u8], case: Case) -> Result<Self, PatternError> {
        if text.len() > MAX_PATTERN {
            return Err(PatternError::TooLong { length: text.len() });
        }
        let (negated, path) = match text.split_first() {
            Some((b'!', rest)) => (true, rest),
            _ => (false, text),
        };
        let anchored = path.starts_with(b"/");
        let mut segments = Vec::new();
        for part in path.split(|&b| b == b'/') {
            let segment = match part {
                b"" | b"." => continue,
                b"**" => Segment::AnyDepth,
                part => Segment::One(Glob::parse(part, case).map_err(|source| {
                    PatternError::Component { pattern: text.to_vec(), source }
                })?),
            };
            let repeats = segment == Segment::AnyDepth && segments.last() == Some(&segment);
            // Without a slash in front, any depth is implied.
            let implied = segment == Segment::AnyDepth && segments.is_empty() && !anchored;
            if !repeats && !implied {
                segments.push(segment);
            }
        }
        if segments.is_empty() {
            if !path.windows(2).any(|two| two == b"**") {
                return Err(PatternError::Empty);
            }
            segments.push(Segment::One(Glob::Anything));
        }
        Ok(Self {
            text: text.into(),
            case,
            segments: segments.into(),
            anchored,
            only_directories: path.ends_with(b"/"),
            negated,
        })
    }

    /// Exactly this absolute path, whatever characters it has.
    pub fn literal_path(path: &std::path::Path) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let segments = path
            .components()
            .filter_map(|part| match part {
                std::path::Component::Normal(name) => {
                    Some(Segment::One(Glob::Literal(name.as_bytes().into())))
                }
                _ => None,
            })
            .collect();
        Self {
            text: path.as_os_str().as_bytes().into(),
            case: Case::Sensitive,
            segments,
            anchored: true,
            only_directories: false,
            negated: false,
        }
    }

    /// As it was written.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether upper and lower case are told apart.
    pub fn case(&self) -> Case {
        self.case
    }

    /// Whether it begins with `!`.
    pub fn is_negated(&self) -> bool {
        self.negated
    }

    /// Whether it begins at the root of the file system.
    pub fn is_anchored(&self) -> bool {
        self.anchored
    }

    fn segment(&self, at: u16) -> Option<&Segment> {
        self.segments.get(usize::from(at))
    }

    fn is_last(&self, at: u16) -> bool {
        usize::from(at) + 1 == self.segments.len()
    }
}

/// Patterns in the order in which they were given: the last one that matches decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns {
    all: Vec<Pattern>,
    /// Those of one component that may stand anywhere.
    names: Vec<u32>,
    /// Those of several components that may begin anywhere.
    floating: Vec<u32>,
}

/// How far patterns have been matched by the path of a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached(Vec<Place>);

/// The next segment of a pattern to be matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    pattern: u32,
    at: u16,
}

impl Patterns {
    /// Keeps the order.
    pub fn new(all: Vec<Pattern>) -> Self {
        let mut names = Vec::new();
        let mut floating = Vec::new();
        for (index, pattern) in (0..).zip(&all) {
            match (pattern.anchored, pattern.segments.len()) {
                (true, _) => {}
                (false, 1) => names.push(index),
                (false, _) => floating.push(index),
            }
        }
        Self { all, names, floating }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them, in order.
    pub fn all(&self) -> &[Pattern] {
        &self.all
    }

    /// The pattern of an index that [`Self::last_match`] returned.
    pub fn get(&self, index: u32) -> Option<&Pattern> {
        self.all.get(usize::try_from(index).ok()?)
    }

    /// What has been matched at the root of the file system.
    pub fn root(&self) -> Reached {
        let mut reached = Reached::default();
        for (index, pattern) in (0..).zip(&self.all) {
            if pattern.anchored {
                self.reach(&mut reached, index, 0);
            }
        }
        reached
    }

    /// What has been matched in the directory `name` of a directory.
    pub fn enter(&self, above: &Reached, name: &[u8]) -> Reached {
        let mut reached = Reached::default();
        for &index in &self.floating {
            self.step(&mut reached, Place::new(index, 0), name);
        }
        for &place in &above.0 {
            self.step(&mut reached, place, name);
        }
        reached
    }

    /// The last pattern that matches `name` in a directory.
    pub fn last_match(&self, above: &Reached, name: &[u8], is_dir: bool) -> Option<u32> {
        let names = self.names.iter().map(|&index| Place::new(index, 0));
        let best = |best: Option<u32>, place: Place| {
            if best.is_some_and(|best| place.pattern <= best) {
                return best;
            }
            if self.completes(place, name, is_dir) {
                return Some(place.pattern);
            }
            best
        };
        names.chain(above.0.iter().copied()).fold(None, best)
    }

    /// All patterns that match `name` in a directory, negated ones too, in no order.
    pub fn all_matches(
        &self,
        above: &Reached,
        name: &[u8],
        is_dir: bool,
    ) -> impl Iterator<Item = u32> {
        let names = self.names.iter().map(|&index| Place::new(index, 0));
        let places = names.chain(above.0.iter().copied());
        places.filter(move |place| self.completes(*place, name, is_dir)).map(|place| place.pattern)
    }

    /// Like [`Self::last_match`], of those that begin with `/` alone.
    pub fn last_anchored_match(&self, above: &Reached, name: &[u8]) -> Option<u32> {
        let anchored = |place: &&Place| self.get(place.pattern).is_some_and(|p| p.anchored);
        let complete = above.0.iter().filter(anchored);
        complete
            .filter(|&&place| self.completes(place, name, true))
            .map(|place| place.pattern)
            .max()
    }

    /// Whether anything beneath a directory could match.
    pub fn may_match_beneath(&self, reached: &Reached) -> bool {
        !self.names.is_empty() || !self.floating.is_empty() || !reached.0.is_empty()
    }

    fn completes(&self, place: Place, name: &[u8], is_dir: bool) -> bool {
        self.get(place.pattern).is_some_and(|pattern| {
            pattern.is_last(place.at)
                && (is_dir || !pattern.only_directories)
                && match pattern.segment(place.at) {
                    Some(Segment::AnyDepth) => true,
                    Some(Segment::One(glob)) => glob.matches(name),
                    None => false,
                }
        })
    }

    fn step(&self, reached: &mut Reached, place: Place, name: &[u8]) {
        let Some(pattern) = self.get(place.pattern) else {
            return;
        };
        match pattern.segment(place.at) {
            Some(Segment::AnyDepth) => self.reach(reached, place.pattern, place.at),
            Some(Segment::One(glob)) if !pattern.is_last(place.at) && glob.matches(name) => {
                self.reach(reached, place.pattern, place.at + 1);
            }
            _ => {}
        }
    }

    /// Adds a place, and the one behind it if `**` may stand for nothing.
    fn reach(&self, reached: &mut Reached, pattern: u32, at: u16) {
        let Some(found) = self.get(pattern) else {
            return;
        };
        let place = Place::new(pattern, at);
        if found.segment(at).is_none() || reached.0.contains(&place) {
            return;
        }
        reached.0.push(place);
        if found.segment(at) == Some(&Segment::AnyDepth) && !found.is_last(at) {
            let behind = Place::new(pattern, at + 1);
            if !reached.0.contains(&behind) {
                reached.0.push(behind);
            }
        }
    }
}

impl Place {
    fn new(pattern: u32, at: u16) -> Self {
        Self { pattern, at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text.as_bytes(), Case::Sensitive).unwrap()
    }

    /// Whether `path` itself is matched, its parents aside.
    fn matches(patterns: &Patterns, path: &str, is_dir: bool) -> bool {
        let mut reached = patterns.root();
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let (last, parents) = parts.split_last().unwrap();
        for part in parents {
            reached = patterns.enter(&reached, part.as_bytes());
        }
        patterns
            .last_match(&reached, last.as_bytes(), is_dir)
            .and_then(|index| patterns.get(index))
            .is_some_and(|pattern| !pattern.is_negated())
    }

    fn one(text: &str, path: &str) -> bool {
        matches(&Patterns::new(vec![pattern(text)]), path, true)
    }

    #[test]
    fn places() {
        for (text, yes, no) in [
            ("cache", &["/cache", "/a/cache"][..], &["/cached", "/cache/x"][..]),
            ("/a/cache", &["/a/cache"], &["/b/a/cache", "/cache"]),
            ("a/cache", &["/a/cache", "/x/a/cache"], &["/a/x/cache", "/cache"]),
            ("a/*", &["/a/x", "/y/a/x"], &["/a", "/a/x/y"]),
            ("a/**", &["/a/x", "/a/x/y"], &["/a", "/b/x"]),
            ("a/**/z", &["/a/z", "/a/b/z", "/q/a/b/c/z"], &["/z", "/a/zz"]),
            ("**/z", &["/z", "/a/z"], &["/a/zz"]),
            ("/**/z", &["/z", "/a/b/z"], &["/a/zz"]),
            ("/*/z", &["/a/z"], &["/z", "/a/b/z"]),
            ("/a/**/**/z", &["/a/z", "/a/b/z"], &["/b/z"]),
            ("a/b/a/c", &["/a/b/a/b/a/c"], &["/a/b/a/b/c"]),
            ("**", &["/x", "/x/y"], &[]),
            ("./x", &["/x", "/a/x"], &["/y"]),
            ("/a//b/", &["/a/b"], &["/a/c"]),
        ] {
            for path in yes {
                assert!(one(text, path), "{text} should match {path}");
            }
            for path in no {
                assert!(!one(text, path), "{text} should not match {path}");
            }
        }
    }

    #[test]
    fn a_slash_at_the_end_means_directories() {
        let patterns = Patterns::new(vec![pattern("build/")]);
        assert!(matches(&patterns, "/a/build", true));
        assert!(!matches(&patterns, "/a/build", false));
    }

    #[test]
    fn the_last_match_decides() {
        let patterns =
            Patterns::new(vec![pattern("*.log"), pattern("!/a/keep.log"), pattern("b.log")]);
        assert!(matches(&patterns, "/a/x.log", false));
        assert!(!matches(&patterns, "/a/keep.log", false));
        assert!(matches(&patterns, "/b/keep.log", false));
        assert!(matches(&patterns, "/a/b.log", false));
    }

    #[test]
    fn refusals() {
        for text in ["", "/", "!", "//", ".", "!/./"] {
            let got = Pattern::parse(text.as_bytes(), Case::Sensitive);
            assert_eq!(got, Err(PatternError::Empty), "{text}");
        }
        assert!(matches!(
            Pattern::parse(b"a/[x", Case::Sensitive),
            Err(PatternError::Component { .. })
        ));
        let long = vec![b'a'; MAX_PATTERN + 1];
        assert!(matches!(
            Pattern::parse(&long, Case::Sensitive),
            Err(PatternError::TooLong { .. })
        ));
    }

    #[test]
    fn a_literal_path_has_no_wildcards() {
        let patterns = Patterns::new(vec![Pattern::literal_path("/a/[x]*".as_ref())]);
        assert!(matches(&patterns, "/a/[x]*", true));
        assert!(!matches(&patterns, "/a/x", true));
    }

    proptest! {
        /// Component by component gives what another matcher says about the whole path.
        #[test]
        fn agrees_with_another_matcher(
            anchored: bool,
            segments in proptest::collection::vec("a|b|\\*|\\*\\*|a\\*|\\?", 1..5),
            path in proptest::collection::vec("[ab]{1,2}", 1..5),
        ) {
            let text = segments.join("/");
            let path = format!("/{}", path.join("/"));
            let (ours, theirs) = if anchored {
                (format!("/{text}"), format!("/{text}"))
            } else {
                (text.clone(), format!("/**/{text}"))
            };
            let oracle = globset::GlobBuilder::new(&theirs)
                .literal_separator(true)
                .build()
                .unwrap()
                .compile_matcher();
            prop_assert_eq!(one(&ours, &path), oracle.is_match(&path), "{} {}", ours, path);
        }
    }
}
