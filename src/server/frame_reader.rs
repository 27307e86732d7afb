//! Cuts a byte stream into frames: a length of four bytes, then that many bytes.
//!
//! A frame is read into one block, which becomes the frame's `Bytes`: record bytes go from there to the file, and stay there
//! for readers at the log's tail, without a copy. A client that sends requests of one size has each of them read at once,
//! into a block a little larger than the last one was. Where that guess fails (the request is larger, or a part of the
//! next one came with it), some bytes are moved, and for a while lengths are read first and blocks made to measure.
//!
//! A length that lies reserves nothing: beyond [`TRUSTED_BYTES`] the block grows only as bytes arrive.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::AsyncReadExt;

use crate::runtime::Stream;

/// How much is reserved on a length's word alone, and the largest block that is kept for the next request: Kafka's largest
/// batch by default, and room for the rest of its request.
const TRUSTED_BYTES: usize = 2 * 1024 * 1024;
/// The first block of a connection: ApiVersions and Metadata fit.
const BLOCK_BYTES_MIN: usize = 1024;
const LENGTH_BYTES: usize = 4;
/// For how many requests lengths are read first, after a guess that failed.
const EXACT_ROUNDS: u32 = 64;

/// Reads frames from one connection.
#[derive(Debug)]
pub(super) struct FrameReader {
    buffer: BytesMut,
    frame_bytes_max: usize,
    /// How much a read takes at most before the length of the frame is known.
    block_bytes: usize,
    /// Requests left whose length is read first.
    exact_rounds: u32,
    received: u64,
}

/// Why there is no next frame.
#[derive(Debug)]
pub(super) enum FrameEnd {
    /// The peer closed the connection between two frames.
    Closed,
    /// The peer closed the connection within a frame.
    Truncated {
        /// How much of the frame came.
        received: usize,
    },
    /// The first four bytes are no length of a request.
    NotAFrame {
        /// What they are.
        first: [u8; LENGTH_BYTES],
    },
    /// The connection broke.
    Broken(io::Error),
}

impl FrameReader {
    /// A reader of frames of at most `frame_bytes_max` bytes (`socket.request.max.bytes`).
    pub(super) fn new(frame_bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            frame_bytes_max,
            block_bytes: BLOCK_BYTES_MIN,
            exact_rounds: 0,
            received: 0,
        }
    }

    /// How many bytes came in so far: a connection that stands still does not move it.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// The next frame, without its length. Cancel-safe.
    pub(super) async fn next(&mut self, stream: &mut dyn Stream) -> Result<Bytes, FrameEnd> {
        loop {
            let wanted = match self.frame_bytes()? {
                Some(frame) if self.buffer.len() >= LENGTH_BYTES + frame => {
                    return Ok(self.take(LENGTH_BYTES + frame));
                }
                Some(frame) => self.room_for(LENGTH_BYTES + frame),
                None => self.room_for_length(),
            };
            let mut room = (&mut self.buffer).limit(wanted);
            let count = stream.read_buf(&mut room).await.map_err(FrameEnd::Broken)?;
            self.received += count as u64;
            if count == 0 {
                return Err(match self.buffer.len() {
                    0 => FrameEnd::Closed,
                    received => FrameEnd::Truncated { received },
                });
            }
        }
    }

    /// Gives a frame's block back, for the next frame: kept where nobody else holds a part of it.
    pub(super) fn recycle(&mut self, frame: Bytes) {
        if !self.buffer.is_empty() {
            return;
        }
        // A large block would be kept alive by a small batch at the log's tail.
        if let Ok(mut block) = frame.try_into_mut()
            && block.capacity() <= 2 * self.block_bytes
        {
            block.clear();
            self.buffer = block;
        }
    }

    /// The length of the frame that is being read; `None` while it is not there yet.
    fn frame_bytes(&self) -> Result<Option<usize>, FrameEnd> {
        let Some(first) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = usize::try_from(i32::from_be_bytes(*first)).ok();
        match length.filter(|length| *length <= self.frame_bytes_max) {
            Some(length) => Ok(Some(length)),
            None => Err(FrameEnd::NotAFrame { first: *first }),
        }
    }

    /// Makes room to read on before the length is known; returns how much to read.
    fn room_for_length(&mut self) -> usize {
        let have = self.buffer.len();
        let wanted = if self.exact_rounds > 0 { LENGTH_BYTES } else { self.block_bytes };
        let wanted = wanted.max(have + 1) - have;
        self.buffer.reserve(wanted);
        wanted
    }

    /// Makes room to read on towards `total` bytes; returns how much to read.
    fn room_for(&mut self, total: usize) -> usize {
        // The length of a following frame comes with the last bytes of this one.
        let end = total + LENGTH_BYTES;
        let have = self.buffer.len();
        if self.buffer.capacity() < end {
            if have > LENGTH_BYTES {
                self.exact_rounds = EXACT_ROUNDS;
            }
            self.buffer.reserve(end.min(TRUSTED_BYTES.max(2 * have)) - have);
        }
        end.min(self.buffer.capacity().max(have + 1)) - have
    }

    fn take(&mut self, total: usize) -> Bytes {
        self.exact_rounds = self.exact_rounds.saturating_sub(1);
        self.block_bytes = (total + total / 8).clamp(BLOCK_BYTES_MIN, TRUSTED_BYTES);
        let rest = self.buffer.len() - total;
        if rest > LENGTH_BYTES {
            self.exact_rounds = EXACT_ROUNDS;
        }
        let mut frame = std::mem::take(&mut self.buffer);
        if rest > 0 {
            // A block of its own for the next frame, so that this one can be used again: a copy of a length, as a rule.
            self.buffer.extend_from_slice(&frame[total..]);
            frame.truncate(total);
        }
        frame.advance(LENGTH_BYTES);
        frame.freeze()
    }
}

/// What somebody sends who does not speak Kafka's protocol, as a phrase for the log.
pub(super) fn describe_garbage(first: [u8; LENGTH_BYTES]) -> &'static str {
    const METHODS: [&[u8; 4]; 7] = [b"GET ", b"POST", b"PUT ", b"HEAD", b"OPTI", b"DELE", b"PRI "];
    if first[0] == 0x16 && first[1] == 0x03 {
        "a TLS hello on a plaintext listener: the client is configured for SSL"
    } else if METHODS.contains(&&first) {
        "an HTTP request on a Kafka listener"
    } else if &first == b"SSH-" {
        "an SSH client on a Kafka listener"
    } else if first[0] & 0x80 != 0 {
        "a negative request length: not Kafka's protocol"
    } else {
        "a request length above socket.request.max.bytes, or not Kafka's protocol"
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::*;

    /// Gives the pieces one a read, then the end.
    struct Pieces(VecDeque<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(mut piece) = self.0.pop_front() {
                let count = piece.len().min(buffer.remaining());
                let rest = piece.split_off(count);
                buffer.put_slice(&piece);
                if !rest.is_empty() {
                    self.0.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Pieces {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            b: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(b.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn next(reader: &mut FrameReader, pieces: &mut Pieces) -> Result<Bytes, FrameEnd> {
        let mut future = std::pin::pin!(reader.next(pieces));
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => unreachable!("the pieces are there at once"),
        }
    }

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut bytes = i32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_arrive() {
        let bodies: Vec<Vec<u8>> =
            [0, 1, 3, 5000, 2, 70_000, 4, 70_000, 9].iter().map(|size| vec![7; *size]).collect();
        let all: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
        for size in [1, 2, 3, 7, 1000, 1024, 5004, all.len()] {
            let mut pieces = Pieces(all.chunks(size).map(<[u8]>::to_vec).collect());
            let mut reader = FrameReader::new(100_000);
            for body in &bodies {
                let frame = next(&mut reader, &mut pieces).unwrap();
                assert_eq!(frame, body, "pieces of {size} bytes");
                reader.recycle(frame);
            }
            assert!(matches!(next(&mut reader, &mut pieces), Err(FrameEnd::Closed)));
            assert_eq!(reader.received(), all.len() as u64);
        }
    }

    #[test]
    fn a_frame_that_ends_early_is_told_from_an_orderly_close() {
        let mut pieces = Pieces(VecDeque::from([vec![0, 0, 0, 9, 1, 2]]));
        let end = next(&mut FrameReader::new(100), &mut pieces).unwrap_err();
        assert!(matches!(end, FrameEnd::Truncated { received: 6 }), "{end:?}");
    }

    #[test]
    fn a_length_that_lies_reserves_little() {
        let mut pieces =
            Pieces(VecDeque::from([100_000_000i32.to_be_bytes().to_vec(), vec![1; 10]]));
        let mut reader = FrameReader::new(104_857_600);
        let end = next(&mut reader, &mut pieces).unwrap_err();
        assert!(matches!(end, FrameEnd::Truncated { .. }));
        assert!(
            reader.buffer.capacity() <= TRUSTED_BYTES + LENGTH_BYTES,
            "{}",
            reader.buffer.capacity()
        );
    }

    #[test]
    fn lengths_beyond_the_limit_and_negative_ones_are_no_frames() {
        for (first, limit) in [([0, 0, 0, 101], 100), ([0xff; 4], 1000), (*b"GET ", 104_857_600)] {
            let mut pieces = Pieces(VecDeque::from([first.to_vec()]));
            let end = next(&mut FrameReader::new(limit), &mut pieces).unwrap_err();
            assert!(matches!(end, FrameEnd::NotAFrame { first: found } if found == first));
        }
    }

    #[test]
    fn foreign_protocols_are_called_by_name() {
        assert!(describe_garbage([0x16, 3, 1, 2]).contains("TLS"));
        assert!(describe_garbage(*b"POST").contains("HTTP"));
        assert!(describe_garbage([0x80, 0, 0, 0]).contains("negative"));
        assert!(describe_garbage([0x7f, 0, 0, 0]).contains("socket.request.max.bytes"));
    }

    /// Frames of one size, each sent after the answer to the one before: one read a frame, into one block, never moved.
    #[test]
    fn steady_requests_are_read_in_one_piece_into_one_block() {
        let mut reader = FrameReader::new(1_000_000);
        let mut blocks = std::collections::BTreeSet::new();
        for round in 0..20 {
            let mut pieces = Pieces(VecDeque::from([framed(&[7; 16_384])]));
            let frame = next(&mut reader, &mut pieces).unwrap();
            if round > 2 {
                blocks.insert(frame.as_ptr() as usize);
            }
            reader.recycle(frame);
        }
        let spread = blocks.last().unwrap() - blocks.first().unwrap();
        assert!(spread < 16_384, "the block moved by {spread} bytes");
    }

    /// Requests sent one behind the other: after the first, reads stop where a request ends, so only lengths are moved.
    #[test]
    fn pipelined_requests_stay_where_they_were_read() {
        let all: Vec<u8> = (0..20).flat_map(|_| framed(&[7; 16_384])).collect();
        let mut pieces = Pieces(VecDeque::from([all]));
        let mut reader = FrameReader::new(1_000_000);
        for _ in 0..20 {
            next(&mut reader, &mut pieces).unwrap();
            assert!(reader.buffer.len() <= LENGTH_BYTES || reader.exact_rounds == EXACT_ROUNDS);
        }
        assert!(reader.exact_rounds > 0);
    }
}
