use crate::world::*;
use maftia_agreement::broadcast::ConsistentBroadcast;
use maftia_agreement::broadcast::consistent::{
    Command, Message, Outcome, footprint_max, holds, verification, vote,
};
use maftia_agreement::digest_of;
use maftia_base::{AdversaryStructure, Party, PartySet};
use maftia_crypto::{Certificate, Corrupt, Done, IdealSuite, RealSuite, Suite, Work};
use maftia_sim::attacks::{Flooder, Mutator, Replayer, Script, Silent, Twins};
use maftia_sim::{Builder, Crashes, Failure, Hand, Letter, Network, Random, Simulation, seeds};

type Broadcast<S = IdealSuite> = ConsistentBroadcast<S, u64>;
type Sim<S = IdealSuite> = Simulation<Broadcast<S>>;

fn start<S: TestSuite>(
    structure: &AdversaryStructure,
    sender: Party,
    seed: u64,
    customize: impl FnOnce(Builder<Broadcast<S>>) -> Builder<Broadcast<S>>,
) -> Sim<S> {
    let builder = builder::<S, _>(structure, seed);
    let builder = builder.footprint_max(footprint_max(structure.n()));
    customize(builder).build(move |_| Broadcast::new(sender))
}

fn check_certificates<S: TestSuite>(
    sim: &Sim<S>,
    structure: &AdversaryStructure,
    sender: Party,
) -> Result<(), Failure> {
    same_everywhere(sim, |Outcome::Delivered { value, .. }| Some(*value))?;
    let group = &groups(structure)[0];
    for party in sim.honest().iter() {
        for Outcome::Delivered { value, certificate } in sim.outcomes(party) {
            let check = |value: u64| {
                let digest = digest_of(&value);
                verification(group, scope(), sender, digest, certificate)
                    .is_some_and(|work| holds(&work_of(structure, work)))
            };
            assert!(check(*value), "the certificate convinces everyone");
            assert!(!check(value + 1), "of nothing else");
        }
    }
    Ok(())
}

fn check_validity<S: TestSuite>(
    sim: &mut Sim<S>,
    structure: &AdversaryStructure,
    sender: Party,
) -> Result<(), Failure> {
    let command = |party| (party == sender).then_some(Command::Broadcast(7));
    run(sim, command, |sim| all_told(sim, 1))?;
    let told = same_everywhere(sim, |Outcome::Delivered { value, .. }| Some(*value))?;
    assert_eq!(told, Some(7), "what an honest sender broadcast");
    check_certificates(sim, structure, sender)
}

fn an_honest(structure: &AdversaryStructure, corrupt: PartySet) -> Party {
    let honest = PartySet::all(structure.n()).difference(corrupt);
    honest.iter().next().expect("somebody is honest")
}

#[test]
fn all_deliver_what_an_honest_sender_broadcasts_with_a_certificate() {
    for (structure, corrupt) in structures() {
        let sender = an_honest(&structure, corrupt);
        seeds(0..40, |seed| {
            let mut sim = start::<IdealSuite>(&structure, sender, seed, |b| {
                b.corrupt(corrupt.iter(), Silent)
            });
            check_validity(&mut sim, &structure, sender)?;
            let lossy = Network::lossy(200).duplicating(200);
            let mut sim = start::<IdealSuite>(&structure, sender, seed, |b| b.network(lossy));
            check_validity(&mut sim, &structure, sender)
        });
    }
}

#[test]
fn nobody_delivers_another_value_of_an_equivocating_sender() {
    for (structure, corrupt) in structures().into_iter().skip(1) {
        let sender = corrupt.iter().next().expect("not empty");
        seeds(0..60, |seed| {
            let second = parties((0..structure.n()).filter(|i| (seed >> i) & 1 == 1));
            let mut sim = start::<IdealSuite>(&structure, sender, seed, |builder| {
                builder.network(Network::lossy(100)).corrupt(corrupt.iter(), Twins { second })
            });
            sim.command_copy(sender, 0, Command::Broadcast(1));
            sim.command_copy(sender, 1, Command::Broadcast(2));
            sim.run_to_quiescence(EVENTS_MAX)?;
            check_certificates(&sim, &structure, sender)
        });
    }
}

#[test]
fn a_restarted_sender_that_gets_its_certificate_back_from_a_liar_sends_it_to_all() {
    let (structure, sender) = (threshold(4), p(0));
    seeds(0..200, |seed| {
        let mut stolen = None;
        let give_back = move |letter: Option<&Letter<_>>, hand: &mut Hand<'_, Broadcast>| {
            let Some(letter) = letter else { return };
            if let Message::Final(..) = &*letter.body {
                stolen = Some((*letter.body).clone());
            }
            if let Some(certificate) = &stolen {
                hand.send(p(3), sender, certificate.clone());
            }
        };
        let mut sim = start::<IdealSuite>(&structure, sender, seed, |builder| {
            builder.corrupt([p(3)], Script(give_back))
        });
        sim.command(sender, Command::Broadcast(7));
        for _ in 0..20 + seed % 40 {
            sim.step()?;
        }
        let honest: Vec<Party> = sim.honest().iter().collect();
        honest.iter().for_each(|party| sim.crash_losing_unsynced(*party));
        honest.iter().for_each(|party| sim.restart(*party));
        check_validity(&mut sim, &structure, sender)
    });
}

#[test]
fn a_sender_that_tells_one_server_two_values_is_convicted() {
    for (structure, corrupt) in structures().into_iter().skip(1) {
        let sender = corrupt.iter().next().expect("not empty");
        seeds(0..20, |seed| {
            let keyrings = ideal_keyrings(&structure);
            let mut sim = start::<IdealSuite>(&structure, sender, seed, |builder| {
                let liar = Mutator(move |letter: &Letter<_>, _: &mut Random| {
                    let Message::Send(value, signature) = &*letter.body else {
                        return vec![(*letter.body).clone()];
                    };
                    let other = value + 1;
                    let work = Work::Sign(vote(scope(), letter.from, digest_of(&other)));
                    let keyring = &keyrings[letter.from.index()];
                    let done = IdealSuite::run_many(vec![work], keyring, Default::default());
                    let [Done::Signed(signed)] = &done[..] else { panic!("{done:?}") };
                    let second = Message::Send(other, signed.signature);
                    vec![Message::Send(*value, *signature), second]
                });
                builder.corrupt(corrupt.iter(), liar)
            });
            sim.command(sender, Command::Broadcast(1));
            sim.run_to_quiescence(EVENTS_MAX)?;
            assert!(is_convicted(&sim, &structure, sender), "with evidence for others");
            check_certificates(&sim, &structure, sender)
        });
    }
}

#[test]
fn bad_signatures_and_certificates_do_not_stop_an_honest_sender_and_are_blamed() {
    for (structure, corrupt) in structures().into_iter().skip(1) {
        let sender = an_honest(&structure, corrupt);
        let mut blamed = 0;
        seeds(0..40, |seed| {
            let mut sim = start::<IdealSuite>(&structure, sender, seed, |builder| {
                builder.corrupt(
                    corrupt.iter(),
                    Mutator(|letter: &Letter<_>, _: &mut Random| match &*letter.body {
                        Message::Echo(digest, _) => vec![
                            Message::Echo(*digest, IdealSuite::bad_signature()),
                            Message::Final(*digest, Certificate::default()),
                        ],
                        other => vec![other.clone()],
                    }),
                )
            });
            check_validity(&mut sim, &structure, sender)?;
            blamed += corrupt.iter().filter(|party| sim.is_blamed(*party)).count();
            Ok(())
        });
        assert!(blamed > 0, "a bad signature that is looked at is blamed");
    }
}

#[test]
fn replays_and_floods_change_nothing_and_footprints_stay_bounded() {
    let structure = threshold(7);
    seeds(0..40, |seed| {
        let mut sim = start::<IdealSuite>(&structure, p(0), seed, |builder| {
            builder.corrupt([p(5)], Flooder { copies: 5 }).corrupt([p(6)], Replayer::new(500))
        });
        check_validity(&mut sim, &structure, p(0))
    });
}

#[test]
fn everybody_may_crash_and_lose_unsynced_writes() {
    for (structure, corrupt) in structures() {
        let sender = an_honest(&structure, corrupt);
        seeds(0..60, |seed| {
            let crashes = Crashes {
                parties: PartySet::all(structure.n()).difference(corrupt),
                permille: 150,
                crashes_max: 12,
                ..Crashes::default()
            };
            let mut sim = start::<IdealSuite>(&structure, sender, seed, |builder| {
                builder.corrupt(corrupt.iter(), Silent).crashes(crashes)
            });
            check_validity(&mut sim, &structure, sender)
        });
    }
}

#[test]
fn it_holds_with_the_real_suite_too() {
    let structure = threshold(4);
    seeds(0..3, |seed| {
        let mut sim = start::<RealSuite>(&structure, p(1), seed, |b| b.corrupt([p(3)], Silent));
        check_validity(&mut sim, &structure, p(1))
    });
}
