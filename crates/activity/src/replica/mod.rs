//! Services replicated on the group's total order.
//!
//! # Promise
//! - *Same state*: servers that delivered the same batches have the same state.
//! - *Exactly once*: a request takes effect at most once, whoever retries it wherever; and once if
//!   it reaches a correct server that goes on running, or that a retry follows.
//! - *Durable*: what was answered is still there after all servers restart: replies leave after
//!   the order that they follow from is durable at a quorum.
//! - *Agreed time*: as [`crate::batch_time`] says; wake-ups and outside work take effect only in
//!   order.
//! - *Unforgeable*: no server alone can make a client believe a reply.
//! - *Blame*: evidence against a server reaches every correct server.
//! - *Bounded*: the log can be cut again and again, and what is left is enough to restart, and to
//!   bring back whoever was away, is new, or lost everything but its keys.
//!
//! # Model
//! Any adversary structure with Q3; asynchronous; servers may crash and restart. Clients may be
//! corrupt, too.
//!
//! # Rules
//! - R1. A client's bundle is verified before it enters this server's lane; if its session knows
//!   all of it, it is answered from there and not ordered again; nor is it while it is there.
//! - R2. A batch of another lane is admitted if all its items decode and all clients' signatures
//!   in it verify. An honest owner's batch always is (R1), so one that is not is the owner's fault.
//! - R3. A front end's request gets a number that this server never uses again, across restarts.
//! - R4. Delivered batches are applied in order; while the log is replayed nobody is answered.
//! - R5. Every server answers the clients attached to it, with its signature on bundles of replies.
//! - R6. What the group is to sign is signed by all; the owner of the lane collects. Who is asked
//!   again for something that another server collected collects it, too.
//! - R7. Outside work is told to the driver until this server's result is ordered, and that it is
//!   over when it is; the next wake-up time whenever it changes.
//! - R8. Faults with evidence, found here or by the protocols below, become accusations.
//! - R9. At a mark: write the state to the log, and again whatever of the log the mark does not
//!   settle, and then that this is all: once that is durable, the log may begin at the mark. Have
//!   the mark certified. Once it is, the log may be cut at the last such mark before.
//! - R10. Told a certified mark that lies two or more ahead: fetch that state, write it to the log,
//!   go on from there. Whoever is less behind finds what is missing in the logs of the others, but
//!   for values (R15) of an epoch that has ended: then one mark ahead is enough.
//! - R11. A server that lost its log takes part in nothing but transfer, convictions and
//!   certificates, and asks to be admitted again (see [`Admission`](crate::Admission)). It goes on
//!   from the first certified state in which it is admitted with the number that it drew.
//!   In the hybrid configuration it asks with a new life of its trusted component.
//! - R16. A server that has its log, and whose trusted component lives another life than the group
//!   knows, asks to be admitted with that life. Meanwhile it can have nothing identified, and goes
//!   on as with a component that does not answer: it learns what is decided, and gives what others
//!   lack. If nobody can admit anybody, all thus come to hold what one of them held.
//! - R12. A server that finds that its state is not the certified one, that it has signed what is
//!   not in its log, or that its trusted component lives another life than the group knows, says so
//!   and does nothing more.
//! - R13. A client's large request is verified, both that the client signed and that this is what
//!   it signed; written to the log with its number; broadcast beside the order; and then referred
//!   to in this server's lane, in the order of the numbers. After a restart what was begun is
//!   referred to again. What is given up with an epoch is broadcast anew.
//! - R14. A batch of another lane that refers to values is admitted when they are here, hence
//!   sooner or later everywhere, and are what the clients signed; until then it waits.
//! - R15. What the order has told is applied when the values that it refers to are here; until then
//!   it waits, and all that comes after it, and the order goes on up to the next mark.
//! - R17. What a service wants signed for its state is collected by every server, and told in its
//!   lane, until that is ordered.
//! - R18. A question is answered out of this server's state alone, unless that is yet to be
//!   fetched. What the answer shows is durable here, perhaps not yet at a quorum.
//!
//! # Bounds
//! [`INTAKE_MAX`] items wait for their turn, [`FRONT_END_MAX`] requests of stock clients are open,
//! replies to [`ATTACHED_MAX`] clients are kept until signed; [`LARGE_WAITING_MAX`] large requests
//! wait for their broadcast; what waits for a value lies between two marks; see also the parts.

mod admission;
mod answer;
mod intake;
mod large;
mod recover;
mod refound;
mod slots;
mod tap;
mod vocabulary;

pub use answer::ATTACHED_MAX;
pub use intake::{FRONT_END_MAX, INTAKE_MAX};
pub use large::{LARGE_EACH_MAX, LARGE_WAITING_MAX};
pub use vocabulary::{
    Applied, ArchiveKey, Command, FrontEndReply, Halt, Message, Outcome, Record, Standing, Ticket,
};

use crate::state::{Effect, Ordered, State};
use crate::{
    Accusation, AgreedTime, Collectors, Convictions, ServerCommand, SigningCommand, SigningOutcome,
    StateMachine, TaskId, ThresholdSigning, Transfer, ValueId, Values, large_load,
};
use admission::Question;
use answer::Answers;
use intake::Intake;
use large::{Large, Pending};
use maftia_agreement::atomic::epochs;
use maftia_agreement::atomic::{Delivery, EpochChain, Weigh};
use maftia_agreement::checkpoint::Checkpoints;
use maftia_agreement::hybrid::Members;
use maftia_base::canary;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::wire::{Blob, Bytes};
use maftia_base::{Context, Epoch, Event, Party, Protocol, ServiceId, Target};
use maftia_crypto::{Done, KeyId, SigningInput, Suite, Work};
use recover::Recovery;
use slots::{ConvictionSlot, OrderSlot, SigningSlot};
use std::collections::BTreeSet;
use tap::Tap;

/// One server's part in running services on a group. See the module's documentation.
#[derive(Clone, Debug, Hash)]
pub struct Replica<S: Suite, M: StateMachine> {
    order: EpochChain<S>,
    signing: ThresholdSigning<S>,
    convictions: Convictions<S>,
    checkpoints: Checkpoints<S>,
    transfer: Transfer<S>,
    recovery: Recovery<S>,
    values: Values<S>,
    state: State<M>,
    /// The log has been replayed.
    live: bool,
    intake: Intake,
    large: Large,
    answers: Answers,
    told_tasks: BTreeSet<(ServiceId, TaskId)>,
    told_wake: Option<AgreedTime>,
    /// Positions of signatures for the state that stand in this server's lane, or soon will.
    told_signatures: BTreeSet<u64>,
    /// The last wake-up time that this server vouched for.
    vouched: Option<AgreedTime>,
}

impl<S: Suite, M: StateMachine> Vocabulary for Replica<S, M> {
    const NAME: &'static str = "replica";
    type Command = Command<S>;
    type Outcome = Outcome<S>;
    type Message = Message<S>;
    type Timer = Never;
    type Ticket = Ticket<S>;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Record<S>;
}

impl<S: Suite, M: StateMachine> Protocol for Replica<S, M> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        if self.is_halted() {
            return self.stay_halted(&event, cx);
        }
        let mut cx = Tap::new(cx);
        self.dispatch(event, &mut cx);
        self.wish(&mut cx);
        self.begin_large(&mut cx);
        self.submit_ready(&mut cx);
        self.sign_replies(&mut cx);
        self.accuse(&mut cx);
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        self.order.footprint()
            + self.signing.footprint()
            + self.convictions.footprint()
            + self.checkpoints.footprint()
            + self.transfer.footprint()
            + self.recovery.footprint()
            + self.intake.footprint()
            + self.values.footprint()
            + self.large.footprint()
            + self.answers.footprint()
    }

    fn capacity(&self) -> usize {
        let answers = FRONT_END_MAX.saturating_sub(self.intake.asked() + self.answers.awaiting());
        self.intake.room().min(answers)
    }
}

impl<S: Suite, M: StateMachine> Replica<S, M> {
    /// Runs `services`, which must be the same at all servers, from their initial states.
    pub fn new(services: impl IntoIterator<Item = (ServiceId, M)>) -> Self {
        Self {
            order: EpochChain::new().with_weigh(Weigh(large_load)),
            signing: ThresholdSigning::new(),
            convictions: Convictions::new(),
            checkpoints: Checkpoints::new(),
            transfer: Transfer::default(),
            recovery: Recovery::default(),
            values: Values::default(),
            state: State::new(services),
            live: false,
            intake: Intake::default(),
            large: Large::default(),
            answers: Answers::default(),
            told_tasks: BTreeSet::new(),
            told_wake: None,
            told_signatures: BTreeSet::new(),
            vouched: None,
        }
    }

    /// In the hybrid configuration, among these members, with the lives in which their trusted
    /// components began. Those of the present epoch follow from the log, or from a fetched state.
    #[must_use]
    pub fn with_members(mut self, members: Members) -> Self {
        self.state.set_members(members.clone());
        self.order = self.order.with_members(members);
        self.values = Values::hybrid();
        self
    }

    /// In the hybrid configuration, who the servers are before the wormhole in the present epoch.
    /// Changes when an epoch has ended: [`Outcome::EpochEnded`], [`Outcome::Installed`].
    pub fn members(&self) -> Option<&Members> {
        self.state.members()
    }

    /// Starts from a snapshot of the same services instead of their initial states; `None` if it is
    /// not one.
    pub fn with_snapshot(mut self, snapshot: Bytes) -> Option<Self> {
        self.state.restore(snapshot)?;
        Some(self)
    }

    /// Asks a service, out of this server's state. (R18)
    pub fn read(&self, service: ServiceId, question: &[u8]) -> Option<Bytes> {
        self.state.machine(service)?.read(question)
    }

    /// One of the services, as it is here now.
    pub fn machine(&self, service: ServiceId) -> Option<&M> {
        self.state.machine(service)
    }

    /// The agreed time here now.
    pub fn agreed_time(&self) -> AgreedTime {
        self.state.now()
    }

    /// How many requests the group has executed, as far as this server knows.
    pub fn position(&self) -> u64 {
        self.state.position()
    }

    /// The present epoch.
    pub fn epoch(&self) -> Epoch {
        self.order.epoch()
    }

    /// The replicated state as bytes: equal at servers that delivered the same batches.
    pub fn snapshot(&self) -> Bytes {
        self.state.snapshot()
    }

    /// All verified evidence.
    pub fn convictions(&self) -> impl Iterator<Item = &Accusation> {
        self.convictions.iter()
    }

    fn dispatch<C: Context<Self>>(&mut self, event: Event<Self>, cx: &mut Tap<'_, C>) {
        match event {
            Event::Command(command) => self.on_command(command, cx),
            Event::Message { from, body } => self.on_message(from, body, cx),
            Event::Done { ticket, done } => self.on_done(ticket, done, cx),
            Event::Restore(record) => self.on_restore(record, cx),
            Event::Resumed => self.on_resumed(cx),
            Event::Reconnected(peer) => self.on_reconnected(peer, cx),
            Event::Timer(never) => match never {},
        }
    }

    fn on_message<C: Context<Self>>(
        &mut self,
        from: Party,
        message: Message<S>,
        cx: &mut Tap<'_, C>,
    ) {
        match message {
            // R11
            Message::Order(_) | Message::Signing(_) | Message::Value(_)
                if canary!("rejoin-takes-part-at-once", false, self.is_rejoining()) => {}
            Message::Order(body) => self.step_order(Event::Message { from, body }, cx),
            Message::Signing(body) => self.step_signing(Event::Message { from, body }, cx),
            Message::Accusation(body) => self.step_convictions(Event::Message { from, body }, cx),
            Message::Checkpoint(body) => self.step_checkpoints(Event::Message { from, body }, cx),
            Message::Transfer(body) => self.step_transfer(Event::Message { from, body }, cx),
            Message::Value(body) => self.step_values(Event::Message { from, body }, cx),
            Message::Rejoin(nonce) => self.on_rejoin(from, nonce, cx),
            Message::NewLife(life) => self.on_new_life(from, life, cx),
        }
    }

    fn on_restore<C: Context<Self>>(&mut self, record: Record<S>, cx: &mut Tap<'_, C>) {
        match record {
            Record::Order(record) => self.step_order(Event::Restore(record), cx),
            Record::Convicted(record) => self.step_convictions(Event::Restore(record), cx),
            Record::Checkpoint(record) => self.step_checkpoints(Event::Restore(record), cx),
            Record::Value(record) => self.step_values(Event::Restore(record), cx),
            Record::Large { number, bundle } => self.restore_large(number, bundle, cx),
            Record::Reserved(below) => self.intake.restore_reserved(below),
            Record::Begin(manifest) => self.restore_begin(manifest, cx),
            Record::Chunk { index, chunk, .. } => self.restore_chunk(index, chunk, cx),
            Record::Rejoining(nonce) => self.restore_question(Question::Number(nonce)),
            Record::NewLife(life) => self.restore_question(Question::Life(life)),
            Record::Halted(why) => self.halt(why, cx),
            Record::Begun(mark) => self.restore_begun(mark),
        }
    }

    fn on_reconnected<C: Context<Self>>(&mut self, peer: Party, cx: &mut Tap<'_, C>) {
        self.ask_to_be_admitted(Target::One(peer), cx);
        if self.is_rejoining() {
            self.ask_to_rejoin(Target::One(peer), cx);
        } else {
            self.step_order(Event::Reconnected(peer), cx);
            self.step_signing(Event::Reconnected(peer), cx);
            self.step_values(Event::Reconnected(peer), cx);
        }
        self.step_convictions(Event::Reconnected(peer), cx);
        self.step_checkpoints(Event::Reconnected(peer), cx);
        self.step_transfer(Event::Reconnected(peer), cx);
    }

    fn on_command<C: Context<Self>>(&mut self, command: Command<S>, cx: &mut Tap<'_, C>) {
        match command {
            Command::Bundle(bundle) => self.on_client_bundle(bundle, cx),
            Command::Large { bundle, value } => self.on_client_large(bundle, value, cx),
            Command::Attach(key) => self.answers.attach(key),
            Command::Detach(key) => self.answers.detach(key),
            Command::FrontEnd { id, service, request } => {
                self.on_stock_client(id, service, request, cx);
            }
            Command::Read { id, service, question } => {
                let is_here = !self.is_rejoining(); // R11
                let answer = is_here.then(|| self.read(service, &question)).flatten();
                cx.output(Outcome::Answer { id, answer });
            }
            Command::TaskResult { .. } | Command::WakeDue(_) | Command::ChangeEpoch
                if self.is_rejoining() => {} // R11
            Command::TaskResult { service, id, result } => {
                self.intake.task_result(service, id, result);
            }
            Command::WakeDue(passed) => self.on_wake_due(passed, cx),
            Command::Component(entity) => self.on_component(entity, cx),
            Command::OtherLife(life) => self.on_other_life(life, cx),
            Command::ChangeEpoch => {
                self.step_order(Event::Command(epochs::Command::ChangeEpoch), cx);
            }
            Command::Recalled { to, key: ArchiveKey::Snapshot(mark, piece), record } => {
                let record = record.map(|record| *record);
                self.on_piece_recalled(to, (mark, piece), record, cx);
            }
            Command::Recalled { to, key: ArchiveKey::Order(key), record } => {
                let record = record.and_then(|record| match *record {
                    Record::Order(record) => Some(Box::new(record)),
                    _ => None,
                });
                let recalled = epochs::Command::Recalled { to, key, record };
                self.step_order(Event::Command(recalled), cx);
            }
            Command::Evidence(fault) => self.step_convictions(Event::Command(fault), cx),
        }
    }

    fn on_done<C: Context<Self>>(&mut self, ticket: Ticket<S>, done: Done<S>, cx: &mut Tap<'_, C>) {
        match (ticket, done) {
            (Ticket::Order(ticket), done) => self.step_order(Event::Done { ticket, done }, cx),
            (Ticket::Signing(ticket), done) => self.step_signing(Event::Done { ticket, done }, cx),
            (Ticket::Conviction(ticket), done) => {
                self.step_convictions(Event::Done { ticket, done }, cx);
            }
            (Ticket::Checkpoint(ticket), done) => {
                self.step_checkpoints(Event::Done { ticket, done }, cx);
            }
            (Ticket::Inspect { lane, height, digest }, Done::Verified(verdicts)) => {
                self.on_inspected(lane, height, digest, &verdicts, cx);
            }
            (Ticket::NewLife(party), Done::Verified(verdicts)) => {
                self.on_life_checked(party, &verdicts, cx);
            }
            (Ticket::Value(ticket), done) => self.step_values(Event::Done { ticket, done }, cx),
            (Ticket::CheckLarge(number), Done::Verified(verdicts)) => {
                self.on_large_checked(number, &verdicts, cx);
            }
            (Ticket::EncodeLarge, Done::Encoded(encoded)) => self.on_large_encoded(encoded, cx),
            (Ticket::Check(number), Done::Verified(verdicts)) => {
                self.on_checked(number, &verdicts, cx);
            }
            (Ticket::Replies { key, number }, Done::Signed(signed)) => {
                if let Some(bundle) = self.answers.signed(key, number, signed) {
                    cx.output(Outcome::ClientReplies(bundle));
                }
            }
            (ticket, done) => panic!("{ticket:?} is not answered by {done:?}"),
        }
    }

    fn on_resumed<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        assert!(!self.live, "the log is replayed once");
        self.live = true;
        self.drop_incomplete();
        self.step_convictions(Event::Resumed, cx);
        self.step_checkpoints(Event::Resumed, cx);
        if self.is_rejoining() {
            self.ask_to_rejoin(Target::Others, cx);
            return self.fetch_if_behind(cx);
        }
        let me = cx.group().me();
        self.intake.skip_numbers(self.state.next_front_end_number(me));
        self.step_values(Event::Resumed, cx);
        self.refer_again(cx);
        self.step_order(Event::Resumed, cx);
        self.step_signing(Event::Resumed, cx);
        self.apply_pending(cx);
        self.cut_if_certified(cx);
        self.fetch_if_behind(cx);
        self.announce(cx);
    }

    fn step_order<C: Context<Self>>(&mut self, event: Event<EpochChain<S>>, cx: &mut Tap<'_, C>) {
        let told_before = self.large.told();
        for outcome in cx.step(OrderSlot, &mut self.order, event) {
            match outcome {
                epochs::Outcome::Inspect { lane, height, digest, items } => {
                    self.on_inspect(lane, height, digest, &items, cx);
                }
                epochs::Outcome::Delivered(delivery) => self.large.tell(Pending::Batch(delivery)),
                epochs::Outcome::EpochEnded { ended } => {
                    self.large.tell(Pending::EpochEnded(ended));
                }
                epochs::Outcome::Marked(_) => self.large.tell(Pending::Mark),
                epochs::Outcome::Forgot => self.halt(Halt::Forgot, cx),
                epochs::Outcome::OtherLife => self.halt(Halt::OtherLife, cx),
                epochs::Outcome::Recall { to, key } => {
                    cx.output(Outcome::Recall { to, key: ArchiveKey::Order(key) });
                }
            }
        }
        if self.large.told() > told_before {
            self.apply_pending(cx);
        }
    }

    fn step_signing<C: Context<Self>>(
        &mut self,
        event: Event<ThresholdSigning<S>>,
        cx: &mut Tap<'_, C>,
    ) {
        for outcome in cx.step(SigningSlot, &mut self.signing, event) {
            match outcome {
                SigningOutcome::Signed { position, signature } => {
                    self.tell_signature(position, &signature, cx.group().me());
                    self.on_signature(position, Some(signature), cx);
                }
                SigningOutcome::Unavailable { position } => self.on_signature(position, None, cx),
            }
        }
    }

    fn step_convictions<C: Context<Self>>(
        &mut self,
        event: Event<Convictions<S>>,
        cx: &mut Tap<'_, C>,
    ) {
        for fault in cx.step(ConvictionSlot, &mut self.convictions, event) {
            cx.output(Outcome::Convicted(fault));
        }
    }

    /// Turns the faults of this step into accusations. (R8)
    fn accuse<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        for fault in cx.take_faults() {
            self.step_convictions(Event::Command(fault), cx);
        }
    }

    /// Applies a batch and answers whom it concerns. (R4, R6)
    fn on_delivered<C: Context<Self>>(&mut self, delivery: Delivery, cx: &mut Tap<'_, C>) {
        let Delivery { epoch, round, lane, ref items, seed, .. } = delivery;
        let items: Vec<Bytes> = items.iter().map(|item| item.bytes().clone()).collect();
        let mut effects = Vec::new();
        let values = self.values_for(&delivery);
        let applied = values.keys().map(|number| ValueId { home: lane, number: *number }).collect();
        let floor = self.state.value_floors().get(&lane).copied();
        let group = cx.group().clone();
        let time = match self.order.is_hybrid() {
            true => delivery.sealed.map(|latest| AgreedTime(latest.0)),
            false => crate::batch_time(group.structure(), delivery.readings.iter().copied()),
        };
        if lane == group.me() {
            self.intake.arrived(&items);
        }
        let ordered = Ordered { lane, time, seed, items, values };
        let tally = self.state.apply(ordered, group.structure(), &mut effects);
        let (signs, answers): (Vec<_>, Vec<_>) =
            effects.into_iter().partition(|effect| sign_of(effect).is_some());
        if self.state.value_floors().get(&lane).copied() != floor {
            self.pass_values(applied, self.applied_mark().next(), cx);
        }
        let mine = lane == cx.group().me();
        if self.live {
            answers.into_iter().for_each(|answer| self.on_answer(answer, mine, cx));
        }
        for (position, key, input, collectors) in signs.iter().filter_map(sign_of) {
            let command = if self.live {
                SigningCommand::Sign { position, key, input, collectors }
            } else {
                SigningCommand::Remember { position, key, input }
            };
            self.step_signing(Event::Command(command), cx);
        }
        if self.live {
            self.collect_again(cx);
            self.announce(cx);
        }
        let (time, round) = (self.state.now(), round.0);
        let (executed, skipped) = (tally.executed, tally.skipped);
        cx.output(Outcome::Applied(Applied { epoch, round, lane, time, executed, skipped }));
    }

    fn on_epoch_ended<C: Context<Self>>(&mut self, ended: Epoch, cx: &mut Tap<'_, C>) {
        self.state.on_epoch_ended(Epoch(ended.0 + 1), cx.group().parties());
        self.pass_values(BTreeSet::new(), self.applied_mark().next(), cx);
        cx.output(Outcome::EpochEnded { ended });
    }

    /// Tells the driver what the services want of the outside. (R7)
    fn announce<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        let wanted = self.state.tasks_for(cx.group().me());
        let mut told = std::mem::take(&mut self.told_tasks);
        for (service, task) in wanted {
            self.told_tasks.insert((service, task.id));
            if !told.remove(&(service, task.id)) {
                cx.output(Outcome::Task { service, task });
            }
        }
        for (service, id) in told {
            cx.output(Outcome::TaskOver { service, id });
        }
        let wake = self.state.wake_at(cx.group().structure());
        if wake != self.told_wake {
            self.told_wake = wake;
            cx.output(Outcome::WakeAt(wake));
        }
        self.collect_for_state(cx);
    }

    /// Collects what the services want signed and this server has not told yet. (R17)
    fn collect_for_state<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        let wanted = self.state.signatures_wanted_of(cx.group().me());
        self.told_signatures.retain(|told| wanted.iter().any(|(.., position)| position == told));
        for (.., position) in wanted {
            if !self.told_signatures.contains(&position) && !self.signing.is_collecting(position) {
                self.step_signing(Event::Command(SigningCommand::Collect { position }), cx);
            }
        }
    }

    /// Tells a signature in this server's lane if it is for the state of a service. (R17)
    fn tell_signature(&mut self, position: u64, signature: &Bytes, me: Party) {
        let wanted = self.state.signatures_wanted_of(me);
        let Some((service, id, _)) = wanted.into_iter().find(|(.., at)| *at == position) else {
            return;
        };
        if self.told_signatures.insert(position) {
            let signature = Blob::new(signature.clone()).expect("signatures are bounded");
            self.intake.say(ServerCommand::Signed { service, id, signature });
        }
    }

    /// Vouches that the time at which a service wants to be woken has passed. (R7)
    fn on_wake_due<C: Context<Self>>(&mut self, passed: AgreedTime, cx: &mut Tap<'_, C>) {
        let due = self.state.wake_at(cx.group().structure()).filter(|at| *at <= passed);
        if let Some(at) = due
            && due != self.vouched
        {
            self.vouched = due;
            self.intake.wake(at);
        }
    }
}

/// What the group is to sign: at which position, under which key, what, and who wants it.
fn sign_of(effect: &Effect) -> Option<(u64, KeyId, SigningInput, Collectors)> {
    match effect {
        Effect::Sign { position, key, input, collector } => {
            Some((*position, *key, input.clone(), Collectors::One(*collector)))
        }
        Effect::SignForState { position, key, input } => {
            Some((*position, *key, input.clone(), Collectors::All))
        }
        Effect::Client { .. } | Effect::FrontEnd { .. } | Effect::Rejoin { .. } => None,
    }
}
