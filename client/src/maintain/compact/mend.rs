//! Takes snapshots off packs that are known to be damaged.
//!
//! A pack is let go only if every chunk that a snapshot needs of it was read just now, whole: from
//! another pack of the same device, which then takes its place; or from anywhere else, the damaged
//! pack included, and is written anew. If a single one cannot be read, the pack stays as it is, so
//! that nothing is lost which may be read some day, and the vault goes on telling of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use unseen_common::id::{DeviceId, PackNumber};
use unseen_common::packset::PackSet;

use super::notes::Needs;
use super::repack::{Made, Repacker};
use super::rewrite::{CompactError, Rewriting, Step};
use crate::browse::chunks::Chunks;
use crate::browse::error::{PackFault, ReadError};
use crate::browse::pieces::Pieces;
use crate::crypto::content_id::{ChunkId, ChunkKind};
use crate::progress::{During, Problem, in_words};
use crate::repo::OwnerRepo;

/// A chunk, and where it is read from: a sound pack of the same device with its place there, if
/// there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sought {
    home: Option<(PackNumber, (u32, u32))>,
    kind: ChunkKind,
    id: ChunkId,
}

/// Why a pack stays.
#[derive(Debug)]
enum Hindrance {
    /// A chunk is whole nowhere.
    Lost(ReadError),
    /// Nothing goes on.
    Fatal(CompactError),
}

impl From<CompactError> for Hindrance {
    fn from(error: CompactError) -> Self {
        Self::Fatal(error)
    }
}

impl From<ReadError> for Hindrance {
    fn from(error: ReadError) -> Self {
        match error {
            error if error.is_local() => Self::Lost(error),
            ReadError::Vault(error) => Self::Fatal(error.into()),
            ReadError::Index(error) => Self::Fatal(error.into()),
            _ => Self::Fatal(CompactError::Internal("a chunk was not sought to the end")),
        }
    }
}

impl Rewriting<'_> {
    /// Finds what is needed of these damaged packs; which of them can be let go, and what takes
    /// their place.
    pub(super) fn mend(&self, owner: &OwnerRepo, step: &Step) -> Result<(Made, u64), CompactError> {
        let mut made = Made::default();
        let mut homes = BTreeMap::new();
        let mut stay = 0;
        for (device, numbers) in step {
            let found = self.mend_of_device(owner, (*device, numbers), &mut made)?;
            stay += u64::try_from(numbers.len().saturating_sub(found.len())).unwrap_or(u64::MAX);
            homes.extend(found);
        }
        // What was written for a pack that stays is of no use, and goes by itself.
        made.map.retain(|number, _| homes.contains_key(number));
        for (number, homes) in homes {
            made.map.entry(number).or_default().0 |= homes.0;
        }
        Ok((made, stay))
    }

    /// The packs that can be let go, with those that have what was needed of them already.
    fn mend_of_device(
        &self,
        owner: &OwnerRepo,
        (device, numbers): (DeviceId, &[PackNumber]),
        made: &mut Made,
    ) -> Result<BTreeMap<PackNumber, PackSet>, CompactError> {
        self.repacking(owner, device, made, |repacker| {
            let mut homes = BTreeMap::new();
            let mut chunks = Chunks::new(self.packs, Arc::default());
            for number in numbers.iter().filter(|_| !self.is_interrupted()) {
                match self.rescue(&mut chunks, repacker, (*number, device)) {
                    Ok(found) => drop(homes.insert(*number, found)),
                    Err(Hindrance::Lost(error)) => self.cannot_mend(*number, &error),
                    Err(Hindrance::Fatal(error)) => return Err(error),
                }
                let length = self.packs.index.pack(*number).map_or(0, |pack| pack.length);
                self.monitor.bytes_read(length);
            }
            Ok(homes)
        })
    }

    /// Reads all that is needed of a damaged pack. What no other pack of the device has is written
    /// anew.
    fn rescue(
        &self,
        chunks: &mut Chunks<'_>,
        repacker: &mut Repacker<'_>,
        (number, device): (PackNumber, DeviceId),
    ) -> Result<PackSet, Hindrance> {
        let mut homes = PackSet::default();
        let none = Needs::new();
        let needs = self.survey.stranded.get(&number).unwrap_or(&none);
        for Sought { home, kind, id } in self.sought(needs, device)? {
            if let Some((home, _)) = home {
                match chunks.load_from(home, kind, &id) {
                    Ok(_) => {
                        homes.0.insert(home.0);
                        continue;
                    }
                    Err(PackFault::Pack(_)) => self.packs.suspect(home),
                    Err(PackFault::Vault(error)) => return Err(ReadError::from(error).into()),
                }
            }
            let bytes = chunks.load(kind, &id, &[])?;
            repacker.chunk(kind, (id, &bytes), number)?;
        }
        Ok(homes)
    }

    /// In the order in which they lie in the packs that have them.
    fn sought(&self, needs: &Needs, device: DeviceId) -> Result<Vec<Sought>, ReadError> {
        let index = self.packs.index;
        let mut all = Vec::with_capacity(needs.len());
        let none = roaring::RoaringBitmap::new();
        for (id, kind) in needs {
            let copies = index.copies(id, &none)?;
            let sound = copies.into_iter().find(|number| self.is_sound(*number, device));
            all.push(Sought { home: sound.map(|pack| (pack, (0, 0))), kind: *kind, id: *id });
        }
        all.sort_by_key(|one| one.home);
        for one in &mut all {
            if let Some((home, place)) = &mut one.home {
                *place = match self.packs.open(*home, &mut Pieces::default()) {
                    Ok(pack) => pack.find(&one.id).unwrap_or_default(),
                    Err(PackFault::Pack(_)) => continue,
                    Err(PackFault::Vault(error)) => return Err(error.into()),
                };
            }
        }
        all.sort_by_key(|one| one.home);
        Ok(all)
    }

    /// Whether a snapshot of the device may need this pack from now on. Devices pass over what any
    /// compaction removed.
    fn is_sound(&self, number: PackNumber, device: DeviceId) -> bool {
        let index = self.packs.index;
        let of_device = index.pack(number).is_some_and(|pack| pack.device == device);
        of_device
            && !index.quarantined().contains(number.0)
            && !index.gone().contains(number.0)
            && !self.packs.repo.log.removed.contains(number.0)
    }

    fn cannot_mend(&self, number: PackNumber, error: &ReadError) {
        let path = format!("pack {number}").into_bytes();
        let what = format!("it is damaged, and stays: {}", in_words(error));
        self.monitor.problem(&Problem { path, during: During::Check, what });
    }
}
