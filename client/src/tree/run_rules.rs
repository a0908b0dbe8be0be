//! What a run left out, as its manifest tells: a restore that deletes must not take it for gone.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use minicbor::decode::Decoder;
use unseen_common::codec::{
    DecodeError, Enc, EncodeResult, array_len, array_of, bytes_capped, check_cap, optional,
};

/// Most patterns, markers, folders beside files or own folders, each.
pub const MAX_RULES: usize = 4096;
/// The longest text of a rule, in bytes.
pub const MAX_RULE: usize = 4096;
/// Bytes of all texts of the rules together.
pub const MAX_RULE_BYTES: usize = 512 * 1024;

/// The rules of a run. What they mean is in `scan/exclude.rs`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunRules {
    /// Patterns, in the order in which they were given, defaults first.
    pub patterns: Vec<RunPattern>,
    /// Directories with a `CACHEDIR.TAG` are out.
    pub caches: bool,
    /// Directories with a file of this name are out, if it begins with these bytes.
    pub if_present: Vec<(Vec<u8>, Vec<u8>)>,
    /// Directories of this name are out if a file of that name is beside them.
    pub beside: Vec<(Vec<u8>, Vec<u8>)>,
    /// Files with more bytes are out.
    pub larger_than: Option<u64>,
    /// What `.gitignore` files say is out.
    pub git_ignore: bool,
    /// Of other file systems there are only the directories that they are mounted on.
    pub one_file_system: bool,
    /// The program's own folders, absolute paths.
    pub own: Vec<Vec<u8>>,
}

/// A pattern as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPattern {
    /// Its text.
    pub text: Vec<u8>,
    /// Upper and lower case are the same.
    pub any_case: bool,
}

impl RunRules {
    /// Whether a manifest has room for them.
    pub fn fit(&self) -> bool {
        let mut room = Room(MAX_RULE_BYTES);
        let pairs = || self.if_present.iter().chain(&self.beside);
        let short = [self.patterns.len(), self.if_present.len(), self.beside.len(), self.own.len()];
        short.iter().all(|count| *count <= MAX_RULES)
            && self.patterns.iter().all(|pattern| room.take(&pattern.text).is_ok())
            && pairs().all(|(a, b)| room.take(a).is_ok() && room.take(b).is_ok())
            && self.own.iter().all(|path| room.take(path).is_ok())
    }

    pub(super) fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        e.array(8)?.array(count(&self.patterns))?;
        for pattern in &self.patterns {
            e.array(2)?.bytes(&pattern.text)?.bool(pattern.any_case)?;
        }
        e.bool(self.caches)?;
        for pairs in [&self.if_present, &self.beside] {
            e.array(count(pairs))?;
            for (name, other) in pairs {
                e.array(2)?.bytes(name)?.bytes(other)?;
            }
        }
        match self.larger_than {
            Some(limit) => e.u64(limit)?,
            None => e.null()?,
        };
        e.bool(self.git_ignore)?.bool(self.one_file_system)?.array(count(&self.own))?;
        for path in &self.own {
            e.bytes(path)?;
        }
        Ok(())
    }

    pub(super) fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        array_of(d, 8, "rules")?;
        let mut room = Room(MAX_RULE_BYTES);
        let mut patterns = Vec::new();
        for _ in 0..array_len(d, "patterns", MAX_RULES)? {
            array_of(d, 2, "pattern")?;
            patterns.push(RunPattern { text: room.read(d)?, any_case: d.bool()? });
        }
        let caches = d.bool()?;
        let (if_present, beside) = (pairs(d, &mut room)?, pairs(d, &mut room)?);
        let larger_than = optional(d, |d| Ok(d.u64()?))?;
        let (git_ignore, one_file_system) = (d.bool()?, d.bool()?);
        let mut own = Vec::new();
        for _ in 0..array_len(d, "own folders", MAX_RULES)? {
            own.push(room.read(d)?);
        }
        Ok(Self {
            patterns,
            caches,
            if_present,
            beside,
            larger_than,
            git_ignore,
            one_file_system,
            own,
        })
    }
}

/// Bytes that are left for texts.
struct Room(usize);

impl Room {
    fn take(&mut self, text: &[u8]) -> Result<(), DecodeError> {
        check_cap("rule", text.len(), MAX_RULE)?;
        check_cap("rules", text.len(), self.0)?;
        self.0 = self.0.saturating_sub(text.len());
        Ok(())
    }

    fn read(&mut self, d: &mut Decoder<'_>) -> Result<Vec<u8>, DecodeError> {
        let text = bytes_capped(d, "rule", MAX_RULE)?;
        self.take(text)?;
        Ok(text.to_vec())
    }
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn pairs(d: &mut Decoder<'_>, room: &mut Room) -> Result<Pairs, DecodeError> {
    let mut pairs = Vec::new();
    for _ in 0..array_len(d, "names", MAX_RULES)? {
        array_of(d, 2, "names")?;
        pairs.push((room.read(d)?, room.read(d)?));
    }
    Ok(pairs)
}

fn count<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(count: usize, length: usize) -> RunRules {
        let pattern = RunPattern { text: vec![b'a'; length], any_case: false };
        RunRules { patterns: vec![pattern; count], ..RunRules::default() }
    }

    #[test]
    fn what_does_not_fit_is_neither_kept_nor_read() {
        for (rules, fits) in [
            (patterns(MAX_RULES, 1), true),
            (patterns(MAX_RULES + 1, 1), false),
            (patterns(1, MAX_RULE), true),
            (patterns(1, MAX_RULE + 1), false),
            (patterns(MAX_RULE_BYTES / MAX_RULE, MAX_RULE), true),
            (patterns(MAX_RULE_BYTES / MAX_RULE + 1, MAX_RULE), false),
        ] {
            assert_eq!(rules.fit(), fits);
            let mut bytes = Vec::new();
            rules.encode(&mut Enc::new(&mut bytes)).unwrap();
            let read = RunRules::decode(&mut Decoder::new(&bytes));
            assert_eq!(read.is_ok(), fits);
            assert!(read.is_err() || read.is_ok_and(|read| read == rules));
        }
    }
}
