//! Consensus by block agreements of the trusted components: two of them and no message if all
//! propose the same.
//!
//! # Promise
//! - *agreement*: no two honest servers decide different values.
//! - *external validity*: a decided value was found acceptable by an honest server's application.
//! - *unanimity*: if up to f servers are corrupt, and all honest ones propose the same value, no
//!   other is decided.
//! - *integrity*: an honest server decides once.
//! - *termination*: if an honest server proposes, all decide, once agreements between the honest
//!   servers' components end in time; the time that they have doubles from attempt to attempt.
//! - *silence*: nothing is sent before somebody proposes, or after all have decided.
//! - *durability*: honest servers may all crash and come back with their logs, at any moment, as
//!   long as their trusted components go on.
//!
//! # Model
//! Q3 (n > 3f, as the source has it), asynchronous for safety and partially synchronous for
//! liveness, authenticated links with eventual delivery, a trusted component on each server that
//! fails only by crashing.
//!
//! # Rules
//! - **C1** What a server proposes is written down and told to all. Whoever has nothing to propose
//!   takes the first acceptable value that it is told.
//! - **C2** An *attempt* has a start: the next multiple of a time, on the common time scale, later
//!   than those of all attempts before; that time doubles with each. The start is written down. All
//!   propose a digest in the agreement of that start: what most proposed is decided.
//! - **C3** A server proposes what it is locked on; else, what a set with an honest server proposed
//!   in the latest attempt where one did; else, if a quorum proposed something in an attempt and no
//!   such set the same, what the server whose turn it is at this start told; else its own.
//! - **C4** If a quorum proposed what was decided, each is locked on it, writes that down, and
//!   proposes it in a second agreement, whose name and start follow from the first one's. A lock is
//!   replaced by one of a later start only.
//! - **C5** If a quorum proposed what the second agreement decided, that is decided.
//! - **C6** Else: another attempt. Who tries again tells all, and shows its lock.
//! - **C7** Who lacks a value asks for it by its digest.
//! - **C8** Whoever has decided answers with the decision, which anyone can check.
//!
//! # Why it holds
//! *Agreement.* Let `d` be decided in the attempt of `s`: a quorum A proposed it in the second
//! agreement, those of them who are honest were locked on it, from `s` on. Of all attempts after
//! `s` where a quorum S proposed something else in the first agreement, take the one where that
//! happened first. A and S share an honest server (Q3). It had not taken part in a later attempt
//! than `s` when it proposed in the second agreement of `s` (C2, C4, in one order), so it proposed
//! in S later, being locked on something of `s` or later (C4), hence on `d` by the choice of the
//! attempt: it proposed `d`. Another decision, of a start `t`, needs honest servers locked in the
//! first agreement of `t`; the one of the earlier start excludes the other. A `Timeout` is thus
//! harmless: whoever does not know what an agreement decided goes on, and what was not told there
//! is not believed to be nothing. *External validity.* Whatever is proposed without a lock is
//! accepted, or was by an honest server. *Unanimity.* Let all honest ones propose `v`, and take the
//! first that proposes another digest: it is not locked on one, since a quorum has an honest
//! server; no set with an honest server proposed one; and if a quorum proposed something, its
//! honest ones, at least n - 2f >= f+1, proposed `v`, so that what most proposed has as many, and
//! an honest one (with general structures instead of numbers, most need not be enough).
//! *Termination.* Steps double, so that in the end all honest servers that have not decided take
//! part in one attempt; who knows nothing is told the latest lock (C6). Without a lock all see one
//! decision, or have their turn: then all propose one value, a quorum of all, and again in the
//! second agreement.
//!
//! With n = 2f+1, A and S may share a corrupt server only, which proposes what it likes in each
//! agreement: the trusted components remember nothing from one to the next. A component that
//! remembers, as unique identifiers do, is what [`views`](crate::hybrid::views) rests on.
//!
//! # Bounds
//! One value of each peer, and for each peer one statement of each kind
//! under verification and one waiting.
//!
//! # Cost
//! If all propose the same and in time: two block agreements, four delays of the control channel,
//! no delay of messages; `n (n-1)` messages carry the values beside that; three durable waits. If
//! proposals differ, two more agreements as a rule.
//!
//! # Sources
//! Correia, Neves, Lung and Verissimo, "Low complexity Byzantine-resilient consensus" (2005), known
//! to us in outline: hashes are proposed in block agreements of one start after the other, with the
//! majority function, until enough propose the same; values go from server to server. Deviations:
//! (a) The second agreement (C4, C5): the source decides what f+1 proposed, since its components
//! always all tell the decision; ours may answer `Timeout` to some and the decision to others, and
//! who was told nothing must not decide otherwise. (b) Starts follow from the common time instead
//! of an argument. (c) Acceptable values, locks, turns, logs. (d) A value is asked for by its
//! digest instead of being multicast again.

mod attempt;
mod machine;
mod message;
#[cfg(test)]
mod tests;

use crate::hybrid::agreed::Start;
use maftia_ttcb_api::Span;

pub use crate::multivalued::Command;
pub use machine::{Consensus, Kind, Outcome, Ticket};
pub use message::{Decision, Message, Record};

/// The first step from start to start, in milliseconds; the time to a start is half of it at least.
pub const STEP_MS: u64 = 32;

/// It doubles this often at most.
const DOUBLINGS_MAX: u32 = 8;

/// How often a peer is given a value that it asks for, until it reconnects.
const GIVEN_MAX: u8 = 8;

/// The step from start to start after so many attempts.
fn step(doublings: u32) -> Span {
    Span::from_millis(STEP_MS << doublings.min(DOUBLINGS_MAX))
}

/// When the second agreement of an attempt starts: the same for all, however many attempts each
/// has made. (C4)
fn second(start: Start) -> Start {
    let fits = |doublings: &u32| start.0.is_multiple_of(step(*doublings).0);
    let doublings = (0..=DOUBLINGS_MAX).rev().find(fits).unwrap_or(0);
    Start(start.0.saturating_add(step(doublings).0))
}
