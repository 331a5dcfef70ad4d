use crate::world::*;
use maftia_agreement::checkpoint::{
    Checkpoint, Checkpoints, Command, Mark, Message, Outcome, holds, vote,
};
use maftia_base::{AdversaryStructure, Digest, FaultKind, Party, PartySet};
use maftia_crypto::{Certificate, Done, IdealSuite, RealSuite, Suite, Work};
use maftia_sim::attacks::{Flooder, Mutator, Replayer, Script, Silent};
use maftia_sim::{
    Builder, Crashes, Failure, Hand, Letter, Network, Observer, Random, Simulation, seeds,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

type Sim<S = IdealSuite> = Simulation<Checkpoints<S>>;

/// How many marks each scenario has.
const MARKS: u64 = 12;

fn state(mark: u64) -> Digest {
    Digest::of_encoded("test state", &mark)
}

fn reached(mark: u64) -> Command {
    Command::Reached { mark: Mark(mark), digest: state(mark) }
}

fn start<S: TestSuite>(
    structure: &AdversaryStructure,
    seed: u64,
    customize: impl FnOnce(Builder<Checkpoints<S>>) -> Builder<Checkpoints<S>>,
) -> Sim<S> {
    let builder =
        builder::<S, _>(structure, seed).footprint_max(MARKS as usize + 3 * structure.n());
    customize(builder).build(|_| Checkpoints::new())
}

fn certified<S: TestSuite>(sim: &Sim<S>, party: Party) -> Mark {
    let last = sim.state(party).and_then(|state| state.certified());
    last.map_or(Mark(0), |checkpoint| checkpoint.mark)
}

/// Every certificate that an honest server was told convinces anyone, of that state and no other.
fn check_certificates<S: TestSuite>(
    sim: &Sim<S>,
    structure: &AdversaryStructure,
) -> Result<(), Failure> {
    let group = &groups(structure)[0];
    for party in sim.honest().iter() {
        let mut last = Mark(0);
        for outcome in sim.outcomes(party) {
            let Outcome::Certified(checkpoint) = outcome else {
                return Err(sim.fail(party, "no honest server's state differs"));
            };
            assert!(checkpoint.mark > last, "checkpoints only grow");
            last = checkpoint.mark;
            assert_eq!(checkpoint.digest, state(checkpoint.mark.0), "the honest state");
            let convinces = |checkpoint: &Checkpoint<S>| {
                let work = checkpoint.verification(group, scope());
                work.is_some_and(|work| holds(&work_of(structure, work)))
            };
            assert!(convinces(checkpoint));
            assert!(!convinces(&Checkpoint { digest: state(0), ..checkpoint.clone() }));
            assert!(!convinces(&Checkpoint { mark: Mark(77), ..checkpoint.clone() }));
        }
    }
    Ok(())
}

/// Everybody reaches every mark, each at its own pace; in the end the last one is certified
/// everywhere.
fn reach_all<S: TestSuite>(
    sim: &mut Sim<S>,
    structure: &AdversaryStructure,
    seed: u64,
) -> Result<(), Failure> {
    let mut at = vec![0u64; structure.n()];
    let mut chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while sim.honest().iter().any(|party| at[party.index()] < MARKS) {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        let party = p((chance % structure.n() as u64) as usize);
        if at[party.index()] < MARKS && sim.is_up(party) {
            at[party.index()] += 1;
            sim.command(party, reached(at[party.index()]));
        }
        for _ in 0..chance % 7 {
            sim.step()?;
        }
    }
    finish(sim, structure)
}

fn finish<S: TestSuite>(sim: &mut Sim<S>, structure: &AdversaryStructure) -> Result<(), Failure> {
    sim.run_to_quiescence(EVENTS_MAX)?;
    for party in sim.honest().iter() {
        if certified(sim, party) != Mark(MARKS) {
            return Err(sim.fail(party, "it has no certificate for the last mark"));
        }
    }
    check_certificates(sim, structure)
}

#[test]
fn every_mark_that_all_reach_is_certified_or_a_later_one_and_then_there_is_silence() {
    for (structure, corrupt) in structures() {
        seeds(0..30, |seed| {
            let mut sim =
                start::<IdealSuite>(&structure, seed, |b| b.corrupt(corrupt.iter(), Silent));
            reach_all(&mut sim, &structure, seed)?;
            let lossy = Network::lossy(200).duplicating(200);
            let mut sim = start::<IdealSuite>(&structure, seed, |b| b.network(lossy));
            reach_all(&mut sim, &structure, seed)
        });
    }
}

#[test]
fn the_real_cryptography_gives_the_same_promises() {
    let structure = threshold(4);
    seeds(0..3, |seed| {
        let mut sim = start::<RealSuite>(&structure, seed, |b| b.corrupt([p(3)], Silent));
        reach_all(&mut sim, &structure, seed)
    });
}

#[test]
fn one_that_has_reached_nothing_is_given_the_last_certificate() {
    let structure = threshold(4);
    seeds(0..20, |seed| {
        let mut sim = start::<IdealSuite>(&structure, seed, |b| b);
        for mark in 1..=MARKS {
            (0..3).for_each(|index| sim.command(p(index), reached(mark)));
            sim.run_to_quiescence(EVENTS_MAX)?;
        }
        finish(&mut sim, &structure)?;
        sim.command(p(3), reached(1));
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(certified(&sim, p(3)), Mark(MARKS), "what it reaches late changes nothing");
        Ok(())
    });
}

#[test]
fn nothing_is_certified_that_too_few_have_reached() {
    let structure = threshold(4);
    seeds(0..10, |seed| {
        let mut sim = start::<IdealSuite>(&structure, seed, |b| b);
        (0..2).for_each(|index| sim.command(p(index), reached(1)));
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert!((0..4).all(|index| certified(&sim, p(index)) == Mark(0)));
        Ok(())
    });
}

#[test]
fn a_server_whose_state_is_another_is_told_and_changes_nothing_for_the_others() {
    let structure = threshold(4);
    seeds(0..20, |seed| {
        let odd = p((seed % 4) as usize);
        let mut sim = start::<IdealSuite>(&structure, seed, |b| b);
        for party in PartySet::all(4).iter() {
            let digest = if party == odd { state(99) } else { state(1) };
            sim.command(party, Command::Reached { mark: Mark(1), digest });
        }
        sim.run_to_quiescence(EVENTS_MAX)?;
        for party in PartySet::all(4).iter() {
            let diverged = |outcome: &Outcome<_>| {
                *outcome == Outcome::Diverged { mark: Mark(1), mine: state(99) }
            };
            assert_eq!(sim.outcomes(party).iter().any(diverged), party == odd, "{party}");
            assert_eq!(certified(&sim, party), Mark(1));
        }
        Ok(())
    });
}

#[test]
fn votes_for_another_state_and_bad_signatures_certify_nothing() {
    let structure = threshold(4);
    let other = |letter: &Letter<Message<IdealSuite>>, random: &mut Random| match &*letter.body {
        Message::Vote { mark, signature, .. } => {
            let digest = state(random.below(1 << 20));
            vec![Message::Vote { mark: *mark, digest, signature: *signature }]
        }
        certified => vec![certified.clone()],
    };
    seeds(0..30, |seed| {
        let mut sim = start::<IdealSuite>(&structure, seed, |b| b.corrupt([p(3)], Mutator(other)));
        for mark in 1..=MARKS {
            sim.command(p(3), reached(mark));
        }
        reach_all(&mut sim, &structure, seed)
    });
}

#[test]
fn a_certificate_that_does_not_hold_is_refused_and_blamed() {
    let structure = threshold(4);
    let forge = |letter: Option<&Letter<Message<IdealSuite>>>,
                 hand: &mut Hand<'_, Checkpoints<_>>| {
        let Some(letter) = letter else { return };
        let Message::Vote { signature, digest, .. } = &*letter.body else { return };
        let statement = vote(scope(), Mark(1_000), *digest);
        let signed = maftia_crypto::Signed { statement, signature: *signature };
        let votes = (0..3).map(|index| (p(index), signed.clone()));
        let certificate = Certificate::new(votes);
        let checkpoint = Checkpoint { mark: Mark(1_000), digest: *digest, certificate };
        hand.send_all(letter.to, Message::Certified(checkpoint));
    };
    seeds(0..20, |seed| {
        let mut sim = start::<IdealSuite>(&structure, seed, |b| b.corrupt([p(3)], Script(forge)));
        reach_all(&mut sim, &structure, seed)?;
        let blamed = |fault: &maftia_base::Fault| fault.kind == FaultKind::BadCertificate;
        assert!(sim.blames().iter().any(|(_, fault)| blamed(fault)));
        Ok(())
    });
}

/// The vote of `party` for this state at a mark, really signed.
fn signed_vote(
    structure: &AdversaryStructure,
    party: Party,
    mark: u64,
    digest: Digest,
) -> Message<IdealSuite> {
    let work = vec![Work::Sign(vote(scope(), Mark(mark), digest))];
    let keyring = &ideal_keyrings(structure)[party.index()];
    let Done::Signed(signed) = IdealSuite::run_many(work, keyring, Default::default()).remove(0)
    else {
        panic!("a signature")
    };
    Message::Vote { mark: Mark(mark), digest, signature: signed.signature }
}

#[test]
fn a_server_that_says_two_things_of_one_mark_is_convicted_by_all() {
    let structure = threshold(4);
    let [first, second] = [1, 2].map(|other| signed_vote(&structure, p(3), MARKS, state(other)));
    seeds(0..20, |seed| {
        let (first, second) = (first.clone(), second.clone());
        let lie = move |letter: Option<&Letter<_>>, hand: &mut Hand<'_, Checkpoints<_>>| {
            if letter.is_none() {
                hand.send_all(p(3), first.clone());
                hand.send_all(p(3), second.clone());
            }
        };
        let mut sim = start::<IdealSuite>(&structure, seed, |b| b.corrupt([p(3)], Script(lie)));
        reach_all(&mut sim, &structure, seed)?;
        for party in sim.honest().iter() {
            let convicts = |(by, fault): &(Party, maftia_base::Fault)| {
                *by == party && fault.culprit == p(3) && fault.evidence.is_some()
            };
            assert!(sim.blames().iter().any(convicts), "{party}");
        }
        Ok(())
    });
}

#[test]
fn marks_that_are_reached_while_a_vote_is_signed_cost_no_further_vote() {
    let structure = threshold(4);
    seeds(0..10, |seed| {
        let mut sim = start::<IdealSuite>(&structure, seed, |b| b);
        sim.mark();
        (1..=MARKS).for_each(|mark| sim.command(p(0), reached(mark)));
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(sim.messages_since_mark(), 3, "one vote, to each other server");
        Ok(())
    });
}

#[test]
fn replays_and_floods_do_no_harm() {
    let structure = threshold(4);
    seeds(0..20, |seed| {
        let mut sim =
            start::<IdealSuite>(&structure, seed, |b| b.corrupt([p(3)], Replayer::new(300)));
        (1..=MARKS).for_each(|mark| sim.command(p(3), reached(mark)));
        reach_all(&mut sim, &structure, seed)?;
        let mut sim =
            start::<IdealSuite>(&structure, seed, |b| b.corrupt([p(3)], Flooder { copies: 5 }));
        (1..=MARKS).for_each(|mark| sim.command(p(3), reached(mark)));
        reach_all(&mut sim, &structure, seed)
    });
}

/// Remembers for which marks each server voted, in the order in which the votes left it.
struct Voted(Rc<RefCell<BTreeMap<Party, Vec<Mark>>>>);

impl Observer<Checkpoints<IdealSuite>> for Voted {
    fn sent(&mut self, letter: &Letter<Message<IdealSuite>>) {
        if let Message::Vote { mark, .. } = &*letter.body {
            self.0.borrow_mut().entry(letter.from).or_default().push(*mark);
        }
    }
}

#[test]
fn all_may_lose_power_at_any_moment_and_nobody_votes_for_an_earlier_mark_again() {
    let structure = threshold(4);
    seeds(0..200, |seed| {
        let voted = Rc::new(RefCell::new(BTreeMap::new()));
        let mut sim = start::<IdealSuite>(&structure, seed, |builder| {
            builder.corrupt([p(3)], Silent).observer(Voted(Rc::clone(&voted)))
        });
        let honest = || (0..3).map(p);
        let reach_all_marks = |sim: &mut Sim| {
            honest().for_each(|party| {
                (1..=MARKS).for_each(|mark| sim.command(party, reached(mark)));
            });
        };
        reach_all_marks(&mut sim);
        for _ in 0..(seed * 3) % 400 {
            sim.step()?;
        }
        honest().for_each(|party| sim.crash_losing_unsynced(party));
        honest().for_each(|party| sim.restart(party));
        reach_all_marks(&mut sim);
        finish(&mut sim, &structure)?;
        assert!(voted.borrow().values().all(|marks| marks.is_sorted()), "{voted:?}");
        Ok(())
    });
}

#[test]
fn a_certificate_that_one_alone_holds_reaches_the_others_when_all_have_lost_power() {
    let structure = threshold(4);
    let mut alone = 0;
    seeds(0..100, |seed| {
        let mut sim = start::<IdealSuite>(&structure, seed, |builder| builder);
        (0..4).for_each(|index| sim.command(p(index), reached(1)));
        sim.run_until(|sim| certified(sim, p(0)) == Mark(1), EVENTS_MAX)?;
        alone += u64::from((1..4).all(|index| certified(&sim, p(index)) == Mark(0)));
        (0..4).for_each(|index| sim.crash_losing_unsynced(p(index)));
        (0..4).for_each(|index| sim.restart(p(index)));
        // None of the others comes by that mark again: they wait for others to tell them of it.
        sim.run_to_quiescence(EVENTS_MAX)?;
        let last = certified(&sim, p(0));
        for index in 1..4 {
            if certified(&sim, p(index)) != last {
                return Err(sim.fail(p(index), "it was not told"));
            }
        }
        Ok(())
    });
    assert!(alone > 20, "{alone}");
}

#[test]
fn crashes_do_no_harm() {
    let structure = threshold(4);
    let mut crashed = 0;
    seeds(0..40, |seed| {
        let crashes = Crashes {
            parties: PartySet::all(4),
            permille: 40,
            crashes_max: 10,
            ..Crashes::default()
        };
        let mut sim = start::<IdealSuite>(&structure, seed, |b| b.crashes(crashes));
        for mark in 1..=MARKS {
            // As the layer above does, which comes by all its marks again when it is restarted.
            run(&mut sim, |_| Some(reached(mark)), |_| true)?;
        }
        for party in PartySet::all(4).iter().filter(|party| sim.is_up(*party)).collect::<Vec<_>>() {
            sim.command(party, reached(MARKS));
        }
        crashed += sim.stats().crashes;
        finish(&mut sim, &structure)
    });
    assert!(crashed > 20, "{crashed} crashes");
}
