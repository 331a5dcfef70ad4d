//! Binary agreement: all honest servers decide the same bit, and one of them proposed it.
//!
//! # Promise
//!
//! - *Validity.* A decided bit was proposed by an honest server.
//! - *Agreement.* No two honest servers decide differently.
//! - *Termination.* If all honest servers propose, all decide with probability 1, whatever order
//!   an adversary chooses that sees all messages and all coins as soon as they can be known.
//! - *Halting.* If one honest server halts, all do; after that the instance says nothing more than
//!   its DONE to peers that reconnect.
//! - *Transfer.* A [`Decision`] convinces anyone who knows the group's public keys; every honest
//!   server gets one before it halts.
//!
//! # Model
//!
//! Any adversary structure with Q3, asynchronous authenticated links with eventual delivery in the
//! sense of [`maftia_base::protocol`], a common coin, and unforgeable signatures for the transfer
//! only; restart with the log.
//!
//! # Rules
//!
//! In round r, entered with an estimate:
//!
//! - R1. Send VAL(estimate) to all.
//! - R2. Upon VAL(b) from a set that has an honest server: send VAL(b) to all, if not yet sent.
//! - R3. Upon VAL(b) from a set that has an honest quorum: b is *approved*. On the first one
//!   approved, send ECHO(b) to all.
//! - R4. Once: upon ECHO(b) from a quorum, send VOTE(b) to all; or once both bits are approved,
//!   send VOTE(none).
//! - R5. Upon VOTE(b) from a quorum: the *result* is b. Or once both bits are approved and a quorum
//!   has voted anything: the result is none.
//! - R6. With the result, toss the coin of the round. The coins of rounds 0 and 1 are fixed: 1, 0.
//! - R7. With the coin c: decide b if the result is b = c. The next estimate is the result if it
//!   is a bit, else c. Enter the next round.
//! - R8. On deciding b, sign and send DONE(b) to all. Upon DONE(b) from a set that has an honest
//!   server: decide b, too.
//! - R9. Upon DONE(b) from a set that has an honest quorum: verify the signatures. Once valid ones
//!   have an honest server, they are the [`Decision`]: halt.
//! - R10. R2 to R5 go on in all rounds entered, until halting; upon a peer's reconnection, send it
//!   all that was sent.
//!
//! # Why it holds
//!
//! Q3 gives three facts: (i) two quorums share an honest server; (ii) the honest servers have an
//! honest quorum; (iii) if the honest servers are split in two, one part has an honest server
//! *whatever* the adversary chose, else both parts and the corrupt set would cover the group.
//!
//! *Approval.* An approved b is the estimate of an honest server, since the first honest VAL(b)
//! is R1's. If b is approved at one honest server, then the honest ones among its VAL(b) pass R2
//! everywhere, all honest servers send VAL(b), and by (ii) all approve. By (iii) some b passes R2
//! everywhere; so every honest server approves something.
//!
//! *Every honest server gets a result.* All send an ECHO. If only b is ever approved, all echo b,
//! and then vote b: the result is b. If both are, all vote, by R4, and R5 gives a result.
//!
//! *One bit.* An honest server echoes once: by (i) at most one bit v has a quorum of ECHO, so
//! honest votes are v or none, and so are results (a quorum has an honest member).
//!
//! *Binding: when the first honest server has its result, one bit b is fixed such that no honest
//! server will ever get the result 1 - b in this round.* The quorum Q behind that result has
//! voted. If an honest member voted v, then b = v by the above. If all its honest members voted
//! none, another quorum of votes for a bit would share an honest server with Q, by (i), that voted
//! only once: all results will be none. The coin of the round is unpredictable until an honest
//! server tosses, which is after its result. So whatever the scheduler does with the coin, with
//! probability 1/2 it equals b, and then all honest servers enter the next round with b.
//!
//! *Agreement.* If an honest server decides b by R7 in round r, all results of round r are b or
//! none and the coin is b: all enter round r + 1 with b. From then on only b is approved, all
//! results are b, and only b can be decided. DONE(b) from an honest server is thus the only one.
//!
//! *Termination.* After the round of a fitting coin all estimates are equal, and each later coin
//! decides with probability 1/2. With equal proposals no coin is needed: 1 is decided in round 0,
//! 0 in round 1. *Halting.* Who halts saw DONE from an honest quorum, whose honest ones pass R8
//! everywhere; then all honest servers send DONE, and all halt, by (ii).
//!
//! # Bounds
//!
//! `O(n^2)` small messages a round; three delays a round, one more for its coin; the expected
//! number of rounds after the first two is at most 4. An instance runs at most [`ROUNDS_MAX`]
//! rounds: `k` coins fail to decide with probability at most `(k + 1) / 2^k`, below 2^-55 for the
//! 62 there are; should they, safety is kept and termination lost. At most [`footprint_max`] items
//! held. Three sequential durable waits a round (VAL, ECHO, VOTE), and one for the decision. VAL
//! needs its own although honest servers may send both: an ECHO or a VOTE for none, which cannot be
//! taken back, rests on the VAL of others, and if these forget it in a crash, and liars who had
//! supported it fall silent, nobody can ever approve what was approved.
//!
//! # Sources
//!
//! I. Abraham, N. Ben-David, S. Yandamuri, "Efficient and adaptively secure asynchronous binary
//! agreement via binding crusader agreement", PODC 2022: a crusader agreement that *binds* before
//! the coin is tossed. It is chosen because the order "fix the bit, then see the coin" is what a
//! scheduler that looks at coins can't break: the agreement of Mostefaoui, Moumen and Raynal
//! (2014) fails against such a one, and that of Cachin, Kursawe and Shoup (2000) sends a whole
//! certificate with every vote. VAL is the binary-value broadcast of Mostefaoui et al. Deviations:
//! (a) quorums of an adversary structure, with the argument above; (b) two fixed coins first, for
//! equal proposals; (c) DONE is signed, for the transfer; (d) restart and reconnection.

mod machine;
mod message;
mod round;

use crate::coin::CommonCoin;
use crate::evidence::Accusations;
use crate::tally::Tally;
use maftia_base::{Party, Slot};
use maftia_crypto::{Claim, Suite};
use round::RoundState;
use std::collections::BTreeMap;
use std::marker::PhantomData;

pub use message::{Command, Decision, Message, Outcome, Record, Round, Ticket, holds};

/// Most rounds of an instance; see the module's bounds.
pub const ROUNDS_MAX: u16 = 64;

/// Rounds whose coin is fixed: 1 in round 0, 0 in round 1.
pub const FIXED_COINS: u16 = 2;

/// Most items that an instance holds in a group of `n`.
pub const fn footprint_max(n: usize) -> usize {
    ROUNDS_MAX as usize * RoundState::<()>::items_max(n) + 2 * n
}

/// One binary agreement.
#[derive(Clone, Debug, Hash)]
pub struct BinaryAgreement<S: Suite> {
    /// By number; those entered are the first ones, without a gap. Empty after halting.
    rounds: BTreeMap<Round, RoundState<CommonCoin<S>>>,
    /// The latest round entered.
    current: Option<Round>,
    decided: Option<bool>,
    /// Our DONE, once signed.
    own: Option<S::Signature>,
    dones: Tally<bool>,
    /// The votes behind `dones`.
    claims: BTreeMap<Party, Done<S>>,
    decision: Option<Decision<S>>,
    accusations: Accusations<S>,
}

/// A DONE and what is known about its signature.
#[derive(Clone, Debug, Hash)]
struct Done<S: Suite> {
    claim: Claim<S>,
    checked: Checked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Checked {
    No,
    Now,
    Good,
    Bad,
}

impl<S: Suite> BinaryAgreement<S> {
    /// An instance in which nobody has proposed yet.
    pub fn new() -> Self {
        Self {
            rounds: BTreeMap::new(),
            current: None,
            decided: None,
            own: None,
            dones: Tally::default(),
            claims: BTreeMap::new(),
            decision: None,
            accusations: Accusations::default(),
        }
    }
}

impl<S: Suite> Default for BinaryAgreement<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// The coin of a round, as a child.
#[derive(Clone, Copy, Debug)]
struct CoinSlot<S>(Round, PhantomData<S>);

impl<S: Suite> Slot<BinaryAgreement<S>> for CoinSlot<S> {
    type Child = CommonCoin<S>;

    fn label(self) -> u64 {
        u64::from(self.0.0)
    }

    fn message(self, message: crate::coin::Message<S>) -> Message<S> {
        Message::Coin(self.0, message)
    }

    fn ticket(self, ticket: crate::coin::Ticket) -> Ticket {
        Ticket::Coin(self.0, ticket)
    }

    fn record(self, record: crate::coin::Record<S>) -> Record<S> {
        Record::Coin(self.0, record)
    }
}
