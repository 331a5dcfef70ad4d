//! Coded broadcast of one value.

use super::short;
use crate::adversary::{Brief, Cue, HandOf, LetterOf, Reacts, STEPS_PER_ROUND, Says, Special};
use crate::check::{Complaint, Fact, Goal, Monitor, ensure};
use crate::plan::Plan;
use crate::stage::{Said, Seat, Stage, Told};
use crate::world::{Court, DrillSuite, work};
use maftia_agreement::broadcast::coded::{
    CodedBroadcast, Command, Message, Outcome, code_of, footprint_max,
};
use maftia_base::wire::{Blob, Encode};
use maftia_base::{Digest, Group, Party, PartySet};
use maftia_crypto::{Code, CodedValue, Commitment, Done, Encoded, PIECE_BYTES, Work, commit_to};
use maftia_sim::{Adversary, Letter, Random};
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::rc::Rc;

/// One broadcast of a value that is cut into fragments.
pub struct Coded<S> {
    sender: Party,
    code: Code,
    /// What each face of the sender broadcasts, encoded; and what is no encoding of anything.
    faces: Rc<[Encoded; 3]>,
    values: [CodedValue; 2],
    corrupt: PartySet,
    is_fickle: bool,
    suite: PhantomData<S>,
}

/// Name and sentence of strategies that dissemination has, too.
pub(super) const SPLIT: (&str, &str) = (
    "split-fragments",
    "sends some the fragments of one value and the others those of another, and helps both",
);
pub(super) const NO_ENCODING: (&str, &str) =
    ("no-encoding", "broadcasts fragments that are no encoding of anything");

type Adverse<S> = Box<dyn Adversary<CodedBroadcast<S>>>;

pub(super) fn name(value: &CodedValue) -> u64 {
    short(&Digest::of("drill coded value", value))
}

pub(super) fn seal(commitment: &Commitment) -> u64 {
    short(&Digest::of_encoded("drill commitment", commitment))
}

pub(super) fn encode<S: DrillSuite>(
    keyring: &S::Keyring,
    code: Code,
    value: CodedValue,
) -> Encoded {
    match work::<S>(keyring, Work::Encode { code, value }) {
        Done::Encoded(encoded) => encoded,
        other => panic!("{other:?} is no encoding"),
    }
}

/// The same pieces but for one byte, under one commitment.
fn no_encoding(code: Code, length: usize, encoded: &Encoded) -> Encoded {
    let fragments = encoded.fragments.iter();
    let mut pieces: Vec<Vec<Blob<PIECE_BYTES>>> = fragments
        .map(|fragment| fragment.iter().map(|piece| piece.bytes.clone()).collect())
        .collect();
    let mut bytes = pieces[0][0].to_vec();
    bytes[0] ^= 1;
    pieces[0][0] = Blob::new(bytes).expect("as long as before");
    commit_to(code, length, pieces)
}

/// Two values, mostly short, and three encodings: theirs, and what is none.
pub(super) fn faces<S: DrillSuite>(
    plan: &Plan,
    code: Code,
    random: &mut Random,
) -> ([CodedValue; 2], [Encoded; 3]) {
    let length = match random.chance(15) {
        true => code.k() * PIECE_BYTES + 1,
        false => [1, 7, 300, 1000][random.below(4) as usize],
    };
    let values = [0x11, 0x77].map(|seed: u8| {
        let bytes: Vec<u8> = (0..length).map(|at| (at as u8).wrapping_mul(31) ^ seed).collect();
        CodedValue::new(bytes).expect("short")
    });
    let keyrings = S::keyrings(plan.shape);
    let [one, two] = values.clone().map(|value| encode::<S>(&keyrings[0], code, value));
    let none = no_encoding(code, length, &one);
    (values, [one, two, none])
}

impl<S: DrillSuite> Stage for Coded<S> {
    type Suite = S;
    type Protocol = CodedBroadcast<S>;
    type Monitor = Reasons;
    const NAME: &'static str = "coded";
    // Nothing is signed, and both suites have one code.
    const REAL_PERMILLE: u32 = 0;

    fn new(plan: &Plan, random: &mut Random) -> Self {
        let structure = plan.shape.quorums().structure();
        let code = code_of(&structure);
        let (values, faces) = faces::<S>(plan, code, random);
        Self {
            sender: Party::new(random.below(plan.shape.n() as u64) as usize),
            code,
            faces: Rc::new(faces),
            values,
            corrupt: plan.corrupt(),
            is_fickle: plan.storage == "fickle",
            suite: PhantomData,
        }
    }

    fn make(&self, _: &Group, _: u32) -> Self::Protocol {
        CodedBroadcast::new(self.sender, self.code)
    }

    fn footprint_max(&self, _: usize) -> usize {
        footprint_max(self.code)
    }

    fn orders(&self, party: Party, face: usize) -> Vec<Command> {
        let command = || Command::Broadcast(self.values[face % 2].clone());
        (party == self.sender).then(command).into_iter().collect()
    }

    fn facts(&self, told: &Told<Self>, court: &Court<S>) -> Vec<Fact> {
        let Outcome::Delivered { commitment, value } = told;
        let encoded = encode::<S>(&court.keyrings[0], self.code, value.clone());
        vec![Fact::new(0, 0, name(value)).proven(encoded.commitment == *commitment)]
    }

    fn goal(&self, corrupt: PartySet, _: usize) -> Goal {
        let is_honest = !corrupt.contains(self.sender);
        let faces = if self.is_fickle { 2 } else { 1 };
        let mine: Vec<u64> = self.values.iter().take(faces).map(name).collect();
        let allows = move |_, value| !is_honest || mine.contains(&value);
        let due = is_honest.then_some((0, 0)).into_iter().collect();
        Goal { due, all_or_none: true, allows: Box::new(allows) }
    }

    fn remarks(&self, said: &Said<Self>) -> Vec<(u64, u64)> {
        match said {
            Message::Ready(commitment) => vec![(0, seal(commitment))],
            Message::Echo { commitment, .. } => vec![(1, seal(commitment))],
            _ => Vec::new(),
        }
    }

    fn step(&self, said: &Said<Self>) -> u64 {
        match said {
            Message::Send { .. } => 0,
            Message::Echo { .. } => 1,
            Message::Ready(_) => 2,
            Message::Offer(_) => 3,
            Message::Give { .. } => 4,
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
        let any = random.below(seat.n as u64) as usize;
        match &*letter.body {
            Message::Send { commitment, .. } => {
                let to = if random.chance(700) { letter.to.index() } else { any };
                let commitment = if random.chance(200) { *commitment } else { other.commitment };
                let piece = |piece: &maftia_crypto::Piece| Message::Send {
                    commitment,
                    piece: piece.clone(),
                };
                other.fragments[to].iter().map(piece).collect()
            }
            Message::Echo { commitment, piece } => {
                let by = if random.chance(700) { letter.from.index() } else { any };
                let commitment = if random.chance(200) { *commitment } else { other.commitment };
                let lie = other.fragments[by]
                    .iter()
                    .map(|piece| Message::Echo { commitment, piece: piece.clone() });
                let truth = Message::Echo { commitment, piece: piece.clone() };
                lie.chain(random.chance(300).then_some(truth)).collect()
            }
            Message::Give { .. } => {
                let by = if random.chance(700) { letter.from.index() } else { any };
                let lie = other.fragments[by].iter().map(|piece| Message::Give {
                    commitment: other.commitment,
                    piece: piece.clone(),
                });
                lie.collect()
            }
            Message::Ready(commitment) => match random.chance(500) {
                true => vec![Message::Ready(other.commitment)],
                false => vec![Message::Ready(*commitment), Message::Ready(other.commitment)],
            },
            Message::Offer(_) => vec![Message::Offer(other.commitment)],
            Message::Want { own } => vec![Message::Want { own: !own }, Message::Want { own: true }],
        }
    }

    fn babble(&self, by: Party, seat: &Seat<Self>, random: &mut Random) -> Said<Self> {
        let face = &self.faces[random.below(3) as usize];
        let owner =
            if random.chance(500) { by.index() } else { random.below(seat.n as u64) as usize };
        let (commitment, piece) = (face.commitment, face.fragments[owner][0].clone());
        match random.below(6) {
            0 => Message::Send { commitment, piece },
            5 => Message::Give { commitment, piece },
            1 => Message::Echo { commitment, piece },
            2 => Message::Ready(commitment),
            3 => Message::Offer(commitment),
            _ => Message::Want { own: random.chance(500) },
        }
    }

    fn specials() -> Vec<Special<Self>> {
        vec![
            Special { name: SPLIT.0, about: SPLIT.1, make: split_fragments },
            Special { name: NO_ENCODING.0, about: NO_ENCODING.1, make: sends_no_encoding },
            Special {
                name: "few-fragments",
                about: "gives fragments to as few as can deliver, and answers nobody after that",
                make: few_fragments,
            },
        ]
    }

    fn words(&self, said: &Said<Self>) -> String {
        let of = |commitment: &Commitment| seal(commitment);
        match said {
            Message::Send { commitment, .. } => format!("SEND of {:x}", of(commitment)),
            Message::Echo { commitment, .. } => format!("ECHO of {:x}", of(commitment)),
            Message::Ready(commitment) => format!("READY for {:x}", of(commitment)),
            Message::Offer(commitment) => format!("OFFER of {:x}", of(commitment)),
            Message::Give { commitment, .. } => format!("GIVE of {:x}", of(commitment)),
            Message::Want { own } => format!("WANT, mine too: {own}"),
        }
    }
}

/// Broadcasts the fragments of this face to `to`, in the sender's name if it is corrupt, and says
/// all that corrupt servers can say for it.
fn push<S: DrillSuite>(
    brief: &Brief<Coded<S>>,
    face: usize,
    to: PartySet,
    hand: &mut HandOf<'_, Coded<S>>,
) {
    let (stage, seat) = (&brief.seat.stage, &brief.seat);
    let encoded = &stage.faces[face];
    let commitment = encoded.commitment;
    for to in to.iter() {
        for piece in &encoded.fragments[to.index()] {
            hand.send(stage.sender, to, Message::Send { commitment, piece: piece.clone() });
        }
        for by in seat.corrupt.iter() {
            brief.acts.add();
            for piece in &encoded.fragments[by.index()] {
                hand.send(by, to, Message::Echo { commitment, piece: piece.clone() });
            }
            hand.send(by, to, Message::Ready(commitment));
        }
    }
}

fn split_fragments<S: DrillSuite>(brief: &Brief<Coded<S>>) -> Adverse<S> {
    let mut brief = brief.clone();
    let some = brief.seat.some_victims(&mut brief.random);
    Box::new(Reacts(move |cue: Cue<'_, Message>, hand: &mut HandOf<'_, Coded<S>>| {
        if let Cue::Start = cue
            && brief.seat.corrupt.contains(brief.seat.stage.sender)
        {
            push(&brief, 0, some, hand);
            push(&brief, 1, brief.seat.victims().difference(some), hand);
        }
    }))
}

fn sends_no_encoding<S: DrillSuite>(brief: &Brief<Coded<S>>) -> Adverse<S> {
    let brief = brief.clone();
    Box::new(Reacts(move |cue: Cue<'_, Message>, hand: &mut HandOf<'_, Coded<S>>| {
        if let Cue::Start = cue
            && brief.seat.corrupt.contains(brief.seat.stage.sender)
        {
            push(&brief, 2, brief.seat.victims(), hand);
        }
    }))
}

fn few_fragments<S: DrillSuite>(brief: &Brief<Coded<S>>) -> Adverse<S> {
    let mut brief = brief.clone();
    let mut few = brief.seat.corrupt;
    let mut others: Vec<Party> = brief.seat.victims().iter().collect();
    while !brief.seat.court.quorums.is_quorum(few) && !others.is_empty() {
        few.insert(others.swap_remove(brief.random.below(others.len() as u64) as usize));
    }
    Box::new(Says(
        move |letter: &LetterOf<Coded<S>>, hand: &mut HandOf<'_, Coded<S>>| match &*letter.body {
            Message::Want { .. } | Message::Offer(_) => brief.acts.add(),
            _ if few.contains(letter.to) => hand.pass(letter),
            _ => brief.acts.add(),
        },
    ))
}

/// R2 to R7, as whoever listens understands them.
pub struct Reasons {
    code: Code,
    sender: Party,
    corrupt: PartySet,
    /// Who echoed and who is ready for what, as each server heard it.
    echoed: BTreeMap<(Party, u64), PartySet>,
    readied: BTreeMap<(Party, u64), PartySet>,
    given: BTreeSet<(Party, u64)>,
}

impl<S: DrillSuite> Monitor<Coded<S>> for Reasons {
    fn new(stage: &Coded<S>) -> Self {
        Self {
            code: stage.code,
            sender: stage.sender,
            corrupt: stage.corrupt,
            echoed: BTreeMap::new(),
            readied: BTreeMap::new(),
            given: BTreeSet::new(),
        }
    }

    fn heard(&mut self, by: Party, from: Party, said: &Message, _: &Court<S>) {
        match said {
            Message::Send { commitment, .. } if from == self.sender => {
                self.given.insert((by, seal(commitment)));
            }
            // Who gives a piece of what it delivered says no less than who echoes it.
            Message::Echo { commitment, .. } | Message::Give { commitment, .. } => {
                self.echoed.entry((by, seal(commitment))).or_default().insert(from);
            }
            Message::Ready(commitment) => {
                self.readied.entry((by, seal(commitment))).or_default().insert(from);
            }
            _ => {}
        }
    }

    fn says(
        &mut self,
        by: Party,
        _: Party,
        said: &Message,
        court: &Court<S>,
    ) -> Result<(), Complaint> {
        match said {
            Message::Echo { commitment, piece } => {
                let holds = commitment.holds(self.code, by, piece);
                ensure(holds, "transfer", || format!("{by} echoes a piece that does not hold"))?;
                let place = (by, seal(commitment));
                let echoed = self.echoed.get(&place).copied().unwrap_or_default();
                let decodes = echoed.len() >= self.code.k();
                let is_given = by == self.sender || self.given.contains(&place);
                ensure(is_given || decodes, "justified", || {
                    format!("{by} echoes what nobody gave it")
                })
            }
            Message::Ready(commitment) => {
                let place = (by, seal(commitment));
                let mut echoed = self.echoed.get(&place).copied().unwrap_or_default();
                let readied = self.readied.get(&place).copied().unwrap_or_default();
                echoed.insert(by);
                let holds = court.quorums.is_quorum(echoed) || court.quorums.has_honest(readied);
                ensure(holds, "justified", || {
                    format!("{by} is ready upon ECHO of {echoed:?} and READY of {readied:?}")
                })
            }
            Message::Send { commitment, piece } => {
                let holds = by == self.sender && !self.corrupt.contains(by);
                let any = (0..self.code.n()).map(Party::new);
                let mut owners = any.filter(|owner| commitment.holds(self.code, *owner, piece));
                ensure(holds && owners.next().is_some(), "justified", || {
                    format!(
                        "{by} sends a fragment that is nobody's: {} bytes",
                        piece.encode().len()
                    )
                })
            }
            Message::Give { commitment, piece } => {
                let holds = commitment.holds(self.code, by, piece);
                ensure(holds, "transfer", || format!("{by} gives a piece that does not hold"))
            }
            Message::Offer(_) | Message::Want { .. } => Ok(()),
        }
    }
}
