//! What rules make of the snapshots, on the screen.

use unseen_common::log::policy::Policy;
use unseen_common::retention::{Forecast, Foreseen, Wait};
use unseen_common::time::Timestamp;

use crate::cli::context::Context;
use crate::cli::deciding::show_judged;
use crate::cli::reading::local_time;
use crate::cli::units::{count, plural};
use crate::maintain::forget::{Fate, Judged};

/// How many go by a change, and how many by the rules in force before it takes effect.
#[derive(Debug)]
pub(super) struct Foretold {
    effective: Option<Timestamp>,
    before: Forecast,
    by_it: Forecast,
}

impl Foretold {
    /// Counts what is foreseen of a change that takes effect then, or at once.
    pub(super) fn of(foreseen: &[Foreseen], effective: Option<Timestamp>) -> Self {
        let part = |before| Forecast::of(foreseen.iter().filter(|one| one.before_change == before));
        Self { effective, before: part(true), by_it: part(false) }
    }

    /// Whether any goes, at once or later.
    pub(super) fn takes_any(&self) -> bool {
        self.before.takes_any() || self.by_it.takes_any()
    }

    fn in_words(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.before.takes_any() {
            let words = going(&self.before, ("go", "go"), "at once");
            lines.push(format!("before that change, by the rules still in force: {words}"));
        }
        let when = self
            .effective
            .map_or_else(|| "at once".to_owned(), |at| format!("on {}", local_time(at)));
        lines.push(in_words(&self.by_it, &when, true));
        lines
    }
}

/// Every snapshot and its reason in a dry run; else those that go, at once or later.
pub(super) fn preview(ctx: &Context<'_>, judged: &[Judged], foretold: &Foretold, dry_run: bool) {
    let shown: Vec<&Judged> = judged
        .iter()
        .filter(|one| dry_run || one.fate == Fate::Forget || one.later.is_some())
        .collect();
    if !shown.is_empty() {
        show_judged(ctx, &shown);
    }
    for line in foretold.in_words() {
        ctx.ui.summary(&line);
    }
}

/// The same of the policy in force, by numbers alone: that needs no secret.
pub(super) fn outlook(ctx: &Context<'_>, forecast: &Forecast, policy: &Policy) {
    if !policy.keep.is_none() || forecast.takes_any() {
        let words = in_words(forecast, "at once", false);
        ctx.ui.line(&format!("\n{words}; {} stay", count(forecast.kept)));
    }
}

/// How many go by it, and when; `would` is put before the verb.
fn in_words(forecast: &Forecast, when: &str, would: bool) -> String {
    if !forecast.takes_any() {
        let verb = if would { "would go" } else { "goes" };
        return format!("as things stand, no snapshot {verb} by it");
    }
    let verbs = if would { ("would go by it", "would") } else { ("go by it", "go") };
    format!("as things stand, {}", going(forecast, verbs, when))
}

/// How many go: first those that go `when` the rules begin to count, then those that wait.
fn going(forecast: &Forecast, (verb, again): (&str, &str), when: &str) -> String {
    let at_change = forecast.later.get(&Wait::Change).map_or(0, |(count, _)| *count);
    let first = forecast.now + at_change;
    let mut words = vec![match first {
        0 => format!("none {verb} {when}"),
        1 if verb == "go" => format!("1 snapshot goes {when}"),
        first => format!("{} {verb} {when}", plural(first, "snapshot", "snapshots")),
    }];
    for (wait, (more, last)) in &forecast.later {
        let last = local_time(*last);
        let once = match wait {
            Wait::Hour => format!("once the newest are an hour old, by {last}"),
            Wait::Floor => format!("when the floor is over, the last on {last}"),
            Wait::Pause => format!("when the pause after a burst is over, on {last}"),
            Wait::Change => continue,
        };
        let more = count(*more);
        words.push(if first > 0 {
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

    #[test]
    fn a_change_that_waits_is_told_apart_from_what_goes_before_it() {
        let (pause, day) = (Timestamp(1_000_000_000), Timestamp(1_002_000_000));
        let part = |now, later: &[(Wait, (u64, Timestamp))]| Forecast {
            now,
            later: later.iter().copied().collect(),
            kept: 0,
        };
        let told = |before, by_it| Foretold { effective: Some(day), before, by_it }.in_words();
        let (at, on) = (local_time(pause), local_time(day));
        assert_eq!(
            told(part(1, &[(Wait::Pause, (4, pause))]), part(0, &[(Wait::Change, (2, day))])),
            [
                format!(
                    "before that change, by the rules still in force: 1 snapshot goes at once; 4 \
                     more when the pause after a burst is over, on {at}"
                ),
                format!("as things stand, 2 snapshots would go by it on {on}"),
            ]
        );
        assert_eq!(
            told(part(0, &[]), part(0, &[(Wait::Floor, (2, pause))])),
            [format!(
                "as things stand, none would go by it on {on}; 2 would when the floor is over, \
                 the last on {at}"
            )]
        );
    }
}
