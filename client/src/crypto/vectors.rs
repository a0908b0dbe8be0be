//! Known answers: `docs/vectors/crypto.json` holds every input and every byte that comes out.
//!
//! The test compares. After a deliberate change of format, `UNSEEN_BLESS=1` writes the file anew,
//! and the difference is reviewed like code. What is sealed in the file is also opened from the
//! file, so that a new HPKE crate that agrees with itself, and not with the past, fails.

use std::path::PathBuf;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use unseen_common::id::{DeviceId, VaultId};

use super::content_id::ChunkKind;
use super::derive::Context;
use super::device_file::DeviceKey;
use super::device_file_tests::sample;
use super::envelope::{EnvelopeKind, SealTo};
use super::introduction::Introduction;
use super::kdf::KdfParams;
use super::recovery::{RecoveryCode, slots_login_from_passphrase};
use super::rng::Hedged;
use super::rng::testing::{Stuck, rng};
use super::rotate::{open_previous, seal_previous};
use super::schedule::{ReaderKeys, RootSecret, Unlocked, WriteSecret};
use super::seal::{TAG_LEN, footer_key};
use super::secret::{Passphrase, Secret};
use super::sign::{Domain, sign, verify};
use super::slot::{Slot, SlotSecret};
use super::slot_set::SlotSet;

const VAULT: VaultId = VaultId::from_bytes([0x11; 16]);
const DEVICE: DeviceId = DeviceId::from_bytes([0x22; 16]);
const ROOT: [u8; 32] = [0x33; 32];
const WRITE: [u8; 32] = [0x44; 32];
const SHARE: [u8; 16] = [0x55; 16];
const INDEX_KEY: Secret<32> = Secret::from_bytes([0x66; 32]);
const EPOCH: u32 = 3;
const PASSPHRASE: &str = "Correct Horse \u{fb01}sh 4";
const TEXT: &[u8] = b"the quick brown fox";

fn hex(bytes: impl AsRef<[u8]>) -> Value {
    Value::String(HEXLOWER.encode(bytes.as_ref()))
}

fn unhex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors/crypto.json")
}

fn stored() -> Value {
    serde_json::from_str(&std::fs::read_to_string(path()).unwrap()).unwrap()
}

fn unlocked() -> Unlocked {
    Unlocked {
        vault: VAULT,
        root: RootSecret::from_bytes(&ROOT, EPOCH),
        write: WriteSecret::from_bytes(&WRITE),
        share: Secret::from_bytes(SHARE),
    }
}

fn reader() -> ReaderKeys {
    unlocked().reader_keys()
}

fn inputs() -> Value {
    json!({
        "vault_id": hex(VAULT.as_bytes()),
        "device_id": hex(DEVICE.as_bytes()),
        "root_secret": hex(ROOT),
        "write_secret": hex(WRITE),
        "share": hex(SHARE),
        "index_key": hex(INDEX_KEY.expose()),
        "epoch": EPOCH,
        "passphrase": PASSPHRASE,
        "passphrase_nfkc": hex(Passphrase::new(PASSPHRASE).unwrap().expose()),
        "text": hex(TEXT),
    })
}

fn schedule() -> Value {
    let root = RootSecret::from_bytes(&ROOT, EPOCH);
    let leaf = |context| hex(root.leaf(context, VAULT).expose());
    let vault_key = root.vault_key(VAULT);
    let owner = root.owner_keys(VAULT);
    let write_set = unlocked().write_set();
    json!({
        "contexts": Context::ALL.iter().map(|c| c.text()).collect::<Vec<_>>(),
        "vault_kem": leaf(Context::VAULT_KEM),
        "vault_public": hex(vault_key.public().as_bytes()),
        "vault_public_hash": hex(vault_key.public().hash().as_bytes()),
        "root_sign_seed": leaf(Context::ROOT_SIGN),
        "root_verify": hex(owner.root_verify().as_bytes()),
        "owner_login_seed": leaf(Context::OWNER_LOGIN),
        "owner_login_public": hex(owner.login.verifying_key().as_bytes()),
        "data_chunk_id": hex(write_set.data_chunk_id.expose()),
        "tree_chunk_id": hex(write_set.tree_chunk_id.expose()),
        "chunker": hex(write_set.chunker.expose()),
        "writer_psk": hex(write_set.writer_psk.expose()),
        "set_tag": hex(write_set.set_tag.expose()),
        "write_set": hex(write_set.to_bytes().as_slice()),
    })
}

fn content() -> Value {
    let keys = unlocked().write_set().content_keys();
    json!({
        "data_id_of_text": hex(keys.chunk_id(ChunkKind::Data, TEXT).0),
        "tree_id_of_text": hex(keys.chunk_id(ChunkKind::Tree, TEXT).0),
        "set_tag_of_home": hex(keys.set_tag("home").as_bytes()),
    })
}

fn random() -> Value {
    let hedge = Secret::from_bytes([0x77; 32]);
    let mut rng = Hedged::with_entropy(&hedge, Stuck(0x88, 1_700_000_000_000_000_000));
    json!({
        "hedge": hex(hedge.expose()),
        "os": hex([0x88; 32]),
        "nanos": 1_700_000_000_000_000_000_u64,
        "draw_1": hex(rng.bytes::<32>()),
        "draw_2": hex(rng.bytes::<80>()),
    })
}

fn recovery() -> Value {
    let code = RecoveryCode::generate(&mut rng(1));
    let passphrase = Passphrase::new(PASSPHRASE).unwrap();
    let from_passphrase = slots_login_from_passphrase(&passphrase, VAULT).unwrap();
    json!({
        "secret": hex(code.secret().expose()),
        "code": code.to_text().as_str(),
        "slots_login_public": hex(code.slots_login(VAULT).verifying_key().as_bytes()),
        "slots_login_public_from_passphrase": hex(from_passphrase.verifying_key().as_bytes()),
    })
}

fn slots() -> Value {
    let code = RecoveryCode::generate(&mut rng(1));
    let passphrase = Passphrase::new(PASSPHRASE).unwrap();
    let share = Secret::from_bytes(SHARE);
    let secrets = [
        SlotSecret::Code(&code),
        SlotSecret::Passphrase { passphrase: &passphrase, share: &share },
        SlotSecret::PassphraseAnywhere(&passphrase),
    ];
    let mut rng = rng(2);
    let seal = |secret: &SlotSecret<'_>| {
        Slot::seal(&unlocked(), secret, KdfParams::FLOOR, &mut rng).unwrap()
    };
    let made: Vec<Slot> = secrets.iter().map(seal).collect();
    json!({
        "recovery": hex(made[0].as_bytes()),
        "passphrase": hex(made[1].as_bytes()),
        "passphrase_anywhere": hex(made[2].as_bytes()),
        "set_hash": hex(SlotSet::new(made).unwrap().hash().as_bytes()),
    })
}

fn envelope(kind: EnvelopeKind, seed: u8) -> Value {
    let public = reader().key(EPOCH).unwrap().public().clone();
    let psk = unlocked().write_set().writer_psk;
    let to = SealTo { vault: VAULT, epoch: EPOCH, device: DEVICE, public: &public, psk: &psk };
    let (header, key) = to.new_header(kind, &mut rng(seed)).unwrap();
    let segment = |index| {
        let mut buf = [TEXT, &[0; TAG_LEN]].concat();
        key.seal_segment(index, &mut buf).unwrap();
        hex(buf)
    };
    let mut footer = [TEXT, &[0; TAG_LEN]].concat();
    key.footer_key(&INDEX_KEY).seal(&mut footer).unwrap();
    json!({
        "header": hex(header.as_slice()),
        "header_hash": hex(key.header_hash().as_bytes()),
        "uid": hex(key.uid().as_bytes()),
        "segment_0": segment(0),
        "segment_258": segment(258),
        "segment_last": segment(u64::from(u32::MAX)),
        "footer": hex(footer),
    })
}

fn introduction() -> Value {
    let public = reader().key(EPOCH).unwrap().public().clone();
    let psk = unlocked().write_set().writer_psk;
    let to = SealTo { vault: VAULT, epoch: EPOCH, device: DEVICE, public: &public, psk: &psk };
    let introduction = Introduction { name: "K\u{fc}che".into(), index_key: INDEX_KEY };
    let sealed = introduction.seal(&to, &mut rng(5)).unwrap();
    json!({ "name": introduction.name, "sealed": hex(sealed.as_slice()) })
}

fn rotation() -> Value {
    let new = RootSecret::from_bytes(&[0x99; 32], EPOCH + 1);
    let old = RootSecret::from_bytes(&ROOT, EPOCH);
    let sealed = seal_previous(&new, VAULT, &old, &mut rng(6)).unwrap();
    json!({ "new_root": hex([0x99; 32]), "sealed_previous": hex(sealed) })
}

fn signatures() -> Value {
    let key = unlocked().owner_keys().root;
    json!({
        "log": hex(sign(&key, Domain::Log, TEXT)),
        "pack": hex(sign(&key, Domain::Pack, TEXT)),
        "auth": hex(sign(&key, Domain::Auth, TEXT)),
    })
}

fn device_key() -> Value {
    json!({ "file": hex(sample().encode().unwrap().as_slice()) })
}

fn computed() -> Value {
    json!({
        "inputs": inputs(),
        "schedule": schedule(),
        "content": content(),
        "random": random(),
        "recovery": recovery(),
        "slots": slots(),
        "pack": envelope(EnvelopeKind::Pack, 3),
        "manifest": envelope(EnvelopeKind::Manifest, 4),
        "introduction": introduction(),
        "rotation": rotation(),
        "signatures": signatures(),
        "device_key": device_key(),
    })
}

#[test]
fn every_byte_is_as_it_was() {
    let computed = computed();
    if std::env::var_os("UNSEEN_BLESS").is_some_and(|bless| bless == "1") {
        let text = serde_json::to_string_pretty(&computed).unwrap() + "\n";
        std::fs::create_dir_all(path().parent().unwrap()).unwrap();
        std::fs::write(path(), text).unwrap();
        return;
    }
    let stored = stored();
    for (section, value) in computed.as_object().unwrap() {
        assert_eq!(stored.get(section), Some(value), "section {section}");
    }
    assert_eq!(stored.as_object().unwrap().len(), computed.as_object().unwrap().len());
}

#[test]
fn stored_envelopes_open() {
    let stored = stored();
    for (section, kind) in [("pack", EnvelopeKind::Pack), ("manifest", EnvelopeKind::Manifest)] {
        let section = &stored[section];
        let (info, key) = reader().open_header(kind, &unhex(&section["header"])).unwrap();
        assert_eq!((info.epoch, info.device), (EPOCH, DEVICE));
        assert_eq!(hex(info.uid.as_bytes()), section["uid"]);
        let indices = [("segment_0", 0), ("segment_258", 258), ("segment_last", u32::MAX)];
        for (name, index) in indices {
            let mut buf = unhex(&section[name]);
            assert_eq!(key.open_segment(u64::from(index), &mut buf).unwrap(), TEXT);
        }
        let footer = footer_key(&INDEX_KEY, info.uid, key.header_hash());
        assert_eq!(footer.open(&mut unhex(&section["footer"])).unwrap(), TEXT);
    }
}

#[test]
fn stored_slots_open() {
    let stored = stored();
    let code = RecoveryCode::parse(stored["recovery"]["code"].as_str().unwrap()).unwrap();
    let passphrase = Passphrase::new(PASSPHRASE).unwrap();
    let share = Secret::from_bytes(SHARE);
    for (name, secret) in [
        ("recovery", SlotSecret::Code(&code)),
        ("passphrase", SlotSecret::Passphrase { passphrase: &passphrase, share: &share }),
    ] {
        let slot = Slot::parse(&unhex(&stored["slots"][name])).unwrap();
        assert_eq!(slot.open(&secret), Ok(unlocked()), "{name}");
    }
}

#[test]
fn everything_else_stored_opens() {
    let stored = stored();
    let sealed = unhex(&stored["introduction"]["sealed"]);
    let opened = Introduction::open(&reader(), EPOCH, DEVICE, &sealed).unwrap();
    assert_eq!(opened, Introduction { name: "K\u{fc}che".into(), index_key: INDEX_KEY });

    let new = RootSecret::from_bytes(&[0x99; 32], EPOCH + 1);
    let sealed = unhex(&stored["rotation"]["sealed_previous"]);
    let old = open_previous(&new, VAULT, &sealed).unwrap();
    assert_eq!(old, RootSecret::from_bytes(&ROOT, EPOCH));

    let file = unhex(&stored["device_key"]["file"]);
    let key = DeviceKey::decode(&file).unwrap();
    assert_eq!(key.encode().unwrap().as_slice(), file);

    let root = unlocked().owner_keys().root_verify();
    let domains = [("log", Domain::Log), ("pack", Domain::Pack), ("auth", Domain::Auth)];
    for (name, domain) in domains {
        let signature = unhex(&stored["signatures"][name]).try_into().unwrap();
        assert_eq!(verify(&root, domain, TEXT, &signature), Ok(()));
    }
}
