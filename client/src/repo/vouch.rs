//! The log as a machine takes it that the owner has just unlocked: held against the pin, the kit
//! and the owner's keys.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use unseen_common::codec::Canonical;
use unseen_common::id::Hash;
use unseen_common::log::chain::Record;
use unseen_common::log::fold::State;
use unseen_common::vault::Vault;

use super::RepoError;
use super::log::{Frames, Keeping, Log};
use super::words::words;
use crate::pins;

/// Words of a hash that the kit and the screen show.
pub const HASH_WORDS: usize = 8;

/// A record of the log as a kit remembers it: `NUMBER:HASH`, the hash as 64 hexadecimal digits or
/// as its first words joined by `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KitHead {
    /// Number of the record.
    pub seq: u64,
    mark: Mark,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Mark {
    Hash(Hash),
    Words(String),
}

/// A text that names no record of a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a record of a log: {0:?} (the kit has it as NUMBER:WORD-WORD-…, with {HASH_WORDS} words, \
     or with 64 hexadecimal digits)"
)]
pub struct NotAKitHead(pub String);

impl KitHead {
    /// The record with this number and hash.
    pub const fn new(seq: u64, hash: Hash) -> Self {
        Self { seq, mark: Mark::Hash(hash) }
    }

    fn fits(&self, hash: &Hash) -> bool {
        match &self.mark {
            Mark::Hash(wanted) => wanted == hash,
            Mark::Words(wanted) => *wanted == words(hash, HASH_WORDS),
        }
    }

    /// Finds the record in the copy of the log, which has been checked as a chain.
    fn check(&self, copy: &Path) -> Result<(), RepoError> {
        let mut frames = Frames::open(copy)
            .map_err(|source| RepoError::Io { path: copy.to_path_buf(), source })?;
        let place = usize::try_from(self.seq).unwrap_or(usize::MAX);
        let record = frames.nth(place).and_then(|frame| Record::from_bytes(&frame).ok());
        match record {
            Some(record) if self.fits(&record.hash()) => Ok(()),
            found => Err(RepoError::RolledBack { seq: self.seq, missing: found.is_none() }),
        }
    }
}

impl FromStr for KitHead {
    type Err = NotAKitHead;

    fn from_str(text: &str) -> Result<Self, NotAKitHead> {
        let refused = || NotAKitHead(text.to_owned());
        let (seq, mark) = text.trim().split_once(':').ok_or_else(refused)?;
        let seq = seq.trim().parse().map_err(|_e: std::num::ParseIntError| refused())?;
        let typed = mark.trim().to_ascii_lowercase();
        if let Ok(hash) = typed.parse() {
            return Ok(Self { seq, mark: Mark::Hash(hash) });
        }
        let parts: Vec<&str> = typed
            .split(|c: char| c == '-' || c.is_whitespace())
            .filter(|p| !p.is_empty())
            .collect();
        let all_words = parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_lowercase()));
        if parts.len() != HASH_WORDS || !all_words {
            return Err(refused());
        }
        Ok(Self { seq, mark: Mark::Words(parts.join("-")) })
    }
}

impl fmt::Display for KitHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.mark {
            Mark::Hash(hash) => write!(f, "{}:{}", self.seq, words(hash, HASH_WORDS)),
            Mark::Words(words) => write!(f, "{}:{words}", self.seq),
        }
    }
}

/// Takes the log. A machine that had no pin has one afterwards only if everything holds: what was
/// not vouched for must not stop it from seeing the right log later.
pub async fn vouched<E: From<RepoError>>(
    vault: &dyn Vault,
    keeping: Keeping,
    kit: Option<&KitHead>,
    belongs: impl Fn(&State) -> Result<(), E>,
) -> Result<Log, E> {
    let (copy, pin) = (keeping.copy.clone(), keeping.pin.clone());
    let first_time = pins::read(&pin).map_err(RepoError::from)?.is_none();
    let outcome = async {
        let log = Log::sync(keeping, vault).await?;
        if let Some(kit) = kit {
            kit.check(&copy)?;
        }
        belongs(&log.state)?;
        Ok(log)
    }
    .await;
    if outcome.is_err() && first_time {
        for path in [&pin, &copy] {
            fs::remove_file(path).ok();
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_as_people_type_them() {
        let hash = Hash::from_bytes([255; 32]);
        let exact = KitHead::new(7, hash);
        let typed = exact.to_string();
        assert_eq!(typed, "7:zinc-zinc-zinc-zinc-zinc-zinc-zinc-zinc");
        for text in [typed.as_str(), " 7: ZINC zinc zinc zinc - zinc zinc zinc zinc"] {
            let head: KitHead = text.parse().unwrap();
            assert_eq!(head.seq, 7);
            assert!(head.fits(&hash) && !head.fits(&Hash::from_bytes([254; 32])), "{text}");
            assert_eq!(head.to_string(), typed);
        }
        assert_eq!(format!("7:{hash}").parse(), Ok(exact));
    }

    #[test]
    fn what_names_no_record() {
        for text in ["", "7", "7:", ":zinc", "x:zinc-zinc", "7:zinc", "-1:ff", "7:ff"] {
            assert_eq!(text.parse::<KitHead>(), Err(NotAKitHead(text.to_owned())));
        }
        let nine = format!("7:{}", ["zinc"; 9].join("-"));
        assert!(nine.parse::<KitHead>().is_err());
    }
}
