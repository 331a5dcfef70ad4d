//! A protocol that says numbers, remembers what it said, and hears what others say.

use crate::archive::{ArchiveKey, Shelf};
use crate::host::{Arrival, ConnectionId, Desk, Host, Recall, Recalled};
use maftia_base::protocol::{Timed, TimedProtocol, Vocabulary};
use maftia_base::time::Duration;
use maftia_base::wire::wire_enum;
use maftia_base::{AdversaryStructure, Epoch, Event, Group, GroupId, Party, Target};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Talker {
    pub(crate) said: Vec<u64>,
    pub(crate) heard: BTreeSet<(Party, u64)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Persist, then tell all.
    Say(u64),
    /// Have it squared, then say that.
    Square(u64),
    /// Say it after so many milliseconds.
    Later(u64, u64),
    /// Tell all without a record.
    Whisper(u64),
    /// Note it, tell all.
    Note(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Said(u64),
    Heard(Party, u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Said(u64),
    Noted(u64),
}

wire_enum!(Record { 0 => Said(number), 1 => Noted(number) });

impl Vocabulary for Talker {
    const NAME: &'static str = "talker";
    type Command = Command;
    type Outcome = Outcome;
    type Message = u64;
    type Timer = u64;
    type Ticket = ();
    type Work = u64;
    type Done = u64;
    type Record = Record;
}

impl TimedProtocol for Talker {
    fn handle_timed(&mut self, event: Event<Self>, cx: &mut impl Timed<Self>) {
        match event {
            Event::Command(Command::Say(number)) | Event::Timer(number) => self.say(number, cx),
            Event::Done { done, .. } => self.say(done, cx),
            Event::Command(Command::Square(number)) => cx.offload((), number),
            Event::Command(Command::Later(number, after)) => {
                cx.arm(number, Duration::from_millis(after));
            }
            Event::Command(Command::Whisper(number)) => cx.send(Target::All, number),
            Event::Command(Command::Note(number)) => {
                cx.note(Record::Noted(number));
                cx.send(Target::All, number);
            }
            Event::Message { from, body } => {
                if self.heard.insert((from, body)) {
                    cx.output(Outcome::Heard(from, body));
                }
            }
            Event::Restore(Record::Said(number)) => {
                self.said.push(number);
                cx.output(Outcome::Said(number));
            }
            Event::Restore(Record::Noted(_)) => {}
            Event::Resumed => self.said.iter().for_each(|said| cx.send(Target::All, *said)),
            Event::Reconnected(peer) => {
                self.said.iter().for_each(|said| cx.send(Target::One(peer), *said));
            }
        }
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        self.heard.len()
    }
}

impl Talker {
    fn say(&mut self, number: u64, cx: &mut impl Timed<Self>) {
        self.said.push(number);
        cx.persist(Record::Said(number));
        cx.send(Target::All, number);
        cx.output(Outcome::Said(number));
    }
}

/// What the host of a talker saw, for the test to look at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<SeenState>>);

#[derive(Debug, Default)]
pub(crate) struct SeenState {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) restored: Vec<Outcome>,
    pub(crate) recalled: Vec<(ArchiveKey, Option<Record>)>,
}

impl Seen {
    pub(crate) fn look<T>(&self, look: impl FnOnce(&SeenState) -> T) -> T {
        look(&self.0.lock().expect("no test panicked while it looked"))
    }

    fn write(&self, write: impl FnOnce(&mut SeenState)) {
        write(&mut self.0.lock().expect("no test panicked while it looked"));
    }
}

#[derive(Debug)]
pub(crate) enum Ask {
    Command(Command),
    Recall(u64),
    Cut(u64),
}

/// Turns what connections ask into commands, and shows what comes out.
#[derive(Debug)]
pub(crate) struct Watcher(pub(crate) Seen);

impl Host<Talker> for Watcher {
    type Request = Ask;

    fn on_arrival(&mut self, arrival: Arrival<Ask>, desk: &mut Desk<Talker>) {
        match arrival {
            Arrival::Request(_, Ask::Command(command)) => desk.command(command),
            Arrival::Request(_, Ask::Recall(number)) => {
                desk.recall(Recall { to: Party::new(0), key: key(number) });
            }
            Arrival::Request(_, Ask::Cut(number)) => desk.cut(key(number)),
            Arrival::Closed(_) => {}
        }
    }

    fn on_outcome(&mut self, outcome: Outcome, _: &mut Desk<Talker>) {
        self.0.write(|seen| seen.outcomes.push(outcome));
    }

    fn on_restored(&mut self, outcome: Outcome) {
        self.0.write(|seen| seen.restored.push(outcome));
    }

    fn on_recalled(&mut self, recalled: Recalled<Talker>, _: &mut Desk<Talker>) {
        self.0.write(|seen| seen.recalled.push((recalled.key, recalled.record)));
    }

    fn archive_key(record: &Record) -> Option<ArchiveKey> {
        match record {
            Record::Said(number) => Some(key(*number)),
            Record::Noted(_) => None,
        }
    }
}

pub(crate) fn key(number: u64) -> ArchiveKey {
    ArchiveKey { shelf: Shelf { kind: 0, epoch: 0, series: 0 }, height: number }
}

pub(crate) fn ask(command: Command) -> Arrival<Ask> {
    Arrival::Request(ConnectionId(0), Ask::Command(command))
}

pub(crate) fn group(n: usize, me: usize) -> Group {
    let structure = AdversaryStructure::optimal(n).expect("well-formed");
    Group::new(GroupId::default(), Epoch(0), Party::new(me), structure)
}
