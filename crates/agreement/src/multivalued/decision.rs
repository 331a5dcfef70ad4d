//! Proofs that stand on their own: who led a view, and what was decided.

use super::message::{Step, View, echo, vote};
use maftia_base::canary;
use maftia_base::wire::{List, wire_enum, wire_struct};
use maftia_base::{Digest, Group, PARTIES_MAX, Party, PartySet, Scope};
use maftia_crypto::{Certificate, Done, SignedShare, Suite, Work};

/// Shares of one coin that together give its value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Election<S: Suite> {
    shares: List<Cast<S>, PARTIES_MAX>,
}

wire_struct!(<S: Suite> Election<S> { shares });

/// One party's share of a coin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Cast<S: Suite> {
    party: Party,
    share: SignedShare<S, S::CoinShare>,
}

wire_struct!(<S: Suite> Cast<S> { party, share });

impl<S: Suite> Election<S> {
    /// From shares of different parties.
    pub(super) fn new(
        shares: impl IntoIterator<Item = (Party, SignedShare<S, S::CoinShare>)>,
    ) -> Self {
        let shares = shares.into_iter().map(|(party, share)| Cast { party, share }).collect();
        Self { shares: List::new(shares).expect("at most one share a party") }
    }

    /// The work of combining the coin called `name`; `None` if these parties cannot.
    pub(super) fn check(&self, name: Scope, group: &Group) -> Option<Work<S>> {
        let mut parties = PartySet::EMPTY;
        let distinct = self.shares.iter().all(|cast| parties.insert(cast.party));
        let able = parties.is_subset(group.parties()) && group.sharing().is_qualified(parties);
        let shares = self.shares.iter().map(|cast| (cast.party, cast.share.clone())).collect();
        (distinct && able).then_some(Work::CombineCoin { name, shares })
    }
}

/// The party that a coin elects.
///
/// The value is 256 random bits, so that the remainder is uniform up to 2^-58.
pub(super) fn leader_of(coin: Digest, group: &Group) -> Party {
    let last = canary!("multivalued-leader-off-by-one", 1, 0);
    Party::new((coin.short() % (group.n() as u64 - last)) as usize)
}

/// What the layer above gets of the first view's coin: not the leader's number in disguise.
pub(super) fn seed_of(coin: Digest) -> Digest {
    Digest::of("maftia multivalued seed", &coin.0)
}

/// Who leads a view, with proof, and the proof of the first view's coin, which gives the seed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Elections<S: Suite> {
    pub(super) leader: Party,
    pub(super) first: Election<S>,
    /// Absent in the first view.
    pub(super) last: Option<Election<S>>,
}

wire_struct!(<S: Suite> Elections<S> { leader, first, last });

impl<S: Suite> Elections<S> {
    /// The work of checking these for `view`; `None` if they cannot hold.
    pub(super) fn checks(&self, scope: Scope, group: &Group, view: View) -> Option<Vec<Work<S>>> {
        let first = self.first.check(View::FIRST.coin(scope), group)?;
        match &self.last {
            None if view == View::FIRST => Some(vec![first]),
            Some(last) if view > View::FIRST => {
                Some(vec![first, last.check(view.coin(scope), group)?])
            }
            _ => None,
        }
    }

    /// The agreed seed, if the results of [`checks`](Self::checks) say that this leader leads.
    pub(super) fn holds(&self, group: &Group, dones: &[Done<S>]) -> Option<Digest> {
        let coins: Option<Vec<Digest>> = dones.iter().map(coin_of).collect();
        let coins = coins?;
        let (first, last) = (coins.first()?, coins.last()?);
        (leader_of(*last, group) == self.leader).then(|| seed_of(*first))
    }
}

fn coin_of<S: Suite>(done: &Done<S>) -> Option<Digest> {
    match done {
        Done::Coin { value, .. } => *value,
        _ => None,
    }
}

/// How a value was decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Proof<S: Suite> {
    /// A quorum echoed the leader's lock.
    Finish(Certificate<S>),
    /// A quorum voted for the leader's value.
    Votes(Certificate<S>),
}

wire_enum!(<S: Suite> Proof<S> { 0 => Finish(certificate), 1 => Votes(certificate) });

/// A proof of what one instance decided, which convinces anyone who knows the group's keys.
///
/// Decisions of different servers may differ in view and signatures; the value that they prove and
/// the seed that they give do not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decision<S: Suite> {
    pub(super) view: View,
    pub(super) elections: Elections<S>,
    pub(super) proof: Proof<S>,
}

wire_struct!(<S: Suite> Decision<S> { view, elections, proof });

impl<S: Suite> Decision<S> {
    /// The view in which it was decided.
    pub fn view(&self) -> View {
        self.view
    }

    /// Whose proposal was decided.
    pub fn leader(&self) -> Party {
        self.elections.leader
    }

    /// The work of checking that the instance of this scope decided the value with this digest;
    /// `None` if it cannot hold. Put the results, in the same order, to [`holds`](Self::holds).
    pub fn checks(&self, scope: Scope, group: &Group, digest: Digest) -> Option<Vec<Work<S>>> {
        let mut checks = self.elections.checks(scope, group, self.view)?;
        checks.push(self.certificate_check(scope, group, digest)?);
        Some(checks)
    }

    /// The agreed seed, if the results of [`checks`](Self::checks) say that the decision holds.
    pub fn holds(&self, group: &Group, dones: &[Done<S>]) -> Option<Digest> {
        let (certificate, coins) = dones.split_last()?;
        let seed = self.elections.holds(group, coins)?;
        all_true(certificate).then_some(seed)
    }

    /// The last of the checks: all that is left if the leader and the seed are known.
    pub(super) fn certificate_check(
        &self,
        scope: Scope,
        group: &Group,
        digest: Digest,
    ) -> Option<Work<S>> {
        let (certificate, statement) = match &self.proof {
            Proof::Finish(certificate) => {
                (certificate, echo(scope, self.view, Step::Finish, self.leader(), digest))
            }
            Proof::Votes(certificate) => (certificate, vote(scope, self.view, Some(digest))),
        };
        is_quorum(certificate, group).then(|| certificate.verification(statement))
    }
}

/// Did a quorum of the group sign this, once each?
pub(super) fn is_quorum<S: Suite>(certificate: &Certificate<S>, group: &Group) -> bool {
    certificate.voters().is_some_and(|voters| {
        let structure = group.structure();
        let enough = canary!(
            "multivalued-certificate-short",
            structure.has_honest(voters),
            structure.is_quorum(voters)
        );
        voters.is_subset(group.parties()) && enough
    })
}

/// Is this the answer to a verification, with every verdict true?
pub(super) fn all_true<S: Suite>(done: &Done<S>) -> bool {
    matches!(done, Done::Verified(verdicts) if verdicts.iter().all(|verdict| *verdict))
}
