//! Whoever sees what all components do, and says what is wrong. It asks none of their predicates.

use super::daemon::BOUND;
use crate::check::{Complaint, ensure};
use crate::plan::Plan;
use maftia_crypto::ideal;
use maftia_ttcb_api::{
    Answer, Boot, BootKeys, Call, Decision, EntityId, Function, Identifier, Instance, Interval,
    Numbered, Statement, Tag, Value,
};
use maftia_ttcb_core::Control;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What a component was given in one event.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Seen {
    /// A call of its server.
    Call(Numbered<Call>),
    /// A frame of a peer.
    Frame(Control),
    /// Nothing but time.
    Nothing,
}

/// A host, and a number of its server's calls.
type Numbers = (u8, u64);

/// Sees everything of one run.
pub struct Judge {
    /// Is there nothing that excuses an agreement without a decision?
    is_fair: bool,
    /// What servers called.
    called: BTreeMap<Numbers, Call>,
    executed: BTreeSet<(Boot, u64)>,
    answered: BTreeMap<Numbers, Answer>,
    instances: BTreeMap<Tag, Instance>,
    /// What each component took as its entity's proposal.
    proposed: BTreeMap<(Tag, EntityId), Option<Value>>,
    decided: BTreeMap<Tag, Decision>,
    identified: BTreeMap<(EntityId, u8), BTreeMap<u128, Identifier>>,
    timeouts: u64,
    /// What is wrong.
    pub complaints: Vec<Complaint>,
    /// What happened, in words.
    pub transcript: Option<Vec<String>>,
}

impl Judge {
    /// Of a run of this plan.
    pub fn new(plan: &Plan, writes: bool) -> Self {
        let is_fair = plan.conduct == "none"
            && ["kept", "doubling"].contains(&plan.network)
            && ["steady", "old-life"].contains(&plan.storage);
        Self {
            is_fair,
            called: BTreeMap::new(),
            executed: BTreeSet::new(),
            answered: BTreeMap::new(),
            instances: BTreeMap::new(),
            proposed: BTreeMap::new(),
            decided: BTreeMap::new(),
            identified: BTreeMap::new(),
            timeouts: 0,
            complaints: Vec::new(),
            transcript: writes.then(Vec::new),
        }
    }

    /// Writes a line.
    pub fn write(&mut self, line: impl FnOnce() -> String) {
        if let Some(transcript) = &mut self.transcript {
            transcript.push(line().chars().take(300).collect());
        }
    }

    fn complain(&mut self, verdict: Result<(), Complaint>) {
        if let Err(complaint) = verdict {
            self.write(|| format!("  !! {complaint}"));
            self.complaints.push(complaint);
        }
    }

    /// A server calls its component.
    pub fn calls(&mut self, host: u8, call: &Numbered<Call>) {
        self.write(|| format!("host {host} calls {call:?}"));
        self.called.insert((host, call.number), call.body);
        if let Call::Propose { instance, .. } = call.body {
            self.instances.insert(instance.tag(), instance);
        }
    }

    /// A component executes a call: its server made it, once.
    pub fn executes(&mut self, life: BootKeys, call: &Numbered<Call>) {
        let host = life.host.0;
        let known = self.called.get(&(host, call.number)) == Some(&call.body);
        self.complain(ensure(known, "justified", || {
            format!("host {host} executes {call:?}, which its server never asked")
        }));
        let is_first = self.executed.insert((life.boot(), call.number));
        self.complain(ensure(is_first, "once", || {
            format!("host {host} executes call {} twice", call.number)
        }));
    }

    /// A component answers a call.
    pub fn answers(
        &mut self,
        life: BootKeys,
        number: u64,
        answer: &Answer,
        time: Option<Interval>,
    ) {
        let host = life.host.0;
        self.write(|| format!("host {host} answers {number}: {answer:?}"));
        let call = self.called.get(&(host, number)).copied();
        self.answered.insert((host, number), *answer);
        let entity = EntityId { host: life.host, role: 0, boot: life.boot() };
        match (answer, call) {
            (Answer::Tag(tag), Some(Call::Propose { instance, value })) => {
                let verdict = self.takes((*tag, entity), &instance, value, time);
                self.complain(verdict);
            }
            (Answer::Decided(sealed), Some(Call::Decide(tag))) => {
                let signed = sealed.seal == ideal::seal(&life.signing, &sealed.said.digest());
                self.complain(ensure(signed && sealed.said.tag == tag, "transfer", || {
                    format!("host {host} is told {:?} when it asks for {tag:?}", sealed.said)
                }));
                let verdict = self.decides(host, &sealed.said);
                self.complain(verdict);
            }
            (Answer::Timeout, Some(Call::Decide(tag))) => {
                self.timeouts += 1;
                let took_part = self.proposed.contains_key(&(tag, entity));
                let verdict = ensure(!self.is_fair || !took_part, "liveness", || {
                    format!("host {host} took part in {tag:?} and is told nothing")
                });
                self.complain(verdict);
            }
            (Answer::Identified(sealed), Some(Call::Identify { .. })) => {
                let verdict = self.identifies(entity, &sealed.said);
                self.complain(verdict);
            }
            _ => {}
        }
    }

    /// T1.
    fn takes(
        &mut self,
        key: (Tag, EntityId),
        instance: &Instance,
        value: Option<Value>,
        time: Option<Interval>,
    ) -> Result<(), Complaint> {
        let entity = key.1;
        ensure(instance.elist.entities().contains(&entity), "justified", || {
            format!("{entity:?} takes part in what it is no member of")
        })?;
        if let Some(first) = self.proposed.get(&key) {
            return ensure(*first == value, "speech", || {
                format!("{entity:?} proposes {first:?} and {value:?}")
            });
        }
        self.proposed.insert(key, value);
        // Who comes too late may still say that it proposes nothing, as its component has for it.
        let in_time = value.is_none() || time.is_some_and(|time| time.earliest < instance.tstart);
        ensure(in_time, "time", || format!("{entity:?} proposes at {time:?}, too late"))
    }

    /// Agreement and validity.
    fn decides(&mut self, host: u8, decision: &Decision) -> Result<(), Complaint> {
        let tag = decision.tag;
        let first = *self.decided.entry(tag).or_insert(*decision);
        ensure(first == *decision, "agreement", || {
            format!("host {host} is told {decision:?}, another {first:?}")
        })?;
        let Some(instance) = self.instances.get(&tag) else {
            return Err(Complaint::new("validity", format!("{tag:?} is nobody's question")));
        };
        let entities = instance.elist.entities();
        let counts = |mask: u32, position: usize| mask >> position & 1 == 1;
        let mut votes: Vec<(Option<Value>, usize)> = Vec::new();
        for (position, entity) in entities.iter().enumerate() {
            let proposal = self.proposed.get(&(tag, *entity)).copied().flatten();
            let counted = counts(decision.proposed_any, position);
            ensure(!counted || proposal.is_some(), "validity", || {
                format!("{entity:?} is said to have proposed something in {tag:?}")
            })?;
            votes.push((proposal.filter(|_| counted), position));
        }
        let alike = |value: Option<Value>| votes.iter().filter(|(it, _)| *it == value).count();
        let expected = match instance.function {
            Function::Multicast => votes[0].0,
            Function::Majority => {
                let given = votes.iter().filter(|(value, _)| value.is_some());
                let best = given.max_by_key(|(value, at)| (alike(*value), votes.len() - at));
                best.and_then(|(value, _)| *value)
            }
        };
        let of = |position: usize| expected.is_some() && votes[position].0 == expected;
        let same = (0..entities.len()).all(|at| counts(decision.proposed_value, at) == of(at));
        ensure(decision.value == expected && same, "validity", || {
            format!("host {host} is told {decision:?} where {votes:?} was proposed")
        })
    }

    /// Uniqueness, and that nothing marked is hidden.
    fn identifies(&mut self, entity: EntityId, said: &Identifier) -> Result<(), Complaint> {
        let all = self.identified.entry((entity, said.counter)).or_default();
        let first = *all.entry(said.position).or_insert(*said);
        let same = (first.value, first.marked, first.last) == (said.value, said.marked, said.last);
        ensure(same && said.entity == entity, "agreement", || {
            format!("{entity:?} identifies {said:?} where it identified {first:?}")
        })?;
        let before = all.range(..said.position).rev().map(|(_, it)| it).find(|it| it.marked);
        let named = before.map_or((0, Value::default()), |it| (it.position, it.value));
        ensure((said.last, said.last_value) == named, "validity", || {
            format!("{entity:?} names {} as what it marked last, and not {}", said.last, named.0)
        })
    }

    /// A component says something to another: it does not close what is long over. (T2, T6)
    pub fn sent(&mut self, life: BootKeys, said: &Control, seen: &Seen, time: Option<Interval>) {
        let too_late = match said {
            Control::Proposal { instance, value: None } => Some(instance.tstart + BOUND),
            // Who is shown what a majority acknowledged may still acknowledge it. (T4)
            Control::Vote { .. } if matches!(seen, Seen::Frame(Control::Vote { .. })) => None,
            Control::Vote { instance, .. } => Some(instance.tstart + BOUND.times(2)),
            _ => None,
        };
        let late = |too_late| time.is_some_and(|time| time.earliest > too_late);
        let verdict = ensure(!too_late.is_some_and(late), "time", || {
            format!("host {} does not notice that it is too slow: {said:?}", life.host.0)
        });
        self.complain(verdict);
    }

    /// A server takes this for its component's answer.
    pub fn believes(&mut self, host: u8, answer: &Numbered<Answer>) {
        let genuine = self.answered.get(&(host, answer.number)) == Some(&answer.body);
        self.complain(ensure(genuine, "transfer", || {
            format!("the server of host {host} believes {answer:?}")
        }));
    }

    /// At the end: whoever may wait has been answered.
    pub fn ends(&mut self, waiting: &[Numbers]) {
        let open = waiting.iter().filter(|call| !self.answered.contains_key(call));
        let open: Vec<Numbers> = open.copied().collect();
        self.complain(ensure(open.is_empty(), "liveness", || format!("unanswered: {open:?}")));
    }

    /// Was this call executed in this life?
    pub fn is_executed(&self, boot: Boot, number: u64) -> bool {
        self.executed.contains(&(boot, number))
    }

    /// What happened that is worth counting.
    pub fn feats(&self) -> Vec<(&'static str, u64)> {
        let positions = self.identified.values().map(BTreeMap::len).sum::<usize>();
        vec![
            ("decisions", self.decided.len() as u64),
            ("timeouts", self.timeouts),
            ("identifiers", positions as u64),
        ]
    }

    /// Of the run.
    pub fn digest(&self, events: u64) -> u64 {
        let mut digest = DefaultHasher::new();
        (events, &self.answered, &self.decided.values().collect::<Vec<_>>()).hash(&mut digest);
        digest.finish()
    }
}
