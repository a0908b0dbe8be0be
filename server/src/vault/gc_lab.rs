//! An account under a clock that is set, for the tests of expiry, deletion and compaction.

use std::sync::Arc;

use unseen_common::id::{Hash, PackNumber, SnapshotId};
use unseen_common::log::chain::Record;
use unseen_common::log::entry::{Author, Body, Compact, RestoreForgotten, SnapshotIds};
use unseen_common::pack_map::PackMap;
use unseen_common::packset::{PackSet, PackSetHasher};
use unseen_common::time::{Clock as _, Timestamp};
use unseen_common::vault::{CompactRequest, PackUpload, Result};

use super::account::Account;
use super::core::{Core, Options};
use super::sweep::Swept;
use crate::store::Store;
use crate::store::blobs::Blobs;
use crate::store::key::Key;
use crate::store::memory::{self, MemBlobs, MemJournals};
use crate::testkit::faults::{self, Plan};
use crate::testkit::{Head, Machine, Owner, TestClock, snapshot_id};

pub(super) const DAY: u64 = 86_400;

/// A pack that was stored.
pub(super) type Stored = (PackNumber, PackUpload);

pub(super) struct Lab {
    pub(super) clock: Arc<TestClock>,
    pub(super) blobs: MemBlobs,
    pub(super) journals: MemJournals,
    pub(super) owner: Owner,
    pub(super) core: Core,
    pub(super) account: Arc<Account>,
    manifests: u64,
}

impl Lab {
    pub(super) fn new() -> Self {
        let clock = Arc::new(TestClock::default());
        let (blobs, journals) = (MemBlobs::default(), MemJournals::default());
        let core = open(&clock, &blobs, &journals);
        let owner = Owner::new(1);
        core.0.create_account(&owner.account(core.identity(), b"")).unwrap();
        let account = core.account(owner.vault).unwrap().unwrap();
        Self { clock, blobs, journals, owner, core, account, manifests: 0 }
    }

    /// From here on the store fails as planned.
    pub(super) fn fail_as(&mut self, plan: &Arc<Plan>) {
        let store = faults::store(&self.blobs, &self.journals, plan);
        self.core = open_on(store, &self.clock);
        self.account = self.core.account(self.owner.vault).unwrap().unwrap();
    }

    /// The process is killed, and starts again.
    pub(super) fn restart(&mut self) {
        self.journals.lose_power();
        self.core = open(&self.clock, &self.blobs, &self.journals);
        self.account = self.core.account(self.owner.vault).unwrap().unwrap();
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn machine(&self) -> &Machine {
        &self.owner.machine
    }

    pub(super) fn head(&self) -> Head {
        self.account.with_state(|state| Head {
            vault: state.vault,
            seq: state.head_seq + 1,
            hash: state.head,
        })
    }

    pub(super) fn put(&self, seed: u64) -> Stored {
        let pack = self.machine().small_pack(seed);
        (self.send(&pack).unwrap(), pack)
    }

    pub(super) fn send(&self, pack: &PackUpload) -> Result<PackNumber> {
        self.account.put_pack(self.machine().id, pack, None)
    }

    /// Commits a snapshot that needs these packs, ascending.
    pub(super) fn commit(&mut self, packs: &[Stored]) -> Result<SnapshotId> {
        self.manifests += 1;
        let manifest = format!("manifest {}", self.manifests).into_bytes();
        let request = self.machine().snapshot(&self.head(), &manifest, packs);
        self.account.commit(self.machine().id, request)?;
        Ok(snapshot_id(&manifest))
    }

    pub(super) fn root(&self, body: Body) -> Result<Record> {
        self.account.append(Author::Root, self.owner.sign(&self.head(), body))
    }

    pub(super) fn forget(&self, id: SnapshotId) {
        self.root(Body::Forget(ids(&[id]))).unwrap();
    }

    pub(super) fn restore(&self, id: SnapshotId, packs: &[Stored]) -> Result<Record> {
        let body = RestoreForgotten { snapshots: ids(&[id]), packs_hash: hash_of(packs) };
        self.root(Body::RestoreForgotten(body))
    }

    /// `removed` are replaced by `new` in each of these snapshots, which then need what is told.
    pub(super) fn compaction(
        &self,
        (removed, new): (&[Stored], &[Stored]),
        snapshots: &[(SnapshotId, Vec<Stored>)],
        planned: &Head,
    ) -> CompactRequest {
        let places: PackSet = new.iter().map(|(number, _)| *number).collect();
        let rows = removed.iter().map(|(number, _)| (*number, places.clone()));
        let map = PackMap(rows.collect());
        let mut of: Vec<_> = snapshots.to_vec();
        of.sort_by_key(|(id, _)| *id);
        let body = Compact {
            planned_at: planned.seq - 1,
            planned_head: planned.hash,
            removed: map.removed(),
            removed_hash: hash_of(removed),
            map_hash: map.hash(),
            snapshots: of.iter().map(|(id, packs)| (*id, hash_of(packs))).collect(),
        };
        let numbers = |packs: &Vec<Stored>| packs.iter().map(|(number, _)| *number).collect();
        CompactRequest {
            map,
            packs: of.iter().map(|(_, packs)| numbers(packs)).collect(),
            entry: self.owner.sign(&self.head(), Body::Compact(body)),
        }
    }

    pub(super) fn sweep(&self) -> Swept {
        self.core.sweep(self.now()).unwrap()
    }

    pub(super) fn has_row(&self, pack: &Stored) -> bool {
        let tables = crate::store::lock(&self.account.tables);
        tables.packs.get(pack.0).is_some_and(|there| there.id == pack.1.id)
    }

    pub(super) fn has_blob(&self, pack: &Stored) -> bool {
        let key = Key::pack(self.owner.vault, pack.0, pack.1.id);
        self.blobs.length(&key).unwrap().is_some()
    }

    pub(super) fn is_there(&self, pack: &Stored) -> bool {
        assert_eq!(self.has_row(pack), self.has_blob(pack), "{}", pack.0);
        self.has_row(pack)
    }

    /// Every pack of every list that counts has a row and a file.
    pub(super) fn fault(&self) -> Option<String> {
        let needed = {
            let tables = crate::store::lock(&self.account.tables);
            tables.references.needed(&tables.state, self.now())
        };
        for place in needed {
            let packs = match self.account.list(&place) {
                Ok(packs) => packs,
                Err(error) => return Some(error.to_string()),
            };
            for number in packs.numbers() {
                let pack = crate::store::lock(&self.account.tables).packs.get(number);
                let Some(pack) = pack else {
                    return Some(format!("{} needs pack {number}: no row", place.snapshot));
                };
                let key = Key::pack(self.owner.vault, number, pack.id);
                if self.blobs.length(&key).unwrap().is_none() {
                    return Some(format!("{} needs pack {number}: no file", place.snapshot));
                }
            }
        }
        None
    }
}

fn open(clock: &Arc<TestClock>, blobs: &MemBlobs, journals: &MemJournals) -> Core {
    open_on(memory::store(blobs.clone(), journals.clone()), clock)
}

fn open_on(store: Store, clock: &Arc<TestClock>) -> Core {
    let clock: Arc<TestClock> = Arc::clone(clock);
    let options = Options { clock, open_accounts: true };
    Core::with_store(store, [3; 32], options).unwrap()
}

pub(super) fn ids(of: &[SnapshotId]) -> SnapshotIds {
    SnapshotIds::one(of.iter().copied()).unwrap()
}

pub(super) fn hash_of(packs: &[Stored]) -> Hash {
    let mut hasher = PackSetHasher::default();
    for (number, pack) in packs {
        hasher.add(*number, &pack.id);
    }
    hasher.finish()
}
