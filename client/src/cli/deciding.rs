//! What the commands share by which the owner decides: the secret, the session that signs, the
//! snapshots that are meant, the table of what becomes of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::runtime::Runtime;
use unseen_common::id::SnapshotId;
use unseen_common::log::entry::{Body, SnapshotIds};
use unseen_common::time::{Clock, Timestamp};
use unseen_common::vault::Vault;

use super::args::SnapshotFilter;
use super::args::values::SnapshotPath;
use super::context::Context;
use super::escape::escape_for_terminal;
use super::exit::{CliError, Exit};
use super::reading::{Reading, local_time, machine_time, one_filter, unlock_vault};
use super::units::{Align, Table, bytes, plural};
use super::vault::{self, SystemClock};
use crate::browse::resolve::{Wanted, parse};
use crate::browse::snapshots::{Listed, Row};
use crate::maintain::forget::{Fate, Judged};
use crate::maintain::quota::deletion_held;
use crate::repo::OwnerRepo;
use crate::repo::clocks::stamped_ahead;
use crate::repo::reader::ReaderRepo;

/// A vault whose owner is at hand: to read in it and to decide about it.
#[derive(Debug)]
pub struct Deciding {
    /// What reads. Its log is the one before anything was decided.
    pub reading: Reading,
    /// What decides.
    pub owner: OwnerRepo,
}

/// Asks for a secret and opens the vault with it. Every command that decides asks anew.
pub fn open(ctx: &Context<'_>, runtime: &Runtime) -> Result<Deciding, CliError> {
    let unlocking = unlock_vault(ctx, runtime)?;
    let folders = vault::folders(&unlocking.setup.places);
    let service = Arc::clone(&unlocking.opened.service);
    let place = unlocking.place(&folders);
    let opened = OwnerRepo::open(&service, place, &unlocking.unlocked, Arc::new(SystemClock));
    let owner = runtime.block_on(opened)?;
    unlocking.check_slots(&owner.log.state)?;
    tell_clocks(ctx, &owner);
    tell_held(ctx, runtime, &*owner.vault);
    let reading = super::reading::with(unlocking, runtime)?;
    Ok(Deciding { reading, owner })
}

/// Says what is wrong with the clocks, if anything is.
pub fn tell_clocks(ctx: &Context<'_>, owner: &OwnerRepo) {
    let ahead = || stamped_ahead(&owner.log.state, owner.clocks.server);
    if let Some(trouble) = owner.clocks.warning().or_else(ahead) {
        ctx.ui.warn(&trouble);
    }
}

/// Says so if the server expires and deletes nothing for now. One that does not answer that is no
/// reason to decide nothing.
pub fn tell_held(ctx: &Context<'_>, runtime: &Runtime, vault: &dyn Vault) {
    if let Ok(Some(held)) = runtime.block_on(deletion_held(vault)) {
        ctx.ui.warn(&held);
    }
}

impl Deciding {
    /// The vault as it is read.
    pub fn repo(&self) -> &ReaderRepo {
        &self.reading.repo
    }

    /// Now, but never before the newest record: what the server will stamp an entry with.
    pub fn now(&self) -> Timestamp {
        self.owner.log.state.head_received.max(SystemClock.now())
    }

    /// The live snapshots that are named, each once.
    pub fn named(
        &self,
        ctx: &Context<'_>,
        (names, filter): (&[String], &SnapshotFilter),
        runtime: &Runtime,
    ) -> Result<Vec<Listed>, CliError> {
        let mut listed: Vec<Listed> = Vec::new();
        for name in names {
            let named = SnapshotPath { snapshot: whole(name)?, path: None };
            let chosen = self.reading.choose(ctx, (&named, filter), runtime)?;
            if listed.iter().all(|one| one.row.id != chosen.snapshot.id) {
                listed.push(Listed { row: chosen.snapshot, manifest: Ok(chosen.manifest) });
            }
        }
        Ok(listed)
    }

    /// The live snapshots that a filter leaves.
    pub fn matching(
        &self,
        filter: &SnapshotFilter,
        runtime: &Runtime,
    ) -> Result<Vec<Listed>, CliError> {
        let filter = one_filter(filter)?;
        Ok(runtime.block_on(crate::browse::resolve::matching_listed(self.repo(), &filter)))
    }

    /// Signs that something happens to these snapshots, in as few entries as it takes.
    pub fn append_all(
        &mut self,
        ids: &BTreeSet<SnapshotId>,
        body: fn(SnapshotIds) -> Body,
        runtime: &Runtime,
    ) -> Result<(), CliError> {
        for batch in SnapshotIds::batches(ids.iter().copied()) {
            runtime.block_on(self.owner.append(body(batch)))?;
        }
        Ok(())
    }
}

/// A snapshot, and not a path in one.
fn whole(name: &str) -> Result<String, CliError> {
    let Wanted { path, .. } = parse(name).map_err(|e| CliError::from_error(Exit::Usage, e))?;
    match path {
        None => Ok(name.to_owned()),
        Some(_) => Err(CliError::usage(format!("a whole snapshot is needed, not a path: {name}"))),
    }
}

/// Asks, if there is anybody to be asked. A script that gave the secret is not.
pub fn agreed(ctx: &Context<'_>, question: &str) -> Result<(), CliError> {
    if !ctx.terminal.is_present() || ctx.confirm(question) {
        return Ok(());
    }
    Err(CliError::new(Exit::Failed, "nothing was changed: it was not confirmed")
        .hint("answer with y, or give --yes"))
}

/// A snapshot in words: host, set, tags and size, as far as they are known.
pub fn words(listed: &Listed) -> [String; 4] {
    let row = &listed.row;
    let device = || row.device_name.clone().unwrap_or_else(|| format!("({})", row.device.short()));
    let shown = |text: &str| escape_for_terminal(text.as_bytes()).into_owned();
    match &listed.manifest {
        Ok(manifest) => [
            shown(&manifest.host),
            shown(&manifest.set),
            shown(&manifest.tags.join(",")),
            bytes(manifest.totals.bytes),
        ],
        Err(_) => [device(), "(damaged)".to_owned(), String::new(), String::new()],
    }
}

/// So many snapshots are listed one by one; of more, those that are alike are counted.
const MANY: usize = 100;
/// A row for what lies between is worth it from so many on.
const ALIKE: usize = 5;

/// What becomes of each snapshot, and why. In a long list of those that lie beside each other and
/// are kept or go for the same reason the first and the last are shown, unless `-v` is given.
pub fn show_judged(ctx: &Context<'_>, judged: &[&Judged]) {
    let mut table = Table::new(&[
        ("", Align::Left),
        ("ID", Align::Left),
        ("Time", Align::Left),
        ("Host", Align::Left),
        ("Set", Align::Left),
        ("Tags", Align::Left),
        ("Size", Align::Right),
        ("Why", Align::Left),
    ]);
    let short = judged.len() > MANY && !ctx.ui.is_verbose(1);
    let mut left_out = false;
    for alike in judged.chunk_by(|a, b| short && are_alike(a, b)) {
        match alike {
            [first, between @ .., last] if alike.len() >= ALIKE => {
                let more = plural(between.len() as u64, "more like it", "more like them");
                table.row(cells(first));
                table.row(["…".to_owned(), String::new(), more]);
                table.row(cells(last));
                left_out = true;
            }
            few => few.iter().for_each(|one| table.row(cells(one))),
        }
    }
    for line in table.lines() {
        ctx.ui.line(&line);
    }
    if left_out {
        ctx.ui.status("-v lists every snapshot");
    }
}

fn are_alike(a: &Judged, b: &Judged) -> bool {
    let of = |one: &Judged| (one.listed.row.device, one.listed.row.set, fate_word(one));
    of(a) == of(b) && a.reasons == b.reasons
}

fn fate_word(judged: &Judged) -> &'static str {
    match judged.fate {
        Fate::Keep if judged.later.is_some() => "later",
        Fate::Keep => "keep",
        Fate::Pin => "pin",
        Fate::Forget => "forget",
    }
}

fn cells(judged: &Judged) -> [String; 8] {
    let Row { id, time, .. } = &judged.listed.row;
    let [host, set, tags, size] = words(&judged.listed);
    let (fate, why) = (fate_word(judged).to_owned(), judged.reasons.join("; "));
    [fate, id.short(), local_time(*time), host, set, tags, size, why]
}

/// The same for machines.
pub fn json_of<'a>(judged: impl IntoIterator<Item = &'a Judged>) -> Vec<serde_json::Value> {
    let one = |judged: &Judged| {
        let row = &judged.listed.row;
        let manifest = judged.listed.manifest.as_ref().ok();
        serde_json::json!({
            "id": row.id.to_string(),
            "short_id": row.id.short(),
            "time": machine_time(row.time),
            "received": machine_time(row.received),
            "device": row.device.to_string(),
            "hostname": manifest.map(|manifest| &manifest.host),
            "set": manifest.map(|manifest| &manifest.set),
            "tags": manifest.map(|manifest| &manifest.tags),
            "status": row.status,
            "keep": judged.fate != Fate::Forget,
            "goes_later": judged.later.map(|later| machine_time(later.at)),
            "pin": judged.fate == Fate::Pin,
            "reasons": judged.reasons,
        })
    };
    judged.into_iter().map(one).collect()
}

/// Sorts for reading: by time. A list so long that what is alike is counted in it goes by device
/// and set first, so that it lies beside each other.
pub fn sort(judged: &mut [Judged]) {
    let long = judged.len() > MANY;
    judged.sort_by_key(|one| {
        let Row { device, set, received, seq, .. } = one.listed.row;
        (long.then_some((device, set)), received, seq)
    });
}
