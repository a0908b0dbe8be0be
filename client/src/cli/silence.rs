//! Devices that have made no backup for longer than the owner's policy allows: told by every
//! machine, so that it works when the silent one is switched off.

use unseen_common::id::DeviceId;
use unseen_common::log::state::State;
use unseen_common::time::{Clock as _, Timestamp};

use super::context::Context;
use super::escape::escape_for_terminal;
use super::reading::{local_time, machine_time};
use super::units::plural;
use super::vault::SystemClock;

/// The devices that are silent now, and since when.
fn now_silent(state: &State) -> Vec<(DeviceId, Timestamp)> {
    state.silent_devices(state.head_received.max(SystemClock.now()))
}

/// Warns of each silent device; `name` tells what it is called, where that is known.
pub(super) fn warn(ctx: &Context<'_>, state: &State, name: &dyn Fn(DeviceId) -> Option<String>) {
    for text in warnings(state, name) {
        ctx.ui.warn(&text);
    }
}

/// What is to be warned of.
pub(super) fn warnings(state: &State, name: &dyn Fn(DeviceId) -> Option<String>) -> Vec<String> {
    let days = state.policy_at(state.head_received.max(SystemClock.now())).silent_days;
    let one = |(device, since): (DeviceId, Timestamp)| {
        let id = device.short();
        let called = match name(device) {
            Some(name) => format!("{} ({id})", escape_for_terminal(name.as_bytes())),
            None => id,
        };
        format!(
            "device {called} has made no backup since {}: the policy has that reported after {}",
            local_time(since),
            plural(days.into(), "day", "days"),
        )
    };
    now_silent(state).into_iter().map(one).collect()
}

/// The same for programs.
pub(super) fn json(state: &State) -> Vec<serde_json::Value> {
    let one = |(device, since): (DeviceId, Timestamp)| serde_json::json!({ "device": device.to_string(), "last_backup": machine_time(since) });
    now_silent(state).into_iter().map(one).collect()
}
