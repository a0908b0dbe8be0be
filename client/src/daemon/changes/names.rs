//! Which files of a directory something happened to.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

/// Names that are kept of one directory.
const MOST: usize = 32;

/// The names of files, of few; of more it is not known which. The default is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(Option<BTreeSet<OsString>>);

impl Default for Names {
    fn default() -> Self {
        Self(Some(BTreeSet::new()))
    }
}

impl Names {
    /// Nobody knows which.
    pub fn any() -> Self {
        Self(None)
    }

    /// One more.
    pub fn add(&mut self, name: &OsStr) {
        let Some(names) = &mut self.0 else { return };
        if names.contains(name) {
            return;
        }
        if names.len() >= MOST {
            self.0 = None;
        } else {
            names.insert(name.to_owned());
        }
    }

    /// Those of others as well.
    pub fn merge(&mut self, others: &Self) {
        match &others.0 {
            None => self.0 = None,
            Some(names) => names.iter().for_each(|name| self.add(name)),
        }
    }

    /// Whether nothing is different with this one.
    pub fn has(&self, name: &OsStr) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(name))
    }

    /// Whether it is known which.
    pub fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// Those that are known.
    pub fn iter(&self) -> impl Iterator<Item = &OsStr> {
        self.0.iter().flatten().map(OsString::as_os_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_it_is_not_known_which() {
        let mut names = Names::default();
        for n in 0..MOST {
            names.add(OsStr::new(&n.to_string()));
            names.add(OsStr::new("0"));
        }
        assert!(names.is_known() && names.has(OsStr::new("7")) && !names.has(OsStr::new("x")));
        let mut others = names.clone();
        others.merge(&names);
        assert_eq!(others, names);
        names.add(OsStr::new("x"));
        assert_eq!(names, Names::any());
        others.merge(&names);
        assert!(!others.is_known() && others.has(OsStr::new("y")));
    }
}
