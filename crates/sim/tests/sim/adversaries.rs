//! What corrupt servers can do, and what they cannot.

use crate::toy::*;
use maftia_base::Party;
use maftia_sim::attacks::{Flooder, Mutator, Mute, Passive, Replayer, Script, Silent, Twins};
use maftia_sim::{Adversary, Hand, Letter, Network, Simulation, seeds};
use std::cell::RefCell;
use std::rc::Rc;

const EVENTS_MAX: u64 = 100_000;

fn against(seed: u64, adversary: impl Adversary<Gossip> + 'static) -> Simulation<Gossip> {
    Simulation::builder(groups(4), seed)
        .corrupt([party(3)], adversary)
        .build(|_| Gossip::with(Quirk::Superstitious))
}

/// All honest servers deliver whatever the corrupt one does.
fn check(adversary: impl Fn() -> Box<dyn Fn(u64) -> Simulation<Gossip>>) {
    let run = adversary();
    seeds(0..50, |seed| {
        let mut sim = run(seed);
        sim.command(party(0), Ask::Say(1));
        sim.run_until(|sim| all_delivered(sim, 1), EVENTS_MAX)?;
        assert_eq!(sim.honest(), set(&[0, 1, 2]));
        Ok(())
    });
}

#[test]
fn honest_servers_deliver_under_every_attack() {
    check(|| Box::new(|seed| against(seed, Passive)));
    check(|| Box::new(|seed| against(seed, Silent)));
    check(|| Box::new(|seed| against(seed, Mute { towards: set(&[0, 1]) })));
    check(|| Box::new(|seed| against(seed, Twins { second: set(&[1]) })));
    check(|| Box::new(|seed| against(seed, Replayer::new(500))));
    check(|| Box::new(|seed| against(seed, Flooder { copies: 20 })));
    check(|| {
        Box::new(|seed| {
            against(seed, Mutator(|letter: &Letter<u64>, _: &mut _| vec![*letter.body + 100]))
        })
    });
}

#[test]
fn a_silent_server_says_nothing_and_takes_no_command() {
    let mut sim = against(0, Silent);
    sim.command(party(3), Ask::Say(5));
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    assert_eq!(sim.stats().messages, 0);
    assert!(!sim.is_up(party(3)));
}

#[test]
fn a_mute_server_is_heard_only_by_the_others() {
    let mut sim = against(0, Mute { towards: set(&[0]) });
    sim.command(party(3), Ask::Whisper(5));
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    assert!(heard(&sim, party(1)).contains(&(party(3), 5)));
    assert!(!heard(&sim, party(0)).contains(&(party(3), 5)));
}

#[test]
fn twins_tell_each_half_another_story() {
    let mut sim = against(0, Twins { second: set(&[1]) });
    sim.command_copy(party(3), 0, Ask::Whisper(QUIET));
    sim.command_copy(party(3), 1, Ask::Whisper(QUIET + 1));
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    let told = |by| heard(&sim, party(by)).into_iter().find(|(from, _)| *from == party(3));
    let (first, second) = (Some((party(3), QUIET)), Some((party(3), QUIET + 1)));
    assert_eq!([told(0), told(1), told(2)], [first, second, first]);
}

#[test]
fn a_replayer_repeats_what_it_heard() {
    let mut sim = against(1, Replayer::new(900));
    sim.command(party(0), Ask::Say(1));
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    assert!(sim.stats().messages > 12);
}

#[test]
fn a_flooder_sends_many_copies() {
    let mut sim = against(1, Flooder { copies: 20 });
    sim.command(party(3), Ask::Whisper(1));
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    assert!(sim.stats().messages >= 60);
}

#[test]
fn a_script_says_anything_in_its_own_name_and_is_blamed_for_it() {
    let script = Script(|heard: Option<&Letter<u64>>, hand: &mut Hand<'_, Gossip>| {
        if heard.is_none() {
            hand.send(party(3), party(1), 666);
        }
    });
    let mut sim = against(0, script);
    sim.run_to_quiescence(EVENTS_MAX).unwrap_err(); // others repeat 666 and are blamed: see below
    assert!(sim.is_blamed(party(3)));
}

#[test]
fn an_honest_server_that_repeats_a_lie_is_not_to_be_blamed() {
    let mut sim = against(0, Mutator(|_: &Letter<u64>, _: &mut _| vec![666]));
    sim.command(party(3), Ask::Whisper(1));
    let failure = sim.run_to_quiescence(EVENTS_MAX).unwrap_err();
    assert!(failure.to_string().contains("blamed honest"), "{failure}");
}

#[test]
#[should_panic(expected = "speaks only for its own parties")]
fn no_adversary_speaks_for_an_honest_server() {
    against(
        0,
        Script(|_: Option<&Letter<u64>>, hand: &mut Hand<'_, Gossip>| {
            hand.send(party(0), party(1), 1);
        }),
    );
}

#[test]
#[should_panic(expected = "does not allow {p2, p3} to be corrupt")]
fn more_corrupt_servers_than_the_structure_allows_are_refused() {
    Simulation::<Gossip>::builder(groups(4), 0)
        .corrupt([party(2), party(3)], Silent)
        .build(|_| Gossip::default());
}

#[test]
fn exceeding_the_structure_is_allowed_on_request_and_costs_liveness() {
    let mut sim = Simulation::builder(groups(4), 0)
        .exceeding_the_structure()
        .corrupt([party(2)], Silent)
        .corrupt([party(3)], Silent)
        .build(|_| Gossip::default());
    sim.command(party(0), Ask::Say(1));
    let failure = sim.run_until(|sim| all_delivered(sim, 1), EVENTS_MAX).unwrap_err();
    assert_eq!(failure.violation, maftia_sim::Violation::Stuck);
}

/// Hears what honest servers tell each other, and is faster.
struct Rusher(Rc<RefCell<Vec<(Party, u64)>>>);

impl Adversary<Gossip> for Rusher {
    fn overheard(&mut self, letter: &Letter<u64>, hand: &mut Hand<'_, Gossip>) {
        if self.0.borrow().is_empty() {
            hand.send_all(party(3), 1_000 + *letter.body);
        }
        self.0.borrow_mut().push((letter.to, *letter.body));
    }
}

#[test]
fn a_rushing_adversary_speaks_before_the_message_it_overheard_arrives() {
    let overheard = Rc::new(RefCell::new(Vec::new()));
    let mut sim = Simulation::builder(groups(4), 0)
        .network(Network::unit_delay())
        .corrupt([party(3)], Rusher(Rc::clone(&overheard)))
        .build(|_| Gossip::default());
    sim.command(party(0), Ask::Whisper(7));
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    assert_eq!(overheard.borrow()[0], (party(1), 7));
    assert_eq!(heard(&sim, party(1))[0], (party(3), 1_007));
}

#[test]
fn a_wiped_server_forgets_everything_and_counts_as_corrupt() {
    let mut sim = Simulation::builder(groups(4), 0).build(|_| Gossip::default());
    sim.command(party(0), Ask::Say(1));
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    sim.wipe(party(2));
    assert_eq!(sim.corrupt(), set(&[2]));
    assert!(sim.log(party(2)).0.is_empty());
    sim.restart(party(2));
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    assert!(has_delivered(&sim, party(2), 1), "its peers tell it again");
}
