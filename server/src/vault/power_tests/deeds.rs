//! The story that the power is cut in.

use std::fs;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use unseen_common::id::{PackNumber, VaultId};
use unseen_common::log::chain::SignedEntry;
use unseen_common::log::entry::{Author, Body, Policy};
use unseen_common::log::fold::DEFAULT_POLICY;
use unseen_common::receipt::ErasedBy;
use unseen_common::vault::{CommitRequest, PackUpload, Result, slot_set_hash};

use super::account;
use crate::store::key::Key;
use crate::store::lock;
use crate::store::trace::{self, Op};
use crate::testkit::{Head, Owner, snapshot_id};
use crate::vault::Core;
use crate::vault::gc_lab::{DAY, Stored, ids};
use crate::vault::scrub::Spot;
use crate::vault::scrub_tests::Through;

/// What changes the store. The same again is no error.
pub(super) trait Deed {
    fn name(&self) -> &'static str;

    fn act(&self, core: &Core) -> Result<()>;

    /// Fails the test if it is not.
    fn is_done(&self, core: &Core);

    /// Packs that it takes away, or that are damaged.
    fn goes(&self) -> Vec<PackNumber> {
        Vec::new()
    }

    /// It erases the account.
    fn erases(&self) -> bool {
        false
    }
}

pub(super) fn vault() -> VaultId {
    owner().vault
}

fn owner() -> Owner {
    Owner::new(1)
}

fn head(core: &Core) -> Head {
    account(core).with_state(|state| Head {
        vault: state.vault,
        seq: state.head_seq + 1,
        hash: state.head,
    })
}

/// The folder is opened.
pub(super) struct Nothing;

impl Deed for Nothing {
    fn name(&self) -> &'static str {
        "open"
    }

    fn act(&self, _core: &Core) -> Result<()> {
        Ok(())
    }

    fn is_done(&self, _core: &Core) {}
}

struct Invite;

impl Deed for Invite {
    fn name(&self) -> &'static str {
        "invite"
    }

    fn act(&self, core: &Core) -> Result<()> {
        core.invite(None, 1000 * DAY).map(drop)
    }

    fn is_done(&self, core: &Core) {
        assert!(!core.0.ledger.invites(core.now()).is_empty());
    }
}

struct Create;

impl Deed for Create {
    fn name(&self) -> &'static str {
        "create"
    }

    fn act(&self, core: &Core) -> Result<()> {
        core.0.create_account(&owner().account(core.identity(), b""))
    }

    fn is_done(&self, core: &Core) {
        assert_eq!(account(core).with_state(|state| state.head_seq), 1);
    }
}

/// A pack is sent; if it has rotted, it is whole afterwards.
struct Put {
    pack: PackUpload,
    number: PackNumber,
}

impl Deed for Put {
    fn name(&self) -> &'static str {
        "put"
    }

    fn act(&self, core: &Core) -> Result<()> {
        let number = account(core).put_pack(owner().machine.id, &self.pack, None)?;
        // One that was cut off has had the number that was the next one.
        assert!([self.number.0, self.number.0 + 1].contains(&number.0), "{number}");
        Ok(())
    }

    fn is_done(&self, core: &Core) {
        let account = account(core);
        let number = lock(&account.tables).packs.find(&self.pack.id).unwrap();
        let read = account.get_pack(number, None).unwrap();
        assert!(read.bytes == self.pack.bytes && !read.damaged);
    }

    fn goes(&self) -> Vec<PackNumber> {
        vec![self.number]
    }
}

struct Commit(CommitRequest);

impl Deed for Commit {
    fn name(&self) -> &'static str {
        "commit"
    }

    fn act(&self, core: &Core) -> Result<()> {
        account(core).commit(owner().machine.id, self.0.clone()).map(drop)
    }

    fn is_done(&self, core: &Core) {
        let (account, id) = (account(core), snapshot_id(&self.0.manifest));
        assert_eq!(account.manifest(id).unwrap().unwrap(), self.0.manifest);
        assert_eq!(account.packs_of(id).unwrap().unwrap(), self.0.packs);
    }
}

/// A policy, or snapshots that are forgotten.
struct Append(SignedEntry);

impl Deed for Append {
    fn name(&self) -> &'static str {
        "append"
    }

    fn act(&self, core: &Core) -> Result<()> {
        account(core).append(Author::Root, self.0.clone()).map(drop)
    }

    fn is_done(&self, core: &Core) {
        let seq = self.0.entry().unwrap().seq;
        assert_eq!(account(core).record(seq).unwrap().unwrap().signed, self.0);
    }
}

struct Slots {
    slots: Vec<Bytes>,
    entry: SignedEntry,
}

impl Deed for Slots {
    fn name(&self) -> &'static str {
        "slots"
    }

    fn act(&self, core: &Core) -> Result<()> {
        account(core).put_slots(&self.slots, self.entry.clone()).map(drop)
    }

    fn is_done(&self, core: &Core) {
        let named = account(core).with_state(|state| state.slots.hash);
        assert_eq!(named, slot_set_hash(&self.slots));
        assert_eq!(core.0.slots_of(vault(), named).unwrap(), self.slots);
    }
}

/// Packs that nothing needs are deleted.
struct Sweep(Vec<Stored>);

impl Deed for Sweep {
    fn name(&self) -> &'static str {
        "sweep"
    }

    fn act(&self, core: &Core) -> Result<()> {
        account(core).collect(core.now(), true).map(drop)
    }

    /// Files that came back are found by the next sweep.
    fn is_done(&self, core: &Core) {
        let account = account(core);
        account.collect(core.now(), true).unwrap();
        for (number, pack) in &self.0 {
            assert!(lock(&account.tables).packs.get(*number).is_none(), "row of pack {number}");
            let key = Key::pack(vault(), *number, pack.id);
            assert!(account.store.blobs.length(&key).unwrap().is_none(), "file of pack {number}");
        }
    }

    fn goes(&self) -> Vec<PackNumber> {
        self.0.iter().map(|(number, _)| *number).collect()
    }
}

/// A pack has rotted, and what is there twice in one of its copies.
struct Scrub {
    pack: PackNumber,
    repairs: Vec<(Key, Vec<u8>)>,
}

impl Deed for Scrub {
    fn name(&self) -> &'static str {
        "scrub"
    }

    fn act(&self, core: &Core) -> Result<()> {
        let report = account(core).scrub(Spot::default(), &mut Through)?;
        assert!(report.finished && report.broken.is_empty(), "{report:?}");
        Ok(())
    }

    /// A copy that came back as it was is found by the next scrub.
    fn is_done(&self, core: &Core) {
        let account = account(core);
        assert!(lock(&account.tables).packs.is_damaged(self.pack));
        self.act(core).unwrap();
        for (key, bytes) in &self.repairs {
            assert_eq!(account.store.blobs.get(key).unwrap().unwrap(), *bytes, "{key}");
        }
    }

    fn goes(&self) -> Vec<PackNumber> {
        vec![self.pack]
    }
}

struct Erase;

impl Deed for Erase {
    fn name(&self) -> &'static str {
        "erase"
    }

    fn act(&self, core: &Core) -> Result<()> {
        for plan in core.0.ledger.erasing() {
            core.0.finish_erasing(plan)?;
        }
        core.0.erase(vault(), ErasedBy::Operator, core.now()).map(drop)
    }

    fn is_done(&self, core: &Core) {
        let root = core.0.folder.as_deref().unwrap();
        assert!(core.0.ledger.receipt(vault()).is_some());
        let name = vault().to_string();
        assert!(!root.join("accounts").join(&name).exists(), "what was erased is back");
        assert!(!root.join("journal").join(&name).exists(), "its journal is back");
    }

    fn erases(&self) -> bool {
        true
    }
}

/// What happens, one deed after the other.
#[derive(Default)]
pub(super) struct Story {
    at: usize,
    packs: Vec<Stored>,
}

impl Story {
    /// The next deed, and how many seconds pass before it; none at the end.
    pub(super) fn next(&mut self, core: &Core, root: &Path) -> Option<(Rc<dyn Deed>, u64)> {
        self.at += 1;
        let now = |deed: Rc<dyn Deed>| Some((deed, 60));
        match self.at {
            1 => now(Rc::new(Invite)),
            2 => now(Rc::new(Create)),
            3 | 4 | 6 => now(self.put()),
            5 => now(self.commit(core, 0..2)),
            7 => now(self.commit(core, 2..3)),
            8 => {
                let policy = Policy { grace_days: 77, ..DEFAULT_POLICY };
                now(Rc::new(Append(owner().sign(&head(core), Body::Policy(policy)))))
            }
            9 => {
                let slots = vec![Bytes::from(vec![9; 300]), Bytes::from(vec![4; 200])];
                let body = Body::Slots(owner().slots_body(&slots));
                now(Rc::new(Slots { slots, entry: owner().sign(&head(core), body) }))
            }
            10 => {
                let body = Body::Forget(ids(&[snapshot_id(FIRST)]));
                now(Rc::new(Append(owner().sign(&head(core), body))))
            }
            11 => Some((Rc::new(Sweep(self.packs[..2].to_vec())), 100 * DAY)),
            12 => now(self.rot(core, root)),
            13 => {
                let (number, pack) = self.packs[2].clone();
                now(Rc::new(Put { pack, number }))
            }
            14 => now(Rc::new(Erase)),
            _ => None,
        }
    }

    fn put(&mut self) -> Rc<dyn Deed> {
        let count = u32::try_from(self.packs.len()).unwrap();
        let (pack, number) = (owner().machine.small_pack(count.into()), PackNumber(count));
        self.packs.push((number, pack.clone()));
        Rc::new(Put { pack, number })
    }

    fn commit(&self, core: &Core, packs: std::ops::Range<usize>) -> Rc<dyn Deed> {
        let manifest = if packs.start == 0 { FIRST } else { SECOND };
        let packs = &self.packs[packs];
        Rc::new(Commit(owner().machine.snapshot(&head(core), manifest, packs)))
    }

    /// A pack rots, and of what there is twice one copy each.
    fn rot(&self, core: &Core, root: &Path) -> Rc<dyn Deed> {
        let (number, pack) = &self.packs[2];
        let mut repairs = Vec::new();
        let slots = account(core).with_state(|state| state.slots.hash);
        let twice = [
            Key::slots(vault(), slots),
            Key::manifest(vault(), snapshot_id(SECOND)).second(),
            Key::log(vault(), 2),
        ];
        for key in twice {
            repairs.push((key.clone(), rot(root, &key)));
        }
        rot(root, &Key::pack(vault(), *number, pack.id));
        Rc::new(Scrub { pack: *number, repairs })
    }
}

const FIRST: &[u8] = b"the first manifest";
const SECOND: &[u8] = b"the second manifest";

/// Flips a bit; gives what was there before.
fn rot(root: &Path, key: &Key) -> Vec<u8> {
    let path = root.join(key.folder()).join(key.name());
    let whole = fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    trace::note(|| Op::Rotted { path, bytes });
    whole
}
