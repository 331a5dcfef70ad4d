//! Whole servers: engine, journal, links, agreement, replication, recovery and services of
//! production, a group of them in one process, in simulated time.
//!
//! # What is real
//! Everything from [`maftia_node::start`] and the engine down, and the clients' state machine.
//! Simulated are the clock, the disk, the network, and the accounts of how often a server ran.
//!
//! # Why not on `sim`
//! `maftia-sim` drives protocols: what happens in the driver, between a protocol and the world, is
//! its own code. Here the driver itself is under test: which effect waits for which commit, what a
//! log is after a crash at any operation, what a restart does. It is made of tasks that wait for
//! each other, so it runs on a runtime; the deterministic one of commonware decides by a seed which
//! task runs next, and skips time in which nothing happens.
//!
//! - [`world`]: a run. [`server`], [`client`], [`network`], [`disk`]: what it is made of.
//! - [`script`]: what happens to machines. [`tamper`]: what intruders do.
//! - [`witness`]: what must hold; with it, [`crate::check::linear`].
//! - [`authority`]: the certification authority, in the runs that have one.

pub mod authority;
pub mod client;
pub mod disk;
pub mod models;
pub mod network;
pub mod script;
pub mod server;
pub mod service;
pub mod suite;
pub mod tamper;
#[cfg(test)]
mod tests;
pub mod witness;
pub mod world;

use crate::check::Complaint;
use crate::course::Course;
use crate::plan::{Choices, Plan};
use crate::run::{Options, Verdict, said};
use crate::world::Shape;
use commonware_runtime::Runner as _;
use commonware_runtime::deterministic::{Config, Runner};
use maftia_activity::Replica;
use maftia_base::PartySet;
use maftia_crypto::{IdealSuite, RealSuite};
use maftia_links::Linked;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use suite::WholeSuite;
use witness::{Counts, Witness};
use world::World;

/// What a whole server replicates.
pub type Replicated<S> = Replica<S, service::Watched>;

/// The protocol of a whole server.
pub type Server<S> = Linked<Replicated<S>>;

/// Runs of whole servers.
pub const WHOLE: Course = Course {
    name: "whole",
    about: "whole servers with journals, clients and everything",
    choices: || choices(WHOLE.name),
    run: |plan, options| run(plan, options).0,
    specials: Vec::new,
    one_in: 100,
};

/// The same with a certification authority.
pub const AUTHORITY: Course = Course {
    name: "authority",
    about: "whole servers with a certification authority, its clients, and who deceives it",
    choices: || choices(AUTHORITY.name),
    run: |plan, options| run(plan, options).0,
    specials: Vec::new,
    one_in: 100,
};

/// In how many of 1000 runs the suite of production is used.
const REAL_PERMILLE: u32 = 12;

/// Large groups cost much, and find little that small ones do not.
const SHAPES: &[(u64, Shape)] = &[(94, Shape::Four), (98, Shape::Lopsided), (100, Shape::Seven)];

fn choices(protocol: &'static str) -> Choices {
    let names =
        |list: &[(&'static str, &'static str)]| list.iter().map(|(name, _)| *name).collect();
    let mut conducts: Vec<&'static str> = names(tamper::CONDUCTS);
    // Half of the runs without intruders: crashes alone must be survived by all.
    conducts.extend(vec!["none"; tamper::CONDUCTS.len() - 2]);
    Choices {
        protocol,
        shapes: SHAPES,
        conducts,
        networks: names(network::NETWORKS),
        storages: names(script::STORAGES),
        unlisted: vec![script::AT_OPERATION, script::ALL_AT_OPERATION],
        real_permille: REAL_PERMILLE,
    }
}

/// Runs `plan`. A panic of production code is a complaint, too.
pub fn run(plan: &Plan, options: Options) -> (Verdict, Counts) {
    if plan.real {
        perform::<RealSuite>(plan, options)
    } else {
        perform::<IdealSuite>(plan, options)
    }
}

/// How much time passes with each turn of the runtime.
const CYCLE: Duration = Duration::from_micros(10);

fn perform<S: WholeSuite>(plan: &Plan, options: Options) -> (Verdict, Counts) {
    let honest = PartySet::all(plan.shape.n()).difference(plan.corrupt());
    let witness = Witness::new(honest, options.writes);
    let runner = Runner::new(Config::new().with_seed(plan.number).with_cycle(CYCLE));
    let watching = witness.clone();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        runner.start(|context| async move {
            let auditor = context.auditor();
            let ran = World::<S>::new(context, plan, watching).run().await;
            (ran, auditor.state())
        })
    }));
    let (complaints, counts, transcript, told) = witness.finish();
    let mut verdict = Verdict { complaints, transcript, ..Verdict::default() };
    match ran {
        Ok((ran, audit)) => {
            let mut digest = DefaultHasher::new();
            (told, audit).hash(&mut digest);
            verdict.digest = options.digests.then(|| digest.finish());
            verdict.events = counts.executed;
            verdict.simulated = ran.simulated;
            verdict.messages = ran.frames;
            verdict.crashes = ran.crashes;
            verdict.acts = ran.acts;
            verdict.network_acts = ran.network_acts;
        }
        Err(panic) => verdict.complaints.push(Complaint::new("assertion", said(&*panic))),
    }
    (verdict, counts)
}
