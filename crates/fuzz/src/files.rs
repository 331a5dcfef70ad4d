//! What operators, clients of front ends and peers hand to a server in one piece.

use crate::bounded;
use crate::honest;
use maftia::config;
use maftia_activity::{AgreedTime, ApplyContext, Caller, Replica, Reply, StateMachine};
use maftia_agreement::hybrid::{Life, Member, Members};
use maftia_base::wire::Bytes;
use maftia_base::{Digest, Party};
use maftia_crypto::{GroupKeys, KeyId, RealSuite, ServerKeys};
use maftia_node::begun::Begun;
use maftia_node::lost::Lost;
use maftia_services::ledger::Ledger;
use maftia_services::notary::{Notary, Profile};
use maftia_services::x509::{CertificateStatus, Issuer, Serial};
use maftia_services::x509::{from_pem, ocsp_serial, to_pem};
use maftia_services::{LEDGER, NOTARY, Service};
use maftia_ttcb_api::Host;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::path::Path;

/// A file of public keys: what is accepted is written the same way.
pub fn group_keys(bytes: &[u8]) {
    let Ok(keys) = GroupKeys::from_file(bytes) else { return };
    assert_eq!(keys.to_file(), bytes, "one set of keys has one file");
    let _ = (keys.digest(), format!("{keys:?}"));
    for key in keys.signature_keys() {
        assert!(keys.rsa(key).is_some(), "a key that is listed is there");
    }
}

/// A file of secret shares. An encrypted one is only opened where that fails before the key is
/// derived, which takes a tenth of a second on purpose; behind it is the same decoder.
pub fn server_keys(bytes: &[u8]) {
    let is_encrypted = ServerKeys::is_encrypted(bytes);
    if is_encrypted == Some(true) && bytes.len() < 73 {
        assert!(ServerKeys::from_file(bytes, Some(b"passphrase")).is_err(), "cut off");
    }
    let Ok(keys) = bounded(bytes.len(), || ServerKeys::from_file(bytes, None)) else { return };
    assert_eq!(is_encrypted, Some(false), "an encrypted file needs a passphrase");
    let mut rng = ChaCha20Rng::from_seed([0; 32]);
    let file = keys.to_file(None, &mut rng);
    // A number may be written with zeros in front; once read it has lost them.
    assert!(file.len() <= bytes.len(), "nothing is added");
    let again = ServerKeys::from_file(&file, None).expect("what is written can be read");
    assert_eq!(again.to_file(None, &mut rng), file);
    assert!(!format!("{keys:?}").contains(&format!("{:?}", keys.link_seed())), "no secrets");
}

/// An operator's `group.toml`: it is right, or the complaint names a line that is there.
pub fn group_toml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match config::parse(Path::new("group.toml"), text) {
        Ok(group) => drop((group.context(), format!("{group:?}"))),
        Err(error) => {
            assert!(error.line <= 1 + text.lines().count(), "{error}: there is no such line");
            assert!(!error.problem.is_empty() && !error.remedy.is_empty(), "{error}");
        }
    }
}

/// Writes `bytes` to a file, and reads it with `read`.
fn in_a_file<T>(bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    thread_local! {
        static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a folder");
    }
    FOLDER.with(|folder| {
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).expect("written");
        read(&path)
    })
}

/// The file that counts runs: a number, or damage.
pub fn begun_file(bytes: &[u8]) {
    in_a_file(bytes, |path| {
        let begun = Begun::at(path);
        if let Ok(run) = begun.run() {
            let run = run.expect("there is a file");
            begun.note(run).expect("written");
            assert_eq!(begun.run().expect("just written"), Some(run));
        }
    });
}

/// The file that declares a journal lost: a number, or damage.
pub fn lost_file(bytes: &[u8]) {
    in_a_file(bytes, |path| {
        let lost = Lost::at(path);
        if let Ok(nonce) = lost.nonce() {
            let nonce = nonce.expect("there is a file");
            lost.declare(nonce).expect("written");
            assert_eq!(lost.nonce().expect("just written"), Some(nonce));
        }
    });
}

/// The notary's certificates: whatever is accepted can be served.
pub fn certificates(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(certificates) = from_pem(text) else { return };
    for certificate in &certificates {
        let again = from_pem(&to_pem(certificate).expect("it came from there"));
        assert_eq!(again.expect("just written"), [&certificate[..]]);
    }
    let policy = honest::profile().policy();
    if let Ok(profile) = Profile::new(KeyId(0), policy, 0, certificates) {
        assert!(matches!(stamp(&profile, &honest::query()), Reply::Sign { .. }));
    }
}

fn stamp(profile: &Profile, query: &[u8]) -> Reply {
    let structure = honest::structure();
    let cx = ApplyContext {
        time: AgreedTime(1_795_264_496_078_900),
        batch_seed: Digest([9; 32]),
        service: NOTARY,
        caller: Caller::FrontEnd(Party::new(2)),
        position: 1,
        structure: &structure,
    };
    Notary::new(profile.clone()).apply(query, &cx)
}

/// A time-stamp query: what the front end lets pass the group signs, and what it refuses it does
/// not; a token that is signed can be encoded.
pub fn query(bytes: &[u8]) {
    let profile = honest::profile();
    let screened = bounded(bytes.len(), || profile.screen(bytes));
    match (screened, stamp(profile, bytes)) {
        (Ok(()), Reply::Sign { body, .. }) => {
            let response = profile.respond(body, &[1; 256]).expect("of its own making");
            assert_eq!(response.first(), Some(&0x30), "a sequence");
        }
        (Err(rejection), Reply::Plain(response)) => assert_eq!(rejection.response(), response),
        (screened, reply) => panic!("screened as {screened:?}, and yet {reply:?}"),
    }
}

/// What goes with a group's signature: a peer's word, when a front end joins the two.
pub fn token(bytes: &[u8]) {
    let _ = honest::profile().respond(Bytes::copy_from_slice(bytes), &[1; 256]);
}

/// The certificate of an issuing authority, as an operator names it: with what is accepted, lists
/// and responses can be made.
pub fn issuer_certificate(bytes: &[u8]) {
    let Ok(issuer) = bounded(bytes.len(), || Issuer::new(bytes)) else { return };
    assert_eq!(issuer.certificate(), bytes);
    let (first, last) = issuer.validity();
    let _ = (first, last, issuer.permits(&honest::identifier()));
    let list = issuer.crl(1, 0, 1, &[honest::revoked()]).expect("plain values");
    assert!(list.finish(&[1; 256]).starts_with(&[0x30]), "a sequence");
    let response = issuer.ocsp(honest::serial(), CertificateStatus::Good, 0, 1);
    assert!(response.expect("plain values").finish(&[1; 256]).starts_with(&[0x30]), "a sequence");
}

/// A certificate that a client wants to have revoked.
pub fn issued_certificate(bytes: &[u8]) {
    let Some(serial) = bounded(bytes.len(), || Serial::of_certificate(bytes)) else { return };
    let digits = serial.to_string();
    assert_eq!(Serial::from_hex(&digits), Some(serial));
    let holds = |integer: &[u8]| bytes.windows(integer.len()).any(|window| window == integer);
    assert!(holds(serial.integer()), "{digits} is not in it");
}

/// What an OCSP client asks: of our issuer and about one certificate, or a refusal.
pub fn ocsp_request(bytes: &[u8]) {
    match bounded(bytes.len(), || ocsp_serial(honest::issuer(), bytes)) {
        Ok(serial) => {
            let response = honest::issuer().ocsp(serial, CertificateStatus::Good, 0, 1);
            let response = response.expect("plain values");
            let id = honest::certificate_id(response.tbs());
            assert_eq!(ocsp_serial(honest::issuer(), &honest::ocsp_request(id)), Ok(serial));
        }
        Err(refusal) => assert_eq!(refusal.response().len(), 5, "a status and nothing else"),
    }
}

/// A group's state, as a server that fell behind gets it. Its digest is certified, so nobody needs
/// to refuse a list in another order; but what is taken is a state, which has one snapshot.
pub fn replica_snapshot(bytes: &[u8]) {
    snapshot(bytes, || Replica::new(honest::services()));
}

/// The same in the hybrid configuration, with the lives of trusted components.
pub fn hybrid_snapshot(bytes: &[u8]) {
    snapshot(bytes, hybrid_replica);
}

/// A server of a group of three with trusted components.
pub fn hybrid_replica() -> Replica<RealSuite, Service> {
    let life = Life { number: 1, key: [1; 32] };
    let member = |host| Member { host: Host(host), role: 0, guard: [host; 32], life };
    Replica::new(honest::services()).with_members(Members::new((0..3).map(member)))
}

fn snapshot(bytes: &[u8], start: impl Fn() -> Replica<RealSuite, Service>) {
    let (fresh, input) = (start(), Bytes::copy_from_slice(bytes));
    let Some(replica) = bounded(bytes.len(), || fresh.with_snapshot(input)) else { return };
    let snapshot = replica.snapshot();
    let again = start().with_snapshot(snapshot.clone()).expect("of its own making");
    assert_eq!(again.snapshot(), snapshot);
}

/// The notary's own part of it.
pub fn notary_snapshot(bytes: &[u8]) {
    let mut notary = Notary::new(honest::profile().clone());
    if notary.restore(Bytes::copy_from_slice(bytes)).is_some() {
        assert_eq!(notary.snapshot(), bytes);
    }
}

/// The ledger's, on which anything can then be entered.
pub fn ledger_snapshot(bytes: &[u8]) {
    let mut ledger = Ledger::default();
    if ledger.restore(Bytes::copy_from_slice(bytes)).is_none() {
        return;
    }
    assert_eq!(ledger.snapshot(), bytes);
    // Half of all numbers of entries are out of reach of any group.
    if ledger.entries < u64::MAX / 2 {
        let structure = honest::structure();
        let cx = ApplyContext {
            time: AgreedTime(1),
            batch_seed: Digest::default(),
            service: LEDGER,
            caller: Caller::Group,
            position: 1,
            structure: &structure,
        };
        assert!(matches!(ledger.apply(bytes, &cx), Reply::Plain(_)));
    }
}
