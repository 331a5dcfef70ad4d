//! What the commands do. Each says whether nothing bad was found.

use crate::args::{
    Canaries, Choice, Command, Drill, Explore, Replay, Run, Soak, Throughput, Twins,
};
use maftia_drill::adversary::{CONDUCTS, NETWORKS};
use maftia_drill::canary::{self, HUNT_MAX, REGISTRY, Song};
use maftia_drill::course::{self, COURSES, Course};
use maftia_drill::explore::{Explored, MODELS};
use maftia_drill::plan::Wishes;
use maftia_drill::run::{Options, STORAGES};
use maftia_drill::soak::Tally;
use maftia_drill::throughput;
use maftia_drill::twins;
use maftia_drill::whole::{AUTHORITY, WHOLE};
use maftia_drill::world::Shape;
use serde_json::json;
use std::io::Write;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Does what was asked. `Ok(false)`: something was found.
pub(crate) fn run(drill: &Drill) -> Result<bool, String> {
    match &drill.command {
        Command::Run(run) => run_seeds(run, drill.json),
        Command::Soak(soak) => soak_for(soak, drill.json),
        Command::Replay(replay) => replay_one(replay, drill.json),
        Command::Explore(explore) => explore_models(explore, drill.json),
        Command::Twins(twins) => run_twins(twins, drill.json),
        Command::Canaries(canaries) => hunt(canaries, drill.json),
        Command::Throughput(load) => Ok(under_load(load, drill.json)),
        Command::Adversaries => {
            adversaries(drill.json);
            Ok(true)
        }
    }
}

impl Choice {
    fn courses(&self) -> Result<Vec<&'static Course>, String> {
        if self.protocol.is_empty() {
            return Ok(COURSES.iter().collect());
        }
        let named = |name: &String| {
            course::course(name).ok_or_else(|| {
                let known: Vec<&str> = COURSES.iter().map(|course| course.name).collect();
                format!("`{name}` is none of {}", known.join(", "))
            })
        };
        self.protocol.iter().map(named).collect()
    }

    fn wishes(&self) -> Result<Wishes, String> {
        let adversary = match &self.adversary {
            None => None,
            Some(name) => Some(
                course::adversary_named(name)
                    .ok_or_else(|| format!("`{name}` is no strategy; see `adversaries`"))?,
            ),
        };
        let shape = match &self.group {
            None => None,
            Some(name) => Some(Shape::parse(name).ok_or_else(|| format!("`{name}` is no group"))?),
        };
        Ok(Wishes { adversary, shape, real: self.real.then_some(true) })
    }
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("seeds are FIRST..END, not `{text}`");
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
    Ok(number(first)?..number(end)?)
}

/// How often progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

fn run_seeds(run: &Run, json: bool) -> Result<bool, String> {
    let (courses, wishes) = (run.choice.courses()?, run.choice.wishes()?);
    let (seeds, started) = (range(&run.seeds)?, Instant::now());
    let (mut tally, mut shown) = (Tally::default(), Instant::now());
    for number in seeds.clone() {
        for course in &courses {
            if tally.add(course, number, &wishes) {
                tell_failure(&tally);
            }
        }
        if shown.elapsed() > PROGRESS_EVERY {
            shown = Instant::now();
            progress(&tally, started, format_args!("seed {number} of {}", seeds.end));
        }
    }
    report(&tally, started, json);
    Ok(tally.failed == 0)
}

fn progress(tally: &Tally, started: Instant, what: std::fmt::Arguments<'_>) {
    let rate = tally.runs as f64 / started.elapsed().as_secs_f64();
    eprintln!("{what}: {} runs, {rate:.0} a second, {} failed", tally.runs, tally.failed);
}

/// Tells of the failure that was counted last.
fn tell_failure(tally: &Tally) {
    if let Some(failure) = tally.failures.last() {
        eprintln!("FAILED {}: {}", failure.token, failure.complaints[0]);
    }
}

fn soak_for(soak: &Soak, json: bool) -> Result<bool, String> {
    let wishes = soak.choice.wishes()?;
    let (mut courses, started) = (soak.choice.courses()?, Instant::now());
    let is_all = soak.choice.protocol.is_empty();
    if is_all && soak.choice.adversary.is_none() {
        courses.extend([&WHOLE, &AUTHORITY]);
    }
    let end = started + Duration::from_secs_f64(soak.minutes * 60.0);
    let clock = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |now| now.as_secs() % (1 << 30)) << 24
    };
    let first = soak.first.unwrap_or_else(clock);
    eprintln!("from seed {first} on");
    let part = |thread: u64| {
        let (mut tally, mut number) = (Tally::default(), first + (thread << 40));
        let mut shown = Instant::now();
        while Instant::now() < end {
            let is_due = |course: &Course| !is_all || number.is_multiple_of(course.one_in);
            for course in courses.iter().filter(|course| is_due(course)) {
                if tally.add(course, number, &wishes) {
                    tell_failure(&tally);
                }
            }
            number += 1;
            if thread == 0 && shown.elapsed() > PROGRESS_EVERY {
                shown = Instant::now();
                progress(&tally, started, format_args!("seed {number}"));
            }
        }
        tally
    };
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let part = &part;
        let threads: Vec<_> =
            (0..soak.threads.max(1)).map(|thread| scope.spawn(move || part(thread))).collect();
        for thread in threads {
            match thread.join() {
                Ok(other) => tally.absorb(other),
                Err(_) => eprintln!("a thread of the drill itself panicked"),
            }
        }
    });
    if let Some(path) = &soak.keep {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let mut file = file.map_err(|error| format!("{}: {error}", path.display()))?;
        for failure in &tally.failures {
            let line = format!("{} # {}\n", failure.token, failure.complaints[0]);
            file.write_all(line.as_bytes())
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    report(&tally, started, json);
    Ok(tally.failed == 0)
}

fn report(tally: &Tally, started: Instant, json: bool) {
    let seconds = started.elapsed().as_secs_f64();
    if json {
        println!("{}", json!({ "seconds": seconds, "tally": tally }));
        return;
    }
    for failure in &tally.failures {
        println!("FAILED {}", failure.token);
        failure.complaints.iter().take(3).for_each(|complaint| println!("  {complaint}"));
    }
    let Tally { runs, real_runs, events, messages, crashes, .. } = tally;
    println!("{runs} runs ({real_runs} with real cryptography) in {seconds:.1} s");
    println!("{events} events, {messages} letters, {crashes} crashes");
    println!("{:.1} s of simulated time", tally.simulated_micros as f64 / 1e6);
    println!("{} runs were made twice, to compare digests", tally.twice);
    let list = |title: &str, runs: &std::collections::BTreeMap<&'static str, u64>| {
        let each: Vec<String> = runs.iter().map(|(name, runs)| format!("{name} {runs}")).collect();
        println!("{title}: {}", each.join(", "));
    };
    list("protocols", &tally.by_protocol);
    list("servers", &tally.by_conduct);
    list("networks", &tally.by_network);
    list("runs with", &tally.feats);
    println!("{} failed", tally.failed);
}

fn canary_named(name: &str) -> Result<&'static canary::Canary, String> {
    let known = REGISTRY.iter().find(|canary| canary.name == name);
    known.ok_or_else(|| format!("`{name}` is no canary; see `canaries --list`"))
}

fn replay_one(replay: &Replay, json: bool) -> Result<bool, String> {
    let canary = replay.canary.as_deref().map(canary_named).transpose()?;
    let song = canary.map(|canary| Song::of(canary.name));
    let (plan, verdict) = course::replay(&replay.token, Options { writes: true, digests: true })?;
    drop(song);
    if json {
        println!(
            "{}",
            json!({
                "token": plan.to_string(),
                "complaints": verdict.complaints,
                "transcript": verdict.transcript,
            })
        );
        return Ok(verdict.complaints.is_empty());
    }
    println!("{plan}");
    println!("corrupt: {:?}", plan.corrupt());
    let skip = match replay.last {
        0 => 0,
        last => verdict.transcript.len().saturating_sub(last),
    };
    verdict.transcript.iter().skip(skip).for_each(|line| println!("{line}"));
    println!("{} events, {} us of simulated time", verdict.events, verdict.simulated);
    verdict.complaints.iter().for_each(|complaint| println!("FAILED {complaint}"));
    if verdict.complaints.is_empty() {
        println!("all is well");
    }
    Ok(verdict.complaints.is_empty())
}

fn hunt(canaries: &Canaries, json: bool) -> Result<bool, String> {
    let chosen: Vec<&'static canary::Canary> = match &canaries.name {
        Some(name) => vec![canary_named(name)?],
        None => REGISTRY.iter().collect(),
    };
    if canaries.list {
        for canary in chosen {
            println!("{:<32} {:<44} {}", canary.name, canary.place, canary.broken);
        }
        return Ok(true);
    }
    let mut catches = Vec::new();
    for canary in chosen {
        let catch = canary::hunt(canary, canaries.hunts, HUNT_MAX);
        if !json {
            match &catch.checker {
                Some(checker) if catch.is_kept => println!(
                    "{:<32} not found in {} runs; caught by {checker} in its kept seed",
                    catch.canary, catch.runs
                ),
                Some(checker) => println!(
                    "{:<32} caught by {checker} in {} runs: {}",
                    catch.canary,
                    catch.runs,
                    catch.token.as_deref().unwrap_or_default()
                ),
                None => println!("{:<32} SURVIVES {} runs", catch.canary, catch.runs),
            }
        }
        catches.push(catch);
    }
    let survivors = catches.iter().filter(|catch| catch.checker.is_none()).count();
    match json {
        true => println!("{}", json!(catches)),
        false => println!("{} canaries, {survivors} survive", catches.len()),
    }
    Ok(survivors == 0)
}

fn explore_models(chosen: &Explore, json: bool) -> Result<bool, String> {
    let wanted = |name: &str| {
        chosen.protocol.as_deref().is_none_or(|wanted| name == wanted || name.starts_with(wanted))
    };
    let models: Vec<_> = MODELS.iter().filter(|(name, ..)| wanted(name)).collect();
    if models.is_empty() {
        let known: Vec<&str> = MODELS.iter().map(|(name, ..)| *name).collect();
        return Err(format!("nothing to explore; there are {}", known.join(", ")));
    }
    let mut all = Vec::new();
    for (name, about, explore) in models {
        eprintln!("{name}: {about}");
        let started = Instant::now();
        let explored = explore(chosen.states);
        if !json {
            let Explored { states, transitions, local_states, depth, at_horizon, ends, .. } =
                &explored;
            println!(
                "{name}: {states} states, {transitions} transitions, depth {depth}, {ends} ends, \
                 {at_horizon} at the horizon, {local_states} local states, {:.1} s, {}",
                started.elapsed().as_secs_f64(),
                if explored.is_complete { "complete" } else { "NOT complete" }
            );
            explored.violation.iter().for_each(|what| println!("FAILED {name}: {what}"));
        }
        all.push(explored);
    }
    if json {
        println!("{}", json!(all));
    }
    Ok(all.iter().all(|explored| explored.violation.is_none()))
}

fn run_twins(chosen: &Twins, json: bool) -> Result<bool, String> {
    let reports = twins::run_all(chosen.protocol.as_deref(), chosen.phases, chosen.scenarios);
    if reports.is_empty() {
        return Err("there is no such protocol".into());
    }
    if json {
        println!("{}", json!(reports));
    } else {
        for report in &reports {
            let twins::Report { protocol, before, after, run, failed, .. } = report;
            println!(
                "{protocol}: {before} scenarios, {after} up to renaming, {run} run twice with \
                 other inputs, {failed} failed"
            );
            report.first.iter().for_each(|first| println!("FAILED {protocol}: {first}"));
        }
    }
    Ok(reports.iter().all(|report| report.failed == 0))
}

/// False if an adversary leaves less than half of the throughput, or takes five times as long.
fn under_load(load: &Throughput, json: bool) -> bool {
    let figures = throughput::compare(load.seeds.max(1), load.requests, |figure| {
        if !json {
            let throughput::Figure { adversary, load, throughput_ratio, p99_ratio } = figure;
            println!(
                "{adversary:24} {:8.0} /s ({throughput_ratio:.2})   p50 {:8.2} ms, p99 {:8.2} ms \
                 ({p99_ratio:.2})   {} answered",
                load.per_second, load.p50_ms, load.p99_ms, load.answered
            );
        }
    });
    if json {
        println!("{}", serde_json::to_string_pretty(&figures).expect("plain data is always JSON"));
    }
    figures.iter().all(|figure| figure.throughput_ratio >= 0.5 && figure.p99_ratio <= 5.0)
}

fn adversaries(json: bool) {
    let specials = || {
        COURSES.iter().flat_map(|course| {
            let all = (course.specials)();
            all.into_iter().map(move |(name, about)| (course.name, name, about))
        })
    };
    if json {
        let pairs = |list: &[(&'static str, &'static str)]| {
            list.iter()
                .map(|(name, about)| json!({ "name": name, "about": about }))
                .collect::<Vec<_>>()
        };
        let special =
            |(protocol, name, about)| json!({ "protocol": protocol, "name": name, "about": about });
        println!(
            "{}",
            json!({
                "servers": pairs(CONDUCTS),
                "networks": pairs(NETWORKS),
                "storage": pairs(STORAGES),
                "protocols": specials().map(special).collect::<Vec<_>>(),
            })
        );
        return;
    }
    for (title, list) in
        [("Corrupt servers", CONDUCTS), ("Networks", NETWORKS), ("Storage", STORAGES)]
    {
        println!("{title}");
        list.iter().for_each(|(name, about)| println!("  {name:<20} {about}"));
    }
    println!("For one protocol");
    for (protocol, name, about) in specials() {
        println!("  {name:<20} {protocol}: {about}");
    }
    println!("{} in all", CONDUCTS.len() + NETWORKS.len() + STORAGES.len() + specials().count());
}
