//! Carries a plan out, step by step: reads old packs, sends new ones, exchanges them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use unseen_common::id::{DeviceId, PackId, PackNumber};
use unseen_common::pack_map::PackMap;
use unseen_common::vault::VaultError;

use super::exchange::Exchange;
use super::plan::Plan;
use super::repack::{BUFFERS, Made, Repacker, Trouble};
use super::survey::Survey;
use crate::browse::error::{PackFault, PackTrouble};
use crate::browse::packs::Packs;
use crate::browse::pieces::Pieces;
use crate::crypto::envelope::{SealError, SealTo};
use crate::crypto::rng::Hedged;
use crate::index::IndexError;
use crate::pack::builder::{BufferPool, Sealer};
use crate::progress::{Amount, During, Monitor, Problem};
use crate::repo::reader::PackInfo;
use crate::repo::{OwnerRepo, RepoError};

/// Old packs of so many bytes are exchanged at a time: what is interrupted loses no more work.
const STEP: u64 = 2 * 1024 * 1024 * 1024;
/// And at most so many of them: an entry of the log names them all.
const STEP_PACKS: usize = 4096;
/// Packs that are fetched ahead.
const AHEAD: usize = 1;

/// Why a compaction ends before it is done.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The vault refused, or cannot be reached.
    #[error("the vault cannot be compacted")]
    Vault(#[from] VaultError),
    /// The log or the session.
    #[error("the vault cannot be compacted")]
    Repo(#[from] RepoError),
    /// The chunk index cannot be used.
    #[error("the chunk index cannot be used")]
    Index(#[from] IndexError),
    /// A pack cannot be sealed.
    #[error("a pack cannot be sealed")]
    Seal(#[from] SealError),
    /// The vault has no key that new packs are sealed to.
    #[error("the vault's key is not known")]
    NoKey,
    /// The program contradicts itself.
    #[error("the program made a mistake: {0}")]
    Internal(&'static str),
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Old packs that snapshots need no longer.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// New packs.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Snapshots that have other packs now.
    pub snapshots: u64,
    /// Packs that were known to be damaged, and that snapshots need no longer.
    pub mended: u64,
    /// Old packs that could not be read, and stay.
    pub damaged: u64,
    /// The user stopped it. What was exchanged before stays exchanged.
    pub interrupted: bool,
}

/// What a compaction works on.
#[derive(Debug)]
pub(super) struct Rewriting<'a> {
    pub(super) packs: &'a Packs<'a>,
    pub(super) survey: &'a Survey,
    pool: BufferPool,
    pub(super) monitor: &'a dyn Monitor,
    interrupt: &'a AtomicBool,
}

/// Takes snapshots off damaged packs, then writes packs anew as planned. Blocks.
pub fn rewrite(
    packs: &Packs<'_>,
    owner: &mut OwnerRepo,
    (survey, plan): (&Survey, &Plan),
    (monitor, interrupt): (&dyn Monitor, &AtomicBool),
) -> Result<Done, CompactError> {
    let rewriting = Rewriting { packs, survey, pool: BufferPool::new(BUFFERS), monitor, interrupt };
    let mut exchange = Exchange::new(packs, survey);
    let mut done = Done::default();
    let info = |number: &PackNumber| packs.index.pack(*number);
    let length = |number| info(&number).map_or(0, |info| info.length);
    let mending = survey.mendable.iter().filter_map(|number| Some((info(number)?.device, *number)));
    let planned = plan.devices.iter();
    let planned = planned.flat_map(|(device, share)| share.rewrite.iter().map(|n| (*device, *n)));
    let (mending, steps) = (steps(mending, length), steps(planned, length));
    let all = steps.iter().flatten().flat_map(|(_, numbers)| numbers);
    let read = all.filter(|number| survey.used.raw(**number) > 0);
    let read = read.map(|number| length(*number)).sum();
    let sought: u64 = survey.mendable.iter().map(|number| length(*number)).sum();
    monitor.scanned(Amount { bytes: sought.saturating_add(read), ..Amount::default() });
    monitor.scan_done();
    monitor.transfer_planned(read);
    let steps = steps.into_iter().map(|step| (step, false));
    for (step, mends) in mending.into_iter().map(|step| (step, true)).chain(steps) {
        let (made, stay) =
            if mends { rewriting.mend(owner, &step)? } else { rewriting.step(owner, &step)? };
        if rewriting.is_interrupted() {
            done.interrupted = true;
            break;
        }
        done.damaged += stay;
        let (map, new) = (PackMap(made.map), made.packs);
        let exchanged = exchange.exchange(owner, &map, &new)?;
        if exchanged > 0 {
            // Else all that needed them have gone meanwhile.
            done.count((&map, &new), (exchanged, mends), length);
        }
    }
    Ok(done)
}

impl Done {
    fn count(
        &mut self,
        (map, new): (&PackMap, &BTreeMap<PackNumber, (PackId, u64)>),
        (snapshots, mends): (u64, bool),
        length: impl Fn(PackNumber) -> u64,
    ) {
        self.snapshots = self.snapshots.max(snapshots);
        let old = u64::try_from(map.0.len()).unwrap_or(u64::MAX);
        if mends {
            self.mended += old;
        } else {
            self.removed += old;
            let lengths = map.0.keys().map(|number| length(*number));
            self.removed_bytes = self.removed_bytes.saturating_add(lengths.sum());
        }
        self.packs += u64::try_from(new.len()).unwrap_or(0);
        let lengths = new.values().map(|(_, length)| *length);
        self.bytes = self.bytes.saturating_add(lengths.sum());
    }
}

/// The packs of one step, by device.
pub(super) type Step = BTreeMap<DeviceId, Vec<PackNumber>>;

fn steps(
    packs: impl Iterator<Item = (DeviceId, PackNumber)>,
    length: impl Fn(PackNumber) -> u64,
) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut bytes, mut count) = (u64::MAX, usize::MAX);
    for (device, number) in packs {
        bytes = bytes.saturating_add(length(number));
        count = count.saturating_add(1);
        if bytes > STEP || count > STEP_PACKS {
            steps.push(Step::new());
            (bytes, count) = (length(number), 1);
        }
        if let Some(step) = steps.last_mut() {
            step.entry(device).or_default().push(number);
        }
    }
    steps
}

impl Rewriting<'_> {
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// Writes the packs of one step anew; what of them can be let go, what takes their place, and
    /// how many stay.
    fn step(&self, owner: &OwnerRepo, step: &Step) -> Result<(Made, u64), CompactError> {
        let mut made = Made::default();
        let mut kept = Vec::new();
        for (device, numbers) in step {
            if self.is_interrupted() {
                break;
            }
            kept.append(&mut self.device(owner, (*device, numbers), &mut made)?);
        }
        for number in step.values().flatten() {
            made.map.entry(*number).or_default();
        }
        for number in &kept {
            made.map.remove(number);
        }
        Ok((made, u64::try_from(kept.len()).unwrap_or(0)))
    }

    /// The same for one device; the packs that could not be read.
    fn device(
        &self,
        owner: &OwnerRepo,
        (device, numbers): (DeviceId, &[PackNumber]),
        made: &mut Made,
    ) -> Result<Vec<PackNumber>, CompactError> {
        self.repacking(owner, device, made, |repacker| {
            let mut kept = Vec::new();
            self.fetched(numbers, |info, fetched| {
                let taken = match fetched {
                    Ok(pieces) => match self.packs.open_from(info, &pieces) {
                        Ok(old) => repacker.take(&old, &pieces),
                        Err(trouble) => Err(Trouble::Pack(trouble)),
                    },
                    Err(trouble) => Err(trouble),
                };
                match taken {
                    Ok(()) => Ok(()),
                    Err(Trouble::Fatal(error)) => Err(error),
                    Err(Trouble::Pack(trouble)) => {
                        kept.push(info.number);
                        self.damaged(info.number, &trouble);
                        Ok(())
                    }
                }
            })?;
            Ok(kept)
        })
    }

    /// Fills new packs of a device, and sends them.
    pub(super) fn repacking<T>(
        &self,
        owner: &OwnerRepo,
        device: DeviceId,
        made: &mut Made,
        fill: impl FnOnce(&mut Repacker<'_>) -> Result<T, CompactError>,
    ) -> Result<T, CompactError> {
        let repo = self.packs.repo;
        let keys = repo.keys();
        let public = keys.key(keys.epoch()).ok_or(CompactError::NoKey)?.public();
        let known = repo.known(device).ok_or(CompactError::NoKey)?;
        let psk = &keys.write_set().writer_psk;
        let to = SealTo { vault: repo.account(), epoch: keys.epoch(), device, public, psk };
        let sealer = Sealer { to, signer: owner.signer(), index_key: &known.index_key };
        let used = (self.packs, &self.survey.used);
        let sealing = (&sealer, Hedged::fresh());
        let mut repacker = Repacker::new(used, &repo.vault, sealing, &self.pool, made);
        let filled = fill(&mut repacker)?;
        if !self.is_interrupted() {
            repacker.finish()?;
        }
        Ok(filled)
    }

    /// Calls `each` for every pack of which anything is needed, with all its bytes. The next one is
    /// fetched meanwhile.
    fn fetched(
        &self,
        numbers: &[PackNumber],
        mut each: impl FnMut(PackInfo, Result<Pieces, Trouble>) -> Result<(), CompactError>,
    ) -> Result<(), CompactError> {
        let (send, receive) = crossbeam_channel::bounded(AHEAD);
        let needed = numbers.iter().filter(|number| self.survey.used.raw(**number) > 0);
        let infos: Vec<_> = needed.filter_map(|number| self.packs.index.pack(*number)).collect();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for info in infos {
                    let mut pieces = Pieces::default();
                    let whole = 0..info.length;
                    let wanted = std::slice::from_ref(&whole);
                    let fetched = self.packs.fetch_planned(&info, wanted, &mut pieces);
                    let fetched = fetched.map(|()| pieces).map_err(|fault| match fault {
                        PackFault::Pack(trouble) => Trouble::Pack(trouble),
                        PackFault::Vault(error) => Trouble::Fatal(error.into()),
                    });
                    // The other end hangs up when it cannot go on.
                    if self.is_interrupted() || send.send((info, fetched)).is_err() {
                        return;
                    }
                }
            });
            // Moved in, so that it is gone when this returns.
            let receive = receive;
            for (info, fetched) in &receive {
                if self.is_interrupted() {
                    break;
                }
                each(info, fetched)?;
                self.monitor.bytes_read(info.length);
            }
            Ok(())
        })
    }

    fn damaged(&self, number: PackNumber, trouble: &PackTrouble) {
        let path = format!("pack {number}").into_bytes();
        let what = trouble.to_string();
        self.monitor.problem(&Problem { path, during: During::Check, what });
    }
}
