//! Clients of a group: those that keep to the rules, and those that do not.

use super::BOOK;
use super::book::{Receipt, signing_input};
use super::stamp;
use crate::world::{Customer, DrillSuite, work};
use maftia_activity::client::{
    Authority, Client, ClientEffect, ClientReply, ClientSettings, RequestId,
};
use maftia_activity::{Ask, ClientBundle, ReplyBody, ReplyBundle, SessionId};
use maftia_base::time::{Duration, Time};
use maftia_base::wire::{Blob, Bytes, List, Wire};
use maftia_base::{AdversaryStructure, Digest, GroupId, Party, PartySet, ServiceId, Statement};
use maftia_crypto::{Claim, ClientKey, ClientSignature, Done, KeyId, SigningInput, Work};
use maftia_services::NOTARY;
use maftia_sim::Random;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a client can do and check.
pub(crate) struct Powers<S: DrillSuite> {
    customer: Customer,
    keyrings: Rc<Vec<S::Keyring>>,
}

impl<S: DrillSuite> Authority<S> for Powers<S> {
    fn sign(&self, statement: &Statement) -> ClientSignature {
        self.customer.sign(statement)
    }

    fn verify(&self, claim: &Claim<S>) -> bool {
        let done = work::<S>(&self.keyrings[0], Work::Verify(vec![claim.clone()]));
        matches!(done, Done::Verified(verdicts) if verdicts == [true])
    }

    fn verify_threshold(&self, key: KeyId, input: &SigningInput, signature: &[u8]) -> bool {
        S::is_threshold_signature(&self.keyrings[0], key, input, signature)
    }
}

/// A request, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) request: Bytes,
    pub(crate) at: Time,
    pub(crate) answered: Option<(Time, ClientReply)>,
}

/// A client that keeps to the rules, and asks on until it is answered.
pub(crate) struct Patron<S: DrillSuite> {
    number: u64,
    service: ServiceId,
    client: Client<S, Powers<S>>,
    pub(crate) key: ClientKey,
    /// How many more requests it will make.
    pub(crate) left: u64,
    outstanding_max: usize,
    made: u64,
    /// For each server, in which of its lives the client is attached to it.
    attached: Vec<Option<u32>>,
    pub(crate) asked: BTreeMap<RequestId, Asked>,
}

/// What a patron wants of the run.
pub(crate) enum Wish {
    Attach(Party),
    Send(Party, ClientBundle),
}

impl<S: DrillSuite> Patron<S> {
    pub(crate) fn new(
        number: u64,
        structure: AdversaryStructure,
        keyrings: &Rc<Vec<S::Keyring>>,
        left: u64,
        random: &mut Random,
    ) -> Self {
        let n = structure.n();
        let customer = S::customer(number);
        let key = customer.key;
        let is_notarys = !S::IS_REAL && random.chance(250);
        let service = if is_notarys { NOTARY } else { BOOK };
        let home = Party::new(random.below(n as u64) as usize);
        let settings = ClientSettings {
            group: GroupId::default(),
            structure,
            service,
            key,
            nonce: 1_000 * number,
            home,
            retry_after: Duration(100_000),
        };
        let powers = Powers { customer, keyrings: Rc::clone(keyrings) };
        Self {
            number,
            service,
            client: Client::new(settings, powers),
            key,
            left,
            outstanding_max: 1 + random.below(8) as usize,
            made: 0,
            attached: vec![None; n],
            asked: BTreeMap::new(),
        }
    }

    pub(crate) fn is_notarys(&self) -> bool {
        self.service == NOTARY
    }

    pub(crate) fn is_content(&self) -> bool {
        self.left == 0 && self.client.unanswered() == 0
    }

    /// What it asks for next: for the notary a query, else something to remember.
    fn next_request(&mut self, random: &mut Random) -> Bytes {
        self.made += 1;
        if self.is_notarys() {
            return stamp::query(&digest_of(self.number, self.made)).into();
        }
        let kinds: &[&str] = if S::IS_REAL { &["p"] } else { &["p", "p", "s", "s", "t", "w"] };
        let kind = kinds[random.below(kinds.len() as u64) as usize];
        format!("{kind}:c{}:{}", self.number, self.made).into()
    }

    pub(crate) fn hear(&mut self, from: Party, bundle: ReplyBundle<S>, now: Time) {
        self.client.replies(from, bundle, now);
    }

    /// Asks what it has to ask, of servers that are up and in these lives.
    pub(crate) fn act(
        &mut self,
        (up, lives): (PartySet, &[u32]),
        now: Time,
        random: &mut Random,
    ) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for party in up.iter() {
            let life = lives[party.index()];
            if self.attached[party.index()].replace(life) != Some(life) {
                wishes.push(Wish::Attach(party));
            }
        }
        while self.left > 0 && self.client.unanswered() < self.outstanding_max && random.chance(700)
        {
            self.left -= 1;
            let request = self.next_request(random);
            let id = self.client.submit(request.clone(), now).expect("there is room");
            self.asked.insert(id, Asked { request, at: now, answered: None });
        }
        self.client.tick(now);
        self.client.flush(now);
        while let Some(effect) = self.client.poll_effect() {
            match effect {
                ClientEffect::Send { to, bundle, .. } => wishes.push(Wish::Send(to, bundle)),
                ClientEffect::Replied { id, reply, .. } => {
                    let asked = self.asked.get_mut(&id).expect("it was asked");
                    asked.answered = Some((now, reply));
                }
            }
        }
        wishes
    }
}

/// What a notary's client has stamped.
pub(crate) fn digest_of(client: u64, made: u64) -> Digest {
    Digest::of_encoded("drill document", &(client, made))
}

/// Of which document a notary's query is.
pub(crate) fn document(query: &[u8]) -> Option<Digest> {
    let bytes: [u8; 32] = query.get(24..56)?.try_into().ok()?;
    Some(Digest(bytes))
}

/// Where the group says that it entered a request; `None` if the reply is no receipt for it.
pub(crate) fn receipt(request: &[u8], reply: &ClientReply) -> Option<Receipt> {
    match reply {
        ClientReply::Plain(body) => Receipt::from_wire(body.clone()).ok(),
        ClientReply::Signed { input, body, .. } => {
            (*input == signing_input(request)).then(|| Receipt::from_wire(body.clone()).ok())?
        }
        ClientReply::Refused(_) => None,
    }
}

/// A client that breaks every rule that it can.
pub(crate) struct Crook {
    customer: Customer,
    pub(crate) key: ClientKey,
    session: Option<SessionId>,
    /// Sessions of others that it has heard of.
    pub(crate) foreign: Vec<SessionId>,
    left: u64,
    sequence: u64,
}

/// What crooks do, for whoever reads a transcript.
const TRICKS: u64 = 10;

impl Crook {
    pub(crate) fn new<S: DrillSuite>(number: u64, left: u64) -> Self {
        let customer = S::customer(number);
        let key = customer.key;
        Self { customer, key, session: None, foreign: Vec::new(), left, sequence: 1 }
    }

    pub(crate) fn hear<S: DrillSuite>(&mut self, bundle: &ReplyBundle<S>) {
        let opened = |body: &ReplyBody| matches!(body, ReplyBody::Opened { .. });
        let found = bundle.replies.iter().find(|reply| opened(&reply.body));
        self.session = self.session.or(found.map(|reply| reply.session));
    }

    fn signed(&self, ask: Ask) -> ClientBundle {
        let sign = |statement: &Statement| self.customer.sign(statement);
        ClientBundle::signed(GroupId::default(), BOOK, ask, self.key, sign)
    }

    fn requests(&self, session: SessionId, first: u64, floor: u64, variants: &[u64]) -> Ask {
        let requests = (0..).zip(variants).map(|(offset, variant)| {
            let sequence = first.wrapping_add(offset);
            Blob::new(Bytes::from(format!("x:{sequence}:{variant}"))).expect("short")
        });
        let requests = List::new(requests.collect()).expect("few");
        Ask::Requests { session, first, acknowledged: floor, requests }
    }

    /// One trick, on these servers.
    pub(crate) fn act(&mut self, up: PartySet, random: &mut Random) -> Vec<(Party, ClientBundle)> {
        let servers: Vec<Party> = up.iter().collect();
        if self.left == 0 || servers.is_empty() {
            return Vec::new();
        }
        self.left -= 1;
        let mut any = || servers[random.below(servers.len() as u64) as usize];
        let (one, other) = (any(), any());
        let Some(session) = self.session else {
            let homes = [one, other];
            let home = homes[random.below(2) as usize];
            let nonce = random.below(2);
            return vec![(one, self.signed(Ask::Open { nonce, home }))];
        };
        let sequence = self.sequence;
        let floor = sequence.saturating_sub(3).max(1);
        let plain = |session, first, floor, variants: &[u64]| {
            self.signed(self.requests(session, first, floor, variants))
        };
        let sends = match random.below(TRICKS) {
            0 | 1 => vec![
                (one, plain(session, sequence, floor, &[0])),
                (other, plain(session, sequence, floor, &[1])),
            ],
            2 => vec![(one, plain(session, sequence + 2_000, floor, &[0]))],
            3 => vec![(one, plain(session, u64::MAX, floor, &[0, 1]))],
            4 => vec![(one, plain(session, sequence, sequence + 5, &[2, 2]))],
            5 => vec![(one, plain(session, sequence, floor, &[3, 3, 3])); 30],
            6 => {
                let mut bundle = plain(session, sequence, floor, &[4]);
                bundle.signature = plain(session, sequence + 1, floor, &[4]).signature;
                vec![(one, bundle)]
            }
            7 => {
                let foreign = self.foreign.last().copied().unwrap_or(SessionId(0));
                vec![(one, plain(foreign, 1, 900, &[5, 5, 5, 5]))]
            }
            8 => (0..20).map(|nonce| (one, self.signed(Ask::Open { nonce, home: one }))).collect(),
            _ => vec![(one, plain(session, sequence, floor, &[6, 7])); 2],
        };
        self.sequence += random.below(3);
        sends
    }
}
