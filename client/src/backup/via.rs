//! Folders above what is backed up. They are only the way there: other people's files come and go
//! in them, and their times would make an unchanged source look changed in every run.

use unseen_common::codec::Canonical;
use unseen_common::id::Hash;

use crate::state::db::{StateDb, StateError};
use crate::tree::entry::{Entry, Kind, Meta, Name};

/// `meta` with the time that this folder had when its owner, mode or attributes were last seen to
/// change; then it is told the new time, unless the run is to leave no trace.
pub fn settled(
    state: &StateDb,
    (path, name): (&[u8], &Name),
    mut meta: Meta,
    record: bool,
) -> Result<Meta, StateError> {
    let time = std::mem::take(&mut meta.mtime);
    let entry = Entry { name: name.clone(), meta, kind: Kind::Fifo };
    let rest = Hash::of(&entry.to_bytes());
    let mut meta = entry.meta;
    meta.mtime = match state.folder_above(path)? {
        Some((known, kept)) if known == rest => kept,
        _ => {
            if record {
                state.set_folder_above(path, &rest, time)?;
            }
            time
        }
    };
    Ok(meta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::entry::FileTime;

    #[test]
    fn a_new_time_alone_is_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDb::open(dir.path()).unwrap();
        let name = Name::new(b"home").unwrap();
        let at = |seconds| FileTime { seconds, nanos: 7 };
        let meta = |mode, seconds| Meta { mode, mtime: at(seconds), ..Meta::default() };
        let settle = |meta, record| settled(&state, (b"/home", &name), meta, record).unwrap().mtime;
        assert_eq!(settle(meta(0o755, -3), false), at(-3));
        assert_eq!(settle(meta(0o755, 5), true), at(5), "a run without a trace left one");
        assert_eq!(settle(meta(0o755, 9), true), at(5));
        assert_eq!(settle(meta(0o750, 11), true), at(11));
        assert_eq!(settle(meta(0o750, 12), true), at(11));
        let elsewhere = settled(&state, (b"/srv", &name), meta(0o750, 12), true).unwrap();
        assert_eq!(elsewhere, meta(0o750, 12));
    }
}
