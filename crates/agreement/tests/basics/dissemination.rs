//! Dissemination: the value of an honest sender comes to all, and what one honest server holds
//! comes to all who are told to want it, with as few as two corrupt sets short of the group.

use crate::coded::{encode, no_encoding, spoil, value};
use crate::world::*;
use maftia_agreement::broadcast::coded::{code_of, fragments_needed};
use maftia_agreement::hybrid::dissemination::{
    Command, Dissemination, Message, Outcome, Record, footprint_max,
};
use maftia_base::time::Duration;
use maftia_base::{AdversaryStructure, Party, PartySet};
use maftia_crypto::{CodedValue, Commitment, Encoded, IdealSuite, PIECE_BYTES};
use maftia_sim::attacks::{Flooder, Mutator, Mute, Replayer, Silent};
use maftia_sim::{
    Adversary, Builder, Crashes, Failure, Fate, Hand, Letter, Local, Network, Random, Scheduler,
    Simulation, seeds,
};

type Sut = Dissemination<IdealSuite>;
type Sim = Simulation<Sut>;

const EVENTS_MAX: u64 = 200_000;

/// Groups that trusted components make possible, and as many servers as may be corrupt in each.
fn hybrids() -> Vec<(AdversaryStructure, PartySet)> {
    let of = |n, f| AdversaryStructure::threshold(n, f).expect("well-formed");
    // All of one of three sites, which together are the group.
    let sites = [parties([0, 1]), parties([2, 3]), parties([4])];
    let sites = AdversaryStructure::general(5, &sites).expect("well-formed");
    vec![
        (of(3, 1), parties([2])),
        (of(4, 1), parties([3])),
        (of(5, 2), parties([3, 4])),
        (of(7, 3), parties([4, 5, 6])),
        (sites, parties([0, 1])),
    ]
}

/// Now and then one of some stripes.
fn some_value(structure: &AdversaryStructure, seed: u64) -> CodedValue {
    let stripe = fragments_needed(structure) * PIECE_BYTES;
    let lengths = [0, 1, stripe + 1, 3 * stripe - 9];
    value(if seed.is_multiple_of(10) { lengths[(seed / 10 % 4) as usize] } else { 1000 }, seed)
}

fn start(
    structure: &AdversaryStructure,
    sender: Party,
    seed: u64,
    customize: impl FnOnce(Builder<Sut>) -> Builder<Sut>,
) -> Sim {
    let code = code_of(structure);
    let builder = builder::<IdealSuite, _>(structure, seed).footprint_max(footprint_max(code));
    customize(builder).build(move |_| Sut::new(sender, code))
}

/// What a server holds, which is the last that it told.
fn held(sim: &Sim, party: Party) -> Option<Commitment> {
    let told = sim.outcomes(party).last();
    told.map(|Outcome::Held { commitment, .. }| *commitment)
}

/// The sender is honest: all come to hold its value, and nothing else.
fn check_validity(sim: &mut Sim, sender: Party, value: &CodedValue) -> Result<(), Failure> {
    let command = |party| (party == sender).then(|| Command::Disseminate(value.clone()));
    run(sim, command, |sim| all_told(sim, 1))?;
    for party in sim.honest().iter() {
        let told = |Outcome::Held { value: told, .. }: &Outcome| told == value;
        assert!(sim.outcomes(party).iter().all(told), "{party}");
        assert_eq!(sim.outcomes(party).len(), 1, "told once");
    }
    assert!(sim.blames().iter().all(|(_, fault)| sim.corrupt().contains(fault.culprit)));
    Ok(())
}

/// All are told to want this, again after each restart, and come to hold it.
fn check_retrieval(sim: &mut Sim, wanted: Commitment) -> Result<(), Failure> {
    run(
        sim,
        |_| Some(Command::Want(wanted)),
        |sim| sim.honest().iter().all(|party| sim.is_up(party) && held(sim, party) == Some(wanted)),
    )?;
    sim.run_to_quiescence(EVENTS_MAX)?;
    for party in sim.honest().iter() {
        assert_eq!(held(sim, party), Some(wanted), "{party}");
    }
    assert!(sim.blames().iter().all(|(_, fault)| sim.corrupt().contains(fault.culprit)));
    Ok(())
}

fn first_honest(structure: &AdversaryStructure, corrupt: PartySet) -> Party {
    PartySet::all(structure.n()).difference(corrupt).iter().next().expect("somebody is honest")
}

#[test]
fn as_many_fragments_make_up_a_value_as_servers_are_honest_for_certain() {
    let needed: Vec<usize> = hybrids().iter().map(|(it, _)| fragments_needed(it)).collect();
    assert_eq!(needed, [2, 2, 3, 4, 3], "of 3, 4, 5, 7 and 5 servers");
}

#[test]
fn the_value_of_an_honest_sender_comes_to_all_whoever_is_silent() {
    for (structure, corrupt) in hybrids() {
        let sender = first_honest(&structure, corrupt);
        seeds(0..40, |seed| {
            let mut sim = start(&structure, sender, seed, |b| b.corrupt(corrupt.iter(), Silent));
            check_validity(&mut sim, sender, &some_value(&structure, seed))
        });
    }
}

#[test]
fn it_comes_to_all_through_losses_and_crashes() {
    for (structure, corrupt) in hybrids() {
        let sender = first_honest(&structure, corrupt);
        seeds(0..60, |seed| {
            let parties = PartySet::all(structure.n());
            let crashes = Crashes { parties, permille: 40, crashes_max: 8, ..Crashes::default() };
            let mut sim = start(&structure, sender, seed, |builder| {
                let builder = builder.network(Network::lossy(200));
                builder.corrupt(corrupt.iter(), Silent).crashes(crashes)
            });
            let value = some_value(&structure, seed);
            let command = |party| (party == sender).then(|| Command::Disseminate(value.clone()));
            run(&mut sim, command, |sim| all_told(sim, 1))
        });
    }
}

/// The fragment of one server takes long from the sender to it.
struct Slow {
    network: Network,
    from: Party,
    to: Party,
}

impl Scheduler<Message> for Slow {
    fn route(&mut self, letter: &Letter<Message>, random: &mut Random) -> Fate {
        let is_own = matches!(&*letter.body, Message::Piece { owner, .. } if *owner == self.to);
        match (letter.from, letter.to) == (self.from, self.to) && is_own {
            true => Fate::Arrives(Duration(1_000_000)),
            false => self.network.route(letter, random),
        }
    }

    fn local(&mut self, party: Party, what: Local, random: &mut Random) -> Duration {
        Scheduler::<Message>::local(&mut self.network, party, what, random)
    }
}

#[test]
fn who_holds_it_before_its_own_fragment_comes_still_counts_for_others() {
    let mut early = 0;
    for (structure, corrupt) in hybrids() {
        let sender = first_honest(&structure, corrupt);
        let others = PartySet::all(structure.n()).difference(corrupt);
        let favoured = others.iter().last().expect("not empty");
        let mut towards = others;
        towards.remove(favoured);
        seeds(0..20, |seed| {
            // Corrupt servers help one alone, whose own fragment takes long.
            let slow = Slow { network: Network::random(), from: sender, to: favoured };
            let mut sim = start(&structure, sender, seed, |builder| {
                builder.corrupt(corrupt.iter(), Mute { towards }).network(slow)
            });
            let value = value(1000, seed);
            sim.command(sender, Command::Disseminate(value.clone()));
            sim.run_for(Duration(500_000), EVENTS_MAX)?;
            early += usize::from(held(&sim, favoured).is_some());
            check_validity(&mut sim, sender, &value)
        });
    }
    assert!(early > 20, "where k > 2 it is often early: {early}");
}

#[test]
fn pieces_that_do_not_hold_count_for_nothing() {
    for (structure, corrupt) in hybrids() {
        let sender = first_honest(&structure, corrupt);
        seeds(0..40, |seed| {
            let spoils =
                |letter: &Letter<Message>, random: &mut Random| match (*letter.body).clone() {
                    Message::Piece { commitment, owner, piece } => {
                        let piece = spoil(&piece, random);
                        let owner = Party::new(random.below(64) as usize).min(owner);
                        vec![Message::Piece { commitment, owner, piece }]
                    }
                    other => vec![other],
                };
            let mut sim = start(&structure, sender, seed, |builder| {
                builder.corrupt(corrupt.iter(), Mutator(spoils))
            });
            check_validity(&mut sim, sender, &some_value(&structure, seed))
        });
    }
}

#[test]
fn floods_and_replays_change_nothing_and_fill_no_memory() {
    for (structure, corrupt) in hybrids() {
        let sender = first_honest(&structure, corrupt);
        seeds(0..20, |seed| {
            let value = value(1000, seed);
            let mut sim = start(&structure, sender, seed, |builder| {
                builder.corrupt(corrupt.iter(), Flooder { copies: 4 })
            });
            check_validity(&mut sim, sender, &value)?;
            let mut sim = start(&structure, sender, seed, |builder| {
                builder.corrupt(corrupt.iter(), Replayer::new(500))
            });
            check_validity(&mut sim, sender, &value)
        });
    }
}

/// Shows each server one of some encodings, or nothing.
struct Shows(Vec<(PartySet, Encoded)>);

impl Adversary<Sut> for Shows {
    fn outgoing(&mut self, letter: &Letter<Message>, hand: &mut Hand<'_, Sut>) {
        let me = letter.from;
        for (_, encoded) in self.0.iter().filter(|(to, _)| to.contains(letter.to)) {
            let commitment = encoded.commitment;
            for owner in (0..encoded.fragments.len()).map(p) {
                for piece in encoded.fragments[owner.index()].iter().cloned() {
                    hand.send(me, letter.to, Message::Piece { commitment, owner, piece });
                }
            }
        }
        for (to, _) in &mut self.0 {
            to.remove(letter.to);
        }
    }
}

/// The corrupt sender shows one value to one honest server, and another to the rest.
fn two_values(structure: &AdversaryStructure, corrupt: PartySet, seed: u64) -> (Shows, Commitment) {
    let [one, other] = [1, 2].map(|kind| encode(structure, &value(1000, 3 * seed + kind)));
    let honest = PartySet::all(structure.n()).difference(corrupt);
    let holder: PartySet = honest.iter().take(1).collect();
    let commitment = one.commitment;
    (Shows(vec![(holder, one), (honest.difference(holder), other)]), commitment)
}

#[test]
fn what_one_honest_server_holds_comes_to_all_who_want_it_though_they_hold_something_else() {
    for (structure, corrupt) in hybrids() {
        let sender = corrupt.iter().next().expect("not empty");
        seeds(0..40, |seed| {
            let (shows, wanted) = two_values(&structure, corrupt, seed);
            let mut sim = start(&structure, sender, seed, |b| b.corrupt(corrupt.iter(), shows));
            sim.command(sender, Command::Disseminate(value(10, seed)));
            sim.run_to_quiescence(EVENTS_MAX)?;
            let held = |party| held(&sim, party);
            assert_eq!(held(first_honest(&structure, corrupt)), Some(wanted));
            let other = |party| held(party).is_some_and(|it| it != wanted);
            assert!(sim.honest().iter().any(other), "somebody holds another");
            check_retrieval(&mut sim, wanted)
        });
    }
}

#[test]
fn it_comes_to_all_who_want_it_through_losses_and_crashes_and_beside_liars() {
    for (structure, corrupt) in hybrids() {
        let sender = corrupt.iter().next().expect("not empty");
        let mut retrieved = 0;
        seeds(0..60, |seed| {
            let (shows, wanted) = two_values(&structure, corrupt, seed);
            let mut sim = start(&structure, sender, seed, |builder| {
                builder.corrupt(corrupt.iter(), shows).network(Network::lossy(200))
            });
            sim.command(sender, Command::Disseminate(value(10, seed)));
            sim.run_to_quiescence(EVENTS_MAX)?;
            // What a liar sent and was lost, it does not send again.
            let is_held = held(&sim, first_honest(&structure, corrupt)) == Some(wanted);
            for party in sim.honest().iter().collect::<Vec<_>>() {
                sim.crash_losing_unsynced(party);
                sim.restart(party);
            }
            retrieved += usize::from(is_held);
            if is_held { check_retrieval(&mut sim, wanted) } else { Ok(()) }
        });
        assert!(retrieved > 20, "{retrieved}");
    }
}

#[test]
fn what_is_no_encoding_is_held_by_nobody_and_its_sender_is_blamed() {
    for (structure, corrupt) in hybrids() {
        let sender = corrupt.iter().next().expect("not empty");
        seeds(0..20, |seed| {
            let spoiled = (seed % structure.n() as u64) as usize;
            let none = no_encoding(&structure, &value(1000, seed), spoiled);
            let shows = Shows(vec![(PartySet::all(structure.n()), none)]);
            let mut sim = start(&structure, sender, seed, |b| b.corrupt(corrupt.iter(), shows));
            sim.command(sender, Command::Disseminate(value(10, seed)));
            sim.run_to_quiescence(EVENTS_MAX)?;
            for party in sim.honest().iter() {
                assert_eq!(held(&sim, party), None);
                assert!(sim.blames().iter().any(|(by, it)| (*by, it.culprit) == (party, sender)));
            }
            Ok(())
        });
    }
}

#[test]
fn what_was_told_to_be_held_is_held_after_a_crash_without_anybody_else() {
    for (structure, corrupt) in hybrids() {
        let sender = first_honest(&structure, corrupt);
        seeds(0..30, |seed| {
            let value = some_value(&structure, seed);
            let mut sim = start(&structure, sender, seed, |b| b.corrupt(corrupt.iter(), Silent));
            check_validity(&mut sim, sender, &value)?;
            let honest: Vec<Party> = sim.honest().iter().collect();
            honest.iter().for_each(|party| sim.crash_losing_unsynced(*party));
            for party in honest.into_iter().filter(|party| *party != sender) {
                let kept = |record: &Record| matches!(record, Record::Held(_));
                assert!(sim.log(party).0.iter().any(kept), "what it told is in its log");
                sim.restart(party);
                assert_eq!(sim.state(party).expect("up").records().len(), sim.log(party).0.len());
                sim.crash(party);
            }
            Ok(())
        });
    }
}
