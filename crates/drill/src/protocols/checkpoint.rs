//! Checkpoints.

use super::consistent::{alone, thin};
use super::short;
use crate::adversary::{Brief, Cue, HandOf, Reacts, Special};
use crate::check::{Complaint, Fact, Goal, Monitor, ensure};
use crate::plan::Plan;
use crate::stage::{Said, Seat, SignatureOf, Stage, Told};
use crate::world::{Court, DrillSuite};
use maftia_agreement::checkpoint::{Checkpoint, Checkpoints, Command, Mark, Message, Outcome};
use maftia_base::{Digest, Group, Party, PartySet, Place, Scope, Statement, StatementKind};
use maftia_sim::{Adversary, Letter, Random};
use std::collections::BTreeSet;
use std::marker::PhantomData;

/// Servers that reach marks one after the other.
pub struct Checkpointing<S> {
    marks: u64,
    suite: PhantomData<S>,
}

/// The state at a mark, as each face of a server has it.
fn state(mark: u64, face: usize) -> Digest {
    Digest::of_encoded("drill state", &(mark, face as u64))
}

/// What a vote signs, in the judges' words.
fn vote(scope: Scope, mark: Mark, digest: Digest) -> Statement {
    Statement::new(scope, StatementKind::Checkpoint, Place(mark.0, 0), digest)
}

/// A mark that nobody reaches.
const NEVER: Mark = Mark(1 << 20);

/// Slots of outcomes that must not be, apart from those of marks.
const DIVERGED: u64 = 1 << 32;

type Adverse<S> = Box<dyn Adversary<Checkpoints<S>>>;

impl<S: DrillSuite> Stage for Checkpointing<S> {
    type Suite = S;
    type Protocol = Checkpoints<S>;
    type Monitor = Reasons;
    const NAME: &'static str = "checkpoint";
    // A state is a function of what was delivered.
    const MAY_BE_FICKLE: bool = false;

    fn new(_: &Plan, random: &mut Random) -> Self {
        Self { marks: 1 + random.below(5), suite: PhantomData }
    }

    fn make(&self, _: &Group, _: u32) -> Self::Protocol {
        Checkpoints::new()
    }

    fn footprint_max(&self, n: usize) -> usize {
        self.marks as usize + 3 * n
    }

    fn messages_max(&self, n: usize) -> Option<u64> {
        Some(2 * self.marks * (n * (n - 1)) as u64)
    }

    fn orders(&self, _: Party, face: usize) -> Vec<Command> {
        let reached = |mark| Command::Reached { mark: Mark(mark), digest: state(mark, face) };
        (1..=self.marks).map(reached).collect()
    }

    fn facts(&self, told: &Told<Self>, court: &Court<S>) -> Vec<Fact> {
        match told {
            Outcome::Certified(Checkpoint { mark, digest, certificate }) => {
                let holds = court.is_certificate(certificate, vote(court.scope, *mark, *digest));
                vec![Fact::new(0, mark.0, short(digest)).proven(holds)]
            }
            Outcome::Diverged { mark, mine } => {
                vec![Fact::new(1, DIVERGED + mark.0, short(mine))]
            }
        }
    }

    fn goal(&self, _: PartySet, _: usize) -> Goal {
        let marks = self.marks;
        let allows = move |slot, value| slot <= marks && value == short(&state(slot, 0));
        Goal { due: vec![(0, marks)], all_or_none: false, allows: Box::new(allows) }
    }

    fn signatures(&self, said: &Said<Self>) -> Vec<SignatureOf<Self>> {
        match said {
            Message::Vote { signature, .. } => vec![signature.clone()],
            Message::Certified(_) => Vec::new(),
        }
    }

    fn step(&self, said: &Said<Self>) -> u64 {
        match said {
            Message::Vote { mark, .. } => crate::adversary::STEPS_PER_ROUND.wrapping_mul(mark.0),
            Message::Certified(last) => {
                crate::adversary::STEPS_PER_ROUND.wrapping_mul(last.mark.0).wrapping_add(1)
            }
        }
    }

    fn lies(
        &self,
        letter: &Letter<Said<Self>>,
        seat: &Seat<Self>,
        random: &mut Random,
    ) -> Vec<Said<Self>> {
        let by = letter.from;
        let said = |mark: Mark, digest| {
            let signature = seat.sign(by, vote(seat.scope, mark, digest));
            Message::Vote { mark, digest, signature }
        };
        match &*letter.body {
            Message::Vote { mark, digest, .. } => match random.below(4) {
                0 => vec![said(*mark, state(mark.0, 1))],
                1 => vec![said(*mark, *digest), said(*mark, state(mark.0, 1))],
                2 => vec![said(Mark(mark.0 + 1), state(mark.0 + 1, 1))],
                _ => vec![said(NEVER, state(1, 1))],
            },
            Message::Certified(last) => {
                let mut other = last.clone();
                match random.below(2) {
                    0 => other.digest = state(last.mark.0, 1),
                    _ => other.mark = Mark(last.mark.0 + 1),
                }
                vec![Message::Certified(other)]
            }
        }
    }

    fn babble(&self, by: Party, seat: &Seat<Self>, random: &mut Random) -> Said<Self> {
        let mark = Mark(random.below(self.marks + 3));
        let digest = state(mark.0, random.below(2) as usize);
        let statement = vote(seat.scope, mark, digest);
        match random.below(3) {
            0 => {
                let certificate = alone(by, statement, seat);
                Message::Certified(Checkpoint { mark, digest, certificate })
            }
            _ => Message::Vote { mark, digest, signature: seat.sign(by, statement) },
        }
    }

    fn spoilt_signature(&self, said: &Said<Self>) -> Option<Said<Self>> {
        let Message::Vote { mark, digest, .. } = said else { return None };
        Some(Message::Vote { mark: *mark, digest: *digest, signature: S::bad_signature() })
    }

    fn thinned(&self, said: &Said<Self>, random: &mut Random) -> Option<Said<Self>> {
        let Message::Certified(last) = said else { return None };
        let certificate = thin(&last.certificate, random);
        Some(Message::Certified(Checkpoint { certificate, ..last.clone() }))
    }

    fn specials() -> Vec<Special<Self>> {
        vec![
            Special {
                name: "conflicting-votes",
                about: "votes for two states at a mark that nobody reaches: all can prove it",
                make: conflicting_votes,
            },
            Special {
                name: "forged-certificates",
                about: "certificates of one's own vote in everybody's name, for ever later marks",
                make: forged,
            },
        ]
    }

    fn words(&self, said: &Said<Self>) -> String {
        match said {
            Message::Vote { mark, digest, .. } => {
                format!("VOTE, my state at mark {} is {digest:?}", mark.0)
            }
            Message::Certified(Checkpoint { mark, digest, certificate }) => {
                let voters: Vec<_> = certificate.ballots().iter().map(|b| b.party).collect();
                format!("CERTIFIED, the state at mark {} is {digest:?}, says {voters:?}", mark.0)
            }
        }
    }
}

fn conflicting_votes<S: DrillSuite>(brief: &Brief<Checkpointing<S>>) -> Adverse<S> {
    let brief = brief.clone();
    Box::new(Reacts(move |cue: Cue<'_, Message<S>>, hand: &mut HandOf<'_, Checkpointing<S>>| {
        let Cue::Start = cue else { return };
        for by in brief.seat.corrupt.iter() {
            brief.provable.borrow_mut().insert(by);
            for face in [0, 1] {
                brief.acts.add();
                let digest = state(NEVER.0, face);
                let signature = brief.seat.sign(by, vote(brief.seat.scope, NEVER, digest));
                hand.send_all(by, Message::Vote { mark: NEVER, digest, signature });
            }
        }
    }))
}

fn forged<S: DrillSuite>(brief: &Brief<Checkpointing<S>>) -> Adverse<S> {
    let brief = brief.clone();
    let mut mark = 1;
    Box::new(Reacts(move |cue: Cue<'_, Message<S>>, hand: &mut HandOf<'_, Checkpointing<S>>| {
        let (Cue::Reached(_) | Cue::Start) = cue else { return };
        if mark > 40 {
            return;
        }
        for by in brief.seat.corrupt.iter() {
            brief.acts.add();
            let digest = state(mark, 1);
            let certificate = alone(by, vote(brief.seat.scope, Mark(mark), digest), &brief.seat);
            hand.send_all(
                by,
                Message::Certified(Checkpoint { mark: Mark(mark), digest, certificate }),
            );
        }
        mark += 1;
    }))
}

/// K1 to K4, as whoever listens understands them.
pub struct Reasons {
    reached: BTreeSet<(Party, u64, u64)>,
}

impl<S: DrillSuite> Monitor<Checkpointing<S>> for Reasons {
    fn new(_: &Checkpointing<S>) -> Self {
        Self { reached: BTreeSet::new() }
    }

    fn ordered(&mut self, by: Party, Command::Reached { mark, digest }: &Command) {
        self.reached.insert((by, mark.0, short(digest)));
    }

    fn says(
        &mut self,
        by: Party,
        _: Party,
        said: &Message<S>,
        court: &Court<S>,
    ) -> Result<(), Complaint> {
        match said {
            Message::Vote { mark, digest, .. } => {
                let holds = self.reached.contains(&(by, mark.0, short(digest)));
                ensure(holds, "justified", || format!("{by} votes for what it never reached"))
            }
            Message::Certified(Checkpoint { mark, digest, certificate }) => {
                let holds = court.is_certificate(certificate, vote(court.scope, *mark, *digest));
                ensure(holds, "transfer", || format!("{by} sends a certificate of too few"))
            }
        }
    }
}
