//! What comes out of the log and beside it: from any device of a vault, through the server.

use unseen_common::disclosure::Disclosure;
use unseen_common::id::VaultId;
use unseen_common::log::chain::Record;
use unseen_common::log::entry::{Entry, Policy};
use unseen_common::pack_map::PackMap;
use unseen_common::packset::PackSet;
use unseen_common::receipt::{Receipt, SignedReceipt};

use crate::canonical;

pub(crate) fn entry(data: &[u8]) {
    canonical::<Entry>(data);
}

pub(crate) fn record(data: &[u8]) {
    canonical::<Record>(data);
}

pub(crate) fn policy(data: &[u8]) {
    canonical::<Policy>(data);
}

pub(crate) fn disclosure(data: &[u8]) {
    canonical::<Disclosure>(data);
}

pub(crate) fn receipt(data: &[u8]) {
    canonical::<Receipt>(data);
    let signed = SignedReceipt { bytes: data.to_vec(), signature: [1; 64] };
    let opened = signed.open(VaultId::from_bytes([1; 16]), &[1; 32]);
    assert!(opened.is_err(), "nobody signed this");
}

pub(crate) fn packset(data: &[u8]) {
    if let Ok(set) = PackSet::from_bytes(data) {
        assert_eq!(set.to_bytes(), data);
    }
}

/// A map, and what it says of sets that are made of the packs it names.
pub(crate) fn pack_map(data: &[u8]) {
    let Ok(map) = PackMap::from_bytes(data) else {
        return;
    };
    assert_eq!(map.to_bytes(), data);
    let old = map.removed();
    let mut new = PackSet::default();
    for places in map.0.values() {
        new.0 |= &places.0;
    }
    let fault = map.fault(&old, &new);
    let stays_in = !old.0.is_disjoint(&new.0);
    // A pack that is both removed and a place to go is a foreign one at worst.
    assert!(fault.is_none() || old.0.is_empty() || stays_in, "{fault:?}");
    if !old.0.is_empty() {
        assert!(map.fault(&new, &old).is_some() || stays_in || new.0.is_empty());
    }
}
