//! Trusted block agreement: the entities of a list agree on a function of what they proposed.
//!
//! # Promise
//! - *agreement*: no two local components tell different decisions of one agreement, whatever the
//!   control channel delays, loses or delivers to one and not to another, and whoever crashes.
//! - *validity*: what an entity is said to have proposed, it proposed; and in time.
//! - *timeliness*: if the channel keeps its bound and no component crashes while it sends a
//!   proposal, a component whose entity proposed before `tstart` tells the decision at most two
//!   bounds and the width of its clock's interval after `tstart`, or earlier if all have
//!   proposed; otherwise perhaps [`Answer::Timeout`], and never a wrong decision.
//! - *nobody can delay it*: proposals are closed at `tstart`.
//!
//! # Model
//! Local components crash, and come back as another life, which is none of the list's entities any
//! more. A majority of the list's components has to live for a decision.
//!
//! # Rules
//! - **T1** A proposal is taken if the local clock is certainly before `tstart`; the first of an
//!   entity counts. It is sent to all components of the list at once: it can change no more.
//! - **T2** When it is certainly `tstart`, a component that knows of the agreement and whose entity
//!   has not proposed says so, once and for all. A later proposal is refused.
//! - **T3** When proposals of all are here, or when it is certainly `tstart` plus the bound: fix
//!   the vector of what is here, and acknowledge it to all. What comes later changes nothing, and
//!   no component ever acknowledges two vectors.
//! - **T4** When a majority acknowledged one and the same vector: decided. A component that has not
//!   acknowledged any then acknowledges this one, since others may lack one.
//! - **T5** When it is certainly three bounds after `tstart` and nothing is decided, answer
//!   `Timeout`. Should the missing acknowledgement come after all, later questions are answered
//!   with the decision.
//! - **T6** A component that notices that it comes to T2 or T3 more than a bound too late says
//!   nothing in this agreement any more: a timing fault becomes a crash.
//! - **T7** An agreement is forgotten when it is certainly long past, and one is begun only if its
//!   time for T3 is not certainly past: so none is ever begun again.
//!
//! # Why it holds
//! Two majorities of the list share a component, which acknowledged one vector (T3), in this life;
//! another life is not in the list. T7 keeps one life from taking part twice: `earliest` never goes
//! back, and what is forgotten at some `earliest` is refused at every later one. No argument uses
//! the bound, or that clocks agree. (The source commits what a majority received; if a frame is in
//! time at one component and late at another, these can be different sets.)
//!
//! # Bounds
//! [`PLACES`] agreements at once, shared out to the entities that begin them.
//!
//! # Sources
//! The block agreement service of Correia, Verissimo and Neves, "The design of a COTS real-time
//! distributed security kernel" (2002). Deviations: (a) the second exchange, see above; (b) a
//! decision is signed, so that it can be shown after its place has been used again; (c) entities of
//! a list are on different hosts.

use crate::control::{Control, Peer, Vector};
use crate::outputs::Outputs;
use maftia_ttcb_api::{
    Answer, Boot, Decision, EntityId, Function, HOSTS_MAX, Host, Instance, Interval, Refusal, Span,
    Tag, Value, host_bit,
};

/// How many agreements a component takes part in at once.
pub const PLACES: usize = 256;

/// After how many bounds nothing is decided any more.
const PATIENCE: u64 = 3;

/// For how long after its start an agreement can be asked about: who comes later is shown the
/// signed decision by another. With the number of places it bounds how many agreements there can be
/// in a second.
const KEPT: Span = Span::from_millis(2_000);

/// How far in the future an agreement may start.
const HORIZON: Span = Span::from_millis(60_000);

/// One agreement.
#[derive(Clone, Copy, Debug, Hash)]
struct Place {
    instance: Instance,
    tag: Tag,
    /// The position of this host's entity in the list.
    me: usize,
    /// Whose share it takes: the entity's that was heard first.
    charged: EntityId,
    /// What was proposed, as far as it is known.
    vector: Vector,
    /// Whose proposals are here, by position.
    heard: u32,
    /// The digest of what this component acknowledged.
    voted: Option<[u8; 32]>,
    /// What each acknowledged, by position.
    votes: [Option<[u8; 32]>; HOSTS_MAX],
    decided: Option<Decision>,
    /// Too slow: see T6.
    stopped: bool,
    /// The call that waits for the decision.
    waiting: Option<u64>,
}

/// All agreements of one local component.
#[derive(Clone, Debug, Hash)]
pub struct Agreements {
    me: Host,
    boot: Boot,
    bound: Span,
    /// How many places one entity may take.
    share: usize,
    places: Box<[Option<Place>]>,
    /// How often this component came too late. (T6)
    overruns: u64,
}

impl Agreements {
    /// With the bound on the delay of the control channel, and `entities` that share the places.
    pub fn new((me, boot): (Host, Boot), bound: Span, entities: usize) -> Self {
        assert!(
            bound.times(PATIENCE) < KEPT,
            "what is forgotten before it can be decided never is"
        );
        let places = vec![None; PLACES].into_boxed_slice();
        let share = (PLACES / entities.max(1)).max(1);
        Self { me, boot, bound, share, places, overruns: 0 }
    }

    /// How often this component came too late and stopped.
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// Takes a proposal of a local entity. (T1)
    pub fn propose(
        &mut self,
        entity: EntityId,
        instance: Instance,
        value: Option<Value>,
        now: Interval,
        out: &mut impl Outputs,
    ) -> Answer {
        let Some(me) = instance.elist.position_of(self.me) else {
            return Answer::Refused(Refusal::NotMember);
        };
        if instance.elist.entities()[me] != entity {
            return Answer::Refused(Refusal::NotMember);
        }
        let tag = instance.tag();
        if let Some(place) = self.find(tag).filter(|place| place.heard & bit(me) != 0) {
            let same = place.vector.values[me] == value && !place.stopped;
            return if same { Answer::Tag(tag) } else { Answer::Refused(Refusal::Contradiction) };
        }
        if now.latest >= instance.tstart {
            return Answer::Refused(Refusal::TooLate);
        }
        if instance.tstart > now.earliest + HORIZON {
            return Answer::Refused(Refusal::TooFar);
        }
        let Some(index) = self.open(instance, tag, me, entity, now) else {
            return Answer::Refused(Refusal::Full);
        };
        self.settle_proposal(index, value, out);
        self.advance(index, now, out);
        Answer::Tag(tag)
    }

    /// Answers at once if it can, and else remembers the call.
    pub fn decide(
        &mut self,
        entity: EntityId,
        tag: Tag,
        number: u64,
        now: Interval,
        out: &mut impl Outputs,
    ) -> Option<Answer> {
        let bound = self.bound;
        let Some(place) = self.find(tag) else { return Some(Answer::Refused(Refusal::Unknown)) };
        if place.instance.elist.entities()[place.me] != entity {
            return Some(Answer::Refused(Refusal::NotMember));
        }
        if let Some(decision) = place.decided {
            return Some(Answer::Decided(out.sign(decision)));
        }
        if place.stopped || place.is_hopeless(bound, now) {
            return Some(Answer::Timeout);
        }
        if let Some(earlier) = place.waiting.replace(number) {
            out.answer(entity.role, earlier, Answer::Refused(Refusal::Contradiction));
        }
        None
    }

    /// Handles what a component proposed. (T3)
    pub fn on_proposal(
        &mut self,
        from: Peer,
        instance: Instance,
        value: Option<Value>,
        now: Interval,
        out: &mut impl Outputs,
    ) {
        let Some((index, position)) = self.join(from, instance, now) else { return };
        let Some(place) = &mut self.places[index] else { return };
        if place.voted.is_none() && place.heard & bit(position) == 0 {
            place.heard |= bit(position);
            place.vector.values[position] = value;
        }
        self.advance(index, now, out);
    }

    /// Handles an acknowledgement. (T4)
    pub fn on_vote(
        &mut self,
        from: Peer,
        instance: Instance,
        vector: Vector,
        now: Interval,
        out: &mut impl Outputs,
    ) {
        let Some((index, position)) = self.join(from, instance, now) else { return };
        self.count_vote(index, position, vector, out);
        self.advance(index, now, out);
    }

    /// Does what is due; without a synchronised clock nobody is made to wait. (T2, T3, T5)
    pub fn tick(&mut self, now: Option<Interval>, out: &mut impl Outputs) {
        for index in 0..self.places.len() {
            match now {
                Some(now) => self.advance(index, now, out),
                None => self.give_up(index, out),
            }
        }
    }

    /// Nobody waits any more for what a role asked.
    pub fn forget_calls(&mut self, role: u8) {
        let places = self.places.iter_mut().flatten();
        places.filter(|place| place.role() == role).for_each(|place| place.waiting = None);
    }

    /// When something will be due, on the common time scale.
    pub fn next_due(&self) -> Option<maftia_ttcb_api::Moment> {
        let due = |place: &Place| {
            if place.decided.is_some() || place.stopped {
                return place.instance.tstart + KEPT;
            }
            let tstart = place.instance.tstart;
            match (place.heard & bit(place.me) != 0, place.voted.is_some()) {
                (false, _) => tstart,
                (true, false) => tstart + self.bound,
                (true, true) if place.waiting.is_some() => tstart + self.bound.times(PATIENCE),
                (true, true) => tstart + KEPT,
            }
        };
        self.places.iter().flatten().map(due).min()
    }

    fn find(&mut self, tag: Tag) -> Option<&mut Place> {
        self.places.iter_mut().flatten().find(|place| place.tag == tag)
    }

    /// The place of an agreement that a peer speaks of, and the peer's position in it.
    fn join(&mut self, from: Peer, instance: Instance, now: Interval) -> Option<(usize, usize)> {
        let position = instance.elist.position_of(from.host)?;
        let me = instance.elist.position_of(self.me)?;
        // Another life than the list names has promised nothing.
        let entities = instance.elist.entities();
        if entities[position].boot != from.boot || entities[me].boot != self.boot {
            return None;
        }
        let charged = instance.elist.entities()[position];
        let index = self.open(instance, instance.tag(), me, charged, now)?;
        Some((index, position))
    }

    /// The place of an agreement, which is begun if it has not been. (T7)
    fn open(
        &mut self,
        instance: Instance,
        tag: Tag,
        me: usize,
        charged: EntityId,
        now: Interval,
    ) -> Option<usize> {
        let known = |place: &Option<Place>| place.as_ref().is_some_and(|place| place.tag == tag);
        if let Some(index) = self.places.iter().position(known) {
            return Some(index);
        }
        let overdue = now.earliest >= instance.tstart + self.bound;
        let held = self.places.iter().flatten().filter(|place| place.charged == charged).count();
        if overdue || instance.tstart > now.earliest + HORIZON.times(2) || held >= self.share {
            return None;
        }
        let index = self.places.iter().position(Option::is_none)?;
        self.places[index] = Some(Place {
            instance,
            tag,
            me,
            charged,
            vector: Vector::default(),
            heard: 0,
            voted: None,
            votes: [None; HOSTS_MAX],
            decided: None,
            stopped: false,
            waiting: None,
        });
        Some(index)
    }

    /// What this host's entity proposed, or that it did not, is settled and told. (T1, T2)
    fn settle_proposal(&mut self, index: usize, value: Option<Value>, out: &mut impl Outputs) {
        let Some(place) = &mut self.places[index] else { return };
        place.heard |= bit(place.me);
        place.vector.values[place.me] = value;
        let instance = place.instance;
        self.send(instance, &Control::Proposal { instance, value }, out);
    }

    fn send(&self, instance: Instance, control: &Control, out: &mut impl Outputs) {
        for entity in instance.elist.entities() {
            if entity.host != self.me {
                out.send(entity.host, control);
            }
        }
    }

    /// Takes every step that is due in one agreement.
    fn advance(&mut self, index: usize, now: Interval, out: &mut impl Outputs) {
        let bound = self.bound;
        let Some(place) = self.places[index] else { return };
        let tstart = place.instance.tstart;
        if now.earliest > tstart + KEPT {
            self.give_up(index, out);
            self.places[index] = None;
            return;
        }
        if place.decided.is_none() && !place.stopped && place.voted.is_none() {
            let closed = place.heard & bit(place.me) != 0;
            let full = place.heard == low_bits(place.instance.elist.len());
            let close_due = !closed && now.earliest >= tstart;
            let vote_due = full || now.earliest >= tstart + bound;
            if (close_due && now.earliest > tstart + bound)
                || (vote_due && now.earliest > tstart + bound.times(2))
            {
                self.stop(index, out);
            } else if close_due {
                self.settle_proposal(index, None, out);
                return self.advance(index, now, out);
            } else if vote_due {
                self.vote(index, out);
            }
        }
        let hopeless = |place: &Place| place.stopped || place.is_hopeless(bound, now);
        if self.places[index].as_ref().is_some_and(hopeless) {
            self.give_up(index, out);
        }
    }

    /// Acknowledges the vector of what is here, for good. (T3)
    fn vote(&mut self, index: usize, out: &mut impl Outputs) {
        let Some(place) = &self.places[index] else { return };
        let (me, instance, vector) = (place.me, place.instance, place.vector);
        self.send(instance, &Control::Vote { instance, vector }, out);
        self.count_vote(index, me, vector, out);
    }

    /// Counts an acknowledgement; the first of each component counts. (T4)
    fn count_vote(
        &mut self,
        index: usize,
        position: usize,
        vector: Vector,
        out: &mut impl Outputs,
    ) {
        let Some(place) = &mut self.places[index] else { return };
        let digest = maftia_ttcb_api::signed::digest("maftia ttcb vector", &vector);
        if position == place.me {
            assert!(place.voted.is_none(), "a component acknowledges one vector");
            place.voted = Some(digest);
        }
        place.votes[position].get_or_insert(digest);
        let equal = place.votes.iter().filter(|vote| **vote == Some(digest)).count();
        if place.decided.is_none() && place.instance.elist.is_majority(equal as u32) {
            let decision = decide(&place.instance, place.tag, &vector);
            place.decided = Some(decision);
            if let Some(number) = place.waiting.take() {
                let (role, answer) = (place.role(), Answer::Decided(out.sign(decision)));
                out.answer(role, number, answer);
            }
            if place.voted.is_none() && !place.stopped {
                place.vector = vector;
                self.vote(index, out);
            }
        }
    }

    /// This component noticed that it is too slow. (T6)
    fn stop(&mut self, index: usize, out: &mut impl Outputs) {
        self.overruns += 1;
        if let Some(place) = &mut self.places[index] {
            place.stopped = true;
        }
        self.give_up(index, out);
    }

    fn give_up(&mut self, index: usize, out: &mut impl Outputs) {
        let Some(place) = &mut self.places[index] else { return };
        if let Some(number) = place.waiting.take() {
            out.answer(place.role(), number, Answer::Timeout);
        }
    }
}

impl Place {
    fn role(&self) -> u8 {
        self.instance.elist.entities()[self.me].role
    }

    /// Nobody waits for a decision any longer. (T5)
    fn is_hopeless(&self, bound: Span, now: Interval) -> bool {
        self.decided.is_none() && now.earliest >= self.instance.tstart + bound.times(PATIENCE)
    }
}

/// The result of an agreement whose vector this is.
fn decide(instance: &Instance, tag: Tag, vector: &Vector) -> Decision {
    let len = instance.elist.len();
    let values = &vector.values[..len];
    let count = |value: &Value| values.iter().filter(|other| **other == Some(*value)).count();
    let value = match instance.function {
        Function::Multicast => values[0],
        Function::Majority => {
            // Of several with as many, the one that stands first.
            let most = values.iter().flatten().map(count).max();
            values.iter().flatten().find(|value| Some(count(value)) == most).copied()
        }
    };
    let mask = |wanted: &dyn Fn(&Option<Value>) -> bool| {
        let chosen = values.iter().enumerate().filter(|(_, value)| wanted(value));
        chosen.fold(0, |mask, (position, _)| mask | bit(position))
    };
    let proposed_value = mask(&|other| value.is_some() && *other == value);
    Decision { tag, value, proposed_value, proposed_any: mask(&Option::is_some) }
}

fn bit(position: usize) -> u32 {
    host_bit(Host(position as u8))
}

fn low_bits(count: usize) -> u32 {
    (1 << count) - 1
}
