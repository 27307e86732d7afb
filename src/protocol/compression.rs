//! The codecs of record batches: gzip, snappy, lz4 and zstd, in the framings that Kafka's clients use.
//!
//! Decompression is bounded by the caller: a few bytes can claim gigabytes. Memory grows with the bytes that really come
//! out, never with what a frame claims.
//!
//! Kafka: `Compression`, `SnappyCompression`, `Lz4BlockOutputStream`.

use std::io::{self, Read, Write};

use bytes::Bytes;

/// How records are compressed: `compression.type`, and the low three bits of a batch's attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy blocks in the frames of xerial's snappy-java.
    Snappy,
    /// An LZ4 frame.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Codec {
    /// Every codec, in the order of the numbers.
    pub const ALL: [Codec; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The number in a batch's attributes.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The codec with this number.
    #[must_use]
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Kafka's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

/// A codec and how hard it works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compression {
    /// The codec.
    pub codec: Codec,
    /// `compression.gzip.level` (1 to 9) or `compression.zstd.level` (−131072 to 22). `None` is the codec's default.
    /// Snappy has no levels; for lz4 ours has one only, whatever `compression.lz4.level` says.
    pub level: Option<i32>,
}

impl Compression {
    /// No compression.
    pub const NONE: Compression = Compression { codec: Codec::None, level: None };

    /// `codec` at its default level.
    #[must_use]
    pub const fn of(codec: Codec) -> Self {
        Self { codec, level: None }
    }
}

/// Why bytes could not be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum CompressionError {
    /// The bytes are not what the codec writes.
    #[error("the bytes are not {}", codec.name())]
    Corrupt { codec: Codec },
    /// More bytes come out than the caller allows.
    #[error("more than {decompressed_bytes_max} bytes come out of {compressed_bytes}")]
    TooLarge { compressed_bytes: usize, decompressed_bytes_max: usize },
}

/// xerial's snappy-java: what a stream begins with.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// After the magic: version and lowest compatible version, both 1.
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// Plain bytes in one block: the default of snappy-java, which Kafka uses.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// A snappy element of three bytes can stand for 64: no block grows more than this many times.
const SNAPPY_EXPANSION_MAX: usize = 22;
/// The largest zstd window that is taken: the default limit of zstd and of Kafka's decompressor, 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Appends `plain`, compressed, to `out`.
///
/// Levels outside of the codec's range are moved into it: configuration refuses them earlier.
pub fn compress(compression: Compression, plain: &[u8], out: &mut Vec<u8>) {
    let result = match compression.codec {
        Codec::None => {
            out.extend_from_slice(plain);
            Ok(())
        }
        Codec::Gzip => compress_gzip(compression.level, plain, out),
        Codec::Snappy => compress_snappy(plain, out),
        Codec::Lz4 => compress_lz4(plain, out),
        Codec::Zstd => compress_zstd(compression.level, plain, out),
    };
    result.expect("compressing from memory to memory does not fail");
}

fn compress_gzip(level: Option<i32>, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let level = level.map_or(6, |level| u32::try_from(level).unwrap_or(1).clamp(1, 9));
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(level));
    encoder.write_all(plain)?;
    encoder.finish()?;
    Ok(())
}

fn compress_snappy(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&XERIAL_MAGIC);
    out.extend_from_slice(&XERIAL_VERSIONS);
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(XERIAL_BLOCK_BYTES) {
        let packed = encoder.compress_vec(block)?;
        let length = u32::try_from(packed.len()).expect("a block of 32 KiB stays small");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(())
}

fn compress_lz4(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    // What Kafka's Java client writes: independent blocks of 64 KiB, no checksums of block or content. It reads no other
    // block mode.
    let info = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .block_mode(lz4_flex::frame::BlockMode::Independent);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, out);
    encoder.write_all(plain)?;
    encoder.finish()?;
    Ok(())
}

fn compress_zstd(level: Option<i32>, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let range = zstd::compression_level_range();
    let level = level
        .map_or(zstd::DEFAULT_COMPRESSION_LEVEL, |level| level.clamp(*range.start(), *range.end()));
    let mut encoder = zstd::stream::write::Encoder::new(out, level)?;
    encoder.write_all(plain)?;
    encoder.finish()?;
    Ok(())
}

/// What `compressed` decompresses to. Without compression it is `compressed` itself, not copied and not bounded.
///
/// Errors: more than `decompressed_bytes_max` bytes; bytes that the codec did not write.
pub fn decompress(
    codec: Codec,
    compressed: &Bytes,
    decompressed_bytes_max: usize,
) -> Result<Bytes, CompressionError> {
    let too_large =
        CompressionError::TooLarge { compressed_bytes: compressed.len(), decompressed_bytes_max };
    let corrupt = CompressionError::Corrupt { codec };
    let input = compressed.as_ref();
    let plain = match codec {
        Codec::None => return Ok(compressed.clone()),
        Codec::Snappy => decompress_snappy(input, decompressed_bytes_max, too_large)?,
        Codec::Gzip => {
            let reader = flate2::bufread::MultiGzDecoder::new(input);
            read_bounded(reader, decompressed_bytes_max).map_err(|_| corrupt)?
        }
        Codec::Lz4 => {
            let reader = lz4_flex::frame::FrameDecoder::new(input);
            read_bounded(reader, decompressed_bytes_max).map_err(|_| corrupt)?
        }
        Codec::Zstd => decompress_zstd(input, decompressed_bytes_max).map_err(|_| corrupt)?,
    };
    if plain.len() > decompressed_bytes_max { Err(too_large) } else { Ok(Bytes::from(plain)) }
}

/// All that `reader` has, or one byte more than `bytes_max` of it.
fn read_bounded(reader: impl Read, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(limit).read_to_end(&mut plain)?;
    Ok(plain)
}

fn decompress_zstd(input: &[u8], bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut reader = zstd::stream::read::Decoder::with_buffer(input)?;
    reader.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    read_bounded(reader, bytes_max)
}

/// Takes both framings: xerial's (Java, and librdkafka by default) and one bare block (librdkafka's other peers).
///
/// Kafka: `SnappyInputStream`; librdkafka `rd_kafka_snappy_java_uncompress`.
fn decompress_snappy(
    input: &[u8],
    bytes_max: usize,
    too_large: CompressionError,
) -> Result<Vec<u8>, CompressionError> {
    let corrupt = CompressionError::Corrupt { codec: Codec::Snappy };
    let mut plain = Vec::new();
    let Some(framed) = input.strip_prefix(&XERIAL_MAGIC) else {
        decompress_snappy_block(input, bytes_max, too_large, &mut plain)?;
        return Ok(plain);
    };
    let mut rest = framed.get(XERIAL_VERSIONS.len()..).ok_or(corrupt)?;
    while !rest.is_empty() {
        // Concatenated streams repeat the header, as snappy-java takes them.
        if let Some(after) = rest.strip_prefix(&XERIAL_MAGIC) {
            rest = after.get(XERIAL_VERSIONS.len()..).ok_or(corrupt)?;
            continue;
        }
        let (length, after) = rest.split_first_chunk::<4>().ok_or(corrupt)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| corrupt)?;
        let (block, after) = after.split_at_checked(length).ok_or(corrupt)?;
        decompress_snappy_block(block, bytes_max, too_large, &mut plain)?;
        rest = after;
    }
    Ok(plain)
}

/// Appends one block's bytes to `plain`, which stays within `bytes_max`.
fn decompress_snappy_block(
    block: &[u8],
    bytes_max: usize,
    too_large: CompressionError,
    plain: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let corrupt = CompressionError::Corrupt { codec: Codec::Snappy };
    let claimed = snap::raw::decompress_len(block).map_err(|_| corrupt)?;
    if claimed > block.len().saturating_mul(SNAPPY_EXPANSION_MAX) {
        return Err(corrupt);
    }
    let start = plain.len();
    if claimed > bytes_max - start {
        return Err(too_large);
    }
    plain.resize(start + claimed, 0);
    let written =
        snap::raw::Decoder::new().decompress(block, &mut plain[start..]).map_err(|_| corrupt)?;
    if written == claimed { Ok(()) } else { Err(corrupt) }
}
