//! A kit read back from its file, text or page.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use unseen_common::id::Hash;
use zeroize::Zeroizing;

use super::KitError;
use crate::crypto::recovery::RecoveryCode;
use crate::repo::KitHead;

/// What `connect` needs of a kit.
pub struct ReadKit {
    /// Where the vault is.
    pub address: String,
    /// Opens it.
    pub code: RecoveryCode,
    /// The newest record of the log when the kit was made.
    pub head: KitHead,
}

impl std::fmt::Debug for ReadKit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadKit")
            .field("address", &self.address)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// No kit is longer; a page with its images has about 50 KiB.
const MOST: u64 = 1 << 20;

/// Reads a kit that [`super::KitFile`] wrote.
pub fn read(path: &Path) -> Result<ReadKit, KitError> {
    let failed = |source| KitError::Read { path: path.to_path_buf(), source };
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).map_err(failed)?;
    file.take(MOST).read_to_string(&mut text).map_err(failed)?;
    ReadKit::parse(&text).ok_or_else(|| KitError::NotAKit { path: path.to_path_buf() })
}

impl ReadKit {
    /// What a text or a page says, if it is a kit.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once("<body>") {
            Some((_, body)) => find(&plain(body)),
            None => find(text),
        }
    }
}

fn find(text: &str) -> Option<ReadKit> {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let address = lines()
        .find(|line| line.starts_with("unseen://") || line.starts_with("file:///"))?
        .to_owned();
    let is_code = |line: &&str| line.split('-').count() == 8 && !line.contains(char::is_whitespace);
    let code = lines().filter(is_code).find_map(|line| RecoveryCode::parse(line).ok())?;
    let mut after = lines().skip_while(|line| record(line).is_none());
    let words: KitHead = record(after.next()?)?.parse().ok()?;
    let hash: Hash = after.next()?.parse().ok()?;
    Some(ReadKit { address, code, head: KitHead::new(words.seq, hash) })
}

/// What follows in `Log  record 7: …`; on a page the first word stands in a cell of its own.
fn record(line: &str) -> Option<&str> {
    line.strip_prefix("Log").unwrap_or(line).trim_start().strip_prefix("record ")
}

/// A page without its tags, each of which ends a line.
fn plain(page: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(page.len()));
    let mut rest = page;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        text.push('\n');
        rest = tag.split_once('>').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    // `&amp;` last: what it makes is text.
    for (name, character) in
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")]
    {
        text = Zeroizing::new(text.replace(name, character));
    }
    text
}
