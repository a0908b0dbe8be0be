//! Telling whoever runs the server, by a program of theirs, which devices have gone quiet.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;
use unseen_common::id::{DeviceId, VaultId};
use unseen_common::time::Timestamp;

use crate::vault::survey::Survey;

/// How long the program may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was told. After a restart everything that is silent is told once more.
#[derive(Debug, Default)]
pub struct Silence {
    told: BTreeSet<(VaultId, DeviceId)>,
}

/// What the program reads: one JSON document on a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct News {
    message_type: &'static str,
    /// Seconds since 1970.
    time: Timestamp,
    /// Devices that have become silent.
    silent: Vec<Quiet>,
    /// Devices that were told of, and are heard of again, or gone.
    heard: Vec<Quiet>,
    #[serde(skip)]
    now_silent: BTreeSet<(VaultId, DeviceId)>,
}

/// A device, by the first digits of ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Quiet {
    account: String,
    device: String,
    last_backup: Option<Timestamp>,
}

/// Why the program could not be told.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It does not start, or does not listen.
    #[error("the program cannot be run")]
    Run(#[from] io::Error),
    /// It said that it failed.
    #[error("the program ended with {0}")]
    Failed(ExitStatus),
    /// It does not end.
    #[error("the program took longer than a minute")]
    TooLong,
}

impl Silence {
    /// What has changed since what was told. Accounts that are not open stay as they were.
    pub fn news(&self, survey: &Survey, now: Timestamp) -> Option<News> {
        let open: BTreeSet<VaultId> = survey.accounts.iter().map(|account| account.id).collect();
        let closed = self.told.iter().filter(|(account, _)| !open.contains(account));
        let unknown = survey.closed > 0 || !survey.unreadable.is_empty();
        let closed = closed.filter(|_| unknown).copied();
        let mut now_silent: BTreeSet<_> = closed.collect();
        for account in &survey.accounts {
            now_silent.extend(account.silent(now).map(|device| (account.id, device.id)));
        }
        let described = |(account, device): &(VaultId, DeviceId)| {
            let found = survey.accounts.iter().find(|one| one.id == *account);
            let found = found.and_then(|one| one.devices.iter().find(|one| one.id == *device));
            Quiet {
                account: account.short(),
                device: device.short(),
                last_backup: found.and_then(|device| device.newest),
            }
        };
        let silent: Vec<Quiet> = now_silent.difference(&self.told).map(described).collect();
        let heard: Vec<Quiet> = self.told.difference(&now_silent).map(described).collect();
        if silent.is_empty() && heard.is_empty() {
            return None;
        }
        Some(News { message_type: "silent_devices", time: now, silent, heard, now_silent })
    }

    /// Remembers that this was told.
    pub fn was_told(&mut self, news: News) {
        self.told = news.now_silent;
    }
}

/// Runs a program without arguments, with nothing of the environment but `PATH`, and gives it a
/// line on its standard input. What it prints on standard error is the server's.
pub async fn tell(program: &Path, news: &News) -> Result<(), HookError> {
    let mut line = serde_json::to_vec(news).map_err(io::Error::other)?;
    line.push(b'\n');
    let mut child = Command::new(program)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut input = child.stdin.take();
    let ran = async {
        if let Some(input) = &mut input {
            // It may have ended without reading; its exit code says how it went.
            drop(input.write_all(&line).await);
        }
        drop(input.take());
        child.wait().await
    };
    match timeout(PATIENCE, ran).await {
        Ok(ended) => match ended? {
            status if status.success() => Ok(()),
            status => Err(HookError::Failed(status)),
        },
        Err(_elapsed) => Err(HookError::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::vault::survey::{AccountSurvey, Damage, DeviceSurvey};

    const DAY: u64 = 86_400;

    fn survey(newest: &[u64]) -> Survey {
        let device = |(at, newest): (usize, &u64)| DeviceSurvey {
            id: DeviceId::from_bytes([u8::try_from(at).unwrap(); 16]),
            newest: Some(Timestamp(*newest)),
        };
        let account = AccountSurvey {
            id: VaultId::from_bytes([0xab; 16]),
            packs: 0,
            bytes: 0,
            quota: None,
            records: 0,
            snapshots: 0,
            silent_days: 3,
            devices: newest.iter().enumerate().map(device).collect(),
            suspended: None,
            erase_due: None,
            damage: Damage::default(),
        };
        Survey { accounts: vec![account], ..Survey::default() }
    }

    fn names(list: &[Quiet]) -> Vec<&str> {
        list.iter().map(|quiet| quiet.device.as_str()).collect()
    }

    #[test]
    fn each_silence_is_told_once_and_its_end_once() {
        let mut silence = Silence::default();
        let now = Timestamp(10 * DAY);
        assert_eq!(silence.news(&survey(&[10 * DAY]), now), None);
        let two = survey(&[5 * DAY, 9 * DAY]);
        let news = silence.news(&two, now).unwrap();
        assert_eq!((names(&news.silent), names(&news.heard)), (vec!["00000000"], vec![]));
        assert_eq!(news.silent[0].last_backup, Some(Timestamp(5 * DAY)));
        assert_eq!(silence.news(&two, now), Some(news.clone()), "it was not told yet");
        silence.was_told(news);
        assert_eq!(silence.news(&two, now), None);

        // While an account is closed nothing is known of it; once it is gone it is not silent.
        let closed = Survey { closed: 1, ..Survey::default() };
        assert_eq!(silence.news(&closed, now), None);
        let later = Timestamp(13 * DAY);
        let back = survey(&[12 * DAY, 9 * DAY]);
        let news = silence.news(&back, later).unwrap();
        assert_eq!((names(&news.silent), names(&news.heard)), (vec!["01010101"], vec!["00000000"]));
        silence.was_told(news);
        let news = silence.news(&Survey::default(), later).unwrap();
        assert_eq!((news.silent.len(), names(&news.heard)), (0, vec!["01010101"]));
    }

    #[tokio::test]
    async fn a_program_is_told_and_its_failure_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
            path
        };
        let news = Silence::default().news(&survey(&[0]), Timestamp(10 * DAY)).unwrap();
        let (heard, around) = (dir.path().join("heard"), dir.path().join("env"));
        let (to, also) = (heard.display(), around.display());
        let good = write("good", &format!("#!/bin/sh\nset -e\ncat > {to}\nenv > {also}\n"));
        tell(&good, &news).await.unwrap();
        let text = std::fs::read_to_string(&heard).unwrap();
        assert_eq!(
            text,
            "{\"message_type\":\"silent_devices\",\"time\":864000,\"silent\":[{\"account\":\
             \"abababab\",\"device\":\"00000000\",\"last_backup\":0}],\"heard\":[]}\n"
        );
        let around = std::fs::read_to_string(&around).unwrap();
        assert!(around.contains("PATH=") && !around.contains("CARGO"), "{around}");
        let bad = write("bad", "#!/bin/sh\nexit 3\n");
        assert!(matches!(tell(&bad, &news).await, Err(HookError::Failed(_))));
        let missing = tell(Path::new("/nowhere/program"), &news).await;
        assert!(matches!(missing, Err(HookError::Run(_))));
    }
}
