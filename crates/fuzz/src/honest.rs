//! Four honest servers with keys of production, and what they have to say: targets are measured
//! against it, and the corpus is made of it.

use maftia_activity::{Ask, ClientBundle};
use maftia_base::time::Reading;
use maftia_base::wire::{Blob, Bytes, List};
use maftia_base::{
    AdversaryStructure, Digest, Epoch, Formula, Group, GroupId, Party, Scope, ServiceId,
};
use maftia_crypto::ideal::{self, IdealClient, IdealKeyring};
use maftia_crypto::{
    Claim, Done, GroupKeys, HashAlgorithm, KeyId, RealKeyring, RealSuite, ServerKeys, SigningInput,
    Suite, Work, fixture,
};
use maftia_services::Service;
use maftia_services::ca::Identifier;
use maftia_services::notary::{CertificateTemplate, Profile};
use maftia_services::x509::{
    Authority, CertificateStatus, DOMAIN_VALIDATED, IpRange, Issuer, Leaf, NameConstraints, Reason,
    Revoked, Serial, Subject, Unsigned, Usage, rsa_public_key,
};
use std::collections::BTreeSet;
use std::sync::OnceLock;

/// Number of servers.
pub const N: usize = 4;

/// Seed of all keys.
const SEED: u64 = 1;

/// The only one who ever did wrong: what it signed twice is in the corpus, and so is a bad share.
pub const LIAR: usize = N - 1;

/// Who may be corrupt: any one.
pub fn structure() -> AdversaryStructure {
    AdversaryStructure::optimal(N).expect("well-formed")
}

/// The group, as each server sees it.
pub fn groups() -> Vec<Group> {
    let group = |index| Group::new(GroupId::default(), Epoch(0), Party::new(index), structure());
    (0..N).map(group).collect()
}

/// The group's root scope.
pub fn scope() -> Scope {
    Scope::root(GroupId::default(), Epoch(0))
}

/// The keys as they are dealt: one RSA key of 2048 bits, called 0.
pub fn dealt() -> (GroupKeys, Vec<ServerKeys>) {
    fixture::dealt(&structure(), &Formula::exact(&structure()), SEED)
}

/// The servers' keyrings.
pub fn keyrings() -> &'static [RealKeyring] {
    static KEYRINGS: OnceLock<Vec<RealKeyring>> = OnceLock::new();
    KEYRINGS.get_or_init(|| fixture::keyrings(&structure(), &Formula::exact(&structure()), SEED))
}

/// Keyrings of the suite for simulations.
pub fn ideal_keyrings() -> Vec<IdealKeyring> {
    ideal::keyrings(&structure(), &Formula::exact(&structure()), SEED)
}

/// A client whose signatures those accept.
pub fn ideal_client() -> IdealClient {
    ideal::client(SEED, 1)
}

/// Has server `party` do a piece of work.
pub fn work(party: Party, piece: Work<RealSuite>) -> Done<RealSuite> {
    RealSuite::run_many(vec![piece], &keyrings()[party.index()], Reading(0)).remove(0)
}

/// The coin of this name, as all servers together make it.
pub fn coin(name: Scope) -> Digest {
    let share = |index| match work(Party::new(index), Work::CoinShare(name)) {
        Done::CoinShare(share) => (Party::new(index), share),
        other => panic!("{other:?} is no share of a coin"),
    };
    let shares = (0..N).map(share).collect();
    match work(Party::new(0), Work::CombineCoin { name, shares }) {
        Done::Coin { value: Some(value), .. } => value,
        other => panic!("{other:?} is no coin"),
    }
}

/// Something that the group signs.
pub fn signing_input() -> SigningInput {
    SigningInput { hash: HashAlgorithm::Sha256, digest: Blob::new(vec![7; 32]).expect("short") }
}

/// The group's signature.
pub fn signature(input: &SigningInput) -> Bytes {
    let share = |index| {
        let (key, input) = (KeyId(0), input.clone());
        match work(Party::new(index), Work::SignatureShare { key, input, with_proof: false }) {
            Done::SignatureShare(share) => (Party::new(index), share),
            other => panic!("{other:?} is no share of a signature"),
        }
    };
    let shares = (0..2).map(share).collect();
    let piece = Work::CombineSignature { key: KeyId(0), input: input.clone(), shares };
    match work(Party::new(0), piece) {
        Done::Signature { signature: Some(signature), .. } => signature,
        other => panic!("{other:?} is no signature"),
    }
}

/// Is this what the server signs when it is asked to sign that? Signatures are deterministic.
pub fn would_sign(claim: &Claim<RealSuite>) -> bool {
    match work(claim.party, Work::Sign(claim.statement)) {
        Done::Signed(signed) => signed.signature == claim.signature,
        other => panic!("{other:?} is no signature"),
    }
}

/// The notary's settings, with a certificate under the group's key.
pub fn profile() -> &'static Profile {
    static PROFILE: OnceLock<Profile> = OnceLock::new();
    PROFILE.get_or_init(|| {
        let (modulus, exponent) = dealt().0.rsa(KeyId(0)).expect("dealt");
        let template = CertificateTemplate {
            common_name: "Four servers",
            organization: "An example",
            not_before: 1_700_000_000,
            not_after: 2_200_000_000,
            serial: [1; 16],
            public_key: &rsa_public_key(&modulus, &exponent).expect("a key"),
        };
        let unsigned = template.self_signed().expect("well-formed");
        let signature = signature(&unsigned.signing_input());
        let certificate = unsigned.finish(&signature);
        let policy = "1.3.6.1.4.1.32473.1".parse().expect("an object identifier");
        Profile::new(KeyId(0), policy, 1_000_000, vec![certificate]).expect("for time stamping")
    })
}

/// A number that the authority gave.
pub fn serial() -> Serial {
    Serial::new([0x5a; 16]).expect("positive")
}

/// Of a certificate that is not to be believed any more.
pub fn revoked() -> Revoked {
    Revoked { serial: serial(), at: 1_800_000_000, reason: Reason::KeyCompromise }
}

/// A host that the authority may vouch for.
pub fn identifier() -> Identifier {
    Identifier::from_acme("dns", "www.example.org").expect("a name")
}

/// An authority, with a certificate under the group's key.
pub fn issuer() -> &'static Issuer {
    static ISSUER: OnceLock<Issuer> = OnceLock::new();
    ISSUER.get_or_init(|| {
        let (modulus, exponent) = dealt().0.rsa(KeyId(0)).expect("dealt");
        let ranges: [IpRange; 1] = ["192.0.2.0/24".parse().expect("a range")];
        let template = Authority {
            subject: Subject {
                country: Some("CH"),
                organization: "An example",
                common_name: "Four servers",
            },
            serial: serial(),
            public_key: &rsa_public_key(&modulus, &exponent).expect("a key"),
            not_before: 1_700_000_000,
            not_after: 2_200_000_000,
            path_len: Some(0),
            names: Some(&NameConstraints::permitting(&["example.org"], &ranges).expect("names")),
        };
        let unsigned = template.self_signed().expect("well-formed");
        let signature = signature(&unsigned.signing_input());
        Issuer::new(&unsigned.finish(&signature)).expect("an authority")
    })
}

/// A certificate that it issues, without its signature.
pub fn leaf() -> Unsigned {
    let leaf = Leaf {
        serial: serial(),
        names: &BTreeSet::from([identifier()]),
        public_key: &rsa_public_key(&[0xc5; 256], &[1, 0, 1]).expect("a key"),
        not_before: 1_800_000_000,
        not_after: 1_807_775_999,
        usage: Usage::Both,
        must_staple: true,
        crl_url: "http://ca.example.org/crl/issuing.crl",
        ocsp_url: "http://ca.example.org/ocsp",
        issuer_url: "http://ca.example.org/ca/issuing.cer",
        policy: DOMAIN_VALIDATED,
    };
    issuer().leaf(&leaf).expect("well-formed")
}

/// About which certificate an OCSP response is: its `CertID`, which begins with its hash.
pub fn certificate_id(response: &[u8]) -> &[u8] {
    const SHA_1: [u8; 11] = [0x30, 9, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0];
    let found = response.windows(SHA_1.len()).position(|window| window == SHA_1);
    let start = found.expect("SHA-1 is named") - 2;
    &response[start..start + 2 + usize::from(response[start + 1])]
}

/// What `openssl ocsp -no_nonce` asks about one certificate.
pub fn ocsp_request(id: &[u8]) -> Vec<u8> {
    // Four sequences, each with nothing but the next.
    (0..4).fold(id.to_vec(), |inner, _| [&[0x30, inner.len() as u8], &inner[..]].concat())
}

/// The same about the certificate of this number.
pub fn ocsp_request_of(serial: Serial) -> Vec<u8> {
    let response = issuer().ocsp(serial, CertificateStatus::Good, 0, 1).expect("plain values");
    ocsp_request(certificate_id(response.tbs()))
}

/// All services.
pub fn services() -> [(ServiceId, Service); 2] {
    maftia_services::all(profile().clone())
}

/// What `openssl ts -query` sends for a SHA-256 digest, with a nonce, wanting the certificate.
pub fn query() -> Vec<u8> {
    let mut query = vec![0x30, 0x43, 0x02, 0x01, 0x01];
    query.extend([0x30, 0x31, 0x30, 0x0d, 0x06, 0x09]);
    query.extend([0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20]);
    query.extend([7; 32]);
    query.extend([0x02, 0x08, 0x12, 0x34, 0x56, 0x78, 0x12, 0x34, 0x56, 0x78]);
    query.extend([0x01, 0x01, 0xff]);
    query[1] = (query.len() - 2) as u8;
    query
}

/// A bundle of the client of the simulations, for one of the services.
pub fn bundle(service: ServiceId, ask: Ask) -> ClientBundle {
    let client = ideal_client();
    let sign = |statement: &_| client.sign(statement);
    ClientBundle::signed(GroupId::default(), service, ask, client.key(), sign)
}

/// What asks for a session.
pub fn opening() -> Ask {
    Ask::Open { nonce: 5, home: Party::new(0) }
}

/// What asks for `count` things in the session of this number.
pub fn requests(session: u64, first: u64, count: usize) -> Ask {
    let request = Blob::new(query()).expect("short");
    Ask::Requests {
        session: maftia_activity::SessionId(session),
        first,
        acknowledged: 0,
        requests: List::new(vec![request; count]).expect("few"),
    }
}
