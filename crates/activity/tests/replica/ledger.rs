//! A small service that remembers what was done to it.

use maftia_activity::{AgreedTime, ApplyContext, Reply, StateMachine, Task, TaskId, ToSign, Votes};
use maftia_base::wire::{Blob, Bytes, Encode, List, Wire, wire_struct};
use maftia_base::{Digest, Party};
use maftia_crypto::{HashAlgorithm, KeyId, SigningInput};
use std::collections::BTreeMap;

/// One execution.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) position: u64,
    pub(crate) time: AgreedTime,
    pub(crate) request: Blob<1024>,
}

wire_struct!(Entry { position, time, request });

/// What the group signs for the ledger itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kept {
    pub(crate) id: TaskId,
    pub(crate) input: SigningInput,
    /// Empty until it is there.
    pub(crate) signature: Blob<1024>,
}

wire_struct!(Kept { id, input, signature });

struct Image {
    entries: List<Entry, 100_000>,
    kept: List<Kept, 1000>,
}

wire_struct!(Image { entries, kept });

/// `sign:x` is signed; `keep:x` is signed and the signature kept; `task:x` asks the outside;
/// `wake:n` wants to be woken at time n; everything is remembered, and answered by how many came
/// before.
#[derive(Clone, Debug, Hash, Default)]
pub(crate) struct Ledger {
    pub(crate) entries: Vec<Entry>,
    pub(crate) wake: Option<AgreedTime>,
    pub(crate) woken: Vec<AgreedTime>,
    pub(crate) tasks: BTreeMap<TaskId, Votes<Vec<u8>>>,
    pub(crate) done: Vec<Vec<u8>>,
    pub(crate) kept: Vec<Kept>,
}

fn input_of(request: &[u8]) -> SigningInput {
    let digest = Digest::of("ledger", request);
    let digest = Blob::new(digest.0.to_vec()).expect("32 bytes");
    SigningInput { hash: HashAlgorithm::Sha256, digest }
}

/// What is remembered of a request: of a large one its digest.
fn kept(request: &[u8]) -> Blob<1024> {
    let kept = Blob::new(request.to_vec());
    kept.unwrap_or_else(|| Blob::new(Digest::of("large", request).0.to_vec()).expect("32 bytes"))
}

impl Ledger {
    pub(crate) fn count(&self, request: &[u8]) -> usize {
        let kept = kept(request);
        self.entries.iter().filter(|entry| entry.request == kept).count()
    }
}

impl StateMachine for Ledger {
    fn apply(&mut self, request: &[u8], cx: &ApplyContext<'_>) -> Reply {
        let request_kept = kept(request);
        self.entries.push(Entry { position: cx.position, time: cx.time, request: request_kept });
        if request.starts_with(b"sign:") {
            let input = input_of(request);
            return Reply::Sign { key: KeyId(0), input, body: request.to_vec().into() };
        }
        if request.starts_with(b"keep:") {
            let (id, signature) = (TaskId(cx.position), Blob::default());
            self.kept.push(Kept { id, input: input_of(request), signature });
        }
        if request.starts_with(b"task:") {
            self.tasks.insert(TaskId(cx.position), Votes::default());
        }
        if let Some(at) = request.strip_prefix(b"wake:") {
            let at = std::str::from_utf8(at).expect("digits").parse().expect("digits");
            self.wake = Some(AgreedTime(at));
        }
        Reply::Plain((self.entries.len() as u64).encode())
    }

    fn tasks(&self) -> Vec<Task> {
        let what = Blob::new(&b"look"[..]).expect("short");
        self.tasks.keys().map(|id| Task { id: *id, what: what.clone() }).collect()
    }

    fn task_result(&mut self, party: Party, id: TaskId, result: &[u8], cx: &ApplyContext<'_>) {
        let votes = self.tasks.get_mut(&id).expect("asked for");
        assert!(votes.insert(party, result.to_vec()), "one result a party");
        if let Some(result) = votes.agreed(cx.structure).cloned() {
            self.done.push(result);
            self.tasks.remove(&id);
        }
    }

    fn read(&self, question: &[u8]) -> Option<Bytes> {
        (question != b"nothing").then(|| (self.count(question) as u64).encode())
    }

    fn to_sign(&self) -> Vec<ToSign> {
        let open = self.kept.iter().filter(|kept| kept.signature.is_empty());
        open.map(|kept| ToSign { id: kept.id, key: KeyId(0), input: kept.input.clone() }).collect()
    }

    fn signed(&mut self, id: TaskId, signature: &[u8], _: &ApplyContext<'_>) {
        let kept = self.kept.iter_mut().find(|kept| kept.id == id).expect("asked for");
        assert!(kept.signature.is_empty(), "told once");
        kept.signature = Blob::new(signature.to_vec()).expect("short");
    }

    fn wake_at(&self) -> Option<AgreedTime> {
        self.wake
    }

    fn wake(&mut self, cx: &ApplyContext<'_>) {
        self.woken.push(cx.time);
        self.wake = None;
    }

    fn snapshot(&self) -> Bytes {
        let entries = List::new(self.entries.clone()).expect("few");
        Image { entries, kept: List::new(self.kept.clone()).expect("few") }.encode()
    }

    fn restore(&mut self, snapshot: Bytes) -> Option<()> {
        let image = Image::from_wire(snapshot).ok()?;
        self.entries = image.entries.into_vec();
        self.kept = image.kept.into_vec();
        Some(())
    }
}
