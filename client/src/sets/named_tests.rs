use super::*;

fn parse(text: &str) -> Result<NamedSet, String> {
    toml::from_str(text).map_err(|error| error.message().to_owned())
}

#[test]
fn a_set_of_few_words() {
    let set = parse("name = 'home'\npaths = ['~/Documents', '/srv']").unwrap();
    assert_eq!((set.name.as_str(), set.profile.as_str()), ("home", "default"));
    let home = Some(Path::new("/home/ann"));
    let paths = set.paths(home).unwrap();
    assert_eq!(paths, [Path::new("/home/ann/Documents"), Path::new("/srv")]);
    assert_eq!(set.paths(None), Err(NoHome { path: "~/Documents".into() }));
    let SetSource::Paths(paths) = &set.source else { panic!("{set:?}") };
    assert_eq!(set, NamedSet::new("home".into(), SetSource::Paths(paths.clone())));
}

#[test]
fn every_key_is_read() {
    let set = parse(
        "name = 'all'\nprofile = 'work'\npaths = ['~']\ndefault_excludes = true\n\
         exclude = ['*.tmp', '!~/x']\niexclude = ['*.ISO']\nexclude_file = ['~/ignored']\n\
         exclude_caches = true\nexclude_if_present = ['.nobackup', 'tag:head']\n\
         exclude_larger_than = '2G'\ngit_ignore = true\none_file_system = true\n\
         tags = ['a', 'b']\nhost = 'h'\ncompression = 'max'\nskip_if_unchanged = true\n\
         quiet = '1m'\nmax_wait = '20m'\nmin_interval = '15m'\nrescan = '3h'\n\
         before = 'b'\nafter = 'a'\nfailed = 'f'\nhook_timeout = '30s'",
    )
    .unwrap();
    let span = |seconds| Some(Span(std::time::Duration::from_secs(seconds)));
    assert_eq!(set.profile, "work");
    assert!(set.excludes.defaults && set.excludes.caches && set.excludes.git_ignore);
    assert!(set.excludes.one_file_system && set.skip_if_unchanged);
    assert_eq!(set.excludes.larger_than, Some(Size(2 << 30)));
    let markers: Vec<Marker> = set.excludes.if_present.iter().map(MarkerText::marker).collect();
    assert_eq!(markers[1], Marker { name: b"tag".to_vec(), header: b"head".to_vec() });
    assert_eq!(set.label, Label { tags: vec!["a".into(), "b".into()], host: Some("h".into()) });
    assert_eq!(set.compression, Some(Compression::Level(19)));
    let Schedule { quiet, max_wait, min_interval, rescan } = set.schedule;
    assert_eq!((quiet, max_wait), (span(60), span(1200)));
    assert_eq!((min_interval, rescan), (span(900), span(10_800)));
    assert_eq!(set.hooks.timeout, span(30));
    assert_eq!(set.hooks.failed.as_deref(), Some("f"));
}

#[test]
fn commands() {
    let set = parse("name = 'db'\nstdin_from_command = ['pg_dump', 'shop']").unwrap();
    let file = Name::new(b"stdin").unwrap();
    let argv = vec!["pg_dump".to_owned(), "shop".to_owned()];
    assert_eq!(set.source, SetSource::Command { argv, file });
    assert!(set.paths(None).unwrap().is_empty());
    for (more, wanted) in [
        ("paths = ['/a']", "both paths"),
        ("exclude = ['x']", "exclude is about files"),
        ("default_excludes = true", "default_excludes is about files"),
        ("stdin_filename = 'a/b'", "not the name of a file"),
    ] {
        let text = format!("name = 'db'\nstdin_from_command = ['x']\n{more}");
        let error = parse(&text).unwrap_err();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (text, wanted) in [
        ("", "not a name of a set"),
        ("paths = ['/a']", "not a name of a set"),
        ("name = 'x'", "neither paths"),
        ("name = 'x'\npaths = []", "neither paths"),
        ("name = 'x'\npaths = ['a']", "begins with /"),
        ("name = 'x'\npaths = ['~ann/a']", "begins with /"),
        ("name = 'x'\npaths = '/a'", "invalid type"),
        ("name = 'x'\npaths = ['/a']\nstdin_filename = 'y'", "no stdin_from_command"),
        ("name = 'x'\npaths = ['/a']\nexclde = ['*']", "unknown field `exclde`"),
        ("name = 'x'\npaths = ['/a']\nexclude = ['[a']", "pattern [a: a [ without its ]"),
        ("name = 'x'\npaths = ['/a']\nexclude = ['']", "empty"),
        ("name = 'x'\npaths = ['/a']\nexclude_if_present = ['a/b']", "without slashes"),
        ("name = 'x'\npaths = ['/a']\nexclude_larger_than = 'big'", "not a size"),
        ("name = 'x'\npaths = ['/a']\ntags = ['a,b']", "without commas"),
        ("name = 'x'\npaths = ['/a']\ncompression = 'zip'", "fastest"),
        ("name = 'x'\npaths = ['/a']\nquiet = '30'", "30s, 10m"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(wanted), "{text}\n{error}");
    }
}

#[test]
fn home_is_no_wildcard() {
    let text = PatternText::try_from("!~/*.log".to_owned()).unwrap();
    let pattern = text.pattern(Case::Sensitive, Some(Path::new("/h/[a]*/"))).unwrap();
    assert_eq!(pattern.text(), b"!/h/\\[a]\\*/*.log");
    assert!(pattern.is_negated() && pattern.is_anchored());
    assert_eq!(text.pattern(Case::Sensitive, None), Err(NoHome { path: "!~/*.log".into() }));
}
