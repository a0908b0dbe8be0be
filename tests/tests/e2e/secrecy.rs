//! Nothing readable leaves the machine: words planted in all that is secret are looked for in all
//! that a server stores, logs or receives.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{XattrFlags, setxattr};
use unseen_tests::markers::Markers;
use unseen_tests::trees::{self, build};
use unseen_tests::{Kit, Server, World, world};

const CONTENTS: &str = "kestrel-contents-93710";
const FILE: &str = "kestrel-filename-58204";
const FOLDER: &str = "kestrel-foldername-40027";
const LINK: &str = "kestrel-linktarget-77610";
const ATTRIBUTE: &str = "kestrel-attribute-29384";
const VALUE: &str = "kestrel-xattrvalue-61190";
const HOST: &str = "kestrel-hostname-84415";
const DEVICE: &str = "kestrel-devicename-10956";
const TAG: &str = "kestrel-tagname-37742";
const EXCLUDED: &str = "kestrel-excluded-50138";
const STREAM: &str = "kestrel-streamname-66201";
const PASSPHRASE: &str = "kestrel-passphrase orbit walnut 88123";

fn planted() -> Vec<(&'static str, &'static [u8])> {
    [
        CONTENTS, FILE, FOLDER, LINK, ATTRIBUTE, VALUE, HOST, DEVICE, TAG, EXCLUDED, STREAM,
        PASSPHRASE,
    ]
    .map(|word| (word, word.as_bytes()))
    .to_vec()
}

fn plant(world: &World) -> std::path::PathBuf {
    let source = world.folder(format!("source {FOLDER}"));
    let folder = source.join(FOLDER);
    // Stored as it is, compressed, and as a file among many.
    let path = build::write(&folder, FILE, CONTENTS);
    build::write(&folder, "long", format!("{CONTENTS}\n").repeat(5000));
    build::write(&folder, EXCLUDED, EXCLUDED);
    let mut noisy = build::noise(3, 300_000);
    noisy.splice(1000..1000, CONTENTS.bytes());
    build::write(&folder, format!("{FILE} noise"), noisy);
    symlink(LINK, folder.join("link")).unwrap();
    setxattr(&path, format!("user.{ATTRIBUTE}"), VALUE.as_bytes(), XattrFlags::empty()).unwrap();
    source
}

#[test]
fn the_search_finds_what_is_planted() {
    let world = world!();
    let source = plant(&world);
    let markers = Markers::new(planted());
    let found = markers.in_folder(&source).join("\n");
    for word in [CONTENTS, FILE, FOLDER, EXCLUDED] {
        assert!(found.contains(word), "{word} is not found:\n{found}");
    }
    for shift in 0..3 {
        let text = format!("{}{CONTENTS} and more", "x".repeat(shift));
        let coded = data_encoding::BASE64.encode(text.as_bytes());
        let found = markers.in_bytes(coded.as_bytes());
        assert_eq!(found, [format!("{CONTENTS}, base64"), format!("{CONTENTS}, base64url")]);
    }
}

/// Everything that a machine does with a server; gives the recovery code.
fn everything_once(world: &World, server: &Server) -> String {
    let source = plant(world);
    let machine = world.machine("home").with("BACKUP_PASSPHRASE", PASSPHRASE);
    let kit = machine.home.join("kit.txt");
    let invite = server.invite(&[]);
    machine.ok(&["init", &invite, "--kit", kit.to_str().unwrap(), "--name", DEVICE]);
    let kit = Kit::read(&kit);
    let options = ["--host", HOST, "--tag", TAG, "-e", EXCLUDED];
    machine.back_up(&source, &options);
    let later = build::write(&source, "later", format!("more {CONTENTS}"));
    let snapshot = machine.back_up(&source, &options).snapshot();
    let stream = ["run", "--stdin-filename", STREAM, "--stdin-from-command"];
    let command = format!("printf '{CONTENTS}'");
    machine.ok(&[&stream[..], &["--", "sh", "-c", &command]].concat());
    machine.ok(&["snapshots"]);
    machine.ok(&["ls", &snapshot]);
    let target = world.path("target");
    machine.restore(&snapshot, &target, &[]);
    let restored = fs::read_to_string(trees::beneath(&target, &later)).unwrap();
    assert_eq!(restored, format!("more {CONTENTS}"));
    machine.ok(&["check", "--read-data"]);
    let other = world.machine("other").without_secrets();
    let other = other.with("BACKUP_RECOVERY_CODE", &kit.code);
    other.ok(&["connect", &kit.address, "--name", DEVICE]);
    kit.code
}

/// The whole conversation with a server, in the clear behind its TLS, and all that it keeps.
#[test]
fn no_planted_word_reaches_the_server() {
    let world = world!();
    let (proxy, mut server) = world.overheard();
    let code = everything_once(&world, &server);
    server.stop();

    let mut words = planted();
    words.push(("the recovery code", code.as_bytes()));
    let bare: String = code.split('-').collect();
    words.push(("the bare recovery code", bare.as_bytes()));
    let markers = Markers::new(words);
    let sent = proxy.sent();
    assert!(sent.len() > 300_000, "only {} bytes were recorded", sent.len());
    let has = |needle: &[u8]| sent.windows(needle.len()).any(|part| part == needle);
    assert!(has(b"PUT /") && has(b"Bearer "), "the record is not in the clear");
    assert_eq!(markers.in_bytes(&sent), [""; 0], "sent");
    assert_eq!(markers.in_bytes(&proxy.received()), [""; 0], "received");
    assert_eq!(markers.in_folder(&server.data), [""; 0], "stored");
    let log = fs::read(&server.log).unwrap();
    assert!(!log.is_empty());
    assert_eq!(markers.in_bytes(&log), [""; 0], "logged");
}

/// What the machine itself keeps may hold names, but never the passphrase or the code.
#[test]
fn no_secret_stays_on_the_machine() {
    let world = world!();
    let machine = world.machine("home").with("BACKUP_PASSPHRASE", PASSPHRASE);
    let kit_file = machine.home.join("kit.txt");
    let vault = world.path("vault");
    let words = ["init", "--local", vault.to_str().unwrap(), "--kit", kit_file.to_str().unwrap()];
    machine.ok(&words);
    let kit = Kit::read(&kit_file);
    fs::remove_file(&kit_file).unwrap();
    let source = plant(&world);
    let snapshot = machine.back_up(&source, &["-e", EXCLUDED]).snapshot();
    machine.restore(&snapshot, &world.path("target"), &[]);
    let bare: String = kit.code.split('-').collect();
    let secrets = Markers::new([
        ("the passphrase", PASSPHRASE.as_bytes()),
        ("the code", kit.code.as_bytes()),
        ("the bare code", bare.as_bytes()),
        ("what was left out", EXCLUDED.as_bytes()),
    ]);
    assert_eq!(secrets.in_folder(&machine.home), [""; 0]);
    let markers = Markers::new(planted());
    assert_eq!(markers.in_folder(&vault), [""; 0], "the local vault is sealed, too");
}
