//! State transfer by itself: a state of many chunks, from servers of all kinds.

use crate::world::{EVENTS_MAX, groups, p};
use maftia_activity::{
    CHUNK_BYTES, Chunk, Found, Manifest, Nonce, Piece, Transfer, TransferCommand, TransferMessage,
    TransferOutcome,
};
use maftia_agreement::atomic::{Frontier, Heads, Round};
use maftia_agreement::checkpoint::{Checkpoint, Mark};
use maftia_base::wire::{Blob, Bytes, List};
use maftia_base::{Epoch, FaultKind, Party, PartySet};
use maftia_crypto::Certificate;
use maftia_crypto::ideal::IdealSuite;
use maftia_sim::attacks::{Mutator, Silent};
use maftia_sim::{Builder, Failure, Letter, Network, Random, Simulation, seeds};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

type Sut = Transfer<IdealSuite>;
type Sim = Simulation<Sut>;

const CHUNKS: usize = 40;

/// States by mark: each differs from the one before in its first half.
fn state(mark: u64) -> Bytes {
    let fill = |place: usize| {
        let half = u64::from(place < CHUNKS * CHUNK_BYTES / 2);
        (place / CHUNK_BYTES) as u8 ^ (half * mark) as u8
    };
    (0..CHUNKS * CHUNK_BYTES - 9).map(fill).collect::<Vec<u8>>().into()
}

fn manifest(mark: u64) -> (Manifest<IdealSuite>, Vec<Chunk>) {
    let frontier = Frontier {
        mark: Mark(mark),
        epoch: Epoch(0),
        round: Round(1),
        heads: Heads::default(),
        turned: PartySet::EMPTY,
        leaders: Default::default(),
    };
    Manifest::of(frontier, List::default(), &state(mark))
}

fn checkpoint(mark: u64) -> Checkpoint<IdealSuite> {
    let digest = manifest(mark).0.digest();
    Checkpoint { mark: Mark(mark), digest, certificate: Certificate::new([]) }
}

fn fetch(sim: &mut Sim, mark: u64) {
    let admission: Option<Nonce> = None;
    sim.command(p(0), TransferCommand::Fetch { checkpoint: checkpoint(mark), admission });
}

/// How many pieces each server looked up.
type Served = Rc<RefCell<BTreeMap<Party, usize>>>;

/// Servers that have the states of `marks`, each of those for whom `has` says so.
fn builder(
    n: usize,
    seed: u64,
    marks: &[u64],
    has: impl Fn(Party, Mark) -> bool + 'static,
) -> (Builder<Sut>, Served) {
    let states: BTreeMap<u64, _> = marks.iter().map(|mark| (*mark, manifest(*mark))).collect();
    let served = Served::default();
    let count = Rc::clone(&served);
    let builder = Simulation::builder(groups(n), seed).application(move |party, outcome| {
        let TransferOutcome::Recall { to, mark, piece } = outcome else { return Vec::new() };
        let found = states.get(&mark.0).filter(|_| has(party, *mark)).and_then(|state| {
            *count.borrow_mut().entry(party).or_default() += 1;
            match piece {
                Piece::Manifest => Some(Found::Manifest(state.0.clone())),
                Piece::Chunk(index) => state.1.get(*index as usize).cloned().map(Found::Chunk),
            }
        });
        let (to, mark, piece) = (*to, *mark, *piece);
        vec![TransferCommand::Recalled { to, mark, piece, found }]
    });
    (builder, served)
}

fn fetched(sim: &Sim) -> Option<(Mark, Bytes)> {
    sim.outcomes(p(0)).iter().find_map(|outcome| match outcome {
        TransferOutcome::Fetched { manifest, state } => Some((manifest.mark(), state.clone())),
        TransferOutcome::Recall { .. } | TransferOutcome::NotAdmitted => None,
    })
}

fn check_fetched(sim: &Sim, mark: u64) {
    let (found, bytes) = fetched(sim).expect("fetched");
    assert_eq!(found, Mark(mark));
    assert!(bytes == state(mark), "another state");
}

#[test]
fn all_servers_are_asked_for_different_pieces() {
    seeds(0..5, |seed| {
        let (builder, served) = builder(4, seed, &[3], |_, _| true);
        let mut sim = builder.build(|_| Transfer::default());
        fetch(&mut sim, 3);
        sim.run_to_quiescence(EVENTS_MAX)?;
        check_fetched(&sim, 3);
        let served = served.borrow();
        assert!((1..4).all(|index| served[&p(index)] > CHUNKS / 6), "{served:?}");
        let all: usize = served.values().sum();
        assert!(all <= CHUNKS + 3 + 12, "{all} pieces for {CHUNKS} chunks and a manifest");
        Ok(())
    });
}

#[test]
fn who_says_nothing_and_who_does_not_have_it_delay_nobody() {
    seeds(0..10, |seed| {
        let (builder, _) = builder(7, seed, &[3], |party, _| party != p(3) && party != p(4));
        let mut sim = builder.corrupt([p(1), p(2)], Silent).build(|_| Transfer::default());
        fetch(&mut sim, 3);
        sim.run_to_quiescence(EVENTS_MAX)?;
        check_fetched(&sim, 3);
        Ok(())
    });
}

#[test]
fn one_correct_server_is_enough() {
    seeds(0..5, |seed| {
        let (builder, _) = builder(4, seed, &[3], |party, _| party == p(2));
        let network = Network::lossy(100);
        let mut sim = builder.network(network).build(|_| Transfer::default());
        fetch(&mut sim, 3);
        sim.run_to_quiescence(EVENTS_MAX)?;
        check_fetched(&sim, 3);
        Ok(())
    });
}

fn lies(
    letter: &Letter<TransferMessage<IdealSuite>>,
    random: &mut Random,
) -> Vec<TransferMessage<IdealSuite>> {
    match &*letter.body {
        TransferMessage::Chunk { mark, index, chunk } => {
            let (mark, index) = (*mark, *index);
            let other = Blob::new(vec![random.below(256) as u8; chunk.len()]).expect("as long");
            let lie = TransferMessage::Chunk { mark, index, chunk: other };
            // Also what nobody asked for.
            let index = index.wrapping_add(random.below(3) as u32 * (u32::MAX / 2));
            vec![TransferMessage::Chunk { mark, index, chunk: chunk.clone() }, lie]
        }
        other => vec![other.clone()],
    }
}

#[test]
fn what_a_liar_sends_is_not_taken_and_it_is_blamed() {
    let mut blamed = 0;
    seeds(0..10, |seed| {
        let (builder, _) = builder(4, seed, &[3], |_, _| true);
        let mut sim = builder.corrupt([p(1)], Mutator(lies)).build(|_| Transfer::default());
        fetch(&mut sim, 3);
        sim.run_to_quiescence(EVENTS_MAX)?;
        check_fetched(&sim, 3);
        let faults = sim.blames().iter();
        blamed += faults.filter(|(_, fault)| fault.kind == FaultKind::InvalidValue).count();
        Ok(())
    });
    assert!(blamed >= 5, "{blamed}");
}

#[test]
fn a_state_that_goes_while_it_is_fetched_is_replaced_by_a_later_one_and_what_is_the_same_kept() {
    seeds(0..10, |seed| {
        let gone = Rc::new(RefCell::new(false));
        let cut = Rc::clone(&gone);
        let (builder, served) =
            builder(4, seed, &[3, 4], move |_, mark| mark == Mark(4) || !*cut.borrow());
        let mut sim = builder.build(|_| Transfer::default());
        fetch(&mut sim, 3);
        let enough = |sim: &Sim| {
            let progress = sim.state(p(0)).and_then(Transfer::progress);
            progress.is_some_and(|(here, _)| here > 3 * CHUNKS / 4)
        };
        sim.run_until(enough, EVENTS_MAX)?;
        let before: usize = served.borrow().values().sum();
        *gone.borrow_mut() = true;
        fetch(&mut sim, 4);
        sim.run_to_quiescence(EVENTS_MAX)?;
        check_fetched(&sim, 4);
        let after: usize = served.borrow().values().sum::<usize>() - before;
        assert!(after < CHUNKS * 5 / 6, "{after} pieces, though half were the same");
        Ok::<_, Failure>(())
    });
}

#[test]
fn who_reaches_the_mark_by_itself_asks_no_more() {
    let (builder, _) = builder(4, 1, &[3], |_, _| true);
    let mut sim = builder.build(|_| Transfer::default());
    fetch(&mut sim, 3);
    sim.command(p(0), TransferCommand::Reached(Mark(3)));
    let run = sim.run_to_quiescence(EVENTS_MAX);
    run.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(fetched(&sim), None);
    assert_eq!(sim.state(p(0)).and_then(Transfer::progress), None);
}
