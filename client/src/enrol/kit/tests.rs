use std::os::unix::fs::PermissionsExt;

use super::*;

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
       backup connect 'unseen://nas.home:8443/00?pin=a&b=<'\''>'
  3. See what is there:
       backup snapshots
  4. Bring the newest snapshot back into a folder DIR:
       backup restore latest --target DIR

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

#[test]
fn the_file_is_private_and_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["kit.txt", "kit.html"] {
        let path = dir.path().join(name);
        kit().write(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let before = std::fs::read(&path).unwrap();
        let mut other = kit();
        other.address = "file:///other".to_owned();
        assert!(matches!(other.write(&path), Err(KitError::Exists { .. })));
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
        assert!(matches!(kit().write(&path), Err(KitError::Format { .. })));
    }
    let nowhere = dir.path().join("none").join("kit.txt");
    assert!(matches!(kit().write(&nowhere), Err(KitError::Write { .. })));
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
