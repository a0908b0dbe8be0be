//! Which version of the layout a data folder has: `format`, one line. An older program is not to
//! write into the folder of a newer one.

use std::io;
use std::path::Path;

use super::core::OpenError;
use crate::store::durable;

/// What this program writes and reads.
const KNOWN: u32 = 1;
const NAME: &str = "format";
const WORD: &str = "unseen-data ";

/// Refuses a folder of a newer layout; marks one that has no mark yet.
pub(super) fn check(folder: &Path) -> Result<(), OpenError> {
    let path = folder.join(NAME);
    let wrap = |source| OpenError::Io { folder: folder.to_owned(), source };
    match std::fs::read(&path) {
        Ok(bytes) => match parse(&bytes) {
            Some(found) if found > KNOWN => {
                Err(OpenError::Newer { folder: folder.to_owned(), found, known: KNOWN })
            }
            Some(_) => Ok(()),
            None => Err(OpenError::Format(path)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            durable::write(&path, &[format!("{WORD}{KNOWN}\n").as_bytes()]).map_err(wrap)
        }
        Err(error) => Err(wrap(error)),
    }
}

fn parse(bytes: &[u8]) -> Option<u32> {
    let line = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let digits = line.strip_prefix(WORD)?;
    digits.parse().ok().filter(|version: &u32| *version > 0 && version.to_string() == digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_folders_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        check(dir.path()).unwrap();
        let path = dir.path().join(NAME);
        assert_eq!(std::fs::read(&path).unwrap(), b"unseen-data 1\n");
        check(dir.path()).unwrap();
        std::fs::write(&path, "unseen-data 2\n").unwrap();
        let refused = check(dir.path()).unwrap_err();
        assert!(matches!(refused, OpenError::Newer { found: 2, known: 1, .. }), "{refused:?}");
        assert!(refused.to_string().contains("newer"), "{refused}");
        for odd in
            ["", "\n", "unseen-data\n", "unseen-data 1", "unseen-data 01\n", "unseen-data 0\n"]
        {
            std::fs::write(&path, odd).unwrap();
            assert!(matches!(check(dir.path()), Err(OpenError::Format(_))), "{odd:?}");
        }
        std::fs::write(&path, [0xff]).unwrap();
        assert!(matches!(check(dir.path()), Err(OpenError::Format(_))));
    }
}
