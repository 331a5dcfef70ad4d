//! All that is around a group of replicas: clients, front ends, clocks, the outside, an operator,
//! and whoever erases disks.

use super::book::{Book, Entry, TRUTH};
use super::clients::{Crook, Patron, Wish};
use super::{BOOK, Hull, Sut, stamp};
use crate::check::Complaint;
use crate::plan::Plan;
use crate::world::DrillSuite;
use maftia_activity::{
    AgreedTime, ArchiveKey, Command, Either, FrontEndReply, Nonce, Outcome, Record, Refusal,
    Replica, ReplyBody, ReplyBundle, Standing, replies_statement,
};
use maftia_agreement::atomic::BATCH_WEIGHT;
use maftia_base::time::{Reading, Time};
use maftia_base::wire::{Blob, Bytes};
use maftia_base::{Digest, GroupId, Party, PartySet};
use maftia_crypto::{Done, Work};
use maftia_services::NOTARY;
use maftia_services::notary::Notary;
use maftia_sim::{CLOCK_START, Random, Simulation};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What servers have told the outside, until somebody looks.
pub(super) struct Post<S: DrillSuite> {
    bundles: Vec<(Party, ReplyBundle<S>)>,
    fronts: Vec<(Party, u64, FrontEndReply)>,
    /// How often each server was restarted.
    pub(super) lives: Vec<u32>,
    wakes: Vec<Option<AgreedTime>>,
    /// Whose state has changed since it was looked at.
    changed: PartySet,
    nonces: BTreeMap<Party, Nonce>,
    feats: BTreeMap<&'static str, u64>,
    pub(super) complaints: Vec<Complaint>,
}

/// A request of a stock client.
#[derive(Clone, Debug)]
pub(super) struct Front {
    pub(super) party: Party,
    pub(super) request: Bytes,
    pub(super) at: Time,
    pub(super) life: u32,
    pub(super) answered: Option<(Time, FrontEndReply)>,
}

/// Who loses its disk, when, and what happens to it after that.
#[derive(Clone, Debug)]
struct Wiping {
    victim: Party,
    at: u64,
    is_done: bool,
    /// When it falls again on its way back.
    falls: Vec<u64>,
}

/// Everybody who acts.
pub(super) struct Desk<S: DrillSuite> {
    pub(super) patrons: Vec<Patron<S>>,
    crooks: Vec<Crook>,
    pub(super) fronts: Vec<Front>,
    fronts_left: u64,
    /// When the operator wants the epoch to change.
    turns: Vec<u64>,
    wiping: Option<Wiping>,
    tick: u64,
    random: Random,
    /// For each position and each number of entries, the chain that was first seen there.
    seen: BTreeMap<(u8, u64), (Party, Digest)>,
}

/// The clocks of a run.
#[derive(Clone, Copy, Debug)]
enum Tick {
    Off(i64),
    Stopped(u64),
    Alternating,
}

/// See the module.
pub(super) struct World<S: DrillSuite> {
    pub(super) corrupt: PartySet,
    pub(super) may_stall: bool,
    pub(super) keyrings: Rc<Vec<S::Keyring>>,
    interval: u64,
    bulk: usize,
    clocks: Vec<Tick>,
    /// By how much the time of trusted components may be off.
    slack: u64,
    lies_to_clients: bool,
    pub(super) post: RefCell<Post<S>>,
    pub(super) desk: RefCell<Desk<S>>,
}

/// By how many microseconds the time of trusted components may be off.
const COMPONENTS_ARE_OFF: u64 = 200_000;

/// How many events pass between two looks at clients.
const LOOK_EVERY: u64 = 6;

impl<S: DrillSuite> World<S> {
    pub(super) fn new(plan: &Plan, is_hybrid: bool, random: &mut Random) -> Self {
        let (n, corrupt) = (plan.shape.n(), plan.corrupt());
        let structure = plan.shape.quorums().structure();
        let keyrings = S::keyrings(plan.shape);
        let busy = if plan.storage == "restless" { 3 } else { 1 };
        let load = if S::IS_REAL { 6 } else { busy * (4 + random.below(20)) };
        let count = 1 + random.below(4);
        let patrons = (0..count).map(|number| {
            let left = 1 + random.below(load);
            Patron::new(number, structure.clone(), &keyrings, left, random)
        });
        let patrons = patrons.collect();
        let crooks = (0..random.below(3).saturating_sub(1))
            .map(|number| Crook::new::<S>(100 + number, 5 + random.below(20)));
        let crooks = crooks.collect();
        let span = 1_500 * n as u64;
        let turns = (0..random.below(6).saturating_sub(3)).map(|_| random.below(span)).collect();
        let wiping = plan.wiped().iter().next().map(|victim| {
            let at = 1 + random.below(span / 2);
            let falls = (0..random.below(4)).map(|_| at + random.below(span / 2)).collect();
            Wiping { victim, at, is_done: false, falls }
        });
        let clocks = (0..n).map(|index| clock_of(corrupt.contains(Party::new(index)), random));
        let clocks = clocks.collect();
        let desk = Desk {
            patrons,
            crooks,
            fronts: Vec::new(),
            fronts_left: random.below(10) * busy,
            turns,
            wiping,
            tick: 0,
            random: random.fork(7),
            seen: BTreeMap::new(),
        };
        Self {
            corrupt,
            may_stall: plan.storage == "wiped-beyond",
            keyrings,
            interval: (2 + random.below(6)) * BATCH_WEIGHT,
            bulk: if random.chance(60) { 600_000 } else { 0 },
            clocks,
            slack: if is_hybrid { COMPONENTS_ARE_OFF } else { 0 },
            lies_to_clients: random.chance(300),
            post: RefCell::new(Post::new(n)),
            desk: RefCell::new(desk),
        }
    }

    /// A server as its disk has it.
    pub(super) fn replica(&self, party: Party, restarts: u32) -> Sut<S> {
        let post = &mut *self.post.borrow_mut();
        post.lives[party.index()] = restarts;
        post.wakes[party.index()] = None;
        let notary = Either::Left(Notary::new(stamp::profile()));
        let services = [(NOTARY, notary), (BOOK, Either::Right(Book::new(self.bulk)))];
        let server = Replica::new(services).with_mark_interval(self.interval);
        match post.nonces.get(&party) {
            Some(nonce) => server.rejoining(*nonce),
            None => server,
        }
    }

    /// What the copies of corrupt servers are asked.
    pub(super) fn first_orders(&self, party: Party, face: usize) -> Vec<Command<S>> {
        if !self.corrupt.contains(party) {
            return Vec::new();
        }
        let order = |number: u64| Command::FrontEnd {
            id: 1_000_000 + number,
            service: BOOK,
            request: format!("p:l{}:{face}:{number}", party.index()).into(),
        };
        (0..3).map(order).collect()
    }

    pub(super) fn clock(&self, party: Party, now: Time) -> Reading {
        Reading(match self.clocks[party.index()] {
            Tick::Off(by) => (CLOCK_START.0 + now.0).saturating_add_signed(by),
            Tick::Stopped(at) => at,
            Tick::Alternating => match now.0 / 7 % 2 {
                0 => 0,
                _ => u64::MAX,
            },
        })
    }

    pub(super) fn is_hybrid(&self) -> bool {
        self.slack > 0
    }

    /// What honest clocks show: the earliest and the latest. Those of components show the time,
    /// nearly, and are among them.
    pub(super) fn readings(&self, now: Time) -> (u64, u64) {
        if self.is_hybrid() {
            let shown = CLOCK_START.0 + now.0;
            return (shown - self.slack, shown + self.slack);
        }
        self.servers_readings(now)
    }

    /// The same of the servers' own clocks.
    pub(super) fn servers_readings(&self, now: Time) -> (u64, u64) {
        let honest = (0..self.clocks.len()).map(Party::new);
        let honest = honest.filter(|party| !self.corrupt.contains(*party));
        let readings: Vec<u64> = honest.map(|party| self.clock(party, now).0).collect();
        let (min, max) = (readings.iter().min(), readings.iter().max());
        (*min.expect("somebody is honest"), *max.expect("somebody is honest"))
    }

    /// The driver's answer to an outcome, with its log.
    pub(super) fn on_outcome(
        &self,
        party: Party,
        told: &Outcome<S>,
        log: &[Record<S>],
    ) -> Vec<Command<S>> {
        let post = &mut *self.post.borrow_mut();
        let is_corrupt = self.corrupt.contains(party);
        match told {
            Outcome::Recall { to, key } => {
                let found = log.iter().rev().find(|record| record.archive_key() == Some(*key));
                let record = found.cloned().map(Box::new);
                return vec![Command::Recalled { to: *to, key: *key, record }];
            }
            Outcome::Task { service, task } => {
                let result = if is_corrupt { &b"lie"[..] } else { TRUTH };
                let (service, id) = (*service, task.id);
                let result = Blob::new(result).expect("short");
                return vec![Command::TaskResult { service, id, result }];
            }
            Outcome::ClientReplies(bundle) => {
                let lies = is_corrupt && self.lies_to_clients;
                let bundle = if lies { self.forged(party, bundle) } else { bundle.clone() };
                post.bundles.push((party, bundle));
            }
            Outcome::FrontEndReply { id, reply } if !is_corrupt => {
                post.fronts.push((party, *id, reply.clone()));
            }
            Outcome::WakeAt(at) => post.wakes[party.index()] = *at,
            Outcome::Applied(_) if !is_corrupt => drop(post.changed.insert(party)),
            Outcome::Installed(_) if !is_corrupt => {
                post.changed.insert(party);
                post.count("transfers");
                if post.nonces.contains_key(&party) {
                    post.count("rejoins");
                }
            }
            Outcome::EpochEnded { .. } if !is_corrupt => post.count("epochs"),
            Outcome::Convicted(_) if !is_corrupt => post.count("convictions"),
            Outcome::ClientLied(key) => post.on_lie(*key, &self.honest_keys()),
            _ => {}
        }
        Vec::new()
    }

    fn honest_keys(&self) -> Vec<maftia_crypto::ClientKey> {
        // Within a look at the desk nothing is told that could be a lie.
        let desk = self.desk.try_borrow();
        desk.map(|desk| desk.patrons.iter().map(|patron| patron.key).collect()).unwrap_or_default()
    }

    pub(super) fn on_cut(&self, told: &Outcome<S>, log: &[Record<S>]) -> Option<usize> {
        let Outcome::Cut(key) = told else { return None };
        let found = log.iter().position(|record| record.archive_key() == Some(*key));
        let post = &mut *self.post.borrow_mut();
        if found.is_some_and(|count| count > 0) {
            post.count("cuts");
        }
        // A crash may have kept the state of a mark, and lost what was open and written again.
        let is_end = |record: &Record<S>| match (record, key) {
            (Record::Begun(begun), ArchiveKey::Snapshot(mark, _)) => begun == mark,
            _ => false,
        };
        if found.is_some_and(|at| !log[at..].iter().any(is_end)) {
            let what =
                format!("the log is cut at {key:?}, and what was open there is not all in it");
            post.complaints.push(Complaint::new("state", what));
        }
        found
    }

    /// The replies of a corrupt server, changed, under its own good signature.
    fn forged(&self, party: Party, bundle: &ReplyBundle<S>) -> ReplyBundle<S> {
        let mut replies = bundle.replies.clone().into_vec();
        for reply in &mut replies {
            if let ReplyBody::Plain(body) = &reply.body {
                let mut bytes = body.to_vec();
                bytes.iter_mut().for_each(|byte| *byte ^= 0x11);
                reply.body = ReplyBody::Plain(Blob::new(bytes).expect("as long as before"));
            } else {
                reply.body = ReplyBody::Refused(Refusal::UnknownSession);
            }
        }
        let replies = maftia_base::wire::List::new(replies).expect("as many as before");
        let statement = replies_statement(GroupId::default(), bundle.key, &replies);
        let keyring = &self.keyrings[party.index()];
        let Done::Signed(signed) = crate::world::work::<S>(keyring, Work::Sign(statement)) else {
            return bundle.clone();
        };
        ReplyBundle { replies, signature: Some(signed.signature), ..bundle.clone() }
    }

    /// Everybody acts. Called before every event.
    pub(super) fn tend<H: Hull<S>>(&self, sim: &mut Simulation<H::Protocol>) {
        let desk = &mut *self.desk.borrow_mut();
        desk.tick += 1;
        let (bundles, fronts, changed) = {
            let post = &mut *self.post.borrow_mut();
            let (bundles, fronts) =
                (std::mem::take(&mut post.bundles), std::mem::take(&mut post.fronts));
            (bundles, fronts, std::mem::take(&mut post.changed))
        };
        let now = sim.now();
        for (from, bundle) in bundles {
            desk.hear(from, bundle, now);
        }
        for (party, id, reply) in fronts {
            if let Err(complaint) = desk.answered(party, id, reply, now) {
                self.post.borrow_mut().complaints.push(complaint);
            }
        }
        for party in changed.iter().filter(|party| sim.is_up(*party)) {
            let verdict = sim.state(party).map(|state| desk.look(party, H::replica(state)));
            if let Some(Err(complaint)) = verdict {
                self.post.borrow_mut().complaints.push(complaint);
            }
        }
        let is_idle = sim.pending() == 0;
        if is_idle || desk.tick.is_multiple_of(LOOK_EVERY) {
            self.clients_act::<H>(desk, sim);
            self.outside_acts::<H>(desk, sim);
        }
        self.wipe_perhaps::<H>(desk, sim, is_idle);
    }

    fn clients_act<H: Hull<S>>(&self, desk: &mut Desk<S>, sim: &mut Simulation<H::Protocol>) {
        let (now, n) = (sim.now(), self.clocks.len());
        let up = |sim: &Simulation<H::Protocol>| -> PartySet {
            (0..n).map(Party::new).filter(|party| sim.is_up(*party)).collect()
        };
        let lives = self.post.borrow().lives.clone();
        let mut wishes = Vec::new();
        for patron in &mut desk.patrons {
            let acts = patron.act((up(sim), &lives), now, &mut desk.random);
            wishes.extend(acts.into_iter().map(|wish| (patron.key, wish)));
        }
        for crook in &mut desk.crooks {
            if desk.random.chance(100) {
                let acts = crook.act(up(sim), &mut desk.random);
                let sends = acts.into_iter().map(|(to, bundle)| Wish::Send(to, bundle));
                let attach = up(sim).iter().map(Wish::Attach).collect::<Vec<_>>();
                wishes.extend(attach.into_iter().chain(sends).map(|wish| (crook.key, wish)));
            }
        }
        for (key, wish) in wishes {
            let (to, command) = match wish {
                Wish::Attach(to) => (to, Command::Attach(key)),
                Wish::Send(to, bundle) => (to, Command::Bundle(bundle)),
            };
            // A command can make a server crash.
            if sim.is_up(to) {
                sim.command(to, command);
            }
        }
    }

    fn outside_acts<H: Hull<S>>(&self, desk: &mut Desk<S>, sim: &mut Simulation<H::Protocol>) {
        let honest: Vec<Party> = sim.honest().iter().filter(|party| sim.is_up(*party)).collect();
        if desk.fronts_left > 0 && !honest.is_empty() && desk.random.chance(150) {
            desk.fronts_left -= 1;
            let party = honest[desk.random.below(honest.len() as u64) as usize];
            let id = desk.fronts.len() as u64;
            let kind = if S::IS_REAL || desk.random.chance(500) { "p" } else { "s" };
            let request: Bytes = format!("{kind}:f{}:{id}", party.index()).into();
            let life = self.post.borrow().lives[party.index()];
            let (at, answered) = (sim.now(), None);
            desk.fronts.push(Front { party, request: request.clone(), at, life, answered });
            sim.command(party, Command::FrontEnd { id, service: BOOK, request });
        }
        let due = |at: &u64| *at <= desk.tick;
        if desk.turns.iter().any(due) {
            desk.turns.retain(|at| !due(at));
            for party in honest.iter().filter(|party| sim.is_up(**party)).collect::<Vec<_>>() {
                sim.command(*party, Command::ChangeEpoch);
            }
        }
        for party in honest {
            let at = self.post.borrow().wakes[party.index()];
            if let Some(at) = at
                && at.0 <= self.clock(party, sim.now()).0
                && sim.is_up(party)
            {
                self.post.borrow_mut().wakes[party.index()] = None;
                sim.command(party, Command::WakeDue(at));
            }
        }
    }

    fn wipe_perhaps<H: Hull<S>>(
        &self,
        desk: &mut Desk<S>,
        sim: &mut Simulation<H::Protocol>,
        is_idle: bool,
    ) {
        let tick = desk.tick;
        let Some(wiping) = &mut desk.wiping else { return };
        let victim = wiping.victim;
        if !sim.is_up(victim) {
            return;
        }
        if !wiping.is_done {
            if tick < wiping.at && !is_idle {
                return;
            }
            wiping.is_done = true;
            let early = wiping.at.saturating_sub(tick);
            wiping.falls.iter_mut().for_each(|at| *at -= early);
            sim.wipe(victim);
            sim.trust_again(victim);
            let nonce = Nonce(Digest::of_encoded("drill nonce", &desk.random.bits()));
            {
                let post = &mut *self.post.borrow_mut();
                post.nonces.insert(victim, nonce);
                post.count("wipes");
            }
            return sim.restart(victim);
        }
        let before = wiping.falls.len();
        wiping.falls.retain(|at| *at > tick);
        if wiping.falls.len() < before {
            sim.crash(victim);
            sim.restart(victim);
        }
    }

    /// Has everybody got what it waits for?
    pub(super) fn is_content<H: Hull<S>>(&self, sim: &Simulation<H::Protocol>) -> bool {
        let (desk, post) = (self.desk.borrow(), self.post.borrow());
        let is_open = |front: &Front| {
            front.answered.is_none() && front.life == post.lives[front.party.index()]
        };
        let honest = sim.honest();
        desk.patrons.iter().all(Patron::is_content)
            && desk.fronts_left == 0
            && !desk.fronts.iter().any(is_open)
            && desk.wiping.as_ref().is_none_or(|wiping| wiping.is_done)
            && honest.iter().all(|party| {
                let state = sim.state(party).map(H::replica);
                state.is_some_and(|replica| replica.standing() == Standing::Member)
            })
    }

    /// Are all honest servers in one state, as far as anybody can tell?
    pub(super) fn is_even<H: Hull<S>>(&self, sim: &Simulation<H::Protocol>) -> bool {
        let honest = sim.honest();
        let replicas: Vec<_> =
            honest.iter().filter_map(|party| sim.state(party).map(H::replica)).collect();
        let place = |replica: &Sut<S>| (replica.epoch(), replica.position(), replica.marks());
        let is_sealed = |replica: &Sut<S>| {
            let mut seals = book(replica).into_iter().flat_map(|book| &book.seals);
            seals.all(|seal| !seal.signature.is_empty())
        };
        replicas.iter().all(|replica| is_sealed(replica))
            && replicas.windows(2).all(|pair| place(pair[0]) == place(pair[1]))
            && replicas.windows(2).all(|pair| pair[0].digest() == pair[1].digest())
    }

    pub(super) fn feats(&self) -> Vec<(&'static str, u64)> {
        self.post.borrow().feats.iter().map(|(name, times)| (*name, *times)).collect()
    }
}

fn clock_of(is_corrupt: bool, random: &mut Random) -> Tick {
    let off = random.below(4_000_000) as i64 - 2_000_000;
    let ten_years = 10 * 365 * 24 * 3_600 * 1_000_000;
    match is_corrupt {
        false => Tick::Off(off),
        true => match random.below(6) {
            0 => Tick::Off(ten_years),
            1 => Tick::Off(-ten_years),
            2 => Tick::Stopped(0),
            3 => Tick::Stopped(u64::MAX),
            4 => Tick::Alternating,
            _ => Tick::Off(off),
        },
    }
}

impl<S: DrillSuite> Post<S> {
    fn new(n: usize) -> Self {
        Self {
            bundles: Vec::new(),
            fronts: Vec::new(),
            lives: vec![0; n],
            wakes: vec![None; n],
            changed: PartySet::EMPTY,
            nonces: BTreeMap::new(),
            feats: BTreeMap::new(),
            complaints: Vec::new(),
        }
    }

    fn count(&mut self, feat: &'static str) {
        *self.feats.entry(feat).or_default() += 1;
    }

    fn on_lie(&mut self, key: maftia_crypto::ClientKey, honest: &[maftia_crypto::ClientKey]) {
        if honest.contains(&key) {
            let what = "a client that signs what it asks is said to lie";
            self.complaints.push(Complaint::new("blameless", what));
        }
    }
}

impl<S: DrillSuite> Desk<S> {
    fn hear(&mut self, from: Party, bundle: ReplyBundle<S>, now: Time) {
        if let Some(crook) = self.crooks.iter_mut().find(|crook| crook.key == bundle.key) {
            return crook.hear(&bundle);
        }
        for reply in bundle.replies.iter() {
            self.crooks.iter_mut().for_each(|crook| crook.foreign.push(reply.session));
        }
        if let Some(patron) = self.patrons.iter_mut().find(|patron| patron.key == bundle.key) {
            patron.hear(from, bundle, now);
        }
    }

    fn answered(
        &mut self,
        party: Party,
        id: u64,
        reply: FrontEndReply,
        now: Time,
    ) -> Result<(), Complaint> {
        // Those of corrupt servers' own clients are nobody's business.
        let Some(front) = self.fronts.get_mut(id as usize) else { return Ok(()) };
        let is_first = front.party == party && front.answered.is_none();
        front.answered = Some((now, reply));
        crate::check::ensure(is_first, "integrity", || {
            format!("{party} answers request {id} of a stock client twice, or for another server")
        })
    }

    /// Equal positions, equal states; equally many entries, equal entries. (order, state)
    fn look(&mut self, party: Party, replica: &Sut<S>) -> Result<(), Complaint> {
        let (Some(book), Some(issued)) = (book(replica), issued(replica)) else {
            return Err(Complaint::new("state", format!("{party} has lost a service")));
        };
        let whole = Digest::of_encoded("drill state", &(book.chain, issued));
        self.same(party, (0, replica.position()), whole, "state")?;
        let entries: Option<&Entry> = book.entries.last();
        let last = entries.map_or(0, |entry| entry.position);
        let text = entries.map_or(&[][..], |entry| &entry.request);
        let text = Digest::of("drill entry", text);
        let tail = Digest::of_encoded("drill entries", &(last, text));
        self.same(party, (1, book.entries.len() as u64), tail, "order")
    }

    pub(super) fn same(
        &mut self,
        party: Party,
        place: (u8, u64),
        digest: Digest,
        checker: &'static str,
    ) -> Result<(), Complaint> {
        let (other, first) = *self.seen.entry(place).or_insert((party, digest));
        crate::check::ensure(first == digest, checker, || {
            format!("{party} and {other} are not the same at position {}", place.1)
        })
    }
}

/// The drill's own service at a server.
pub(super) fn book<S: DrillSuite>(replica: &Sut<S>) -> Option<&Book> {
    match replica.machine(BOOK)? {
        Either::Right(book) => Some(book),
        Either::Left(_) => None,
    }
}

/// How many tokens the notary has had signed there.
pub(super) fn issued<S: DrillSuite>(replica: &Sut<S>) -> Option<u64> {
    match replica.machine(NOTARY)? {
        Either::Left(notary) => Some(notary.issued()),
        Either::Right(_) => None,
    }
}
