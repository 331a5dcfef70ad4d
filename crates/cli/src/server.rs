//! `maftia server`: one server of a group, from its home folder to its end.

use crate::Failure;
use crate::args::Server as ServerArgs;
use crate::ca::authority;
use crate::deal;
use crate::founding::Founding;
use crate::home::{self, BEGUN, Home, JOURNAL, LOST, Lock, NOTARY_KEY};
use maftia_agreement::hybrid::Members;
use maftia_crypto::GroupKeys;
use maftia_node::network::{FRAMES_PER_SECOND, NetworkConfig, Peer};
use maftia_node::production::{self, Offer};
use maftia_node::server::{ServerConfig, ServerError, Tuning};
use maftia_services::notary::{ObjectIdentifier, Profile};
use openssl::error::ErrorStack;
use openssl::x509::X509;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use tracing_subscriber::EnvFilter;

/// What a home folder says about how to run its server.
#[derive(Debug)]
pub struct Setting {
    /// The home folder.
    pub home: Home,
    /// Nobody else uses it.
    pub lock: Lock,
    /// Addresses, folders, cores.
    pub config: ServerConfig,
    /// In the hybrid configuration, the members with which the group began.
    pub members: Option<Members>,
    /// What the group offers.
    pub offer: Offer,
}

impl Setting {
    /// Reads and checks a home folder.
    pub fn load(folder: &Path, passphrase_file: Option<&Path>) -> Result<Self, Failure> {
        let passphrase = home::passphrase(passphrase_file)?;
        let lock = Lock::take(folder)?;
        let mut home = Home::load(folder, passphrase.as_deref().map(Vec::as_slice))?;
        let offer = Offer { notary: profile(&home)?, authority: authority::load(&home)? };
        let mut config = server_config(&home);
        let is_hybrid = home.public.config.is_hybrid;
        let founding = is_hybrid.then(|| Founding::read(&home)).transpose()?;
        let members = founding.map(|Founding { members, digest, generation, .. }| {
            home.group = home.group.clone().founded(digest);
            config.network.namespace.extend_from_slice(&digest.0);
            config.generation = generation;
            members
        });
        Ok(Self { home, lock, config, members, offer })
    }
}

/// Runs an honest server until it is told to stop.
pub fn run(args: &ServerArgs) -> Result<(), Failure> {
    start_logging(args.log_json);
    let setting = Setting::load(&args.home, args.passphrase_file.as_deref())?;
    let Setting { home, lock: _lock, mut config, members, offer } = setting;
    let Home { group, keyring, .. } = home;
    if let Some(threads) = args.worker_threads {
        config.tuning.worker_threads = threads.into();
    }
    match production::serve(config, group, keyring, members, offer) {
        Err(ServerError::LifeEnded) => begin_anew(),
        ended => ended.map_err(|error| Failure::because(error.to_string())),
    }
}

/// Runs this program from its beginning, as it was started, in the place of this process.
fn begin_anew() -> Result<(), Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::because(format!("this program's own file: {error}")))?;
    let error = Command::new(&program).args(std::env::args_os().skip(1)).exec();
    Err(Failure::file(&program, "cannot be started again", &error))
}

/// Sends the log to standard error; `RUST_LOG` says how much of it.
pub fn start_logging(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new("info,commonware_p2p=warn,commonware_runtime=warn,commonware_storage=warn")
    });
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        log.json().init();
    } else {
        log.with_ansi(false).init();
    }
}

fn server_config(home: &Home) -> ServerConfig {
    let me = &home.public.config.servers[home.group.me().index()];
    let keys = home.public.keys.parties();
    let peers = home
        .public
        .config
        .servers
        .iter()
        .zip(keys)
        .map(|(server, keys)| Peer { identity: keys.link, address: server.peers });
    ServerConfig {
        data: home.folder.join(JOURNAL),
        generation: 0,
        begun: home.folder.join(BEGUN),
        lost: home.folder.join(LOST),
        network: NetworkConfig {
            peers: peers.collect(),
            listen: me.peers,
            namespace: home.group.id().0.0.to_vec(),
            allow_private_ips: true,
            frames_per_second: FRAMES_PER_SECOND,
        },
        wormhole: me.component.clone(),
        clients: me.clients,
        http: me.http,
        tuning: Tuning::for_cores(std::thread::available_parallelism().map_or(1, usize::from)),
        until_member: false,
    }
}

fn profile(home: &Home) -> Result<Profile, Failure> {
    let notary = &home.public.config.notary;
    let path = home.folder.join(home::CERTIFICATE);
    let refused = |error: &dyn std::fmt::Display| Failure::file(&path, "is refused", &error);
    let certificate =
        X509::from_pem(home.public.certificate.as_bytes()).map_err(|error| refused(&error))?;
    check_certificate(&certificate, &home.public.keys).map_err(|error| refused(&error))?;
    let certificate = certificate.to_der().map_err(|error| refused(&error))?;
    let policy = ObjectIdentifier::new(&notary.policy).map_err(|error| refused(&error))?;
    let accuracy_micros = notary.accuracy_ms * 1000;
    Profile::new(NOTARY_KEY, policy, accuracy_micros, vec![certificate])
        .map_err(|error| refused(&error))
}

/// With another certificate this server would not sign what the others sign, and look corrupt.
fn check_certificate(certificate: &X509, keys: &GroupKeys) -> Result<(), String> {
    let problem = |error: ErrorStack| error.to_string();
    let key = certificate.public_key().map_err(problem)?;
    if key.public_key_to_der().map_err(problem)? != deal::public_key(keys).map_err(problem)? {
        return Err(
            "it is not for the notary's key in group.keys. Right would be: the notary.pem \
                    that `maftia deal` wrote beside it"
                .into(),
        );
    }
    match certificate.verify(&key) {
        Ok(true) => Ok(()),
        _ => Err("the group did not sign it: it was altered".into()),
    }
}
