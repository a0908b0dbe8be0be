//! Looking after packs when somebody asks: whether their files are there, and are what they were.
//!
//! What is found counts as damaged, like what a scrub finds. What the caller thinks counts for
//! nothing: a hostile one could have every pack sent again.

use std::sync::Mutex;

use unseen_common::id::{DeviceId, PackNumber};
use unseen_common::limits::MAX_VERIFY;
use unseen_common::packset::PackSet;
use unseen_common::vault::{PackSurvey, Result, VaultError};

use super::account::{Account, storage_error};
use super::packs::Claim;
use super::table::Pack;
use crate::store::key::Key;
use crate::store::second::is_bad_sector;
use crate::store::{lock, segment};

/// Packs whose files are looked at for one answer.
const MOST: usize = 1 << 16;
/// Packs that are marked with one record of the journal.
const BATCH: usize = 256;

/// What the file of a pack looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outside {
    Fits,
    Gone,
    Odd,
}

impl Account {
    /// Looks at the files of the packs above `after`, of these devices alone if they are given.
    /// Those that do not fit are damaged from then on; of an account that cannot be written they
    /// are only told.
    pub(super) fn survey_packs(
        &self,
        devices: Option<&[DeviceId]>,
        after: Option<PackNumber>,
    ) -> Result<PackSurvey> {
        self.survey_some(devices, after, MOST)
    }

    pub(super) fn survey_some(
        &self,
        devices: Option<&[DeviceId]>,
        after: Option<PackNumber>,
        most: usize,
    ) -> Result<PackSurvey> {
        let mut packs = lock(&self.tables).packs.after(after, devices, most.saturating_add(1));
        let more = packs.len() > most;
        packs.truncate(most);
        let next = packs.last().filter(|_| more).map(|(number, _)| *number);
        let mut survey = PackSurvey { next, ..PackSurvey::default() };
        let mut odd = Vec::new();
        for (number, pack) in packs {
            if self.outside(number, &pack)? != Outside::Fits {
                odd.push((number, pack));
            }
        }
        for some in odd.chunks(BATCH) {
            self.settle(some, &mut survey)?;
        }
        Ok(survey)
    }

    /// Looks at packs once more while nobody may write or delete them, and marks them. Numbers
    /// ascend, so that two who do this never wait for each other.
    fn settle(&self, packs: &[(PackNumber, Pack)], survey: &mut PackSurvey) -> Result<()> {
        let mut claims: Vec<Claim<'_>> = Vec::new();
        let mut news = Vec::new();
        for (number, pack) in packs {
            let Some(claim) = self.claim_known(*number, pack.id) else {
                continue;
            };
            claims.push(claim);
            let set = match self.outside(*number, pack)? {
                Outside::Fits => continue,
                Outside::Gone => &mut survey.gone,
                Outside::Odd => &mut survey.odd,
            };
            set.0.insert(number.0);
            if !lock(&self.tables).packs.is_damaged(*number) {
                news.push(*number);
            }
        }
        if !news.is_empty() && self.read_only.is_none() {
            tracing::error!(
                account = self.id.short(),
                packs = news.len(),
                "packs are gone or torn"
            );
            self.mark(&news, true)?;
        }
        Ok(())
    }

    fn outside(&self, number: PackNumber, pack: &Pack) -> Result<Outside> {
        match self.store.blobs.length(&Key::pack(self.id, number, pack.id)) {
            Ok(Some(length)) if length == pack.length => Ok(Outside::Fits),
            Ok(Some(_)) => Ok(Outside::Odd),
            Ok(None) => Ok(Outside::Gone),
            Err(error) if is_bad_sector(&error) => Ok(Outside::Odd),
            Err(error) => Err(storage_error(&error)),
        }
    }

    /// Reads packs again, one at a time over all that share `turn`; tells those that are not there
    /// whole.
    pub(super) fn verify_packs(&self, asked: &PackSet, turn: &Mutex<()>) -> Result<PackSet> {
        if asked.0.len() > MAX_VERIFY {
            return Err(VaultError::Invalid(format!("more than {MAX_VERIFY} packs at a time")));
        }
        let mut bad = PackSet::default();
        for number in asked.numbers() {
            let pack = lock(&self.tables).packs.get(number);
            let Some(pack) = pack else {
                bad.0.insert(number.0);
                continue;
            };
            let _turn = lock(turn);
            let (copies, _) = self.segment(segment::first_of(number))?;
            if !self.verify_pack(number, &pack, &copies)? {
                bad.0.insert(number.0);
            }
        }
        Ok(bad)
    }
}
