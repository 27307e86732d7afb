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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    fn plain() -> Bytes {
        Bytes::from("the quick brown fox jumps over the lazy dog; ".repeat(3))
    }

    fn from_hex(text: &str) -> Bytes {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn packed(compression: Compression, plain: &[u8]) -> Bytes {
        let mut out = Vec::new();
        compress(compression, plain, &mut out);
        Bytes::from(out)
    }

    /// What other programs wrote reads as [`plain`].
    #[track_caller]
    fn check_foreign(codec: Codec, hex: &str) {
        assert_eq!(decompress(codec, &from_hex(hex), 1_000), Ok(plain()));
    }

    #[test]
    fn an_lz4_frame_of_the_c_library_with_all_its_options_is_read() {
        // Linked blocks, content size, checksums of blocks and content.
        check_foreign(
            Codec::Lz4,
            "04224d187c408700000000000000de39000000f01074686520717569636b2062726f776e20666f78206a756d70\
             73206f766572201f00916c617a7920646f673b0e000f2d003e50646f673b20dd7097720000000049f37aa4",
        );
        check_foreign(
            Codec::Lz4,
            "04224d1860408239000000f01074686520717569636b2062726f776e20666f78206a756d7073206f7665722\
             01f00916c617a7920646f673b0e000f2d003e50646f673b2000000000",
        );
    }

    const SNAPPY_BLOCK: &str = "87017874686520717569636b2062726f776e20666f78206a756d7073206f7665\
                                7220011f206c617a7920646f673b050efe2d00562d00";

    #[test]
    fn snappy_is_read_bare_and_in_xerials_frames() {
        check_foreign(Codec::Snappy, SNAPPY_BLOCK);
        let header = "82534e41505059000000000100000001";
        check_foreign(Codec::Snappy, &format!("{header}00000036{SNAPPY_BLOCK}"));
        // Frames with a header each, as snappy-java writes where streams are appended.
        let twice = format!("{header}00000036{SNAPPY_BLOCK}").repeat(2);
        let read = decompress(Codec::Snappy, &from_hex(&twice), 1_000).unwrap();
        assert_eq!(read, [plain(), plain()].concat());
    }

    #[test]
    fn snappy_is_written_as_javas_is() {
        let written = packed(Compression::of(Codec::Snappy), &vec![7; 32 * 1024 + 1]);
        assert_eq!(&written[..16], &from_hex("82534e41505059000000000100000001")[..]);
        let first =
            usize::try_from(u32::from_be_bytes(written[16..20].try_into().unwrap())).unwrap();
        assert_eq!(snap::raw::decompress_len(&written[20..20 + first]).unwrap(), 32 * 1024);
        assert_eq!(snap::raw::decompress_len(&written[24 + first..]).unwrap(), 1);
    }

    #[test]
    fn lz4_is_written_as_javas_is() {
        // Version 1, independent blocks, no checksums, no content size; blocks of 64 KiB.
        let written = packed(Compression::of(Codec::Lz4), &plain());
        assert_eq!(&written[..6], &from_hex("04224d186040")[..]);
    }

    #[test]
    fn zstd_and_gzip_of_other_programs_are_read() {
        check_foreign(
            Codec::Zstd,
            "28b52ffd2087b50100c40274686520717569636b2062726f776e20666f78206a756d7073206f76657220746865\
             206c617a7920646f673b020003d500463bcb",
        );
        check_foreign(
            Codec::Zstd,
            "28b52ffd0458b50100c40274686520717569636b2062726f776e20666f78206a756d7073206f76657220746865\
             206c617a7920646f673b020003d500463bcb56533861",
        );
        check_foreign(
            Codec::Gzip,
            "1f8b08000000000002032bc94855282ccd4cce56482aca2fcf5348cbaf50c82acd2d2856c82f4b2d5228014ae7\
             2456552aa4e4a75b8379b4510c0032a2fb7087000000",
        );
    }

    #[test]
    fn what_comes_out_is_bounded_exactly() {
        for codec in CODECS {
            let compressed = packed(Compression::of(codec), &plain());
            let length = plain().len();
            assert_eq!(decompress(codec, &compressed, length), Ok(plain()), "{codec:?}");
            let error = CompressionError::TooLarge {
                compressed_bytes: compressed.len(),
                decompressed_bytes_max: length - 1,
            };
            assert_eq!(decompress(codec, &compressed, length - 1), Err(error), "{codec:?}");
        }
    }

    #[test]
    fn what_is_cut_off_is_corrupt() {
        for codec in CODECS {
            let compressed = packed(Compression::of(codec), &plain());
            // Of an lz4 frame the end mark may be missing: all is there.
            let spared = if codec == Codec::Lz4 { 4 } else { 0 };
            for length in 1..compressed.len() - spared {
                let read = decompress(codec, &compressed.slice(..length), 1_000);
                assert_ne!(read, Ok(plain()), "{codec:?} {length}");
            }
        }
    }

    #[test]
    fn a_snappy_block_that_claims_gigabytes_is_refused_before_memory_is_taken() {
        let claim = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]);
        let error = CompressionError::Corrupt { codec: Codec::Snappy };
        assert_eq!(decompress(Codec::Snappy, &claim, usize::MAX), Err(error));
    }

    #[test]
    fn levels_are_moved_into_their_range() {
        for level in [i32::MIN, -1, 0, 1, 9, 10, 22, i32::MAX] {
            for codec in CODECS {
                let compression = Compression { codec, level: Some(level) };
                // The highest levels of zstd take memory that tests need not.
                if codec == Codec::Zstd && level > 10 {
                    continue;
                }
                let compressed = packed(compression, &plain());
                assert_eq!(decompress(codec, &compressed, 1_000), Ok(plain()));
            }
        }
    }

    #[test]
    fn names_and_numbers_read_back() {
        for codec in Codec::ALL {
            assert_eq!(Codec::from_id(codec.id()), Some(codec));
            assert_eq!(Codec::from_name(codec.name()), Some(codec));
        }
        assert_eq!((Codec::from_id(5), Codec::from_name("lzma")), (None, None));
    }

    proptest! {
        #[test]
        fn every_codec_gives_back_what_was_put_in(
            runs in prop::collection::vec((any::<u8>(), 1usize..2_000), 0..200),
        ) {
            let plain: Bytes =
                runs.iter().flat_map(|(byte, count)| std::iter::repeat_n(*byte, *count)).collect();
            for codec in CODECS {
                let compressed = packed(Compression::of(codec), &plain);
                prop_assert_eq!(decompress(codec, &compressed, plain.len()), Ok(plain.clone()));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            head in prop::sample::select(vec![
                vec![], XERIAL_MAGIC.to_vec(), vec![0x1f, 0x8b, 8, 0], vec![0x04, 0x22, 0x4d, 0x18],
                vec![0x28, 0xb5, 0x2f, 0xfd],
            ]),
            tail in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let input = Bytes::from([head, tail].concat());
            for codec in CODECS {
                if let Ok(plain) = decompress(codec, &input, 10_000) {
                    prop_assert!(plain.len() <= 10_000);
                }
            }
        }
    }
}
