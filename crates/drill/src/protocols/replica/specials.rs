//! Strategies against replicas.

use super::forge::{false_transfer, odd, state_vote};
use super::{BOOK, Hull, Replication};
use crate::adversary::{Brief, HandOf, LetterOf, Says, Special};
use crate::protocols::order::{self, chain_of};
use crate::stage::Seat;
use crate::world::DrillSuite;
use maftia_activity::{
    AgreedTime, Ask, ClientBundle, Item, Message, Nonce, ServerCommand, SessionId, TransferMessage,
};
use maftia_agreement::atomic::{self, Batch, BatchVote, Height, Items};
use maftia_agreement::checkpoint;
use maftia_base::time::Reading;
use maftia_base::wire::{Blob, Encode, List};
use maftia_base::{Annotation, GroupId, Party, PartySet, Statement};
use maftia_sim::{Adversary, CLOCK_START, Random};
use std::collections::BTreeMap;

type Adverse<S, H> = Box<dyn Adversary<<H as Hull<S>>::Protocol>>;
type BriefOf<S, H> = Brief<Replication<S, H>>;
/// What is said instead; `None` is the truth.
type Lies<S> = Option<Vec<Message<S>>>;

/// All of them.
pub(super) fn all<S: DrillSuite, H: Hull<S>>() -> Vec<Special<Replication<S, H>>> {
    vec![
        Special {
            name: "transfer-liar",
            about: "gives false chunks and manifests, or says that they are gone",
            make: transfer_liar,
        },
        Special {
            name: "stale-snapshot",
            about: "gives the oldest state that it ever had to whoever asks for the newest",
            make: stale_snapshot,
        },
        Special {
            name: "two-states",
            about: "votes for one state at a mark towards some, and for another towards the rest",
            make: two_states,
        },
        Special {
            name: "clamourer",
            about: "asks to be admitted again and again, with new numbers, old ones and others'",
            make: clamourer,
        },
        Special {
            name: "false-witness",
            about: "has it ordered that others lost their logs, that all clocks have passed the \
                    end of time, and results of tasks that nobody asked for",
            make: false_witness,
        },
        Special {
            name: "forged-requests",
            about: "has requests ordered that their clients did not sign, and what is none",
            make: forged_requests,
        },
        Special {
            name: "two-batches",
            about: "shows one batch to some and another to the rest, at every height",
            make: two_batches,
        },
    ]
}

/// Sends what `change` makes of each of the replica's messages.
fn changing<S: DrillSuite, H: Hull<S>>(
    brief: &BriefOf<S, H>,
    mut change: impl FnMut(&mut BriefOf<S, H>, (Party, Party), &Message<S>) -> Lies<S> + 'static,
) -> Adverse<S, H> {
    let mut brief = brief.clone();
    type L<S, H> = LetterOf<Replication<S, H>>;
    Box::new(Says(move |letter: &L<S, H>, hand: &mut HandOf<'_, Replication<S, H>>| {
        let ends = (letter.from, letter.to);
        let bodies = H::exchanged(&letter.body, &mut |said| match change(&mut brief, ends, said) {
            Some(lies) => {
                brief.acts.add();
                lies
            }
            None => vec![said.clone()],
        });
        bodies.into_iter().for_each(|body| hand.send(letter.from, letter.to, body));
    }))
}

fn transfer_liar<S: DrillSuite, H: Hull<S>>(brief: &BriefOf<S, H>) -> Adverse<S, H> {
    // Who gives a false manifest is asked for nothing more.
    let lies_early = brief.plan.number % 2 == 1;
    changing(brief, move |brief, _, said| match said {
        Message::Transfer(TransferMessage::Manifest(_)) if !lies_early => None,
        Message::Transfer(body) => {
            let lies = false_transfer(body, &mut brief.random);
            Some(lies.into_iter().map(Message::Transfer).collect())
        }
        // Whoever is behind is to ask.
        _ => None,
    })
}

fn stale_snapshot<S: DrillSuite, H: Hull<S>>(brief: &BriefOf<S, H>) -> Adverse<S, H> {
    let (mut manifest, mut chunk) = (None, None);
    changing(brief, move |_, _, said| match said {
        Message::Transfer(TransferMessage::Manifest(new)) => {
            let old: &mut _ = manifest.get_or_insert_with(|| new.clone());
            Some(vec![Message::Transfer(TransferMessage::Manifest(old.clone()))])
        }
        Message::Transfer(TransferMessage::Chunk { mark, index, chunk: new }) => {
            let old: &mut Blob<_> = chunk.get_or_insert_with(|| new.clone());
            let (mark, index, chunk) = (*mark, *index, old.clone());
            Some(vec![Message::Transfer(TransferMessage::Chunk { mark, index, chunk })])
        }
        _ => None,
    })
}

fn two_states<S: DrillSuite, H: Hull<S>>(brief: &BriefOf<S, H>) -> Adverse<S, H> {
    let some = brief.seat.some_victims(&mut brief.random.clone());
    changing(brief, move |brief, (by, to), said| {
        let Message::Checkpoint(checkpoint::Message::Vote { mark, .. }) = said else { return None };
        let (mark, digest) = (*mark, odd(u64::from(some.contains(to))));
        let signature = brief.seat.sign(by, state_vote(brief.seat.scope, mark, digest));
        let vote = checkpoint::Message::Vote { mark, digest, signature };
        Some(vec![Message::Checkpoint(vote)])
    })
}

/// How often a clamourer asks.
const CLAMOUR_MAX: u64 = 60;

fn clamourer<S: DrillSuite, H: Hull<S>>(brief: &BriefOf<S, H>) -> Adverse<S, H> {
    changing(brief, |brief, _, said| {
        // What it says makes work, and that makes it speak: for a while only, so that runs end.
        if brief.acts.count() > CLAMOUR_MAX || brief.random.chance(800) {
            return None;
        }
        let numbers = [brief.random.below(3), 1_000 + brief.acts.count()];
        let ask = |number| Message::Rejoin(Nonce(odd(number)));
        let asks = numbers.into_iter().map(ask);
        Some(std::iter::once(said.clone()).chain(asks).collect())
    })
}

/// A batch with other contents, the same for everybody who is to see this face.
struct Contents {
    made: BTreeMap<(Party, u64, Height, bool), Items>,
}

impl Contents {
    /// The message with the batch's items exchanged, if it is a batch.
    fn exchanged<S: DrillSuite, H: Hull<S>>(
        &mut self,
        (by, face): (Party, bool),
        said: &Message<S>,
        seat: &Seat<Replication<S, H>>,
        items: impl FnOnce() -> Items,
    ) -> Option<Message<S>> {
        let Message::Order(order::Chained { epoch, body }) = said else { return None };
        let atomic::Message::Batch { batch, .. } = body else { return None };
        let place = (by, epoch.0, batch.height, face);
        let items = self.made.entry(place).or_insert_with(items).clone();
        let batch = Batch { items, ..batch.clone() };
        let scope = order::instance(chain_of(seat.scope), *epoch);
        let statement = order::stored(scope, by, batch.height, batch.digest());
        let reading = Reading(CLOCK_START.0 + 1_000);
        let annotated = Statement { annotation: Annotation(reading.0), ..statement };
        let vote = BatchVote { reading, signature: seat.sign(by, annotated) };
        let body = atomic::Message::Batch { batch, vote, seal: None };
        Some(Message::Order(order::Chained { epoch: *epoch, body }))
    }
}

fn items_of(items: Vec<Item>) -> Items {
    let bytes = items.into_iter().map(|item| atomic::Item::new(item.encode()).expect("short"));
    Items::new(bytes.collect()).expect("few")
}

fn false_witness<S: DrillSuite, H: Hull<S>>(brief: &BriefOf<S, H>) -> Adverse<S, H> {
    let mut contents = Contents { made: BTreeMap::new() };
    changing(brief, move |brief, (by, _), said| {
        let (victims, random) = (brief.seat.victims(), &mut brief.random);
        let items = || items_of(false_words(victims, random));
        Some(vec![contents.exchanged((by, false), said, &brief.seat, items)?])
    })
}

fn false_words(victims: PartySet, random: &mut Random) -> Vec<Item> {
    let victims: Vec<Party> = victims.iter().collect();
    let party = victims[random.below(victims.len() as u64) as usize];
    let nonce = Nonce(odd(random.below(4)));
    let result = Blob::new(&b"lie"[..]).expect("short");
    let id = maftia_activity::TaskId(random.below(60));
    vec![
        Item::Server(ServerCommand::Rejoin { party, nonce }),
        Item::Server(ServerCommand::Wake(AgreedTime(u64::MAX))),
        Item::Server(ServerCommand::TaskResult { service: BOOK, id, result }),
    ]
}

fn forged_requests<S: DrillSuite, H: Hull<S>>(brief: &BriefOf<S, H>) -> Adverse<S, H> {
    let mut contents = Contents { made: BTreeMap::new() };
    changing(brief, move |brief, (by, _), said| {
        let random = &mut brief.random;
        let items = || forged_items::<S>(random);
        Some(vec![contents.exchanged((by, false), said, &brief.seat, items)?])
    })
}

/// A request in the name of a client that did not sign it, or no request at all.
fn forged_items<S: DrillSuite>(random: &mut Random) -> Items {
    if random.chance(300) {
        return Items::new(vec![atomic::Item::new(vec![9; 5]).expect("short")]).expect("few");
    }
    let (victim, crook) = (S::customer(0), S::customer(200));
    let request = Blob::new(format!("p:forged:{}", random.below(90)).into_bytes());
    let requests = List::new(vec![request.expect("short")]).expect("one");
    let (session, first) = (SessionId(random.below(8)), 1 + random.below(4));
    let ask = Ask::Requests { session, first, acknowledged: 1, requests };
    let group = GroupId::default();
    let forged = ClientBundle::signed(group, BOOK, ask, victim.key, |it| crook.sign(it));
    items_of(vec![Item::Bundle(forged)])
}

fn two_batches<S: DrillSuite, H: Hull<S>>(brief: &BriefOf<S, H>) -> Adverse<S, H> {
    let some = brief.seat.some_victims(&mut brief.random.clone());
    let mut contents = Contents { made: BTreeMap::new() };
    changing(brief, move |brief, (by, to), said| {
        let face = some.contains(to);
        let number = 900 + brief.acts.count();
        let request = format!("p:l{}:{face}:{number}", by.index()).into_bytes();
        let items = || {
            let request = Blob::new(request).expect("short");
            let asked = maftia_activity::FrontEndRequest { number, service: BOOK, request };
            items_of(vec![Item::FrontEnd(asked)])
        };
        Some(vec![contents.exchanged((by, face), said, &brief.seat, items)?])
    })
}
