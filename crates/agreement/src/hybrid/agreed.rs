//! One question to the trusted components, and what a server can show of the answer.
//!
//! A decision is signed by the component that tells it, so that whoever comes late is shown it
//! after its place in the fixed table has been used again. Nothing here rests on time: an agreement
//! is told by its members, its start, its function and what it is about, and decides one thing.

use super::members::Members;
use maftia_base::wire::wire_struct;
use maftia_base::{Digest, Party};
use maftia_crypto::{Attested, SealClaim, Suite, Work};
use maftia_ttcb_api::{Call, Decision, Elist, Function, Instance, Interval, Moment, Sealed, Span};

/// When an agreement starts, on the wormhole's common time scale: the `tstart` of the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Start(pub u64);

wire_struct!(Start { 0 });

impl Start {
    /// So long after the present, wherever in its interval that is.
    pub(super) fn after(now: Interval, lead: Span) -> Self {
        Self((now.latest + lead).0)
    }

    /// The first multiple of `step` that lies so long after the present.
    pub(super) fn on_grid(now: Interval, lead: Span, step: Span) -> Self {
        Self(Self::after(now, lead).0.div_ceil(step.0).saturating_mul(step.0))
    }
}

/// What an agreement decided, as one of the trusted components signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Proof {
    /// When the agreement started.
    pub start: Start,
    /// Whose component signed.
    pub by: Party,
    /// What it says.
    pub decision: Attested<Decision>,
}

wire_struct!(Proof { start, by, decision });

impl Proof {
    /// What was decided.
    pub fn decision(&self) -> &Decision {
        &self.decision.0.said
    }

    /// The decided value, if there is one.
    pub fn value(&self) -> Option<Digest> {
        self.decision().value.map(Digest)
    }
}

/// Everything that tells an agreement from another, but when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) elist: Elist,
    pub(super) function: Function,
    pub(super) context: Digest,
}

impl Question {
    fn instance(&self, start: Start) -> Instance {
        let Self { elist, function, context } = *self;
        Instance { elist, tstart: Moment(start.0), function, context: context.0 }
    }

    /// Takes part, with a value or without.
    pub(super) fn propose<S: Suite>(&self, start: Start, value: Option<Digest>) -> Work<S> {
        let instance = self.instance(start);
        Work::Trusted(Box::new(Call::Propose { instance, value: value.map(|value| value.0) }))
    }

    /// Asks for the decision.
    pub(super) fn decide<S: Suite>(&self, start: Start) -> Work<S> {
        Work::Trusted(Box::new(Call::Decide(self.instance(start).tag())))
    }

    /// What this server's own component told; `None` if it speaks of another agreement.
    pub(super) fn told(
        &self,
        by: Party,
        start: Start,
        decision: Sealed<Decision>,
    ) -> Option<Proof> {
        let proof = Proof { start, by, decision: Attested(decision) };
        self.is_told_by(&proof).then_some(proof)
    }

    /// Is it about this, if it is genuine?
    pub(super) fn is_told_by(&self, proof: &Proof) -> bool {
        proof.decision().tag == self.instance(proof.start).tag()
    }

    /// The claim that it is genuine; `None` if it cannot be, or is about something else.
    pub(super) fn claim(&self, members: &Members, proof: &Proof) -> Option<SealClaim> {
        let member = members.member(proof.by)?;
        let named = self.elist.entities().contains(&member.entity());
        (named && self.is_told_by(proof)).then(|| proof.decision.claim(member.life.key))
    }
}
