//! The state of one epoch, and where its events go.

use super::agreement::{Hybrid, RoundAgreement};
use super::batch::{ArchiveKey, Head, Height, Item, Round};
use super::catch_up::Peers;
use super::fetch::{Librarian, Want};
use super::lane::Lane;
use super::marks::{Meter, Weigh};
use super::message::{Command, DecidedRound, Message, Outcome, Record, Ticket};
use super::order::Ordered;
use super::own::OwnLane;
use super::round::{Checking, Proposed};
use super::{ITEM_BYTES_MAX, MARK_INTERVAL, PENDING_BYTES_MAX, WINDOW};
use crate::hybrid::Members;
use maftia_base::canary;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::{Context, Digest, Epoch, Event, Party, Protocol, Target};
use maftia_crypto::{Done, Suite, Work};
use std::collections::{BTreeMap, VecDeque};

/// Atomic broadcast for one epoch; see the [module](super).
#[derive(Clone, Debug, Hash)]
pub struct AtomicBroadcast<S: Suite> {
    pub(super) epoch: Epoch,
    /// In the hybrid configuration, who the servers are there.
    pub(super) hybrid: Option<Hybrid>,
    /// False during replay of the log, when nothing may be emitted but outcomes.
    pub(super) live: bool,
    /// True if the log was not empty.
    pub(super) returned: bool,
    /// Something was certified with this server's signature that is not in its log.
    pub(super) forgot: bool,
    /// Its trusted component answers in another life than the group knows.
    pub(super) other_life: bool,
    pub(super) own: OwnLane<S>,
    pub(super) lanes: BTreeMap<Party, Lane<S>>,
    /// Heads under verification, by who sent them and whose lane they are of.
    pub(super) heads: BTreeMap<(Party, Party), Checked<S>>,

    /// The first round that is not decided.
    pub(super) round: Round,
    /// The agreements of that round and of the next.
    pub(super) agreements: BTreeMap<Round, RoundAgreement<S>>,
    /// What they have in the log.
    pub(super) agreed: BTreeMap<Round, Vec<<RoundAgreement<S> as Vocabulary>::Record>>,
    pub(super) proposed: bool,
    /// Values that peers proposed in these rounds and that are not accepted yet.
    pub(super) values: BTreeMap<(Round, Digest), Proposed<S>>,
    /// Decided rounds that wait for the one before.
    pub(super) ready: BTreeMap<Round, (DecidedRound<S>, Digest)>,

    /// Decided rounds that wait for their batches.
    pub(super) queue: VecDeque<Ordered<S>>,
    /// The first round that is not delivered.
    pub(super) completed: Round,
    pub(super) meter: Meter,
    pub(super) wants: BTreeMap<(Party, Height), Want>,
    pub(super) librarian: Librarian,

    /// The last decided rounds.
    pub(super) recent: BTreeMap<Round, DecidedRound<S>>,
    /// Rounds that peers say are decided, and who said so.
    pub(super) learned: BTreeMap<Round, (Party, DecidedRound<S>)>,
    pub(super) checking: Option<Checking<S>>,
    pub(super) peers: BTreeMap<Party, Peers>,
    /// A round was decided here by what others gave, and they have not been told.
    pub(super) skipped: bool,
}

/// A head under verification, and the newest that came after it.
#[derive(Clone, Debug, Hash)]
pub(super) struct Checked<S: Suite> {
    pub(super) now: Head<S>,
    pub(super) next: Option<Head<S>>,
}

impl<S: Suite> Vocabulary for AtomicBroadcast<S> {
    const NAME: &'static str = "atomic";
    type Command = Command<S>;
    type Outcome = Outcome;
    type Message = Message<S>;
    type Timer = Never;
    type Ticket = Ticket<S>;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Record<S>;
}

impl<S: Suite> Protocol for AtomicBroadcast<S> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(command) => self.on_command(command, cx),
            Event::Message { from, body } => {
                if std::mem::take(&mut self.own.unsealed) {
                    self.seal_outgoing(cx);
                }
                if cx.group().parties().contains(from) {
                    self.on_message(from, body, cx);
                }
            }
            Event::Timer(never) => match never {},
            Event::Done { ticket, done } => self.on_done(ticket, done, cx),
            Event::Restore(record) => self.on_restore(record, cx),
            Event::Resumed => self.on_resumed(cx),
            Event::Reconnected(peer) => self.on_reconnected(peer, cx),
        }
        self.advance(cx);
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        let agreements: usize = self.agreements.values().map(Protocol::footprint).sum();
        agreements
            + self.lanes.values().map(Lane::footprint).sum::<usize>()
            + self.heads.len()
            + self.values.len()
            + self.ready.len()
            + self.queue.len()
            + self.wants.len()
            + self.librarian.footprint()
            + self.recent.len()
            + self.learned.len()
            + self.peers.len()
    }

    /// Whole items of the largest size that still fit; asked again after each, it grows as the
    /// items turn out to be small.
    fn capacity(&self) -> usize {
        PENDING_BYTES_MAX.saturating_sub(self.own.pending_bytes) / ITEM_BYTES_MAX
    }
}

impl<S: Suite> AtomicBroadcast<S> {
    /// The instance for `epoch`.
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            hybrid: None,
            live: false,
            returned: false,
            forgot: false,
            other_life: false,
            own: OwnLane::default(),
            lanes: BTreeMap::new(),
            heads: BTreeMap::new(),
            round: Round(1),
            agreements: BTreeMap::new(),
            agreed: BTreeMap::new(),
            proposed: false,
            values: BTreeMap::new(),
            ready: BTreeMap::new(),
            queue: VecDeque::new(),
            completed: Round(1),
            meter: Meter::new(MARK_INTERVAL, Weigh::default(), BTreeMap::new()),
            wants: BTreeMap::new(),
            librarian: Librarian::default(),
            recent: BTreeMap::new(),
            learned: BTreeMap::new(),
            checking: None,
            peers: BTreeMap::new(),
            skipped: false,
        }
    }

    /// The same in the hybrid configuration, among these members.
    #[must_use]
    pub fn with_members(mut self, members: Members) -> Self {
        self.hybrid = Some(Hybrid::new(members));
        self
    }

    /// Are there trusted components?
    pub(super) fn is_hybrid(&self) -> bool {
        self.hybrid.is_some()
    }

    /// The members, in the hybrid configuration.
    pub(super) fn members(&self) -> Option<Members> {
        self.hybrid.as_ref().map(|hybrid| hybrid.members.clone())
    }

    /// Other lives have taken the place of the members' own, before anything was checked here.
    pub(super) fn set_members(&mut self, members: Members) {
        assert!(self.agreements.is_empty() && !self.live, "the epoch has not begun here");
        if let Some(hybrid) = &mut self.hybrid {
            hybrid.members = members;
        }
    }

    /// The epoch that it is for.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The first round that is not decided here.
    pub fn round(&self) -> Round {
        self.round
    }

    /// This server's items that are not delivered, in order.
    pub(super) fn unordered(&self, me: Party) -> Vec<Item> {
        let mut items = Vec::new();
        if let Some(lane) = self.lanes.get(&me) {
            for stored in lane.stored.range(lane.delivered.next()..).map(|(_, stored)| stored) {
                items.extend(stored.sealed.batch.items.iter().cloned());
            }
        }
        if let Some(outgoing) = self.own.outgoing.as_ref().filter(|own| own.vote.is_none()) {
            items.extend(outgoing.sealed.batch.items.iter().cloned());
        }
        items.extend(self.own.pending.iter().cloned());
        items
    }

    /// Takes over what an ended epoch left unordered, before the first event.
    pub(super) fn preload(&mut self, items: Vec<Item>) {
        items.into_iter().for_each(|item| self.own.push(item));
    }

    fn on_command(&mut self, command: Command<S>, cx: &mut impl Context<Self>) {
        match command {
            Command::Submit(item) => self.own.push(item),
            Command::Turn => self.own.turn = true,
            Command::Admit { lane, height, digest } => self.on_admit(lane, height, digest, cx),
            Command::Refuse { lane, height, digest } => self.on_refuse(lane, height, digest, cx),
            Command::Recalled { to, key, record } => self.on_recalled(to, key, record, cx),
            Command::Ahead(peer) => self.on_ahead(peer),
            Command::Install(round, leaders, heads) => {
                self.install((round, leaders), &heads, cx);
            }
            Command::Continue { interval, loads } => self.on_continue(interval, loads, cx),
        }
    }

    fn on_message(&mut self, from: Party, message: Message<S>, cx: &mut impl Context<Self>) {
        match message {
            Message::Batch { batch, vote, seal } => self.on_batch(from, batch, (vote, seal), cx),
            Message::Vote { height, digest, vote } => {
                self.on_vote(from, height, digest, vote, cx);
            }
            Message::Head(head) => self.on_head(from, head, cx),
            Message::Agree { round, message } => self.on_agree(from, round, message, cx),
            Message::Want { lane, height, digest } => {
                self.on_want(from, lane, height, digest, cx);
            }
            Message::Found { lane, batch, owner } => self.on_found(from, lane, batch, owner, cx),
            Message::Status { round } => self.on_status(from, round, cx),
            Message::Rounds(rounds) => self.on_rounds(from, rounds.into_vec(), cx),
        }
    }

    fn on_done(&mut self, ticket: Ticket<S>, done: Done<S>, cx: &mut impl Context<Self>) {
        match (ticket, done) {
            (Ticket::Own(height), Done::Signed(signed)) => self.on_own_signed(height, &signed, cx),
            (Ticket::Seal(height), Done::Trusted(answer)) => self.on_sealed(height, &answer, cx),
            (Ticket::Votes(height), Done::Verified(verdicts)) => {
                self.on_votes_verified(height, &verdicts, cx);
            }
            (Ticket::Batch { lane, digest }, Done::Verified(verdicts)) => {
                self.on_batch_verified(lane, digest, &verdicts, cx);
            }
            (Ticket::Vote { lane, digest }, Done::Signed(signed)) => {
                self.on_vote_signed(lane, digest, &signed, cx);
            }
            (Ticket::Conflict { lane, from }, Done::Verified(verdicts)) => {
                self.on_conflict_verified(lane, from, &verdicts, cx);
            }
            (Ticket::Head { from, lane }, Done::Verified(verdicts)) => {
                self.on_head_verified(from, lane, &verdicts, cx);
            }
            (Ticket::Value { round, digest }, Done::Verified(verdicts)) => {
                self.on_value_verified(round, digest, &verdicts, cx);
            }
            (Ticket::Decided { round, part }, done) => {
                self.on_decided_checked(round, part, done, cx)
            }
            (Ticket::Agree { round, ticket }, done) => self.on_agree_done(round, ticket, done, cx),
            (ticket, done) => unreachable_answer(&ticket, &done),
        }
    }

    /// Takes every step whose guard holds. During replay only deliveries are.
    pub(super) fn advance(&mut self, cx: &mut impl Context<Self>) {
        loop {
            let mut progress = self.try_decide(cx);
            progress |= self.try_deliver(cx);
            if self.live {
                progress |= self.try_consider(cx);
                progress |= self.try_cut(cx);
                progress |= self.try_propose(cx);
                progress |= self.try_learn(cx);
            }
            if !progress {
                break;
            }
        }
        if self.live {
            self.try_ask(cx);
        }
    }

    /// Emits again whatever is current. A server that never said anything says nothing now.
    fn on_resumed(&mut self, cx: &mut impl Context<Self>) {
        self.live = true;
        let rounds: Vec<Round> = self.agreements.keys().copied().collect();
        for round in rounds {
            self.step_agreement(round, Event::Resumed, cx);
        }
        self.check_values(cx);
        let resend = self.own.outgoing.as_ref().and_then(|outgoing| outgoing.message());
        self.seal_outgoing(cx);
        if let Some(message) = resend {
            cx.send(Target::Others, message);
            // A group of one has no other whose vote would bring the certificate.
            self.try_certify(cx);
        }
        if self.returned {
            for peer in cx.group().others().iter() {
                self.resend_lanes(peer, cx);
            }
            let others = cx.group().others();
            others.iter().for_each(|peer| self.tell(peer, cx));
        }
    }

    /// Sends again what a peer may have lost, and asks for what it may have tried to say.
    fn on_reconnected(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        if peer == cx.group().me() || !cx.group().parties().contains(peer) {
            return;
        }
        self.resend_lanes(peer, cx);
        canary!("atomic-asks-once", return);
        self.resend_wants(peer, cx);
        self.resend_agreements(peer, cx);
        self.tell(peer, cx);
    }

    fn on_recalled(
        &mut self,
        to: Party,
        key: ArchiveKey,
        record: Option<Box<Record<S>>>,
        cx: &mut impl Context<Self>,
    ) {
        if let Some(message) = record.and_then(|record| record.answer()) {
            cx.send(Target::One(to), message);
        }
        if let Some(key) = self.librarian.answered(to, key) {
            cx.output(Outcome::Recall { to, key });
        }
    }

    pub(super) fn lane(&mut self, lane: Party) -> &mut Lane<S> {
        self.lanes.entry(lane).or_default()
    }

    /// Up to which height a lane may run now: [`WINDOW`] beyond what is ordered, and beyond twice
    /// that nothing is held that has not been delivered here.
    pub(super) fn ceiling(&self, lane: Party) -> Height {
        let Some(lane) = self.lanes.get(&lane) else { return Height(WINDOW) };
        lane.decided_height().min(lane.delivered.plus(WINDOW)).plus(WINDOW)
    }

    /// The heads that would make the next round worth while.
    pub(super) fn grown(&self) -> Vec<Head<S>> {
        self.lanes.values().filter_map(|lane| lane.newest_head().cloned()).collect()
    }

    pub(super) fn is_known(&self, head: &Head<S>) -> bool {
        let Some(lane) = self.lanes.get(&head.lane) else { return false };
        lane.heads.get(&head.height) == Some(head) || lane.decided.as_ref() == Some(head)
    }
}

/// A worker answered with another kind of result than the work calls for.
fn unreachable_answer<S: Suite>(ticket: &Ticket<S>, done: &Done<S>) {
    panic!("workers answer each piece of work with its own kind of result: {ticket:?}, {done:?}");
}
