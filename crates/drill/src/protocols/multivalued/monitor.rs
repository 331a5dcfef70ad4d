//! What entitles a server to what it says, as whoever listens understands the rules.

use super::{Multivalued, group_of, number_of, statements};
use crate::check::{Complaint, Monitor, ensure};
use crate::protocols::{Heard, short};
use crate::world::{Court, DrillSuite, work};
use maftia_agreement::digest_of;
use maftia_agreement::multivalued::{Basis, Choice, Command, Election, Message, Outcome, Step};
use maftia_base::wire::{List, Wire, wire_struct};
use maftia_base::{Digest, PARTIES_MAX, Party};
use maftia_crypto::SignedShare;
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

/// What each server has heard, and the few things that it said and must remember.
pub struct Reasons<S> {
    asked: BTreeSet<(Party, u64)>,
    finishes: Heard<u64>,
    shares: Heard<u64>,
    proposals: Heard<(u64, u64)>,
    /// Who echoed whose lock, by view: what keeps it from refusing that leader.
    locked: BTreeSet<(Party, u64, Party)>,
    refused: BTreeSet<(Party, u64)>,
    valid: BTreeSet<(Party, u64)>,
    /// Who was given a view's coin by somebody else.
    coins: BTreeSet<(Party, u64)>,
    leaders: BTreeMap<u64, Party>,
    suite: PhantomData<S>,
}

impl<S: DrillSuite> Reasons<S> {
    fn leader(&mut self, view: u64, court: &Court<S>) -> Party {
        *self.leaders.entry(view).or_insert_with(|| {
            let coin = court.coin(court.scope.child("leader", view));
            statements::leader(short(&coin), court.quorums.n)
        })
    }

    /// Whoever holds the leader's lock does not refuse it, and the other way round.
    fn is_consistent(&mut self, by: Party, view: u64, court: &Court<S>) -> bool {
        let leader = self.leader(view, court);
        !(self.refused.contains(&(by, view)) && self.locked.contains(&(by, view, leader)))
    }

    /// Is this a basis on which anything may be proposed in this view?
    fn basis_holds(
        &mut self,
        view: u64,
        basis: &Basis<S>,
        digest: Digest,
        court: &Court<S>,
    ) -> bool {
        let Some(last) = u32::try_from(view - 1).ok().filter(|last| *last > 0) else {
            return matches!(basis, Basis::First);
        };
        let (leader, last) = (self.leader(u64::from(last), court), super::view_of(last));
        match basis {
            Basis::First => false,
            Basis::Locked { lock, refusals, .. } => {
                let locked = statements::echo(court.scope, last, Step::Lock, leader, digest);
                court.is_certificate(lock, locked)
                    && court.is_certificate(refusals, statements::refusal(court.scope, last))
            }
            Basis::Free { votes, .. } => {
                court.is_certificate(votes, statements::vote(court.scope, last, None))
            }
        }
    }

    fn proposes(
        &mut self,
        by: Party,
        (view, value): (u64, u64),
        basis: &Basis<S>,
        court: &Court<S>,
    ) -> bool {
        let may = matches!(basis, Basis::Locked { .. }) || self.asked.contains(&(by, value));
        may && self.basis_holds(view, basis, digest_of(&value), court)
    }

    fn votes(&mut self, view: u64, choice: &Choice<S, u64>, court: &Court<S>) -> bool {
        let leader = self.leader(view, court);
        let in_view = super::view_of(view as u32);
        match choice {
            Choice::Yes { value, lock } => {
                let digest = digest_of(value);
                let locked = statements::echo(court.scope, in_view, Step::Lock, leader, digest);
                court.is_certificate(lock, locked)
            }
            Choice::No { refusals } => {
                court.is_certificate(refusals, statements::refusal(court.scope, in_view))
            }
        }
    }

    /// Has a quorum finished, as far as `by` can know?
    fn may_share(&self, by: Party, view: u64, court: &Court<S>) -> bool {
        let mut finished = self.finishes.from(by, view);
        finished.insert(by);
        let own_is_needed = court.quorums.is_quorum(finished);
        own_is_needed
            || self.coins.contains(&(by, view))
            || court.quorums.has_honest(self.shares.from(by, view))
    }
}

impl<S: DrillSuite> Monitor<Multivalued<S>> for Reasons<S> {
    fn new(_: &Multivalued<S>) -> Self {
        Self {
            asked: BTreeSet::new(),
            finishes: Heard::default(),
            shares: Heard::default(),
            proposals: Heard::default(),
            locked: BTreeSet::new(),
            refused: BTreeSet::new(),
            valid: BTreeSet::new(),
            coins: BTreeSet::new(),
            leaders: BTreeMap::new(),
            suite: PhantomData,
        }
    }

    fn ordered(&mut self, by: Party, order: &Command<u64>) {
        match order {
            Command::Propose(value) => {
                self.asked.insert((by, *value));
                self.valid.insert((by, short(&digest_of(value))));
            }
            Command::Accept(digest) => {
                self.valid.insert((by, short(digest)));
            }
        }
    }

    fn heard(&mut self, by: Party, from: Party, said: &Message<S, u64>, court: &Court<S>) {
        match said {
            Message::Finish { view, digest, certificate } => {
                let statement = statements::echo(court.scope, *view, Step::Finish, from, *digest);
                if court.is_certificate(certificate, statement) {
                    self.finishes.note(by, from, number_of(*view));
                }
            }
            Message::Share { view, .. } => self.shares.note(by, from, number_of(*view)),
            Message::Elected { view, election } => {
                let name = statements::coin(court.scope, *view);
                if court.coin_of(name, shares_in(election)).is_some() {
                    self.coins.insert((by, number_of(*view)));
                }
            }
            Message::Propose { view, value, basis, .. } => {
                if matches!(basis, Basis::Locked { .. }) {
                    // Whoever echoed what is locked held it for valid.
                    self.valid.insert((by, short(&digest_of(value))));
                }
                let what = (number_of(*view), short(&digest_of(value)));
                self.proposals.note(by, from, what);
            }
            _ => {}
        }
    }

    fn says(
        &mut self,
        by: Party,
        to: Party,
        said: &Message<S, u64>,
        court: &Court<S>,
    ) -> Result<(), Complaint> {
        let (checker, holds) = match said {
            Message::Propose { view, value, basis, .. } => {
                ("justified", self.proposes(by, (number_of(*view), *value), basis, court))
            }
            Message::Echo { view, step: Step::Finish, .. } => {
                self.locked.insert((by, number_of(*view), to));
                ("speech", self.is_consistent(by, number_of(*view), court))
            }
            Message::Echo { .. } => ("justified", true),
            Message::Lock { view, digest, certificate } => {
                let statement = statements::echo(court.scope, *view, Step::Lock, by, *digest);
                ("transfer", court.is_certificate(certificate, statement))
            }
            Message::Finish { view, digest, certificate } => {
                // Its own finish counts, too: it holds a lock of its own.
                self.locked.insert((by, number_of(*view), by));
                let statement = statements::echo(court.scope, *view, Step::Finish, by, *digest);
                ("transfer", court.is_certificate(certificate, statement))
            }
            Message::Share { view, .. } => ("secrecy", self.may_share(by, number_of(*view), court)),
            Message::Refuse { view, .. } => {
                self.refused.insert((by, number_of(*view)));
                ("speech", self.is_consistent(by, number_of(*view), court))
            }
            Message::Vote { view, choice, .. } => {
                ("justified", self.votes(number_of(*view), choice, court))
            }
            Message::Decided { digest, decision } => {
                ("transfer", holds_for(decision, *digest, court))
            }
            // What it proves is the receiver's to check; that it may be known is said of shares.
            Message::Elected { .. } | Message::Ask { .. } | Message::Answer { .. } => {
                ("justified", true)
            }
        };
        ensure(holds, checker, || format!("{by} says {said:?} to {to}, against the rules"))
    }

    fn told(
        &mut self,
        by: Party,
        told: &Outcome<S, u64>,
        court: &Court<S>,
    ) -> Result<(), Complaint> {
        let Outcome::Decided { value, proof, .. } = told else { return Ok(()) };
        let holds = holds_for(proof, digest_of(value), court);
        ensure(holds, "transfer", || format!("{by} decides {value} without a proof"))
    }
}

/// One share in a proof of a coin, as it is on the wire.
struct Cast<S: DrillSuite> {
    party: Party,
    share: SignedShare<S, S::CoinShare>,
}

wire_struct!(<S: DrillSuite> Cast<S> { party, share });

fn shares_in<S: DrillSuite>(election: &Election<S>) -> Vec<(Party, SignedShare<S, S::CoinShare>)> {
    let casts = List::<Cast<S>, PARTIES_MAX>::from_wire(election.to_wire());
    let casts = casts.expect("a proof of a coin is a list of shares").into_vec();
    casts.into_iter().map(|Cast { party, share }| (party, share)).collect()
}

fn holds_for<S: DrillSuite>(
    decision: &maftia_agreement::multivalued::Decision<S>,
    digest: Digest,
    court: &Court<S>,
) -> bool {
    maftia_base::canary::quietly(|| {
        let group = group_of(court);
        decision.checks(court.scope, &group, digest).is_some_and(|checks| {
            let done = |piece| work::<S>(&court.keyrings[0], piece);
            let dones: Vec<_> = checks.into_iter().map(done).collect();
            decision.holds(&group, &dones).is_some()
        })
    })
}
