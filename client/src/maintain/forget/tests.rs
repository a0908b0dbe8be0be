use super::*;
use crate::browse::resolve::{Filter, matching_listed};
use crate::browse::snapshots::gone_rows;
use crate::maintain::room::{Room, freed_by};
use crate::maintain::undelete::{UndeleteError, restoring};
use crate::repo::{ReaderIndex, ReaderRepo};
use crate::testing::{Machine, World, noise, options};
use unseen_common::log::entry::{Body, SnapshotIds};
use unseen_common::retention::foresee;
use unseen_common::time::{Clock, SECONDS_A_DAY};

/// A snapshot a day, each with a file of its own alone. Oldest first; the second has a tag more.
fn days(world: &World, machine: &mut Machine, count: u64) -> Vec<SnapshotId> {
    let folder = world.folder("files");
    let day = |number: u64| {
        std::fs::write(folder.join("file"), noise(number, 300_000)).unwrap();
        let mut options = options("default");
        if number == 1 {
            options.tags.push("dear".into());
        }
        let made = world.run(machine, &options, &folder).snapshot.unwrap();
        world.clock.advance(SECONDS_A_DAY);
        made
    };
    (0..count).map(day).collect()
}

fn keep(last: u32) -> KeepRules {
    KeepRules { last, ..KeepRules::NONE }
}

fn one(id: SnapshotId) -> SnapshotIds {
    SnapshotIds::one([id]).unwrap()
}

#[test]
fn rules_run_among_what_the_filter_left_and_tags_pin() {
    let (world, mut machine) = World::new();
    let ids = days(&world, &mut machine, 4);
    let repo = world.try_reader("reader", None).unwrap();
    let state = &repo.log.state;
    let listed = |filter: &Filter| world.runtime.block_on(matching_listed(&repo, filter));
    let fates = |rules: &Rules, filter: &Filter| {
        let judged = by_rules(state, listed(filter), rules);
        assert!(judged.iter().all(|one| !one.reasons.is_empty()));
        judged.iter().map(|one| (one.listed.row.id, one.fate)).collect::<Vec<_>>()
    };
    let all = Filter::default();
    let rules = Rules { keep: keep(1), tags: vec![vec!["tag".into(), "dear".into()]] };
    let expected = [Fate::Forget, Fate::Pin, Fate::Forget, Fate::Keep];
    assert_eq!(fates(&rules, &all), ids.iter().copied().zip(expected).collect::<Vec<_>>());

    // The newest with the tag is the newest of all that count.
    let dear = Filter { tags: vec![vec!["dear".into()]], ..Filter::default() };
    let rules = Rules { keep: keep(1), tags: Vec::new() };
    assert_eq!(fates(&rules, &dear), [(ids[1], Fate::Keep)]);
}

#[test]
fn the_room_of_what_goes_and_its_way_back() {
    let (world, mut machine) = World::new();
    let ids = days(&world, &mut machine, 3);
    let leaving = |repo: &ReaderRepo, index: &ReaderIndex, ids: &[SnapshotId]| {
        let leaving: BTreeSet<SnapshotId> = ids.iter().copied().collect();
        let until = world.clock.now().plus_days(30);
        world.runtime.block_on(freed_by(repo, index, &leaving, until)).unwrap()
    };
    let (repo, index) = world.reader();
    assert_eq!(leaving(&repo, &index, &[]), Room::default());
    let two = leaving(&repo, &index, &ids[..2]);
    assert!(two.packs >= 2 && two.bytes >= 600_000, "{two:?}");

    drop((repo, index));

    world.append(Body::Forget(one(ids[0])));
    let (repo, index) = world.reader();
    let now = world.clock.now();
    let gone = gone_rows(&repo, now);
    assert_eq!(gone.iter().map(|gone| gone.row.id).collect::<Vec<_>>(), [ids[0]]);
    let entries = world.runtime.block_on(restoring(&repo, &index, &gone)).unwrap();
    for entry in entries {
        world.append(Body::RestoreForgotten(entry));
    }
    drop((repo, index));
    let (repo, index) = world.reader();
    assert!(repo.log.state.snapshots[&ids[0]].pinned);
    assert!(gone_rows(&repo, now).is_empty());
    assert_eq!(leaving(&repo, &index, &ids[..2]), two);
}

/// What the server does not list is not signed for.
#[test]
fn what_is_not_there_does_not_come_back() {
    let (world, mut machine) = World::new();
    let ids = days(&world, &mut machine, 2);
    world.append(Body::Forget(one(ids[0])));
    let (repo, index) = world.reader();
    let mut gone = gone_rows(&repo, world.clock.now());
    gone[0].row.id = SnapshotId::from_bytes([9; 32]);
    let unknown = world.runtime.block_on(restoring(&repo, &index, &gone)).unwrap_err();
    assert!(matches!(unknown, UndeleteError::Vault(..)));
}

/// What `policy set -n` shows.
#[test]
fn what_other_rules_would_let_go() {
    let (world, mut machine) = World::new();
    let ids = days(&world, &mut machine, 3);
    let repo = world.try_reader("reader", None).unwrap();
    let state = &repo.log.state;
    let going = |policy: &Policy| {
        let listed = world.runtime.block_on(matching_listed(&repo, &Filter::default()));
        let judged = foretold(listed, &foresee(state, policy, world.clock.now()));
        assert!(judged.iter().all(|one| !one.reasons.is_empty()));
        let later = judged.iter().filter(|one| one.later.is_some()).count();
        (with_fate(&judged, Fate::Forget).len(), later)
    };
    assert_eq!(going(&state.policy), (0, 0));
    let strict = Policy { keep: keep(1), ..state.policy.clone() };
    assert_eq!(going(&strict), (ids.len() - 1, 0));
    assert_eq!(going(&Policy { floor_days: 3, ..strict }), (ids.len() - 2, 1));
}
