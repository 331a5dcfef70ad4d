//! `maftia bench atomic`: real server processes on loopback, and clients of the ledger.

use super::load::{self, Requests, Seen};
use crate::Failure;
use crate::args::{BenchAtomic, Ordering};
use crate::config::NewGroup;
use crate::home::{JOURNAL, PublicHome};
use crate::local::{self, LocalGroup};
use crate::process::{self, Cost};
use maftia_activity::client::ClientReply;
use maftia_base::Party;
use maftia_base::wire::Wire;
use maftia_crypto::ClientSecret;
use maftia_node::caller::{Caller, CallerSettings};
use maftia_services::LEDGER;
use maftia_services::ledger::Ledger;
use rand_core::{Rng, UnwrapErr};
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicU64};
use std::time::Duration;

/// How long the group is warmed up.
const WARM_UP: Duration = Duration::from_secs(2);

/// How often the disk is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// How long an answer may take before another server is asked.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// One load, and what it cost.
#[derive(Debug, Serialize)]
struct Phase {
    load: &'static str,
    #[serde(flatten)]
    seen: Seen,
    /// CPU time of each server, in seconds.
    cpu_seconds: Vec<f64>,
    /// CPU time of the clients, all in this process.
    client_cpu_seconds: f64,
    /// Resident memory of each server at the end of the load, in bytes.
    memory_bytes: Vec<u64>,
    /// What the journal of each server takes on the disk at the end of the load, in bytes.
    journal_bytes: Vec<u64>,
    /// Bytes that servers sent to servers, for each request.
    peer_bytes_per_request: f64,
    /// Everything that crossed the loopback device, headers and clients included, each request.
    loopback_bytes_per_request: f64,
    /// Forced writes of all servers, for each request.
    syncs_per_request: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    configuration: &'static str,
    servers: usize,
    payload: usize,
    phases: Vec<Phase>,
    peak_memory_bytes: Vec<u64>,
    /// The most that the journal of any server took on the disk at any time, in bytes.
    peak_journal_bytes: u64,
    /// Does the ledger have every acknowledged request, and none twice?
    ledger_agrees: bool,
}

/// Starts a group, loads it, stops it.
pub(super) fn run(args: &BenchAtomic) -> Result<(), Failure> {
    let report = measured(args)?;
    if args.json {
        let json = serde_json::to_string_pretty(&report).expect("plain data is always JSON");
        println!("{json}");
    } else {
        report.print();
    }
    report.check()
}

/// What a group of its own did under load.
pub(super) fn measured(args: &BenchAtomic) -> Result<Report, Failure> {
    let dir = local::temporary("bench");
    let program = std::env::current_exe()
        .map_err(|error| Failure::because(format!("this program's own file: {error}")))?;
    let new = NewGroup {
        name: "bench".into(),
        servers: args.servers(),
        host: IpAddr::from([127, 0, 0, 1]),
        base_port: args.base_port,
        key_bits: 2048,
        components: Vec::new(),
        ordered_by: args.ordering.into(),
        authority: None,
    };
    let mut group = LocalGroup::deal_as(&dir, &program, new, args.hybrid)?;
    group.start_all()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::because(format!("no runtime: {error}")))?;
    let report = runtime.block_on(measure(args, &group))?;
    drop(runtime);
    group.stop_all()?;
    drop(group);
    std::fs::remove_dir_all(&dir).map_err(|error| Failure::file(&dir, "is left over", &error))?;
    Ok(report)
}

async fn measure(args: &BenchAtomic, group: &LocalGroup) -> Result<Report, Failure> {
    let callers: Vec<Caller> = (0..args.clients.max(1))
        .map(|number| caller(group, Party::new(number % args.servers())))
        .collect::<Result<_, _>>()?;
    let requests = Arc::new(Requests::new(args.payload));
    let time = Duration::from_secs(args.seconds);
    let peak_journal = watch_journals(group);
    let mut acknowledged = load::closed(&callers, 1, &requests, WARM_UP).await.answered;
    let mut phases = Vec::new();
    eprintln!("One client, one request at a time, {} s", args.seconds);
    let meter = Meter::read(group)?;
    let seen = load::closed(&callers[..1], 1, &requests, time).await;
    phases.push(meter.phase("unloaded", seen, group)?);
    eprintln!("{} clients, {} requests under way each", callers.len(), args.window);
    let meter = Meter::read(group)?;
    let seen = load::closed(&callers, args.window, &requests, time).await;
    let rate = args.rate.unwrap_or((seen.per_second / 2.0) as u64).max(1);
    phases.push(meter.phase("closed loop", seen, group)?);
    eprintln!("{rate} requests a second, whether or not earlier ones are answered");
    let meter = Meter::read(group)?;
    let seen = load::open(&callers, rate, &requests, time).await;
    phases.push(meter.phase("open loop", seen, group)?);
    acknowledged += phases.iter().map(|phase| phase.seen.answered).sum::<u64>();
    let ledger = read_ledger(&callers[0]).await?;
    let costs = costs(group);
    Ok(Report {
        configuration: match (args.hybrid, args.ordering) {
            (false, _) => "asynchronous",
            (true, Ordering::Identifiers) => "hybrid, by identifiers",
            (true, Ordering::Service) => "hybrid, by the ordering service",
        },
        servers: args.servers(),
        payload: args.payload,
        phases,
        peak_memory_bytes: costs.iter().map(|cost| cost.peak_memory_bytes).collect(),
        peak_journal_bytes: peak_journal.load(atomic::Ordering::Relaxed),
        ledger_agrees: ledger.entries == acknowledged,
    })
}

/// A client of the ledger, with a key of its own.
pub(super) fn caller(group: &LocalGroup, home: Party) -> Result<Caller, Failure> {
    let mut seed = [0; 32];
    let mut rng = UnwrapErr(rand::rngs::SysRng);
    rng.fill_bytes(&mut seed);
    let public = PublicHome::load(&group.home(0))?;
    let settings = CallerSettings {
        keys: public.keys,
        structure: public.config.structure.clone(),
        servers: public.config.servers.iter().map(|server| server.clients).collect(),
        service: LEDGER,
        secret: ClientSecret::from_seed(&seed),
        nonce: rng.next_u64(),
        home,
        retry_after: RETRY_AFTER,
    };
    Caller::start(settings).map_err(|error| Failure::because(error.to_string()))
}

async fn read_ledger(caller: &Caller) -> Result<Ledger, Failure> {
    match caller.call(bytes::Bytes::new()).await {
        Ok(ClientReply::Plain(body)) => {
            Ledger::from_wire(body).map_err(|error| Failure::because(format!("ledger: {error}")))
        }
        other => Err(Failure::because(format!("the ledger cannot be read: {other:?}"))),
    }
}

fn costs(group: &LocalGroup) -> Vec<Cost> {
    let servers = 0..group.config().servers.len();
    servers.map(|index| group.server(index).and_then(|s| s.cost()).unwrap_or_default()).collect()
}

/// What the journal of each server takes on the disk.
fn journals(group: &LocalGroup) -> Vec<u64> {
    let servers = 0..group.config().servers.len();
    servers.map(|index| process::disk_bytes(&group.home(index).join(JOURNAL))).collect()
}

/// Looks at the journals again and again until the runtime ends; holds the most that one took.
fn watch_journals(group: &LocalGroup) -> Arc<AtomicU64> {
    let peak = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&peak);
    let servers = 0..group.config().servers.len();
    let folders: Vec<_> = servers.map(|index| group.home(index).join(JOURNAL)).collect();
    tokio::spawn(async move {
        loop {
            for folder in &folders {
                seen.fetch_max(process::disk_bytes(folder), atomic::Ordering::Relaxed);
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    });
    peak
}

/// Counters at one moment.
struct Meter {
    costs: Vec<Cost>,
    clients: Cost,
    peer_bytes: f64,
    syncs: f64,
    loopback_bytes: u64,
}

impl Meter {
    fn read(group: &LocalGroup) -> Result<Self, Failure> {
        let (mut peer_bytes, mut syncs) = (0.0, 0.0);
        for server in &group.config().servers {
            let page = process::get(server.http, "/metrics")?;
            peer_bytes += counter(&page, "engine_bytes_out_total");
            syncs += counter(&page, "engine_log_commits_total");
        }
        Ok(Self {
            costs: costs(group),
            clients: process::cost("self").unwrap_or_default(),
            peer_bytes,
            syncs,
            loopback_bytes: loopback_bytes(),
        })
    }

    fn phase(self, load: &'static str, seen: Seen, group: &LocalGroup) -> Result<Phase, Failure> {
        let now = Self::read(group)?;
        let requests = seen.answered.max(1) as f64;
        let cpu = now.costs.iter().zip(&self.costs);
        Ok(Phase {
            load,
            cpu_seconds: cpu.map(|(now, then)| now.cpu_seconds - then.cpu_seconds).collect(),
            client_cpu_seconds: now.clients.cpu_seconds - self.clients.cpu_seconds,
            memory_bytes: now.costs.iter().map(|cost| cost.memory_bytes).collect(),
            journal_bytes: journals(group),
            peer_bytes_per_request: (now.peer_bytes - self.peer_bytes) / requests,
            loopback_bytes_per_request: (now.loopback_bytes - self.loopback_bytes) as f64
                / requests,
            syncs_per_request: (now.syncs - self.syncs) / requests,
            seen,
        })
    }
}

/// The value of a counter on a metrics page.
fn counter(page: &str, name: &str) -> f64 {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(' '))
        .filter(|(series, _)| series.split('{').next() == Some(name))
        .filter_map(|(_, value)| value.parse::<f64>().ok())
        .sum()
}

/// Bytes that the loopback device has carried, of whichever process.
fn loopback_bytes() -> u64 {
    let table = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let line = table.lines().find_map(|line| line.trim().strip_prefix("lo:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

impl Report {
    /// Requests a second in the closed loop of many clients.
    pub(super) fn throughput(&self) -> f64 {
        self.phase("closed loop").map_or(0.0, |phase| phase.seen.per_second)
    }

    /// The median time of one request at a time, in milliseconds.
    pub(super) fn latency(&self) -> f64 {
        self.phase("unloaded").map_or(0.0, |phase| phase.seen.latency_ms.p50)
    }

    fn phase(&self, load: &str) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.load == load)
    }

    /// Was anything lost?
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.ledger_agrees {
            true => Ok(()),
            false => Err(Failure::because("the ledger does not have what was acknowledged")),
        }
    }

    pub(super) fn print(&self) {
        println!(
            "{}: {} servers, requests of {} bytes",
            self.configuration, self.servers, self.payload
        );
        for Phase { load, seen, .. } in &self.phases {
            let latency = &seen.latency_ms;
            println!(
                "{load:12} {:9.0} /s   mean {:.2} ms, p50 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}",
                seen.per_second, latency.mean, latency.p50, latency.p99, latency.p999, latency.max
            );
        }
        for phase in &self.phases {
            let cpu: f64 = phase.cpu_seconds.iter().sum();
            println!(
                "{:12} a request: {:.0} µs of CPU by all servers, {:.0} by its client, {:.0} bytes \
                 between servers, {:.0} on loopback, {:.2} forced writes",
                phase.load,
                cpu * 1e6 / phase.seen.answered.max(1) as f64,
                phase.client_cpu_seconds * 1e6 / phase.seen.answered.max(1) as f64,
                phase.peer_bytes_per_request,
                phase.loopback_bytes_per_request,
                phase.syncs_per_request,
            );
        }
        let peak: Vec<String> =
            self.peak_memory_bytes.iter().map(|bytes| format!("{}", bytes >> 20)).collect();
        println!("peak memory of each server, MiB: {}", peak.join(", "));
        println!("peak of any server's journal, MiB: {}", self.peak_journal_bytes >> 20);
        println!("the ledger agrees: {}", self.ledger_agrees);
    }
}
