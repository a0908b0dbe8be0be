//! A device holds its own snapshots: no rule takes them until the owner lifts the hold.

use unseen_common::id::SnapshotId;
use unseen_common::log::entry::{Author, Body};
use unseen_common::log::ids::SnapshotIds;

use super::owner::append_as;
use super::{RepoError, Repository};
use crate::pins::Sent;

/// Holds those of these snapshots that are there, are of this device, and are not held. How many
/// that were.
pub async fn hold(repo: &mut Repository, ids: &[SnapshotId]) -> Result<usize, RepoError> {
    let device = repo.key.secrets.device;
    let open = |id: &&SnapshotId| {
        let known = repo.log.state.snapshots.get(id);
        known.is_some_and(|known| known.device == device && !known.held)
    };
    let open: Vec<SnapshotId> = ids.iter().filter(open).copied().collect();
    let count = open.len();
    for batch in SnapshotIds::batches(open) {
        // Noted before it is sent: an answer that gets lost is no false alarm.
        Sent::announce(&repo.folders.sent(), Sent::of_hold(&batch))?;
        let who = (Author::Device(device), &repo.key.secrets.manifest, &*repo.clock);
        append_as(&mut repo.log, &*repo.vault, who, Body::Hold(batch)).await?;
    }
    Ok(count)
}

/// The snapshots of this device that are held, as far as its log goes.
pub fn held(repo: &Repository) -> Vec<SnapshotId> {
    let device = repo.key.secrets.device;
    let snapshots = repo.log.state.snapshots.iter();
    let held = snapshots.filter(|(_, known)| known.held && known.device == device);
    held.map(|(id, _)| *id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn a_device_holds_its_own_and_knows_that_it_did() {
        let (world, mut machine) = World::new();
        let source = world.folder("source");
        std::fs::write(source.join("a"), b"1").unwrap();
        let first = world.backup(&mut machine, &source);
        std::fs::write(source.join("a"), b"22").unwrap();
        let second = world.backup(&mut machine, &source);
        let mut other = world.enrol(9, "other");
        let foreign = world.backup(&mut other, &source);
        world.runtime.block_on(machine.repo.log.update(&*machine.repo.vault)).unwrap();
        let wanted = [first, foreign, SnapshotId::from_bytes([7; 32])];
        assert_eq!(world.runtime.block_on(hold(&mut machine.repo, &wanted)).unwrap(), 1);
        assert_eq!(held(&machine.repo), [first]);
        let held = |id| machine.repo.log.state.snapshots[&id].held;
        assert!(held(first) && !held(second) && !held(foreign));
        assert_eq!(world.runtime.block_on(hold(&mut machine.repo, &wanted)).unwrap(), 0);
    }

    #[test]
    fn a_hold_that_this_machine_did_not_send_is_noticed() {
        let (world, mut machine) = World::new();
        let source = world.folder("source");
        std::fs::write(source.join("a"), b"1").unwrap();
        let first = world.backup(&mut machine, &source);
        // Two with one key: one has the list of what was sent until then, the other shares it.
        let (mine, copied) = (world.folders("desk").data, world.folders("copy").data);
        crate::testing::copy_folder(&mine, &copied);
        let mut again = world.try_machine(World::secrets_of_desk(), "desk").unwrap();
        world.runtime.block_on(hold(&mut again.repo, &[first])).unwrap();
        let updated = world.runtime.block_on(machine.repo.log.update(&*machine.repo.vault));
        assert!(updated.is_ok(), "{updated:?}");
        let copy = world.try_machine(World::secrets_of_desk(), "copy");
        assert!(matches!(copy, Err(RepoError::Cloned { .. })));
    }
}
