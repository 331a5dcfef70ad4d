//! `maftia bench configurations`: what the trusted components are worth. Both groups survive one
//! corrupt server, run on the same machine, in the same way, one after the other.

use super::atomic::{self, Report};
use crate::Failure;
use crate::args::{BenchAtomic, BenchConfigurations};

/// Measures both in turn, and compares.
pub(super) fn run(args: &BenchConfigurations) -> Result<(), Failure> {
    let mut measured: [Vec<Report>; 2] = Default::default();
    for _ in 0..args.rounds.max(1) {
        for (reports, hybrid) in measured.iter_mut().zip([false, true]) {
            let load = BenchAtomic { servers: None, hybrid, ..args.load.clone() };
            let report = atomic::measured(&load)?;
            if !args.load.json {
                report.print();
            }
            report.check()?;
            reports.push(report);
        }
    }
    let [throughput, latency] = [Report::throughput, Report::latency]
        .map(|figure| mean(&measured[1], figure) / mean(&measured[0], figure));
    if args.load.json {
        let [asynchronous, hybrid] = &measured;
        let report = serde_json::json!({
            "asynchronous": asynchronous,
            "hybrid": hybrid,
            "throughput_ratio": throughput,
            "latency_ratio": latency,
        });
        println!("{report:#}");
    } else {
        println!(
            "hybrid with 3 against asynchronous with 4: {throughput:.2} times the throughput, \
             {latency:.2} times the latency of one request at a time (medians)"
        );
    }
    Ok(())
}

fn mean(reports: &[Report], figure: fn(&Report) -> f64) -> f64 {
    reports.iter().map(figure).sum::<f64>() / reports.len().max(1) as f64
}
