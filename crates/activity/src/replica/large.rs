//! Large requests: a home broadcasts the value and orders a reference; batches are admitted when
//! the values are here, and applied when they are. R13 to R15.

use super::slots::ValuesSlot;
use super::{Outcome, Record, Replica, Tap, Ticket};
use crate::request::named_value;
use crate::values::{ValueId, Values, ValuesCommand, ValuesOutcome};
use crate::{Ask, ClientBundle, StateMachine};
use maftia_agreement::atomic::{Delivery, Height};
use maftia_agreement::checkpoint::Mark;
use maftia_base::{Context, Digest, Epoch, Event, Party};
use maftia_crypto::{ClientKey, CodedValue, Commitment, Encoded, Suite, Work};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Large requests of this server's clients that wait for their broadcast …
pub const LARGE_WAITING_MAX: usize = 8;

/// … and of one client.
pub const LARGE_EACH_MAX: usize = LARGE_WAITING_MAX / 2;

/// What is on its way between clients, broadcasts and the order.
#[derive(Clone, Debug, Hash, Default)]
pub(super) struct Large {
    /// What clients signed, being verified.
    checking: BTreeMap<u64, Asked>,
    checks: u64,
    waiting: VecDeque<Asked>,
    /// What is broadcast next, being encoded: is it what the client signed for?
    encoding: Option<Asked>,
    /// This server broadcasts these, and they are not applied.
    begun: BTreeMap<u64, Begun>,
    /// Of each lane, the batch that waits for its values.
    inspecting: BTreeMap<Party, Inspection>,
    /// What the order has told and is not applied: the first of it waits for values.
    pending: VecDeque<Pending>,
    applying: bool,
}

/// What a client signed, and what for.
type Asked = (ClientBundle, CodedValue);

/// A large request that this server broadcasts.
#[derive(Clone, Debug, Hash)]
struct Begun {
    bundle: ClientBundle,
    /// Unless it was begun before a restart.
    value: Option<CodedValue>,
    /// It stands in this server's lane, or it did before a restart.
    referred: bool,
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
        self.asked().count() + self.begun.len() + self.inspecting.len() + self.pending.len()
    }

    /// How much was told that is not applied.
    pub(super) fn told(&self) -> usize {
        self.pending.len()
    }

    /// What waits lies before the end of an epoch.
    pub(super) fn waits_for_epoch(&self) -> bool {
        self.pending.iter().any(|pending| matches!(pending, Pending::EpochEnded(_)))
    }

    /// A later state was installed.
    pub(super) fn forget_pending(&mut self) {
        self.pending.clear();
    }

    /// The order has told this. (R15)
    pub(super) fn tell(&mut self, pending: Pending) {
        self.pending.push_back(pending);
    }

    /// What a log that begins anew must have.
    pub(super) fn records<S: Suite>(&self) -> impl Iterator<Item = Record<S>> {
        let record = |(number, begun): (&u64, &Begun)| {
            let (number, bundle) = (*number, begun.bundle.clone());
            Record::Large { number, bundle }
        };
        self.begun.iter().map(record).collect::<Vec<_>>().into_iter()
    }

    /// What is not broadcast yet.
    fn asked(&self) -> impl Iterator<Item = &ClientBundle> {
        let asked = self.checking.values().chain(&self.waiting).chain(&self.encoding);
        asked.map(|(bundle, _)| bundle)
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
        let begun = self.begun.values().map(|begun| &begun.bundle);
        self.asked().chain(begun).any(same)
    }

    fn has_room(&self, key: ClientKey) -> bool {
        let of_key = self.asked().filter(|bundle| bundle.key == key).count();
        self.asked().count() < LARGE_WAITING_MAX && of_key < LARGE_EACH_MAX
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
        if named_value(&bundle).is_none_or(|named| named.length() != value.len()) {
            return cx.output(Outcome::ClientLied(bundle.key));
        }
        let is_ready = self.live && !self.is_rejoining();
        if !is_ready || self.large.is_under_way(&bundle) || !self.large.has_room(bundle.key) {
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
            None => self.large.waiting.push_back((bundle, value)),
        }
    }

    /// Has the next value encoded for which there is credit. (R13)
    pub(super) fn begin_large<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        let may_begin = self.live && self.values.may_begin(cx.group().me());
        if !may_begin || self.large.encoding.is_some() {
            return;
        }
        let Some((bundle, value)) = self.large.waiting.pop_front() else { return };
        if let Some(replies) = self.state.known_replies(&bundle) {
            // Its client got impatient, and was served by another.
            self.answer_known(bundle.key, replies);
            self.collect_again(cx);
            return self.begin_large(cx);
        }
        let code = self.values.code(cx.group().structure());
        cx.offload(Ticket::EncodeLarge, Work::Encode { code, value: value.clone() });
        self.large.encoding = Some((bundle, value));
    }

    /// Broadcasts it, if it is what the client signed for. (R13)
    pub(super) fn on_large_encoded<C: Context<Self>>(
        &mut self,
        encoded: Encoded,
        cx: &mut Tap<'_, C>,
    ) {
        let (bundle, value) = self.large.encoding.take().expect("work is answered once");
        if named_value(&bundle) != Some(encoded.commitment) {
            return cx.output(Outcome::ClientLied(bundle.key));
        }
        let number = self.values.next_number();
        cx.persist(Record::Large { number, bundle: bundle.clone() });
        let begun = Begun { bundle, value: Some(value.clone()), referred: false };
        self.large.begun.insert(number, begun);
        self.step_values(Event::Command(ValuesCommand::Broadcast(value, encoded)), cx);
    }

    /// Puts references into the lane, in the order of their numbers. (R13)
    fn refer(&mut self, home: Party) {
        for (&number, begun) in self.large.begun.iter_mut().filter(|(_, begun)| !begun.referred) {
            if !self.live || self.values.get(ValueId { home, number }).is_none() {
                return;
            }
            begun.referred = true;
            self.intake.large(number, begun.bundle.clone());
        }
    }

    pub(super) fn restore_large<C: Context<Self>>(
        &mut self,
        number: u64,
        bundle: ClientBundle,
        cx: &mut Tap<'_, C>,
    ) {
        if number >= self.values.floor(cx.group().me()) {
            self.large.begun.insert(number, Begun { bundle, value: None, referred: false });
        }
    }

    /// Takes up what this server began before a restart. (R13)
    pub(super) fn refer_again<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        // A crash may have kept the last of them from being broadcast.
        let next = self.values.next_number();
        self.large.begun.retain(|number, _| *number < next);
        self.refer(cx.group().me());
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

    /// Applies what the order has told, in its order, as far as the values are here. (R15)
    pub(super) fn apply_pending<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        if self.is_halted() || std::mem::replace(&mut self.large.applying, true) {
            return;
        }
        while let Some(front) = self.large.pending.front() {
            if let Pending::Batch(delivery) = front {
                let lacking = self.lacking_values(delivery);
                if !lacking.is_empty() {
                    self.want_values(lacking, cx);
                    break;
                }
            }
            match self.large.pending.pop_front().expect("just looked at") {
                Pending::Batch(delivery) => self.on_delivered(delivery, cx),
                Pending::EpochEnded(ended) => self.on_epoch_ended(ended, cx),
                Pending::Mark => self.on_marked(cx),
            }
        }
        self.large.applying = false;
        if self.live && self.large.waits_for_epoch() {
            self.fetch_if_behind(cx); // R10
        }
    }

    /// What this batch cannot be applied without, and is not here.
    fn lacking_values(&self, delivery: &Delivery) -> Vec<(ValueId, Commitment)> {
        let is_hybrid = self.order.is_hybrid();
        let lacks = |(id, named): &(ValueId, Commitment)| {
            self.values.get(*id).is_none_or(|(found, _)| is_hybrid && found != named)
        };
        self.wanted_by(delivery).into_iter().filter(lacks).collect()
    }

    /// In the hybrid configuration the order says what a number stands for. (R15)
    fn want_values<C: Context<Self>>(
        &mut self,
        wanted: Vec<(ValueId, Commitment)>,
        cx: &mut Tap<'_, C>,
    ) {
        if self.order.is_hybrid() && self.live {
            for (id, commitment) in wanted {
                self.step_values(Event::Command(ValuesCommand::Want(id, commitment)), cx);
            }
        }
    }

    fn wanted_by(&self, delivery: &Delivery) -> Vec<(ValueId, Commitment)> {
        let home = delivery.lane;
        let items = delivery.items.iter().map(|item| item.bytes());
        let wanted = self.state.wanted_values(home, items).into_iter();
        wanted.map(|(number, named)| (ValueId { home, number }, named)).collect()
    }

    /// The values that this batch is applied with.
    pub(super) fn values_for(
        &self,
        delivery: &Delivery,
    ) -> BTreeMap<u64, (Commitment, CodedValue)> {
        let value =
            |(id, _): (ValueId, Commitment)| Some((id.number, self.values.get(id)?.clone()));
        self.wanted_by(delivery).into_iter().filter_map(value).collect()
    }

    /// Tells the values how far the order has come. (R15)
    pub(super) fn pass_values<C: Context<Self>>(
        &mut self,
        applied: BTreeSet<ValueId>,
        until: Mark,
        cx: &mut Tap<'_, C>,
    ) {
        let (floors, home) = (self.state.value_floors().clone(), cx.group().me());
        let left = self.large.begun.split_off(&floors.get(&home).copied().unwrap_or_default());
        for (number, begun) in std::mem::replace(&mut self.large.begun, left) {
            // Given up with an epoch: it is broadcast anew. (R13)
            let given_up = begun.value.filter(|_| !applied.contains(&ValueId { home, number }));
            self.large.waiting.extend(given_up.map(|value| (begun.bundle, value)));
        }
        let passed = ValuesCommand::Passed { floors, applied, until };
        self.step_values(Event::Command(passed), cx);
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
                self.refer(id.home);
            } else {
                self.inspect_values(id.home, cx);
            }
            self.apply_pending(cx);
        }
    }
}
