//! Outside work of services: runs errands until they succeed, or until nobody wants them any more.
//!
//! # Rules
//! - E1. An errand is tried at once, and after a failure again: after 1 s, 2 s, 4 s and so on, at
//!   most [`PAUSE_MAX`] apart. An errand that does not return is the trade's own matter: a trade
//!   bounds the time of each try.
//! - E2. The first success is reported to the group, and nothing after it. A failure is never
//!   reported: that this server does not succeed says nothing, it may be the one that is cut off.
//! - E3. Work that is over is given up in the middle of a try.
//!
//! # Bounds
//! One task of the runtime for each that the services of the group want at a time: services bound
//! their tasks. How many try at the same moment is the trade's own bound.

use crate::host::{Arrival, ConnectionId};
use crate::replica::Request;
use maftia_activity::{TASK_BYTES_MAX, Task, TaskId};
use maftia_base::ServiceId;
use maftia_base::wire::Blob;
use maftia_crypto::Suite;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// Pause after the first failure.
pub const PAUSE_FIRST: Duration = Duration::from_secs(1);

/// Longest pause between two tries.
pub const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What came of an errand.
pub type ErrandResult = Blob<TASK_BYTES_MAX>;

/// One try of an errand.
pub type Try = Pin<Box<dyn Future<Output = Option<ErrandResult>> + Send>>;

/// Knows how the work of services is done.
pub trait Errands: Send + Sync + 'static {
    /// Tries once; `number` counts the tries since this server started, from 0. `None`: there is
    /// nothing to say, and it is to be tried again.
    fn attempt(&self, service: ServiceId, task: &Task, number: u32) -> Try;
}

/// Runs the errands of one server.
pub struct Runner<S: Suite> {
    errands: Arc<dyn Errands>,
    arrivals: mpsc::Sender<Arrival<Request<S>>>,
    runtime: Handle,
    running: BTreeMap<(ServiceId, TaskId), AbortHandle>,
}

impl<S: Suite> std::fmt::Debug for Runner<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("running", &self.running.len()).finish_non_exhaustive()
    }
}

impl<S: Suite> Runner<S> {
    /// Runs errands on `runtime`, and reports where the engine hears what `arrivals` bring.
    pub fn new(
        errands: Arc<dyn Errands>,
        arrivals: mpsc::Sender<Arrival<Request<S>>>,
        runtime: Handle,
    ) -> Self {
        Self { errands, arrivals, runtime, running: BTreeMap::new() }
    }

    /// Errands that have not succeeded yet, or whose success is not ordered.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Begins `task`. (E1, E2)
    pub fn start(&mut self, service: ServiceId, task: Task) {
        let (errands, arrivals) = (Arc::clone(&self.errands), self.arrivals.clone());
        let id = task.id;
        let run = async move {
            let result = succeed(&*errands, service, &task).await;
            let done = Request::TaskResult { service, id, result };
            // Nobody hears it if the server has ended.
            let _ = arrivals.send(Arrival::Request(ConnectionId(0), done)).await;
        };
        let running = self.runtime.spawn(run).abort_handle();
        if let Some(before) = self.running.insert((service, id), running) {
            before.abort();
        }
    }

    /// Gives `id` up, unless it has succeeded. (E3)
    pub fn give_up(&mut self, service: ServiceId, id: TaskId) {
        if let Some(running) = self.running.remove(&(service, id)) {
            running.abort();
        }
    }
}

impl<S: Suite> Drop for Runner<S> {
    fn drop(&mut self) {
        self.running.values().for_each(AbortHandle::abort);
    }
}

/// Tries until it succeeds. (E1)
async fn succeed(errands: &dyn Errands, service: ServiceId, task: &Task) -> ErrandResult {
    let mut pause = PAUSE_FIRST;
    for number in 0.. {
        if let Some(result) = errands.attempt(service, task, number).await {
            return result;
        }
        sleep(pause).await;
        pause = PAUSE_MAX.min(2 * pause);
    }
    unreachable!("a server does not run for so long");
}

#[cfg(test)]
mod tests {
    use super::*;
    use maftia_crypto::RealSuite;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::{Instant, timeout};

    const SERVICE: ServiceId = ServiceId(3);

    /// Succeeds at the try with this number; remembers when it was asked.
    struct Slow {
        at: u32,
        asked: Mutex<Vec<Instant>>,
        given_up: Arc<AtomicUsize>,
    }

    impl Errands for Slow {
        fn attempt(&self, service: ServiceId, task: &Task, number: u32) -> Try {
            assert_eq!((service, task.id), (SERVICE, TaskId(7)));
            self.asked.lock().expect("whole").push(Instant::now());
            let (result, guard) = (task.what.clone(), Guard(Arc::clone(&self.given_up)));
            let succeeds = number == self.at;
            Box::pin(async move {
                sleep(Duration::from_millis(100)).await;
                std::mem::forget(guard);
                succeeds.then_some(result)
            })
        }
    }

    /// Counts when it is dropped.
    struct Guard(Arc<AtomicUsize>);

    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    type Arrivals = mpsc::Receiver<Arrival<Request<RealSuite>>>;

    fn runner(at: u32) -> (Runner<RealSuite>, Arc<Slow>, Arrivals) {
        let (asked, given_up) = (Mutex::default(), Arc::default());
        let slow = Arc::new(Slow { at, asked, given_up });
        let (arrivals, arriving) = mpsc::channel(1);
        (Runner::new(Arc::<Slow>::clone(&slow), arrivals, Handle::current()), slow, arriving)
    }

    fn task() -> Task {
        Task { id: TaskId(7), what: Blob::new(&b"look"[..]).expect("short") }
    }

    #[tokio::test(start_paused = true)]
    async fn an_errand_is_tried_ever_more_rarely_until_it_succeeds_and_that_is_reported_once() {
        let (mut runner, slow, mut arriving) = runner(8);
        runner.start(SERVICE, task());
        let Some(Arrival::Request(_, Request::TaskResult { service, id, result })) =
            arriving.recv().await
        else {
            panic!("a result");
        };
        assert_eq!((service, id, &result[..]), (SERVICE, TaskId(7), &b"look"[..]));
        assert!(timeout(10 * PAUSE_MAX, arriving.recv()).await.is_err(), "nothing more");
        let asked = slow.asked.lock().expect("whole").clone();
        let pauses: Vec<u64> = asked.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_given_up_in_the_middle_of_a_try() {
        let (mut runner, slow, mut arriving) = runner(0);
        runner.start(SERVICE, task());
        sleep(Duration::from_millis(50)).await;
        assert_eq!(slow.asked.lock().expect("whole").len(), 1, "it has begun");
        runner.give_up(SERVICE, TaskId(7));
        assert_eq!(runner.running(), 0);
        assert!(timeout(10 * PAUSE_MAX, arriving.recv()).await.is_err(), "nothing is reported");
        assert_eq!(slow.given_up.load(Ordering::Relaxed), 1);
        runner.start(SERVICE, task());
        assert!(arriving.recv().await.is_some(), "and it can begin again");
    }

    #[tokio::test(start_paused = true)]
    async fn errands_end_with_their_server() {
        let (mut runner, slow, mut arriving) = runner(0);
        runner.start(SERVICE, task());
        sleep(Duration::from_millis(50)).await;
        drop(runner);
        assert!(arriving.recv().await.is_none(), "nobody is left to report");
        assert_eq!(slow.given_up.load(Ordering::Relaxed), 1);
    }
}
