//! Known answers for packs, manifests, trees and the log: `docs/vectors/{pack,tree,log}.json`.
//!
//! The tests compare, and read back what is in the files. `UNSEEN_BLESS=1` writes them anew after
//! a deliberate change of format; the difference is reviewed like code.

mod log;
mod pack;
mod tree;

use std::path::PathBuf;

use data_encoding::HEXLOWER;
use serde_json::Value;
use unseen_common::id::{DeviceId, VaultId};

use crate::crypto::schedule::{RootSecret, Unlocked, WriteSecret};
use crate::crypto::secret::Secret;

const VAULT: VaultId = VaultId::from_bytes([0x11; 16]);
const DEVICE: DeviceId = DeviceId::from_bytes([0x22; 16]);
const ROOT: [u8; 32] = [0x33; 32];
const WRITE: [u8; 32] = [0x44; 32];
const INDEX_KEY: Secret<32> = Secret::from_bytes([0x66; 32]);
const MANIFEST_SEED: [u8; 32] = [0x77; 32];
const EPOCH: u32 = 3;

fn hex(bytes: impl AsRef<[u8]>) -> Value {
    Value::String(HEXLOWER.encode(bytes.as_ref()))
}

fn unhex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

/// The secrets that `crypto.json` has, too.
fn unlocked() -> Unlocked {
    Unlocked {
        vault: VAULT,
        root: RootSecret::from_bytes(&ROOT, EPOCH),
        write: WriteSecret::from_bytes(&WRITE),
        share: Secret::from_bytes([0x55; 16]),
    }
}

fn inputs() -> Value {
    serde_json::json!({
        "vault_id": hex(VAULT.as_bytes()),
        "device_id": hex(DEVICE.as_bytes()),
        "root_secret": hex(ROOT),
        "write_secret": hex(WRITE),
        "index_key": hex(INDEX_KEY.expose()),
        "manifest_seed": hex(MANIFEST_SEED),
        "epoch": EPOCH,
    })
}

/// Compares with the published file, or writes it; gives what the file holds.
fn published(name: &str, computed: &Value) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors");
    let path = path.join(name);
    if std::env::var_os("UNSEEN_BLESS").is_some_and(|bless| bless == "1") {
        let text = serde_json::to_string_pretty(computed).unwrap() + "\n";
        std::fs::write(&path, text).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let stored: Value = serde_json::from_str(&text).unwrap();
    for (section, value) in computed.as_object().unwrap() {
        assert_eq!(stored.get(section), Some(value), "{name}: {section}");
    }
    let count = |value: &Value| value.as_object().unwrap().len();
    assert_eq!(count(&stored), count(computed), "{name}");
    stored
}
