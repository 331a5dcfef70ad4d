//! What all courses on the total order know of its messages: how to read, to judge and to forge
//! them. Scopes, places and statements are in the judges' words.

use super::consistent::{alone, thin};
use super::multivalued::{group_of, number_of, statements, view_of};
use super::{short, views};
use crate::adversary::STEPS_PER_ROUND;
use crate::check::{Complaint, ensure};
use crate::stage::{Seat, Stage};
use crate::world::{Court, DrillSuite, work};
use maftia_agreement::atomic::{
    self, AgreeMessage, Batch, BatchVote, DecidedRound, Head, Heads, Height, Item, Items, Round,
    RoundDecision, epochs,
};
use maftia_agreement::digest_of;
use maftia_agreement::hybrid::Members;
use maftia_agreement::hybrid::views::Place as ViewsPlace;
use maftia_agreement::multivalued::{self, Basis, Choice, Step};
use maftia_base::canary;
use maftia_base::time::Reading;
use maftia_base::wire::List;
use maftia_base::{Annotation, Digest, Epoch, Party, Place, Scope, Statement, StatementKind};
use maftia_crypto::{Certificate, Suite};
use maftia_sim::{CLOCK_START, Random};
use std::collections::BTreeSet;

/// A message of the chain of epochs.
pub(crate) type Chained<S> = epochs::Message<S>;
type Body<S> = atomic::Message<S>;
type Agreed<S> = multivalued::Message<S, Heads<S>>;

/// Where the chain of epochs is.
pub(crate) fn chain_of(scope: Scope) -> Scope {
    scope.child("epochs", 0)
}

/// Where an epoch's instance is.
pub(crate) fn instance(chain: Scope, epoch: Epoch) -> Scope {
    chain.child("atomic", epoch.0)
}

fn agreement(chain: Scope, epoch: Epoch, round: Round) -> Scope {
    instance(chain, epoch).child("multivalued", round.0)
}

/// What a vote for a batch signs.
pub(crate) fn stored(scope: Scope, lane: Party, height: Height, digest: Digest) -> Statement {
    let place = Place(lane.index() as u64, height.0);
    Statement::new(scope, StatementKind::BatchVote, place, digest)
}

/// The signatures that a message's sender made for it.
pub(crate) fn signatures<S: Suite>(said: &Chained<S>) -> Vec<S::Signature> {
    match &said.body {
        Body::Batch { vote, .. } | Body::Vote { vote, .. } => vec![vote.signature.clone()],
        Body::Agree {
            message:
                AgreeMessage::Random(
                    Agreed::Propose { signature, .. }
                    | Agreed::Echo { signature, .. }
                    | Agreed::Refuse { signature, .. }
                    | Agreed::Vote { signature, .. },
                ),
            ..
        } => vec![signature.clone()],
        _ => Vec::new(),
    }
}

/// How far along it is.
pub(crate) fn step<S: Suite>(said: &Chained<S>) -> u64 {
    let at = |round: u64, step| STEPS_PER_ROUND.wrapping_mul(round).wrapping_add(step);
    match &said.body {
        Body::Batch { batch, .. } => at(batch.height.0, 0),
        Body::Vote { height, .. } => at(height.0, 1),
        Body::Head(head) => at(head.height.0, 2),
        Body::Agree { round, message: AgreeMessage::Random(message) } => match message {
            Agreed::Propose { .. } | Agreed::Echo { .. } => at(round.0, 3),
            Agreed::Lock { .. } | Agreed::Finish { .. } => at(round.0, 4),
            Agreed::Share { .. } | Agreed::Elected { .. } => at(round.0, 5),
            _ => at(round.0, 6),
        },
        Body::Status { round } => at(round.0, 7),
        Body::Agree { round, message: AgreeMessage::Views(message) } => {
            at(round.0, 3 + views::step(message).min(3))
        }
        Body::Agree { round, message: AgreeMessage::Placed(_) } => at(round.0, 3),
        Body::Want { .. } | Body::Found { .. } | Body::Rounds(_) => 7,
    }
}

/// The coin share that it carries, with the coin's number and name.
pub(crate) fn coin_share<T: Stage>(
    said: &Chained<T::Suite>,
    chain: Scope,
) -> Option<crate::stage::CoinShareOf<T>> {
    let Body::Agree { round, message: AgreeMessage::Random(Agreed::Share { view, share }) } =
        &said.body
    else {
        return None;
    };
    let name = statements::coin(agreement(chain, said.epoch, *round), *view);
    let number = (said.epoch.0 << 40) ^ (round.0 << 8) ^ number_of(*view);
    Some((number, name, share.clone()))
}

/// A vote of a corrupt server with any reading.
fn vote_of<T: Stage>(
    by: Party,
    statement: Statement,
    reading: Reading,
    seat: &Seat<T>,
) -> BatchVote<T::Suite> {
    let signature = seat.sign(by, Statement { annotation: Annotation(reading.0), ..statement });
    BatchVote { reading, signature }
}

/// A clock that lies.
fn false_reading(random: &mut Random) -> Reading {
    let year = 365 * 24 * 3_600 * 1_000_000;
    let choices = [0, 1, CLOCK_START.0 - year, CLOCK_START.0 + 10 * year, u64::MAX];
    Reading(choices[random.below(choices.len() as u64) as usize])
}

/// An item that nobody submitted.
fn odd_items(random: &mut Random) -> Items {
    let bytes = random.bits().to_be_bytes().to_vec();
    Items::new(vec![Item::new(bytes).expect("short")]).expect("few")
}

/// What a liar says instead. `items` makes a batch's contents.
pub(crate) fn lies<T: Stage>(
    by: Party,
    said: &Chained<T::Suite>,
    chain: Scope,
    seat: &Seat<T>,
    random: &mut Random,
) -> Vec<Chained<T::Suite>> {
    let epoch = said.epoch;
    if random.chance(30) {
        let epochs = [Epoch(epoch.0 + 1), Epoch(epoch.0.saturating_sub(1)), Epoch(1 << 50)];
        let epoch = epochs[random.below(3) as usize];
        return vec![Chained { epoch, body: said.body.clone() }];
    }
    let scope = instance(chain, epoch);
    let bodies = match &said.body {
        Body::Batch { batch, .. } => false_batches(by, batch, scope, seat, random),
        Body::Vote { height, digest, .. } => {
            let lane = Party::new(random.below(seat.n as u64) as usize);
            let other = Digest::of_encoded("drill no batch", &random.below(3));
            let (height, digest) = match random.below(4) {
                0 => (*height, other),
                1 => (Height(height.0 + 1), *digest),
                _ => (*height, *digest),
            };
            let statement = stored(scope, lane, height, digest);
            vec![Body::Vote {
                height,
                digest,
                vote: vote_of(by, statement, false_reading(random), seat),
            }]
        }
        Body::Head(head) => vec![Body::Head(false_head(by, head, scope, seat, random))],
        // No course has a group that is ordered by the service.
        Body::Agree { message: AgreeMessage::Placed(_), .. } => Vec::new(),
        Body::Agree { round, message: AgreeMessage::Views(message) } => {
            let at = (agreement(chain, epoch, *round), ViewsPlace { epoch, round: round.0 });
            let lies = views::lies(by, message, at, fewer, seat, random).into_iter();
            let lies = lies.map(AgreeMessage::Views);
            lies.map(|message| Body::Agree { round: *round, message }).collect()
        }
        Body::Agree { round, message: AgreeMessage::Random(message) } => {
            let scope = agreement(chain, epoch, *round);
            let lies = false_agreement(by, message, scope, seat, random);
            let round = if random.chance(100) { round.next() } else { *round };
            let lies = lies.into_iter().map(AgreeMessage::Random);
            lies.map(|message| Body::Agree { round, message }).collect()
        }
        Body::Want { lane, height, digest } => match random.below(3) {
            0 => vec![Body::Want { lane: *lane, height: Height(height.0 + 1), digest: *digest }],
            1 => vec![Body::Want { lane: by, height: Height(1), digest: *digest }],
            _ => (0..40)
                .map(|step| Body::Want { lane: *lane, height: Height(step), digest: *digest })
                .collect(),
        },
        Body::Found { lane, batch, owner } => {
            let batch = Batch { items: odd_items(random), ..batch.clone() };
            vec![Body::Found { lane: *lane, batch, owner: owner.clone() }]
        }
        Body::Status { round } => {
            let rounds = [Round(0), Round(1), Round(round.0 + 3), Round(u64::MAX)];
            vec![Body::Status { round: rounds[random.below(4) as usize] }]
        }
        Body::Rounds(rounds) => {
            let mut rounds: Vec<DecidedRound<T::Suite>> = rounds.iter().cloned().collect();
            for decided in &mut rounds {
                match random.below(3) {
                    0 => decided.round = decided.round.next(),
                    1 => decided.heads = Heads::default(),
                    _ => {}
                }
            }
            vec![Body::Rounds(List::new(rounds).expect("as many as before"))]
        }
    };
    bodies.into_iter().map(|body| Chained { epoch, body }).collect()
}

/// A vector that lacks its first head.
fn fewer<S: Suite>(heads: &Heads<S>) -> Heads<S> {
    let fewer = heads.iter().skip(1).cloned().collect();
    Heads(List::new(fewer).expect("fewer than before"))
}

fn false_batches<T: Stage>(
    by: Party,
    batch: &Batch<T::Suite>,
    scope: Scope,
    seat: &Seat<T>,
    random: &mut Random,
) -> Vec<Body<T::Suite>> {
    let sent = |batch: Batch<T::Suite>, reading| {
        let statement = stored(scope, by, batch.height, batch.digest());
        Body::Batch { vote: vote_of(by, statement, reading, seat), batch, seal: None }
    };
    let other = Batch { items: odd_items(random), ..batch.clone() };
    let turned = Batch { turn: !batch.turn, ..batch.clone() };
    match random.below(6) {
        0 => vec![sent(turned, CLOCK_START)],
        1 => vec![sent(batch.clone(), CLOCK_START), sent(turned, CLOCK_START)],
        2 => vec![sent(batch.clone(), false_reading(random))],
        3 => vec![sent(Batch { height: batch.height.next(), ..batch.clone() }, CLOCK_START)],
        4 => vec![sent(Batch { previous: None, ..batch.clone() }, CLOCK_START)],
        _ => vec![sent(other, CLOCK_START)],
    }
}

fn false_head<T: Stage>(
    by: Party,
    head: &Head<T::Suite>,
    scope: Scope,
    seat: &Seat<T>,
    random: &mut Random,
) -> Head<T::Suite> {
    let mut head = head.clone();
    match random.below(4) {
        0 => head.digest = Digest::of("drill no batch", b""),
        1 => head.height = head.height.next(),
        2 => head.lane = Party::new(random.below(seat.n as u64) as usize),
        _ => {
            let statement = stored(scope, head.lane, head.height, head.digest);
            head.certificate = alone(by, statement, seat);
        }
    }
    head
}

fn false_agreement<T: Stage>(
    by: Party,
    said: &Agreed<T::Suite>,
    scope: Scope,
    seat: &Seat<T>,
    random: &mut Random,
) -> Vec<Agreed<T::Suite>> {
    let odd = Digest::of("drill no value", b"");
    match said.clone() {
        Agreed::Propose { view, value, basis, .. } => {
            let value = fewer(&value);
            let statement = statements::echo(scope, view, Step::Lock, by, digest_of(&value));
            let lie = Agreed::Propose { view, value, basis, signature: seat.sign(by, statement) };
            if random.chance(500) { vec![lie] } else { vec![said.clone(), lie] }
        }
        Agreed::Echo { view, step, .. } => {
            let of = Party::new(random.below(seat.n as u64) as usize);
            let signature = seat.sign(by, statements::echo(scope, view, step, of, odd));
            vec![Agreed::Echo { view, step, signature }]
        }
        Agreed::Lock { view, certificate, .. } => {
            vec![Agreed::Lock { view, digest: odd, certificate }]
        }
        Agreed::Finish { view, digest, .. } => {
            let statement = statements::echo(scope, view, Step::Finish, by, digest);
            vec![Agreed::Finish { view, digest, certificate: alone(by, statement, seat) }]
        }
        Agreed::Share { view, .. } => {
            let other = view_of(number_of(view) as u32 + 1);
            vec![Agreed::Share { view, share: seat.share(by, statements::coin(scope, other)) }]
        }
        Agreed::Refuse { view, .. } => {
            let refusals = alone(by, statements::refusal(scope, view), seat);
            let signature = seat.sign(by, statements::vote(scope, view, None));
            vec![Agreed::Vote { view, choice: Choice::No { refusals }, signature }]
        }
        Agreed::Vote { view, .. } => {
            let signature = seat.sign(by, statements::refusal(scope, view));
            vec![Agreed::Refuse { view, signature }]
        }
        Agreed::Decided { decision, .. } => vec![Agreed::Decided { digest: odd, decision }],
        Agreed::Ask { .. } => vec![Agreed::Ask { digest: odd }],
        Agreed::Answer { .. } => vec![Agreed::Answer { value: Heads::default() }],
        Agreed::Elected { view, election } => {
            vec![Agreed::Elected { view: view_of(number_of(view) as u32 + 1), election }]
        }
    }
}

/// Any message at all.
pub(crate) fn babble<T: Stage>(
    by: Party,
    chain: Scope,
    seat: &Seat<T>,
    random: &mut Random,
) -> Chained<T::Suite> {
    let epoch = Epoch(u64::from(random.chance(100)));
    let scope = instance(chain, epoch);
    let height = Height(1 + random.below(6));
    let digest = Digest::of_encoded("drill no batch", &random.below(3));
    let lane = Party::new(random.below(seat.n as u64) as usize);
    let round = Round(1 + random.below(6));
    let statement = stored(scope, lane, height, digest);
    let body = match random.below(6) {
        0 => {
            let batch = Batch {
                height: Height(1),
                previous: None,
                turn: random.chance(200),
                items: odd_items(random),
            };
            let statement = stored(scope, by, Height(1), batch.digest());
            let vote = vote_of(by, statement, false_reading(random), seat);
            Body::Batch { vote, batch, seal: None }
        }
        1 => {
            Body::Vote { height, digest, vote: vote_of(by, statement, false_reading(random), seat) }
        }
        2 => {
            let certificate = alone(by, statement, seat);
            Body::Head(Head { lane: by, height, digest, certificate, seal: None })
        }
        3 => Body::Want { lane, height, digest },
        4 => Body::Status { round },
        _ => {
            let view = view_of(random.below(3) as u32);
            let name = statements::coin(agreement(chain, epoch, round), view);
            let message = match random.chance(500) {
                true => Agreed::Share { view, share: seat.bad_share(by, name) },
                false => Agreed::Ask { digest },
            };
            Body::Agree { round, message: AgreeMessage::Random(message) }
        }
    };
    Chained { epoch, body }
}

/// The same with a signature that holds for nothing.
pub(crate) fn spoilt_signature<S: DrillSuite>(said: &Chained<S>) -> Option<Chained<S>> {
    let mut said = said.clone();
    match &mut said.body {
        Body::Batch { vote, .. } | Body::Vote { vote, .. } => vote.signature = S::bad_signature(),
        Body::Agree {
            message:
                AgreeMessage::Random(
                    Agreed::Propose { signature, .. }
                    | Agreed::Echo { signature, .. }
                    | Agreed::Refuse { signature, .. }
                    | Agreed::Vote { signature, .. },
                ),
            ..
        } => *signature = S::bad_signature(),
        _ => return None,
    }
    Some(said)
}

/// The same with a bad share under a good signature.
pub(crate) fn spoilt_share<T: Stage>(
    by: Party,
    said: &Chained<T::Suite>,
    chain: Scope,
    seat: &Seat<T>,
) -> Option<Chained<T::Suite>> {
    let Body::Agree { round, message: AgreeMessage::Random(Agreed::Share { view, .. }) } =
        &said.body
    else {
        return None;
    };
    let name = statements::coin(agreement(chain, said.epoch, *round), *view);
    let message = Agreed::Share { view: *view, share: seat.bad_share(by, name) };
    let message = AgreeMessage::Random(message);
    Some(Chained { epoch: said.epoch, body: Body::Agree { round: *round, message } })
}

/// The same with a certificate that lacks votes, or counts somebody twice.
pub(crate) fn thinned<S: DrillSuite>(said: &Chained<S>, random: &mut Random) -> Option<Chained<S>> {
    let mut said = said.clone();
    let proof: &mut Certificate<S> = match &mut said.body {
        Body::Head(head) => &mut head.certificate,
        Body::Batch { batch, .. } => &mut batch.previous.as_mut()?.certificate,
        Body::Agree { message: AgreeMessage::Random(message), .. } => match message {
            Agreed::Lock { certificate, .. } | Agreed::Finish { certificate, .. } => certificate,
            Agreed::Vote { choice: Choice::Yes { lock: proof, .. }, .. }
            | Agreed::Vote { choice: Choice::No { refusals: proof }, .. }
            | Agreed::Propose { basis: Basis::Free { votes: proof, .. }, .. }
            | Agreed::Propose { basis: Basis::Locked { lock: proof, .. }, .. } => proof,
            _ => return None,
        },
        _ => return None,
    };
    *proof = thin(proof, random);
    Some(said)
}

/// L3, L5, C4, as whoever listens understands them.
#[derive(Default)]
pub(crate) struct OrderReasons {
    /// Who the servers are before the wormhole, in the hybrid configuration.
    members: Option<Members>,
    /// Batches that each server was shown by their owners: epoch, owner, height, digest.
    shown: BTreeSet<(Party, u64, Party, u64, u64)>,
}

impl OrderReasons {
    pub(crate) fn among(members: Option<Members>) -> Self {
        Self { members, ..Self::default() }
    }

    pub(crate) fn heard<S: Suite>(&mut self, by: Party, from: Party, said: &Chained<S>) {
        if let Body::Batch { batch, .. } = &said.body {
            let digest = short(&batch.digest());
            self.shown.insert((by, said.epoch.0, from, batch.height.0, digest));
        }
    }

    pub(crate) fn says<S: DrillSuite>(
        &mut self,
        by: Party,
        to: Party,
        said: &Chained<S>,
        chain: Scope,
        court: &Court<S>,
    ) -> Result<(), Complaint> {
        let (epoch, scope) = (said.epoch, instance(chain, said.epoch));
        match &said.body {
            Body::Vote { height, digest, .. } => {
                let place = (by, epoch.0, to, height.0, short(digest));
                ensure(self.shown.contains(&place), "justified", || {
                    format!("{by} votes for a batch of {to} that it was never shown")
                })
            }
            Body::Head(head) => {
                let statement = stored(scope, head.lane, head.height, head.digest);
                ensure(court.is_certificate(&head.certificate, statement), "transfer", || {
                    format!("{by} sends a head of {} that too few vouch for", head.lane)
                })
            }
            Body::Rounds(rounds) => {
                let holds =
                    rounds.iter().all(|decided| self.is_decided(decided, (chain, epoch), court));
                ensure(holds, "transfer", || format!("{by} sends a round that is not decided so"))
            }
            _ => Ok(()),
        }
    }
}

impl OrderReasons {
    fn is_decided<S: DrillSuite>(
        &self,
        decided: &DecidedRound<S>,
        (chain, epoch): (Scope, Epoch),
        court: &Court<S>,
    ) -> bool {
        let (group, digest) = (group_of(court), digest_of(&decided.heads));
        let scope = agreement(chain, epoch, decided.round);
        let run = |checks: Vec<_>| -> Vec<_> {
            checks.into_iter().map(|piece| work::<S>(&court.keyrings[0], piece)).collect()
        };
        match (&decided.decision, &self.members) {
            (RoundDecision::Random(decision), None) => decision
                .checks(scope, &group, digest)
                .is_some_and(|checks| decision.holds(&group, &run(checks)).is_some()),
            (RoundDecision::Views(decision), Some(members)) => {
                let place = ViewsPlace { epoch, round: decided.round.0 };
                // Who leads first follows from the rounds before: whoever does, it must hold.
                group.parties().iter().any(|base| {
                    let checks = canary::quietly(|| {
                        decision.checks((place, base), members, scope, &group, digest)
                    });
                    checks.is_some_and(|checks| decision.holds(&run(checks)).is_some())
                })
            }
            _ => false,
        }
    }
}

/// A message in words.
pub(crate) fn words<S: Suite>(said: &Chained<S>) -> String {
    let text: String = match &said.body {
        Body::Batch { batch, .. } => {
            let Batch { height, items, turn, .. } = batch;
            let turn = if *turn { ", turn" } else { "" };
            format!("BATCH {} with {} items{turn}", height.0, items.len())
        }
        Body::Vote { height, digest, .. } => format!("VOTE for {} {digest:?}", height.0),
        Body::Head(head) => format!("HEAD {} of {}", head.height.0, head.lane),
        Body::Agree { round, message } => format!("AGREE on {}: {message:?}", round.0),
        Body::Want { lane, height, .. } => format!("WANT {} of {lane}", height.0),
        Body::Found { lane, batch, .. } => format!("FOUND {} of {lane}", batch.height.0),
        Body::Status { round } => format!("STATUS {}", round.0),
        Body::Rounds(rounds) => {
            let rounds: Vec<u64> = rounds.iter().map(|decided| decided.round.0).collect();
            format!("ROUNDS {rounds:?}")
        }
    };
    let text: String = text.chars().take(120).collect();
    format!("[{}] {text}", said.epoch.0)
}
