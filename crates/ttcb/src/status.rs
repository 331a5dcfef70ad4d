//! What operators are told: counts, barriers, and how punctual the loop is.
//!
//! It is told over a second socket rather than in a file: once Landlock is closed the daemon cannot
//! open a file, and one that stayed open would be written to behind a reader's back. The socket
//! only tells: nothing is read from it.

use crate::Fatal;
use crate::barriers::{Barrier, Report, State};
use crate::settings::hex;
use maftia_ttcb_api::{BootKeys, Call, Interval, Span};
use maftia_ttcb_core::admission::{PRICES, cost};
use std::fmt::{self, Write};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// How often something took so long: a place for each power of two of microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Histogram([u64; Self::PLACES]);

impl Histogram {
    /// Below 1 us, below 2 us, below 4 us, and so on; the last has all the rest.
    pub const PLACES: usize = 24;

    /// Notes a length of time.
    pub fn note(&mut self, nanos: u64) {
        let micros = nanos / 1_000;
        let place = (u64::BITS - micros.leading_zeros()) as usize;
        self.0[place.min(Self::PLACES - 1)] += 1;
    }

    /// How many there are in each place.
    pub fn counts(&self) -> &[u64] {
        &self.0
    }
}

/// The processor time that pieces of work of one kind took, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    count: u64,
    sum: u64,
    most: u64,
    /// How often it took longer than what is charged for it.
    beyond: u64,
}

impl Cost {
    /// Notes one that cost so much and was charged so much; nothing if nobody pays for it.
    pub(crate) fn note(&mut self, nanos: u64, charged: Option<Span>) {
        self.count += 1;
        self.sum += nanos;
        self.most = self.most.max(nanos);
        self.beyond += u64::from(charged.is_some_and(|charged| nanos > charged.0));
    }

    fn write(&self, to: &mut String) -> fmt::Result {
        let Self { count, sum, most, beyond } = self;
        let mean = sum.checked_div(*count).unwrap_or_default();
        write!(to, "{{\"count\":{count},\"mean_ns\":{mean},\"most_ns\":{most}")?;
        write!(to, ",\"beyond\":{beyond}}}")
    }
}

/// What work costs in truth, by what admission control charges for it; and what nobody pays for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Costs {
    /// Calls, by price.
    calls: [Cost; PRICES.len()],
    /// Greetings.
    pub(crate) handshakes: Cost,
    /// Steps that are due: deciding, signing what was decided, telling peers.
    pub(crate) ticks: Cost,
    /// Datagrams of peers.
    pub(crate) datagrams: Cost,
}

impl Costs {
    /// Notes a call; what is charged for opening its frame counts with it.
    pub(crate) fn note_call(&mut self, call: &Call, nanos: u64) {
        let charged = cost(call);
        let place = PRICES.iter().position(|price| *price == charged);
        if let Some(place) = place {
            self.calls[place].note(nanos, Some(charged));
        }
    }

    fn write(&self, to: &mut String) -> fmt::Result {
        to.push_str(",\"costs\":{");
        for (price, cost) in PRICES.iter().zip(&self.calls) {
            write!(to, "\"calls_{}us\":", price.0 / 1_000)?;
            cost.write(to)?;
            to.push(',');
        }
        to.push_str("\"handshakes_300us\":");
        self.handshakes.write(to)?;
        to.push_str(",\"ticks\":");
        self.ticks.write(to)?;
        to.push_str(",\"datagrams\":");
        self.datagrams.write(to)?;
        to.push('}');
        Ok(())
    }
}

/// What is counted over a life.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// Calls by which local entities take part in agreements.
    pub(crate) proposals: u64,
    /// Decisions told.
    pub(crate) decided: u64,
    /// Agreements that ended without one.
    pub(crate) timeouts: u64,
    /// Answers in all.
    pub(crate) answers: u64,
    /// Calls refused because the role had used up its reservation.
    pub(crate) quota: u64,
    /// Local frames that were malformed, replayed or not authenticated.
    pub(crate) forgeries: u64,
    /// Connections of users without a role.
    pub(crate) strangers: u64,
    /// Clients dropped because nothing could be written to them.
    pub(crate) unwritable: u64,
    /// Datagrams of the control network that came to nothing; repetitions, too, of which the
    /// omission degree makes some for each that counts.
    pub(crate) datagrams_ignored: u64,
    /// Datagrams that could not be sent.
    pub(crate) datagrams_unsent: u64,
    /// How long after it was due a step ran.
    pub(crate) lateness: Histogram,
    /// What work cost.
    pub(crate) costs: Costs,
}

/// Everything that is told.
pub(crate) struct Status<'a, P> {
    pub(crate) boot: &'a BootKeys,
    pub(crate) guard: &'static str,
    pub(crate) serving: bool,
    pub(crate) priority: u8,
    pub(crate) report: &'a Report,
    pub(crate) accepted: &'a [Barrier],
    pub(crate) peers: P,
    pub(crate) time: Option<Interval>,
    pub(crate) overruns: u64,
    pub(crate) roles_connected: u32,
    pub(crate) counters: &'a Counters,
}

impl<P: Iterator<Item = BootKeys>> Status<'_, P> {
    /// Writes it as JSON.
    pub(crate) fn write(self, to: &mut String) -> fmt::Result {
        to.clear();
        let BootKeys { host, epoch, .. } = self.boot;
        let fifo = self.report.state(Barrier::RealTime) == State::Held;
        write!(to, "{{\"host\":{},\"boot\":\"{:016x}\"", host.0, self.boot.boot().0)?;
        write!(to, ",\"epoch\":{epoch},\"guard\":\"{}\"", self.guard)?;
        write!(to, ",\"serving\":{}", self.serving)?;
        let policy = if fifo { "fifo" } else { "other" };
        let priority = if fifo { self.priority } else { 0 };
        write!(to, ",\"scheduling\":{{\"policy\":\"{policy}\",\"priority\":{priority}}}")?;
        to.push_str(",\"barriers\":{");
        for (index, barrier) in Barrier::ALL.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let (name, state) = (barrier.name(), self.report.state(barrier).name());
            let accepted = self.accepted.contains(&barrier);
            write!(to, "{comma}\"{name}\":{{\"state\":\"{state}\",\"accepted\":{accepted}}}")?;
        }
        to.push_str("},\"peers\":[");
        for (index, peer) in self.peers.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let (host, boot, epoch) = (peer.host.0, peer.boot().0, peer.epoch);
            write!(to, "{comma}{{\"host\":{host},\"boot\":\"{boot:016x}\",\"epoch\":{epoch}}}")?;
        }
        to.push_str("],\"clock\":");
        match self.time {
            Some(Interval { earliest, latest }) => {
                let bound = (latest.0 - earliest.0).div_ceil(2);
                write!(to, "{{\"earliest\":{},\"latest\":{}", earliest.0, latest.0)?;
                write!(to, ",\"bound_ns\":{bound}}}")?;
            }
            None => to.push_str("null"),
        }
        write!(to, ",\"overruns\":{}", self.overruns)?;
        write!(to, ",\"roles_connected\":{}", self.roles_connected)?;
        self.counters.write(to)?;
        to.push_str("}\n");
        Ok(())
    }
}

impl Counters {
    fn write(&self, to: &mut String) -> fmt::Result {
        for (name, count) in [
            ("proposals", self.proposals),
            ("decided", self.decided),
            ("timeouts", self.timeouts),
            ("answers", self.answers),
            ("quota_refusals", self.quota),
            ("forgeries", self.forgeries),
            ("strangers", self.strangers),
            ("unwritable_clients", self.unwritable),
            ("datagrams_ignored", self.datagrams_ignored),
            ("datagrams_unsent", self.datagrams_unsent),
        ] {
            write!(to, ",\"{name}\":{count}")?;
        }
        to.push_str(",\"lateness_us_below_power_of_two\":[");
        for (index, count) in self.lateness.counts().iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(to, "{comma}{count}")?;
        }
        to.push(']');
        self.costs.write(to)
    }
}

/// Asks a daemon.
pub fn ask(socket: &Path) -> Result<String, Fatal> {
    let mut text = String::new();
    UnixStream::connect(socket)
        .and_then(|mut stream| stream.read_to_string(&mut text))
        .map_err(|error| Fatal::file("ask at", socket, &error))?;
    Ok(text)
}

/// How a life is named in messages.
pub(crate) fn name(keys: &BootKeys) -> String {
    hex(&keys.boot().0.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use maftia_ttcb_api::Tag;

    #[test]
    fn lateness_is_counted_by_powers_of_two() {
        let mut histogram = Histogram::default();
        for nanos in [0, 999, 1_000, 1_999, 2_000, 4_000_000, u64::MAX] {
            histogram.note(nanos);
        }
        let counts = histogram.counts();
        assert_eq!((counts[0], counts[1], counts[2], counts[12]), (2, 2, 1, 1));
        assert_eq!(counts[Histogram::PLACES - 1], 1);
    }

    #[test]
    fn each_price_that_is_charged_has_a_place() {
        let mut costs = Costs::default();
        let tag = Tag([0; 32]);
        for call in [Call::Random, Call::Decide(tag), Call::Order { channel: tag, value: [0; 32] }]
        {
            costs.note_call(&call, 70_000);
        }
        let noted = costs.calls.map(|cost| (cost.count, cost.most, cost.beyond));
        assert_eq!(noted, [(1, 70_000, 1), (1, 70_000, 1), (1, 70_000, 0)]);
    }

    #[test]
    fn a_status_is_json_and_fits_its_buffer() {
        let mut text = String::new();
        let boot = BootKeys::default();
        let status = Status {
            boot: &boot,
            guard: "file",
            serving: true,
            priority: 80,
            report: &Report::default(),
            accepted: &[Barrier::Processor],
            peers: [boot; 16].into_iter(),
            time: Some(Interval::default()),
            overruns: 0,
            roles_connected: 1,
            counters: &Counters::default(),
        };
        status.write(&mut text).unwrap();
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["barriers"]["processor"]["accepted"], true);
        assert_eq!(read["peers"].as_array().unwrap().len(), 16);
        assert!(text.len() < crate::daemon::STATUS_BYTES / 2);
    }
}
