//! `maftia bench ca`: certificates by ACME from real server processes on loopback, and what one
//! signature of the group costs.

use super::load::{Seen, Tally};
use crate::Failure;
use crate::acme::{self, Acme, Challenges};
use crate::args::BenchCa;
use crate::ca::ROOT;
use crate::ca::ceremony::ISSUING_KEY;
use crate::config::{NewAuthority, NewGroup};
use crate::home::Home;
use crate::local::{self, LocalGroup};
use crate::process::Cost;
use maftia_agreement::hybrid::OrderedBy;
use maftia_base::Party;
use maftia_base::time::Reading;
use maftia_base::wire::Blob;
use maftia_crypto::{Done, HashAlgorithm, RealKeyring, RealSuite, SigningInput, Suite, Work};
use openssl::bn::{BigNum, BigNumContext, MsbOption};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

/// Signatures of each kind that are timed.
const SIGNATURES: u32 = 40;

/// Ports of a group.
const PORTS_EACH: usize = 50;

/// How long the group is warmed up.
const WARM_UP: Duration = Duration::from_secs(2);

/// What is issued to whom: anything, as often as it is asked for.
fn rules(http_port: u16) -> String {
    format!(
        "\
default_profile = \"server\"

[[profile]]
name = \"server\"
description = \"TLS servers\"
usage = \"server\"
hours = 720
names = [\"127.0.0.0/8\"]

[limits]
accounts_per_hour = 1000000
orders_per_hour = 1000000
pending_authorizations = 1000000
certificates_per_week = 1000000

[validation]
http_port = {http_port}
"
    )
}

/// One size of keys.
#[derive(Debug, Serialize)]
struct Report {
    configuration: &'static str,
    servers: usize,
    key_bits: usize,
    /// From a new account to its first certificate, with all servers' validation, in milliseconds.
    first_ms: f64,
    phases: Vec<Phase>,
    signature: Signature,
}

/// One load: names that have been validated, one certificate after the other.
#[derive(Debug, Serialize)]
struct Phase {
    clients: usize,
    /// Times are from the request that finalizes an order to the certificate.
    #[serde(flatten)]
    seen: Seen,
    /// CPU time of each server, in milliseconds for each certificate.
    cpu_ms_per_certificate: Vec<f64>,
}

/// What a signature costs, in milliseconds of one core.
#[derive(Debug, Serialize)]
struct Signature {
    /// One server's share, without a proof.
    share_ms: f64,
    /// To put shares together, and check the result.
    combine_ms: f64,
    /// All servers' shares, and one combination.
    group_ms: f64,
    /// An ordinary signature by the same library, by the Chinese remainder theorem.
    ordinary_ms: f64,
    /// An exponentiation with modulus and exponent of full length by the same library.
    exponentiation_ms: f64,
    /// All that the group does, in such exponentiations.
    exponentiations: f64,
}

/// Measures each size of keys.
pub(super) fn run(args: &BenchCa) -> Result<(), Failure> {
    // Each with ports of its own: those that answer challenges listen as long as this process.
    let base_ports = (args.base_port..).step_by(PORTS_EACH);
    let reports = args.key_bits.iter().zip(base_ports);
    let reports = reports.map(|(bits, base_port)| measured(args, *bits, base_port));
    let reports: Vec<Report> = reports.collect::<Result<_, _>>()?;
    if args.json {
        let json = serde_json::to_string_pretty(&reports).expect("plain data is always JSON");
        println!("{json}");
    } else {
        reports.iter().for_each(Report::print);
    }
    Ok(())
}

fn measured(args: &BenchCa, key_bits: usize, base_port: u16) -> Result<Report, Failure> {
    let dir = local::temporary("bench");
    let program = std::env::current_exe()
        .map_err(|error| Failure::because(format!("this program's own file: {error}")))?;
    let servers = if args.hybrid { 3 } else { 4 };
    let ports = u16::try_from(3 * servers).expect("few servers");
    let acme_port = base_port.saturating_add(ports);
    let http_port = acme_port.saturating_add(ports);
    let new = NewGroup {
        name: "bench".into(),
        servers,
        host: IpAddr::V4(Ipv4Addr::LOCALHOST),
        base_port,
        key_bits,
        components: Vec::new(),
        ordered_by: OrderedBy::default(),
        authority: Some(NewAuthority {
            url: format!("https://127.0.0.1:{acme_port}"),
            base_port: acme_port,
            permitted: vec!["127.0.0.0/8".into()],
            rules: rules(http_port),
        }),
    };
    let mut group = LocalGroup::deal_as(&dir, &program, new, args.hybrid)?;
    group.start_all()?;
    let report = measure(args, &group, (key_bits, http_port))?;
    group.stop_all()?;
    drop(group);
    std::fs::remove_dir_all(&dir).map_err(|error| Failure::file(&dir, "is left over", &error))?;
    Ok(report)
}

fn measure(
    args: &BenchCa,
    group: &LocalGroup,
    (key_bits, http_port): (usize, u16),
) -> Result<Report, Failure> {
    let clients = args.clients.clamp(1, 200);
    let client = |index| Client::register(group, index, http_port);
    let mut clients: Vec<Client> = (0..clients).map(client).collect::<Result<_, _>>()?;
    eprintln!("{key_bits} bits: the first certificate of each of {} clients", clients.len());
    let started = Instant::now();
    clients[0].obtain()?;
    let first_ms = started.elapsed().as_secs_f64() * 1000.0;
    clients.iter_mut().skip(1).try_for_each(|client| client.obtain().map(drop))?;
    load(&mut clients, WARM_UP, group)?;
    let time = Duration::from_secs(args.seconds);
    eprintln!("{key_bits} bits: one client, {} s", args.seconds);
    let alone = load(&mut clients[..1], time, group)?;
    eprintln!("{key_bits} bits: {} clients, {} s", clients.len(), args.seconds);
    let together = load(&mut clients, time, group)?;
    Ok(Report {
        configuration: if args.hybrid { "hybrid" } else { "asynchronous" },
        servers: group.config().servers.len(),
        key_bits,
        first_ms,
        phases: vec![alone, together],
        signature: signature(group, key_bits)?,
    })
}

/// A host with an account, an address, and a key.
struct Client {
    acme: Acme,
    address: String,
    request: Vec<u8>,
}

impl Client {
    fn register(group: &LocalGroup, index: usize, http_port: u16) -> Result<Self, Failure> {
        let config = group.config();
        let section = config.ca.as_ref().expect("the group was dealt with an authority");
        let number = u8::try_from(index + 1).expect("not so many clients");
        let address = Ipv4Addr::new(127, 0, 1, number);
        let challenges = Challenges::serve(SocketAddr::new(address.into(), http_port))?;
        let path = group.home(0).join(ROOT);
        let root =
            std::fs::read(&path).map_err(|error| Failure::file(&path, "cannot be read", &error))?;
        let front = config.servers[index % config.servers.len()].acme;
        let front = front.expect("each server has an address for ACME");
        let directory = format!("{}/acme/directory", section.url);
        let acme = Acme::register(&directory, &root, front, challenges)?;
        let address = address.to_string();
        let request = acme::key().and_then(|key| acme::request(&key, &[&address]));
        let request = request.map_err(|error| Failure::because(error.to_string()))?;
        Ok(Self { acme, address, request })
    }

    fn obtain(&mut self) -> Result<Vec<u8>, Failure> {
        self.acme.obtain(&[&self.address], &self.request)
    }

    /// One certificate after the other.
    fn load(&mut self, until: Instant) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        while Instant::now() < until {
            let order = self.acme.order(&[&self.address])?;
            let due = Instant::now();
            let certificate = self.acme.finalize(&order, &self.request)?;
            self.acme.download(&certificate)?;
            tally.note(due, true);
        }
        Ok(tally)
    }
}

fn load(clients: &mut [Client], time: Duration, group: &LocalGroup) -> Result<Phase, Failure> {
    let before = costs(group);
    let (started, count) = (Instant::now(), clients.len());
    let until = started + time;
    let mut all = Tally::default();
    thread::scope(|scope| {
        let loads: Vec<_> =
            clients.iter_mut().map(|client| scope.spawn(move || client.load(until))).collect();
        loads.into_iter().try_for_each(|load| {
            all.add(load.join().expect("a client does not panic")?);
            Ok::<(), Failure>(())
        })
    })?;
    let seen = all.seen(started.elapsed());
    let certificates = seen.answered.max(1) as f64;
    let spent = costs(group).into_iter().zip(before);
    let spent = spent.map(|(now, then)| (now.cpu_seconds - then.cpu_seconds) * 1000.0);
    let cpu_ms_per_certificate = spent.map(|spent| spent / certificates).collect();
    Ok(Phase { clients: count, seen, cpu_ms_per_certificate })
}

fn costs(group: &LocalGroup) -> Vec<Cost> {
    let servers = 0..group.config().servers.len();
    servers.map(|index| group.server(index).and_then(|s| s.cost()).unwrap_or_default()).collect()
}

/// Times the group's signature by the very shares that were dealt.
fn signature(group: &LocalGroup, key_bits: usize) -> Result<Signature, Failure> {
    let homes = 0..group.config().servers.len();
    let keyrings = homes.map(|index| Ok(Home::load(&group.home(index), None)?.keyring));
    let keyrings: Vec<RealKeyring> = keyrings.collect::<Result<_, Failure>>()?;
    let input = |number: u32| SigningInput {
        hash: HashAlgorithm::Sha256,
        digest: Blob::new(openssl::sha::sha256(&number.to_be_bytes()).to_vec()).expect("short"),
    };
    let share = |keyring: &RealKeyring, number| {
        let work =
            Work::SignatureShare { key: ISSUING_KEY, input: input(number), with_proof: false };
        RealSuite::run_many(vec![work], keyring, Reading::default()).pop()
    };
    let (mut sharing, mut combining) = (Duration::ZERO, Duration::ZERO);
    for number in 0..SIGNATURES {
        let started = Instant::now();
        let done: Vec<_> = keyrings.iter().map(|keyring| share(keyring, number)).collect();
        sharing += started.elapsed();
        let shares = (0..).map(Party::new).zip(done).filter_map(|(party, done)| match done {
            Some(Done::SignatureShare(share)) => Some((party, share)),
            _ => None,
        });
        let shares = shares.take(group.config().structure.largest() + 1).collect();
        let work = Work::CombineSignature { key: ISSUING_KEY, input: input(number), shares };
        let started = Instant::now();
        let done = RealSuite::run_many(vec![work], &keyrings[0], Reading::default()).pop();
        combining += started.elapsed();
        if !matches!(done, Some(Done::Signature { signature: Some(_), .. })) {
            return Err(Failure::because("the shares make no signature"));
        }
    }
    let ms = |time: Duration| time.as_secs_f64() * 1000.0 / f64::from(SIGNATURES);
    let (ordinary_ms, exponentiation_ms) =
        ordinary(key_bits).map_err(|error| Failure::because(error.to_string()))?;
    let group_ms = ms(sharing) + ms(combining);
    Ok(Signature {
        share_ms: ms(sharing) / keyrings.len() as f64,
        combine_ms: ms(combining),
        group_ms,
        ordinary_ms,
        exponentiation_ms,
        exponentiations: group_ms / exponentiation_ms,
    })
}

/// What an ordinary signature, and what an exponentiation of full length takes, in milliseconds.
fn ordinary(key_bits: usize) -> Result<(f64, f64), ErrorStack> {
    let bits = u32::try_from(key_bits).unwrap_or(u32::MAX);
    let rsa = Rsa::generate(bits)?;
    let modulus = rsa.n().to_owned()?;
    let key = PKey::from_rsa(rsa)?;
    let started = Instant::now();
    for number in 0..SIGNATURES {
        let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
        signer.update(&number.to_be_bytes())?;
        signer.sign_to_vec()?;
    }
    let ordinary = started.elapsed();
    let (mut power, mut base, mut exponent) = (BigNum::new()?, BigNum::new()?, BigNum::new()?);
    let mut context = BigNumContext::new()?;
    base.rand(i32::try_from(bits).unwrap_or(i32::MAX) - 1, MsbOption::ONE, false)?;
    exponent.rand(i32::try_from(bits).unwrap_or(i32::MAX) - 1, MsbOption::ONE, true)?;
    let started = Instant::now();
    for _ in 0..SIGNATURES {
        power.mod_exp(&base, &exponent, &modulus, &mut context)?;
    }
    let exponentiation = started.elapsed();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0 / f64::from(SIGNATURES);
    Ok((ms(ordinary), ms(exponentiation)))
}

impl Report {
    fn print(&self) {
        println!(
            "{}: {} servers, key of {} bits; from a new account to its first certificate {:.0} ms",
            self.configuration, self.servers, self.key_bits, self.first_ms
        );
        for Phase { clients, seen, cpu_ms_per_certificate } in &self.phases {
            let latency = &seen.latency_ms;
            let cpu: Vec<String> =
                cpu_ms_per_certificate.iter().map(|ms| format!("{ms:.1}")).collect();
            println!(
                "{clients:4} clients {:7.1} certificates/s, from finalize to certificate p50 \
                 {:.1} ms, p99 {:.1}; CPU of each server {} ms a certificate",
                seen.per_second,
                latency.p50,
                latency.p99,
                cpu.join(", ")
            );
        }
        let Signature {
            share_ms,
            combine_ms,
            group_ms,
            ordinary_ms,
            exponentiation_ms,
            exponentiations,
        } = &self.signature;
        println!(
            "a signature: {group_ms:.2} ms in all ({share_ms:.2} for each share, {combine_ms:.2} \
             to combine), {exponentiations:.2} full exponentiations of {exponentiation_ms:.2} \
             ms; an ordinary one {ordinary_ms:.2} ms"
        );
    }
}
