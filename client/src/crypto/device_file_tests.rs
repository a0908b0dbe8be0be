//! `device.key`: the same bytes back, and nothing but those bytes.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use unseen_common::id::VaultId;

use super::device::DeviceSecrets;
use super::device_file::{DeviceKey, DeviceKeyError, Existing, SERVER_MAX};

const MAGIC: &[u8] = b"UNSEENK1";
const SUM_LEN: usize = 16;
const FILE_MAX: usize = 8192;
use super::rng::testing::rng;
use super::schedule::Unlocked;

pub(super) fn sample() -> DeviceKey {
    let vault = VaultId::from_bytes([7; 16]);
    let unlocked = Unlocked::generate(vault, &mut rng(1));
    let server = SigningKey::from_bytes(&[5; 32]);
    DeviceKey {
        vault,
        server: "https://vault.example:7443".into(),
        server_identity: server.verifying_key(),
        tls_pin: Some([6; 32]),
        secrets: DeviceSecrets::generate(&mut rng(2)),
        write_set: unlocked.write_set(),
        vault_public: unlocked.root.vault_key(vault).public().clone(),
        epoch: 0,
        root_verify: unlocked.owner_keys().root_verify(),
        share: Some(unlocked.share.duplicate()),
        inherited: Vec::new(),
    }
}

/// With the checksum made good again, as a hostile writer would.
fn reseal(map: &[u8]) -> Vec<u8> {
    let mut file = [MAGIC, map].concat();
    let sum = blake3::hash(&file);
    file.extend_from_slice(&sum.as_bytes()[..SUM_LEN]);
    file
}

fn map_of(file: &[u8]) -> Vec<u8> {
    file[MAGIC.len()..file.len() - SUM_LEN].to_vec()
}

#[test]
fn round_trip_with_and_without_the_optional_fields() {
    for (pin, share) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut key = sample();
        key.tls_pin = key.tls_pin.filter(|_| pin);
        key.share = key.share.filter(|_| share);
        let file = key.encode().unwrap();
        let read = DeviceKey::decode(&file).unwrap();
        assert_eq!(read.encode().unwrap(), file);
        assert_eq!((read.tls_pin, &read.share), (key.tls_pin, &key.share));
        assert_eq!(read.write_set, key.write_set);
        assert_eq!(read.secrets.public(), key.secrets.public());
        assert_eq!(read.secrets.index_key, key.secrets.index_key);
        assert_eq!(read.secrets.hedge, key.secrets.hedge);
    }
}

#[test]
fn the_largest_file_fits() {
    let mut key = sample();
    key.server = "x".repeat(SERVER_MAX);
    assert!(DeviceKey::decode(&key.encode().unwrap()).is_ok());
    key.server.push('x');
    assert!(matches!(key.encode(), Err(DeviceKeyError::ServerTooLong)));
}

#[test]
fn every_flipped_byte_is_damage() {
    let file = sample().encode().unwrap();
    for index in 0..file.len() {
        let mut bad = file.clone();
        bad[index] ^= 1;
        let refused = DeviceKey::decode(&bad);
        assert!(matches!(refused, Err(DeviceKeyError::Damaged)), "byte {index}");
    }
}

#[test]
fn other_spellings_are_refused() {
    let map = map_of(&sample().encode().unwrap());
    let refused =
        |map: &[u8]| matches!(DeviceKey::decode(&reseal(map)), Err(DeviceKeyError::Damaged));
    // A long form of the version, something behind the map, an indefinite map.
    assert!(refused(&[&map[..2], &[0x18, 1], &map[3..]].concat()));
    assert!(refused(&[map.as_slice(), &[0]].concat()));
    assert!(refused(&[&[0xbf], &map[1..], &[0xff]].concat()));
    // One field more than there are, and one fewer.
    assert!(refused(&[&[0xb0], &map[1..]].concat()));
    assert!(refused(&[&[0xae], &map[1..]].concat()));
    let mut newer = map;
    newer[2] = 2;
    let refused = DeviceKey::decode(&reseal(&newer));
    assert!(matches!(refused, Err(DeviceKeyError::Unsupported { version: 2 })));
}

#[test]
fn saved_files_are_private_and_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.key");
    let mut key = sample();
    key.save(&path, Existing::Keep).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);

    key.epoch = 1;
    let refused = key.save(&path, Existing::Keep);
    assert!(matches!(refused, Err(DeviceKeyError::Exists)));
    assert_eq!(DeviceKey::load(&path).unwrap().epoch, 0);
    key.save(&path, Existing::Replace).unwrap();
    assert_eq!(DeviceKey::load(&path).unwrap().epoch, 1);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn exposed_missing_and_oversized_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.key");
    assert!(matches!(DeviceKey::load(&path), Err(DeviceKeyError::Io(_))));
    sample().save(&path, Existing::Keep).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let refused = DeviceKey::load(&path);
    assert!(matches!(refused, Err(DeviceKeyError::Exposed { mode: 0o640 })));
    std::fs::write(&path, vec![0; FILE_MAX + 1]).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(DeviceKey::load(&path), Err(DeviceKeyError::Damaged)));
}

proptest! {
    #[test]
    fn a_hostile_map_never_panics_and_is_canonical_or_refused(at: usize, byte: u8) {
        let mut map = map_of(&sample().encode().unwrap());
        let at = at % map.len();
        map[at] = byte;
        let file = reseal(&map);
        if let Ok(key) = DeviceKey::decode(&file) {
            let again = key.encode().unwrap();
            prop_assert_eq!(again.as_slice(), file.as_slice());
        }
    }

    #[test]
    fn garbage_never_panics(map in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(DeviceKey::decode(&map).is_err());
        prop_assert!(DeviceKey::decode(&reseal(&map)).is_err());
    }
}
