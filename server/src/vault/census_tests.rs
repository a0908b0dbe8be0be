//! Accounts whose journal is gone: every command of whoever runs the server tells of them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use unseen_common::id::VaultId;
use unseen_common::privacy::Looked;
use unseen_common::vault::{Service, VaultError};

use super::copy::CopyError;
use super::rebuild::{Fate, rebuild};
use super::rounds::Rounds;
use super::survey::Damage;
use super::{Core, Listed, Options};
use crate::testkit::{Owner, TestClock};

fn options() -> Options {
    Options { clock: Arc::new(TestClock::default()), open_accounts: true }
}

fn open(dir: &Path) -> Core {
    Core::open(dir, options()).unwrap()
}

async fn account(core: &Core, seed: u64) -> Owner {
    let owner = Owner::new(seed);
    core.create_account(owner.account(core.identity(), b"")).await.unwrap();
    let device = owner.log_in_device(core, &owner.machine).await.unwrap();
    device.put_pack(owner.machine.small_pack(seed)).await.unwrap();
    owner
}

fn lose_journal(dir: &Path, id: VaultId) {
    fs::remove_file(dir.join("journal").join(id.to_string())).unwrap();
}

fn damaged(list: &[Listed]) -> Vec<String> {
    let lost = |one: &Listed| match one {
        Listed::Damaged { account, problem } if problem.contains("no journal") => {
            Some(account.clone())
        }
        _ => None,
    };
    list.iter().filter_map(lost).collect()
}

#[tokio::test]
async fn an_account_without_a_journal_is_told_of_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let core = open(&data);
    let (whole, lost) = (account(&core, 1).await, account(&core, 2).await);
    // Nothing but slots: its making was cut off, and it never was one.
    fs::create_dir_all(data.join(format!("accounts/{}/slots", "7".repeat(32)))).unwrap();
    fs::create_dir_all(data.join("accounts/no id at all")).unwrap();
    drop(core);
    lose_journal(&data, lost.vault);

    let core = open(&data);
    let mut ids = vec![whole.vault, lost.vault];
    ids.sort_unstable();
    assert_eq!(core.accounts().unwrap(), ids);
    assert_eq!(damaged(&core.account_list().unwrap()), [lost.vault.short()]);
    let shown = core.account_show(&lost.vault.short());
    assert!(matches!(shown, Err(VaultError::Damaged { .. })), "{shown:?}");
    let rounds = Rounds::new(core.clone(), None);
    assert_eq!(core.stats(&rounds).unwrap().unsound, [lost.vault.short()]);
    let told = core.account_to_tell(lost.vault);
    assert!(matches!(told, Err(VaultError::Damaged { .. })), "{told:?}");
    let survey = core.survey().unwrap();
    assert_eq!((survey.unreadable, survey.closed), (vec![lost.vault], 0));
    assert_eq!(rounds.due(0).unwrap(), ids, "a scrub is tried, and says so");

    let copied = core.copy_to(&dir.path().join("copy")).unwrap();
    assert_eq!((copied.accounts, copied.damaged), (1, vec![lost.vault]));
    drop((core, rounds));

    let fates = rebuild(&data, None, &options()).unwrap();
    let lost_fate = fates.iter().find(|(id, _)| *id == lost.vault).unwrap();
    assert!(matches!(lost_fate.1, Fate::Rebuilt(_)), "{fates:?}");
    let core = open(&data);
    assert!(damaged(&core.account_list().unwrap()).is_empty());
    let root = lost.log_in(&core).await.unwrap();
    let access = root.access().await.unwrap();
    let kinds: Vec<Looked> = access.iter().map(|line| line.what).collect();
    assert_eq!(kinds, [Looked::Rebuild, Looked::List]);
}

/// Whoever removes the file of a server that runs learns of it before the server ends.
#[tokio::test]
async fn a_journal_that_goes_while_it_is_open_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let core = open(&data);
    let owner = account(&core, 1).await;
    assert!(core.survey().unwrap().accounts[0].damage == Damage::default());
    lose_journal(&data, owner.vault);
    let survey = core.survey().unwrap();
    assert!(survey.accounts[0].damage.journal && survey.unreadable.is_empty());
    assert_eq!(damaged(&core.account_list().unwrap()), [owner.vault.short()]);
    // As long as it runs, all can be saved.
    let copy = dir.path().join("copy");
    assert_eq!(core.copy_to(&copy).unwrap().accounts, 1);
    owner.log_in(&open(&copy)).await.unwrap();
    // It can be erased, and then nobody misses it.
    core.account_erase(&owner.vault.short()).unwrap();
    assert!(core.accounts().unwrap().is_empty() && core.account_list().unwrap().is_empty());
}

/// One that cannot even be read from its blobs is damaged, not on its way.
#[tokio::test]
async fn an_account_that_cannot_be_read_at_all_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let core = open(dir.path());
    let owner = account(&core, 1).await;
    drop(core);
    let journal = dir.path().join("journal").join(owner.vault.to_string());
    let mut bytes = fs::read(&journal).unwrap();
    bytes[70] ^= 1;
    fs::write(&journal, bytes).unwrap();
    fs::remove_dir_all(dir.path().join(format!("accounts/{}/log", owner.vault))).unwrap();
    let core = open(dir.path());
    assert_eq!(core.survey().unwrap().closed, 1, "nobody has tried");
    assert!(core.account(owner.vault).is_err());
    let survey = core.survey().unwrap();
    assert_eq!((survey.unreadable, survey.closed), (vec![owner.vault], 0));
}

#[tokio::test]
async fn looks_for_damage_and_copies_land_in_the_access_record() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let core = open(&data);
    let owner = account(&core, 1).await;
    let found = core.account(owner.vault).unwrap().unwrap();
    found.note_scrub().unwrap();
    found.note_scrub().unwrap();
    let copy = dir.path().join("copy");
    core.copy_to(&copy).unwrap();
    for core in [core.clone(), open(&copy)] {
        let root = owner.log_in(&core).await.unwrap();
        let access = root.access().await.unwrap();
        let kinds: Vec<Looked> = access.iter().map(|line| line.what).collect();
        assert_eq!(kinds, [Looked::Scrub, Looked::Copy]);
    }
    for within in [data.clone(), data.join("new/below"), data.join("accounts")] {
        let refused = core.copy_to(&within);
        assert!(matches!(&refused, Err(CopyError::Within(path)) if *path == within), "{refused:?}");
    }
    assert!(!data.join("new").exists());
    let beside = dir.path().join("data2");
    core.copy_to(&beside).unwrap();
}
