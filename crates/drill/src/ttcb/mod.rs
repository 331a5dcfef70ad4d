//! The trusted components by themselves: block agreement and identifiers, with hostile hosts around
//! them and a control channel that does what it likes.
//!
//! # What is real
//! Cores, sessions and control channels of production, and what servers authenticate calls with.
//! Simulated are clocks, the private network, the socket between a server and its component, who
//! owns the host, and the daemon: what moves bytes between them.
//!
//! - [`world`]: a run. [`daemon`]: what stands in for the daemon. [`hostile`]: what sits between a
//!   server and its component. [`judge`]: what must hold.
//!
//! # Where its canaries are
//! In [`daemon`], and not in the core: that is meant to be read in a day, depends on nothing of
//! ours but its vocabulary, and has no room for code that is there to be wrong. Each canary makes
//! the daemon's stand-in do to a right core what a wrong one would have done by itself.

pub mod daemon;
pub mod hostile;
pub mod judge;
pub mod world;

use crate::check::Complaint;
use crate::course::Course;
use crate::plan::{Choices, Plan};
use crate::run::{Options, Verdict, said};
use crate::world::Shape;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use world::World;

/// Runs of trusted components.
pub const TTCB: Course = Course {
    name: "ttcb",
    about: "trusted components: block agreement and identifiers",
    choices,
    run,
    specials: Vec::new,
    one_in: 1,
};

const SHAPES: &[(u64, Shape)] = &[(60, Shape::Three), (80, Shape::Four), (100, Shape::Five)];

/// What the control channel does.
pub const NETWORKS: &[(&str, &str)] = &[
    ("kept", "keeps its bound and loses nothing"),
    ("leaky", "loses frames"),
    ("tardy", "breaks its bound"),
    ("doubling", "delivers twice what it delivers"),
    ("cut", "is partitioned for a while"),
    ("foul", "loses, delays, doubles and changes bits"),
];

/// What happens to components.
pub const STORAGES: &[(&str, &str)] = &[
    ("steady", "nothing happens to them"),
    ("crash", "one crashes in the midst"),
    ("reboot", "one crashes in the midst, and begins another life"),
    ("stall", "one gets no time for a while"),
    ("old-life", "one is introduced to the others as an earlier life of itself"),
];

fn choices() -> Choices {
    let names =
        |list: &[(&'static str, &'static str)]| list.iter().map(|(name, _)| *name).collect();
    let mut conducts: Vec<&'static str> = names(hostile::CONDUCTS);
    conducts.extend(["none"; 2]);
    Choices {
        protocol: TTCB.name,
        shapes: SHAPES,
        conducts,
        networks: names(NETWORKS),
        storages: names(STORAGES),
        unlisted: Vec::new(),
        real_permille: 0,
    }
}

/// Runs one plan. A panic of production code is a complaint, too.
pub fn run(plan: &Plan, options: Options) -> Verdict {
    let judge = Rc::new(RefCell::new(judge::Judge::new(plan, options.writes)));
    let watching = Rc::clone(&judge);
    let ran = catch_unwind(AssertUnwindSafe(|| World::new(plan, watching).run()));
    let mut verdict = match ran {
        Ok(verdict) => verdict,
        Err(panic) => Verdict {
            complaints: vec![Complaint::new("assertion", said(&*panic))],
            ..Verdict::default()
        },
    };
    let judge = &mut *judge.borrow_mut();
    verdict.complaints.append(&mut judge.complaints);
    verdict.transcript = judge.transcript.take().unwrap_or_default();
    verdict.digest = options.digests.then(|| judge.digest(verdict.events));
    verdict.feats = judge.feats();
    verdict
}
