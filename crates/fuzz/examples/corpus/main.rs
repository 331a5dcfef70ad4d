//! Makes the corpus, out of what honest servers say and write down, and of what tools write:
//! `cargo run --release -p maftia-fuzz --example corpus`.
//!
//! The same source makes the same files. Files that somebody else put there stay: what libFuzzer
//! found, and what once crashed.

mod traffic;

use bytes::Buf;
use maftia::config::{NewGroup, render};
use maftia_activity::{Accusation, Replica, ReplyBundle};
use maftia_agreement::hybrid::OrderedBy;
use maftia_base::wire::{Bytes, List, Wire};
use maftia_base::{Digest, Evidence, Fault, Party, Place, Statement, StatementKind};
use maftia_crypto::{
    Certificate, Code, CodedValue, Corrupt, Done, KeyId, RealSuite as Real, SignedShare, Suite,
    Work,
};
use maftia_fuzz::honest::{self, LIAR, N, work};
use maftia_fuzz::works::{Fragment, Fragments, Given, Vouched};
use maftia_fuzz::{acme, authority, corpus, files, wire_types};
use maftia_services::Service;
use maftia_services::ledger::Ledger;
use maftia_services::notary::Notary;
use maftia_services::x509::{CertificateStatus, to_pem};
use maftia_sim::Random;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

type Heads = maftia_agreement::atomic::Heads<Real>;

/// Longest sample of a type that is a part of something longer.
const PART_BYTES_MAX: usize = 600;

/// Longest sample.
const SAMPLE_BYTES_MAX: usize = 2_500;

/// Most samples of one type.
const SAMPLES_MAX: usize = 6;

fn write(name: &str, number: usize, bytes: &[u8]) {
    let folder = corpus(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join(format!("honest-{number}")), bytes).expect("written");
}

/// The encodings of a type that occur in what was said: whole, or as a part of something else. One
/// for each first byte, which tells the variants of most types apart.
fn samples<T: Wire>(traffic: &[Bytes]) -> Vec<Bytes> {
    let mut whole: BTreeMap<u8, Bytes> = BTreeMap::new();
    let mut parts: BTreeMap<u8, Bytes> = BTreeMap::new();
    for said in traffic {
        if said.len() <= SAMPLE_BYTES_MAX && !said.is_empty() && T::from_wire(said.clone()).is_ok()
        {
            let kept = whole.entry(said[0]).or_insert_with(|| said.clone());
            // Neither the shortest, which is mostly empty, nor the longest.
            if said.len() > kept.len() && said.len() <= PART_BYTES_MAX {
                *kept = said.clone();
            }
        }
        if whole.len() >= SAMPLES_MAX {
            break;
        }
        for start in 0..said.len().min(SAMPLE_BYTES_MAX) {
            let mut rest = said.slice(start..);
            if T::read_cfg(&mut rest, &()).is_err() {
                continue;
            }
            let part = said.slice(start..said.len() - rest.remaining());
            let longest = parts.get(&said[start]).map_or(0, Bytes::len);
            if (longest + 1..=PART_BYTES_MAX).contains(&part.len()) {
                parts.insert(part[0], part);
            }
        }
    }
    if whole.len() > 1 {
        return whole.into_values().take(SAMPLES_MAX).collect();
    }
    let mut longest: Vec<Bytes> = whole.into_values().chain(parts.into_values()).collect();
    longest.sort_by_key(|part| std::cmp::Reverse(part.len()));
    // What has one length has one form, mostly.
    longest.dedup_by_key(|part| part.len());
    longest.truncate(SAMPLES_MAX);
    longest
}

fn write_types(traffic: &[Bytes]) {
    macro_rules! each {
        ($($name:ident: $type:ty;)*) => { $(
            for (number, sample) in samples::<$type>(traffic).iter().enumerate() {
                write(stringify!($name), number, sample);
            }
        )* };
    }
    wire_types!(each);
}

/// The two votes of the liar for which it is convicted, and its bad share of a coin.
fn evidence() -> [Evidence; 2] {
    let sign = |value| {
        let statement =
            Statement::new(honest::scope(), StatementKind::Link, Place(1, 2), Digest([value; 32]));
        match work(Party::new(LIAR), Work::Sign(statement)) {
            Done::Signed(signed) => signed.to_evidence(),
            other => panic!("{other:?} is no signature"),
        }
    };
    let conflict = Evidence::Conflict(sign(1), sign(2));
    let name = honest::scope().child("coin", 0);
    let shares = coin_shares().into_iter().map(|Given { party, share }| (party, share)).collect();
    let Done::Coin { faults, .. } = work(Party::new(0), Work::CombineCoin { name, shares }) else {
        panic!("a coin was asked for")
    };
    let evidence = faults.into_iter().find_map(|Fault { evidence, .. }| evidence);
    [conflict, *evidence.expect("a bad share under a good signature")]
}

/// Honest shares of a coin, and the liar's.
fn coin_shares() -> Vec<Given<<Real as Suite>::CoinShare>> {
    let name = honest::scope().child("coin", 0);
    let share = |index: usize| -> SignedShare<Real, <Real as Suite>::CoinShare> {
        if index == LIAR {
            return Real::bad_coin_share(&honest::keyrings()[index], name);
        }
        match work(Party::new(index), Work::CoinShare(name)) {
            Done::CoinShare(share) => share,
            other => panic!("{other:?} is no share"),
        }
    };
    (0..N).rev().map(|index| Given { party: Party::new(index), share: share(index) }).collect()
}

fn signature_shares(with_proof: bool) -> Vec<Given<<Real as Suite>::SignatureShare>> {
    let (key, input) = (KeyId(0), honest::signing_input());
    let share = |index: usize| {
        if index == LIAR {
            let keyring = &honest::keyrings()[index];
            return Real::bad_signature_share(keyring, key, &input, with_proof);
        }
        let input = input.clone();
        match work(Party::new(index), Work::SignatureShare { key, input, with_proof }) {
            Done::SignatureShare(share) => share,
            other => panic!("{other:?} is no share"),
        }
    };
    (0..N).rev().map(|index| Given { party: Party::new(index), share: share(index) }).collect()
}

fn list<T, const MAX: usize>(items: Vec<T>) -> List<T, MAX> {
    List::new(items).expect("few")
}

/// What workers are given.
fn write_works() -> Vec<Bytes> {
    let mut traffic = Vec::new();
    for (number, evidence) in evidence().into_iter().enumerate() {
        let accusation = Accusation { culprit: Party::new(LIAR), evidence };
        write("evidence_against_somebody", number, &accusation.to_wire());
        traffic.push(accusation.to_wire());
        traffic.push(maftia_activity::Message::<Real>::Accusation(accusation.clone()).to_wire());
        traffic.push(maftia_activity::Record::<Real>::Convicted(accusation).to_wire());
    }
    let all: List<_, 64> = list(coin_shares());
    write("coin_shares", 0, &all.to_wire());
    let good: List<_, 64> = list(coin_shares().into_iter().skip(1).collect());
    write("coin_shares", 1, &good.to_wire());
    for with_proof in [false, true] {
        let shares: List<_, 64> = list(signature_shares(with_proof));
        write("signature_shares", usize::from(with_proof), &shares.to_wire());
        traffic.push(shares.to_wire());
    }
    let statement = Statement::new(
        honest::scope(),
        StatementKind::Link,
        Place(1, 1),
        Digest::of("maftia fuzz corpus", b"a certificate"),
    );
    let vote = |index| match work(Party::new(index), Work::Sign(statement)) {
        Done::Signed(signed) => (Party::new(index), signed),
        other => panic!("{other:?} is no signature"),
    };
    let certificate = Certificate::new((0..3).map(vote));
    write("certificate_votes", 0, &Vouched { statement, certificate }.to_wire());
    write("signed_input", 0, &honest::signing_input().to_wire());
    let value = CodedValue::new(vec![5; 700]).expect("short");
    let code = Code::new(N, 2).expect("two of four");
    let Done::Encoded(encoded) = work(Party::new(0), Work::Encode { code, value }) else {
        panic!("fragments were asked for")
    };
    let fragment = |(index, pieces): (usize, &Vec<_>)| Fragment {
        owner: Party::new(index),
        pieces: list(pieces.clone()),
    };
    let given = list(encoded.fragments.iter().enumerate().skip(2).map(fragment).collect());
    let commitment = encoded.commitment;
    write("coded_fragments", 0, &Fragments { commitment, given }.to_wire());
    traffic
}

/// What operators and tools write.
fn write_files() {
    let (public, servers) = honest::dealt();
    write("group_keys", 0, &public.to_file());
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    write("server_keys", 0, &servers[0].to_file(None, &mut rng));
    let encrypted = servers[1].to_file(Some(b"passphrase"), &mut rng);
    write("server_keys", 1, &encrypted);
    write("server_keys", 2, &encrypted[..60]);
    let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let group = NewGroup {
        name: "four".into(),
        servers: 4,
        host,
        base_port: 7000,
        key_bits: 2048,
        components: Vec::new(),
        ordered_by: OrderedBy::default(),
        authority: None,
    };
    let text = render(&group);
    write("group_toml", 0, text.as_bytes());
    let by_site = text
        .replace("threshold = 1", "alternatives = [{ site = 1 }]")
        .replace("# attributes", "attributes");
    write("group_toml", 1, by_site.as_bytes());
    let folder = std::env::temp_dir().join("maftia-fuzz-corpus");
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("file");
    maftia_node::begun::Begun::at(&path).note(7).expect("written");
    write("begun_file", 0, &std::fs::read(&path).expect("written"));
    let lost = maftia_node::lost::Lost::at(&path);
    lost.declare(maftia_activity::Nonce(Digest([9; 32]))).expect("written");
    write("lost_file", 0, &std::fs::read(&path).expect("written"));
    std::fs::remove_dir_all(&folder).expect("removed");
    let certificate = to_pem(&honest::profile().certificates()[0]).expect("in DER");
    write("certificates", 0, certificate.as_bytes());
    write("time_stamp_query", 0, &honest::query());
    http_requests();
    x509();
}

/// What an authority signs, and what it is asked.
fn x509() {
    let (issuer, serial, revoked) = (honest::issuer(), honest::serial(), honest::revoked());
    let leaf = honest::leaf();
    let list = issuer.crl(1, 1_800_000_000, 1_800_086_400, &[revoked]).expect("plain values");
    let status = CertificateStatus::Revoked { at: revoked.at, reason: revoked.reason };
    let response = issuer.ocsp(serial, status, 1_800_000_000, 1_800_086_400);
    for (number, unsigned) in
        [leaf.clone(), list, response.expect("plain values")].iter().enumerate()
    {
        write("x509_unsigned", number, &unsigned.to_wire());
    }
    write("x509_serial", 0, &serial.to_wire());
    write("x509_reason", 0, &revoked.reason.to_wire());
    write("x509_revoked", 0, &revoked.to_wire());
    write("x509_certificate_status", 0, &CertificateStatus::Good.to_wire());
    write("x509_certificate_status", 1, &status.to_wire());
    write("issuer_certificate", 0, issuer.certificate());
    write("issued_certificate", 0, &leaf.finish(&[1; 256]));
    write("ocsp_request", 0, &honest::ocsp_request_of(serial));
}

fn http_requests() {
    let mut post = format!(
        "POST / HTTP/1.1\r\nHost: here\r\nContent-Type: application/timestamp-query\r\n\
         Content-Length: {}\r\n\r\n",
        honest::query().len()
    )
    .into_bytes();
    post.extend(honest::query());
    write("http_port", 0, &post);
    let chunked = "POST /tsa HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\
                   Content-Type: application/timestamp-query\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    write("http_port", 1, chunked.as_bytes());
    for (number, page) in ["/status", "/metrics", "/healthz"].iter().enumerate() {
        let get = format!("GET {page} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
        write("http_port", 2 + number, get.as_bytes());
    }
}

/// States, tokens, and frames of a client.
fn write_states(group: &traffic::Group) {
    write("replica_snapshot", 0, &group.snapshot);
    let fresh = Replica::<Real, Service>::new(honest::services());
    write("replica_snapshot", 1, &fresh.snapshot());
    write("hybrid_snapshot", 0, &files::hybrid_replica().snapshot());
    use maftia_activity::StateMachine;
    write("notary_snapshot", 0, &Notary::new(honest::profile().clone()).snapshot());
    write("ledger_snapshot", 0, &Ledger::default().snapshot());
    for (number, body) in group.tokens.iter().take(2).enumerate() {
        write("time_stamp_token", number, body);
    }
    let mut visit = Vec::new();
    for bundle in &group.bundles {
        if visit.is_empty() {
            visit.extend(bundle.key.0);
            visit.extend(bundle.signature.0);
        }
        let frame = bundle.to_wire();
        visit.extend((frame.len() as u32).to_be_bytes());
        visit.extend(&frame);
    }
    write("client_port", 0, &visit);
    write("client_port", 1, &visit[..96]);
}

/// Scripts: nobody honest writes them, so they are chance of several lengths.
fn write_scripts() {
    let mut random = Random::new(1);
    let mut noise = |len: usize| (0..len).map(|_| random.below(256) as u8).collect::<Vec<u8>>();
    for (number, len) in [0, 6, 40, 150, 400, 900].into_iter().enumerate() {
        write("scripted_courses", number, &noise(len));
    }
    for (number, len) in [0, 70, 300, 1_200].into_iter().enumerate() {
        write("replica_among_liars", number, &noise(len));
        write("client_among_liars", number, &noise(len));
    }
    for (number, changes) in [0, 1, 2, 5].into_iter().enumerate() {
        write("altered_journal", number, &noise(6 * changes));
    }
}

/// What clients of the certification authority send.
fn write_requests() {
    let mut written: BTreeMap<&str, usize> = BTreeMap::new();
    for (target, bytes) in acme::honest().into_iter().chain(authority::honest()) {
        let number = written.entry(target).or_default();
        write(target, *number, &bytes);
        *number += 1;
    }
}

fn main() {
    let group = traffic::of_a_group();
    let mut said = traffic::of_all_protocols();
    said.extend(write_works());
    said.extend(traffic::of_a_transfer());
    said.extend(group.replies.iter().map(ReplyBundle::to_wire));
    said.extend(group.bundles.iter().map(Wire::to_wire));
    said.extend(group.tokens.iter().cloned());
    said.extend(group.said.iter().cloned());
    said.extend(authority::said());
    // Keys are the longest of all: they are looked for in their own file.
    said.push(honest::dealt().0.to_wire());
    println!("{} messages and records", said.len());
    write_types(&said);
    write_files();
    write_requests();
    write_states(&group);
    write_scripts();
}
