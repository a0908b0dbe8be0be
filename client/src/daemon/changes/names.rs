//! Which files of a directory something happened to.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

/// Names that are kept of one directory.
const MOST: usize = 32;

/// The names of files, of few. The default is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// These.
    These(BTreeSet<OsString>),
    /// So many that it is not known which.
    Many,
    /// Nobody knows which, nor how many.
    Any,
}

impl Default for Names {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl Names {
    /// One more.
    pub fn add(&mut self, name: &OsStr) {
        let Self::These(names) = self else { return };
        if names.contains(name) {
            return;
        }
        if names.len() >= MOST {
            *self = Self::Many;
        } else {
            names.insert(name.to_owned());
        }
    }

    /// Those of others as well.
    pub fn merge(&mut self, others: &Self) {
        match (&*self, others) {
            (_, Self::These(names)) => names.iter().for_each(|name| self.add(name)),
            (Self::Any, _) | (_, Self::Any) => *self = Self::Any,
            (_, Self::Many) => *self = Self::Many,
        }
    }

    /// Whether nothing is different with this one.
    pub fn has(&self, name: &OsStr) -> bool {
        match self {
            Self::These(names) => names.contains(name),
            Self::Many | Self::Any => true,
        }
    }

    /// Whether it is known which.
    pub fn is_known(&self) -> bool {
        matches!(self, Self::These(_))
    }

    /// Those that are known.
    pub fn iter(&self) -> impl Iterator<Item = &OsStr> {
        let known = match self {
            Self::These(names) => Some(names),
            Self::Many | Self::Any => None,
        };
        known.into_iter().flatten().map(OsString::as_os_str)
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
        assert_eq!(names, Names::Many);
        let before = others.clone();
        others.merge(&names);
        assert_eq!(others, Names::Many);
        others.merge(&before);
        assert!(others == Names::Many && !others.is_known() && others.has(OsStr::new("y")));
        for mut of_some in [before, Names::Many, Names::Any] {
            of_some.merge(&Names::Any);
            assert_eq!(of_some, Names::Any);
            of_some.merge(&Names::Many);
            assert_eq!(of_some, Names::Any);
        }
    }
}
