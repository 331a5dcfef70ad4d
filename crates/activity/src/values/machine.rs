//! The rules.

use super::{
    BroadcastSlot, Carried, DisseminationSlot, GRANTED_MAX, LARGE_BYTES_MAX, OPEN_MAX, ValueId,
    ValuesCommand, ValuesMessage, ValuesOutcome, ValuesRecord, ValuesTicket,
};
use maftia_agreement::broadcast::coded::{self, CodedBroadcast, code_of};
use maftia_agreement::checkpoint::Mark;
use maftia_agreement::hybrid::dissemination::{self, Dissemination};
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::{AdversaryStructure, Context, Event, Fault, FaultKind, Party, Protocol};
use maftia_crypto::{Code, CodedValue, Commitment, Done, Encoded, Suite, Work};
use std::collections::{BTreeMap, BTreeSet};

/// All values that are under way or may still be wanted. See the module's documentation.
#[derive(Clone, Debug, Hash)]
pub struct Values<S: Suite> {
    is_hybrid: bool,
    /// Found when it is first needed: for a general structure that takes a while.
    code: Option<Code>,
    live: bool,
    floors: BTreeMap<Party, u64>,
    instances: BTreeMap<ValueId, Instance<S>>,
    /// Of each home the highest number of which something was not heard. (V2)
    missed: BTreeMap<Party, u64>,
    /// The first number that this server has not used.
    next: u64,
}

/// What happens to one of them.
type Happens<S> = Carried<Event<CodedBroadcast<S>>, Event<Dissemination<S>>>;

/// One value.
#[derive(Clone, Debug, Hash)]
struct Instance<S: Suite> {
    carrier: Carried<CodedBroadcast<S>, Dissemination<S>>,
    /// Until the floor has passed it.
    value: Option<(Commitment, CodedValue)>,
    /// Applied, and kept for others until the log is cut here. (V4)
    until: Option<Mark>,
}

impl<S: Suite> Default for Values<S> {
    fn default() -> Self {
        Self {
            is_hybrid: false,
            code: None,
            live: false,
            floors: BTreeMap::new(),
            instances: BTreeMap::new(),
            missed: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<S: Suite> Vocabulary for Values<S> {
    const NAME: &'static str = "values";
    type Command = ValuesCommand;
    type Outcome = ValuesOutcome;
    type Message = ValuesMessage;
    type Timer = Never;
    type Ticket = ValuesTicket;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = ValuesRecord;
}

impl<S: Suite> Protocol for Values<S> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(command) => self.on_command(command, cx),
            Event::Message { from, body } => self.on_message(from, body, cx),
            Event::Done { ticket: ValuesTicket { id, body }, done } => match body {
                Carried::Broadcast(ticket) => {
                    self.step(id, Carried::Broadcast(Event::Done { ticket, done }), cx);
                }
                Carried::Dissemination(ticket) => {
                    self.step(id, Carried::Dissemination(Event::Done { ticket, done }), cx);
                }
            },
            Event::Restore(ValuesRecord { id, body }) => self.on_restore(id, body, cx),
            Event::Resumed => {
                self.live = true;
                for id in self.ids() {
                    let resumed = self.either(Event::Resumed, Event::Resumed);
                    self.step(id, resumed, cx);
                }
            }
            Event::Reconnected(peer) => {
                for id in self.ids() {
                    let event = self.either(Event::Reconnected(peer), Event::Reconnected(peer));
                    self.step(id, event, cx);
                }
            }
            Event::Timer(never) => match never {},
        }
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        let held = self.instances.values().map(|instance| match &instance.carrier {
            Carried::Broadcast(broadcast) => 1 + broadcast.footprint(),
            Carried::Dissemination(dissemination) => 1 + dissemination.footprint(),
        });
        held.sum::<usize>() + self.missed.len()
    }
}

impl<S: Suite> Values<S> {
    /// Those of the hybrid configuration.
    pub fn hybrid() -> Self {
        Self { is_hybrid: true, ..Self::default() }
    }

    /// The value, once it is here and until the floor has passed it.
    pub fn get(&self, id: ValueId) -> Option<&(Commitment, CodedValue)> {
        self.instances.get(&id)?.value.as_ref()
    }

    /// Under which number this server's next broadcast goes.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// May this server, `me`, begin another broadcast? (V1)
    pub fn may_begin(&self, me: Party) -> bool {
        self.live && self.next < self.floor(me).saturating_add(OPEN_MAX)
    }

    /// The first number of `home` that is neither applied nor given up.
    pub fn floor(&self, home: Party) -> u64 {
        self.floors.get(&home).copied().unwrap_or_default()
    }

    /// All values of which anything is here.
    pub fn ids(&self) -> BTreeSet<ValueId> {
        self.instances.keys().copied().collect()
    }

    /// Bytes of values that wait to be applied; without fragments.
    pub fn waiting_bytes(&self) -> usize {
        let bytes = |instance: &Instance<S>| Some(instance.value.as_ref()?.1.len());
        self.instances.values().filter_map(bytes).sum()
    }

    fn on_command(&mut self, command: ValuesCommand, cx: &mut impl Context<Self>) {
        match command {
            ValuesCommand::Broadcast(value, encoded) => self.on_broadcast(value, encoded, cx),
            ValuesCommand::Want(id, commitment) => self.on_wanted(id, commitment, cx),
            ValuesCommand::Passed { floors, applied, until } => {
                self.on_passed(floors, &applied, until, cx);
            }
            ValuesCommand::Note => self.note_what_lives(cx),
            ValuesCommand::Cut(mark) => {
                self.instances.retain(|_, instance| instance.until.is_none_or(|it| it > mark));
            }
            ValuesCommand::Deaf => {
                for home in cx.group().parties().iter() {
                    let last = self.floor(home).saturating_add(GRANTED_MAX);
                    self.missed.insert(home, last);
                }
                self.ask_for_missed(cx);
            }
        }
    }

    /// V1.
    fn on_broadcast(&mut self, value: CodedValue, encoded: Encoded, cx: &mut impl Context<Self>) {
        let id = ValueId { home: cx.group().me(), number: self.next };
        assert!(self.may_begin(id.home), "a home keeps to what it is granted");
        self.next += 1;
        self.open(id, cx);
        let begins = if self.is_hybrid {
            let command = dissemination::Command::DisseminateEncoded(value, encoded);
            Carried::Dissemination(Event::Command(command))
        } else {
            let command = coded::Command::BroadcastEncoded(value, encoded);
            Carried::Broadcast(Event::Command(command))
        };
        self.step(id, begins, cx);
    }

    /// V6.
    fn on_wanted(&mut self, id: ValueId, commitment: Commitment, cx: &mut impl Context<Self>) {
        self.open(id, cx);
        let instance = self.instances.get_mut(&id).expect("just opened");
        instance.value.take_if(|(held, _)| *held != commitment);
        let want = Event::Command(dissemination::Command::Want(commitment));
        self.step(id, Carried::Dissemination(want), cx);
    }

    /// V2, V3.
    fn on_message(&mut self, from: Party, message: ValuesMessage, cx: &mut impl Context<Self>) {
        let ValuesMessage { id, body } = message;
        let (commitment, is_ours) = match &body {
            Carried::Broadcast(body) => (body.commitment(), !self.is_hybrid),
            Carried::Dissemination(body) => (body.commitment(), self.is_hybrid),
        };
        if !is_ours {
            // In one group all values are carried in the same way.
            return cx.blame(Fault::suspected(from, FaultKind::Malformed));
        }
        if commitment.is_some_and(|it| it.length() > LARGE_BYTES_MAX) {
            return;
        }
        if !self.instances.contains_key(&id) {
            let floor = self.floor(id.home);
            let foreign = !cx.group().parties().contains(id.home) || id.home == cx.group().me();
            // A question is answered by who has something, and here is nothing.
            if foreign || id.number < floor || commitment.is_none() {
                return;
            }
            if id.number - floor >= GRANTED_MAX {
                let missed = self.missed.entry(id.home).or_default();
                *missed = id.number.max(*missed);
                return;
            }
            self.open(id, cx);
        }
        let heard = match body {
            Carried::Broadcast(body) => Carried::Broadcast(Event::Message { from, body }),
            Carried::Dissemination(body) => Carried::Dissemination(Event::Message { from, body }),
        };
        self.step(id, heard, cx);
    }

    fn on_restore(
        &mut self,
        id: ValueId,
        record: Carried<coded::Record, dissemination::Record>,
        cx: &mut impl Context<Self>,
    ) {
        if !self.instances.contains_key(&id) {
            if id.number < self.floor(id.home) {
                return;
            }
            self.open(id, cx);
        }
        let (began, event) = match record {
            Carried::Broadcast(record) => {
                let began = matches!(record, coded::Record::Began);
                (began, Carried::Broadcast(Event::Restore(record)))
            }
            Carried::Dissemination(record) => {
                let began = matches!(record, dissemination::Record::Began);
                (began, Carried::Dissemination(Event::Restore(record)))
            }
        };
        // A crash may have kept it from being begun: then nothing of it was sent.
        if began && id.home == cx.group().me() {
            self.next = self.next.max(id.number.saturating_add(1));
        }
        self.step(id, event, cx);
    }

    /// V4. Opens what is granted now and was not before.
    fn on_passed(
        &mut self,
        floors: BTreeMap<Party, u64>,
        applied: &BTreeSet<ValueId>,
        until: Mark,
        cx: &mut impl Context<Self>,
    ) {
        self.floors = floors;
        let floors = &self.floors;
        self.instances.retain(|id, instance| {
            let floor = floors.get(&id.home).copied().unwrap_or_default();
            if id.number < floor && instance.until.is_none() {
                instance.value = None;
                instance.until = applied.contains(id).then_some(until);
                return instance.until.is_some();
            }
            true
        });
        self.next = self.next.max(self.floor(cx.group().me()));
        if self.live {
            self.ask_for_missed(cx);
        }
    }

    /// Asks all for what is granted by now, and was sent before it was. (V2)
    fn ask_for_missed(&mut self, cx: &mut impl Context<Self>) {
        for (home, last) in self.missed.clone() {
            let floor = self.floor(home);
            let granted = floor..floor.saturating_add(GRANTED_MAX).min(last.saturating_add(1));
            for number in granted {
                let id = ValueId { home, number };
                if home != cx.group().me() && !self.instances.contains_key(&id) {
                    self.open(id, cx);
                    let ask = self.either(
                        Event::Command(coded::Command::Ask),
                        Event::Command(dissemination::Command::Ask),
                    );
                    self.step(id, ask, cx);
                }
            }
            if last < floor.saturating_add(GRANTED_MAX) {
                self.missed.remove(&home);
            }
        }
    }

    /// V5.
    fn note_what_lives(&self, cx: &mut impl Context<Self>) {
        for (id, instance) in self.instances.iter().filter(|(_, it)| it.until.is_none()) {
            let value = instance.value.as_ref().map(|(_, value)| value);
            let records: Vec<_> = match &instance.carrier {
                Carried::Broadcast(it) => {
                    it.records(value).into_iter().map(Carried::Broadcast).collect()
                }
                Carried::Dissemination(it) => {
                    it.records().into_iter().map(Carried::Dissemination).collect()
                }
            };
            for body in records {
                cx.note(ValuesRecord { id: *id, body });
            }
        }
    }

    /// The code in which this group broadcasts.
    pub(crate) fn code(&mut self, structure: &AdversaryStructure) -> Code {
        *self.code.get_or_insert_with(|| code_of(structure))
    }

    fn open(&mut self, id: ValueId, cx: &mut impl Context<Self>) {
        let code = self.code(cx.group().structure());
        let is_hybrid = self.is_hybrid;
        self.instances.entry(id).or_insert_with(|| {
            let carrier = if is_hybrid {
                Carried::Dissemination(Dissemination::new(id.home, code))
            } else {
                Carried::Broadcast(CodedBroadcast::new(id.home, code))
            };
            Instance { carrier, value: None, until: None }
        });
    }

    /// The one or the other, as the configuration is.
    fn either(
        &self,
        broadcast: Event<CodedBroadcast<S>>,
        dissemination: Event<Dissemination<S>>,
    ) -> Happens<S> {
        match self.is_hybrid {
            false => Carried::Broadcast(broadcast),
            true => Carried::Dissemination(dissemination),
        }
    }

    /// Steps what carries a value, if it is here.
    fn step(&mut self, id: ValueId, event: Happens<S>, cx: &mut impl Context<Self>) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let told: Vec<(Commitment, CodedValue)> = match (&mut instance.carrier, event) {
            (Carried::Broadcast(broadcast), Carried::Broadcast(event)) => {
                let outcomes = cx.step(BroadcastSlot(id), broadcast, event).into_iter();
                let told = |coded::Outcome::Delivered { commitment, value }| (commitment, value);
                outcomes.map(told).collect()
            }
            (Carried::Dissemination(dissemination), Carried::Dissemination(event)) => {
                let outcomes = cx.step(DisseminationSlot(id), dissemination, event).into_iter();
                let told = |dissemination::Outcome::Held { commitment, value }| (commitment, value);
                outcomes.map(told).collect()
            }
            // A log of the other configuration, which another part refuses.
            _ => Vec::new(),
        };
        for value in told.into_iter().filter(|_| instance.until.is_none()) {
            instance.value = Some(value);
            cx.output(ValuesOutcome::Here(id));
        }
    }
}
