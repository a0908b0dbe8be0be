//! `--limit-upload` and `--limit-download`: a bucket of bytes each way, filled at the rate.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use unseen_common::id::{DeviceId, PackNumber, SnapshotId};
use unseen_common::log::chain::{Record, SignedEntry};
use unseen_common::packset::PackSet;
use unseen_common::privacy::{Access, ObjectPage, Report};
use unseen_common::vault::{
    CommitRequest, CompactRequest, FooterPage, LogPage, PackBytes, PackSurvey, PackUpload, Result,
    Vault,
};

/// Packs of so many bytes are sent at once, and others wait for them: the last trees of a run must
/// not wait until what went before has been paid for, which at a low rate takes minutes.
const SMALL: usize = 1024 * 1024;

/// Hands out bytes at a rate. What one call takes, the next one waits for.
#[derive(Debug)]
pub struct Bucket {
    bytes_per_second: u64,
    free_at: Mutex<Option<Instant>>,
}

impl Bucket {
    /// A bucket of so many KiB per second, at least one.
    pub fn new(kib_per_second: u64) -> Self {
        Self {
            bytes_per_second: kib_per_second.max(1).saturating_mul(1024),
            free_at: Mutex::new(None),
        }
    }

    /// Takes `bytes`; gives the moment from which they may pass, and how long they hold up others.
    fn reserve(&self, bytes: usize, now: Instant) -> (Instant, Duration) {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = free_at.map_or(now, |at| at.max(now));
        let nanoseconds = u128::try_from(bytes).unwrap_or(u128::MAX) * 1_000_000_000
            / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        *free_at = start.checked_add(cost);
        (start, cost)
    }

    async fn take(&self, bytes: usize) {
        let (start, cost) = self.reserve(bytes, Instant::now());
        let mut waiting = Waiting { bucket: self, cost };
        tokio::time::sleep_until(start).await;
        waiting.cost = Duration::ZERO;
    }
}

/// Whoever gives up waiting takes nothing.
struct Waiting<'a> {
    bucket: &'a Bucket,
    cost: Duration,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut free_at = self.bucket.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = free_at.and_then(|at| at.checked_sub(self.cost));
    }
}

/// A vault whose big transfers keep to a rate. Small requests are not counted.
#[derive(Debug, Clone)]
pub struct Limited {
    inner: Arc<dyn Vault>,
    up: Option<Arc<Bucket>>,
    down: Option<Arc<Bucket>>,
}

impl Limited {
    /// No limit where there is no bucket; sessions that share a bucket share its rate.
    pub const fn new(
        inner: Arc<dyn Vault>,
        up: Option<Arc<Bucket>>,
        down: Option<Arc<Bucket>>,
    ) -> Self {
        Self { inner, up, down }
    }

    async fn up(&self, bytes: usize) {
        match &self.up {
            Some(bucket) if bytes <= SMALL => drop(bucket.reserve(bytes, Instant::now())),
            Some(bucket) => bucket.take(bytes).await,
            None => {}
        }
    }

    async fn down(&self, bytes: usize) {
        if let Some(bucket) = &self.down {
            bucket.take(bytes).await;
        }
    }
}

#[async_trait]
impl Vault for Limited {
    async fn slots(&self) -> Result<Vec<Bytes>> {
        self.inner.slots().await
    }

    async fn put_slots(&self, slots: Vec<Bytes>, entry: SignedEntry) -> Result<Record> {
        self.inner.put_slots(slots, entry).await
    }

    async fn log(&self, after: Option<u64>) -> Result<LogPage> {
        self.inner.log(after).await
    }

    async fn append(&self, entry: SignedEntry) -> Result<Record> {
        self.inner.append(entry).await
    }

    async fn put_pack(&self, pack: PackUpload) -> Result<PackNumber> {
        self.up(pack.bytes.len()).await;
        self.inner.put_pack(pack).await
    }

    async fn get_pack(&self, number: PackNumber, range: Option<Range<u64>>) -> Result<PackBytes> {
        let pack = self.inner.get_pack(number, range).await?;
        self.down(pack.bytes.len()).await;
        Ok(pack)
    }

    async fn live_packs(&self) -> Result<PackSet> {
        self.inner.live_packs().await
    }

    async fn damaged_packs(&self) -> Result<PackSet> {
        self.inner.damaged_packs().await
    }

    async fn footers(
        &self,
        device: Option<DeviceId>,
        after: Option<PackNumber>,
    ) -> Result<FooterPage> {
        let page = self.inner.footers(device, after).await?;
        let bytes = page.items.iter().map(|i| i.header.len() + i.footer.len());
        self.down(bytes.sum()).await;
        Ok(page)
    }

    async fn survey_packs(&self, after: Option<PackNumber>) -> Result<PackSurvey> {
        self.inner.survey_packs(after).await
    }

    async fn verify_packs(&self, packs: PackSet) -> Result<PackSet> {
        self.inner.verify_packs(packs).await
    }

    async fn commit(&self, request: CommitRequest) -> Result<Record> {
        self.up(request.manifest.len()).await;
        self.inner.commit(request).await
    }

    async fn compact(&self, request: CompactRequest) -> Result<Record> {
        self.inner.compact(request).await
    }

    async fn manifest(&self, snapshot: SnapshotId) -> Result<Bytes> {
        let manifest = self.inner.manifest(snapshot).await?;
        self.down(manifest.len()).await;
        Ok(manifest)
    }

    async fn packs_of(&self, snapshot: SnapshotId) -> Result<PackSet> {
        self.inner.packs_of(snapshot).await
    }

    async fn privacy(&self) -> Result<Report> {
        self.inner.privacy().await
    }

    async fn access(&self) -> Result<Vec<Access>> {
        self.inner.access().await
    }

    async fn objects(&self, after: Option<String>) -> Result<ObjectPage> {
        self.inner.objects(after).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_and_idle_time_is_not_saved_up() {
        let bucket = Bucket::new(100);
        let start = Instant::now();
        let seconds = Duration::from_secs;
        let reserve = |bytes, now| bucket.reserve(bytes, now).0;
        assert_eq!(reserve(102_400, start), start);
        assert_eq!(reserve(204_800, start), start + seconds(1));
        assert_eq!(reserve(1, start), start + seconds(3));
        let later = start + seconds(60);
        assert_eq!(reserve(102_400, later), later);
        assert_eq!(reserve(1, later), later + seconds(1));
    }

    #[test]
    fn who_gives_up_takes_nothing() {
        let (bucket, start) = (Bucket::new(1), Instant::now());
        let seconds = Duration::from_secs;
        assert_eq!(bucket.reserve(10 * 1024, start), (start, seconds(10)));
        let (at, cost) = bucket.reserve(1024 * 1024, start);
        assert_eq!((at, cost), (start + seconds(10), seconds(1024)));
        drop(Waiting { bucket: &bucket, cost });
        assert_eq!(bucket.reserve(1, start).0, start + seconds(10));
    }
}
