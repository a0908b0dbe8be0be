//! `init` at a terminal: the kit is confirmed before there is anything that it could open.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::cli::args::Global;
use crate::cli::env::{FixedEnv, Terminal};
use crate::cli::output::{Captured, Ui, Voice};
use crate::enrol::kit::ReadKit;

/// Somebody who reads the kit on the screen or in its file, and types what is asked.
struct Reader {
    seen: Captured,
    kit: PathBuf,
    key: PathBuf,
    /// So many answers are wrong.
    mistakes: Cell<usize>,
    asked: RefCell<Vec<String>>,
}

impl Terminal for Reader {
    fn is_present(&self) -> bool {
        true
    }

    fn ask_hidden(&self, _: &str) -> io::Result<Zeroizing<String>> {
        unreachable!("the passphrase is given")
    }

    fn ask(&self, prompt: &str) -> io::Result<Zeroizing<String>> {
        assert!(!self.key.exists(), "the vault is made before its kit is confirmed");
        self.asked.borrow_mut().push(prompt.to_owned());
        if self.mistakes.get() > 0 {
            self.mistakes.set(self.mistakes.get() - 1);
            return Ok(Zeroizing::new("AAAAA BBBBB".to_owned()));
        }
        let text = std::fs::read_to_string(&self.kit).unwrap_or_else(|_| self.seen.out());
        let code = ReadKit::parse(&text).unwrap().code;
        let numbers = prompt.split(' ').filter_map(|word| word.parse().ok());
        let groups: Vec<String> = numbers.map(|n| code.group(n).unwrap().to_string()).collect();
        assert_eq!(groups.len(), 2, "{prompt}");
        Ok(Zeroizing::new(groups.join(" ").to_lowercase()))
    }
}

struct Lab {
    home: tempfile::TempDir,
    said: (String, String),
    asked: usize,
}

impl Lab {
    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn key(&self) -> PathBuf {
        self.path(".local/share/unseen/default/device.key")
    }
}

fn init_at_a_terminal(mistakes: usize, kit: Option<&str>) -> (Lab, Result<(), CliError>) {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    let words = "seven lanterns drift past the quiet harbour";
    let env =
        FixedEnv::new(&[("HOME", home.path().to_str().unwrap()), ("BACKUP_PASSPHRASE", words)]);
    let (ui, seen) = Ui::captured(Voice::default());
    let reader = Reader {
        seen: seen.clone(),
        kit: path(kit.unwrap_or("none")),
        key: path(".local/share/unseen/default/device.key"),
        mistakes: Cell::new(mistakes),
        asked: RefCell::default(),
    };
    let args = InitArgs { local: Some(path("vault")), kit: kit.map(path), ..InitArgs::default() };
    let (ui, global) = (Arc::new(ui), Global::default());
    let ctx = Context { ui: &ui, global: &global, env: &env, terminal: &reader };
    let made = make(&ctx, &args, &vault::runtime().unwrap());
    let asked = reader.asked.borrow().len();
    (Lab { said: (seen.out(), seen.err()), asked, home }, made)
}

#[test]
fn a_printed_kit_is_confirmed_first() {
    let (lab, made) = init_at_a_terminal(4, None);
    made.unwrap();
    assert_eq!(lab.asked, 5);
    assert!(lab.said.0.starts_with("Unseen recovery kit, "));
    assert!(lab.said.1.contains("That is not what the kit says.\nThe kit is yours."));
    assert!(lab.key().exists());
}

#[test]
fn a_kit_that_nobody_can_confirm_is_of_no_vault() {
    let (lab, refused) = init_at_a_terminal(5, Some("kit.txt"));
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Exit::WrongSecret);
    assert_eq!(refused.report(), "the recovery kit was not confirmed");
    assert!(!lab.key().exists());
    assert!(!lab.path("kit.txt").exists(), "it opens nothing");
    assert!(lab.said.1.contains("is removed again"), "{}", lab.said.1);
    assert!(!lab.path(".local/share/unseen").exists());
    let (lab, refused) = init_at_a_terminal(5, None);
    refused.unwrap_err();
    assert!(!lab.key().exists());
    assert!(lab.said.1.contains("throw it away"), "{}", lab.said.1);
}

#[test]
fn a_kit_in_a_file_stays_and_is_no_part_of_a_backup() {
    let (lab, made) = init_at_a_terminal(0, Some("kit.html"));
    made.unwrap();
    let kit = lab.path("kit.html");
    let env = FixedEnv::new(&[("HOME", lab.home.path().to_str().unwrap())]);
    let places = crate::cli::places::Places::find(&env, &"default".parse().unwrap()).unwrap();
    let real = kit.canonicalize().unwrap();
    assert_eq!(places.kit(), Some(real.clone()));
    assert!(places.own().contains(&real));
    // What takes its place later is somebody's file.
    std::fs::write(&kit, "my own page").unwrap();
    assert!(!places.own().contains(&real));
}

#[test]
fn a_vault_has_a_folder_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    check_folder(&dir.path().join("not there")).unwrap();
    check_folder(dir.path()).unwrap();
    std::fs::create_dir(dir.path().join("lost+found")).unwrap();
    check_folder(dir.path()).unwrap();
    std::fs::write(dir.path().join("letter.txt"), "").unwrap();
    let refused = check_folder(dir.path()).unwrap_err();
    assert_eq!(refused.code(), Exit::Usage);
    let wanted = dir.path().join("unseen");
    assert!(refused.hint_text().unwrap().contains(wanted.to_str().unwrap()));
    assert_eq!(check_folder(&dir.path().join("letter.txt")).unwrap_err().code(), Exit::Failed);
}

#[test]
fn a_full_disk_is_exit_23_wherever_it_is_met() {
    let full = || io::Error::from(io::ErrorKind::StorageFull);
    let kit = crate::enrol::kit::KitError::Write { path: "/k.txt".into(), source: full() };
    assert_eq!(CliError::from(kit).code(), Exit::Full);
    let list = |source| crate::remote::local::LocalError::List { folder: "/v".into(), source };
    assert_eq!(CliError::from(list(full())).code(), Exit::Full);
    let other = CliError::from(list(io::ErrorKind::PermissionDenied.into()));
    assert_eq!(other.code(), Exit::Failed);
    assert!(other.hint_text().is_some());
}
