//! Writing a run: records go in sorted, a finished run comes out.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use roaring::RoaringBitmap;

use super::error::{IndexError, Result};
use super::filter::Filter;
use super::folder;
use super::record::{Origin, Record, word};
use super::run::{BLOCK, MAX_RECORDS, RECORDS_A_BLOCK, Run, RunEntry, block_key, checksum};

/// A sorted list of records.
pub(super) type Source<'a> = Box<dyn Iterator<Item = Result<Record>> + 'a>;

/// Merges `sources` into the file `path`, without the records of `dead` packs and with equal
/// records once. `None`, and no file, if none is left.
pub(super) fn merge(
    path: &Path,
    (origin, number): (Origin, u64),
    sources: Vec<Source<'_>>,
    dead: &RoaringBitmap,
) -> Result<Option<Run>> {
    let file = folder::create(path)?;
    let mut writer = Writer {
        path: path.to_owned(),
        file: BufWriter::with_capacity(64 << 10, file),
        key: block_key(origin, number),
        block: Box::new([0; BLOCK]),
        filled: 0,
        prefixes: Vec::new(),
        records: 0,
    };
    let run = writer.fill(sources, dead).and_then(|()| writer.finish(origin, number));
    if !matches!(run, Ok(Some(_))) {
        // What stays behind is deleted when the index is next opened.
        fs::remove_file(path).ok();
    }
    run
}

struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    key: [u8; 32],
    block: Box<[u8; BLOCK]>,
    /// Records in `block`.
    filled: usize,
    prefixes: Vec<u64>,
    records: u64,
}

impl Writer {
    fn fill(&mut self, mut sources: Vec<Source<'_>>, dead: &RoaringBitmap) -> Result<()> {
        // The place of the header, which is written last.
        self.write_block()?;
        let mut heads = Vec::with_capacity(sources.len());
        for source in &mut sources {
            heads.push(source.next().transpose()?.map(keyed));
        }
        let mut last = None;
        loop {
            let least =
                heads.iter().enumerate().filter_map(|(at, head)| Some((head.as_ref()?, at)));
            let Some(((_, record), at)) = least.min() else {
                break;
            };
            let record = *record;
            heads[at] = sources[at].next().transpose()?.map(keyed);
            if last != Some(record) && !dead.contains(record.pack) {
                self.push(record)?;
            }
            last = Some(record);
        }
        if self.filled > 0 { self.seal_block() } else { Ok(()) }
    }

    fn push(&mut self, record: Record) -> Result<()> {
        if self.filled == 0 {
            self.prefixes.push(word(&record.id, 0));
        }
        let (places, _) = self.block.as_chunks_mut();
        places[self.filled] = record.to_bytes();
        self.filled += 1;
        self.records += 1;
        if self.filled == RECORDS_A_BLOCK { self.seal_block() } else { Ok(()) }
    }

    fn seal_block(&mut self) -> Result<()> {
        let place = u64::try_from(self.prefixes.len()).unwrap_or(u64::MAX) - 1;
        let check = checksum(&self.key, place, &mut self.block);
        self.block[super::run::CHECKED..].copy_from_slice(&check);
        self.write_block()
    }

    fn write_block(&mut self) -> Result<()> {
        self.file.write_all(&*self.block).map_err(IndexError::io("write", &self.path))?;
        self.block.fill(0);
        self.filled = 0;
        Ok(())
    }

    /// The filter is sized by the records that were left, so it is made from the blocks as they
    /// are read back; which also verifies them.
    fn finish(self, origin: Origin, number: u64) -> Result<Option<Run>> {
        let Self { path, file, prefixes, records, .. } = self;
        if records == 0 {
            return Ok(None);
        }
        let file = file.into_inner().map_err(io::IntoInnerError::into_error);
        let file = file.map_err(IndexError::io("write", &path))?;
        let too_large = || IndexError::damaged(&path, "it is too large for this machine");
        let filter = Filter::new(records).filter(|_| records <= MAX_RECORDS);
        let mut filter = filter.ok_or_else(too_large)?;
        let entry = RunEntry { number, records, header: [0; 32] };
        let mut run = Run::bare(path.clone(), file, entry, origin);
        for record in run.records() {
            filter.insert(&record?.id);
        }
        run.set_tail(prefixes, filter);
        let failed = |source| IndexError::io("write", &path)(source);
        let tail = write_tail(&run).map_err(failed)?;
        let header = run.header(origin, &tail);
        run.entry.header.copy_from_slice(&header[BLOCK - 32..]);
        run.file().write_all_at(&header, 0).map_err(failed)?;
        run.file().sync_all().map_err(failed)?;
        Ok(Some(run))
    }
}

/// A record behind the first bytes of its id, which mostly tell records apart and are compared
/// quickly.
fn keyed(record: Record) -> (u64, Record) {
    (word(&record.id, 0), record)
}

fn write_tail(run: &Run) -> io::Result<blake3::Hash> {
    let mut file = BufWriter::with_capacity(64 << 10, run.file());
    file.seek(SeekFrom::Start(run.tail_offset()))?;
    let hash = run.write_tail(|piece| file.write_all(piece))?;
    file.flush()?;
    Ok(hash)
}
