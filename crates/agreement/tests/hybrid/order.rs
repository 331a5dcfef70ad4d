//! What the order promises, with fewer servers.

use crate::world::{World, p, parties, world_made};
use maftia_agreement::atomic::epochs::{Command, EpochChain, Message, Outcome};
use maftia_agreement::atomic::{self, Delivery};
use maftia_agreement::hybrid::{Life, Member, Members, OrderedBy};
use maftia_base::time::Duration;
use maftia_base::{AdversaryStructure, Formula, Party, PartySet};
use maftia_crypto::{Done, IdealSuite, Work, ideal};
use maftia_sim::attacks::{Flooder, Mutator, Mute, Replayer, Silent, Twins};
use maftia_sim::wormhole::{Tongue, Weather, Wormhole};
use maftia_sim::{
    Builder, Crashes, Failure, Fate, Letter, Local, Network, Random, Scheduler, UNIT, seeds,
};
use maftia_ttcb_api::{BootKeys, Sealed};

type Chain = EpochChain<IdealSuite>;

fn structures() -> Vec<AdversaryStructure> {
    let threshold = |n, f| AdversaryStructure::threshold(n, f).expect("well formed");
    vec![threshold(1, 0), threshold(3, 1), threshold(5, 2)]
}

fn members_of(wormhole: &Wormhole<Chain>) -> Members {
    let member = |(guard, life): ([u8; 32], Sealed<BootKeys>)| Member {
        host: life.said.host,
        role: 0,
        guard,
        life: Life::from(&life.said),
    };
    Members::new(wormhole.lives().into_iter().map(member))
}

/// Runs take turns.
fn ordered_by(seed: u64) -> OrderedBy {
    if seed.is_multiple_of(2) { OrderedBy::Identifiers } else { OrderedBy::Service }
}

fn hybrid(
    structure: &AdversaryStructure,
    seed: u64,
    customize: impl FnOnce(Builder<Chain>) -> Builder<Chain>,
) -> World {
    let tongue = Tongue {
        call: |work| match work {
            Work::Trusted(call) => *call,
            other => panic!("only calls are consulted: {other:?}"),
        },
        done: |answer| Done::Trusted(Box::new(answer)),
        key: |secret| *secret,
        seal: ideal::seal,
    };
    let wormhole = Wormhole::new(structure.n(), seed, Weather::default(), tongue);
    let members = members_of(&wormhole).ordering_by(ordered_by(seed));
    let keyrings = ideal::keyrings(structure, &Formula::exact(structure), seed);
    let make = move || EpochChain::new().with_members(members.clone());
    world_made(structure, seed, keyrings, make, |builder| customize(builder.trusted(wormhole)))
}

fn last(structure: &AdversaryStructure) -> Party {
    p(structure.n() - 1)
}

/// The last ones, as many as the structure allows.
fn liars(structure: &AdversaryStructure) -> Vec<Party> {
    (structure.n() / 2 + 1..structure.n()).map(p).collect()
}

/// What a client does: whatever is not ordered when all is quiet is submitted again.
fn insist(world: &mut World, items: &[Vec<u8>]) -> Result<(), Failure> {
    for _ in 0..20 {
        world.run_to_quiescence()?;
        let honest = world.sim.honest();
        let up: Vec<Party> = honest.iter().filter(|party| world.sim.is_up(*party)).collect();
        let missing: Vec<_> =
            items.iter().filter(|item| !world.has(up[0], &[item.to_vec()])).cloned().collect();
        if missing.is_empty() {
            break;
        }
        for (item, party) in missing.iter().zip(up.iter().cycle()) {
            world.submit_this(*party, item);
        }
    }
    world.finish(items)
}

#[test]
fn all_deliver_the_same_sequence_of_everything_submitted() {
    for structure in structures() {
        seeds(0..40, |seed| {
            let mut world = hybrid(&structure, seed, |builder| builder);
            let items = world.submit_many(PartySet::all(structure.n()), 4);
            world.finish(&items)?;
            world.check_exactly(&items)
        });
    }
}

/// Delays until the submitter has its item, and how often anything was synced until then.
fn cost(at: usize, network: Network) -> (u64, u64) {
    let structure = &structures()[1];
    let mut world = hybrid(structure, 0, |builder| builder.network(network));
    let item = world.submit(p(at));
    world.run_until(|world| world.has(p(at), std::slice::from_ref(&item))).expect("ordered");
    (world.sim.elapsed_units(), world.sim.stats().messages)
}

#[test]
fn takes_four_message_delays() {
    // Batch, vote, proposal, vote: at the leader. Elsewhere the head is one more, and the vote
    // none.
    assert_eq!(cost(0, Network::unit_delay()).0, 4);
    assert_eq!(cost(1, Network::unit_delay()).0, 4);
}

#[test]
fn a_batch_has_the_time_at_which_its_owners_component_identified_it() {
    let structure = &structures()[1];
    let mut world = hybrid(structure, 3, |builder| builder);
    let items = world.submit_many(PartySet::all(3), 2);
    world.finish(&items).expect("ordered");
    let start = maftia_sim::CLOCK_START.0;
    let deliveries: Vec<Delivery> = world.deliveries(p(0));
    assert!(!deliveries.is_empty());
    for delivery in &deliveries {
        let sealed = delivery.sealed.expect("clocks are synchronised").0;
        let now = start + world.sim.now().0;
        assert!((start..=now + 2_000).contains(&sealed), "{sealed} at {now}");
    }
    assert_eq!(deliveries, world.deliveries(p(1)), "the same at every server");
}

#[test]
fn a_silent_liar_stops_nobody() {
    for structure in structures().into_iter().skip(1) {
        seeds(0..20, |seed| {
            let liars = liars(&structure);
            let mut world = hybrid(&structure, seed, |builder| builder.corrupt(liars, Silent));
            let honest = world.sim.honest();
            let items = world.submit_many(honest, 3);
            world.finish(&items)?;
            world.check_exactly(&items)
        });
    }
}

#[test]
fn two_copies_of_a_server_with_one_trusted_component_make_no_two_orders() {
    for structure in structures().into_iter().skip(1) {
        seeds(0..40, |seed| {
            let mut world = hybrid(&structure, seed, |builder| {
                let second = PartySet::from_iter([p(0)]);
                builder.corrupt(liars(&structure), Twins { second })
            });
            for copy in 0..2 {
                for liar in liars(&structure) {
                    let content = format!("of copy {copy} of {liar}").into_bytes();
                    let item = atomic::Item::new(content).expect("small");
                    world.sim.command_copy(liar, copy, Command::Submit(item));
                }
            }
            let honest = world.sim.honest();
            let items = world.submit_many(honest, 3);
            world.finish(&items)
        });
    }
}

/// Says what does not fit: other times, other identifiers, none.
fn garble(letter: &Letter<Message<IdealSuite>>, random: &mut Random) -> Vec<Message<IdealSuite>> {
    let Message { epoch, body } = (*letter.body).clone();
    let garbled = match body {
        atomic::Message::Batch { batch, vote, .. } if random.chance(300) => {
            atomic::Message::Batch { batch, vote, seal: None }
        }
        atomic::Message::Head(head) if random.chance(500) => {
            atomic::Message::Head(atomic::Head { seal: None, ..head })
        }
        other => other,
    };
    vec![Message { epoch, body: garbled }]
}

#[test]
fn liars_of_all_kinds_change_nothing() {
    for structure in structures().into_iter().skip(1) {
        seeds(0..60, |seed| {
            let liars = liars(&structure);
            let mut world = hybrid(&structure, seed, |builder| match seed % 4 {
                0 => builder.corrupt(liars, Mutator(garble)),
                1 => builder.corrupt(liars, Flooder { copies: 2 }),
                2 => builder.corrupt(liars, Replayer::new(300)),
                _ => builder.corrupt(liars, Mute { towards: PartySet::from_iter([p(0)]) }),
            });
            for liar in self::liars(&structure) {
                world.submit(liar);
            }
            let honest = world.sim.honest();
            let items = world.submit_many(honest, 3);
            world.finish(&items)
        });
    }
}

/// Letters take so long that patience is over, often.
struct Slow(u64);

impl<M> Scheduler<M> for Slow {
    fn route(&mut self, _: &Letter<M>, random: &mut Random) -> Fate {
        Fate::Arrives(Duration(1 + random.below(self.0 * UNIT.0)))
    }

    fn local(&mut self, _: Party, _: Local, random: &mut Random) -> Duration {
        Duration(1 + random.below(UNIT.0))
    }
}

#[test]
fn rounds_that_take_longer_than_patience_make_no_two_orders() {
    for structure in structures().into_iter().skip(1) {
        seeds(0..40, |seed| {
            let slow = Slow([300, 900, 3_000][(seed % 3) as usize]);
            let mut world = hybrid(&structure, seed, |builder| {
                let builder = builder.network(slow);
                if seed % 2 == 0 { builder } else { builder.corrupt([last(&structure)], Silent) }
            });
            let honest = world.sim.honest();
            let items = world.submit_many(honest, 3);
            world.finish(&items)?;
            world.check_exactly(&items)
        });
    }
}

#[test]
fn crashes_lose_nothing_that_is_ordered_as_long_as_the_trusted_components_go_on() {
    for structure in structures() {
        seeds(0..60, |seed| {
            let crashes = Crashes {
                parties: PartySet::all(structure.n()),
                permille: 60,
                downtime: Duration((1 + seed % 700) * UNIT.0),
                crashes_max: 12,
            };
            let mut world = hybrid(&structure, seed, |builder| builder.crashes(crashes));
            let items = world.submit_many(PartySet::all(structure.n()), 4);
            insist(&mut world, &items)
        });
    }
}

#[test]
fn all_at_once_lose_what_was_not_synced_and_resume() {
    for structure in structures() {
        let n = structure.n();
        seeds(0..40, |seed| {
            let mut world = hybrid(&structure, seed, |builder| builder);
            let items = world.submit_many(PartySet::all(n), 4);
            for _ in 0..20 + (seed * 37) % 900 {
                world.step()?;
            }
            (0..n).for_each(|index| world.sim.crash_losing_unsynced(p(index)));
            (0..n).for_each(|index| world.sim.restart(p(index)));
            insist(&mut world, &items)
        });
    }
}

#[test]
fn one_that_was_away_for_long_catches_up_and_an_epoch_ends_meanwhile() {
    let structure = &structures()[1];
    seeds(0..10, |seed| {
        let mut world = hybrid(structure, seed, |builder| builder.footprint_max(1_000));
        let mut items = world.submit_many(PartySet::all(3), 1);
        world.finish(&items)?;
        world.sim.crash(p(2));
        for step in 0..40 {
            if step == 20 {
                (0..2).for_each(|index| world.sim.command(p(index), Command::ChangeEpoch));
            }
            let next = world.submit_many(parties([0, 1]), 1);
            world.run_until(|world| world.all_have(parties([0, 1]), &next))?;
            items.extend(next);
        }
        world.sim.restart(p(2));
        world.finish(&items)?;
        items.push(world.submit(p(2)));
        world.finish(&items)
    });
}

#[test]
fn what_the_log_has_of_an_epoch_is_not_forgotten_though_its_members_are_told_later() {
    let structure = &structures()[1];
    let mut later = 0;
    seeds(0..40, |seed| {
        let mut world = hybrid(structure, seed, |builder| builder.footprint_max(1_000));
        let mut items = world.submit_many(PartySet::all(3), 1);
        world.finish(&items)?;
        (0..2).for_each(|index| world.sim.command(p(index), Command::ChangeEpoch));
        items.extend(world.submit_many(PartySet::all(3), 6));
        for _ in 0..150 + 20 * seed {
            world.sim.step()?;
        }
        later += world.sim.state(p(0)).expect("up").epoch().0;
        (0..3).for_each(|index| world.sim.crash_losing_unsynced(p(index)));
        // The layer above says who the members are when all logs have been replayed.
        (0..3).for_each(|index| world.sim.restart(p(index)));
        insist(&mut world, &items)?;
        for party in PartySet::all(3).iter() {
            let forgot = |outcome: &Outcome| matches!(outcome, Outcome::Forgot);
            assert!(!world.sim.history(party).any(|(_, outcome)| forgot(outcome)));
        }
        Ok(())
    });
    assert!(later > 10, "crashes hit the second epoch: {later}");
}
