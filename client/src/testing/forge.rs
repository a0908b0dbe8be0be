//! Snapshots that no backup would make.

use super::*;

/// Seals objects that no backup would make, and commits snapshots of them.
#[derive(Debug)]
pub(crate) struct Forge {
    builder: PackBuilder,
    /// What the manifest will say.
    pub(crate) totals: Totals,
}

impl Forge {
    pub(crate) fn new() -> Self {
        let builder = PackBuilder::new(&BufferPool::new(1));
        Self { builder, totals: Totals::default() }
    }

    /// Adds a chunk in a segment of its own.
    pub(crate) fn chunk(&mut self, kind: ChunkKind, bytes: &[u8]) -> ChunkId {
        let id = keys().write_set().content_keys().chunk_id(kind, bytes);
        self.chunk_named(kind, id, bytes);
        id
    }

    /// Adds a chunk under any id.
    pub(crate) fn chunk_named(&mut self, kind: ChunkKind, id: ChunkId, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("a short chunk");
        let row = SegmentRow {
            sealed: 0,
            raw: length,
            encoding: Encoding::Stored,
            kind,
            chunks: vec![ChunkRow { id, length }],
        };
        assert!(self.builder.append(bytes, row), "it fits");
    }

    /// Adds a directory of these entries, which must be sorted unless that is the point.
    pub(crate) fn dir(&mut self, entries: &[Entry]) -> ChunkId {
        let bytes = Object::Leaf(entries.to_vec()).to_bytes();
        self.chunk(ChunkKind::Tree, &bytes)
    }

    /// A pack of everything so far.
    pub(crate) fn sealed(self, machine: &Machine) -> SealedPack {
        let key = &machine.repo.key;
        self.builder.seal(&Sealer::of(key), &mut key.secrets.rng()).expect("sealed")
    }

    /// Stores everything and commits a snapshot whose root is `root`.
    pub(crate) fn commit(self, world: &World, machine: &mut Machine, root: ChunkId) -> SnapshotId {
        let totals = self.totals;
        let pack = self.sealed(machine);
        let repo = &mut machine.repo;
        let state = StateDb::open(&repo.folders.state).expect("state");
        let number = world.runtime.block_on(repo.vault.put_pack(pack.upload()));
        let number = number.expect("stored");
        state.set_pack(number, &pack.id, pack.lengths()).expect("noted");
        let manifest = Manifest {
            set: "forged".into(),
            paths: vec![b"/".to_vec()],
            host: "host".into(),
            user: "user".into(),
            tags: Vec::new(),
            start: START,
            end: START,
            program: "test".into(),
            root,
            totals,
            errors: Vec::new(),
            error_count: 0,
            rules: Some(RunRules::default()),
            disclosure_hash: Hash::from_bytes([0; 32]),
            maps: Vec::new(),
        };
        let wish = Wish {
            kinds: Kinds::default(),
            set: repo.key.write_set.content_keys().set_tag(&manifest.set),
            manifest,
            status: Status::Complete,
            packs: [number.0].into_iter().collect(),
        };
        let mut committer = Committer {
            key: &repo.key,
            service: &*repo.service,
            vault: &*repo.vault,
            log: &mut repo.log,
            folders: &repo.folders,
            clock: &*repo.clock,
            state: &state,
            again: true,
        };
        let (prepared, id) = prepare(&committer, wish).expect("prepared");
        let sent = world.runtime.block_on(send(&mut committer, &prepared));
        assert!(matches!(sent, Ok(Committed::Saved(saved)) if saved == id));
        id
    }
}
