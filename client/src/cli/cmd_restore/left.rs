//! Telling what a restore left out. None of it is a failure.

use serde_json::{Map, Value, json};

use crate::cli::escape::{escape_for_terminal, insert_name};
use crate::cli::output::Ui;
use crate::cli::units::{count, plural};
use crate::restore::policy::Aspect;
use crate::restore::{LeftOut, Why};
use crate::scan::os::running_as_root;

/// Tells each kind with its first paths: with `-q` only what the system refused.
pub(super) fn tell(ui: &Ui, left: &[LeftOut]) {
    for kind in left {
        let what = subject(kind);
        match &kind.why {
            Why::NotAsked => ui.status(&format!("left out: {what}")),
            Why::OtherOwner => {
                ui.status(&format!("left out: {what} (the owner here is not the recorded one)"));
            }
            Why::Meaningless => {
                ui.status(&format!("left out: {what} (whatever listens there makes it anew)"));
            }
            Why::Refused(error) => ui.warn(&format!("not restored: {what}: {error}")),
            Why::Differs => ui.warn(&format!("changed by the file system: {what}")),
        }
    }
}

/// The line of the summary on what a flag would have restored.
pub(super) fn summary(left: &[LeftOut]) -> Option<String> {
    let asked = left.iter().filter(|kind| kind.why == Why::NotAsked);
    let kinds: Vec<String> = asked.map(counted).collect();
    let flag = if running_as_root() {
        "`--preserve-privileged` restores them"
    } else {
        "`--preserve-privileged` restores them, as root"
    };
    (!kinds.is_empty()).then(|| format!("left out: {}; {flag}", kinds.join(", ")))
}

/// For the summary of `--json`.
pub(super) fn to_json(left: &[LeftOut]) -> Value {
    left.iter().map(kind_to_json).collect()
}

fn kind_to_json(kind: &LeftOut) -> Value {
    let path = |path: &Vec<u8>| {
        let mut object = Map::new();
        insert_name(&mut object, "item", path);
        Value::Object(object)
    };
    let (why, message) = match &kind.why {
        Why::NotAsked => ("privileged", None),
        Why::OtherOwner => ("other-owner", None),
        Why::Meaningless => ("socket", None),
        Why::Refused(error) => ("refused", Some(error)),
        Why::Differs => ("changed", None),
    };
    let flag = (kind.why == Why::NotAsked).then_some("--preserve-privileged");
    json!({
        "what": name(kind),
        "why": why,
        "message": message,
        "restored_by": flag,
        "count": kind.count,
        "first": kind.first.iter().map(path).collect::<Vec<_>>(),
    })
}

fn name(kind: &LeftOut) -> String {
    kind.what.as_ref().map_or_else(|| "other things".to_owned(), Aspect::to_string)
}

/// `15 device nodes`, `capabilities of 2 files`.
fn counted(kind: &LeftOut) -> String {
    match kind.what {
        Some(Aspect::Device) => plural(kind.count, "device node", "device nodes"),
        _ => format!("{} of {}", name(kind), plural(kind.count, "file", "files")),
    }
}

/// `device node /dev/null`, `capabilities of /bin/ping, /bin/x and 3 more`.
fn subject(kind: &LeftOut) -> String {
    let paths: Vec<_> = kind.first.iter().map(|path| escape_for_terminal(path)).collect();
    let told = u64::try_from(paths.len()).unwrap_or(u64::MAX);
    let more = match kind.count.saturating_sub(told) {
        0 => String::new(),
        more => format!(" and {} more", count(more)),
    };
    let of = match kind.what {
        Some(Aspect::Device | Aspect::Fifo | Aspect::Socket) => "",
        _ => "of ",
    };
    format!("{} {of}{}{more}", name(kind), paths.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Voice;

    fn left(what: Aspect, why: Why, paths: &[&[u8]], count: u64) -> LeftOut {
        LeftOut { what: Some(what), why, count, first: paths.iter().map(|p| p.to_vec()).collect() }
    }

    fn some() -> Vec<LeftOut> {
        let ping: &[&[u8]] = &[b"/bin/ping"];
        let capability = Aspect::Xattr(b"security.capability".to_vec());
        vec![
            left(Aspect::SpecialBits, Why::NotAsked, &[b"/a", b"/\x1b[31m", b"/c"], 5),
            left(Aspect::Device, Why::NotAsked, &[b"/dev/null"], 1),
            left(capability, Why::NotAsked, ping, 1),
            left(Aspect::Socket, Why::Meaningless, &[b"/s"], 1),
            left(Aspect::Owner, Why::Refused("no".to_owned()), &[b"/o"], 1),
        ]
    }

    #[test]
    fn the_first_paths_are_told_and_escaped() {
        let (ui, seen) = Ui::captured(Voice { json: false, level: 0 });
        tell(&ui, &some());
        assert_eq!(
            seen.err(),
            "left out: setuid and setgid bits of /a, /\\x1b[31m, /c and 2 more\n\
             left out: device node /dev/null\n\
             left out: capabilities of /bin/ping\n\
             left out: socket /s (whatever listens there makes it anew)\n\
             warning: not restored: owner of /o: no\n"
        );
        let (ui, seen) = Ui::captured(Voice { json: false, level: -1 });
        tell(&ui, &some());
        assert_eq!(seen.err(), "warning: not restored: owner of /o: no\n");
    }

    #[test]
    fn the_summary_counts_by_kind_and_names_the_flag() {
        let line = summary(&some()).unwrap();
        let counts = "left out: setuid and setgid bits of 5 files, 1 device node, capabilities of \
                      1 file; `--preserve-privileged` restores them";
        assert!(line.starts_with(counts), "{line}");
        assert_eq!(summary(&some()[3..]), None);
        let json = to_json(&some());
        assert_eq!(json[0]["count"], 5);
        assert_eq!(json[0]["restored_by"], "--preserve-privileged");
        assert_eq!(json[2]["first"][0]["item"], "/bin/ping");
        assert_eq!((&json[4]["why"], &json[4]["message"]), (&json!("refused"), &json!("no")));
        assert_eq!(json[4]["restored_by"], Value::Null);
    }
}
