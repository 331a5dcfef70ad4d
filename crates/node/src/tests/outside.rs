//! What the host of a replica does for questions and outside work.

use crate::errands::{Errands, Runner, Try};
use crate::host::{Arrival, ConnectionId, Desk, Host};
use crate::replica::{ReplicaHost, Request, StatusBoard};
use bytes::Bytes;
use maftia_activity::{Command, Outcome, Replica, Task, TaskId};
use maftia_base::time::Reading;
use maftia_base::wire::Blob;
use maftia_base::{Party, ServiceId};
use maftia_crypto::RealSuite;
use maftia_links::Linked;
use maftia_services::ledger::Ledger;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

type Served = Replica<RealSuite, Ledger>;
type Tested = ReplicaHost<RealSuite, Served>;
type Papers = Desk<Linked<Served>>;

const SERVICE: ServiceId = ServiceId(3);

fn host() -> (Tested, Papers) {
    (ReplicaHost::new(Party::new(0), StatusBoard::default()), Desk::new(Reading(0), None))
}

fn arrive(host: &mut Tested, desk: &mut Papers, request: Request<RealSuite>) {
    host.on_arrival(Arrival::Request(ConnectionId(0), request), desk);
}

#[test]
fn each_question_gets_its_own_answer() {
    let (mut host, mut desk) = host();
    let mut asked = ["one", "two", "nobody waits"].map(|question| {
        let (answer, receive) = oneshot::channel();
        let question = Bytes::from_static(question.as_bytes());
        arrive(&mut host, &mut desk, Request::Read { service: SERVICE, question, answer });
        Some(receive)
    });
    asked[2] = None;
    let ids = desk.commands.drain(..).map(|command| match command {
        Command::Read { id, service: SERVICE, .. } => id,
        other => panic!("nobody asked for {other:?}"),
    });
    let ids: Vec<u64> = ids.collect();
    for (id, answer) in ids.into_iter().zip([Some("1"), None, Some("3")]).rev() {
        let answer = answer.map(|answer| Bytes::from_static(answer.as_bytes()));
        host.on_outcome(Outcome::Answer { id, answer }, &mut desk);
    }
    let [one, two, _] = asked.map(|receive| receive.map(|mut it| it.try_recv().expect("answered")));
    assert_eq!((one, two), (Some(Some(Bytes::from_static(b"1"))), Some(None)));
}

/// Succeeds at once, or never.
struct Work;

impl Errands for Work {
    fn attempt(&self, _: ServiceId, task: &Task, _: u32) -> Try {
        let what = task.what.clone();
        Box::pin(async move { (&what[..] == b"now").then_some(what) })
    }
}

#[tokio::test]
async fn outside_work_is_done_and_reported_until_it_is_over() {
    let (host, mut desk) = host();
    let (arrivals, mut arriving) = mpsc::channel(1);
    let runner = Runner::new(Arc::new(Work), arrivals, Handle::current());
    let mut host = host.with_errands(Some(runner));
    let mut tell = |host: &mut Tested, id, what: &'static [u8]| {
        let task = Task { id: TaskId(id), what: Blob::new(what).expect("short") };
        host.on_outcome(Outcome::Task { service: SERVICE, task }, &mut desk);
    };
    tell(&mut host, 1, b"never");
    tell(&mut host, 2, b"now");
    let Some(Arrival::Request(_, done)) = arriving.recv().await else { panic!("a result") };
    let mut desk = Desk::new(Reading(0), None);
    arrive(&mut host, &mut desk, done);
    let Some(Command::TaskResult { service: SERVICE, id, result }) = desk.commands.pop() else {
        panic!("the group is told");
    };
    assert_eq!((id, &result[..]), (TaskId(2), &b"now"[..]));
    assert_eq!(host.errands(), 2, "the result is not ordered yet");
    for id in [TaskId(1), TaskId(2)] {
        host.on_outcome(Outcome::TaskOver { service: SERVICE, id }, &mut desk);
    }
    assert_eq!(host.errands(), 0);
}
