//! Entries, tree objects, and where writers split.

use serde_json::{Value, json};
use unseen_common::codec::Canonical;

use super::{hex, inputs, published, unhex, unlocked};
use crate::crypto::content_id::{ChunkId, ChunkKind, ContentKeys};
use crate::tree::entry::{Content, DeviceNumber, Entry, Extent, FileTime, Kind, Meta, Name, Xattr};
use crate::tree::object::Object;
use crate::tree::writer::{ContentWriter, DirWriter, ObjectSink};

fn meta() -> Meta {
    Meta {
        mode: 0o644,
        uid: 1000,
        gid: 100,
        user: Some("user".into()),
        group: None,
        mtime: FileTime { seconds: -5, nanos: 999_999_999 },
        xattrs: Vec::new(),
        hard_link: None,
    }
}

fn entry(name: &[u8], kind: Kind) -> Entry {
    Entry { name: Name::new(name).unwrap(), meta: meta(), kind }
}

/// One of each kind, ascending by name.
fn entries() -> Vec<Entry> {
    let device = DeviceNumber { major: 8, minor: 1 };
    let chunk = ChunkId([7; 32]);
    let inline =
        Content::Inline(vec![Extent::Data { chunk, length: 5 }, Extent::Hole { length: 4096 }]);
    let list = Content::List { depth: 1, objects: vec![chunk] };
    let attribute = Xattr { name: b"user.comment".to_vec(), value: b"hello".to_vec() };
    let mut linked = entry(b"b-file", Kind::File { size: 4101, content: inline });
    linked.meta.hard_link = Some(77);
    linked.meta.xattrs = vec![attribute];
    let size = 600_000_000;
    vec![
        entry(b"a-empty", Kind::File { size: 0, content: Content::Inline(Vec::new()) }),
        linked,
        entry(b"c-long", Kind::File { size, content: list }),
        entry(b"d-directory", Kind::Directory { tree: ChunkId([8; 32]) }),
        entry(b"e-symlink", Kind::Symlink { target: b"../x".to_vec() }),
        entry(b"f-fifo", Kind::Fifo),
        entry(b"g-socket", Kind::Socket),
        entry(b"h-char", Kind::CharDevice(device)),
        entry(b"i-block \xff", Kind::BlockDevice(device)),
    ]
}

fn objects() -> Vec<(&'static str, Object)> {
    let part = |name: &[u8], id| (Name::new(name).unwrap(), ChunkId([id; 32]));
    let extents = vec![
        Extent::Hole { length: 1 << 40 },
        Extent::Data { chunk: ChunkId([1; 32]), length: 4_194_304 },
    ];
    vec![
        ("empty_leaf", Object::Leaf(Vec::new())),
        ("leaf", Object::Leaf(entries())),
        ("inner", Object::Inner(vec![part(b"a", 1), part(b"m", 2)])),
        ("extents", Object::Extents(extents)),
        ("lists", Object::Lists(vec![ChunkId([3; 32]), ChunkId([4; 32])])),
    ]
}

/// Objects that break one rule each.
fn refused() -> Value {
    let name = "4161";
    let id = format!("5820{}", "00".repeat(32));
    json!([
        {"why": "another version", "object": "83020080"},
        {"why": "an unknown kind", "object": "83010480"},
        {"why": "an indefinite length", "object": "8301009fff"},
        {"why": "a longer form of 1", "object": "8318010080"},
        {"why": "a byte behind it", "object": "8301008000"},
        {"why": "a directory of no parts", "object": "83010180"},
        {"why": "a name twice", "object": format!("83010182 82{name}{id} 82{name}{id}").replace(' ', "")},
        {"why": "a name with a slash", "object": format!("83010181 82412f{id}").replace(' ', "")},
        {"why": "the name ..", "object": format!("83010181 82422e2e{id}").replace(' ', "")},
        {"why": "an empty hole", "object": "8301028100"},
        {"why": "an empty chunk", "object": format!("83010281 82{id}00").replace(' ', "")},
    ])
}

struct Sink {
    ids: ContentKeys,
    stored: Vec<(ChunkId, usize)>,
}

impl Sink {
    fn new() -> Self {
        Self { ids: unlocked().write_set().content_keys(), stored: Vec::new() }
    }

    fn told(&self) -> Value {
        let line = |(id, length): &(ChunkId, usize)| json!({"id": hex(id.0), "length": length});
        self.stored.iter().map(line).collect()
    }
}

impl ObjectSink for Sink {
    type Error = std::convert::Infallible;

    fn store(&mut self, bytes: Vec<u8>) -> Result<ChunkId, Self::Error> {
        let id = self.ids.chunk_id(ChunkKind::Tree, &bytes);
        self.stored.push((id, bytes.len()));
        Ok(id)
    }
}

/// A directory of so many pipes, `entry-00000` and on.
fn directory(count: u32) -> Value {
    let mut sink = Sink::new();
    let mut writer = DirWriter::new();
    for number in 0..count {
        let pipe = entry(format!("entry-{number:05}").as_bytes(), Kind::Fifo);
        let Ok(()) = writer.push(&pipe.name, &pipe.to_bytes(), &mut sink);
    }
    let Ok(id) = writer.finish(&mut sink);
    json!({ "entries": count, "objects_in_order": sink.told(), "id": hex(id.0) })
}

/// Chunk number n is called BLAKE3(n as u32) and has 1000 + n bytes.
fn content(count: u32) -> Value {
    let mut sink = Sink::new();
    let mut writer = ContentWriter::default();
    let mut size: u64 = 0;
    for number in 0..count {
        let chunk = ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes());
        let length = 1000 + number;
        size += u64::from(length);
        let Ok(()) = writer.push(Extent::Data { chunk, length }, &mut sink);
    }
    let Ok((content, _)) = writer.finish(&mut sink);
    let entry = entry(b"long", Kind::File { size, content: content.clone() });
    let depth = match &content {
        Content::Inline(_) => 0,
        Content::List { depth, .. } => *depth,
    };
    json!({
        "extents": count,
        "depth": depth,
        "objects": sink.stored.len(),
        "lengths": sink.stored.iter().map(|(_, length)| length).collect::<Vec<_>>(),
        "entry_hash": hex(blake3::hash(&entry.to_bytes()).as_bytes()),
    })
}

#[test]
fn trees_are_as_they_were() {
    let ids = unlocked().write_set().content_keys();
    let shown = |(name, object): &(&str, Object)| {
        let bytes = object.to_bytes();
        json!({
            "what": name,
            "bytes": hex(&bytes),
            "tree_id": hex(ids.chunk_id(ChunkKind::Tree, &bytes).0),
        })
    };
    let named =
        |entry: &Entry| json!({"name": hex(entry.name.as_bytes()), "bytes": hex(entry.to_bytes())});
    let computed = json!({
        "inputs": inputs(),
        "entries": entries().iter().map(named).collect::<Vec<_>>(),
        "objects": objects().iter().map(shown).collect::<Vec<_>>(),
        "refused_objects": refused(),
        "directories": [directory(0), directory(500), directory(6000)],
        "contents": [content(64), content(65), content(3000), content(40_000)],
    });
    let stored = published("tree.json", &computed);
    for (case, (name, object)) in stored["objects"].as_array().unwrap().iter().zip(objects()) {
        let read = Object::from_bytes(&unhex(&case["bytes"])).unwrap();
        assert_eq!(read, object, "{name}");
    }
    for (case, entry) in stored["entries"].as_array().unwrap().iter().zip(entries()) {
        assert_eq!(Entry::from_bytes(&unhex(&case["bytes"])).unwrap(), entry);
    }
    for case in stored["refused_objects"].as_array().unwrap() {
        assert!(Object::from_bytes(&unhex(&case["object"])).is_err(), "{case}");
    }
}
