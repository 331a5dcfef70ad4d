//! One server, or two of seven, under an adversary's control.

use super::world::{World, p, parties, world};
use maftia_agreement::atomic::epochs::{Command, EpochChain, Message, Outcome};
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
        assert!(is_proven_against(p(3), &world), "somebody saw both batches");
        Ok(())
    });
}

fn is_proven_against(culprit: maftia_base::Party, world: &World) -> bool {
    world.sim.blames().iter().any(|(_, fault)| {
        fault.culprit == culprit
            && fault.kind == FaultKind::Equivocation
            && matches!(fault.evidence.as_deref(), Some(Evidence::Conflict(..)))
    })
}

/// No server sees both batches; but the one whose batch is not ordered fetches the other.
#[test]
fn an_owner_that_keeps_its_two_faces_apart_is_convicted_by_what_the_deceived_fetches() {
    let mut convicted = 0;
    seeds(0..30, |seed| {
        let mut world =
            world(4, seed, |builder| builder.corrupt([p(3)], Twins { second: parties([1]) }));
        for copy in 0..2 {
            let item = Item::new(format!("face {copy}").into_bytes()).expect("small");
            world.sim.command_copy(p(3), copy, Command::Submit(item));
        }
        let items = world.submit_many(parties([0, 1, 2]), 2);
        world.finish(&items)?;
        convicted += u32::from(is_proven_against(p(3), &world));
        Ok(())
    });
    assert!(convicted > 15, "unless the second face comes too late: {convicted} of 30");
}

/// Who answers a question with an owner's vote that it made up is blamed itself, and does not
/// shield the owner for ever.
#[test]
fn a_made_up_vote_of_an_owner_falls_back_on_who_sent_it() {
    let (mut caught, mut convicted) = (0, 0);
    seeds(0..40, |seed| {
        let mut world = world(7, seed, |builder| {
            builder.corrupt([p(6)], Twins { second: parties([1, 2]) }).corrupt(
                [p(5)],
                Mutator(|letter: &Letter<Body>, _: &mut Random| {
                    let mut body = (*letter.body).clone();
                    if let atomic::Message::Found { owner: Some(owner), .. } = &mut body.body {
                        owner.reading.0 += 1;
                    }
                    vec![body]
                }),
            )
        });
        for face in 0..6 {
            let item = Item::new(format!("face {face}").into_bytes()).expect("small");
            world.sim.command_copy(p(6), face % 2, Command::Submit(item));
        }
        let items = world.submit_many(parties([0, 1, 2, 3, 4]), 2);
        world.finish(&items)?;
        let blames = world.sim.blames();
        let slandered = blames.iter().find(|(_, fault)| fault.culprit.index() < 5);
        assert!(slandered.is_none(), "an honest server is blamed: {slandered:?}");
        let of_liar = |(_, fault): &&(_, maftia_base::Fault)| {
            fault.culprit == p(5) && fault.kind == FaultKind::BadSignature
        };
        caught += u32::from(blames.iter().find(of_liar).is_some());
        convicted += u32::from(is_proven_against(p(6), &world));
        Ok(())
    });
    assert!(caught > 0 && convicted > 20, "{caught} and {convicted} of 40");
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

#[test]
fn an_owner_whose_batch_is_refused_has_no_more_work_made_for_it() {
    seeds(0..10, |seed| {
        let corrupt = p(3);
        let mut world = world(4, seed, |builder| builder.corrupt([corrupt], Flooder { copies: 3 }));
        world.submit_this(corrupt, b"vile");
        let mut items = world.submit_many(parties([0, 1, 2]), 2);
        world.finish(&items)?;
        for number in 0..10 {
            world.submit_this(corrupt, format!("vile {number}").as_bytes());
        }
        items.extend(world.submit_many(parties([0, 1, 2]), 2));
        world.finish(&items)?;
        for party in world.sim.honest().iter() {
            let inspected = world.sim.outcomes(party).iter().filter(
                |outcome| matches!(outcome, Outcome::Inspect { lane, .. } if *lane == corrupt),
            );
            assert_eq!(inspected.count(), 1, "{party}");
        }
        Ok(())
    });
}
