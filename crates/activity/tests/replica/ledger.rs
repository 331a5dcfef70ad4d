//! A small service that remembers what was done to it.

use maftia_activity::{AgreedTime, ApplyContext, Reply, StateMachine, Task, TaskId, Votes};
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

/// `sign:x` is signed; `task:x` asks the outside; `wake:n` wants to be woken at time n; everything
/// is remembered, and answered by how many came before.
#[derive(Clone, Debug, Hash, Default)]
pub(crate) struct Ledger {
    pub(crate) entries: Vec<Entry>,
    pub(crate) wake: Option<AgreedTime>,
    pub(crate) woken: Vec<AgreedTime>,
    pub(crate) tasks: BTreeMap<TaskId, Votes<Vec<u8>>>,
    pub(crate) done: Vec<Vec<u8>>,
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
            let digest = Digest::of("ledger", request);
            let digest = Blob::new(digest.0.to_vec()).expect("32 bytes");
            let input = SigningInput { hash: HashAlgorithm::Sha256, digest };
            return Reply::Sign { key: KeyId(0), input, body: request.to_vec().into() };
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

    fn wake_at(&self) -> Option<AgreedTime> {
        self.wake
    }

    fn wake(&mut self, cx: &ApplyContext<'_>) {
        self.woken.push(cx.time);
        self.wake = None;
    }

    fn snapshot(&self) -> Bytes {
        let entries: List<Entry, 100_000> = List::new(self.entries.clone()).expect("few");
        entries.encode()
    }

    fn restore(&mut self, snapshot: Bytes) -> Option<()> {
        self.entries = List::<Entry, 100_000>::from_wire(snapshot).ok()?.into_vec();
        Some(())
    }
}
