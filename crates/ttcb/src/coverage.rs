//! Measures how late agreements are, as processes see it, on a running test net.
//!
//! Each agreement is proposed by one host only. The others have nothing to say, which they may say
//! only at `tstart` (T2 of the core): so both exchanges of the protocol come after it, as in the
//! worst case. Late is how long after `tstart` a host's answer is here, given the latest that the
//! time can be: never less than it is. The measuring process asks for real-time scheduling, too, at
//! a lower priority than the daemons have; what it is late itself counts against them.

use crate::Fatal;
use crate::args::Arguments;
use crate::client::Client;
use crate::config::Config;
use crate::confine::real_time;
use crate::settings::parse_span;
use maftia_ttcb_api::{Answer, Call, Elist, Function, Instance, Interval, Moment, Refusal, Span};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(5);

/// How long before its start an agreement is proposed.
const AHEAD: Span = Span::from_millis(10);

/// How long after its start an agreement is given up.
const GIVE_UP: Duration = Duration::from_millis(500);

/// What was measured.
#[derive(Clone, Debug, Default)]
struct Samples {
    /// For each answer, in nanoseconds.
    late: Vec<u64>,
    /// Answers that there was no decision, or none at all.
    undecided: u64,
    /// Agreements that were not begun, for lack of places or time.
    refused: u64,
}

/// Measures, and prints the distribution.
pub fn run(mut arguments: Arguments) -> Result<(), Fatal> {
    let folder = arguments.path("--dir")?;
    let seconds: u64 = arguments.parsed("--seconds")?.unwrap_or(10);
    let bound = arguments.find("--bound")?.unwrap_or_else(|| "5ms".into());
    let bound = bound.to_str().and_then(parse_span);
    let bound = bound.ok_or_else(|| Fatal("--bound wants a length of time, as 5ms".into()))?;
    let (json, cells) = (arguments.flag("--json"), arguments.flag("--cells"));
    arguments.finish()?;
    let figures = figures(&folder, Duration::from_secs(seconds), bound)?;
    let text = match (json, cells) {
        (true, _) => figures.json(),
        (_, true) => figures.cells(),
        _ => figures.sentences(),
    };
    println!("{text}");
    Ok(())
}

/// Measures for so long on the test net in a folder.
fn figures(folder: &Path, length: Duration, bound: Span) -> Result<Figures, Fatal> {
    let mut clients = connect(folder)?;
    let is_real_time = real_time(40);
    let mut samples = Samples::default();
    let end = Instant::now() + length;
    let mut number = 0u64;
    while Instant::now() < end {
        number += 1;
        measure(&mut clients, number, &mut samples)?;
    }
    Ok(samples.figures(bound, is_real_time))
}

/// What was measured, in short; times in microseconds.
#[derive(Clone, Copy, Debug)]
struct Figures {
    count: u64,
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
    bound: f64,
    /// Later than the bound, or without a decision.
    beyond: u64,
    undecided: u64,
    refused: u64,
    /// The upper limit of the probability of a miss.
    limit: f64,
    is_real_time: bool,
}

impl Figures {
    fn json(&self) -> String {
        let Self { count, p50, p99, p999, max, bound, beyond, undecided, refused, limit, .. } =
            self;
        format!(
            "{{\"count\":{count},\"p50_us\":{p50},\"p99_us\":{p99},\"p999_us\":{p999},\
             \"max_us\":{max},\"bound_us\":{bound},\"beyond\":{beyond},\
             \"undecided\":{undecided},\"refused\":{refused},\
             \"miss_probability_95\":{limit:e},\"measured_in_real_time\":{}}}",
            self.is_real_time
        )
    }

    fn sentences(&self) -> String {
        let Self { count, p50, p99, p999, max, bound, beyond, undecided, refused, limit, .. } =
            self;
        format!(
            "{count} answers after tstart: p50 {p50} us, p99 {p99} us, p99.9 {p999} us, \
             max {max} us\n\
             beyond {bound} us: {beyond} ({undecided} of them without a decision)\n\
             the probability of a miss is at most {limit:.2e} with 95 % confidence, \
             if misses are independent\n\
             (not begun: {refused}; this process in real time: {})",
            self.is_real_time
        )
    }

    /// Cells of a table, in milliseconds.
    fn cells(&self) -> String {
        let Self { count, beyond, undecided, limit, .. } = self;
        let [p50, p99, p999, max] = [self.p50, self.p99, self.p999, self.max].map(|us| us / 1e3);
        format!(
            "{count} | {p50:.2} | {p99:.2} | {p999:.2} | {max:.2} | {beyond} | {undecided} | \
             {limit:.1e}"
        )
    }
}

fn connect(folder: &Path) -> Result<Vec<Client>, Fatal> {
    let mut clients = Vec::new();
    for host in 0.. {
        let path = folder.join(format!("host{host}/config.toml"));
        if !path.exists() {
            break;
        }
        let config = Config::load(&path)?;
        let guard = config.hosts[usize::from(config.host.0)].guard;
        let client = Client::connect(&config.socket, &guard, PATIENCE);
        clients.push(client.map_err(|error| Fatal(format!("host {host}: {error}")))?);
    }
    match clients.is_empty() {
        true => Err(Fatal(format!("{} has no hosts of a test net", folder.display()))),
        false => Ok(clients),
    }
}

/// One agreement, begun by the next host in turn.
fn measure(clients: &mut [Client], number: u64, samples: &mut Samples) -> Result<(), Fatal> {
    let entities: Vec<_> = clients.iter().map(Client::entity).collect();
    let elist = Elist::new(&entities).ok_or_else(|| Fatal("two hosts are the same".into()))?;
    let first = number as usize % clients.len();
    let trouble = |error| Fatal(format!("host {first}: {error}"));
    let asked = Instant::now();
    let time = clients[first].call(Call::Timestamp, PATIENCE).map_err(trouble)?;
    let Answer::Time(Interval { latest, .. }) = time else { return refused(time, samples) };
    let mut context = [0; 32];
    context[..8].copy_from_slice(&number.to_le_bytes());
    let tstart = latest + AHEAD;
    let instance = Instance { elist, tstart, function: Function::Majority, context };
    let propose = Call::Propose { instance, value: Some(context) };
    let tag = clients[first].call(propose, PATIENCE).map_err(trouble)?;
    let Answer::Tag(tag) = tag else { return refused(tag, samples) };
    // The proposal is told to the others meanwhile.
    std::thread::sleep(Duration::from_millis(3));
    let mut waiting: Vec<Option<u64>> = Vec::new();
    for client in clients.iter_mut() {
        waiting.push(Some(client.send(Call::Decide(tag)).map_err(trouble)?));
    }
    let give_up = Instant::now() + GIVE_UP;
    while waiting.iter().any(Option::is_some) && Instant::now() < give_up {
        for index in ready(clients, give_up)? {
            let answer = clients[index].receive(give_up).map_err(trouble)?;
            // The time now is at most what it could be at most when asked, and what has passed.
            let now = latest + Span(asked.elapsed().as_nanos() as u64);
            if waiting[index] != Some(answer.number) {
                continue;
            }
            waiting[index] = None;
            samples.note(&answer.body, now, tstart);
        }
    }
    samples.undecided += waiting.iter().flatten().count() as u64;
    Ok(())
}

/// Too much for now: a little later there are places again.
fn refused(answer: Answer, samples: &mut Samples) -> Result<(), Fatal> {
    let later = [Refusal::Full, Refusal::Quota, Refusal::Unsynchronised, Refusal::TooLate];
    match answer {
        Answer::Refused(refusal) if later.contains(&refusal) => {
            samples.refused += 1;
            std::thread::sleep(Duration::from_millis(20));
            Ok(())
        }
        other => Err(Fatal(format!("an unexpected answer: {other:?}"))),
    }
}

/// Which clients have an answer.
fn ready(clients: &[Client], until: Instant) -> Result<Vec<usize>, Fatal> {
    let mut places: Vec<_> =
        clients.iter().map(|client| PollFd::new(client, PollFlags::IN)).collect();
    let left = until.saturating_duration_since(Instant::now());
    let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    match poll(&mut places, Some(&left)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(Fatal(format!("cannot wait for answers: {error}"))),
    }
    Ok((0..places.len()).filter(|index| !places[*index].revents().is_empty()).collect())
}

impl Samples {
    fn note(&mut self, answer: &Answer, now: Moment, tstart: Moment) {
        match answer {
            Answer::Decided(_) => self.late.push(now.0.saturating_sub(tstart.0)),
            _ => self.undecided += 1,
        }
    }

    fn figures(mut self, bound: Span, is_real_time: bool) -> Figures {
        self.late.sort_unstable();
        let count = self.late.len() as u64 + self.undecided;
        let over = self.late.iter().filter(|late| **late > bound.0).count() as u64;
        let beyond = over + self.undecided;
        let at = |part: f64| {
            let place = (self.late.len() as f64 * part).ceil() as usize;
            self.late.get(place.saturating_sub(1)).copied().unwrap_or_default() as f64 / 1e3
        };
        Figures {
            count,
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
            bound: bound.0 as f64 / 1e3,
            beyond,
            undecided: self.undecided,
            refused: self.refused,
            limit: upper_limit(beyond, count),
            is_real_time,
        }
    }
}

/// The greatest probability for which so few misses in so many trials are not less likely than 5 %:
/// the upper limit of Clopper and Pearson.
fn upper_limit(misses: u64, trials: u64) -> f64 {
    if misses >= trials {
        return 1.0;
    }
    let likelihood = |probability: f64| {
        let (hit, miss) = ((1.0 - probability).ln(), probability.ln());
        let mut term = trials as f64 * hit;
        let mut sum = term.exp();
        for k in 1..=misses {
            term += ((trials - k + 1) as f64 / k as f64).ln() + miss - hit;
            sum += term.exp();
        }
        sum
    };
    let (mut low, mut high) = (misses as f64 / trials as f64, 1.0);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if likelihood(middle) > 0.05 { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_the_miss_probability_is_that_of_the_tables() {
        for (misses, trials, wanted) in
            [(0, 100, 0.029_513), (1, 100, 0.046_560), (5, 50, 0.198_833), (10, 10, 1.0)]
        {
            let limit = upper_limit(misses, trials);
            assert!((limit - wanted).abs() < 2e-4, "{misses} of {trials}: {limit}");
        }
        // The rule of three.
        assert!((upper_limit(0, 180_000) * 180_000.0 - 3.0).abs() < 0.01);
    }

    #[test]
    fn what_was_not_decided_counts_as_beyond_the_bound() {
        let samples = Samples { late: vec![1_000, 9_000_000], undecided: 1, refused: 0 };
        let text = samples.figures(Span::from_millis(5), true).json();
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((read["count"].as_u64(), read["beyond"].as_u64()), (Some(3), Some(2)));
        assert_eq!(read["max_us"].as_f64(), Some(9_000.0));
    }
}
