//! Faults on frames of Kafka's protocol: drop, delay or duplicate a request or response by its API.
//!
//! A tracker follows each direction of each connection from its first byte: length, and of a request API key and correlation
//! id, of a response the correlation id, whose API the request told. Bytes that are no frames pass untouched.

use std::collections::VecDeque;

use bytes::Bytes;

use super::super::{Distribution, Draw, NodeId};

/// Which frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the side that connected.
    Request,
    /// To it.
    Response,
}

impl Direction {
    /// How many bytes tell what a frame is: of a request length, API key, version and correlation id.
    fn header(self) -> usize {
        match self {
            Self::Request => 12,
            Self::Response => 8,
        }
    }
}

/// What happens to a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameAction {
    /// It never arrives; the connection stays.
    Drop,
    /// It, and whatever comes after it on its connection, arrives this much later.
    Delay(Distribution),
    /// It arrives twice. Of a duplicated request's two responses the second is dropped: the sender asked once.
    Duplicate,
}

impl FrameAction {
    /// Its word in scenario files.
    pub(super) fn word(&self, direction: Direction) -> &'static str {
        match (self, direction) {
            (Self::Drop, Direction::Request) => "drop-request",
            (Self::Drop, Direction::Response) => "drop-response",
            (Self::Delay(_), Direction::Request) => "delay-request",
            (Self::Delay(_), Direction::Response) => "delay-response",
            (Self::Duplicate, Direction::Request) => "duplicate-request",
            (Self::Duplicate, Direction::Response) => "duplicate-response",
        }
    }
}

/// A fault on frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameFault {
    /// Which frames.
    pub direction: Direction,
    /// Of which API (Kafka's API key); `None` for any.
    pub api_key: Option<i16>,
    /// Sent by one of these nodes; empty for any.
    pub from: Vec<NodeId>,
    /// Sent to one of these nodes; empty for any.
    pub to: Vec<NodeId>,
    /// What happens to them.
    pub action: FrameAction,
    /// With which chance, in a million.
    pub chance: u32,
    /// How many times, after which the fault is over; `None` for until it is lifted.
    pub count: Option<u32>,
}

/// Names a fault, for lifting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameFaultId(u64);

/// All faults on frames.
#[derive(Debug, Default)]
pub(super) struct FrameFaults {
    faults: Vec<(FrameFaultId, FrameFault)>,
    next_id: u64,
}

impl FrameFaults {
    pub(super) fn add(&mut self, fault: FrameFault) -> FrameFaultId {
        self.next_id += 1;
        let id = FrameFaultId(self.next_id);
        self.faults.push((id, fault));
        id
    }

    pub(super) fn lift(&mut self, id: FrameFaultId) {
        self.faults.retain(|(known, _)| *known != id);
    }

    pub(super) fn lift_all(&mut self) {
        self.faults.clear();
    }

    fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    fn hit(&mut self, frame: &Frame, draw: &mut Draw) -> Option<FrameAction> {
        let allows = |nodes: &[NodeId], node| nodes.is_empty() || nodes.contains(&node);
        let hit = self.faults.iter_mut().find(|(_, fault)| {
            fault.direction == frame.direction
                && fault.api_key.is_none_or(|key| Some(key) == frame.api_key)
                && allows(&fault.from, frame.from)
                && allows(&fault.to, frame.to)
                && fault.count != Some(0)
                && draw.chance(fault.chance)
        });
        let (_, fault) = hit?;
        fault.count = fault.count.map(|count| count - 1);
        Some(fault.action.clone())
    }
}

/// A frame whose header was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) direction: Direction,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) api_key: Option<i16>,
    pub(super) correlation_id: i32,
}

/// Requests of a connection whose response is to come: correlation id, API key, and whether its response is dropped.
pub(super) type Requests = VecDeque<(i32, i16, bool)>;

/// More requests without response than this are forgotten, the oldest first (`acks=0` never gets one).
const REQUESTS_MAX: usize = 100;

/// A frame longer than this is none (`socket.request.max.bytes` is 100 MiB).
const FRAME_MAX: i32 = 128 * 1024 * 1024;

/// One direction of one connection.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    header: [u8; 12],
    have: usize,
    /// Bytes of the header that were kept back until its fate is known.
    held: usize,
    /// Bytes of the frame's body that are to come.
    remaining: usize,
    fate: Fate,
    /// What comes over it is no frames.
    foreign: bool,
}

#[derive(Debug, Default)]
enum Fate {
    #[default]
    Pass,
    Drop,
    Copy(Vec<u8>),
}

/// Whom a tracker asks.
pub(super) struct Context<'a> {
    pub(super) direction: Direction,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) requests: &'a mut Requests,
    pub(super) faults: &'a mut FrameFaults,
    pub(super) draw: &'a mut Draw,
}

/// What becomes of written bytes.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What is sent: bytes, and the extra delay in nanoseconds.
    pub(super) sent: Vec<(Bytes, u64)>,
    /// Faults that took effect.
    pub(super) hits: Vec<(Frame, FrameAction)>,
    /// Frames that began.
    pub(super) frames: u64,
}

impl Tracker {
    /// Follows bytes that were written.
    pub(super) fn on_bytes(&mut self, mut bytes: Bytes, context: &mut Context<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        if self.foreign {
            outcome.sent.push((bytes, 0));
            return outcome;
        }
        let meddling = !context.faults.is_empty()
            || self.held > 0
            || !matches!(self.fate, Fate::Pass)
            || context.requests.iter().any(|request| request.2);
        if !meddling {
            self.follow(&bytes, context, &mut outcome);
            outcome.sent.push((bytes, 0));
            return outcome;
        }
        while !bytes.is_empty() && !self.foreign {
            if self.remaining > 0 {
                self.on_body(&mut bytes, &mut outcome);
            } else {
                self.on_header(&mut bytes, context, &mut outcome);
            }
        }
        if !bytes.is_empty() {
            outcome.sent.push((bytes, 0));
        }
        outcome
    }

    /// Follows bytes that pass untouched: where frames begin, and what they ask for.
    fn follow(&mut self, mut bytes: &[u8], context: &mut Context<'_>, outcome: &mut Outcome) {
        while !bytes.is_empty() {
            if self.remaining > 0 {
                let part = self.remaining.min(bytes.len());
                self.remaining -= part;
                bytes = &bytes[part..];
                continue;
            }
            let needed = context.direction.header();
            let part = (needed - self.have).min(bytes.len());
            self.header[self.have..self.have + part].copy_from_slice(&bytes[..part]);
            self.have += part;
            bytes = &bytes[part..];
            if self.have < needed {
                return;
            }
            self.have = 0;
            let header = self.header;
            let Some(remaining) = remaining_of(&header, needed) else {
                self.foreign = true;
                return;
            };
            self.remaining = remaining;
            outcome.frames += 1;
            let (frame, _) = frame_of(&header, context);
            if frame.direction == Direction::Request {
                note_request(&frame, None, context.requests);
            }
        }
    }

    fn on_body(&mut self, bytes: &mut Bytes, outcome: &mut Outcome) {
        let part = bytes.split_to(self.remaining.min(bytes.len()));
        self.remaining -= part.len();
        match &mut self.fate {
            Fate::Pass => outcome.sent.push((part, 0)),
            Fate::Drop => {}
            Fate::Copy(copy) => {
                copy.extend_from_slice(&part);
                outcome.sent.push((part, 0));
            }
        }
        if self.remaining == 0 {
            self.frame_ends(outcome);
        }
    }

    fn frame_ends(&mut self, outcome: &mut Outcome) {
        if let Fate::Copy(copy) = std::mem::take(&mut self.fate) {
            outcome.sent.push((copy.into(), 0));
        }
    }

    fn on_header(&mut self, bytes: &mut Bytes, context: &mut Context<'_>, outcome: &mut Outcome) {
        let needed = context.direction.header();
        let part = bytes.split_to((needed - self.have).min(bytes.len()));
        self.header[self.have..self.have + part.len()].copy_from_slice(&part);
        self.have += part.len();
        self.held += part.len();
        if self.have < needed {
            return;
        }
        let header = self.header;
        let held = Bytes::copy_from_slice(&header[needed - self.held..needed]);
        // A header that was sent in part before the fault began is past meddling with.
        let whole = self.held == needed;
        (self.have, self.held) = (0, 0);
        let Some(remaining) = remaining_of(&header, needed) else {
            self.foreign = true;
            outcome.sent.push((held, 0));
            return;
        };
        self.remaining = remaining;
        outcome.frames += 1;
        let (frame, dropped) = frame_of(&header, context);
        let action = match dropped {
            true => Some(FrameAction::Drop),
            false if whole => context.faults.hit(&frame, context.draw),
            false => None,
        };
        if let (Some(action), false) = (&action, dropped) {
            outcome.hits.push((frame, action.clone()));
        }
        if frame.direction == Direction::Request {
            note_request(&frame, action.as_ref(), context.requests);
        }
        self.begin_frame(held, action, context, outcome);
        if self.remaining == 0 {
            self.frame_ends(outcome);
        }
    }

    fn begin_frame(
        &mut self,
        held: Bytes,
        action: Option<FrameAction>,
        context: &mut Context<'_>,
        outcome: &mut Outcome,
    ) {
        self.fate = Fate::Pass;
        match action {
            None => outcome.sent.push((held, 0)),
            Some(FrameAction::Drop) => self.fate = Fate::Drop,
            Some(FrameAction::Delay(span)) => outcome.sent.push((held, span.draw(context.draw))),
            Some(FrameAction::Duplicate) => {
                self.fate = Fate::Copy(held.to_vec());
                outcome.sent.push((held, 0));
            }
        }
    }
}

/// How many bytes of a frame come after the `needed` ones of its header; `None` where it is no frame.
fn remaining_of(header: &[u8; 12], needed: usize) -> Option<usize> {
    let length = i32::from_be_bytes(header[..4].try_into().expect("four bytes"));
    if length > FRAME_MAX {
        return None;
    }
    usize::try_from(length).ok()?.checked_sub(needed - 4)
}

/// The frame that a header begins, and whether it is a response that nobody waits for.
fn frame_of(header: &[u8; 12], context: &mut Context<'_>) -> (Frame, bool) {
    let (direction, from, to) = (context.direction, context.from, context.to);
    let number = |at: usize| i32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
    match direction {
        Direction::Request => {
            let api_key = i16::from_be_bytes([header[4], header[5]]);
            let correlation_id = number(8);
            (Frame { direction, from, to, api_key: Some(api_key), correlation_id }, false)
        }
        Direction::Response => {
            let correlation_id = number(4);
            let found = context.requests.iter().position(|request| request.0 == correlation_id);
            let request = found.and_then(|index| context.requests.drain(..=index).next_back());
            let api_key = request.map(|request| request.1);
            let dropped = request.is_some_and(|request| request.2);
            (Frame { direction, from, to, api_key, correlation_id }, dropped)
        }
    }
}

fn note_request(frame: &Frame, action: Option<&FrameAction>, requests: &mut Requests) {
    let api_key = frame.api_key.expect("a request says its API");
    match action {
        Some(FrameAction::Drop) => return,
        Some(FrameAction::Duplicate) => {
            requests.push_back((frame.correlation_id, api_key, false));
            requests.push_back((frame.correlation_id, api_key, true));
        }
        Some(FrameAction::Delay(_)) | None => {
            requests.push_back((frame.correlation_id, api_key, false));
        }
    }
    while requests.len() > REQUESTS_MAX {
        requests.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCE: i16 = 0;
    const FETCH: i16 = 1;

    fn request(api_key: i16, correlation_id: i32, body: &str) -> Vec<u8> {
        let mut frame = (8 + i32::try_from(body.len()).unwrap()).to_be_bytes().to_vec();
        frame.extend(api_key.to_be_bytes());
        frame.extend([0, 9]);
        frame.extend(correlation_id.to_be_bytes());
        frame.extend(body.as_bytes());
        frame
    }

    fn response(correlation_id: i32, body: &str) -> Vec<u8> {
        let mut frame = (4 + i32::try_from(body.len()).unwrap()).to_be_bytes().to_vec();
        frame.extend(correlation_id.to_be_bytes());
        frame.extend(body.as_bytes());
        frame
    }

    fn fault(direction: Direction, api_key: i16, action: FrameAction) -> FrameFault {
        let (from, to) = (Vec::new(), Vec::new());
        FrameFault {
            direction,
            api_key: Some(api_key),
            from,
            to,
            action,
            chance: 1_000_000,
            count: Some(1),
        }
    }

    struct Wire {
        trackers: [Tracker; 2],
        requests: Requests,
        faults: FrameFaults,
        draw: Draw,
    }

    impl Wire {
        fn new(fault: Option<FrameFault>) -> Self {
            let mut faults = FrameFaults::default();
            fault.map(|fault| faults.add(fault));
            let draw = Draw::new(1, "test");
            Self { trackers: Default::default(), requests: Requests::new(), faults, draw }
        }

        /// Writes in pieces of `piece` bytes; what was sent, and the longest extra delay.
        fn write(&mut self, direction: Direction, bytes: &[u8], piece: usize) -> (Vec<u8>, u64) {
            let (mut sent, mut delay) = (Vec::new(), 0);
            for piece in bytes.chunks(piece) {
                let mut context = Context {
                    direction,
                    from: NodeId(0),
                    to: NodeId(1),
                    requests: &mut self.requests,
                    faults: &mut self.faults,
                    draw: &mut self.draw,
                };
                let tracker = &mut self.trackers[direction as usize];
                let outcome = tracker.on_bytes(Bytes::copy_from_slice(piece), &mut context);
                for (bytes, extra) in outcome.sent {
                    sent.extend_from_slice(&bytes);
                    delay = delay.max(extra);
                }
            }
            (sent, delay)
        }
    }

    const PIECES: [usize; 5] = [1, 3, 7, 16, 1_000];

    #[test]
    fn without_faults_every_byte_passes_also_where_it_is_no_frame() {
        for piece in PIECES {
            for bytes in [
                [request(FETCH, 1, "body"), request(PRODUCE, 2, "")].concat(),
                b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            ] {
                let mut wire = Wire::new(Some(fault(Direction::Request, 99, FrameAction::Drop)));
                assert_eq!(wire.write(Direction::Request, &bytes, piece).0, bytes);
                assert_eq!(Wire::new(None).write(Direction::Request, &bytes, piece).0, bytes);
            }
        }
    }

    #[test]
    fn one_request_is_dropped_by_its_api_and_the_others_pass() {
        for piece in PIECES {
            let mut wire = Wire::new(Some(fault(Direction::Request, PRODUCE, FrameAction::Drop)));
            let frames =
                [request(FETCH, 1, "a"), request(PRODUCE, 2, "b"), request(PRODUCE, 3, "c")];
            let (sent, _) = wire.write(Direction::Request, &frames.concat(), piece);
            assert_eq!(sent, [frames[0].clone(), frames[2].clone()].concat());
        }
    }

    #[test]
    fn a_response_is_dropped_by_the_api_of_its_request() {
        for piece in PIECES {
            let mut wire = Wire::new(Some(fault(Direction::Response, PRODUCE, FrameAction::Drop)));
            let requests = [request(FETCH, 1, ""), request(PRODUCE, 2, "")].concat();
            wire.write(Direction::Request, &requests, piece);
            let responses = [response(1, "kept"), response(2, "gone")].concat();
            assert_eq!(wire.write(Direction::Response, &responses, piece).0, response(1, "kept"));
        }
    }

    #[test]
    fn a_duplicated_request_arrives_twice_and_is_answered_once() {
        for piece in PIECES {
            let mut wire =
                Wire::new(Some(fault(Direction::Request, PRODUCE, FrameAction::Duplicate)));
            let produce = request(PRODUCE, 5, "records");
            let (sent, _) = wire.write(Direction::Request, &produce, piece);
            assert_eq!(sent, [produce.clone(), produce].concat());
            let both = [response(5, "first"), response(5, "again")].concat();
            assert_eq!(wire.write(Direction::Response, &both, piece).0, response(5, "first"));
        }
    }

    #[test]
    fn a_delay_is_drawn_once_for_the_frame() {
        let span = Distribution::Fixed(std::time::Duration::from_nanos(77));
        let mut wire = Wire::new(Some(fault(Direction::Request, FETCH, FrameAction::Delay(span))));
        let (sent, delay) = wire.write(Direction::Request, &request(FETCH, 1, "body"), 5);
        assert_eq!((sent, delay), (request(FETCH, 1, "body"), 77));
    }
}
