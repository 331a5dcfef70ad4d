//! Clients that make load, and what they saw.

use maftia_activity::client::ClientReply;
use maftia_node::caller::Caller;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Requests under way at most in the open loop; beyond, the load is not offered but counted.
const OPEN_MAX: usize = 200_000;

/// Makes requests of one size, all different.
#[derive(Debug, Default)]
pub(super) struct Requests {
    payload: usize,
    next: AtomicU64,
}

impl Requests {
    /// Requests of `payload` bytes.
    pub(super) fn new(payload: usize) -> Self {
        Self { payload, next: AtomicU64::new(0) }
    }

    fn make(&self) -> bytes::Bytes {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut request = vec![0x6d; self.payload.max(8)];
        request[..8].copy_from_slice(&number.to_be_bytes());
        request.into()
    }
}

/// What clients saw under one load.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Seen {
    /// Requests answered.
    pub(super) answered: u64,
    /// Requests refused, or never offered because too many were under way.
    pub(super) not_answered: u64,
    /// From the first request to the last answer, in seconds.
    pub(super) seconds: f64,
    /// Answers a second.
    pub(super) per_second: f64,
    /// From the moment a request was due to its answer, in milliseconds.
    pub(super) latency_ms: Latency,
}

/// A distribution, in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Latency {
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

/// Answers one by one.
#[derive(Debug, Default)]
pub(super) struct Tally {
    micros: Vec<u32>,
    failed: u64,
}

impl Tally {
    pub(super) fn note(&mut self, due: Instant, answered: bool) {
        match answered {
            true => self.micros.push(u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX)),
            false => self.failed += 1,
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.micros.extend(other.micros);
        self.failed += other.failed;
    }

    pub(super) fn seen(mut self, elapsed: Duration) -> Seen {
        self.micros.sort_unstable();
        let at = |fraction: f64| {
            let index = (self.micros.len() as f64 * fraction) as usize;
            self.micros
                .get(index.min(self.micros.len().saturating_sub(1)))
                .map_or(0.0, |micros| f64::from(*micros) / 1000.0)
        };
        let sum: u64 = self.micros.iter().map(|micros| u64::from(*micros)).sum();
        let answered = self.micros.len() as u64;
        Seen {
            answered,
            not_answered: self.failed,
            seconds: elapsed.as_secs_f64(),
            per_second: answered as f64 / elapsed.as_secs_f64(),
            latency_ms: Latency {
                mean: sum as f64 / 1000.0 / (answered.max(1)) as f64,
                p50: at(0.5),
                p99: at(0.99),
                p999: at(0.999),
                max: at(1.0),
            },
        }
    }
}

async fn is_answered(caller: &Caller, request: bytes::Bytes) -> bool {
    matches!(caller.call(request).await, Ok(ClientReply::Plain(_)))
}

/// Each caller has `window` requests under way at any time, for `time`.
pub(super) async fn closed(
    callers: &[Caller],
    window: usize,
    requests: &Arc<Requests>,
    time: Duration,
) -> Seen {
    let started = Instant::now();
    let mut loops = JoinSet::new();
    for caller in callers {
        for _ in 0..window {
            let (caller, requests) = (caller.clone(), Arc::clone(requests));
            loops.spawn(async move {
                let mut tally = Tally::default();
                while started.elapsed() < time {
                    let due = Instant::now();
                    let answered = is_answered(&caller, requests.make()).await;
                    tally.note(due, answered);
                }
                tally
            });
        }
    }
    let mut tally = Tally::default();
    while let Some(ended) = loops.join_next().await {
        tally.add(ended.unwrap_or_default());
    }
    tally.seen(started.elapsed())
}

/// `rate` requests a second, evenly spread, whether or not earlier ones are answered.
pub(super) async fn open(
    callers: &[Caller],
    rate: u64,
    requests: &Arc<Requests>,
    time: Duration,
) -> Seen {
    let started = Instant::now();
    let places = Arc::new(Semaphore::new(OPEN_MAX));
    let (mut calls, mut tally, mut offered) = (JoinSet::new(), Tally::default(), 0u64);
    while started.elapsed() < time {
        // The first is due at once.
        let due_by_now = (started.elapsed().as_secs_f64() * rate as f64) as u64 + 1;
        for number in offered..due_by_now {
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                tally.failed += 1;
                continue;
            };
            let due = started + Duration::from_secs_f64(number as f64 / rate as f64);
            let caller = callers[number as usize % callers.len()].clone();
            let request = requests.make();
            calls.spawn(async move {
                let answered = is_answered(&caller, request).await;
                drop(place);
                (due, due.elapsed(), answered)
            });
        }
        offered = offered.max(due_by_now);
        while let Some(ended) = calls.try_join_next() {
            note_call(&mut tally, ended);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while let Some(ended) = calls.join_next().await {
        note_call(&mut tally, ended);
    }
    tally.seen(started.elapsed())
}

fn note_call(tally: &mut Tally, ended: Result<(Instant, Duration, bool), tokio::task::JoinError>) {
    match ended {
        Ok((_, latency, true)) => {
            tally.micros.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
        }
        _ => tally.failed += 1,
    }
}
