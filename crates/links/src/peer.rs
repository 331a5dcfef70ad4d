//! Both halves of one link, and who stands at its ends.

use crate::frame::{Frame, Payload};
use crate::inbound::{Due, Inbound};
use crate::outbound::{NeverSent, Outbound};
use crate::{KEEP_ALIVE_EVERY, RECONNECT_EVERY, UNHEARD, WINDOW_MESSAGES};
use maftia_base::canary;
use maftia_base::time::Time;
use maftia_base::wire::{Bytes, List};

/// What has gone over a link since it was made; protocol messages and frames apart, so that
/// silence can be measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Traffic {
    /// Frames sent, with messages or without.
    pub frames_sent: u64,
    /// Protocol messages sent for the first time.
    pub messages_sent: u64,
    /// Protocol messages sent again.
    pub messages_resent: u64,
    /// Protocol messages handed to the protocol.
    pub messages_delivered: u64,
    /// Protocol messages that had arrived before.
    pub duplicates: u64,
    /// Protocol messages dropped because the queue was full or a reset was under way.
    pub messages_dropped: u64,
    /// How often the protocol was told `Reconnected`.
    pub reconnects: u64,
}

/// One link as an operator may want to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerStatus {
    /// The peer's incarnation, once it has been heard.
    pub incarnation: Option<u64>,
    /// When it was last heard.
    pub heard_at: Option<Time>,
    /// Messages to it that are not yet acknowledged.
    pub unacknowledged_messages: usize,
    /// The same in bytes.
    pub unacknowledged_bytes: u64,
    /// Messages from it that are held behind a gap.
    pub held_messages: usize,
    /// The same in bytes.
    pub held_bytes: usize,
    /// Messages to it are being dropped; what it needs is emitted again later.
    pub is_behind: bool,
    /// What has gone over the link.
    pub traffic: Traffic,
}

/// What becomes of a frame.
#[derive(Debug)]
pub(crate) enum Conversation {
    /// It belongs to the current one.
    Current,
    /// It belongs to another: its messages and acknowledgements mean nothing here.
    Other,
}

/// One link.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Peer {
    mine: u64,
    /// The number with which this run began: no other run of this server has the same.
    own: u64,
    theirs: Option<u64>,
    pub(crate) out: Outbound,
    pub(crate) inn: Inbound,
    /// What is sent would be dropped: the queue was full, or the conversation is new, and the
    /// protocol has not been told yet.
    is_behind: bool,
    /// Something was dropped since the protocol was told.
    has_dropped: bool,
    /// How often, in this conversation, the protocol was told after something had been dropped.
    lapses: u64,
    /// The same of the peer, as far as it is heard.
    their_lapses: u64,
    /// The peer has lapsed, and the protocol has not been told yet.
    is_lapsed: bool,
    told_at: Option<Time>,
    heard_at: Option<Time>,
    spoke_at: Time,
    /// What was sent to it is not sent again before it is heard. (R6)
    is_away: bool,
    pub(crate) ack_armed: bool,
    pub(crate) resend_armed: bool,
    pub(crate) reconnect_armed: bool,
    pub(crate) traffic: Traffic,
    window_bytes: usize,
}

impl Peer {
    pub(crate) fn new(incarnation: u64, window_bytes: usize) -> Self {
        Self {
            mine: incarnation,
            own: incarnation,
            theirs: None,
            out: Outbound::new(),
            inn: Inbound::new(window_bytes),
            is_behind: false,
            has_dropped: false,
            lapses: 0,
            their_lapses: 0,
            is_lapsed: false,
            told_at: None,
            heard_at: None,
            spoke_at: Time(0),
            is_away: false,
            ack_armed: false,
            resend_armed: false,
            reconnect_armed: false,
            traffic: Traffic::default(),
            window_bytes,
        }
    }

    /// Decides which conversation a frame belongs to; a new one resets the link. (R2, R3)
    pub(crate) fn hear(&mut self, from: u64, to: u64, now: Time) -> Conversation {
        self.heard_at = Some(now);
        if std::mem::take(&mut self.is_away) {
            self.out.rewind(now);
        }
        // Another run that heard of the same number must not go to the same one above it.
        let step = canary!("links-takes-anothers-number", 1, self.own);
        if to > self.mine {
            // No run of this server ever had a number that there is nothing above: only a liar
            // says so, and to answer each of its frames would never end.
            let Some(above) = to.checked_add(step) else { return Conversation::Other };
            self.mine = above;
            self.start_over();
        }
        match self.theirs {
            Some(known) if from < known => {
                self.inn.tell_now();
                return Conversation::Other;
            }
            Some(known) if from > known => self.start_over(),
            _ => {}
        }
        if self.theirs.replace(from) != Some(from) || to != self.mine {
            // The peer does not know this incarnation yet, or not what it grants.
            self.inn.tell_now();
        }
        if to != canary!("links-mixes-conversations", to, self.mine) {
            return Conversation::Other;
        }
        Conversation::Current
    }

    fn start_over(&mut self) {
        self.traffic.duplicates += self.inn.duplicates();
        self.traffic.messages_dropped += self.out.len() as u64;
        self.out = Outbound::new();
        self.inn = Inbound::new(self.window_bytes);
        (self.lapses, self.their_lapses) = (0, 0);
        (self.has_dropped, self.is_lapsed) = (false, false);
        self.is_behind = canary!("links-tells-nobody", false, true);
    }

    /// Its acknowledgement is overdue: sends again, unless it seems to be away. (R6)
    pub(crate) fn expire(&mut self, now: Time) {
        if self.out.is_in_vain() && self.heard_at.is_none_or(|at| at + UNHEARD <= now) {
            self.is_away = true;
            return self.out.postpone(now);
        }
        canary!("links-gives-up", return self.out.postpone(now));
        self.out.expire(now);
    }

    /// Takes note of how often the peer dropped something: an answer, perhaps, that only this side
    /// can ask for again. (R8)
    pub(crate) fn hear_lapses(&mut self, lapses: u64) {
        if lapses > self.their_lapses {
            self.their_lapses = lapses;
            self.is_lapsed = true;
        }
    }

    /// Takes note of what a frame acknowledges and grants; returns what repairs a gap. (R4, R5)
    pub(crate) fn on_acknowledgement(
        &mut self,
        frame: &Frame,
        now: Time,
    ) -> Result<Option<(u64, Vec<Bytes>)>, NeverSent> {
        self.out.acknowledge(frame.received, frame.window_messages, frame.window_bytes, now)?;
        let repair = self.out.repair(frame.received, frame.gap);
        self.traffic.messages_resent += repair.as_ref().map_or(0, |(_, lost)| lost.len() as u64);
        Ok(repair)
    }

    /// Queues a message, unless the protocol will be asked for it again anyway. (R7)
    pub(crate) fn enqueue(&mut self, bytes: Bytes) {
        if self.is_behind || self.out.push(bytes).is_err() {
            self.is_behind = true;
            self.drop_message();
        }
    }

    /// Would a message be dropped?
    pub(crate) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Drops a message, and remembers that. (R8)
    pub(crate) fn drop_message(&mut self) {
        self.traffic.messages_dropped += 1;
        self.has_dropped = true;
    }

    /// The next frame with messages, if the peer is known and grants it. (R1, R4)
    pub(crate) fn next_frame(&mut self, place: u64, now: Time) -> Option<Frame> {
        self.theirs?;
        let high = self.out.high();
        let (first, messages) = self.out.next_bundle(now)?;
        let again = high.saturating_sub(first).min(messages.len() as u64);
        self.traffic.messages_resent += again;
        self.traffic.messages_sent += messages.len() as u64 - again;
        Some(self.frame(place, first, messages, now))
    }

    /// A frame with these messages, or with none.
    pub(crate) fn frame(
        &mut self,
        place: u64,
        first: u64,
        messages: Vec<Bytes>,
        now: Time,
    ) -> Frame {
        let (received, gap, window_bytes) = self.inn.tell();
        self.spoke_at = now;
        self.traffic.frames_sent += 1;
        let payloads = messages.into_iter().map(|bytes| {
            Payload::new(bytes).expect("no message enters the queue above the largest size")
        });
        let messages = List::new(payloads.collect()).expect("a bundle fits a frame");
        Frame {
            place,
            from: self.mine,
            to: self.theirs.unwrap_or(0),
            lapses: self.lapses,
            received,
            gap,
            window_messages: WINDOW_MESSAGES,
            window_bytes,
            first,
            messages,
        }
    }

    /// When the protocol should be told to emit again, if something was dropped, here or there, and
    /// may now be sent.
    pub(crate) fn tell_at(&self) -> Option<Time> {
        let is_ready = match self.is_behind {
            true => self.theirs.is_some() && self.out.is_drained(),
            false => self.is_lapsed,
        };
        is_ready.then(|| self.told_at.map_or(Time(0), |told_at| told_at + RECONNECT_EVERY))
    }

    /// The protocol is being told now.
    pub(crate) fn catch_up(&mut self, now: Time) {
        self.lapses += u64::from(self.has_dropped);
        (self.is_behind, self.has_dropped, self.is_lapsed) = (false, false, false);
        self.told_at = Some(now);
        self.traffic.reconnects += 1;
    }

    /// Has the peer ever been heard?
    pub(crate) fn is_known(&self) -> bool {
        self.theirs.is_some()
    }

    /// Has the peer heard nothing for so long that it should hear something?
    pub(crate) fn keep_alive(&mut self, now: Time) {
        if self.spoke_at + KEEP_ALIVE_EVERY <= now || self.theirs.is_none() {
            self.inn.tell_now();
        }
    }

    pub(crate) fn owes_acknowledgement(&self, due: Due) -> bool {
        self.inn.due() >= due
    }

    pub(crate) fn status(&self) -> PeerStatus {
        let mut traffic = self.traffic;
        traffic.duplicates += self.inn.duplicates();
        PeerStatus {
            incarnation: self.theirs,
            heard_at: self.heard_at,
            unacknowledged_messages: self.out.len(),
            unacknowledged_bytes: self.out.bytes(),
            held_messages: self.inn.held(),
            held_bytes: self.inn.held_bytes(),
            is_behind: self.is_behind,
            traffic,
        }
    }
}
