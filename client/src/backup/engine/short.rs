//! What becomes of short files that change between the listing and the reading: they are not looked
//! at between the two.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use super::tests::Scene;
use super::*;
use crate::browse::dump::dump;
use crate::progress::{Amount, Problem as Told};
use crate::testing::{noise, options};
use crate::tree::entry::Kind;

/// Does something when a file of so many bytes has been listed, and keeps what is told.
struct Meddler<'a> {
    listed: u64,
    act: &'a (dyn Fn() + Sync),
    told: Mutex<Vec<String>>,
}

impl std::fmt::Debug for Meddler<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meddler")
    }
}

impl Monitor for Meddler<'_> {
    fn scanned(&self, found: Amount) {
        if found.files == 1 && found.bytes == self.listed {
            (self.act)();
        }
    }
    fn problem(&self, problem: &Told) {
        self.told.lock().unwrap().push(problem.what.clone());
    }
}

/// What is saved of the file `f`, which has so many bytes when it is listed, and what is told.
fn meddled(listed: usize, act: &(dyn Fn(&Path) + Sync)) -> (Option<Vec<u8>>, Vec<String>) {
    let mut scene = Scene::new();
    scene.write("f", &noise(1, listed));
    let path = scene.source.join("f");
    let act = || act(&path);
    let listed = u64::try_from(listed).unwrap();
    let meddler = Meddler { listed, act: &act, told: Mutex::default() };
    scene.watched(&options("s"), (&meddler, &AtomicBool::new(false))).unwrap();
    let saved = scene.look("f", |entry, chunks| {
        let Kind::File { size, content } = &entry.kind else { panic!("no file") };
        let mut bytes = Vec::new();
        dump(chunks, (content, *size), &mut bytes).unwrap();
        bytes
    });
    (saved, meddler.told.into_inner().unwrap())
}

/// Lengths at listing: nothing, one chunk, several chunks of a file that is not looked at, and one
/// that is.
const LISTED: [usize; 4] = [0, 3000, 128 * 1024, 129 * 1024];

#[test]
fn what_it_is_when_it_is_read_is_saved() {
    for listed in LISTED {
        for now in [0, 5, listed, listed + 1, 2 * listed + 70_000] {
            let wanted = noise(2, now);
            let rewritten = |path: &Path| fs::write(path, &wanted).unwrap();
            assert_eq!(meddled(listed, &rewritten), (Some(wanted.clone()), vec![]), "{listed}");
            let replaced = |path: &Path| {
                let other = path.with_file_name("other");
                fs::write(&other, &wanted).unwrap();
                fs::rename(other, path).unwrap();
            };
            assert_eq!(meddled(listed, &replaced), (Some(wanted.clone()), vec![]), "{listed}");
        }
        let appended = |path: &Path| {
            File::options().append(true).open(path).unwrap().write_all(b"more").unwrap();
        };
        let wanted = [noise(1, listed), b"more".to_vec()].concat();
        assert_eq!(meddled(listed, &appended), (Some(wanted), vec![]), "{listed}");
    }
}

#[test]
fn what_is_no_file_any_more_is_told_and_not_saved() {
    for listed in LISTED {
        let vanished = |path: &Path| fs::remove_file(path).unwrap();
        let told = vec!["it vanished before it was read".to_owned()];
        assert_eq!(meddled(listed, &vanished), (None, told), "{listed}");
        let told = vec!["it was replaced meanwhile".to_owned()];
        let folder = |path: &Path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        };
        assert_eq!(meddled(listed, &folder), (None, told.clone()), "{listed}");
        let pipe = |path: &Path| {
            fs::remove_file(path).unwrap();
            let mode = rustix::fs::Mode::RUSR;
            rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
        };
        assert_eq!(meddled(listed, &pipe), (None, told), "{listed}");
    }
}
