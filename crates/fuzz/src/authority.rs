//! The certification authority: what clients, front ends, officers and servers hand to it, and what
//! it is restored from.

use crate::bounded;
use crate::honest;
use maftia_activity::{
    AgreedTime, ApplyContext, Caller, Reply, SessionId, StateMachine, TASK_BYTES_MAX, TaskId,
    ToSign,
};
use maftia_base::wire::{Blob, Bytes, Wire};
use maftia_base::{AdversaryStructure, Digest, Party};
use maftia_crypto::{ClientKey, KeyId};
use maftia_services::CA;
use maftia_services::ca::jose::{base64url, flattened};
use maftia_services::ca::{
    AcmeReply, Authority, BODY_BYTES_MAX, CaAnswer, CaQuery, CaRead, CaRequest, Limits, NameRules,
    Nonce, NonceKey, OfficerCommand, Officers, Periods, Policy, Profile, STATE_BYTES_MAX, Settings,
    VALIDATED,
};
use maftia_services::x509::{DOMAIN_VALIDATED, Usage};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::sync::OnceLock;

const BASE: &str = "https://ca.example.org";

/// 2027-01-15, within the certificate of [`honest::issuer`].
const NOW: u64 = 1_800_000_000;

/// The only officer.
const OFFICER: ClientKey = ClientKey([5; 32]);

/// Where something can be asked of the authority in [`world`].
const PATHS: [&str; 13] = [
    "/acme/new-order",
    "/acme/new-account",
    "/acme/key-change",
    "/acme/revoke-cert",
    "/acme/account/0",
    "/acme/account/0/orders",
    "/acme/order/0",
    "/acme/order/0/finalize",
    "/acme/order/1/finalize",
    "/acme/authz/0",
    "/acme/authz/1",
    "/acme/challenge/1/http-01",
    "/acme/certificate/00000000000000010000000000000001",
];

/// An authority with an account that has a ready order, an order that waits for officers, a pending
/// one, and a certificate.
#[derive(Clone)]
struct World {
    authority: Authority,
    structure: AdversaryStructure,
    position: u64,
    /// What was said on the way.
    requests: Vec<(&'static str, Vec<u8>)>,
    said: Vec<Bytes>,
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("32 bytes are a seed")
}

fn public(pair: &Ed25519KeyPair) -> [u8; 32] {
    pair.public_key().as_ref().try_into().expect("32 bytes")
}

fn sign(pair: &Ed25519KeyPair, message: &[u8]) -> [u8; 64] {
    pair.sign(message).as_ref().try_into().expect("64 bytes")
}

/// The client's key.
const CLIENT: u8 = 1;
/// The key that the servers sign nonces with, for brevity one for all of them.
const SERVER: u8 = 2;

fn policy() -> &'static Policy {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    POLICY.get_or_init(|| {
        let certificate = honest::issuer().certificate().to_vec();
        let names = |suffix: &str| NameRules { dns: vec![suffix.to_owned()], ips: Vec::new() };
        let settings = Settings {
            base: BASE.to_owned(),
            plain_base: "http://ca.example.org".to_owned(),
            key: KeyId(0),
            issuing: certificate.clone(),
            root: certificate,
            nonce_keys: vec![NonceKey(public(&pair(SERVER))); honest::N],
            profiles: vec![Profile {
                name: "web".to_owned(),
                description: "of hosts".to_owned(),
                usage: Usage::Both,
                policy: DOMAIN_VALIDATED,
                seconds: 90 * 86_400,
                names: NameRules::everything(),
            }],
            default_profile: "web".to_owned(),
            terms_of_service: None,
            website: None,
            caa_identities: Vec::new(),
            external_account_required: false,
            external_accounts: Vec::new(),
            limits: Limits {
                accounts_per_hour: 100,
                orders_per_hour: 100,
                pending_authorizations: 100,
                certificates_per_week: 100,
                names: 100,
            },
            officers: Officers { needed: 1, keys: vec![OFFICER], names: names("bank.example.org") },
            periods: Periods {
                order: 7 * 86_400,
                authorization: 30 * 86_400,
                validation: 600,
                crl: 86_400,
                ocsp: 4 * 86_400,
            },
            dates_allowed: true,
            single_labels_allowed: false,
        };
        Policy::new(settings, &honest::structure()).expect("it can be kept")
    })
}

impl World {
    fn new() -> Self {
        Self {
            authority: Authority::new(policy().clone()),
            structure: honest::structure(),
            position: 0,
            requests: Vec::new(),
            said: Vec::new(),
        }
    }

    fn step<T>(
        &mut self,
        caller: Caller,
        step: impl FnOnce(&mut Authority, &ApplyContext<'_>) -> T,
    ) -> T {
        self.position += 1;
        let cx = ApplyContext {
            time: AgreedTime(NOW * 1_000_000),
            batch_seed: Digest([9; 32]),
            service: CA,
            caller,
            position: self.position,
            structure: &self.structure,
        };
        step(&mut self.authority, &cx)
    }

    fn apply(&mut self, caller: Caller, request: &[u8]) -> Bytes {
        match self.step(caller, |authority, cx| authority.apply(request, cx)) {
            Reply::Plain(reply) => reply,
            Reply::Sign { .. } => panic!("nothing is signed for a request"),
        }
    }

    fn post_body(&mut self, path: &str, body: &[u8]) -> AcmeReply {
        let request = CaRequest::Acme {
            path: Blob::new(path.as_bytes().to_vec()).expect("short"),
            body: Blob::new(body.to_vec()).expect("callers see to it"),
        };
        let (request, caller) = (request.to_wire(), Caller::FrontEnd(Party::new(0)));
        let reply = self.apply(caller, &request);
        self.said.extend([request, reply.clone()]);
        AcmeReply::from_wire(reply).expect("of the authority's own making")
    }

    /// Posts what the client signs.
    fn post(&mut self, path: &'static str, payload: &[u8]) -> AcmeReply {
        let number = self.requests.len() as u8;
        self.requests.push((path, payload.to_vec()));
        let body = signed(path, payload, number);
        self.post_body(path, &body)
    }

    fn validate(&mut self) {
        for task in self.authority.tasks() {
            self.said.push(task.what.bytes().clone());
            for server in 0..honest::N {
                let party = Party::new(server);
                self.step(Caller::Server(party), |authority, cx| {
                    authority.task_result(party, task.id, VALIDATED, cx);
                });
            }
        }
    }

    fn sign(&mut self) {
        while let Some(ToSign { id, input, .. }) = self.authority.to_sign().into_iter().next() {
            let signature = honest::signature(&input);
            self.step(Caller::Group, |authority, cx| authority.signed(id, &signature, cx));
        }
    }

    fn check(&self) {
        let snapshot = self.authority.snapshot();
        assert!(snapshot.len() < STATE_BYTES_MAX);
        let mut again = Authority::new(policy().clone());
        again.restore(snapshot.clone()).expect("of its own making");
        assert_eq!(again.snapshot(), snapshot);
        assert_eq!(again.wake_at(), self.authority.wake_at());
        assert_eq!(again.tasks(), self.authority.tasks());
    }
}

/// What the client signs for this path, with a nonce of its own for each number.
fn signed(path: &str, payload: &[u8], number: u8) -> Vec<u8> {
    let at = NOW - u64::from(number);
    let nonce = Nonce::signed(BASE, Party::new(1), at, [number; 16], |message| {
        sign(&pair(SERVER), message)
    });
    let key = match path {
        "/acme/new-account" => {
            let x = base64url::encode(&public(&pair(CLIENT)));
            format!(r#""jwk":{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#)
        }
        _ => format!(r#""kid":"{BASE}/acme/account/0""#),
    };
    let nonce = nonce.text();
    let header = format!(r#"{{"alg":"EdDSA",{key},"nonce":"{nonce}","url":"{BASE}{path}"}}"#);
    flattened(header.as_bytes(), payload, |message| sign(&pair(CLIENT), message).to_vec())
}

/// A request for a certificate for `www.example.org` with an Ed25519 key, in DER.
fn csr() -> Vec<u8> {
    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = match content.len() {
            short @ 0..=0x7f => vec![short as u8],
            long => vec![0x81, u8::try_from(long).expect("not that long")],
        };
        [&[tag], &length[..], content].concat()
    }
    let pair = pair(3);
    let algorithm = tlv(0x30, &[6, 3, 0x2b, 0x65, 0x70]);
    let key = tlv(3, &[&[0], &public(&pair)[..]].concat());
    let key = tlv(0x30, &[&algorithm[..], &key].concat());
    let names = tlv(4, &tlv(0x30, &tlv(0x82, b"www.example.org")));
    let extension = tlv(0x30, &[&[6, 3, 0x55, 0x1d, 0x11], &names[..]].concat());
    let wishes = tlv(0x31, &tlv(0x30, &extension));
    let oid = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
    let attributes = tlv(0xa0, &tlv(0x30, &[&oid[..], &wishes].concat()));
    let info = tlv(0x30, &[&[2, 1, 0, 0x30, 0], &key[..], &attributes].concat());
    let signature = tlv(3, &[&[0], &sign(&pair, &info)[..]].concat());
    tlv(0x30, &[&info[..], &algorithm, &signature].concat())
}

/// An order for these names, as a client writes it.
fn order(names: &[&str]) -> Vec<u8> {
    let name = |name: &&str| format!(r#"{{"type":"dns","value":"{name}"}}"#);
    let names: Vec<String> = names.iter().map(name).collect();
    format!(r#"{{"identifiers":[{}],"profile":"web"}}"#, names.join(",")).into_bytes()
}

/// The world in which all is tried: made once, with keys of production.
fn world() -> World {
    static MADE: OnceLock<World> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let mut world = World::new();
        world.step(Caller::Group, |authority, cx| authority.wake(cx));
        world.sign();
        let contact = br#"{"contact":["mailto:a@example.org"],"termsOfServiceAgreed":true}"#;
        assert_eq!(world.post("/acme/new-account", contact).status, 201);
        let finalize = format!(r#"{{"csr":"{}"}}"#, base64url::encode(&csr())).into_bytes();
        assert_eq!(world.post("/acme/new-order", &order(&["www.example.org"])).status, 201);
        assert_eq!(world.post("/acme/challenge/0/http-01", b"{}").status, 200);
        world.validate();
        assert_eq!(world.post("/acme/order/0/finalize", &finalize).status, 200);
        world.sign();
        // Ready at once, pending, and one for officers.
        for names in [&["www.example.org"][..], &["a.example.org", "b.example.org"]] {
            assert_eq!(world.post("/acme/new-order", &order(names)).status, 201);
        }
        assert_eq!(world.post("/acme/new-order", &order(&["bank.example.org"])).status, 201);
        world.post("/acme/authz/1", b"");
        world
    });
    made.clone()
}

/// A body that anybody posts: without a good signature it leaves no trace.
pub fn body(bytes: &[u8]) {
    let Some((choice, body)) = bytes.split_first() else { return };
    if body.len() > BODY_BYTES_MAX {
        return;
    }
    let mut world = world();
    let before = world.authority.snapshot();
    let reply =
        bounded(64 << 10, || world.post_body(PATHS[usize::from(*choice) % PATHS.len()], body));
    if world.authority.snapshot() != before {
        // Then it is one of those that the client did sign, and its nonce is spent.
        let again = world.post_body(PATHS[usize::from(*choice) % PATHS.len()], body);
        assert_eq!(again.status, 400, "{reply:?}");
    }
    world.check();
}

/// What the client signs, whatever it asks for: it is granted or refused, and the state is one that
/// can be given away.
pub fn payload(bytes: &[u8]) {
    let Some((choice, payload)) = bytes.split_first() else { return };
    let path = PATHS[usize::from(*choice) % PATHS.len()];
    let body = signed(path, payload, 0xff);
    if body.len() > BODY_BYTES_MAX {
        return;
    }
    let mut world = world();
    let reply = world.post_body(path, &body);
    assert!((200..=599).contains(&reply.status));
    world.validate();
    world.sign();
    world.check();
    let again = world.post_body(path, &body);
    assert_eq!(again.status, 400, "its nonce is spent: {again:?}");
}

/// Whatever is ordered for the authority, on whoever's behalf.
pub fn ordered(bytes: &[u8]) {
    for caller in [
        Caller::FrontEnd(Party::new(0)),
        Caller::Client { key: OFFICER, session: SessionId(1) },
        Caller::Server(Party::new(1)),
        Caller::Group,
    ] {
        let mut world = world();
        let reply = world.apply(caller, bytes);
        let is_acme = AcmeReply::from_wire(reply.clone()).is_ok();
        assert!(is_acme || CaAnswer::from_wire(reply).is_ok(), "an answer");
        world.sign();
        world.check();
    }
}

/// What servers say about tasks, and what is said to be signed.
pub fn reported(bytes: &[u8]) {
    let Some((id, result)) = bytes.split_first_chunk::<8>() else { return };
    let (id, mut world) = (TaskId(u64::from_be_bytes(*id)), world());
    assert_eq!(world.post("/acme/challenge/1/http-01", b"{}").status, 200);
    for party in (0..honest::N).map(Party::new) {
        let result = &result[..result.len().min(TASK_BYTES_MAX)];
        world.step(Caller::Server(party), |authority, cx| {
            authority.task_result(party, id, result, cx);
        });
    }
    world.step(Caller::Group, |authority, cx| authority.signed(id, result, cx));
    world.check();
}

/// What one server is asked alone.
pub fn read(bytes: &[u8]) {
    let world = world();
    let is_question = CaRead::from_wire(Bytes::copy_from_slice(bytes)).is_ok();
    let answer = bounded(64 << 10, || world.authority.read(bytes));
    assert_eq!(answer.is_some(), is_question);
    if let Some(answer) = answer {
        assert!(CaAnswer::from_wire(answer).is_ok(), "an answer");
    }
}

/// What a server that fell behind gets.
pub fn snapshot(bytes: &[u8]) {
    let (mut authority, input) = (Authority::new(policy().clone()), Bytes::copy_from_slice(bytes));
    if bounded(bytes.len(), || authority.restore(input)).is_some() {
        assert_eq!(authority.snapshot(), bytes);
        assert!(authority.read(&CaRead::Crl.to_wire()).is_some());
    }
}

/// What a server says that its operator has written.
pub fn settings(bytes: &[u8]) {
    if let Some(settings) = bounded(bytes.len(), || Settings::decoded(bytes)) {
        let again = settings.encoded().expect("it fits, as it did");
        assert_eq!(&again[..], bytes, "one value has one encoding");
        // Whether it makes a policy or not, it is found out.
        let _ = Policy::new(settings, &honest::structure());
    }
}

/// What honest ones send: the target that it is for, and the bytes.
pub fn honest() -> Vec<(&'static str, Vec<u8>)> {
    let world = world();
    let mut honest = vec![("ca_snapshot", world.authority.snapshot().to_vec())];
    for (path, request) in &world.requests {
        let Some(choice) = PATHS.iter().position(|known| known == path) else { continue };
        let chosen = |rest: &[u8]| [&[choice as u8], rest].concat();
        honest.push(("acme_payload", chosen(request)));
        honest.push(("acme_body", chosen(&signed(path, request, 0xfe))));
    }
    let finalize = format!(r#"{{"csr":"{}"}}"#, base64url::encode(&csr()));
    honest.push(("acme_payload", [&[8], finalize.as_bytes()].concat()));
    honest.push(("acme_payload", [&[9], &br#"{"status":"deactivated"}"#[..]].concat()));
    let certificate = base64url::encode(&honest::leaf().finish(&[1; 256]));
    let revoke = format!(r#"{{"certificate":"{certificate}","reason":1}}"#);
    honest.push(("acme_payload", [&[3], revoke.as_bytes()].concat()));
    let tasks = pending_tasks();
    for (id, _) in &tasks {
        honest.push(("ca_reported", [&id.0.to_be_bytes()[..], VALIDATED].concat()));
    }
    let (question, _) = tasks.last().expect("it is always asked");
    let policy = policy().encoded();
    honest.push(("ca_reported", [&question.0.to_be_bytes()[..], policy].concat()));
    honest.push(("ca_settings", policy.to_vec()));
    for read in reads() {
        honest.push(("ca_read", read.to_wire().to_vec()));
    }
    for request in requests() {
        honest.push(("ca_ordered", request.to_wire().to_vec()));
    }
    honest
}

fn pending_tasks() -> Vec<(TaskId, Bytes)> {
    let mut world = world();
    world.post("/acme/challenge/1/http-01", b"{}");
    let tasks = world.authority.tasks().into_iter();
    tasks.map(|task| (task.id, task.what.into_bytes())).collect()
}

fn reads() -> Vec<CaRead> {
    let certificate = Blob::new(&b"AAAA.AAAA"[..]).expect("short");
    let mut reads = vec![CaRead::Crl, CaRead::RenewalInfo { certificate }];
    reads.extend([CaRead::Ocsp { serial: honest::serial() }, CaRead::Order { order: 0 }]);
    reads.extend(queries().map(CaRead::Query));
    reads
}

fn queries() -> [CaQuery; 4] {
    let serial = honest::serial();
    let inspect = CaQuery::Inspect { serial };
    [CaQuery::Log { from: 2 }, inspect, CaQuery::Pending { from: 0 }, CaQuery::Policy]
}

fn requests() -> Vec<CaRequest> {
    let (serial, reason) = (honest::serial(), honest::revoked().reason);
    let commands = [
        OfficerCommand::Approve { order: 3 },
        OfficerCommand::Refuse { order: 3 },
        OfficerCommand::Revoke { serial, reason },
        OfficerCommand::Suspend { account: 0 },
    ];
    let queries = queries().map(CaRequest::Query);
    commands.map(CaRequest::Officer).into_iter().chain(queries).collect()
}

/// What is said in the world, for the types that are in it.
pub fn said() -> Vec<Bytes> {
    let mut world = world();
    for request in requests() {
        let caller = Caller::Client { key: OFFICER, session: SessionId(1) };
        let request = request.to_wire();
        let answer = world.apply(caller, &request);
        world.said.extend([request, answer]);
    }
    for read in reads() {
        let read = read.to_wire();
        let answer = world.authority.read(&read).expect("a question");
        world.said.extend([read, answer]);
    }
    world.said.extend(pending_tasks().into_iter().map(|(_, what)| what));
    let nonce =
        Nonce::signed(BASE, Party::new(1), NOW, [7; 16], |message| sign(&pair(SERVER), message));
    world.said.extend([nonce.to_wire(), NonceKey(public(&pair(SERVER))).to_wire()]);
    world.said
}
