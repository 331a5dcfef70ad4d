//! Homes that lie about large requests, alone and with servers that lose their memory.

use crate::large::{Gate, MIB, ask, build, check_once, request, settle};
use crate::large_coded::{build_with_wiped, wipe};
use crate::world::{
    Attached, EVENTS_MAX, SERVICE, Sim, Sut, builder, common_ledger, front_end, keyrings, ledger,
    p, serve, structure,
};
use maftia_activity::{
    Ask, Carried, ClientBundle, Command, GRANTED_MAX, Item, Message, Outcome, SessionId, Standing,
    ValueId, ValuesMessage,
};
use maftia_agreement::atomic::{self, Batch, BatchVote, Head, Items, batch_statement, epochs};
use maftia_agreement::broadcast::coded::{self, code_of};
use maftia_base::time::Reading;
use maftia_base::wire::{Blob, Bytes, Encode};
use maftia_base::{
    Annotation, FaultKind, GroupId, Party, PartySet, Scope, Statement, StatementKind,
};
use maftia_crypto::ideal::{self, IdealKeyring, IdealSuite};
use maftia_crypto::{
    Certificate, CodedValue, Commitment, Done, Encoded, Signed, Suite, Work, commit_to,
    commitment_of,
};
use maftia_sim::attacks::Script;
use maftia_sim::{Adversary, Failure, Hand, Letter, seeds};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

fn encoded(n: usize, value: &CodedValue) -> Encoded {
    let work = vec![Work::Encode { code: code_of(&structure(n)), value: value.clone() }];
    let done = IdealSuite::run_many(work, &keyrings(n, 0)[0], Reading::default());
    match done.into_iter().next() {
        Some(Done::Encoded(encoded)) => encoded,
        other => panic!("it encodes: {other:?}"),
    }
}

fn value(name: &str, len: usize) -> CodedValue {
    CodedValue::new(Bytes::from(request(name, len))).expect("short enough")
}

/// Shows a value to some: their fragments, and all help that its home can give.
fn pour(hand: &mut Hand<'_, Sut>, id: ValueId, encoded: &Encoded, to: PartySet) {
    let (home, commitment) = (id.home, encoded.commitment);
    for peer in hand.victims().intersection(to).iter() {
        let mut say = |body| {
            let body = Carried::Broadcast(body);
            hand.send(home, peer, Message::Value(ValuesMessage { id, body }));
        };
        for piece in encoded.fragments[peer.index()].iter().cloned() {
            say(coded::Message::Send { commitment, piece });
        }
        for piece in encoded.fragments[home.index()].iter().cloned() {
            say(coded::Message::Echo { commitment, piece });
        }
        say(coded::Message::Ready(commitment));
    }
}

/// Broadcasts values under ever new numbers, and orders none.
struct Hoarder {
    value: CodedValue,
}

impl Adversary<Sut> for Hoarder {
    fn started(&mut self, hand: &mut Hand<'_, Sut>) {
        for number in 0..12 {
            let id = ValueId { home: p(0), number };
            pour(hand, id, &encoded(4, &self.value), PartySet::all(4));
        }
    }
}

#[test]
fn a_home_that_floods_and_orders_nothing_uses_up_its_own_credit_only() {
    seeds(0..4, |seed| {
        let hoarder = Hoarder { value: value("hoarded", MIB) };
        let granted = 4 * GRANTED_MAX as usize * coded::footprint_max(code_of(&structure(4)));
        let flooded = builder(4, seed).corrupt([p(0)], hoarder).footprint_max(20_000 + granted);
        let mut sim = build(flooded);
        let mut clients: Vec<_> = (1..4).map(|number| Attached::new(4, seed, number)).collect();
        let asked = ask(&mut clients, &sim, "beside it", 400_000);
        serve(&mut sim, &mut clients)?;
        check_once(&mut sim, &asked)?;
        for index in 1..4 {
            let values = sim.state(p(index)).expect("up").values();
            let held = values.ids().into_iter().filter(|id| id.home == p(0)).count() as u64;
            assert_eq!(held, GRANTED_MAX, "no more than is granted");
            assert_eq!(values.waiting_bytes(), GRANTED_MAX as usize * MIB);
        }
        assert!(sim.blames().is_empty(), "being ahead is no misconduct");
        // It is not dropped at marks either: it may yet be ordered.
        for number in 0..30 {
            front_end(&mut sim, p(1), number, &format!("small {number}"));
            sim.run_to_quiescence(EVENTS_MAX)?;
        }
        (1..4).for_each(|index| sim.crash_losing_unsynced(p(index)));
        (1..4).for_each(|index| sim.restart(p(index)));
        sim.run_to_quiescence(EVENTS_MAX)?;
        for index in 1..4 {
            let values = sim.state(p(index)).expect("up").values();
            assert_eq!(values.waiting_bytes(), GRANTED_MAX as usize * MIB, "after a cut");
        }
        Ok(())
    });
}

/// What a client signs for a value.
fn signed(seed: u64, number: u64, value: Commitment) -> ClientBundle {
    let client = ideal::client(seed, number);
    let ask = Ask::Large { session: SessionId(0), sequence: 1, acknowledged: 1, value };
    let sign = |statement: &Statement| client.sign(statement);
    ClientBundle::signed(GroupId::default(), SERVICE, ask, client.key(), sign)
}

#[test]
fn a_client_that_gives_another_value_than_it_signed_is_pointed_out_and_blocks_nobody() {
    seeds(0..4, |seed| {
        let mut sim = build(builder(4, seed));
        let [named, other] = ["named", "other"].map(|name| value(name, 100_000));
        let commitment = commitment_of(code_of(&structure(4)), &named);
        sim.command(p(0), Command::Large { bundle: signed(seed, 5, commitment), value: other });
        let mut short = signed(seed, 6, commitment);
        short.signature = maftia_crypto::ClientSignature([1; 64]);
        sim.command(p(0), Command::Large { bundle: short, value: named });
        let mut clients = [Attached::new(4, seed, 0)];
        let asked = ask(&mut clients, &sim, "behind it", 100_000);
        serve(&mut sim, &mut clients)?;
        check_once(&mut sim, &asked)?;
        let lied = |outcome: &&Outcome<_>| matches!(outcome, Outcome::ClientLied(_));
        assert_eq!(sim.outcomes(p(0)).iter().filter(lied).count(), 2);
        assert_eq!(ledger(&sim, p(1)).entries.len(), asked.len());
        let begun = sim.state(p(0)).expect("up").values().next_number();
        assert!(begun <= 2, "it used up no number, and nobody's bandwidth");
        Ok(())
    });
}

/// What a home says that it broadcast.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    /// Nothing.
    Never,
    /// To one server only.
    ToOne,
    /// Another value than the client signed.
    Other,
    /// Fragments of no value.
    NoValue,
    /// Under a number that it was not granted.
    BeyondGrant,
    /// Under a number that is not the next.
    Gap,
}

/// Puts a reference that is a lie into its lane in place of whatever its honest code puts there,
/// and certifies it if the others vote for it.
struct FalseReference {
    lie: Lie,
    keyring: IdealKeyring,
    /// That of the lane, seen when something was signed in it.
    scope: Rc<Cell<Option<Scope>>>,
    item: Item,
    shown: Encoded,
    batch: Option<(Batch<IdealSuite>, BatchVote<IdealSuite>, Statement)>,
    votes: BTreeMap<Party, BatchVote<IdealSuite>>,
}

impl FalseReference {
    fn new(seed: u64, lie: Lie, scope: Rc<Cell<Option<Scope>>>) -> Self {
        let named = value("named", 100_000);
        let shown = match lie {
            Lie::Other => encoded(4, &value("other", 100_000)),
            Lie::NoValue => no_encoding(&encoded(4, &named)),
            _ => encoded(4, &named),
        };
        let number = match lie {
            Lie::BeyondGrant => GRANTED_MAX,
            Lie::Gap => 1,
            _ => 0,
        };
        let signed_for = match lie {
            Lie::NoValue => shown.commitment,
            _ => encoded(4, &named).commitment,
        };
        let item = Item::Large { number, bundle: signed(seed, 5, signed_for) };
        let keyring = keyrings(4, seed).remove(0);
        Self { lie, keyring, scope, item, shown, batch: None, votes: BTreeMap::new() }
    }

    fn falsify(&mut self, honest: &Batch<IdealSuite>) {
        let Some(scope) = self.scope.get().filter(|_| self.batch.is_none()) else { return };
        let item = atomic::Item::new(self.item.encode()).expect("a reference is short");
        let items = Items::new(vec![item]).expect("one");
        let batch = Batch { items, ..honest.clone() };
        let statement = batch_statement(scope, p(0), batch.height, batch.digest());
        let work = vec![Work::SignReading(statement)];
        let done = IdealSuite::run_many(work, &self.keyring, Reading(1));
        let Some(Done::Signed(signed)) = done.into_iter().next() else { panic!("it signs") };
        let reading = Reading(signed.statement.annotation.0);
        let vote = BatchVote { reading, signature: signed.signature };
        self.votes.insert(p(0), vote.clone());
        self.batch = Some((batch, vote, statement));
    }

    /// A certificate of all votes, once they are a quorum.
    fn head(&self) -> Option<Head<IdealSuite>> {
        let (batch, _, statement) = self.batch.as_ref()?;
        let signed = |(party, vote): (&Party, &BatchVote<IdealSuite>)| {
            let annotation = Annotation(vote.reading.0);
            let statement = Statement { annotation, ..*statement };
            (*party, Signed { statement, signature: vote.signature })
        };
        let certificate = Certificate::new(self.votes.iter().map(signed));
        let (height, digest) = (batch.height, batch.digest());
        (self.votes.len() >= 3).then_some(Head {
            lane: p(0),
            height,
            digest,
            certificate,
            seal: None,
        })
    }
}

impl Adversary<Sut> for FalseReference {
    fn started(&mut self, hand: &mut Hand<'_, Sut>) {
        let Item::Large { number, .. } = self.item else { return };
        let id = ValueId { home: p(0), number };
        let to = match self.lie {
            Lie::Never => PartySet::EMPTY,
            Lie::ToOne => PartySet::from_iter([p(1)]),
            _ => PartySet::all(4),
        };
        pour(hand, id, &self.shown, to);
    }

    fn outgoing(&mut self, letter: &Letter<Message<IdealSuite>>, hand: &mut Hand<'_, Sut>) {
        match &*letter.body {
            Message::Value(_) => {}
            Message::Order(epochs::Message {
                epoch,
                body: atomic::Message::Batch { batch, .. },
            }) => {
                self.falsify(batch);
                if let Some((batch, vote, _)) = self.batch.clone() {
                    let body = atomic::Message::Batch { batch, vote, seal: None };
                    let body = epochs::Message { epoch: *epoch, body };
                    hand.send(letter.from, letter.to, Message::Order(body));
                }
            }
            _ => hand.pass(letter),
        }
    }

    fn incoming(&mut self, letter: &Letter<Message<IdealSuite>>, hand: &mut Hand<'_, Sut>) -> bool {
        if let Message::Order(epochs::Message { epoch, body }) = &*letter.body
            && let atomic::Message::Vote { digest, vote, .. } = body
            && self.batch.as_ref().is_some_and(|(batch, ..)| batch.digest() == *digest)
        {
            self.votes.insert(letter.from, vote.clone());
            if let Some(head) = self.head() {
                let body = atomic::Message::Head(head);
                let body = epochs::Message { epoch: *epoch, body };
                hand.send_all(p(0), Message::Order(body));
            }
            return false;
        }
        true
    }
}

/// Fragments that are no encoding, under one commitment.
fn no_encoding(of: &Encoded) -> Encoded {
    let bytes = |fragment: &Vec<maftia_crypto::Piece>| {
        fragment.iter().map(|piece| piece.bytes.clone()).collect::<Vec<_>>()
    };
    let mut pieces: Vec<_> = of.fragments.iter().map(bytes).collect();
    let mut spoiled = pieces[2][0].to_vec();
    spoiled[0] ^= 1;
    pieces[2][0] = Blob::new(spoiled).expect("as long");
    commit_to(code_of(&structure(4)), of.commitment.length(), pieces)
}

/// Serves clients beside server 0, of which one had it for its home.
fn serve_beside(seed: u64, lie: Lie) -> Result<Sim, Failure> {
    let scope: Rc<Cell<Option<Scope>>> = Rc::default();
    let seen = Rc::clone(&scope);
    let keyrings = keyrings(4, seed);
    let builder = builder(4, seed).corrupt([p(0)], FalseReference::new(seed, lie, scope));
    let mut sim = build(builder.worker(move |party, work, clock| {
        for piece in &work {
            match piece {
                Work::SignReading(statement) if statement.kind == StatementKind::BatchVote => {
                    seen.set(Some(statement.scope));
                }
                _ => {}
            }
        }
        IdealSuite::run_many(work, &keyrings[party.index()], clock)
    }));
    front_end(&mut sim, p(0), 1, "what its honest code has in its lane");
    let mut clients: Vec<_> = (0..3).map(|number| Attached::new(4, seed, number)).collect();
    let asked = ask(&mut clients, &sim, "beside it", 100_000);
    serve(&mut sim, &mut clients)?;
    check_once(&mut sim, &asked)?;
    assert!(clients[0].client.server() != p(0), "its client went elsewhere");
    Ok(sim)
}

#[test]
fn a_false_reference_is_never_ordered_and_stalls_nobody_but_its_home() {
    for lie in [Lie::Never, Lie::ToOne, Lie::Other, Lie::NoValue, Lie::BeyondGrant] {
        seeds(0..6, |seed| {
            let sim = serve_beside(seed, lie)?;
            for party in sim.honest().iter() {
                let of_liar = |outcome: &&Outcome<_>| match outcome {
                    Outcome::Applied(applied) => applied.lane == p(0),
                    _ => false,
                };
                assert_eq!(sim.outcomes(party).iter().filter(of_liar).count(), 0, "{lie:?}");
                let blames = sim.blames().iter().filter(|(by, fault)| {
                    (*by, fault.culprit, fault.kind) == (party, p(0), FaultKind::InvalidValue)
                });
                // That something comes late proves nothing.
                let proves = matches!(lie, Lie::Other | Lie::NoValue);
                assert_eq!(blames.count(), usize::from(proves), "{lie:?} at {party}");
            }
            Ok(())
        });
    }
}

#[test]
fn a_reference_out_of_turn_is_passed_over_by_all() {
    seeds(0..6, |seed| {
        let sim = serve_beside(seed, Lie::Gap)?;
        for party in sim.honest().iter() {
            let applied: Vec<_> = sim
                .outcomes(party)
                .iter()
                .filter_map(|outcome| match outcome {
                    Outcome::Applied(applied) if applied.lane == p(0) => Some(applied),
                    _ => None,
                })
                .collect();
            assert!(applied.iter().all(|it| (it.executed, it.skipped) == (0, 1)));
            assert_eq!(sim.state(party).expect("up").values().floor(p(0)), 0);
        }
        Ok(())
    });
}

#[test]
fn servers_that_lost_their_memory_do_not_help_a_home_to_two_values_of_one_number() {
    let n = 7;
    let [first, second] = ["first", "second"].map(|name| encoded(n, &value(name, 1000)));
    let id = ValueId { home: p(6), number: 0 };
    seeds(0..6, |seed| {
        let phase: Rc<Cell<u8>> = Rc::new(Cell::new(1));
        let (now, then) = (Rc::clone(&phase), Rc::clone(&phase));
        let is_first = first.commitment;
        // The network keeps the first value from those who are to get the second.
        let gate = Gate::new(move |letter| match &*letter.body {
            Message::Value(ValuesMessage { body, .. }) => match now.get() {
                1 => [4, 5].contains(&letter.to.index()),
                _ => matches!(body, Carried::Broadcast(it) if it.commitment() == Some(is_first)),
            },
            _ => false,
        });
        let parties = |indices: [usize; 4]| indices.map(p).into_iter().collect::<PartySet>();
        let (to_some, to_others) = (parties([0, 1, 2, 3]), parties([2, 3, 4, 5]));
        let (first, second) = (first.clone(), second.clone());
        let poured = Cell::new(false);
        let home = Script(move |heard: Option<&Letter<_>>, hand: &mut Hand<'_, Sut>| {
            if heard.is_none() {
                pour(hand, id, &first, to_some);
            } else if then.get() == 3 && !poured.replace(true) {
                pour(hand, id, &second, to_others);
            }
        });
        let builder = builder(n, seed).network(gate.clone()).corrupt([p(6)], home);
        let (mut sim, wiped) = build_with_wiped(builder);
        settle(&mut sim)?;
        assert!(sim.state(p(0)).expect("up").values().get(id).is_some());
        phase.set(2);
        for index in [2, 3] {
            wipe(&mut sim, &wiped, p(index));
            for number in 0..3 {
                front_end(&mut sim, p(0), number, &format!("{index} {number}"));
                settle(&mut sim)?;
            }
            assert_eq!(sim.state(p(index)).expect("up").standing(), Standing::Member);
        }
        phase.set(3);
        front_end(&mut sim, p(0), 100, "now");
        settle(&mut sim)?;
        let held = |index| sim.state(p(index)).expect("up").values().get(id).map(|it| it.0);
        let held: Vec<Commitment> = (0..6).filter_map(held).collect();
        assert!(held.windows(2).all(|pair| pair[0] == pair[1]), "two values of one number");
        gate.open();
        front_end(&mut sim, p(5), 101, "on and on");
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(common_ledger(&sim).count(b"on and on"), 1);
        Ok(())
    });
}
