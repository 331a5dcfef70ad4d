//! Marks, certified states, cuts, transfers, rejoining: R9 to R11.

use super::admission::{Checking, Question};
use super::slots::{CheckpointSlot, TransferSlot};
use super::{ArchiveKey, FrontEndReply, Halt, Outcome, Record, Replica, Standing, Tap};
use crate::snapshot::Assembly;
use crate::{
    Chunk, Found, Manifest, Nonce, Piece, Refusal, SIGNATURES_MAX, ServerCommand, SigningCommand,
    StateMachine, Transfer, TransferCommand, TransferOutcome, ValuesCommand,
};
use maftia_agreement::atomic::{MARK_INTERVAL, epochs};
use maftia_agreement::checkpoint::{self, Checkpoint, Checkpoints, Mark};
use maftia_base::canary;
use maftia_base::wire::Bytes;
use maftia_base::{Context, Epoch, Event, Fault, FaultKind, Party, Target};
use maftia_crypto::{Attested, Suite};
use maftia_ttcb_api::BootKeys;
use std::collections::{BTreeMap, BTreeSet};

/// What a replica knows of its own recovery.
#[derive(Clone, Debug, Hash)]
pub(super) struct Recovery<S: Suite> {
    /// Least weight of what is delivered between two marks.
    interval: u64,
    /// Set while this server, having lost its log, takes part in nothing.
    pub(super) question: Option<Question>,
    /// The question is in the log.
    pub(super) is_question_recorded: bool,
    /// This server, and with which life of its component it, which has its log, asks to be
    /// admitted.
    pub(super) waiting: Option<(Party, Attested<BootKeys>)>,
    /// A state in the log of which not all chunks were replayed.
    restoring: Option<Assembly<S>>,
    /// Marks at which the log can begin.
    begun: BTreeSet<Mark>,
    /// The state of the last mark, if it was reached during replay and is not whole in the log.
    unwritten: Option<(Manifest<S>, Vec<Chunk>)>,
    /// The log was cut here.
    cut: Option<Mark>,
    /// In which epoch this server last wished for its end.
    wished: Option<Epoch>,
    /// Whose questions stand in this server's lane and are not ordered yet; with the next one.
    asked: BTreeMap<Party, Option<(Nonce, ServerCommand)>>,
    /// Whose certificates are being checked, and the newest that came meanwhile.
    pub(super) checking: BTreeMap<Party, Checking>,
    halted: Option<Halt>,
}

impl<S: Suite> Default for Recovery<S> {
    fn default() -> Self {
        Self {
            interval: MARK_INTERVAL,
            question: None,
            is_question_recorded: false,
            waiting: None,
            restoring: None,
            begun: BTreeSet::new(),
            unwritten: None,
            cut: None,
            wished: None,
            asked: BTreeMap::new(),
            checking: BTreeMap::new(),
            halted: None,
        }
    }
}

impl<S: Suite> Recovery<S> {
    pub(super) fn footprint(&self) -> usize {
        self.begun.len() + self.asked.len() + self.checking.len()
    }
}

impl<S: Suite, M: StateMachine> Replica<S, M> {
    /// Marks come after so much, in the unit of [`MARK_INTERVAL`]; the same at all servers.
    #[must_use]
    pub fn with_mark_interval(mut self, interval: u64) -> Self {
        self.recovery.interval = interval;
        self.order = self.order.with_interval(interval);
        self
    }

    /// For a server of the asynchronous configuration that has lost its log; in the hybrid one see
    /// [`rejoining_as`](Self::rejoining_as). It asks to be admitted again with `nonce`, which must
    /// be drawn at random now. If its (new) log has a number already, that one stays. (R11)
    #[must_use]
    pub fn rejoining(mut self, nonce: Nonce) -> Self {
        self.recovery.question = Some(Question::Number(nonce));
        self
    }

    /// How this server stands in its group.
    pub fn standing(&self) -> Standing {
        if self.is_waiting() {
            return Standing::Waiting;
        }
        match (self.is_rejoining(), self.transfer.progress()) {
            (true, None) => Standing::Rejoining,
            (true, Some((here, all))) => Standing::Fetching(here, all),
            (false, None) => Standing::Member,
            (false, Some((here, all))) => Standing::CatchingUp(here, all),
        }
    }

    /// The last mark that was reached here, and the last that is certified.
    pub fn marks(&self) -> (Mark, Option<Mark>) {
        (self.order.mark(), self.checkpoints.certified().map(|certified| certified.mark))
    }

    pub(super) fn is_halted(&self) -> bool {
        self.recovery.halted.is_some()
    }

    /// This server does nothing more. (R12)
    pub(super) fn halt<C: Context<Self>>(&mut self, why: Halt, cx: &mut Tap<'_, C>) {
        if self.recovery.halted.is_none() {
            self.recovery.halted = Some(why);
            if self.live {
                cx.persist(Record::Halted(why));
                cx.output(Outcome::Halted(why));
            }
        }
    }

    /// What a halted server does: it says why, once it has started.
    pub(super) fn stay_halted(&mut self, event: &Event<Self>, cx: &mut impl Context<Self>) {
        if let (Event::Resumed, Some(why)) = (event, self.recovery.halted) {
            self.live = true;
            cx.output(Outcome::Halted(why));
        }
    }

    pub(super) fn is_rejoining(&self) -> bool {
        self.recovery.question.is_some()
    }

    /// Says again that this server lost its log. (R11)
    pub(super) fn ask_to_rejoin<C: Context<Self>>(&mut self, to: Target, cx: &mut Tap<'_, C>) {
        let Some(question) = self.recovery.question.clone() else { return };
        if !std::mem::replace(&mut self.recovery.is_question_recorded, true) {
            cx.persist(question.record());
        }
        cx.send(to, question.message());
    }

    /// A server says that it lost its log: says so in the lane. (J1)
    pub(super) fn on_rejoin<C: Context<Self>>(
        &mut self,
        from: Party,
        nonce: Nonce,
        cx: &mut Tap<'_, C>,
    ) {
        if self.order.is_hybrid() {
            // There it takes a life.
            return cx.blame(Fault::suspected(from, FaultKind::Malformed));
        }
        self.repeat(from, nonce, ServerCommand::Rejoin { party: from, nonce });
    }

    /// Repeats in the lane what a server asks. (J1)
    pub(super) fn repeat(&mut self, party: Party, nonce: Nonce, question: ServerCommand) {
        if self.is_rejoining() || !self.live || self.state.knows_rejoin(party, nonce) {
            return;
        }
        if let Some(next) = self.recovery.asked.get_mut(&party) {
            *next = Some((nonce, question));
            return;
        }
        self.recovery.asked.insert(party, None);
        self.intake.say(question);
    }

    pub(super) fn on_rejoin_ordered(&mut self, party: Party) {
        if let Some(Some((nonce, question))) = self.recovery.asked.remove(&party) {
            self.repeat(party, nonce, question);
        }
    }

    /// Wishes for the end of the epoch if there is a reason to. Asked when all that the order has
    /// delivered is applied: the reason may have ended with its epoch. (J3)
    pub(super) fn wish<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        let epoch = self.order.epoch();
        let is_due = self.live && self.large.told() == 0 && self.state.wants_epoch_change();
        if is_due && self.recovery.wished != Some(epoch) {
            self.recovery.wished = Some(epoch);
            self.step_order(Event::Command(epochs::Command::ChangeEpoch), cx);
        }
    }

    /// A mark: everything before has been applied, nothing after. (R9)
    pub(super) fn on_marked<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        let state = self.state.snapshot();
        let admitted = self.state.admitted();
        let (manifest, chunks) = Manifest::of(self.order.frontier(), admitted, &state);
        self.recovery.unwritten = None;
        if !self.live {
            self.recovery.unwritten = Some((manifest.clone(), chunks.clone()));
        }
        self.begin(&manifest, chunks, state.len(), cx);
    }

    /// Makes a mark a place where the log can begin, and goes on from it. (R9)
    fn begin<C: Context<Self>>(
        &mut self,
        manifest: &Manifest<S>,
        chunks: Vec<Chunk>,
        bytes: usize,
        cx: &mut Tap<'_, C>,
    ) {
        let (mark, digest) = (manifest.mark(), manifest.digest());
        if self.live {
            cx.persist(Record::Begin(manifest.clone()));
            for (index, chunk) in (0..).zip(chunks) {
                cx.persist(Record::Chunk { mark, index, chunk });
            }
            self.note_what_lives(cx);
        }
        // A state as large as all that came since is written as often as the rest at most.
        let interval = self.recovery.interval.max(bytes as u64);
        self.step_transfer(Event::Command(TransferCommand::Reached(mark)), cx);
        let reached = checkpoint::Command::Reached { mark, digest };
        self.step_checkpoints(Event::Command(reached), cx);
        let loads = self.state.value_floors().clone();
        let members = self.state.members().cloned();
        let go_on = epochs::Command::Continue { interval, loads, members };
        self.step_order(Event::Command(go_on), cx);
        if self.live && self.order.mark() == mark {
            // Waited for: a crash must not keep the state and lose what stands after it.
            cx.persist(Record::Begun(mark));
            self.recovery.begun.insert(mark);
        }
        self.cut_if_certified(cx);
    }

    /// The log has all that it must have to begin at this mark. (R9)
    pub(super) fn restore_begun(&mut self, mark: Mark) {
        self.recovery.begun.insert(mark);
    }

    /// Writes down again what of this server's own log is still needed. (R9)
    fn note_what_lives<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        if let Some(certified) = self.checkpoints.certified() {
            cx.note(Record::Checkpoint(checkpoint::Record(certified.clone())));
        }
        for accusation in self.convictions.iter() {
            cx.note(Record::Convicted(accusation.clone()));
        }
        cx.note(Record::Reserved(self.intake.reserved()));
        self.large.records().for_each(|record| cx.note(record));
        self.step_values(Event::Command(ValuesCommand::Note), cx);
    }

    pub(super) fn step_checkpoints<C: Context<Self>>(
        &mut self,
        event: Event<Checkpoints<S>>,
        cx: &mut Tap<'_, C>,
    ) {
        for outcome in cx.step(CheckpointSlot, &mut self.checkpoints, event) {
            match outcome {
                checkpoint::Outcome::Certified(checkpoint) => self.on_certified(checkpoint, cx),
                checkpoint::Outcome::Diverged { mark, .. } => self.halt(Halt::Diverged(mark), cx),
            }
        }
    }

    fn on_certified<C: Context<Self>>(&mut self, checkpoint: Checkpoint<S>, cx: &mut Tap<'_, C>) {
        cx.output(Outcome::Certified(checkpoint.mark));
        if self.live {
            self.cut_if_certified(cx);
            self.fetch_if_behind(cx);
        }
    }

    /// Lets the log be cut at the last mark before the certified one. (R9)
    pub(super) fn cut_if_certified<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        let Some(certified) = self.checkpoints.certified().map(|certified| certified.mark) else {
            return;
        };
        let recovery = &mut self.recovery;
        if !self.live {
            return;
        }
        let until = canary!("replica-cuts-too-much", certified.next(), certified);
        let before = recovery.begun.range(..until).next_back().copied();
        if let Some(mark) = before.filter(|mark| recovery.cut != Some(*mark)) {
            recovery.begun = recovery.begun.split_off(&mark);
            recovery.cut = Some(mark);
            self.step_values(Event::Command(ValuesCommand::Cut(mark)), cx);
            cx.output(Outcome::Cut(ArchiveKey::Snapshot(mark, Piece::Manifest)));
        }
    }

    /// Fetches the certified state if the others' logs need not have what lies before it. (R10,
    /// R11)
    pub(super) fn fetch_if_behind<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        let Some(checkpoint) = self.checkpoints.certified().cloned() else { return };
        let admission = self.recovery.question.as_ref().map(Question::nonce);
        let one = checkpoint.mark > self.applied_mark() && self.large.waits_for_epoch();
        let behind = one || checkpoint.mark > self.applied_mark().next();
        if behind || admission.is_some() {
            if self.transfer.progress().is_none() {
                cx.output(Outcome::Fetching(checkpoint.mark));
            }
            let fetch = TransferCommand::Fetch { checkpoint, admission };
            self.step_transfer(Event::Command(fetch), cx);
        }
    }

    pub(super) fn step_transfer<C: Context<Self>>(
        &mut self,
        event: Event<Transfer<S>>,
        cx: &mut Tap<'_, C>,
    ) {
        for outcome in cx.step(TransferSlot, &mut self.transfer, event) {
            match outcome {
                TransferOutcome::Recall { to, mark, piece } => self.recall(to, mark, piece, cx),
                TransferOutcome::NotAdmitted => self.ask_to_rejoin(Target::Others, cx),
                TransferOutcome::Fetched { manifest, state } => {
                    self.install(manifest, state, cx);
                }
            }
        }
    }

    /// Looks up a piece for a peer: in memory, if a crash kept it out of the log.
    fn recall<C: Context<Self>>(
        &mut self,
        to: Party,
        mark: Mark,
        piece: Piece,
        cx: &mut Tap<'_, C>,
    ) {
        let unwritten = self.recovery.unwritten.as_ref();
        let Some((manifest, chunks)) = unwritten.filter(|(manifest, _)| manifest.mark() == mark)
        else {
            return cx.output(Outcome::Recall { to, key: ArchiveKey::Snapshot(mark, piece) });
        };
        let found = match piece {
            Piece::Manifest => Some(Found::Manifest(manifest.clone())),
            Piece::Chunk(index) => chunks.get(index as usize).cloned().map(Found::Chunk),
        };
        let recalled = TransferCommand::Recalled { to, mark, piece, found };
        self.step_transfer(Event::Command(recalled), cx);
    }

    pub(super) fn on_piece_recalled<C: Context<Self>>(
        &mut self,
        to: Party,
        (mark, piece): (Mark, Piece),
        record: Option<Record<S>>,
        cx: &mut Tap<'_, C>,
    ) {
        let found = record.and_then(|record| match record {
            Record::Begin(manifest) => Some(Found::Manifest(manifest)),
            Record::Chunk { chunk, .. } => Some(Found::Chunk(chunk)),
            _ => None,
        });
        let recalled = TransferCommand::Recalled { to, mark, piece, found };
        self.step_transfer(Event::Command(recalled), cx);
    }

    /// A crash cut the last state in the log short.
    pub(super) fn drop_incomplete(&mut self) {
        self.recovery.restoring = None;
    }

    /// A state in the log begins. (R9)
    pub(super) fn restore_begin<C: Context<Self>>(
        &mut self,
        manifest: Manifest<S>,
        cx: &mut Tap<'_, C>,
    ) {
        self.recovery.restoring = Some(Assembly::new(manifest));
        self.restore_if_complete(cx);
    }

    pub(super) fn restore_chunk<C: Context<Self>>(
        &mut self,
        index: u32,
        chunk: Chunk,
        cx: &mut Tap<'_, C>,
    ) {
        let Some(assembly) = &mut self.recovery.restoring else { return };
        assert!(assembly.put(index, chunk.into_bytes()), "the log has what was written to it");
        self.restore_if_complete(cx);
    }

    /// If the log begins at this mark, or the state was fetched, this is the state.
    fn restore_if_complete<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        let Some(assembly) = self.recovery.restoring.take_if(|it| it.is_complete()) else { return };
        let mark = assembly.manifest.mark();
        canary!("replica-begins-unfinished", self.recovery.begun.insert(mark));
        self.recovery.unwritten.take_if(|(manifest, _)| manifest.mark() == mark);
        let (manifest, state) = assembly.finish().expect("it is complete");
        self.install(manifest, state, cx);
    }

    /// Goes on from a state that is certified, or was this server's own. (R10, R11)
    fn install<C: Context<Self>>(
        &mut self,
        manifest: Manifest<S>,
        state: Bytes,
        cx: &mut Tap<'_, C>,
    ) {
        let mark = manifest.mark();
        if mark <= self.applied_mark() {
            return;
        }
        if self.state.restore(state.clone()).is_none() {
            // The quorum that certified it runs other services than this server.
            return self.halt(Halt::Diverged(mark), cx);
        }
        let was_away = self.recovery.question.take().is_some();
        // What this server said about others may be in what it skips; who still asks asks again.
        self.recovery.asked.clear();
        self.large.forget_pending();
        self.intake.forget_under_way();
        if was_away && self.live {
            self.step_order(Event::Resumed, cx);
            self.step_signing(Event::Resumed, cx);
        }
        // The order may be at this mark, while the state waited for values before it.
        if mark > self.order.mark() {
            let frontier = Box::new(manifest.frontier.clone());
            self.step_order(Event::Command(epochs::Command::Install(frontier)), cx);
        }
        // Others may yet want what this server has of values below the mark.
        self.pass_values(self.values.ids(), mark, cx);
        if was_away && self.live {
            self.step_values(Event::Resumed, cx);
            self.step_values(Event::Command(ValuesCommand::Deaf), cx);
        }
        self.remember_signatures(cx);
        self.intake.skip_numbers(self.state.next_front_end_number(cx.group().me()));
        let (asked, awaiting) = (self.intake.take_asked(), self.answers.take_front_ends());
        for id in asked.chain(awaiting) {
            let reply = FrontEndReply::Refused(Refusal::CatchingUp);
            cx.output(Outcome::FrontEndReply { id, reply });
        }
        self.recovery.unwritten = None;
        let (_, chunks) =
            Manifest::of(manifest.frontier.clone(), manifest.admitted.clone(), &state);
        self.begin(&manifest, chunks, state.len(), cx);
        cx.output(Outcome::Installed(mark));
        if self.live {
            // Shares that were wanted of this server meanwhile are wanted again.
            for peer in cx.group().others().iter() {
                self.step_signing(Event::Reconnected(peer), cx);
            }
            self.announce(cx);
        }
    }

    /// Clients may yet ask for what the group was to sign before this server came back.
    fn remember_signatures<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        let mut to_be_signed = self.state.to_be_signed();
        let mut wanted = to_be_signed.split_off(&self.signing.next_position());
        while wanted.len() > SIGNATURES_MAX {
            wanted.pop_first();
        }
        for (position, (key, input)) in wanted {
            let remember = SigningCommand::Remember { position, key, input };
            self.step_signing(Event::Command(remember), cx);
        }
    }
}
