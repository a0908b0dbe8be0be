//! What is to be written, gathered in windows.
//!
//! A window holds a bounded number of files and of wanted chunks, and is finished as a whole. A file
//! may go on in the next window. A bounded number of windows is under way; what they want of one
//! pack is fetched together ([`Pool`]).

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use unseen_common::id::PackNumber;

use super::dirs::DirNode;
use super::file::FilePlan;
use super::links::{LinkPlan, MEMORY};
use super::pool::{LEAD, Part, Pool, Want};
use super::transfer::{Never, Shared};
use crate::browse::error::ReadError;
use crate::crypto::content_id::ChunkId;

/// Windows that may wait to be finished, besides the one that is being finished, the one that is
/// being filled, and two that are on their way in between. Of the first ones packs may be fetched: with
/// those that [`LEAD`] asks for alone, one pack would wait for the other.
pub(super) const WAITING: usize = 9;
const _: () = assert!(WAITING as u64 + 3 > LEAD, "no pack could ever be fetched");

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
        Self { things: 8 * 1024, wants: 16 * 1024, spread: 96, links: MEMORY };
}

/// What is done once all files of a window are.
#[derive(Debug, Default)]
pub(super) struct After {
    /// Further names of files.
    pub(super) links: Vec<LinkPlan>,
    /// Directories in which everything is done, inner ones first.
    pub(super) leaves: Vec<Arc<DirNode>>,
}

/// A bounded part of a restore.
#[derive(Debug)]
pub(super) struct Window {
    /// What everything that the window waits for holds.
    pub(super) shared: Arc<Shared>,
    /// Hears when all of that is gone.
    pub(super) done: Receiver<Never>,
    /// Files that wait for no chunk.
    pub(super) bare: Vec<Arc<FilePlan>>,
    pub(super) after: After,
    files: usize,
    wants: usize,
    spread: usize,
}

impl Window {
    fn new() -> Self {
        let (done_in, done) = bounded(0);
        Self {
            shared: Arc::new(Shared::new(done_in)),
            done,
            bare: Vec::new(),
            after: After::default(),
            files: 0,
            wants: 0,
            spread: 0,
        }
    }

    fn is_full(&self, limits: Limits) -> bool {
        let files = self.files + self.bare.len();
        let things = files + self.after.links.len() + self.after.leaves.len();
        things >= limits.things || self.wants >= limits.wants || self.spread >= limits.spread
    }
}

/// Fills windows and sends them.
#[derive(Debug)]
pub(super) struct Planner {
    out: Sender<Window>,
    pool: Arc<Pool>,
    limits: Limits,
    window: Window,
    current: Option<Current>,
}

/// The file whose parts are being added.
#[derive(Debug)]
struct Current {
    plan: Arc<FilePlan>,
    /// It has parts.
    parts: bool,
    /// It is counted in this window.
    here: bool,
    pack: Option<PackNumber>,
    spread: bool,
}

impl Planner {
    pub(super) fn new(out: Sender<Window>, pool: Arc<Pool>, limits: Limits) -> Self {
        Self { out, pool, limits, window: Window::new(), current: None }
    }

    /// Begins a file.
    pub(super) fn begin(&mut self, plan: Arc<FilePlan>) {
        self.current = Some(Current { plan, parts: false, here: false, pack: None, spread: false });
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
        let (Some(current), window) = (&mut self.current, &mut self.window) else {
            return Ok(());
        };
        if !std::mem::replace(&mut current.here, true) {
            window.files += 1;
        }
        if current.pack.replace(pack).is_some_and(|last| last != pack) && !current.spread {
            current.spread = true;
            window.spread += 1;
        }
        window.wants += 1;
        current.parts = true;
        current.plan.expect_part();
        let part = Part { file: Arc::clone(&current.plan), offset, id, length };
        self.pool.add(pack, Want { part, window: Arc::clone(&window.shared) });
        Ok(())
    }

    /// All parts of the file are known.
    pub(super) fn end(&mut self) -> Result<(), ReadError> {
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        // Its parts may all be done: their pack may have been fetched for what wanted it earlier.
        if !current.parts || current.plan.all_expected() {
            self.window.bare.push(current.plan);
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
            (current.here, current.spread) = (false, false);
        }
        let window = std::mem::replace(&mut self.window, Window::new());
        self.pool.next_window();
        self.out
            .send(window)
            .map_err(|_gone: crossbeam_channel::SendError<Window>| ReadError::Stopped)
    }

    fn sent_if_full(&mut self) -> Result<(), ReadError> {
        if self.window.is_full(self.limits) { self.send() } else { Ok(()) }
    }
}

impl Drop for Planner {
    fn drop(&mut self) {
        self.pool.end();
    }
}
