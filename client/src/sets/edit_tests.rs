use std::time::Duration;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::sets::named::{Excludes, Hooks, Label, Schedule};
use crate::sets::values::{Compression, Size, Span};
use crate::tree::entry::Name;

#[derive(Deserialize)]
struct Sets {
    #[serde(default)]
    set: Vec<NamedSet>,
}

fn read(text: &str) -> Vec<NamedSet> {
    let all: toml::Table = toml::from_str(text).unwrap();
    let sets = all.get("set").cloned();
    let only: toml::Table = sets.into_iter().map(|sets| ("set".to_owned(), sets)).collect();
    only.try_into::<Sets>().unwrap().set
}

fn paths(all: &[&str]) -> SetSource {
    SetSource::Paths(
        all.iter().map(|path| SetPath::try_from((*path).to_owned()).unwrap()).collect(),
    )
}

fn set(name: &str, path: &str) -> NamedSet {
    NamedSet::new(name.to_owned(), paths(&[path]))
}

const FILE: &str = "\
# mine
[profile.default]
server = 'file:///v' # here

# the photos
[[set]]
name = \"photos\" # a comment
paths = [
  \"~/Pictures\", # all of them
]
exclude = ['*.tmp'] # no rubbish

[daemon]
quiet = \"1s\"

[[set]]
name = \"b\"
paths = [\"/b\"]
";

#[test]
fn a_set_is_added_and_all_else_stays() {
    let new = set("home", "/home/ann");
    let text = added(FILE, &new).unwrap();
    let wanted = "\n[[set]]\nname = \"home\"\npaths = [\"/home/ann\"]\n";
    assert_eq!(text, format!("{FILE}{wanted}"));
    assert_eq!(read(&text)[2], new);
    assert_eq!(added("", &new).unwrap(), wanted.trim_start());
    assert_eq!(section(&new), wanted.trim_start().replace("[[set]]\n", ""));
}

#[test]
fn a_set_is_changed_key_by_key() {
    let old = read(FILE).remove(0);
    let mut new = old.clone();
    new.excludes.patterns.push(PatternText::try_from("*.bak".to_owned()).unwrap());
    new.skip_if_unchanged = true;
    let text = changed(FILE, &old, &new).unwrap();
    let wanted = FILE.replace(
        "exclude = ['*.tmp'] # no rubbish\n",
        "exclude = [\"*.tmp\", \"*.bak\"] # no rubbish\nskip_if_unchanged = true\n",
    );
    assert_eq!(text, wanted);
    new.excludes.patterns.clear();
    new.skip_if_unchanged = false;
    let text = changed(FILE, &old, &new).unwrap();
    assert_eq!(text, FILE.replace("exclude = ['*.tmp'] # no rubbish\n", ""));
    let missing = changed(FILE, &set("c", "/c"), &new);
    assert_eq!(missing, Err(EditError::Unknown("c".into())));
}

#[test]
fn a_set_is_removed_with_the_comment_above_it() {
    let sets = read(FILE);
    let text = removed(FILE, &sets[0]).unwrap();
    assert!(text.contains("# mine") && text.contains("quiet = \"1s\""), "{text}");
    assert!(!text.contains("photos"), "{text}");
    assert_eq!(read(&text), sets[1..]);
    let text = removed(&text, &sets[1]).unwrap();
    assert!(read(&text).is_empty() && !text.contains("set"), "{text}");
    assert_eq!(removed(&text, &sets[1]), Err(EditError::Unknown("b".into())));
}

#[test]
fn of_two_profiles_the_right_one_is_meant() {
    let mut other = set("home", "/other");
    other.profile = "work".into();
    let text = added(&added("", &set("home", "/mine")).unwrap(), &other).unwrap();
    let text = removed(&text, &other).unwrap();
    assert_eq!(read(&text), [set("home", "/mine")]);
}

#[test]
fn another_form_is_left_to_its_author() {
    let text = "set = [{ name = 'a', paths = ['/a'] }]\n";
    assert_eq!(added(text, &set("b", "/b")), Err(EditError::OtherForm));
    assert!(matches!(added("[x", &set("b", "/b")), Err(EditError::NotToml(_))));
}

fn text() -> impl Strategy<Value = String> {
    "[a-z \"'\\\\#=\\[é]{1,12}"
}

prop_compose! {
    fn excludes()(
        defaults: bool, caches: bool, git_ignore: bool, one_file_system: bool,
        patterns in prop::collection::vec("[a-z/*~\"' #]{1,9}[a-z]", 0..3),
        markers in prop::collection::vec("[a-z]{1,5}(:[a-z\"]{1,5})?", 0..3),
        larger_than in prop::option::of(1_u64..1 << 50),
    ) -> Excludes {
        let made = patterns.into_iter().filter_map(|text| PatternText::try_from(text).ok());
        let patterns: Vec<PatternText> = made.collect();
        Excludes {
            defaults,
            ignoring_case: patterns.clone(),
            patterns,
            files: vec![SetPath::try_from("~/x".to_owned()).unwrap()],
            caches,
            if_present: markers.into_iter().map(|m| MarkerText::try_from(m).unwrap()).collect(),
            larger_than: larger_than.map(Size),
            git_ignore,
            one_file_system,
        }
    }
}

prop_compose! {
    fn any_set()(
        name in "[a-z é\"#]{1,9}[a-z]",
        profile in "default|work",
        folder in text(),
        command: bool,
        excludes in excludes(),
        tags in prop::collection::vec("[a-z\"]{1,5}", 0..3),
        host in prop::option::of(text()),
        seconds in prop::option::of(0_u64..1_000_000),
        level in prop::option::of(1..=19),
        hook in prop::option::of(text()),
        skip_if_unchanged: bool,
    ) -> NamedSet {
        let span = seconds.map(|seconds| Span(Duration::from_secs(seconds)));
        let source = if command {
            SetSource::Command { argv: vec![folder], file: Name::new(b"f").unwrap() }
        } else {
            paths(&[&format!("/{folder}")])
        };
        NamedSet {
            name,
            profile,
            source,
            excludes: if command { Excludes::default() } else { excludes },
            label: Label { tags, host },
            compression: level.map(Compression::Level),
            skip_if_unchanged,
            schedule: Schedule { quiet: span, max_wait: span, min_interval: span, rescan: span },
            hooks: Hooks { before: hook.clone(), after: hook.clone(), failed: hook, timeout: span },
        }
    }
}

proptest! {
    /// What is written is what is read, and one set turns into any other.
    #[test]
    fn sets_come_back(one in any_set(), mut other in any_set()) {
        let text = added(FILE, &one).unwrap();
        prop_assert_eq!(&read(&text)[2], &one);
        other.name.push('2');
        let text = changed(&text, &one, &other).unwrap();
        prop_assert_eq!(&read(&text)[2], &other);
        prop_assert_eq!(&read(&removed(&text, &other).unwrap())[..], &read(FILE)[..]);
    }
}
