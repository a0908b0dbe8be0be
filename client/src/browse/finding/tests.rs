use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use unseen_common::id::{PackId, SnapshotId};

use super::*;
use crate::browse::chunks::Chunks;
use crate::browse::ls::{Found, find_path};
use crate::browse::resolve::{parse, parse_path};
use crate::browse::snapshots::packs_hold;
use crate::crypto::content_id::ChunkKind;
use crate::pack::chunk_map::{ChunkMap, MappedPack, start_of};
use crate::testing::{Machine, World, silent};
use crate::tree::entry::{Extent, Kind};
use crate::tree::reader::for_each_extent;

/// Files in each batch: so many that six of their tables of contents are worth a map.
const FILES: usize = 1000;

struct Vault {
    world: World,
    desk: Machine,
    source: std::path::PathBuf,
    snapshots: Vec<SnapshotId>,
}

impl Vault {
    fn new(batches: usize) -> Self {
        let (world, desk) = World::new();
        let source = world.folder("source");
        let mut vault = Self { world, desk, source, snapshots: Vec::new() };
        (0..batches).for_each(|_| vault.grow());
        vault
    }

    fn grow(&mut self) {
        let folder = self.source.join(self.snapshots.len().to_string());
        fs::create_dir(&folder).unwrap();
        for file in 0..FILES {
            fs::write(folder.join(file.to_string()), text(self.snapshots.len(), file)).unwrap();
        }
        self.snapshots.push(self.world.backup(&mut self.desk, &self.source));
    }

    fn reader(&self) -> ReaderRepo {
        self.world.try_reader("reader", None).unwrap()
    }

    fn open(&self, repo: &ReaderRepo, dir: &Path, at: usize) -> (Chosen, ReaderIndex) {
        let wanted = parse(&self.snapshots[at].to_string()).unwrap();
        let filter = Filter::default();
        let opened = open_for_little(repo, dir, (&wanted, &filter));
        let (chosen, index) = self.world.runtime.block_on(opened);
        (chosen.unwrap(), index.unwrap())
    }

    fn maps(&self, repo: &ReaderRepo, at: usize) -> Vec<MapRef> {
        let row = rows(repo).into_iter().find(|row| row.id == self.snapshots[at]).unwrap();
        self.world.runtime.block_on(manifest(repo, &row)).unwrap().maps
    }

    /// Reads a file of a batch.
    fn read(&self, (repo, index): (&ReaderRepo, &ReaderIndex), chosen: &Chosen, batch: usize) {
        let packs = Packs::new(repo, index, silent(), self.world.runtime.handle());
        let within = packs.wait(repo.vault.packs_of(chosen.snapshot.id)).unwrap().0;
        let mut chunks = Chunks::new(&packs, Arc::new(within));
        let path = self.source.join(format!("{batch}/7"));
        let path = parse_path(path.as_os_str().as_bytes()).unwrap();
        let Found::Entry(entry) = find_path(&mut chunks, chosen.manifest.root, &path).unwrap()
        else {
            panic!("an entry");
        };
        let Kind::File { size, content } = &entry.kind else { panic!("a file") };
        let mut bytes = Vec::new();
        for_each_extent(content, *size, &mut chunks, |extent, chunks| {
            let Extent::Data { chunk, .. } = extent else { panic!("no holes") };
            bytes.extend(chunks.load(ChunkKind::Data, chunk, &[])?);
            Ok::<(), ReadError>(())
        })
        .unwrap();
        assert_eq!(bytes, text(batch, 7).as_bytes());
    }
}

fn text(batch: usize, file: usize) -> String {
    format!("file {file} of {batch}")
}

#[test]
fn one_file_takes_the_tables_of_a_few_packs() {
    let mut vault = Vault::new(5);
    let repo = vault.reader();
    assert_eq!(vault.maps(&repo, 4), [], "few tables need no map");
    (5..14).for_each(|_| vault.grow());
    let repo = vault.reader();
    let (first, last) = (vault.maps(&repo, 8), vault.maps(&repo, 13));
    assert!(first.len() == 1 && last.len() == 1 && first != last, "short ones become one");

    // The newest maps serve old snapshots, too.
    for (at, batch) in [(13, 2), (13, 13), (3, 3), (9, 0)] {
        let dir = tempfile::tempdir().unwrap();
        let (chosen, index) = vault.open(&repo, dir.path(), at);
        let packs = vault.world.runtime.block_on(repo.vault.packs_of(chosen.snapshot.id));
        assert!(packs_hold(&repo, &index, &chosen.snapshot, &packs.unwrap().0));
        let (all, lacking) = (index.live().len(), index.lacking().len());
        assert!(all > 14 && lacking >= 12, "{lacking} of {all}");
        vault.read((&repo, &index), &chosen, batch);
        assert!(!index.is_whole() && index.lacking().len() + 4 >= lacking);
        // Everything is there when it is asked for.
        vault.world.runtime.block_on(repo.complete_index(&index)).unwrap();
        assert!(index.is_whole() && index.lacking().is_empty() && index.gone().is_empty());
        vault.read((&repo, &index), &chosen, batch);
        drop(index);
        let (chosen, index) = vault.open(&repo, dir.path(), at);
        assert!(index.lacking().is_empty(), "what was fetched is kept");
        vault.read((&repo, &index), &chosen, batch);
    }
}

#[test]
fn maps_that_are_gone_damaged_or_false_cost_fetches_alone() {
    let vault = Vault::new(8);
    let repo = vault.reader();
    let [map] = vault.maps(&repo, 7)[..] else { panic!("one map") };
    let dir = tempfile::tempdir().unwrap();
    let (chosen, mut index) = vault.open(&repo, dir.path(), 7);
    let live: Vec<u32> = index.live().iter().collect();
    let false_map = |name: &dyn Fn(u32) -> PackId| {
        let mut map = ChunkMap::default();
        for number in &live {
            let pack = MappedPack {
                number: PackNumber(*number),
                id: name(*number),
                length: 1 << 16,
                footer: 4096,
            };
            // It says of every pack that it holds the tree, and nothing else.
            assert!(map.push(pack, vec![start_of(&chosen.manifest.root)]));
        }
        map
    };
    let none = PackId::from_bytes([9; 32]);
    index.set_maps((Vec::new(), vec![false_map(&|_| none)]));
    vault.read((&repo, &index), &chosen, 4);
    assert!(index.is_whole());

    let right = |number| index.pack_id(PackNumber(number)).unwrap();
    let map_of_right_names = false_map(&right);
    drop(index);
    let other = tempfile::tempdir().unwrap();
    let (_, mut index) = vault.open(&repo, other.path(), 7);
    index.set_maps((Vec::new(), vec![map_of_right_names]));
    vault.read((&repo, &index), &chosen, 4);
    assert!(index.is_whole());
    drop(index);

    vault.world.damage(map.number.0, 5000);
    let third = tempfile::tempdir().unwrap();
    let (chosen, index) = vault.open(&repo, third.path(), 7);
    assert!(index.is_whole());
    vault.read((&repo, &index), &chosen, 4);
    drop(index);

    fs::remove_file(vault.world.pack_file(map.number.0)).unwrap();
    let fourth = tempfile::tempdir().unwrap();
    let (chosen, index) = vault.open(&repo, fourth.path(), 7);
    assert!(index.is_whole());
    vault.read((&repo, &index), &chosen, 4);
}

/// A map that the vault has lost, as all other packs, is made anew by the next run.
#[test]
fn a_map_that_is_lost_is_written_again() {
    let mut vault = Vault::new(7);
    let repo = vault.reader();
    let [map] = vault.maps(&repo, 6)[..] else { panic!("one map") };
    fs::remove_file(vault.world.pack_file(map.number.0)).unwrap();
    vault.world.runtime.block_on(repo.vault.survey_packs(None)).unwrap();
    vault.grow();
    let repo = vault.reader();
    let [again] = vault.maps(&repo, 7)[..] else { panic!("one map") };
    assert!(again.number > map.number);
    let found = vault.world.runtime.block_on(repo.fetch_map(&again)).unwrap();
    assert!(found.numbers().len() >= 8);
}
