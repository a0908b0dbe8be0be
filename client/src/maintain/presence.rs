//! Whether the vault has what the last snapshots of this machine need: a look that takes no
//! secret.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;
use unseen_common::id::{SetTag, SnapshotId};
use unseen_common::vault::VaultError;

use crate::repo::Repository;

/// How many packs are gone or damaged that the last snapshot of any set of this device needs.
pub async fn missing_packs(repo: &Repository) -> Result<u64, VaultError> {
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
    Ok((needed - repo.vault.live_packs().await?.0).len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn a_pack_that_is_gone_is_missed() {
        let (world, mut machine) = World::new();
        let source = world.folder("source");
        std::fs::write(source.join("a"), b"1").unwrap();
        world.backup(&mut machine, &source);
        let look = |world: &World, machine: &crate::testing::Machine| {
            world.runtime.block_on(missing_packs(&machine.repo)).unwrap()
        };
        assert_eq!(look(&world, &machine), 0);
        // The vault finds a pack damaged.
        world.damage(0, 100);
        let account = world.core.accounts().unwrap()[0];
        let rounds = unseen_server::vault::rounds::Rounds::new(world.core.clone(), None);
        rounds.scrub(account, &mut |_| true).unwrap();
        assert_eq!(look(&world, &machine), 1);
    }
}
