use maftia_base::protocol::Vocabulary;
use maftia_base::{Context, Fault, Group, Scope, Target};

/// Faults with evidence of one step that are kept to become accusations. A step yields a handful;
/// what is beyond is found again, or is somebody who is convicted already.
const FAULTS_MAX: usize = 256;

/// A context that passes everything on and keeps the faults that have evidence.
pub(super) struct Tap<'a, C> {
    inner: &'a mut C,
    faults: Vec<Fault>,
}

impl<'a, C> Tap<'a, C> {
    pub(super) fn new(inner: &'a mut C) -> Self {
        Self { inner, faults: Vec::new() }
    }

    pub(super) fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }
}

impl<V: Vocabulary, C: Context<V>> Context<V> for Tap<'_, C> {
    fn group(&self) -> &Group {
        self.inner.group()
    }

    fn scope(&self) -> Scope {
        self.inner.scope()
    }

    fn send(&mut self, to: Target, body: V::Message) {
        self.inner.send(to, body);
    }

    fn offload(&mut self, ticket: V::Ticket, work: V::Work) {
        self.inner.offload(ticket, work);
    }

    fn consult(&mut self, ticket: V::Ticket, call: V::Work) {
        self.inner.consult(ticket, call);
    }

    fn persist(&mut self, record: V::Record) {
        self.inner.persist(record);
    }

    fn note(&mut self, record: V::Record) {
        self.inner.note(record);
    }

    fn blame(&mut self, fault: Fault) {
        if fault.evidence.is_some() && self.faults.len() < FAULTS_MAX {
            self.faults.push(fault.clone());
        }
        self.inner.blame(fault);
    }

    fn output(&mut self, outcome: V::Outcome) {
        self.inner.output(outcome);
    }
}
