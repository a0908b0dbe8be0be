//! Everything that is held about an account, field by field, under the names of the inventory.

use std::collections::BTreeSet;
use std::fmt::Display;

use data_encoding::HEXLOWER;
use unseen_common::disclosure::Level;
use unseen_common::id::{DeviceId, PackNumber};
use unseen_common::log::entry::Status;
use unseen_common::log::policy::{DedupScope, Policy};
use unseen_common::log::state::State;
use unseen_common::privacy::{Access, Held, Report};
use unseen_common::time::Timestamp;
use unseen_common::vault::Result;

use super::account::{Account, Tables, storage_error};
use super::core::Inner;
use super::standing::amount;
use crate::store::key;
use crate::store::lock;

#[derive(Debug, Default)]
struct Fields(Vec<Held>);

impl Fields {
    fn add(&mut self, name: &str, count: u64, value: impl Display) {
        let value = value.to_string();
        self.0.push(Held { name: name.to_owned(), count, value, times: None });
    }

    fn one(&mut self, name: &str, value: impl Display) {
        self.add(name, 1, value);
    }

    /// Of those that are there.
    fn times(&mut self, name: &str, times: impl IntoIterator<Item = Timestamp>) {
        let mut count = 0;
        let mut span: Option<(Timestamp, Timestamp)> = None;
        for time in times {
            count += 1;
            span = Some(span.map_or((time, time), |(a, b)| (a.min(time), b.max(time))));
        }
        let name = name.to_owned();
        self.0.push(Held { name, count, value: String::new(), times: span });
    }
}

impl Inner {
    /// The report for the owner and the devices of an account.
    pub(super) fn report(&self, account: &Account) -> Result<Report> {
        let mut fields = Fields::default();
        let first = account.record(0)?.map(|record| record.received);
        let slots = account.store.blobs.list(&key::slots_folder(account.id));
        let slots = slots.map_err(|error| storage_error(&error))?;
        let footers = account.store.blobs.list(&key::footers_folder(account.id));
        let footers = footers.map_err(|error| storage_error(&error))?;
        let (used, allowed) = {
            let tables = lock(&account.tables);
            of_account(&mut fields, account, &tables);
            of_log(&mut fields, &tables.state, first);
            of_devices(&mut fields, &tables.state);
            of_snapshots(&mut fields, &tables);
            of_packs(&mut fields, account, &tables);
            (tables.used(), tables.standing.quota)
        };
        fields.add("slots.sealed", count(slots.len()), "");
        fields.add("pack.footers", count(footers.len()), "");
        let progress = account.store.index.progress(account.id);
        let read = progress.map_or(0, |progress| progress.read);
        fields.add("index.progress", progress.iter().len().try_into().unwrap_or(0), amount(read));
        let invite = self.ledger.invite_of(account.id);
        let n = count(invite.iter().len());
        fields.add("invite.secret_hash", n, text(invite.map(|i| i.secret)));
        fields.add("invite.quota", n, text(invite.and_then(|i| i.quota).map(amount)));
        fields.times("invite.expires", invite.map(|i| i.expires));
        fields.add("invite.account", n, text(invite.map(|_| account.id)));
        fields.add("invite.genesis", n, text(invite.map(|i| i.genesis)));
        let clock_ahead = self.shared.clock.held().map(|held| held.seconds());
        Ok(Report { used, allowed, clock_ahead, held: fields.0 })
    }
}

impl Account {
    /// What whoever runs the server did with it, oldest first.
    pub(super) fn access(&self) -> Vec<Access> {
        lock(&self.tables).standing.access.iter().copied().collect()
    }
}

fn of_account(fields: &mut Fields, account: &Account, tables: &Tables) {
    let standing = &tables.standing;
    fields.one("account.id", account.id);
    fields.one("account.quota", standing.quota.map_or_else(|| "no limit".to_owned(), amount));
    if let Some(held) = fields.0.last_mut() {
        held.times = standing.quota_set.map(|at| (at, at));
    }
    fields.times("account.suspended", standing.suspended);
    fields.times("account.access", standing.access.iter().map(|line| line.at));
    fields.times("account.rebuilt", standing.rebuilt);
    let (snapshots, bytes) = standing.metadata();
    fields.add("account.metadata", snapshots, amount(bytes));
}

fn of_log(fields: &mut Fields, state: &State, first: Option<Timestamp>) {
    let records = state.head_seq.saturating_add(1);
    fields.add("log.seq", records, format!("0 to {}", state.head_seq));
    fields.add("log.prev", records, format!("newest {}", state.head));
    fields.add("log.author", records, "owner or device");
    fields.add("log.time", records, "");
    fields.add("log.signature", records, "64 bytes each");
    fields.times("log.received", first.into_iter().chain([state.head_received]));
    if let Some(held) = fields.0.last_mut() {
        held.count = records;
    }
    fields.one("genesis.root_key", HEXLOWER.encode(&state.root_key));
    fields.one("genesis.vault_key_hash", state.vault_key_hash);
    fields.one("genesis.owner_login", HEXLOWER.encode(&state.owner_login));
    fields.one("genesis.server_identity", HEXLOWER.encode(&state.server_identity));
    fields.one("slots.hash", state.slots.hash);
    let keys = state.slots.login_keys.iter().map(|key| HEXLOWER.encode(key));
    fields.add("slots.login_keys", count(state.slots.login_keys.len()), listed(keys));
    fields.add("log.fold", count(state.last_fold.iter().len()), text(state.last_fold));
    fields.add("log.rollback", 0, "told by entries of this kind alone");
    fields.times("log.erase", super::erase::due(state));
    of_policy(fields, &state.policy);
}

fn of_policy(fields: &mut Fields, policy: &Policy) {
    let level = match policy.disclosure {
        Level::None => "none",
        Level::Summary => "summary",
        Level::Types => "types",
    };
    fields.one("policy.disclosure", level);
    fields.one("policy.grace_days", policy.grace_days);
    fields.one("policy.floor_days", policy.floor_days);
    let keep = policy.keep;
    let rules = [
        ("last", u64::from(keep.last)),
        ("hourly", u64::from(keep.hourly)),
        ("daily", u64::from(keep.daily)),
        ("weekly", u64::from(keep.weekly)),
        ("monthly", u64::from(keep.monthly)),
        ("yearly", u64::from(keep.yearly)),
        ("seconds", keep.within),
    ];
    let rules = rules.iter().filter(|(_, number)| *number > 0);
    let rules = listed(rules.map(|(name, number)| format!("{name}={number}")));
    fields.one("policy.keep", if rules.is_empty() { "everything".to_owned() } else { rules });
    fields.add("policy.sets", count(policy.sets.len()), "");
    fields.one("policy.burst_per_hour", policy.burst_per_hour);
    fields.one("policy.burst_pause_days", policy.burst_pause_days);
    let limit = policy.device_bytes;
    fields.add("policy.device_bytes", count(limit.iter().len()), text(limit.map(amount)));
    fields.add("policy.devices", count(policy.devices.len()), "");
    fields.one("policy.format_floor", policy.format_floor);
    let scope = match policy.dedup_scope {
        DedupScope::Own => "own",
    };
    fields.one("policy.dedup_scope", scope);
    fields.one("policy.silent_days", policy.silent_days);
}

fn of_devices(fields: &mut Fields, state: &State) {
    let devices: Vec<_> = state.devices.values().collect();
    let n = count(devices.len());
    let ids = |list: &mut dyn Iterator<Item = DeviceId>| listed(list.map(|id| id.short()));
    fields.add("device.id", n, ids(&mut devices.iter().map(|d| d.add.device)));
    fields.add("device.manifest_key", n, "");
    fields.add("device.login_key", n, "");
    let sealed: usize = devices.iter().map(|d| d.add.sealed.len()).sum();
    fields.add("device.sealed", n, amount(count(sealed)));
    let only = devices.iter().filter(|d| d.add.backup_only).map(|d| d.add.device);
    fields.add("device.backup_only", n, ids(&mut only.clone()));
    let replaced: Vec<_> = devices.iter().filter_map(|d| d.add.replaces).collect();
    fields.add("device.replaces", count(replaced.len()), ids(&mut replaced.iter().copied()));
    let labels = devices.iter().filter(|d| d.label.is_some()).count();
    fields.add("device.label", count(labels), "");
    let audited = devices.iter().filter(|d| d.audited.is_some()).count();
    fields.add("device.audit", count(audited), "");
    let revoked: Vec<_> = devices.iter().filter(|d| d.revoked.is_some()).collect();
    let n = count(revoked.len());
    fields.add("device.last_valid", n, ids(&mut revoked.iter().map(|d| d.add.device)));
}

fn of_snapshots(fields: &mut Fields, tables: &Tables) {
    let all = &tables.state.snapshots;
    let n = count(all.len());
    let sets: BTreeSet<_> = all.values().map(|s| s.set).collect();
    fields.add("snapshot.set", n, format!("{} different", sets.len()));
    let of = |status| all.values().filter(|s| s.status == status).count();
    fields.add(
        "snapshot.status",
        n,
        format!(
            "{} complete, {} partial, {} checkpoints",
            of(Status::Complete),
            of(Status::Partial),
            of(Status::Checkpoint)
        ),
    );
    fields.add("snapshot.id", n, "");
    fields.add("snapshot.packset_hash", n, "");
    let pinned = all.values().filter(|s| s.pinned).count();
    let held = all.values().filter(|s| s.held).count();
    let gone = tables.state.gone.len();
    fields.add(
        "snapshot.marks",
        count(pinned + held + gone),
        format!("{pinned} pinned, {held} held, {gone} gone that can be brought back"),
    );
    let compacted = all.values().filter(|s| s.packed != s.seq).count();
    fields.add("snapshot.compact", count(compacted), "");
    let (stored, bytes) = tables.standing.metadata();
    fields.add("snapshot.manifest", stored, format!("{} with the packsets", amount(bytes)));
    fields.add("snapshot.packset", stored, "");
    fields.times("disclosure.start", all.values().map(|s| s.disclosure.start));
    fields.times("disclosure.end", all.values().map(|s| s.disclosure.end));
    let told = all.values().filter(|s| s.disclosure.totals.is_some()).count();
    fields.add("disclosure.totals", count(told), "");
    let told = all.values().filter(|s| !s.disclosure.types.is_empty()).count();
    fields.add("disclosure.types", count(told), "");
}

fn of_packs(fields: &mut Fields, account: &Account, tables: &Tables) {
    let (n, bytes) = tables.packs.totals();
    let live = tables.packs.live().0;
    let numbers = live.min().zip(live.max());
    let span = numbers.map(|(a, b)| format!("{a} to {b}")).unwrap_or_default();
    fields.add("pack.number", n, span);
    for name in ["pack.id", "pack.content_hash", "pack.device", "pack.footer_len"] {
        fields.add(name, n, "");
    }
    fields.add("pack.length", n, amount(bytes));
    fields.add("pack.bytes", n, amount(bytes));
    // The first and the last: numbers are given in the order of arrival.
    let row = |number| account.store.index.pack(account.id, PackNumber(number));
    let ends = numbers.into_iter().flat_map(|(a, b)| [a, b]).filter_map(row);
    fields.times("pack.received", ends.map(|row| row.received));
    if let Some(held) = fields.0.last_mut() {
        held.count = n;
    }
    fields.add("pack.damaged", tables.packs.damaged().0.len(), "");
    fields.add("index.pack", n, "");
}

fn listed(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(" ")
}

fn text(value: Option<impl Display>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
