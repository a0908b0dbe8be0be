//! What is to be fetched for which files, gathered in windows.
//!
//! A window holds a bounded number of files and of wanted chunks, sorted by pack: within a window
//! each pack is opened once, and each segment of it. A file may go on in the next window.

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam_channel::Sender;
use unseen_common::id::PackNumber;

use super::dirs::DirNode;
use super::file::FilePlan;
use super::links::{LinkPlan, MEMORY};
use crate::browse::error::ReadError;
use crate::crypto::content_id::ChunkId;

/// How much a window holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Files, directories and links.
    pub(super) things: usize,
    /// Wanted chunks.
    pub(super) wants: usize,
    /// Files whose parts are in several packs, so that they may be open for long.
    pub(super) spread: usize,
    /// Bytes of memory for files of several names.
    pub(super) links: usize,
}

impl Limits {
    pub(super) const DEFAULT: Self =
        Self { things: 24 * 1024, wants: 64 * 1024, spread: 512, links: MEMORY };
}

/// A chunk that is to be written into a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Want {
    /// The file, by its place in the window.
    pub(super) file: u32,
    /// Length of the chunk, as the file's entry says.
    pub(super) length: u32,
    /// Where in the file it goes.
    pub(super) offset: u64,
    pub(super) id: ChunkId,
}

/// What is wanted of one pack.
#[derive(Debug)]
pub(super) struct PackWants {
    pub(super) number: PackNumber,
    pub(super) wants: Vec<Want>,
}

/// What is done once all files of a window are.
#[derive(Debug, Default)]
pub(super) struct After {
    /// Files that began in an earlier window and whose last part is in this one.
    pub(super) releases: Vec<Arc<FilePlan>>,
    /// Further names of files.
    pub(super) links: Vec<LinkPlan>,
    /// Directories in which everything is done, inner ones first.
    pub(super) leaves: Vec<Arc<DirNode>>,
}

/// A bounded part of a restore.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) files: Vec<Arc<FilePlan>>,
    /// In the order in which they are first needed.
    pub(super) packs: Vec<PackWants>,
    /// Files that need no chunk.
    pub(super) bare: Vec<Arc<FilePlan>>,
    pub(super) after: After,
    wants: usize,
    spread: usize,
}

impl Window {
    fn is_full(&self, limits: Limits) -> bool {
        let files = self.files.len() + self.bare.len();
        let things = files + self.after.links.len() + self.after.leaves.len();
        things >= limits.things || self.wants >= limits.wants || self.spread >= limits.spread
    }
}

/// Fills windows and sends them.
#[derive(Debug)]
pub(super) struct Planner {
    out: Sender<Window>,
    limits: Limits,
    window: Window,
    places: HashMap<PackNumber, usize>,
    current: Option<Current>,
}

/// The file whose parts are being added.
#[derive(Debug)]
struct Current {
    plan: Arc<FilePlan>,
    /// Its place in this window, once it is there.
    place: Option<u32>,
    /// It has parts in an earlier window.
    spans: bool,
    parts: bool,
    pack: Option<PackNumber>,
    spread: bool,
}

impl Planner {
    pub(super) fn new(out: Sender<Window>, limits: Limits) -> Self {
        Self { out, limits, window: Window::default(), places: HashMap::new(), current: None }
    }

    /// Begins a file.
    pub(super) fn begin(&mut self, plan: Arc<FilePlan>) {
        self.current = Some(Current {
            plan,
            place: None,
            spans: false,
            parts: false,
            pack: None,
            spread: false,
        });
    }

    /// Adds a part of the file that was begun.
    pub(super) fn want(
        &mut self,
        (id, length): (ChunkId, u32),
        offset: u64,
        pack: PackNumber,
    ) -> Result<(), ReadError> {
        if self.window.is_full(self.limits) {
            self.send()?;
        }
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let files = &mut self.window.files;
        let file = *current.place.get_or_insert_with(|| {
            files.push(Arc::clone(&current.plan));
            u32::try_from(files.len().saturating_sub(1)).unwrap_or(u32::MAX)
        });
        if current.pack.replace(pack).is_some_and(|last| last != pack) && !current.spread {
            current.spread = true;
            self.window.spread += 1;
        }
        current.parts = true;
        current.plan.expect_part();
        let next = self.window.packs.len();
        let at = *self.places.entry(pack).or_insert(next);
        if at == next {
            self.window.packs.push(PackWants { number: pack, wants: Vec::new() });
        }
        if let Some(of_pack) = self.window.packs.get_mut(at) {
            of_pack.wants.push(Want { file, length, offset, id });
        }
        self.window.wants += 1;
        Ok(())
    }

    /// All parts of the file are known.
    pub(super) fn end(&mut self) -> Result<(), ReadError> {
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        let window = &mut self.window;
        if current.spans {
            window.after.releases.push(current.plan);
        } else if current.parts {
            // The window has not been sent, so no part can be done yet.
            current.plan.all_expected();
        } else {
            window.bare.push(current.plan);
        }
        self.sent_if_full()
    }

    /// Adds a further name of a file.
    pub(super) fn link(&mut self, link: LinkPlan) -> Result<(), ReadError> {
        self.window.after.links.push(link);
        self.sent_if_full()
    }

    /// A directory is complete, as soon as this window is.
    pub(super) fn leave(&mut self, dir: Arc<DirNode>) -> Result<(), ReadError> {
        self.window.after.leaves.push(dir);
        self.sent_if_full()
    }

    /// Sends what there is.
    pub(super) fn send(&mut self) -> Result<(), ReadError> {
        if let Some(current) = &mut self.current {
            current.place = None;
            current.spans = current.spans || current.parts;
            current.spread = false;
        }
        self.places.clear();
        let window = std::mem::take(&mut self.window);
        self.out
            .send(window)
            .map_err(|_gone: crossbeam_channel::SendError<Window>| ReadError::Stopped)
    }

    fn sent_if_full(&mut self) -> Result<(), ReadError> {
        if self.window.is_full(self.limits) { self.send() } else { Ok(()) }
    }
}
