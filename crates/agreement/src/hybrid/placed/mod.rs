//! Validated agreement by the wormhole's ordering service: what enough servers vouch for gets the
//! first place, and no server counts votes.
//!
//! # Promise
//! - *agreement*: no two honest servers decide different values, or are told different seeds.
//! - *external validity*: a decided value was found acceptable by an honest server's application.
//! - *integrity*: an honest server decides once.
//! - *termination*: if an honest server proposes, all decide, while a majority of the trusted
//!   components lives and they hear each other in time.
//! - *silence*: nothing is sent before somebody proposes, or after all have decided.
//! - *durability*: honest servers may all crash and come back with their logs, at any moment, as
//!   long as their trusted components go on.
//!
//! # Model
//! Q2 (n > 2f), asynchronous authenticated links with eventual delivery, a trusted component on
//! each server that fails only by crashing. No safety rests on time. A server whose component
//! crashed counts as corrupt until an ordered decision admits its next life.
//!
//! # Rules
//! - **P1** Who leads proposes what it has; everybody else what it has, when patience is over.
//! - **P2** The first proposal of each server that is acceptable is written down, and vouched for
//!   in the channel of this agreement. A proposal is vouched for before it is sent.
//! - **P3** Once there is something to vouch for, ask the component what stands at the first place
//!   of the channel, and at the next as long as nothing stands there.
//! - **P4** What stands there is decided, once its content is here.
//! - **P5** When patience is over, vouch again, ask the component again, and ask all others for the
//!   decision. Patience doubles.
//! - **P6** Who proposes to, or asks, a server that has decided is told the decision, with what its
//!   component signed; who asked earlier, too.
//! - **P7** Who decides what it vouched for says that it is over to all who had not vouched when
//!   the place was given: a corrupt proposer need not have told them. They have patience, and ask.
//!
//! # Why it holds
//! *Agreement.* Components tell one value for each place and for each that nothing stands there
//! (the promise of trusted ordering), and a decision shows all places up to the one that counts.
//! The value names who proposed and what. *Validity.* More vouched than may be corrupt, hence an
//! honest server, and it had found it acceptable (P2). *Seed.* It is the randomness that the
//! ordering service gave to the place, which nobody chooses or knows before. *Termination.* After
//! patience all honest servers propose (whatever is acceptable to one it takes for its own), hence
//! all vouch for the first proposal of an honest one: these are enough (Q2), so that some place is
//! given. Every honest component tells its own server, and one of those that vouched is honest and
//! has the content in its log (P2): it decides by its own component, and tells who asks (P6), as
//! all do: they wait for what they vouched for, or hear that it is over (P7). *No views.* A leader
//! is no more than who speaks first: proposals of several do no harm, as the first place is taken
//! once.
//!
//! # Bounds
//! One proposal of each server; one decision under verification for each peer. Places at which
//! nothing stands: there are fewer than proposals that an honest server vouched for, n at each;
//! [`PLACES_MAX`] are shown, which takes more changes of leaders among the components than any run
//! has that makes progress.
//!
//! # Cost
//! n - 1 messages until all decide, if the leader is honest and the network kind: one delay, a
//! durable wait, and three delays of the control channel. f (f+1) at most that say it is over. The
//! wormhole sees digests only.
//!
//! # Sources
//! Correia, Neves and Verissimo, "How to tolerate half less one Byzantine nodes in practical
//! distributed systems" (2004), known to us in outline: a message has the place that the service
//! gives its hash once f+1 know it. Deviations: (a) An agreement a round, each on a channel of its
//! own, where the source has one sequence: rounds decide vectors of lane heads, and lanes carry the
//! load. (b) What is vouched for was found acceptable. (c) A decision is signed, and shown to
//! whoever is late. (d) One proposes first, where in the source all send.

mod machine;
mod message;
#[cfg(test)]
mod tests;

pub use crate::multivalued::Command;
pub use machine::{Outcome, PlacedAgreement};
pub use message::{Decision, Message, Record, Ticket};

/// Most places that a decision shows.
pub const PLACES_MAX: usize = 64;

/// How long the leader has, in milliseconds.
pub const PATIENCE_MS: u64 = 200;

/// Patience doubles this often at most.
const DOUBLINGS_MAX: u32 = 12;

/// How often a peer is told the decision, until it reconnects.
const TOLD_MAX: u8 = 4;
