//! `maftia bench adversaries`: what the group still does while one of its servers is hostile.

use super::atomic::caller;
use super::load::{self, Requests, Seen};
use crate::Failure;
use crate::args::BenchAdversaries;
use crate::config::NewGroup;
use crate::home::{BEGUN, JOURNAL};
use crate::local::{self, LocalGroup};
use maftia_agreement::hybrid::OrderedBy;
use maftia_base::Party;
use maftia_node::caller::Caller;
use serde::Serialize;
use serde_json::Value;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Ways to misbehave, as the hostile program calls them.
const STRATEGIES: [&str; 12] = [
    "silent",
    "mute-towards-some",
    "lossy",
    "slow",
    "garble",
    "replay",
    "flood",
    "bad-signatures",
    "bad-shares",
    "lie-about-time",
    "equivocate",
    "everything",
];

/// The server that is taken over.
const TRAITOR: usize = 3;

/// Long enough for the clients of a server that does not answer to have gone elsewhere.
const WARM_UP: Duration = Duration::from_secs(8);

/// One adversary.
#[derive(Debug, Serialize)]
struct Figure {
    strategy: &'static str,
    #[serde(flatten)]
    seen: Seen,
    /// Requests a second, of those without an adversary.
    throughput_ratio: f64,
    /// The 99th percentile of the latency, of that without an adversary.
    p99_ratio: f64,
    /// What was done, in the hostile server's words.
    did: Vec<String>,
    /// Does an honest server suspect or convict another honest one?
    honest_blamed: bool,
}

/// Measures the group without an adversary, and then with each.
pub(super) fn run(args: &BenchAdversaries) -> Result<(), Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::because(format!("this program's own file: {error}")))?;
    let hostile = program.with_file_name("maftia-hostile");
    if !hostile.is_file() {
        return Err(Failure::because(format!(
            "{} is missing. Right would be: cargo build --release -p maftia-hostile",
            hostile.display()
        )));
    }
    let dir = local::temporary("adversaries");
    let new = NewGroup {
        name: "bench".into(),
        servers: TRAITOR + 1,
        host: IpAddr::from([127, 0, 0, 1]),
        base_port: args.base_port,
        key_bits: 2048,
        components: Vec::new(),
        ordered_by: OrderedBy::default(),
        authority: None,
    };
    let mut bench =
        Bench { group: LocalGroup::deal(&dir, &program, &new)?, hostile, seconds: args.seconds };
    let normal = bench.measure("none")?;
    if !args.json {
        print(&Figure::new("none", normal.clone(), &normal));
    }
    let mut figures = Vec::new();
    for strategy in STRATEGIES {
        let seen = bench.measure(strategy)?;
        let mut figure = Figure::new(strategy, seen, &normal);
        (figure.did, figure.honest_blamed) = bench.aftermath()?;
        if !args.json {
            print(&figure);
        }
        figures.push(figure);
    }
    bench.group.stop_all()?;
    fs::remove_dir_all(&dir).map_err(|error| Failure::file(&dir, "is left over", &error))?;
    if args.json {
        let all = serde_json::json!({ "fault_free": normal, "adversaries": figures });
        println!("{}", serde_json::to_string_pretty(&all).expect("plain data is always JSON"));
    }
    match figures.iter().find(|figure| figure.honest_blamed) {
        None => Ok(()),
        Some(figure) => Err(Failure::because(format!(
            "under `{}` an honest server blamed an honest one",
            figure.strategy
        ))),
    }
}

struct Bench {
    group: LocalGroup,
    hostile: PathBuf,
    seconds: u64,
}

impl Bench {
    /// A new history of the group, with this strategy at one of its servers, under load.
    fn measure(&mut self, strategy: &str) -> Result<Seen, Failure> {
        self.group.stop_all()?;
        for index in 0..=TRAITOR {
            forget(&self.group, index)?;
        }
        for index in 0..TRAITOR {
            self.group.start(index)?;
        }
        if strategy == "none" {
            self.group.start(TRAITOR)?;
        } else {
            let home = self.group.home(TRAITOR);
            let arguments = ["--home", &home.to_string_lossy(), "--strategy", strategy];
            self.group.start_program(TRAITOR, &self.hostile, &arguments)?;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| Failure::because(format!("no runtime: {error}")))?;
        runtime.block_on(async {
            let callers: Vec<Caller> = (0..8)
                .map(|number| caller(&self.group, Party::new(number % (TRAITOR + 1))))
                .collect::<Result<_, _>>()?;
            let requests = Arc::new(Requests::new(256));
            load::closed(&callers, 512, &requests, WARM_UP).await;
            Ok(load::closed(&callers, 512, &requests, Duration::from_secs(self.seconds)).await)
        })
    }

    /// What the hostile server says it did; and whether honest servers blame each other.
    fn aftermath(&self) -> Result<(Vec<String>, bool), Failure> {
        let log = self.group.log(TRAITOR);
        let text = fs::read_to_string(&log)
            .map_err(|error| Failure::file(&log, "cannot be read", &error))?;
        let lines = text.lines().filter_map(|line| line.strip_prefix("hostile: "));
        let mut blamed = false;
        for index in 0..TRAITOR {
            let Some(server) = self.group.server(index) else { continue };
            let status = server.status()?;
            for list in ["suspected", "convicted"] {
                let accused = status[list].as_array().into_iter().flatten();
                blamed |= accused.filter_map(culprit).any(|who| who != TRAITOR);
            }
        }
        Ok((lines.map(str::to_owned).collect(), blamed))
    }
}

/// The server that an entry of the status is about.
fn culprit(entry: &Value) -> Option<usize> {
    usize::try_from(entry.get(0)?.as_u64()?).ok()
}

/// A server that never ran, with the keys that it has.
fn forget(group: &LocalGroup, index: usize) -> Result<(), Failure> {
    let home = group.home(index);
    let gone = |path: PathBuf, removed: std::io::Result<()>| match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::file(&path, "cannot be removed", &error))
        }
        _ => Ok(()),
    };
    gone(home.join(JOURNAL), fs::remove_dir_all(home.join(JOURNAL)))?;
    gone(home.join(BEGUN), fs::remove_file(home.join(BEGUN)))?;
    gone(group.log(index), fs::remove_file(group.log(index)))
}

impl Figure {
    fn new(strategy: &'static str, seen: Seen, normal: &Seen) -> Self {
        Self {
            strategy,
            throughput_ratio: seen.per_second / normal.per_second,
            p99_ratio: seen.latency_ms.p99 / normal.latency_ms.p99,
            seen,
            did: Vec::new(),
            honest_blamed: false,
        }
    }
}

fn print(figure: &Figure) {
    let Figure { strategy, seen, throughput_ratio, p99_ratio, did, .. } = figure;
    println!(
        "{strategy:18} {:8.0} /s ({throughput_ratio:.2})   p50 {:7.1} ms, p99 {:7.1} ms \
         ({p99_ratio:.2})   not answered: {}   {}",
        seen.per_second,
        seen.latency_ms.p50,
        seen.latency_ms.p99,
        seen.not_answered,
        did.join(", ")
    );
}
