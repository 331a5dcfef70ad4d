//! A stock client: the system's `openssl`, in a directory of its own; and a key without a group.

use crate::notary::{CertificateTemplate, Notary, Profile, to_pem};
use maftia_activity::{AgreedTime, ApplyContext, Caller, Reply, StateMachine};
use maftia_base::{AdversaryStructure, Digest, Party, ServiceId};
use maftia_crypto::{HashAlgorithm, KeyId, SigningInput};
use openssl::pkey::Private;
use openssl::rsa::{Padding, Rsa};
use std::process::Command;
use std::sync::{LazyLock, OnceLock};

pub(crate) const POLICY: &str = "1.3.6.1.4.1.32473.1";
/// 2026-11-21 12:34:56.0789 UTC.
pub(crate) const TIME: AgreedTime = AgreedTime(1_795_264_496_078_900);

static KEY: LazyLock<Rsa<Private>> = LazyLock::new(|| Rsa::generate(2048).unwrap());
static PUBLIC_KEY: LazyLock<Vec<u8>> = LazyLock::new(|| KEY.public_key_to_der().unwrap());
static STRUCTURE: LazyLock<AdversaryStructure> =
    LazyLock::new(|| AdversaryStructure::optimal(4).unwrap());

pub(crate) fn template() -> CertificateTemplate<'static> {
    CertificateTemplate {
        common_name: "Demonstration notary",
        organization: "An example",
        not_before: 1_700_000_000,
        not_after: 2_200_000_000,
        serial: [5; 16],
        public_key: &PUBLIC_KEY,
    }
}

/// Modulus and exponent.
pub(crate) fn public_numbers() -> (Vec<u8>, Vec<u8>) {
    (KEY.n().to_vec(), KEY.e().to_vec())
}

pub(crate) fn profile() -> Profile {
    static PROFILE: OnceLock<Profile> = OnceLock::new();
    PROFILE
        .get_or_init(|| {
            let unsigned = template().self_signed().unwrap();
            let signature = rsa_sign(&unsigned.signing_input());
            let certificate = unsigned.finish(&signature).unwrap();
            Profile::new(KeyId(3), POLICY.parse().unwrap(), 1_500_000, vec![certificate]).unwrap()
        })
        .clone()
}

/// What the group does together: PKCS #1 version 1.5.
pub(crate) fn rsa_sign(input: &SigningInput) -> Vec<u8> {
    assert_eq!(input.hash, HashAlgorithm::Sha256);
    let mut info =
        b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20".to_vec();
    info.extend_from_slice(&input.digest);
    let mut signature = vec![0; 256];
    KEY.private_encrypt(&info, &mut signature, Padding::PKCS1).unwrap();
    signature
}

pub(crate) fn context(position: u64, time: AgreedTime) -> ApplyContext<'static> {
    ApplyContext {
        time,
        batch_seed: Digest([0xab; 32]),
        service: ServiceId(0),
        caller: Caller::FrontEnd(Party::new(0)),
        position,
        structure: &STRUCTURE,
    }
}

pub(crate) struct Client {
    directory: tempfile::TempDir,
}

impl Client {
    pub(crate) fn new() -> Self {
        let client = Self { directory: tempfile::tempdir().unwrap() };
        client.write("file", b"what is to be stamped");
        client.write("tsa.pem", to_pem(&profile().certificates()[0]).unwrap().as_bytes());
        client
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.directory.path().join(name), bytes).unwrap();
    }

    /// Runs `openssl`; answers what it says, as `Err` if it fails.
    pub(crate) fn openssl(&self, arguments: &[&str]) -> Result<String, String> {
        let run = Command::new("openssl")
            .args(arguments)
            .current_dir(self.directory.path())
            .output()
            .expect("these tests need the system's openssl");
        let said = [run.stdout, run.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if run.status.success() { Ok(said) } else { Err(said) }
    }

    /// A query about `file`, kept as `query.tsq`.
    pub(crate) fn query(&self, options: &[&str]) -> Vec<u8> {
        let command = ["ts", "-query", "-data", "file", "-out", "query.tsq"];
        self.openssl(&[&command, options].concat()).unwrap();
        std::fs::read(self.directory.path().join("query.tsq")).unwrap()
    }

    /// Has a query granted and signed; the response is kept as `reply.tsr`.
    pub(crate) fn stamp(&self, query: &[u8]) -> Vec<u8> {
        let reply = Notary::new(profile()).apply(query, &context(7, TIME));
        let Reply::Sign { key, input, body } = reply else { panic!("the query is granted") };
        assert_eq!(key, KeyId(3));
        let response = profile().respond(body, &rsa_sign(&input)).unwrap();
        self.write("reply.tsr", &response);
        response
    }

    /// Verifies `reply.tsr` against `query.tsq`.
    pub(crate) fn try_verify(&self, options: &[&str]) -> Result<String, String> {
        let command =
            ["ts", "-verify", "-queryfile", "query.tsq", "-in", "reply.tsr", "-CAfile", "tsa.pem"];
        self.openssl(&[&command, options].concat())
    }

    pub(crate) fn verify(&self, options: &[&str]) {
        let said = self.try_verify(options).unwrap();
        assert!(said.contains("Verification: OK"), "{said}");
    }

    /// `reply.tsr` as text.
    pub(crate) fn text(&self) -> String {
        self.openssl(&["ts", "-reply", "-in", "reply.tsr", "-text"]).unwrap()
    }
}
