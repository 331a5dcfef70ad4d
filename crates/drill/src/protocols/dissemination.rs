//! Dissemination of one value; the layer above wants what one honest server holds.

use super::coded::{NO_ENCODING, SPLIT, encode, faces, name, seal};
use crate::adversary::{Brief, Cue, HandOf, Reacts, STEPS_PER_ROUND, Special};
use crate::check::{Complaint, Fact, Goal, Monitor, ensure};
use crate::plan::Plan;
use crate::stage::{Said, Seat, Stage, Told};
use crate::world::{Court, DrillSuite, Shape};
use maftia_agreement::broadcast::coded::code_of;
use maftia_agreement::hybrid::dissemination::{
    Command, Dissemination, Message, Outcome, footprint_max,
};
use maftia_base::{Group, Party, PartySet};
use maftia_crypto::{Code, CodedValue, Commitment, Encoded};
use maftia_sim::{Adversary, Letter, Random, Simulation};
use std::cell::Cell;
use std::marker::PhantomData;
use std::rc::Rc;

/// One dissemination, and an order that names what somebody honest holds.
pub struct Spread<S> {
    sender: Party,
    code: Code,
    /// What each face of the sender disseminates, encoded; and what is no encoding of anything.
    faces: Rc<[Encoded; 3]>,
    values: [CodedValue; 2],
    corrupt: PartySet,
    tick: Cell<u64>,
    /// After so many events the order names something, if there is anything.
    names_at: u64,
    /// Which of those that hold something it asks.
    asks: u64,
    named: Cell<Option<Commitment>>,
    suite: PhantomData<S>,
}

type Adverse<S> = Box<dyn Adversary<Dissemination<S>>>;

/// How many events pass until the layer above looks again who lacks what it wants.
const LOOK_EVERY: u64 = 5;

impl<S: DrillSuite> Spread<S> {
    fn honest(&self) -> PartySet {
        PartySet::all(self.code.n()).difference(self.corrupt)
    }

    /// What the order names: what one of the honest servers has told that it holds.
    fn name(&self, sim: &Simulation<Dissemination<S>>) {
        let told = self.honest().iter().filter_map(|party| held(sim, party));
        let told: Vec<Commitment> = told.collect();
        if let Some(chosen) = (self.asks as usize).checked_rem(told.len()) {
            self.named.set(Some(told[chosen]));
        }
    }
}

fn held<S: DrillSuite>(sim: &Simulation<Dissemination<S>>, party: Party) -> Option<Commitment> {
    sim.outcomes(party).last().map(|Outcome::Held { commitment, .. }| *commitment)
}

impl<S: DrillSuite> Stage for Spread<S> {
    type Suite = S;
    type Protocol = Dissemination<S>;
    type Monitor = Verified;
    const NAME: &'static str = "dissemination";
    const SHAPES: &'static [(u64, Shape)] =
        &[(40, Shape::Three), (60, Shape::Four), (100, Shape::Five)];
    const MAY_BE_FICKLE: bool = false;
    // Nothing is signed, and both suites have one code.
    const REAL_PERMILLE: u32 = 0;

    fn new(plan: &Plan, random: &mut Random) -> Self {
        let structure = plan.shape.quorums().structure();
        let code = code_of(&structure);
        let (values, faces) = faces::<S>(plan, code, random);
        let n = plan.shape.n() as u64;
        Self {
            sender: Party::new(random.below(n) as usize),
            code,
            faces: Rc::new(faces),
            values,
            corrupt: plan.corrupt(),
            tick: Cell::new(0),
            names_at: random.below(Self::SPAN * n),
            asks: random.bits(),
            named: Cell::new(None),
            suite: PhantomData,
        }
    }

    fn make(&self, _: &Group, _: u32) -> Self::Protocol {
        Dissemination::new(self.sender, self.code)
    }

    fn footprint_max(&self, _: usize) -> usize {
        footprint_max(self.code)
    }

    fn orders(&self, party: Party, face: usize) -> Vec<Command> {
        let command = || Command::Disseminate(self.values[face % 2].clone());
        (party == self.sender).then(command).into_iter().collect()
    }

    /// The order names a value; whoever does not hold it wants it, again after each restart.
    fn tend(&self, sim: &mut Simulation<Self::Protocol>) {
        let tick = self.tick.get() + 1;
        self.tick.set(tick);
        let is_idle = sim.pending() == 0;
        if self.named.get().is_none() && (is_idle || tick >= self.names_at) {
            self.name(sim);
        }
        let Some(named) = self.named.get() else { return };
        if !is_idle && !tick.is_multiple_of(LOOK_EVERY) {
            return;
        }
        for party in self.honest().iter() {
            if sim.state(party).is_some() && held(sim, party) != Some(named) {
                sim.command(party, Command::Want(named));
            }
        }
    }

    fn is_tended(&self, sim: &Simulation<Self::Protocol>) -> bool {
        let mut honest = self.honest().iter();
        match self.named.get() {
            None => honest.all(|party| held(sim, party).is_none()),
            Some(named) => honest.all(|party| held(sim, party) == Some(named)),
        }
    }

    fn is_met(&self, sim: &Simulation<Self::Protocol>) -> bool {
        self.is_tended(sim)
    }

    fn facts(&self, told: &Told<Self>, court: &Court<S>) -> Vec<Fact> {
        let Outcome::Held { commitment, value } = told;
        let encoded = encode::<S>(&court.keyrings[0], self.code, value.clone());
        let holds = encoded.commitment == *commitment;
        vec![Fact::new(0, seal(commitment), name(value)).proven(holds)]
    }

    fn goal(&self, corrupt: PartySet, _: usize) -> Goal {
        let mine = (seal(&self.faces[0].commitment), name(&self.values[0]));
        let is_honest = !corrupt.contains(self.sender);
        let due = is_honest.then_some((0, mine.0)).into_iter().collect();
        let allows = move |slot, value| !is_honest || (slot, value) == mine;
        Goal { due, all_or_none: false, allows: Box::new(allows) }
    }

    fn step(&self, said: &Said<Self>) -> u64 {
        match said {
            Message::Piece { owner, .. } => owner.index() as u64 % 2,
            Message::Offer(_) | Message::Ask => 2,
            Message::Want { .. } => STEPS_PER_ROUND - 1,
        }
    }

    fn lies(
        &self,
        letter: &Letter<Said<Self>>,
        seat: &Seat<Self>,
        random: &mut Random,
    ) -> Vec<Said<Self>> {
        let other = &self.faces[1 + random.below(2) as usize];
        let any = Party::new(random.below(seat.n as u64 + 1) as usize);
        match &*letter.body {
            Message::Piece { commitment, owner, piece } => {
                let lie = |owner: Party, commitment| {
                    let pieces = other.fragments.get(owner.index()).into_iter().flatten();
                    pieces.map(move |piece| Message::Piece {
                        commitment,
                        owner,
                        piece: piece.clone(),
                    })
                };
                match random.below(4) {
                    0 => lie(*owner, *commitment).collect(),
                    1 => lie(any, other.commitment).collect(),
                    2 => vec![Message::Piece {
                        commitment: *commitment,
                        owner: any,
                        piece: piece.clone(),
                    }],
                    _ => lie(*owner, other.commitment).collect(),
                }
            }
            Message::Offer(_) => vec![Message::Offer(other.commitment)],
            Message::Want { commitment, .. } => {
                vec![Message::Want { commitment: *commitment, owner: any }]
            }
            Message::Ask => vec![Message::Ask, Message::Ask],
        }
    }

    fn babble(&self, by: Party, seat: &Seat<Self>, random: &mut Random) -> Said<Self> {
        let face = &self.faces[random.below(3) as usize];
        let any = Party::new(random.below(seat.n as u64) as usize);
        let owner = if random.chance(500) { by } else { any };
        let (commitment, piece) = (face.commitment, face.fragments[owner.index()][0].clone());
        match random.below(5) {
            0 | 1 => Message::Piece { commitment, owner, piece },
            2 => Message::Offer(commitment),
            3 => Message::Want { commitment, owner },
            _ => Message::Ask,
        }
    }

    fn specials() -> Vec<Special<Self>> {
        vec![
            Special { name: SPLIT.0, about: SPLIT.1, make: split_fragments },
            Special { name: NO_ENCODING.0, about: NO_ENCODING.1, make: sends_no_encoding },
        ]
    }

    fn words(&self, said: &Said<Self>) -> String {
        match said {
            Message::Piece { commitment, owner, .. } => {
                format!("PIECE of {:x}, for {owner}", seal(commitment))
            }
            Message::Offer(commitment) => format!("OFFER of {:x}", seal(commitment)),
            Message::Want { commitment, owner } => {
                format!("WANT of {:x}, for {owner}", seal(commitment))
            }
            Message::Ask => "ASK".to_owned(),
        }
    }
}

/// Shows this face to `to`, with all fragments.
fn show<S: DrillSuite>(
    brief: &Brief<Spread<S>>,
    face: usize,
    to: PartySet,
    hand: &mut HandOf<'_, Spread<S>>,
) {
    let stage = &brief.seat.stage;
    let Encoded { commitment, ref fragments } = stage.faces[face];
    for to in to.iter() {
        brief.acts.add();
        for (owner, piece) in fragments.iter().enumerate().flat_map(|(owner, pieces)| {
            pieces.iter().map(move |piece| (Party::new(owner), piece.clone()))
        }) {
            hand.send(stage.sender, to, Message::Piece { commitment, owner, piece });
        }
    }
}

fn split_fragments<S: DrillSuite>(brief: &Brief<Spread<S>>) -> Adverse<S> {
    let brief = brief.clone();
    Box::new(Reacts(move |cue: Cue<'_, Message>, hand: &mut HandOf<'_, Spread<S>>| {
        if let Cue::Start = cue
            && brief.seat.corrupt.contains(brief.seat.stage.sender)
        {
            let one: PartySet = brief.seat.victims().iter().take(1).collect();
            show(&brief, 0, one, hand);
            show(&brief, 1, brief.seat.victims().difference(one), hand);
        }
    }))
}

fn sends_no_encoding<S: DrillSuite>(brief: &Brief<Spread<S>>) -> Adverse<S> {
    let brief = brief.clone();
    Box::new(Reacts(move |cue: Cue<'_, Message>, hand: &mut HandOf<'_, Spread<S>>| {
        if let Cue::Start = cue
            && brief.seat.corrupt.contains(brief.seat.stage.sender)
        {
            show(&brief, 2, brief.seat.victims(), hand);
        }
    }))
}

/// What an honest server passes on, it has verified.
pub struct Verified(Code);

impl<S: DrillSuite> Monitor<Spread<S>> for Verified {
    fn new(stage: &Spread<S>) -> Self {
        Self(stage.code)
    }

    fn says(&mut self, by: Party, _: Party, said: &Message, _: &Court<S>) -> Result<(), Complaint> {
        let Message::Piece { commitment, owner, piece } = said else { return Ok(()) };
        let holds = commitment.holds(self.0, *owner, piece);
        ensure(holds, "transfer", || format!("{by} passes on a piece that does not hold"))
    }
}
