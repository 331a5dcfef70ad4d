//! The chain of epochs: atomic broadcast without end, in epochs that an ordered decision closes.
//!
//! # Promise
//! - *total order*: the deliveries of all epochs, one epoch after the other, are the same sequence
//!   at every honest server.
//! - *epoch agreement*: an epoch ends after the same round at every honest server, and only if an
//!   honest server wanted it to.
//! - *no loss*: an item that an honest server submitted and that its epoch did not order is
//!   submitted again in the next. Delivery across epochs is therefore at least once for the items
//!   of a server that restarts in between, and the layer above removes duplicates as it has to
//!   anyway when clients retry.
//! - *catch-up*: a server that was away through any number of epochs comes to deliver all of them,
//!   as long as its peers' logs have them; or the layer above installs a later mark.
//! - *marks*: all honest servers are told the same marks, each after the same delivery; and a
//!   server that is given the [`Frontier`] of a mark delivers from there on what the others do.
//!
//! # Model
//! As [`AtomicBroadcast`]. The members and their keys stay the same; everything signed in an epoch
//! is bound to it by the scope of that epoch's instance. In the hybrid configuration each epoch has
//! one life of each server's trusted component, the same at all servers if what the layer above
//! says is a function of the order; identifiers of other lives count for nothing in it.
//!
//! # Rules
//! - **E1** On `ChangeEpoch`, have the running instance put the wish into this server's lane.
//! - **E2** Count the lanes that delivered the wish in this epoch. When a round has been delivered
//!   completely and these lanes' owners pass `has_honest`, the epoch is over: nothing that later
//!   rounds of it decide counts.
//! - **E3** Start the next epoch with empty lanes. Submit again, in their order, this server's
//!   items that the old one did not deliver.
//! - **E4** A message of a later epoch means that its sender has all that is missing here: ask it.
//!   Nothing of that epoch is kept; it is asked for again when this server gets there.
//! - **E5** To a message of an earlier epoch answer with this server's epoch, and to questions in
//!   it with decided rounds and batches from the log.
//! - **E6** In the hybrid configuration an epoch begins here when the layer above says who its
//!   members are, which follows from all that was delivered before. Until then a message of it is
//!   handled as one of a later epoch (E4), and what the log has of it waits.
//! - **M1** When enough has been delivered since the last mark and a round is complete, and when an
//!   epoch has ended, there is a mark: tell it, and deliver nothing more for now.
//! - **M2** On `Continue`, write down again whatever of this server's log is not settled by the
//!   mark, and deliver on. A log may thus be cut at the place where the layer above wrote what it
//!   keeps of the mark, right before.
//! - **M3** On `Install` of a later mark than reached, take all that came before as delivered.
//!
//! # Bounds
//! One running instance, and for each peer the epoch it showed and a queue of recalls. After a
//! restart, what the log has of an epoch that has not begun.
//!
//! # Sources
//! Ours. That an epoch ends at a position of its own total order, and what it leaves undone moves
//! on, is how Cachin, Kursawe, Petzold and Shoup (2001) treat a closing channel.

use super::batch::{ArchiveKey, Delivery, Height, Item, Items, Round};
use super::fetch::Librarian;
use super::message;
use super::{AtomicBroadcast, Frontier, Weigh};
use crate::checkpoint::Mark;
use crate::hybrid::Members;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::wire::wire_struct;
use maftia_base::{Context, Digest, Epoch, Event, Party, PartySet, Protocol, Slot, Target};
use maftia_crypto::{Done, Suite, Work};
use std::collections::BTreeMap;

/// What the layer above asks for.
#[derive(Clone, Debug)]
pub enum Command<S: Suite> {
    /// Order this item; the parent has checked it as it checks those of others on
    /// [`Outcome::Inspect`].
    Submit(Item),
    /// The items of this batch of another lane are acceptable.
    Admit {
        /// In whose lane.
        lane: Party,
        /// At which height.
        height: Height,
        /// The batch's digest.
        digest: Digest,
    },
    /// These items must not be ordered; no honest server would have put them there.
    Refuse {
        /// In whose lane.
        lane: Party,
        /// At which height.
        height: Height,
        /// The batch's digest.
        digest: Digest,
    },
    /// This server wants the present epoch to end.
    ChangeEpoch,
    /// The layer above has kept what it needs of the mark of [`Outcome::Marked`]. Also during
    /// replay.
    Continue {
        /// How much is delivered until the next mark; the same at all servers. The unit is that of
        /// [`MARK_INTERVAL`](super::MARK_INTERVAL).
        interval: u64,
        /// The number of each lane's next [`Load`](super::Load), as of this mark.
        loads: BTreeMap<Party, u64>,
        /// In the hybrid configuration, who the members are in the epoch of this mark; `None` if
        /// they are those of the epoch before. (E6)
        members: Option<Members>,
    },
    /// The layer above has the state of this mark, which is certified or this server's own: take
    /// up the order from there. To be followed by [`Command::Continue`]. Also during replay.
    Install(Box<Frontier<S>>),
    /// The answer to [`Outcome::Recall`].
    Recalled {
        /// Who needs it.
        to: Party,
        /// What was asked for.
        key: ArchiveKey,
        /// What the log has under that key.
        record: Option<Box<Record<S>>>,
    },
}

/// What the layer above is told.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Are these items acceptable? The answer is [`Command::Admit`] or
    /// [`Command::Refuse`], at any later time or never;
    /// until then this server does not vote for the batch.
    Inspect {
        /// In whose lane.
        lane: Party,
        /// At which height.
        height: Height,
        /// The batch's digest.
        digest: Digest,
        /// What is to be inspected.
        items: Items,
    },
    /// The next batch of the total order.
    Delivered(Delivery),
    /// The epoch `ended` is over; everything delivered from now on is of the next one.
    EpochEnded {
        /// Which one.
        ended: Epoch,
    },
    /// This server has signed something that is not in its log: the log was lost in part, and the
    /// server must sign nothing more.
    Forgot,
    /// This server's trusted component answers in another life than the group knows: nothing that
    /// it identifies counts.
    OtherLife,
    /// A mark: everything before has been delivered, and nothing more is until
    /// [`Command::Continue`]. See [`EpochChain::frontier`].
    Marked(Mark),
    /// A peer needs what is no longer in memory: read the log, answer [`Command::Recalled`].
    Recall {
        /// Who needs it.
        to: Party,
        /// What.
        key: ArchiveKey,
    },
}

/// What peers exchange.
#[derive(Clone, Debug)]
pub struct Message<S: Suite> {
    /// Of which epoch it is.
    pub epoch: Epoch,
    /// A message of that epoch's instance.
    pub body: message::Message<S>,
}

wire_struct!(<S: Suite> Message<S> { epoch, body });

/// What must survive a crash.
#[derive(Clone, Debug, Hash)]
pub struct Record<S: Suite> {
    /// Of which epoch it is.
    pub epoch: Epoch,
    /// A record of that epoch's instance.
    pub body: message::Record<S>,
}

wire_struct!(<S: Suite> Record<S> { epoch, body });

impl<S: Suite> Record<S> {
    /// Under which name a peer may ask for it.
    pub fn archive_key(&self) -> Option<ArchiveKey> {
        self.body.archive_key(self.epoch)
    }
}

/// Names a piece of work.
#[derive(Clone, Debug)]
pub struct Ticket<S: Suite> {
    /// Of which epoch it is.
    pub epoch: Epoch,
    /// A ticket of that epoch's instance.
    pub body: message::Ticket<S>,
}

/// The chain of epochs of one group.
#[derive(Clone, Debug, Hash)]
pub struct EpochChain<S: Suite> {
    current: AtomicBroadcast<S>,
    live: bool,
    /// The last mark.
    mark: Mark,
    /// Lanes that delivered the wish to end this epoch. (E2)
    turned: PartySet,
    /// Peers seen in a later epoch. (E4)
    ahead: BTreeMap<Party, Epoch>,
    /// Peers in an earlier epoch that have been told of this one. (E5)
    told: PartySet,
    librarian: Librarian,
    /// The present epoch has not begun here, since its members are not known; what the log has of
    /// it and of later ones. (E6)
    opening: Option<Vec<Record<S>>>,
}

impl<S: Suite> Default for EpochChain<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// Where an epoch's instance sits.
#[derive(Clone, Copy, Debug)]
struct EpochSlot(Epoch);

impl<S: Suite> Slot<EpochChain<S>> for EpochSlot {
    type Child = AtomicBroadcast<S>;
    fn label(self) -> u64 {
        self.0.0
    }
    fn message(self, body: message::Message<S>) -> Message<S> {
        Message { epoch: self.0, body }
    }
    fn ticket(self, body: message::Ticket<S>) -> Ticket<S> {
        Ticket { epoch: self.0, body }
    }
    fn record(self, body: message::Record<S>) -> Record<S> {
        Record { epoch: self.0, body }
    }
}

impl<S: Suite> Vocabulary for EpochChain<S> {
    const NAME: &'static str = "epochs";
    type Command = Command<S>;
    type Outcome = Outcome;
    type Message = Message<S>;
    type Timer = Never;
    type Ticket = Ticket<S>;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Record<S>;
}

impl<S: Suite> Protocol for EpochChain<S> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(command) => self.on_command(command, cx),
            Event::Message { from, body } => self.on_message(from, body, cx),
            Event::Timer(never) => match never {},
            Event::Done { ticket, done } => {
                // Work of an ended epoch is of no use to anyone.
                if ticket.epoch == self.epoch() {
                    self.step(Event::Done { ticket: ticket.body, done }, cx);
                }
            }
            Event::Restore(record) => self.on_restore(record, cx),
            Event::Resumed => {
                self.live = true;
                if self.opening.is_none() {
                    self.step(Event::Resumed, cx);
                }
            }
            Event::Reconnected(peer) => {
                self.told.remove(peer);
                if self.opening.is_none() {
                    self.step(Event::Reconnected(peer), cx);
                }
            }
        }
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        self.current.footprint()
            + self.ahead.len()
            + self.told.len()
            + self.librarian.footprint()
            + self.opening.as_ref().map_or(0, Vec::len)
    }

    fn capacity(&self) -> usize {
        self.current.capacity()
    }
}

impl<S: Suite> EpochChain<S> {
    /// Begins with epoch 0.
    pub fn new() -> Self {
        Self {
            current: AtomicBroadcast::new(Epoch(0)),
            live: false,
            mark: Mark(0),
            turned: PartySet::EMPTY,
            ahead: BTreeMap::new(),
            told: PartySet::EMPTY,
            librarian: Librarian::default(),
            opening: None,
        }
    }

    /// The present epoch.
    pub fn epoch(&self) -> Epoch {
        self.current.epoch()
    }

    /// The last mark.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// The first round of the present epoch that is not decided here.
    pub fn round(&self) -> Round {
        self.current.round()
    }

    /// Where the order stands after what has been delivered here: at a mark, what is certified.
    pub fn frontier(&self) -> Frontier<S> {
        let (round, heads) = self.current.delivered();
        let (mark, epoch, turned) = (self.mark, self.epoch(), self.turned);
        let leaders = self.current.leaders();
        Frontier { mark, epoch, round, heads, turned, leaders }
    }

    /// Where the order would stand if the present epoch ended here.
    pub fn next_epoch(&self) -> Frontier<S> {
        let mut next = self.clone();
        next.begin(Epoch(self.epoch().0 + 1), Vec::new());
        Frontier { mark: self.mark.next(), ..next.frontier() }
    }

    /// In the hybrid configuration, among these members.
    #[must_use]
    pub fn with_members(mut self, members: Members) -> Self {
        self.current = self.current.with_members(members);
        self
    }

    /// Are there trusted components?
    pub fn is_hybrid(&self) -> bool {
        self.current.is_hybrid()
    }

    /// The first mark comes after this much, and no later one after less than is said then.
    #[must_use]
    pub fn with_interval(mut self, interval: u64) -> Self {
        self.current.set_interval(interval);
        self
    }

    /// What goes with items beside the order counts towards marks as they do.
    #[must_use]
    pub fn with_weigh(mut self, weigh: Weigh) -> Self {
        self.current.set_weigh(weigh);
        self
    }

    fn on_command(&mut self, command: Command<S>, cx: &mut impl Context<Self>) {
        let command = match command {
            Command::Continue { interval, loads, members } => {
                return self.on_continue(
                    message::Command::Continue { interval, loads },
                    members,
                    cx,
                );
            }
            Command::Install(frontier) => return self.on_install(*frontier, cx),
            Command::Submit(item) => message::Command::Submit(item),
            Command::Admit { lane, height, digest } => {
                message::Command::Admit { lane, height, digest }
            }
            Command::Refuse { lane, height, digest } => {
                message::Command::Refuse { lane, height, digest }
            }
            Command::ChangeEpoch => message::Command::Turn, // E1
            Command::Recalled { to, key, record } => {
                if key.epoch() != self.epoch() {
                    return self.on_recalled(to, key, record, cx);
                }
                let record = record.map(|record| Box::new(record.body));
                message::Command::Recalled { to, key, record }
            }
        };
        self.step(Event::Command(command), cx);
    }

    fn on_message(&mut self, from: Party, message: Message<S>, cx: &mut impl Context<Self>) {
        let Message { epoch, body } = message;
        if epoch == self.epoch() && self.opening.is_none() {
            self.step(Event::Message { from, body }, cx);
        } else if epoch >= self.epoch() {
            self.on_later(from, epoch, cx);
        } else if from != cx.group().me() {
            self.on_earlier(from, epoch, body, cx);
        }
    }

    /// Handles a message of an epoch that this server has not reached. (E4)
    fn on_later(&mut self, from: Party, epoch: Epoch, cx: &mut impl Context<Self>) {
        let seen = self.ahead.entry(from).or_insert(epoch);
        *seen = epoch.max(*seen);
        if self.opening.is_some() {
            return; // It is asked when the present epoch begins.
        }
        self.step(Event::Command(message::Command::Ahead(from)), cx);
    }

    /// Handles a message of an epoch that is over. (E5)
    fn on_earlier(
        &mut self,
        from: Party,
        epoch: Epoch,
        body: message::Message<S>,
        cx: &mut impl Context<Self>,
    ) {
        match body {
            message::Message::Want { lane, height, .. } => {
                let key = ArchiveKey::Batch { epoch, lane, height };
                self.recall(from, key, cx);
            }
            message::Message::Status { round } => {
                for step in 0..message::ROUNDS_PER_MESSAGE_MAX as u64 {
                    let round = Round(round.0.saturating_add(step));
                    self.recall(from, ArchiveKey::Round { epoch, round }, cx);
                }
            }
            _ => {}
        }
        if self.told.insert(from) {
            let body = message::Message::Status { round: self.round() };
            cx.send(Target::One(from), Message { epoch: self.epoch(), body });
        }
    }

    fn recall(&mut self, to: Party, key: ArchiveKey, cx: &mut impl Context<Self>) {
        if let Some(key) = self.librarian.ask(to, key) {
            cx.output(Outcome::Recall { to, key });
        }
    }

    fn on_recalled(
        &mut self,
        to: Party,
        key: ArchiveKey,
        record: Option<Box<Record<S>>>,
        cx: &mut impl Context<Self>,
    ) {
        if let Some(record) = record
            && let Some(body) = record.body.answer()
        {
            cx.send(Target::One(to), Message { epoch: key.epoch(), body });
        }
        if let Some(key) = self.librarian.answered(to, key) {
            cx.output(Outcome::Recall { to, key });
        }
    }

    /// Steps the running instance and passes on what it says.
    fn step(&mut self, event: Event<AtomicBroadcast<S>>, cx: &mut impl Context<Self>) {
        let slot = EpochSlot(self.epoch());
        let mut outcomes = cx.step(slot, &mut self.current, event).into_iter();
        while let Some(outcome) = outcomes.next() {
            match outcome {
                message::Outcome::Inspect { lane, height, digest, items } => {
                    cx.output(Outcome::Inspect { lane, height, digest, items });
                }
                message::Outcome::Recall { to, key } => cx.output(Outcome::Recall { to, key }),
                message::Outcome::Delivered(delivery) => {
                    if delivery.turn {
                        self.turned.insert(delivery.lane);
                    }
                    cx.output(Outcome::Delivered(delivery));
                }
                message::Outcome::Forgot => cx.output(Outcome::Forgot),
                message::Outcome::OtherLife => cx.output(Outcome::OtherLife),
                message::Outcome::Paused => {
                    self.mark = self.mark.next();
                    cx.output(Outcome::Marked(self.mark));
                }
                message::Outcome::RoundCompleted(_) => {
                    if cx.group().structure().has_honest(self.turned) {
                        return self.turn(outcomes, cx);
                    }
                }
            }
        }
    }

    /// Ends the epoch; `void` is what its last step said after the end. (E2, E3)
    fn turn(&mut self, void: impl Iterator<Item = message::Outcome>, cx: &mut impl Context<Self>) {
        let me = cx.group().me();
        let ended = self.epoch();
        let mut unordered = Vec::new();
        for outcome in void {
            match outcome {
                message::Outcome::Delivered(delivery) if delivery.lane == me => {
                    unordered.extend(delivery.items.iter().cloned());
                }
                // Questions of peers about the old epoch are still theirs.
                message::Outcome::Recall { to, key } => self.recall(to, key, cx),
                _ => {}
            }
        }
        unordered.extend(self.current.unordered(me));
        self.begin(Epoch(ended.0 + 1), unordered);
        self.mark = self.mark.next();
        cx.output(Outcome::EpochEnded { ended });
        cx.output(Outcome::Marked(self.mark));
        self.resume(cx);
    }

    /// Has the present instance make way for that of a later epoch.
    fn begin(&mut self, epoch: Epoch, unordered: Vec<Item>) {
        self.librarian.take_over(std::mem::take(&mut self.current.librarian));
        let members = self.current.members();
        self.current = AtomicBroadcast::paused(epoch, self.current.weigh(), members);
        self.current.preload(unordered);
        self.turned = PartySet::EMPTY;
        self.told = PartySet::EMPTY;
        if self.is_hybrid() {
            let mut held = self.opening.take().unwrap_or_default();
            held.retain(|record| record.epoch >= epoch);
            self.opening = Some(held);
        }
    }

    fn on_restore(&mut self, record: Record<S>, cx: &mut impl Context<Self>) {
        if let Some(held) = self.opening.as_mut().filter(|_| record.epoch >= self.current.epoch()) {
            held.push(record);
        } else if record.epoch == self.epoch() {
            self.step(Event::Restore(record.body), cx);
        }
    }

    /// Goes on after a mark, and begins the epoch if it has not. (E6, M2)
    fn on_continue(
        &mut self,
        command: message::Command<S>,
        members: Option<Members>,
        cx: &mut impl Context<Self>,
    ) {
        let Some(held) = self.opening.take() else {
            let same = members.is_none() || members == self.current.members();
            assert!(same, "the members change with the epoch only");
            return self.step(Event::Command(command), cx);
        };
        members.into_iter().for_each(|members| self.current.set_members(members));
        let (present, later): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|record| record.epoch == self.epoch());
        present.into_iter().for_each(|record| self.step(Event::Restore(record.body), cx));
        self.resume(cx);
        self.step(Event::Command(command), cx);
        later.into_iter().for_each(|record| self.on_restore(record, cx));
    }

    /// Starts a new instance, if its members are known, and asks those that are ahead of it.
    fn resume(&mut self, cx: &mut impl Context<Self>) {
        if !self.live || self.opening.is_some() {
            return;
        }
        self.step(Event::Resumed, cx);
        let epoch = self.epoch();
        let ahead = self.ahead.clone();
        self.ahead.retain(|_, seen| *seen > epoch);
        for (peer, seen) in ahead.into_iter().filter(|(_, seen)| *seen >= epoch) {
            self.step(Event::Reconnected(peer), cx);
            if seen > epoch {
                self.step(Event::Command(message::Command::Ahead(peer)), cx);
            }
        }
    }

    /// Takes up the order at a later mark than reached. (M3)
    fn on_install(&mut self, frontier: Frontier<S>, cx: &mut impl Context<Self>) {
        if frontier.mark <= self.mark {
            return;
        }
        let begins = frontier.epoch > self.epoch();
        if begins {
            let unordered = self.current.unordered(cx.group().me());
            self.begin(frontier.epoch, unordered);
        }
        (self.mark, self.turned) = (frontier.mark, frontier.turned);
        let install = message::Command::Install(frontier.round, frontier.leaders, frontier.heads);
        self.step(Event::Command(install), cx);
        if begins {
            self.resume(cx);
        }
    }
}
