//! How long a log of 100 000 records takes to fold, and its snapshots to be decided.
//!
//!     cargo bench -p unseen-common
#![expect(clippy::print_stdout, reason = "a measurement prints its result")]

use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use unseen_common::codec::Canonical;
use unseen_common::disclosure::Disclosure;
use unseen_common::id::{DeviceId, Hash, SetTag, SnapshotId, VaultId};
use unseen_common::log::chain::{Record, SignedEntry};
use unseen_common::log::entry::{Author, Body, DeviceAdd, Entry, Genesis, Slots, Snapshot, Status};
use unseen_common::log::fold::{DEFAULT_POLICY, Known, State};
use unseen_common::log::policy::{KeepRules, Policy};
use unseen_common::retention::{decide, next_expire};
use unseen_common::time::Timestamp;

const VAULT: VaultId = VaultId::from_bytes([1; 16]);
const DEVICES: u8 = 10;
const START: u64 = 1_800_000_000;
const RECORDS: usize = 100_000;

struct Log {
    key: SigningKey,
    state: Option<State>,
    records: Vec<Record>,
}

impl Log {
    /// A vault of [`DEVICES`] machines under these rules. One key signs for all.
    fn new(policy: Policy) -> Self {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public = key.verifying_key().to_bytes();
        let genesis = Genesis {
            root_key: public,
            vault_key_hash: Hash::from_bytes([3; 32]),
            owner_login: public,
            server_identity: public,
            slots: Slots { hash: Hash::from_bytes([6; 32]), login_keys: Vec::new() },
        };
        let mut log = Self { key, state: None, records: Vec::new() };
        log.say(Author::Root, Body::Genesis(genesis), START);
        for n in 0..DEVICES {
            let add = DeviceAdd {
                device: DeviceId::from_bytes([n; 16]),
                manifest_key: public,
                login_key: public,
                sealed: Vec::new(),
                backup_only: false,
                replaces: None,
            };
            log.say(Author::Root, Body::DeviceAdd(add), START);
        }
        log.say(Author::Root, Body::Policy(policy), START);
        log
    }

    fn say(&mut self, author: Author, body: Body, received: u64) {
        let (seq, prev) = self
            .state
            .as_ref()
            .map_or((0, Hash::from_bytes([0; 32])), |s| (s.head_seq + 1, s.head));
        let entry = Entry { vault: VAULT, seq, prev, author, time: Timestamp(received), body };
        let signed = match author {
            Author::Server => SignedEntry::unsigned(&entry),
            _ => SignedEntry::sign(&entry, &self.key),
        };
        let record = Record { signed, received: Timestamp(received) };
        match &mut self.state {
            Some(state) => drop(state.apply(&record).expect("it folds")),
            None => self.state = Some(State::begin(&record).expect("it begins")),
        }
        self.records.push(record);
    }

    /// A snapshot of each device in turn, one device every `pace` seconds; expiry once a day.
    fn fill(&mut self, pace: u64) {
        let (mut now, mut expiry) = (START, START);
        while self.records.len() < RECORDS {
            now += pace;
            let state = self.state.as_ref().expect("it began");
            if now >= expiry {
                if let Some(ids) = next_expire(state, Timestamp(now)) {
                    self.say(Author::Server, Body::Expire(ids), now);
                    continue;
                }
                expiry = now + 86_400;
            }
            let count = u64::try_from(self.records.len()).expect("it fits");
            let by = u8::try_from(count % u64::from(DEVICES)).expect("it fits");
            let snapshot = Snapshot {
                set: SetTag::from_bytes([1; 16]),
                status: Status::Complete,
                manifest: SnapshotId::from_bytes(*blake3::hash(&count.to_le_bytes()).as_bytes()),
                packset_hash: Hash::from_bytes([2; 32]),
                disclosure: Disclosure {
                    start: Timestamp(now).to_minute(),
                    end: Timestamp(now).to_minute(),
                    totals: Some((1200, 3_400_000_000)),
                    types: Vec::new(),
                },
            };
            self.say(Author::Device(DeviceId::from_bytes([by; 16])), Body::Snapshot(snapshot), now);
        }
    }
}

/// The time that this thread has run, where the system tells; else the time that has passed. A busy
/// machine changes the first little.
#[derive(Clone, Copy)]
struct Spent(Option<Duration>, Instant);

impl Spent {
    fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
        let ran = stat.as_deref().and_then(|stat| stat.split(' ').next()?.parse().ok());
        Self(ran.map(Duration::from_nanos), Instant::now())
    }

    fn elapsed(self) -> Duration {
        match (self.0, Self::now().0) {
            (Some(then), Some(now)) => now.saturating_sub(then),
            _ => self.1.elapsed(),
        }
    }
}

fn measure(name: &str, policy: Policy, pace: u64) {
    let mut log = Log::new(policy);
    log.fill(pace);
    let state = log.state.take().expect("it began");
    println!("{name}: {} records, {} snapshots live", log.records.len(), state.snapshots.len());
    let now = Spent::now();
    for record in &log.records {
        record.signed.verify(&log.key.verifying_key().to_bytes()).ok();
    }
    println!("  signatures alone      {:>8.1?}", now.elapsed());
    let now = Spent::now();
    let whole = State::of(&log.records).expect("it folds");
    println!("  fold, all proofs      {:>8.1?}", now.elapsed());
    let now = Spent::now();
    let known = Known { seq: state.head_seq, head: state.head };
    let known = State::of_known(&log.records, &known, |_| ()).expect("it folds");
    println!("  fold, proofs known    {:>8.1?}", now.elapsed());
    assert!(whole == state && known == state, "one log, one state");
    let bytes: usize = log.records.iter().map(|record| record.to_bytes().len()).sum();
    let now = Spent::now();
    let decisions = decide(&state, state.head_received);
    println!("  decide {:>7}        {:>8.1?}", decisions.len(), now.elapsed());
    let now = Spent::now();
    let hash = state.hash();
    println!(
        "  hash of the state     {:>8.1?}  {}, log of {bytes} bytes",
        now.elapsed(),
        hash.short()
    );
}

fn main() {
    let all =
        KeepRules { last: 3, hourly: 24, daily: 7, weekly: 5, monthly: 12, yearly: 75, within: 0 };
    let every = KeepRules { last: u32::MAX, ..all };
    measure("every rule, all stay", Policy { keep: every, ..DEFAULT_POLICY }, 60);
    measure("every rule", Policy { keep: all, ..DEFAULT_POLICY }, 60);
    let month = KeepRules { within: 30 * 86_400, ..KeepRules::NONE };
    measure("within a month", Policy { keep: month, ..DEFAULT_POLICY }, 60);
}
