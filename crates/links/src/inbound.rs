//! The receiving half of one link: what has arrived, and what is held behind a gap.

use crate::WINDOW_MESSAGES;
use maftia_base::canary;
use maftia_base::wire::Bytes;
use std::collections::BTreeMap;

/// The peer sent more than it was granted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flood;

/// How urgently the peer should hear what has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Due {
    /// It knows.
    No,
    /// With the next frame, or when the acknowledgement timer fires.
    Soon,
    /// In this step.
    Now,
}

/// Orders the messages of one peer and drops duplicates.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Inbound {
    expected: u64,
    /// Messages beyond a gap; within the window in number and bytes.
    held: BTreeMap<u64, Bytes>,
    held_bytes: usize,
    window_bytes: usize,
    /// Delivered since the peer last heard from us.
    fresh_messages: u64,
    fresh_bytes: usize,
    due: Due,
    duplicates: u64,
}

impl Inbound {
    pub(crate) fn new(window_bytes: usize) -> Self {
        Self {
            expected: 0,
            held: BTreeMap::new(),
            held_bytes: 0,
            window_bytes,
            fresh_messages: 0,
            fresh_bytes: 0,
            due: Due::No,
            duplicates: 0,
        }
    }

    /// Takes consecutive messages; returns those that are now in order.
    pub(crate) fn accept(
        &mut self,
        first: u64,
        messages: impl ExactSizeIterator<Item = Bytes>,
    ) -> (Vec<Bytes>, Result<(), Flood>) {
        let mut ready = Vec::new();
        let count = messages.len() as u64;
        let granted = self.expected.saturating_add(u64::from(WINDOW_MESSAGES));
        if first.checked_add(count).is_none_or(|end| end > granted) {
            return (ready, Err(Flood));
        }
        for (number, bytes) in (first..).zip(messages) {
            if canary!("links-skips-gaps", number >= self.expected, number == self.expected) {
                self.deliver(bytes, &mut ready);
            } else if number < self.expected || self.held.contains_key(&number) {
                canary!("links-delivers-again", ready.push(bytes));
                // Sent again, so the peer has not heard that it arrived.
                self.duplicates += 1;
                self.due = Due::Now;
            } else if self.held_bytes + bytes.len() > self.window_bytes {
                return (ready, Err(Flood));
            } else {
                self.held_bytes += bytes.len();
                self.held.insert(number, bytes);
                self.due = Due::Now;
            }
        }
        (ready, Ok(()))
    }

    fn deliver(&mut self, bytes: Bytes, ready: &mut Vec<Bytes>) {
        let mut next = Some(bytes);
        while let Some(bytes) = next {
            self.expected += 1;
            self.fresh_messages += 1;
            self.fresh_bytes += bytes.len();
            ready.push(bytes);
            next = self.held.remove(&self.expected);
            self.held_bytes -= next.as_ref().map_or(0, Bytes::len);
        }
        // A peer whose credit runs low must not wait for the timer.
        let is_low = self.fresh_messages >= u64::from(WINDOW_MESSAGES / 4)
            || self.fresh_bytes >= self.window_bytes / 4;
        self.due = self.due.max(if is_low { Due::Now } else { Due::Soon });
    }

    /// What a frame says: the number expected next, the distance to what is held behind a gap, and
    /// the window in bytes. Whatever was due is thereby told.
    pub(crate) fn tell(&mut self) -> (u64, u32, u32) {
        self.due = Due::No;
        self.fresh_messages = 0;
        self.fresh_bytes = 0;
        let gap = self.held.keys().next().map_or(0, |first| first - self.expected);
        (self.expected, gap as u32, self.window_bytes as u32)
    }

    pub(crate) fn due(&self) -> Due {
        self.due
    }

    pub(crate) fn tell_now(&mut self) {
        self.due = Due::Now;
    }

    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates
    }
}
