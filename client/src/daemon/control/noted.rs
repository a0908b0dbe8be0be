//! Where the daemon listens, written down in the state folder: a command from elsewhere, as by cron,
//! has another runtime folder or none.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

const NAME: &str = "daemon.socket";
/// Bytes of the longest path.
const LONGEST: u64 = 4096;

/// Writes down the path of the socket. To be called by who holds the daemon's lock.
pub fn note(state: &Path, socket: &Path) -> io::Result<()> {
    let (path, new) = (state.join(NAME), state.join("daemon.socket.new"));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(std::path::absolute(socket)?.as_os_str().as_bytes())?;
    fs::rename(new, path)
}

/// What was written down, if it was by this user. It may be of a daemon that has ended.
pub fn noted(state: &Path) -> Option<PathBuf> {
    let mut file = File::open(state.join(NAME)).ok()?;
    let found = file.metadata().ok()?;
    if !found.is_file() || found.uid() != geteuid().as_raw() || found.mode() & 0o022 != 0 {
        return None;
    }
    let mut bytes = Vec::new();
    (&mut file).take(LONGEST + 1).read_to_end(&mut bytes).ok()?;
    let path = PathBuf::from(OsString::from_vec(bytes));
    (path.is_absolute() && path.as_os_str().len() as u64 <= LONGEST).then_some(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_was_noted_by_this_user_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(noted(dir.path()), None);
        let socket = Path::new("/run/x/unseen/default.sock");
        for _ in 0..2 {
            note(dir.path(), socket).unwrap();
            assert_eq!(noted(dir.path()).as_deref(), Some(socket));
        }
        let path = dir.path().join(NAME);
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        mode(0o620);
        assert_eq!(noted(dir.path()), None, "others may have written it");
        mode(0o600);
        for wrong in [&b"relative"[..], b"", &[b'/'; 5000]] {
            fs::write(&path, wrong).unwrap();
            assert_eq!(noted(dir.path()), None);
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(noted(dir.path()), None);
        assert!(note(dir.path(), socket).is_err());
    }
}
