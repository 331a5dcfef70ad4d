//! A server that is behind asks, and is given decided rounds with their certificates.

use super::LEARNED_MAX;
use super::batch::{ArchiveKey, Round};
use super::machine::AtomicBroadcast;
use super::message::{DecidedRound, Message, ROUNDS_PER_MESSAGE_MAX, Ticket};
use super::round::{Checking, RoundSlot};
use crate::digest_of;
use maftia_base::canary;
use maftia_base::wire::{EncodeSize, List};
use maftia_base::{Context, Fault, FaultKind, Party, PartySet, Slot, Target};
use maftia_crypto::{Done, Suite};

/// Most bytes of decided rounds in one message, unless one alone is larger.
const ROUNDS_BYTES_MAX: usize = 256 * 1024;

/// What a server knows of how far a peer is.
#[derive(Clone, Debug, Hash, Default)]
pub(super) struct Peers {
    /// The latest round of which the peer said anything that was not taken in.
    ahead: Option<Round>,
    /// It is in a later epoch.
    later: bool,
    /// The round in which this server was when it last asked the peer.
    asked: Option<Round>,
    /// The round in which this server was when it last told the peer so.
    told: Option<Round>,
    /// It gave a round that is not decided: it is not listened to any more.
    lied: bool,
}

impl<S: Suite> AtomicBroadcast<S> {
    /// Takes note that a message for `round` was not taken in. (C1)
    pub(super) fn note_dropped(&mut self, from: Party, round: Round) {
        let open = self.is_open();
        let peer = self.peers.entry(from).or_default();
        peer.ahead = peer.ahead.max(Some(round));
        if !open {
            // It is asked again when this server takes part again.
            peer.asked = None;
        }
    }

    /// The layer above has seen this peer in a later epoch. (C1)
    pub(super) fn on_ahead(&mut self, from: Party) {
        let peer = self.peers.entry(from).or_default();
        if !std::mem::replace(&mut peer.later, true) {
            // What it said when it was asked may have become too little since.
            peer.asked = None;
        }
    }

    /// Asks those that are ahead: each once in every round, and only when what they gave before
    /// has been used; and once those that no longer are: what they gave was decided rounds, and not
    /// what is open. (C2)
    ///
    /// Everybody is told when decisions were given: a server that skips an agreement contributes
    /// nothing to it, and those that are still in it may wait for what nobody else will say. (C5)
    pub(super) fn try_ask(&mut self, cx: &mut impl Context<Self>) {
        if !self.learned.is_empty() || self.checking.is_some() || !self.is_open() {
            return;
        }
        let round = self.round;
        let mut to_ask = PartySet::EMPTY;
        if canary!("atomic-skips-silently", false, std::mem::take(&mut self.skipped)) {
            to_ask = cx.group().others();
        }
        for (party, peer) in &mut self.peers {
            let was_ahead = peer.ahead.take_if(|ahead| *ahead < round).is_some();
            let is_asked = peer.later || peer.ahead.is_some() || was_ahead;
            if is_asked && !peer.lied && peer.asked != Some(round) {
                peer.asked = Some(round);
                to_ask.insert(*party);
            }
        }
        to_ask.iter().for_each(|party| self.tell(party, cx));
    }

    /// Tells a peer where this server is: it gives what is missing here.
    pub(super) fn tell(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        let round = self.round;
        self.peers.entry(peer).or_default().told = Some(round);
        cx.send(Target::One(peer), Message::Status { round });
    }

    /// Handles a peer's word of where it is: give it what it lacks. (C3)
    pub(super) fn on_status(&mut self, from: Party, theirs: Round, cx: &mut impl Context<Self>) {
        if from == cx.group().me() {
            return;
        }
        if theirs > self.round {
            self.note_dropped(from, theirs);
        }
        if theirs < self.round {
            self.send_rounds(from, theirs, cx);
            // When it has used them it asks for the rest: for what is current, in the end.
            self.tell(from, cx);
        }
        let told = self.peers.get(&from).and_then(|peer| peer.told);
        if theirs == self.round && told.is_some_and(|told| told < theirs) {
            // It gave what was missing in the round that it was told of, and not what is current.
            self.tell(from, cx);
        }
        if theirs.next() >= self.round {
            self.resend_lanes(from, cx);
            self.resend_agreements(from, cx);
        }
    }

    pub(super) fn send_rounds(&mut self, to: Party, first: Round, cx: &mut impl Context<Self>) {
        if !self.recent.contains_key(&first) {
            for step in 0..ROUNDS_PER_MESSAGE_MAX as u64 {
                let round = Round(first.0.saturating_add(step));
                if round < self.round {
                    let key = ArchiveKey::Round { epoch: self.epoch, round };
                    self.recall(to, key, cx);
                }
            }
            return;
        }
        let mut bytes = 0;
        let rounds: Vec<DecidedRound<S>> = self
            .recent
            .range(first..)
            .map(|(_, decided)| decided.clone())
            .take(ROUNDS_PER_MESSAGE_MAX)
            .take_while(|decided| {
                let before = bytes;
                bytes += decided.encode_size();
                before == 0 || bytes <= ROUNDS_BYTES_MAX
            })
            .collect();
        let rounds = List::new(rounds).expect("no more were taken than a message holds");
        cx.send(Target::One(to), Message::Rounds(rounds));
    }

    /// Handles rounds that a peer says are decided. (C4)
    pub(super) fn on_rounds(
        &mut self,
        from: Party,
        rounds: Vec<DecidedRound<S>>,
        cx: &mut impl Context<Self>,
    ) {
        if from == cx.group().me() || self.peers.get(&from).is_some_and(|peer| peer.lied) {
            return;
        }
        for decided in rounds {
            let beyond = Round(self.round.0.saturating_add(LEARNED_MAX));
            if decided.round >= self.round && decided.round < beyond {
                self.learned.entry(decided.round).or_insert((from, decided));
            }
        }
    }

    /// Verifies the certificate of the present round, if somebody gave one. (C4)
    pub(super) fn try_learn(&mut self, cx: &mut impl Context<Self>) -> bool {
        if self.checking.is_some() || !self.is_open() {
            return false;
        }
        let Some((from, decided)) = self.learned.remove(&self.round) else {
            // A gap: what lies beyond is given again when this server gets there.
            let gap = !self.learned.is_empty();
            self.learned.clear();
            return gap;
        };
        let round = decided.round;
        let scope = Slot::<Self>::scope(RoundSlot(round), cx.scope());
        let digest = digest_of(&decided.heads);
        let Some(works) = decided.decision.checks(
            self.hybrid.as_ref(),
            (self.epoch, round),
            scope,
            cx.group(),
            digest,
        ) else {
            self.on_lie(from, cx);
            return true;
        };
        let answers = works.iter().map(|_| None).collect();
        self.checking = Some(Checking { from, decided, answers });
        for (part, work) in (0..).zip(works) {
            cx.offload(Ticket::Decided { round, part }, work);
        }
        true
    }

    /// Handles one of the checks of a decided round. (C4)
    pub(super) fn on_decided_checked(
        &mut self,
        round: Round,
        part: u64,
        done: Done<S>,
        cx: &mut impl Context<Self>,
    ) {
        let Some(checking) = self.checking.as_mut().filter(|checking| checking.is_of(round)) else {
            return;
        };
        if let Some(answer) = checking.answers.get_mut(part as usize) {
            *answer = Some(done);
        }
        let answers: Option<Vec<Done<S>>> = checking.answers.iter().cloned().collect();
        let Some(answers) = answers else { return };
        let Checking { from, decided, .. } =
            self.checking.take().expect("it was looked at just now");
        match decided.decision.holds(cx.group(), &answers) {
            Some(seed) => {
                let record = super::message::Record::Learned { decided: decided.clone(), seed };
                self.keep(record, cx);
                self.skipped = true;
                self.ready.insert(round, (decided, seed));
            }
            None => self.on_lie(from, cx),
        }
    }

    /// A peer gave a round that was not decided so: the others are asked again. (C4)
    fn on_lie(&mut self, from: Party, cx: &mut impl Context<Self>) {
        self.learned.retain(|_, (giver, _)| *giver != from);
        self.peers.entry(from).or_default().lied = true;
        self.peers.values_mut().for_each(|peer| peer.asked = None);
        cx.blame(Fault::suspected(from, FaultKind::BadCertificate));
    }
}
