//! Consistent broadcast.

use super::short;
use crate::adversary::{Brief, Cue, HandOf, Reacts, Says, Special};
use crate::check::{Complaint, Fact, Goal, Monitor, ensure};
use crate::plan::Plan;
use crate::stage::{Said, Seat, SignatureOf, Stage, Told};
use crate::world::{Court, DrillSuite};
use maftia_agreement::broadcast::ConsistentBroadcast;
use maftia_agreement::broadcast::consistent::{Command, Message, Outcome, footprint_max};
use maftia_agreement::digest_of;
use maftia_base::{Digest, Group, Party, PartySet, Place, Scope, Statement, StatementKind};
use maftia_crypto::{Certificate, Signed};
use maftia_sim::{Adversary, Letter, Random};
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

/// One broadcast: of 0 by its sender, of 1 by its sender's other face.
pub struct Consistent<S> {
    /// Who broadcasts.
    pub sender: Party,
    /// May an honest sender be asked for its other value after a restart?
    is_fickle: bool,
    suite: PhantomData<S>,
}

/// What a vote signs, in the judges' words.
fn vote(scope: Scope, sender: Party, value: Digest) -> Statement {
    Statement::new(scope, StatementKind::Echo, Place(0, sender.index() as u64), value)
}

impl<S: DrillSuite> Consistent<S> {
    fn is_certified(&self, court: &Court<S>, value: Digest, certificate: &Certificate<S>) -> bool {
        court.is_certificate(certificate, vote(court.scope, self.sender, value))
    }
}

type Adverse<S> = Box<dyn Adversary<ConsistentBroadcast<S, u64>>>;

impl<S: DrillSuite> Stage for Consistent<S> {
    type Suite = S;
    type Protocol = ConsistentBroadcast<S, u64>;
    type Monitor = Reasons;
    const NAME: &'static str = "consistent";

    fn new(plan: &Plan, random: &mut Random) -> Self {
        let is_fickle = plan.storage == "fickle";
        let corrupt: Vec<Party> = plan.corrupt().iter().collect();
        let sender = match random.below(2) {
            0 if !corrupt.is_empty() => corrupt[random.below(corrupt.len() as u64) as usize],
            _ => Party::new(random.below(plan.shape.n() as u64) as usize),
        };
        Self { sender, is_fickle, suite: PhantomData }
    }

    fn make(&self, _: &Group, _: u32) -> Self::Protocol {
        ConsistentBroadcast::new(self.sender)
    }

    fn footprint_max(&self, n: usize) -> usize {
        footprint_max(n)
    }

    fn messages_max(&self, n: usize) -> Option<u64> {
        Some(3 * n as u64)
    }

    fn events_max(&self, n: usize) -> u64 {
        2_000 * n as u64
    }

    fn orders(&self, party: Party, face: usize) -> Vec<Command<u64>> {
        (party == self.sender).then_some(Command::Broadcast(face as u64)).into_iter().collect()
    }

    fn facts(&self, told: &Told<Self>, court: &Court<S>) -> Vec<Fact> {
        let Outcome::Delivered { value, certificate } = told;
        let holds = self.is_certified(court, digest_of(value), certificate)
            && !self.is_certified(court, digest_of(&(value + 1)), certificate);
        vec![Fact::new(0, 0, *value).proven(holds)]
    }

    fn goal(&self, corrupt: PartySet, _: usize) -> Goal {
        let is_honest = !corrupt.contains(self.sender);
        let due = is_honest.then_some((0, 0)).into_iter().collect();
        let most = u64::from(self.is_fickle);
        Goal {
            due,
            all_or_none: false,
            allows: Box::new(move |_, value| !is_honest || value <= most),
        }
    }

    fn signatures(&self, said: &Said<Self>) -> Vec<SignatureOf<Self>> {
        match said {
            Message::Send(_, signature) | Message::Echo(_, signature) => vec![signature.clone()],
            Message::Final(..) => Vec::new(),
        }
    }

    fn remarks(&self, said: &Said<Self>) -> Vec<(u64, u64)> {
        match said {
            Message::Send(value, _) => vec![(0, *value)],
            Message::Echo(digest, _) => vec![(1, short(digest))],
            Message::Final(digest, _) => vec![(2, short(digest))],
        }
    }

    fn step(&self, said: &Said<Self>) -> u64 {
        match said {
            Message::Send(..) => 0,
            Message::Echo(..) => 1,
            Message::Final(..) => 2,
        }
    }

    fn lies(
        &self,
        letter: &Letter<Said<Self>>,
        seat: &Seat<Self>,
        random: &mut Random,
    ) -> Vec<Said<Self>> {
        let by = letter.from;
        let signed = |value: u64| seat.sign(by, vote(seat.scope, self.sender, digest_of(&value)));
        match (&*letter.body, random.below(4)) {
            (Message::Send(..), 0) => [0, 1].map(|v| Message::Send(v, signed(v))).to_vec(),
            (Message::Send(value, _), _) => vec![Message::Send(value ^ 1, signed(value ^ 1))],
            (Message::Echo(..), 0) => {
                [0, 1].map(|v| Message::Echo(digest_of(&v), signed(v))).to_vec()
            }
            (Message::Echo(..), _) => vec![Message::Echo(digest_of(&1u64), signed(1))],
            // A quorum's votes for another value than they are for.
            (Message::Final(_, certificate), 0) => {
                vec![Message::Final(digest_of(&1u64), certificate.clone())]
            }
            (Message::Final(digest, _), _) => {
                vec![Message::Final(
                    *digest,
                    alone(by, vote(seat.scope, self.sender, *digest), seat),
                )]
            }
        }
    }

    fn babble(&self, by: Party, seat: &Seat<Self>, random: &mut Random) -> Said<Self> {
        let value = random.below(3);
        let digest = digest_of(&value);
        let statement = vote(seat.scope, self.sender, digest);
        match random.below(4) {
            0 => Message::Send(value, seat.sign(by, statement)),
            1 => Message::Echo(digest, seat.sign(by, statement)),
            2 => Message::Final(digest, Certificate::default()),
            _ => Message::Final(digest, alone(by, statement, seat)),
        }
    }

    fn spoilt_signature(&self, said: &Said<Self>) -> Option<Said<Self>> {
        match said {
            Message::Send(value, _) => Some(Message::Send(*value, S::bad_signature())),
            Message::Echo(digest, _) => Some(Message::Echo(*digest, S::bad_signature())),
            Message::Final(..) => None,
        }
    }

    fn thinned(&self, said: &Said<Self>, random: &mut Random) -> Option<Said<Self>> {
        let Message::Final(digest, certificate) = said else { return None };
        Some(Message::Final(*digest, thin(certificate, random)))
    }

    fn specials() -> Vec<Special<Self>> {
        vec![
            Special {
                name: "double-send",
                about: "a sender signs two values and sends both to everybody: all can prove it",
                make: double_send,
            },
            Special {
                name: "gives-back",
                about: "gives the sender's own certificates back to it, again and again",
                make: gives_back,
            },
            Special {
                name: "hidden-final",
                about: "a sender shows its certificate to one server only",
                make: hidden_final,
            },
            Special {
                name: "rival-finals",
                about: "gathers votes for two values from different servers, and certifies both",
                make: rival_finals,
            },
        ]
    }

    fn words(&self, said: &Said<Self>) -> String {
        match said {
            Message::Send(value, _) => format!("SEND, my value is {value}"),
            Message::Echo(digest, _) => format!("ECHO, I vote for {digest:?}"),
            Message::Final(digest, certificate) => {
                let voters: Vec<_> = certificate.ballots().iter().map(|b| b.party).collect();
                format!("FINAL of {digest:?} with votes of {voters:?}")
            }
        }
    }
}

/// A certificate of one's own vote, under everybody's name.
pub(super) fn alone<T: Stage>(
    by: Party,
    statement: Statement,
    seat: &Seat<T>,
) -> Certificate<T::Suite> {
    let signature = seat.sign(by, statement);
    let votes = (0..seat.n)
        .map(|index| (Party::new(index), Signed { statement, signature: signature.clone() }));
    Certificate::new(votes)
}

/// The same without some of its votes, or with one of them instead of another.
pub(super) fn thin<S: DrillSuite>(
    certificate: &Certificate<S>,
    random: &mut Random,
) -> Certificate<S> {
    let scope = crate::world::scope_of(0);
    let statement = Statement::new(scope, StatementKind::Echo, Place(0, 0), Digest::default());
    let mut votes: Vec<(Party, Signed<S>)> = certificate
        .ballots()
        .iter()
        .map(|ballot| {
            let statement = Statement { annotation: ballot.annotation, ..statement };
            (ballot.party, Signed { statement, signature: ballot.signature.clone() })
        })
        .collect();
    if votes.is_empty() {
        return certificate.clone();
    }
    let last = votes.len() - 1;
    match random.below(3) {
        0 => votes.truncate(last),
        1 => votes[last] = votes[0].clone(),
        _ => votes[last].1.signature = votes[0].1.signature.clone(),
    }
    Certificate::new(votes)
}

fn double_send<S: DrillSuite>(brief: &Brief<Consistent<S>>) -> Adverse<S> {
    let brief = brief.clone();
    Box::new(Reacts(move |cue: Cue<'_, Message<S, u64>>, hand: &mut HandOf<'_, Consistent<S>>| {
        let sender = brief.seat.stage.sender;
        let (Cue::Start, true) = (cue, brief.seat.corrupt.contains(sender)) else { return };
        brief.provable.borrow_mut().insert(sender);
        for to in brief.seat.victims().iter() {
            for value in [0, 1] {
                brief.acts.add();
                let statement = vote(brief.seat.scope, sender, digest_of(&value));
                hand.send(sender, to, Message::Send(value, brief.seat.sign(sender, statement)));
            }
        }
    }))
}

fn gives_back<S: DrillSuite>(brief: &Brief<Consistent<S>>) -> Adverse<S> {
    let brief = brief.clone();
    let (mut known, mut left) = (None, 200);
    Box::new(Reacts(move |cue: Cue<'_, Message<S, u64>>, hand: &mut HandOf<'_, Consistent<S>>| {
        let (Cue::Reached(letter) | Cue::Overheard(letter)) = cue else { return };
        if let Message::Final(..) = &*letter.body {
            known = Some(std::rc::Rc::clone(&letter.body));
        }
        let sender = brief.seat.stage.sender;
        let by = brief.seat.corrupt.iter().next();
        if let (Some(certificate), Some(by), 1..) = (&known, by, left) {
            left -= 1;
            brief.acts.add();
            hand.send_shared(by, sender, std::rc::Rc::clone(certificate));
        }
    }))
}

fn hidden_final<S: DrillSuite>(brief: &Brief<Consistent<S>>) -> Adverse<S> {
    let mut brief = brief.clone();
    let victims: Vec<Party> = brief.seat.victims().iter().collect();
    let one = victims[brief.random.below(victims.len() as u64) as usize];
    Box::new(Says(move |letter: &Letter<Message<S, u64>>, hand: &mut HandOf<'_, Consistent<S>>| {
        match &*letter.body {
            Message::Final(..) if letter.to != one => brief.acts.add(),
            _ => hand.pass(letter),
        }
    }))
}

/// Sends one value to half and another to the rest, and turns what votes it gets into as many
/// certificates as it can: too few votes each, unless somebody votes twice or counts badly.
fn rival_finals<S: DrillSuite>(brief: &Brief<Consistent<S>>) -> Adverse<S> {
    let mut brief = brief.clone();
    let half = brief.seat.some_victims(&mut brief.random);
    let mut votes: BTreeMap<(u64, Party), S::Signature> = BTreeMap::new();
    Box::new(Reacts(move |cue: Cue<'_, Message<S, u64>>, hand: &mut HandOf<'_, Consistent<S>>| {
        let (sender, seat) = (brief.seat.stage.sender, &brief.seat);
        if !seat.corrupt.contains(sender) {
            return;
        }
        let statement = |value: u64| vote(seat.scope, sender, digest_of(&value));
        match cue {
            Cue::Start => {
                for value in [0, 1] {
                    for by in seat.corrupt.iter() {
                        votes.insert((value, by), seat.sign(by, statement(value)));
                    }
                    let signature = seat.sign(sender, statement(value));
                    for to in seat.victims().iter() {
                        if half.contains(to) == (value == 0) {
                            hand.send(sender, to, Message::Send(value, signature.clone()));
                        }
                    }
                }
            }
            Cue::Reached(letter) => {
                let Message::Echo(digest, signature) = &*letter.body else { return };
                let Some(value) = [0, 1].into_iter().find(|value| digest_of(value) == *digest)
                else {
                    return;
                };
                votes.insert((value, letter.from), signature.clone());
                let of_it = votes.iter().filter(|((of, _), _)| *of == value);
                let of_it = of_it.map(|((_, by), signature)| {
                    (*by, Signed { statement: statement(value), signature: signature.clone() })
                });
                brief.acts.add();
                hand.send_all(sender, Message::Final(*digest, Certificate::new(of_it)));
            }
            Cue::Overheard(_) => {}
        }
    }))
}

/// R1 to R4, as whoever listens understands them.
pub struct Reasons {
    sender: Party,
    asked: BTreeSet<(Party, u64)>,
    sent: BTreeSet<(Party, u64)>,
}

impl<S: DrillSuite> Monitor<Consistent<S>> for Reasons {
    fn new(stage: &Consistent<S>) -> Self {
        Self { sender: stage.sender, asked: BTreeSet::new(), sent: BTreeSet::new() }
    }

    fn ordered(&mut self, by: Party, Command::Broadcast(value): &Command<u64>) {
        self.asked.insert((by, *value));
    }

    fn heard(&mut self, by: Party, from: Party, said: &Message<S, u64>, _: &Court<S>) {
        if let Message::Send(value, _) = said
            && from == self.sender
        {
            self.sent.insert((by, short(&digest_of(value))));
        }
    }

    fn says(
        &mut self,
        by: Party,
        to: Party,
        said: &Message<S, u64>,
        court: &Court<S>,
    ) -> Result<(), Complaint> {
        let holds = match said {
            Message::Send(value, _) => self.asked.contains(&(by, *value)),
            Message::Echo(digest, _) => {
                to == self.sender && self.sent.contains(&(by, short(digest)))
            }
            Message::Final(digest, certificate) => {
                court.is_certificate(certificate, vote(court.scope, self.sender, *digest))
            }
        };
        ensure(holds, "justified", || format!("{by} says {said:?} without a reason"))
    }
}
