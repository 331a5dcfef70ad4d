//! A simulated group that runs the ledger, and its clients.

pub(crate) use crate::configuration::structure;
use crate::configuration::{configured, prepared};
use crate::ledger::Ledger;
use maftia_activity::client::{
    Authority, Client, ClientEffect, ClientReply, ClientSettings, RequestId,
};
use maftia_activity::{AgreedTime, Command, FrontEndReply, Outcome, Record, Replica};
use maftia_base::time::{Duration, Time};
use maftia_base::wire::Bytes;
use maftia_base::{Epoch, Formula, Group, GroupId, Party, PartySet, ServiceId, Statement};
use maftia_crypto::ideal::{self, IdealClient, IdealKeyring, IdealSuite};
use maftia_crypto::{Claim, ClientSignature, Done, KeyId, SigningInput, Suite, Work};
use maftia_sim::{Builder, Failure, Simulation};

pub(crate) type Sut = Replica<IdealSuite, Ledger>;
pub(crate) type Sim = Simulation<Sut>;

pub(crate) const SERVICE: ServiceId = ServiceId(1);
pub(crate) const EVENTS_MAX: u64 = 2_000_000;

pub(crate) fn p(index: usize) -> Party {
    Party::new(index)
}

pub(crate) fn keyrings(n: usize, seed: u64) -> Vec<IdealKeyring> {
    let structure = structure(n);
    ideal::keyrings(&structure, &Formula::exact(&structure), seed)
}

pub(crate) fn groups(n: usize) -> Vec<Group> {
    let group = |index| Group::new(GroupId::default(), Epoch(0), p(index), structure(n));
    (0..n).map(group).collect()
}

pub(crate) fn replica() -> Sut {
    configured(Replica::new([(SERVICE, Ledger::default())]))
}

/// A group whose servers do their cryptography, answer recalls and do outside work as told.
pub(crate) fn builder(n: usize, seed: u64) -> Builder<Sut> {
    builder_of(groups(n), seed)
}

/// The same for a group that is told.
pub(crate) fn builder_of(groups: Vec<Group>, seed: u64) -> Builder<Sut> {
    let n = groups.len();
    let keyrings = keyrings(n, seed);
    prepared(Simulation::builder(groups, seed), n, seed)
        .worker(move |party, work, clock| {
            IdealSuite::run_many(work, &keyrings[party.index()], clock)
        })
        .application_with_log(|_, outcome, log: &[Record<IdealSuite>]| match outcome {
            Outcome::Recall { to, key } => {
                let found = log.iter().rev().find(|record| record.archive_key() == Some(*key));
                let record = found.cloned().map(Box::new);
                vec![Command::Recalled { to: *to, key: *key, record }]
            }
            _ => Vec::new(),
        })
        .cuts_log(|outcome, log: &[Record<IdealSuite>]| match outcome {
            Outcome::Cut(key) => log.iter().position(|record| record.archive_key() == Some(*key)),
            _ => None,
        })
}

/// As [`builder`], but server `liar` believes every client's signature.
pub(crate) fn gullible_builder(n: usize, seed: u64, liar: Party) -> Builder<Sut> {
    let keyrings = keyrings(n, seed);
    builder(n, seed).worker(move |party, work, clock| {
        let believes = |work: &Work<IdealSuite>| match work {
            Work::VerifyClients(claims) if party == liar => Some(claims.len()),
            _ => None,
        };
        work.into_iter()
            .map(|piece| match believes(&piece) {
                Some(claims) => Done::Verified(vec![true; claims]),
                None => IdealSuite::run_many(vec![piece], &keyrings[party.index()], clock)
                    .pop()
                    .expect("one answer"),
            })
            .collect()
    })
}

pub(crate) fn front_end(sim: &mut Sim, party: Party, id: u64, request: &str) {
    let request = Bytes::copy_from_slice(request.as_bytes());
    sim.command(party, Command::FrontEnd { id, service: SERVICE, request });
}

pub(crate) fn front_end_reply(sim: &Sim, party: Party, wanted: u64) -> Option<FrontEndReply> {
    sim.outcomes(party).iter().find_map(|outcome| match outcome {
        Outcome::FrontEndReply { id, reply } if *id == wanted => Some(reply.clone()),
        _ => None,
    })
}

pub(crate) fn ledger(sim: &Sim, party: Party) -> &Ledger {
    sim.state(party).expect("it is up").machine(SERVICE).expect("it runs the ledger")
}

/// All honest servers have the same state; returns it.
pub(crate) fn common_ledger(sim: &Sim) -> Ledger {
    let snapshots: Vec<_> =
        sim.honest().iter().map(|party| sim.state(party).expect("up").snapshot()).collect();
    assert!(snapshots.windows(2).all(|pair| pair[0] == pair[1]), "states differ");
    ledger(sim, sim.honest().iter().next().expect("somebody is honest")).clone()
}

pub(crate) fn convicted(sim: &Sim, holder: Party) -> PartySet {
    sim.state(holder).expect("up").convictions().map(|accusation| accusation.culprit).collect()
}

pub(crate) fn last_wake(sim: &Sim, party: Party) -> Option<AgreedTime> {
    let wakes = sim.outcomes(party).iter().filter_map(|outcome| match outcome {
        Outcome::WakeAt(at) => Some(*at),
        _ => None,
    });
    wakes.last().flatten()
}

/// The powers of a client in the ideal suite.
pub(crate) struct Powers {
    pub(crate) client: IdealClient,
    pub(crate) keyring: IdealKeyring,
}

impl Authority<IdealSuite> for Powers {
    fn sign(&self, statement: &Statement) -> ClientSignature {
        self.client.sign(statement)
    }

    fn verify(&self, claim: &Claim<IdealSuite>) -> bool {
        let work = vec![Work::Verify(vec![claim.clone()])];
        let done = IdealSuite::run_many(work, &self.keyring, Default::default());
        done == vec![Done::Verified(vec![true])]
    }

    fn verify_threshold(&self, key: KeyId, input: &SigningInput, signature: &[u8]) -> bool {
        self.keyring.is_threshold_signature(key, input, signature)
    }
}

pub(crate) fn client(n: usize, seed: u64, number: u64) -> Client<IdealSuite, Powers> {
    let powers =
        Powers { client: ideal::client(seed, number), keyring: keyrings(n, seed).remove(0) };
    let settings = ClientSettings {
        group: GroupId::default(),
        structure: structure(n),
        service: SERVICE,
        key: powers.client.key(),
        nonce: 1000 * number,
        home: p(number as usize % n),
        retry_after: Duration(100_000),
    };
    Client::new(settings, powers)
}

/// A client that is attached to all servers of a simulation, with what it was answered.
pub(crate) struct Attached {
    pub(crate) client: Client<IdealSuite, Powers>,
    key: maftia_crypto::ClientKey,
    /// By server: how often it was started when the client attached, and what it has told.
    links: Vec<Option<(usize, usize)>>,
    pub(crate) replies: Vec<(RequestId, ClientReply)>,
}

impl Attached {
    pub(crate) fn new(n: usize, seed: u64, number: u64) -> Self {
        let key = ideal::client(seed, number).key();
        let links = vec![None; n];
        Self { client: client(n, seed, number), key, links, replies: Vec::new() }
    }

    pub(crate) fn submit(&mut self, request: &str, now: Time) -> RequestId {
        let request = Bytes::copy_from_slice(request.as_bytes());
        self.client.submit(request, now).expect("there is room")
    }

    pub(crate) fn submit_large(&mut self, request: &[u8], now: Time) -> RequestId {
        let request = Bytes::copy_from_slice(request);
        self.client.submit_large(request, now).expect("there is room")
    }

    pub(crate) fn reply(&self, id: RequestId) -> Option<&ClientReply> {
        self.replies.iter().find(|(replied, _)| *replied == id).map(|(_, reply)| reply)
    }

    /// Carries what is between the client and the servers that are up.
    pub(crate) fn carry_once(&mut self, sim: &mut Sim) {
        let now = sim.now();
        for index in 0..self.links.len() {
            let party = p(index);
            if !sim.is_up(party) || sim.state(party).is_none() {
                self.links[index] = None;
                continue;
            }
            let told = sim.outcomes(party).len();
            let heard = match self.links[index] {
                Some((_, heard)) if heard <= told => heard,
                _ => {
                    sim.command(party, Command::Attach(self.key));
                    told
                }
            };
            let mut bundles = Vec::new();
            for outcome in &sim.outcomes(party)[heard..] {
                match outcome {
                    Outcome::ClientReplies(bundle) if bundle.key == self.key => {
                        bundles.push(bundle.clone());
                    }
                    _ => {}
                }
            }
            self.links[index] = Some((0, told));
            for bundle in bundles {
                self.client.replies(party, bundle, now);
            }
        }
        self.client.tick(now);
        self.client.flush(now);
        while let Some(effect) = self.client.poll_effect() {
            match effect {
                ClientEffect::Send { to, bundle, value } => {
                    if sim.is_up(to) {
                        sim.command(
                            to,
                            match value {
                                None => Command::Bundle(bundle),
                                Some(value) => Command::Large { bundle, value },
                            },
                        );
                    }
                }
                ClientEffect::Replied { id, reply, .. } => self.replies.push((id, reply)),
            }
        }
    }
}

/// Runs until every client has all its answers.
pub(crate) fn serve(sim: &mut Sim, clients: &mut [Attached]) -> Result<(), Failure> {
    for _ in 0..EVENTS_MAX {
        for client in clients.iter_mut() {
            client.carry_once(sim);
        }
        if clients.iter().all(|client| client.client.unanswered() == 0) {
            return Ok(());
        }
        if !sim.step()? {
            // Nothing happens any more but the clients' timeouts.
            sim.run_for(Duration(100_000), EVENTS_MAX)?;
        }
    }
    Err(sim.fail(p(0), "the clients wait for ever"))
}
