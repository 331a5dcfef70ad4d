use super::*;
use crate::digest_of;
use crate::hybrid::testing::{self, *};
use crate::hybrid::{Member, Members, Proof};
use maftia_base::time::Duration;
use maftia_base::{
    AdversaryStructure, Digest, Epoch, FaultKind, Group, GroupId, Party, PartySet, Protocol,
};
use maftia_crypto::{Attested, IdealSuite};
use maftia_sim::attacks::{Flooder, Mutator, Mute, Passive, Replayer, Silent, Twins};
use maftia_sim::wormhole::{Weather, Wormhole};
use maftia_sim::{
    Adversary, Builder, Crashes, Failure, Letter, Network, Random, Simulation, UNIT,
    check_deterministic, seeds,
};

type Cast = Multicast<IdealSuite, u64>;
type Said = Message<u64>;

const EVENTS_MAX: u64 = 100_000;
const SENDER: usize = 0;
const FORMS: [Spreading; 3] = [
    Spreading::Acknowledged,
    Spreading::Copies { omissions: 0 },
    Spreading::Copies { omissions: 2 },
];

/// n >= f + 2: two honest servers are enough.
fn structures() -> Vec<AdversaryStructure> {
    thresholds(&[(2, 0), (3, 1), (4, 2), (5, 3)])
}

struct World {
    sim: Simulation<Cast>,
    recipients: PartySet,
}

/// What is built the same in most tests.
struct Plan {
    structure: AdversaryStructure,
    form: Spreading,
    seed: u64,
    weather: Weather,
    /// Whose components are dead from the beginning.
    dead: PartySet,
}

fn plan(structure: &AdversaryStructure, form: Spreading, seed: u64) -> Plan {
    let (weather, dead) = (Weather::default(), PartySet::EMPTY);
    Plan { structure: structure.clone(), form, seed, weather, dead }
}

fn recipients(n: usize) -> PartySet {
    PartySet::all(n)
}

impl Plan {
    fn world(self, customize: impl FnOnce(Builder<Cast>) -> Builder<Cast>) -> World {
        let recipients = recipients(self.structure.n());
        self.world_of(recipients, customize)
    }

    fn world_of(
        self,
        recipients: PartySet,
        customize: impl FnOnce(Builder<Cast>) -> Builder<Cast>,
    ) -> World {
        let Self { structure, form, seed, weather, dead } = self;
        let n = structure.n();
        let mut wormhole = Wormhole::new(n, seed, weather, tongue());
        dead.iter().for_each(|party| wormhole.crash(party));
        let members = members_of(&wormhole);
        let builder = testing::builder(&structure, seed, wormhole).footprint_max(2 + 4 * n);
        let sim = customize(builder).build(move |party| {
            // Who is no recipient hears nothing: it runs a multicast of its own.
            let to = if recipients.contains(party) { recipients } else { parties([party.index()]) };
            let sender = if recipients.contains(party) { p(SENDER) } else { party };
            Cast::new(party, sender, to, members.clone(), form)
        });
        World { sim, recipients }
    }
}

impl World {
    /// The sender multicasts 7, again if it lost that in a crash; until all honest ones delivered.
    fn multicast(&mut self) -> Result<(), Failure> {
        self.multicast_to(self.sim.honest().intersection(self.recipients))
    }

    fn multicast_to(&mut self, all: PartySet) -> Result<(), Failure> {
        loop {
            let lost = |sim: &Simulation<Cast>| {
                let fresh = |state: &Cast| !state.has_input() && state.delivered().is_none();
                sim.state(p(SENDER)).is_some_and(fresh)
            };
            if lost(&self.sim) {
                self.sim.command(p(SENDER), Command::Multicast(7));
            }
            let done = |sim: &Simulation<Cast>| {
                let has = |state: &Cast| state.delivered().is_some();
                all.iter().all(|party| sim.state(party).is_some_and(has))
            };
            self.sim.run_until(|sim| done(sim) || lost(sim), EVENTS_MAX)?;
            if done(&self.sim) {
                self.sim.run_to_quiescence(EVENTS_MAX)?;
                self.judge();
                return Ok(());
            }
        }
    }

    fn told(&self, party: Party) -> (Vec<u64>, Vec<u64>) {
        let (mut delivered, mut others) = (Vec::new(), Vec::new());
        for outcome in self.sim.outcomes(party) {
            match outcome {
                Outcome::Delivered { value, .. } => delivered.push(*value),
                Outcome::Equivocated { value, .. } => others.push(*value),
            }
        }
        (delivered, others)
    }

    /// Agreement and integrity, when nothing more will happen.
    fn judge(&self) {
        let honest = self.sim.honest().intersection(self.recipients);
        let told: Vec<_> = honest.iter().map(|party| self.told(party)).collect();
        let mut values: Vec<u64> = told.iter().flat_map(|(it, _)| it.clone()).collect();
        values.sort_unstable();
        values.dedup();
        if values.is_empty() {
            return;
        }
        for (delivered, others) in &told {
            assert_eq!(delivered.len(), 1, "all or none: {told:?}\n{}", self.sim.trace());
            assert!(others.len() <= 1 && !others.contains(&delivered[0]), "{told:?}");
            // A hostile sender may show some of them another message that nobody delivered.
            assert!(values.len() == 1 || !others.is_empty(), "{told:?}");
        }
        if honest.contains(p(SENDER)) {
            assert_eq!(values, [7]);
        }
    }
}

/// The last `f`, and the sender among them if it is to be hostile.
fn liars(structure: &AdversaryStructure, sender: bool) -> PartySet {
    let (n, f) = (structure.n(), structure.largest());
    if sender { parties((0..1).chain(n - f + 1..n)) } else { parties(n - f..n) }
}

fn against<A: Adversary<Cast> + 'static>(
    count: u64,
    sender: bool,
    adversary: impl Fn() -> A,
) -> (u64, u64) {
    let (mut delivered, mut equivocated) = (0, 0);
    for structure in structures().into_iter().skip(1) {
        for form in FORMS {
            seeds(0..count, |seed| {
                let network = match seed % 3 {
                    0 => Network::random().starving(p((seed % structure.n() as u64) as usize)),
                    _ => Network::random(),
                };
                let mut world = plan(&structure, form, seed).world(|builder| {
                    builder.network(network).corrupt(liars(&structure, sender).iter(), adversary())
                });
                if !sender {
                    return world.multicast();
                }
                world.sim.command_copy(p(SENDER), 0, Command::Multicast(7));
                world.sim.command_copy(p(SENDER), 1, Command::Multicast(8));
                world.sim.run_to_quiescence(EVENTS_MAX)?;
                world.judge();
                let (one, two) = world.told(p(1));
                delivered += one.len();
                equivocated += two.len();
                Ok(())
            });
        }
    }
    (delivered as u64, equivocated as u64)
}

#[test]
fn all_deliver_what_an_honest_sender_multicasts() {
    for structure in structures() {
        for form in FORMS {
            seeds(0..60, |seed| {
                let mut world = plan(&structure, form, seed).world(|builder| builder);
                world.multicast()?;
                if form == Spreading::Acknowledged {
                    let settled = |party| world.sim.state(party).is_some_and(Protocol::is_settled);
                    assert!(world.sim.honest().iter().all(settled));
                }
                Ok(())
            });
        }
    }
}

#[test]
fn who_is_no_recipient_takes_no_part() {
    let structure = AdversaryStructure::threshold(5, 2).unwrap();
    for form in FORMS {
        seeds(0..30, |seed| {
            let to = parties([0, 2, 4]);
            let mut world = plan(&structure, form, seed)
                .world_of(to, |builder| builder.corrupt([p(1)], Replayer::new(500)));
            world.multicast()?;
            assert_eq!(world.told(p(3)), (Vec::new(), Vec::new()));
            Ok(())
        });
    }
}

#[test]
fn takes_one_delay_and_as_many_messages_as_the_source_says() {
    for (n, f) in [(3, 1), (4, 2), (7, 3)] {
        let structure = AdversaryStructure::threshold(n, f).unwrap();
        for (form, messages) in [
            (Spreading::Copies { omissions: 0 }, (n - 1) * (n - 1)),
            (Spreading::Copies { omissions: 2 }, 3 * (n - 1) * (n - 1)),
            (Spreading::Acknowledged, (n - 1) + n * (n - 1)),
        ] {
            let mut world =
                plan(&structure, form, 0).world(|builder| builder.network(Network::unit_delay()));
            world.sim.command(p(SENDER), Command::Multicast(7));
            let all = |sim: &Simulation<Cast>| {
                (0..n).all(|index| sim.state(p(index)).is_some_and(|it| it.delivered().is_some()))
            };
            world.sim.run_until(all, EVENTS_MAX).unwrap();
            // One message delay, and two delays of the control channel, of half a unit at most.
            assert!(world.sim.elapsed_units() <= 3, "{}", world.sim.elapsed_units());
            world.sim.run_to_quiescence(EVENTS_MAX).unwrap();
            assert_eq!(world.sim.stats().messages, messages as u64, "{form:?} {n}");
        }
    }
}

#[test]
fn a_sender_that_tells_some_and_not_others_is_made_good_for() {
    let (delivered, _) = against(40, true, || Mute { towards: parties([2, 3]) });
    assert!(delivered > 200, "{delivered}");
}

#[test]
fn a_sender_that_says_one_thing_and_proposes_another_stops_itself_only() {
    let other = |letter: &Letter<Said>, random: &mut Random| match (*letter.body).clone() {
        Message::Data { start, .. } if letter.to == p(1) || random.chance(300) => {
            vec![Message::Data { start, value: 9 }]
        }
        same => vec![same],
    };
    against(40, true, || Mutator(other));
}

#[test]
fn two_copies_of_a_sender_with_one_component_are_found_out_by_all() {
    let second = parties([1, 3]);
    let (delivered, equivocated) = against(60, true, || Twins { second });
    assert!(delivered > 300 && equivocated > 100, "{delivered} delivered, {equivocated} twice");
}

#[test]
fn silent_liars_stop_nobody() {
    against(40, false, || Silent);
    against(20, true, || Silent);
}

#[test]
fn honest_code_in_corrupt_hands_is_harmless() {
    against(15, false, || Passive);
    against(15, true, || Passive);
}

#[test]
fn floods_and_replays_change_nothing() {
    against(20, false, || Flooder { copies: 3 });
    against(20, false, || Replayer::new(400));
    against(20, true, || Replayer::new(400));
}

/// Changes what it shows, and leaves signatures as they are.
fn garble(letter: &Letter<Said>, random: &mut Random) -> Vec<Said> {
    let forged = |proof: Proof, random: &mut Random| {
        let mut decision = proof.decision.0;
        decision.said.value = Some(digest_of(&9u64).0);
        match random.below(3) {
            0 => Proof { decision: Attested(decision), ..proof },
            1 => Proof { start: crate::hybrid::Start(proof.start.0 + 1), ..proof },
            _ => Proof { by: p(random.below(3) as usize), decision: Attested(decision), ..proof },
        }
    };
    let garbled = match (*letter.body).clone() {
        Message::Shown { proof, .. } if random.chance(600) => {
            Message::Shown { value: 9, proof: forged(proof, random) }
        }
        Message::Shown { proof, .. } => Message::Shown { value: 9, proof },
        Message::Delivered { .. } => Message::Delivered { digest: digest_of(&random.bits()) },
        Message::Ask => Message::Delivered { digest: digest_of(&7u64) },
        Message::Data { start, .. } => Message::Data { start, value: 9 },
    };
    if random.chance(500) { vec![garbled] } else { vec![(*letter.body).clone()] }
}

#[test]
fn whatever_was_not_decided_is_refused_and_who_shows_it_is_suspected() {
    against(60, false, || Mutator(garble));
    let mut suspected = 0;
    let structure = AdversaryStructure::threshold(3, 1).unwrap();
    seeds(0..60, |seed| {
        let form = Spreading::Copies { omissions: 0 };
        let mut world =
            plan(&structure, form, seed).world(|builder| builder.corrupt([p(2)], Mutator(garble)));
        world.multicast()?;
        let kinds = [FaultKind::InvalidValue, FaultKind::BadSignature];
        suspected += u64::from(world.sim.blames().iter().any(|it| kinds.contains(&it.1.kind)));
        Ok(())
    });
    assert!(suspected > 5, "{suspected}");
}

#[test]
fn a_start_that_comes_too_soon_is_tried_again_later() {
    let mut again = 0;
    for structure in structures() {
        for form in FORMS {
            seeds(0..40, |seed| {
                let slow = Slow { message: 5, sync: [50, 400][(seed % 2) as usize] };
                let mut world = plan(&structure, form, seed).world(|builder| builder.network(slow));
                world.multicast()?;
                let attempts = world.sim.log(p(SENDER)).0.iter();
                let tries = attempts.filter(|it| matches!(it, Record::Attempt { .. })).count();
                again += u64::from(tries > 1);
                Ok(())
            });
        }
    }
    assert!(again > 100, "of 480, {again}");
}

#[test]
fn a_control_channel_that_is_late_and_lossy_never_splits_the_recipients() {
    let mut again = 0;
    for structure in structures().into_iter().skip(1) {
        for form in FORMS {
            seeds(0..60, |seed| {
                let weather = Weather { lost: 150, late: 300, ..Weather::default() };
                let plan = Plan { weather, ..plan(&structure, form, seed) };
                let mut world = plan.world(|builder| match seed % 2 {
                    0 => builder.network(Slow { message: 30, sync: 30 }),
                    _ => builder,
                });
                world.multicast()?;
                let attempts = world.sim.log(p(SENDER)).0.iter();
                let tries = attempts.filter(|it| matches!(it, Record::Attempt { .. })).count();
                again += u64::from(tries > 1);
                Ok(())
            });
        }
    }
    assert!(again > 100, "{again}");
}

#[test]
fn who_comes_after_the_decision_was_forgotten_is_shown_it() {
    let mut asked = 0;
    for structure in structures() {
        for form in FORMS {
            seeds(0..20, |seed| {
                let late = p(1 + (seed % (structure.n() as u64 - 1)) as usize);
                let network = Network::random().starving(late);
                let mut world =
                    plan(&structure, form, seed).world(|builder| builder.network(network));
                world.multicast()?;
                asked += world.sim.stats().messages;
                Ok(())
            });
        }
    }
    assert!(asked > 0);
}

#[test]
fn copies_make_good_for_as_many_losses_as_they_are_made_for() {
    for structure in structures() {
        seeds(0..60, |seed| {
            let network = Network::lossy(300).unaided().losses_max(2);
            let form = Spreading::Copies { omissions: 2 };
            let mut world = plan(&structure, form, seed).world(|builder| builder.network(network));
            world.multicast()
        });
    }
}

#[test]
fn patience_makes_good_for_losses_that_nobody_is_told_of() {
    for structure in structures() {
        seeds(0..60, |seed| {
            // Of what the sender says first nothing is lost; of the rest, something everywhere.
            let network = Network::lossy(250).unaided().losses_max(2).duplicating(200);
            let mut world = plan(&structure, Spreading::Acknowledged, seed)
                .world(|builder| builder.network(network));
            world.sim.command(p(SENDER), Command::Multicast(7));
            world.sim.run_to_quiescence(EVENTS_MAX)?;
            world.judge();
            Ok(())
        });
    }
}

#[test]
fn losses_of_links_are_made_good_for() {
    for structure in structures() {
        for form in FORMS {
            seeds(0..40, |seed| {
                let network = Network::lossy(300).duplicating(200);
                let mut world =
                    plan(&structure, form, seed).world(|builder| builder.network(network));
                world.multicast()
            });
        }
    }
}

#[test]
fn crashes_at_persist_points_that_lose_unsynced_records_are_harmless() {
    for structure in structures() {
        for form in FORMS {
            seeds(0..60, |seed| {
                let crashes = Crashes {
                    parties: PartySet::all(structure.n()),
                    permille: 300,
                    downtime: Duration((1 + seed % 900) * UNIT.0),
                    crashes_max: 10,
                };
                let mut world =
                    plan(&structure, form, seed).world(|builder| builder.crashes(crashes));
                world.multicast()
            });
        }
    }
}

#[test]
fn all_crash_at_once_at_any_moment_and_nobody_forgets_what_it_delivered() {
    for structure in structures() {
        for form in FORMS {
            seeds(0..60, |seed| {
                let mut world = plan(&structure, form, seed).world(|builder| builder);
                world.sim.command(p(SENDER), Command::Multicast(7));
                for _ in 0..seed {
                    world.sim.step()?;
                }
                let n = structure.n();
                (0..n).for_each(|index| world.sim.crash_losing_unsynced(p(index)));
                (0..n).for_each(|index| world.sim.restart(p(index)));
                world.multicast()
            });
        }
    }
}

#[test]
fn dead_components_of_a_minority_stop_nobody_and_of_the_sender_only_the_sender() {
    let structure = AdversaryStructure::threshold(5, 2).unwrap();
    for form in FORMS {
        seeds(0..30, |seed| {
            let dead = parties([3, 4]);
            let mut world = Plan { dead, ..plan(&structure, form, seed) }.world(|it| it);
            world.multicast()?;
            let dead = parties([SENDER]);
            let mut world = Plan { dead, ..plan(&structure, form, seed) }.world(|it| it);
            world.sim.command(p(SENDER), Command::Multicast(7));
            world.sim.run_to_quiescence(EVENTS_MAX)?;
            assert!((0..5).all(|index| world.told(p(index)).0.is_empty()));
            Ok(())
        });
    }
}

#[test]
fn a_decision_of_another_scope_recipient_list_or_start_shows_nothing() {
    let structure = AdversaryStructure::threshold(4, 2).unwrap();
    let mut world = plan(&structure, Spreading::Acknowledged, 3).world(|builder| builder);
    world.multicast().unwrap();
    let outcome = world.sim.outcomes(p(2)).first().cloned();
    let Some(Outcome::Delivered { proof, .. }) = outcome else { panic!("it delivered") };
    let wormhole = Wormhole::<Cast>::new(4, 3, Weather::default(), tongue());
    let members = wormhole.lives().into_iter();
    let members = members.map(|(guard, life)| Member::of(&life.said, 0, guard));
    let members = Members::new(members);
    let group = Group::new(GroupId::default(), Epoch(0), p(0), structure);
    let scope = group.scope();
    let cast = |sender, to| {
        Cast::new(p(0), p(sender), parties(to), members.clone(), Spreading::Acknowledged)
    };
    let here = cast(0, 0..4).question(scope);
    assert_eq!(proof.value(), Some(digest_of(&7u64)));
    assert!(here.claim(&members, &proof).is_some());
    let later = Proof { start: crate::hybrid::Start(proof.start.0 + 1), ..proof };
    assert!(here.claim(&members, &later).is_none());
    assert!(cast(0, 0..4).question(scope.child("other", 0)).claim(&members, &proof).is_none());
    assert!(cast(0, 0..3).question(scope).claim(&members, &proof).is_none());
    assert!(cast(1, 0..4).question(scope).claim(&members, &proof).is_none());
    assert_ne!(proof.value(), Some(Digest::default()));
}

#[test]
fn two_runs_of_one_seed_are_the_same() {
    check_deterministic(3, |seed| {
        let structure = AdversaryStructure::threshold(4, 2).unwrap();
        let mut world = plan(&structure, Spreading::Acknowledged, seed).world(|builder| builder);
        world.multicast()?;
        Ok(world.sim.digest())
    })
    .unwrap();
}
