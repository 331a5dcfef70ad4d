//! Large requests: a home broadcasts the value and orders a reference; batches are admitted when
//! the values are here, and applied when they are. R13 to R15.

use super::slots::ValuesSlot;
use super::{Outcome, Replica, Tap, Ticket};
use crate::values::{ValueId, Values, ValuesCommand, ValuesOutcome};
use crate::{Ask, ClientBundle, LARGE_BYTES_MAX, StateMachine};
use maftia_agreement::atomic::{Delivery, Height};
use maftia_agreement::checkpoint::Mark;
use maftia_base::{Context, Digest, Epoch, Event, Party};
use maftia_crypto::{CodedValue, Commitment, Suite, Work};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Large requests of this server's clients that wait for their broadcast.
pub const LARGE_WAITING_MAX: usize = 4;

/// What is on its way between clients, broadcasts and the order.
#[derive(Clone, Debug, Hash, Default)]
pub(super) struct Large {
    /// What clients signed, being verified.
    checking: BTreeMap<u64, (ClientBundle, CodedValue)>,
    checks: u64,
    waiting: VecDeque<(ClientBundle, CodedValue)>,
    /// This server broadcasts these, and has not ordered the references.
    begun: BTreeMap<u64, ClientBundle>,
    /// Of each lane, the batch that waits for its values.
    inspecting: BTreeMap<Party, Inspection>,
    /// What the order has told and is not applied: the first of it waits for values.
    pending: VecDeque<Pending>,
    applying: bool,
}

/// A batch whose items are in order, but for values that are not here.
#[derive(Clone, Debug, Hash)]
struct Inspection {
    height: Height,
    digest: Digest,
    values: Vec<(u64, Commitment)>,
    /// The clients' signatures hold.
    verified: bool,
}

/// What the order has told.
#[derive(Clone, Debug, Hash)]
pub(super) enum Pending {
    Batch(Delivery),
    EpochEnded(Epoch),
    Mark,
}

impl Large {
    pub(super) fn footprint(&self) -> usize {
        let requests = self.checking.len() + self.waiting.len() + self.begun.len();
        requests + self.inspecting.len() + self.pending.len()
    }

    /// All that was told is applied.
    pub(super) fn is_applied(&self) -> bool {
        self.pending.is_empty()
    }

    /// A later state was installed.
    pub(super) fn forget_pending(&mut self) {
        self.pending.clear();
    }
}

impl<S: Suite, M: StateMachine> Replica<S, M> {
    /// What is held of the values of large requests.
    pub fn values(&self) -> &Values<S> {
        &self.values
    }

    /// The last mark up to which everything is applied; the order may be at the next.
    pub(super) fn applied_mark(&self) -> Mark {
        let mark = self.order.mark();
        let waits = self.large.pending.iter().any(|pending| matches!(pending, Pending::Mark));
        Mark(mark.0 - u64::from(waits))
    }

    /// A client asks something large; whoever asks too much asks again. (R13)
    pub(super) fn on_client_large<C: Context<Self>>(
        &mut self,
        bundle: ClientBundle,
        value: CodedValue,
        cx: &mut Tap<'_, C>,
    ) {
        let named = match &bundle.ask {
            Ask::Large { value, .. } => value.length(),
            Ask::Open { .. } | Ask::Requests { .. } => usize::MAX,
        };
        if named != value.len() || named > LARGE_BYTES_MAX {
            return cx.output(Outcome::ClientLied(bundle.key));
        }
        let held = self.large.checking.len() + self.large.waiting.len();
        if held >= LARGE_WAITING_MAX || !self.live || self.is_rejoining() {
            return;
        }
        let number = self.large.checks;
        self.large.checks += 1;
        let claims = vec![bundle.claim(cx.group().id())];
        self.large.checking.insert(number, (bundle, value));
        cx.offload(Ticket::CheckLarge(number), Work::VerifyClients(claims));
    }

    pub(super) fn on_large_checked<C: Context<Self>>(
        &mut self,
        number: u64,
        verdicts: &[bool],
        cx: &mut Tap<'_, C>,
    ) {
        let (bundle, value) = self.large.checking.remove(&number).expect("work is answered once");
        if verdicts != [true] {
            return cx.output(Outcome::ClientLied(bundle.key));
        }
        match self.state.known_replies(&bundle) {
            Some(replies) => {
                self.answer_known(bundle.key, replies);
                self.collect_again(cx);
            }
            None if self.is_under_way(&bundle) => {}
            None => self.large.waiting.push_back((bundle, value)),
        }
    }

    /// A client that is impatient sends again what this server works on.
    fn is_under_way(&self, bundle: &ClientBundle) -> bool {
        let same = |other: &ClientBundle| match (&other.ask, &bundle.ask) {
            (
                Ask::Large { session: a, sequence: b, .. },
                Ask::Large { session: c, sequence: d, .. },
            ) => (other.key, other.service, a, b) == (bundle.key, bundle.service, c, d),
            _ => false,
        };
        let waiting = self.large.waiting.iter().map(|(other, _)| other);
        waiting.chain(self.large.begun.values()).any(same)
    }

    /// Begins the broadcasts that are granted. (R13)
    pub(super) fn begin_large<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        let me = cx.group().me();
        while self.live && !self.is_rejoining() && self.values.may_begin(me) {
            let Some((bundle, value)) = self.large.waiting.pop_front() else { return };
            self.large.begun.insert(self.values.next_number(), bundle);
            self.step_values(Event::Command(ValuesCommand::Broadcast(value)), cx);
        }
    }

    /// Puts references into the lane, in the order of their numbers. (R13)
    fn refer<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        let home = cx.group().me();
        while let Some((&number, bundle)) = self.large.begun.first_key_value() {
            let Some((found, _)) = self.values.get(ValueId { home, number }) else { return };
            let named = matches!(&bundle.ask, Ask::Large { value, .. } if value == found);
            let bundle = self.large.begun.remove(&number).expect("just found");
            if named {
                self.intake.large(number, bundle);
            } else {
                cx.output(Outcome::ClientLied(bundle.key));
                self.intake.release(number + 1);
            }
        }
    }

    /// Gives up what this server began before a restart: the clients ask again. (R13)
    pub(super) fn release_begun(&mut self, me: Party) {
        let next = self.values.next_number();
        if next > self.values.floor(me) {
            self.intake.release(next);
        }
    }

    /// The clients' signatures in a batch hold: does it wait for values? (R14)
    pub(super) fn await_values<C: Context<Self>>(
        &mut self,
        lane: Party,
        height: Height,
        digest: Digest,
        cx: &mut Tap<'_, C>,
    ) {
        let asked = |it: &&mut Inspection| (it.height, it.digest) == (height, digest);
        match self.large.inspecting.get_mut(&lane).filter(asked) {
            Some(inspection) => {
                inspection.verified = true;
                self.inspect_values(lane, cx);
            }
            None => self.admit(lane, height, digest, cx),
        }
    }

    /// Remembers which values a batch refers to. (R14)
    pub(super) fn note_values(
        &mut self,
        lane: Party,
        height: Height,
        digest: Digest,
        values: Vec<(u64, Commitment)>,
    ) {
        if values.is_empty() {
            self.large.inspecting.remove(&lane);
        } else {
            self.large
                .inspecting
                .insert(lane, Inspection { height, digest, values, verified: false });
        }
    }

    /// Admits the batch that waits in this lane once its values are here. (R14)
    fn inspect_values<C: Context<Self>>(&mut self, lane: Party, cx: &mut Tap<'_, C>) {
        let Some(inspection) = self.large.inspecting.get(&lane).filter(|it| it.verified) else {
            return;
        };
        let Inspection { height, digest, ref values, .. } = *inspection;
        let floor = self.values.floor(lane);
        let mut right = true;
        // What is below the floor is passed over by all, whatever it is.
        for (number, named) in values.iter().filter(|(number, _)| *number >= floor) {
            match self.values.get(ValueId { home: lane, number: *number }) {
                None => return,
                Some((found, _)) => right &= found == named,
            }
        }
        self.large.inspecting.remove(&lane);
        if right {
            self.admit(lane, height, digest, cx);
        } else {
            self.refuse(lane, height, digest, cx);
        }
    }

    /// The order has told this. (R15)
    pub(super) fn tell<C: Context<Self>>(&mut self, pending: Pending, cx: &mut Tap<'_, C>) {
        self.large.pending.push_back(pending);
        self.apply_pending(cx);
    }

    /// Applies what the order has told, in its order, as far as the values are here. (R15)
    pub(super) fn apply_pending<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        if std::mem::replace(&mut self.large.applying, true) {
            return;
        }
        while let Some(front) = self.large.pending.front() {
            if let Pending::Batch(delivery) = front
                && self.lacks_value(delivery)
            {
                break;
            }
            match self.large.pending.pop_front().expect("just looked at") {
                Pending::Batch(delivery) => self.on_delivered(delivery, cx),
                Pending::EpochEnded(ended) => self.on_epoch_ended(ended, cx),
                Pending::Mark => self.on_marked(cx),
            }
        }
        self.large.applying = false;
    }

    fn lacks_value(&self, delivery: &Delivery) -> bool {
        let lacks = |id| self.values.get(id).is_none();
        self.wanted_by(delivery).into_iter().any(lacks)
    }

    fn wanted_by(&self, delivery: &Delivery) -> Vec<ValueId> {
        let home = delivery.lane;
        let items = delivery.items.iter().map(|item| item.bytes());
        let wanted = self.state.wanted_values(home, items).into_iter();
        wanted.map(|number| ValueId { home, number }).collect()
    }

    /// The values that this batch is applied with.
    pub(super) fn values_for(
        &self,
        delivery: &Delivery,
    ) -> BTreeMap<u64, (Commitment, CodedValue)> {
        let value = |id: ValueId| Some((id.number, self.values.get(id)?.clone()));
        self.wanted_by(delivery).into_iter().filter_map(value).collect()
    }

    /// Tells the values how far the order has come. (R15)
    pub(super) fn pass_values<C: Context<Self>>(
        &mut self,
        applied: BTreeSet<ValueId>,
        until: Mark,
        cx: &mut Tap<'_, C>,
    ) {
        let floors = self.state.value_floors().clone();
        let floor = floors.get(&cx.group().me()).copied().unwrap_or_default();
        self.large.begun = self.large.begun.split_off(&floor);
        let passed = ValuesCommand::Passed { floors, applied, until };
        self.step_values(Event::Command(passed), cx);
        self.inspect_all(cx);
    }

    fn inspect_all<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        let lanes: Vec<Party> = self.large.inspecting.keys().copied().collect();
        lanes.into_iter().for_each(|lane| self.inspect_values(lane, cx));
    }

    pub(super) fn step_values<C: Context<Self>>(
        &mut self,
        event: Event<Values<S>>,
        cx: &mut Tap<'_, C>,
    ) {
        let outcomes = cx.step(ValuesSlot, &mut self.values, event);
        for ValuesOutcome::Here(id) in outcomes {
            if id.home == cx.group().me() {
                self.refer(cx);
            } else {
                self.inspect_values(id.home, cx);
            }
            self.apply_pending(cx);
        }
    }
}

/// The value that an item refers to; `None` if no honest server orders it.
pub(super) fn reference(number: u64, bundle: &ClientBundle) -> Option<(u64, Commitment)> {
    match &bundle.ask {
        Ask::Large { value, .. } if value.length() <= LARGE_BYTES_MAX => Some((number, *value)),
        _ => None,
    }
}
