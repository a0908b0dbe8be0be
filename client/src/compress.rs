//! Compression of segments: zstd, or nothing where zstd does not help.
//!
//! A compressed segment is exactly one zstd frame without content size, checksum or dictionary:
//! the pack's sealed table of contents already vouches for both lengths and for every byte.

mod level;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::ops::RangeInclusive;

use zstd::bulk;
use zstd::zstd_safe::{self, CParameter};

pub use level::{Level, ParseLevelError};

/// The longest segment before compression: 4 MiB. Also the largest window a frame may ask for.
pub const MAX_RAW: usize = 4 << 20;

/// Inputs shorter than this go to zstd unprobed: 64 KiB.
const PROBE_FROM: usize = 64 << 10;
/// A probe looks at one piece for so many bytes, and at no fewer and no more pieces than these.
/// Many and short, so that a bundle of small files is judged by more than the few files that
/// happen to lie where one looks.
const PROBE_EVERY: usize = 64 << 10;
const PROBE_PIECES: RangeInclusive<usize> = 4..=16;
/// Bytes of a piece: this fraction of the input, within these bounds.
const PROBE_FRACTION: usize = 512;
const PROBE_PIECE: RangeInclusive<usize> = 1024..=2048;
/// Not a faster one: those leave out entropy coding and would miss what has no repeats.
const PROBE_LEVEL: i32 = 1;
/// From this level on, size matters more than time.
const UNPROBED_LEVEL: i32 = 10;

/// Magic number, then a descriptor that says: no content size, no checksum, no dictionary.
const FRAME_START: [u8; 5] = [0x28, 0xb5, 0x2f, 0xfd, 0x00];

/// What the bytes of a segment are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// The raw bytes.
    Stored,
    /// One zstd frame, shorter than the raw bytes.
    Zstd,
}

/// Compresses segments one after another; each worker keeps one.
pub struct Compressor {
    level: Level,
    context: bulk::Compressor<'static>,
    probe: Probe,
}

impl Compressor {
    /// A compressor whose memory grows to a few MiB at [`Level::Default`], to some tens at
    /// [`Level::Max`].
    pub fn new(level: Level) -> Self {
        Self { level, context: context(level.zstd().unwrap_or(1)), probe: Probe::new() }
    }

    /// Changes the level from the next segment on.
    pub fn set_level(&mut self, level: Level) {
        if level != self.level {
            *self = Self { level, context: context(level.zstd().unwrap_or(1)), ..Self::new(level) };
        }
    }

    /// Whether a cheap look at `raw` says that compressing it is worth while at this level.
    pub fn is_worth_compressing(&mut self, raw: &[u8]) -> bool {
        let probed = self.level.zstd().map(|level| level < UNPROBED_LEVEL);
        probed.is_some_and(|probed| !probed || self.probe.is_worth_compressing(raw))
    }

    /// Appends `raw` to `out`, compressed if that saves at least one byte in fifty.
    ///
    /// Allocates nothing if `out` has [`zstd_safe::compress_bound`] of room left.
    ///
    /// # Panics
    /// If `raw` is longer than [`MAX_RAW`]: nobody could read the result.
    pub fn compress_into(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Encoding {
        assert!(raw.len() <= MAX_RAW, "a segment of {} bytes", raw.len());
        let start = out.len();
        if self.is_worth_compressing(raw) {
            out.reserve(zstd_safe::compress_bound(raw.len()));
            let length = append(&mut self.context, raw, out);
            if length.is_ok_and(|length| pays_off(raw.len(), length)) {
                return Encoding::Zstd;
            }
            out.truncate(start);
        }
        out.extend_from_slice(raw);
        Encoding::Stored
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("level", &self.level).finish_non_exhaustive()
    }
}

/// A cheap look at pieces of an input, so that zstd does not work through all of it in vain.
struct Probe {
    context: bulk::Compressor<'static>,
    compressed: Vec<u8>,
}

impl Probe {
    fn new() -> Self {
        let room = zstd_safe::compress_bound(*PROBE_PIECE.end());
        Self { context: context(PROBE_LEVEL), compressed: Vec::with_capacity(room) }
    }

    /// False if pieces spread over `raw` shrink by less than three per cent of them all. Repeats
    /// farther apart than a piece is long are not seen.
    ///
    /// Pieces are compressed one by one: together, noise around a text would hide it from the
    /// entropy coder. It also lets the first piece of something compressible settle the matter.
    fn is_worth_compressing(&mut self, raw: &[u8]) -> bool {
        if raw.len() < PROBE_FROM {
            return true;
        }
        let within = |value: usize, bounds: &RangeInclusive<usize>| {
            value.clamp(*bounds.start(), *bounds.end())
        };
        let pieces = within(raw.len() / PROBE_EVERY, &PROBE_PIECES);
        let length = within(raw.len() / PROBE_FRACTION, &PROBE_PIECE);
        let step = (raw.len() - length) / (pieces - 1);
        let mut wanted = pieces * length * 3 / 100;
        for piece in raw.windows(length).step_by(step).take(pieces) {
            self.compressed.clear();
            let size = append(&mut self.context, piece, &mut self.compressed).unwrap_or(length);
            wanted = wanted.saturating_sub(length.saturating_sub(size));
            if wanted == 0 {
                return true;
            }
        }
        false
    }
}

/// Decompresses segments one after another; each worker keeps one.
#[derive(Default)]
pub struct Decompressor {
    context: bulk::Decompressor<'static>,
}

/// Bytes that are not what [`Compressor::compress_into`] makes of `raw_len` bytes.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// The stated raw length is over [`MAX_RAW`].
    #[error("a segment claims {raw_len} bytes of content, the limit is {MAX_RAW}")]
    TooLong {
        /// The stated length in bytes.
        raw_len: usize,
    },
    /// The content has another length than stated.
    #[error("a segment holds {actual} bytes of content instead of {expected}")]
    WrongLength {
        /// The stated length in bytes.
        expected: usize,
        /// The length found, in bytes.
        actual: usize,
    },
    /// Not a single frame of the one kind that is used.
    #[error("a compressed segment is not one plain zstd frame")]
    Frame,
    /// zstd refuses the content, or it is longer than stated.
    #[error("a compressed segment is damaged")]
    Damaged(#[source] io::Error),
}

impl Decompressor {
    /// A decompressor; it needs no more than 200 KiB of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces what is in `out` by the `raw_len` bytes that `comp` stands for.
    ///
    /// `out` never grows beyond `raw_len`, whatever `comp` holds. After an error its content is
    /// of no use. Reusing one `out` saves clearing it.
    pub fn decompress(
        &mut self,
        encoding: Encoding,
        comp: &[u8],
        raw_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecompressError> {
        if raw_len > MAX_RAW {
            return Err(DecompressError::TooLong { raw_len });
        }
        let actual = match encoding {
            Encoding::Stored => {
                out.clear();
                if comp.len() == raw_len {
                    out.extend_from_slice(comp);
                }
                comp.len()
            }
            Encoding::Zstd => {
                check_frame(comp, raw_len)?;
                out.reserve_exact(raw_len.saturating_sub(out.len()));
                out.resize(raw_len, 0);
                self.context
                    .decompress_to_buffer(comp, out.as_mut_slice())
                    .map_err(DecompressError::Damaged)?
            }
        };
        if actual == raw_len {
            Ok(())
        } else {
            Err(DecompressError::WrongLength { expected: raw_len, actual })
        }
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decompressor")
    }
}

fn context(level: i32) -> bulk::Compressor<'static> {
    let mut context = bulk::Compressor::default();
    for parameter in [
        CParameter::CompressionLevel(level),
        CParameter::ContentSizeFlag(false),
        CParameter::ChecksumFlag(false),
        CParameter::DictIdFlag(false),
    ] {
        context.set_parameter(parameter).expect("zstd knows the flags and clamps the level");
    }
    context
}

fn pays_off(raw: usize, compressed: usize) -> bool {
    compressed + raw.div_ceil(50) <= raw
}

/// Appends one frame; the number of bytes it has.
fn append(
    context: &mut bulk::Compressor<'static>,
    raw: &[u8],
    out: &mut Vec<u8>,
) -> io::Result<usize> {
    let start = out.len();
    let mut cursor = io::Cursor::new(out);
    cursor.set_position(u64::try_from(start).map_err(io::Error::other)?);
    context.compress_to_buffer(raw, &mut cursor)
}

/// Any other reader of this format may rely on all of this, most of all on the window.
fn check_frame(comp: &[u8], raw_len: usize) -> Result<(), DecompressError> {
    let window = match comp.strip_prefix(&FRAME_START) {
        Some([window, ..]) if comp.len() < raw_len => *window,
        _ => return Err(DecompressError::Frame),
    };
    let base = 1_u64 << (10 + (window >> 3));
    let size = base + base / 8 * u64::from(window & 7);
    let one_frame = zstd_safe::find_frame_compressed_size(comp) == Ok(comp.len());
    if one_frame && usize::try_from(size).is_ok_and(|size| size <= MAX_RAW) {
        Ok(())
    } else {
        Err(DecompressError::Frame)
    }
}
