//! The data folder as a whole: whether it is one, who has it, and the server's key in it.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use data_encoding::HEXLOWER;
use ed25519_dalek::SigningKey;
use unseen_common::lock::Lock;

use super::core::OpenError;
use super::rounds::HINTS;
use crate::store::{Store, durable, random, space};

/// What may be in a folder before the first journal is: what a start that was cut off left, what
/// stays when everything else is gone, and what a disk of its own has.
const OURS: [&str; 10] = [
    "lock",
    "format",
    "index",
    "identity.key",
    "tls",
    "serve.json",
    "admin.sock",
    HINTS,
    space::FILE,
    "lost+found",
];

/// Whether a server, or a local vault, is or was in this folder.
pub fn is_in_use(dir: &Path) -> bool {
    dir.join("journal").is_dir() || dir.join("accounts").is_dir()
}

/// The name of something that keeps a folder from becoming a data folder: nobody wants the files of
/// a server among their own. Nothing for one that is a data folder, is empty or is not there.
pub fn foreign(dir: &Path) -> io::Result<Option<OsString>> {
    if is_in_use(dir) {
        return Ok(None);
    }
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut found: Vec<OsString> = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let unfinished = name.as_encoded_bytes().starts_with(durable::TEMPORARY.as_bytes());
        if !unfinished && OURS.iter().all(|ours| name != *ours) {
            found.push(name);
        }
    }
    // The same one every time.
    Ok(found.into_iter().min())
}

/// Whether something of an account is stored in a data folder.
pub(super) fn has_accounts(dir: &Path) -> io::Result<bool> {
    match std::fs::read_dir(dir.join("accounts")) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes a data folder for this process alone.
pub(super) fn lock_folder(dir: &Path) -> Result<Lock, OpenError> {
    let wrap = |source| OpenError::Io { folder: dir.to_owned(), source };
    Lock::take(&dir.join("lock")).map_err(wrap)?.ok_or_else(|| OpenError::Busy(dir.to_owned()))
}

/// The identity key of a data folder. A new one is made in a new folder alone: where accounts are
/// or were, clients know the server by the old one, and no command makes them take another.
pub(super) fn identity_of(dir: &Path, store: &Store) -> Result<SigningKey, OpenError> {
    let wrap = |source| OpenError::Io { folder: dir.to_owned(), source };
    let key = dir.join("identity.key");
    let in_use = || -> io::Result<bool> {
        let accounts = store.blobs.list("accounts")?;
        Ok(!accounts.is_empty() || !store.journals.list()?.is_empty())
    };
    if !key.exists() && in_use().map_err(wrap)? {
        return Err(OpenError::IdentityLost(key));
    }
    identity(&key)
}

/// The identity key: 64 hexadecimal digits in a file of its owner alone; made at first.
fn identity(path: &Path) -> Result<SigningKey, OpenError> {
    let wrap = |source| OpenError::Io { folder: path.to_owned(), source };
    match std::fs::read(path) {
        Ok(text) => {
            let bytes = HEXLOWER.decode(text.trim_ascii()).ok();
            let seed: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
            seed.map(|seed| SigningKey::from_bytes(&seed))
                .ok_or_else(|| OpenError::Identity(path.to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let seed = random::<32>();
            let text = HEXLOWER.encode(&seed);
            durable::write(path, &[text.as_bytes(), b"\n"]).map_err(wrap)?;
            Ok(SigningKey::from_bytes(&seed))
        }
        Err(error) => Err(wrap(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{Core, Options};

    #[test]
    fn a_data_folder_is_made_in_a_folder_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Core::open(dir.path(), Options::default());
        assert_eq!(foreign(&dir.path().join("not there")).unwrap(), None);
        assert!(foreign(Path::new("/dev/null")).is_err());
        std::fs::create_dir(dir.path().join("lost+found")).unwrap();
        for ours in OURS {
            assert_eq!(foreign(dir.path()).unwrap(), None);
            if ours != "lost+found" {
                std::fs::write(dir.path().join(ours), "").unwrap();
            }
        }
        std::fs::write(dir.path().join(".tmp-0a-0b"), "").unwrap();
        assert_eq!(foreign(dir.path()).unwrap(), None);
        for name in ["letter.txt", "accounts", "Lock"] {
            std::fs::write(dir.path().join(name), "").unwrap();
            assert_eq!(foreign(dir.path()).unwrap().unwrap(), name);
            let before = std::fs::read_dir(dir.path()).unwrap().count();
            let refused = open().unwrap_err();
            assert!(matches!(&refused, OpenError::Foreign { name: told, .. } if told == name));
            assert!(refused.to_string().contains(&format!("{name:?}")), "{refused}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), before, "nothing is made");
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
    }

    #[test]
    fn what_lies_in_a_data_folder_besides_is_no_matter() {
        let dir = tempfile::tempdir().unwrap();
        drop(Core::open(dir.path(), Options::default()).unwrap());
        std::fs::write(dir.path().join("notes"), "").unwrap();
        assert_eq!(foreign(dir.path()).unwrap(), None);
        Core::open(dir.path(), Options::default()).unwrap();
        // After the loss of the journals: said by whoever knows better than that.
        std::fs::rename(dir.path().join("journal"), dir.path().join("gone")).unwrap();
        std::fs::create_dir_all(dir.path().join("accounts/x")).unwrap();
        let refused = Core::open(dir.path(), Options::default());
        assert!(matches!(refused, Err(OpenError::NoJournal(_))));
    }
}
