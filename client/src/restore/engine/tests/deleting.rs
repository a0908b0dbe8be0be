use super::*;
use crate::backup;
use crate::scan::exclude::{Beside, Marker, Options, Rules};
use crate::testing;
use crate::tree::manifest::Problem;

const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55";

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

impl Scene {
    fn fill(&self, files: &[(&str, &str)]) {
        for (name, text) in files {
            write(&self.source.join(name), text);
        }
    }

    fn back_up_with(&mut self, rules: Options, one_file_system: bool) {
        let rules = Rules::new(rules);
        let options = backup::RunOptions { rules, one_file_system, ..testing::options("default") };
        self.world.run(&mut self.machine, &options, &self.source);
    }

    fn has(&self, names: &[&str]) {
        for name in names {
            assert!(self.source.join(name).symlink_metadata().is_ok(), "{name} is gone");
        }
    }

    fn lacks(&self, names: &[&str]) {
        for name in names {
            assert!(self.source.join(name).symlink_metadata().is_err(), "{name} is there");
        }
    }

    /// Restores to where it came from and deletes; what a dry run says is what is done.
    fn reset(&self) -> RestoreOutcome {
        self.reset_with(|_| {}).unwrap()
    }

    fn reset_with(&self, change: impl Fn(&mut Chosen)) -> Result<RestoreOutcome, RestoreError> {
        let target = self.source.clone();
        let options = RestoreOptions { target, delete: true, ..self.options() };
        let plan = RestoreOptions { dry_run: true, ..options.clone() };
        let (repo, index) = self.world.reader();
        let mut chosen = self.choose(&repo, &self.latest());
        change(&mut chosen);
        let go = |options: &RestoreOptions| {
            let (recorder, go_on) = (Recorder::default(), AtomicBool::new(false));
            let runtime = self.world.runtime.handle();
            let listens = (&recorder as &dyn Monitor, &go_on);
            let done = restore((&repo, &index), &chosen, options, listens, runtime)?;
            let mut deleted: Vec<_> = recorder.events().done;
            deleted.retain(|(_, change)| *change == crate::progress::Change::Deleted);
            Ok::<_, RestoreError>((done, deleted))
        };
        let (planned, named) = go(&plan)?;
        let (done, removed) = go(&options)?;
        assert_eq!(named, removed, "a dry run names what is deleted");
        assert_eq!((planned.deleted, planned.stayed), (done.deleted, done.stayed));
        assert_eq!(done.deleted, u64::try_from(removed.len()).unwrap());
        Ok(done)
    }
}

#[test]
fn what_the_rules_leave_out_stays_and_the_rest_goes() {
    let mut scene = Scene::new();
    scene.fill(&[
        ("doc/file", "x"),
        ("skip/build/out", "only copy"),
        ("doc/Skip2/out", "only copy"),
        ("large", &"only copy ".repeat(6)),
        ("cache/CACHEDIR.TAG", TAG),
        ("cache/deep/thing", "x"),
        ("marked/.nobackup", ""),
        ("marked/thing", "x"),
        ("crate/Cargo.toml", ""),
        ("crate/target/out", "x"),
        ("own/device.key", "k"),
    ]);
    let parse = |text: &[u8], case| Pattern::parse(text, case).unwrap();
    let anchored = [scene.source.as_os_str().as_bytes(), b"/skip"].concat();
    let rules = Options {
        patterns: vec![parse(&anchored, Case::Sensitive), parse(b"skip2/", Case::Ignored)],
        caches: true,
        if_present: vec![Marker { name: b".nobackup".to_vec(), header: Vec::new() }],
        beside: vec![Beside { name: b"target".to_vec(), marker: b"Cargo.toml".to_vec() }],
        larger_than: Some(50),
        own: vec![scene.source.join("own")],
        ..Options::default()
    };
    scene.back_up_with(rules, false);
    // What tells that it can be left out is gone meanwhile; the snapshot still knows.
    fs::remove_file(scene.source.join("crate/Cargo.toml")).unwrap();
    fs::remove_file(scene.source.join("cache/CACHEDIR.TAG")).unwrap();
    scene.fill(
        &[
            ("doc/new", "x"),
            ("new/deep/plain", "x"),
            ("new/deep/SKIP2/out", "x"),
            ("new/crate/Cargo.toml", ""),
            ("new/crate/target/out", "x"),
            ("new/crate/src/main.rs", ""),
            ("new/cache/CACHEDIR.TAG", TAG),
            ("new/cache/thing", ""),
            ("empty new/er/", ""),
        ]
        .map(|(name, text)| (name.trim_end_matches('/'), text)),
    );
    let kept = [
        "skip/build/out",
        "doc/Skip2/out",
        "large",
        "cache/deep/thing",
        "cache/CACHEDIR.TAG",
        "marked/thing",
        "crate/target/out",
        "own/device.key",
        "new/deep/SKIP2/out",
        "new/crate/Cargo.toml",
        "new/crate/target/out",
        "new/cache/thing",
        "new/cache/CACHEDIR.TAG",
        "doc/file",
    ];
    let done = scene.reset();
    assert_eq!(done.problems, []);
    scene.has(&kept);
    scene.lacks(&["doc/new", "new/deep/plain", "new/crate/src", "empty new"]);
    // doc/new, plain, main.rs and src, er and "empty new".
    assert_eq!(done.deleted, 6);
    assert_eq!(done.stayed.left_out, 12);
    // What the rules went by has stayed, too: again, and nothing more goes.
    let again = scene.reset();
    assert_eq!((again.deleted, again.stayed), (0, done.stayed));
    scene.has(&kept);
}

#[test]
fn the_rules_hold_wherever_the_target_is() {
    let mut scene = Scene::new();
    scene.fill(&[("a/b/file", "x"), ("a/b/skip/out", "x")]);
    let anchored = [scene.source.as_os_str().as_bytes(), b"/a/b/skip/"].concat();
    let patterns = vec![Pattern::parse(&anchored, Case::Sensitive).unwrap()];
    scene.back_up_with(Options { patterns, ..Options::default() }, false);
    write(&scene.target.join("skip/out"), "only copy");
    write(&scene.target.join("gone/out"), "x");
    let options = RestoreOptions { delete: true, ..scene.options() };
    let done = scene.restore(&format!("{}/a/b", scene.latest()), &options);
    assert_eq!((done.deleted, done.stayed.left_out), (2, 1));
    assert!(scene.target.join("skip/out").exists() && scene.target.join("file").exists());
    // Of a file, nothing beside it is looked at.
    write(&scene.target.join("a first one"), "x");
    let done = scene.restore(&format!("{}/a/b/file", scene.latest()), &options);
    assert_eq!((done.deleted, done.unmodified), (0, 1));
    assert!(scene.target.join("a first one").exists());
}

#[test]
fn what_git_ignores_stays_by_the_old_rules_and_the_new() {
    let mut scene = Scene::new();
    scene.fill(&[
        ("work/.git/HEAD", ""),
        ("work/.gitignore", "old\n"),
        ("work/src/old", "only copy"),
        ("work/src/file", "x"),
    ]);
    scene.back_up_with(Options { git_ignore: true, ..Options::default() }, false);
    scene.fill(&[
        ("work/.gitignore", "new\n"),
        ("work/src/new", "only copy"),
        ("work/src/gone", "x"),
    ]);
    let latest = scene.latest();
    let deeper = RestoreOptions {
        delete: true,
        dry_run: true,
        target: scene.source.join("work/src"),
        ..scene.options()
    };
    // Begun below the file that tells, the snapshot's word alone counts.
    let planned = scene.restore(&format!("{latest}/work/src"), &deeper);
    assert_eq!((planned.deleted, planned.stayed.left_out), (2, 1));
    let done = scene.reset();
    assert_eq!((done.deleted, done.stayed.left_out), (1, 2));
    scene.has(&["work/src/old", "work/src/new"]);
    assert_eq!(fs::read_to_string(scene.source.join("work/.gitignore")).unwrap(), "old\n");
}

#[test]
fn what_could_not_be_read_stays_with_all_beneath() {
    let mut scene = Scene::new();
    scene.fill(&[("file", "x"), ("dir/file", "x")]);
    scene.backup();
    scene.fill(&[("unread", "x"), ("dir/closed/deep/x", "x"), ("new/part/unread", "x")]);
    scene.fill(&[("new/part/other", "x"), ("unread too", "x")]);
    let unread = |chosen: &mut Chosen, count: u64| {
        let paths = ["unread", "dir/closed", "new/part/unread"].map(|name| scene.source.join(name));
        let problem = |path: &PathBuf| Problem {
            path: path.as_os_str().as_bytes().to_vec(),
            why: "denied".into(),
        };
        chosen.manifest.errors = paths.iter().map(problem).collect();
        chosen.manifest.error_count = count;
        chosen.snapshot.status = unseen_common::log::entry::Status::Partial;
    };
    let cut = scene.reset_with(|chosen| unread(chosen, 4));
    assert!(matches!(cut, Err(RestoreError::DeleteUnread { count: 4 })));
    let done = scene.reset_with(|chosen| unread(chosen, 3)).unwrap();
    assert_eq!((done.deleted, done.stayed.unread), (2, 3));
    scene.has(&["unread", "dir/closed/deep/x", "new/part/unread"]);
    scene.lacks(&["new/part/other", "unread too"]);
    // A path that was too long for the manifest stands for all that is above it.
    let all = scene.reset_with(|chosen| {
        chosen.manifest.errors = vec![Problem { path: Vec::new(), why: "denied".into() }];
        chosen.manifest.error_count = 1;
    });
    assert_eq!(all.unwrap().deleted, 0);
    scene.has(&["unread", "new/part/unread"]);
}

#[test]
fn a_snapshot_that_does_not_tell_enough_deletes_nothing() {
    let mut scene = Scene::new();
    scene.fill(&[("file", "x")]);
    scene.backup();
    scene.fill(&[("new", "x")]);
    let checkpoint = scene.reset_with(|chosen| {
        chosen.snapshot.status = unseen_common::log::entry::Status::Checkpoint;
    });
    assert!(matches!(checkpoint, Err(RestoreError::DeleteNeedsWhole)));
    let many = scene.reset_with(|chosen| chosen.manifest.rules = None);
    assert!(matches!(many, Err(RestoreError::DeleteUnknownRules)));
    let hostile = scene.reset_with(|chosen| {
        let text = b"[".to_vec();
        let pattern = crate::tree::run_rules::RunPattern { text, any_case: false };
        chosen.manifest.rules.as_mut().unwrap().patterns.push(pattern);
    });
    assert!(matches!(hostile, Err(RestoreError::DeleteUnknownRules)));
    scene.has(&["new"]);
}

#[test]
fn what_may_be_mounted_over_an_empty_folder_stays_on_request() {
    for (one_file_system, stays) in [(true, true), (false, false)] {
        let mut scene = Scene::new();
        scene.fill(&[("file", "x")]);
        fs::create_dir(scene.source.join("mount")).unwrap();
        scene.back_up_with(Options::default(), one_file_system);
        scene.fill(&[("mount/data", "x"), ("new", "x")]);
        let done = scene.reset();
        scene.lacks(&["new"]);
        assert_eq!(scene.source.join("mount/data").exists(), stays);
        assert_eq!(done.stayed.elsewhere, u64::from(stays));
    }
}

#[test]
fn a_survey_finds_what_would_be_replaced_and_nothing_once_it_is_restored() {
    let mut scene = Scene::new();
    nasty(&scene.source, 20);
    scene.backup();
    let survey = |scene: &Scene, delete: bool| {
        let (repo, index) = scene.world.reader();
        let chosen = scene.choose(&repo, &scene.latest());
        let options = RestoreOptions { delete, ..scene.options() };
        let runtime = scene.world.runtime.handle();
        let prepared = Prepared::new((&repo, &index), &chosen, &options, &Silent, runtime);
        let found = prepared.unwrap().survey(&AtomicBool::new(false)).unwrap();
        assert_eq!(found.problems, []);
        (found.replaced, found.deleted)
    };
    assert_eq!(survey(&scene, true), (0, 0));
    assert!(!scene.target.exists(), "it makes nothing");
    write(&scene.target.join("mine"), "x");
    assert_eq!(survey(&scene, false), (0, 0), "nothing of the snapshot's is there");
    scene.restore(&scene.latest(), &scene.options());
    write(&scene.target.join("deep/.unseen-0123456789abcdef.tmp"), "of a killed one");
    assert_eq!(survey(&scene, false), (0, 0));
    assert_eq!(survey(&scene, true), (0, 1));
    fs::remove_file(scene.target.join("deep/3")).unwrap();
    write(&scene.target.join("deep/4"), "newer");
    set_time(&scene.target.join("deep/5"), 5000);
    fs::remove_file(scene.target.join("dangling")).unwrap();
    symlink("elsewhere", scene.target.join("dangling")).unwrap();
    fs::remove_dir_all(scene.target.join("deep/er")).unwrap();
    write(&scene.target.join("deep/er"), "a file where a folder was");
    assert_eq!(survey(&scene, false), (4, 0));
}
