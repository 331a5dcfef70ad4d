//! The state of one instance, and where its events go.

use super::justification::Decision;
use super::message::{Enter, Message, Place, Prepare, Record, Step, View, identify};
use super::verify::{Checking, Kind, Ticket};
use super::{ASKED_MAX, Asked, Here, Justification, leader_of, proposal_of};
use crate::hybrid::Members;
use crate::hybrid::members::Cast;
use crate::multivalued::Command;
use crate::{Value, digest_of};
use maftia_base::canary;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::wire::List;
use maftia_base::{Context, Digest, Event, Party, PartySet, Protocol, Target};
use maftia_crypto::{Attested, Done, Suite, Work};
use maftia_ttcb_api::{Answer, EntityId, Identifier, Refusal};
use std::collections::{BTreeMap, BTreeSet};

/// What the layer above is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "values are larger than what is here")]
pub enum Outcome<V: Value> {
    /// Does this value satisfy the predicate? Answer with [`Command::Accept`] once it does.
    Validate {
        /// Who proposed it.
        from: Party,
        /// The value.
        value: V,
    },
    /// The group decided.
    Decided {
        /// What.
        value: V,
        /// That it did, for anyone to check.
        proof: Decision,
        /// 256 bits, the same at every server.
        seed: Digest,
    },
    /// This server's trusted component answers in another life than the group knows: nothing that
    /// it identifies counts, and this server says nothing more here. Told once.
    OtherLife,
}

/// What is to be identified, and is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Intent {
    pub(super) view: View,
    pub(super) step: Step,
    pub(super) proposal: Digest,
}

/// A vote.
#[derive(Clone, Debug, Hash)]
pub(super) struct Commit {
    pub(super) view: View,
    pub(super) proposal: Digest,
    identifier: Attested<Identifier>,
}

/// What this server proposes, until it is identified and afterwards.
type Proposing<V> = (View, V, View, Option<Attested<Identifier>>, Justification);

/// One instance of agreement in views.
#[derive(Clone, Debug, Hash)]
pub struct ViewAgreement<S: Suite, V: Value> {
    pub(super) me: Party,
    members: Members,
    place: Place,
    base: Party,
    live: bool,
    pub(super) input: Option<V>,
    /// The view that this server is in: it does nothing more in earlier ones.
    pub(super) view: View,
    /// The last view in which it proposed.
    pub(super) proposed: Option<View>,
    pub(super) proposing: Option<Proposing<V>>,
    /// What it last voted for.
    pub(super) vote: Option<Prepare<V>>,
    /// What is to be identified.
    intent: Option<Intent>,
    /// The trusted component contradicts the log: one of them has forgotten something.
    forgot: bool,
    /// Patience is over in this view.
    pub(super) is_over: bool,
    pub(super) own_entry: Option<Enter<V>>,
    /// Proposals that are justified, the latest of each leader.
    pub(super) prepares: BTreeMap<Party, Prepare<V>>,
    /// The last vote of each.
    pub(super) commits: BTreeMap<Party, Commit>,
    /// The last entry of each into a view that this server leads.
    pub(super) entered: BTreeMap<Party, Enter<V>>,
    pub(super) checking: BTreeMap<(Party, Kind), Checking<V>>,
    /// Who sent something of this kind that does not hold.
    pub(super) barred: BTreeSet<(Party, Kind)>,
    asked: BTreeMap<Digest, Asked<V>>,
    ages: u64,
    /// The view in which it waits.
    pub(super) waits_in: Option<View>,
    /// The trusted component had no place for that.
    pub(super) unwatched: bool,
    pub(super) verdict: Option<(V, Decision)>,
    /// Who was told the decision since it last reconnected.
    told: PartySet,
    /// Who was asked for which proposal that a quorum may have voted for.
    pub(super) wanted: BTreeMap<Digest, PartySet>,
    /// How often each was given a proposal that it asked for, since it last reconnected.
    pub(super) given: BTreeMap<Party, u8>,
    _suite: std::marker::PhantomData<S>,
}

impl<S: Suite, V: Value> Vocabulary for ViewAgreement<S, V> {
    const NAME: &'static str = "views";
    type Command = Command<V>;
    type Outcome = Outcome<V>;
    type Message = Message<V>;
    type Timer = Never;
    type Ticket = Ticket;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Record<V>;
}

impl<S: Suite, V: Value> Protocol for ViewAgreement<S, V> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(Command::Propose(value)) => {
                self.input.get_or_insert(value);
            }
            Event::Command(Command::Accept(digest)) => self.on_accept(digest),
            Event::Message { from, body } => self.on_message(from, body, cx),
            Event::Timer(never) => match never {},
            Event::Done { ticket, done } => self.on_done(ticket, done, cx),
            Event::Restore(record) => return self.on_restore(record, cx),
            Event::Resumed => self.on_resumed(cx),
            Event::Reconnected(peer) => self.resend(peer, cx),
        }
        if self.live {
            self.advance(cx);
        }
    }

    fn is_settled(&self) -> bool {
        self.verdict.is_some()
    }

    fn footprint(&self) -> usize {
        self.prepares.len()
            + self.commits.len()
            + self.entered.len()
            + self.checking.len() * 2
            + self.asked.len()
            + self.wanted.len()
            + self.given.len()
    }
}

impl<S: Suite, V: Value> ViewAgreement<S, V> {
    /// An instance of `me` in which nobody has proposed yet, under `base` as its first leader.
    pub fn new(me: Party, members: Members, place: Place, base: Party) -> Self {
        Self {
            me,
            members,
            place,
            base,
            live: false,
            input: None,
            view: View(0),
            proposed: None,
            proposing: None,
            vote: None,
            intent: None,
            forgot: false,
            is_over: false,
            own_entry: None,
            prepares: BTreeMap::new(),
            commits: BTreeMap::new(),
            entered: BTreeMap::new(),
            checking: BTreeMap::new(),
            barred: BTreeSet::new(),
            asked: BTreeMap::new(),
            ages: 0,
            waits_in: None,
            unwatched: false,
            verdict: None,
            told: PartySet::EMPTY,
            wanted: BTreeMap::new(),
            given: BTreeMap::new(),
            _suite: std::marker::PhantomData,
        }
    }

    /// The view that it is in.
    pub fn view(&self) -> View {
        self.view
    }

    /// Has the layer above given it a value to propose?
    pub fn has_input(&self) -> bool {
        self.input.is_some()
    }

    pub(super) fn leader(&self, view: View) -> Party {
        leader_of(view, self.base, self.members.n())
    }

    pub(super) fn here<'a>(&'a self, cx: &'a impl Context<Self>) -> Here<'a> {
        Here {
            scope: cx.scope(),
            place: self.place,
            members: &self.members,
            structure: cx.group().structure(),
            base: self.base,
        }
    }

    /// Takes every step whose guard holds.
    fn advance(&mut self, cx: &mut impl Context<Self>) {
        self.try_enter(cx);
        self.try_lead(cx);
        self.try_vote(cx);
        self.try_decide(cx);
        self.try_wait(cx);
    }

    fn on_message(&mut self, from: Party, message: Message<V>, cx: &mut impl Context<Self>) {
        if from == self.me || !cx.group().parties().contains(from) {
            return;
        }
        if self.verdict.is_some() {
            if !matches!(message, Message::Commit { .. } | Message::Decided { .. }) {
                self.tell_decision(from, cx); // V8
            }
            return;
        }
        if std::mem::take(&mut self.unwatched) {
            self.waits_in = None;
        }
        match message {
            Message::Input { value } => self.ask(from, &value, cx),
            Message::Ask { proposal } => self.on_ask(from, proposal, cx),
            message => self.receive(from, message, cx),
        }
    }

    fn on_done(&mut self, ticket: Ticket, done: Done<S>, cx: &mut impl Context<Self>) {
        match (ticket, done) {
            (Ticket::Check(from, kind), Done::Verified(verdicts)) => {
                self.on_checked(from, kind, &verdicts, cx);
            }
            (Ticket::Watch(view, stage), Done::Trusted(answer)) => {
                self.on_watch(view, stage, &answer, cx);
            }
            (Ticket::Late(view, stage), Done::Trusted(answer)) => {
                self.on_late(view, stage, &answer, cx);
            }
            (ticket, Done::Trusted(answer)) => self.on_answer(&ticket, &answer, cx),
            (ticket, done) => {
                panic!("workers answer with the kind of result: {ticket:?}, {done:?}")
            }
        }
    }

    /// The trusted component's answer to what was to be identified.
    fn on_answer(&mut self, ticket: &Ticket, answer: &Answer, cx: &mut impl Context<Self>) {
        let step = match ticket {
            Ticket::Prepare(view) => (*view, Step::Prepare),
            Ticket::Commit(view) => (*view, Step::Commit),
            Ticket::Enter(view) => (*view, Step::Enter),
            _ => return,
        };
        if self.intent.is_none_or(|intent| (intent.view, intent.step) != step) {
            return; // It was asked twice.
        }
        match answer {
            Answer::Identified(identifier) if self.is_of_other_life(identifier.said.entity) => {
                self.notice_other_life(cx);
            }
            Answer::Identified(identifier) => {
                let identifier = Attested(*identifier);
                cx.note(Record::Identified(identifier));
                if let Some((to, message)) = self.on_identified(identifier, cx)
                    && self.verdict.is_none()
                {
                    cx.send(to, message);
                }
            }
            // Its memory and the log do not fit together: this server says nothing more here.
            Answer::Refused(Refusal::Contradiction) => self.forgot = true,
            _ => {} // It has no time now: it is asked again.
        }
    }

    fn is_of_other_life(&self, entity: EntityId) -> bool {
        !canary!("views-other-life-unnoticed", true, self.members.is_present(self.me, entity))
    }

    /// The component has rebooted: what it identifies does not count.
    fn notice_other_life(&mut self, cx: &mut impl Context<Self>) {
        if !std::mem::replace(&mut self.forgot, true) {
            cx.output(Outcome::OtherLife);
        }
    }

    /// What was to be identified is: what is there to be said?
    fn on_identified(
        &mut self,
        identifier: Attested<Identifier>,
        cx: &impl Context<Self>,
    ) -> Option<(Target, Message<V>)> {
        let Intent { view, step, .. } = self.intent.take()?;
        match step {
            Step::Prepare => self.on_proposed(view, identifier),
            Step::Commit => self.on_voted(view, identifier),
            Step::Enter => self.on_entered(view, identifier, cx),
        }
    }

    /// May something be identified now? One at a time. (V2)
    pub(super) fn is_free(&self) -> bool {
        self.intent.is_none() && !self.forgot && self.verdict.is_none()
    }

    /// Has something identified that is written down. (V2)
    pub(super) fn intend(&mut self, intent: Intent, cx: &mut impl Context<Self>) {
        self.intent = Some(intent);
        self.consult(intent, cx);
    }

    /// Asks once more for what is not identified.
    pub(super) fn try_identify(&mut self, cx: &mut impl Context<Self>) {
        if let Some(intent) = self.intent {
            self.consult(intent, cx);
        }
    }

    fn consult(&self, intent: Intent, cx: &mut impl Context<Self>) {
        let Intent { view, step, proposal } = intent;
        let ticket = match step {
            Step::Enter => Ticket::Enter(view),
            Step::Prepare => Ticket::Prepare(view),
            Step::Commit => Ticket::Commit(view),
        };
        let call = identify(cx.scope(), self.place, view, step, proposal);
        cx.consult(ticket, Work::Trusted(Box::new(call)));
    }

    /// Handles what was checked and holds.
    pub(super) fn on_good(
        &mut self,
        from: Party,
        message: Message<V>,
        cx: &mut impl Context<Self>,
    ) {
        match message {
            Message::Prepare(prepare) => {
                let leader = self.leader(prepare.view);
                self.ask(from, &prepare.value, cx);
                let newer = |known: &Prepare<V>| known.view < prepare.view;
                if self.prepares.get(&leader).is_none_or(newer) {
                    self.prepares.insert(leader, prepare);
                }
            }
            Message::Commit { view, proposal, identifier } => {
                if self.commits.get(&from).is_none_or(|known| known.view < view) {
                    self.commits.insert(from, Commit { view, proposal, identifier });
                }
            }
            Message::Enter(enter) => {
                if let Some(vote) = &enter.vote {
                    self.ask(from, &vote.value, cx);
                }
                self.entered.insert(from, enter);
            }
            Message::Decided { value, decision } => self.decide(value, decision, cx),
            Message::Input { .. } | Message::Ask { .. } => {}
        }
    }

    /// Puts a value to the application, once.
    fn ask(&mut self, by: Party, value: &V, cx: &mut impl Context<Self>) {
        let digest = digest_of(value);
        if self.asked.contains_key(&digest) || self.verdict.is_some() {
            return;
        }
        let of_party = self.asked.iter().filter(|(_, asked)| asked.by == by);
        if of_party.clone().count() >= ASKED_MAX {
            let oldest = of_party.min_by_key(|(_, asked)| asked.age).map(|(digest, _)| *digest);
            oldest.map(|oldest| self.asked.remove(&oldest));
        }
        self.ages += 1;
        let asked = Asked { value: value.clone(), accepted: false, by, age: self.ages };
        self.asked.insert(digest, asked);
        cx.output(Outcome::Validate { from: by, value: value.clone() });
    }

    fn on_accept(&mut self, digest: Digest) {
        if let Some(asked) = self.asked.get_mut(&digest) {
            asked.accepted = true;
            // Whatever is acceptable is worth proposing.
            self.input.get_or_insert_with(|| asked.value.clone());
        }
    }

    pub(super) fn accepts(&self, value: &V) -> bool {
        self.input.as_ref() == Some(value)
            || self.asked.get(&digest_of(value)).is_some_and(|asked| asked.accepted)
    }

    /// Votes for the latest acceptable proposal, if it has not. (V3)
    fn try_vote(&mut self, cx: &mut impl Context<Self>) {
        if !self.is_free() {
            return;
        }
        let voted = self.vote.as_ref().map(|vote| vote.view);
        let fresh = self.prepares.values().filter(|prepare| {
            prepare.view >= self.view && voted.is_none_or(|voted| voted < prepare.view)
        });
        let fresh = fresh.filter(|prepare| self.leader(prepare.view) != self.me);
        let acceptable = fresh.filter(|prepare| self.accepts(&prepare.value));
        let Some(prepare) = acceptable.max_by_key(|prepare| prepare.view).cloned() else { return };
        let (view, proposal) = (prepare.view, proposal_of(&prepare));
        if view > self.view {
            (self.view, self.is_over) = (view, false);
        }
        cx.persist(Record::Votes(prepare.clone()));
        self.vote = Some(prepare);
        self.intend(Intent { view, step: Step::Commit, proposal }, cx);
    }

    /// This server's vote is identified. (V2)
    fn on_voted(
        &mut self,
        view: View,
        identifier: Attested<Identifier>,
    ) -> Option<(Target, Message<V>)> {
        let proposal = proposal_of(self.vote.as_ref().filter(|vote| vote.view == view)?);
        self.commits.insert(self.me, Commit { view, proposal, identifier });
        Some((Target::Others, Message::Commit { view, proposal, identifier }))
    }

    /// Decides, or asks for the proposal that a quorum voted for. (V4)
    fn try_decide(&mut self, cx: &mut impl Context<Self>) {
        if self.verdict.is_some() {
            return;
        }
        let candidates: BTreeSet<(View, Digest)> =
            self.commits.values().map(|commit| (commit.view, commit.proposal)).collect();
        let alone = self.prepares.values().map(|prepare| (prepare.view, proposal_of(prepare)));
        for (view, proposal) in candidates.into_iter().chain(alone.collect::<Vec<_>>()) {
            let is_for = |commit: &Commit| (commit.view, commit.proposal) == (view, proposal);
            let commits = self.commits.iter().filter(|(_, commit)| is_for(commit));
            let casts: Vec<Cast> = commits
                .map(|(party, commit)| Cast { party: *party, identifier: commit.identifier })
                .collect();
            let leader = self.leader(view);
            let mut voters: PartySet = casts.iter().map(|cast| cast.party).collect();
            voters.insert(leader);
            let enough = cx.group().structure().is_quorum(voters);
            if !canary!("views-decides-few", true, enough) {
                continue;
            }
            let known = self
                .prepares
                .get(&leader)
                .filter(|prepare| prepare.view == view && proposal_of(prepare) == proposal);
            let Some(prepare) = known.cloned() else {
                self.want(proposal, voters, cx);
                continue;
            };
            let Prepare { value, origin, first, identifier, .. } = prepare;
            let (first, commits) =
                (first.unwrap_or(identifier), List::new(casts).expect("one a party"));
            let decision = Decision { view, origin, first, prepare: identifier, commits };
            return self.decide(value, decision, cx);
        }
    }

    fn decide(&mut self, value: V, decision: Decision, cx: &mut impl Context<Self>) {
        if self.verdict.is_some() {
            return;
        }
        // Waited for: nobody who comes after the loss of all components can find out what was
        // decided, but from a log that says so.
        cx.persist(Record::Decided { value: value.clone(), decision: decision.clone() });
        self.settle(value, decision, cx);
    }

    fn settle(&mut self, value: V, decision: Decision, cx: &mut impl Context<Self>) {
        let seed = decision.seed();
        let proof = decision.clone();
        self.verdict = Some((value.clone(), decision));
        self.asked.clear();
        self.checking.clear();
        self.entered.clear();
        cx.output(Outcome::Decided { value, proof, seed });
    }

    fn tell_decision(&mut self, to: Party, cx: &mut impl Context<Self>) {
        if let Some((value, decision)) = self.verdict.clone()
            && self.told.insert(to)
        {
            cx.send(Target::One(to), Message::Decided { value, decision });
        }
    }

    fn on_restore(&mut self, record: Record<V>, cx: &mut impl Context<Self>) {
        match record {
            Record::Proposes { view, value, origin, first, justification } => {
                self.view = self.view.max(view);
                self.proposed = Some(view);
                let proposal = super::message::proposal_digest(origin, digest_of(&value));
                self.proposing = Some((view, value, origin, first, justification));
                self.intent = Some(Intent { view, step: Step::Prepare, proposal });
            }
            Record::Votes(prepare) => {
                let (view, proposal) = (prepare.view, proposal_of(&prepare));
                self.view = self.view.max(view);
                self.prepares.insert(self.leader(view), prepare.clone());
                self.vote = Some(prepare);
                self.intent = Some(Intent { view, step: Step::Commit, proposal });
            }
            Record::Enters(view) => {
                self.view = self.view.max(view);
                let proposal = Digest::default();
                self.intent = Some(Intent { view, step: Step::Enter, proposal });
            }
            Record::Identified(identifier) => drop(self.on_identified(identifier, cx)),
            Record::Decided { value, decision } => {
                if self.verdict.is_none() {
                    self.settle(value, decision, cx);
                }
            }
        }
    }

    /// What was written down last is identified, once more perhaps; what was said is said again.
    /// (V2)
    fn on_resumed(&mut self, cx: &mut impl Context<Self>) {
        self.live = true;
        if self.verdict.is_none() {
            canary!("views-forgets-intent", self.intent = None, self.try_identify(cx));
            cx.group().others().iter().for_each(|peer| self.resend(peer, cx));
        }
    }

    /// Says again what a peer may have lost.
    fn resend(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        if peer == self.me || !cx.group().parties().contains(peer) {
            return;
        }
        self.told.remove(peer);
        self.given.remove(&peer);
        self.wanted.values_mut().for_each(|asked| _ = asked.remove(peer));
        if self.verdict.is_some() {
            return self.tell_decision(peer, cx);
        }
        if let Some(prepare) = self.prepares.get(&self.me) {
            cx.send(Target::One(peer), Message::Prepare(prepare.clone()));
        }
        if let Some(Commit { view, proposal, identifier }) = self.commits.get(&self.me) {
            let (view, proposal, identifier) = (*view, *proposal, *identifier);
            cx.send(Target::One(peer), Message::Commit { view, proposal, identifier });
        }
        if let Some(enter) = self.own_entry.clone().filter(|enter| enter.view == self.view)
            && self.leader(enter.view) == peer
        {
            cx.send(Target::One(peer), Message::Enter(enter));
        }
        if let Some(value) = self.input.clone().filter(|_| self.view > View(0)) {
            cx.send(Target::One(peer), Message::Input { value });
        }
    }
}
