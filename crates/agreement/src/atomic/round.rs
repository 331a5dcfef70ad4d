//! Rounds of agreement on the vector of lane heads.

use super::BACKLOG_MAX;
use super::agreement::{AgreeOutcome, RoundAgreement};
use super::batch::{Head, Heads, Open, Round};
use super::machine::AtomicBroadcast;
use super::message::{DecidedRound, Message, Record, Ticket};
use crate::digest_of;
use crate::multivalued;
use maftia_base::protocol::Vocabulary;
use maftia_base::wire::List;
use maftia_base::{Context, Digest, Event, Fault, FaultKind, Party, Slot};
use maftia_crypto::{Done, Suite};

/// A value that a peer proposed and that has not been found acceptable yet.
#[derive(Clone, Debug, Hash)]
pub(super) struct Proposed<S: Suite> {
    from: Party,
    heads: Heads<S>,
    /// Have its checks begun?
    checking: bool,
}

/// A decided round whose certificate is being verified.
#[derive(Clone, Debug, Hash)]
pub(super) struct Checking<S: Suite> {
    pub(super) from: Party,
    pub(super) decided: DecidedRound<S>,
    pub(super) answers: Vec<Option<Done<S>>>,
}

impl<S: Suite> Checking<S> {
    pub(super) fn is_of(&self, round: Round) -> bool {
        self.decided.round == round
    }
}

/// Where a round's agreement sits.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoundSlot(pub(super) Round);

impl<S: Suite> Slot<AtomicBroadcast<S>> for RoundSlot {
    type Child = RoundAgreement<S>;
    fn label(self) -> u64 {
        self.0.0
    }
    fn message(self, message: <RoundAgreement<S> as Vocabulary>::Message) -> Message<S> {
        Message::Agree { round: self.0, message }
    }
    fn ticket(self, ticket: <RoundAgreement<S> as Vocabulary>::Ticket) -> Ticket<S> {
        Ticket::Agree { round: self.0, ticket }
    }
    fn record(self, record: <RoundAgreement<S> as Vocabulary>::Record) -> Record<S> {
        Record::Agree { round: self.0, record }
    }
}

impl<S: Suite> AtomicBroadcast<S> {
    /// True while this server takes part in agreement: its deliveries keep up.
    pub(super) fn is_open(&self) -> bool {
        self.queue.len() < BACKLOG_MAX
    }

    /// Proposes the newest heads once a lane has grown. (R1)
    pub(super) fn try_propose(&mut self, cx: &mut impl Context<Self>) -> bool {
        if self.proposed || !self.is_open() {
            return false;
        }
        let heads = self.grown();
        if heads.is_empty() {
            return false;
        }
        self.proposed = true;
        let heads = Heads(List::new(heads).expect("at most one head a lane"));
        let command = multivalued::Command::Propose(heads);
        self.step_agreement(self.round, Event::Command(command), cx);
        true
    }

    /// Handles a message of a round's agreement: of the present round or the next. (R2)
    pub(super) fn on_agree(
        &mut self,
        from: Party,
        round: Round,
        message: <RoundAgreement<S> as Vocabulary>::Message,
        cx: &mut impl Context<Self>,
    ) {
        let own = from == cx.group().me();
        if round < self.round {
            // Whoever is that late has been sent the decision. It asks if it lacks the value.
            if !own && message.asks() {
                self.send_rounds(from, round, cx);
            }
            return;
        }
        if !own && (round > self.round.next() || !self.is_open()) {
            return self.note_dropped(from, round);
        }
        self.step_agreement(round, Event::Message { from, body: message }, cx);
    }

    pub(super) fn on_agree_done(
        &mut self,
        round: Round,
        ticket: <RoundAgreement<S> as Vocabulary>::Ticket,
        done: Done<S>,
        cx: &mut impl Context<Self>,
    ) {
        if self.agreements.contains_key(&round) {
            self.step_agreement(round, Event::Done { ticket, done }, cx);
        }
    }

    pub(super) fn resend_agreements(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        let rounds: Vec<Round> = self.agreements.keys().copied().collect();
        for round in rounds {
            self.step_agreement(round, Event::Reconnected(peer), cx);
        }
    }

    /// Steps a round's agreement, which begins now if it has not, and handles what it says.
    pub(super) fn step_agreement(
        &mut self,
        round: Round,
        event: Event<RoundAgreement<S>>,
        cx: &mut impl Context<Self>,
    ) {
        let mut outcomes = Vec::new();
        let mut agreement = match self.agreements.remove(&round) {
            Some(agreement) => agreement,
            None => {
                let (me, is_next) = (cx.group().me(), round > self.round);
                let place = (self.epoch, round);
                let mut agreement = RoundAgreement::new(self.hybrid.as_ref(), me, place, is_next);
                if self.live {
                    let resumed = Event::Resumed;
                    outcomes.extend(self.step_recorded(round, &mut agreement, resumed, cx));
                }
                agreement
            }
        };
        outcomes.extend(self.step_recorded(round, &mut agreement, event, cx));
        self.agreements.insert(round, agreement);
        for outcome in outcomes {
            match outcome {
                AgreeOutcome::Validate { from, value } => {
                    self.on_validate(round, from, value, cx);
                }
                AgreeOutcome::Decided { value, proof, seed } => {
                    let decided = DecidedRound { round, heads: value, decision: proof };
                    self.ready.insert(round, (decided, seed));
                }
                AgreeOutcome::OtherLife => self.notice_other_life(cx),
            }
        }
    }

    /// Handles a value that a peer proposed. What makes it valid is known once the round before is
    /// decided. (R3)
    fn on_validate(
        &mut self,
        round: Round,
        from: Party,
        heads: Heads<S>,
        cx: &mut impl Context<Self>,
    ) {
        let digest = digest_of(&heads);
        let proposed = Proposed { from, heads, checking: false };
        self.values.entry((round, digest)).or_insert(proposed);
        self.check_values(cx);
    }

    /// Begins the checks of the values proposed in the present round. (R3)
    pub(super) fn check_values(&mut self, cx: &mut impl Context<Self>) {
        let round = self.round;
        let fresh: Vec<Digest> = self
            .values
            .iter()
            .filter(|((of, _), value)| *of == round && !value.checking && self.live)
            .map(|((_, digest), _)| *digest)
            .collect();
        for digest in fresh {
            self.check_value(round, digest, cx);
        }
    }

    fn check_value(&mut self, round: Round, digest: Digest, cx: &mut impl Context<Self>) {
        let Some(proposed) = self.values.get_mut(&(round, digest)) else { return };
        proposed.checking = true;
        let (from, heads) = (proposed.from, proposed.heads.clone());
        if !self.is_growth(&heads, cx) {
            return cx.blame(Fault::suspected(from, FaultKind::InvalidValue));
        }
        let mut open = Open::default();
        for head in heads.iter() {
            match self.open_claims(head, cx) {
                Some(more) => open.extend(more),
                None => return cx.blame(Fault::suspected(from, FaultKind::BadCertificate)),
            }
        }
        if open.is_empty() {
            self.accept_value(round, digest, cx);
        } else {
            cx.offload(Ticket::Value { round, digest }, open.work());
        }
    }

    /// At least one lane grew, none shrank, none is named twice. (R3)
    fn is_growth(&self, heads: &Heads<S>, cx: &mut impl Context<Self>) -> bool {
        let parties = cx.group().parties();
        let grows = |head: &Head<S>| {
            let decided = self.lanes.get(&head.lane).map(|lane| lane.decided_height());
            parties.contains(head.lane) && head.height > decided.unwrap_or_default()
        };
        let ascending = heads.windows(2).all(|pair| pair[0].lane < pair[1].lane);
        !heads.is_empty() && ascending && heads.iter().all(grows)
    }

    /// Handles the verdict on the certificates in a value. (R3)
    pub(super) fn on_value_verified(
        &mut self,
        round: Round,
        digest: Digest,
        verdicts: &[bool],
        cx: &mut impl Context<Self>,
    ) {
        let Some(proposed) = self.values.get(&(round, digest)) else { return };
        if verdicts.iter().all(|good| *good) {
            self.accept_value(round, digest, cx);
        } else {
            cx.blame(Fault::suspected(proposed.from, FaultKind::BadCertificate));
        }
    }

    /// The value is acceptable; and what it says of lanes is news, perhaps. (R3, R4)
    fn accept_value(&mut self, round: Round, digest: Digest, cx: &mut impl Context<Self>) {
        let Some(proposed) = self.values.remove(&(round, digest)) else { return };
        for head in proposed.heads.iter() {
            self.learn_head(head.clone(), cx);
        }
        let accept = multivalued::Command::Accept(digest);
        self.step_agreement(round, Event::Command(accept), cx);
    }
}
