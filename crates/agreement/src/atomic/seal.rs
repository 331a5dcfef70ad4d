//! In the hybrid configuration each batch is identified by its owner's trusted component, at its
//! height: there is one at a place. (L10)

use super::batch::{Height, batch_statement};
use super::machine::AtomicBroadcast;
use super::message::{Outcome, Ticket};
use super::own::Outgoing;
use maftia_base::time::Reading;
use maftia_base::{Context, Digest, Epoch, Party, Scope, Target};
use maftia_crypto::{Attested, SealClaim, Suite, Work};
use maftia_ttcb_api::{Answer, Call, Identifier, Refusal};

/// The identifier of a batch: there is one batch at a place.
pub type BatchSeal = Attested<Identifier>;

/// The counter of the trusted component that lanes use.
const COUNTER: u8 = 0;

/// Where the identifier of a batch stands. Epochs have 64 bits, heights too.
fn position(epoch: Epoch, height: Height) -> u128 {
    u128::from(epoch.0) << 64 | u128::from(height.0)
}

/// What is identified.
fn sealed_value(scope: Scope, lane: Party, height: Height, digest: Digest) -> [u8; 32] {
    let statement = batch_statement(scope, lane, height, digest);
    Digest::of("maftia atomic batch identifier", &statement.signing_bytes()).0
}

/// By when a batch was identified, in microseconds, rounded up.
pub(super) fn sealed_at(seal: &BatchSeal) -> Option<Reading> {
    seal.0.said.time.map(|time| Reading(time.latest.0.div_ceil(1_000)))
}

impl<S: Suite> AtomicBroadcast<S> {
    /// Has the newest batch identified, which is in the log, if it has to be. (L10)
    pub(super) fn seal_outgoing(&mut self, cx: &mut impl Context<Self>) {
        let (me, scope, epoch) = (cx.group().me(), cx.scope(), self.epoch);
        let Some(outgoing) = &self.own.outgoing else { return };
        if !outgoing.needs_seal || outgoing.seal.is_some() || outgoing.vote.is_none() {
            return;
        }
        let (height, digest) = (outgoing.sealed.batch.height, outgoing.sealed.digest);
        let call = Call::Identify {
            counter: COUNTER,
            position: position(epoch, height),
            value: sealed_value(scope, me, height, digest),
            marked: true,
            timed: true,
        };
        cx.consult(Ticket::Seal(height), Work::Trusted(Box::new(call)));
    }

    /// Handles the identifier of this server's own batch. (L10)
    pub(super) fn on_sealed(
        &mut self,
        height: Height,
        answer: &Answer,
        cx: &mut impl Context<Self>,
    ) {
        let me = cx.group().me();
        if let (Answer::Identified(identifier), Some(hybrid)) = (answer, &self.hybrid)
            && !hybrid.members.is_present(me, identifier.said.entity)
        {
            return self.notice_other_life(cx);
        }
        let outgoing = self.own.outgoing.as_mut();
        let newest = |outgoing: &&mut Outgoing<S>| outgoing.sealed.batch.height == height;
        let Some(outgoing) = outgoing.filter(newest) else { return };
        match answer {
            Answer::Identified(identifier) => {
                outgoing.seal = Some(Attested(*identifier));
                let message = outgoing.message().expect("it has vote and identifier");
                cx.send(Target::Others, message);
                self.try_certify(cx);
            }
            // The component has identified another batch here, which this server does not know.
            Answer::Refused(Refusal::Contradiction) if !self.forgot => {
                self.forgot = true;
                cx.output(Outcome::Forgot);
            }
            // It has no time: asked again with the next thing that happens.
            _ => self.own.unsealed = true,
        }
    }

    /// The component has rebooted: what it identifies does not count, and what it identified before
    /// it has forgotten. (L11)
    pub(super) fn notice_other_life(&mut self, cx: &mut impl Context<Self>) {
        if !std::mem::replace(&mut self.other_life, true) {
            cx.output(Outcome::OtherLife);
        }
    }

    /// What is left to verify of the identifier of a batch, if it has to have one; `None` if it
    /// cannot hold. (L10)
    pub(super) fn seal_claim(
        &self,
        lane: Party,
        (height, digest): (Height, Digest),
        seal: Option<&BatchSeal>,
        cx: &impl Context<Self>,
    ) -> Option<Option<SealClaim>> {
        let Some(hybrid) = &self.hybrid else { return seal.is_none().then_some(None) };
        let seal = seal?;
        let said = &seal.0.said;
        let value = sealed_value(cx.scope(), lane, height, digest);
        let placed = (said.position, said.value) == (position(self.epoch, height), value);
        // What has no time would let the group's stand still.
        let placed = placed && said.time.is_some();
        let claim = hybrid.members.claim(lane, COUNTER, seal)?;
        placed.then_some(Some(claim))
    }
}
