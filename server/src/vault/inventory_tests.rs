//! Nothing is stored that the data inventory does not declare. Every stored type is taken apart
//! here without `..`: a new field does not compile until it is named, and a name that the
//! inventory lacks fails the test.

use std::collections::BTreeSet;

use unseen_common::disclosure::{Disclosure, TypeCount};
use unseen_common::log::chain::{Record, SignedEntry};
use unseen_common::log::entry::{
    AcceptRollback, Audit, Body, Compact, DeviceAdd, DeviceLabel, DeviceRevoke, Entry, Genesis,
    RestoreForgotten, Slots, Snapshot,
};
use unseen_common::log::fold::Known;
use unseen_common::log::policy::{DeviceLimit, KeepRules, Policy, SetRules};
use unseen_common::privacy::{Access, inventory};
use unseen_common::receipt::{Receipt, SignedReceipt};

use crate::store::index::Progress;
use crate::store::row::{AccountRow, PackMark, PackRow};
use crate::store::server_row::ServerRow;
use crate::vault::rounds::Hint;
use crate::vault::scrub::Spot;

/// Takes a type apart completely and gives the names under which its fields are declared.
macro_rules! fields {
    ($type:ident { $($field:ident = $name:literal),* $(,)? }) => {{
        const _: fn($type) = |$type { $($field: _),* }| {};
        vec![$($name),*]
    }};
}

/// Stored with the entry that carries them, one field each.
fn of_entries() -> Vec<&'static str> {
    let mut names = fields!(Record { signed = "log.signature", received = "log.received" });
    names.extend(fields!(SignedEntry { bytes = "log.seq", signature = "log.signature" }));
    names.extend(fields!(Entry {
        vault = "account.id",
        seq = "log.seq",
        prev = "log.prev",
        author = "log.author",
        time = "log.time",
        body = "log.seq",
    }));
    names.extend(fields!(Genesis {
        root_key = "genesis.root_key",
        vault_key_hash = "genesis.vault_key_hash",
        owner_login = "genesis.owner_login",
        server_identity = "genesis.server_identity",
        slots = "slots.hash",
    }));
    names.extend(fields!(Slots { hash = "slots.hash", login_keys = "slots.login_keys" }));
    names.extend(fields!(DeviceAdd {
        device = "device.id",
        manifest_key = "device.manifest_key",
        login_key = "device.login_key",
        sealed = "device.sealed",
        backup_only = "device.backup_only",
        replaces = "device.replaces",
    }));
    names.extend(fields!(DeviceLabel { device = "device.id", sealed = "device.label" }));
    names.extend(fields!(DeviceRevoke { device = "device.id", last_valid = "device.last_valid" }));
    names.extend(fields!(Audit {
        device = "device.id",
        packs_hash = "device.audit",
        damaged = "device.audit",
    }));
    names.extend(fields!(AcceptRollback { seq = "log.rollback", hash = "log.rollback" }));
    names
}

fn of_snapshots() -> Vec<&'static str> {
    let mut names = fields!(Snapshot {
        set = "snapshot.set",
        status = "snapshot.status",
        manifest = "snapshot.id",
        packset_hash = "snapshot.packset_hash",
        disclosure = "disclosure.start",
    });
    names.extend(fields!(Disclosure {
        start = "disclosure.start",
        end = "disclosure.end",
        totals = "disclosure.totals",
        types = "disclosure.types",
    }));
    names.extend(fields!(TypeCount {
        class = "disclosure.types",
        files = "disclosure.types",
        bytes = "disclosure.types",
    }));
    names.extend(fields!(RestoreForgotten {
        snapshots = "snapshot.marks",
        packs_hash = "snapshot.marks",
    }));
    names.extend(fields!(Compact {
        planned_at = "snapshot.compact",
        planned_head = "snapshot.compact",
        removed = "snapshot.compact",
        removed_hash = "snapshot.compact",
        map_hash = "snapshot.compact",
        snapshots = "snapshot.compact",
    }));
    names
}

fn of_policy() -> Vec<&'static str> {
    let mut names = fields!(Policy {
        disclosure = "policy.disclosure",
        grace_days = "policy.grace_days",
        floor_days = "policy.floor_days",
        keep = "policy.keep",
        sets = "policy.sets",
        burst_per_hour = "policy.burst_per_hour",
        burst_pause_days = "policy.burst_pause_days",
        device_bytes = "policy.device_bytes",
        devices = "policy.devices",
        format_floor = "policy.format_floor",
        dedup_scope = "policy.dedup_scope",
        silent_days = "policy.silent_days",
    });
    names.extend(fields!(KeepRules {
        last = "policy.keep",
        hourly = "policy.keep",
        daily = "policy.keep",
        weekly = "policy.keep",
        monthly = "policy.keep",
        yearly = "policy.keep",
        within = "policy.keep",
    }));
    names.extend(fields!(SetRules { set = "policy.sets", keep = "policy.sets" }));
    names.extend(fields!(DeviceLimit { device = "policy.devices", bytes = "policy.devices" }));
    names
}

/// What each kind of entry holds besides the types above.
fn of_body(body: &Body) -> &'static str {
    match body {
        Body::Genesis(_) => "genesis.root_key",
        Body::DeviceAdd(_) | Body::DeviceRevoke(_) => "device.id",
        Body::DeviceLabel(_) => "device.label",
        Body::Audit(_) => "device.audit",
        Body::Slots(_) => "slots.hash",
        Body::Policy(_) => "policy.keep",
        Body::Snapshot(_) => "snapshot.id",
        Body::Forget(_)
        | Body::RestoreForgotten(_)
        | Body::Pin(_)
        | Body::Unpin(_)
        | Body::LiftHold(_)
        | Body::Hold(_)
        | Body::Expire(_) => "snapshot.marks",
        Body::Compact(_) => "snapshot.compact",
        Body::Fold(_) => "log.fold",
        Body::AcceptRollback(_) => "log.rollback",
        Body::Erase | Body::Cancel { seq: _ } => "log.erase",
    }
}

fn of_account_row(row: &AccountRow) -> Vec<&'static str> {
    match row {
        AccountRow::Opened { quota: _ } | AccountRow::Quota { quota: _, at: _ } => {
            vec!["account.quota"]
        }
        AccountRow::Suspended { suspended: _, at: _ } => vec!["account.suspended"],
        AccountRow::Access(Access { at: _, what: _ }) => vec!["account.access"],
        AccountRow::Metadata { snapshot: _, bytes: _ } => vec!["account.metadata"],
        AccountRow::Damaged(PackMark { number: _, at: _ })
        | AccountRow::Healed(PackMark { number: _, at: _ }) => vec!["pack.damaged"],
        AccountRow::Rebuilt(PackMark { number: _, at: _ }) => {
            vec!["account.rebuilt", "pack.number"]
        }
        AccountRow::Touched { number: _, at: _ } => vec!["pack.received"],
        AccountRow::Removed { packs: _, at: _ } => vec!["pack.number"],
        AccountRow::Packset { snapshot: _, compacted: _, checksum: _ } => {
            vec!["snapshot.packset_hash"]
        }
        AccountRow::Dropped { snapshot: _, compacted: _, whole: _ } => vec!["snapshot.marks"],
        AccountRow::Log(record) => record.signed.entry().iter().map(|e| of_body(&e.body)).collect(),
        AccountRow::Pack(_) => fields!(PackRow {
            number = "pack.number",
            id = "pack.id",
            content_hash = "pack.content_hash",
            device = "pack.device",
            length = "pack.length",
            footer_len = "pack.footer_len",
            received = "pack.received",
        }),
    }
}

fn of_server_row(row: &ServerRow) -> Vec<&'static str> {
    match row {
        ServerRow::Invite { secret: _, quota: _, expires: _ } => {
            vec!["invite.secret_hash", "invite.quota", "invite.expires"]
        }
        ServerRow::Used { secret: _, account: _, genesis: _ } => {
            vec!["invite.secret_hash", "invite.account", "invite.genesis"]
        }
        ServerRow::Revoked { secret: _ } => vec!["invite.revoked"],
        ServerRow::Erasing(_) => fields!(Receipt {
            account = "erasure.account",
            by = "erasure.by",
            requested = "erasure.requested",
            erased = "erasure.receipt",
            packs = "erasure.receipt",
            bytes = "erasure.receipt",
            snapshots = "erasure.receipt",
            head = "erasure.receipt",
            identity = "erasure.receipt",
        }),
        ServerRow::Clock { at: _, confirmed: _ } => vec!["server.clock"],
        ServerRow::Erased(_) => {
            fields!(SignedReceipt { bytes = "erasure.receipt", signature = "erasure.receipt" })
        }
    }
}

/// One row of every kind, made by the tests that pin their bytes.
fn rows() -> Vec<&'static str> {
    let accounts = crate::store::row::tests::every();
    let servers = crate::store::server_row::tests::every();
    let entries = accounts.iter().flat_map(of_account_row);
    entries.chain(servers.iter().flat_map(of_server_row)).collect()
}

#[test]
fn everything_that_is_stored_is_declared() {
    let progress = fields!(Progress { read = "index.progress", salt = "index.progress" });
    let checked = fields!(Known { seq = "index.progress", head = "index.progress" });
    let spot = fields!(Spot { next = "scrub.next", proved = "scrub.next", records = "scrub.next", snapshots = "scrub.next" });
    let hint = fields!(Hint {
        finished = "scrub.finished",
        lost = "scrub.lost",
        losing = "scrub.lost",
        spot = "scrub.next",
    });
    #[cfg(feature = "http")]
    let place = crate::cli::stored_place();
    #[cfg(not(feature = "http"))]
    let place = Vec::new();
    let stored: BTreeSet<&str> =
        [of_entries(), of_snapshots(), of_policy(), rows(), progress, checked, hint, spot, place]
            .into_iter()
            .flatten()
            .chain([of_body(&Body::Erase), of_body(&Body::Fold(unseen_common::id::Hash::of(b"")))])
            .collect();
    for name in &stored {
        assert!(inventory::find(name).is_some(), "{name} is stored and not declared");
    }
    // Blobs, copies and what is in memory have no type of their own.
    let others = [
        "slots.sealed",
        "snapshot.manifest",
        "snapshot.packset",
        "pack.bytes",
        "pack.footers",
        "journal.aside",
        "index.pack",
        "session.token",
        "session.challenge",
        "session.address",
        "session.budget",
        "server.format",
        "request.line",
    ];
    for field in inventory::all() {
        let name = field.name.as_ref();
        assert!(stored.contains(name) || others.contains(&name), "{name} is declared, not stored");
    }
}
