//! Where everything that happens to a server waits for its engine.
//!
//! # Bounds
//! Each peer has its own queue of at most [`PEER_BYTES_MAX`]; what comes beyond is dropped, which
//! the links repair once there is room, and which no other peer feels. Results of work are bounded
//! by the work that the protocol has open. Requests wait in a channel of their own, whose senders
//! wait in turn.

use crate::Driven;
use crate::host::Recalled;
use maftia_base::Party;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Most bytes that wait for the engine from one peer, in memory; one transport frame more.
pub const PEER_BYTES_MAX: usize = 16 << 20;

/// What one turn of the engine handles.
#[derive(Debug)]
pub(crate) struct Mail<P: Driven> {
    /// Messages of each peer, in the order of arrival.
    pub(crate) messages: Vec<VecDeque<P::Message>>,
    /// Peers that sent bytes which do not decode.
    pub(crate) malformed: Vec<Party>,
    /// Results of work.
    pub(crate) done: VecDeque<(P::Ticket, P::Done)>,
    /// Old records that were asked for.
    pub(crate) recalled: Vec<Recalled<P>>,
    /// Up to where the log is durable, if that has moved.
    pub(crate) durable: Option<u64>,
    /// Somebody wants the server to stop.
    pub(crate) stop: bool,
    /// Something broke, and why.
    pub(crate) failure: Option<String>,
}

impl<P: Driven> Mail<P> {
    pub(crate) fn new(n: usize) -> Self {
        Self {
            messages: (0..n).map(|_| VecDeque::new()).collect(),
            malformed: Vec::new(),
            done: VecDeque::new(),
            recalled: Vec::new(),
            durable: None,
            stop: false,
            failure: None,
        }
    }
}

struct Queues<P: Driven> {
    mail: Mail<P>,
    bytes: Vec<usize>,
    fresh: bool,
}

/// The sending side and the receiving side of the engine's mail. Clones share one inbox.
pub struct Inbox<P: Driven> {
    shared: Arc<(Mutex<Queues<P>>, Notify)>,
}

impl<P: Driven> Clone for Inbox<P> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<P: Driven> std::fmt::Debug for Inbox<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl<P: Driven> Inbox<P> {
    /// An empty inbox of a server among `n`.
    pub fn new(n: usize) -> Self {
        let queues = Queues { mail: Mail::new(n), bytes: vec![0; n], fresh: false };
        Self { shared: Arc::new((Mutex::new(queues), Notify::new())) }
    }

    /// A peer sent these, which took `bytes` on the wire. False if there was no room.
    pub fn messages(&self, from: Party, messages: Vec<P::Message>, bytes: usize) -> bool {
        let size = bytes.max(messages.len() * size_of::<P::Message>());
        let mut queues = self.lock();
        let Some(held) = queues.bytes.get_mut(from.index()) else {
            return false;
        };
        if *held > PEER_BYTES_MAX {
            return false;
        }
        *held += size;
        queues.mail.messages[from.index()].extend(messages);
        self.wake(queues);
        true
    }

    /// A peer sent bytes that do not decode.
    pub fn malformed(&self, from: Party) {
        let mut queues = self.lock();
        if !queues.mail.malformed.contains(&from) {
            queues.mail.malformed.push(from);
        }
        self.wake(queues);
    }

    /// Work is finished.
    pub fn done(&self, done: impl IntoIterator<Item = (P::Ticket, P::Done)>) {
        let mut queues = self.lock();
        queues.mail.done.extend(done);
        self.wake(queues);
    }

    /// All records of the log before position `end` are durable.
    pub fn durable(&self, end: u64) {
        let mut queues = self.lock();
        queues.mail.durable = Some(end);
        self.wake(queues);
    }

    /// Old records were read from the log.
    pub fn recalled(&self, recalled: Recalled<P>) {
        let mut queues = self.lock();
        queues.mail.recalled.push(recalled);
        self.wake(queues);
    }

    /// Asks the engine to stop once what it has done is durable.
    pub fn stop(&self) {
        let mut queues = self.lock();
        queues.mail.stop = true;
        self.wake(queues);
    }

    /// Tells the engine that the server cannot go on.
    pub fn fail(&self, why: String) {
        let mut queues = self.lock();
        queues.mail.failure.get_or_insert(why);
        self.wake(queues);
    }

    /// Waits until there is mail.
    pub(crate) async fn ready(&self) {
        while !self.lock().fresh {
            self.shared.1.notified().await;
        }
    }

    /// Adds all mail to `mail`, but for messages of a peer whose earlier ones are still there: a
    /// peer that the engine is busy with keeps its share of the bound.
    pub(crate) fn drain(&self, mail: &mut Mail<P>) {
        let mut queues = self.lock();
        queues.fresh = false;
        for (index, queue) in mail.messages.iter_mut().enumerate() {
            if queue.is_empty() {
                std::mem::swap(queue, &mut queues.mail.messages[index]);
                queues.bytes[index] = 0;
            }
        }
        mail.malformed.append(&mut queues.mail.malformed);
        mail.done.append(&mut queues.mail.done);
        mail.recalled.append(&mut queues.mail.recalled);
        mail.durable = queues.mail.durable.take().or(mail.durable);
        mail.stop |= queues.mail.stop;
        mail.failure = mail.failure.take().or(queues.mail.failure.take());
    }

    fn wake(&self, mut queues: MutexGuard<'_, Queues<P>>) {
        let was_fresh = std::mem::replace(&mut queues.fresh, true);
        drop(queues);
        if !was_fresh {
            self.shared.1.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues<P>> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
