use crate::network::Letter;
use maftia_base::protocol::TimedProtocol;
use maftia_base::time::Time;
use maftia_base::{Fault, Party};
use std::collections::VecDeque;
use std::fmt;

/// What a run has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events handled by servers.
    pub events: u64,
    /// Messages sent to others, also by corrupt parties.
    pub messages: u64,
    /// Their bytes, if the builder was told how to measure.
    pub bytes: u64,
    /// Messages that the network lost, or that reached a server that was down.
    pub lost: u64,
    /// Messages that arrived twice.
    pub duplicated: u64,
    /// Records appended to logs.
    pub records: u64,
    /// Times that a log was forced to disk.
    pub syncs: u64,
    /// Pieces of work done.
    pub works: u64,
    /// Crashes.
    pub crashes: u64,
    /// Largest footprint seen at an honest server, while bounded.
    pub footprint_max: usize,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// An honest server blamed an honest server.
    HonestBlamed {
        /// Who blames.
        by: Party,
        /// For what.
        fault: Fault,
    },
    /// An honest server held more on behalf of its peers than was promised.
    Footprint {
        /// Who.
        party: Party,
        /// How much.
        footprint: usize,
        /// How much was promised.
        bound: usize,
    },
    /// During the replay of its log a server did more than output.
    EmittedDuringRestore(Party),
    /// The check of the test found something.
    Check {
        /// At whose outcome.
        party: Party,
        /// What.
        complaint: String,
    },
    /// Nothing is left to happen, and what was waited for has not happened.
    Stuck,
    /// More events than were granted, and what was waited for has not happened.
    Unending {
        /// How many were granted.
        events_max: u64,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HonestBlamed { by, fault } => {
                write!(f, "honest {by} blamed honest {} for {:?}", fault.culprit, fault.kind)
            }
            Self::Footprint { party, footprint, bound } => {
                write!(f, "{party} holds {footprint} items for its peers, promised {bound}")
            }
            Self::EmittedDuringRestore(party) => {
                write!(f, "{party} did more than output while its log was replayed")
            }
            Self::Check { party, complaint } => write!(f, "at an outcome of {party}: {complaint}"),
            Self::Stuck => f.write_str("nothing is left to happen, and the goal is not reached"),
            Self::Unending { events_max } => {
                write!(f, "the goal is not reached within {events_max} events")
            }
        }
    }
}

/// A failed run: why, with which seed, and what happened last.
///
/// Prints the same with `{}` and `{:?}`, so that `unwrap` in a test shows a readable trace.
#[derive(Clone)]
pub struct Failure {
    /// Why.
    pub violation: Violation,
    /// The seed with which it happens again.
    pub seed: u64,
    /// When.
    pub at: Time,
    /// The last events, one a line.
    pub trace: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {} failed at {} us: {}\n{}",
            self.seed, self.at.0, self.violation, self.trace
        )
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

/// What happened, kept cheaply and printed only if the run fails.
pub(crate) enum Happening<P: TimedProtocol> {
    Message(Letter<P::Message>),
    Own(std::rc::Rc<P::Message>),
    Command(String),
    Timer(P::Timer),
    Done(P::Ticket),
    Output(usize),
    Synced(usize),
    Reconnected(Party),
    Crashed { kept: usize },
    Restarted { records: usize },
    Lost(Letter<P::Message>),
}

/// What a line of a trace shows: messages with certificates would bury the rest.
const LINE_CHARS_MAX: usize = 200;

/// The last happenings of a run.
pub(crate) struct Trace<P: TimedProtocol> {
    entries: VecDeque<(Time, usize, Happening<P>)>,
    entries_max: usize,
}

impl<P: TimedProtocol> Trace<P> {
    pub(crate) fn new(entries_max: usize) -> Self {
        Self { entries: VecDeque::with_capacity(entries_max), entries_max }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.entries_max > 0
    }

    pub(crate) fn push(&mut self, at: Time, node: usize, happening: Happening<P>) {
        if self.entries_max == 0 {
            return;
        }
        if self.entries.len() == self.entries_max {
            self.entries.pop_front();
        }
        self.entries.push_back((at, node, happening));
    }

    /// One line for each; `name` and `outcome` know the nodes.
    pub(crate) fn print(
        &self,
        name: impl Fn(usize) -> String,
        outcome: impl Fn(usize, usize) -> String,
    ) -> String {
        let mut text = String::new();
        for (at, node, happening) in &self.entries {
            let what = match happening {
                Happening::Message(letter) => format!("<- {} {:?}", letter.from, letter.body),
                Happening::Own(body) => format!("<- itself {body:?}"),
                Happening::Command(command) => format!("command {command}"),
                Happening::Timer(timer) => format!("timer {timer:?}"),
                Happening::Done(ticket) => format!("done {ticket:?}"),
                Happening::Output(index) => format!("output {}", outcome(*node, *index)),
                Happening::Synced(records) => format!("synced {records} records"),
                Happening::Reconnected(peer) => format!("reconnected {peer}"),
                Happening::Crashed { kept } => format!("crashed, {kept} records are left"),
                Happening::Restarted { records } => format!("restarted from {records} records"),
                Happening::Lost(letter) => format!("-> {} lost {:?}", letter.to, letter.body),
            };
            let line = format!("{:>10} {:<5} {what}", at.0, name(*node));
            text.extend(line.chars().take(LINE_CHARS_MAX));
            text.push('\n');
        }
        text
    }
}
