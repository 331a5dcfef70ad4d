//! A protocol that shows what its links do: every server writes letters to every other, numbered,
//! and starts again from the first whenever it is told that something may be lost.

use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::wire::{Blob, wire_struct};
use maftia_base::{Context, Event, Party, Protocol, Target};
use maftia_crypto::{Done, Suite, Work};
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// Longest filling of a letter.
const FILLING_MAX: usize = 1 << 17;

/// One letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Note {
    /// In which life of its sender.
    pub life: u64,
    /// How often the sender had started again then.
    pub series: u64,
    /// Which letter of the series; the first is 1.
    pub number: u64,
    /// Makes it heavy; each byte is its number's last.
    pub filling: Blob<FILLING_MAX>,
}

wire_struct!(Note { life, series, number, filling });

/// Write so many letters to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// How many.
    pub count: u64,
    /// Bytes of each.
    pub bytes: usize,
}

/// A letter arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// Of whom.
    pub from: Party,
    /// Which.
    pub note: Note,
}

/// See the module. It keeps nothing over a restart but the count of its lives.
#[derive(Clone, Debug, Hash)]
pub struct Courier<S> {
    life: u64,
    /// Lengths of all letters.
    letters: Vec<usize>,
    series: BTreeMap<Party, u64>,
    suite: PhantomData<S>,
}

impl<S> Courier<S> {
    /// A courier in this life.
    pub fn new(life: u64) -> Self {
        Self { life, letters: Vec::new(), series: BTreeMap::new(), suite: PhantomData }
    }
}

impl<S: Suite> Courier<S> {
    fn send(&self, to: Party, from: usize, cx: &mut impl Context<Self>) {
        let series = self.series.get(&to).copied().unwrap_or_default();
        for (index, bytes) in self.letters.iter().enumerate().skip(from) {
            let number = index as u64 + 1;
            let filling = Blob::new(vec![number as u8; *bytes]).expect("bounded");
            let note = Note { life: self.life, series, number, filling };
            cx.send(Target::One(to), note);
        }
    }
}

impl<S: Suite> Vocabulary for Courier<S> {
    const NAME: &'static str = "courier";
    type Command = Write;
    type Outcome = Got;
    type Message = Note;
    type Timer = Never;
    type Ticket = Never;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Never;
}

impl<S: Suite> Protocol for Courier<S> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(Write { count, bytes }) => {
                let from = self.letters.len();
                self.letters.extend((0..count).map(|_| bytes.min(FILLING_MAX)));
                cx.group().others().iter().for_each(|to| self.send(to, from, cx));
            }
            Event::Message { from, body } => cx.output(Got { from, note: body }),
            Event::Reconnected(peer) => {
                *self.series.entry(peer).or_default() += 1;
                self.send(peer, 0, cx);
            }
            Event::Resumed => {}
            Event::Timer(never) | Event::Restore(never) => match never {},
            Event::Done { ticket, .. } => match ticket {},
        }
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        0
    }
}
