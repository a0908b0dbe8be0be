use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::crypto::recovery::RecoveryCode;
use crate::crypto::rng::testing::rng;

const CODE: &str = "4T8XK-0PQZA-M3N7R-9C2HD-V6W1E-JG5YB-8FSTK-QX0ZM";

fn kit() -> Kit {
    Kit {
        address: "unseen://nas.home:8443/00?pin=a&b=<'>".to_owned(),
        account: VaultId::from_bytes([0xab; 16]),
        code: Zeroizing::new(CODE.to_owned()),
        server_identity: Some(Hash::from_bytes([1; 32])),
        log_head: (7, Hash::from_bytes([255; 32])),
        created: Timestamp(1_795_132_800),
        program_version: "0.1.0".to_owned(),
    }
}

/// Gives these numbers, one after the other.
struct Given(std::vec::IntoIter<u32>);

impl rand_core::TryRng for Given {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(self.0.next().unwrap())
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        unreachable!("not drawn from")
    }

    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Self::Error> {
        unreachable!("not drawn from")
    }
}

fn draw(first: u32, second: u32) -> Challenge {
    Challenge::draw(&mut Given(vec![first, second].into_iter()))
}

#[test]
fn the_text_has_all_that_is_needed() {
    let text = kit().to_text();
    let expected = r"Unseen recovery kit, 2026-11-20

Whoever holds this sheet can read your backups. Without it, and without your
passphrase on a machine that is still set up, nobody can: not even the server.
Keep it on paper, away from the computer. Delete the file once it is printed.

Address
  unseen://nas.home:8443/00?pin=a&b=<'>

Recovery code
  4T8XK-0PQZA-M3N7R-9C2HD-V6W1E-JG5YB-8FSTK-QX0ZM

To get everything back on a bare machine
  1. Install the program `backup` (Unseen), version 0.1.0 or later.
  2. Connect it, and type the recovery code when it asks:
       backup connect 'unseen://nas.home:8443/00?pin=a&b=<'\''>' --log-head 7:zinc-zinc-zinc-zinc-zinc-zinc-zinc-zinc
  3. See what is there; it asks for the code again, and so does step 4:
       backup snapshots --unlock
  4. Put the ID of a snapshot and a new folder DIR in here:
       backup restore ID --target DIR

The code need not be typed: BACKUP_RECOVERY_CODE may hold it, or
BACKUP_RECOVERY_CODE_FILE the name of a file with nothing else in it.

To compare
  Account      abababababababababababababababab
  Server key   actor-actor-actor-actor-actor-actor-actor-actor
               0101010101010101010101010101010101010101010101010101010101010101
  Log          record 7: zinc-zinc-zinc-zinc-zinc-zinc-zinc-zinc
               ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
";
    assert_eq!(*text, expected);
}

#[test]
fn the_page_loads_and_runs_nothing() {
    let page = kit().to_html();
    assert!(page.contains("pin=a&amp;b=&lt;&#39;&gt;"));
    assert!(!page.contains("b=<"));
    assert!(page.contains(CODE));
    assert_eq!(page.matches("<svg ").count(), 2);
    for forbidden in ["<script", "<link", "<img", "src=\"", "url(", "@import", "href="] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let elsewhere = page.matches("http").count();
    // The namespace of each image, and the policy's header name.
    assert_eq!(elsewhere, 3);
}

#[test]
fn a_local_vault_has_no_server_key() {
    let local = Kit { address: "file:///mnt/b".to_owned(), server_identity: None, ..kit() };
    assert!(!local.to_text().contains("Server key"));
    assert!(local.to_text().contains("backup connect 'file:///mnt/b'"));
}

fn write(kit: &Kit, path: &Path) -> Result<Written, KitError> {
    KitFile::prepare(path)?.write(kit)
}

#[test]
fn a_place_for_a_kit_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kit.txt");
    let place = KitFile::prepare(&path).unwrap();
    assert!(!path.exists());
    // Somebody else was faster.
    std::fs::write(&path, "other").unwrap();
    assert!(matches!(place.write(&kit()), Err(KitError::Exists { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"other");
    std::fs::remove_file(&path).unwrap();
    drop(KitFile::prepare(&path).unwrap());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let place = KitFile::prepare(&path).unwrap();
    // On Linux a killed program leaves nothing either: the file has no name yet.
    #[cfg(target_os = "linux")]
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    drop(place);
}

#[test]
fn the_kit_of_a_vault_that_was_not_made_is_removed_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kit.txt");
    assert!(write(&kit(), &path).unwrap().remove());
    assert!(!path.exists());
    let written = write(&kit(), &path).unwrap();
    // Its owner put it away, and something else is there now.
    std::fs::rename(&path, dir.path().join("away.txt")).unwrap();
    std::fs::write(&path, "other").unwrap();
    assert!(!written.remove());
    assert_eq!(std::fs::read(&path).unwrap(), b"other");
    assert!(dir.path().join("away.txt").exists());
}

#[test]
fn a_kit_is_read_back() {
    let code = RecoveryCode::generate(&mut rng(4));
    let dir = tempfile::tempdir().unwrap();
    let addresses = ["unseen://nas.home:8443/00?pin=a&b=<'>", "file:///record 1: a-b &amp; more"];
    for (name, address) in ["kit.txt", "kit.html"].iter().flat_map(|n| addresses.map(|a| (n, a))) {
        let path = dir.path().join(name);
        let kit = Kit { code: code.to_text(), address: address.to_owned(), ..kit() };
        write(&kit, &path).unwrap();
        let found = read(&path).unwrap();
        assert_eq!(found.address, address);
        assert_eq!(found.code.to_text(), code.to_text());
        assert_eq!(found.head, KitHead::new(7, Hash::from_bytes([255; 32])));
        assert!(!format!("{found:?}").contains(code.to_text().get(..11).unwrap()));
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn what_is_no_kit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kit.txt");
    assert!(matches!(read(&path), Err(KitError::Read { .. })));
    let code = RecoveryCode::generate(&mut rng(4));
    let whole = Kit { code: code.to_text(), ..kit() }.to_text();
    for missing in ["unseen://", code.to_text().get(..5).unwrap(), "record 7", &"f".repeat(64)] {
        std::fs::write(&path, whole.replace(missing, "?")).unwrap();
        assert!(matches!(read(&path), Err(KitError::NotAKit { .. })), "{missing}");
    }
    std::fs::write(&path, [0xff; 4]).unwrap();
    assert!(matches!(read(&path), Err(KitError::Read { .. })));
}

#[test]
fn the_file_is_private_and_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["kit.txt", "kit.html"] {
        let path = dir.path().join(name);
        write(&kit(), &path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let before = std::fs::read(&path).unwrap();
        let mut other = kit();
        other.address = "file:///other".to_owned();
        assert!(matches!(write(&other, &path), Err(KitError::Exists { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    let html = std::fs::read_to_string(dir.path().join("kit.html")).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>\n"));
}

#[test]
fn refusals() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["kit.pdf", "kit", ".txt"] {
        let path = dir.path().join(name);
        assert!(matches!(write(&kit(), &path), Err(KitError::Format { .. })));
    }
    let nowhere = dir.path().join("none").join("kit.txt");
    assert!(matches!(write(&kit(), &nowhere), Err(KitError::Write { .. })));
}

#[test]
fn two_different_groups_are_asked() {
    for first in 0..16 {
        for second in 0..14 {
            let [a, b] = draw(first, second).numbers();
            assert!(1 <= a && a < b && b <= 8, "{first} {second}: {a} {b}");
        }
    }
    assert_eq!(draw(2, 3).numbers(), [3, 7]);
}

#[test]
fn the_typed_groups_are_checked() {
    let asked = draw(0, 0);
    assert_eq!(asked.numbers(), [1, 2]);
    for good in ["4T8XK 0PQZA", "4t8xk-opqza", " 4T8XK0PQZA\n"] {
        assert!(asked.is_answered(CODE, good), "{good}");
    }
    for bad in ["", "4T8XK", "0PQZA 4T8XK", "4T8XK 0PQZB", "4T8XK 0PQZA 1"] {
        assert!(!asked.is_answered(CODE, bad), "{bad}");
    }
    assert!(!asked.is_answered("", ""));
}

#[test]
fn days() {
    for (seconds, day) in [
        (0, "1970-01-01"),
        (951_782_399, "2000-02-28"),
        (951_782_400, "2000-02-29"),
        (951_868_800, "2000-03-01"),
        (1_735_689_599, "2024-12-31"),
        (4_107_542_400, "2100-03-01"),
    ] {
        assert_eq!(date(Timestamp(seconds)), day);
    }
}

#[test]
fn the_code_does_not_show_in_debug_output() {
    assert!(!format!("{:?}", kit()).contains("4T8XK"));
}
