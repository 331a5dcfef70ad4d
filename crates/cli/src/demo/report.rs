//! What was attacked, who was blamed with what evidence, and what it cost.

use super::stage::{Stage, Stamp};
use crate::Failure;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// One act of the demonstration.
#[derive(Debug, Serialize)]
pub(super) struct Act {
    title: String,
    seconds: f64,
    stamps: Vec<Stamp>,
    convictions: Vec<String>,
    notes: Vec<String>,
    #[serde(skip)]
    started: Instant,
}

impl Act {
    /// Says what happens now: to standard error, so that the output is the report alone.
    pub(super) fn begin(title: &str) -> Self {
        eprintln!("* {title}");
        Self {
            title: title.into(),
            seconds: 0.0,
            stamps: Vec::new(),
            convictions: Vec::new(),
            notes: Vec::new(),
            started: Instant::now(),
        }
    }

    /// These tokens were issued, and the judge accepts them.
    pub(super) fn stamped(&mut self, stamps: Vec<Stamp>) {
        if !stamps.is_empty() {
            eprintln!("    {} tokens, each: openssl says Verification: OK", stamps.len());
        }
        self.stamps.extend(stamps);
    }

    /// All honest servers hold this evidence.
    pub(super) fn convicted(&mut self, conviction: String) {
        eprintln!("    {conviction}");
        self.convictions.push(conviction);
    }

    /// Something worth saying.
    pub(super) fn note(&mut self, note: String) {
        eprintln!("    {note}");
        self.notes.push(note);
    }

    /// The act is over.
    pub(super) fn end(mut self) -> Self {
        self.seconds = self.started.elapsed().as_secs_f64();
        eprintln!("    {:.1} s", self.seconds);
        self
    }
}

/// The whole demonstration.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    judge: String,
    acts: Vec<Act>,
    seconds: f64,
    tokens: usize,
    distinct_serials: usize,
    median_ms: f64,
    slowest_ms: f64,
    cpu_seconds: Vec<f64>,
    peak_memory_bytes: Vec<u64>,
}

impl Report {
    /// Nothing has happened yet.
    pub(super) fn new(judge: String) -> Self {
        Self {
            judge,
            acts: Vec::new(),
            seconds: 0.0,
            tokens: 0,
            distinct_serials: 0,
            median_ms: 0.0,
            slowest_ms: 0.0,
            cpu_seconds: Vec::new(),
            peak_memory_bytes: Vec::new(),
        }
    }

    /// One more act.
    pub(super) fn push(&mut self, act: Act) {
        self.acts.push(act);
    }

    /// Sums up; fails if a serial number came twice.
    pub(super) fn finish(&mut self, stage: &Stage, elapsed: Duration) -> Result<(), Failure> {
        let stamps: Vec<&Stamp> = self.acts.iter().flat_map(|act| &act.stamps).collect();
        let serials: BTreeSet<&str> = stamps.iter().map(|stamp| stamp.serial.as_str()).collect();
        if serials.len() != stamps.len() {
            return Err(Failure::because("two tokens have the same serial number"));
        }
        let mut times: Vec<f64> = stamps.iter().map(|stamp| stamp.milliseconds).collect();
        times.sort_by(f64::total_cmp);
        self.tokens = stamps.len();
        self.distinct_serials = serials.len();
        self.median_ms = times.get(times.len() / 2).copied().unwrap_or(0.0);
        self.slowest_ms = times.last().copied().unwrap_or(0.0);
        self.seconds = elapsed.as_secs_f64();
        for index in stage.everybody() {
            let cost = stage.cost(index).unwrap_or_default();
            self.cpu_seconds.push(cost.cpu_seconds);
            self.peak_memory_bytes.push(cost.peak_memory_bytes);
        }
        Ok(())
    }

    /// For programs.
    pub(super) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data is always JSON")
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::from("\nReport\n");
        let attacked = self.acts.len() - 1;
        let _ = writeln!(text, "  attacked   {attacked} times, as listed above");
        let convictions = self.acts.iter().flat_map(|act| &act.convictions);
        for conviction in convictions {
            let _ = writeln!(text, "  blamed     {conviction}");
        }
        let _ = writeln!(text, "  blamed     no honest server, by anyone, at any time");
        let _ = writeln!(
            text,
            "  answered   {} tokens, {} distinct serial numbers, all accepted by {}",
            self.tokens, self.distinct_serials, self.judge
        );
        let _ = writeln!(
            text,
            "  cost       {:.0} ms a token in the median, {:.0} ms the slowest; {:.1} s in all",
            self.median_ms, self.slowest_ms, self.seconds
        );
        let cpu: Vec<String> = self.cpu_seconds.iter().map(|cpu| format!("{cpu:.1}")).collect();
        let memory = self.peak_memory_bytes.iter().map(|bytes| format!("{}", bytes >> 20));
        let _ = writeln!(
            text,
            "             CPU seconds of the servers now running: {}; peak memory, MiB: {}",
            cpu.join(", "),
            memory.collect::<Vec<_>>().join(", ")
        );
        text
    }
}
