//! Maps of chunks, which no tree names.

use super::*;
use crate::browse::finding::open_for_little;
use crate::browse::resolve::{Filter, parse};
use crate::browse::snapshots::{manifest, rows};
use crate::tree::manifest::MapRef;

impl Scene {
    /// A folder with so many files that six such tables of contents are worth a map.
    fn grow(&mut self, batch: usize) -> SnapshotId {
        let folder = self.source.join(batch.to_string());
        fs::create_dir_all(&folder).unwrap();
        for file in 0..1000 {
            fs::write(folder.join(file.to_string()), format!("{file} of {batch}")).unwrap();
        }
        self.backup()
    }

    fn maps(&self) -> Vec<MapRef> {
        let (repo, _) = self.world.reader();
        let newest = rows(&repo).pop().unwrap();
        self.world.runtime.block_on(manifest(&repo, &newest)).unwrap().maps
    }
}

#[test]
fn maps_stay_where_they_are_and_what_a_compaction_moved_is_mapped_anew() {
    let (mut scene, _) = Scene::new(0);
    let mut made: Vec<SnapshotId> = (0..7).map(|batch| scene.grow(batch)).collect();
    let [map] = scene.maps()[..] else { panic!("one map") };
    assert_eq!(scene.compact(), Done::default(), "a map is no waste");

    for file in 0..500 {
        (1..4).for_each(|batch: usize| {
            fs::remove_file(scene.source.join(format!("{batch}/{file}"))).unwrap();
        });
    }
    made.push(scene.backup());
    scene.forget(&made[..7]);
    let done = scene.compact();
    assert!(done.removed >= 3 && done.packs > 0, "{done:?}");
    scene.sweep();
    assert!(scene.check().is_sound());
    let (_, index) = scene.world.reader();
    assert_eq!(index.pack(map.number).map(|pack| pack.id), Some(map.pack));
    drop(index);

    scene.restart();
    for batch in 7..13 {
        scene.grow(batch);
    }
    let [again] = scene.maps()[..] else { panic!("one map") };
    assert_ne!(again, map);
    let (repo, _) = scene.world.reader();
    let (dir, wanted) = (tempfile::tempdir().unwrap(), parse("latest").unwrap());
    let filter = Filter::default();
    let opened = open_for_little(&repo, dir.path(), (&wanted, &filter));
    let index = scene.world.runtime.block_on(opened).1.unwrap();
    assert!(!index.is_whole() && index.lacking().is_subset(&index.mapped()));
    let (lacking, all) = (index.lacking().len(), index.live().len());
    assert!(lacking * 2 > all, "{lacking} of {all}");
}
