//! Asks the group, or this server's state, on behalf of stock clients.
//!
//! # Bounds
//! At most [`OPEN_MAX`] requests are with the group, also of clients that have gone, and as many
//! questions with this server's state; more are refused. Each is answered within
//! [`ANSWER_TIMEOUT`], or not at all.

use crate::host::{Arrival, ConnectionId};
use crate::replica::Request;
use bytes::Bytes;
use maftia_activity::FrontEndReply;
use maftia_base::ServiceId;
use maftia_crypto::Suite;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// Most requests of stock clients with the group at once, and most questions with the state.
pub const OPEN_MAX: usize = 256;

/// After this time without an answer a client is told to come back.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Too much is asked at once.
    Busy,
    /// The group, or this server, does not say anything.
    Silent,
}

/// Asks. Clones share their bounds.
pub struct Asking<S: Suite> {
    arrivals: mpsc::Sender<Arrival<Request<S>>>,
    orders: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

impl<S: Suite> Clone for Asking<S> {
    fn clone(&self) -> Self {
        let (orders, reads) = (Arc::clone(&self.orders), Arc::clone(&self.reads));
        Self { arrivals: self.arrivals.clone(), orders, reads }
    }
}

impl<S: Suite> std::fmt::Debug for Asking<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asking").finish_non_exhaustive()
    }
}

impl<S: Suite> Asking<S> {
    /// Asks through `arrivals`, at most `open` requests and as many questions at once.
    pub fn new(arrivals: mpsc::Sender<Arrival<Request<S>>>, open: usize) -> Self {
        let [orders, reads] = [(); 2].map(|()| Arc::new(Semaphore::new(open)));
        Self { arrivals, orders, reads }
    }

    /// Has the group execute a request.
    pub async fn order(
        &self,
        service: ServiceId,
        request: Bytes,
    ) -> Result<FrontEndReply, Unanswered> {
        self.ask(&self.orders, |answer| Request::FrontEnd { service, request, answer }).await
    }

    /// Asks this server's state.
    pub async fn read(
        &self,
        service: ServiceId,
        question: Bytes,
    ) -> Result<Option<Bytes>, Unanswered> {
        self.ask(&self.reads, |answer| Request::Read { service, question, answer }).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        places: &Arc<Semaphore>,
        request: impl FnOnce(oneshot::Sender<T>) -> Request<S>,
    ) -> Result<T, Unanswered> {
        let place = Arc::clone(places).try_acquire_owned().map_err(|_| Unanswered::Busy)?;
        let (send, receive) = oneshot::channel();
        // No connection of a stock client needs to be known beyond its one request.
        let arrival = Arrival::Request(ConnectionId(0), request(send));
        let arrivals = self.arrivals.clone();
        // A task of its own: the place is taken as long as the request is with the group, even if
        // the client goes away.
        let asking = tokio::spawn(async move {
            let asked = async {
                arrivals.send(arrival).await.ok()?;
                receive.await.ok()
            };
            let answer = timeout(ANSWER_TIMEOUT, asked).await.ok().flatten();
            drop(place);
            answer
        });
        asking.await.ok().flatten().ok_or(Unanswered::Silent)
    }
}
