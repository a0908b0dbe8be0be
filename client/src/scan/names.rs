//! Owner names: number to name for a backup, name to number for a restore by name.
//!
//! The C library's name service cannot be called without `unsafe`, so `/etc/passwd` and
//! `/etc/group` are read here, once and on first need. What they do not know (directory services,
//! systemd's users) is asked of the `getent` program, once an id or name, where there is one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The longest user or group name that is kept or looked up, in bytes.
pub const MAX_OWNER_NAME: usize = 255;

/// Names of users and groups, remembered once found. Shared by all threads of a run.
#[derive(Debug)]
pub struct OwnerNames {
    users: Mutex<Table>,
    groups: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    file: PathBuf,
    /// `passwd` or `group`: what getent calls this table.
    database: &'static str,
    getent: Option<PathBuf>,
    loaded: bool,
    by_id: HashMap<u32, Option<Arc<str>>>,
    by_name: HashMap<String, Option<u32>>,
    questions: usize,
}

impl OwnerNames {
    /// This machine's users and groups.
    pub fn of_this_machine() -> Self {
        let getent = GETENT.iter().map(PathBuf::from).find(|path| path.exists());
        Self::from_files(Path::new("/etc/passwd"), Path::new("/etc/group"), getent)
    }

    /// Users and groups from the given files, and from a program like getent if given.
    pub fn from_files(passwd: &Path, group: &Path, getent: Option<PathBuf>) -> Self {
        Self {
            users: Mutex::new(Table::new(passwd, "passwd", getent.clone())),
            groups: Mutex::new(Table::new(group, "group", getent)),
        }
    }

    /// The name of a user, if it has one. May run `getent` and wait for it, once an id.
    pub fn user(&self, uid: u32) -> Option<Arc<str>> {
        locked(&self.users).name(uid)
    }

    /// The name of a group, if it has one. As [`user`](Self::user).
    pub fn group(&self, gid: u32) -> Option<Arc<str>> {
        locked(&self.groups).name(gid)
    }

    /// Both names.
    pub fn of(&self, uid: u32, gid: u32) -> Owner {
        (self.user(uid), self.group(gid))
    }

    /// The number of a user of that name, if there is one here. The name may be anything.
    pub fn uid(&self, user: &str) -> Option<u32> {
        locked(&self.users).id(user)
    }

    /// The home folder of a user, if there is one of that name; nobody says that it is there.
    pub fn home(&self, user: &str) -> Option<PathBuf> {
        locked(&self.users).home(user)
    }

    /// The number of a group of that name, if there is one here. The name may be anything.
    pub fn gid(&self, group: &str) -> Option<u32> {
        locked(&self.groups).id(group)
    }
}

/// The names of a user and of a group.
pub type Owner = (Option<Arc<str>>, Option<Arc<str>>);

/// The names of whoever a thread came across last: nearly always the next file is theirs, too.
#[derive(Debug, Clone)]
pub struct LastOwner<'a> {
    names: &'a OwnerNames,
    last: Option<((u32, u32), Owner)>,
}

impl<'a> LastOwner<'a> {
    /// None yet.
    pub const fn new(names: &'a OwnerNames) -> Self {
        Self { names, last: None }
    }

    /// The names of this user and this group. As [`OwnerNames::user`].
    pub fn of(&mut self, uid: u32, gid: u32) -> Owner {
        if let Some((ids, owner)) = &self.last
            && *ids == (uid, gid)
        {
            return owner.clone();
        }
        // Copies of its own: threads that count on one place slow each other down.
        let own = |name: Option<Arc<str>>| name.map(|name| Arc::from(&*name));
        let (user, group) = self.names.of(uid, gid);
        let owner = (own(user), own(group));
        self.last = Some(((uid, gid), owner.clone()));
        owner
    }
}

impl Table {
    fn new(file: &Path, database: &'static str, getent: Option<PathBuf>) -> Self {
        Self {
            file: file.to_path_buf(),
            database,
            getent,
            loaded: false,
            by_id: HashMap::new(),
            by_name: HashMap::new(),
            questions: 0,
        }
    }

    fn name(&mut self, id: u32) -> Option<Arc<str>> {
        self.load();
        if let Some(known) = self.by_id.get(&id) {
            return known.clone();
        }
        let line = self.ask(&id.to_string())?;
        let found = parse(&line).filter(|&(_, found)| found == id).map(|(name, _)| name.into());
        self.by_id.insert(id, found.clone());
        found
    }

    fn id(&mut self, name: &str) -> Option<u32> {
        self.load();
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        if !askable(name) {
            return None;
        }
        let line = self.ask(name)?;
        let found = parse(&line).filter(|&(found, _)| found == name).map(|(_, id)| id);
        self.by_name.insert(name.to_owned(), found);
        found
    }

    fn home(&mut self, name: &str) -> Option<PathBuf> {
        if !askable(name) {
            return None;
        }
        let bytes = std::fs::read(&self.file).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let is = |line: &&str| parse(line).is_some_and(|(found, _)| found == name);
        let line = text.lines().find(is).map(str::to_owned).or_else(|| self.ask(name))?;
        Some(line).filter(|line| is(&line.as_str()))?.split(':').nth(5).map(PathBuf::from)
    }

    fn load(&mut self) {
        if std::mem::replace(&mut self.loaded, true) {
            return;
        }
        // No such file is no names: a container may well have none.
        let text = std::fs::read(&self.file).unwrap_or_default();
        for line in text.split(|&byte| byte == b'\n') {
            let Some((name, id)) = std::str::from_utf8(line).ok().and_then(parse) else {
                continue;
            };
            self.by_id.entry(id).or_insert_with(|| Some(name.into()));
            self.by_name.entry(name.to_owned()).or_insert(Some(id));
        }
    }

    /// What getent says of a number or name: a line, empty if it knows nothing. `None` when it is
    /// not asked at all, so that a snapshot full of made-up names starts no endless row of programs.
    fn ask(&mut self, key: &str) -> Option<String> {
        let getent = self.getent.as_ref()?;
        if self.questions >= MAX_QUESTIONS {
            return None;
        }
        self.questions += 1;
        let output = Command::new(getent)
            .args([self.database, key])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).unwrap_or_default();
        Some(text.lines().next().unwrap_or_default().to_owned())
    }
}

/// Name and number of a line of passwd or group: `name:password:number:…`.
fn parse(line: &str) -> Option<(&str, u32)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let id = fields.nth(1)?.parse().ok()?;
    let usable = !name.is_empty() && name.len() <= MAX_OWNER_NAME && !name.starts_with(['+', '#']);
    usable.then_some((name, id))
}

/// Names that come from a snapshot may be hostile: nothing that getent could take for an option, a
/// number or two lines.
fn askable(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_OWNER_NAME
        && !name.starts_with(['-', '+', '#'])
        && !name.bytes().all(|byte| byte.is_ascii_digit())
        && !name.chars().any(|char| char.is_control() || char == ':')
}

/// A table is as good after a panic elsewhere as before.
fn locked(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whole paths: a backup may run as root with someone else's PATH.
const GETENT: [&str; 3] = ["/usr/bin/getent", "/bin/getent", "/run/current-system/sw/bin/getent"];
const MAX_QUESTIONS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        # a comment\n+::0:0:::\nada:x:1000:1000::/home/ada:/bin/sh\nalso-ada:x:1000:1000:::\n\
        broken\nada:x:7:7:::\n";

    fn names(dir: &Path, getent: Option<PathBuf>) -> OwnerNames {
        let (passwd, group) = (dir.join("passwd"), dir.join("group"));
        std::fs::write(&passwd, PASSWD).expect("written");
        std::fs::write(&group, "wheel:x:10:ada,root\n").expect("written");
        OwnerNames::from_files(&passwd, &group, getent)
    }

    /// Knows user and group 5000 as `far`, and notes every question it is asked.
    ///
    /// Written by another process: were the file open for writing here while some other test
    /// starts a program, that program would hold it open and it could not be run.
    fn fake_getent(dir: &Path) -> PathBuf {
        let script = "#!/bin/sh\necho \"$@\" >> \"${0%/*}/asked\"\ncase \"$2\" in\n\
            5000|far) echo far:x:5000:1:::;;\nliar) echo root:x:0:0:::;;\nesac\n";
        let path = dir.join("getent");
        let written = Command::new("/bin/sh")
            .args(["-c", "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", script])
            .arg(&path)
            .status()
            .expect("a shell");
        assert!(written.success());
        path
    }

    #[test]
    fn files_answer_first_line_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let names = names(dir.path(), None);
        assert_eq!(names.user(0).as_deref(), Some("root"));
        assert_eq!(names.user(1000).as_deref(), Some("ada"));
        assert_eq!(names.uid("ada"), Some(1000));
        assert_eq!(names.uid("also-ada"), Some(1000));
        assert_eq!(names.home("ada"), Some("/home/ada".into()));
        assert_eq!((names.home("ann"), names.home("+")), (None, None));
        assert_eq!(names.group(10).as_deref(), Some("wheel"));
        assert_eq!(names.gid("wheel"), Some(10));
        assert_eq!((names.user(5000), names.uid("wheel"), names.gid("+")), (None, None, None));
    }

    #[test]
    fn without_files_there_are_no_names() {
        let dir = tempfile::tempdir().expect("a directory");
        let gone = dir.path().join("none");
        let names = OwnerNames::from_files(&gone, &gone, None);
        assert_eq!((names.user(0), names.gid("root")), (None, None));
    }

    #[test]
    fn getent_is_asked_once_an_unknown_id() {
        let dir = tempfile::tempdir().expect("a directory");
        let names = names(dir.path(), Some(fake_getent(dir.path())));
        for _ in 0..3 {
            assert_eq!(names.user(5000).as_deref(), Some("far"));
            assert_eq!(names.user(5001), None);
            assert_eq!(names.gid("far"), Some(5000));
            assert_eq!(names.user(0).as_deref(), Some("root"));
        }
        let asked = std::fs::read_to_string(dir.path().join("asked")).expect("a log");
        assert_eq!(asked, "passwd 5000\npasswd 5001\ngroup far\n");
    }

    #[test]
    fn hostile_names_are_neither_asked_nor_believed() {
        let dir = tempfile::tempdir().expect("a directory");
        let names = names(dir.path(), Some(fake_getent(dir.path())));
        for name in ["--service=x", "-h", "0", "5000", "a:b", "a\nb", "", "\u{1b}[2J", "+far"] {
            assert_eq!(names.uid(name), None, "{name:?}");
        }
        assert!(!dir.path().join("asked").exists());
        assert_eq!(names.uid("liar"), None);
    }

    #[test]
    fn this_machine_knows_root() {
        let names = OwnerNames::of_this_machine();
        assert_eq!(names.user(0).as_deref(), Some("root"));
        assert_eq!(names.uid("root"), Some(0));
    }
}
