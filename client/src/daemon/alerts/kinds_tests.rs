use proptest::prelude::*;
use unseen_common::id::SnapshotId;
use unseen_common::time::Timestamp;

use super::super::{Mass, Touched};
use super::*;
use crate::daemon::book::{Book, SetBook};
use crate::daemon::core::tests::{job, summary};
use crate::daemon::job::Job;
use crate::testing::noise;

#[test]
fn noise_is_told_from_all_that_makes_sense() {
    let text = "Dear Anna, all is well here. The apples are ripe. ".repeat(100);
    for length in [128, 300, 900, HEAD] {
        for seed in 0..300 {
            assert_eq!(judge(&noise(seed, length)), Some(Look::Noise), "{seed} {length}");
            let base64 = BASE64_NOPAD.encode(&noise(seed, length));
            assert_eq!(judge(&base64.as_bytes()[..length]), Some(Look::Sense), "{seed} {length}");
        }
        assert_eq!(judge(&text.as_bytes()[..length]), Some(Look::Sense));
        assert_eq!(judge(&vec![0; length]), Some(Look::Sense));
    }
    for head in FORMATS {
        let file = [head, &noise(7, 4000)].concat();
        assert_eq!(judge(&file), Some(Look::Sense), "{}", head.escape_ascii());
    }
    let film = [b"\0\0\0\x18ftypheic", &noise(7, 4000)[..]].concat();
    assert_eq!(judge(&film), Some(Look::Sense));
    // A name at the beginning, as some leave it, makes no format.
    assert_eq!(judge(&[b"LOCKED!!", &noise(7, 4000)[..]].concat()), Some(Look::Noise));
    assert_eq!(judge(&noise(1, LEAST - 1)), None);
}

/// A set, and what becomes of its files, run by run.
struct Life {
    book: Book,
    files: BTreeMap<String, (Look, u32)>,
    saved: BTreeMap<String, (Look, u32)>,
    now: u64,
    runs: u8,
    version: u32,
}

impl Life {
    /// After a first backup.
    fn new(files: usize) -> Self {
        let mut book = Book::default();
        book.know("a", "x", Timestamp(1_800_000_000));
        let (files, saved) = (Self::some(files, Look::Sense), BTreeMap::new());
        let mut life = Self { book, files, saved, now: 1_800_000_000, runs: 0, version: 1 };
        life.run(true);
        life
    }

    fn some(files: usize, look: Look) -> BTreeMap<String, (Look, u32)> {
        (0..files).map(|n| (format!("/a/{}/f{n}", n % 7), (look, 0))).collect()
    }

    fn set(&self) -> &SetBook {
        &self.book.sets["a"]
    }

    fn mass(&self) -> Option<Mass> {
        self.set().mass.map(|(_, mass)| mass)
    }

    fn write(&mut self, path: &str, look: Look) {
        self.version += 1;
        self.files.insert(path.to_owned(), (look, self.version));
    }

    /// Encrypts a file, under its name or another one.
    fn encrypt(&mut self, path: &str, renamed: bool) {
        if renamed {
            self.files.remove(path);
            self.write(&format!("{path}.locked"), Look::Noise);
        } else {
            self.write(path, Look::Noise);
        }
    }

    /// A run over everything, or over the directories in which something is different.
    fn run(&mut self, whole: bool) {
        self.now += 300;
        self.runs += 1;
        let differ = |path: &&String| self.files.get(*path) != self.saved.get(*path);
        let all = self.files.keys().chain(self.saved.keys());
        let dirs: BTreeSet<&[u8]> = all.filter(differ).map(|p| parent(p.as_bytes())).collect();
        let mut touched = Touched::after(Arc::new(self.set().kinds.clone()));
        let mut one = summary(Some(SnapshotId::from_bytes([self.runs; 32])));
        for (path, file) in &self.files {
            let name = path.as_bytes();
            let change = match self.saved.get(path) {
                None => Change::New,
                Some(before) if before == file => Change::Unmodified,
                Some(_) => Change::Changed,
            };
            if !whole && !dirs.contains(parent(name)) {
                continue;
            }
            touched.done(&Item { path: name, is_dir: false, change, size: 8000 }, |_| Some(file.0));
            one.counts.files.new += u64::from(change == Change::New);
            one.counts.files.changed += u64::from(change == Change::Changed);
            if change != Change::Unmodified {
                one.counts.stored.raw += 8000;
                one.counts.stored.packed += if file.0 == Look::Noise { 8000 } else { 3000 };
            }
        }
        for path in dirs {
            touched.done(&Item { path, is_dir: true, change: Change::Changed, size: 0 }, |_| None);
        }
        (one.files, one.dirs) = (self.files.len().try_into().unwrap(), 8);
        one.touched = Box::new(touched);
        let job = Job { changes: (!whole).then(crate::backup::Changes::default), ..job() };
        self.book.ended(&job, &Ok(one), (Timestamp(self.now), 0));
        self.saved = self.files.clone();
    }

    fn paths(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }
}

#[test]
fn files_that_are_encrypted_right_after_the_first_backup_are_noticed() {
    for (files, renamed, whole) in [
        (8, false, true),
        (40, false, false),
        (40, true, false),
        (40, true, true),
        (900, true, false),
        (9000, false, false),
        (9000, true, false),
    ] {
        let mut life = Life::new(files);
        assert_eq!(life.mass(), None, "a first backup");
        for path in life.paths() {
            life.encrypt(&path, renamed);
        }
        life.run(whole);
        let mass = life.mass().unwrap_or_else(|| panic!("{files} {renamed} {whole}"));
        assert!(mass.scrambled && mass.changed > files as u64 / 2, "{mass:?}");
        assert_eq!(life.set().hold, [SnapshotId::from_bytes([1; 32])]);
        // It is told once, and they are not told of again when they change once more.
        let told = life.set().mass;
        for path in life.paths() {
            life.write(&path, Look::Noise);
        }
        life.run(true);
        assert_eq!(life.set().mass, told);
    }
}

#[test]
fn files_that_are_gone_right_after_the_first_backup_are_noticed() {
    for (files, left, told) in [(100, 10, true), (100, 40, false), (40, 0, false)] {
        let mut life = Life::new(files);
        for path in life.paths().into_iter().skip(left) {
            life.files.remove(&path);
        }
        life.run(false);
        assert_eq!(life.mass().is_some(), told, "{files} {left}");
        assert!(life.mass().is_none_or(|mass| !mass.scrambled));
        assert_eq!(!life.set().hold.is_empty(), told);
        // Who builds and cleans is told of it once.
        let before = life.set().mass;
        life.files.extend(Life::some(files, Look::Sense));
        life.run(false);
        for path in life.paths().into_iter().skip(left) {
            life.files.remove(&path);
        }
        life.run(false);
        assert_eq!(life.set().mass, before);
    }
}

#[test]
fn a_few_files_that_are_encrypted_are_no_alarm() {
    let mut life = Life::new(1000);
    for path in life.paths().into_iter().take(19) {
        life.encrypt(&path, false);
    }
    life.run(false);
    assert_eq!(life.mass(), None);
    // With some more on the same day they are.
    for path in life.paths().into_iter().skip(100).take(10) {
        life.encrypt(&path, false);
    }
    life.run(false);
    let mass = life.mass().unwrap();
    assert!(mass.scrambled && mass.within != super::super::mass::Within::Once, "{mass:?}");
    assert_eq!(life.set().hold, [SnapshotId::from_bytes([1; 32])]);
}

#[test]
fn a_second_pass_takes_nothing_back() {
    let mut life = Life::new(1);
    let path = life.paths().remove(0).into_bytes();
    let kinds = &mut life.book.sets.get_mut("a").unwrap().kinds;
    let mut looks = Looks::after(Arc::new(kinds.clone()));
    for change in [Change::Changed, Change::Unmodified] {
        let item = Item { path: &path, is_dir: false, change, size: 8000 };
        looks.done(&item, |_| Some(Look::Noise));
    }
    assert_eq!(kinds.take(&looks, true), 1);
}

#[test]
fn what_is_not_known_is_looked_at_once() {
    let known = Arc::new(Kinds::default());
    let item = |path, size| Item { path, is_dir: false, change: Change::Unmodified, size };
    let mut looks = Looks::after(known);
    looks.done(&item(b"/a", 8000), |_| Some(Look::Sense));
    looks.done(&item(b"/b", 9), |_| panic!("nothing can be told of it"));
    let mut kinds = Kinds::default();
    assert_eq!(kinds.take(&looks, true), 0);
    let mut looks = Looks::after(Arc::new(kinds));
    looks.done(&item(b"/a", 8000), |_| panic!("it is known"));
}

/// A run without the daemon has saved it: nothing has changed since.
#[test]
fn what_was_encrypted_and_saved_while_no_daemon_ran_is_noticed_by_the_next() {
    for doubt in [false, true] {
        let mut life = Life::new(200);
        for path in life.paths() {
            life.encrypt(&path, false);
        }
        life.saved = life.files.clone();
        if doubt {
            let set = life.book.sets.get_mut("a").unwrap();
            set.kinds = std::mem::take(&mut set.kinds).in_doubt();
        }
        life.run(true);
        assert_eq!(life.mass().is_some_and(|mass| mass.scrambled), doubt);
        assert_eq!(!life.set().hold.is_empty(), doubt);
    }
}

#[test]
fn it_is_kept_in_little_room() {
    let life = Life::new(30_000);
    let kinds = &life.set().kinds;
    assert!((MOST / 3..=MOST).contains(&kinds.files.len()), "{kinds:?}");
    let text = serde_json::to_string(kinds).unwrap();
    assert!(text.len() < 14_000, "{}", text.len());
    assert_eq!(serde_json::from_str::<Kinds>(&text).unwrap(), *kinds);
    for bad in ["{\"level\":0,\"files\":\"AAAA\"}", "{\"level\":65,\"files\":\"\"}"] {
        assert!(serde_json::from_str::<Kinds>(bad).is_err(), "{bad}");
    }
    let many = BASE64_NOPAD.encode(&vec![0; (MOST + 1) * ENTRY]);
    let many = format!("{{\"level\":0,\"files\":\"{many}\"}}");
    assert!(serde_json::from_str::<Kinds>(&many).is_err());
}

/// What people and programs do to files, and no one who takes them hostage.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// Photos and the like come, or a vault of encrypted packs.
    Import(usize, bool),
    /// Files are written anew, as they were: photos by an editor, sources by a checkout.
    Rewrite(usize),
    /// A folder is cleaned up; half of all stay.
    Remove(usize),
    /// Files get other names.
    Rename(usize),
}

fn work() -> impl Strategy<Value = Work> {
    let count = 0..600_usize;
    prop_oneof![
        (count.clone(), any::<bool>()).prop_map(|(n, noise)| Work::Import(n, noise)),
        count.clone().prop_map(Work::Rewrite),
        count.clone().prop_map(Work::Remove),
        count.prop_map(Work::Rename),
    ]
}

impl Life {
    fn work(&mut self, work: Work) {
        let paths = self.paths();
        match work {
            Work::Import(count, noise) => {
                let look = if noise { Look::Noise } else { Look::Sense };
                for n in 0..count {
                    self.write(&format!("/a/import{}/{n}", self.runs), look);
                }
            }
            Work::Rewrite(count) => {
                for path in paths.into_iter().take(count) {
                    let look = self.files[&path].0;
                    self.write(&path, look);
                }
            }
            Work::Remove(count) => {
                let most = paths.len() / 2;
                for path in paths.into_iter().take(count.min(most)) {
                    self.files.remove(&path);
                }
            }
            Work::Rename(count) => {
                for path in paths.into_iter().take(count) {
                    let file = self.files.remove(&path).unwrap();
                    self.files.insert(format!("{path}.{}", self.runs), file);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever share of the files is encrypted from one half on, in whatever steps of a day.
    #[test]
    fn whoever_encrypts_half_of_all_is_noticed(
        files in 60..3000_usize,
        percent in 50..=100_usize,
        steps in prop::collection::vec((any::<bool>(), any::<bool>()), 1..6),
        before in prop::collection::vec(work(), 0..3),
    ) {
        let mut life = Life::new(files);
        for work in before {
            life.work(work);
            life.run(false);
        }
        prop_assert_eq!(life.mass(), None);
        let mut paths = life.paths();
        paths.retain(|path| life.files[path].0 == Look::Sense);
        // Noise that is encrypted is noise.
        prop_assume!(paths.len() >= 60);
        paths.truncate(paths.len() * percent / 100);
        for part in paths.chunks(paths.len().div_ceil(steps.len())).zip(&steps) {
            let (part, (renamed, whole)) = part;
            for path in part {
                life.encrypt(path, *renamed);
            }
            life.run(*whole);
        }
        prop_assert!(life.mass().is_some_and(|mass| mass.scrambled));
        prop_assert!(!life.set().hold.is_empty());
    }

    /// As long as nothing usual is known, work of many kinds is no alarm.
    #[test]
    fn work_is_no_alarm(
        files in 0..3000_usize,
        works in prop::collection::vec((work(), any::<bool>()), 0..4),
    ) {
        let mut life = Life::new(files);
        for (work, whole) in works {
            life.work(work);
            life.run(whole);
            prop_assert_eq!(life.mass(), None);
        }
    }

    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..6000)) {
        prop_assert_eq!(judge(&bytes).is_some(), bytes.len() >= LEAST);
    }

    #[test]
    fn any_text_is_read_or_refused(level in any::<u32>(), files in "[A-Za-z0-9+/]{0,60}") {
        let text = format!("{{\"level\":{level},\"files\":\"{files}\"}}");
        if let Ok(read) = serde_json::from_str::<Kinds>(&text) {
            let again = serde_json::to_string(&read).unwrap();
            prop_assert_eq!(serde_json::from_str::<Kinds>(&again).unwrap(), read);
        }
    }
}
