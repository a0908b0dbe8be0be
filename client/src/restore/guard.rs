//! What a restore with `--delete` leaves alone although the snapshot lacks it: what the backup left
//! out by its rules, and what it could not read.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;

use unseen_common::log::entry::Status;

use super::options::{RestoreError, Why};
use crate::browse::chunks::Chunks;
use crate::browse::error::ReadError;
use crate::browse::resolve::Chosen;
use crate::crypto::content_id::{ChunkId, ChunkKind};
use crate::scan::exclude::{Candidate, Decision, DirCtx, Listing, Rules};
use crate::tree::entry::{Content, Extent, Kind, Name};
use crate::tree::reader::{DirReader, for_each_extent};

/// Knows of one snapshot what it lacks for other reasons than that it was not there.
#[derive(Debug)]
pub(super) struct Guard {
    rules: Rules,
    /// Of other file systems, the snapshot has nothing but the directories they are mounted on.
    pub(super) one_file_system: bool,
    /// What the backup was told to save, without slashes at the ends.
    saved: Vec<Vec<u8>>,
    unread: HashSet<Vec<u8>>,
}

/// What the rules make of a directory as the snapshot has it, and as it is now. What either of
/// them leaves out stays: a marker may have been removed since, or the rules' own files changed.
#[derive(Debug, Clone, Default)]
pub(super) struct Sides {
    recorded: DirCtx,
    here: DirCtx,
    /// Something that the rules go by could not be read.
    unsure: bool,
}

impl Guard {
    /// Of the snapshot that was chosen, unless that does not say enough.
    pub(super) fn of(chosen: &Chosen) -> Result<Self, RestoreError> {
        let manifest = &chosen.manifest;
        if chosen.snapshot.status == Status::Checkpoint {
            return Err(RestoreError::DeleteNeedsWhole);
        }
        let listed = u64::try_from(manifest.errors.len()).unwrap_or(u64::MAX);
        if manifest.error_count > listed {
            return Err(RestoreError::DeleteUnread { count: manifest.error_count });
        }
        let recorded = manifest.rules.as_ref().ok_or(RestoreError::DeleteUnknownRules)?;
        let rules = Rules::recorded(recorded).map_err(|_bad| RestoreError::DeleteUnknownRules)?;
        Ok(Self {
            rules,
            one_file_system: recorded.one_file_system,
            saved: manifest.paths.iter().map(|path| trimmed(path).to_vec()).collect(),
            unread: manifest.errors.iter().map(|error| trimmed(&error.path).to_vec()).collect(),
        })
    }

    /// At the root of the snapshot.
    pub(super) fn root(&self) -> Sides {
        let ctx = self.rules.at(Path::new("/")).unwrap_or_default();
        Sides { recorded: ctx.clone(), here: ctx, unsure: false }
    }

    /// In the directory `name` of a directory.
    pub(super) fn enter(&self, above: &Sides, name: &Name) -> Sides {
        Sides {
            recorded: self.rules.enter(&above.recorded, name.as_bytes()),
            here: self.rules.enter(&above.here, name.as_bytes()),
            unsure: false,
        }
    }

    /// Takes in what the snapshot's directory holds.
    pub(super) fn look_recorded(
        &self,
        sides: &mut Sides,
        chunks: &mut Chunks<'_>,
        tree: ChunkId,
    ) -> Result<(), ReadError> {
        if !self.rules.looks() {
            return Ok(());
        }
        match Recorded::read(chunks, tree, &self.rules) {
            Ok(listing) => self.look(&mut sides.recorded, &mut sides.unsure, &listing),
            Err(error) if error.is_local() => sides.unsure = true,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes in what the directory holds now.
    pub(super) fn look_here(&self, sides: &mut Sides, listing: &dyn Listing) {
        self.look(&mut sides.here, &mut sides.unsure, listing);
    }

    fn look(&self, ctx: &mut DirCtx, unsure: &mut bool, listing: &dyn Listing) {
        let listing = Watched { listing, failed: Cell::new(false) };
        self.rules.look(ctx, &listing);
        *unsure |= listing.failed.get();
    }

    /// Whether a path is what the backup was told to save, or beneath that.
    pub(super) fn covers(&self, path: &[u8]) -> bool {
        self.saved.iter().any(|saved| {
            path.strip_prefix(saved.as_slice())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    }

    /// Whether a path is what the backup was told to save.
    pub(super) fn names(&self, path: &[u8]) -> bool {
        self.saved.iter().any(|saved| saved == path)
    }

    /// Why an entry of a directory, with this path in the snapshot, is to stay.
    pub(super) fn keeps(
        &self,
        sides: &Sides,
        path: &[u8],
        candidate: Candidate<'_>,
    ) -> Option<Why> {
        let by_rule = |ctx: &DirCtx| {
            ctx.is_marked()
                || self.rules.decide(ctx, candidate) != Decision::Include
                // Without it the rule would not hold the next time.
                || self.rules.hangs_on(ctx, candidate.name)
        };
        if sides.unsure || by_rule(&sides.recorded) || by_rule(&sides.here) {
            return Some(Why::LeftOut);
        }
        self.is_unread(path).then_some(Why::Unread)
    }

    /// Whether something of this path, or above it, could not be read.
    fn is_unread(&self, path: &[u8]) -> bool {
        let mut at = path;
        loop {
            if self.unread.contains(at) {
                return true;
            }
            match at.iter().rposition(|byte| *byte == b'/') {
                Some(slash) => at = at.get(..slash).unwrap_or_default(),
                None => return false,
            }
        }
    }
}

fn trimmed(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"/").unwrap_or(path)
}

impl Sides {
    /// Where the directory that the restore begins with is one of the target's own, and not in
    /// those that are above it in the snapshot.
    pub(super) fn set_here(&mut self) {
        self.here = self.recorded.clone();
    }
}

/// A listing that tells afterwards whether something could not be read.
struct Watched<'a> {
    listing: &'a dyn Listing,
    failed: Cell<bool>,
}

impl Listing for Watched<'_> {
    fn has(&self, name: &[u8]) -> bool {
        self.listing.has(name)
    }

    fn head(&self, name: &[u8], limit: usize) -> io::Result<Vec<u8>> {
        let head = self.listing.head(name, limit);
        self.failed.set(self.failed.get() || head.is_err());
        head
    }
}

/// What the rules may ask for of a directory of the snapshot.
struct Recorded<'c, 'a> {
    rules: &'c Rules,
    chunks: RefCell<&'c mut Chunks<'a>>,
    files: BTreeMap<Name, Option<(Content, u64)>>,
}

impl<'c, 'a> Recorded<'c, 'a> {
    fn read(
        chunks: &'c mut Chunks<'a>,
        tree: ChunkId,
        rules: &'c Rules,
    ) -> Result<Self, ReadError> {
        let mut files = BTreeMap::new();
        let mut reader = DirReader::new(tree);
        while let Some(entry) = reader.next(chunks)? {
            if rules.asks_for(entry.name.as_bytes()) {
                let content = match entry.kind {
                    Kind::File { size, content } => Some((content, size)),
                    _ => None,
                };
                files.insert(entry.name, content);
            }
        }
        Ok(Self { rules, chunks: RefCell::new(chunks), files })
    }

    fn get(&self, name: &[u8]) -> Option<&Option<(Content, u64)>> {
        self.files.get(&Name::new(name).ok()?)
    }
}

impl Listing for Recorded<'_, '_> {
    fn has(&self, name: &[u8]) -> bool {
        // What can be made again was left out: it may have been there.
        self.get(name).is_some() || self.rules.is_made_again(name)
    }

    fn head(&self, name: &[u8], limit: usize) -> io::Result<Vec<u8>> {
        let Some(Some((content, size))) = self.get(name) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut head = Vec::new();
        let mut chunks = self.chunks.borrow_mut();
        let read = for_each_extent(content, *size, &mut **chunks, |extent, chunks| {
            let room = limit.saturating_sub(head.len());
            match extent {
                _ if room == 0 => {}
                Extent::Data { chunk, .. } => {
                    let bytes = chunks.load(ChunkKind::Data, chunk, &[])?;
                    head.extend(bytes.iter().take(room));
                }
                Extent::Hole { length } => {
                    let zeros = usize::try_from(*length).unwrap_or(usize::MAX).min(room);
                    head.resize(head.len().saturating_add(zeros), 0);
                }
            }
            Ok::<(), ReadError>(())
        });
        read.map_err(io::Error::other)?;
        Ok(head)
    }
}
