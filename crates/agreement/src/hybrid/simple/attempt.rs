//! One attempt after the other: what is proposed, and what is made of the answers.

use super::machine::{Consensus, Phase, Stage, Ticket};
use super::message::{Decision, Message, Record};
use super::{STEP_MS, step};
use crate::Value;
use crate::hybrid::agreed::{Proof, Start};
use maftia_base::canary;
use maftia_base::{Context, Digest, Party, Target};
use maftia_crypto::{Done, Suite, Work};
use maftia_ttcb_api::{Answer, Call, Refusal, Span};

impl<S: Suite, V: Value> Consensus<S, V> {
    /// Begins an attempt, if there is something to propose and nothing under way. (C2, C6)
    pub(super) fn try_begin(&mut self, cx: &mut impl Context<Self>) {
        if self.input.is_some() && self.stage == Stage::Idle && !self.is_over() && !self.stalled {
            self.stage = Stage::Time;
            cx.consult(Ticket::Time, Work::Trusted(Box::new(Call::Timestamp)));
        }
    }

    pub(super) fn on_done(&mut self, ticket: Ticket, done: Done<S>, cx: &mut impl Context<Self>) {
        match (ticket, done) {
            (Ticket::Check(from, kind), Done::Verified(verdicts)) => {
                self.on_checked(from, kind, verdicts.iter().all(|good| *good), cx);
            }
            (Ticket::Time, Done::Trusted(answer)) => self.on_time(&answer, cx),
            (Ticket::Propose(start, phase), Done::Trusted(answer)) => {
                self.on_taken(start, phase, &answer, cx);
            }
            (Ticket::Decide(start, phase), Done::Trusted(answer)) => {
                self.on_told(start, phase, &answer, cx);
            }
            (Ticket::Watch, Done::Trusted(answer)) => self.on_watch(&answer, cx),
            (Ticket::Late, Done::Trusted(_)) => self.end(Stage::Time),
            (ticket, done) => {
                panic!("workers answer with the kind of result: {ticket:?}, {done:?}")
            }
        }
    }

    /// It is no more under way.
    fn end(&mut self, stage: Stage) {
        if self.stage == stage {
            self.stage = Stage::Idle;
        }
    }

    /// The time: the server chooses a start. (C2)
    fn on_time(&mut self, answer: &Answer, cx: &mut impl Context<Self>) {
        if self.stage != Stage::Time {
            return;
        }
        let Answer::Time(now) = answer else { return self.pause(cx) };
        let step = step(self.doublings);
        let next = Start(self.last.0 / step.0 * step.0 + step.0);
        // Half a step, so that after one start comes the next: with a whole one, two halves of the
        // group could take turns for ever.
        let lead = Span(step.0 / 2);
        let start = Start::on_grid(*now, lead, step).max(next);
        if start > Start::after(*now, step.times(AHEAD_MAX)) {
            return self.pause(cx);
        }
        if self.last != Start::default() {
            cx.send(Target::Others, Message::Again { lock: self.lock });
        }
        self.last = start;
        cx.persist(Record::Attempt(start));
        let Some(digest) = self.preference(start) else { return };
        self.enter(start, Phase::First, digest, cx);
    }

    /// What this server proposes. (C3)
    fn preference(&self, start: Start) -> Option<Digest> {
        if let Some(lock) = &canary!("simple-forgets-its-lock", None, self.lock) {
            return lock.value();
        }
        if let Some((_, hint)) = self.hint {
            return Some(hint); // Known or not: an honest server accepted it.
        }
        let own = self.inputs.get(&self.me).copied();
        if !self.is_mixed {
            return own;
        }
        // Whoever takes part at this start gives the turn to the same.
        let turn = start.0 / Span::from_millis(STEP_MS).0;
        let n = self.parties(u32::MAX).len() as u64;
        let told = self.inputs.get(&Party::new(mixed(turn, n)));
        told.copied().filter(|digest| self.accepts(*digest)).or(own)
    }

    fn enter(&mut self, start: Start, phase: Phase, digest: Digest, cx: &mut impl Context<Self>) {
        self.stage = Stage::In(start, phase);
        let (question, at) = self.question(cx.scope(), start, phase);
        cx.consult(Ticket::Propose(start, phase), question.propose(at, Some(digest)));
    }

    /// The component takes part, or does not: others may have, and it may know.
    fn on_taken(
        &mut self,
        start: Start,
        phase: Phase,
        answer: &Answer,
        cx: &mut impl Context<Self>,
    ) {
        if self.stage != Stage::In(start, phase) {
            return;
        }
        match answer {
            Answer::Tag(_) | Answer::Refused(Refusal::TooLate) => {
                let (question, at) = self.question(cx.scope(), start, phase);
                cx.consult(Ticket::Decide(start, phase), question.decide(at));
            }
            // Its component has another life: only others can tell it something.
            Answer::Refused(Refusal::NotMember) => {}
            _ => self.pause(cx),
        }
    }

    /// What the component says of an agreement. (C4, C5, C6)
    fn on_told(
        &mut self,
        start: Start,
        phase: Phase,
        answer: &Answer,
        cx: &mut impl Context<Self>,
    ) {
        if self.stage != Stage::In(start, phase) {
            return;
        }
        match answer {
            Answer::Decided(sealed) => {
                self.stage = Stage::Idle;
                let (question, at) = self.question(cx.scope(), start, phase);
                let proof = question.told(self.me, at, *sealed);
                self.doublings += 1;
                match (proof, phase) {
                    (Some(proof), Phase::First) => self.on_first(start, proof, cx),
                    (Some(proof), Phase::Second) => self.on_second(start, proof, cx),
                    (None, _) => {}
                }
            }
            Answer::Timeout | Answer::Refused(Refusal::Unknown) => {
                self.stage = Stage::Idle;
                self.doublings += 1;
            }
            _ => self.pause(cx),
        }
    }

    /// What the first agreement of an attempt decided. (C3, C4)
    fn on_first(&mut self, start: Start, proof: Proof, cx: &mut impl Context<Self>) {
        let Some(digest) = proof.value() else { return };
        let structure = cx.group().structure();
        let proposers = self.parties(proof.decision().proposed_value);
        let any = self.parties(proof.decision().proposed_any);
        let (by_quorum, by_honest) =
            (structure.is_quorum(proposers), structure.has_honest(proposers));
        let is_mixed = structure.is_quorum(any);
        if canary!("simple-locks-on-few", by_honest, by_quorum) {
            self.lock_on(proof, cx);
            // A later lock is on the same, if this is going to be decided.
            self.enter(start, Phase::Second, digest, cx);
        } else if by_honest {
            if self.hint.is_none_or(|(known, _)| known < start) {
                self.hint = Some((start, digest));
            }
        } else {
            self.is_mixed |= is_mixed;
        }
    }

    /// What the second agreement of an attempt decided. (C5)
    fn on_second(&mut self, start: Start, proof: Proof, cx: &mut impl Context<Self>) {
        if let Some(digest) = proof.value()
            && self.is_by_quorum(&proof, cx)
        {
            self.decide(digest, Decision { start, proof }, cx);
        }
    }

    /// The component has no time now.
    fn pause(&mut self, cx: &mut impl Context<Self>) {
        self.stage = Stage::Time;
        let call = Box::new(Call::Watch { within: step(self.doublings) });
        cx.consult(Ticket::Watch, Work::Trusted(call));
    }

    fn on_watch(&mut self, answer: &Answer, cx: &mut impl Context<Self>) {
        match answer {
            Answer::Begun(handle) => {
                let call = Box::new(Call::Await(*handle));
                cx.consult(Ticket::Late, Work::Trusted(call));
            }
            _ => {
                self.end(Stage::Time);
                self.stalled = true;
            }
        }
    }
}

/// How many steps ahead of the time an attempt may start: those that are over before their start,
/// since all took part, must not run away from the time.
const AHEAD_MAX: u64 = 4;

/// Turns that no step between starts, whatever its factors, gives always to the same server.
fn mixed(turn: u64, n: u64) -> usize {
    let digest = Digest::of_encoded("maftia simple turn", &turn);
    (digest.short() % n) as usize
}
