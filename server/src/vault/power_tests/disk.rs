//! A disk in numbers: what is on it, and what of that is durable. It follows a record of calls,
//! and tells every folder that a loss of power may leave behind.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::store::trace::{self, Op};

type Id = u64;
type Names = BTreeMap<String, Id>;

#[derive(Debug, Clone)]
enum Node {
    Folder { live: Names, durable: Names },
    File { live: Vec<u8>, durable: Vec<u8> },
}

/// Which names and which bytes that nobody synced are there after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lucky {
    /// None.
    None,
    /// The names, and files are as long as they were, with zeros in them.
    Zeros,
    /// All names, no bytes.
    Names,
    /// All bytes that have a durable name.
    Bytes,
    /// Everything: the process was killed, and the disk lives.
    All,
    /// Some of each.
    Some(u8),
}

/// What is left of a name that was not synced, or of the bytes of a file.
#[derive(Debug, Clone, Copy)]
enum Left {
    Durable,
    Zeros,
    Live,
}

impl Lucky {
    pub(super) const CUTS: [Self; 8] = [
        Self::None,
        Self::Zeros,
        Self::Names,
        Self::Bytes,
        Self::All,
        Self::Some(1),
        Self::Some(2),
        Self::Some(3),
    ];

    fn name(self, of: Id, name: &str) -> bool {
        match self {
            Self::None | Self::Bytes => false,
            Self::Zeros | Self::Names | Self::All => true,
            Self::Some(seed) => coin(seed, of, name) < 128,
        }
    }

    fn bytes(self, of: Id) -> Left {
        match self {
            Self::None | Self::Names => Left::Durable,
            Self::Zeros => Left::Zeros,
            Self::Bytes | Self::All => Left::Live,
            Self::Some(seed) => match coin(seed, of, "") % 3 {
                0 => Left::Durable,
                1 => Left::Zeros,
                _ => Left::Live,
            },
        }
    }
}

fn coin(seed: u8, of: Id, name: &str) -> u8 {
    blake3::hash(format!("{seed} {of} {name}").as_bytes()).as_bytes()[0]
}

/// A folder as it is found: files with their bytes, folders without.
pub(super) type Image = BTreeMap<PathBuf, (Id, Option<Vec<u8>>)>;

/// The disk.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    root: PathBuf,
    nodes: BTreeMap<Id, Node>,
    inodes: HashMap<u64, Id>,
}

const ROOT: Id = 0;

impl Disk {
    /// An empty folder, which is durable.
    pub(super) fn new(root: &Path) -> Self {
        let empty = Node::Folder { live: Names::new(), durable: Names::new() };
        let nodes = BTreeMap::from([(ROOT, empty)]);
        Self { root: root.to_owned(), nodes, inodes: HashMap::new() }
    }

    /// The same in another folder, to which everything that is there was copied.
    pub(super) fn moved(&self, root: &Path) -> Self {
        let mut moved = Self { root: root.to_owned(), inodes: HashMap::new(), ..self.clone() };
        for (path, (id, bytes)) in self.image(Lucky::All) {
            if bytes.is_some() {
                let file = File::open(root.join(path)).unwrap();
                moved.inodes.insert(trace::inode(&file), id);
            }
        }
        moved
    }

    fn add(&mut self, path: &Path, node: Node) -> Id {
        let id = u64::try_from(self.nodes.len()).unwrap();
        self.nodes.insert(id, node);
        self.name(path, Some(id));
        id
    }

    /// The folder that a path is in, and its name there; none if that is not on this disk.
    fn place(&self, path: &Path) -> Option<(Id, String)> {
        let inside = path.strip_prefix(&self.root).ok()?;
        let name = inside.file_name()?.to_str().unwrap().to_owned();
        Some((self.find(path.parent()?).unwrap(), name))
    }

    fn find(&self, path: &Path) -> Option<Id> {
        let mut at = ROOT;
        for part in path.strip_prefix(&self.root).ok()? {
            at = *self.names(at)?.get(part.to_str()?)?;
        }
        Some(at)
    }

    fn names(&self, id: Id) -> Option<&Names> {
        match &self.nodes[&id] {
            Node::Folder { live, .. } => Some(live),
            Node::File { .. } => None,
        }
    }

    fn name(&mut self, path: &Path, id: Option<Id>) {
        let (folder, name) = self.place(path).unwrap();
        let Some(Node::Folder { live, .. }) = self.nodes.get_mut(&folder) else {
            panic!("{} is in no folder", path.display());
        };
        match id {
            Some(id) => drop(live.insert(name, id)),
            None => drop(live.remove(&name).expect("it has the name")),
        }
    }

    fn file(&mut self, inode: u64) -> (&mut Vec<u8>, &mut Vec<u8>) {
        match self.nodes.get_mut(&self.inodes[&inode]) {
            Some(Node::File { live, durable }) => (live, durable),
            _ => panic!("{inode} is no file"),
        }
    }

    /// A call is made.
    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Folder(path) => {
                let node = Node::Folder { live: Names::new(), durable: Names::new() };
                self.add(path, node);
            }
            Op::File { path, inode } => {
                let id = self.add(path, Node::File { live: Vec::new(), durable: Vec::new() });
                self.inodes.insert(*inode, id);
            }
            Op::Wrote { inode, offset, bytes } => {
                let (live, _) = self.file(*inode);
                let from = usize::try_from(*offset).unwrap();
                live.resize(live.len().max(from + bytes.len()), 0);
                live[from..from + bytes.len()].copy_from_slice(bytes);
            }
            Op::Cut { inode, length } => {
                self.file(*inode).0.resize(usize::try_from(*length).unwrap(), 0);
            }
            Op::Synced { inode } => {
                let (live, durable) = self.file(*inode);
                durable.clone_from(live);
            }
            Op::SyncedFolder(path) => self.sync_folder(path),
            Op::Renamed { from, to } => {
                let id = self.find(from);
                self.name(to, id);
                self.name(from, None);
            }
            Op::Linked { from, to } => self.name(to, self.find(from)),
            Op::Removed(path) => self.name(path, None),
            Op::Emptied(path) => self.empty(self.find(path).unwrap()),
            Op::Rotted { path, bytes } => {
                let id = self.find(path).unwrap();
                let rotten = Node::File { live: bytes.clone(), durable: bytes.clone() };
                self.nodes.insert(id, rotten);
            }
        }
    }

    fn sync_folder(&mut self, path: &Path) {
        // The folder that the data folder is in is none of this disk's.
        let Some(id) = self.find(path) else { return };
        if let Some(Node::Folder { live, durable }) = self.nodes.get_mut(&id) {
            durable.clone_from(live);
        }
    }

    fn empty(&mut self, id: Id) {
        let Some(Node::Folder { live, .. }) = self.nodes.get_mut(&id) else { return };
        for (_, child) in std::mem::take(live) {
            self.empty(child);
        }
    }

    /// The folder as it may be found after the power is cut.
    pub(super) fn image(&self, lucky: Lucky) -> Image {
        let mut image = Image::new();
        self.look(ROOT, Path::new(""), lucky, &mut image);
        image
    }

    fn look(&self, id: Id, path: &Path, lucky: Lucky, image: &mut Image) {
        match &self.nodes[&id] {
            Node::Folder { live, durable } => {
                image.insert(path.to_owned(), (id, None));
                let mut names: Vec<&String> = live.keys().chain(durable.keys()).collect();
                names.sort_unstable();
                names.dedup();
                for name in names {
                    let from = if lucky.name(id, name) { live } else { durable };
                    if let Some(child) = from.get(name) {
                        self.look(*child, &path.join(name), lucky, image);
                    }
                }
            }
            Node::File { live, durable } => {
                let mut bytes = durable.clone();
                match lucky.bytes(id) {
                    Left::Durable => {}
                    Left::Zeros => bytes.resize(live.len().max(durable.len()), 0),
                    Left::Live => bytes.clone_from(live),
                }
                image.insert(path.to_owned(), (id, Some(bytes)));
            }
        }
    }
}

/// Makes a folder of an image.
pub(super) fn write(image: &Image, root: &Path) {
    for (path, (_, bytes)) in image {
        match bytes {
            Some(bytes) => fs::write(root.join(path), bytes).unwrap(),
            None => fs::create_dir_all(root.join(path)).unwrap(),
        }
    }
}

/// Reads a folder, without what is never synced: nothing hangs on it.
pub(super) fn read(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        found.insert(folder.strip_prefix(root).unwrap().to_owned(), None);
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let inside = path.strip_prefix(root).unwrap();
            if ["index", "lock"].iter().any(|name| inside == Path::new(name)) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(inside.to_owned(), Some(fs::read(&path).unwrap()));
            }
        }
    }
    found
}
