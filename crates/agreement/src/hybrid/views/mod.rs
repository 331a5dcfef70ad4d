//! Validated agreement in views, by unique identifiers: two message delays when the leader is
//! honest and the network kind.
//!
//! # Promise
//! - *agreement*: no two honest servers decide different values, or are told different seeds.
//! - *external validity*: a decided value was found acceptable by an honest server's application.
//! - *integrity*: an honest server decides once.
//! - *termination*: if an honest server proposes, all decide, once messages between honest servers
//!   and their trusted components take less than their patience, which doubles from view to view.
//! - *silence*: nothing is sent before somebody proposes, or after all have decided.
//! - *durability*: honest servers may all crash and come back with their logs, at any moment, as
//!   long as their trusted components go on.
//!
//! # Model
//! Q2 (n > 2f), asynchronous for safety and partially synchronous for liveness, authenticated links
//! with eventual delivery, a trusted component on each server that fails only by crashing. A
//! server whose component crashed counts as corrupt until an ordered decision admits its next life.
//!
//! # Rules
//! - **V1** On a proposal: the leader of the first view proposes it to all; whoever does not lead
//!   begins to wait.
//! - **V2** What is proposed is written down, identified at the position of this view, and sent. So
//!   are votes and the entry into a view: one at a time, the next only when the one before is
//!   identified, so that a server that crashes in between identifies the same once more.
//! - **V3** Vote for the proposal of the leader of this or a later view, once in each view and in
//!   none before one that was entered, if the value is acceptable and the proposal justified. The
//!   leader's proposal is its vote.
//! - **V4** Votes of a quorum for one proposal in one view: decided.
//! - **V5** When patience is over, enter the next view, and show its leader the last vote. A
//!   quarter of that time before, tell all what there is to propose: the leader may not know; and
//!   ask whoever voted for a proposal that is not here: the leader may not show it, and all others
//!   may have decided.
//! - **V6** The leader of a later view takes a quorum of those that entered it, with votes for
//!   acceptable values. The latest vote of one of them is proposed again; if there is none,
//!   anything.
//! - **V7** A proposal of a later view is justified by those that entered, of which the one with
//!   the latest vote voted for this very proposal in an earlier view, where it was justified; or
//!   by those that entered, of which none had voted.
//! - **V8** Who is asked, or is sent something of no more use, answers with the decision.
//!
//! # Why it holds
//! *One proposal in a view.* The leader's component identifies one value at its position. *A
//! decided proposal stays.* Let a quorum vote for `d` in view `v`, and let a proposal `e` be
//! justified in view `w > v`; by induction no other than `d` is justified in between. The quorum
//! that entered `w` shares a server with the one that voted (Q2: it may be corrupt). That
//! server's component identified its vote at `v` before it identified its entry, since the vote's
//! position is lower; the entry names the last vote, which thus is in `v` or later. Hence the
//! latest vote of those that entered is in a view from `v` on, for the proposal that its leader
//! made there (checked, so that a vote for what nobody proposed does not count), which is `e`,
//! and which was justified there: `e` is `d`, in `v` because there is one proposal in a view,
//! later by induction. *Validity.* A quorum has an honest server (Q2), which voted for what it
//! found acceptable. *Seed.* It is a function of the first proposal's signature, which is the
//! only one of its kind. *Termination.* Patience doubles, so that in the end all honest servers
//! are long enough in one view whose leader is honest; it hears a quorum enter, and a vote that
//! it cannot accept is a liar's.
//!
//! # Bounds
//! For each peer one message of each kind under verification and one waiting, its last vote, its
//! last entry, and [`ASKED_MAX`] values that were put to the application. A justification has at
//! most one link for each view in which the value was proposed again.
//!
//! # Cost
//! Two message delays and three durable waits, the last for the decision; n - 1 proposals and
//! (n - 1)^2 votes; each server has one value identified, and checks a quorum of signatures.
//!
//! # Sources
//! Veronese, Correia, Bessani, Lung and Verissimo, "Efficient Byzantine fault-tolerance" (2013;
//! MinBFT): prepare, commit, and view changes that cannot hide a vote. Deviations: (a) An agreement
//! a round instead of one sequence: rounds decide vectors of lane heads, and lanes carry the load.
//! (b) An entry names the last vote, as the trusted component knows it; MinBFT shows the whole log
//! since the last checkpoint. (c) Justifications are chained, so that a proposal that a corrupt
//! leader made without one counts for nothing later. (d) No request to change the view: who has
//! nothing to wait for does not enter, and V5 makes all have something. (e) The leader of the next
//! agreement is who proposed first what this one decided, so that a dead leader is left behind.

mod ask;
mod enter;
mod justification;
mod machine;
mod message;
#[cfg(test)]
mod tests;
mod verify;

use crate::Value;
use crate::hybrid::Members;
use maftia_base::{AdversaryStructure, Digest, Party, Scope};

pub use crate::multivalued::Command;
pub use justification::{Decision, Justification};
pub use machine::{Outcome, ViewAgreement};
pub use message::{Enter, Message, Place, Prepare, Record, View};
pub use verify::{Kind, Ticket};

/// Most values that are put to the application for each peer.
pub const ASKED_MAX: usize = 4;

/// How long the leader of the first view has, in milliseconds.
pub const PATIENCE_MS: u64 = 500;

/// Patience doubles this often at most.
const DOUBLINGS_MAX: u32 = 12;

/// Where one instance is, for whatever is checked or identified there.
pub(super) struct Here<'a> {
    pub(super) scope: Scope,
    pub(super) place: Place,
    pub(super) members: &'a Members,
    pub(super) structure: &'a AdversaryStructure,
    pub(super) base: Party,
}

impl Here<'_> {
    fn leader(&self, view: View) -> Party {
        leader_of(view, self.base, self.members.n())
    }
}

/// The leaders take turns, beginning with `base`.
fn leader_of(view: View, base: Party, n: usize) -> Party {
    Party::new((base.index() + view.0 as usize) % n)
}

/// A value that was put to the application.
#[derive(Clone, Debug, Hash)]
struct Asked<V: Value> {
    value: V,
    accepted: bool,
    by: Party,
    age: u64,
}

/// The digest by which a value and the view of its first proposal are known.
fn proposal_of<V: Value>(prepare: &Prepare<V>) -> Digest {
    message::proposal_digest(prepare.origin, crate::digest_of(&prepare.value))
}
