//! `maftia bench delays`: how many messages one after the other it takes to order a request.
//!
//! The simulator runs the real protocol with the real cryptography; each message takes one unit and
//! all else nothing. So the figures hold for any machine and any network. In the hybrid
//! configuration the trusted components are real, too, and what they say to each other does not
//! count: it has a network of its own.

use crate::Failure;
use crate::args::BenchDelays;
use ed25519_dalek::{Signer, SigningKey};
use maftia_agreement::atomic::Item;
use maftia_agreement::atomic::epochs::{Command, EpochChain, Message, Outcome};
use maftia_agreement::hybrid::{Member, Members, OrderedBy};
use maftia_base::wire::EncodeSize;
use maftia_base::{AdversaryStructure, Digest, Epoch, Formula, Group, GroupId, Party, PartySet};
use maftia_crypto::{DealSpec, Done, RealKeyring, RealSuite, Suite, Work, deal};
use maftia_sim::attacks::{Flooder, Mute, Replayer, Silent, Twins};
use maftia_sim::wormhole::{Tongue, Weather, Wormhole};
use maftia_sim::{Builder, Network, Simulation};
use rand::rngs::SysRng;
use rand_core::UnwrapErr;
use serde::Serialize;
use std::rc::Rc;

type Chain = EpochChain<RealSuite>;

/// The group that is measured.
struct Setup {
    structure: AdversaryStructure,
    keyrings: Rc<Vec<RealKeyring>>,
    /// In the hybrid configuration, by what it orders.
    hybrid: Option<OrderedBy>,
}

/// More events than any run needs that ends.
const EVENTS_MAX: u64 = 2_000_000;

/// What is done to the group while the request is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    FaultFree,
    Busy,
    Silent,
    Mute,
    Twins,
    Replayer,
    Flooder,
    Starved,
}

const CASES: [(Case, &str); 8] = [
    (Case::FaultFree, "fault-free"),
    (Case::Busy, "every server busy"),
    (Case::Silent, "f are silent"),
    (Case::Mute, "f are mute towards the asked server"),
    (Case::Twins, "f show two faces"),
    (Case::Replayer, "f replay old messages"),
    (Case::Flooder, "f send everything four times"),
    (Case::Starved, "an honest server is cut off"),
];

/// One line of the table.
#[derive(Debug, Serialize)]
struct Figure {
    servers: usize,
    case: &'static str,
    runs: usize,
    min: u64,
    median: u64,
    max: u64,
    /// Sent by all servers together until then, in the median.
    messages: u64,
    /// Their bytes.
    bytes: u64,
    /// Forced writes one after the other, in the median.
    durable_waits: u64,
}

/// Runs every case.
pub(super) fn run(args: &BenchDelays) -> Result<(), Failure> {
    let mut figures = Vec::new();
    if !args.json {
        println!(
            "{:>7}  {:38} {:>18}  {:>13} {:>9} {:>9}",
            "servers", "case", "delays: med (max)", "durable waits", "messages", "KiB"
        );
    }
    for n in args.servers() {
        let f = n.saturating_sub(1) / if args.hybrid { 2 } else { 3 };
        let structure = AdversaryStructure::threshold(n, f)
            .map_err(|error| Failure::because(format!("{n} servers: {error}")))?;
        let keyrings = Rc::new(keyrings(&structure)?);
        let hybrid = args.hybrid.then(|| args.ordering.into());
        let setup = Setup { structure, keyrings, hybrid };
        for (case, name) in CASES {
            if f == 0 && !matches!(case, Case::FaultFree | Case::Busy) {
                continue;
            }
            let figure = setup.figure(case, name, args.seeds)?;
            if !args.json {
                println!(
                    "{n:>7}  {name:38} {:>12} ({:>3})  {:>13} {:>9} {:>9}",
                    figure.median,
                    figure.max,
                    figure.durable_waits,
                    figure.messages,
                    figure.bytes >> 10
                );
            }
            figures.push(figure);
        }
    }
    if args.json {
        let json = serde_json::to_string_pretty(&figures).expect("plain data is always JSON");
        println!("{json}");
    }
    Ok(())
}

fn keyrings(structure: &AdversaryStructure) -> Result<Vec<RealKeyring>, Failure> {
    let spec = DealSpec {
        structure: structure.clone(),
        sharing: Formula::exact(structure),
        epoch: Epoch(0),
        context: Digest::default(),
        rsa: Vec::new(),
    };
    let failed = |error: &dyn std::fmt::Display| Failure::because(error.to_string());
    let (keys, servers) =
        deal(&spec, &mut UnwrapErr(SysRng), &mut |_| ()).map_err(|error| failed(&error))?;
    servers
        .into_iter()
        .map(|server| RealKeyring::new(keys.clone(), server).map_err(|error| failed(&error)))
        .collect()
}

impl Setup {
    fn figure(&self, case: Case, name: &'static str, seeds: u64) -> Result<Figure, Failure> {
        let (mut delays, mut waits, mut messages, mut bytes) = (vec![], vec![], vec![], vec![]);
        for seed in 0..seeds.max(1) {
            let by_messages = self.one(case, seed, Network::unit_delay())?;
            delays.push(by_messages.elapsed_units());
            messages.push(by_messages.messages_since_mark());
            bytes.push(by_messages.bytes_since_mark());
            let by_syncs = self.one(case, seed, Network::unit_sync())?;
            waits.push(by_syncs.elapsed_units());
        }
        for list in [&mut delays, &mut waits, &mut messages, &mut bytes] {
            list.sort_unstable();
        }
        let middle = delays.len() / 2;
        Ok(Figure {
            servers: self.structure.n(),
            case: name,
            runs: delays.len(),
            min: delays[0],
            median: delays[middle],
            max: delays[delays.len() - 1],
            messages: messages[middle],
            bytes: bytes[middle],
            durable_waits: waits[middle],
        })
    }

    fn simulation(&self, case: Case, seed: u64, network: Network) -> Simulation<Chain> {
        let n = self.structure.n();
        // The coins of another group are other coins: whether they elect a corrupt leader is what
        // makes runs differ most.
        let id = GroupId(Digest::of_encoded("maftia bench delays", &seed));
        let groups = (0..n)
            .map(|index| Group::new(id, Epoch(0), Party::new(index), self.structure.clone()))
            .collect();
        let keyrings = Rc::clone(&self.keyrings);
        let builder = Simulation::<Chain>::builder(groups, seed)
            .worker(move |party, works, clock| {
                RealSuite::run_many(works, &keyrings[party.index()], clock)
            })
            .measure(|message: &Message<RealSuite>| message.encode_size())
            .application(|_, outcome| admit(outcome))
            .network(network_of(case, network, n));
        let builder = attacked(builder, case, &self.structure);
        match self.hybrid {
            None => builder.build(|_| EpochChain::new()),
            Some(ordered_by) => {
                let wormhole = Wormhole::new(n, seed, Weather::default(), tongue());
                let lives = wormhole.lives().into_iter();
                let members = lives.map(|(guard, life)| Member::of(&life.said, 0, guard));
                let members = Members::new(members).ordering_by(ordered_by);
                let make = move |_| EpochChain::new().with_members(members.clone());
                builder.trusted(wormhole).build(make)
            }
        }
    }

    /// One request at server 0, until server 0 delivers it.
    fn one(&self, case: Case, seed: u64, network: Network) -> Result<Simulation<Chain>, Failure> {
        let asked = Party::new(0);
        let mut sim = self.simulation(case, seed, network);
        let failed = |failure: maftia_sim::Failure| Failure::because(failure.to_string());
        if case == Case::Busy {
            for round in 0..30 {
                for party in sim.honest().iter() {
                    submit(&mut sim, party, &format!("busy {round} {party}"));
                }
                for _ in 0..50 * self.structure.n() {
                    sim.step().map_err(failed)?;
                }
            }
        }
        sim.mark();
        for party in sim.corrupt().iter() {
            submit(&mut sim, party, "of an intruder");
        }
        let ours = "the one that counts";
        submit(&mut sim, asked, ours);
        let has = |sim: &Simulation<Chain>| {
            sim.outcomes(asked).iter().any(|outcome| match outcome {
                Outcome::Delivered(delivery) => {
                    delivery.items.iter().any(|item| **item == *ours.as_bytes())
                }
                _ => false,
            })
        };
        sim.run_until(has, EVENTS_MAX).map_err(failed)?;
        Ok(sim)
    }
}

fn tongue() -> Tongue<Chain> {
    Tongue {
        call: |work| match work {
            Work::Trusted(call) => *call,
            other => panic!("only calls are consulted: {other:?}"),
        },
        done: |answer| Done::Trusted(Box::new(answer)),
        key: |secret| SigningKey::from_bytes(secret).verifying_key().to_bytes(),
        seal: |secret, digest| SigningKey::from_bytes(secret).sign(digest).to_bytes(),
    }
}

fn submit(sim: &mut Simulation<Chain>, at: Party, content: &str) {
    let item = Item::new(content.as_bytes().to_vec()).expect("short");
    sim.command(at, Command::Submit(item));
}

fn admit(outcome: &Outcome) -> Vec<Command<RealSuite>> {
    match outcome {
        Outcome::Inspect { lane, height, digest, .. } => {
            vec![Command::Admit { lane: *lane, height: *height, digest: *digest }]
        }
        _ => vec![],
    }
}

fn network_of(case: Case, network: Network, n: usize) -> Network {
    match case {
        Case::Starved => network.starving(Party::new(n - 1)),
        _ => network,
    }
}

/// As many servers as may be, the last ones, do what the case says.
fn attacked(builder: Builder<Chain>, case: Case, structure: &AdversaryStructure) -> Builder<Chain> {
    let n = structure.n();
    let corrupt: Vec<Party> = (n - structure.largest()..n).map(Party::new).collect();
    let asked: PartySet = [Party::new(0)].into_iter().collect();
    match case {
        Case::FaultFree | Case::Busy | Case::Starved => builder,
        Case::Silent => builder.corrupt(corrupt, Silent),
        Case::Mute => builder.corrupt(corrupt, Mute { towards: asked }),
        Case::Twins => {
            builder.corrupt(corrupt, Twins { second: (0..n).step_by(2).map(Party::new).collect() })
        }
        Case::Replayer => builder.corrupt(corrupt, Replayer::new(300)),
        Case::Flooder => builder.corrupt(corrupt, Flooder { copies: 4 }),
    }
}
