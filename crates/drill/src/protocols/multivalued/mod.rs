//! Multi-valued agreement with an external predicate.

mod monitor;
mod specials;

pub(crate) use monitor::Reasons;

use super::consistent::{alone, thin};
use super::short;
use crate::adversary::{STEPS_PER_ROUND, Special};
use crate::check::{Fact, Goal};
use crate::plan::Plan;
use crate::stage::{CoinShareOf, Said, Seat, SignatureOf, Stage, Told};
use crate::world::{Court, DrillSuite};
use maftia_agreement::digest_of;
use maftia_agreement::multivalued::{
    Basis, Choice, Command, ITEMS_PER_PARTY_MAX, Message, Outcome, Step, ValidatedAgreement, View,
};
use maftia_base::wire::{Encode, Wire};
use maftia_base::{Digest, Group, Party, PartySet, Place, Scope, Statement, StatementKind};
use maftia_sim::{Letter, Random};
use std::marker::PhantomData;

/// One agreement: server `i` proposes `100 + 2i`, its other face `200 + 2i`; odd values are not
/// valid.
pub struct Multivalued<S> {
    suite: PhantomData<S>,
}

/// The number of a view.
pub(crate) fn number_of(view: View) -> u64 {
    let bytes = view.encode();
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The view of a number.
pub(crate) fn view_of(number: u32) -> View {
    View::from_wire(number.encode()).expect("a view is a number")
}

/// What echoes, refusals and votes sign, and how coins are called, in the judges' words.
pub(crate) mod statements {
    use super::*;

    pub(crate) fn echo(s: Scope, view: View, step: Step, by: Party, value: Digest) -> Statement {
        let place = Place(number_of(view) * 2 + step as u64, by.index() as u64);
        Statement::new(s, StatementKind::Echo, place, value)
    }

    pub(crate) fn refusal(scope: Scope, view: View) -> Statement {
        let value = Digest::of("maftia multivalued refusal", b"");
        Statement::new(scope, StatementKind::PreVote, Place(number_of(view), 0), value)
    }

    pub(crate) fn vote(scope: Scope, view: View, choice: Option<Digest>) -> Statement {
        let value = choice.unwrap_or_else(|| Digest::of("maftia multivalued vote no", b""));
        Statement::new(scope, StatementKind::Vote, Place(number_of(view), 0), value)
    }

    pub(crate) fn coin(scope: Scope, view: View) -> Scope {
        scope.child("leader", number_of(view))
    }

    /// Whom a coin elects.
    pub(crate) fn leader(coin: u64, n: usize) -> Party {
        Party::new((coin % n as u64) as usize)
    }
}

pub(crate) fn group_of<S: DrillSuite>(court: &Court<S>) -> Group {
    let structure = court.quorums.structure();
    Group::new(Default::default(), maftia_base::Epoch(0), Party::new(0), structure)
}

impl<S: DrillSuite> Stage for Multivalued<S> {
    type Suite = S;
    type Protocol = ValidatedAgreement<S, u64>;
    type Monitor = Reasons<S>;
    const NAME: &'static str = "multivalued";

    fn new(_: &Plan, _: &mut Random) -> Self {
        Self { suite: PhantomData }
    }

    fn make(&self, _: &Group, _: u32) -> Self::Protocol {
        ValidatedAgreement::new()
    }

    fn footprint_max(&self, n: usize) -> usize {
        ITEMS_PER_PARTY_MAX * n
    }

    fn orders(&self, party: Party, face: usize) -> Vec<Command<u64>> {
        vec![Command::Propose(100 * (1 + face as u64) + 2 * party.index() as u64)]
    }

    fn answers(&self, told: &Told<Self>) -> Vec<Command<u64>> {
        match told {
            Outcome::Validate { value, .. } if value % 2 == 0 => {
                vec![Command::Accept(digest_of(value))]
            }
            _ => Vec::new(),
        }
    }

    fn facts(&self, told: &Told<Self>, court: &Court<S>) -> Vec<Fact> {
        let Outcome::Decided { value, proof, seed } = told else { return Vec::new() };
        let group = group_of(court);
        let proves = |scope: Scope, value: u64| {
            let checks = proof.checks(scope, &group, digest_of(&value))?;
            let work = |piece| crate::world::work::<S>(&court.keyrings[0], piece);
            let dones: Vec<_> = checks.into_iter().map(work).collect();
            proof.holds(&group, &dones)
        };
        let holds = proves(court.scope, *value) == Some(*seed)
            && proves(court.scope, value + 2).is_none()
            && proves(court.scope.child("other", 0), *value).is_none();
        vec![Fact::new(0, 0, *value).proven(holds), Fact::new(1, 1, short(seed))]
    }

    fn goal(&self, _: PartySet, _: usize) -> Goal {
        let allows = |slot, value| slot == 1 || value % 2 == 0;
        Goal { due: vec![(0, 0), (1, 1)], all_or_none: true, allows: Box::new(allows) }
    }

    fn signatures(&self, said: &Said<Self>) -> Vec<SignatureOf<Self>> {
        match said {
            Message::Propose { signature, .. }
            | Message::Echo { signature, .. }
            | Message::Refuse { signature, .. }
            | Message::Vote { signature, .. } => vec![signature.clone()],
            _ => Vec::new(),
        }
    }

    fn step(&self, said: &Said<Self>) -> u64 {
        let at = |view: &View, step| STEPS_PER_ROUND * number_of(*view) + step;
        match said {
            Message::Propose { view, .. } => at(view, 0),
            Message::Echo { view, step, .. } => at(view, 1 + 2 * (*step as u64)),
            Message::Lock { view, .. } => at(view, 2),
            Message::Finish { view, .. } => at(view, 4),
            Message::Share { view, .. } => at(view, 5),
            Message::Elected { view, .. } | Message::Refuse { view, .. } => at(view, 6),
            Message::Vote { view, .. } => at(view, 7),
            Message::Decided { .. } | Message::Ask { .. } | Message::Answer { .. } => 7,
        }
    }

    fn coin_share(&self, said: &Said<Self>, scope: Scope) -> Option<CoinShareOf<Self>> {
        let Message::Share { view, share } = said else { return None };
        Some((number_of(*view), statements::coin(scope, *view), share.clone()))
    }

    fn favours(&self, letter: &Letter<Said<Self>>, coin: &dyn Fn(u64) -> Option<u64>) -> bool {
        let view = match &*letter.body {
            Message::Lock { view, .. } | Message::Finish { view, .. } => *view,
            Message::Decided { .. } => return true,
            _ => return false,
        };
        // Until the leader is known, all that makes a finish known is against the scheduler.
        coin(number_of(view)).is_none_or(|coin| coin % 7 == letter.from.index() as u64 % 7)
    }

    fn lies(
        &self,
        letter: &Letter<Said<Self>>,
        seat: &Seat<Self>,
        random: &mut Random,
    ) -> Vec<Said<Self>> {
        specials::lies(letter, seat, random)
    }

    fn babble(&self, by: Party, seat: &Seat<Self>, random: &mut Random) -> Said<Self> {
        let view = view_of(random.below(4) as u32);
        let value = 100 + random.below(12);
        let digest = digest_of(&value);
        let echo = |step| statements::echo(seat.scope, view, step, by, digest);
        let step = [Step::Lock, Step::Finish][random.below(2) as usize];
        match random.below(8) {
            0 => {
                let signature = seat.sign(by, echo(Step::Lock));
                Message::Propose { view, value, basis: Basis::First, signature }
            }
            1 => Message::Echo { view, step, signature: seat.sign(by, echo(step)) },
            2 => Message::Lock { view, digest, certificate: alone(by, echo(Step::Lock), seat) },
            3 => Message::Finish { view, digest, certificate: alone(by, echo(Step::Finish), seat) },
            4 => Message::Share { view, share: seat.share(by, statements::coin(seat.scope, view)) },
            5 => {
                let signature = seat.sign(by, statements::refusal(seat.scope, view));
                Message::Refuse { view, signature }
            }
            6 => {
                let refusals = alone(by, statements::refusal(seat.scope, view), seat);
                let signature = seat.sign(by, statements::vote(seat.scope, view, None));
                Message::Vote { view, choice: Choice::No { refusals }, signature }
            }
            _ => Message::Ask { digest },
        }
    }

    fn spoilt_signature(&self, said: &Said<Self>) -> Option<Said<Self>> {
        let mut said = said.clone();
        match &mut said {
            Message::Propose { signature, .. }
            | Message::Echo { signature, .. }
            | Message::Refuse { signature, .. }
            | Message::Vote { signature, .. } => *signature = S::bad_signature(),
            _ => return None,
        }
        Some(said)
    }

    fn spoilt_share(&self, by: Party, said: &Said<Self>, seat: &Seat<Self>) -> Option<Said<Self>> {
        let Message::Share { view, .. } = said else { return None };
        let share = seat.bad_share(by, statements::coin(seat.scope, *view));
        Some(Message::Share { view: *view, share })
    }

    fn thinned(&self, said: &Said<Self>, random: &mut Random) -> Option<Said<Self>> {
        let mut said = said.clone();
        match &mut said {
            Message::Lock { certificate, .. } | Message::Finish { certificate, .. } => {
                *certificate = thin(certificate, random);
            }
            Message::Vote { choice: Choice::Yes { lock: proof, .. }, .. }
            | Message::Vote { choice: Choice::No { refusals: proof }, .. } => {
                *proof = thin(proof, random);
            }
            Message::Propose { basis: Basis::Free { votes: proof, .. }, .. } => {
                *proof = thin(proof, random);
            }
            Message::Propose { basis: Basis::Locked { lock, refusals, .. }, .. } => {
                match random.chance(500) {
                    true => *lock = thin(lock, random),
                    false => *refusals = thin(refusals, random),
                }
            }
            _ => return None,
        }
        Some(said)
    }

    fn specials() -> Vec<Special<Self>> {
        specials::all()
    }

    fn words(&self, said: &Said<Self>) -> String {
        let said = format!("{said:?}");
        said.chars().take(120).collect()
    }
}
