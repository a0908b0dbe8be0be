//! A look at a file, for the little that alerts need to know of it.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::kinds::{HEAD, Look, judge};
use crate::scan::os::{Dir, FileType, fstat};
use crate::tree::entry::Name;

/// What a file looks like; none if that cannot be told.
pub fn look_at(path: &[u8]) -> Option<Look> {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let name = Name::new(path.file_name()?.as_bytes()).ok()?;
    let file = Dir::open_root(path.parent()?).ok()?.open_file(&name).ok()?;
    if fstat(&file).ok()?.file_type != FileType::File {
        return None;
    }
    let mut head = Vec::with_capacity(HEAD);
    file.take(u64::try_from(HEAD).ok()?).read_to_end(&mut head).ok()?;
    judge(&head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            let path = dir.path().join(name);
            look_at(path.as_os_str().as_bytes())
        };
        std::fs::write(dir.path().join("text"), "all is well. ".repeat(1000)).unwrap();
        std::fs::write(dir.path().join("noise"), crate::testing::noise(1, 9000)).unwrap();
        std::fs::write(dir.path().join("short"), "all is well").unwrap();
        std::os::unix::fs::symlink("text", dir.path().join("link")).unwrap();
        assert_eq!((at("text"), at("noise")), (Some(Look::Sense), Some(Look::Noise)));
        assert_eq!((at("short"), at("link"), at("gone"), at(".")), (None, None, None, None));
        assert_eq!((look_at(b"/"), look_at(b"")), (None, None));
        // A pipe with nobody at its other end is waited for by nobody.
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(at("pipe"), None);
    }
}
