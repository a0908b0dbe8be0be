//! Windows are worked off: packs are fetched, a few at a time; segments are opened and written,
//! one a core.
//!
//! ```text
//! walker --wants--> pool --packs--> fetchers --tasks--> workers
//!        \--windows--> dispatcher --finishes--> finisher: waits until a window is done
//! ```

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};
use unseen_common::id::PackNumber;

use super::file::FilePlan;
use super::plan::{After, Window};
use super::pool::{PackWants, Part, Pool, Want};
use super::run::Run;
use crate::browse::error::{PackFault, PackTrouble, ReadError};
use crate::browse::packs::{OpenPack, Opener, lacking};
use crate::browse::pieces::Pieces;
use crate::crypto::content_id::{ChunkId, ChunkKind};
use crate::tree::reader::TreeError;

/// Bytes of packs in memory, from a disk and over a network: there, while one pack is opened,
/// another one is on its way.
const BUDGET: [u64; 2] = [12 * 1024 * 1024, 36 * 1024 * 1024];
/// Bytes of a pack that are fetched at a time from a disk of this machine, at least a segment.
const PART: u64 = 4 * 1024 * 1024;
/// Files without content in one task.
const BARE: usize = 64;

/// Nothing is ever sent: that all senders are gone is the message.
#[derive(Debug)]
pub(super) enum Never {}

/// What everything holds that a window waits for.
#[derive(Debug)]
pub(super) struct Shared {
    retry: Arc<Mutex<Vec<Retry>>>,
    /// Dropped with the last of it.
    _done: Sender<Never>,
}

/// A part that the first pack did not give.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) part: Part,
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

/// Hands on windows, in order.
pub(super) fn dispatch(
    windows: &Receiver<Window>,
    (tasks, finishes): (&Sender<Task>, &Sender<Finish>),
) {
    for Window { shared, done, bare, after, .. } in windows {
        for files in bare.chunks(BARE) {
            let task = Task::Bare(files.to_vec(), Arc::clone(&shared));
            if tasks.send(task).is_err() {
                return;
            }
        }
        let retry = Arc::clone(&shared.retry);
        drop(shared);
        if finishes.send(Finish { after, retry, done }).is_err() {
            return;
        }
    }
}

/// Fetches packs until there are no more.
pub(super) fn fetch(run: &Run<'_>, pool: &Pool, tasks: &Sender<Task>, budget: &Budget) {
    let _watch = pool.watch();
    while let Some(PackWants { number, wants, .. }) = pool.take() {
        if run.stopped() {
            continue;
        }
        let mut located = Vec::with_capacity(wants.len());
        let fetched = locate(run, (number, wants), &mut located, budget)
            .and_then(|open| open.fetch(run, &mut located, tasks, budget));
        match fetched {
            Ok(()) => {}
            Err(PackFault::Pack(trouble)) => {
                run.packs.suspect(number);
                again(located.into_iter().map(|(_, _, want)| want), number, &trouble);
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
    (number, wants): (PackNumber, Vec<Want>),
    located: &mut Vec<Located>,
    budget: &Budget,
) -> Result<Opened, PackFault> {
    let whole = run.packs.index.pack(number).filter(|info| {
        let chunks = wants.iter().map(|Want { part, .. }| (part.id, part.length));
        // From a disk of this machine two requests more cost nothing; what is open needs none.
        !run.packs.repo.is_local() && !run.packs.is_open(number) && is_most(chunks, info.raw)
    });
    located.extend(wants.into_iter().map(|want| (0, 0, want)));
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
    let pack = run.packs.open(number, &mut pieces)?;
    let mut strays = Vec::new();
    for (_, _, want) in std::mem::take(located) {
        let found = pack
            .find(&want.part.id)
            .filter(|(segment, _)| pack.segment(*segment).is_some_and(is_data));
        match found {
            Some((segment, place)) => located.push((segment, place, want)),
            None => strays.push(want),
        }
    }
    again(strays.into_iter(), number, &PackTrouble::NotThere);
    located.sort_by_key(|(segment, place, _)| (*segment, *place));
    Ok(Opened { pack, pieces, whole })
}

impl Opened {
    /// Fetches what is needed, in parts, and hands it on; what is left in `located` was not.
    fn fetch(
        self,
        run: &Run<'_>,
        located: &mut Vec<Located>,
        tasks: &Sender<Task>,
        budget: &Budget,
    ) -> Result<(), PackFault> {
        let Self { pack, mut pieces, mut whole } = self;
        // Each answer of a network takes its time, and a few of them are on their way at once.
        let most = if run.packs.repo.is_local() { PART } else { u64::MAX };
        while !located.is_empty() {
            let (part, ranges) = part_of(located, |segment| pack.range(segment), most);
            let permit = whole.take().unwrap_or_else(|| {
                let lacking = lacking(&pack.info, &ranges, &pieces);
                let size: u64 = lacking.iter().map(|run| run.end.saturating_sub(run.start)).sum();
                budget.take(size.saturating_add(pieces.len()))
            });
            run.packs.fetch(&pack.info, &ranges, &mut pieces)?;
            let rest = located.split_off(part);
            let now = std::mem::replace(located, rest);
            // The next part mostly begins in the block in which this one ends.
            let next = located.first().and_then(|(segment, ..)| pack.range(*segment));
            let after = next.map(|range| pieces.after(range.start)).unwrap_or_default();
            let fetched =
                Fetched { pieces: std::mem::replace(&mut pieces, after), _permit: permit };
            send_segments(&pack, &Arc::new(fetched), now, tasks);
        }
        Ok(())
    }
}

/// The first of these that lie in segments of so many bytes together, at least in one segment: how
/// many they are, and where those segments are.
fn part_of<W>(
    located: &[(u32, u32, W)],
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
fn is_most(mut wants: impl Iterator<Item = (ChunkId, u32)>, raw: u32) -> bool {
    let most = u64::from(raw) / 8 * 7;
    let (mut seen, mut sum) = (HashSet::new(), 0_u64);
    wants.any(|(id, length)| {
        if seen.insert(id) {
            sum = sum.saturating_add(length.into());
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
    located: Vec<Located>,
    tasks: &Sender<Task>,
) {
    let mut located = located.into_iter().peekable();
    while let Some((segment, place, want)) = located.next() {
        let mut wants = vec![(place, want)];
        while let Some((_, place, want)) = located.next_if(|(next, ..)| *next == segment) {
            wants.push((place, want));
        }
        let (pack, fetched) = (Arc::clone(pack), Arc::clone(fetched));
        let task = SegmentTask { pack, fetched, segment, wants };
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
        let mut wants = self.wants.into_iter().peekable();
        let mut place: u32 = 0;
        let opened = opener.open(&self.pack, self.segment, &self.fetched.pieces, |chunk| {
            while let Some((_, want)) = wants.next_if(|(at, _)| *at == place) {
                deliver(run, &want.part, chunk.bytes);
            }
            place = place.saturating_add(1);
            Ok::<(), PackTrouble>(())
        });
        if let Err(trouble) = opened {
            let number = self.pack.info.number;
            run.packs.suspect(number);
            again(wants.map(|(_, want)| want), number, &trouble);
        }
    }
}

/// Writes a verified chunk where it is wanted.
pub(super) fn deliver(run: &Run<'_>, part: &Part, bytes: &[u8]) {
    let Part { file, offset, length, .. } = part;
    if u32::try_from(bytes.len()) == Ok(*length) {
        file.write(run, *offset, bytes);
    } else {
        file.lost(run, TreeError::WrongSize.into());
        file.part_done(run);
    }
}

impl Shared {
    pub(super) fn new(done: Sender<Never>) -> Self {
        Self { retry: Arc::default(), _done: done }
    }
}

/// These parts have to come from elsewhere.
fn again(wants: impl Iterator<Item = Want>, number: PackNumber, trouble: &PackTrouble) {
    let trouble: Arc<str> = trouble.to_string().into();
    for Want { part, window } in wants {
        let mut retry = window.retry.lock().unwrap_or_else(PoisonError::into_inner);
        retry.push(Retry { part, number, trouble: Arc::clone(&trouble) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_of_whole_segments_and_at_least_one() {
        let located = [0, 0, 1, 1, 1, 4].map(|segment| (segment, 0, ()));
        let range_of = |segment: u32| {
            let start = 100 * u64::from(segment);
            (segment != 9).then(|| start..start + 100)
        };
        let part = |located: &[(u32, u32, ())], most| {
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
        assert_eq!(part(&[(9, 0, ())], 1), (1, vec![]));
    }

    #[test]
    fn most_of_a_pack_is_seven_eighths_and_every_chunk_counts_once() {
        let is_most = |wants: &[(u8, u32)], raw| {
            is_most(wants.iter().map(|(id, length)| (ChunkId([*id; 32]), *length)), raw)
        };
        assert!(is_most(&[(1, 700), (2, 1)], 800));
        assert!(!is_most(&[(1, 700)], 800));
        assert!(!is_most(&[(1, 300), (1, 300), (1, 300)], 800));
        assert!(!is_most(&[], 0));
    }
}
