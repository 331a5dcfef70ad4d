//! The sending half of one link: what is not yet acknowledged.

use crate::frame::{FRAME_MESSAGES_MAX, FRAME_PAYLOAD_BYTES_MAX};
use crate::{ACK_AFTER, QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX};
use maftia_base::time::{Duration, Time};
use maftia_base::wire::Bytes;
use std::collections::VecDeque;

/// How long the first acknowledgement may take before the round trip has been measured.
const RESEND_AFTER_FIRST: Duration = Duration::from_millis(500);
/// An acknowledgement waits for the peer's disk, so it is not missed sooner than this …
const RESEND_AFTER_MIN: Duration = Duration::from_millis(200);
/// … and a peer that is heard is tried at least this often.
const RESEND_AFTER_MAX: Duration = Duration::from_millis(5_000);

/// To a peer that says nothing, a message is sent so often again before a word of it is waited for.
const TRIES_UNHEARD: u32 = 4;

/// The peer acknowledges what was never sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NeverSent;

/// The queue is full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Clone, Debug, Hash)]
struct Queued {
    /// Bytes of the stream up to and including this message.
    end: u64,
    bytes: Bytes,
}

/// Numbers, keeps and repeats the messages to one peer.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Outbound {
    /// Messages `base..`, of which those below `high` have been sent at least once.
    queue: VecDeque<Queued>,
    base: u64,
    /// Bytes of the stream before `base`.
    base_end: u64,
    /// The next to send; at or below `high` after a rewind.
    cursor: u64,
    high: u64,
    /// Credit: numbers below this, bytes up to that.
    grant_messages: u64,
    grant_bytes: u64,
    /// Most bytes in flight after a rewind; doubles with every progress.
    burst: u64,
    /// Gaps below this number have been repaired since the last rewind.
    repaired: u64,
    /// The message whose round trip is being measured.
    timed: Option<(u64, Time)>,
    round_trip: Option<Duration>,
    expiries: u32,
    /// Since when an acknowledgement is awaited.
    waiting_since: Time,
}

impl Outbound {
    pub(crate) fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            base: 0,
            base_end: 0,
            cursor: 0,
            high: 0,
            grant_messages: 0,
            grant_bytes: 0,
            burst: u64::MAX,
            repaired: 0,
            timed: None,
            round_trip: None,
            expiries: 0,
            waiting_since: Time(0),
        }
    }

    /// Appends a message.
    pub(crate) fn push(&mut self, bytes: Bytes) -> Result<(), Full> {
        let end = self.last_end() + bytes.len() as u64;
        let held = end - self.base_end;
        if self.queue.len() >= QUEUE_MESSAGES_MAX || held > QUEUE_BYTES_MAX as u64 {
            return Err(Full);
        }
        self.queue.push_back(Queued { end, bytes });
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.last_end() - self.base_end
    }

    /// Is everything acknowledged, and may more be sent?
    pub(crate) fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.grant_messages > self.base
    }

    /// Takes note of an acknowledgement and of the credit that comes with it; old ones are ignored.
    pub(crate) fn acknowledge(
        &mut self,
        received: u64,
        window_messages: u32,
        window_bytes: u32,
        now: Time,
    ) -> Result<(), NeverSent> {
        if received > self.high {
            return Err(NeverSent);
        }
        if received < self.base {
            return Ok(());
        }
        if received > self.base {
            self.base_end = self.end_before(received);
            self.queue.drain(..(received - self.base) as usize);
            self.base = received;
            self.cursor = self.cursor.max(received);
            self.burst = self.burst.saturating_mul(2);
            self.expiries = 0;
            self.waiting_since = now;
            self.measure(received, now);
        }
        let (messages, bytes) = (u64::from(window_messages), u64::from(window_bytes));
        self.grant_messages = self.grant_messages.max(received.saturating_add(messages));
        self.grant_bytes = self.grant_bytes.max(self.base_end.saturating_add(bytes));
        Ok(())
    }

    /// The next messages to send within the credit, and the number of the first.
    pub(crate) fn next_bundle(&mut self, now: Time) -> Option<(u64, Vec<Bytes>)> {
        let first = self.cursor;
        let bundle = self.bundle(first, self.sendable_until());
        if bundle.is_empty() {
            return None;
        }
        if self.high == self.base {
            self.waiting_since = now;
        }
        self.cursor += bundle.len() as u64;
        if self.cursor > self.high {
            self.timed = self.timed.or(Some((self.cursor - 1, now)));
            self.high = self.cursor;
        }
        Some((first, bundle))
    }

    /// The number after the last that was ever sent.
    pub(crate) fn high(&self) -> u64 {
        self.high
    }

    /// The messages missing at the peer, who reports a gap of `gap` messages at `received`: each
    /// once until the next rewind, for reports of one gap may come in any number.
    pub(crate) fn repair(&mut self, received: u64, gap: u32) -> Option<(u64, Vec<Bytes>)> {
        let until = received.saturating_add(u64::from(gap)).min(self.cursor);
        let first = received.max(self.repaired);
        if received != self.base || first >= until {
            return None;
        }
        let bundle = self.bundle(first, until);
        self.repaired = first + bundle.len() as u64;
        self.timed = None;
        (!bundle.is_empty()).then_some((first, bundle))
    }

    /// Starts again at the first unacknowledged message, one frame first.
    pub(crate) fn rewind(&mut self, now: Time) {
        self.cursor = self.base;
        self.repaired = self.base;
        self.burst = FRAME_PAYLOAD_BYTES_MAX as u64;
        self.timed = None;
        self.waiting_since = now;
    }

    /// The acknowledgement did not come in time.
    pub(crate) fn expire(&mut self, now: Time) {
        self.expiries = self.expiries.saturating_add(1);
        self.rewind(now);
    }

    /// Has it been tried so often in vain that a word of the peer is waited for? (R6)
    pub(crate) fn is_in_vain(&self) -> bool {
        self.expiries >= TRIES_UNHEARD
    }

    /// Waits on, and sends nothing again.
    pub(crate) fn postpone(&mut self, now: Time) {
        self.waiting_since = now;
    }

    /// When to give up waiting for an acknowledgement, if one is awaited.
    pub(crate) fn resend_at(&self) -> Option<Time> {
        (self.high > self.base).then(|| self.waiting_since + self.patience())
    }

    fn patience(&self) -> Duration {
        let calm = self.round_trip.map_or(RESEND_AFTER_FIRST, |round_trip| {
            let micros = round_trip.0.saturating_mul(3).saturating_add(2 * ACK_AFTER.0);
            Duration(micros.max(RESEND_AFTER_MIN.0))
        });
        let factor = 1_u64 << self.expiries.min(10);
        Duration(calm.0.saturating_mul(factor).min(RESEND_AFTER_MAX.0))
    }

    /// Averages the round trip over about eight measurements of messages sent only once.
    fn measure(&mut self, received: u64, now: Time) {
        let Some((_, sent_at)) = self.timed.filter(|(number, _)| *number < received) else {
            return;
        };
        self.timed = None;
        let sample = now.0.saturating_sub(sent_at.0);
        let mean = self.round_trip.map_or(sample, |mean| mean.0 - mean.0 / 8 + sample / 8);
        self.round_trip = Some(Duration(mean));
    }

    /// The number after the last that credit and burst allow now.
    fn sendable_until(&self) -> u64 {
        let in_flight_end = self.base_end.saturating_add(self.burst);
        let end_max = self.grant_bytes.min(in_flight_end);
        let fitting = self.queue.partition_point(|queued| queued.end <= end_max) as u64;
        (self.base + fitting).min(self.grant_messages)
    }

    /// Messages `first..until`, as many as fit a frame.
    fn bundle(&self, first: u64, until: u64) -> Vec<Bytes> {
        let start = self.end_before(first);
        let begin = (first - self.base) as usize;
        let count = until.saturating_sub(first).min(FRAME_MESSAGES_MAX as u64) as usize;
        (self.queue.iter().skip(begin).take(count))
            .take_while(|queued| queued.end - start <= FRAME_PAYLOAD_BYTES_MAX as u64)
            .map(|queued| queued.bytes.clone())
            .collect()
    }

    /// Bytes of the stream before message `number`, which must not be below `base`.
    fn end_before(&self, number: u64) -> u64 {
        match (number - self.base) as usize {
            0 => self.base_end,
            index => self.queue[index - 1].end,
        }
    }

    fn last_end(&self) -> u64 {
        self.queue.back().map_or(self.base_end, |queued| queued.end)
    }
}
