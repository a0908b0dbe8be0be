//! Telling the vault what is wrong with its packs, and who can send them again.

use std::collections::BTreeSet;

use roaring::RoaringBitmap;
use unseen_common::id::PackNumber;
use unseen_common::limits::MAX_VERIFY;
use unseen_common::packset::PackSet;
use unseen_common::vault::{Result, Vault};

use crate::repo::{ReaderIndex, ReaderRepo};

/// Packs that the vault is asked to read again, at most: more of them are left to its scrub.
const MOST: usize = 256;

/// Has the vault look whether the files of all packs are there. What has another length it reads
/// again, and mends if it can. Gives the packs that are not there whole.
pub async fn survey(vault: &dyn Vault) -> Result<RoaringBitmap> {
    let (mut absent, mut odd, mut after) = (RoaringBitmap::new(), RoaringBitmap::new(), None);
    loop {
        let page = vault.survey_packs(after).await?;
        absent |= page.gone.0;
        odd |= page.odd.0;
        match page.next {
            Some(next) if after.is_none_or(|after| next > after) => after = Some(next),
            _ => break,
        }
    }
    let (asked, bad) = verify(vault, &odd).await?;
    Ok(absent | (odd - asked) | bad)
}

/// Has the vault read packs again. Gives those that it did read, and those of them that are not
/// there whole: it counts them as damaged from then on.
pub async fn verify(
    vault: &dyn Vault,
    packs: &RoaringBitmap,
) -> Result<(RoaringBitmap, RoaringBitmap)> {
    let asked: Vec<u32> = packs.iter().take(MOST).collect();
    let mut bad = RoaringBitmap::new();
    for some in asked.chunks(usize::try_from(MAX_VERIFY).unwrap_or(1)) {
        let some: PackSet = some.iter().copied().map(PackNumber).collect();
        bad |= vault.verify_packs(some).await?.0;
    }
    let asked: RoaringBitmap = asked.into_iter().collect();
    bad &= &asked;
    Ok((asked, bad))
}

/// Who can send packs again that the vault knows to be damaged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Healing {
    /// Packs that the vault knows to be damaged.
    pub packs: u64,
    /// The names of the devices whose next run sends them again, as far as they have the files.
    pub devices: BTreeSet<String>,
    /// Packs of which it is not known who wrote them: a device that is active, or none.
    pub unknown: u64,
    /// Packs whose writer was revoked, without an heir: nothing sends them again.
    pub orphans: u64,
}

impl Healing {
    /// Of these packs, which the vault knows to be damaged.
    pub fn of((repo, index): (&ReaderRepo, &ReaderIndex), packs: &RoaringBitmap) -> Self {
        let state = &repo.log.state;
        let mut healing = Self { packs: packs.len(), ..Self::default() };
        for number in packs {
            let Some(pack) = index.pack(PackNumber(number)) else {
                healing.unknown += 1;
                continue;
            };
            let active = state.devices.iter().filter(|(_, device)| device.revoked.is_none());
            let heirs = active.filter(|(id, _)| state.lineage(**id).contains(&pack.device));
            let before = healing.devices.len();
            let mut heard = false;
            for (id, _) in heirs {
                let name = repo.device_name(*id).map_or_else(|| id.short(), str::to_owned);
                heard |= !healing.devices.insert(name);
            }
            if healing.devices.len() == before && !heard {
                healing.orphans += 1;
            }
        }
        healing
    }
}
