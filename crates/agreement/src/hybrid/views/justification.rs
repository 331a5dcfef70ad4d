//! Proofs that stand on their own: why a value may be proposed, and that it was decided.

use super::Here;
use super::message::{COUNTER, Place, Step, View, proposal_digest, statement};
use crate::hybrid::Members;
use crate::hybrid::members::Casts;
use maftia_base::canary;
use maftia_base::wire::{List, wire_struct};
use maftia_base::{Digest, Group, Party, PartySet, Scope};
use maftia_crypto::{Attested, Done, SealClaim, Suite, Work};
use maftia_ttcb_api::Identifier;

/// Most views of one agreement in which a value is proposed again. Patience doubles from view to
/// view, so that no time is long enough for more.
pub(super) const LINKS_MAX: usize = 64;

/// Why a leader may propose in one view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Link {
    /// The view.
    view: View,
    /// A quorum that entered it.
    entered: Casts,
    /// The latest proposal that one of them voted for: this very one; or nobody voted.
    basis: Option<Basis>,
}

/// A proposal in an earlier view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Basis {
    view: View,
    /// Its leader's identifier.
    identifier: Attested<Identifier>,
}

wire_struct!(Link { view, entered, basis });
wire_struct!(Basis { view, identifier });

/// Why a proposal may be made in its view: for each view in which it was, from the last to the
/// first, the quorum that entered it, and what the latest vote of one of them was for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Justification(List<Link, LINKS_MAX>);

wire_struct!(Justification { 0 });

impl Justification {
    /// That of the first view, where everything may be proposed.
    pub(super) fn none() -> Self {
        Self(List::default())
    }

    /// Nobody of a quorum voted in this agreement: everything may be proposed.
    pub(super) fn free(view: View, entered: Casts) -> Self {
        let link = Link { view, entered, basis: None };
        Self(List::new(vec![link]).expect("one fits"))
    }

    /// The latest vote of a quorum was for a proposal in view `at`, which was made for that
    /// reason; `None` after too many views.
    pub(super) fn again(
        view: View,
        entered: Casts,
        (at, identifier): (View, Attested<Identifier>),
        reason: &Self,
    ) -> Option<Self> {
        let link = Link { view, entered, basis: Some(Basis { view: at, identifier }) };
        let links = std::iter::once(link).chain(reason.0.iter().cloned()).collect();
        List::new(links).map(Self)
    }

    /// What must hold for a proposal of `origin` to be justified in `view`; `None` if it cannot.
    /// (V7)
    pub(super) fn claims(
        &self,
        here: &Here<'_>,
        view: View,
        (origin, proposal): (View, Digest),
    ) -> Option<Vec<SealClaim>> {
        let mut claims = Vec::new();
        let mut at = view;
        for link in self.0.iter() {
            if link.view != at || at == View(0) {
                return None;
            }
            claims.extend(link.entered_claims(here, proposal)?);
            let Some(basis) = &link.basis else {
                break; // Fresh in this view.
            };
            let leader = here.leader(basis.view);
            let step = (basis.view, Step::Prepare, proposal);
            claims.push(here.claim(leader, step, &basis.identifier)?);
            at = basis.view;
        }
        // Every link but that of the first view is there, and the chain ends where the value began.
        let complete = match self.0.last() {
            Some(last) => at == View(0) || last.basis.is_none(),
            None => at == View(0),
        };
        (complete && at == origin).then_some(claims)
    }
}

impl Link {
    /// That a quorum entered, and that the basis is the latest vote of any of them.
    fn entered_claims(&self, here: &Here<'_>, proposal: Digest) -> Option<Vec<SealClaim>> {
        let mut parties = PartySet::EMPTY;
        let mut claims = Vec::new();
        let latest = self.basis.as_ref().map(|basis| basis.view);
        if latest.is_some_and(|latest| latest >= self.view) {
            return None;
        }
        let mut seen = None;
        for cast in self.entered.iter() {
            if !parties.insert(cast.party) {
                return None;
            }
            let step = (self.view, Step::Enter, Digest::default());
            claims.push(here.claim(cast.party, step, &cast.identifier)?);
            let vote = here.last_vote(&cast.identifier);
            if vote > latest {
                return None;
            }
            if vote.is_some() && vote == latest {
                // A vote for something that the leader of that view did not propose is a lie.
                if !here.is_vote(&cast.identifier, latest?, proposal) {
                    return None;
                }
                seen = latest;
            }
        }
        (here.structure.is_quorum(parties) && seen == latest).then_some(claims)
    }
}

/// How a value was decided: a quorum voted for one proposal in one view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    pub(super) view: View,
    pub(super) origin: View,
    /// The identifier of the first proposal.
    pub(super) first: Attested<Identifier>,
    /// That of the proposal in this view.
    pub(super) prepare: Attested<Identifier>,
    /// The votes of the others.
    pub(super) commits: Casts,
}

wire_struct!(Decision { view, origin, first, prepare, commits });

impl Decision {
    /// Who proposed the value first: the same at every server, whatever the proof.
    pub fn proposer(&self, base: Party, n: usize) -> Party {
        super::leader_of(self.origin, base, n)
    }

    /// The work of checking that the agreement at `place`, with these members and under `base` as
    /// its first leader, decided the value with this digest; `None` if it cannot have.
    pub fn checks<S: Suite>(
        &self,
        (place, base): (Place, Party),
        members: &Members,
        scope: Scope,
        group: &Group,
        value: Digest,
    ) -> Option<Vec<Work<S>>> {
        let here = Here { scope, place, members, structure: group.structure(), base };
        Some(vec![self.check(&here, value)?])
    }

    /// The agreed seed, if the results of [`checks`](Self::checks) say that it holds.
    pub fn holds<S: Suite>(&self, dones: &[Done<S>]) -> Option<Digest> {
        let good = dones.iter().all(
            |done| matches!(done, Done::Verified(verdicts) if verdicts.iter().all(|good| *good)),
        );
        (good && !dones.is_empty()).then(|| self.seed())
    }

    /// The agreed seed: the signature of a trusted component, which nobody knew before the value
    /// was proposed.
    pub(crate) fn seed(&self) -> Digest {
        Digest::of("maftia views seed", &self.first.0.seal)
    }

    /// The work of checking it for the value with this digest; `None` if it cannot hold.
    pub(super) fn check<S: Suite>(&self, here: &Here<'_>, value: Digest) -> Option<Work<S>> {
        let proposal = proposal_digest(self.origin, value);
        let leader = here.leader(self.view);
        let first = (self.origin, Step::Prepare, proposal);
        let mut claims = vec![here.claim(here.leader(self.origin), first, &self.first)?];
        claims.push(here.claim(leader, (self.view, Step::Prepare, proposal), &self.prepare)?);
        let mut voters = PartySet::EMPTY;
        voters.insert(leader);
        for cast in self.commits.iter() {
            if !voters.insert(cast.party) {
                return None;
            }
            let step = (self.view, Step::Commit, proposal);
            claims.push(here.claim(cast.party, step, &cast.identifier)?);
        }
        here.structure.is_quorum(voters).then_some(Work::VerifySeals(claims))
    }
}

impl Here<'_> {
    /// The claim that a party identified this step; `None` if the identifier does not say so.
    pub(super) fn claim(
        &self,
        party: Party,
        (view, step, proposal): (View, Step, Digest),
        identifier: &Attested<Identifier>,
    ) -> Option<SealClaim> {
        let said = &identifier.0.said;
        let value = statement(self.scope, view, step, proposal);
        let place = (said.position, said.value, said.marked)
            == (self.place.position(view, step), value.0, step != Step::Enter);
        self.members
            .claim(party, COUNTER, identifier)
            .filter(|_| canary!("views-identifier-unplaced", true, place))
    }

    /// The view of the last vote before an identifier, if it was in this agreement.
    pub(super) fn last_vote(&self, identifier: &Attested<Identifier>) -> Option<View> {
        self.place.view_of(identifier.0.said.last)
    }

    /// Was the last vote before an identifier for this proposal, in this view?
    pub(super) fn is_vote(
        &self,
        identifier: &Attested<Identifier>,
        view: View,
        proposal: Digest,
    ) -> bool {
        let said = &identifier.0.said;
        [Step::Prepare, Step::Commit].into_iter().any(|step| {
            let value = statement(self.scope, view, step, proposal);
            (said.last, said.last_value) == (self.place.position(view, step), value.0)
        })
    }
}
