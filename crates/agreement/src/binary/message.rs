//! What binary agreement speaks in.

use crate::coin;
use crate::evidence::all_hold;
use maftia_base::wire::{wire_enum, wire_struct};
use maftia_base::{Digest, Group, Party, PartySet, Place, Scope, Statement, StatementKind};
use maftia_crypto::{Certificate, Done, Suite, Work};

/// Number of a round, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round(pub u16);

wire_struct!(Round { 0 });

/// What the layer above asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Propose a bit. Repeating it after a restart is harmless: the first one counts.
    Propose(bool),
}

/// What the layer above is told. Each once, and once more in every replay of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<S: Suite> {
    /// The bit, as soon as it is certain.
    Decided(bool),
    /// What convinces others of it, a little later.
    Certified(Decision<S>),
}

/// What servers exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message<S: Suite> {
    /// An estimate, or the support of one.
    Val(Round, bool),
    /// "This bit was approved here first."
    Echo(Round, bool),
    /// The bit that a quorum echoed, or none.
    Vote(Round, Option<bool>),
    /// Of the coin of a round.
    Coin(Round, coin::Message<S>),
    /// A decision, signed.
    Done(bool, S::Signature),
}

wire_enum!(<S: Suite> Message<S> {
    0 => Val(round, bit),
    1 => Echo(round, bit),
    2 => Vote(round, vote),
    3 => Coin(round, message),
    4 => Done(bit, signature),
});

/// What must survive a crash: VAL, ECHO, VOTE and DONE; the rest saves work.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record<S: Suite> {
    /// A round was entered with this estimate.
    Entered(Round, bool),
    /// Our ECHO.
    Echoed(Round, bool),
    /// Our VOTE.
    Voted(Round, Option<bool>),
    /// Of the coin of a round.
    Coin(Round, coin::Record<S>),
    /// Our DONE.
    Decided(bool),
    /// With this the instance halted.
    Certified(Decision<S>),
    /// Our VAL for a bit that is not our estimate.
    Supported(Round, bool),
}

wire_enum!(<S: Suite> Record<S> {
    0 => Entered(round, bit),
    1 => Echoed(round, bit),
    2 => Voted(round, vote),
    3 => Coin(round, record),
    4 => Decided(bit),
    5 => Certified(decision),
    6 => Supported(round, bit),
});

/// Names of pieces of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ticket {
    /// Signing our DONE.
    Sign,
    /// Verifying the DONE of these parties.
    Verify(PartySet),
    /// Verifying two conflicting DONE of this party.
    Accusation(Party),
    /// Of the coin of a round.
    Coin(Round, coin::Ticket),
}

/// A decided bit, and signatures that convince anyone: one of the signers is honest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decision<S: Suite> {
    /// The bit.
    pub value: bool,
    pub(super) certificate: Certificate<S>,
}

wire_struct!(<S: Suite> Decision<S> { value, certificate });

impl<S: Suite> Decision<S> {
    /// The work of verifying that this was decided by the instance at `scope`; `None` if it does
    /// not prove that, whatever its signatures are. Judged by [`holds`].
    pub fn verification(&self, group: &Group, scope: Scope) -> Option<Work<S>> {
        let voters = self.certificate.voters()?;
        let suffices = voters.is_subset(group.parties()) && group.structure().has_honest(voters);
        suffices.then(|| self.certificate.verification(statement(scope, self.value)))
    }
}

/// Does `done`, the answer to the work of [`Decision::verification`], say that it holds?
pub fn holds<S: Suite>(done: &Done<S>) -> bool {
    all_hold(done)
}

/// What DONE signs.
pub(super) fn statement(scope: Scope, bit: bool) -> Statement {
    let value = Digest::of("maftia binary agreement decision", &[u8::from(bit)]);
    Statement::new(scope, StatementKind::Binary, Place::default(), value)
}
