//! One local trusted component: where calls, frames and the passing of time go.

use crate::admission::{self, Admission, Overload, Reservation};
use crate::agreement::Agreements;
use crate::clock::{Clock, Local, Now};
use crate::control::{Control, Peer};
use crate::identifiers::{Identifiers, Wish};
use crate::ordering::Orders;
use crate::outputs::Outputs;
use crate::timing::Timing;
use maftia_ttcb_api::{
    Answer, Boot, Call, Elist, EntityId, HOSTS_MAX, Host, Interval, Moment, Numbered, ROLES_MAX,
    Refusal, Span, Value,
};

/// What is fixed for the life of a component.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which host this is.
    pub host: Host,
    /// How many hosts there are.
    pub hosts: usize,
    /// The bound that the control channel is expected to keep: from the moment when a frame is due
    /// to the moment when its receiver has handled it. At most half a second.
    pub bound: Span,
    /// The most that a host's clock drifts, in parts per million.
    pub drift_ppm: u64,
    /// What is reserved for each role; roles without a reservation do not exist.
    pub reservations: [Option<Reservation>; ROLES_MAX],
    /// How much of a processor all of them may take together, in thousandths.
    pub permille: u64,
}

/// The state of one local trusted component.
#[derive(Clone, Debug)]
pub struct Core {
    host: Host,
    hosts: usize,
    boot: Boot,
    clock: Clock,
    admission: Admission,
    agreements: Agreements,
    orders: Orders,
    identifiers: Identifiers,
    timing: Timing,
}

impl Core {
    /// Begins a life; the configuration is refused if it reserves more time than there is.
    pub fn new(config: &Config, boot: Boot) -> Result<Self, Overload> {
        assert!(
            usize::from(config.host.0) < config.hosts && config.hosts <= HOSTS_MAX,
            "a host is one of the configuration's, of which there are at most {HOSTS_MAX}"
        );
        let admission = Admission::new(&config.reservations, config.permille)?;
        let entities = config.hosts * admission.roles();
        Ok(Self {
            host: config.host,
            hosts: config.hosts,
            boot,
            clock: Clock::new(config.host, config.hosts, config.drift_ppm),
            admission,
            agreements: Agreements::new((config.host, boot), config.bound, entities),
            orders: Orders::new(config.host, config.bound),
            identifiers: Identifiers::default(),
            timing: Timing::new(config.drift_ppm),
        })
    }

    /// The entity that a role is, in this life.
    pub fn entity(&self, role: u8) -> EntityId {
        EntityId { host: self.host, role, boot: self.boot }
    }

    /// The present, if the clock is synchronised.
    pub fn time(&mut self, now: Now) -> Option<Interval> {
        self.clock.interval(now.local)
    }

    /// How often this component came too late in an agreement, and stopped.
    pub fn overruns(&self) -> u64 {
        self.agreements.overruns()
    }

    /// Takes the cost of something from a role's reservation; false if there is too little left.
    pub fn admit(&mut self, role: u8, cost: Span, now: Now) -> bool {
        self.admission.admit(role, cost, now.local)
    }

    /// Handles a call of a local process. The answer comes through [`Outputs::answer`], now or
    /// later.
    pub fn call(&mut self, role: u8, call: &Numbered<Call>, now: Now, out: &mut impl Outputs) {
        let answer = match self.admit(role, admission::cost(&call.body), now) {
            true => self.serve(role, call, now, out),
            false => Some(Answer::Refused(Refusal::Quota)),
        };
        if let Some(answer) = answer {
            out.answer(role, call.number, answer);
        }
        self.tick(now, out);
    }

    /// A role's process has begun a new session: nobody waits for what it called before.
    pub fn forget_calls(&mut self, role: u8) {
        self.agreements.forget_calls(role);
        self.orders.forget_calls(role);
        self.timing.forget_calls(role);
    }

    fn serve(
        &mut self,
        role: u8,
        call: &Numbered<Call>,
        now: Now,
        out: &mut impl Outputs,
    ) -> Option<Answer> {
        let (entity, number) = (self.entity(role), call.number);
        let time = self.clock.interval(now.local);
        let local = now.local;
        match call.body {
            Call::Random => Some(Answer::Random(out.random())),
            Call::Begin => Some(self.timing.begin(role, local, out)),
            Call::End(handle) => Some(self.timing.end(role, handle, local)),
            Call::Watch { within } => Some(self.timing.watch(role, within, local, out)),
            Call::Complete(handle) => Some(self.timing.complete(role, handle, local, out)),
            Call::Await(handle) => self.timing.wait(role, handle, number),
            Call::Open(channel) if !self.knows(&channel.elist) => {
                Some(Answer::Refused(Refusal::NotMember))
            }
            Call::Open(channel) => Some(self.orders.open(entity, channel, local, out)),
            Call::Order { channel, value } => {
                Some(self.orders.vouch(entity, channel, value, local, out))
            }
            Call::Next { channel, number: place } => {
                self.orders.next(entity, channel, (place, number), local, out)
            }
            Call::Identify { counter, position, value, marked, timed } => {
                let wish = Wish { counter, position, value, marked, timed };
                Some(self.identifiers.identify(entity, wish, time, out))
            }
            _ => match time {
                Some(time) => self.serve_timed(entity, call, (time, now), out),
                None => Some(Answer::Refused(Refusal::Unsynchronised)),
            },
        }
    }

    /// Are all hosts of a list in the configuration?
    fn knows(&self, elist: &Elist) -> bool {
        elist.entities().iter().all(|entity| usize::from(entity.host.0) < self.hosts)
    }

    /// The calls for which the clock has to be synchronised.
    fn serve_timed(
        &mut self,
        entity: EntityId,
        call: &Numbered<Call>,
        (time, now): (Interval, Now),
        out: &mut impl Outputs,
    ) -> Option<Answer> {
        let (role, number) = (entity.role, call.number);
        match call.body {
            Call::Timestamp => Some(Answer::Time(time)),
            Call::Propose { instance, .. } if !self.knows(&instance.elist) => {
                Some(Answer::Refused(Refusal::NotMember))
            }
            Call::Propose { instance, value } => {
                Some(self.agreements.propose(entity, instance, value, time, out))
            }
            Call::Decide(tag) => self.agreements.decide(entity, tag, number, time, out),
            Call::Sent { to, value, within } => {
                let at = self.clock.reading(now.local);
                Some(self.notify(entity, to, (value, at, within), out))
            }
            Call::Received { from, value } => {
                self.timing.received(role, from, value, time, number, out)
            }
            Call::Execute { operation, at, by } => {
                if time.earliest > by || by < at {
                    return Some(Answer::Refused(Refusal::TooLate));
                }
                self.timing.execute(role, operation, (at, by), number, out);
                None
            }
            _ => Some(Answer::Refused(Refusal::Malformed)),
        }
    }

    /// Tells the receiver's component that a message was sent.
    fn notify(
        &mut self,
        from: EntityId,
        to: EntityId,
        (value, at, within): (Value, Moment, Span),
        out: &mut impl Outputs,
    ) -> Answer {
        if to.host == self.host || usize::from(to.host.0) >= self.hosts {
            return Answer::Refused(Refusal::NotMember);
        }
        out.send(to.host, &Control::Sent { from, to, value, at, within });
        Answer::Done
    }

    /// Handles a frame of a peer. The clocks are to be read for each frame: a question that is
    /// answered with an older reading would make the error of a clock larger than is said (K1).
    pub fn control(&mut self, from: Peer, control: &Control, now: Now, out: &mut impl Outputs) {
        match *control {
            Control::Probe { sent } => self.clock.on_probe(from.host, sent, now, out),
            Control::Reading { sent, time, host, synchronised } => {
                self.clock.on_reading(from.host, sent, (time, host, synchronised), now);
            }
            Control::Proposal { instance, value } => {
                if let Some(time) = self.clock.interval(now.local) {
                    self.agreements.on_proposal(from, instance, value, time, out);
                }
            }
            Control::Vote { instance, vector } => {
                if let Some(time) = self.clock.interval(now.local) {
                    self.agreements.on_vote(from, instance, vector, time, out);
                }
            }
            Control::Vouch { channel, .. }
            | Control::Joined { channel, .. }
            | Control::Accept { channel, .. }
            | Control::Accepted { channel, .. }
            | Control::Prepare { channel, .. }
            | Control::Promise { channel, .. }
            | Control::Chosen { channel, .. } => {
                self.orders.on_control(from, channel, control, now.local, out);
            }
            Control::Sent { from: entity, to, value, at, within } => {
                let genuine = (entity.host, entity.boot) == (from.host, from.boot);
                if genuine && to == self.entity(to.role) {
                    self.timing.on_sent(entity, to, value, at, within, out);
                }
            }
        }
        self.tick(now, out);
    }

    /// A peer has a new life.
    pub fn introduced(&mut self, peer: Peer) {
        self.clock.forget(peer.host);
    }

    /// Does what is due. To be called when [`next_due`](Self::next_due) says, or more often.
    pub fn tick(&mut self, now: Now, out: &mut impl Outputs) {
        self.clock.tick(now, out);
        let time = self.clock.interval(now.local);
        self.agreements.tick(time, out);
        self.orders.tick(now.local, out);
        self.timing.tick(now.local, time, out);
    }

    /// When something will be due.
    pub fn next_due(&mut self, now: Now) -> Local {
        let time = self.clock.interval(now.local);
        let common = self
            .agreements
            .next_due()
            .zip(time)
            .map(|(due, time)| Local(now.local.0 + due.0.saturating_sub(time.earliest.0)));
        let timing = self.timing.next_due(now.local, time);
        let timing = timing.map(|span| Local(now.local.0.saturating_add(span.0)));
        let due = [common, self.orders.next_due(), timing, Some(self.clock.next_due())];
        due.into_iter().flatten().min().unwrap_or(now.local).max(now.local)
    }
}
