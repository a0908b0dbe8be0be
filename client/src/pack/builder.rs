//! Fills a pack with segments, then seals it in place.
//!
//! Nothing is sealed, and no key exists, before the pack is complete: until then packs can be
//! joined by copying, and a pack that is given up costs nothing.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use unseen_common::id::{Hash, PackId, PackUid, VaultId};
use unseen_common::limits::{MAX_FOOTER, MAX_PACK, PACK_TRAILER};
use unseen_common::vault::{PackUpload, pack_id};

use super::ladder::{TAG, footer_len, needed, pack_len};
use super::table::{SegmentRow, Table, row_len};
use crate::crypto::device_file::DeviceKey;
use crate::crypto::envelope::{EnvelopeKind, HEADER_LEN, SealError, SealTo};
use crate::crypto::rng::Hedged;
use crate::crypto::seal::TAG_LEN;
use crate::crypto::secret::Secret;
use crate::crypto::sign::{Domain, sign};

/// Version of the pack format, in the trailer.
pub const VERSION: u16 = 1;

/// Memory of packs. Whoever wants one more than there may be waits for an upload.
///
/// A buffer takes as much memory as is in it. What compressed goes back to the system once the
/// upload is done, or each open pack would soon take 16 MiB, full or not: new pages cost a hundredth
/// of what compressing cost. What did not compress comes so fast that its buffer is handed out again.
#[derive(Debug, Clone)]
pub struct BufferPool(Arc<Buffers>);

#[derive(Debug)]
struct Buffers {
    most: usize,
    free: Mutex<Free>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct Free {
    buffers: Vec<Vec<u8>>,
    in_use: usize,
}

impl BufferPool {
    /// At most so many buffers; enough for all packs that may be open at a time, and one more, or
    /// everybody waits for ever.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Buffers { most, free: Mutex::default(), returned: Condvar::new() }))
    }

    fn take(&self) -> Vec<u8> {
        let mut free = self.free();
        while free.in_use >= self.0.most {
            free = self.0.returned.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        Self::hand_out(&mut free)
    }

    /// Without waiting, for a moment in which nothing is filled any more.
    fn take_beyond(&self) -> Vec<u8> {
        Self::hand_out(&mut self.free())
    }

    fn hand_out(free: &mut Free) -> Vec<u8> {
        free.in_use += 1;
        let mut buffer = free.buffers.pop().unwrap_or_else(|| Vec::with_capacity(BUFFER));
        buffer.clear();
        buffer.resize(HEADER_LEN, 0);
        buffer
    }

    fn give_back(&self, buffer: Vec<u8>, again: bool) {
        let mut free = self.free();
        free.in_use -= 1;
        if again && free.buffers.len() + free.in_use < self.0.most {
            free.buffers.push(buffer);
        }
        drop(free);
        self.0.returned.notify_one();
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.0.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer of a pool, to which it returns by itself.
#[derive(Debug)]
struct Pooled {
    buffer: Vec<u8>,
    pool: BufferPool,
    /// Whether the buffer is to be handed out again.
    again: bool,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.buffer), self.again);
    }
}

/// Bytes of one buffer. The largest pack has half of that, and what is not touched takes no memory.
/// But glibc may keep what is freed for itself up to 32 MiB; longer allocations always go back.
const BUFFER: usize = 33 * 1024 * 1024;
/// A footer is not made larger than this: what is known of so many chunks on their way takes
/// memory in several places.
const FULL_TABLE: u64 = MAX_FOOTER / 2;
/// A table that has not so many bytes left before it outgrows that is full: one segment has at
/// most 4096 chunks.
const ROOM_FOR_ROWS: u64 = 256 * 1024;
/// A footer of so many bytes is of chunks that are tiny.
const HEAVY: u64 = MAX_FOOTER / 2;
/// The count of segments in a table may grow by so many bytes.
const COUNT: u64 = 3;

/// A pack that is being filled.
#[derive(Debug)]
pub struct PackBuilder {
    pooled: Pooled,
    table: Table,
    table_len: usize,
}

/// Who seals a pack, and for whom.
#[derive(Debug)]
pub struct Sealer<'a> {
    /// The vault and the writer.
    pub to: SealTo<'a>,
    /// The device's manifest key; the root key when the owner writes a pack of it anew.
    pub signer: &'a SigningKey,
    /// The device's index key.
    pub index_key: &'a Secret<32>,
}

impl<'a> Sealer<'a> {
    /// What a device seals its own packs with.
    pub fn of(key: &'a DeviceKey) -> Self {
        let secrets = &key.secrets;
        Self { to: key.seal_to(), signer: &secrets.manifest, index_key: &secrets.index_key }
    }
}

/// A pack that can be uploaded: the only thing that can.
#[derive(Debug, Clone)]
pub struct SealedPack {
    /// Its name.
    pub id: PackId,
    /// Its table of contents, still in clear on this machine.
    pub table: Table,
    footer_len: u32,
    bytes: Bytes,
}

impl SealedPack {
    /// The request that stores it.
    pub fn upload(&self) -> PackUpload {
        PackUpload { id: self.id, footer_len: self.footer_len, bytes: self.bytes.clone() }
    }

    /// Its length, in bytes.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The same, and that of its footer without the trailer.
    pub fn lengths(&self) -> (u64, u64) {
        (self.len(), self.footer_len.into())
    }

    /// Never: a pack has a header.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// A pack that was sealed earlier, read back from the spool and opened with the device's
    /// index key.
    pub(crate) fn from_spool(id: PackId, table: Table, footer_len: u32, bytes: Bytes) -> Self {
        Self { id, table, footer_len, bytes }
    }
}

impl PackBuilder {
    /// An empty pack. Waits for its memory.
    pub fn new(pool: &BufferPool) -> Self {
        Self::with(pool.take(), pool)
    }

    /// An empty pack like this one, for a moment in which nothing is filled any more: it does not
    /// wait for its memory.
    #[must_use]
    pub fn another(&self) -> Self {
        let pool = &self.pooled.pool;
        Self::with(pool.take_beyond(), pool)
    }

    fn with(buffer: Vec<u8>, pool: &BufferPool) -> Self {
        let pooled = Pooled { buffer, pool: pool.clone(), again: false };
        Self { pooled, table: Table::default(), table_len: 1 }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.table.segments.is_empty()
    }

    /// The segments so far.
    pub fn segments(&self) -> &[SegmentRow] {
        &self.table.segments
    }

    /// The bytes of the segments, tags included, in order. Nothing is sealed yet.
    pub fn bodies(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.pooled.buffer.get(HEADER_LEN..).unwrap_or_default();
        self.table.segments.iter().map_while(move |row| {
            let (body, after) = rest.split_at_checked(row.sealed as usize)?;
            rest = after;
            Some(body)
        })
    }

    /// Bytes that it takes at least.
    pub fn needed(&self) -> u64 {
        needed(self.body_len(), self.table_len as u64 + COUNT)
    }

    /// Bytes that it takes on the ladder.
    pub fn length(&self) -> u64 {
        pack_len(self.body_len(), self.table_len as u64 + COUNT).unwrap_or(MAX_PACK)
    }

    /// Bytes of padding, if it were sealed now.
    pub fn waste(&self) -> u64 {
        self.length().saturating_sub(self.needed())
    }

    /// Bytes still free for sealed segments and their rows.
    pub fn room(&self) -> u64 {
        let table = self.table_len as u64;
        if footer_len(table + ROOM_FOR_ROWS) > FULL_TABLE {
            return 0;
        }
        let most = if self.is_table_heavy() { self.length() } else { MAX_PACK };
        most.saturating_sub(self.needed())
    }

    /// Whether a segment of `encoded` bytes with this row fits, and is better here than in the
    /// next pack.
    pub fn fits(&self, encoded: usize, row: &SegmentRow) -> bool {
        let body = self.body_len() + encoded as u64 + TAG;
        let table = self.table_len as u64 + row_len(row) as u64;
        match pack_len(body, table + COUNT) {
            None => false,
            Some(length) if length > self.length() && self.is_table_heavy() => {
                self.waste() > self.length() / 8
            }
            Some(_) => true,
        }
    }

    /// Chunks so tiny that the table will be full long before the pack: such a pack is best ended
    /// just before it takes the next step on the ladder.
    fn is_table_heavy(&self) -> bool {
        footer_len(self.table_len as u64) >= HEAVY
    }

    /// Adds a segment. The row's `sealed` is set here; returns false, and takes nothing, when it
    /// does not fit.
    pub fn append(&mut self, encoded: &[u8], mut row: SegmentRow) -> bool {
        let Ok(sealed) = u32::try_from(encoded.len() + TAG_LEN) else {
            return false;
        };
        row.sealed = sealed;
        if !self.fits(encoded.len(), &row) {
            return false;
        }
        self.pooled.buffer.extend_from_slice(encoded);
        self.pooled.buffer.extend_from_slice(&[0; TAG_LEN]);
        self.table_len += row_len(&row);
        self.table.segments.push(row);
        true
    }

    /// Moves segments to `into`, the largest first, as long as it takes at most `length` bytes on
    /// the ladder. Tells of each segment whether it has moved; all keep their order.
    pub fn pour(&mut self, into: &mut Self, length: u64) -> Vec<bool> {
        let mut moves = vec![false; self.table.segments.len()];
        let (mut body, mut table) = (into.body_len(), into.table_len);
        let mut order: Vec<_> = moves.iter_mut().zip(&self.table.segments).collect();
        order.sort_by_key(|(_, row)| std::cmp::Reverse(row.sealed));
        for (moves, row) in order {
            let (more, rows) = (body + u64::from(row.sealed), table + row_len(row));
            if pack_len(more, rows as u64 + COUNT).is_some_and(|fits| fits <= length) {
                (body, table) = (more, rows);
                *moves = true;
            }
        }
        let (mut from, mut to) = (HEADER_LEN, HEADER_LEN);
        let mut kept = Vec::new();
        for (row, moves) in std::mem::take(&mut self.table.segments).into_iter().zip(&moves) {
            let end = from + row.sealed as usize;
            if *moves {
                into.pooled
                    .buffer
                    .extend_from_slice(self.pooled.buffer.get(from..end).unwrap_or_default());
                self.table_len -= row_len(&row);
                into.table_len += row_len(&row);
                into.table.segments.push(row);
            } else {
                self.pooled.buffer.copy_within(from..end, to);
                to += row.sealed as usize;
                kept.push(row);
            }
            from = end;
        }
        self.pooled.buffer.truncate(to);
        self.table.segments = kept;
        moves
    }

    /// Seals everything under a new key.
    pub fn seal(mut self, sealer: &Sealer<'_>, rng: &mut Hedged) -> Result<SealedPack, SealError> {
        let table = self.table.to_bytes();
        let total = pack_len(self.body_len(), table.len() as u64)
            .ok_or(SealError::Length { len: self.pooled.buffer.len() })?;
        let footer = footer_len(table.len() as u64);
        let (header, key) = sealer.to.new_header(EnvelopeKind::Pack, rng)?;
        let raw: u64 = self.table.segments.iter().map(|segment| u64::from(segment.raw)).sum();
        self.pooled.again = self.body_len() > raw / 4 * 3;
        let (head, mut body) = self.pooled.buffer.split_at_mut(HEADER_LEN);
        head.copy_from_slice(&header[..]);
        let mut index = 0;
        for segment in &self.table.segments {
            let (this, rest) = body.split_at_mut(segment.sealed as usize);
            key.seal_segment(index, this)?;
            index += 1;
            body = rest;
        }
        let start = self.pooled.buffer.len();
        let end = usize::try_from(total - PACK_TRAILER - footer).expect("a pack fits memory");
        self.pooled.buffer.resize(end, 0);
        key.seal_segment(index, self.pooled.buffer.get_mut(start..).unwrap_or_default())?;

        let content_hash = Hash::of(&self.pooled.buffer);
        let said = signed_part(sealer.to.vault, sealer.to.epoch, key.uid(), content_hash, &table);
        let signature = sign(sealer.signer, Domain::Pack, &said);
        footer_plain(&table, content_hash, &signature, &mut self.pooled.buffer);
        drop(table);
        let footer_end = end + usize::try_from(footer).expect("a footer fits memory");
        self.pooled.buffer.resize(footer_end, 0);
        let sealed_footer = self.pooled.buffer.get_mut(end..).unwrap_or_default();
        key.footer_key(sealer.index_key).seal(sealed_footer)?;
        let footer_len = u32::try_from(footer).expect("footers are at most 4 MiB");
        self.pooled.buffer.extend_from_slice(&trailer(footer_len));
        let tail = self.pooled.buffer.get(end..).unwrap_or_default();
        let id = pack_id(content_hash, tail, total, footer);
        Ok(SealedPack { id, table: self.table, footer_len, bytes: Bytes::from_owner(self.pooled) })
    }

    fn body_len(&self) -> u64 {
        (self.pooled.buffer.len() - HEADER_LEN) as u64
    }
}

/// What is signed of a pack. Of the table its hash: SHA-512, of which Ed25519 takes two over all
/// that it signs, is several times as slow as BLAKE3, and a table may have a megabyte.
pub(super) fn signed_part(
    vault: VaultId,
    epoch: u32,
    uid: PackUid,
    content_hash: Hash,
    table: &[u8],
) -> Vec<u8> {
    let (epoch, table_hash) = (epoch.to_le_bytes(), Hash::of(table));
    let parts: [&[u8]; 5] =
        [vault.as_bytes(), &epoch, uid.as_bytes(), content_hash.as_bytes(), table_hash.as_bytes()];
    parts.concat()
}

/// The fixed end of a pack.
pub(super) fn trailer(footer_len: u32) -> [u8; 16] {
    let mut out = [0; 16];
    let (length, rest) = out.split_at_mut(4);
    length.copy_from_slice(&footer_len.to_le_bytes());
    let (version, _) = rest.split_at_mut(2);
    version.copy_from_slice(&VERSION.to_le_bytes());
    out
}

fn footer_plain(table: &[u8], content_hash: Hash, signature: &[u8; 64], out: &mut Vec<u8>) {
    let length = u32::try_from(table.len()).expect("a table fits a pack");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(table);
    out.extend_from_slice(content_hash.as_bytes());
    out.extend_from_slice(signature);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_kept_if_it_is_wanted_again_and_goes_back_to_the_system_else() {
        let pool = BufferPool::new(2);
        let state = || {
            let free = pool.free();
            (free.in_use, free.buffers.len())
        };
        let (first, second) = (pool.take(), pool.take());
        assert_eq!(state(), (2, 0));
        pool.give_back(first, false);
        assert_eq!(state(), (1, 0));
        pool.give_back(second, true);
        assert_eq!(state(), (0, 1));
        let again = pool.take();
        assert_eq!((again.len(), state()), (HEADER_LEN, (1, 0)));
        assert!(again.capacity() > 32 * 1024 * 1024, "glibc keeps what is shorter");
    }
}
