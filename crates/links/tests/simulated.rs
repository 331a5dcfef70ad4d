//! Links between servers that crash and lose what was not synced, over a network that loses,
//! repeats and reorders and tells nobody.

use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::time::Duration;
use maftia_base::wire::{Wire, wire_enum};
use maftia_base::{
    AdversaryStructure, Context, Epoch, Event, Group, GroupId, Party, PartySet, Protocol, Target,
};
use maftia_links::{KEEP_ALIVE_EVERY, Linked, Packet};
use maftia_sim::attacks::{Flooder, Replayer, Silent};
use maftia_sim::{Crashes, Network, Simulation, UNIT, check_deterministic, seeds};
use std::collections::BTreeSet;

/// Everybody learns every number that anybody was given, and remembers it over crashes.
#[derive(Clone, Debug, Hash, Default)]
struct Rumour {
    own: BTreeSet<u64>,
    learned: BTreeSet<(Party, u64)>,
}

#[derive(Clone, Debug)]
enum Record {
    Own(u64),
    Learned(Party, u64),
}

impl Vocabulary for Rumour {
    const NAME: &'static str = "rumour";
    type Command = u64;
    type Outcome = (Party, u64);
    type Message = u64;
    type Timer = Never;
    type Ticket = ();
    type Work = ();
    type Done = ();
    type Record = Record;
}

impl Rumour {
    fn tell(&self, to: Target, cx: &mut impl Context<Self>) {
        self.own.iter().for_each(|number| cx.send(to, *number));
    }
}

impl Protocol for Rumour {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(number) => {
                self.own.insert(number);
                cx.persist(Record::Own(number));
                cx.send(Target::All, number);
            }
            Event::Message { from, body } => {
                if self.learned.insert((from, body)) {
                    cx.persist(Record::Learned(from, body));
                    cx.output((from, body));
                }
            }
            Event::Restore(Record::Own(number)) => {
                self.own.insert(number);
            }
            Event::Restore(Record::Learned(from, number)) => {
                self.learned.insert((from, number));
            }
            Event::Resumed => self.tell(Target::All, cx),
            Event::Reconnected(peer) => self.tell(Target::One(peer), cx),
            Event::Done { .. } => {}
            Event::Timer(never) => match never {},
        }
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        0
    }
}

/// Asks all others what it was told to ask. Who asks remembers that; who answers remembers nothing.
#[derive(Clone, Debug, Hash, Default)]
struct Asker {
    open: BTreeSet<(Party, u64)>,
    asked: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Words {
    Question(u64),
    Answer(u64),
}
wire_enum!(Words { 0 => Question(number), 1 => Answer(number) });

#[derive(Clone, Debug)]
enum Diary {
    Asked(u64),
    Answered(Party, u64),
}

impl Vocabulary for Asker {
    const NAME: &'static str = "asker";
    type Command = u64;
    type Outcome = Never;
    type Message = Words;
    type Timer = Never;
    type Ticket = ();
    type Work = ();
    type Done = ();
    type Record = Diary;
}

impl Asker {
    fn note_asked(&mut self, number: u64, cx: &impl Context<Self>) {
        self.asked += 1;
        self.open.extend(cx.group().others().iter().map(|party| (party, number)));
    }

    fn ask(&self, peer: Party, cx: &mut impl Context<Self>) {
        for (_, number) in self.open.iter().filter(|(asked, _)| *asked == peer) {
            cx.send(Target::One(peer), Words::Question(*number));
        }
    }
}

impl Protocol for Asker {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(number) => {
                self.note_asked(number, cx);
                cx.persist(Diary::Asked(number));
                cx.send(Target::Others, Words::Question(number));
            }
            Event::Message { from, body: Words::Question(number) } => {
                cx.send(Target::One(from), Words::Answer(number));
            }
            Event::Message { from, body: Words::Answer(number) } => {
                if self.open.remove(&(from, number)) {
                    cx.persist(Diary::Answered(from, number));
                }
            }
            Event::Restore(Diary::Asked(number)) => self.note_asked(number, cx),
            Event::Restore(Diary::Answered(from, number)) => {
                self.open.remove(&(from, number));
            }
            Event::Resumed => cx.group().others().iter().for_each(|peer| self.ask(peer, cx)),
            Event::Reconnected(peer) => self.ask(peer, cx),
            Event::Done { .. } => {}
            Event::Timer(never) => match never {},
        }
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        0
    }
}

fn groups(n: usize) -> Vec<Group> {
    let structure = AdversaryStructure::optimal(n).expect("well-formed");
    let group = |party| Group::new(GroupId::default(), Epoch(0), party, structure.clone());
    (0..n).map(|index| group(Party::new(index))).collect()
}

type Sim = Simulation<Linked<Rumour>>;

fn build<P>(builder: maftia_sim::Builder<Linked<P>>, n: usize) -> Simulation<Linked<P>>
where
    P: Protocol<Message: Wire> + Default + 'static,
    Linked<P>: std::hash::Hash,
{
    let groups = groups(n);
    builder.footprint_max(10_000).build_incarnations(move |party, restarts| {
        // Numbers that jump back and forth, as those of a bad clock do.
        let incarnation = 1 + (u64::from(restarts) * 7_919) % 10_007;
        Linked::new(P::default(), &groups[party.index()], incarnation)
    })
}

/// Four servers that crash, over a network that loses and repeats and tells nobody.
fn stormy<P>(seed: u64) -> Simulation<Linked<P>>
where
    P: Protocol<Message: Wire> + Default + 'static,
    Linked<P>: std::hash::Hash,
{
    let network = Network::lossy(100).losses_max(u32::MAX).duplicating(100).unaided();
    let crashes = Crashes {
        parties: PartySet::all(4),
        permille: 20,
        downtime: Duration(500 * UNIT.0),
        crashes_max: 20,
    };
    build(Simulation::builder(groups(4), seed).network(network).crashes(crashes), 4)
}

/// Has every honest server that is up learned all that the others know as their own?
fn all_know_all(sim: &Sim) -> bool {
    let honest = sim.honest();
    honest.iter().all(|party| {
        sim.state(party).is_some_and(|state| {
            honest.iter().all(|other| {
                sim.state(other).is_some_and(|told| {
                    let own = told.inner().own.iter();
                    own.clone().count() > 0
                        && own.clone().all(|n| state.inner().learned.contains(&(other, *n)))
                })
            })
        })
    })
}

fn give(sim: &mut Sim, rounds: u64) -> Result<(), maftia_sim::Failure> {
    for number in 0..rounds {
        for party in sim.honest().iter() {
            if sim.is_up(party) {
                sim.command(party, number);
            }
        }
        sim.run_for(Duration(20 * UNIT.0), 1_000_000)?;
    }
    Ok(())
}

#[test]
fn everything_arrives_over_a_network_that_loses_repeats_and_reorders_and_tells_nobody() {
    seeds(0..20, |seed| {
        let network = Network::lossy(250).losses_max(u32::MAX).duplicating(100).unaided();
        let mut sim = build(Simulation::builder(groups(4), seed).network(network), 4);
        give(&mut sim, 30)?;
        sim.run_until(all_know_all, 2_000_000)
    });
}

#[test]
fn everything_arrives_although_servers_crash_and_lose_what_was_not_synced() {
    let mut crashed = 0;
    seeds(0..20, |seed| {
        let mut sim: Sim = stormy(seed);
        give(&mut sim, 40)?;
        sim.run_until(all_know_all, 5_000_000)?;
        crashed += sim.stats().crashes;
        Ok(())
    });
    assert!(crashed > 100, "{crashed} crashes in twenty runs");
}

#[test]
fn every_question_is_answered_although_both_ends_crash_and_answers_are_not_kept() {
    let mut crashed = 0;
    seeds(0..20, |seed| {
        let mut sim: Simulation<Linked<Asker>> = stormy(seed);
        for number in 0..40 {
            for party in sim.honest().iter().filter(|party| sim.is_up(*party)).collect::<Vec<_>>() {
                sim.command(party, number);
            }
            sim.run_for(Duration(20 * UNIT.0), 1_000_000)?;
        }
        let all_answered = |sim: &Simulation<Linked<Asker>>| {
            sim.honest().iter().all(|party| {
                sim.state(party)
                    .is_some_and(|state| state.inner().asked > 0 && state.inner().open.is_empty())
            })
        };
        sim.run_until(all_answered, 5_000_000)?;
        crashed += sim.stats().crashes;
        Ok(())
    });
    assert!(crashed > 100, "{crashed} crashes in twenty runs");
}

#[test]
fn a_silent_server_costs_the_others_nothing() {
    seeds(0..10, |seed| {
        let builder = Simulation::builder(groups(4), seed)
            .network(Network::lossy(100).unaided())
            .corrupt([Party::new(3)], Silent);
        let mut sim = build(builder, 4);
        give(&mut sim, 20)?;
        sim.run_until(all_know_all, 1_000_000)
    });
}

#[test]
fn an_idle_group_exchanges_keep_alives_and_no_messages() {
    let network = Network::random().unaided();
    let measure = |packet: &Packet<u64>| match packet {
        Packet::Frame(frame) => frame.message_count(),
        Packet::Local(_) => 0,
    };
    let builder = Simulation::builder(groups(4), 1).network(network).measure(measure);
    let mut sim = build(builder, 4);
    give(&mut sim, 5).expect("no server is blamed");
    sim.run_until(all_know_all, 1_000_000).expect("everything arrives");
    sim.run_for(Duration(3 * KEEP_ALIVE_EVERY.0), 1_000_000).expect("it calms down");
    sim.mark();
    sim.run_for(Duration(60 * KEEP_ALIVE_EVERY.0), 1_000_000).expect("silence");
    assert_eq!(sim.bytes_since_mark(), 0, "protocol messages");
    let frames = sim.messages_since_mark();
    assert!((12 * 29..=12 * 61).contains(&frames), "{frames} keep-alives on twelve links");
}

#[test]
fn one_seed_is_one_run() {
    let run = |seed| {
        let network = Network::lossy(250).duplicating(100).unaided();
        let mut sim = build(Simulation::builder(groups(4), seed).network(network), 4);
        give(&mut sim, 10)?;
        Ok(sim.digest())
    };
    check_deterministic(5, run).expect("nobody is blamed");
}

#[test]
fn seven_servers_with_one_that_starves_still_tell_each_other_everything() {
    let network = Network::lossy(50).unaided().starving(Party::new(0));
    let mut sim = build(Simulation::builder(groups(7), 3).network(network), 7);
    give(&mut sim, 5).expect("no honest server is blamed for being slow");
    sim.run_until(all_know_all, 5_000_000).expect("even the slow one is told");
}

fn under(attack: impl maftia_sim::Adversary<Linked<Rumour>> + 'static, seed: u64) -> Sim {
    let network = Network::lossy(50).unaided();
    let builder = Simulation::builder(groups(4), seed).network(network);
    build(builder.corrupt([Party::new(3)], attack), 4)
}

#[test]
fn a_peer_that_repeats_old_frames_of_its_own_and_of_others_changes_nothing() {
    seeds(0..10, |seed| {
        let mut sim = under(Replayer::new(500), seed);
        give(&mut sim, 20)?;
        sim.run_until(all_know_all, 1_000_000)
    });
}

#[test]
fn a_peer_that_sends_everything_tenfold_changes_nothing() {
    seeds(0..10, |seed| {
        let mut sim = under(Flooder { copies: 10 }, seed);
        give(&mut sim, 20)?;
        sim.run_until(all_know_all, 2_000_000)
    });
}
