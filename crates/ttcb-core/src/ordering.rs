//! Trusted ordering: values that enough entities vouch for get consecutive places, the same for
//! all.
//!
//! # Promise
//! - *order*: no two components tell different values for one place of a channel.
//! - *validity*: as many entities of the list as the channel asks for had vouched for a value
//!   before it got its place; a place may also stay empty, which is told by a value without
//!   vouchers.
//! - *once*: a value that got one of the last [`KEPT`] places gets no other.
//! - *liveness*: while a majority of the list's components lives and the control channel keeps its
//!   bound, what enough vouched for gets a place.
//! - *silence*: when nothing waits for its place, nothing is sent.
//!
//! # Model
//! Local components crash, and come back as another life, which is none of the list's any more. The
//! control channel may lose and delay; then only liveness suffers.
//!
//! # Rules
//! - **O1** When an entity vouches, tell all members.
//! - **O2** The leader of the ballot puts what enough vouched for at the next place and has all
//!   members accept it, at most [`OPEN_MAX`](crate::control::OPEN_MAX) places beyond what is
//!   chosen.
//! - **O3** A member accepts what is of no earlier ballot than it promised, and tells all. What a
//!   majority accepted in one ballot is chosen.
//! - **O4** When something waits for too long, the next in turn prepares a later ballot: a majority
//!   promises to accept nothing earlier any more, and tells what it accepted. The new leader puts
//!   the value of the latest ballot at each of these places again, and nothing at gaps.
//! - **O5** A member that is behind says where it is, and is given what is chosen; places that
//!   nobody remembers any more are skipped: whoever knows them can show them signed.
//! - **O6** A channel is opened once in the life of a component: sequence numbers grow.
//! - **O7** Whoever asks for a place is answered within [`WAIT`] bounds, also if nothing stands
//!   there.
//!
//! # Why it holds
//! It is Paxos, one instance a place: O3 and O4 are its phases; a leader's ballot is its own, and
//! a member accepts a place only when it knows all but so many of those before to be chosen (O2),
//! so that a promise has room for everything that may be chosen and that the leader does not
//! know. What a member promised is not lost, as another life is not a member.
//!
//! # Bounds
//! [`CHANNELS`] channels at once, two for each role; in each [`KEPT`] places and [`VOUCHES`] values
//! that wait, shared out to the members.
//!
//! # Sources
//! The trusted ordering service of Correia, Neves and Verissimo, "How to tolerate half less one
//! Byzantine nodes in practical distributed systems" (2004), has a sender's message ordered when
//! f+1 components know its hash, which is kept; how it is done inside is ours, as the source builds
//! on a synchronous channel: Lamport, "The part-time parliament" (1998).

use crate::clock::Local;
use crate::control::{Control, Peer};
use crate::order::Order;
use crate::outputs::Outputs;
use maftia_ttcb_api::{Answer, Channel, EntityId, Host, ROLES_MAX, Refusal, Span, Tag, Value};

/// How many channels a component takes part in at once.
pub const CHANNELS: usize = 2 * ROLES_MAX;

/// How many of the last places are remembered.
pub const KEPT: usize = 64;

/// How many values may wait for a place.
pub const VOUCHES: usize = 64;

/// After how many bounds without progress the next leader tries.
pub(crate) const PATIENCE: u64 = 8;

/// After how many bounds who asks for a place is told that nothing stands there yet.
pub const WAIT: u64 = 512;

/// All channels of one local component.
#[derive(Clone, Debug, Hash)]
pub struct Orders {
    me: Host,
    bound: Span,
    orders: Box<[Option<Order>]>,
    /// The last sequence number that each role opened.
    opened: [u64; ROLES_MAX],
}

impl Orders {
    /// With the bound on the delay of the control channel.
    pub fn new(me: Host, bound: Span) -> Self {
        let orders = (0..CHANNELS).map(|_| None).collect();
        Self { me, bound, orders, opened: [0; ROLES_MAX] }
    }

    /// Opens a channel for a local entity. (O6)
    pub fn open(
        &mut self,
        entity: EntityId,
        channel: Channel,
        now: Local,
        out: &mut impl Outputs,
    ) -> Answer {
        let tag = channel.tag();
        let Some(me) = channel.elist.position_of(self.me) else {
            return Answer::Refused(Refusal::NotMember);
        };
        let threshold = usize::from(channel.threshold);
        if channel.elist.entities()[me] != entity {
            return Answer::Refused(Refusal::NotMember);
        }
        if !(1..=channel.elist.len()).contains(&threshold) {
            return Answer::Refused(Refusal::Malformed);
        }
        if self.find(tag).is_some() {
            return Answer::Tag(tag);
        }
        let role = usize::from(entity.role);
        if channel.sequence <= self.opened[role] {
            return Answer::Refused(Refusal::Contradiction);
        }
        self.opened[role] = channel.sequence;
        // Each role has two places; the channel that was opened longer ago goes.
        let places = &mut self.orders[2 * role..2 * role + 2];
        let age = |place: &Option<Order>| place.as_ref().map_or(0, |order| order.channel.sequence);
        let oldest = usize::from(age(&places[1]) < age(&places[0]));
        if let Some((_, call, _)) = places[oldest].as_ref().and_then(|order| order.waiting) {
            out.answer(entity.role, call, Answer::Refused(Refusal::Unknown));
        }
        let order = places[oldest].insert(Order::new(channel, tag, me));
        order.send(&Control::Joined { channel: tag, from: 1 }, out);
        order.advance(now, self.bound, out);
        Answer::Tag(tag)
    }

    /// A local entity vouches for a value. (O1)
    pub fn vouch(
        &mut self,
        entity: EntityId,
        tag: Tag,
        value: Value,
        now: Local,
        out: &mut impl Outputs,
    ) -> Answer {
        let bound = self.bound;
        let Some(order) = self.of(entity, tag) else {
            return Answer::Refused(Refusal::Unknown);
        };
        order.send(&Control::Vouch { channel: tag, value }, out);
        order.note_vouch(order.me, value);
        order.advance(now, bound, out);
        Answer::Done
    }

    /// What stands at a place? Answers at once if it can, and else remembers the call.
    pub fn next(
        &mut self,
        entity: EntityId,
        tag: Tag,
        (number, call): (u64, u64),
        now: Local,
        out: &mut impl Outputs,
    ) -> Option<Answer> {
        let Some(order) = self.of(entity, tag) else {
            return Some(Answer::Refused(Refusal::Unknown));
        };
        if let Some(entry) = order.entry(number).filter(|entry| entry.chosen) {
            return Some(Answer::Ordered(out.sign(entry.ordered(tag))));
        }
        if number <= order.chosen {
            return Some(Answer::Refused(Refusal::Unknown));
        }
        if let Some((_, earlier, _)) = order.waiting.replace((number, call, now)) {
            out.answer(entity.role, earlier, Answer::Refused(Refusal::Contradiction));
        }
        None
    }

    /// Handles what a member says.
    pub fn on_control(
        &mut self,
        from: Peer,
        tag: Tag,
        control: &Control,
        now: Local,
        out: &mut impl Outputs,
    ) {
        let bound = self.bound;
        let Some(order) = self.find(tag) else { return };
        let Some(position) = order.channel.elist.position_of(from.host) else { return };
        if order.channel.elist.entities()[position].boot != from.boot {
            return;
        }
        match control {
            Control::Vouch { value, .. } => order.note_vouch(position, *value),
            Control::Joined { from, .. } => order.on_joined(position, *from, out),
            Control::Accept { entry, .. } => order.on_accept(position, *entry, now, out),
            Control::Accepted { ballot, number, .. } => {
                order.note_acceptance(position, *ballot, *number);
            }
            Control::Prepare { ballot, from, .. } => {
                order.on_prepare(position, *ballot, *from, now, out);
            }
            Control::Promise { ballot, entries, .. } => {
                order.on_promise(position, *ballot, entries, out);
            }
            Control::Chosen { entries, .. } => order.on_chosen(position, entries, out),
            _ => {}
        }
        order.advance(now, bound, out);
    }

    /// Does what is due. (O4)
    pub fn tick(&mut self, now: Local, out: &mut impl Outputs) {
        let bound = self.bound;
        for order in self.orders.iter_mut().flatten() {
            order.advance(now, bound, out);
        }
    }

    /// Nobody waits any more for what a role asked.
    pub fn forget_calls(&mut self, role: u8) {
        let own = &mut self.orders[2 * usize::from(role)..2 * usize::from(role) + 2];
        own.iter_mut().flatten().for_each(|order| order.waiting = None);
    }

    /// When something will be due.
    pub fn next_due(&self) -> Option<Local> {
        self.orders.iter().flatten().filter_map(|order| order.next_due(self.bound)).min()
    }

    fn find(&mut self, tag: Tag) -> Option<&mut Order> {
        self.orders.iter_mut().flatten().find(|order| order.tag == tag)
    }

    /// The channel, if it is one of this local entity's.
    fn of(&mut self, entity: EntityId, tag: Tag) -> Option<&mut Order> {
        let is_own = |order: &&mut Order| order.channel.elist.entities()[order.me] == entity;
        self.find(tag).filter(is_own)
    }
}
