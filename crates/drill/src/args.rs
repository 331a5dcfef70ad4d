//! What can be typed.

use clap::{Args as ClapArgs, Parser, Subcommand};

/// Tries to break the protocols: many runs in simulated time, under adversaries, judged by
/// checkers that share nothing with production.
///
/// A run is a token: `binary:42` draws everything from the number; failures are reported with
/// full tokens, which mean the same run for ever.
///
///   maftia-drill run --seeds 0..10000           every protocol with these seeds
///   maftia-drill soak --minutes 60              runs until the time is over
///   maftia-drill replay binary:42               one run, in words
///   maftia-drill canaries                       break the code in every known way; is it noticed?
///   maftia-drill explore reliable               every order of deliveries and lies, small group
///   maftia-drill twins                          two copies of a server, every partition
///   maftia-drill throughput                     what each adversary costs, in a model of costs
///   maftia-drill adversaries                    what there is
///
/// Exit code 0: nothing was found; 1: something was; 2: wrong arguments.
#[derive(Debug, Parser)]
#[command(name = "maftia-drill", version, verbatim_doc_comment, max_term_width = 100)]
pub(crate) struct Drill {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print JSON on standard output.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a range of seeds.
    Run(Run),
    /// Run for some time, with ever new seeds; keeps the tokens that failed. Every small protocol
    /// is run with each seed, large ones and whole servers with a part of them.
    Soak(Soak),
    /// Run one token again, and say in words what happens.
    Replay(Replay),
    /// Explore a small group exhaustively.
    Explore(Explore),
    /// Two copies of one server under every partition of a small group.
    Twins(Twins),
    /// Break the code in every known way, one at a time, and see whether the drill notices.
    Canaries(Canaries),
    /// A group of four under load, without an adversary and with each: how much is left.
    Throughput(Throughput),
    /// List all strategies.
    Adversaries,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Choice {
    /// Only this protocol; may be repeated.
    #[arg(long)]
    pub(crate) protocol: Vec<String>,
    /// Only this strategy, of servers, networks or storage; see `adversaries`.
    #[arg(long)]
    pub(crate) adversary: Option<String>,
    /// Only this group: 4, 7, 10, lopsided, sites.
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// Only the cryptography of production.
    #[arg(long)]
    pub(crate) real: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Run {
    /// Seeds, as FIRST..END.
    #[arg(long, default_value = "0..1000")]
    pub(crate) seeds: String,
    #[command(flatten)]
    pub(crate) choice: Choice,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Soak {
    /// How long.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) minutes: f64,
    /// The first seed; by default one that was not tried today.
    #[arg(long)]
    pub(crate) first: Option<u64>,
    /// Append failing tokens to this file.
    #[arg(long)]
    pub(crate) keep: Option<std::path::PathBuf>,
    /// Threads; each has seeds of its own.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: u64,
    #[command(flatten)]
    pub(crate) choice: Choice,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Replay {
    /// The run.
    pub(crate) token: String,
    /// With this canary broken.
    #[arg(long)]
    pub(crate) canary: Option<String>,
    /// At most so many lines from the end; 0 for all.
    #[arg(long, default_value_t = 0)]
    pub(crate) last: usize,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Explore {
    /// Which; all if none is named.
    pub(crate) protocol: Option<String>,
    /// Most states of one exploration.
    #[arg(long, default_value_t = 20_000_000)]
    pub(crate) states: usize,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Twins {
    /// Which protocol; all if none is named.
    pub(crate) protocol: Option<String>,
    /// Most scenarios to run of each; if there are more, a seeded sample.
    #[arg(long, default_value_t = 5_000)]
    pub(crate) scenarios: usize,
    /// Rounds of partitions.
    #[arg(long, default_value_t = 3)]
    pub(crate) phases: usize,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Throughput {
    /// Requests of each measurement.
    #[arg(long, default_value_t = 6_000)]
    pub(crate) requests: u64,
    /// Measurements of each adversary, with different seeds; the medians are reported.
    #[arg(long, default_value_t = 3)]
    pub(crate) seeds: u64,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Canaries {
    /// Which; all if none is named.
    pub(crate) name: Option<String>,
    /// How often each is hunted for; the median is reported.
    #[arg(long, default_value_t = 1)]
    pub(crate) hunts: u64,
    /// Only list them.
    #[arg(long)]
    pub(crate) list: bool,
}
