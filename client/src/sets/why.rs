//! Whether a set saves a path, and by which rule not: the walk of a run, along one path.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::defaults;
use super::job::{Job, JobSource, Origin};
use crate::scan::exclude::{Candidate, Decision, DirCtx, Reason, Rules};
use crate::scan::listing::Folder;
use crate::scan::os::{Dir, FileType, Stat};
use crate::tree::entry::Name;

/// What a set does with a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It saves it.
    In,
    /// It saves something beneath it, and of this only that it is on the way.
    Above,
    /// It is beneath what the set names, and left out.
    Out(Cause),
}

/// Why something is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The path itself, or what is above it.
    pub at: PathBuf,
    /// The rule, in words. Bytes of the user's own patterns: escape before showing.
    pub rule: Vec<u8>,
    /// Where the rule comes from, if it is somebody's.
    pub origin: Option<Origin>,
}

/// What a set does with an absolute path; nothing if it names nothing that has to do with it.
pub fn judge(job: &Job, own: Vec<PathBuf>, path: &Path) -> Option<Verdict> {
    let JobSource::Paths(sources) = &job.source else {
        return None;
    };
    let root = sources.iter().filter(|source| path.starts_with(source)).min();
    let Some(root) = root else {
        let above = sources.iter().any(|source| source.starts_with(path));
        return above.then_some(Verdict::Above);
    };
    let rules = job.rules(own);
    let walk = Walk { job, rules: &rules };
    Some(walk.along(root, path).map_or(Verdict::In, Verdict::Out))
}

struct Walk<'a> {
    job: &'a Job,
    rules: &'a Rules,
}

impl Walk<'_> {
    /// The first thing on the way down that is left out.
    fn along(&self, root: &Path, path: &Path) -> Option<Cause> {
        let mut at = PathBuf::from("/");
        let mut ctx = self.rules.at(Path::new("/")).unwrap_or_default();
        // Of what is above the root only the patterns are looked at, as a run does.
        let mut within = root == at;
        let mut device = None;
        if within {
            device = self.enter(&at, &mut ctx);
        }
        let names = path.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name.as_bytes()),
            _ => None,
        });
        for name in names {
            let above = at.clone();
            at.push(std::ffi::OsStr::from_bytes(name));
            let stat = stat(&above, name);
            within = within || at == root;
            if within && let Some(cause) = self.decide(&ctx, (&at, name), stat.as_ref()) {
                return Some(cause);
            }
            if at == path {
                return None;
            }
            ctx = self.rules.enter(&ctx, name);
            if !within {
                continue;
            }
            if stat.is_some_and(|stat| stat.file_type == FileType::Symlink) {
                let rule = b"a symbolic link; what it leads to has a path of its own".to_vec();
                return Some(Cause { at, rule, origin: None });
            }
            let inside = self.enter(&at, &mut ctx);
            let foreign = at != root && device.is_some() && inside.is_some() && inside != device;
            if self.job.one_file_system && foreign {
                let rule = b"another file system, of which only its folder is saved".to_vec();
                return Some(Cause { at, rule, origin: Some(Origin::Key("one_file_system")) });
            }
            device = inside.or(device);
        }
        None
    }

    /// Takes in what a folder holds. The file system it is on, if it is there.
    fn enter(&self, at: &Path, ctx: &mut DirCtx) -> Option<u64> {
        let dir = Dir::open_root(at).ok()?;
        self.rules.look(ctx, &Folder { dir: &dir, names: None });
        dir.stat_self().ok().map(|stat| stat.dev)
    }

    fn decide(
        &self,
        ctx: &DirCtx,
        (at, name): (&Path, &[u8]),
        stat: Option<&Stat>,
    ) -> Option<Cause> {
        let is_dir = stat.is_some_and(|stat| stat.file_type == FileType::Directory);
        let file = stat.filter(|stat| stat.file_type == FileType::File);
        let size = file.map_or(0, |stat| stat.size);
        let Decision::Exclude(reason) = self.rules.decide(ctx, Candidate { name, is_dir, size })
        else {
            return None;
        };
        let rule = self.rules.explain(reason);
        Some(Cause { at: at.to_path_buf(), rule, origin: self.origin(reason) })
    }

    fn origin(&self, reason: Reason) -> Option<Origin> {
        match reason {
            Reason::Pattern(index) => self.job.origins.get(usize::try_from(index).ok()?).cloned(),
            Reason::Beside(_) => Some(Origin::Default),
            Reason::Marker(index) => {
                let marker = self.job.excludes.if_present.get(usize::try_from(index).ok()?)?;
                let known = |name: &str| name.as_bytes() == marker.name;
                let default = defaults::MARKERS.iter().any(|name| known(name));
                Some(if default { Origin::Default } else { Origin::Key("exclude_if_present") })
            }
            Reason::TooLarge => Some(Origin::Key("exclude_larger_than")),
            Reason::GitIgnore => Some(Origin::Key("git_ignore")),
            Reason::Own | Reason::Cache => None,
        }
    }
}

fn stat(above: &Path, name: &[u8]) -> Option<Stat> {
    Dir::open_root(above).ok()?.stat(&Name::new(name).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sets::NamedSet;

    struct World(tempfile::TempDir);

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for folder in ["src/target", "src/venv/lib", "cache/deep", "own", "plain"] {
                fs::create_dir_all(dir.path().join(folder)).unwrap();
            }
            let tag = "Signature: 8a477f597d28d172789f06886806bc55\n";
            for (file, text) in [
                ("src/Cargo.toml", ""),
                ("src/target/out", ""),
                ("src/venv/pyvenv.cfg", ""),
                ("cache/CACHEDIR.TAG", tag),
                ("plain/large", "12345678901"),
                ("plain/a.tmp", ""),
                ("own/key", ""),
            ] {
                fs::write(dir.path().join(file), text).unwrap();
            }
            std::os::unix::fs::symlink("plain", dir.path().join("link")).unwrap();
            Self(dir)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(name)
        }

        fn ask(&self, keys: &str, name: &str) -> Option<Verdict> {
            let text = format!("name = 's'\npaths = [{:?}]\n{keys}", self.path(""));
            let set: NamedSet = toml::from_str(&text).unwrap();
            let job = Job::of(&set, Some(Path::new("/nobody"))).unwrap();
            judge(&job, vec![self.path("own")], &self.path(name))
        }

        fn cause(&self, keys: &str, name: &str) -> (PathBuf, String, Option<Origin>) {
            match self.ask(keys, name) {
                Some(Verdict::Out(Cause { at, rule, origin })) => {
                    (at, String::from_utf8(rule).unwrap(), origin)
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn every_rule_is_named_with_where_it_comes_from() {
        let world = World::new();
        let key = |key| Some(Origin::Key(key));
        let default = Some(Origin::Default);
        let defaults = "default_excludes = true";
        for (keys, name, at, rule, origin) in [
            ("exclude = ['*.tmp']", "plain/a.tmp", "plain/a.tmp", "pattern *.tmp", key("exclude")),
            ("iexclude = ['PLAIN']", "plain/large", "plain", "pattern PLAIN", key("iexclude")),
            ("", "own/key", "own", "own folders", None),
            ("exclude_caches = true", "cache/deep/x", "cache/deep", "CACHEDIR.TAG", None),
            (defaults, "cache/deep", "cache/deep", "CACHEDIR.TAG", None),
            (defaults, "src/target/out", "src/target", "Cargo.toml", default.clone()),
            (defaults, "src/venv/lib", "src/venv/lib", "pyvenv.cfg", default.clone()),
            (
                "exclude_larger_than = '10'",
                "plain/large",
                "plain/large",
                "larger than",
                key("exclude_larger_than"),
            ),
            ("", "link/x", "link", "symbolic link", None),
        ] {
            let (found, words, from) = world.cause(keys, name);
            assert_eq!(found, world.path(at), "{name}");
            assert!(words.contains(rule), "{name}: {words}");
            assert_eq!(from, origin, "{name}");
        }
        let file = world.path("plain/large");
        fs::write(&file, "# mine\n*.tmp\n").unwrap();
        let keys = format!("exclude_file = [{file:?}]");
        assert_eq!(world.cause(&keys, "plain/a.tmp").2, Some(Origin::File(file)));
    }

    #[test]
    fn what_is_saved_and_what_is_only_on_the_way() {
        let world = World::new();
        for name in ["", "plain/a.tmp", "link", "not/there", "src/target", "cache/CACHEDIR.TAG"] {
            assert_eq!(world.ask("exclude_caches = true", name), Some(Verdict::In), "{name}");
        }
        let above = world.path("").parent().unwrap().to_path_buf();
        assert_eq!(world.ask("", above.to_str().unwrap()), Some(Verdict::Above));
        assert_eq!(world.ask("", "/somewhere/else"), None);
        let command: NamedSet = toml::from_str("name = 's'\nstdin_from_command = ['x']").unwrap();
        assert_eq!(judge(&Job::of(&command, None).unwrap(), Vec::new(), Path::new("/")), None);
    }
}
