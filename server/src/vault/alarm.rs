//! Which damaged packs are worth an alarm: those that a live snapshot names. One that none names
//! any more costs nobody anything, and goes by itself once its grace is over.

use unseen_common::packset::PackSet;

use super::account::Account;
use super::references::Place;
use crate::store::lock;

/// The packs of an account that are damaged, and what suffers from that.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Suffering {
    /// The damaged packs that a live snapshot names.
    pub packs: PackSet,
    /// The damaged packs that none names.
    pub unneeded: PackSet,
    /// The snapshots that name one, by the numbers of their log records.
    pub snapshots: Vec<u64>,
}

/// What was found last, and what it was found of: the head of the log and all damaged packs.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    of: Option<(u64, PackSet)>,
    found: Suffering,
}

impl Account {
    /// The damaged packs, and the live snapshots that name them. A snapshot whose list of packs
    /// cannot be read is not among them, as a scrub tells of it; it may name any of them. Blocks.
    pub fn suffering(&self) -> Suffering {
        let mut alarm = lock(&self.alarm);
        let (head, damaged, live) = {
            let tables = lock(&self.tables);
            let (head, damaged) = (tables.state.head_seq, tables.packs.damaged());
            if damaged.0.is_empty() {
                return Suffering::default();
            }
            let all = tables.state.snapshots.iter();
            let live: Vec<_> = all.map(|(id, one)| (Place::of(*id, one), one.seq)).collect();
            (head, damaged, live)
        };
        let of = Some((head, damaged.clone()));
        if alarm.of != of {
            let (found, sure) = self.look_for_suffering(&damaged, live);
            *alarm = Alarm { found, of: of.filter(|_| sure) };
        }
        alarm.found.clone()
    }

    /// What suffers, and whether all lists could be read.
    fn look_for_suffering(&self, damaged: &PackSet, live: Vec<(Place, u64)>) -> (Suffering, bool) {
        let (mut found, mut sure) = (Suffering::default(), true);
        for (place, seq) in live {
            let Ok(listed) = self.list(&place) else {
                found.packs = damaged.clone();
                sure = false;
                continue;
            };
            let named = &listed.0 & &damaged.0;
            if !named.is_empty() {
                found.snapshots.push(seq);
                found.packs.0 |= named;
            }
        }
        found.unneeded = PackSet(&damaged.0 - &found.packs.0);
        found.snapshots.sort_unstable();
        (found, sure)
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use unseen_common::id::PackNumber;
    use unseen_common::vault::VaultError;

    use super::*;
    use crate::store::blobs::Blobs as _;
    use crate::store::key::Key;
    use crate::vault::gc_lab::{DAY, Lab, Stored};
    use crate::vault::rounds::Rounds;

    fn set(packs: &[&Stored]) -> PackSet {
        packs.iter().map(|(number, _)| *number).collect()
    }

    fn told(lab: &Lab) -> (u64, u64) {
        let rounds = Rounds::new(lab.core.clone(), None);
        let stats = lab.core.stats(&rounds).unwrap();
        let survey = rounds.survey().unwrap();
        (stats.accounts[0].damaged, survey.accounts[0].damage.packs)
    }

    #[test]
    fn a_damaged_pack_alarms_until_no_snapshot_names_it_and_goes_after_its_grace() {
        let mut lab = Lab::new();
        let (a, b, loose) = (lab.put(1), lab.put(2), lab.put(3));
        let one = lab.commit(&[a.clone(), b.clone()]).unwrap();
        let seq = lab.head().seq - 1;
        lab.account.mark(&[a.0, loose.0], true).unwrap();
        let found = lab.account.suffering();
        assert_eq!((&found.packs, &found.unneeded), (&set(&[&a]), &set(&[&loose])));
        assert_eq!((found.snapshots, told(&lab)), (vec![seq], (1, 1)));

        let (planned, place) = (lab.head(), lab.put(9));
        let kept = vec![b.clone(), place.clone()];
        let good = lab.compaction((from_ref(&a), from_ref(&place)), &[(one, kept)], &planned);
        lab.account.compact(good).unwrap();
        for restarted in [false, true] {
            if restarted {
                lab.restart();
            }
            let found = lab.account.suffering();
            assert_eq!((&found.packs, &found.unneeded), (&set(&[]), &set(&[&a, &loose])));
            assert_eq!((found.snapshots, told(&lab)), (vec![], (0, 0)));
        }
        lab.clock.advance(DAY);
        assert_eq!(lab.sweep().packs, 0, "the list of before counts for the grace");
        lab.clock.advance(30 * DAY);
        assert_eq!(lab.sweep().packs, 2);
        assert_eq!(lab.account.suffering(), Suffering::default());
    }

    #[test]
    fn nothing_damaged_takes_the_place_of_anything() {
        let mut lab = Lab::new();
        let (a, b) = (lab.put(1), lab.put(2));
        let one = lab.commit(&[a.clone(), b.clone()]).unwrap();
        let (planned, place) = (lab.head(), lab.put(9));
        let to_place = [b.clone(), place.clone()];
        let refused = |lab: &Lab, place: &Stored, packs: &[Stored]| {
            let change = [(one, packs.to_vec())];
            let request = lab.compaction((from_ref(&a), from_ref(place)), &change, &planned);
            match lab.account.compact(request) {
                Err(VaultError::MissingPacks(missing)) => missing,
                other => panic!("{other:?}"),
            }
        };
        lab.account.mark(&[a.0, b.0, place.0], true).unwrap();
        assert_eq!(refused(&lab, &place, &to_place), set(&[&place]));
        assert_eq!(refused(&lab, &b, from_ref(&b)), set(&[&b]), "not one that it has, either");
        let nowhere = (PackNumber(70), place.1.clone());
        assert_eq!(refused(&lab, &nowhere, &[b.clone(), nowhere.clone()]), set(&[&nowhere]));
        lab.account.mark(&[place.0], false).unwrap();
        let change = [(one, to_place.to_vec())];
        let good = lab.compaction((from_ref(&a), from_ref(&place)), &change, &planned);
        lab.account.compact(good).unwrap();
        assert_eq!(lab.account.suffering().packs, set(&[&b]), "what it had it may keep");
    }

    #[test]
    fn a_list_that_cannot_be_read_may_name_any() {
        let mut lab = Lab::new();
        let (a, loose) = (lab.put(1), lab.put(2));
        let one = lab.commit(from_ref(&a)).unwrap();
        lab.account.mark(&[loose.0], true).unwrap();
        let key = Key::packset(lab.owner.vault, one);
        let good = lab.blobs.get(&key).unwrap().unwrap();
        for key in [&key, &key.second()] {
            lab.blobs.delete(key).unwrap();
        }
        assert_eq!(lab.account.suffering().packs, set(&[&loose]));
        lab.blobs.put(&key, &[&good]).unwrap();
        assert_eq!(lab.account.suffering().unneeded, set(&[&loose]));
    }
}
