//! What a server counts. Exposed by the runtime's registry in the format of Prometheus.

use commonware_runtime::telemetry::metrics::{
    Counter, Gauge, GaugeExt, Histogram, MetricsExt, raw,
};
use std::time::Duration;

/// Counters and gauges of one engine and its log.
#[derive(Clone)]
pub struct Metrics {
    pub(crate) turns: Counter,
    pub(crate) events: Counter,
    pub(crate) protocol_in: Counter,
    pub(crate) protocol_out: Counter,
    pub(crate) link_in: Counter,
    pub(crate) link_out: Counter,
    pub(crate) dropped_in: Counter,
    pub(crate) dropped_out: Counter,
    pub(crate) malformed: Counter,
    pub(crate) frames_out: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) requests: Counter,
    pub(crate) outcomes: Counter,
    pub(crate) blames: Counter,
    pub(crate) work: Counter,
    pub(crate) records: Counter,
    pub(crate) record_bytes: Counter,
    pub(crate) commits: Counter,
    pub(crate) commit_seconds: Histogram,
    pub(crate) held: Gauge,
    pub(crate) waiting_bytes: Gauge,
    pub(crate) footprint: Gauge,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Upper ends of the classes of commit latency, in seconds.
const COMMIT_BUCKETS: [f64; 12] =
    [0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128, 0.0256, 0.1, 0.4, 1.6];

impl Metrics {
    /// Registers all of them with the runtime of `context`.
    pub fn register(context: &impl MetricsExt) -> Self {
        Self {
            turns: context.counter("turns", "turns of the engine"),
            events: context.counter("events", "events that the protocol handled"),
            protocol_in: context.counter("protocol_messages_in", "protocol messages received"),
            protocol_out: context.counter("protocol_messages_out", "protocol messages sent"),
            link_in: context.counter("link_messages_in", "keep-alives received"),
            link_out: context.counter("link_messages_out", "keep-alives sent"),
            dropped_in: context.counter("frames_dropped_in", "frames dropped: peer over bound"),
            dropped_out: context.counter("messages_dropped_out", "messages dropped: no room"),
            malformed: context.counter("frames_malformed", "frames that do not decode"),
            frames_out: context.counter("frames_out", "transport frames sent"),
            bytes_out: context.counter("bytes_out", "bytes of frames sent"),
            bytes_in: context.counter("bytes_in", "bytes of frames received"),
            requests: context.counter("requests", "requests of clients and front ends"),
            outcomes: context.counter("outcomes", "outcomes of the protocol"),
            blames: context.counter("blames", "faults that the protocol reported"),
            work: context.counter("work", "pieces of work started"),
            records: context.counter("log_records", "records appended to the log"),
            record_bytes: context.counter("log_bytes", "bytes appended to the log"),
            commits: context.counter("log_commits", "group commits of the log"),
            commit_seconds: context.histogram(
                "log_commit_seconds",
                "time that a group commit took",
                COMMIT_BUCKETS,
            ),
            held: context.gauge("effects_held", "effects that wait for the log"),
            waiting_bytes: context.gauge("bytes_waiting", "bytes that wait to be sent"),
            footprint: context.gauge("footprint", "items held on behalf of peers"),
        }
    }

    pub(crate) fn committed(&self, records: usize, bytes: usize, took: Duration) {
        self.records.inc_by(records as u64);
        self.record_bytes.inc_by(bytes as u64);
        self.commits.inc();
        self.commit_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn level(gauge: &raw::Gauge, level: usize) {
        // A level beyond the gauge's range is not a level that anybody acts on differently.
        let _ = gauge.try_set(level);
    }
}
