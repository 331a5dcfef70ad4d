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

#[cfg(test)]
mod tests {
    use super::*;
    use maftia_agreement::hybrid::Member;
    use maftia_base::GroupId;
    use maftia_crypto::Done;
    use maftia_crypto::ideal::{self, IdealSuite};
    use maftia_ttcb_api::{Host, Sealed, Statement as _};

    fn p(index: usize) -> Party {
        Party::new(index)
    }

    fn set(parties: &[usize]) -> PartySet {
        parties.iter().map(|index| p(*index)).collect()
    }

    fn structure() -> AdversaryStructure {
        AdversaryStructure::threshold(3, 1).expect("well-formed")
    }

    fn guard(host: usize) -> [u8; 32] {
        [host as u8 + 1; 32]
    }

    fn says(host: usize, round: u64, state: u8, life: u8) -> Testimony {
        let digest = Digest([state; 32]);
        let held = Held { epoch: Epoch(0), round: Round(round), position: 7, digest };
        let (epoch, signing) = (u64::from(life), [life; 32]);
        let said = BootKeys { host: Host(host as u8), epoch, signing, exchange: [0; 32] };
        let seal = ideal::seal(&guard(host), &said.digest());
        Testimony { held, life: Attested(Sealed { said, seal }) }
    }

    fn of(said: &[(usize, Testimony)], left_out: &[usize]) -> Result<Refounding, Disagreement> {
        let said: Vec<_> = said.iter().map(|(host, it)| (p(*host), *it)).collect();
        Refounding::of(&said, set(left_out), &structure())
    }

    fn members() -> Members {
        let member = |host: usize| Member::of(&says(host, 0, 0, 1).life.0.said, 0, guard(host));
        Members::new((0..3).map(member))
    }

    #[test]
    fn all_testify_or_are_named_and_those_that_do_are_a_quorum() {
        let (one, two, three) = (says(0, 5, 1, 2), says(1, 5, 1, 2), says(2, 5, 1, 2));
        assert!(of(&[(0, one), (1, two), (2, three)], &[]).is_ok());
        assert_eq!(of(&[(0, one), (1, two)], &[]), Err(Disagreement::Missing(set(&[2]))));
        assert!(of(&[(0, one), (1, two)], &[2]).is_ok());
        let alone = of(&[(0, one)], &[1, 2]);
        assert_eq!(alone, Err(Disagreement::Missing(set(&[1, 2]))), "two may not be corrupt");
        let named = of(&[(0, one), (1, two), (2, three)], &[2]);
        assert_eq!(named, Err(Disagreement::NotMissing(set(&[2]))));
    }

    #[test]
    fn who_holds_less_than_another_wins_nothing_nor_do_two_of_them() {
        let (ahead, behind) = (says(0, 6, 1, 2), says(1, 5, 1, 2));
        let two = of(&[(0, ahead), (1, behind), (2, says(2, 5, 1, 2))], &[]);
        assert_eq!(two, Err(Disagreement::Behind(set(&[1, 2]))));
        let other_state = of(&[(0, ahead), (1, says(1, 6, 2, 2)), (2, says(2, 6, 1, 2))], &[]);
        assert!(matches!(other_state, Err(Disagreement::Differ(..))));
    }

    #[test]
    fn a_group_of_which_enough_components_live_on_is_not_founded_anew() {
        let needless = |lives: [u8; 3], left_out: &[usize]| {
            let said = (0..3).filter(|host| !left_out.contains(host));
            let said: Vec<_> = said.map(|host| (host, says(host, 5, 1, lives[host]))).collect();
            let made = of(&said, left_out).expect("they agree");
            made.is_needless(&members(), &structure())
        };
        assert_eq!(needless([2, 2, 2], &[]), None);
        assert_eq!(needless([2, 2, 1], &[]), None);
        assert_eq!(needless([2, 1, 1], &[]), Some(Disagreement::CanGoOn(set(&[1, 2]))));
        let beside = needless([2, 1, 1], &[2]);
        assert_eq!(beside, Some(Disagreement::CanGoOn(set(&[1, 2]))), "it may run with the other");
    }

    #[test]
    fn a_founding_is_named_by_the_one_before_the_state_and_the_lives() {
        let founding = |before: u8, state: u8, life: u8| {
            let all: Vec<_> = (0..3).map(|host| (host, says(host, 5, state, life))).collect();
            of(&all, &[]).expect("they agree").founding(Digest([before; 32]))
        };
        let names = [(0, 1, 2), (1, 1, 2), (0, 2, 2), (0, 1, 3)];
        let names = names.map(|(before, state, life)| founding(before, state, life));
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
    }

    #[test]
    fn a_testimony_holds_for_who_signed_it_where_it_was_signed_with_a_certified_life() {
        let formula = maftia_base::Formula::exact(&structure());
        let keyrings = ideal::keyrings(&structure(), &formula, 1);
        let scope = Scope::root(GroupId::default(), Epoch(0));
        let run = |work, who: usize| {
            let done = IdealSuite::run_many(vec![work], &keyrings[who], Default::default());
            done.into_iter().next().expect("one answer")
        };
        let signed = |who: usize, testimony: Testimony| {
            let Done::Signed(signed) = run(Work::Sign(testimony.statement(scope)), who) else {
                panic!("a signature was asked for")
            };
            SignedTestimony::<IdealSuite> { testimony, signature: signed.signature }
        };
        let holds = |said: SignedTestimony<IdealSuite>, of: usize, scope| {
            let work = said.verification(p(of), &members(), scope);
            work.is_some_and(|work| maftia_agreement::checkpoint::holds(&run(work, 0)))
        };
        let good = signed(1, says(1, 5, 1, 2));
        assert!(holds(good.clone(), 1, scope));
        assert!(!holds(good.clone(), 2, scope), "another says it");
        assert!(!holds(good.clone(), 1, scope.founded(Digest([9; 32]))), "under another founding");
        let altered = SignedTestimony { testimony: says(1, 6, 1, 2), ..good };
        assert!(!holds(altered, 1, scope));
        assert!(!holds(signed(2, says(1, 5, 1, 2)), 2, scope), "the life is another host's");
        let mut uncertified = says(1, 5, 1, 2);
        uncertified.life.0.said.signing = [8; 32];
        assert!(!holds(signed(1, uncertified), 1, scope), "no guard certified it");
    }
}
