use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use proptest::prelude::*;

use super::*;

/// A directory given as names and contents.
#[derive(Default)]
struct Fake(BTreeMap<&'static [u8], &'static [u8]>);

impl Fake {
    fn with(files: &[(&'static str, &'static str)]) -> Self {
        let files = files.iter().map(|(n, c)| (n.as_bytes(), c.as_bytes()));
        Self(files.collect())
    }
}

impl Listing for Fake {
    fn has(&self, name: &[u8]) -> bool {
        self.0.contains_key(name)
    }

    fn head(&self, name: &[u8], limit: usize) -> io::Result<Vec<u8>> {
        let content = self.0.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(content.iter().copied().take(limit).collect())
    }
}

/// For rules that must not look.
struct Untouchable;

impl Listing for Untouchable {
    fn has(&self, name: &[u8]) -> bool {
        panic!("looked for {}", name.escape_ascii());
    }

    fn head(&self, name: &[u8], _: usize) -> io::Result<Vec<u8>> {
        panic!("read {}", name.escape_ascii());
    }
}

fn file(name: &str, size: u64) -> Candidate<'_> {
    Candidate { name: name.as_bytes(), is_dir: false, size }
}

fn dir(name: &str) -> Candidate<'_> {
    Candidate { name: name.as_bytes(), is_dir: true, size: 0 }
}

fn patterns(texts: &[&str]) -> Rules {
    let parse = |text: &&str| Pattern::parse(text.as_bytes(), Case::Sensitive).unwrap();
    Rules::new(Options { patterns: texts.iter().map(parse).collect(), ..Options::default() })
}

#[test]
fn no_rules_include_all_and_never_look() {
    let rules = Rules::default();
    let mut ctx = rules.at(Path::new("/home/x")).unwrap();
    rules.look(&mut ctx, &Untouchable);
    assert_eq!(rules.decide(&ctx, file("a", u64::MAX)), Decision::Include);
    assert_eq!(rules.decide(&ctx, dir("a")), Decision::Include);
}

#[test]
fn patterns_alone_never_look() {
    let rules = patterns(&["*.tmp"]);
    let mut ctx = rules.at(Path::new("/")).unwrap();
    rules.look(&mut ctx, &Untouchable);
    assert_eq!(rules.decide(&ctx, file("a.tmp", 0)), Decision::Exclude(Reason::Pattern(0)));
}

#[test]
fn a_root_is_excluded_by_its_own_name_but_not_by_one_above() {
    let rules = patterns(&["home", "/srv/old"]);
    let ctx = rules.at(Path::new("/home")).unwrap();
    assert_eq!(rules.decide(&ctx, dir("x")), Decision::Include);
    let ctx = rules.at(Path::new("/")).unwrap();
    assert_eq!(rules.decide(&ctx, dir("home")), Decision::Exclude(Reason::Pattern(0)));
    assert_eq!(rules.at(Path::new("/srv/old/deep")).unwrap_err(), Reason::Pattern(1));
}

#[test]
fn a_pattern_of_two_components_may_begin_above_the_root() {
    let rules = patterns(&["x/cache"]);
    let ctx = rules.at(Path::new("/home/x")).unwrap();
    assert_eq!(rules.decide(&ctx, dir("cache")), Decision::Exclude(Reason::Pattern(0)));
}

#[test]
fn own_folders_are_out_whatever_patterns_say() {
    let rules = Rules::new(Options {
        own: vec!["/home/x/.local/share/unseen".into()],
        patterns: vec![Pattern::parse(b"!unseen", Case::Sensitive).unwrap()],
        ..Options::default()
    });
    let ctx = rules.at(Path::new("/home/x/.local/share")).unwrap();
    assert_eq!(rules.decide(&ctx, dir("unseen")), Decision::Exclude(Reason::Own));
    assert_eq!(rules.decide(&ctx, dir("unseen2")), Decision::Include);
    let inside = rules.at(Path::new("/home/x/.local/share/unseen/default"));
    assert_eq!(inside.unwrap_err(), Reason::Own);
}

#[test]
fn only_files_are_too_large() {
    let rules = Rules::new(Options { larger_than: Some(10), ..Options::default() });
    let ctx = rules.at(Path::new("/")).unwrap();
    assert_eq!(rules.decide(&ctx, file("a", 10)), Decision::Include);
    assert_eq!(rules.decide(&ctx, file("a", 11)), Decision::Exclude(Reason::TooLarge));
    assert_eq!(rules.decide(&ctx, dir("a")), Decision::Include);
}

#[test]
fn caches_need_the_signature_and_keep_the_tag() {
    let rules = Rules::new(Options { caches: true, ..Options::default() });
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n# made by x";
    for (content, is_cache) in [(tag, true), ("Signature: 8a", false), ("", false)] {
        let mut ctx = rules.at(Path::new("/c")).unwrap();
        rules.look(&mut ctx, &Fake::with(&[("CACHEDIR.TAG", content)]));
        let wanted = if is_cache { Decision::Exclude(Reason::Cache) } else { Decision::Include };
        assert_eq!(rules.decide(&ctx, file("x", 1)), wanted, "{content}");
        assert_eq!(rules.decide(&ctx, file("CACHEDIR.TAG", 1)), Decision::Include);
    }
}

#[test]
fn markers_with_and_without_header() {
    let rules = Rules::new(Options {
        if_present: vec![
            Marker::parse(b".nobackup").unwrap(),
            Marker::parse(b"tag:skip: me").unwrap(),
        ],
        ..Options::default()
    });
    for (name, content, wanted) in [
        (".nobackup", "", Decision::Exclude(Reason::Marker(0))),
        ("tag", "skip: me now", Decision::Exclude(Reason::Marker(1))),
        ("tag", "keep", Decision::Include),
    ] {
        let mut ctx = rules.at(Path::new("/c")).unwrap();
        rules.look(&mut ctx, &Fake::with(&[(name, content)]));
        assert_eq!(rules.decide(&ctx, dir("sub")), wanted);
        assert_eq!(rules.decide(&ctx, file(name, 0)), Decision::Include);
    }
    assert_eq!(rules.explain(Reason::Marker(1)), b"in a directory with tag");
    for bad in [&b""[..], b":x", b"a/b"] {
        assert_eq!(Marker::parse(bad), None);
    }
}

#[test]
fn git_ignore_files() {
    let rules = Rules::new(Options { git_ignore: true, ..Options::default() });
    let ignored = Decision::Exclude(Reason::GitIgnore);
    // Outside of a work tree the file means nothing.
    let mut home = rules.at(Path::new("/home")).unwrap();
    rules.look(&mut home, &Fake::with(&[(".gitignore", "*.o")]));
    assert_eq!(rules.decide(&home, file("a.o", 1)), Decision::Include);

    let mut top = rules.enter(&home, b"repo");
    let files = [(".git", ""), (".gitignore", "*.o\n/target/\n.*\n[bad\n")];
    rules.look(&mut top, &Fake::with(&files));
    assert_eq!(rules.decide(&top, file("a.o", 1)), ignored);
    assert_eq!(rules.decide(&top, dir("target")), ignored);
    assert_eq!(rules.decide(&top, file("target", 1)), Decision::Include);
    assert_eq!(rules.decide(&top, dir(".git")), Decision::Include);

    let mut sub = rules.enter(&top, b"src");
    rules.look(&mut sub, &Fake::with(&[(".gitignore", "!keep.o")]));
    assert_eq!(rules.decide(&sub, file("a.o", 1)), ignored);
    assert_eq!(rules.decide(&sub, file("keep.o", 1)), Decision::Include);
    assert_eq!(rules.decide(&sub, dir("target")), Decision::Include);

    let mut inner = rules.enter(&sub, b"vendored");
    rules.look(&mut inner, &Fake::with(&[(".git", "gitdir: x")]));
    assert_eq!(rules.decide(&inner, file("a.o", 1)), Decision::Include);
}

#[test]
fn what_can_be_made_again() {
    let beside = |name: &str, marker: &str| Beside { name: name.into(), marker: marker.into() };
    let rules = Rules::new(Options {
        beside: vec![beside("target", "pom.xml"), beside("target", "Cargo.toml")],
        patterns: vec![Pattern::parse(b"!/kept/target", Case::Sensitive).unwrap()],
        ..Options::default()
    });
    let at = |path: &str, files: &[(&'static str, &'static str)]| {
        let above = rules.at(Path::new("/")).unwrap();
        let mut ctx = rules.enter(&above, path.as_bytes());
        rules.look(&mut ctx, &Fake::with(files));
        ctx
    };
    let project = [("Cargo.toml", ""), ("target", "")];
    let ctx = at("project", &project);
    let reason = Reason::Beside(1);
    assert_eq!(rules.decide(&ctx, dir("target")), Decision::Exclude(reason));
    assert_eq!(rules.explain(reason), b"can be made again from Cargo.toml");
    assert_eq!(rules.decide(&ctx, file("target", 1)), Decision::Include);
    assert_eq!(rules.decide(&ctx, dir("src")), Decision::Include);
    assert_eq!(rules.decide(&at("other", &project[1..]), dir("target")), Decision::Include);
    assert_eq!(rules.decide(&at("kept", &project), dir("target")), Decision::Include);
    // What lies within is not beside it.
    assert_eq!(rules.decide(&rules.enter(&ctx, b"src"), dir("target")), Decision::Include);
}

proptest! {
    /// Whatever the names are: nothing panics, and own folders stay out.
    #[test]
    fn own_folders_always_stay_out(
        name in proptest::collection::vec(any::<u8>().prop_filter("", |b| *b != b'/' && *b != 0), 1..20),
        pattern in proptest::collection::vec(any::<u8>(), 1..20),
    ) {
        prop_assume!(name != b"." && name != b"..");
        let own = Path::new("/a").join(OsStr::from_bytes(&name));
        let rules = Rules::new(Options {
            own: vec![own],
            patterns: Pattern::parse(&pattern, Case::Sensitive).into_iter().collect(),
            ..Options::default()
        });
        if let Ok(ctx) = rules.at(Path::new("/a")) {
            let entry = Candidate { name: &name, is_dir: true, size: 0 };
            prop_assert_eq!(rules.decide(&ctx, entry), Decision::Exclude(Reason::Own));
        }
    }
}
