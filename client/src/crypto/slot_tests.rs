//! Slots: what opens, what is refused, and under which name.
//!
//! Real Argon2 costs time, so nearly everything is tried on recovery slots, which share all but
//! the stretching with the others.

use proptest::prelude::*;
use unseen_common::id::{Hash, VaultId};

use super::kdf::{KdfError, KdfParams};
use super::recovery::RecoveryCode;
use super::rng::testing::rng;
use super::schedule::{RootSecret, Unlocked};
use super::secret::{Passphrase, Secret};
use super::slot::{SLOT_LEN, Slot, SlotError, SlotKind, SlotSecret};
use super::slot_set::{SlotSet, SlotSetError};

const VAULT: VaultId = VaultId::from_bytes([7; 16]);

fn content() -> Unlocked {
    Unlocked::generate(VAULT, &mut rng(1))
}

fn code(seed: u8) -> RecoveryCode {
    RecoveryCode::generate(&mut rng(seed))
}

fn recovery_slot(seed: u8) -> Slot {
    let code = code(2);
    Slot::seal(&content(), &SlotSecret::Code(&code), KdfParams::FLOOR, &mut rng(seed)).unwrap()
}

/// With the checksum made good again, as a hostile server would.
fn repaired(mut bytes: [u8; SLOT_LEN]) -> [u8; SLOT_LEN] {
    let sum = blake3::hash(&bytes[..234]);
    bytes[234..].copy_from_slice(&sum.as_bytes()[..16]);
    bytes
}

#[test]
fn the_code_opens_the_whole_vault() {
    let slot = recovery_slot(3);
    assert_eq!((slot.kind(), slot.kdf()), (SlotKind::Recovery, None));
    assert_eq!((slot.vault(), slot.epoch()), (VAULT, 0));
    let read = Slot::parse(slot.as_bytes()).unwrap();
    assert_eq!(read, slot);
    assert_eq!(read.open(&SlotSecret::Code(&code(2))), Ok(content()));
}

#[test]
fn a_passphrase_needs_the_share_unless_it_opens_anywhere() {
    let [right, wrong] = ["correct horse", "correct hors"].map(|p| Passphrase::new(p).unwrap());
    let share = content().share;
    let other_share = Secret::from_bytes([0; 16]);
    let here = SlotSecret::Passphrase { passphrase: &right, share: &share };
    let slot = Slot::seal(&content(), &here, KdfParams::FLOOR, &mut rng(3)).unwrap();
    assert_eq!(slot.kdf(), Some(KdfParams::FLOOR));
    assert_eq!(slot.open(&here), Ok(content()));
    for bad in [
        SlotSecret::Passphrase { passphrase: &wrong, share: &share },
        SlotSecret::Passphrase { passphrase: &right, share: &other_share },
    ] {
        assert_eq!(slot.open(&bad), Err(SlotError::WrongSecret));
    }
    let anywhere = SlotSecret::PassphraseAnywhere(&right);
    let needs = SlotError::WrongKind { needs: SlotKind::Passphrase };
    assert_eq!(slot.open(&anywhere), Err(needs));

    let slot = Slot::seal(&content(), &anywhere, KdfParams::FLOOR, &mut rng(4)).unwrap();
    assert_eq!(slot.open(&anywhere), Ok(content()));
}

#[test]
fn a_wrong_code_and_a_damaged_slot_are_told_apart() {
    let slot = recovery_slot(3);
    let code = code(2);
    let right = SlotSecret::Code(&code);
    let wrong = RecoveryCode::generate(&mut rng(9));
    assert_eq!(slot.open(&SlotSecret::Code(&wrong)), Err(SlotError::WrongSecret));
    for index in 0..SLOT_LEN {
        let mut bad = *slot.as_bytes();
        bad[index] ^= 1;
        assert_eq!(Slot::parse(&bad), Err(SlotError::Damaged), "byte {index}");
    }
    // A forged checksum changes the name of the error, never the outcome.
    for index in 0..234 {
        let mut bad = *slot.as_bytes();
        bad[index] ^= 1;
        let refused = Slot::parse(&repaired(bad)).and_then(|slot| slot.open(&right));
        let expected = match index {
            0 => SlotError::Unsupported { version: 0, kind: 1 },
            37 => SlotError::Unsupported { version: 1, kind: 0 },
            38..50 | 138..234 => SlotError::Damaged,
            _ => SlotError::WrongSecret,
        };
        assert_eq!(refused, Err(expected), "byte {index}");
    }
}

#[test]
fn costs_out_of_bounds_are_refused_on_both_sides() {
    let passphrase = Passphrase::new("correct horse").unwrap();
    let secret = SlotSecret::PassphraseAnywhere(&passphrase);
    let low = KdfParams { t: 1, ..KdfParams::FLOOR };
    let refused = Slot::seal(&content(), &secret, low, &mut rng(3));
    assert_eq!(refused, Err(SlotError::Kdf(KdfError::BelowFloor(low))));

    let mut greedy = *recovery_slot(3).as_bytes();
    greedy[37] = 3;
    greedy[38..50].copy_from_slice(&[0xff; 12]);
    let all = KdfParams { m_kib: u32::MAX, t: u32::MAX, p: u32::MAX };
    let refused = Slot::parse(&repaired(greedy));
    assert_eq!(refused, Err(SlotError::Kdf(KdfError::AboveCeiling(all))));
}

#[test]
fn later_versions_and_other_lengths_are_refused() {
    let slot = recovery_slot(3);
    assert_eq!(Slot::parse(&[]), Err(SlotError::Damaged));
    assert_eq!(Slot::parse(&slot.as_bytes()[..SLOT_LEN - 1]), Err(SlotError::Damaged));
    let later = [2, 0, 0];
    assert_eq!(Slot::parse(&later), Err(SlotError::Unsupported { version: 2, kind: 0 }));
}

#[test]
fn the_set_has_one_order_and_one_hash() {
    let slots = [3, 4, 5].map(recovery_slot);
    let set = SlotSet::new(slots.to_vec()).unwrap();
    let bytes: Vec<_> = slots.iter().rev().map(Slot::as_bytes).collect();
    let read = SlotSet::parse(&bytes).unwrap();
    assert_eq!(read, set);
    let joined: Vec<u8> = set.slots().iter().flat_map(|slot| *slot.as_bytes()).collect();
    assert_eq!(read.hash(), Hash::of(&joined));
    let fewer = SlotSet::new(slots[1..].to_vec()).unwrap();
    assert_ne!(fewer.hash(), set.hash());
}

#[test]
fn what_is_not_a_set_is_refused() {
    let slot = recovery_slot(3);
    assert_eq!(SlotSet::new(vec![]), Err(SlotSetError::Empty));
    let twins = SlotSet::new(vec![slot.clone(), slot.clone()]);
    assert_eq!(twins, Err(SlotSetError::Duplicate(slot.id())));
    let many = SlotSet::parse(&[slot.as_bytes(); SlotSet::MAX + 1]);
    assert_eq!(many, Err(SlotSetError::TooMany { found: SlotSet::MAX + 1 }));
    let broken = SlotSet::parse(&[slot.as_bytes().as_slice(), &[1]]);
    assert_eq!(broken, Err(SlotSetError::Slot { position: 1, source: SlotError::Damaged }));

    let mut rotated = content();
    rotated.root = RootSecret::generate(1, &mut rng(6));
    let code = code(2);
    let next =
        Slot::seal(&rotated, &SlotSecret::Code(&code), KdfParams::FLOOR, &mut rng(7)).unwrap();
    let mixed = SlotSet::new(vec![slot, next.clone()]);
    assert_eq!(mixed, Err(SlotSetError::Mixed(next.id())));
}

proptest! {
    #[test]
    fn mutated_slots_never_open(at in 0..234usize, by in 1..=255u8) {
        let mut bad = *recovery_slot(3).as_bytes();
        bad[at] ^= by;
        prop_assert_eq!(Slot::parse(&bad), Err(SlotError::Damaged));
        // A byte of the kind may make it a passphrase slot, which needs a cost: never with zeros.
        let code = code(2);
        let opened = Slot::parse(&repaired(bad)).and_then(|s| s.open(&SlotSecret::Code(&code)));
        prop_assert!(opened.is_err());
    }

    #[test]
    fn any_bytes_are_parsed_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..SLOT_LEN + 2),
    ) {
        prop_assert!(Slot::parse(&bytes).is_err());
    }

    #[test]
    fn parsing_is_canonical(bytes in proptest::array::uniform32(any::<u8>()), at in 0..200usize) {
        let mut hostile = *recovery_slot(3).as_bytes();
        hostile[at..at + 32].copy_from_slice(&bytes);
        if let Ok(slot) = Slot::parse(&repaired(hostile)) {
            prop_assert_eq!(slot.as_bytes(), &repaired(hostile));
        }
    }
}
