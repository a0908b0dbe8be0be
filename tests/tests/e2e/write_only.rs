//! A device that backs up holds nothing that opens a backup.

use std::fs;

use unseen_tests::trees::{self, build};
use unseen_tests::{Machine, World, world};

/// A machine that has only the device's key and the configuration of another.
fn keys_alone(world: &World, from: &Machine, name: &str) -> Machine {
    let machine = world.machine(name);
    for file in [".local/share/unseen/default/device.key", ".config/unseen/config.toml"] {
        let to = machine.home.join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from.home.join(file), to).unwrap();
    }
    machine
}

#[test]
fn the_device_key_alone_backs_up_and_opens_nothing() {
    let world = world!();
    let owner = world.machine("owner");
    let kit = owner.init_local(&world.path("vault"));
    let source = world.folder("source");
    build::contents(&source);
    owner.back_up(&source, &[]);

    let device = keys_alone(&world, &owner, "device").without_secrets();
    build::write(&source, "new", build::noise(5, 50_000));
    let wanted = trees::capture(&source);
    let snapshot = device.back_up(&source, &[]).snapshot();
    let again = device.back_up(&source, &[]);
    assert_eq!(again.number("data_uploaded"), 0);

    let target = world.path("target");
    let words = ["restore", &snapshot, "--target", target.to_str().unwrap()];
    device.exits(12, &words);
    let guess = device.clone().with("BACKUP_PASSPHRASE", "not the passphrase of this vault");
    guess.exits(12, &words);
    // A well-formed code, but of no vault: one group moved to the end.
    let (first, rest) = kit.code.split_once('-').unwrap();
    let other = device.clone().with("BACKUP_RECOVERY_CODE", format!("{rest}-{first}"));
    other.exits(12, &words);
    assert!(!target.exists() || trees::files(&target).is_empty());

    let with_code = device.with("BACKUP_RECOVERY_CODE", &kit.code);
    with_code.restores_to(&snapshot, &source, &wanted);
    // The owner's own machine would take it for a copy of itself, which it is.
    let bare = world.machine("bare").with("BACKUP_RECOVERY_CODE", &kit.code);
    bare.ok(&["connect", &kit.address]);
    bare.restores_to(&snapshot, &source, &wanted);
}

/// The device can list its own snapshots, and nothing of what they hold.
#[test]
fn the_device_key_alone_lists_no_names() {
    let world = world!();
    let owner = world.machine("owner");
    owner.init_local(&world.path("vault"));
    let source = world.folder("source");
    build::write(&source, "name", "contents");
    owner.back_up(&source, &[]);
    let device = keys_alone(&world, &owner, "device").without_secrets();
    device.exits(12, &["ls", "latest"]);
    let path = source.join("name");
    device.exits(12, &["dump", "latest", path.to_str().unwrap()]);
    device.ok(&["snapshots"]);
}

/// `--backup-only` leaves no share of the passphrase's slot on the machine.
#[test]
fn a_backup_only_device_cannot_use_the_passphrase() {
    let world = world!();
    let owner = world.machine("owner");
    let vault = world.path("vault");
    let kit = owner.init_local(&vault);
    let device = world.machine("device").without_secrets();
    let joining = device.clone().with("BACKUP_RECOVERY_CODE", &kit.code);
    let words = ["connect", "--local", vault.to_str().unwrap(), "--backup-only", "--name", "d"];
    joining.ok(&words);
    let source = world.folder("source");
    build::write(&source, "name", "contents");
    let wanted = trees::capture(&source);
    let snapshot = device.back_up(&source, &[]).snapshot();
    let target = world.path("target");
    let passphrase = unseen_tests::machine::PASSPHRASE;
    let knowing = device.with("BACKUP_PASSPHRASE", passphrase);
    knowing.exits(12, &["restore", &snapshot, "--target", target.to_str().unwrap()]);
    owner.restores_to(&snapshot, &source, &wanted);
}
