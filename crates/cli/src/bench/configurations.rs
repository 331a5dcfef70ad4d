//! `maftia bench configurations`: what the trusted components are worth, and which of their
//! services orders better. All groups survive one corrupt server, and run on the same machine, in
//! the same way, one after the other.

use super::atomic::{self, Report};
use crate::Failure;
use crate::args::{BenchAtomic, BenchConfigurations, Ordering};

/// With how many servers, and by what they order.
const CONFIGURATIONS: [(&str, Option<Ordering>); 3] = [
    ("asynchronous", None),
    ("hybrid_by_identifiers", Some(Ordering::Identifiers)),
    ("hybrid_by_service", Some(Ordering::Service)),
];

/// Measures all in turn, and compares.
pub(super) fn run(args: &BenchConfigurations) -> Result<(), Failure> {
    let mut measured: [Vec<Report>; 3] = Default::default();
    for _ in 0..args.rounds.max(1) {
        for (reports, (_, hybrid)) in measured.iter_mut().zip(CONFIGURATIONS) {
            let ordering = hybrid.unwrap_or_default();
            let load = BenchAtomic {
                servers: None,
                hybrid: hybrid.is_some(),
                ordering,
                ..args.load.clone()
            };
            let report = atomic::measured(&load)?;
            if !args.load.json {
                report.print();
            }
            report.check()?;
            reports.push(report);
        }
    }
    let mut said = serde_json::Map::new();
    for (reports, (name, hybrid)) in measured.iter().zip(CONFIGURATIONS) {
        let [throughput, latency] = [Report::throughput, Report::latency]
            .map(|figure| mean(reports, figure) / mean(&measured[0], figure));
        if hybrid.is_some() && !args.load.json {
            println!(
                "{name} with 3 against asynchronous with 4: {throughput:.2} times the throughput, \
                 {latency:.2} times the latency of one request at a time (medians)"
            );
        }
        let ratios = serde_json::json!({
            "reports": reports,
            "throughput_ratio": throughput,
            "latency_ratio": latency,
        });
        said.insert(name.to_owned(), ratios);
    }
    if args.load.json {
        println!("{:#}", serde_json::Value::Object(said));
    }
    Ok(())
}

fn mean(reports: &[Report], figure: fn(&Report) -> f64) -> f64 {
    reports.iter().map(figure).sum::<f64>() / reports.len().max(1) as f64
}
