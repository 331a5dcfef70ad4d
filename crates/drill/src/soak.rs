//! Many runs, counted.

use crate::check::Complaint;
use crate::course::Course;
use crate::plan::{Plan, Wishes};
use crate::run::{Options, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;

/// What many runs came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// How many.
    pub runs: u64,
    /// Of them with the suite of production.
    pub real_runs: u64,
    /// Events handled.
    pub events: u64,
    /// Letters sent.
    pub messages: u64,
    /// Crashes.
    pub crashes: u64,
    /// Simulated time, in microseconds.
    pub simulated_micros: u64,
    /// Runs by protocol.
    pub by_protocol: BTreeMap<&'static str, u64>,
    /// Runs by what the corrupt servers did.
    pub by_conduct: BTreeMap<&'static str, u64>,
    /// Runs by what the network did.
    pub by_network: BTreeMap<&'static str, u64>,
    /// Runs in which determinism was checked too.
    pub twice: u64,
    /// In how many runs what happened that is worth counting.
    pub feats: BTreeMap<&'static str, u64>,
    /// The first failures.
    pub failures: Vec<Failure>,
    /// How many there were.
    pub failed: u64,
}

/// A run that failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// Its full token.
    pub token: String,
    /// What the checkers say.
    pub complaints: Vec<Complaint>,
}

/// Failures that are kept.
const FAILURES_MAX: usize = 100;

/// One in so many runs is run twice, to compare digests.
const TWICE_EVERY: u64 = 64;

impl Tally {
    /// Runs number `number` of a course, and counts it. True if it failed.
    pub fn add(&mut self, course: &Course, number: u64, wishes: &Wishes) -> bool {
        let plan = (course.choices)().draw(number, wishes);
        let twice = number.is_multiple_of(TWICE_EVERY);
        let options = Options { digests: twice, ..Options::default() };
        let mut verdict = (course.run)(&plan, options);
        if twice {
            self.twice += 1;
            let again = (course.run)(&plan, options);
            if again.digest != verdict.digest {
                let what = format!("digests {:?} and {:?}", verdict.digest, again.digest);
                verdict.complaints.push(Complaint::new("determinism", what));
            }
        }
        self.count(&plan, verdict)
    }

    /// Counts a run. True if it failed.
    pub fn count(&mut self, plan: &Plan, verdict: Verdict) -> bool {
        self.runs += 1;
        self.real_runs += u64::from(plan.real);
        self.events += verdict.events;
        self.messages += verdict.messages;
        self.crashes += verdict.crashes;
        self.simulated_micros += verdict.simulated;
        *self.by_protocol.entry(plan.protocol).or_default() += 1;
        *self.by_conduct.entry(plan.conduct).or_default() += 1;
        *self.by_network.entry(plan.network).or_default() += 1;
        for (feat, _) in verdict.feats.iter().filter(|(_, times)| *times > 0) {
            *self.feats.entry(feat).or_default() += 1;
        }
        let failed = !verdict.complaints.is_empty();
        self.failed += u64::from(failed);
        if failed && self.failures.len() < FAILURES_MAX {
            let (token, complaints) = (plan.to_string(), verdict.complaints);
            self.failures.push(Failure { token, complaints });
        }
        failed
    }

    /// Adds another tally to this one.
    pub fn absorb(&mut self, other: Self) {
        self.runs += other.runs;
        self.real_runs += other.real_runs;
        self.events += other.events;
        self.messages += other.messages;
        self.crashes += other.crashes;
        self.simulated_micros += other.simulated_micros;
        self.twice += other.twice;
        self.failed += other.failed;
        let maps = [
            (&mut self.by_protocol, other.by_protocol),
            (&mut self.by_conduct, other.by_conduct),
            (&mut self.by_network, other.by_network),
            (&mut self.feats, other.feats),
        ];
        for (mine, others) in maps {
            others.into_iter().for_each(|(name, runs)| *mine.entry(name).or_default() += runs);
        }
        self.failures.extend(other.failures);
        self.failures.truncate(FAILURES_MAX);
    }
}
