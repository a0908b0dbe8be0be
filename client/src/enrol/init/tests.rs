//! The last step, with a service that fails in every way it can.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tempfile::TempDir;
use unseen_common::receipt::SignedReceipt;
use unseen_common::vault::{Challenge, LoginRequest, Result, ServerInfo, Vault};
use unseen_server::vault::Core;

use super::*;
use crate::enrol::connect::{Opener, Target, open_anywhere};
use crate::enrol::earlier::{check_unused, is_begun};

/// What becomes of the request to make an account.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Done,
    /// It is refused, and nothing is done.
    Refused(fn() -> VaultError),
    /// It is done, and the answer is this.
    DoneBut(fn() -> VaultError),
    /// Nobody answers any more, whatever became of it.
    Away {
        done: bool,
    },
}

#[derive(Debug)]
struct Faulty {
    core: Core,
    fate: Fate,
    away: AtomicU64,
    seen: Mutex<Vec<Vec<u8>>>,
}

impl Faulty {
    fn reachable(&self) -> Result<()> {
        match self.away.load(Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(VaultError::Unreachable("gone".to_owned())),
        }
    }
}

#[async_trait]
impl Service for Faulty {
    async fn describe(&self) -> Result<ServerInfo> {
        self.core.describe().await
    }

    async fn create_account(&self, account: NewAccount) -> Result<()> {
        self.seen.lock().unwrap().push(account.invite.clone());
        match self.fate {
            Fate::Done => self.core.create_account(account).await,
            Fate::Refused(error) => Err(error()),
            Fate::DoneBut(error) => {
                self.core.create_account(account).await?;
                Err(error())
            }
            Fate::Away { done } => {
                if done {
                    self.core.create_account(account).await?;
                }
                self.away.store(1, Ordering::Relaxed);
                self.reachable()
            }
        }
    }

    async fn challenge(&self, account: VaultId, principal: Principal) -> Result<Challenge> {
        self.reachable()?;
        self.core.challenge(account, principal).await
    }

    async fn login(&self, request: LoginRequest) -> Result<Arc<dyn Vault>> {
        self.reachable()?;
        Service::login(&self.core, request).await
    }

    async fn erased(&self, account: VaultId) -> Result<SignedReceipt> {
        self.core.erased(account).await
    }

    fn host(&self) -> String {
        self.core.host()
    }
}

struct Lab {
    dir: TempDir,
    service: Arc<Faulty>,
    place: Place,
}

impl Lab {
    fn new(fate: Fate) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("vault");
        let core = Core::open_local(&folder).unwrap();
        let service =
            Arc::new(Faulty { core, fate, away: AtomicU64::new(0), seen: Mutex::default() });
        let place = Place {
            service: Arc::<Faulty>::clone(&service),
            address: Address::Folder(folder),
            identity: None,
            tls_pin: None,
            invite: Vec::new(),
        };
        Self { dir, service, place }
    }

    fn folders(&self) -> Folders {
        let [data, state, cache] =
            ["data", "state", "cache"].map(|name| self.dir.path().join(name));
        Folders { data, state, cache, credential: None }
    }

    async fn prepare(&self) -> Founding {
        let wishes = Wishes {
            passphrase: Passphrase::new("any").unwrap(),
            anywhere: false,
            device_name: "desk".to_owned(),
            kdf: Some(KdfParams::FLOOR),
        };
        std::fs::create_dir_all(self.folders().data).unwrap();
        prepare(&self.place, &wishes, &crate::cli::vault::SystemClock).await.unwrap()
    }

    /// The code opens a vault here.
    async fn opens(&self, made: &Made) -> bool {
        let target = Target {
            service: Arc::new(self.service.core.clone()),
            account: made.vault,
            address: made.address.clone(),
            identity: made.identity,
            tls_pin: None,
        };
        let code = RecoveryCode::parse(&made.code.to_text()).unwrap();
        open_anywhere(&target, &Opener::Code(code)).await.is_ok()
    }
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

fn full() -> VaultError {
    VaultError::DiskFull
}

fn garbled() -> VaultError {
    VaultError::BadAnswer("no JSON".to_owned())
}

fn no_invite() -> VaultError {
    VaultError::NotFound("this invite".to_owned())
}

fn failed() -> VaultError {
    VaultError::Server("no more threads".to_owned())
}

#[tokio::test]
async fn nothing_is_made_or_kept_before_the_kit_is_handed_over() {
    let lab = Lab::new(Fate::Done);
    let founding = lab.prepare().await;
    assert_eq!(files(&lab.folders().data), 0);
    assert!(lab.service.seen.lock().unwrap().is_empty());
    assert!(!lab.opens(founding.made()).await);
    let made = founding.create(&lab.place, &lab.folders()).await.unwrap();
    assert!(lab.opens(&made).await);
    assert!(!is_begun(&lab.folders()));
    assert!(matches!(check_unused(&lab.folders()), Err(EnrolError::AlreadyEnrolled(_))));
}

#[tokio::test]
async fn a_refusal_leaves_nothing() {
    for refusal in [no_invite, full, garbled] {
        let lab = Lab::new(Fate::Refused(refusal));
        let refused = lab.prepare().await.create(&lab.place, &lab.folders()).await.unwrap_err();
        assert!(refused.certain, "{refused}");
        assert_eq!(files(&lab.folders().data), 0);
        assert!(check_unused(&lab.folders()).is_ok());
    }
}

/// A vault that is there all the same is found.
#[tokio::test]
async fn an_error_after_the_vault_was_made_is_none() {
    for error in [full, garbled, no_invite, failed] {
        let lab = Lab::new(Fate::DoneBut(error));
        let made = lab.prepare().await.create(&lab.place, &lab.folders()).await.unwrap();
        assert!(lab.opens(&made).await);
        assert!(!is_begun(&lab.folders()));
    }
}

#[tokio::test]
async fn what_is_not_known_keeps_the_key() {
    for done in [false, true] {
        let lab = Lab::new(Fate::Away { done });
        let unknown = lab.prepare().await.create(&lab.place, &lab.folders()).await.unwrap_err();
        assert!(!unknown.certain);
        assert!(is_begun(&lab.folders()));
        assert!(matches!(check_unused(&lab.folders()), Err(EnrolError::CutOff(_))));
    }
    // The request may still be on its way.
    let lab = Lab::new(Fate::Refused(failed));
    let unknown = lab.prepare().await.create(&lab.place, &lab.folders()).await.unwrap_err();
    assert!(!unknown.certain && is_begun(&lab.folders()));
}
