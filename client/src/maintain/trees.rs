//! Walks the trees of snapshots, each different one once, and looks up every chunk.

use std::collections::HashMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::check::{Checked, Checking};
use super::outcome::Damage;
use crate::browse::chunks::Chunks;
use crate::browse::error::ReadError;
use crate::browse::ls::MAX_DEPTH;
use crate::crypto::content_id::{ChunkId, ChunkKind};
use crate::progress::{Amount, in_words};
use crate::tree::entry::{Content, Entry, Extent, Kind};
use crate::tree::reader::{DirReader, ObjectSource, for_each_extent};

/// The start of a tree's id: enough to tell trees apart, as ids are keyed hashes.
type Short = [u8; 16];

/// Trees that were found whole, with the packs that they need: about 50 bytes each.
#[derive(Debug)]
pub(super) struct TreeCheck<'a> {
    checking: &'a Checking<'a>,
    whole: HashMap<Short, Whole>,
    sets: Sets,
    /// From one snapshot to the next: their trees lie in the same packs.
    chunks: Option<Chunks<'a>>,
}

/// A tree with all that is beneath it.
#[derive(Debug, Clone, Copy)]
struct Whole {
    /// Where its set of packs is.
    set: u32,
    holds: Holds,
}

/// What a tree holds, as a manifest counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Holds {
    files: u64,
    bytes: u64,
}

impl Holds {
    fn add(&mut self, other: Self) {
        self.files = self.files.saturating_add(other.files);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    fn in_words(self) -> String {
        let files = if self.files == 1 { "file" } else { "files" };
        let bytes = if self.bytes == 1 { "byte" } else { "bytes" };
        format!("{} {files} of {} {bytes}", self.files, self.bytes)
    }
}

/// Different sets of packs. Neighbouring trees mostly need the same ones.
#[derive(Debug, Default)]
struct Sets {
    all: Vec<Arc<[u32]>>,
    places: HashMap<Arc<[u32]>, u32>,
}

impl Sets {
    fn place(&mut self, packs: &RoaringBitmap) -> u32 {
        let packs: Arc<[u32]> = packs.iter().collect();
        if let Some(place) = self.places.get(&packs) {
            return *place;
        }
        let place = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(Arc::clone(&packs));
        self.places.insert(packs, place);
        place
    }

    fn get(&self, place: u32) -> Option<&[u32]> {
        let place = usize::try_from(place).ok()?;
        self.all.get(place).map(|packs| &**packs)
    }
}

struct Frame {
    reader: DirReader,
    tree: ChunkId,
    path: usize,
    /// The packs that it needs so far, with all that is beneath it.
    needs: RoaringBitmap,
    holds: Holds,
    whole: bool,
}

impl Frame {
    fn new(tree: ChunkId, path: usize) -> Self {
        let (needs, holds) = (RoaringBitmap::new(), Holds::default());
        Self { reader: DirReader::new(tree), tree, path, needs, holds, whole: true }
    }
}

impl<'a> TreeCheck<'a> {
    pub(super) fn new(checking: &'a Checking<'a>) -> Self {
        Self { checking, whole: HashMap::new(), sets: Sets::default(), chunks: None }
    }

    /// Lets go of what was kept for the next snapshot.
    pub(super) fn no_more_snapshots(&mut self) {
        self.chunks = None;
    }

    /// The packs that a tree needs with all that is beneath it, if it was found whole.
    pub(super) fn needs(&self, tree: &ChunkId) -> Option<&[u32]> {
        self.sets.get(self.whole.get(&short(tree))?.set)
    }

    /// Walks a snapshot. Trees that were found whole are not read again, if all packs that they
    /// need are also packs of this snapshot.
    pub(super) fn check(&mut self, snapshot: &Checked) -> Result<(), ReadError> {
        let within = Arc::new(snapshot.packs.clone());
        let chunks = match self.chunks.take() {
            Some(chunks) => chunks.for_others(within),
            None => Chunks::new(self.checking.packs, within),
        };
        let mut walk = Walk {
            checking: self.checking,
            snapshot,
            source: Noting { chunks, noted: Vec::new() },
            path: Vec::new(),
        };
        let mut stack = vec![Frame::new(snapshot.root, 0)];
        while let Some(frame) = stack.last_mut() {
            self.checking.go_on()?;
            walk.path.truncate(frame.path);
            match walk.advance(frame)? {
                Some(tree) if self.fits(&tree, &snapshot.packs) => {
                    let needs = self.needs(&tree).unwrap_or_default();
                    frame.needs.extend(needs);
                    let known = self.whole.get(&short(&tree));
                    frame.holds.add(known.map(|tree| tree.holds).unwrap_or_default());
                }
                Some(_) if stack.len() >= MAX_DEPTH => {
                    walk.damaged("its directories are nested too deeply".to_owned());
                }
                Some(tree) => stack.push(Frame::new(tree, walk.path.len())),
                None => {
                    if let Some(frame) = stack.pop() {
                        if stack.is_empty() && frame.whole {
                            walk.compare(frame.holds);
                        }
                        self.leave(frame, stack.last_mut());
                    }
                }
            }
        }
        self.chunks = Some(walk.source.chunks);
        Ok(())
    }

    fn fits(&self, tree: &ChunkId, packs: &RoaringBitmap) -> bool {
        self.needs(tree).is_some_and(|needs| {
            needs.iter().all(|pack| packs.contains(*pack)) && self.checking.may_pass(needs)
        })
    }

    fn leave(&mut self, frame: Frame, parent: Option<&mut Frame>) {
        self.checking.count(|outcome| outcome.trees += 1);
        if frame.whole {
            let set = self.sets.place(&frame.needs);
            self.whole.insert(short(&frame.tree), Whole { set, holds: frame.holds });
        }
        if let Some(parent) = parent {
            parent.needs |= frame.needs;
            parent.holds.add(frame.holds);
            parent.whole &= frame.whole;
        }
    }
}

/// Loads trees and remembers which.
struct Noting<'a> {
    chunks: Chunks<'a>,
    /// With their lengths, in bytes.
    noted: Vec<(ChunkKind, ChunkId, u32)>,
}

impl ObjectSource for Noting<'_> {
    type Error = ReadError;

    fn load(&mut self, id: &ChunkId) -> Result<Vec<u8>, ReadError> {
        // One that cannot be loaded is looked up all the same.
        let place = self.noted.len();
        self.noted.push((ChunkKind::Tree, *id, 0));
        let bytes = ObjectSource::load(&mut self.chunks, id)?;
        if let Some((_, _, length)) = self.noted.get_mut(place) {
            *length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        }
        Ok(bytes)
    }
}

/// A walk through one snapshot.
struct Walk<'w, 'a> {
    checking: &'a Checking<'a>,
    snapshot: &'w Checked,
    source: Noting<'a>,
    path: Vec<u8>,
}

impl Walk<'_, '_> {
    /// Goes on in a directory up to the next one in it, whose path is then set; `None` at the end.
    fn advance(&mut self, frame: &mut Frame) -> Result<Option<ChunkId>, ReadError> {
        loop {
            self.path.truncate(frame.path);
            let next = frame.reader.next(&mut self.source);
            self.look_up_noted(frame)?;
            let entry = match next {
                Ok(Some(entry)) => entry,
                Ok(None) => return Ok(None),
                Err(error) if error.is_local() => {
                    frame.whole = false;
                    self.damaged(in_words(&error));
                    match error {
                        // The other parts of a big directory may be whole.
                        ReadError::Lost { .. } => continue,
                        _ => return Ok(None),
                    }
                }
                Err(error) => return Err(error),
            };
            self.path.push(b'/');
            self.path.extend_from_slice(entry.name.as_bytes());
            if let Some(tree) = self.entry(frame, &entry)? {
                return Ok(Some(tree));
            }
        }
    }

    fn entry(&mut self, frame: &mut Frame, entry: &Entry) -> Result<Option<ChunkId>, ReadError> {
        match &entry.kind {
            Kind::Directory { tree } => return Ok(Some(*tree)),
            Kind::File { size, content } => {
                frame.holds.add(Holds { files: 1, bytes: *size });
                self.checking.monitor.scanned(Amount { files: 1, dirs: 0, bytes: *size });
                self.content(frame, content, *size)?;
            }
            _ => frame.holds.add(Holds { files: 1, bytes: 0 }),
        }
        Ok(None)
    }

    fn content(
        &mut self,
        frame: &mut Frame,
        content: &Content,
        size: u64,
    ) -> Result<(), ReadError> {
        let mut wanted = Vec::new();
        let read = for_each_extent(content, size, &mut self.source, |extent, source| {
            if let Extent::Data { chunk, length } = extent {
                wanted.push((ChunkKind::Data, *chunk, *length));
            }
            // Long lists are looked up in between.
            source.noted.append(&mut wanted);
            Ok::<(), ReadError>(())
        });
        self.look_up_noted(frame)?;
        match read {
            Ok(()) => Ok(()),
            Err(error) if error.is_local() => {
                frame.whole = false;
                self.damaged(in_words(&error));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Looks up chunks, each in the packs of the snapshot. One finding for all of them.
    fn look_up_noted(&mut self, frame: &mut Frame) -> Result<(), ReadError> {
        let (mut outside, mut missing) = (0_u64, 0_u64);
        let index = self.checking.packs.index;
        let noted = std::mem::take(&mut self.source.noted);
        self.checking.count(|outcome| {
            outcome.chunks += u64::try_from(noted.len()).unwrap_or(u64::MAX);
        });
        for (kind, id, length) in &noted {
            match self.checking.pack_of((*kind, id, *length), &self.snapshot.packs)? {
                Some(pack) => {
                    frame.needs.insert(pack.0);
                }
                None if index.lookup(id, &self.snapshot.packs)?.is_some() => outside += 1,
                None => missing += 1,
            }
        }
        if missing > 0 {
            self.damaged(format!("{} in no pack", of_its_chunks(missing)));
        }
        if outside > 0 {
            self.damaged(format!("{} in no pack of the snapshot", of_its_chunks(outside)));
        }
        frame.whole &= missing + outside == 0;
        // The allocation is used again.
        self.source.noted = noted;
        self.source.noted.clear();
        Ok(())
    }

    /// Holds what is there against what the manifest says was saved.
    fn compare(&self, found: Holds) {
        let totals = &self.snapshot.totals;
        let said = Holds { files: totals.files, bytes: totals.bytes };
        if found == said {
            return;
        }
        let (said, found) = (said.in_words(), found.in_words());
        let what = format!("its manifest counts {said}, and its tree holds {found}");
        self.checking.found(Damage::Snapshot { snapshot: self.snapshot.row.id, what });
    }

    fn damaged(&self, what: String) {
        self.checking.lost(&self.snapshot.row, &self.path, what);
    }
}

fn of_its_chunks(count: u64) -> String {
    format!("{count} of its chunks {}", if count == 1 { "is" } else { "are" })
}

fn short(id: &ChunkId) -> Short {
    *id.0.first_chunk().expect("an id has 32 bytes")
}
