//! Windows are worked off: packs are fetched, a few at a time; segments are opened and written,
//! one a core.
//!
//! ```text
//! walker --windows--> dispatcher --jobs--> fetchers --tasks--> workers
//!                         \--afters--> finisher: waits until a window is done
//! ```

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use unseen_common::id::PackNumber;

use super::file::FilePlan;
use super::plan::{After, PackWants, Want, Window};
use super::run::Run;
use crate::browse::error::{PackFault, PackTrouble, ReadError};
use crate::browse::packs::{OpenPack, Opener};
use crate::browse::pieces::Pieces;
use crate::crypto::content_id::ChunkKind;
use crate::tree::reader::TreeError;

/// Bytes of packs in memory, from a disk and over a network: there, while one pack is opened and
/// another one is on its way, a third one is asked for.
const BUDGET: [u64; 2] = [12 * 1024 * 1024, 56 * 1024 * 1024];
/// Bytes of a pack that are fetched at a time from a disk of this machine, at least a segment.
const PART: u64 = 4 * 1024 * 1024;
/// Files without content in one task.
const BARE: usize = 64;

/// Nothing is ever sent: that all senders are gone is the message.
#[derive(Debug)]
pub(super) enum Never {}

/// What the tasks of a window share.
#[derive(Debug)]
pub(super) struct Shared {
    files: Vec<Arc<FilePlan>>,
    retry: Arc<Mutex<Vec<Retry>>>,
    /// Dropped with the last task.
    _done: Sender<Never>,
}

/// A part that the first pack did not give.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) file: Arc<FilePlan>,
    pub(super) want: Want,
    pub(super) number: PackNumber,
    pub(super) trouble: Arc<str>,
}

/// What is left to do after a window.
#[derive(Debug)]
pub(super) struct Finish {
    pub(super) after: After,
    pub(super) retry: Arc<Mutex<Vec<Retry>>>,
    pub(super) done: Receiver<Never>,
}

/// What is wanted of one pack.
#[derive(Debug)]
pub(super) struct Job {
    wants: PackWants,
    window: Arc<Shared>,
}

/// Something for a worker.
#[derive(Debug)]
pub(super) enum Task {
    Segment(Box<SegmentTask>),
    Bare(Vec<Arc<FilePlan>>, Arc<Shared>),
}

/// A segment to be opened.
#[derive(Debug)]
pub(super) struct SegmentTask {
    pack: Arc<OpenPack>,
    fetched: Arc<Fetched>,
    segment: u32,
    /// With the place in the segment, ascending.
    wants: Vec<(u32, Want)>,
    window: Arc<Shared>,
}

#[derive(Debug)]
struct Fetched {
    pieces: Pieces,
    _permit: Permit,
}

/// Memory for packs.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    /// What is taken.
    used: Arc<(Mutex<u64>, Condvar)>,
    all: u64,
}

#[derive(Debug)]
struct Permit {
    budget: Budget,
    bytes: u64,
}

impl Budget {
    /// For packs that come from a disk of this machine, or from elsewhere.
    pub(super) fn new(is_local: bool) -> Self {
        let [disk, network] = BUDGET;
        Self { used: Arc::default(), all: if is_local { disk } else { network } }
    }

    /// Waits until so many bytes may be had. One that is alone gets any number.
    fn take(&self, bytes: u64) -> Permit {
        let (used, freed) = &*self.used;
        let mut used = used.lock().unwrap_or_else(PoisonError::into_inner);
        while *used > 0 && used.saturating_add(bytes) > self.all {
            used = freed.wait(used).unwrap_or_else(PoisonError::into_inner);
        }
        *used = used.saturating_add(bytes);
        Permit { budget: self.clone(), bytes }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let (used, freed) = &*self.budget.used;
        let mut used = used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = used.saturating_sub(self.bytes);
        freed.notify_all();
    }
}

/// Hands out the work of each window, in order.
pub(super) fn dispatch(
    windows: &Receiver<Window>,
    (jobs, tasks, finishes): (&Sender<Job>, &Sender<Task>, &Sender<Finish>),
) {
    for window in windows {
        let (done_in, done) = bounded(0);
        let retry = Arc::new(Mutex::default());
        let shared =
            Arc::new(Shared { files: window.files, retry: Arc::clone(&retry), _done: done_in });
        for wants in window.packs {
            let window = Arc::clone(&shared);
            if jobs.send(Job { wants, window }).is_err() {
                return;
            }
        }
        for files in window.bare.chunks(BARE) {
            let task = Task::Bare(files.to_vec(), Arc::clone(&shared));
            if tasks.send(task).is_err() {
                return;
            }
        }
        drop(shared);
        let finish = Finish { after: window.after, retry, done };
        if finishes.send(finish).is_err() {
            return;
        }
    }
}

/// Fetches packs until there are no more.
pub(super) fn fetch(run: &Run<'_>, jobs: &Receiver<Job>, tasks: &Sender<Task>, budget: &Budget) {
    for job in jobs {
        if run.stopped() {
            continue;
        }
        let Job { wants, window } = job;
        let number = wants.number;
        let mut located = Vec::with_capacity(wants.wants.len());
        let mut sent = 0;
        let fetched = locate(run, wants, &window, &mut located, budget)
            .and_then(|open| open.fetch(run, (&located, &mut sent), (&window, tasks), budget));
        match fetched {
            Ok(()) => {}
            Err(PackFault::Pack(trouble)) => {
                run.packs.suspect(number);
                let rest = located.iter().skip(sent).map(|(_, _, want)| *want);
                window.again(rest, number, &trouble);
            }
            Err(PackFault::Vault(error)) => run.fail(ReadError::Vault(error)),
        }
    }
}

/// A wanted chunk with its segment and its place in that.
type Located = (u32, u32, Want);

/// A pack that is open, and what was fetched of it so far.
#[derive(Debug)]
struct Opened {
    pack: Arc<OpenPack>,
    pieces: Pieces,
    /// If all of it was fetched.
    whole: Option<Permit>,
}

/// Opens a pack and finds the wanted chunks in it. Before the pack is open all wants count as
/// located, so that an error is about all of them.
fn locate(
    run: &Run<'_>,
    wants: PackWants,
    window: &Shared,
    located: &mut Vec<Located>,
    budget: &Budget,
) -> Result<Opened, PackFault> {
    let whole = run.packs.index.pack(wants.number).filter(|info| {
        // From a disk of this machine two requests more cost nothing.
        !run.packs.repo.is_local() && is_most(&wants.wants, info.raw)
    });
    located.extend(wants.wants.into_iter().map(|want| (0, 0, want)));
    let mut pieces = Pieces::default();
    let whole = match whole {
        Some(info) => {
            let permit = budget.take(info.length);
            let all = 0..info.length;
            run.packs.fetch(&info, std::slice::from_ref(&all), &mut pieces)?;
            Some(permit)
        }
        None => None,
    };
    let pack = run.packs.open(wants.number, &mut pieces)?;
    let mut strays = Vec::new();
    located.retain_mut(|(segment, place, want)| {
        let found =
            pack.find(&want.id).filter(|(segment, _)| pack.segment(*segment).is_some_and(is_data));
        if let Some(found) = found {
            (*segment, *place) = found;
        } else {
            strays.push(*want);
        }
        found.is_some()
    });
    window.again(strays.into_iter(), wants.number, &PackTrouble::NotThere);
    located.sort_unstable_by_key(|(segment, place, want)| (*segment, *place, want.file));
    Ok(Opened { pack, pieces, whole })
}

impl Opened {
    /// Fetches what is needed, in parts, and hands it on; counts in `sent` what was.
    fn fetch(
        self,
        run: &Run<'_>,
        (mut located, sent): (&[Located], &mut usize),
        (window, tasks): (&Arc<Shared>, &Sender<Task>),
        budget: &Budget,
    ) -> Result<(), PackFault> {
        let Self { pack, mut pieces, mut whole } = self;
        // Each answer of a network takes its time, and a few of them are on their way at once.
        let most = if run.packs.repo.is_local() { PART } else { u64::MAX };
        while !located.is_empty() {
            let (part, ranges) = part_of(located, |segment| pack.range(segment), most);
            let permit = whole.take().unwrap_or_else(|| {
                let lacking = pieces.lacking(&ranges, pack.info.length);
                let size: u64 = lacking.iter().map(|run| run.end.saturating_sub(run.start)).sum();
                budget.take(size.saturating_add(pieces.len()))
            });
            run.packs.fetch(&pack.info, &ranges, &mut pieces)?;
            let (now, rest) = located.split_at(part);
            // The next part mostly begins in the block in which this one ends, and the block with
            // the table was fetched to open the pack.
            let next = rest.first().and_then(|(segment, ..)| pack.range(*segment));
            let after = next.map(|range| pieces.after(range.start)).unwrap_or_default();
            let fetched =
                Fetched { pieces: std::mem::replace(&mut pieces, after), _permit: permit };
            send_segments(&pack, &Arc::new(fetched), now, (window, tasks));
            located = rest;
            *sent = sent.saturating_add(part);
        }
        Ok(())
    }
}

/// The first of these that lie in segments of so many bytes together, at least in one segment: how
/// many they are, and where those segments are.
fn part_of(
    located: &[Located],
    range_of: impl Fn(u32) -> Option<Range<u64>>,
    most: u64,
) -> (usize, Vec<Range<u64>>) {
    let (mut count, mut bytes, mut ranges) = (0_usize, 0_u64, Vec::new());
    for of_segment in located.chunk_by(|(a, ..), (b, ..)| a == b) {
        let range = of_segment.first().and_then(|(segment, ..)| range_of(*segment));
        let length = range.as_ref().map_or(0, |range| range.end.saturating_sub(range.start));
        bytes = bytes.saturating_add(length);
        if count > 0 && bytes > most {
            break;
        }
        count = count.saturating_add(of_segment.len());
        ranges.extend(range);
    }
    (count, ranges)
}

/// Whether so much of a pack with so many bytes of chunks is wanted that all of it is fetched, as
/// [`Pieces::lacking`] will say. Known before the pack is open, and that saves a round trip.
fn is_most(wants: &[Want], raw: u32) -> bool {
    let most = u64::from(raw) / 8 * 7;
    let (mut seen, mut sum) = (HashSet::new(), 0_u64);
    wants.iter().any(|want| {
        if seen.insert(want.id) {
            sum = sum.saturating_add(want.length.into());
        }
        sum > most
    })
}

fn is_data(row: &crate::pack::table::SegmentRow) -> bool {
    row.kind == ChunkKind::Data
}

fn send_segments(
    pack: &Arc<OpenPack>,
    fetched: &Arc<Fetched>,
    located: &[Located],
    (window, tasks): (&Arc<Shared>, &Sender<Task>),
) {
    for of_segment in located.chunk_by(|(a, ..), (b, ..)| a == b) {
        let Some((segment, ..)) = of_segment.first() else {
            continue;
        };
        let wants = of_segment.iter().map(|(_, place, want)| (*place, *want));
        let task = SegmentTask {
            pack: Arc::clone(pack),
            fetched: Arc::clone(fetched),
            segment: *segment,
            wants: wants.collect(),
            window: Arc::clone(window),
        };
        if tasks.send(Task::Segment(Box::new(task))).is_err() {
            return;
        }
    }
}

/// Opens segments and writes files until there is no more.
pub(super) fn work(run: &Run<'_>, tasks: &Receiver<Task>) {
    let mut opener = Opener::new(run.packs.repo.ids());
    for task in tasks {
        if run.stopped() {
            continue;
        }
        match task {
            Task::Segment(task) => task.run(run, &mut opener),
            Task::Bare(files, _window) => files.iter().for_each(|file| file.part_done(run)),
        }
    }
}

impl SegmentTask {
    fn run(self, run: &Run<'_>, opener: &mut Opener<'_>) {
        let mut wants = self.wants.iter().peekable();
        let mut place: u32 = 0;
        let opened = opener.open(&self.pack, self.segment, &self.fetched.pieces, |chunk| {
            while let Some((_, want)) = wants.next_if(|(at, _)| *at == place) {
                if let Some(file) = self.window.file(want) {
                    deliver(run, file, want, chunk.bytes);
                }
            }
            place = place.saturating_add(1);
            Ok::<(), PackTrouble>(())
        });
        if let Err(trouble) = opened {
            let rest = wants.map(|(_, want)| *want);
            let number = self.pack.info.number;
            run.packs.suspect(number);
            self.window.again(rest, number, &trouble);
        }
    }
}

/// Writes a verified chunk where it is wanted.
pub(super) fn deliver(run: &Run<'_>, file: &FilePlan, want: &Want, bytes: &[u8]) {
    if u32::try_from(bytes.len()) == Ok(want.length) {
        file.write(run, want.offset, bytes);
    } else {
        file.lost(run, TreeError::WrongSize.into());
        file.part_done(run);
    }
}

impl Shared {
    fn file(&self, want: &Want) -> Option<&Arc<FilePlan>> {
        self.files.get(usize::try_from(want.file).ok()?)
    }

    /// These parts have to come from elsewhere.
    fn again(&self, wants: impl Iterator<Item = Want>, number: PackNumber, trouble: &PackTrouble) {
        let trouble: Arc<str> = trouble.to_string().into();
        let parts = wants.filter_map(|want| {
            Some(Retry {
                file: Arc::clone(self.file(&want)?),
                want,
                number,
                trouble: Arc::clone(&trouble),
            })
        });
        let mut retry = self.retry.lock().unwrap_or_else(PoisonError::into_inner);
        retry.extend(parts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::content_id::ChunkId;

    #[test]
    fn a_part_is_of_whole_segments_and_at_least_one() {
        let want = Want { file: 0, length: 1, offset: 0, id: ChunkId([0; 32]) };
        let located: Vec<Located> =
            [0, 0, 1, 1, 1, 4].into_iter().map(|segment| (segment, 0, want)).collect();
        let range_of = |segment: u32| {
            let start = 100 * u64::from(segment);
            (segment != 9).then(|| start..start + 100)
        };
        let part = |located: &[Located], most| {
            let (count, ranges) = part_of(located, range_of, most);
            (count, ranges.iter().map(|range| range.start).collect::<Vec<_>>())
        };
        assert_eq!(part(&located, 99), (2, vec![0]));
        assert_eq!(part(&located, 199), (2, vec![0]));
        assert_eq!(part(&located, 200), (5, vec![0, 100]));
        assert_eq!(part(&located, u64::MAX), (6, vec![0, 100, 400]));
        assert_eq!(part(&located[5..], 1), (1, vec![400]));
        assert_eq!(part(&[], 1), (0, vec![]));
        // One of which the pack knows no place is not waited for for ever.
        assert_eq!(part(&[(9, 0, want)], 1), (1, vec![]));
    }

    #[test]
    fn most_of_a_pack_is_seven_eighths_and_every_chunk_counts_once() {
        let want = |id, length| Want { file: 0, length, offset: 0, id: ChunkId([id; 32]) };
        assert!(is_most(&[want(1, 700), want(2, 1)], 800));
        assert!(!is_most(&[want(1, 700)], 800));
        assert!(!is_most(&[want(1, 300), want(1, 300), want(1, 300)], 800));
        assert!(!is_most(&[], 0));
    }
}
