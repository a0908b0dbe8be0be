//! What the user is told without having asked. Pure: the book says how things stand.
//!
//! Nobody is ever told that all is well, and nobody is told the same twice: a trouble is told when
//! it comes and when it grows. Only a backup that has been missing for a week is told every day.

mod alarm;
mod kinds;
mod look;
mod mass;
mod outbox;
mod sketch;
mod window;

use serde::{Deserialize, Serialize};
use unseen_common::time::{SECONDS_A_DAY, Timestamp};

use super::book::{Book, SetBook};
use super::job::{Room, Trouble};

pub use kinds::{Kinds, Look, Looks};
pub use look::look_at;
pub use mass::{Mass, unusual};
pub use outbox::{Outbox, Outcome, Told, Way};
pub use window::{Found, GOOD, Touched, Window};

/// Something the user should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What it is about: the same as long as it is the same trouble.
    pub key: String,
    /// How bad it is: it is told again when this changes.
    pub state: String,
    /// How loud.
    pub level: Level,
    /// One sentence.
    pub text: String,
    /// What to do.
    pub hint: String,
}

impl Alert {
    /// The exit code that the program has for it, or 0 if it is only to be known. What a set's last
    /// run failed of, that tells by itself.
    pub fn code(&self) -> u8 {
        match self.key.split(' ').next() {
            Some(CHECK) => Trouble::DAMAGED,
            Some(UNREACHABLE_KEY) => Trouble::UNREACHABLE,
            Some(UNREADABLE_KEY) => Trouble::INCOMPLETE,
            Some(CONFIG | CLOCKS | MASS_KEY | QUOTA) => Trouble::FAILED,
            Some(MISSED_KEY) if self.level > Level::Shown => Trouble::FAILED,
            _ => 0,
        }
    }

    /// It is as true without a daemon, however long that does not run.
    pub fn stays_true(&self) -> bool {
        matches!(self.key.split(' ').next(), Some(CHECK | MASS_KEY))
    }
}

/// How loud an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Shown to whoever looks.
    Shown,
    /// Told once.
    Told,
    /// Told every day.
    Daily,
}

/// Days in use without a backup until it is shown, told, and told every day.
const MISSED: [(u32, Level); 3] = [(7, Level::Daily), (3, Level::Told), (1, Level::Shown)];
/// Runs in a row with files that cannot be read, until it is told: one may be a file in use.
const UNREADABLE: u32 = 3;
/// How long a vault is out of reach before it is told.
const UNREACHABLE: u64 = 2 * SECONDS_A_DAY;
/// Parts of a quota in use, in percent, at which it is told.
const NEARLY_FULL: [u64; 3] = [98, 95, 90];

/// What alerts are about; some of them of one set, whose name follows.
const CLOCKS: &str = "clocks";
const UNREACHABLE_KEY: &str = "unreachable";
const UNREADABLE_KEY: &str = "unreadable";
const MASS_KEY: &str = "mass";
const QUOTA: &str = "quota";
/// What an alert is about that says that the vault does not hold what it should.
const CHECK: &str = "check";
/// What an alert is about, the name of a set following, that says that nobody has saved it.
pub const MISSED_KEY: &str = "missed";
/// What an alert is about that says that the configuration is no good.
pub const CONFIG: &str = "config";

/// All that is wrong now, the worst first.
pub fn current(book: &Book, now: Timestamp) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for (name, set) in &book.sets {
        alerts.extend(at_once(name, set));
        alerts.extend(alarm::alert(name, set, now));
        alerts.extend(missed(name, set));
        alerts.extend(unreadable(name, set));
    }
    alerts.extend(book.removed.iter().filter_map(|(name, set)| alarm::alert(name, set, now)));
    if let Some(since) = book.unreachable_since.filter(|since| now.since(*since) >= UNREACHABLE) {
        let days = now.since(since) / SECONDS_A_DAY;
        alerts.push(Alert {
            key: UNREACHABLE_KEY.to_owned(),
            state: if days < 7 { "days" } else { "week" }.to_owned(),
            level: Level::Told,
            text: format!("The vault could not be reached for {days} days."),
            hint: "is the server running, and its disk there?".to_owned(),
        });
    }
    if let Some(trouble) = book.checked.as_ref().and_then(|checked| checked.trouble.as_ref()) {
        alerts.push(Alert {
            key: CHECK.to_owned(),
            state: trouble.clone(),
            level: Level::Told,
            text: format!("The vault does not hold what it should: {trouble}."),
            hint: "`backup check` looks at everything".to_owned(),
        });
    }
    alerts.extend(nearly_full(book));
    if let Some(trouble) = &book.clocks {
        alerts.push(Alert {
            key: CLOCKS.to_owned(),
            // It is told once, whatever the minutes are.
            state: String::new(),
            level: Level::Told,
            text: format!("A clock is or was wrong: {trouble}."),
            hint: "`backup run` compares them again".to_owned(),
        });
    }
    if let Some(why) = &book.config {
        alerts.push(Alert {
            key: CONFIG.to_owned(),
            state: why.clone(),
            level: Level::Told,
            text: format!("The daemon goes on with its old configuration: {why}."),
            hint: "it takes the new one as soon as that is mended".to_owned(),
        });
    }
    alerts.extend(book.outbox.blocked().into_iter().map(|(way, why)| Alert {
        key: format!("untold {}", way.name()),
        state: String::new(),
        level: Level::Shown,
        text: format!("You could not be told of trouble by {}: {why}.", way.name()),
        hint: "it is tried again; config.toml says how you are told".to_owned(),
    }));
    // Several sets fail of one reason.
    alerts.sort_by(|a, b| b.level.cmp(&a.level).then_with(|| a.key.cmp(&b.key)));
    alerts.dedup_by(|a, b| a.key == b.key);
    alerts
}

/// What is to be told now, which is noted in the book and put into its outbox.
pub fn due(book: &mut Book, now: Timestamp) -> Vec<Alert> {
    let current = current(book, now);
    book.told.retain(|key, _| current.iter().any(|alert| alert.key == *key));
    book.outbox.keep(&current);
    let mut due = Vec::new();
    for alert in current {
        let again = match book.told.get(&alert.key) {
            None => alert.level > Level::Shown,
            Some((state, at)) => match alert.level {
                Level::Shown => false,
                Level::Told => *state != alert.state,
                Level::Daily => *state != alert.state || now.since(*at) >= SECONDS_A_DAY,
            },
        };
        // What finds no room is told as soon as there is some.
        if again && book.outbox.has_room(&alert.key) {
            book.outbox.add(alert.clone(), now);
            book.told.insert(alert.key.clone(), (alert.state.clone(), now));
            due.push(alert);
        }
    }
    due
}

/// What cannot wait.
fn at_once(name: &str, set: &SetBook) -> Option<Alert> {
    let trouble = &set.failing.as_ref()?.trouble;
    let (key, text) = match trouble.code {
        Trouble::HISTORY => ("history", "The server's history is not the one this machine knows"),
        Trouble::SERVER_KEY => ("key", "This is not the server that was set up"),
        Trouble::REFUSED => ("refused", "The server refuses this machine"),
        Trouble::FULL => ("full", "There is no room left for backups"),
        _ => return None,
    };
    let hint = trouble.hint.clone().unwrap_or_else(|| "`backup status` shows more".to_owned());
    Some(Alert {
        key: key.to_owned(),
        state: trouble.code.to_string(),
        level: Level::Told,
        text: format!("{text}: {} ({name}).", trouble.message),
        hint,
    })
}

fn missed(name: &str, set: &SetBook) -> Option<Alert> {
    let days = set.days.missed();
    let (least, level) = MISSED.into_iter().find(|(least, _)| days >= *least)?;
    let why = set.failing.as_ref().map(|failing| format!(": {}", failing.trouble.message));
    Some(Alert {
        key: format!("{MISSED_KEY} {name}"),
        state: least.to_string(),
        level,
        text: format!(
            "{name} has not been saved for {} in use{}.",
            if days == 1 { "a day".to_owned() } else { format!("{days} days") },
            why.unwrap_or_default()
        ),
        hint: "`backup run` tries now".to_owned(),
    })
}

fn nearly_full(book: &Book) -> Option<Alert> {
    let Room { used, allowed } = book.room?;
    let reached = |percent: &u64| {
        u128::from(used) * 100 >= u128::from(allowed) * u128::from(*percent) && allowed > 0
    };
    let percent = NEARLY_FULL.into_iter().find(reached)?;
    Some(Alert {
        key: QUOTA.to_owned(),
        state: percent.to_string(),
        level: Level::Told,
        text: format!("More than {percent} % of what the server allows is in use."),
        hint: "`backup forget` and `backup policy` free some of it; whoever runs the server can \
               allow more"
            .to_owned(),
    })
}

fn unreadable(name: &str, set: &SetBook) -> Option<Alert> {
    (set.problem_runs >= UNREADABLE).then(|| Alert {
        key: format!("{UNREADABLE_KEY} {name}"),
        state: set.problems.checked_ilog2().unwrap_or(0).to_string(),
        level: Level::Told,
        text: match set.problems {
            1 => format!("A file or folder of {name} cannot be read and is not saved."),
            n => format!("{n} files or folders of {name} cannot be read and are not saved."),
        },
        hint: "`backup run` names them".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::daemon::core::tests::{job, summary};
    use crate::daemon::job::RunResult;
    use crate::maintain::presence::Presence;

    const DAY: u64 = SECONDS_A_DAY;

    fn at(day: u64) -> Timestamp {
        Timestamp(1_800_000_000 + day * DAY)
    }

    fn on(day: u64) -> (Timestamp, i32) {
        (at(day), i32::try_from(day).unwrap())
    }

    fn keys(alerts: &[Alert]) -> Vec<&str> {
        alerts.iter().map(|alert| alert.key.as_str()).collect()
    }

    fn book() -> Book {
        let mut book = Book::default();
        book.know("a", "x", at(0));
        book.ended(&job(), &Ok(summary(None)), on(0));
        book
    }

    fn fail(book: &mut Book, code: u8, day: u64) {
        let result: RunResult = Err(Trouble::new(code, "so it is"));
        book.ended(&job(), &result, on(day));
    }

    #[test]
    fn missed_backups_are_told_by_days_in_use() {
        let mut book = book();
        let mut told = Vec::new();
        // Three weeks of holidays do not count.
        for day in [0, 1, 2, 23, 24, 25, 26, 27, 28, 29, 30] {
            book.in_use(on(day).1, Duration::from_secs(600));
            told.extend(due(&mut book, at(day)).iter().map(|alert| (day, alert.state.clone())));
            assert!(due(&mut book, at(day)).is_empty(), "told twice");
        }
        let told: Vec<(u64, &str)> = told.iter().map(|(day, s)| (*day, s.as_str())).collect();
        assert_eq!(told, [(23, "3"), (27, "7"), (28, "7"), (29, "7"), (30, "7")]);
        let shown = current(&book, at(30));
        assert!(shown[0].text.starts_with("a has not been saved for 10 days in use"), "{shown:?}");
        book.ended(&job(), &Ok(summary(None)), on(30));
        assert!(current(&book, at(30)).is_empty() && due(&mut book, at(30)).is_empty());
        assert!(book.told.is_empty());
        for day in 31..33 {
            book.in_use(on(day).1, Duration::from_secs(600));
        }
        assert_eq!(current(&book, at(33))[0].level, Level::Shown);
        assert!(due(&mut book, at(33)).is_empty(), "one day is nothing to tell");
    }

    #[test]
    fn what_cannot_wait_does_not() {
        for (code, key) in [(21, "history"), (25, "key"), (22, "refused"), (23, "full")] {
            let mut book = book();
            fail(&mut book, code, 0);
            assert_eq!(keys(&due(&mut book, at(0))), [key]);
            fail(&mut book, code, 0);
            assert!(due(&mut book, at(1)).is_empty());
            book.ended(&job(), &Ok(summary(None)), on(1));
            assert!(due(&mut book, at(1)).is_empty());
            fail(&mut book, code, 1);
            assert_eq!(keys(&due(&mut book, at(1))), [key], "it has come again");
        }
        let mut book = book();
        fail(&mut book, 1, 0);
        assert!(current(&book, at(0)).is_empty(), "one failure is nothing");
    }

    #[test]
    fn a_vault_out_of_reach_is_told_after_a_while() {
        let mut book = book();
        fail(&mut book, Trouble::UNREACHABLE, 0);
        assert!(due(&mut book, at(1)).is_empty());
        assert_eq!(keys(&due(&mut book, at(2))), ["unreachable"]);
        assert!(due(&mut book, at(3)).is_empty());
        assert_eq!(keys(&due(&mut book, at(7))), ["unreachable"]);
        fail(&mut book, 1, 8);
        assert!(current(&book, at(9)).is_empty(), "it answers again");
    }

    #[test]
    fn files_that_cannot_be_read_are_told_when_they_stay_so() {
        let mut book = book();
        let with = |problems| Ok(crate::daemon::job::Summary { problems, ..summary(None) });
        let mut told = Vec::new();
        for problems in [3, 3, 3, 3, 2, 9, 0, 1, 1] {
            book.ended(&job(), &with(problems), on(0));
            told.push(due(&mut book, at(0)).len());
        }
        assert_eq!(told, [0, 0, 1, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn damage_is_told() {
        let mut book = book();
        let with = |missing: Option<u64>| {
            let presence = missing.map(|missing| Presence { missing, ..Presence::default() });
            Ok(crate::daemon::job::Summary { presence, ..summary(None) })
        };
        book.ended(&job(), &with(Some(2)), on(0));
        assert!(current(&book, at(0))[0].text.contains("2 packs are gone or damaged"));
        assert_eq!(keys(&due(&mut book, at(0))), ["check"]);
        assert!(due(&mut book, at(1)).is_empty());
        book.ended(&job(), &with(Some(1)), on(1));
        assert!(current(&book, at(1))[0].text.contains("a pack is gone or damaged"));
        book.ended(&job(), &with(None), on(1));
        assert_eq!(keys(&current(&book, at(1))), ["check"], "nobody has looked again");
        book.ended(&job(), &with(Some(0)), on(1));
        assert!(current(&book, at(1)).is_empty());
    }

    #[test]
    fn a_quota_that_is_nearly_used_up_is_told_as_it_fills() {
        let mut book = book();
        let with = |used: Option<u64>| {
            let room = used.map(|used| Room { used, allowed: 1000 });
            Ok(crate::daemon::job::Summary {
                room,
                uploaded: 10,
                presence: Some(Presence::default()),
                ..summary(None)
            })
        };
        let mut told = Vec::new();
        for used in [Some(890), Some(900), Some(901), Some(951), Some(985), Some(100), None] {
            book.ended(&job(), &with(used), on(0));
            told.extend(due(&mut book, at(0)).into_iter().map(|alert| alert.state));
        }
        assert_eq!(told, ["90", "95", "98"]);
        assert_eq!(book.room, None, "there is no limit any more");
        // Between two looks, what was sent counts.
        book.ended(&job(), &with(Some(895)), on(0));
        let sent = crate::daemon::job::Summary { uploaded: 10, ..summary(None) };
        book.ended(&job(), &Ok(sent), on(0));
        assert_eq!(keys(&due(&mut book, at(0))), ["quota"]);
    }

    #[test]
    fn what_needs_somebody_has_an_exit_code() {
        let alert = |key: &str, level| Alert {
            key: key.to_owned(),
            state: String::new(),
            level,
            text: String::new(),
            hint: String::new(),
        };
        for (key, code) in [
            ("check", 20),
            ("unreachable", 24),
            ("unreadable a", 3),
            ("config", 1),
            ("clocks", 1),
            ("missed a", 1),
            ("quota", 1),
            ("mass a", 1),
            ("untold webhook", 0),
        ] {
            assert_eq!(alert(key, Level::Told).code(), code, "{key}");
        }
        assert_eq!(alert("missed a", Level::Shown).code(), 0, "a day is nothing");
    }

    #[test]
    fn a_configuration_that_cannot_be_read_is_told_once() {
        let mut book = book();
        book.config = Some("line 3: unknown field `quit`".to_owned());
        assert_eq!(keys(&due(&mut book, at(0))), ["config"]);
        assert!(due(&mut book, at(1)).is_empty());
        book.config = None;
        assert!(due(&mut book, at(1)).is_empty() && current(&book, at(1)).is_empty());
    }
}
