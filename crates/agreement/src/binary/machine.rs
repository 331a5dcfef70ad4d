//! The state machine of binary agreement.

use super::message::statement;
use super::{
    BinaryAgreement, Checked, CoinSlot, Command, Decision, Done, FIXED_COINS, Message, Outcome,
    ROUNDS_MAX, Record, Round, RoundState, Ticket,
};
use crate::coin::{self, CommonCoin};
use maftia_base::canary;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::{Context, Event, Fault, FaultKind, Party, PartySet, Protocol, Target};
use maftia_crypto::{self as crypto, Certificate, Claim, Signed, Suite, Work};
use std::marker::PhantomData;

impl<S: Suite> Vocabulary for BinaryAgreement<S> {
    const NAME: &'static str = "binary";
    type Command = Command;
    type Outcome = Outcome<S>;
    type Message = Message<S>;
    type Timer = Never;
    type Ticket = Ticket;
    type Work = Work<S>;
    type Done = crypto::Done<S>;
    type Record = Record<S>;
}

impl<S: Suite> Protocol for BinaryAgreement<S> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(Command::Propose(bit)) => self.on_propose(bit, cx),
            Event::Message { from, body } => self.on_message(from, body, cx),
            Event::Done { ticket, done } => self.on_done_work(ticket, done, cx),
            Event::Restore(record) => self.on_restore(record, cx),
            Event::Resumed => self.on_resumed(cx),
            Event::Reconnected(peer) => self.on_reconnected(peer, cx),
            Event::Timer(never) => match never {},
        }
    }

    /// True once it has halted and its DONE is out. It still answers reconnections for as long as
    /// it is kept.
    fn is_settled(&self) -> bool {
        self.is_halted() && self.own.is_some()
    }

    fn footprint(&self) -> usize {
        let of_round = |round: &RoundState<CommonCoin<S>>| round.items() + round.coin.footprint();
        self.rounds.values().map(of_round).sum::<usize>()
            + self.claims.len()
            + self.accusations.len()
    }
}

impl<S: Suite> BinaryAgreement<S> {
    fn is_halted(&self) -> bool {
        self.decision.is_some()
    }

    fn on_propose(&mut self, bit: bool, cx: &mut impl Context<Self>) {
        if self.current.is_none() && !self.is_halted() {
            self.enter(Round(0), bit, cx);
        }
    }

    fn on_message(&mut self, from: Party, body: Message<S>, cx: &mut impl Context<Self>) {
        if self.is_halted() {
            return;
        }
        let round = match &body {
            Message::Val(round, _) | Message::Echo(round, _) | Message::Vote(round, _) => *round,
            // The coins of the first rounds are fixed: no honest server tosses them.
            Message::Coin(round, _) if round.0 >= FIXED_COINS => *round,
            Message::Coin(..) => return malformed(from, cx),
            Message::Done(..) => Round(0),
        };
        if canary!("binary-round-unchecked", false, round.0 >= ROUNDS_MAX) {
            return malformed(from, cx);
        }
        let fits = match body {
            Message::Val(_, bit) => self.round(round).on_val(from, bit),
            Message::Echo(_, bit) => self.round(round).on_echo(from, bit),
            Message::Vote(_, vote) => self.round(round).on_vote(from, vote),
            Message::Coin(_, body) => {
                self.step_coin(round, Event::Message { from, body }, cx);
                return self.try_advance(cx);
            }
            Message::Done(bit, signature) => return self.on_done(from, bit, signature, cx),
        };
        if !fits {
            cx.blame(Fault::suspected(from, FaultKind::Equivocation));
        }
        self.drive(round, cx);
        self.try_advance(cx);
    }

    /// R1.
    fn enter(&mut self, round: Round, estimate: bool, cx: &mut impl Context<Self>) {
        self.current = Some(round);
        self.round(round).estimate = Some(estimate);
        cx.persist(Record::Entered(round, estimate));
        self.send_val(round, estimate, cx);
        canary!("binary-tosses-early", self.coin_of(round, cx));
        self.drive(round, cx);
    }

    /// R2 to R5 in a round that was entered, be it the present one or an earlier one.
    fn drive(&mut self, number: Round, cx: &mut impl Context<Self>) {
        let Some(round) = self.rounds.get(&number).filter(|round| round.estimate.is_some()) else {
            return;
        };
        let structure = cx.group().structure();
        let support = round.support_due(structure);
        let (echo, vote) = (round.echo_due(structure), round.vote_due(structure));
        let result = round.result_due(structure);
        if let Some(bit) = support {
            let record = Record::Supported(number, bit);
            canary!("binary-support-not-durable", drop(record), cx.persist(record));
            self.send_val(number, bit, cx);
        }
        let round = self.round(number);
        if let Some(bit) = echo {
            round.echoed = Some(bit);
            let record = Record::Echoed(number, bit);
            canary!("binary-echo-not-durable", cx.note(record), cx.persist(record));
            cx.send(Target::All, Message::Echo(number, bit));
        }
        if let Some(vote) = vote {
            round.voted = Some(vote);
            let record = Record::Voted(number, vote);
            canary!("binary-vote-not-durable", cx.note(record), cx.persist(record));
            cx.send(Target::All, Message::Vote(number, vote));
        }
        round.result = round.result.or(result);
    }

    /// R6 and R7, for as many rounds as what is known allows.
    fn try_advance(&mut self, cx: &mut impl Context<Self>) {
        while let Some(number) = self.current
            && !self.is_halted()
            && let Some(result) = self.round(number).result
        {
            let Some(coin) = self.coin_of(number, cx) else {
                return;
            };
            if canary!("binary-decides-without-coin", result.is_some(), result == Some(coin)) {
                self.decide(coin, cx);
            }
            let next = Round(number.0 + 1);
            if next.0 >= ROUNDS_MAX {
                return;
            }
            let estimate = canary!("binary-ignores-result", coin, result.unwrap_or(coin));
            self.enter(next, estimate, cx);
        }
    }

    /// The coin of a round whose result is known; tossed if nobody here did.
    fn coin_of(&mut self, number: Round, cx: &mut impl Context<Self>) -> Option<bool> {
        if number.0 < FIXED_COINS {
            return Some(number.0 == 0);
        }
        if self.round(number).coin_value.is_none() {
            self.step_coin(number, Event::Command(coin::Command::Toss), cx);
        }
        self.round(number).coin_value
    }

    /// R8, both halves.
    fn decide(&mut self, bit: bool, cx: &mut impl Context<Self>) {
        if self.decided.is_some() {
            return;
        }
        self.decided = Some(bit);
        cx.persist(Record::Decided(bit));
        cx.output(Outcome::Decided(bit));
        self.sign_done(cx);
    }

    fn on_done(
        &mut self,
        from: Party,
        bit: bool,
        signature: S::Signature,
        cx: &mut impl Context<Self>,
    ) {
        let claim = Claim { party: from, statement: statement(cx.scope(), bit), signature };
        if self.dones.insert(from, bit).is_err() {
            let first = self.claims[&from].claim.clone();
            if let Some(work) = self.accusations.accuse(first, claim) {
                cx.offload(Ticket::Accusation(from), work);
            }
            return;
        }
        self.claims.entry(from).or_insert(Done { claim, checked: Checked::No });
        let honest = cx.group().structure().has_honest(self.dones.supporters(bit));
        if canary!("binary-believes-one-done", true, honest) {
            self.decide(bit, cx);
        }
        self.try_verify(cx);
    }

    /// R9, first half.
    fn try_verify(&mut self, cx: &mut impl Context<Self>) {
        let Some(bit) = self.decided else {
            return;
        };
        let done = self.dones.supporters(bit);
        let structure = cx.group().structure();
        let enough = canary!(
            "binary-halts-on-few",
            structure.has_honest(done),
            structure.has_honest_quorum(done)
        );
        if self.is_halted() || !enough {
            return;
        }
        let mut parties = PartySet::EMPTY;
        let mut claims = Vec::new();
        for party in done.iter() {
            let done = self.claims.get_mut(&party).expect("each vote counted has its claim");
            if done.checked == Checked::No {
                done.checked = Checked::Now;
                parties.insert(party);
                claims.push(done.claim.clone());
            }
        }
        if !parties.is_empty() {
            cx.offload(Ticket::Verify(parties), Work::Verify(claims));
        }
    }

    /// R9, second half.
    fn on_verified(&mut self, parties: PartySet, verdicts: &[bool], cx: &mut impl Context<Self>) {
        for (party, holds) in parties.iter().zip(verdicts) {
            let done = self.claims.get_mut(&party);
            let done = done.expect("claims are kept until halting, and work ends with it");
            done.checked = if *holds { Checked::Good } else { Checked::Bad };
            if !holds {
                cx.blame(Fault::suspected(party, FaultKind::BadSignature));
            }
        }
        let bit = self.decided.expect("DONE is verified after deciding");
        let mut voters = PartySet::EMPTY;
        let mut votes = Vec::new();
        for party in self.dones.supporters(bit).iter() {
            let done = &self.claims[&party];
            if done.checked == Checked::Good && !cx.group().structure().has_honest(voters) {
                voters.insert(party);
                let Claim { statement, signature, .. } = done.claim.clone();
                votes.push((party, Signed { statement, signature }));
            }
        }
        if cx.group().structure().has_honest(voters) {
            let decision = Decision { value: bit, certificate: Certificate::new(votes) };
            cx.note(Record::Certified(decision.clone()));
            cx.output(Outcome::Certified(decision.clone()));
            self.halt(decision);
        }
    }

    /// Nobody needs our rounds any more: the DONE of honest servers suffices for everyone.
    fn halt(&mut self, decision: Decision<S>) {
        self.decided = Some(decision.value);
        self.decision = Some(decision);
        self.rounds.clear();
        self.claims.clear();
    }

    fn on_done_work(&mut self, ticket: Ticket, done: crypto::Done<S>, cx: &mut impl Context<Self>) {
        match (ticket, done) {
            (Ticket::Sign, crypto::Done::Signed(signed)) => {
                self.own = Some(signed.signature);
                self.emit_done(Target::All, cx);
            }
            (Ticket::Accusation(party), done) => {
                if let Some(fault) = self.accusations.judge(party, &done) {
                    cx.blame(fault);
                }
            }
            // Halting drops all else.
            _ if self.is_halted() => {}
            (Ticket::Verify(parties), crypto::Done::Verified(verdicts)) => {
                self.on_verified(parties, &verdicts, cx);
            }
            (Ticket::Coin(number, ticket), done) => {
                self.step_coin(number, Event::Done { ticket, done }, cx);
                self.try_advance(cx);
            }
            (ticket, done) => panic!("the worker answered {ticket:?} with {done:?}"),
        }
    }

    fn on_restore(&mut self, record: Record<S>, cx: &mut impl Context<Self>) {
        match record {
            Record::Entered(number, estimate) => {
                self.current = self.current.max(Some(number));
                let round = self.round(number);
                round.estimate = Some(estimate);
                round.supported[usize::from(estimate)] = true;
            }
            Record::Supported(number, bit) => {
                self.round(number).supported[usize::from(bit)] = true;
            }
            Record::Echoed(number, bit) => self.round(number).echoed = Some(bit),
            Record::Voted(number, vote) => self.round(number).voted = Some(vote),
            Record::Coin(number, record) => self.step_coin(number, Event::Restore(record), cx),
            Record::Decided(bit) => {
                self.decided = Some(bit);
                cx.output(Outcome::Decided(bit));
            }
            Record::Certified(decision) => {
                self.halt(decision.clone());
                cx.output(Outcome::Certified(decision));
            }
        }
    }

    fn on_resumed(&mut self, cx: &mut impl Context<Self>) {
        if self.decided.is_some() {
            self.sign_done(cx);
        }
        self.emit_rounds(Target::All, cx);
        for number in self.coins() {
            self.step_coin(number, Event::Resumed, cx);
        }
    }

    /// R10.
    fn on_reconnected(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        self.emit_done(Target::One(peer), cx);
        let forgets = canary!("binary-deaf-to-reconnection", true, false);
        if !forgets {
            self.emit_rounds(Target::One(peer), cx);
        }
        for number in self.coins() {
            self.step_coin(number, Event::Reconnected(peer), cx);
        }
    }

    /// The rounds whose coins may have something to say.
    fn coins(&self) -> Vec<Round> {
        self.rounds.keys().filter(|number| number.0 >= FIXED_COINS).copied().collect()
    }

    fn emit_rounds(&self, to: Target, cx: &mut impl Context<Self>) {
        for (number, round) in &self.rounds {
            for bit in [false, true] {
                if round.supported[usize::from(bit)] {
                    cx.send(to, Message::Val(*number, bit));
                }
            }
            if let Some(bit) = round.echoed {
                cx.send(to, Message::Echo(*number, bit));
            }
            if let Some(vote) = round.voted {
                cx.send(to, Message::Vote(*number, vote));
            }
        }
    }

    fn emit_done(&self, to: Target, cx: &mut impl Context<Self>) {
        if let (Some(bit), Some(signature)) = (self.decided, &self.own) {
            cx.send(to, Message::Done(bit, signature.clone()));
        }
    }

    fn send_val(&mut self, number: Round, bit: bool, cx: &mut impl Context<Self>) {
        let supported = &mut self.round(number).supported[usize::from(bit)];
        if !std::mem::replace(supported, true) {
            cx.send(Target::All, Message::Val(number, bit));
        }
    }

    fn sign_done(&mut self, cx: &mut impl Context<Self>) {
        let bit = self.decided.expect("DONE follows a decision");
        cx.offload(Ticket::Sign, Work::Sign(statement(cx.scope(), bit)));
    }

    fn step_coin(
        &mut self,
        number: Round,
        event: Event<CommonCoin<S>>,
        cx: &mut impl Context<Self>,
    ) {
        let round = self.rounds.entry(number).or_default();
        for outcome in cx.step(CoinSlot(number, PhantomData), &mut round.coin, event) {
            let coin::Outcome::Tossed(value, _) = outcome;
            round.coin_value = Some(value.0[0] & 1 == 1);
        }
    }

    fn round(&mut self, number: Round) -> &mut RoundState<CommonCoin<S>> {
        assert!(number.0 < ROUNDS_MAX, "rounds are checked before they are used");
        self.rounds.entry(number).or_default()
    }
}

fn malformed<S: Suite>(from: Party, cx: &mut impl Context<BinaryAgreement<S>>) {
    cx.blame(Fault::suspected(from, FaultKind::Malformed));
}
