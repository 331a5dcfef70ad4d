//! The service that the drill runs: it remembers everything, and says where.

use maftia_activity::{
    AgreedTime, ApplyContext, Caller, Reply, StateMachine, Task, TaskId, ToSign,
};
use maftia_base::wire::{Blob, Bytes, Encode, List, Wire, wire_struct};
use maftia_base::{Digest, Party, PartySet};
use maftia_crypto::{HashAlgorithm, KeyId, SigningInput};
use std::collections::BTreeMap;

/// Longest request.
pub(crate) const REQUEST_MAX: usize = 256;

/// One execution.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) position: u64,
    pub(crate) time: AgreedTime,
    /// In which session; 0 for front ends.
    pub(crate) session: u64,
    pub(crate) request: Blob<REQUEST_MAX>,
}

wire_struct!(Entry { position, time, session, request });

/// What is asked of the outside, and who has answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    id: TaskId,
    yes: PartySet,
}

wire_struct!(Question { id, yes });

/// That the book was woken, signed by the group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seal {
    id: TaskId,
    time: AgreedTime,
    /// Empty until it is there.
    pub(crate) signature: Blob<1024>,
}

wire_struct!(Seal { id, time, signature });

impl Seal {
    pub(crate) fn input(&self) -> SigningInput {
        signing_input(&self.time.encode())
    }
}

/// `s:` is signed, `t:` asks the outside, `w:` wants to be woken soon, and to have a seal on that
/// from the group; all is remembered.
#[derive(Clone, Debug, Hash, Default)]
pub struct Book {
    pub(crate) entries: Vec<Entry>,
    /// Of everything that ever changed it.
    pub(crate) chain: Digest,
    pub(crate) woken: Vec<AgreedTime>,
    /// How often the outside's answer was taken, and what it was.
    pub(crate) told: Vec<u64>,
    pub(crate) seals: Vec<Seal>,
    wake: Option<AgreedTime>,
    questions: BTreeMap<TaskId, Question>,
    /// Bytes that make the state as large as that of a real service.
    bulk: usize,
}

/// What an honest server finds outside.
pub(crate) const TRUTH: &[u8] = b"truth";

/// How far ahead `w:` asks to be woken.
const NAP: u64 = 20_000;

/// Where an entry stands: what is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) index: u64,
    pub(crate) position: u64,
}

wire_struct!(Receipt { index, position });

struct Image {
    entries: List<Entry, 100_000>,
    chain: Digest,
    woken: List<AgreedTime, 100_000>,
    told: List<u64, 100_000>,
    wake: Option<AgreedTime>,
    questions: List<Question, 1_000>,
    seals: List<Seal, 1_000>,
    bulk: Blob<{ 1 << 22 }>,
}

wire_struct!(Image { entries, chain, woken, told, wake, questions, seals, bulk });

/// What the group signs for a request.
pub(crate) fn signing_input(request: &[u8]) -> SigningInput {
    let digest = Blob::new(Digest::of("drill book", request).0.to_vec()).expect("32 bytes");
    SigningInput { hash: HashAlgorithm::Sha256, digest }
}

impl Book {
    /// Empty, with so many bytes of ballast.
    pub(crate) fn new(bulk: usize) -> Self {
        Self { bulk, ..Self::default() }
    }

    fn link(&mut self, what: u64, value: &impl Encode) {
        let value = Digest::of_encoded("drill book value", value);
        self.chain = Digest::of_encoded("drill book", &(self.chain, (what, value)));
    }
}

impl StateMachine for Book {
    fn apply(&mut self, request: &[u8], cx: &ApplyContext<'_>) -> Reply {
        let mut kept = request.to_vec();
        kept.truncate(REQUEST_MAX);
        let session = match cx.caller {
            Caller::Client { session, .. } => session.0,
            _ => 0,
        };
        let request_kept = Blob::new(kept).expect("cut to this length");
        let (position, time) = (cx.position, cx.time);
        let entry = Entry { position, time, session, request: request_kept };
        self.link(1, &entry);
        self.entries.push(entry);
        let body = Receipt { index: self.entries.len() as u64, position }.encode();
        if request.starts_with(b"t:") {
            let id = TaskId(position);
            self.questions.insert(id, Question { id, yes: PartySet::EMPTY });
        }
        if request.starts_with(b"w:") && self.wake.is_none() {
            self.wake = Some(AgreedTime(time.0.saturating_add(NAP)));
        }
        match request.starts_with(b"s:") {
            true => Reply::Sign { key: KeyId(0), input: signing_input(request), body },
            false => Reply::Plain(body),
        }
    }

    fn tasks(&self) -> Vec<Task> {
        let what = Blob::new(&b"look"[..]).expect("short");
        self.questions.keys().map(|id| Task { id: *id, what: what.clone() }).collect()
    }

    fn task_result(&mut self, party: Party, id: TaskId, result: &[u8], cx: &ApplyContext<'_>) {
        let question = self.questions.get_mut(&id).expect("only what is wanted is reported");
        if result == TRUTH {
            question.yes.insert(party);
        }
        let is_over = cx.structure.has_honest(question.yes);
        self.link(2, &(id, party));
        if is_over {
            self.questions.remove(&id);
            self.told.push(id.0);
        }
    }

    fn to_sign(&self) -> Vec<ToSign> {
        let open = self.seals.iter().filter(|seal| seal.signature.is_empty());
        open.map(|seal| ToSign { id: seal.id, key: KeyId(0), input: seal.input() }).collect()
    }

    fn signed(&mut self, id: TaskId, signature: &[u8], _: &ApplyContext<'_>) {
        let kept = Blob::new(signature.to_vec()).expect("signatures are short");
        self.link(4, &(id, kept.clone()));
        let seal = self.seals.iter_mut().find(|seal| seal.id == id);
        seal.expect("only what is wanted is signed").signature = kept;
    }

    fn wake_at(&self) -> Option<AgreedTime> {
        self.wake
    }

    fn wake(&mut self, cx: &ApplyContext<'_>) {
        self.link(3, &cx.time);
        self.woken.push(cx.time);
        let (id, time) = (TaskId(cx.position), cx.time);
        self.seals.push(Seal { id, time, signature: Blob::default() });
        self.wake = None;
    }

    fn snapshot(&self) -> Bytes {
        Image {
            entries: List::new(self.entries.clone()).expect("few"),
            chain: self.chain,
            woken: List::new(self.woken.clone()).expect("few"),
            told: List::new(self.told.clone()).expect("few"),
            wake: self.wake,
            questions: List::new(self.questions.values().cloned().collect()).expect("few"),
            seals: List::new(self.seals.clone()).expect("few"),
            bulk: Blob::new(vec![7; self.bulk]).expect("bounded"),
        }
        .encode()
    }

    fn restore(&mut self, snapshot: Bytes) -> Option<()> {
        let image = Image::from_wire(snapshot).ok()?;
        let questions = image.questions.into_vec().into_iter();
        *self = Self {
            entries: image.entries.into_vec(),
            chain: image.chain,
            woken: image.woken.into_vec(),
            told: image.told.into_vec(),
            seals: image.seals.into_vec(),
            wake: image.wake,
            questions: questions.map(|question| (question.id, question)).collect(),
            bulk: image.bulk.len(),
        };
        Some(())
    }
}
