//! Which parts of a snapshot are restored: `--include` and `--exclude`. Pure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::scan::exclude::{Pattern, Patterns, Reached};
use crate::tree::entry::Name;

/// Patterns, matched with the full path in the snapshot.
///
/// With `include` patterns only what matches one of them is restored, with all that is beneath it,
/// and the directories on the way. What an `exclude` pattern matches is left out with all beneath.
///
/// Clones share what has been matched so far.
#[derive(Debug, Clone, Default)]
pub struct Select {
    include: Option<Patterns>,
    exclude: Patterns,
    /// Which `include` patterns have matched something.
    matched: Arc<[AtomicBool]>,
    /// How many of them have not.
    unmatched: Arc<AtomicUsize>,
}

/// What was learned on the way down to a directory.
#[derive(Debug, Clone, Default)]
pub struct SelectCtx {
    include: Reached,
    exclude: Reached,
    /// Everything in it is included.
    inside: bool,
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// It is restored.
    Take,
    /// A directory that is not asked for itself, but something beneath it may be.
    Through,
    /// It is left out.
    Leave,
}

impl Select {
    /// Everything with no patterns at all.
    pub fn new(include: Vec<Pattern>, exclude: Vec<Pattern>) -> Self {
        // Nobody expects of one that takes back what others match that it matches.
        let matched = include.iter().map(|pattern| AtomicBool::new(pattern.is_negated()));
        let matched: Arc<[AtomicBool]> = matched.collect();
        let unmatched = include.iter().filter(|pattern| !pattern.is_negated()).count();
        Self {
            include: (!include.is_empty()).then(|| Patterns::new(include)),
            exclude: Patterns::new(exclude),
            matched,
            unmatched: Arc::new(AtomicUsize::new(unmatched)),
        }
    }

    /// The `include` patterns that have matched nothing so far, by their places.
    pub fn unmatched(&self) -> Vec<usize> {
        let all = self.matched.iter().enumerate();
        all.filter(|(_, matched)| !matched.load(Ordering::Relaxed)).map(|(at, _)| at).collect()
    }

    fn note_matches(&self, ctx: &SelectCtx, name: &Name, is_dir: bool) {
        let Some(include) = &self.include else {
            return;
        };
        if self.unmatched.load(Ordering::Relaxed) == 0 {
            return;
        }
        for pattern in include.all_matches(&ctx.include, name.as_bytes(), is_dir) {
            let matched = usize::try_from(pattern).ok().and_then(|at| self.matched.get(at));
            if matched.is_some_and(|matched| !matched.swap(true, Ordering::Relaxed)) {
                self.unmatched.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// At the root of the snapshot.
    pub fn root(&self) -> SelectCtx {
        SelectCtx {
            include: self.include.as_ref().map(Patterns::root).unwrap_or_default(),
            exclude: self.exclude.root(),
            inside: self.include.is_none(),
        }
    }

    /// In the directory `name` of a directory, which was picked so.
    pub fn enter(&self, above: &SelectCtx, name: &Name, pick: Pick) -> SelectCtx {
        let name = name.as_bytes();
        SelectCtx {
            include: match &self.include {
                Some(include) => include.enter(&above.include, name),
                None => Reached::default(),
            },
            exclude: self.exclude.enter(&above.exclude, name),
            inside: pick == Pick::Take,
        }
    }

    /// Whether everything in a directory is included.
    pub fn is_inside(&self, ctx: &SelectCtx) -> bool {
        ctx.inside || self.include.is_none()
    }

    /// What becomes of an entry of a directory.
    pub fn pick(&self, ctx: &SelectCtx, name: &Name, is_dir: bool) -> Pick {
        self.note_matches(ctx, name, is_dir);
        if hits(&self.exclude, &ctx.exclude, name, is_dir) {
            return Pick::Leave;
        }
        let Some(include) = self.include.as_ref().filter(|_| !ctx.inside) else {
            return Pick::Take;
        };
        if hits(include, &ctx.include, name, is_dir) {
            return Pick::Take;
        }
        let beneath =
            is_dir && include.may_match_beneath(&include.enter(&ctx.include, name.as_bytes()));
        if beneath { Pick::Through } else { Pick::Leave }
    }
}

fn hits(patterns: &Patterns, reached: &Reached, name: &Name, is_dir: bool) -> bool {
    !patterns.is_empty()
        && patterns
            .last_match(reached, name.as_bytes(), is_dir)
            .and_then(|index| patterns.get(index))
            .is_some_and(|pattern| !pattern.is_negated())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::exclude::Case;

    fn select(include: &[&str], exclude: &[&str]) -> Select {
        let read = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| Pattern::parse(text.as_bytes(), Case::Sensitive).unwrap())
                .collect()
        };
        Select::new(read(include), read(exclude))
    }

    /// What becomes of a path whose last component is a file.
    fn pick(select: &Select, path: &str) -> Pick {
        let names: Vec<Name> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| Name::new(part.as_bytes()).unwrap())
            .collect();
        let (last, parents) = names.split_last().unwrap();
        let mut ctx = select.root();
        for parent in parents {
            match select.pick(&ctx, parent, true) {
                Pick::Leave => return Pick::Leave,
                pick => ctx = select.enter(&ctx, parent, pick),
            }
        }
        select.pick(&ctx, last, false)
    }

    #[test]
    fn includes_take_what_is_beneath_and_excludes_win() {
        let all = select(&[], &["*.o", "/home/me/tmp"]);
        assert_eq!(pick(&all, "/home/me/a.c"), Pick::Take);
        assert_eq!(pick(&all, "/home/me/a.o"), Pick::Leave);
        assert_eq!(pick(&all, "/home/me/tmp/x"), Pick::Leave);
        let some = select(&["/home/me/doc", "*.txt"], &["secret"]);
        for (path, expected) in [
            ("/home/me/doc/a/b", Pick::Take),
            ("/home/me/x/y.txt", Pick::Take),
            ("/home/me/x/y.c", Pick::Leave),
            ("/home/me/doc/secret/a", Pick::Leave),
        ] {
            assert_eq!(pick(&some, path), expected, "{path}");
        }
        assert_eq!(some.unmatched(), [0_usize; 0]);
        let anchored = select(&["/home/me/doc"], &[]);
        let name = |text: &str| Name::new(text.as_bytes()).unwrap();
        let root = anchored.root();
        assert_eq!(anchored.pick(&root, &name("home"), true), Pick::Through);
        assert_eq!(anchored.pick(&root, &name("usr"), true), Pick::Leave);
        assert_eq!(anchored.unmatched(), [0], "it was only passed through");
    }

    #[test]
    fn patterns_that_match_nothing_are_known() {
        let some = select(&["*.txt", "a*", "/home/me/doc/x", "!b", "nothing"], &["/home/me/tmp"]);
        assert_eq!(some.clone().unmatched(), [0, 1, 2, 4]);
        // Overruled by a later pattern, inside of what is taken already, left out: all were there.
        pick(&some, "/home/me/a.txt");
        pick(&some, "/home/me/doc/x");
        assert_eq!(some.clone().unmatched(), [4]);
    }
}
