//! A stock client: the system's `openssl`, in a directory of its own; and a key without a group.

use crate::notary::{CertificateTemplate, Notary, Profile};
use crate::x509::tests::stock::{Folder, Key};
use crate::x509::to_pem;
use maftia_activity::{AgreedTime, ApplyContext, Caller, Reply, StateMachine};
use maftia_base::{AdversaryStructure, Digest, Party, ServiceId};
use maftia_crypto::{KeyId, SigningInput};
use std::sync::{LazyLock, OnceLock};

pub(crate) const POLICY: &str = "1.3.6.1.4.1.32473.1";
/// 2026-11-21 12:34:56.0789 UTC.
pub(crate) const TIME: AgreedTime = AgreedTime(1_795_264_496_078_900);

static KEY: LazyLock<Key> = LazyLock::new(Key::generate);
static PUBLIC_KEY: LazyLock<Vec<u8>> = LazyLock::new(|| KEY.public_key());
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

pub(crate) fn profile() -> Profile {
    static PROFILE: OnceLock<Profile> = OnceLock::new();
    PROFILE
        .get_or_init(|| {
            let unsigned = template().self_signed().unwrap();
            let signature = rsa_sign(&unsigned.signing_input());
            let certificate = unsigned.finish(&signature);
            Profile::new(KeyId(3), POLICY.parse().unwrap(), 1_500_000, vec![certificate]).unwrap()
        })
        .clone()
}

/// What the group does together.
pub(crate) fn rsa_sign(input: &SigningInput) -> Vec<u8> {
    KEY.sign(input)
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
    folder: Folder,
}

impl Client {
    pub(crate) fn new() -> Self {
        let client = Self { folder: Folder::new() };
        client.write("file", b"what is to be stamped");
        client.write("tsa.pem", to_pem(&profile().certificates()[0]).unwrap().as_bytes());
        client
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        self.folder.write(name, bytes);
    }

    pub(crate) fn openssl(&self, arguments: &[&str]) -> Result<String, String> {
        self.folder.openssl(arguments)
    }

    /// A query about `file`, kept as `query.tsq`.
    pub(crate) fn query(&self, options: &[&str]) -> Vec<u8> {
        let command = ["ts", "-query", "-data", "file", "-out", "query.tsq"];
        self.openssl(&[&command, options].concat()).unwrap();
        self.folder.read("query.tsq")
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
