//! Trying again. Every call of [`Vault`] may be repeated: packs are named by their content, and an
//! entry that was taken is answered with its record.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use unseen_common::id::{DeviceId, PackNumber, SnapshotId, VaultId};
use unseen_common::log::chain::{Record, SignedEntry};
use unseen_common::packset::PackSet;
use unseen_common::privacy::{Access, ObjectPage, Report};
use unseen_common::receipt::SignedReceipt;
use unseen_common::vault::{
    Challenge, CommitRequest, CompactRequest, FooterPage, LogPage, LoginRequest, NewAccount,
    PackBytes, PackSurvey, PackUpload, Principal, Result, ServerInfo, Service, Vault, VaultError,
};

/// How waiting and chance enter.
#[async_trait]
pub trait Pause: Send + Sync + std::fmt::Debug {
    /// Waits; false if it is of no use to try again afterwards.
    async fn sleep(&self, time: Duration) -> bool;
    /// Any number, evenly spread.
    fn chance(&self) -> u32;
}

/// The machine's timer and randomness.
#[derive(Debug, Clone, Default)]
pub struct SystemPause {
    stop: Arc<AtomicBool>,
}

impl SystemPause {
    /// Waits no longer once `stop` is raised.
    pub fn until(stop: Arc<AtomicBool>) -> Self {
        Self { stop }
    }
}

/// How often a pause looks whether it is to end.
const LOOK_UP: Duration = Duration::from_millis(100);

#[async_trait]
impl Pause for SystemPause {
    async fn sleep(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while !self.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now >= end {
                return true;
            }
            tokio::time::sleep_until(end.min(now + LOOK_UP)).await;
        }
        false
    }

    fn chance(&self) -> u32 {
        // Without chance the waits are merely even.
        getrandom::u32().unwrap_or(u32::MAX)
    }
}

/// How often, and how long in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Tries in all.
    pub tries: u32,
    /// The first wait; each further one is twice as long.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { tries: 6, first: Duration::from_millis(500), longest: Duration::from_secs(60) }
    }
}

impl Policy {
    /// For the first words to a server: somebody waits for the answer, and nothing is lost yet.
    pub const HELLO: Self =
        Self { tries: 4, first: Duration::from_millis(500), longest: Duration::from_secs(60) };

    /// The wait after try number `tried`, from 1: between half and all of the nominal time, but
    /// never less than the server asks for.
    fn wait(&self, tried: u32, error: &VaultError, chance: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(tried.saturating_sub(1));
        let nominal = self.first.saturating_mul(doubled).min(self.longest);
        let half = nominal / 2;
        let share = f64::from(chance) / f64::from(u32::MAX);
        let asked = match error {
            VaultError::Busy(seconds) => Duration::from_secs(*seconds).min(self.longest),
            _ => Duration::ZERO,
        };
        (half + half.mul_f64(share)).max(asked)
    }
}

/// Tries `call` until it succeeds, fails for good, or was tried often enough.
pub async fn retry<T, F: Future<Output = Result<T>> + Send>(
    policy: &Policy,
    pause: &dyn Pause,
    mut call: impl FnMut() -> F + Send,
) -> Result<T> {
    let mut tried = 1;
    loop {
        match call().await {
            Err(error) if error.is_transient() && tried < policy.tries => {
                if !pause.sleep(policy.wait(tried, &error, pause.chance())).await {
                    return Err(error);
                }
                tried += 1;
            }
            done => return done,
        }
    }
}

/// A vault that tries again.
#[derive(Debug, Clone)]
pub struct Retrying {
    inner: Arc<dyn Vault>,
    policy: Policy,
    pause: Arc<dyn Pause>,
}

impl Retrying {
    /// With the usual policy.
    pub fn new(inner: Arc<dyn Vault>) -> Self {
        Self::with(inner, Policy::default(), Arc::<SystemPause>::default())
    }

    /// With any.
    pub fn with(inner: Arc<dyn Vault>, policy: Policy, pause: Arc<dyn Pause>) -> Self {
        Self { inner, policy, pause }
    }

    async fn again<T, F: Future<Output = Result<T>> + Send>(
        &self,
        call: impl FnMut() -> F + Send,
    ) -> Result<T> {
        retry(&self.policy, &*self.pause, call).await
    }
}

#[async_trait]
impl Vault for Retrying {
    async fn slots(&self) -> Result<Vec<Bytes>> {
        self.again(|| self.inner.slots()).await
    }

    async fn put_slots(&self, slots: Vec<Bytes>, entry: SignedEntry) -> Result<Record> {
        self.again(|| self.inner.put_slots(slots.clone(), entry.clone())).await
    }

    async fn log(&self, after: Option<u64>) -> Result<LogPage> {
        self.again(|| self.inner.log(after)).await
    }

    async fn append(&self, entry: SignedEntry) -> Result<Record> {
        self.again(|| self.inner.append(entry.clone())).await
    }

    async fn put_pack(&self, pack: PackUpload) -> Result<PackNumber> {
        self.again(|| self.inner.put_pack(pack.clone())).await
    }

    async fn get_pack(&self, number: PackNumber, range: Option<Range<u64>>) -> Result<PackBytes> {
        self.again(|| self.inner.get_pack(number, range.clone())).await
    }

    async fn live_packs(&self) -> Result<PackSet> {
        self.again(|| self.inner.live_packs()).await
    }

    async fn damaged_packs(&self) -> Result<PackSet> {
        self.again(|| self.inner.damaged_packs()).await
    }

    async fn footers(
        &self,
        device: Option<DeviceId>,
        after: Option<PackNumber>,
    ) -> Result<FooterPage> {
        self.again(|| self.inner.footers(device, after)).await
    }

    async fn survey_packs(&self, after: Option<PackNumber>) -> Result<PackSurvey> {
        self.again(|| self.inner.survey_packs(after)).await
    }

    async fn verify_packs(&self, packs: PackSet) -> Result<PackSet> {
        self.again(|| self.inner.verify_packs(packs.clone())).await
    }

    async fn commit(&self, request: CommitRequest) -> Result<Record> {
        self.again(|| self.inner.commit(request.clone())).await
    }

    async fn compact(&self, request: CompactRequest) -> Result<Record> {
        self.again(|| self.inner.compact(request.clone())).await
    }

    async fn manifest(&self, snapshot: SnapshotId) -> Result<Bytes> {
        self.again(|| self.inner.manifest(snapshot)).await
    }

    async fn packs_of(&self, snapshot: SnapshotId) -> Result<PackSet> {
        self.again(|| self.inner.packs_of(snapshot)).await
    }

    async fn privacy(&self) -> Result<Report> {
        self.again(|| self.inner.privacy()).await
    }

    async fn access(&self) -> Result<Vec<Access>> {
        self.again(|| self.inner.access()).await
    }

    async fn objects(&self, after: Option<String>) -> Result<ObjectPage> {
        self.again(|| self.inner.objects(after.clone())).await
    }
}

/// A service that is asked again, and whose sessions try again. Logging in is left to
/// [`super::session::log_in`]: a challenge is good for one answer.
#[derive(Debug, Clone)]
pub struct RetryingService {
    inner: Arc<dyn Service>,
    pause: Arc<dyn Pause>,
}

impl RetryingService {
    /// With the usual policies, until `stop` is raised.
    pub fn new(inner: Arc<dyn Service>, stop: Arc<AtomicBool>) -> Self {
        Self { inner, pause: Arc::new(SystemPause::until(stop)) }
    }
}

#[async_trait]
impl Service for RetryingService {
    async fn describe(&self) -> Result<ServerInfo> {
        retry(&Policy::HELLO, &*self.pause, || self.inner.describe()).await
    }

    async fn create_account(&self, account: NewAccount) -> Result<()> {
        let policy = Policy::default();
        retry(&policy, &*self.pause, || self.inner.create_account(account.clone())).await
    }

    async fn challenge(&self, account: VaultId, principal: Principal) -> Result<Challenge> {
        self.inner.challenge(account, principal).await
    }

    async fn login(&self, request: LoginRequest) -> Result<Arc<dyn Vault>> {
        let session = self.inner.login(request).await?;
        Ok(Arc::new(Retrying::with(session, Policy::default(), Arc::clone(&self.pause))))
    }

    async fn erased(&self, account: VaultId) -> Result<SignedReceipt> {
        retry(&Policy::default(), &*self.pause, || self.inner.erased(account)).await
    }

    fn host(&self) -> String {
        self.inner.host()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Debug, Default)]
    struct Noted(Mutex<Vec<Duration>>, u32);

    #[async_trait]
    impl Pause for Noted {
        async fn sleep(&self, time: Duration) -> bool {
            self.0.lock().unwrap().push(time);
            true
        }

        fn chance(&self) -> u32 {
            self.1
        }
    }

    async fn run(pause: &Noted, errors: Vec<VaultError>) -> (Result<()>, usize) {
        let left = Mutex::new(errors);
        let calls = Mutex::new(0);
        let result = retry(&Policy::default(), pause, || {
            *calls.lock().unwrap() += 1;
            let next = left.lock().unwrap().pop();
            async { next.map_or(Ok(()), Err) }
        })
        .await;
        let calls = *calls.lock().unwrap();
        (result, calls)
    }

    /// The wait would outlast the test by far.
    #[tokio::test]
    async fn whoever_wants_to_stop_does_not_wait() {
        let pause = SystemPause::until(Arc::new(AtomicBool::new(true)));
        let busy = || async { Err::<(), _>(VaultError::Busy(u64::MAX)) };
        let result = retry(&Policy::default(), &pause, busy).await;
        assert!(matches!(result, Err(VaultError::Busy(_))));
    }

    fn broken() -> VaultError {
        VaultError::Unreachable(String::new())
    }

    #[tokio::test]
    async fn waits_grow_and_end() {
        let pause = Noted(Mutex::default(), u32::MAX);
        let (result, calls) = run(&pause, vec![broken(), broken(), broken()]).await;
        assert!(result.is_ok());
        assert_eq!(calls, 4);
        let waits = pause.0.lock().unwrap().clone();
        assert_eq!(waits, [500, 1000, 2000].map(Duration::from_millis));

        let pause = Noted::default();
        let (result, calls) = run(&pause, (0..9).map(|_| broken()).collect()).await;
        assert!(matches!(result, Err(VaultError::Unreachable(_))));
        assert_eq!(calls, 6);
        let waits = pause.0.lock().unwrap().clone();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000].map(Duration::from_millis));
    }

    #[tokio::test]
    async fn what_will_not_change_is_not_tried_again() {
        let pause = Noted::default();
        let (result, calls) = run(&pause, vec![VaultError::StaleIndex]).await;
        assert!(matches!(result, Err(VaultError::StaleIndex)));
        assert_eq!(calls, 1);
        let (result, _) = run(&pause, vec![VaultError::Busy(7)]).await;
        assert!(result.is_ok());
        assert_eq!(*pause.0.lock().unwrap(), [Duration::from_secs(7)]);
    }
}
