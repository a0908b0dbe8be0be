//! What other programs call things, and what we call them.

/// A hint for a command that is none of ours: its name here, or that it comes later.
pub fn hint(typed: &str) -> Option<&'static str> {
    let found = NAMES.iter().find(|(names, _)| names.contains(&typed));
    if let Some((_, hint)) = found {
        return Some(hint);
    }
    RESERVED.contains(&typed).then_some("it is not in this version and comes later")
}

/// Commands of restic, borg and others.
const NAMES: &[(&[&str], &str)] = &[
    (&["backup", "create", "save", "push"], "here it is `backup run PATH…`"),
    (
        &["prune", "gc"],
        "nothing to do: the server frees space by itself once the grace is over, without your keys. \
         What stays is decided by `backup forget` and `backup policy`; `backup compact` frees what \
         lies beside things that are needed",
    ),
    (&["break-lock", "remove-lock"], "there are no locks to remove"),
    (
        &["unlock"],
        "there are no locks to remove. (`backup unlock --for` comes later and is for something else)",
    ),
    (&["list", "archives"], "here it is `backup snapshots`"),
    (&["extract", "recover", "pull", "get"], "here it is `backup restore latest --target DIR`"),
    (&["cat", "print"], "here it is `backup dump SNAPSHOT PATH`"),
    (&["verify", "scrub"], "here it is `backup check --read-data`"),
    (&["delete", "remove", "rm"], "here it is `backup forget SNAPSHOT`"),
    (&["undo", "unforget", "unremove"], "here it is `backup undelete`"),
    (&["retention", "keep"], "here it is `backup policy`"),
    (&["repository", "repo", "create-repo", "rcreate", "repo-create"], "here it is `backup init`"),
    (&["join", "login", "enroll", "enrol"], "here it is `backup connect ADDRESS`"),
    (&["passwd", "password"], "`backup key passphrase` comes later"),
    (&["pause", "resume", "now"], "here it is `backup daemon pause 2h`, `resume` or `now`"),
    (&["watch", "schedule", "cron"], "here it is `backup daemon install`, or `backup daemon run`"),
    (&["info"], "`backup stats` comes later"),
    (&["umount", "unmount"], "`backup mount` comes later"),
    (&["rebuild-index", "repair-index"], "`backup repair` comes later"),
    (&["export-tar"], "`backup dump` prints one file"),
    (&["ui", "gui", "serve"], "`backup web` comes later"),
    (
        &["self-update", "self-upgrade"],
        "this program never replaces itself: update it as you installed it",
    ),
    (&["cache", "migrate", "features", "options", "generate"], "there is nothing of the kind here"),
    (&["help"], "`backup --help`, or `backup COMMAND --help`"),
];

/// Ours, of later versions.
const RESERVED: &[&str] = &[
    "find",
    "history",
    "diff",
    "stats",
    "mount",
    "tag",
    "copy",
    "rewrite",
    "repair",
    "lock",
    "config",
    "device",
    "devices",
    "key",
    "log",
    "web",
    "support",
    "completions",
    "man",
    "self-test",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Cli;

    #[test]
    fn restics_names_get_a_hint() {
        for name in ["prune", "unlock", "backup", "rm", "find", "mount", "cat"] {
            assert!(hint(name).is_some(), "{name}");
        }
        assert_eq!(hint("snapshots"), None);
        assert_eq!(hint("nonsense"), None);
    }

    #[test]
    fn no_name_twice_and_none_of_ours() {
        let ours: Vec<String> =
            Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        let all = NAMES.iter().flat_map(|(names, _)| names.iter());
        let mut seen = BTreeSet::new();
        for name in all.chain(RESERVED) {
            assert!(seen.insert(name), "{name} twice");
            assert!(!ours.iter().any(|our| our == name), "{name} exists");
        }
    }
}
