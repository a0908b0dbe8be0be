//! Whether the vault has what this machine sent: a look that takes no secret, once a day.
//!
//! It goes as far as a device can see: the lists of packs of its last snapshots, and the files of all
//! packs that it wrote, which the vault compares with their lengths. What is in them a device cannot
//! open: manifests, trees and chunks are looked at by `check`, and whether the bytes of a file are
//! still the right ones by the vault's scrub.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use unseen_common::id::{SetTag, SnapshotId};
use unseen_common::vault::{Vault, VaultError};

use crate::repo::Repository;

/// Answers of a survey that are asked for: 65 536 packs each.
const PAGES: usize = 256;

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The last snapshot of each set of this machine.
    pub snapshots: u64,
    /// Packs that those need.
    pub packs: u64,
    /// Packs that are gone or damaged.
    pub missing: u64,
    /// The vault has looked at the files; else it went by its own list.
    pub files: bool,
}

/// Looks at the packs of this machine.
pub async fn look(repo: &Repository) -> Result<Presence, VaultError> {
    let device = repo.key.secrets.device;
    let mut last: BTreeMap<SetTag, (u64, SnapshotId)> = BTreeMap::new();
    for (id, snapshot) in &repo.log.state.snapshots {
        if snapshot.device == device {
            let newest = last.entry(snapshot.set).or_insert((snapshot.seq, *id));
            *newest = (*newest).max((snapshot.seq, *id));
        }
    }
    let mut needed = RoaringBitmap::new();
    for (_, id) in last.values() {
        needed |= repo.vault.packs_of(*id).await?.0;
    }
    let bad = surveyed(&*repo.vault).await?;
    // After the survey: what it found is not among them any more.
    let missing = &needed - repo.vault.live_packs().await?.0;
    let snapshots = u64::try_from(last.len()).unwrap_or(u64::MAX);
    Ok(Presence {
        snapshots,
        packs: needed.len(),
        missing: bad.as_ref().map_or(missing.len(), |bad| (bad | &missing).len()),
        files: bad.is_some(),
    })
}

/// Packs whose files are gone or have another length; none if the vault does not look for devices.
async fn surveyed(vault: &dyn Vault) -> Result<Option<RoaringBitmap>, VaultError> {
    let (mut bad, mut after) = (RoaringBitmap::new(), None);
    for _ in 0..PAGES {
        let page = match vault.survey_packs(after).await {
            // An older server.
            Err(VaultError::Forbidden(_)) => return Ok(None),
            page => page?,
        };
        bad |= page.gone.0 | page.odd.0;
        match page.next {
            Some(next) if after.is_none_or(|after| next > after) => after = Some(next),
            _ => break,
        }
    }
    Ok(Some(bad))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, World};

    fn look_at(world: &World, machine: &Machine) -> Presence {
        world.runtime.block_on(look(&machine.repo)).unwrap()
    }

    #[test]
    fn a_pack_that_is_damaged_is_missed() {
        let (world, mut machine) = World::new();
        let source = world.folder("source");
        std::fs::write(source.join("a"), b"1").unwrap();
        world.backup(&mut machine, &source);
        let well = Presence { snapshots: 1, packs: 1, missing: 0, files: true };
        assert_eq!(look_at(&world, &machine), well);
        // The vault finds a pack damaged.
        world.damage(0, 100);
        let account = world.core.accounts().unwrap()[0];
        let rounds = unseen_server::vault::rounds::Rounds::new(world.core.clone(), None);
        rounds.scrub(account, &mut |_| true).unwrap();
        assert_eq!(look_at(&world, &machine).missing, 1);
    }

    /// The vault does not know it before it is asked.
    #[test]
    fn files_that_are_gone_or_torn_are_missed_though_no_new_snapshot_needs_them() {
        let (world, mut machine) = World::new();
        let source = world.folder("source");
        for text in ["1", "2", "3"] {
            std::fs::write(source.join("a"), text).unwrap();
            world.backup(&mut machine, &source);
        }
        assert_eq!(look_at(&world, &machine).missing, 0);
        std::fs::remove_file(world.pack_file(0)).unwrap();
        let torn = std::fs::OpenOptions::new().write(true).open(world.pack_file(2)).unwrap();
        torn.set_len(1000).unwrap();
        assert_eq!(look_at(&world, &machine).missing, 2);
        assert_eq!(look_at(&world, &machine).missing, 2, "until they are there again");
        // Another machine's are not this one's business.
        let mut other = world.enrol(9, "other");
        world.backup(&mut other, &source);
        assert_eq!(look_at(&world, &other).missing, 0);
    }
}
