//! What waits to be sent, bundled into transport frames.
//!
//! # Rules
//! - R1. All messages that may leave in one turn of the engine leave for each peer in one frame,
//!   or in several if it would grow beyond [`FRAME_BYTES_MAX`].
//! - R2. A frame that the transport cannot take now is kept, and grows meanwhile.
//! - R3. Beyond [`WAITING_BYTES_MAX`] messages are dropped. The links send them again.
//!
//! A frame is the concatenation of the encodings of its messages.

use bytes::{Bytes, BytesMut};
use maftia_base::wire::{EncodeSize, Wire, Write};
use maftia_base::{Group, Party};
use std::collections::VecDeque;
use std::time::Duration;

/// Largest frame that is handed to the transport.
pub const FRAME_BYTES_MAX: usize = 2 << 20;

/// Most messages in one frame: bounds what decoding one can allocate.
pub const FRAME_MESSAGES_MAX: usize = 16 << 10;

/// Most bytes that wait for one peer.
pub const WAITING_BYTES_MAX: usize = 32 << 20;

/// Takes frames to other servers, without any promise.
pub trait Post: Send + 'static {
    /// Takes the `frame` for `to`, or leaves it and says how long it must wait.
    fn post(&mut self, to: Party, frame: &mut dyn FnMut() -> Bytes) -> Posted;
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// It is on its way, or lost on it.
    Taken,
    /// It was not asked for: try again after this time.
    Busy(Duration),
}

/// Frames that wait, for each peer.
#[derive(Debug)]
pub(crate) struct Outbox {
    peers: Vec<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    full: VecDeque<Bytes>,
    growing: BytesMut,
    messages: usize,
    bytes: usize,
}

impl Outbox {
    pub(crate) fn new(group: &Group) -> Self {
        Self { peers: (0..group.n()).map(|_| Waiting::default()).collect() }
    }

    /// Adds `message` for `to`; false if there is no room. (R1, R3)
    pub(crate) fn push(&mut self, to: Party, message: &(impl Write + EncodeSize)) -> bool {
        let size = message.encode_size();
        assert!(size <= FRAME_BYTES_MAX, "every message of a protocol fits a frame");
        let waiting = &mut self.peers[to.index()];
        if waiting.bytes + size > WAITING_BYTES_MAX {
            return false;
        }
        if waiting.growing.len() + size > FRAME_BYTES_MAX || waiting.messages >= FRAME_MESSAGES_MAX
        {
            waiting.close();
        }
        message.write(&mut waiting.growing);
        waiting.messages += 1;
        waiting.bytes += size;
        true
    }

    /// Hands over what the transport takes; returns when to try again, if it did not take all,
    /// and counts frames and bytes that it took. (R2)
    pub(crate) fn flush(&mut self, post: &mut impl Post) -> Flushed {
        let mut flushed = Flushed::default();
        for (index, waiting) in self.peers.iter_mut().enumerate() {
            while !waiting.is_empty() {
                let mut size = 0;
                let posted = post.post(Party::new(index), &mut || {
                    let frame = waiting.next();
                    size = frame.len();
                    frame
                });
                if let Posted::Busy(after) = posted {
                    let sooner = flushed.retry.map_or(after, |retry| retry.min(after));
                    flushed.retry = Some(sooner);
                    break;
                }
                assert!(size > 0, "a post that takes a frame asks for it");
                waiting.bytes -= size;
                flushed.frames += 1;
                flushed.bytes += size as u64;
            }
        }
        flushed
    }

    pub(crate) fn bytes(&self) -> usize {
        self.peers.iter().map(|waiting| waiting.bytes).sum()
    }
}

/// What one flush did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flushed {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) retry: Option<Duration>,
}

impl Waiting {
    fn close(&mut self) {
        self.messages = 0;
        self.full.push_back(self.growing.split().freeze());
    }

    fn is_empty(&self) -> bool {
        self.full.is_empty() && self.growing.is_empty()
    }

    fn next(&mut self) -> Bytes {
        if self.full.is_empty() {
            self.close();
        }
        self.full.pop_front().expect("a frame was just closed")
    }
}

/// Reads the messages of a frame; false if bytes are left that do not decode, or too many.
pub fn read_frame<M: Wire>(mut frame: Bytes) -> (Vec<M>, bool) {
    let mut messages = Vec::new();
    while !frame.is_empty() {
        match M::read_cfg(&mut frame, &()) {
            Ok(message) if messages.len() < FRAME_MESSAGES_MAX => messages.push(message),
            _ => return (messages, false),
        }
    }
    (messages, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use maftia_base::{AdversaryStructure, Epoch, GroupId};

    /// Takes `room` frames, then is busy.
    struct Limited {
        room: usize,
        taken: Vec<(Party, Bytes)>,
    }

    impl Post for Limited {
        fn post(&mut self, to: Party, frame: &mut dyn FnMut() -> Bytes) -> Posted {
            if self.taken.len() == self.room {
                return Posted::Busy(Duration::from_millis(3));
            }
            self.taken.push((to, frame()));
            Posted::Taken
        }
    }

    fn outbox() -> Outbox {
        let structure = AdversaryStructure::optimal(4).expect("well-formed");
        Outbox::new(&Group::new(GroupId::default(), Epoch(0), Party::new(0), structure))
    }

    #[test]
    fn messages_of_one_turn_leave_in_one_frame_and_come_back_in_order() {
        let (mut outbox, mut post) = (outbox(), Limited { room: 9, taken: Vec::new() });
        for number in 0..100u64 {
            assert!(outbox.push(Party::new(2), &number));
        }
        let flushed = outbox.flush(&mut post);
        assert_eq!((flushed.frames, flushed.bytes, flushed.retry), (1, 800, None));
        let (messages, whole) = read_frame::<u64>(post.taken[0].1.clone());
        assert!(whole);
        assert_eq!(messages, (0..100).collect::<Vec<_>>());
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn a_frame_that_must_wait_grows_and_leaves_later() {
        let (mut outbox, mut post) = (outbox(), Limited { room: 0, taken: Vec::new() });
        outbox.push(Party::new(1), &1u64);
        assert_eq!(outbox.flush(&mut post).retry, Some(Duration::from_millis(3)));
        outbox.push(Party::new(1), &2u64);
        post.room = 8;
        outbox.flush(&mut post);
        assert_eq!(post.taken.len(), 1);
        assert_eq!(read_frame::<u64>(post.taken[0].1.clone()), (vec![1, 2], true));
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn what_waits_is_bounded_and_other_peers_do_not_feel_it() {
        let mut outbox = outbox();
        let large = Bytes::from(vec![0; FRAME_BYTES_MAX - 8]);
        let taken = (0..100).filter(|_| outbox.push(Party::new(1), &large)).count();
        assert!(taken < 100 && outbox.bytes() <= WAITING_BYTES_MAX);
        assert!(outbox.push(Party::new(2), &large));
    }

    #[test]
    fn garbage_behind_good_messages_is_reported() {
        let (messages, whole) = read_frame::<u64>(Bytes::from_static(&[0; 11]));
        assert_eq!((messages, whole), (vec![0], false));
    }
}
