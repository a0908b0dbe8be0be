//! This machine's copy of the log, folded and checked.

use std::fs;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use roaring::RoaringBitmap;
use unseen_common::codec::Canonical;
use unseen_common::id::DeviceId;
use unseen_common::log::chain::Record;
use unseen_common::log::entry::{Author, Body, Entry};
use unseen_common::log::fold::{FoldError, Known, State};
use unseen_common::vault::{Vault, VaultError};

use super::{Folders, RepoError};
use crate::pins::{self, Pin, Sent};

/// Where this machine keeps the log, and what it holds new records against.
#[derive(Debug, Clone)]
pub struct Keeping {
    /// The copy.
    pub copy: PathBuf,
    /// The newest record seen.
    pub pin: PathBuf,
    /// The device of this machine, and the list of what it sent.
    own: Option<(DeviceId, PathBuf)>,
}

impl Keeping {
    /// In these folders. With `own`, records signed by this device are held against what this
    /// machine sent.
    pub fn new(folders: &Folders, own: Option<DeviceId>) -> Self {
        let own = own.map(|device| (device, folders.sent()));
        Self { copy: folders.log(), pin: folders.pin(), own }
    }

    /// Whether a record beyond the pinned head may be taken: not one by this device that this
    /// machine did not send. Then its key is in use elsewhere, and the pin stays where it is, so
    /// that every later run finds the same.
    fn judge(&self, state: &State, record: &Record) -> Result<(), RepoError> {
        let Some((device, sent)) = &self.own else {
            return Ok(());
        };
        let entry = record.signed.entry().map_err(FoldError::from)?;
        if entry.author != Author::Device(*device) {
            return Ok(());
        }
        // A forged one is the server's doing, and no sign of a copied key.
        state.check(&record.signed, record.received)?;
        match &entry.body {
            Body::Snapshot(snapshot) if Sent::read(sent)?.contains(&snapshot.manifest) => Ok(()),
            Body::Hold(ids) if Sent::read(sent)?.contains(&Sent::of_hold(ids)) => Ok(()),
            _ => Err(RepoError::Cloned { device: *device, seq: entry.seq }),
        }
    }
}

/// The log as far as this machine knows it.
#[derive(Debug)]
pub struct Log {
    /// What it adds up to.
    pub state: State,
    /// The packs that any compaction has removed: what is in them lies elsewhere as well, and
    /// nothing new is to need them. Numbers are never given twice.
    pub removed: RoaringBitmap,
    keeping: Keeping,
}

impl Log {
    /// Loads the copy, asks the vault for what came since, checks that it goes on from the pinned
    /// head, and pins the new one.
    ///
    /// Records up to the pin were judged when it was set; without a pin nothing is known, and
    /// whatever holds together is taken.
    pub async fn sync(keeping: Keeping, vault: &dyn Vault) -> Result<Self, RepoError> {
        let pin = pins::read(&keeping.pin)?;
        let known = match &pin {
            Some(pin) => load(&keeping.copy, pin),
            None => None,
        };
        let mut log = match known {
            Some((state, removed)) => Self { state, removed, keeping },
            None => Self::from_start(keeping, vault, pin.as_ref()).await?,
        };
        log.update(vault).await?;
        Ok(log)
    }

    /// What this machine knows of the log without asking anybody, if it has a copy.
    pub fn known(keeping: &Keeping) -> Option<State> {
        let pin = pins::read(&keeping.pin).ok()??;
        load(&keeping.copy, &pin).map(|(state, _)| state)
    }

    /// Takes what came since. The record of the known head is asked for again: a server that has
    /// lost or replaced it is caught.
    pub async fn update(&mut self, vault: &dyn Vault) -> Result<(), RepoError> {
        let mut after = self.state.head_seq.checked_sub(1);
        let mut first = true;
        let mut first_page = true;
        loop {
            let page = vault.log(after).await?;
            let mut records = page.records.into_iter();
            if std::mem::take(&mut first) {
                let seq = self.state.head_seq;
                let head = records.next().ok_or(RepoError::RolledBack { seq, missing: true })?;
                if head.hash() != self.state.head {
                    return Err(RepoError::RolledBack { seq, missing: false });
                }
            }
            let records: Vec<Record> = records.collect();
            if records.is_empty() && page.more && !first_page {
                return Err(endless());
            }
            first_page = false;
            self.take(&records)?;
            if !page.more {
                return Ok(());
            }
            after = Some(self.state.head_seq);
        }
    }

    /// Takes records that follow the head.
    pub fn take(&mut self, records: &[Record]) -> Result<(), RepoError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for record in records {
            self.keeping.judge(&self.state, record)?;
            remove(&self.state.apply(record)?, &mut self.removed);
            frame(record, &mut bytes);
        }
        self.append(&bytes)?;
        self.remember()
    }

    async fn from_start(
        keeping: Keeping,
        vault: &dyn Vault,
        pin: Option<&Pin>,
    ) -> Result<Self, RepoError> {
        let mut page = vault.log(None).await?;
        let genesis = page.records.first().ok_or(FoldError::Conflict("an empty log"))?;
        let (mut state, mut removed) = (State::begin(genesis)?, RoaringBitmap::new());
        check_pin(&state, pin)?;
        let mut bytes = Vec::new();
        frame(genesis, &mut bytes);
        let mut skip = 1;
        loop {
            for record in page.records.iter().skip(skip) {
                if pin.is_some_and(|pin| state.head_seq >= pin.seq) {
                    keeping.judge(&state, record)?;
                }
                remove(&state.apply(record)?, &mut removed);
                check_pin(&state, pin)?;
                frame(record, &mut bytes);
            }
            if !page.more {
                break;
            }
            page = vault.log(Some(state.head_seq)).await?;
            if page.records.is_empty() && page.more {
                return Err(endless());
            }
            skip = 0;
        }
        if let Some(pin) = pin
            && state.head_seq < pin.seq
        {
            return Err(RepoError::RolledBack { seq: pin.seq, missing: true });
        }
        pins::write_durably(&keeping.copy, &bytes)
            .map_err(|source| RepoError::Io { path: keeping.copy.clone(), source })?;
        let log = Self { state, removed, keeping };
        log.remember()?;
        Ok(log)
    }

    fn append(&self, bytes: &[u8]) -> Result<(), RepoError> {
        use std::io::Write;
        let io = |source: io::Error| RepoError::Io { path: self.keeping.copy.clone(), source };
        let mut file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.keeping.copy)
            .map_err(io)?;
        file.write_all(bytes).map_err(io)
    }

    fn remember(&self) -> Result<(), RepoError> {
        let pin = Pin { vault: self.state.vault, seq: self.state.head_seq, head: self.state.head };
        Ok(pins::write(&self.keeping.pin, &pin)?)
    }
}

/// Bytes of the copy that are read at a time.
const READ: usize = 64 * 1024;

fn endless() -> RepoError {
    let what = "it says that more of the log follows, and sends none".to_owned();
    VaultError::BadAnswer(what).into()
}

fn check_pin(state: &State, pin: Option<&Pin>) -> Result<(), RepoError> {
    match pin {
        Some(pin) if pin.seq == state.head_seq && pin.head != state.head => {
            Err(RepoError::RolledBack { seq: pin.seq, missing: false })
        }
        _ => Ok(()),
    }
}

/// The folded copy, if it reaches exactly the pinned head. It is a cache: whatever else it is, it
/// is fetched anew.
fn load(copy: &Path, pin: &Pin) -> Option<(State, RoaringBitmap)> {
    let mut frames = Frames::open(copy).ok()?;
    let mut removed = RoaringBitmap::new();
    let known = Known { seq: pin.seq, head: pin.head };
    // Record by record: many of them take more room than what they add up to.
    let records = frames.by_ref().map_while(|record| Record::from_bytes(&record).ok());
    let state = State::of_known(records, &known, |entry| remove(entry, &mut removed)).ok()?;
    let whole = state.vault == pin.vault && frames.left() == 0;
    whole.then_some((state, removed))
}

fn remove(entry: &Entry, removed: &mut RoaringBitmap) {
    if let Body::Compact(compact) = &entry.body {
        *removed |= &compact.removed.0;
    }
}

/// The records in a copy of the log, as far as they are whole, oldest first.
pub(super) struct Frames {
    file: BufReader<fs::File>,
    /// Bytes that were not shown yet.
    left: u64,
}

impl Frames {
    pub(super) fn open(copy: &Path) -> io::Result<Self> {
        let file = fs::File::open(copy)?;
        let left = file.metadata()?.len();
        Ok(Self { file: BufReader::with_capacity(READ, file), left })
    }

    /// Bytes that are no whole record, once all were shown.
    fn left(&self) -> u64 {
        self.left
    }
}

impl Iterator for Frames {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.file.read_exact(&mut length).ok()?;
        let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
        let mut record = vec![0; Some(length).filter(|length| *length <= Record::CAP)?];
        self.file.read_exact(&mut record).ok()?;
        self.left = self.left.checked_sub(4 + u64::try_from(length).ok()?)?;
        Some(record)
    }
}

fn frame(record: &Record, out: &mut Vec<u8>) {
    let bytes = record.to_bytes();
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&bytes);
}

#[cfg(test)]
mod tests;
