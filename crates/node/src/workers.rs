//! Threads for heavy work: signatures, shares, checks.
//!
//! Work is handed over in batches, so that checks of signatures can be batched too. Without
//! threads of its own the engine does the work itself, right after it has handed its records to
//! the log and its messages to the network: on a machine with fewer cores than servers that saves
//! two changes of thread for every piece of work.

use crate::Driven;
use crate::inbox::Inbox;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Does work; results come in the order of the work.
pub type Run<P> = dyn Fn(
        Vec<<P as maftia_base::protocol::Vocabulary>::Work>,
    ) -> Vec<<P as maftia_base::protocol::Vocabulary>::Done>
    + Send
    + Sync;

type Batch<P> = Vec<(
    <P as maftia_base::protocol::Vocabulary>::Ticket,
    <P as maftia_base::protocol::Vocabulary>::Work,
)>;

type Results<P> = Vec<(
    <P as maftia_base::protocol::Vocabulary>::Ticket,
    <P as maftia_base::protocol::Vocabulary>::Done,
)>;

/// The worker threads of one server. They end when this is dropped.
pub struct Workers<P: Driven> {
    run: Arc<Run<P>>,
    threads: usize,
    queue: Arc<Queue<P>>,
}

struct Queue<P: Driven> {
    state: Mutex<State<P>>,
    filled: Condvar,
}

struct State<P: Driven> {
    batches: VecDeque<Batch<P>>,
    closed: bool,
}

impl<P: Driven> Workers<P> {
    /// Starts `threads` threads, none included, whose results go to `inbox`.
    pub fn start(threads: usize, run: Arc<Run<P>>, inbox: Inbox<P>) -> std::io::Result<Self> {
        let state = Mutex::new(State { batches: VecDeque::new(), closed: false });
        let queue = Arc::new(Queue { state, filled: Condvar::new() });
        for number in 0..threads {
            let (queue, run, inbox) = (Arc::clone(&queue), Arc::clone(&run), inbox.clone());
            thread::Builder::new()
                .name(format!("maftia-worker-{number}"))
                .spawn(move || work_until_closed(&queue, &*run, &inbox))?;
        }
        Ok(Self { run, threads, queue })
    }

    /// Does `work` and returns its results, or has it done; then they come to the inbox.
    pub fn submit(&self, work: Batch<P>) -> Results<P> {
        if work.is_empty() {
            return Vec::new();
        }
        if self.threads == 0 {
            return finish::<P>(&*self.run, work);
        }
        let share = work.len().div_ceil(self.threads);
        let mut work = work.into_iter().peekable();
        while work.peek().is_some() {
            let batch = work.by_ref().take(share).collect();
            self.queue.lock().batches.push_back(batch);
            self.queue.filled.notify_one();
        }
        Vec::new()
    }

    /// Number of batches that no thread has taken yet.
    pub fn waiting(&self) -> usize {
        self.queue.lock().batches.len()
    }
}

impl<P: Driven> Drop for Workers<P> {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.filled.notify_all();
    }
}

impl<P: Driven> std::fmt::Debug for Workers<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl<P: Driven> Queue<P> {
    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Batch<P>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(batch) = state.batches.pop_front() {
                return Some(batch);
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn work_until_closed<P: Driven>(queue: &Queue<P>, run: &Run<P>, inbox: &Inbox<P>) {
    /// Tells the engine when an assertion ends this thread: its work would never come back.
    struct Alarm<'a, P: Driven>(&'a Inbox<P>);
    impl<P: Driven> Drop for Alarm<'_, P> {
        fn drop(&mut self) {
            if thread::panicking() {
                self.0.fail("a worker thread panicked".into());
            }
        }
    }
    let _alarm = Alarm(inbox);
    while let Some(batch) = queue.take() {
        inbox.done(finish::<P>(run, batch));
    }
}

fn finish<P: Driven>(run: &Run<P>, batch: Batch<P>) -> Results<P> {
    let (tickets, work): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let done = run(work);
    assert_eq!(tickets.len(), done.len(), "each piece of work has one result");
    tickets.into_iter().zip(done).collect()
}
