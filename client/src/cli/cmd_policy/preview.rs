//! What rules make of the snapshots, on the screen.

use unseen_common::log::policy::Policy;
use unseen_common::retention::{Forecast, Wait};
use unseen_common::time::Timestamp;

use crate::cli::context::Context;
use crate::cli::deciding::show_judged;
use crate::cli::reading::local_time;
use crate::cli::units::{count, plural};
use crate::maintain::forget::{Fate, Judged};

/// Every snapshot and its reason in a dry run; else those that go, at once or later.
pub(super) fn preview(
    ctx: &Context<'_>,
    (judged, forecast): (&[Judged], &Forecast),
    (effective, dry_run): (Option<Timestamp>, bool),
) {
    let shown: Vec<&Judged> = judged
        .iter()
        .filter(|one| dry_run || one.fate == Fate::Forget || one.later.is_some())
        .collect();
    if !shown.is_empty() {
        show_judged(ctx, &shown);
    }
    let when =
        effective.map_or_else(|| "at once".to_owned(), |at| format!("on {}", local_time(at)));
    ctx.ui.summary(&in_words(forecast, &when, true));
}

/// The same of the policy in force, by numbers alone: that needs no secret.
pub(super) fn outlook(ctx: &Context<'_>, forecast: &Forecast, policy: &Policy) {
    if !policy.keep.is_none() || forecast.takes_any() {
        let words = in_words(forecast, "at once", false);
        ctx.ui.line(&format!("\n{words}; {} stay", count(forecast.kept)));
    }
}

/// How many go, and when; `would` is put before the verb.
fn in_words(forecast: &Forecast, when: &str, would: bool) -> String {
    let (verb, again) = if would { ("would go", "would") } else { ("go", "go") };
    if !forecast.takes_any() {
        let verb = if would { verb } else { "goes" };
        return format!("as things stand, no snapshot {verb} by it");
    }
    let first = match forecast.now {
        0 => "none".to_owned(),
        now => plural(now, "snapshot", "snapshots"),
    };
    let mut words = vec![format!("as things stand, {first} {verb} by it {when}")];
    for (wait, (more, last)) in &forecast.later {
        let last = local_time(*last);
        let once = match wait {
            Wait::Hour => format!("once the newest are an hour old, by {last}"),
            Wait::Floor => format!("when the floor is over, the last on {last}"),
            Wait::Pause => format!("when the pause after a burst is over, on {last}"),
        };
        let more = count(*more);
        words.push(if forecast.now > 0 {
            format!("{more} more {once}")
        } else {
            format!("{more} {again} {once}")
        });
    }
    words.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_go_and_when() {
        let last = Timestamp(1_000_000_000);
        let told = |now, later: &[(Wait, u64)]| {
            let later = later.iter().map(|(wait, count)| (*wait, (*count, last))).collect();
            in_words(&Forecast { now, later, kept: 1 }, "at once", true)
        };
        let at = local_time(last);
        for (told, wanted) in [
            (told(0, &[]), "no snapshot would go by it".to_owned()),
            (told(1, &[]), "1 snapshot would go by it at once".to_owned()),
            (
                told(0, &[(Wait::Hour, 7)]),
                format!(
                    "none would go by it at once; 7 would once the newest are an hour old, by {at}"
                ),
            ),
            (
                told(2, &[(Wait::Floor, 3), (Wait::Pause, 1)]),
                format!(
                    "2 snapshots would go by it at once; 3 more when the floor is over, the last \
                     on {at}; 1 more when the pause after a burst is over, on {at}"
                ),
            ),
        ] {
            assert_eq!(told, format!("as things stand, {wanted}"));
        }
        let none = in_words(&Forecast::default(), "at once", false);
        assert_eq!(none, "as things stand, no snapshot goes by it");
    }
}
