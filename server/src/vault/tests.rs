//! The suite over the core, and what survives kill, loss of power, damage and failing disks.

use std::sync::Arc;

use crate::store::Store;
use crate::store::memory::{self, MemBlobs, MemJournals};
use crate::testkit::{Bench, TestClock, conformance};

use super::{Core, Options};

fn options(clock: &Arc<TestClock>) -> Options {
    Options {
        clock: Arc::<TestClock>::clone(clock),
        open_accounts: false,
    }
}

fn bench(core: Core, clock: Arc<TestClock>) -> Bench {
    Bench {
        service: Arc::new(core.clone()),
        clock,
        core,
    }
}

fn in_memory(store: Store) -> Bench {
    let clock = Arc::new(TestClock::default());
    let core = Core::with_store(store, [3; 32], options(&clock)).unwrap();
    bench(core, clock)
}

#[tokio::test]
async fn memory_conforms() {
    let store = memory::store(MemBlobs::default(), MemJournals::default());
    conformance::all(&in_memory(store)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folder_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::default());
    let core = Core::open(dir.path(), options(&clock)).unwrap();
    conformance::all(&bench(core, clock)).await;
}
