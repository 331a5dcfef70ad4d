//! Everything that can be run, behind one interface: a protocol with both suites.

use crate::adversary::{CONDUCTS, NETWORKS, Special};
use crate::plan::{Choices, Plan, Wishes};
use crate::protocols::{
    Atomic, Bare, Binary, Cast, Checkpointing, Coded, Coin, Consistent, Hybrid, Linking,
    Multivalued, OnLinks, Ordered, Placed, Reliable, Replication, Simple, Spread, Trusting, Vector,
    Views,
};
use crate::run::{Options, STORAGES, Verdict, run};
use crate::stage::Stage;
use crate::ttcb::TTCB;
use crate::whole::{AUTHORITY, WHOLE};
use maftia_crypto::{IdealSuite, RealSuite};

/// Something that can be run.
pub struct Course {
    /// Its name in tokens.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
    /// What its runs are drawn from.
    pub choices: fn() -> Choices,
    /// Runs one plan.
    pub run: fn(&Plan, Options) -> Verdict,
    /// Strategies of its own: name and sentence.
    pub specials: fn() -> Vec<(&'static str, &'static str)>,
    /// Where all courses are run, it is run with one in so many seeds: a run of replicas takes as
    /// long as hundreds of those of a broadcast.
    pub one_in: u64,
}

/// All protocols. Trusted components, [`TTCB`], and whole servers, [`WHOLE`] and [`AUTHORITY`],
/// which take much longer, are run when they are named.
pub const COURSES: &[Course] = &[
    Course {
        name: "reliable",
        about: "reliable broadcast: all or none deliver one value",
        choices: choices_of::<Reliable<IdealSuite>>,
        run: either::<Reliable<IdealSuite>, Reliable<RealSuite>>,
        specials: specials_of::<Reliable<IdealSuite>>,
        one_in: 1,
    },
    Course {
        name: "consistent",
        about: "consistent broadcast: one value, with a certificate",
        choices: choices_of::<Consistent<IdealSuite>>,
        run: either::<Consistent<IdealSuite>, Consistent<RealSuite>>,
        specials: specials_of::<Consistent<IdealSuite>>,
        one_in: 1,
    },
    Course {
        name: "coin",
        about: "the common coin",
        choices: choices_of::<Coin<IdealSuite>>,
        run: either::<Coin<IdealSuite>, Coin<RealSuite>>,
        specials: specials_of::<Coin<IdealSuite>>,
        one_in: 1,
    },
    Course {
        name: "binary",
        about: "binary agreement",
        choices: choices_of::<Binary<IdealSuite>>,
        run: either::<Binary<IdealSuite>, Binary<RealSuite>>,
        specials: specials_of::<Binary<IdealSuite>>,
        one_in: 1,
    },
    Course {
        name: "multivalued",
        about: "multi-valued agreement with an external predicate",
        choices: choices_of::<Multivalued<IdealSuite>>,
        run: either::<Multivalued<IdealSuite>, Multivalued<RealSuite>>,
        specials: specials_of::<Multivalued<IdealSuite>>,
        one_in: 1,
    },
    Course {
        name: "checkpoint",
        about: "certified checkpoints",
        choices: choices_of::<Checkpointing<IdealSuite>>,
        run: either::<Checkpointing<IdealSuite>, Checkpointing<RealSuite>>,
        specials: specials_of::<Checkpointing<IdealSuite>>,
        one_in: 1,
    },
    Course {
        name: "coded",
        about: "coded broadcast of a large value",
        choices: choices_of::<Coded<IdealSuite>>,
        run: run::<Coded<IdealSuite>>,
        specials: specials_of::<Coded<IdealSuite>>,
        one_in: 1,
    },
    Course {
        name: "links",
        about: "links under a protocol that shows what they do",
        choices: choices_of::<Linking<IdealSuite>>,
        run: run::<Linking<IdealSuite>>,
        specials: specials_of::<Linking<IdealSuite>>,
        one_in: 25,
    },
    Course {
        name: "atomic",
        about: "atomic broadcast: one total order through marks and epochs",
        choices: choices_of::<Atomic<IdealSuite>>,
        run: run::<Atomic<IdealSuite>>,
        specials: specials_of::<Atomic<IdealSuite>>,
        one_in: 25,
    },
    Course {
        name: "dissemination",
        about: "a large value for all who want it, which somebody honest holds",
        choices: choices_of::<Spread<IdealSuite>>,
        run: run::<Spread<IdealSuite>>,
        specials: specials_of::<Spread<IdealSuite>>,
        one_in: 2,
    },
    Course {
        name: "views",
        about: "agreement in views, with trusted components",
        choices: choices_of::<Trusting<IdealSuite, Views>>,
        run: run::<Trusting<IdealSuite, Views>>,
        specials: specials_of::<Trusting<IdealSuite, Views>>,
        one_in: 40,
    },
    Course {
        name: "placed",
        about: "agreement by places of the order of trusted components",
        choices: choices_of::<Trusting<IdealSuite, Placed>>,
        run: run::<Trusting<IdealSuite, Placed>>,
        specials: specials_of::<Trusting<IdealSuite, Placed>>,
        one_in: 40,
    },
    Course {
        name: "multicast",
        about: "reliable multicast, by block agreements of trusted components",
        choices: choices_of::<Trusting<IdealSuite, Cast>>,
        run: run::<Trusting<IdealSuite, Cast>>,
        specials: specials_of::<Trusting<IdealSuite, Cast>>,
        one_in: 20,
    },
    Course {
        name: "simple",
        about: "consensus, by the same",
        choices: choices_of::<Trusting<IdealSuite, Simple>>,
        run: run::<Trusting<IdealSuite, Simple>>,
        specials: specials_of::<Trusting<IdealSuite, Simple>>,
        one_in: 100,
    },
    Course {
        name: "vector",
        about: "consensus of a vector, by the same",
        choices: choices_of::<Trusting<IdealSuite, Vector>>,
        run: run::<Trusting<IdealSuite, Vector>>,
        specials: specials_of::<Trusting<IdealSuite, Vector>>,
        one_in: 200,
    },
    Course {
        name: "ordered",
        about: "atomic multicast, by the order of trusted components",
        choices: choices_of::<Trusting<IdealSuite, Ordered>>,
        run: run::<Trusting<IdealSuite, Ordered>>,
        specials: specials_of::<Trusting<IdealSuite, Ordered>>,
        one_in: 200,
    },
    Course {
        name: "hybrid-order",
        about: "the same among fewer servers, with trusted components",
        choices: choices_of::<Atomic<IdealSuite, Hybrid>>,
        run: run::<Atomic<IdealSuite, Hybrid>>,
        specials: specials_of::<Atomic<IdealSuite, Hybrid>>,
        one_in: 50,
    },
    Course {
        name: "replica",
        about: "replicated services, with their clients",
        choices: choices_of::<Replication<IdealSuite>>,
        run: either::<Replication<IdealSuite>, Replication<RealSuite>>,
        specials: specials_of::<Replication<IdealSuite>>,
        one_in: 40,
    },
    Course {
        name: "hybrid-replica",
        about: "the same among fewer servers, with trusted components",
        choices: choices_of::<Replication<IdealSuite, Bare<Hybrid>>>,
        run: run::<Replication<IdealSuite, Bare<Hybrid>>>,
        specials: specials_of::<Replication<IdealSuite, Bare<Hybrid>>>,
        one_in: 200,
    },
    Course {
        name: "linked-replica",
        about: "the same on links, as in a server",
        choices: choices_of::<Replication<IdealSuite, OnLinks>>,
        run: run::<Replication<IdealSuite, OnLinks>>,
        specials: specials_of::<Replication<IdealSuite, OnLinks>>,
        one_in: 200,
    },
];

fn choices_of<T: Stage>() -> Choices {
    let mut conducts: Vec<&'static str> = CONDUCTS.iter().map(|(name, _)| *name).collect();
    // The protocol's own strategies as often as the others together would be too often.
    for Special { name, .. } in T::specials() {
        conducts.extend([name, name]);
    }
    // Nearly half of the runs without crashes.
    let mut storages: Vec<&'static str> = STORAGES
        .iter()
        .flat_map(|(name, _)| vec![*name; if *name == "calm" { 3 } else { 1 }])
        .collect();
    storages.extend(T::STORAGES.iter().map(|(name, _)| *name));
    for (name, times) in T::FAVOURITES {
        let list = if conducts.contains(name) { &mut conducts } else { &mut storages };
        list.extend(vec![*name; *times]);
    }
    let networks = NETWORKS.iter().map(|(name, _)| *name).collect();
    Choices {
        protocol: T::NAME,
        shapes: T::SHAPES,
        conducts,
        networks,
        storages,
        unlisted: Vec::new(),
        real_permille: T::REAL_PERMILLE,
    }
}

fn specials_of<T: Stage>() -> Vec<(&'static str, &'static str)> {
    let specials = T::specials().into_iter().map(|special| (special.name, special.about));
    specials.chain(T::STORAGES.iter().copied()).collect()
}

fn either<I: Stage, R: Stage>(plan: &Plan, options: Options) -> Verdict {
    if plan.real { run::<R>(plan, options) } else { run::<I>(plan, options) }
}

/// The course of this name.
pub fn course(name: &str) -> Option<&'static Course> {
    COURSES.iter().chain([&TTCB, &WHOLE, &AUTHORITY]).find(|course| course.name == name)
}

/// The plan of a token.
pub fn parse(token: &str) -> Result<(&'static Course, Plan), String> {
    let name = token.split(':').next().unwrap_or_default();
    let Some(course) = course(name) else {
        let known: Vec<&str> = COURSES.iter().map(|course| course.name).collect();
        return Err(format!("`{name}` is none of {}", known.join(", ")));
    };
    Ok((course, (course.choices)().parse(token)?))
}

/// Runs a token as it stands.
pub fn replay(token: &str, options: Options) -> Result<(Plan, Verdict), String> {
    let (course, plan) = parse(token)?;
    let verdict = (course.run)(&plan, options);
    Ok((plan, verdict))
}

/// Draws and runs number `number` of a course.
pub fn draw(course: &Course, number: u64, wishes: &Wishes) -> (Plan, Verdict) {
    let plan = (course.choices)().draw(number, wishes);
    let verdict = (course.run)(&plan, Options::default());
    (plan, verdict)
}

/// A conduct or network by its name, as the registry has it.
pub fn adversary_named(name: &str) -> Option<&'static str> {
    let all = COURSES.iter().chain([&TTCB, &WHOLE, &AUTHORITY]).flat_map(|course| {
        let choices = (course.choices)();
        let listed = choices.conducts.into_iter().chain(choices.networks);
        listed.chain(choices.storages).chain(choices.unlisted)
    });
    all.into_iter().find(|known| *known == name)
}
