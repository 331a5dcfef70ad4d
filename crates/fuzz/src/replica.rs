//! One real replica with its links, among three liars; and one client among four.
//!
//! Nothing that a replica promises can be demanded when all others lie. What must hold all the
//! same: it does not stop by an assertion, holds no more for its peers than its bound, and what it
//! writes down it can read again.

use crate::honest::{self, N};
use maftia_activity::client::{Authority, Client, ClientEffect, ClientSettings};
use maftia_activity::{
    Ask, ClientBundle, Command, Outcome, Record, Replica, ReplyBody, ReplyBundle, SequencedReply,
    SessionId, TaskId, replies_statement,
};
use maftia_base::time::{Duration, Time};
use maftia_base::wire::{Blob, Bytes, List, Wire};
use maftia_base::{GroupId, Party, Statement};
use maftia_crypto::ideal::{IdealKeyring, IdealSuite};
use maftia_crypto::{Claim, ClientSignature, Done, KeyId, SigningInput, Suite, Work};
use maftia_links::{Linked, Packet};
use maftia_services::{LEDGER, NOTARY, Service};
use maftia_sim::{Adversary, Builder, Hand, Letter, Network, Simulation};
use std::collections::{BTreeSet, VecDeque};

/// A replica of all services, with links underneath.
pub type Sut<S> = Linked<Replica<S, Service>>;

/// The one server that is not a liar.
const VICTIM: usize = 0;

/// Events of one run. A liar's byte is used up by a frame, a keep-alive too.
const EVENTS: u64 = 3_000;

/// Encoded messages that the liars remember, to say them again.
const REMEMBERED_MAX: usize = 64;

/// Items that the victim may hold for its peers. The links' windows alone are larger; what is
/// reached in a run of [`EVENTS`] is far below.
const FOOTPRINT_MAX: usize = 20_000;

/// Four servers that do their cryptography with these keys, and answer recalls from their logs.
pub fn builder<S: Suite>(keyrings: Vec<S::Keyring>) -> Builder<Sut<S>>
where
    S::Keyring: 'static,
{
    Simulation::builder(honest::groups(), 1)
        .trace(0)
        .worker(move |party, work, clock| S::run_many(work, &keyrings[party.index()], clock))
        .application_with_log(|_, outcome, log: &[Record<S>]| match outcome {
            Outcome::Recall { to, key } => {
                let found = log.iter().rev().find(|record| record.archive_key() == Some(*key));
                let record = found.cloned().map(Box::new);
                vec![Command::Recalled { to: *to, key: *key, record }]
            }
            _ => Vec::new(),
        })
        .cuts_log(|outcome, log: &[Record<S>]| match outcome {
            Outcome::Cut(key) => log.iter().position(|record| record.archive_key() == Some(*key)),
            _ => None,
        })
}

/// A server as it starts.
pub fn server<S: Suite>(party: Party, restarts: u32) -> Sut<S> {
    let group = &honest::groups()[party.index()];
    Linked::new(Replica::new(honest::services()), group, 1 + u64::from(restarts))
}

/// Bytes that decide.
struct Script(VecDeque<u8>);

impl Script {
    fn byte(&mut self) -> Option<u8> {
        self.0.pop_front()
    }

    /// A number below `bound`; 0 when the script is over.
    fn below(&mut self, bound: usize) -> usize {
        let (high, low) = (self.byte().unwrap_or(0), self.byte().unwrap_or(0));
        usize::from(u16::from_be_bytes([high, low])) % bound.max(1)
    }

    /// Up to four changes of one byte each.
    fn change(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..1 + self.below(4) {
            let place = self.below(bytes.len());
            let with = self.byte().unwrap_or(0);
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= with;
            }
        }
        bytes
    }
}

/// Run the honest code with three servers' keys, and change what goes to the victim.
struct Liars {
    script: Script,
    /// What any of the four said to another, the latest last.
    said: VecDeque<Bytes>,
}

type Said = Packet<maftia_activity::Message<IdealSuite>>;

impl Liars {
    fn listen(&mut self, letter: &Letter<Said>) {
        let Packet::Frame(frame) = &*letter.body else { return };
        let said = &mut self.said;
        let _ = frame.clone().map_messages(|message| {
            if said.len() == REMEMBERED_MAX {
                said.pop_front();
            }
            said.push_back(message.clone());
            None
        });
    }

    /// What is said instead of one message in a frame.
    fn instead(&mut self, message: &Bytes) -> Option<Bytes> {
        match self.script.byte()? % 6 {
            0 | 1 => Some(self.script.change(message).into()),
            2 => {
                let chosen = self.script.below(self.said.len());
                self.said.get(chosen).cloned()
            }
            3 => {
                let chosen = self.script.below(self.said.len());
                let other = self.said.get(chosen)?.clone();
                Some(self.script.change(&other).into())
            }
            _ => None,
        }
    }
}

impl Adversary<Sut<IdealSuite>> for Liars {
    fn outgoing(&mut self, letter: &Letter<Said>, hand: &mut Hand<'_, Sut<IdealSuite>>) {
        self.listen(letter);
        if letter.to.index() != VICTIM {
            return hand.pass(letter);
        }
        let Some(byte) = self.script.byte() else { return hand.pass(letter) };
        let said = match (byte % 8, &*letter.body) {
            (0, _) => return,
            (1, body) => Said::from_wire(self.script.change(&body.to_wire()).into()).ok(),
            (2..=5, Packet::Frame(frame)) => {
                Some(Packet::Frame(frame.clone().map_messages(|message| self.instead(message))))
            }
            _ => None,
        };
        match said {
            Some(body) => hand.send(letter.from, letter.to, body),
            None => hand.pass(letter),
        }
    }

    fn overheard(&mut self, letter: &Letter<Said>, _: &mut Hand<'_, Sut<IdealSuite>>) {
        self.listen(letter);
    }
}

/// What clients, front ends and operators ask of the victim.
fn command(script: &mut Script) -> Option<Command<IdealSuite>> {
    let client = honest::ideal_client();
    let session = script.below(4) as u64;
    Some(match script.byte()? % 8 {
        0 => Command::Attach(client.key()),
        1 => Command::Bundle(honest::bundle(NOTARY, honest::opening())),
        2 => Command::Bundle(honest::bundle(LEDGER, honest::requests(session, 1, 3))),
        3 => {
            let bundle = honest::bundle(NOTARY, honest::requests(session, 1, 2));
            let changed = script.change(&bundle.to_wire());
            Command::Bundle(ClientBundle::from_wire(changed.into()).ok()?)
        }
        4 => {
            let request = script.change(&honest::query()).into();
            Command::FrontEnd { id: script.below(64) as u64, service: NOTARY, request }
        }
        5 => Command::ChangeEpoch,
        6 => {
            let result = Blob::new(script.change(&[0; 8])).expect("short");
            Command::TaskResult { service: NOTARY, id: TaskId(session), result }
        }
        _ => Command::Detach(client.key()),
    })
}

/// A replica whose peers all lie does not stop, keeps its bounds, comes back from its log, and its
/// state is one that another can start from.
pub fn among_liars(script: &[u8]) {
    let sim = run_among_liars(script);
    let Some(state) = sim.state(Party::new(VICTIM)) else { return };
    let snapshot = state.inner().snapshot();
    let another = Replica::<IdealSuite, Service>::new(honest::services());
    let another = another.with_snapshot(snapshot.clone()).expect("its own state");
    assert_eq!(another.snapshot(), snapshot);
}

fn run_among_liars(script: &[u8]) -> Simulation<Sut<IdealSuite>> {
    let (own, theirs) = script.split_at(script.len().min(64));
    let mut own = Script(own.iter().copied().collect());
    let liars = Liars { script: Script(theirs.iter().copied().collect()), said: VecDeque::new() };
    let crash_at = own.byte().map(|byte| 8 * u64::from(byte));
    let others = (0..N).map(Party::new).filter(|party| party.index() != VICTIM);
    let network = Network::lossy(50).duplicating(50).unaided();
    let victim = Party::new(VICTIM);
    let mut sim = builder::<IdealSuite>(honest::ideal_keyrings())
        .network(network)
        .exceeding_the_structure()
        .corrupt(others, liars)
        .footprint_max(FOOTPRINT_MAX)
        .build_incarnations(server);
    for index in 0..N as u64 {
        let request = honest::query().into();
        let command = Command::FrontEnd { id: 1_000 + index, service: NOTARY, request };
        sim.command_copy(Party::new(index as usize), 0, command);
    }
    for event in 0..EVENTS {
        if event % 100 == 0
            && let Some(command) = command(&mut own)
        {
            sim.command(victim, command);
        }
        if crash_at == Some(event) {
            sim.crash(victim);
            sim.restart(victim);
        }
        if let Err(failure) = sim.step() {
            panic!("{}", failure.violation);
        }
    }
    sim
}

/// What a client can do, with the cryptography of simulations.
struct Powers(IdealKeyring);

impl Authority<IdealSuite> for Powers {
    fn sign(&self, statement: &Statement) -> ClientSignature {
        honest::ideal_client().sign(statement)
    }

    fn verify(&self, claim: &Claim<IdealSuite>) -> bool {
        let work = vec![Work::Verify(vec![claim.clone()])];
        IdealSuite::run_many(work, &self.0, Default::default()) == [Done::Verified(vec![true])]
    }

    fn verify_threshold(&self, key: KeyId, input: &SigningInput, signature: &[u8]) -> bool {
        self.0.is_threshold_signature(key, input, signature)
    }
}

/// The replies of an honest server to a bundle, as if all were executed at once.
fn replies(keyring: &IdealKeyring, bundle: &ClientBundle) -> ReplyBundle<IdealSuite> {
    let reply = |session, sequence, body| SequencedReply { session, sequence, body };
    let replies = match &bundle.ask {
        Ask::Open { nonce, .. } => {
            vec![reply(SessionId(1), 0, ReplyBody::Opened { nonce: *nonce })]
        }
        Ask::Requests { session, first, requests, .. } => {
            let body =
                |request: &Blob<_>| ReplyBody::Plain(Blob::new(request.to_vec()).expect("short"));
            let numbered = (*first..).zip(requests.iter());
            numbered.map(|(number, request)| reply(*session, number, body(request))).collect()
        }
        Ask::Large { session, sequence, .. } => {
            vec![reply(*session, *sequence, ReplyBody::Plain(Blob::default()))]
        }
    };
    let replies = List::new(replies).expect("as many as requests");
    let statement = replies_statement(GroupId::default(), bundle.key, &replies);
    let signed = IdealSuite::run_many(vec![Work::Sign(statement)], keyring, Default::default());
    let [Done::Signed(signed)] = &signed[..] else { panic!("a signature was asked for") };
    let signature = Some(signed.signature);
    ReplyBundle { key: bundle.key, replies, signatures: List::default(), signature }
}

/// A client to whom some servers say what the script makes of honest replies: no request is
/// answered twice, and none that was not asked.
pub fn client_among_liars(script: &[u8]) {
    run_client(script);
}

/// Answers how many requests were answered.
fn run_client(script: &[u8]) -> usize {
    let mut script = Script(script.iter().copied().collect());
    let keyrings = honest::ideal_keyrings();
    let settings = ClientSettings {
        group: GroupId::default(),
        structure: honest::structure(),
        service: LEDGER,
        key: honest::ideal_client().key(),
        nonce: 1,
        home: Party::new(0),
        retry_after: Duration::from_millis(100),
    };
    let mut client = Client::new(settings, Powers(keyrings[0].clone()));
    let (mut open, mut now) = (BTreeSet::new(), Time(0));
    let mut answered = 0;
    let mut said: Vec<Bytes> = Vec::new();
    for step in 0..40 {
        now = now + Duration::from_millis(1 + script.below(200) as u64);
        if step % 4 == 0 {
            let request = Bytes::from(format!("request {step}"));
            open.extend(client.submit(request, now));
        }
        client.tick(now);
        client.flush(now);
        while let Some(effect) = client.poll_effect() {
            match effect {
                ClientEffect::Send { bundle, .. } => {
                    for (index, keyring) in keyrings.iter().enumerate() {
                        let honest = replies(keyring, &bundle).to_wire();
                        said.push(honest.clone());
                        let chosen = script.below(said.len());
                        let heard = match script.byte().unwrap_or(0) % 4 {
                            0 => Some(honest),
                            1 => Some(script.change(&honest).into()),
                            2 => Some(script.change(&said[chosen]).into()),
                            _ => said.get(chosen).cloned(),
                        };
                        if let Some(Ok(bundle)) = heard.map(ReplyBundle::from_wire) {
                            client.replies(Party::new(index), bundle, now);
                        }
                    }
                }
                ClientEffect::Replied { id, .. } => {
                    assert!(open.remove(&id), "{id:?} was not asked, or is answered again");
                    answered += 1;
                }
            }
        }
    }
    assert_eq!(client.unanswered(), open.len(), "what is open is what was not answered");
    answered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_script_the_replica_serves_and_the_client_is_served() {
        let sim = run_among_liars(&[]);
        let victim = sim.state(Party::new(VICTIM)).expect("up").inner();
        assert!(victim.position() >= N as u64, "{} requests were executed", victim.position());
        assert_eq!(run_client(&[]), 10);
    }
}
