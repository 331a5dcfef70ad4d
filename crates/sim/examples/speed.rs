//! How many events a second the simulator handles: four servers that answer every message until a
//! count is reached. `cargo run --release -p maftia-sim --example speed`

use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::{
    AdversaryStructure, Context, Epoch, Event, Group, GroupId, Party, Protocol, Target,
};
use maftia_sim::{Network, Simulation};
use std::time::Instant;

const HOPS: u64 = 100_000;

/// Every party passes each of a few balls on.
#[derive(Clone, Debug, Hash, Default)]
struct Juggling {
    catches: u64,
}

impl Vocabulary for Juggling {
    const NAME: &'static str = "juggling";
    type Command = u64;
    type Outcome = u64;
    type Message = u64;
    type Timer = Never;
    type Ticket = Never;
    type Work = Never;
    type Done = Never;
    type Record = u64;
}

impl Protocol for Juggling {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(ball) => cx.send(Target::Others, ball),
            Event::Message { body, .. } => {
                self.catches += 1;
                if body > 0 {
                    let next = (cx.group().me().index() + 1) % cx.group().n();
                    cx.send(Target::One(Party::new(next)), body - 1);
                }
            }
            Event::Timer(never) => match never {},
            Event::Done { ticket, .. } => match ticket {},
            Event::Restore(_) | Event::Resumed | Event::Reconnected(_) => {}
        }
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        0
    }
}

fn main() {
    let structure = AdversaryStructure::optimal(4).expect("four servers are a group");
    for (name, network) in
        [("unit delay", Network::unit_delay()), ("random order", Network::random())]
    {
        let groups = (0..4)
            .map(|me| Group::new(GroupId::default(), Epoch(0), Party::new(me), structure.clone()))
            .collect();
        let mut sim =
            Simulation::builder(groups, 1).network(network).build(|_| Juggling::default());
        let started = Instant::now();
        (0..4).for_each(|party| sim.command(Party::new(party), HOPS));
        sim.run_to_quiescence(u64::MAX).expect("nothing can fail");
        let seconds = started.elapsed().as_secs_f64();
        let events = sim.stats().events;
        println!("{name}: {events} events, {:.2} million/s", events as f64 / seconds / 1e6);
    }
}
