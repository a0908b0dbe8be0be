//! Which files of a directory something happened to.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

/// Names that are kept of one directory.
const MOST: usize = 32;

/// The names of files, of few. The default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    known: BTreeSet<OsString>,
    beside: Beside,
}

/// What there is beside the names that are known. What comes later says more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Beside {
    /// Nothing.
    #[default]
    Nothing,
    /// Something; nobody knows to which files, nor to how many.
    Any,
    /// So many names that none of them is kept.
    Many,
}

impl Names {
    /// Nobody knows which, nor how many.
    pub fn any() -> Self {
        Self { beside: Beside::Any, ..Self::default() }
    }

    /// One more.
    pub fn add(&mut self, name: &OsStr) {
        if self.is_many() || self.known.contains(name) {
            return;
        }
        if self.known.len() >= MOST {
            self.beside(Beside::Many);
        } else {
            self.known.insert(name.to_owned());
        }
    }

    /// Those of others as well.
    pub fn merge(&mut self, others: &Self) {
        self.beside(others.beside);
        others.known.iter().for_each(|name| self.add(name));
    }

    fn beside(&mut self, more: Beside) {
        self.beside = self.beside.max(more);
        if self.is_many() {
            self.known.clear();
        }
    }

    /// Whether nothing is different with this one.
    pub fn has(&self, name: &OsStr) -> bool {
        self.beside != Beside::Nothing || self.known.contains(name)
    }

    /// Whether there were more than are kept.
    pub fn is_many(&self) -> bool {
        self.beside == Beside::Many
    }

    /// Those that are known, whatever there is beside them.
    pub fn iter(&self) -> impl Iterator<Item = &OsStr> {
        self.known.iter().map(OsString::as_os_str)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(numbers: impl IntoIterator<Item = usize>) -> Names {
        let mut names = Names::default();
        for n in numbers {
            names.add(OsStr::new(&n.to_string()));
        }
        names
    }

    #[test]
    fn of_many_it_is_not_known_which() {
        let names = of((0..MOST).chain([0, 5]));
        assert!(names.has(OsStr::new("7")) && !names.has(OsStr::new("x")) && !names.is_many());
        let many = of(0..=MOST);
        assert!(many.is_many() && many.iter().next().is_none() && many.has(OsStr::new("x")));
    }

    /// What somebody tells.
    fn told() -> impl Strategy<Value = (Vec<usize>, bool)> {
        (prop::collection::vec(0..50_usize, 0..20), prop::bool::weighted(0.2))
    }

    fn names((numbers, any): &(Vec<usize>, bool)) -> Names {
        let mut names = of(numbers.iter().copied());
        if *any {
            names.merge(&Names::any());
        }
        names
    }

    proptest! {
        /// What is known stays known, whatever comes before, between or after it.
        #[test]
        fn no_name_is_lost_and_no_more_than_some_are_kept(
            told in prop::collection::vec(told(), 0..8),
        ) {
            let mut all = Names::default();
            let mut different = BTreeSet::new();
            for one in &told {
                all.merge(&names(one));
                different.extend(one.0.iter().map(|n| OsString::from(n.to_string())));
            }
            prop_assert_eq!(all.is_many(), different.len() > MOST);
            if !all.is_many() {
                prop_assert!(all.iter().eq(different.iter().map(OsString::as_os_str)));
                let any = told.iter().any(|one| one.1);
                prop_assert_eq!(all.has(OsStr::new("other")), any);
            }
            prop_assert!(all.iter().count() <= MOST);
        }

        #[test]
        fn it_does_not_matter_who_comes_first(a in told(), b in told(), c in told()) {
            let [a, b, c] = [names(&a), names(&b), names(&c)];
            let both = |one: &Names, other: &Names| {
                let mut both = one.clone();
                both.merge(other);
                both
            };
            prop_assert_eq!(both(&a, &b), both(&b, &a));
            prop_assert_eq!(both(&both(&a, &b), &c), both(&a, &both(&b, &c)));
            prop_assert_eq!(both(&a, &a), a);
        }
    }
}
