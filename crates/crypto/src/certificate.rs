use crate::{Signed, Suite, Work};
use maftia_base::wire::{List, wire_struct};
use maftia_base::{Annotation, PARTIES_MAX, Party, PartySet, Statement};

/// A claim that `party` signed `statement`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim<S: Suite> {
    /// Who is said to have signed.
    pub party: Party,
    /// What is said to be signed.
    pub statement: Statement,
    /// The signature.
    pub signature: S::Signature,
}

/// One vote of a certificate: the statement is the certificate's, but for the annotation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot<S: Suite> {
    /// Who voted.
    pub party: Party,
    /// What rode along, for example the voter's clock.
    pub annotation: Annotation,
    /// Signature on the statement with that annotation.
    pub signature: S::Signature,
}

wire_struct!(<S: Suite> Ballot<S> { party, annotation, signature });

/// Votes of several parties on one statement, transferable to anyone.
///
/// Works for every adversary structure: whether the voters suffice is the protocol's question,
/// put to [`voters`](Self::voters).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Certificate<S: Suite> {
    ballots: List<Ballot<S>, PARTIES_MAX>,
}

wire_struct!(<S: Suite> Certificate<S> { ballots });

impl<S: Suite> Certificate<S> {
    /// From one signed statement a party; all statements must be equal but for annotations.
    pub fn new(votes: impl IntoIterator<Item = (Party, Signed<S>)>) -> Self {
        let ballots: Vec<_> = votes
            .into_iter()
            .map(|(party, signed)| Ballot {
                party,
                annotation: signed.statement.annotation,
                signature: signed.signature,
            })
            .collect();
        Self { ballots: List::new(ballots).expect("at most one vote a party") }
    }

    /// Who voted; `None` if somebody is there twice, which no honest party sends.
    pub fn voters(&self) -> Option<PartySet> {
        let mut voters = PartySet::EMPTY;
        self.ballots.iter().all(|ballot| voters.insert(ballot.party)).then_some(voters)
    }

    /// The votes.
    pub fn ballots(&self) -> &[Ballot<S>] {
        &self.ballots
    }

    /// The claims to be verified for this to be a certificate of `statement`.
    pub fn claims(&self, statement: Statement) -> impl Iterator<Item = Claim<S>> {
        self.ballots.iter().map(move |ballot| Claim {
            party: ballot.party,
            statement: Statement { annotation: ballot.annotation, ..statement },
            signature: ballot.signature.clone(),
        })
    }

    /// The work of verifying it; it holds if every verdict is true and the voters suffice.
    pub fn verification(&self, statement: Statement) -> Work<S> {
        Work::Verify(self.claims(statement).collect())
    }
}
