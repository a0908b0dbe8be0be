//! Several sets, one after the other, whoever saves them.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::super::exit::{CliError, Exit};
use super::super::output::Ui;
use super::super::units::plural;

/// What concerns the vault is told with the first set, and not with every other one again.
#[derive(Debug, Default)]
pub(in crate::cli) struct Once(RefCell<BTreeSet<String>>);

impl Once {
    /// Whether this has not been told yet; from now on it has.
    pub(in crate::cli) fn is_news(&self, text: &str) -> bool {
        self.0.borrow_mut().insert(text.to_owned())
    }
}

/// Does the same for all of these, by their names. With several, one that fails does not stop the
/// others. Once it `is_over`, no further one begins.
pub(in crate::cli) fn each<S>(
    ui: &Ui,
    sets: &[(&str, S)],
    is_over: impl Fn() -> bool,
    mut one: impl FnMut(&S) -> Result<Exit, CliError>,
) -> Result<Exit, CliError> {
    if let [(_, set)] = sets {
        return one(set);
    }
    let (mut worst, mut failed) = (Exit::Done, Vec::new());
    for (at, (name, set)) in sets.iter().enumerate() {
        if is_over() {
            let left = sets.len() - at;
            ui.warn(&format!("{} not begun", plural(left as u64, "set", "sets")));
            worst = Exit::Interrupted;
            break;
        }
        ui.summary(&format!("{}set {name}", if at > 0 { "\n" } else { "" }));
        match one(set) {
            Ok(exit) => worst = worst.worse(exit),
            Err(error) => {
                worst = worst.worse(error.code());
                let hint = error.hint_text().map(|hint| format!(" ({hint})"));
                let hint = hint.unwrap_or_default();
                ui.warn(&format!("set {name}: {}{hint}", error.report()));
                failed.push(*name);
            }
        }
    }
    if failed.is_empty() {
        return Ok(worst);
    }
    let count = format!("{} of {} sets", failed.len(), sets.len());
    Err(CliError::new(worst, format!("{count} failed: {}", failed.join(", ")))
        .hint("see above; `backup run --set NAME` tries one again"))
}

#[cfg(test)]
mod tests {
    use super::super::super::output::Voice;
    use super::*;

    #[test]
    fn one_that_fails_stops_no_other_and_the_worst_counts() {
        let (ui, said) = Ui::captured(Voice::default());
        let sets = [("a", 0), ("b", 1), ("c", 2)];
        let mut done = Vec::new();
        let ended = each(
            &ui,
            &sets,
            || false,
            |n| {
                done.push(*n);
                match n {
                    0 => Err(CliError::new(Exit::Unreachable, "gone").hint("wait")),
                    1 => Ok(Exit::Incomplete),
                    _ => Ok(Exit::Done),
                }
            },
        );
        let error = ended.unwrap_err();
        assert_eq!((error.code(), done.as_slice()), (Exit::Unreachable, &[0, 1, 2][..]));
        assert_eq!(error.report(), "1 of 3 sets failed: a");
        assert!(said.err().contains("warning: set a: gone (wait)"), "{}", said.err());
        ui.flush();
        assert_eq!(said.out(), "set a\n\nset b\n\nset c\n");
    }

    #[test]
    fn a_single_one_speaks_for_itself_and_an_end_is_an_end() {
        let (ui, said) = Ui::captured(Voice::default());
        let fails = |(): &()| Err(CliError::new(Exit::Full, "full"));
        assert_eq!(each(&ui, &[("a", ())], || false, fails).unwrap_err().report(), "full");
        let ended = each(&ui, &[("a", ()), ("b", ())], || true, |()| Ok(Exit::Done));
        assert_eq!(ended.unwrap(), Exit::Interrupted);
        assert_eq!(said.err(), "warning: 2 sets not begun\n");
    }
}
