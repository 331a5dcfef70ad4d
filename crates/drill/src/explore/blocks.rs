//! Everything that can happen in one trusted block agreement, with the real code of its components.
//!
//! # What is explored
//! In every reachable state: a component's entity proposes, before `tstart`; a component is given
//! any frame that was ever sent by another, once more perhaps, or never; its clock goes on to any
//! of the moments at which something is due, or past them. Nothing binds one component's clock to
//! another's, nor a frame to a bound: a frame can be in time at one and too late at the other. Who
//! takes no more steps has crashed.
//!
//! # What is checked
//! In every state: no two components tell different decisions, nobody is said to have proposed what
//! it did not, and what is decided is one of the proposals.
//!
//! # How it stays small
//! As in the [other search](super): a component's state is named by a number, and what an event
//! does to it is remembered. It is kept as the events that lead to it, since a table of agreements
//! is large, and each is run again from the start.

use super::Explored;
use maftia_ttcb_api::{
    Answer, Boot, BootKeys, Decision, Elist, EntityId, Function, Host, Instance, Interval, Moment,
    Sealed, Span, Statement, Value,
};
use maftia_ttcb_core::agreement::Agreements;
use maftia_ttcb_core::{Control, Outputs, Peer};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

const BOUND: Span = Span::from_millis(5);
const TSTART: Moment = Moment(1_000_000_000_000);

/// Moments of a component's clock: before the start, at it, when it is time to acknowledge, too
/// late for that, and when nobody waits any more.
const MOMENTS: [Moment; 5] = [
    Moment(TSTART.0 - 1_000_000),
    TSTART,
    Moment(TSTART.0 + BOUND.0),
    Moment(TSTART.0 + 2 * BOUND.0 + 1),
    Moment(TSTART.0 + 3 * BOUND.0),
];

/// What happens to one component, at which moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Propose,
    Hear(u16),
    Tick,
}

/// Of each component its local state and its moment; and which frames were ever sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State<const N: usize> {
    locals: [u32; N],
    moments: [u8; N],
    sent: u128,
}

/// A local state: how it is reached, and what it tells.
struct Local {
    path: Vec<(Event, u8)>,
    decision: Option<Decision>,
}

struct Search<const N: usize> {
    inputs: [Option<u8>; N],
    instance: Instance,
    /// Frames that were ever sent, and by whom.
    frames: Vec<(usize, Control)>,
    locals: [Vec<Local>; N],
    names: [BTreeMap<u64, u32>; N],
    steps: BTreeMap<(usize, u32, Event, u8), (u32, u128)>,
    transitions: u64,
}

#[derive(Default)]
struct Sent(Vec<Control>);

impl Outputs for Sent {
    fn send(&mut self, _: Host, control: &Control) {
        // It is sent to all of the list.
        if self.0.last() != Some(control) {
            self.0.push(*control);
        }
    }
    fn answer(&mut self, _: u8, _: u64, _: Answer) {}
    fn sign<T: Statement>(&mut self, said: T) -> Sealed<T> {
        Sealed { said, seal: [0; 64] }
    }
    fn is_certified(&self, _: &Sealed<BootKeys>, _: &[u8; 32]) -> bool {
        true
    }
    fn random(&mut self) -> Value {
        Value::default()
    }
}

fn entity(index: usize) -> EntityId {
    EntityId { host: Host(index as u8), role: 0, boot: Boot(index as u64 + 1) }
}

/// Explores the agreement in which these are proposed, up to so many states.
pub(super) fn explore<const N: usize>(
    model: &'static str,
    inputs: [Option<u8>; N],
    states_max: usize,
) -> Explored {
    let entities: Vec<EntityId> = (0..N).map(entity).collect();
    let elist = Elist::new(&entities).expect("each host once");
    let context = Value::default();
    let instance = Instance { elist, tstart: TSTART, function: Function::Majority, context };
    let mut search = Search {
        inputs,
        instance,
        frames: Vec::new(),
        locals: std::array::from_fn(|_| Vec::new()),
        names: std::array::from_fn(|_| BTreeMap::new()),
        steps: BTreeMap::new(),
        transitions: 0,
    };
    let mut explored = Explored { model, is_complete: true, ..Explored::default() };
    search.run(states_max, &mut explored);
    explored.transitions = search.transitions;
    explored.local_states = search.locals.iter().map(Vec::len).sum();
    explored
}

impl<const N: usize> Search<N> {
    fn run(&mut self, states_max: usize, explored: &mut Explored) {
        for index in 0..N {
            self.local(index, Vec::new());
        }
        let first = State { locals: [0; N], moments: [0; N], sent: 0 };
        let (mut seen, mut layer) = (BTreeSet::from([first]), vec![first]);
        while !layer.is_empty() {
            let mut next = Vec::new();
            for state in layer {
                explored.violation = self.violation(&state);
                if explored.violation.is_some() || seen.len() > states_max {
                    (explored.is_complete, explored.states) = (false, seen.len());
                    return;
                }
                let reached = self.expand(&state);
                explored.ends += u64::from(reached.is_empty());
                next.extend(reached.into_iter().filter(|state| seen.insert(*state)));
            }
            explored.depth += usize::from(!next.is_empty());
            layer = next;
        }
        explored.states = seen.len();
    }

    fn expand(&mut self, state: &State<N>) -> Vec<State<N>> {
        let mut reached = Vec::new();
        for index in 0..N {
            let moment = state.moments[index];
            let mut events = vec![(Event::Propose, moment)];
            let heard = (0..self.frames.len()).filter(|word| state.sent >> word & 1 == 1);
            let others = heard.filter(|word| self.frames[*word].0 != index);
            events.extend(others.map(|word| (Event::Hear(word as u16), moment)));
            events.extend((moment + 1..MOMENTS.len() as u8).map(|later| (Event::Tick, later)));
            for (event, moment) in events {
                let (local, sent) = self.step(index, state.locals[index], event, moment);
                let mut next = *state;
                (next.locals[index], next.moments[index]) = (local, moment);
                next.sent |= sent;
                if next != *state {
                    self.transitions += 1;
                    reached.push(next);
                }
            }
        }
        reached
    }

    /// What an event does to a component: its next state, and what it sends.
    fn step(&mut self, index: usize, local: u32, event: Event, moment: u8) -> (u32, u128) {
        let key = (index, local, event, moment);
        if let Some(known) = self.steps.get(&key) {
            return *known;
        }
        let mut path = self.locals[index][local as usize].path.clone();
        path.push((event, moment));
        let result = self.local(index, path);
        self.steps.insert(key, result);
        result
    }

    /// The state to which these events lead, and what the last one makes it send.
    fn local(&mut self, index: usize, path: Vec<(Event, u8)>) -> (u32, u128) {
        let me = entity(index);
        let mut component = Agreements::new((me.host, me.boot), BOUND, 1);
        let (mut out, mut now) = (Sent::default(), MOMENTS[0]);
        for (event, moment) in &path {
            out.0.clear();
            now = MOMENTS[usize::from(*moment)];
            self.happen(&mut component, index, *event, at(now), &mut out);
        }
        let sent = out.0.iter().map(|control| 1 << self.word(index, control));
        let sent: u128 = sent.fold(0, |all, word: u128| all | word);
        let mut digest = DefaultHasher::new();
        component.hash(&mut digest);
        let asked = component.decide(me, self.instance.tag(), 1, at(now), &mut out);
        let decision = match asked {
            Some(Answer::Decided(sealed)) => Some(sealed.said),
            _ => None,
        };
        let count = self.locals[index].len() as u32;
        let name = *self.names[index].entry(digest.finish()).or_insert(count);
        if name == count {
            self.locals[index].push(Local { path, decision });
        }
        (name, sent)
    }

    fn happen(
        &self,
        component: &mut Agreements,
        index: usize,
        event: Event,
        now: Interval,
        out: &mut Sent,
    ) {
        match event {
            Event::Propose => {
                if let Some(value) = self.inputs[index] {
                    let value = Some([value; 32]);
                    component.propose(entity(index), self.instance, value, now, out);
                }
            }
            Event::Hear(word) => {
                let (from, control) = self.frames[usize::from(word)];
                let EntityId { host, boot, .. } = entity(from);
                match control {
                    Control::Proposal { instance, value } => {
                        component.on_proposal(Peer { host, boot }, instance, value, now, out);
                    }
                    Control::Vote { instance, vector } => {
                        component.on_vote(Peer { host, boot }, instance, vector, now, out);
                    }
                    other => panic!("{other:?} is no frame of an agreement"),
                }
            }
            Event::Tick => component.tick(Some(now), out),
        }
    }

    fn word(&mut self, from: usize, control: &Control) -> usize {
        let known = self.frames.iter().position(|known| *known == (from, *control));
        known.unwrap_or_else(|| {
            self.frames.push((from, *control));
            assert!(self.frames.len() <= 128, "a set of frames has 128 bits");
            self.frames.len() - 1
        })
    }

    fn violation(&self, state: &State<N>) -> Option<String> {
        let of = |index: usize| self.locals[index][state.locals[index] as usize].decision;
        let told: Vec<Decision> = (0..N).filter_map(of).collect();
        let first = told.first()?;
        if let Some(other) = told.iter().find(|other| *other != first) {
            return Some(format!("one component tells {first:?}, another {other:?}"));
        }
        let inputs = self.inputs.iter().enumerate().filter(|(_, input)| input.is_some());
        let proposers = inputs.clone().fold(0, |mask, (index, _)| mask | 1 << index);
        let of_value = |value: Value| inputs.clone().any(|(_, input)| *input == Some(value[0]));
        let valid = first.proposed_any & !proposers == 0 && first.value.is_none_or(of_value);
        (!valid).then(|| format!("{first:?} is told, where {:?} was proposed", self.inputs))
    }
}

/// A clock that is certain.
fn at(moment: Moment) -> Interval {
    Interval { earliest: moment, latest: moment }
}
