//! Which pack a number names, who wrote it and how long it is: 48 bytes of RAM a pack.
//!
//! ```text
//! "UNSEENR2" | vault id 16 | device count u32 | devices, 16 each
//!   | pack count u32 | packs: number u32, place of the device u16, log2 of the length u8,
//!   |                         log2 of the footer's length u8, bytes of segments u32,
//!   |                         bytes of chunks u32, pack id 32
//!   | BLAKE3 of everything before
//! ```
//! Numbers little-endian. A cache: whatever is wrong with it, the file is ignored.

use std::path::Path;

use roaring::RoaringBitmap;
use unseen_common::id::{DeviceId, PackId, PackNumber, VaultId};
use unseen_common::limits::{MAX_DEVICES, PACK_TRAILER};

use crate::pins::write_durably;

const MAGIC: &[u8; 8] = b"UNSEENR2";
const ROW: usize = 48;

/// What is known of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackInfo {
    /// Its number.
    pub number: PackNumber,
    /// Its name.
    pub id: PackId,
    /// Who wrote it.
    pub device: DeviceId,
    /// Length of the whole pack, in bytes.
    pub length: u64,
    /// Length of the sealed footer, in bytes.
    pub footer: u64,
    /// Bytes of its sealed segments, padding aside.
    pub body: u32,
    /// Bytes of its chunks, decompressed; `u32::MAX` if there are more.
    pub raw: u32,
}

impl PackInfo {
    /// Where the footer begins.
    pub fn footer_start(&self) -> u64 {
        self.length.saturating_sub(PACK_TRAILER).saturating_sub(self.footer)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    number: u32,
    device: u16,
    length: u8,
    footer: u8,
    body: u32,
    raw: u32,
    id: PackId,
}

/// The packs that are known, by number.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PackMap {
    devices: Vec<DeviceId>,
    /// Ascending by number.
    rows: Vec<Row>,
}

impl PackMap {
    pub(super) fn get(&self, number: PackNumber) -> Option<PackInfo> {
        let at = self.rows.binary_search_by_key(&number.0, |row| row.number).ok()?;
        let row = self.rows.get(at)?;
        Some(PackInfo {
            number,
            id: row.id,
            device: *self.devices.get(usize::from(row.device))?,
            length: 1_u64.checked_shl(row.length.into())?,
            footer: 1_u64.checked_shl(row.footer.into())?,
            body: row.body,
            raw: row.raw,
        })
    }

    pub(super) fn numbers(&self) -> RoaringBitmap {
        self.rows.iter().map(|row| row.number).collect()
    }

    /// Adds packs in any order. A pack whose lengths are no powers of two is left out.
    pub(super) fn extend(&mut self, packs: Vec<PackInfo>) {
        for pack in packs {
            let place = self.devices.iter().position(|id| *id == pack.device);
            let place = place.unwrap_or_else(|| {
                self.devices.push(pack.device);
                self.devices.len().saturating_sub(1)
            });
            let (Ok(device), Some(length), Some(footer)) =
                (u16::try_from(place), log2(pack.length), log2(pack.footer))
            else {
                continue;
            };
            let PackInfo { number, id, body, raw, .. } = pack;
            self.rows.push(Row { number: number.0, device, length, footer, body, raw, id });
        }
        // Of two of one number the one that came last stays.
        self.rows.reverse();
        self.rows.sort_by_key(|row| row.number);
        self.rows.dedup_by_key(|row| row.number);
    }

    pub(super) fn retain(&mut self, live: &RoaringBitmap) {
        self.rows.retain(|row| live.contains(row.number));
    }

    /// The map in `path`, if there is one of this vault and nothing is wrong with it.
    pub(super) fn read(path: &Path, vault: VaultId) -> Option<Self> {
        let bytes = std::fs::read(path).ok()?;
        let (body, sum) = bytes.split_last_chunk::<32>()?;
        if blake3::hash(body).as_bytes() != sum {
            return None;
        }
        let rest = body.strip_prefix(MAGIC)?.strip_prefix(vault.as_bytes())?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        if count > MAX_DEVICES {
            return None;
        }
        let (devices, rest) = rest.split_at_checked(count.checked_mul(16)?)?;
        let (_, rows) = rest.split_first_chunk::<4>()?;
        let (rows, odd) = rows.as_chunks::<ROW>();
        odd.is_empty().then(|| Self {
            devices: devices.as_chunks().0.iter().map(|id| DeviceId::from_bytes(*id)).collect(),
            rows: rows.iter().filter_map(Row::read).collect(),
        })
    }

    pub(super) fn write(&self, path: &Path, vault: VaultId) -> std::io::Result<()> {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        let mut out = Vec::with_capacity(64 + self.rows.len() * ROW);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(vault.as_bytes());
        out.extend_from_slice(&count(self.devices.len()));
        for device in &self.devices {
            out.extend_from_slice(device.as_bytes());
        }
        out.extend_from_slice(&count(self.rows.len()));
        for row in &self.rows {
            out.extend_from_slice(&row.number.to_le_bytes());
            out.extend_from_slice(&row.device.to_le_bytes());
            out.extend_from_slice(&[row.length, row.footer]);
            out.extend_from_slice(&row.body.to_le_bytes());
            out.extend_from_slice(&row.raw.to_le_bytes());
            out.extend_from_slice(row.id.as_bytes());
        }
        let sum = blake3::hash(&out);
        out.extend_from_slice(sum.as_bytes());
        write_durably(path, &out)
    }
}

impl Row {
    fn read(bytes: &[u8; ROW]) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk()?;
        let (device, rest) = rest.split_first_chunk()?;
        let ([length, footer], rest) = rest.split_first_chunk()?;
        let (body, rest) = rest.split_first_chunk()?;
        let (raw, id) = rest.split_first_chunk()?;
        Some(Self {
            number: u32::from_le_bytes(*number),
            device: u16::from_le_bytes(*device),
            length: *length,
            footer: *footer,
            body: u32::from_le_bytes(*body),
            raw: u32::from_le_bytes(*raw),
            id: PackId::from_slice(id)?,
        })
    }
}

fn log2(length: u64) -> Option<u8> {
    length.is_power_of_two().then(|| u8::try_from(length.trailing_zeros()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(number: u32, device: u8) -> PackInfo {
        PackInfo {
            number: PackNumber(number),
            id: PackId::from_bytes([device; 32]),
            device: DeviceId::from_bytes([device; 16]),
            length: 1 << 24,
            footer: 4096,
            body: number * 1000,
            raw: number * 3000,
        }
    }

    #[test]
    fn packs_are_found_and_come_back_from_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("packs");
        let vault = VaultId::from_bytes([9; 16]);
        let mut map = PackMap::default();
        map.extend(vec![pack(7, 1), pack(2, 2), pack(5, 1)]);
        map.extend(vec![pack(5, 3)]);
        assert_eq!(map.get(PackNumber(7)), Some(pack(7, 1)));
        assert_eq!(map.get(PackNumber(5)), Some(pack(5, 3)));
        assert_eq!(map.get(PackNumber(3)), None);
        map.write(&path, vault).unwrap();
        assert_eq!(PackMap::read(&path, vault).as_ref(), Some(&map));
        assert_eq!(PackMap::read(&path, VaultId::from_bytes([8; 16])), None);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).unwrap();
            assert_eq!(PackMap::read(&path, vault), None, "byte {at}");
        }
        map.retain(&[2, 5].into_iter().collect());
        assert_eq!(map.numbers(), [2, 5].into_iter().collect());
    }
}
