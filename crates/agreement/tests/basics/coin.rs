use crate::world::*;
use maftia_agreement::coin::{Command, CommonCoin, Message, Outcome, footprint_max, proven};
use maftia_base::{AdversaryStructure, Digest, Party, PartySet};
use maftia_crypto::{Corrupt, IdealSuite, RealSuite};
use maftia_sim::attacks::{Flooder, Mutator, Replayer, Silent};
use maftia_sim::{Builder, Crashes, Failure, Letter, Network, Random, Simulation, seeds};

type Sim<S = IdealSuite> = Simulation<CommonCoin<S>>;

fn start<S: TestSuite>(
    structure: &AdversaryStructure,
    seed: u64,
    customize: impl FnOnce(Builder<CommonCoin<S>>) -> Builder<CommonCoin<S>>,
) -> Sim<S> {
    let builder = builder::<S, _>(structure, seed);
    let builder = builder.footprint_max(footprint_max(structure.n()));
    customize(builder).build(|_| CommonCoin::new())
}

fn toss(_: Party) -> Option<Command> {
    Some(Command::Toss)
}

/// Everybody gets the same coin, with proofs that convince others.
fn check<S: TestSuite>(
    sim: &mut Sim<S>,
    structure: &AdversaryStructure,
) -> Result<Digest, Failure> {
    run(sim, toss, |sim| all_told(sim, 1))?;
    let group = &groups(structure)[0];
    for party in sim.honest().iter() {
        let [Outcome::Tossed(value, proof)] = sim.outcomes(party) else {
            return Err(sim.fail(party, "a coin is told once"));
        };
        let prove = |name| {
            let work = proof.verification(group, name).expect("the shares suffice");
            proven(&work_of(structure, work))
        };
        assert_eq!(prove(scope()), Some(*value), "the proof convinces everyone");
        assert_eq!(prove(scope().child("other", 0)), None, "of no other coin");
    }
    let told = same_everywhere(sim, |Outcome::Tossed(value, _)| Some(*value))?;
    Ok(told.expect("all were told"))
}

#[test]
fn all_get_the_same_coin_in_any_order_and_without_the_corrupt() {
    for (structure, corrupt) in structures() {
        let mut values = std::collections::BTreeSet::new();
        seeds(0..40, |seed| {
            let mut sim =
                start::<IdealSuite>(&structure, seed, |b| b.corrupt(corrupt.iter(), Silent));
            values.insert(check(&mut sim, &structure)?);
            let lossy = Network::lossy(200).duplicating(200);
            let mut sim = start::<IdealSuite>(&structure, seed, |b| b.network(lossy));
            values.insert(check(&mut sim, &structure)?);
            Ok(())
        });
        assert_eq!(values.len(), 1, "a name has one coin, whoever tosses and in whatever order");
    }
}

#[test]
fn bad_shares_are_dropped_and_their_senders_convicted() {
    for (structure, corrupt) in structures().into_iter().skip(1) {
        let mut convicted = 0;
        seeds(0..40, |seed| {
            let keyrings = ideal_keyrings(&structure);
            let mut sim = start::<IdealSuite>(&structure, seed, |builder| {
                builder.corrupt(
                    corrupt.iter(),
                    Mutator(move |letter: &Letter<_>, _: &mut Random| {
                        let keyring = &keyrings[letter.from.index()];
                        vec![Message::Share(IdealSuite::bad_coin_share(keyring, scope()))]
                    }),
                )
            });
            for party in corrupt.iter() {
                sim.command(party, Command::Toss);
            }
            check(&mut sim, &structure)?;
            convicted += corrupt.iter().filter(|c| is_convicted(&sim, &structure, *c)).count();
            Ok(())
        });
        assert!(convicted > 0, "a bad share that is looked at convicts");
    }
}

#[test]
fn nobody_learns_the_coin_before_an_honest_server_tosses() {
    for (structure, corrupt) in structures().into_iter().skip(1) {
        let mut sim = start::<IdealSuite>(&structure, 0, |builder| {
            builder.corrupt(corrupt.iter(), maftia_sim::attacks::Passive)
        });
        for party in corrupt.iter() {
            sim.command(party, Command::Toss);
        }
        sim.run_to_quiescence(EVENTS_MAX).expect("it ends");
        for party in PartySet::all(structure.n()).iter() {
            assert!(sim.outcomes(party).is_empty(), "corrupt shares alone are not qualified");
        }
    }
}

#[test]
fn replays_and_floods_change_nothing_and_footprints_stay_bounded() {
    let structure = threshold(7);
    seeds(0..40, |seed| {
        let mut sim = start::<IdealSuite>(&structure, seed, |builder| {
            builder.corrupt([p(5)], Flooder { copies: 5 }).corrupt([p(6)], Replayer::new(500))
        });
        check(&mut sim, &structure).map(drop)
    });
}

#[test]
fn everybody_may_crash_and_lose_unsynced_writes() {
    for (structure, corrupt) in structures() {
        seeds(0..60, |seed| {
            let crashes = Crashes {
                parties: PartySet::all(structure.n()).difference(corrupt),
                permille: 300,
                crashes_max: 12,
                ..Crashes::default()
            };
            let mut sim = start::<IdealSuite>(&structure, seed, |builder| {
                builder.corrupt(corrupt.iter(), Silent).crashes(crashes)
            });
            check(&mut sim, &structure).map(drop)
        });
    }
}

#[test]
fn it_holds_with_the_real_suite_too() {
    let structure = threshold(4);
    seeds(0..3, |seed| {
        let keyrings = real_keyrings(&structure);
        let mut sim = start::<RealSuite>(&structure, seed, |builder| {
            builder.corrupt(
                [p(3)],
                Mutator(move |letter: &Letter<_>, _: &mut Random| {
                    let keyring = &keyrings[letter.from.index()];
                    vec![Message::Share(RealSuite::bad_coin_share(keyring, scope()))]
                }),
            )
        });
        sim.command(p(3), Command::Toss);
        check(&mut sim, &structure).map(drop)
    });
}
