//! Everything that is the same at every server: the services, their sessions, and the clock.
//!
//! # Promise
//! A function of the delivered batches, in their order; two servers that applied the same batches
//! have equal states, and equal snapshots.
//!
//! # Rules
//! - A1. A batch first moves the clock, then wakes the services that are
//!   due, then executes its items in order.
//! - A2. A client's bundle is executed request by request as its session says; a front end's
//!   request once by its number; what cannot be decoded is skipped, the same everywhere.
//! - A3. A server's word that its clock has passed a time counts as its reading: once an honest one
//!   said so, the clock moves there. So a wake-up needs no other traffic.
//! - A4. A task's result is handed on at most once a server, while the task is wanted.
//! - A5. A server that lost its log is admitted again as [`crate::Admission`] says.
//! - A7. What a service wants signed for its state gets a position when the batch is applied that
//!   made it want it; the signature counts once servers that pass `has_honest` have told it.
//! - A6. The values of a home are applied in the order of their numbers, each once, when its home
//!   refers to it. With an epoch after which somebody is admitted again, all numbers that any home
//!   was granted are given up.

mod image;
mod refound;
mod servers;
mod signing;

use crate::lives::Lives;
use crate::rejoin::{Admission, Nonce, Rejoins};
use crate::request::{named_value, reference};
use crate::session::{FrontEndNumbers, Sessions, Share, Verdict};
use crate::values::GRANTED_MAX;
use crate::{
    AgreedTime, ApplyContext, Ask, Caller, ClientBundle, Clock, FrontEndRequest, Item, Refusal,
    Reply, ReplyBody, SequencedReply, SessionId, StateMachine, Task, TaskId,
};
use image::SERVICES_MAX;
use maftia_agreement::hybrid::{Life, Members};
use maftia_base::wire::{Blob, Bytes, List, Wire};
use maftia_base::{AdversaryStructure, Digest, Epoch, PARTIES_MAX, Party, PartySet, ServiceId};
use maftia_crypto::{ClientKey, CodedValue, Commitment, KeyId, SigningInput};
use signing::Signing;
use std::collections::BTreeMap;

/// A delivered batch.
pub(crate) struct Ordered {
    pub(crate) lane: Party,
    /// Its time, if there is one.
    pub(crate) time: Option<AgreedTime>,
    pub(crate) seed: Digest,
    pub(crate) items: Vec<Bytes>,
    /// The values that [`State::wanted_values`] named.
    pub(crate) values: BTreeMap<u64, (Commitment, CodedValue)>,
}

/// What an applied batch has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// An answer to a client that signs.
    Client {
        key: ClientKey,
        reply: SequencedReply,
        /// When it was executed.
        position: u64,
    },
    /// An answer to a request of this server's front end.
    FrontEnd { party: Party, number: u64, position: u64, reply: Result<Reply, Refusal> },
    /// The group is to sign; the lane's owner collects.
    Sign { position: u64, key: KeyId, input: SigningInput, collector: Party },
    /// The group is to sign, and all are to tell the signature.
    SignForState { position: u64, key: KeyId, input: SigningInput },
    /// The lane's owner said that this server lost its log.
    Rejoin { party: Party },
}

/// What a batch did.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) executed: u32,
    pub(crate) skipped: u32,
}

/// One service with what belongs to it.
#[derive(Clone, Debug, Hash)]
struct Hosted<M> {
    machine: M,
    sessions: Sessions,
    /// Who has reported on which wanted task.
    reported: BTreeMap<TaskId, PartySet>,
    /// What the group is signing for its state.
    signing: Signing,
}

/// The replicated state.
#[derive(Clone, Debug, Hash)]
pub(crate) struct State<M> {
    services: BTreeMap<ServiceId, Hosted<M>>,
    clock: Clock,
    position: u64,
    front_ends: BTreeMap<Party, FrontEndNumbers>,
    /// The latest time that each server says its clock has passed.
    passed: BTreeMap<Party, AgreedTime>,
    rejoins: Rejoins,
    /// In the hybrid configuration, those of the trusted components.
    lives: Option<Lives>,
    /// The first number of each home whose value is neither applied nor given up.
    floors: BTreeMap<Party, u64>,
}

/// What is the same for all items of a batch.
struct Batch<'a> {
    structure: &'a AdversaryStructure,
    lane: Party,
    seed: Digest,
    share: Share,
}

impl<M: StateMachine> State<M> {
    pub(crate) fn new(services: impl IntoIterator<Item = (ServiceId, M)>) -> Self {
        let hosted = |machine| Hosted {
            machine,
            sessions: Sessions::default(),
            reported: BTreeMap::new(),
            signing: Signing::new(),
        };
        let services: BTreeMap<ServiceId, Hosted<M>> =
            services.into_iter().map(|(id, machine)| (id, hosted(machine))).collect();
        assert!(services.len() <= SERVICES_MAX, "at most {SERVICES_MAX} services in a group");
        Self {
            services,
            clock: Clock::default(),
            position: 0,
            front_ends: BTreeMap::new(),
            passed: BTreeMap::new(),
            rejoins: Rejoins::default(),
            lives: None,
            floors: BTreeMap::new(),
        }
    }

    /// In the hybrid configuration, among these members until lives of others are admitted.
    pub(crate) fn set_members(&mut self, members: Members) {
        self.lives = Some(Lives::new(members));
    }

    /// In the hybrid configuration, the members in the present epoch.
    pub(crate) fn members(&self) -> Option<&Members> {
        self.lives.as_ref().map(Lives::members)
    }

    /// May this life be admitted in the place of the present one?
    pub(crate) fn may_follow(&self, party: Party, life: &Life) -> bool {
        let lives = self.lives.as_ref();
        lives.is_some_and(|lives| lives.may_follow(&self.rejoins, party, life))
    }

    /// The first number of each home whose value is neither applied nor given up.
    pub(crate) fn value_floors(&self) -> &BTreeMap<Party, u64> {
        &self.floors
    }

    /// Which values of `lane` are needed to apply a batch with these items. (A6)
    pub(crate) fn wanted_values<'a>(
        &self,
        lane: Party,
        items: impl Iterator<Item = &'a Bytes>,
    ) -> Vec<(u64, Commitment)> {
        let mut floor = self.floors.get(&lane).copied().unwrap_or_default();
        let mut wanted = Vec::new();
        for (number, bundle) in items.filter_map(reference) {
            if number == floor {
                wanted.extend(named_value(&bundle).map(|named| (number, named)));
                floor += 1;
            }
        }
        wanted
    }

    /// The agreed time.
    pub(crate) fn now(&self) -> AgreedTime {
        self.clock.now()
    }

    /// Number of the next request.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// One of the services.
    pub(crate) fn machine(&self, service: ServiceId) -> Option<&M> {
        self.services.get(&service).map(|hosted| &hosted.machine)
    }

    /// A number for the front end of `party` above all that were ordered.
    pub(crate) fn next_front_end_number(&self, party: Party) -> u64 {
        self.front_ends.get(&party).map_or(0, FrontEndNumbers::next)
    }

    /// When something is to happen though nobody asks: a service wants to be woken, or a server
    /// may be admitted.
    pub(crate) fn wake_at(&self, structure: &AdversaryStructure) -> Option<AgreedTime> {
        let services = self.services.values().filter_map(|hosted| hosted.machine.wake_at());
        services.chain(self.rejoins.due(structure)).min()
    }

    /// Is there a reason to end the epoch? (A5)
    pub(crate) fn wants_epoch_change(&self) -> bool {
        self.rejoins.wants_epoch_change()
    }

    /// Has `party` asked with this number, and been heard?
    pub(crate) fn knows_rejoin(&self, party: Party, nonce: Nonce) -> bool {
        self.rejoins.is_known(party, nonce)
    }

    /// Who was admitted again.
    pub(crate) fn admitted(&self) -> List<Admission, PARTIES_MAX> {
        self.rejoins.admitted()
    }

    /// An epoch of the servers `all` has ended, and `next` begins. (A5)
    pub(crate) fn on_epoch_ended(&mut self, next: Epoch, all: PartySet) {
        let now = self.clock.now();
        let admitted = match &mut self.lives {
            None => self.rejoins.on_epoch_ended(next, now),
            Some(lives) => lives.on_epoch_ended(&mut self.rejoins, next, now),
        };
        if admitted.is_empty() {
            return;
        }
        for home in all.iter() {
            let floor = self.floors.entry(home).or_default();
            *floor = floor.saturating_add(GRANTED_MAX); // A6
        }
    }

    /// Of all that is remembered, what the group was to sign, with its position; ascending.
    pub(crate) fn to_be_signed(&self) -> BTreeMap<u64, (KeyId, SigningInput)> {
        let services = self.services.values();
        let of_services =
            services.flat_map(|hosted| hosted.sessions.to_be_signed().chain(hosted.under_way()));
        let of_front_ends = self.front_ends.values().flat_map(FrontEndNumbers::to_be_signed);
        of_services.chain(of_front_ends).collect()
    }

    /// The wanted tasks on which `party` has not reported.
    pub(crate) fn tasks_for(&self, party: Party) -> Vec<(ServiceId, Task)> {
        let mut tasks = Vec::new();
        for (service, hosted) in &self.services {
            let open = hosted.machine.tasks().into_iter().filter(|task| {
                hosted.reported.get(&task.id).is_none_or(|parties| !parties.contains(party))
            });
            tasks.extend(open.map(|task| (*service, task)));
        }
        tasks
    }

    /// Applies one batch. (A1, A2)
    pub(crate) fn apply(
        &mut self,
        ordered: Ordered,
        structure: &AdversaryStructure,
        effects: &mut Vec<Effect>,
    ) -> Tally {
        let share = Share::of(structure.n(), self.services.len());
        let batch = Batch { structure, lane: ordered.lane, seed: ordered.seed, share };
        if let Some(time) = ordered.time {
            self.clock.advance(time);
        }
        self.wake_due(&batch);
        let mut tally = Tally::default();
        let mut values = ordered.values;
        for bytes in ordered.items {
            match Item::from_wire(bytes) {
                Ok(Item::Large { number, bundle }) => {
                    let value = values.remove(&number);
                    self.on_large(&batch, number, bundle, value, &mut tally, effects);
                }
                Ok(Item::Bundle(bundle)) => self.on_bundle(&batch, bundle, &mut tally, effects),
                Ok(Item::FrontEnd(asked)) => self.on_front_end(&batch, asked, &mut tally, effects),
                Ok(Item::Server(command)) => self.on_server_command(&batch, command, effects),
                Err(_) => tally.skipped += 1,
            }
        }
        for hosted in self.services.values_mut() {
            hosted.forget_finished_tasks();
        }
        self.begin_signatures(effects);
        tally
    }

    /// What the sessions say about a bundle without ordering it: `None` if some of it is new.
    pub(crate) fn known_replies(
        &self,
        bundle: &ClientBundle,
    ) -> Option<Vec<(u64, SequencedReply)>> {
        let (session, first, count) = match &bundle.ask {
            Ask::Open { nonce, .. } => {
                let session =
                    self.services.get(&bundle.service)?.sessions.opened(bundle.key, *nonce)?;
                let body = ReplyBody::Opened { nonce: *nonce };
                return Some(vec![(0, SequencedReply { session, sequence: 0, body })]);
            }
            Ask::Requests { session, first, requests, .. } => (session, first, requests.len()),
            Ask::Large { session, sequence, .. } => (session, sequence, 1),
        };
        let hosted = self.services.get(&bundle.service)?;
        let mut replies = Vec::new();
        for sequence in numbers(*first, count) {
            match hosted.sessions.judge(bundle.key, *session, sequence) {
                Verdict::Known { position, reply } => {
                    let body = reply.unwrap_or(ReplyBody::Refused(Refusal::Forgotten));
                    replies.push((position, SequencedReply { session: *session, sequence, body }));
                }
                Verdict::Acknowledged => {}
                Verdict::Execute | Verdict::Beyond | Verdict::Unknown => return None,
            }
        }
        Some(replies)
    }

    fn on_bundle(
        &mut self,
        batch: &Batch<'_>,
        bundle: ClientBundle,
        tally: &mut Tally,
        effects: &mut Vec<Effect>,
    ) {
        let ClientBundle { key, service, ask, .. } = bundle;
        match ask {
            // In another lane it stands without the client's will, to be counted there.
            Ask::Open { home, .. } if home != batch.lane => tally.skipped += 1,
            Ask::Open { nonce, .. } => self.on_open(batch, key, service, nonce, effects),
            // It stands where its value has no number.
            Ask::Large { .. } => tally.skipped += 1,
            Ask::Requests { session, first, acknowledged, requests } => {
                let position = self.position;
                if let Some(hosted) = self.services.get_mut(&service) {
                    hosted.sessions.acknowledge(key, session, acknowledged, position);
                }
                let caller = Caller::Client { key, session };
                let numbers = numbers(first, requests.len());
                for (sequence, request) in numbers.zip(requests.into_vec()) {
                    let (position, body) =
                        self.on_request(batch, caller, service, sequence, &request, tally, effects);
                    let Some(body) = body else { continue };
                    let reply = SequencedReply { session, sequence, body };
                    effects.push(Effect::Client { key, reply, position });
                }
            }
        }
    }

    /// A large request, in its turn. (A6)
    fn on_large(
        &mut self,
        batch: &Batch<'_>,
        number: u64,
        bundle: ClientBundle,
        value: Option<(Commitment, CodedValue)>,
        tally: &mut Tally,
        effects: &mut Vec<Effect>,
    ) {
        let ClientBundle { key, service, ask, .. } = bundle;
        let floor = self.floors.entry(batch.lane).or_default();
        let is_next = number == *floor;
        *floor += u64::from(is_next);
        let (Some((commitment, bytes)), Ask::Large { session, sequence, acknowledged, value }) =
            (value.filter(|_| is_next), ask)
        else {
            tally.skipped += 1;
            return;
        };
        if commitment != value {
            tally.skipped += 1;
            return;
        }
        let position = self.position;
        if let Some(hosted) = self.services.get_mut(&service) {
            hosted.sessions.acknowledge(key, session, acknowledged, position);
        }
        let caller = Caller::Client { key, session };
        let (position, body) =
            self.on_request(batch, caller, service, sequence, &bytes, tally, effects);
        if let Some(body) = body {
            let reply = SequencedReply { session, sequence, body };
            effects.push(Effect::Client { key, reply, position });
        }
    }

    fn on_open(
        &mut self,
        batch: &Batch<'_>,
        key: ClientKey,
        service: ServiceId,
        nonce: u64,
        effects: &mut Vec<Effect>,
    ) {
        let position = self.take_position();
        let fresh = SessionId(position);
        let (session, body) = match self.services.get_mut(&service) {
            Some(hosted) => {
                let id = hosted.sessions.open(key, nonce, batch.lane, fresh, batch.share);
                (id, ReplyBody::Opened { nonce })
            }
            None => (fresh, ReplyBody::Refused(Refusal::UnknownService)),
        };
        let reply = SequencedReply { session, sequence: 0, body };
        effects.push(Effect::Client { key, reply, position });
    }

    /// One request of a session: its position and the reply to give.
    #[expect(clippy::too_many_arguments, reason = "one call site; a struct would only rename them")]
    fn on_request(
        &mut self,
        batch: &Batch<'_>,
        caller: Caller,
        service: ServiceId,
        sequence: u64,
        request: &[u8],
        tally: &mut Tally,
        effects: &mut Vec<Effect>,
    ) -> (u64, Option<ReplyBody>) {
        let Caller::Client { key, session } = caller else {
            unreachable!("sessions belong to clients")
        };
        let refused = |refusal| (0, Some(ReplyBody::Refused(refusal)));
        let Some(hosted) = self.services.get(&service) else {
            tally.skipped += 1;
            return refused(Refusal::UnknownService);
        };
        let verdict = hosted.sessions.judge(key, session, sequence);
        if verdict != Verdict::Execute {
            tally.skipped += 1;
        }
        match verdict {
            Verdict::Execute => {}
            Verdict::Known { position, reply } => {
                let body = reply.unwrap_or(ReplyBody::Refused(Refusal::Forgotten));
                return (position, Some(body));
            }
            Verdict::Acknowledged => return (0, None),
            Verdict::Beyond => return refused(Refusal::BeyondWindow),
            Verdict::Unknown => return refused(Refusal::UnknownSession),
        }
        tally.executed += 1;
        let (position, reply) = self.execute(batch, caller, service, request);
        let body = match reply {
            Reply::Plain(body) => ReplyBody::Plain(bounded(body)),
            Reply::Sign { key, input, body } => {
                let collector = batch.lane;
                effects.push(Effect::Sign { position, key, input: input.clone(), collector });
                ReplyBody::Sign { key, input, body: bounded(body) }
            }
        };
        let hosted = self.services.get_mut(&service).expect("it has just executed");
        hosted.sessions.executed(session, sequence, position, body.clone(), batch.share);
        (position, Some(body))
    }

    fn on_front_end(
        &mut self,
        batch: &Batch<'_>,
        asked: FrontEndRequest,
        tally: &mut Tally,
        effects: &mut Vec<Effect>,
    ) {
        let FrontEndRequest { number, service, request } = asked;
        let party = batch.lane;
        if !self.front_ends.entry(party).or_default().take(number) {
            tally.skipped += 1;
            return;
        }
        if !self.services.contains_key(&service) {
            tally.skipped += 1;
            let (position, reply) = (self.position, Err(Refusal::UnknownService));
            return effects.push(Effect::FrontEnd { party, number, position, reply });
        }
        tally.executed += 1;
        let (position, reply) = self.execute(batch, Caller::FrontEnd(party), service, &request);
        if let Reply::Sign { key, input, .. } = &reply {
            let (key, input) = (*key, input.clone());
            self.front_ends.entry(party).or_default().sign(position, key, input.clone());
            effects.push(Effect::Sign { position, key, input, collector: party });
        }
        effects.push(Effect::FrontEnd { party, number, position, reply: Ok(reply) });
    }

    fn execute(
        &mut self,
        batch: &Batch<'_>,
        caller: Caller,
        service: ServiceId,
        request: &[u8],
    ) -> (u64, Reply) {
        let position = self.take_position();
        let cx = batch.context(self.clock.now(), service, caller, position);
        let hosted = self.services.get_mut(&service).expect("callers look before they execute");
        (position, hosted.machine.apply(request, &cx))
    }

    fn take_position(&mut self) -> u64 {
        let position = self.position;
        self.position += 1;
        position
    }
}

impl<'a> Batch<'a> {
    fn context(
        &self,
        time: AgreedTime,
        service: ServiceId,
        caller: Caller,
        position: u64,
    ) -> ApplyContext<'a> {
        let (batch_seed, structure) = (self.seed, self.structure);
        ApplyContext { time, batch_seed, service, caller, position, structure }
    }
}

impl<M: StateMachine> Hosted<M> {
    fn forget_finished_tasks(&mut self) {
        if !self.reported.is_empty() {
            let wanted = self.machine.tasks();
            self.reported.retain(|id, _| wanted.iter().any(|task| task.id == *id));
        }
    }
}

/// The sequence numbers of a bundle; numbers beyond the end of all numbers do not exist.
fn numbers(first: u64, count: usize) -> impl Iterator<Item = u64> {
    (0..count as u64).map_while(move |offset| first.checked_add(offset))
}

fn bounded<const MAX: usize>(body: Bytes) -> Blob<MAX> {
    Blob::new(body).expect("a service keeps its replies within the bound")
}
