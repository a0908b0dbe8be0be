//! Reads packs whole and verifies everything in them.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use roaring::RoaringBitmap;
use unseen_common::id::{Hash, PackNumber};
use unseen_common::vault::pack_id;

use super::check::Checking;
use crate::browse::error::{PackFault, PackTrouble, ReadError};
use crate::browse::packs::{OpenPack, Opener};
use crate::browse::pieces::Pieces;
use crate::crypto::content_id::ChunkId;
use crate::repo::reader::PackInfo;

/// Packs that are read at a time.
const MOST: usize = 4;

/// A pack that is not as it was written.
#[derive(Debug)]
pub(super) enum Bad {
    /// Nothing in it can be read.
    Whole(String),
    /// These chunks cannot be read; perhaps none.
    Chunks(HashSet<ChunkId>, String),
}

impl Bad {
    pub(super) fn what(&self) -> &str {
        match self {
            Self::Whole(what) | Self::Chunks(_, what) => what,
        }
    }

    /// Whether anything in it cannot be read.
    pub(super) fn loses(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Chunks(chunks, _) => !chunks.is_empty(),
        }
    }

    /// Whether this chunk cannot be read from it.
    pub(super) fn lacks(&self, id: &ChunkId) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Chunks(chunks, _) => chunks.contains(id),
        }
    }
}

/// Reads packs, several at a time; those that are bad, by number.
pub(super) fn read_packs(
    checking: &Checking<'_>,
    chosen: &RoaringBitmap,
    workers: usize,
) -> Result<BTreeMap<PackNumber, Bad>, ReadError> {
    let workers = match workers {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        workers => workers,
    };
    let lengths = chosen.iter().filter_map(|n| {
        let pack = checking.packs.index.pack(PackNumber(n));
        pack.map(|pack| pack.length)
    });
    checking.monitor.transfer_planned(lengths.sum());
    let next = Mutex::new(chosen.iter());
    let bad = Mutex::new(BTreeMap::new());
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..workers.clamp(1, MOST) {
            scope.spawn(|| {
                let mut opener = Opener::new(checking.packs.repo.ids());
                while let Some(number) = lock(&next).next() {
                    let stop = lock(&failed).is_some() || checking.go_on().is_err();
                    if stop {
                        return;
                    }
                    match read_pack(checking, PackNumber(number), &mut opener) {
                        Ok(None) => {}
                        Ok(Some(found)) => {
                            lock(&bad).insert(PackNumber(number), found);
                        }
                        Err(error) => *lock(&failed) = Some(error),
                    }
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(bad.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

/// What is wrong with a pack, if anything. One whose table of contents is damaged has been told.
fn read_pack(
    checking: &Checking<'_>,
    number: PackNumber,
    opener: &mut Opener<'_>,
) -> Result<Option<Bad>, ReadError> {
    let packs = checking.packs;
    let Some(info) = packs.index.pack(number) else {
        return Ok(None);
    };
    let mut pieces = Pieces::default();
    let whole = 0..info.length;
    match packs.fetch_planned(&info, std::slice::from_ref(&whole), &mut pieces) {
        Ok(()) => {}
        Err(PackFault::Vault(error)) => return Err(error.into()),
        Err(PackFault::Pack(trouble)) => return Ok(Some(Bad::Whole(trouble.to_string()))),
    }
    checking.count(|outcome| outcome.packs_read += 1);
    let opened = packs.open_from(info, &pieces);
    let verdict = match opened {
        Ok(pack) => segments(&pack, &pieces, opener, checking),
        Err(trouble) => Some(Bad::Whole(trouble.to_string())),
    };
    if verdict.is_some() {
        return Ok(verdict);
    }
    let named = is_named_so(&info, &pieces);
    let what = "its bytes are not those that its name says, though all chunks are whole";
    Ok((!named).then(|| Bad::Chunks(HashSet::new(), what.to_owned())))
}

/// Opens every segment, and checks every chunk.
fn segments(
    pack: &OpenPack,
    pieces: &Pieces,
    opener: &mut Opener<'_>,
    checking: &Checking<'_>,
) -> Option<Bad> {
    let mut lost = HashSet::new();
    let mut first = None;
    for (number, row) in (0..).zip(&pack.table.segments) {
        let mut good: u64 = 0;
        let opened = opener.open(pack, number, pieces, |chunk| {
            good += u64::try_from(chunk.bytes.len()).unwrap_or(0);
            Ok::<(), PackTrouble>(())
        });
        checking.monitor.bytes_read(good);
        if let Err(trouble) = opened {
            // A segment is sealed as one: without it none of its chunks can be trusted.
            lost.extend(row.chunks.iter().map(|chunk| chunk.id));
            first.get_or_insert_with(|| format!("segment {number}: {trouble}"));
        }
    }
    first.map(|what| Bad::Chunks(lost, what))
}

/// Whether these bytes are those that the pack's name was made of.
fn is_named_so(info: &PackInfo, pieces: &Pieces) -> bool {
    let (mut content, mut footer) = (Vec::new(), Vec::new());
    let start = info.footer_start();
    pieces.copy(&(0..start), &mut content)
        && pieces.copy(&(start..info.length), &mut footer)
        && pack_id(Hash::of(&content), &footer, info.length, info.footer) == info.id
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
