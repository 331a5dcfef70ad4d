//! What can be typed.

mod ca;

pub use ca::*;

use clap::{Args, Parser, Subcommand, ValueEnum};
use maftia_agreement::hybrid::OrderedBy;
use std::net::IpAddr;
use std::path::PathBuf;

/// Intrusion-tolerant services: a group of servers of which some may be taken over.
///
/// A group of your own, on one machine:
///
///   maftia init --dir my-group             writes my-group/group.toml, to be read and edited
///   maftia deal --group my-group/group.toml --out my-group
///                                          one home folder for each server, with its secret share
///   maftia server --home my-group/server-0 and so on, each on its own host
///   maftia status --group my-group/group.toml
///
/// To see it all at work first: maftia demo
#[derive(Debug, Parser)]
#[command(name = "maftia", version, verbatim_doc_comment, max_term_width = 100)]
pub struct Maftia {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a new group configuration, with each key explained beside it.
    Init(Init),
    /// Check a group configuration; say what it means, or what is wrong and where.
    Check(Check),
    /// The dealer's ceremony: make all keys, write one home folder a server, forget the secrets.
    ///
    /// Run it offline: while it runs, and only then, one process knows every key.
    #[command(verbatim_doc_comment)]
    Deal(Deal),
    /// Run one server of a group until it is told to stop (SIGTERM or ctrl-C).
    Server(Server),
    /// Check a server's journal; if it is damaged or gone, bring the server back from its peers.
    ///
    /// For a server that does not run. A sound journal is left alone. Otherwise the journal is set
    /// aside, never deleted, and the server rejoins its group: the group begins a new epoch, in
    /// which this server has signed nothing, and the server fetches the group's state. Until that
    /// is done it counts as one of the servers that may be faulty. Ends when it is a member again.
    #[command(verbatim_doc_comment)]
    Repair(Repair),
    /// Ask every server of a group how it is.
    ///
    /// Each line is that server's own word, also on its trusted component: who has taken a server
    /// over has it say what he likes. In the hybrid configuration the line ends with the session
    /// with the component, its life, its barriers (missing ones that its configuration accepts are
    /// in brackets) and its clock; `maftia-ttcb status` on the host asks the component itself.
    #[command(verbatim_doc_comment)]
    Status(Status),
    /// In the hybrid configuration: with which lives of the trusted components a group begins.
    ///
    /// A trusted component makes fresh keys whenever its host boots. Once all of them run, and
    /// before the servers do, gather a line from each host, and give all lines to every server:
    ///
    ///   maftia wormhole show --group group.toml --server server-0     on that server's host
    ///   maftia wormhole found --home server-0 lives.txt               for each home folder
    ///
    /// After more components have restarted at once than may be faulty (a power failure), let the
    /// servers run until `maftia status` shows them waiting and equally far, stop them all, and:
    ///
    ///   maftia wormhole testify --home server-0                       on each host
    ///   maftia wormhole refound --home server-0 testimonies.txt       for each home folder
    #[command(verbatim_doc_comment)]
    Wormhole(Wormhole),
    /// The certification authority: its policy, its log, its officers, its root.
    Ca(Ca),
    /// Start a group here, attack it, and have OpenSSL judge every time stamp.
    Demo(Demo),
    /// Measure: real servers on this machine, or message delays in the simulator.
    Bench(Bench),
}

/// `maftia init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Folder to write group.toml into; made if it does not exist.
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// Number of servers: 1 (a laptop; survives nothing), 4 (survives one), 7, 10, ...
    #[arg(long, default_value_t = 4, conflicts_with = "guards")]
    pub servers: usize,
    /// The hybrid configuration, which survives one with 3 servers, two with 5, ...: for each
    /// server the public key that `maftia-ttcb keygen` printed on its host, with commas between.
    #[arg(long, value_delimiter = ',', value_parser = guard)]
    pub guards: Vec<[u8; 32]>,
    /// By what the hybrid configuration orders requests.
    #[arg(long, value_enum, default_value_t, requires = "guards")]
    pub ordering: Ordering,
    /// Name of the group.
    #[arg(long, default_value = "example")]
    pub name: String,
    /// Address of all servers; edit the file where they have several.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// First port; each server takes three.
    #[arg(long, default_value_t = 7100)]
    pub base_port: u16,
    /// Modulus of the notary's RSA key, in bits: 2048, 3072 or 4096.
    #[arg(long, default_value_t = 2048)]
    pub key_bits: usize,
    /// With a certification authority, which clients of ACME find at this URL, for example
    /// https://ca.example.org:7443: also writes ca.toml, with what is issued to whom.
    #[arg(long)]
    pub ca: Option<String>,
    /// First port for ACME; each server takes one.
    #[arg(long, default_value_t = 7400, requires = "ca")]
    pub acme_port: u16,
    /// What may ever be issued for: domains and ranges of addresses, with commas between.
    #[arg(long, value_delimiter = ',', requires = "ca")]
    pub permitted: Vec<String>,
    /// Print the file instead of writing it.
    #[arg(long)]
    pub example: bool,
}

/// Reads the public key of a key guard.
fn guard(text: &str) -> Result<[u8; 32], String> {
    let problem = |_| "a guard's key has 64 hexadecimal digits, as `maftia-ttcb keygen` prints it";
    const_hex::decode_to_array(text).map_err(problem).map_err(String::from)
}

/// `maftia check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The configuration.
    #[arg(default_value = "group.toml")]
    pub group: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `maftia deal`.
#[derive(Debug, Args)]
pub struct Deal {
    /// The group's configuration.
    #[arg(long, default_value = "group.toml")]
    pub group: PathBuf,
    /// Folder for the home folders, one a server. Nothing that exists there is overwritten.
    #[arg(long, default_value = ".")]
    pub out: PathBuf,
    /// Encrypt the share files under the passphrase in this file (its first line).
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
}

/// `maftia server`.
#[derive(Debug, Args)]
pub struct Server {
    /// The server's home folder, as `maftia deal` wrote it; its journal is kept there too.
    #[arg(long)]
    pub home: PathBuf,
    /// Passphrase of the share file, if it has one (first line of this file).
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
    /// Threads for cryptography, besides the one that serves: by default none on a host with up
    /// to three cores, and two fewer than it has cores on others.
    #[arg(long)]
    pub worker_threads: Option<u8>,
    /// Log as JSON, one object a line.
    #[arg(long)]
    pub log_json: bool,
}

/// `maftia repair`.
#[derive(Debug, Args)]
pub struct Repair {
    /// The server's home folder.
    #[arg(long)]
    pub home: PathBuf,
    /// Passphrase of the share file, if it has one (first line of this file).
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
    /// Rejoin though the journal is sound or was never there: for a server that said so when it
    /// stopped, or whose home folder comes from a backup.
    #[arg(long)]
    pub rejoin: bool,
    /// Only check, and say what would be done; the exit code is 1 if a repair is needed.
    #[arg(long)]
    pub check: bool,
    /// Print what was found as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `maftia status`.
#[derive(Debug, Args)]
pub struct Status {
    /// The group's configuration.
    #[arg(long, default_value = "group.toml")]
    pub group: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `maftia wormhole`.
#[derive(Debug, Args)]
pub struct Wormhole {
    /// What to do.
    #[command(subcommand)]
    pub what: WormholeWhat,
}

/// What can be done about a wormhole.
#[derive(Debug, Subcommand)]
pub enum WormholeWhat {
    /// Print the line that tells the present life of this host's trusted component.
    Show {
        /// The group's configuration.
        #[arg(long, default_value = "group.toml")]
        group: PathBuf,
        /// The server of this host.
        #[arg(long)]
        server: String,
    },
    /// Put the lives of all hosts, each a line that `show` printed, into a home folder.
    Found {
        /// The server's home folder.
        #[arg(long)]
        home: PathBuf,
        /// Files with the lines.
        #[arg(required = true)]
        lives: Vec<PathBuf>,
    },
    /// After the loss of more components than may be faulty: print the line that tells what a
    /// server, which has stopped, holds, and with which life of its component it would begin anew.
    Testify {
        /// The server's home folder.
        #[arg(long)]
        home: PathBuf,
        /// Passphrase of the share file, if it has one (first line of this file).
        #[arg(long)]
        passphrase_file: Option<PathBuf>,
    },
    /// Have a server, which has stopped, begin anew with what all have testified.
    Refound(Refound),
}

/// `maftia wormhole refound`.
#[derive(Debug, Args)]
pub struct Refound {
    /// The server's home folder.
    #[arg(long)]
    pub home: PathBuf,
    /// Passphrase of the share file, if it has one (first line of this file).
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
    /// A server that does not testify, by name: it then counts among those that may be faulty.
    #[arg(long)]
    pub without: Vec<String>,
    /// Files with the lines that `testify` printed.
    #[arg(required = true)]
    pub testimonies: Vec<PathBuf>,
}

/// `maftia demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Files to put time stamps on; by default this program and, if it is there, Cargo.lock.
    pub files: Vec<PathBuf>,
    /// Where to keep everything; by default a new folder under the system's temporary folder.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// The hybrid configuration: three servers, each with a trusted component, instead of four.
    #[arg(long)]
    pub hybrid: bool,
    /// Leave the group running at the end, and print how to use it by hand.
    #[arg(long)]
    pub keep: bool,
    /// First port of the servers.
    #[arg(long, default_value_t = 17100)]
    pub base_port: u16,
    /// Modulus of the notary's RSA key, in bits: 2048, 3072 or 4096.
    #[arg(long, default_value_t = 2048)]
    pub key_bits: usize,
    /// Print the report as JSON at the end.
    #[arg(long)]
    pub json: bool,
}

/// `maftia bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// What to measure.
    #[command(subcommand)]
    pub what: BenchWhat,
}

/// What can be measured.
#[derive(Debug, Subcommand)]
pub enum BenchWhat {
    /// Real server processes on loopback: ordered requests a second, and how long each takes.
    Atomic(BenchAtomic),
    /// The same for all configurations that survive one fault, in turn: asynchronous with 4
    /// servers; hybrid with 3, by identifiers and by the ordering service.
    Configurations(BenchConfigurations),
    /// The same with one of four servers hostile, in one way after the other: how much is left.
    Adversaries(BenchAdversaries),
    /// Certificates a second and how long each takes, with clients of ACME; and what a signature of
    /// the group costs beside an ordinary one.
    Ca(BenchCa),
    /// The simulator, each message taking one unit: how many units until delivery.
    Delays(BenchDelays),
}

/// `maftia bench atomic`.
#[derive(Clone, Debug, Args)]
pub struct BenchAtomic {
    /// Number of servers; by default 4, and 3 in the hybrid configuration.
    #[arg(long)]
    pub servers: Option<usize>,
    /// The hybrid configuration, with a trusted component for each server.
    #[arg(long)]
    pub hybrid: bool,
    /// By what the hybrid configuration orders requests.
    #[arg(long, value_enum, default_value_t, requires = "hybrid")]
    pub ordering: Ordering,
    /// Bytes of each request.
    #[arg(long, default_value_t = 256)]
    pub payload: usize,
    /// Seconds of each of the two loads.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// Requests a second to offer in the open loop; without it, as many as are taken.
    #[arg(long)]
    pub rate: Option<u64>,
    /// Clients of the pipelined load.
    #[arg(long, default_value_t = 8)]
    pub clients: usize,
    /// Requests that each pipelining client has under way at most.
    #[arg(long, default_value_t = 512)]
    pub window: usize,
    /// First port of the servers.
    #[arg(long, default_value_t = 18100)]
    pub base_port: u16,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

impl BenchAtomic {
    /// How many servers there are.
    pub fn servers(&self) -> usize {
        self.servers.unwrap_or(if self.hybrid { 3 } else { 4 })
    }
}

/// By what the hybrid configuration orders requests: the key `ordering` of `group.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum Ordering {
    /// By unique identifiers of the trusted components: two message delays.
    #[default]
    Identifiers,
    /// By the ordering service of the trusted components: fewer messages, more work for them.
    Service,
}

impl From<Ordering> for OrderedBy {
    fn from(ordering: Ordering) -> Self {
        match ordering {
            Ordering::Identifiers => Self::Identifiers,
            Ordering::Service => Self::Service,
        }
    }
}

/// `maftia bench ca`.
#[derive(Clone, Debug, Args)]
pub struct BenchCa {
    /// Moduli of the authority's key, in bits.
    #[arg(long, value_delimiter = ',', default_values_t = [2048, 3072])]
    pub key_bits: Vec<usize>,
    /// The hybrid configuration: three servers, each with a trusted component, instead of four.
    #[arg(long)]
    pub hybrid: bool,
    /// Seconds of each of the two loads.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// Clients of the second load, each with one order under way.
    #[arg(long, default_value_t = 16)]
    pub clients: usize,
    /// First port of the servers.
    #[arg(long, default_value_t = 18400)]
    pub base_port: u16,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `maftia bench configurations`.
#[derive(Debug, Args)]
pub struct BenchConfigurations {
    /// How often each is measured, in turn.
    #[arg(long, default_value_t = 2)]
    pub rounds: usize,
    /// The load, as for `atomic`.
    #[command(flatten)]
    pub load: BenchAtomic,
}

/// `maftia bench adversaries`.
#[derive(Debug, Args)]
pub struct BenchAdversaries {
    /// Seconds for each adversary, after a warm-up.
    #[arg(long, default_value_t = 15)]
    pub seconds: u64,
    /// First port of the servers.
    #[arg(long, default_value_t = 18200)]
    pub base_port: u16,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `maftia bench delays`.
#[derive(Debug, Args)]
pub struct BenchDelays {
    /// Numbers of servers to simulate; by default 4, 7, 10 and 16, and 3, 5, 7 and 11 in the hybrid
    /// configuration.
    #[arg(long, value_delimiter = ',')]
    pub servers: Vec<usize>,
    /// The hybrid configuration, with a trusted component for each server.
    #[arg(long)]
    pub hybrid: bool,
    /// By what the hybrid configuration orders requests.
    #[arg(long, value_enum, default_value_t, requires = "hybrid")]
    pub ordering: Ordering,
    /// Seeds of each case.
    #[arg(long, default_value_t = 20)]
    pub seeds: u64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

impl BenchDelays {
    /// Which numbers of servers are simulated.
    pub fn servers(&self) -> Vec<usize> {
        match (self.servers.is_empty(), self.hybrid) {
            (false, _) => self.servers.clone(),
            (true, false) => vec![4, 7, 10, 16],
            (true, true) => vec![3, 5, 7, 11],
        }
    }
}
