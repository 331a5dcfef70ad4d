//! Lies about proposals, locks, finishes and votes.

use super::super::consistent::alone;
use super::{Multivalued, statements};
use crate::adversary::{Brief, HandOf, LetterOf, Says, Special};
use crate::stage::{Said, Seat};
use crate::world::DrillSuite;
use maftia_agreement::digest_of;
use maftia_agreement::multivalued::{Choice, Command, Message, Step, ValidatedAgreement};
use maftia_base::{Party, PartySet};
use maftia_sim::{Adversary, Random};

type Adverse<S> = Box<dyn Adversary<ValidatedAgreement<S, u64>>>;
type Letter<S> = LetterOf<Multivalued<S>>;
type Hand<'a, S> = HandOf<'a, Multivalued<S>>;

/// All strategies of this protocol.
pub(super) fn all<S: DrillSuite>() -> Vec<Special<Multivalued<S>>> {
    vec![
        Special {
            name: "hidden-lock",
            about: "shows its lock to one server only, refuses although it holds locks",
            make: hidden_lock,
        },
        Special {
            name: "withheld-finish",
            about: "shows its finish to one server only, and never votes or tells a decision",
            make: withheld_finish,
        },
        Special {
            name: "confidant",
            about: "shows its finish and its share to one server only, and is silent from then on",
            make: confidant,
        },
        Special {
            name: "double-propose",
            about: "sends every server two proposals, both signed",
            make: double_propose,
        },
        Special {
            name: "invalid-value",
            about: "proposes what the predicate refuses",
            make: invalid_value,
        },
        Special {
            name: "double-vote",
            about: "votes for the leader's value and for nothing, to different servers",
            make: double_vote,
        },
        Special {
            name: "echo-everything",
            about: "echoes every proposal and lock at once, and never abandons",
            make: echo_everything,
        },
    ]
}

fn one_victim<S: DrillSuite>(brief: &mut Brief<Multivalued<S>>) -> Party {
    let victims: Vec<Party> = brief.seat.victims().iter().collect();
    victims[brief.random.below(victims.len() as u64) as usize]
}

fn hidden_lock<S: DrillSuite>(brief: &Brief<Multivalued<S>>) -> Adverse<S> {
    let mut brief = brief.clone();
    let one = one_victim(&mut brief);
    Box::new(Says(move |letter: &Letter<S>, hand: &mut Hand<'_, S>| match &*letter.body {
        Message::Lock { .. } if letter.to != one => brief.acts.add(),
        Message::Finish { .. } | Message::Decided { .. } => brief.acts.add(),
        Message::Vote { view, .. } => {
            let statement = statements::refusal(brief.seat.scope, *view);
            let signature = brief.seat.sign(letter.from, statement);
            brief.acts.add();
            hand.send(letter.from, letter.to, Message::Refuse { view: *view, signature });
        }
        _ => hand.pass(letter),
    }))
}

fn withheld_finish<S: DrillSuite>(brief: &Brief<Multivalued<S>>) -> Adverse<S> {
    let mut brief = brief.clone();
    let one = one_victim(&mut brief);
    Box::new(Says(move |letter: &Letter<S>, hand: &mut Hand<'_, S>| match &*letter.body {
        Message::Finish { .. } if letter.to != one => brief.acts.add(),
        Message::Vote { .. } | Message::Decided { .. } => brief.acts.add(),
        _ => hand.pass(letter),
    }))
}

fn confidant<S: DrillSuite>(brief: &Brief<Multivalued<S>>) -> Adverse<S> {
    let mut brief = brief.clone();
    let one = one_victim(&mut brief);
    Box::new(Says(move |letter: &Letter<S>, hand: &mut Hand<'_, S>| match &*letter.body {
        Message::Finish { .. } | Message::Share { .. } if letter.to == one => hand.pass(letter),
        Message::Propose { .. } | Message::Lock { .. } | Message::Echo { .. } => hand.pass(letter),
        _ => brief.acts.add(),
    }))
}

fn double_propose<S: DrillSuite>(brief: &Brief<Multivalued<S>>) -> Adverse<S> {
    let brief = brief.clone();
    Box::new(Says(move |letter: &Letter<S>, hand: &mut Hand<'_, S>| {
        if let Message::Propose { view, basis, value, .. } = &*letter.body {
            brief.acts.add();
            let seat = &brief.seat;
            let (view, value, basis) = (*view, value + 1_000, basis.clone());
            let digest = digest_of(&value);
            let statement = statements::echo(seat.scope, view, Step::Lock, letter.from, digest);
            let signature = seat.sign(letter.from, statement);
            hand.send(letter.from, letter.to, Message::Propose { view, value, basis, signature });
        }
        hand.pass(letter);
    }))
}

/// Runs the honest code with a proposal that honest servers refuse to echo.
struct InvalidValue<S: DrillSuite>(Brief<Multivalued<S>>);

fn invalid_value<S: DrillSuite>(brief: &Brief<Multivalued<S>>) -> Adverse<S> {
    Box::new(InvalidValue(brief.clone()))
}

impl<S: DrillSuite> Adversary<ValidatedAgreement<S, u64>> for InvalidValue<S> {
    fn started(&mut self, hand: &mut Hand<'_, S>) {
        for by in self.0.seat.corrupt.iter() {
            self.0.acts.add();
            // Only the first thing that it is asked to propose counts.
            hand.command(by, 0, Command::Propose(7));
        }
    }
}

fn double_vote<S: DrillSuite>(brief: &Brief<Multivalued<S>>) -> Adverse<S> {
    let mut brief = brief.clone();
    let some = brief.seat.some_victims(&mut brief.random);
    let mut refusals: std::collections::BTreeMap<_, Vec<(Party, S::Signature)>> =
        Default::default();
    Box::new(Says(move |letter: &Letter<S>, hand: &mut Hand<'_, S>| {
        let (by, seat) = (letter.from, &brief.seat);
        match &*letter.body {
            Message::Refuse { view, signature } => {
                refusals.entry(*view).or_default().push((by, signature.clone()));
                hand.pass(letter);
            }
            Message::Vote { view, choice: Choice::Yes { .. }, .. } if some.contains(letter.to) => {
                brief.acts.add();
                let view = *view;
                let refusals = alone(by, statements::refusal(seat.scope, view), seat);
                let signature = seat.sign(by, statements::vote(seat.scope, view, None));
                let choice = Choice::No { refusals };
                hand.send(by, letter.to, Message::Vote { view, choice, signature });
            }
            Message::Vote { view, choice, .. } => {
                brief.acts.add();
                let signature = seat.sign(by, statements::refusal(seat.scope, *view));
                hand.send(by, letter.to, Message::Refuse { view: *view, signature });
                let _ = choice;
                hand.pass(letter);
            }
            _ => hand.pass(letter),
        }
    }))
}

/// Echoes whatever is proposed or locked, in both steps, as soon as the proposal is out.
struct EchoEverything<S: DrillSuite>(Brief<Multivalued<S>>);

fn echo_everything<S: DrillSuite>(brief: &Brief<Multivalued<S>>) -> Adverse<S> {
    Box::new(EchoEverything(brief.clone()))
}

impl<S: DrillSuite> EchoEverything<S> {
    fn echo(&self, letter: &Letter<S>, hand: &mut Hand<'_, S>) {
        let seat = &self.0.seat;
        let (view, digest) = match &*letter.body {
            Message::Propose { view, value, .. } => (*view, digest_of(value)),
            Message::Lock { view, digest, .. } => (*view, *digest),
            _ => return,
        };
        let honest: PartySet = seat.victims();
        if !honest.contains(letter.from) {
            return;
        }
        for by in seat.corrupt.iter() {
            for step in [Step::Lock, Step::Finish] {
                self.0.acts.add();
                let statement = statements::echo(seat.scope, view, step, letter.from, digest);
                let signature = seat.sign(by, statement);
                hand.send(by, letter.from, Message::Echo { view, step, signature });
            }
        }
    }
}

impl<S: DrillSuite> Adversary<ValidatedAgreement<S, u64>> for EchoEverything<S> {
    fn incoming(&mut self, letter: &Letter<S>, hand: &mut Hand<'_, S>) -> bool {
        self.echo(letter, hand);
        true
    }
}

/// Other values, other steps, other choices.
pub(super) fn lies<S: DrillSuite>(
    letter: &Letter<S>,
    seat: &Seat<Multivalued<S>>,
    random: &mut Random,
) -> Vec<Said<Multivalued<S>>> {
    let by = letter.from;
    match (*letter.body).clone() {
        Message::Propose { view, value, basis, .. } => {
            let value = value + 1 + random.below(2);
            let digest = digest_of(&value);
            let statement = statements::echo(seat.scope, view, Step::Lock, by, digest);
            let signature = seat.sign(by, statement);
            vec![Message::Propose { view, value, basis, signature }]
        }
        Message::Echo { view, step, signature } => {
            let step = if step == Step::Lock { Step::Finish } else { Step::Lock };
            vec![Message::Echo { view, step, signature }]
        }
        // A lock is no finish, and a finish no lock.
        Message::Lock { view, digest, certificate } => {
            vec![Message::Finish { view, digest, certificate }]
        }
        Message::Finish { view, certificate, digest } if random.chance(500) => {
            vec![Message::Lock { view, digest, certificate }]
        }
        Message::Finish { view, certificate, .. } => {
            vec![Message::Finish { view, digest: digest_of(&102u64), certificate }]
        }
        Message::Share { view, .. } => {
            let other = statements::coin(seat.scope, super::view_of(9));
            let mut share = seat.share(by, other);
            share.signature = seat.share(by, statements::coin(seat.scope, view)).signature;
            vec![Message::Share { view, share }]
        }
        // The coin of one view is not that of another.
        Message::Elected { view, election } => {
            let view = super::view_of(super::number_of(view) as u32 ^ 3);
            vec![Message::Elected { view, election }]
        }
        Message::Refuse { view, .. } => {
            let refusals = alone(by, statements::refusal(seat.scope, view), seat);
            let signature = seat.sign(by, statements::vote(seat.scope, view, None));
            vec![Message::Vote { view, choice: Choice::No { refusals }, signature }]
        }
        Message::Vote { view, .. } => {
            let signature = seat.sign(by, statements::refusal(seat.scope, view));
            vec![Message::Refuse { view, signature }]
        }
        Message::Decided { decision, .. } => {
            vec![Message::Decided { digest: digest_of(&104u64), decision }]
        }
        Message::Ask { digest } => vec![Message::Ask { digest }, Message::Answer { value: 104 }],
        Message::Answer { value } => vec![Message::Answer { value: value + 2 }],
    }
}
