//! Canonical bytes: what is taken has one form, what is largest fits.

use proptest::prelude::*;

use crate::codec::{Canonical, DecodeError};
use crate::disclosure::Level;
use crate::id::{DeviceId, Hash, PackNumber, SetTag, SnapshotId, VaultId};
use crate::limits::{MAX_COMPACT_SNAPSHOTS, MAX_ENTRY_PACKSET, MAX_ENTRY_SNAPSHOTS};
use crate::log::entry::{
    AcceptRollback, Audit, Author, Body, Compact, DeviceLabel, DeviceRevoke, Entry,
    RestoreForgotten, SnapshotIds, Status,
};
use crate::log::policy::{DEFAULT_POLICY, DeviceLimit, KeepRules, Policy, SetRules};
use crate::log::testing::{add, genesis, id, snapshot};
use crate::packset::PackSet;
use crate::time::Timestamp;

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash::from_bytes)
}

fn device() -> impl Strategy<Value = DeviceId> {
    any::<[u8; 16]>().prop_map(DeviceId::from_bytes)
}

fn some_ids() -> impl Strategy<Value = SnapshotIds> {
    prop::collection::btree_set(any::<[u8; 32]>(), 1..9)
        .prop_map(|set| SnapshotIds::one(set.into_iter().map(SnapshotId::from_bytes)).unwrap())
}

fn rules() -> impl Strategy<Value = KeepRules> {
    (any::<[u32; 6]>(), any::<u64>()).prop_map(|(n, within)| {
        let [last, hourly, daily, weekly, monthly, yearly] = n;
        KeepRules { last, hourly, daily, weekly, monthly, yearly, within }
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let sets = prop::collection::btree_map(any::<[u8; 16]>(), rules(), 0..4);
    let devices = prop::collection::btree_map(any::<[u8; 16]>(), any::<u64>(), 0..4);
    let level = prop_oneof![Just(Level::None), Just(Level::Summary), Just(Level::Types)];
    (any::<[u32; 6]>(), rules(), sets, devices, level, any::<Option<u64>>()).prop_map(
        |(n, keep, sets, devices, disclosure, device_bytes)| {
            let [grace_days, floor_days, burst, pause, format_floor, silent_days] = n;
            let set = |(tag, keep)| SetRules { set: SetTag::from_bytes(tag), keep };
            let limit = |(id, bytes)| DeviceLimit { device: DeviceId::from_bytes(id), bytes };
            Policy {
                disclosure,
                grace_days,
                floor_days,
                keep,
                sets: sets.into_iter().map(set).collect(),
                burst_per_hour: burst,
                burst_pause_days: pause,
                device_bytes,
                devices: devices.into_iter().map(limit).collect(),
                format_floor,
                silent_days,
                ..DEFAULT_POLICY
            }
        },
    )
}

fn compact() -> impl Strategy<Value = Compact> {
    let packs = prop::collection::btree_set(any::<u32>(), 0..9);
    let snapshots = prop::collection::btree_map(any::<[u8; 32]>(), hash(), 0..5);
    (any::<u64>(), [hash(), hash(), hash()], packs, snapshots).prop_map(
        |(planned_at, [planned_head, removed_hash, map_hash], packs, snapshots)| Compact {
            planned_at,
            planned_head,
            removed: packs.into_iter().map(PackNumber).collect(),
            removed_hash,
            map_hash,
            snapshots: snapshots
                .into_iter()
                .map(|(id, hash)| (SnapshotId::from_bytes(id), hash))
                .collect(),
        },
    )
}

fn body() -> impl Strategy<Value = Body> {
    let label = (device(), prop::collection::vec(any::<u8>(), 0..40));
    let restore = (some_ids(), hash());
    let lists = (0..6, some_ids()).prop_map(|(which, ids)| match which {
        0 => Body::Forget(ids),
        1 => Body::Pin(ids),
        2 => Body::Unpin(ids),
        3 => Body::LiftHold(ids),
        4 => Body::Hold(ids),
        _ => Body::Expire(ids),
    });
    prop_oneof![
        Just(Body::Genesis(genesis())),
        Just(Body::DeviceAdd(add(9))),
        Just(Body::Slots(genesis().slots)),
        Just(snapshot(4, SetTag::from_bytes([3; 16]), Status::Checkpoint)),
        label.prop_map(|(device, sealed)| Body::DeviceLabel(DeviceLabel { device, sealed })),
        (device(), any::<u64>()).prop_map(|(device, last_valid)| Body::DeviceRevoke(
            DeviceRevoke { device, last_valid }
        )),
        policy().prop_map(Body::Policy),
        lists,
        restore.prop_map(|(snapshots, packs_hash)| {
            Body::RestoreForgotten(RestoreForgotten { snapshots, packs_hash })
        }),
        compact().prop_map(Body::Compact),
        (device(), hash(), any::<u32>()).prop_map(|(device, packs_hash, damaged)| Body::Audit(
            Audit { device, packs_hash, damaged }
        )),
        hash().prop_map(Body::Fold),
        (any::<u64>(), hash())
            .prop_map(|(seq, hash)| Body::AcceptRollback(AcceptRollback { seq, hash })),
        Just(Body::Erase),
        any::<u64>().prop_map(|seq| Body::Cancel { seq }),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let author =
        prop_oneof![Just(Author::Root), Just(Author::Server), device().prop_map(Author::Device)];
    (any::<[u8; 16]>(), any::<u64>(), hash(), author, any::<u64>(), body()).prop_map(
        |(vault, seq, prev, author, time, body)| Entry {
            vault: VaultId::from_bytes(vault),
            seq,
            prev,
            author,
            time: Timestamp(time),
            body,
        },
    )
}

fn of(body: Body) -> Entry {
    let (vault, prev) = (VaultId::from_bytes([0xff; 16]), Hash::from_bytes([0xff; 32]));
    let author = Author::Device(DeviceId::from_bytes([0xff; 16]));
    Entry { vault, seq: u64::MAX, prev, author, time: Timestamp(u64::MAX), body }
}

proptest! {
    #[test]
    fn round_trip(entry in entry()) {
        prop_assert_eq!(Entry::from_bytes(&entry.to_bytes()).unwrap(), entry);
    }

    #[test]
    fn a_changed_byte_never_panics_and_never_gives_two_forms(entry in entry(), to in any::<u8>()) {
        let mut bytes = entry.to_bytes();
        for at in 0..bytes.len() {
            let was = bytes[at];
            bytes[at] = to;
            if let Ok(read) = Entry::from_bytes(&bytes) {
                prop_assert_eq!(&read.to_bytes(), &bytes);
            }
            bytes[at] = was;
            prop_assert!(Entry::from_bytes(&bytes[..at]).is_err());
        }
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        drop(Entry::from_bytes(&bytes));
    }
}

#[test]
fn the_largest_bodies_fit() {
    let many = |count: usize| (0..count as u64).map(|n| id(u64::MAX - n));
    let all = SnapshotIds::one(many(MAX_ENTRY_SNAPSHOTS)).unwrap();
    let hash = Hash::from_bytes([0xff; 32]);
    // No two numbers are neighbours: an array container, the longest form of few numbers.
    let mut packs = PackSet::default();
    for n in 0.. {
        packs.0.insert(n * 70_000);
        if packs.to_bytes().len() > MAX_ENTRY_PACKSET {
            packs.0.remove(n * 70_000);
            break;
        }
    }
    assert!(packs.to_bytes().len() > MAX_ENTRY_PACKSET - 16);
    let mut snapshots: Vec<_> = many(MAX_COMPACT_SNAPSHOTS).map(|id| (id, hash)).collect();
    snapshots.sort_unstable();
    let compact = Compact {
        planned_at: u64::MAX,
        planned_head: hash,
        removed: packs,
        removed_hash: hash,
        map_hash: hash,
        snapshots,
    };
    let keep = KeepRules {
        last: u32::MAX,
        hourly: u32::MAX,
        daily: u32::MAX,
        weekly: u32::MAX,
        monthly: u32::MAX,
        yearly: u32::MAX,
        within: u64::MAX,
    };
    let policy = Policy {
        keep,
        sets: (0..=255).map(|n| SetRules { set: SetTag::from_bytes([n; 16]), keep }).collect(),
        devices: (0..=255)
            .map(|n| DeviceLimit { device: DeviceId::from_bytes([n; 16]), bytes: u64::MAX })
            .collect(),
        ..DEFAULT_POLICY
    };
    let restore = RestoreForgotten { snapshots: all.clone(), packs_hash: hash };
    for body in [
        Body::Expire(all),
        Body::RestoreForgotten(restore),
        Body::Compact(compact),
        Body::Policy(policy),
    ] {
        let entry = of(body);
        assert_eq!(Entry::from_bytes(&entry.to_bytes()).unwrap(), entry);
    }
}

#[test]
fn lists_are_split_sorted_and_capped() {
    let batches = SnapshotIds::batches((0..2500).rev().chain(7..9).map(id));
    let lengths: Vec<usize> = batches.iter().map(|batch| batch.as_slice().len()).collect();
    assert_eq!(lengths, [1024, 1024, 452]);
    let all: Vec<SnapshotId> = batches.iter().flat_map(SnapshotIds::iter).collect();
    assert_eq!(all, (0..2500).map(id).collect::<Vec<_>>());
    assert_eq!(SnapshotIds::batches([]), []);
    assert!(SnapshotIds::one([]).is_none() && SnapshotIds::one((0..1025).map(id)).is_none());
}

/// The bytes of an entry with the last list of ids replaced.
fn with_body(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = of(Body::Erase).to_bytes();
    assert_eq!(bytes.split_off(bytes.len() - 2), [18, 0xf6]);
    if kind >= 24 {
        bytes.push(0x18);
    }
    bytes.push(kind);
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn what_is_not_canonical_is_refused() {
    let id = |n: u8| [&[0x58, 32][..], &[n; 32]].concat();
    let list = |ids: &[u8]| {
        let length = 0x80 + u8::try_from(ids.len()).unwrap();
        ids.iter().fold(vec![length], |out, n| [out, id(*n)].concat())
    };
    for kind in [7, 9, 10, 11, 17, 32] {
        assert!(Entry::from_bytes(&with_body(kind, &list(&[1, 2]))).is_ok(), "{kind}");
        for bad in [&[2, 1][..], &[1, 1], &[]] {
            assert!(Entry::from_bytes(&with_body(kind, &list(bad))).is_err(), "{kind} {bad:?}");
        }
    }
    let epoch = Entry::from_bytes(&with_body(6, &[0xf6]));
    assert!(matches!(epoch, Err(DecodeError::Unknown { number: 6, .. })));
    assert!(Entry::from_bytes(&with_body(18, &[0])).is_err(), "erase has no body");
    let mut author = of(Body::Erase);
    author.author = Author::Server;
    let mut bytes = author.to_bytes();
    let at = bytes.iter().rposition(|b| *b == 1).unwrap();
    bytes[at] = 2;
    assert!(Entry::from_bytes(&bytes).is_err(), "there is one server");
}
