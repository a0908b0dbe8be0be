//! Keys, locked and not.

use unseen_client::crypto::device_file::DeviceKey;
use unseen_client::crypto::slot::Slot;
use unseen_client::crypto::slot_set::SlotSet;
use unseen_client::crypto::vault_key::VaultPublicKey;

/// The file of a device's keys.
pub(crate) fn device_key(data: &[u8]) {
    if let Ok(key) = DeviceKey::decode(data) {
        assert_eq!(&key.encode().expect("it was decoded")[..], data);
    }
}

/// From the server, before anything is unlocked.
pub(crate) fn slot(data: &[u8]) {
    if let Ok(slot) = Slot::parse(data) {
        assert_eq!(slot.as_bytes(), data);
    }
}

/// All of a vault, in any order. The first byte says how long each is.
pub(crate) fn slot_set(data: &[u8]) {
    let Some((length, slots)) = data.split_first() else {
        return;
    };
    let slots: Vec<&[u8]> = slots.chunks(usize::from(*length).max(1)).collect();
    if let Ok(set) = SlotSet::parse(&slots) {
        assert_eq!(set.slots().len(), slots.len());
        assert!(set.slots().iter().all(|slot| slots.contains(&slot.as_bytes().as_slice())));
        let reversed: Vec<&[u8]> = slots.iter().rev().copied().collect();
        assert_eq!(SlotSet::parse(&reversed).map(|set| set.hash()).ok(), Some(set.hash()));
    }
}

/// From the server, held against its hash in the log.
pub(crate) fn vault_key(data: &[u8]) {
    if let Ok(key) = VaultPublicKey::from_bytes(data) {
        assert_eq!(key.as_bytes().as_slice(), data);
    }
}
