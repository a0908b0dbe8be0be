//! What a restore left out: what the policy does not restore, and what the system refused.

use std::collections::BTreeMap;

use super::policy::{Aspect, Note, Policy};

/// Paths that are kept of a kind; the others are counted.
const FIRST: usize = 3;
/// Kinds that are counted apart.
const KINDS: usize = 100;

/// Things of one kind that were left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// What it is; `None` counts together what is of too many kinds to be told apart.
    pub what: Option<Aspect>,
    /// Why it was left out.
    pub why: Why,
    /// How many things it was left out of.
    pub count: u64,
    /// The paths of the first ones, not escaped.
    pub first: Vec<Vec<u8>>,
}

/// Why something was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It gives power, and nobody asked for that.
    NotAsked,
    /// It would give power to another one than the recorded owner.
    OtherOwner,
    /// It means nothing without the program that made it.
    Meaningless,
    /// The system refused it, in these words.
    Refused(String),
    /// It was set, and the file system keeps something else.
    Differs,
}

/// Counts what is left out.
#[derive(Debug, Default)]
pub(super) struct Left(BTreeMap<String, LeftOut>);

impl Left {
    pub(super) fn add(&mut self, path: &[u8], note: &Note, policy: &Policy) {
        let mut key = note.to_string();
        let mut what = Some(note.aspect().clone());
        if self.0.len() >= KINDS && !self.0.contains_key(&key) {
            (key, what) = (String::new(), None);
        }
        let kind = self.0.entry(key).or_insert_with(|| {
            let why = Why::of(note, policy);
            LeftOut { what, why, count: 0, first: Vec::new() }
        });
        kind.count += 1;
        if kind.first.len() < FIRST {
            kind.first.push(path.to_vec());
        }
    }

    /// By kind. Threads come to the paths in any order.
    pub(super) fn into_vec(self) -> Vec<LeftOut> {
        let mut kinds: Vec<LeftOut> = self.0.into_values().collect();
        for kind in &mut kinds {
            kind.first.sort();
        }
        kinds
    }
}

impl Why {
    fn of(note: &Note, policy: &Policy) -> Self {
        match note {
            Note::Skipped(Aspect::Socket) => Self::Meaningless,
            Note::Skipped(_) if policy.privileged => Self::OtherOwner,
            Note::Skipped(_) => Self::NotAsked,
            Note::Refused { error, .. } => Self::Refused(error.to_string()),
            Note::Differs(_) => Self::Differs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::testkit::{privileged, safe};

    #[test]
    fn kinds_are_counted_and_the_first_paths_kept() {
        let mut left = Left::default();
        let bits = Note::Skipped(Aspect::SpecialBits);
        for path in ["/a", "/b", "/c", "/d"] {
            left.add(path.as_bytes(), &bits, &safe());
        }
        left.add(b"/s", &Note::Skipped(Aspect::Socket), &safe());
        let told = left.into_vec();
        assert_eq!(told.len(), 2);
        assert_eq!((told[0].count, &told[0].why), (4, &Why::NotAsked));
        assert_eq!(told[0].first, [b"/a".to_vec(), b"/b".to_vec(), b"/c".to_vec()]);
        assert_eq!((told[1].count, &told[1].why), (1, &Why::Meaningless));
        let mut left = Left::default();
        left.add(b"/a", &bits, &privileged());
        assert_eq!(left.into_vec()[0].why, Why::OtherOwner);
    }

    #[test]
    fn too_many_kinds_are_counted_together() {
        let mut left = Left::default();
        for n in 0..u64::try_from(KINDS).unwrap() + 50 {
            let name = format!("user.{n}").into_bytes();
            left.add(b"/f", &Note::Skipped(Aspect::Xattr(name)), &safe());
        }
        let told = left.into_vec();
        assert_eq!(told.len(), KINDS + 1);
        let rest = told.iter().find(|kind| kind.what.is_none()).unwrap();
        assert_eq!((rest.count, rest.first.len()), (50, FIRST));
    }
}
