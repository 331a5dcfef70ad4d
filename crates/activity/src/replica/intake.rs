use super::{FrontEndReply, Outcome, Replica, Tap, Ticket};
use crate::request::named_value;
use crate::{
    AgreedTime, Ask, ClientBundle, FrontEndRequest, Item, Refusal, ServerCommand, StateMachine,
    TASK_BYTES_MAX, TaskId,
};
use maftia_agreement::atomic::{self, Height, epochs};
use maftia_base::canary;
use maftia_base::wire::{Blob, Bytes, Encode, Wire};
use maftia_base::{Context, Digest, Event, Party, Protocol, ServiceId};
use maftia_crypto::{ClientClaim, ClientSignature, Suite, Work};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Items that wait to be verified or to enter this server's lane.
pub const INTAKE_MAX: usize = 1024;

/// Requests of stock clients that wait for their answer.
pub const FRONT_END_MAX: usize = 1024;

/// Bundles are verified in at most this many pieces of work at a time; what comes meanwhile is one
/// more.
const CHECKS_MAX: usize = 2;

/// How many numbers a front end reserves with one record.
const RESERVE: u64 = 4096;

/// What is on its way into this server's lane.
#[derive(Clone, Debug, Hash, Default)]
pub(super) struct Intake {
    /// Bundles to be verified.
    waiting: Vec<ClientBundle>,
    /// Bundles being verified.
    checking: BTreeMap<u64, Vec<ClientBundle>>,
    checks: u64,
    /// What may enter the lane as soon as there is room.
    ready: VecDeque<Item>,
    /// Of bundles on their way to the order, by what is their own: the client's signature.
    under_way: BTreeSet<ClientSignature>,
    /// Front-end numbers, with the driver's name for the request.
    asked: BTreeMap<u64, u64>,
    next_number: u64,
    reserved: u64,
}

impl Intake {
    fn held(&self) -> usize {
        self.waiting.len() + self.ready.len() + self.checking.values().map(Vec::len).sum::<usize>()
    }

    pub(super) fn room(&self) -> usize {
        INTAKE_MAX.saturating_sub(self.held())
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.len()
    }

    pub(super) fn footprint(&self) -> usize {
        self.held() + self.asked.len() + self.under_way.len()
    }

    pub(super) fn restore_reserved(&mut self, below: u64) {
        self.reserved = below.max(self.reserved);
        self.next_number = canary!("replica-reuses-numbers", 0, self.reserved);
    }

    /// Numbers below may have been used.
    pub(super) fn reserved(&self) -> u64 {
        self.reserved
    }

    pub(super) fn skip_numbers(&mut self, next: u64) {
        self.next_number = next.max(self.next_number);
    }

    pub(super) fn task_result(
        &mut self,
        service: ServiceId,
        id: TaskId,
        result: Blob<TASK_BYTES_MAX>,
    ) {
        let command = ServerCommand::TaskResult { service, id, result };
        self.ready.push_back(Item::Server(command));
    }

    pub(super) fn wake(&mut self, at: AgreedTime) {
        self.ready.push_back(Item::Server(ServerCommand::Wake(at)));
    }

    pub(super) fn say(&mut self, command: ServerCommand) {
        self.ready.push_back(Item::Server(command));
    }

    pub(super) fn large(&mut self, number: u64, bundle: ClientBundle) {
        self.ready.push_back(Item::Large { number, bundle });
    }

    /// A batch of this server's lane is being applied.
    pub(super) fn arrived(&mut self, items: &[Bytes]) {
        if self.under_way.is_empty() {
            return;
        }
        for item in items {
            if let Ok(Item::Bundle(bundle)) = Item::from_wire(item.clone()) {
                self.under_way.remove(&bundle.signature);
            }
        }
    }

    /// What was under way may never arrive.
    pub(super) fn forget_under_way(&mut self) {
        self.under_way.clear();
    }

    /// The driver's names for all requests of the front end that are not answered.
    pub(super) fn take_asked(&mut self) -> impl Iterator<Item = u64> {
        std::mem::take(&mut self.asked).into_values()
    }

    /// The driver's name for the front end's request `number`, which is answered now.
    pub(super) fn answered(&mut self, number: u64) -> Option<u64> {
        self.asked.remove(&number)
    }
}

impl<S: Suite, M: StateMachine> Replica<S, M> {
    /// A client asks; whoever asks too much asks again. (R1)
    pub(super) fn on_client_bundle<C: Context<Self>>(
        &mut self,
        bundle: ClientBundle,
        cx: &mut Tap<'_, C>,
    ) {
        let is_member = !self.is_rejoining() && !self.is_waiting();
        if self.intake.room() > 0 && is_member {
            self.intake.waiting.push(bundle);
            self.check_waiting(cx);
        }
    }

    fn check_waiting<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        if self.intake.waiting.is_empty() || self.intake.checking.len() >= CHECKS_MAX {
            return;
        }
        let bundles = std::mem::take(&mut self.intake.waiting);
        let group = cx.group().id();
        let claims = bundles.iter().map(|bundle| bundle.claim(group)).collect();
        let number = self.intake.checks;
        self.intake.checks += 1;
        self.intake.checking.insert(number, bundles);
        cx.offload(Ticket::Check(number), Work::VerifyClients(claims));
    }

    /// Bundles have been verified: what is new enters the lane, the rest is answered. (R1)
    pub(super) fn on_checked<C: Context<Self>>(
        &mut self,
        number: u64,
        verdicts: &[bool],
        cx: &mut Tap<'_, C>,
    ) {
        let bundles = self.intake.checking.remove(&number).expect("work is answered once");
        assert_eq!(bundles.len(), verdicts.len(), "one verdict a claim");
        for (bundle, holds) in bundles.into_iter().zip(verdicts) {
            if canary!("replica-takes-unsigned", false, !holds) {
                // What else it has sent is not worth the work.
                self.intake.waiting.retain(|waiting| waiting.key != bundle.key);
                cx.output(Outcome::ClientLied(bundle.key));
                continue;
            }
            match self.state.known_replies(&bundle) {
                Some(replies) => self.answer_known(bundle.key, replies),
                None if self.intake.under_way.insert(bundle.signature) => {
                    self.intake.ready.push_back(Item::Bundle(bundle));
                }
                None => {}
            }
        }
        self.collect_again(cx);
        self.check_waiting(cx);
    }

    /// A stock client asks. (R3)
    pub(super) fn on_stock_client<C: Context<Self>>(
        &mut self,
        id: u64,
        service: ServiceId,
        request: Bytes,
        cx: &mut Tap<'_, C>,
    ) {
        let refuse = |refusal, cx: &mut Tap<'_, C>| {
            let reply = FrontEndReply::Refused(refusal);
            cx.output(Outcome::FrontEndReply { id, reply });
        };
        if self.is_rejoining() || self.is_waiting() {
            return refuse(Refusal::CatchingUp, cx);
        }
        if self.state.machine(service).is_none() {
            return refuse(Refusal::UnknownService, cx);
        }
        let Some(request) = Blob::new(request) else {
            return refuse(Refusal::Malformed, cx);
        };
        if self.capacity() == 0 || !self.live {
            return refuse(Refusal::Overloaded, cx);
        }
        let number = self.intake.next_number;
        self.intake.next_number += 1;
        if number >= self.intake.reserved {
            self.intake.reserved = number + RESERVE;
            cx.persist(super::Record::Reserved(self.intake.reserved));
        }
        self.intake.asked.insert(number, id);
        let request = FrontEndRequest { number, service, request };
        self.intake.ready.push_back(Item::FrontEnd(request));
    }

    /// Lets items into the lane while it has room.
    pub(super) fn submit_ready<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        while self.live && self.order.capacity() > 0 {
            let Some(item) = self.intake.ready.pop_front() else { return };
            // A bundle that is too long for an item cannot be ordered; clients know the bound.
            match (atomic::Item::new(item.encode()), item) {
                (Some(item), _) => {
                    self.step_order(Event::Command(epochs::Command::Submit(item)), cx);
                }
                (None, Item::Bundle(bundle)) => {
                    self.intake.under_way.remove(&bundle.signature);
                }
                (None, _) => {}
            }
        }
    }

    /// May this batch of another lane be voted for? (R2)
    pub(super) fn on_inspect<C: Context<Self>>(
        &mut self,
        lane: Party,
        height: Height,
        digest: Digest,
        items: &[atomic::Item],
        cx: &mut Tap<'_, C>,
    ) {
        let group = cx.group().id();
        let mut claims: Vec<ClientClaim> = Vec::new();
        let mut values = Vec::new();
        for item in items {
            let bundle = match Item::from_wire(item.bytes().clone()) {
                Ok(Item::Bundle(bundle)) if !matches!(bundle.ask, Ask::Large { .. }) => bundle,
                Ok(Item::Large { number, bundle }) if named_value(&bundle).is_some() => {
                    values.extend(named_value(&bundle).map(|value| (number, value)));
                    bundle
                }
                Ok(Item::FrontEnd(_) | Item::Server(_)) => continue,
                Ok(Item::Bundle(_) | Item::Large { .. }) | Err(_) => {
                    return self.refuse(lane, height, digest, cx);
                }
            };
            claims.push(bundle.claim(group));
        }
        self.note_values(lane, height, digest, values);
        if claims.is_empty() {
            return self.admit(lane, height, digest, cx);
        }
        cx.offload(Ticket::Inspect { lane, height, digest }, Work::VerifyClients(claims));
    }

    pub(super) fn on_inspected<C: Context<Self>>(
        &mut self,
        lane: Party,
        height: Height,
        digest: Digest,
        verdicts: &[bool],
        cx: &mut Tap<'_, C>,
    ) {
        if verdicts.iter().all(|holds| *holds) {
            self.await_values(lane, height, digest, cx);
        } else {
            self.refuse(lane, height, digest, cx);
        }
    }

    pub(super) fn refuse<C: Context<Self>>(
        &mut self,
        lane: Party,
        height: Height,
        digest: Digest,
        cx: &mut Tap<'_, C>,
    ) {
        let refuse = epochs::Command::Refuse { lane, height, digest };
        self.step_order(Event::Command(refuse), cx);
    }

    pub(super) fn admit<C: Context<Self>>(
        &mut self,
        lane: Party,
        height: Height,
        digest: Digest,
        cx: &mut Tap<'_, C>,
    ) {
        let admit = epochs::Command::Admit { lane, height, digest };
        self.step_order(Event::Command(admit), cx);
    }
}
