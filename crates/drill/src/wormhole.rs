//! The trusted components of a run in the hybrid configuration: what the control channel between
//! them does, and what happens to one of them.

use crate::plan::Plan;
use maftia_agreement::hybrid::{Member, Members};
use maftia_base::protocol::Vocabulary;
use maftia_base::time::{Duration, Time};
use maftia_base::{Party, PartySet};
use maftia_crypto::{Done, Suite, Work, ideal};
use maftia_sim::wormhole::{Cut, Tongue, Weather, Wormhole};
use maftia_sim::{Random, UNIT};
use std::cell::RefCell;
use std::rc::Rc;

/// The components of all servers of a run.
pub type Components<P> = Rc<RefCell<Wormhole<P>>>;

/// What can happen to the component of a server that is not hostile: name and sentence. The server
/// counts as faulty.
pub const MISHAPS: &[(&str, &str)] = &[
    ("component-dies", "the trusted component of a server that is not hostile stops for ever"),
    (
        "component-reboots",
        "the trusted component of a server that is not hostile begins a new life",
    ),
];

/// How a protocol with these words speaks with components.
pub fn tongue<S, P>() -> Tongue<P>
where
    S: Suite,
    P: Vocabulary<Work = Work<S>, Done = Done<S>>,
{
    Tongue {
        call: |work| match work {
            Work::Trusted(call) => *call,
            other => panic!("only calls are consulted: {other:?}"),
        },
        done: |answer| Done::Trusted(Box::new(answer)),
        key: |secret| *secret,
        seal: ideal::seal,
    }
}

/// The components of a run of this plan.
pub fn components<S, P>(plan: &Plan, random: &mut Random) -> Components<P>
where
    S: Suite,
    P: Vocabulary<Work = Work<S>, Done = Done<S>>,
{
    let n = plan.shape.n();
    let weather = weather(n, &mut random.fork(11));
    Rc::new(RefCell::new(Wormhole::new(n, plan.number, weather, tongue())))
}

/// Half of the runs have a control channel that keeps its bound; it becomes fair in all of them.
fn weather(n: usize, random: &mut Random) -> Weather {
    let until = Time(random.below(8_000 * UNIT.0));
    let fair = Weather { until, ..Weather::default() };
    match random.below(8) {
        0 => Weather { lost: 60, ..fair },
        1 => Weather { late: 200, ..fair },
        2 => Weather { lost: 100, late: 300, ..fair },
        3 => {
            let bits = random.bits();
            let side = PartySet::all(n).iter().filter(|party| bits >> party.index() & 1 == 1);
            let side = side.collect();
            let from = Time(random.below(100 * UNIT.0));
            let until = from + Duration(random.below(3_000 * UNIT.0));
            Weather { cut: Some(Cut { side, from, until }), ..fair }
        }
        _ => fair,
    }
}

/// The members as the group knows them when a run begins.
pub fn members<P: Vocabulary>(components: &Components<P>) -> Members {
    let lives = components.borrow().lives().into_iter();
    Members::new(lives.map(|(guard, life)| Member::of(&life.said, 0, guard)))
}

/// When which component dies or reboots.
#[derive(Clone, Copy, Debug)]
pub struct Mishap {
    /// Whose.
    pub victim: Party,
    at: u64,
    reboots: bool,
}

impl Mishap {
    /// That of a plan, within its first `events` events.
    pub fn of(plan: &Plan, events: u64, random: &mut Random) -> Option<Self> {
        let reboots = match plan.storage {
            "component-dies" => false,
            "component-reboots" => true,
            _ => return None,
        };
        let victim = plan.wiped().iter().next()?;
        Some(Self { victim, at: random.below(events), reboots })
    }

    /// Has it happen, if it is time for it.
    pub fn strike<P: Vocabulary>(&self, event: u64, components: &Components<P>) {
        if event != self.at {
            return;
        }
        let mut components = components.borrow_mut();
        if self.reboots {
            components.reboot(self.victim);
        } else {
            components.crash(self.victim);
        }
    }
}
