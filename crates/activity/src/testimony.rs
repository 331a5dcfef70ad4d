//! Testimonies: what a server that has stopped holds of the order, for a group that cannot go on.
//!
//! If more trusted components begin another life at once than may be faulty, no ordered decision
//! admits them. Operators then found the group anew: every server that stopped testifies where its
//! log ends and with which life of its component it would begin; if all that testify hold the same,
//! and are a quorum, the group begins with that state and those lives, under another founding.
//!
//! # Promise
//! - *Nothing acknowledged is lost* if the servers that do not testify, and those that lie, are
//!   together no more than may be faulty.
//! - *Nobody is talked back*: a server begins anew only from the state that its own log shows, or,
//!   if that is lost or shows less, as one that lost its log.
//! - *Nothing of the old founding counts in the new*: whatever is signed or identified is bound to
//!   the founding ([`Group::founded`](maftia_base::Group::founded)), which names the one before it,
//!   the state and the lives.
//!
//! # Why it holds
//! *Nothing acknowledged is lost.* What a client was told was said by servers of which one is
//! honest: `f+1` replies, or shares of one signature. Let `m` servers not testify and at most
//! `f - m` lie. Of `f+1` that spoke to the client, at least one is honest and testifies. It had the
//! decisions and the batches in its log, durably, before it spoke, and so its testimony is of a
//! state with that request; and all testimonies are of one state. A quorum of testimonies alone
//! would not do: of `2f+1` servers, `f+1` that spoke and `f+1` that testify may share only a liar,
//! and the components, which kept it from denying its votes, have forgotten. So whoever is left out
//! counts as faulty, and has to be named.
//! *One state.* A log that is behind catches up before: servers whose components began another life
//! go on telling each other what was decided, with certificates (see [`Standing::Waiting`]).
//!
//! # Sources
//! Ours.
//!
//! [`Standing::Waiting`]: crate::Standing::Waiting

use maftia_agreement::atomic::Round;
use maftia_agreement::hybrid::{Life, Members};
use maftia_base::wire::wire_struct;
use maftia_base::{
    AdversaryStructure, Digest, Epoch, Party, PartySet, Place, Scope, Statement, StatementKind,
};
use maftia_crypto::{Attested, Claim, Suite, Work};
use maftia_ttcb_api::BootKeys;
use std::collections::BTreeMap;

/// Where a log ends: what it shows to be delivered, and in which state that leaves the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Held {
    /// The epoch.
    pub epoch: Epoch,
    /// The first round that is not delivered.
    pub round: Round,
    /// How many requests the group has executed.
    pub position: u64,
    /// Digest of the state and of the place in the order.
    pub digest: Digest,
}

wire_struct!(Held { epoch, round, position, digest });

impl Held {
    /// Does this lie later in the order?
    pub fn is_after(&self, other: &Self) -> bool {
        (self.epoch, self.round) > (other.epoch, other.round)
    }
}

/// What one server says, without its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Testimony {
    /// Where its log ends.
    pub held: Held,
    /// The present life of its trusted component, certified by its host's key guard.
    pub life: Attested<BootKeys>,
}

wire_struct!(Testimony { held, life });

impl Testimony {
    /// What the server signs, in the scope of its group. One that has learned more since, or whose
    /// component has begun yet another life, testifies again at another place.
    pub fn statement(&self, scope: Scope) -> Statement {
        let scope = scope.child("testimony", self.life.0.said.epoch);
        let place = Place(self.held.epoch.0, self.held.round.0);
        let value = Digest::of_encoded("maftia testimony", self);
        Statement::new(scope, StatementKind::Testimony, place, value)
    }

    /// The life, as members name it.
    pub fn life(&self) -> Life {
        Life::from(&self.life.0.said)
    }
}

/// What one server says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SignedTestimony<S: Suite> {
    /// What.
    pub testimony: Testimony,
    /// On [`Testimony::statement`].
    pub signature: S::Signature,
}

wire_struct!(<S: Suite> SignedTestimony<S> { testimony, signature });

impl<S: Suite> SignedTestimony<S> {
    /// The work of finding out whether `party`, one of `members`, says so in this scope, and its
    /// guard certified the life; `None` if the life is of another host. It holds if
    /// [`holds`](maftia_agreement::checkpoint::holds) says so of the answer.
    pub fn verification(self, party: Party, members: &Members, scope: Scope) -> Option<Work<S>> {
        let seal = members.member(party)?.life_claim(&self.testimony.life)?;
        let statement = self.testimony.statement(scope);
        let claim = Claim { party, statement, signature: self.signature };
        Some(Work::VerifyWithSeals(vec![claim], vec![seal]))
    }
}

/// With what a group begins anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refounding {
    /// The state.
    pub held: Held,
    /// Who testified, with the life to begin with.
    pub lives: BTreeMap<Party, Life>,
}

/// Why a group does not begin anew with these testimonies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disagreement {
    /// Too few testify, or others are missing than those who are named as left out.
    Missing(PartySet),
    /// Who is left out testifies.
    NotMissing(PartySet),
    /// These are not in the state of the one that is furthest.
    Behind(PartySet),
    /// These two are equally far, in different states: one of them is faulty.
    Differ(Party, Party),
    /// These servers, whose components may be as they were, are enough to go on without.
    CanGoOn(PartySet),
}

impl Refounding {
    /// What these testimonies, whose signatures and certificates hold, one a server, make together;
    /// `left_out` count as faulty.
    pub fn of(
        testimonies: &[(Party, Testimony)],
        left_out: PartySet,
        structure: &AdversaryStructure,
    ) -> Result<Self, Disagreement> {
        let said: PartySet = testimonies.iter().map(|(party, _)| *party).collect();
        let missing = PartySet::all(structure.n()).difference(said);
        if !said.intersection(left_out).is_empty() {
            return Err(Disagreement::NotMissing(said.intersection(left_out)));
        }
        if missing != left_out || !structure.is_quorum(said) {
            return Err(Disagreement::Missing(missing));
        }
        let place = |held: &Held| (held.epoch, held.round);
        let furthest = testimonies.iter().max_by_key(|(_, it)| place(&it.held));
        let (first, held) = furthest.map(|(party, it)| (*party, it.held)).expect("a quorum speaks");
        let behind = testimonies.iter().filter(|(_, it)| held.is_after(&it.held));
        let behind: PartySet = behind.map(|(party, _)| *party).collect();
        if !behind.is_empty() {
            return Err(Disagreement::Behind(behind));
        }
        if let Some((other, _)) = testimonies.iter().find(|(_, it)| it.held != held) {
            return Err(Disagreement::Differ(first, *other));
        }
        let lives = testimonies.iter().map(|(party, it)| (*party, it.life())).collect();
        Ok(Self { held, lives })
    }

    /// Could the others go on without a ceremony, as far as is known? `members` are those of the
    /// state: a component that lives as there may work with one that is left out.
    pub fn is_needless(
        &self,
        members: &Members,
        structure: &AdversaryStructure,
    ) -> Option<Disagreement> {
        let changed = self.lives.iter().filter(|(party, life)| {
            members.member(**party).is_some_and(|member| member.life != **life)
        });
        let changed: PartySet = changed.map(|(party, _)| *party).collect();
        let same = PartySet::all(structure.n()).difference(changed);
        structure.is_quorum(same).then_some(Disagreement::CanGoOn(same))
    }

    /// The founding that follows on `before`.
    pub fn founding(&self, before: Digest) -> Digest {
        Digest::of_encoded("maftia refounding", &(before, (self.held, self.lives.clone())))
    }
}
