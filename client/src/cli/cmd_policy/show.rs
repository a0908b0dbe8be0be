//! The policy on the screen.

use std::sync::Arc;

use tokio::runtime::Runtime;
use unseen_common::id::SetTag;
use unseen_common::log::fold::State;
use unseen_common::retention::{Forecast, foresee};
use unseen_common::time::{Clock, Timestamp};

use super::preview::outlook;
use crate::browse::snapshots::{Listed, list_locked};
use crate::cli::context::Context;
use crate::cli::deciding::tell_held;
use crate::cli::escape::escape_for_terminal;
use crate::cli::exit::{CliError, Exit};
use crate::cli::reading::{self, local_time, machine_time};
use crate::cli::vault::{self, SystemClock};
use crate::maintain::policy::{differences, lines, waiting};
use crate::state::own_snapshots::OwnSnapshots;

/// Shows what is in force and what waits. Asks for no secret on a machine that is enrolled.
pub(super) fn show(ctx: &Context<'_>, runtime: &Runtime) -> Result<Exit, CliError> {
    let setup = ctx.setup()?;
    if setup.places.device_key().exists() {
        let (repo, _) = vault::open_repository(ctx, &setup, (runtime, Arc::default()))?;
        let own = OwnSnapshots::open(&repo.folders.own_snapshots());
        let names = list_locked(&repo.log.state).into_iter().filter_map(|row| {
            let manifest = own.get(&row.id)?;
            Some((row.set, manifest.set))
        });
        let names: Vec<(SetTag, String)> = names.collect();
        present(ctx, &repo.log.state, &|tag| {
            let found = names.iter().find(|(set, _)| *set == tag);
            found.map_or_else(|| unknown(tag), |(_, name)| name.clone())
        });
        tell_held(ctx, runtime, &*repo.vault);
    } else {
        let reading = reading::open(ctx, runtime)?;
        present(ctx, &reading.repo.log.state, &unknown);
        tell_held(ctx, runtime, &*reading.repo.vault);
    }
    Ok(Exit::Done)
}

fn present(ctx: &Context<'_>, state: &State, name: &dyn Fn(SetTag) -> String) {
    let now = state.head_received.max(SystemClock.now());
    let policy = state.policy_at(now);
    let waits = waiting(state, now);
    let forecast = Forecast::of(&foresee(state, policy, now));
    if ctx.ui.is_json() {
        ctx.ui.json(&serde_json::json!({
            "message_type": "policy",
            "policy": policy,
            "waiting": waits.map(|(pending, policy)| serde_json::json!({
                "entry": pending.seq,
                "effective": machine_time(pending.effective),
                "policy": policy,
            })),
            "bursts": bursts(state, now).map(|(device, until)| serde_json::json!({
                "device": device,
                "until": machine_time(until),
            })).collect::<Vec<_>>(),
            "would_expire": forecast.now,
            "would_expire_later": forecast.later.values().map(|(count, _)| count).sum::<u64>(),
        }));
        return;
    }
    let lines = lines(policy, name);
    let longest = lines.iter().map(|(what, _)| what.chars().count() + 2).max();
    let width = longest.unwrap_or_default().max(24);
    for (what, is) in lines {
        let what = escape_for_terminal(what.as_bytes());
        ctx.ui.line(&format!("{what:<width$}{is}"));
    }
    outlook(ctx, &forecast, policy);
    if let Some((pending, new)) = waits {
        ctx.ui.line(&format!("\nfrom {} on:", local_time(pending.effective)));
        for (what, was, is) in differences(policy, new, name) {
            ctx.ui.line(&format!("  {what}: {was} -> {is}"));
        }
        ctx.ui.line("  `backup policy cancel` stops that");
    }
    for (device, until) in bursts(state, now) {
        ctx.ui.line(&format!(
            "\na burst of snapshots of device {device} stops its expiry until {}; `backup policy \
             cancel --burst {device}` ends that",
            local_time(until)
        ));
    }
}

/// Devices whose expiry a burst has stopped, and until when.
fn bursts(state: &State, now: Timestamp) -> impl Iterator<Item = (String, Timestamp)> {
    let policy = state.policy_at(now);
    state.devices.iter().filter_map(move |(id, device)| {
        let until = device.paused_until(policy).filter(|until| now < *until)?;
        Some((id.short(), until))
    })
}

/// What is said as long as a change waits which weakens protection. If its owner did not want it,
/// this is how they come to know.
pub fn waiting_warning(state: &State) -> Option<String> {
    let now = state.head_received.max(SystemClock.now());
    let (pending, new) = waiting(state, now)?;
    let found = differences(state.policy_at(now), new, &unknown);
    let words = found.into_iter().map(|(what, was, is)| format!("{what}: {was} -> {is}"));
    Some(format!(
        "from {} on the policy protects less ({}); `backup policy cancel` stops that",
        local_time(pending.effective),
        words.collect::<Vec<_>>().join(", ")
    ))
}

/// What a set is called: by a snapshot of it, or as the user just typed it.
pub(super) fn set_name(
    listed: &[Listed],
    typed: (Option<SetTag>, Option<&str>),
    tag: SetTag,
) -> String {
    if let (Some(set), Some(name)) = typed
        && set == tag
    {
        return name.to_owned();
    }
    let of_set = |listed: &&Listed| listed.row.set == tag;
    let manifest = listed.iter().filter(of_set).find_map(|listed| listed.manifest.as_ref().ok());
    manifest.map_or_else(|| unknown(tag), |manifest| manifest.set.clone())
}

fn unknown(tag: SetTag) -> String {
    format!("({})", tag.short())
}
