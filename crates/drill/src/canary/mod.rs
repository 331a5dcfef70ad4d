//! The hunt: each canary is broken in turn, and runs are made until a checker notices.

mod registry;

pub use registry::{Canary, REGISTRY};

use crate::course::{course, replay};
use crate::ledger;
use crate::plan::Wishes;
use crate::run::Options;
use maftia_base::canary::sing;
use serde::Serialize;

/// How a canary was caught.
#[derive(Clone, Debug, Serialize)]
pub struct Catch {
    /// Which.
    pub canary: &'static str,
    /// The first token that caught it.
    pub token: Option<String>,
    /// By which checker.
    pub checker: Option<&'static str>,
    /// In how many runs, the catching one included; the median over a few hunts.
    pub runs: u64,
    /// Not by a hunt, but only by a seed that the ledger keeps.
    pub is_kept: bool,
}

/// Runs of one hunt at most.
pub const HUNT_MAX: u64 = 30_000;

/// Sings one canary as long as it lives.
pub struct Song;

impl Song {
    /// From here on, this canary is broken.
    pub fn of(name: &'static str) -> Self {
        sing(Some(name));
        Self
    }
}

impl Drop for Song {
    fn drop(&mut self) {
        sing(None);
    }
}

/// Hunts for a canary with runs from `first` on; `None` if it survives.
fn hunt_from(canary: &Canary, first: u64, runs_max: u64) -> Option<(u64, String, &'static str)> {
    let _song = Song::of(canary.name);
    for run in 0..runs_max {
        let name = canary.courses[(run % canary.courses.len() as u64) as usize];
        let course = course(name).expect("the registry names courses that exist");
        let wishes = Wishes { real: canary.real.then_some(true), ..Wishes::default() };
        let plan = (course.choices)().draw(first + run, &wishes);
        let verdict = (course.run)(&plan, Options::default());
        if let Some(complaint) = verdict.complaints.first() {
            return Some((run + 1, plan.to_string(), complaint.checker));
        }
    }
    None
}

/// What the ledger's own run says of a canary that a hunt did not find.
fn kept(canary: &'static Canary, runs: u64) -> Catch {
    let entries = ledger::entries(ledger::LEDGER).unwrap_or_default();
    let mut kept = entries.into_iter().filter(|entry| entry.canary == Some(canary.name));
    let _song = Song::of(canary.name);
    let caught = kept.find_map(|entry| {
        let (_, verdict) = replay(entry.token, Options::default()).ok()?;
        Some((entry.token.to_owned(), verdict.complaints.first()?.checker))
    });
    let (token, checker) = caught.unzip();
    Catch { canary: canary.name, is_kept: token.is_some(), token, checker, runs }
}

/// Hunts for a canary `hunts` times, each from other seeds on.
pub fn hunt(canary: &'static Canary, hunts: u64, runs_max: u64) -> Catch {
    let mut caught: Vec<(u64, String, &'static str)> = Vec::new();
    for number in 0..hunts {
        match hunt_from(canary, number * 1_000_003, runs_max) {
            Some(catch) => caught.push(catch),
            None => return kept(canary, runs_max),
        }
    }
    let (_, token, checker) = caught[0].clone();
    caught.sort();
    let runs = caught[caught.len() / 2].0;
    let (token, checker) = (Some(token), Some(checker));
    Catch { canary: canary.name, token, checker, runs, is_kept: false }
}
