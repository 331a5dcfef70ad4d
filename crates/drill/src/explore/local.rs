//! One server's part: its states by number, and what each message does to them.

#![expect(clippy::disallowed_types, reason = "only looked up, never iterated")]

use super::models::Model;
use maftia_base::protocol::{Event, Protocol, Target};
use maftia_base::wire::Wire;
use maftia_base::{Context, Fault, Group, Party, Scope};
use maftia_crypto::{Done, IdealSuite, Suite, Work};
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// 128 bits of anything.
pub(super) fn hash_of(value: &impl Hash) -> u128 {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        value.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

/// What one delivery causes.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// The state after it.
    pub(super) next: u32,
    /// What is sent to others, in order.
    pub(super) sent: Vec<(Target, u32)>,
    /// Is it beyond what is to be explored?
    pub(super) is_beyond: bool,
}

/// A local state with its history.
struct Local<P> {
    state: P,
    told: Vec<u64>,
    blamed: Vec<Party>,
    /// Messages to the liar.
    shown: Vec<u32>,
    /// How it was first reached.
    origin: Option<(u32, u32)>,
}

/// A message: whose, what, and how it came about.
struct Word<M> {
    from: Party,
    body: M,
    /// Of an honest server: its state, the message handled, and the position among what was sent.
    origin: Option<(u32, Option<u32>, usize)>,
}

/// All local states and messages of an exploration.
pub(super) struct Locals<'a, P: Protocol> {
    model: &'a Model<P>,
    states: Vec<Vec<Local<P>>>,
    known: Vec<HashMap<u128, u32>>,
    words: Vec<Word<P::Message>>,
    known_words: HashMap<u128, u32>,
    steps: HashMap<(u8, u32, u32), Outcome>,
    starts: Vec<Outcome>,
    images: HashMap<(u8, u8, u32), u32>,
    word_images: HashMap<(u8, u32), u32>,
}

struct Step<'a, P: Protocol> {
    group: &'a Group,
    sent: Vec<(Target, P::Message)>,
    work: Vec<(P::Ticket, P::Work)>,
    told: Vec<P::Outcome>,
    faults: Vec<Fault>,
}

impl<P: Protocol> Context<P> for Step<'_, P> {
    fn group(&self) -> &Group {
        self.group
    }

    fn scope(&self) -> Scope {
        self.group.scope()
    }

    fn send(&mut self, to: Target, body: P::Message) {
        self.sent.push((to, body));
    }

    fn offload(&mut self, ticket: P::Ticket, work: P::Work) {
        self.work.push((ticket, work));
    }

    fn consult(&mut self, _: P::Ticket, _: P::Work) {
        unreachable!("what is explored has no trusted component");
    }

    fn persist(&mut self, _: P::Record) {}

    fn note(&mut self, _: P::Record) {}

    fn blame(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    fn output(&mut self, outcome: P::Outcome) {
        self.told.push(outcome);
    }
}

impl<'a, P> Locals<'a, P>
where
    P: Protocol<Work = Work<IdealSuite>, Done = Done<IdealSuite>, Message: Wire>,
{
    pub(super) fn new(model: &'a Model<P>) -> Self {
        let honest = model.honest();
        let mut locals = Self {
            model,
            states: honest.iter().map(|_| Vec::new()).collect(),
            known: honest.iter().map(|_| HashMap::new()).collect(),
            words: Vec::new(),
            known_words: HashMap::new(),
            steps: HashMap::new(),
            starts: Vec::new(),
            images: HashMap::new(),
            word_images: HashMap::new(),
        };
        for (index, party) in honest.iter().enumerate() {
            let mut events = vec![Event::Resumed];
            events.extend((model.orders)(*party).into_iter().map(Event::Command));
            let blank = Local {
                state: (model.make)(*party),
                told: Vec::new(),
                blamed: Vec::new(),
                shown: Vec::new(),
                origin: None,
            };
            let start = locals.run(index, blank, events, None);
            locals.starts.push(start);
        }
        locals
    }

    /// What each server does at the start.
    pub(super) fn starts(&self) -> Vec<Outcome> {
        self.starts.clone()
    }

    pub(super) fn count(&self) -> usize {
        self.states.iter().map(Vec::len).sum()
    }

    pub(super) fn told(&self, index: usize, state: u32) -> &[u64] {
        &self.states[index][state as usize].told
    }

    pub(super) fn blamed(&self, index: usize, state: u32) -> &[Party] {
        &self.states[index][state as usize].blamed
    }

    pub(super) fn shown(&self, index: usize, state: u32) -> &[u32] {
        &self.states[index][state as usize].shown
    }

    pub(super) fn body(&self, word: u32) -> (Party, &P::Message) {
        let word = &self.words[word as usize];
        (word.from, &word.body)
    }

    /// The number of a word of the liar.
    pub(super) fn lie(&mut self, body: P::Message) -> u32 {
        self.word(Word { from: self.model.liar, body, origin: None })
    }

    fn word(&mut self, word: Word<P::Message>) -> u32 {
        let key = hash_of(&(word.from, word.body.to_wire()));
        *self.known_words.entry(key).or_insert_with(|| {
            self.words.push(word);
            u32::try_from(self.words.len() - 1).expect("few messages")
        })
    }

    /// What hearing `word` does to a server in this state.
    pub(super) fn step(&mut self, index: usize, state: u32, word: u32) -> Outcome {
        let key = (index as u8, state, word);
        if let Some(known) = self.steps.get(&key) {
            return known.clone();
        }
        let local = &self.states[index][state as usize];
        let before = Local {
            state: local.state.clone(),
            told: local.told.clone(),
            blamed: local.blamed.clone(),
            shown: local.shown.clone(),
            origin: Some((state, word)),
        };
        let Word { from, body, .. } = &self.words[word as usize];
        let events = vec![Event::Message { from: *from, body: body.clone() }];
        let outcome = self.run(index, before, events, Some((state, word)));
        self.steps.insert(key, outcome.clone());
        outcome
    }

    /// Handles events and all that follows from them within the server.
    fn run(
        &mut self,
        index: usize,
        mut local: Local<P>,
        events: Vec<Event<P>>,
        cause: Option<(u32, u32)>,
    ) -> Outcome {
        let model = self.model;
        let me = model.honest()[index];
        let mut queue: VecDeque<Event<P>> = events.into();
        let (mut sent, mut is_beyond) = (Vec::new(), false);
        while let Some(event) = queue.pop_front() {
            let mut step = Step {
                group: &model.groups[me.index()],
                sent: Vec::new(),
                work: Vec::new(),
                told: Vec::new(),
                faults: Vec::new(),
            };
            local.state.handle(event, &mut step);
            let Step { sent: said, work, told, faults, .. } = step;
            local.told.extend(told.iter().filter_map(model.fact));
            queue.extend(told.iter().filter_map(model.reply).map(Event::Command));
            // That a liar is blamed changes nothing, and would tell apart what is the same.
            let culprits = faults.iter().map(|fault| fault.culprit);
            local.blamed.extend(culprits.filter(|culprit| *culprit != model.liar));
            local.blamed.sort();
            local.blamed.dedup();
            for (ticket, work) in work {
                let keyring = &model.keyrings[me.index()];
                let done = IdealSuite::run_many(vec![work], keyring, Default::default());
                queue.extend(
                    done.into_iter().map(|done| Event::Done { ticket: ticket.clone(), done }),
                );
            }
            for (to, body) in said {
                is_beyond |= (model.is_beyond)(&body);
                if to == Target::All || to == Target::One(me) {
                    queue.push_back(Event::Message { from: me, body: body.clone() });
                }
                if to != Target::One(me) {
                    sent.push((to, body));
                }
            }
        }
        let origin = |position| {
            let (state, word) = cause.map_or((u32::MAX, None), |(state, word)| (state, Some(word)));
            (state, word, position)
        };
        let sent: Vec<(Target, u32)> = sent
            .into_iter()
            .enumerate()
            .map(|(position, (to, body))| {
                (to, self.word(Word { from: me, body, origin: Some(origin(position)) }))
            })
            .collect();
        for (to, word) in &sent {
            let is_shown = !matches!(to, Target::One(other) if *other != model.liar);
            if is_shown && !local.shown.contains(word) {
                local.shown.push(*word);
            }
        }
        local.shown.sort_unstable();
        let next = self.state(index, local);
        Outcome { next, sent, is_beyond }
    }

    fn state(&mut self, index: usize, local: Local<P>) -> u32 {
        let key = hash_of(&(&local.state, &local.told, &local.blamed, &local.shown));
        *self.known[index].entry(key).or_insert_with(|| {
            self.states[index].push(local);
            u32::try_from(self.states[index].len() - 1).expect("few local states")
        })
    }

    /// The same state under other names; `renaming` is the number of one of the model's.
    pub(super) fn image(&mut self, renaming: u8, index: usize, state: u32) -> u32 {
        let key = (renaming, index as u8, state);
        if let Some(known) = self.images.get(&key) {
            return *known;
        }
        let to = usize::from(self.model.renamings[usize::from(renaming)][index]);
        let image = match self.states[index][state as usize].origin {
            None => self.starts[to].next,
            Some((parent, word)) => {
                let parent = self.image(renaming, index, parent);
                let word = self.word_image(renaming, word);
                self.step(to, parent, word).next
            }
        };
        self.images.insert(key, image);
        image
    }

    /// The same message under other names.
    pub(super) fn word_image(&mut self, renaming: u8, word: u32) -> u32 {
        if let Some(known) = self.word_images.get(&(renaming, word)) {
            return *known;
        }
        let Word { from, origin, .. } = &self.words[word as usize];
        let image = match *origin {
            None => word,
            Some((state, cause, position)) => {
                let index = self.model.index_of(*from);
                let to = usize::from(self.model.renamings[usize::from(renaming)][index]);
                let outcome = match cause {
                    None => self.starts[to].clone(),
                    Some(cause) => {
                        let state = self.image(renaming, index, state);
                        let cause = self.word_image(renaming, cause);
                        self.step(to, state, cause)
                    }
                };
                let sent = outcome.sent.get(position);
                sent.expect("renamed servers do the same things in the same order").1
            }
        };
        self.word_images.insert((renaming, word), image);
        image
    }
}
