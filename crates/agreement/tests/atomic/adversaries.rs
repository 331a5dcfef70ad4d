//! One server, or two of seven, under an adversary's control.

use super::world::{p, parties, world};
use maftia_agreement::atomic::epochs::{Command, EpochChain, Message};
use maftia_agreement::atomic::{self, Item};
use maftia_base::{Evidence, FaultKind, PartySet};
use maftia_crypto::ideal::IdealSuite;
use maftia_sim::attacks::{Flooder, Mutator, Mute, Replayer, Script, Silent, Twins};
use maftia_sim::{Letter, Random, seeds};

#[test]
fn goes_on_while_as_many_as_may_be_are_silent() {
    for (n, silent) in [(4, vec![3]), (7, vec![0, 4])] {
        seeds(0..15, |seed| {
            let corrupt: Vec<_> = silent.iter().copied().map(p).collect();
            let mut world = world(n, seed, |builder| builder.corrupt(corrupt, Silent));
            let honest = world.sim.honest();
            let items = world.submit_many(honest, 3);
            world.finish(&items)?;
            world.check_exactly(&items)
        });
    }
}

#[test]
fn an_owner_that_is_mute_towards_some_gets_its_lane_ordered_or_not_but_the_same_for_all() {
    seeds(0..30, |seed| {
        let mut world = world(4, seed, |builder| {
            builder.corrupt([p(3)], Mute { towards: parties([(seed % 3) as usize]) })
        });
        let items = world.submit_many(PartySet::all(4), 3);
        let of_honest: Vec<_> =
            items.iter().filter(|item| !item.ends_with(b"p3")).cloned().collect();
        world.finish(&of_honest)
    });
}

#[test]
fn an_equivocating_owner_splits_nobody() {
    seeds(0..40, |seed| {
        let mut world = world(4, seed, |builder| {
            builder.corrupt([p(3)], Twins { second: parties([1, (seed % 3) as usize]) })
        });
        let mut items = world.submit_many(parties([0, 1, 2]), 2);
        for copy in 0..2 {
            let item = Item::new(format!("twin {copy}").into_bytes()).expect("small");
            world.sim.command_copy(p(3), copy, Command::Submit(item));
        }
        items.extend(world.submit_many(parties([0, 1, 2]), 2));
        world.finish(&items)
    });
}

type Body = Message<IdealSuite>;

/// Every peer is shown the batches of both copies of the owner.
#[test]
fn a_replayed_twin_batch_convicts_its_owner() {
    struct Crossed {
        batches: Vec<Body>,
    }
    impl maftia_sim::Adversary<EpochChain<IdealSuite>> for Crossed {
        fn copies(&self, _: maftia_base::Party) -> usize {
            2
        }
        fn outgoing(
            &mut self,
            letter: &Letter<Body>,
            hand: &mut maftia_sim::Hand<'_, EpochChain<IdealSuite>>,
        ) {
            if let atomic::Message::Batch { .. } = letter.body.body {
                self.batches.push((*letter.body).clone());
                for body in self.batches.clone() {
                    hand.send(letter.from, letter.to, body);
                }
            }
            hand.pass(letter);
        }
    }
    seeds(0..20, |seed| {
        let mut world =
            world(4, seed, |builder| builder.corrupt([p(3)], Crossed { batches: Vec::new() }));
        for copy in 0..2 {
            let item = Item::new(format!("copy {copy}").into_bytes()).expect("small");
            world.sim.command_copy(p(3), copy, Command::Submit(item));
        }
        let items = world.submit_many(parties([0, 1, 2]), 2);
        world.finish(&items)?;
        let proven = world.sim.blames().iter().any(|(_, fault)| {
            fault.culprit == p(3)
                && fault.kind == FaultKind::Equivocation
                && matches!(fault.evidence.as_deref(), Some(Evidence::Conflict(..)))
        });
        assert!(proven, "somebody saw both batches");
        Ok(())
    });
}

#[test]
fn replays_and_floods_do_no_harm() {
    // What it says again of others in its own name contradicts itself: its lane may end.
    seeds(0..15, |seed| {
        let mut world = world(4, seed, |builder| {
            builder.corrupt([p(0)], Replayer::new(300)).footprint_max(1_000)
        });
        let mut items = world.submit_many(PartySet::all(4), 3);
        items.retain(|item| !item.ends_with(b"p0"));
        world.finish(&items)
    });
    seeds(0..10, |seed| {
        let mut world = world(4, seed, |builder| {
            builder.corrupt([p(0)], Flooder { copies: 4 }).footprint_max(1_000)
        });
        let items = world.submit_many(PartySet::all(4), 3);
        world.finish(&items)?;
        world.check_exactly(&items)
    });
}

/// Changes one number or digest in a message of the lanes, of fetching or of catching up.
fn garble(body: &Body, random: &mut Random) -> Body {
    let mut garbled = body.clone();
    match &mut garbled.body {
        atomic::Message::Batch { batch, .. } => match random.below(3) {
            0 => batch.height = atomic::Height(random.below(40)),
            1 => batch.previous = None,
            _ => batch.turn = !batch.turn,
        },
        atomic::Message::Vote { vote, height, .. } => {
            vote.reading.0 ^= random.below(2);
            height.0 += random.below(2);
        }
        atomic::Message::Head(head) => match random.below(2) {
            0 => head.height.0 += random.below(3),
            _ => head.digest = maftia_base::Digest::default(),
        },
        atomic::Message::Want { digest, .. } => *digest = maftia_base::Digest::default(),
        atomic::Message::Found { batch, .. } => batch.turn = !batch.turn,
        atomic::Message::Status { round } => round.0 = random.below(1 << 40),
        atomic::Message::Rounds(_) => garbled.epoch.0 += random.below(2),
        atomic::Message::Agree { round, .. } => round.0 += random.below(4),
    }
    garbled
}

#[test]
fn garbled_messages_are_dropped_and_harm_nobody_else() {
    seeds(0..40, |seed| {
        let mut world = world(4, seed, |builder| {
            builder
                .corrupt(
                    [p(2)],
                    Mutator(|letter: &Letter<Body>, random: &mut Random| {
                        if random.chance(500) {
                            vec![garble(&letter.body, random)]
                        } else {
                            vec![(*letter.body).clone()]
                        }
                    }),
                )
                .footprint_max(1_000)
        });
        let mut items = world.submit_many(PartySet::all(4), 2);
        items.retain(|item| !item.ends_with(b"p2"));
        world.finish(&items)
    });
}

#[test]
fn a_peer_that_claims_a_far_round_or_epoch_costs_one_question_a_round() {
    seeds(0..10, |seed| {
        let mut world = world(4, seed, |builder| {
            let lie =
                |letter: Option<&Letter<Body>>,
                 hand: &mut maftia_sim::Hand<'_, EpochChain<IdealSuite>>| {
                    let Some(letter) = letter else { return };
                    // To a few of all messages: each lie is answered, and every answer lied to.
                    if !hand.random().chance(30) {
                        return;
                    }
                    let round = atomic::Round(1 << 50);
                    let epoch = maftia_base::Epoch(
                        letter.body.epoch.0 + u64::from(hand.random().chance(500)),
                    );
                    let body = atomic::Message::Status { round };
                    hand.send(p(1), letter.from, Message { epoch, body });
                };
            builder.corrupt([p(1)], Script(lie)).footprint_max(1_000)
        });
        let items = world.submit_many(parties([0, 2, 3]), 3);
        let honest = world.sim.honest();
        world.run_until(|world| world.all_have(honest, &items))?;
        world.check_order()
    });
}
