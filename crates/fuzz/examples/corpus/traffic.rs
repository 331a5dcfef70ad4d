//! Honest runs with the cryptography of production: everything that servers say and write down.

use maftia_activity::{
    Ask, CHUNK_BYTES, ClientBundle, Command, FrontEndReply, Manifest, Message, Nonce, Outcome,
    Piece, Record, ReplyBundle, SessionId, TransferMessage,
};
use maftia_agreement::atomic::{Frontier, Heads, Leaders, Round};
use maftia_agreement::broadcast::coded::{self, CodedBroadcast};
use maftia_agreement::checkpoint::Mark;
use maftia_base::protocol::{TimedProtocol, Vocabulary};
use maftia_base::wire::{Blob, Bytes, List, Wire};
use maftia_base::{Epoch, GroupId, Party, PartySet};
use maftia_crypto::{
    Attested, ClientSecret, Code, CodedValue, GroupKeys, RealKeyring, RealSuite as Real, Suite,
};
use maftia_drill::course;
use maftia_drill::protocols::{Binary, Checkpointing, Coin, Consistent, Multivalued, Reliable};
use maftia_drill::stage::Stage;
use maftia_drill::world::Court;
use maftia_fuzz::honest::{self, N};
use maftia_fuzz::replica::{Sut, builder, server};
use maftia_links::Packet;
use maftia_services::{LEDGER, NOTARY};
use maftia_sim::{Builder, Letter, Network, Observer, Simulation};
use maftia_ttcb_api::{BootKeys, Host, Sealed};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// Most messages of one run that are kept, each once.
const SAID_MAX: usize = 600;

/// Everything that was said, once each, in the order in which it was said.
#[derive(Clone, Default)]
struct Ear(Rc<RefCell<(BTreeSet<Bytes>, Vec<Bytes>)>>);

impl Ear {
    fn hear(&self, said: Bytes) {
        let (known, all) = &mut *self.0.borrow_mut();
        if known.insert(said.clone()) {
            all.push(said);
        }
    }

    /// A part of it, from all of the run.
    fn heard(&self) -> Vec<Bytes> {
        let all = &self.0.borrow().1;
        all.iter().step_by(all.len().div_ceil(SAID_MAX).max(1)).cloned().collect()
    }
}

impl<P: TimedProtocol<Message: Wire>> Observer<P> for Ear {
    fn sent(&mut self, letter: &Letter<P::Message>) {
        self.hear(letter.body.to_wire());
    }
}

/// The messages within frames, too.
struct Unwrapping(Ear);

impl Observer<Sut<Real>> for Unwrapping {
    fn sent(&mut self, letter: &Letter<Packet<Message<Real>>>) {
        self.0.hear(letter.body.to_wire());
        if let Packet::Frame(frame) = &*letter.body {
            let _ = frame.clone().map_messages(|message| {
                self.0.hear(message.clone());
                None
            });
        }
    }
}

/// What a group of four said, wrote down and answered.
pub(crate) struct Group {
    pub(crate) said: Vec<Bytes>,
    pub(crate) snapshot: Bytes,
    pub(crate) replies: Vec<ReplyBundle<Real>>,
    pub(crate) bundles: Vec<ClientBundle>,
    /// What was signed, without the signature.
    pub(crate) tokens: Vec<Bytes>,
}

fn keyrings() -> Vec<RealKeyring> {
    let (public, servers): (GroupKeys, _) = honest::dealt();
    let ring = |server| RealKeyring::new(public.clone(), server).expect("dealt together");
    servers.into_iter().map(ring).collect()
}

fn client_bundles() -> Vec<ClientBundle> {
    let client = ClientSecret::from_seed(&[4; 32]);
    let sign = |statement: &_| client.sign(statement);
    let sequenced = |first, count| Ask::Requests {
        session: SessionId(1),
        first,
        acknowledged: 0,
        requests: List::new(vec![Blob::new(honest::query()).expect("short"); count]).expect("few"),
    };
    let asks = [honest::opening(), sequenced(1, 1), sequenced(2, 3)];
    let signed = |ask| ClientBundle::signed(GroupId::default(), NOTARY, ask, client.key(), sign);
    asks.into_iter().map(signed).collect()
}

/// A group with links that lose a little, whose clients ask for time stamps, and which ends an
/// epoch.
pub(crate) fn of_a_group() -> Group {
    let ear = Ear::default();
    let mut sim = builder::<Real>(keyrings())
        .network(Network::lossy(50).duplicating(20).unaided())
        .observer(Unwrapping(ear.clone()))
        .build_incarnations(server);
    let bundles = client_bundles();
    let p = Party::new;
    sim.command(p(0), Command::Attach(bundles[0].key));
    for (number, bundle) in bundles.iter().enumerate() {
        sim.command(p(0), Command::Bundle(bundle.clone()));
        for (index, service) in [NOTARY, LEDGER].into_iter().enumerate() {
            let id = (2 * number + index) as u64;
            let request = honest::query().into();
            sim.command(p(index + 1), Command::FrontEnd { id, service, request });
        }
        run(&mut sim, 4_000);
    }
    sim.crash(p(3));
    sim.restart(p(3));
    for party in 0..N {
        sim.command(p(party), Command::ChangeEpoch);
    }
    run(&mut sim, 12_000);
    let mut said = ear.heard();
    for party in 0..N {
        said.extend(sim.log(p(party)).0.iter().map(Record::to_wire));
    }
    let (mut replies, mut tokens) = (Vec::new(), Vec::new());
    for party in 0..N {
        for outcome in sim.outcomes(p(party)) {
            match outcome {
                Outcome::ClientReplies(bundle) => replies.push(bundle.clone()),
                Outcome::FrontEndReply { reply: FrontEndReply::Signed { body, .. }, .. } => {
                    tokens.push(body.clone());
                }
                _ => {}
            }
        }
    }
    assert!(!replies.is_empty() && !tokens.is_empty(), "the group answers");
    let snapshot = sim.state(p(0)).expect("up").inner().snapshot();
    Group { said, snapshot, replies, bundles, tokens }
}

fn run(sim: &mut Simulation<Sut<Real>>, events: u64) {
    for _ in 0..events {
        sim.step().unwrap_or_else(|failure| panic!("{}", failure.violation));
    }
}

/// Runs one protocol to its end.
fn finish<P>(
    builder: Builder<P>,
    said: &mut Vec<Bytes>,
    start: impl FnOnce(Builder<P>) -> Simulation<P>,
) where
    P: TimedProtocol + Vocabulary<Message: Wire, Record: Wire> + 'static,
{
    let ear = Ear::default();
    let mut sim = start(builder.trace(0).observer(ear.clone()));
    sim.run_to_quiescence(200_000).unwrap_or_else(|failure| panic!("{}", failure.violation));
    said.extend(ear.heard());
    for party in 0..N {
        said.extend(sim.log(Party::new(party)).0.iter().map(Wire::to_wire));
    }
}

/// A protocol of the drill, with no adversary.
fn of_stage<T>(said: &mut Vec<Bytes>)
where
    T: Stage<Suite = Real, Protocol: Vocabulary<Record: Wire>>,
{
    let token = format!("{}:4:none:random:calm:real:3", T::NAME);
    let (_, plan) = course::parse(&token).expect("well-formed");
    let stage = Rc::new(T::new(&plan, &mut plan.random(2)));
    let court = Court::<Real>::new(plan.shape, plan.number);
    let groups = plan.shape.groups(plan.number);
    let (keyrings, answers) = (Rc::clone(&court.keyrings), Rc::clone(&stage));
    let builder = Simulation::<T::Protocol>::builder(groups.clone(), plan.number)
        .worker(move |party, work, clock| Real::run_many(work, &keyrings[party.index()], clock))
        .application(move |_, told| answers.answers(told));
    finish(builder, said, |builder| {
        let maker = Rc::clone(&stage);
        let mut sim = builder
            .build_incarnations(move |party, again| maker.make(&groups[party.index()], again));
        for party in (0..N).map(Party::new) {
            stage.orders(party, 0).into_iter().for_each(|order| sim.command(party, order));
        }
        sim
    });
}

fn of_coded_broadcast(said: &mut Vec<Bytes>) {
    let code = Code::new(N, 2).expect("two of four");
    let builder = Simulation::<CodedBroadcast<Real>>::builder(honest::groups(), 1).worker(
        |party, work, clock| Real::run_many(work, &honest::keyrings()[party.index()], clock),
    );
    finish(builder, said, |builder| {
        let sender = Party::new(0);
        let mut sim = builder.build(move |_| CodedBroadcast::new(sender, code));
        let value = CodedValue::new(vec![3; 500]).expect("short");
        sim.command(sender, coded::Command::Broadcast(value));
        sim.command(Party::new(1), coded::Command::Ask);
        sim
    });
}

/// Every protocol of its own.
pub(crate) fn of_all_protocols() -> Vec<Bytes> {
    let mut said = Vec::new();
    of_stage::<Reliable<Real>>(&mut said);
    of_stage::<Consistent<Real>>(&mut said);
    of_stage::<Coin<Real>>(&mut said);
    of_stage::<Binary<Real>>(&mut said);
    of_stage::<Multivalued<Real>>(&mut said);
    of_stage::<Checkpointing<Real>>(&mut said);
    of_coded_broadcast(&mut said);
    said
}

/// What a server that fell far behind asks and is told: in a run that takes megabytes of requests.
pub(crate) fn of_a_transfer() -> Vec<Bytes> {
    let mark = Mark(2);
    let frontier = Frontier::<Real> {
        mark,
        epoch: Epoch(1),
        round: Round(9),
        heads: Heads::default(),
        turned: PartySet::EMPTY,
        leaders: Leaders::default(),
    };
    let state: Bytes = vec![6; CHUNK_BYTES + 100].into();
    let (manifest, chunks) = Manifest::of(frontier, List::default(), &state);
    let chunk = chunks[1].clone();
    let nonce = Nonce(maftia_base::Digest([8; 32]));
    let transfer = [
        TransferMessage::Want { mark, piece: Piece::Manifest },
        TransferMessage::Want { mark, piece: Piece::Chunk(1) },
        TransferMessage::Manifest(manifest.clone()),
        TransferMessage::Chunk { mark, index: 1, chunk: chunk.clone() },
        TransferMessage::Gone(mark),
    ];
    let mut said: Vec<Bytes> = transfer.iter().map(Wire::to_wire).collect();
    said.extend(transfer.into_iter().map(|message| Message::Transfer(message).to_wire()));
    said.push(Message::<Real>::Rejoin(nonce).to_wire());
    let keys = BootKeys { host: Host(2), epoch: 7, signing: [5; 32], exchange: [6; 32] };
    let life = Attested(Sealed { said: keys, seal: [4; 64] });
    said.push(life.to_wire());
    said.push(Message::<Real>::NewLife(life).to_wire());
    said.push(Record::<Real>::NewLife(life).to_wire());
    said.extend([
        Record::<Real>::Begin(manifest).to_wire(),
        Record::<Real>::Chunk { mark, index: 1, chunk }.to_wire(),
        Record::<Real>::Rejoining(nonce).to_wire(),
        Record::<Real>::Reserved(64).to_wire(),
    ]);
    said
}
