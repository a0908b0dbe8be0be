//! The data inventory: every field that a server stores, compiled into both programs. A test of
//! the server fails when something is stored that is not in it.

use std::borrow::Cow;

use super::{Field, Statement};

const JOURNAL: &str = "the account's journal";
const LOG: &str = "the account's journal; copy in accounts/ID/log";
const BLOB: &str = "a file below accounts/ID";
const TWICE: &str = "two equal files below accounts/ID";
const SERVER: &str = "the server's journal";
const INDEX: &str = "the index, which is derived from the journal";
const FILE: &str = "serve.json";
const SCRUB: &str = "scrub.json";
const ASIDE: &str = "journals that a rebuild replaced";
const LINES: &str = "the request log of the process";
const MEMORY: &str = "memory alone";

const ERASED: &str = "until the account is erased";
const UNTIL_REPLACED: &str =
    "a day longer than the log names them; all go when the account is erased";
const FOREVER: &str = "as long as the server's data folder";
const RUNNING: &str = "at most an hour";
const NEWEST: &str = "the newest 1000 are shown; all go when the account is erased";
const OPERATOR: &str = "as long as whoever runs the server keeps the lines";

const fn field(
    name: &'static str,
    place: &'static str,
    why: &'static str,
    kept: &'static str,
) -> Field {
    Field {
        name: Cow::Borrowed(name),
        place: Cow::Borrowed(place),
        why: Cow::Borrowed(why),
        kept: Cow::Borrowed(kept),
    }
}

/// Fields that are held for each account: `backup privacy` shows each of them.
pub const ACCOUNT: &[Field] = &[
    field("account.id", LOG, "tells accounts apart; random", ERASED),
    field("account.quota", JOURNAL, "how much it may store, and when that was set", ERASED),
    field("account.suspended", JOURNAL, "whether and since when it may not write", ERASED),
    field("account.access", JOURNAL, "what whoever runs the server did with it, and when", NEWEST),
    field("account.metadata", JOURNAL, "bytes of manifest and packset, for the quota", ERASED),
    field("account.rebuilt", JOURNAL, "when its journal was made anew", ERASED),
    field("log.seq", LOG, "the place of an entry", ERASED),
    field("log.prev", LOG, "chains the entries", ERASED),
    field("log.author", LOG, "owner, or which device", ERASED),
    field("log.time", LOG, "the author's clock, to the second", ERASED),
    field("log.signature", LOG, "proves the author", ERASED),
    field("log.received", LOG, "the server's clock; retention goes by it", ERASED),
    field("genesis.root_key", LOG, "verifies the owner's entries", ERASED),
    field("genesis.vault_key_hash", LOG, "binds the key that backups are sealed to", ERASED),
    field("genesis.owner_login", LOG, "verifies the owner's logins", ERASED),
    field("genesis.server_identity", LOG, "binds the vault to this server", ERASED),
    field("slots.hash", LOG, "which unlock slots are valid", ERASED),
    field("slots.login_keys", LOG, "verifies who may fetch the slots", ERASED),
    field(
        "slots.sealed",
        TWICE,
        "open with the passphrase or the recovery code alone",
        UNTIL_REPLACED,
    ),
    field("device.id", LOG, "tells devices apart; random", ERASED),
    field("device.manifest_key", LOG, "verifies its entries", ERASED),
    field("device.login_key", LOG, "verifies its logins", ERASED),
    field("device.sealed", LOG, "its name and index key, sealed for the owner", ERASED),
    field("device.backup_only", LOG, "whether it may fetch slots", ERASED),
    field("device.replaces", LOG, "whose place it took", ERASED),
    field("device.last_valid", LOG, "the last entry that counts, if it was revoked", ERASED),
    field("device.label", LOG, "its new name, sealed for the owner", ERASED),
    field("device.audit", LOG, "hash of its packs, and how many were found damaged", ERASED),
    field("policy.disclosure", LOG, "what snapshots may disclose", ERASED),
    field("policy.grace_days", LOG, "how long unreferenced packs are kept", ERASED),
    field("policy.floor_days", LOG, "how long every snapshot stays", ERASED),
    field("policy.keep", LOG, "which snapshots stay", ERASED),
    field("policy.sets", LOG, "rules of single sets", ERASED),
    field("policy.burst_per_hour", LOG, "how many snapshots an hour are a burst", ERASED),
    field("policy.burst_pause_days", LOG, "how long a burst stops expiry", ERASED),
    field("policy.device_bytes", LOG, "how much a device may store", ERASED),
    field("policy.devices", LOG, "limits of single devices", ERASED),
    field("policy.format_floor", LOG, "formats that are too old", ERASED),
    field("policy.dedup_scope", LOG, "against what devices deduplicate", ERASED),
    field("policy.silent_days", LOG, "after how long a silent device is reported", ERASED),
    field("snapshot.set", LOG, "which snapshots are of one set; a keyed hash", ERASED),
    field("snapshot.status", LOG, "complete, partial or checkpoint", ERASED),
    field("snapshot.id", LOG, "the hash of its sealed manifest", ERASED),
    field("snapshot.packset_hash", LOG, "binds the packs that it needs", ERASED),
    field("snapshot.marks", LOG, "forgotten, brought back, expired, pinned, held", ERASED),
    field("snapshot.compact", LOG, "which packs took the place of which", ERASED),
    field("log.fold", LOG, "hash of the state so far", ERASED),
    field("log.rollback", LOG, "where history went on after a restored copy", ERASED),
    field("log.erase", LOG, "the wish to erase the account, or that it was cancelled", ERASED),
    field("snapshot.manifest", TWICE, "sealed for the owner; its length is padded", ERASED),
    field("snapshot.packset", TWICE, "the numbers of the packs that it needs", ERASED),
    field("disclosure.start", LOG, "start of the run, to the minute", ERASED),
    field("disclosure.end", LOG, "end of the run, to the minute", ERASED),
    field("disclosure.totals", LOG, "files and bytes, two digits; none at level `none`", ERASED),
    field("disclosure.types", LOG, "the same by kind of file, at level `types` alone", ERASED),
    field("pack.number", JOURNAL, "names it briefly", ERASED),
    field("pack.id", JOURNAL, "names it by what is in it", ERASED),
    field("pack.content_hash", JOURNAL, "lets it be verified", ERASED),
    field("pack.device", JOURNAL, "which device wrote it", ERASED),
    field("pack.length", JOURNAL, "for the quota and for reading; one of nine lengths", ERASED),
    field("pack.footer_len", JOURNAL, "where its sealed table of contents begins", ERASED),
    field("pack.received", JOURNAL, "when it came; grace goes by it", ERASED),
    field("pack.damaged", JOURNAL, "which were found damaged or whole again, and when", ERASED),
    field("pack.bytes", BLOB, "sealed for the owner", ERASED),
    field("pack.footers", BLOB, "both ends of packs once more, for repair", ERASED),
    field(
        "index.progress",
        INDEX,
        "how far the journal was read, and the log in it checked",
        ERASED,
    ),
    field("index.pack", INDEX, "the fields of a pack once more, for speed", ERASED),
    field("invite.secret_hash", SERVER, "the invite that made the account", FOREVER),
    field("invite.quota", SERVER, "what the invite allowed", FOREVER),
    field("invite.expires", SERVER, "until when it was good", FOREVER),
    field("invite.account", SERVER, "which account it made", FOREVER),
    field("invite.genesis", SERVER, "hash of the account's first entry", FOREVER),
];

/// Fields of the server as a whole, and what is not kept.
pub const OTHER: &[Field] = &[
    field("invite.revoked", SERVER, "which invites were taken back", FOREVER),
    field("erasure.account", SERVER, "which account is being erased", FOREVER),
    field("erasure.by", SERVER, "owner or operator", FOREVER),
    field("erasure.requested", SERVER, "when it was asked for", FOREVER),
    field(
        "erasure.receipt",
        SERVER,
        "account, times, counts of what was removed, hash of the last log record; signed",
        FOREVER,
    ),
    field(
        "server.clock",
        SERVER,
        "when the server was last up, so that a wrong clock shows",
        FOREVER,
    ),
    field("scrub.finished", SCRUB, "when an account was last read again", ERASED),
    field("scrub.lost", SCRUB, "how many manifests, lists and slots were found lost", ERASED),
    field("scrub.next", SCRUB, "up to where it was read since", ERASED),
    field("journal.aside", ASIDE, "what a rebuild could not read, for whoever can", ERASED),
    field("server.address", FILE, "where clients find the server", FOREVER),
    field("server.spki", FILE, "which TLS key clients pin", FOREVER),
    field("server.format", "the file format", "version of the folder's layout", FOREVER),
    field("session.token", MEMORY, "hash of the token, account, principal", RUNNING),
    field("session.challenge", MEMORY, "challenges that were answered", "two minutes"),
    field("session.address", MEMORY, "the client's address, for limits", "with its connection"),
    field(
        "session.budget",
        MEMORY,
        "how many requests an address or an account may still send; counters without names",
        "as long as the process",
    ),
    field("request.line", LINES, "time, route, status, bytes, duration, pseudonym", OPERATOR),
];

/// All of it.
pub fn all() -> impl Iterator<Item = &'static Field> {
    ACCOUNT.iter().chain(OTHER)
}

/// The field of this name.
pub fn find(name: &str) -> Option<&'static Field> {
    all().find(|field| field.name == name)
}

/// What a server of this version says of itself.
pub fn statement() -> Statement {
    Statement { addresses_logged: false, fields: all().cloned().collect() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_told_once_and_every_field_says_all() {
        let mut names = BTreeSet::new();
        for field in all() {
            assert!(names.insert(&field.name), "{} twice", field.name);
            assert!(field.name.split_once('.').is_some(), "{}", field.name);
            assert!(!field.place.is_empty() && !field.why.is_empty() && !field.kept.is_empty());
        }
        assert!(find("pack.received").is_some());
        assert!(find("account.email").is_none());
    }

    #[test]
    fn nothing_about_a_person_is_in_it() {
        for field in all() {
            for word in ["email", "mail", "phone", "surname", "hostname", "path", "user"] {
                assert!(!field.name.contains(word), "{}", field.name);
            }
        }
    }
}
