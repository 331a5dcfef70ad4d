//! An authority with everything around it: clients of ACME, servers that vote, a group that signs,
//! officers, and a clock.
//!
//! After each step it is checked that the index is what the state makes of it, and that nothing is
//! due any more.

use crate::ca::answer::date;
use crate::ca::index::Index;
use crate::ca::jose::base64url;
use crate::ca::jose::tests::signer::Signer;
use crate::ca::nonce::SpentNonces;
use crate::ca::*;
use crate::x509::tests::stock::Key;
use crate::x509::{self, DOMAIN_VALIDATED, Delegation, Issuer, Subject, Usage};
use maftia_activity::{
    AgreedTime, ApplyContext, Caller, Reply, SessionId, StateMachine, TaskId, ToSign,
};
use maftia_base::wire::{Blob, Bytes, Wire};
use maftia_base::{AdversaryStructure, Digest, Party, ServiceId};
use maftia_crypto::{ClientKey, KeyId};
use openssl::stack::Stack;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509NameBuilder, X509ReqBuilder};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use std::sync::LazyLock;

pub(super) const BASE: &str = "https://ca.example.org";
/// 2026-11-22 12:00:00 UTC.
pub(super) const NOW: u64 = 1_795_348_800;
pub(super) const DAY: u64 = 86_400;

static ROOT_KEY: LazyLock<Key> = LazyLock::new(Key::generate);
static GROUP_KEY: LazyLock<Key> = LazyLock::new(Key::generate);
static ROOT_PUBLIC: LazyLock<Vec<u8>> = LazyLock::new(|| ROOT_KEY.public_key());
static GROUP_PUBLIC: LazyLock<Vec<u8>> = LazyLock::new(|| GROUP_KEY.public_key());

/// The root certificate and the issuing one.
pub(super) static CHAIN: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let subject = |common_name| Subject { country: None, organization: "An example", common_name };
    let root = x509::Authority {
        subject: subject("Root"),
        serial: x509::Serial::new([1; 16]).unwrap(),
        public_key: &ROOT_PUBLIC,
        not_before: NOW - 1000 * DAY,
        not_after: NOW + 4000 * DAY,
        path_len: None,
        names: None,
    };
    let sign = |unsigned: x509::Unsigned| {
        let signature = ROOT_KEY.sign(&unsigned.signing_input());
        unsigned.finish(&signature)
    };
    let root_certificate = sign(root.self_signed().unwrap());
    let issuing = x509::Authority {
        subject: subject("Issuing"),
        serial: x509::Serial::new([2; 16]).unwrap(),
        public_key: &GROUP_PUBLIC,
        path_len: Some(0),
        ..root
    };
    let delegation = Delegation {
        usage: Usage::Both,
        policy: DOMAIN_VALIDATED,
        crl_url: None,
        issuer_url: None,
    };
    let issuer = Issuer::new(&root_certificate).unwrap();
    let issuing = sign(issuer.authority(&issuing, &delegation).unwrap());
    [root_certificate, issuing]
});

pub(super) fn names(dns: &[&str]) -> NameRules {
    NameRules { dns: dns.iter().map(|name| (*name).to_owned()).collect(), ips: Vec::new() }
}

/// What the tests change one thing of.
pub(super) fn settings(servers: usize) -> Settings {
    let [root, issuing] = CHAIN.clone();
    Settings {
        base: BASE.to_owned(),
        plain_base: "http://ca.example.org".to_owned(),
        key: KeyId(3),
        issuing,
        root,
        nonce_keys: (0..servers).map(|server| nonce_key(server).1).collect(),
        profiles: vec![
            profile("web", 90 * DAY, NameRules::everything()),
            profile("short", 6 * DAY, names(&["short.example.org"])),
        ],
        default_profile: "web".to_owned(),
        terms_of_service: None,
        website: None,
        caa_identities: vec!["ca.example.org".to_owned()],
        external_account_required: false,
        external_accounts: vec![ExternalAccount {
            id: "customer-1".to_owned(),
            mac_key: MAC_KEY.to_vec(),
            names: names(&["customer.example.org"]),
        }],
        limits: Limits {
            accounts_per_hour: 1000,
            orders_per_hour: 1000,
            pending_authorizations: 1000,
            certificates_per_week: 1000,
            names: 100,
        },
        officers: Officers {
            needed: 2,
            keys: (0..3).map(officer).collect(),
            names: names(&["bank.example.org"]),
        },
        periods: Periods {
            order: 7 * DAY,
            authorization: 30 * DAY,
            validation: 600,
            crl: DAY,
            ocsp: 4 * DAY,
        },
        dates_allowed: false,
        single_labels_allowed: false,
    }
}

pub(super) const MAC_KEY: [u8; 32] = [0x6d; 32];

fn profile(name: &str, seconds: u64, names: NameRules) -> Profile {
    Profile {
        name: name.to_owned(),
        description: format!("certificates of kind {name}"),
        usage: Usage::Both,
        policy: DOMAIN_VALIDATED,
        seconds,
        names,
    }
}

pub(super) fn officer(number: u8) -> ClientKey {
    ClientKey([0xa0 + number; 32])
}

fn nonce_key(server: usize) -> (Ed25519KeyPair, NonceKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[server as u8 + 1; 32]).unwrap();
    let public = NonceKey(pair.public_key().as_ref().try_into().unwrap());
    (pair, public)
}

/// A client of ACME with a key, and an account once it has made one.
pub(super) struct Client {
    pub(super) key: Signer,
    pub(super) kid: Option<String>,
}

impl Client {
    pub(super) fn new() -> Self {
        Self { key: Signer::ed25519(), kid: None }
    }

    pub(super) fn account(&self) -> u64 {
        last_number(self.kid.as_deref().expect("it has an account"))
    }
}

/// The number at the end of a URL.
pub(super) fn last_number(url: &str) -> u64 {
    url.rsplit('/').next().unwrap().parse().unwrap()
}

/// An answer, decoded.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) reply: AcmeReply,
    pub(super) json: Value,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.reply.status
    }

    pub(super) fn location(&self) -> String {
        text(self.reply.location.as_ref().expect("a Location"))
    }

    /// The name of the problem.
    pub(super) fn problem(&self) -> &str {
        assert_eq!(self.reply.content, Content::Problem, "{self:?}");
        assert_eq!(self.json["status"], self.reply.status, "{self:?}");
        let urn = self.json["type"].as_str().unwrap();
        urn.strip_prefix("urn:ietf:params:acme:error:").expect("a problem of ACME")
    }

    /// The answer, if it is none of a problem.
    #[track_caller]
    pub(super) fn ok(self) -> Self {
        assert_ne!(self.reply.content, Content::Problem, "{}", self.json);
        self
    }

    pub(super) fn is(&self, status: &str) -> bool {
        self.json["status"] == status
    }
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// An authority, and what is around it.
pub(super) struct World {
    pub(super) authority: Authority,
    pub(super) structure: AdversaryStructure,
    pub(super) policy: Policy,
    /// Seconds since 1970-01-01 UTC.
    pub(super) now: u64,
    pub(super) position: u64,
    /// Through which front end clients ask.
    pub(super) front_end: usize,
    /// The agreed time, if it is not that of `now`.
    pub(super) time: Option<AgreedTime>,
    pub(super) nonces: u64,
    /// Is the state so large that it is not checked after each step?
    pub(super) is_flooded: bool,
    /// Is the authority told its own snapshot before each step?
    pub(super) is_restored_at_each_step: bool,
}

impl World {
    /// Four servers, one of which may be corrupt.
    pub(super) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::of(AdversaryStructure::optimal(4).unwrap(), change)
    }

    pub(super) fn of(structure: AdversaryStructure, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings(structure.n());
        change(&mut settings);
        let policy = Policy::new(settings, &structure).unwrap();
        let authority = Authority::new(policy.clone());
        let (now, position) = (NOW, 1000);
        let mut world = Self {
            authority,
            structure,
            policy,
            now,
            position,
            front_end: 0,
            time: None,
            nonces: 0,
            is_flooded: false,
            is_restored_at_each_step: false,
        };
        world.pass(0);
        world
    }

    /// An authority whose first lists are signed, and a client with an account.
    pub(super) fn with_client(change: impl FnOnce(&mut Settings)) -> (Self, Client) {
        let mut world = Self::with(change);
        world.sign();
        let client = world.client();
        (world, client)
    }

    fn step<T>(
        &mut self,
        caller: Caller,
        step: impl FnOnce(&mut Authority, &ApplyContext<'_>) -> T,
    ) -> T {
        self.position += 1;
        if self.is_restored_at_each_step {
            self.authority = self.restored();
        }
        let cx = ApplyContext {
            time: self.time.unwrap_or(AgreedTime(self.now * 1_000_000 + 123_456)),
            batch_seed: Digest([9; 32]),
            service: ServiceId(3),
            caller,
            position: self.position,
            structure: &self.structure,
        };
        let result = step(&mut self.authority, &cx);
        if !self.is_flooded {
            self.check();
        }
        result
    }

    /// What holds after each step.
    pub(super) fn check(&self) {
        let state = &self.authority.state;
        assert!(state.is_sound(), "the state can come about");
        let index = Index::of(state).expect("all that is referred to is there");
        assert!(index == self.authority.index, "the index is a function of the state");
        assert!(self.authority.to_sign().len() <= SIGNING_MAX);
    }

    pub(super) fn ordered(&mut self, caller: Caller, request: &CaRequest) -> Bytes {
        self.ordered_raw(caller, &request.to_wire())
    }

    pub(super) fn ordered_raw(&mut self, caller: Caller, request: &[u8]) -> Bytes {
        match self.step(caller, |authority, cx| authority.apply(request, cx)) {
            Reply::Plain(bytes) => bytes,
            Reply::Sign { .. } => panic!("the authority has nothing signed for a request"),
        }
    }

    /// A POST as it comes.
    pub(super) fn post_raw(&mut self, path: &str, body: &[u8]) -> Answer {
        let request = CaRequest::Acme {
            path: Blob::new(path.as_bytes().to_vec()).unwrap(),
            body: Blob::new(body.to_vec()).unwrap(),
        };
        let front_end = Caller::FrontEnd(Party::new(self.front_end));
        let reply = AcmeReply::from_wire(self.ordered(front_end, &request)).unwrap();
        let json = match reply.content {
            Content::Json | Content::Problem => serde_json::from_slice(&reply.body).unwrap(),
            Content::None | Content::PemChain => Value::Null,
        };
        Answer { reply, json }
    }

    /// A fresh nonce of the front end.
    pub(super) fn nonce(&mut self) -> String {
        self.nonces += 1;
        let mut random = [0; 16];
        random[..8].copy_from_slice(&self.nonces.to_be_bytes());
        self.nonce_of(self.front_end, self.now, random).text()
    }

    pub(super) fn nonce_of(&self, server: usize, at: u64, random: [u8; 16]) -> Nonce {
        let sign = |message: &[u8]| nonce_key(server).0.sign(message).as_ref().try_into().unwrap();
        Nonce::signed(BASE, Party::new(server), at, random, sign)
    }

    /// A request of a client: with its account if it has one.
    pub(super) fn body(&mut self, client: &Client, path: &str, payload: &str) -> Vec<u8> {
        let (url, nonce) = (format!("{BASE}{path}"), self.nonce());
        let header = match &client.kid {
            Some(kid) => client.key.header_of_account(kid, &url, &nonce),
            None => client.key.header(&url, &nonce),
        };
        client.key.jws(&header, payload.as_bytes()).to_string().into_bytes()
    }

    pub(super) fn post(&mut self, client: &Client, path: &str, payload: Value) -> Answer {
        let body = self.body(client, path, &payload.to_string());
        self.post_raw(path, &body)
    }

    /// POST-as-GET.
    pub(super) fn get(&mut self, client: &Client, path: &str) -> Answer {
        let path = path.strip_prefix(BASE).unwrap_or(path);
        let body = self.body(client, path, "");
        self.post_raw(path, &body)
    }

    /// A POST that brings the client's key though it has an account.
    pub(super) fn post_with_key(&mut self, key: &Signer, path: &str, payload: Value) -> Answer {
        let header = key.header(&format!("{BASE}{path}"), &self.nonce());
        let body = key.jws(&header, payload.to_string().as_bytes()).to_string();
        self.post_raw(path, body.as_bytes())
    }

    /// A client with an account.
    pub(super) fn client(&mut self) -> Client {
        let mut client = Client::new();
        let agreed = json!({ "termsOfServiceAgreed": true });
        let answer = self.post(&client, "/acme/new-account", agreed).ok();
        assert_eq!(answer.status(), 201);
        client.kid = Some(answer.location());
        client
    }

    /// Asks for what is refused, and checks that nothing has changed but the nonce's use.
    #[track_caller]
    pub(super) fn refused(
        &mut self,
        status: u16,
        kind: &str,
        ask: impl FnOnce(&mut Self) -> Answer,
    ) -> Answer {
        let before = self.authority.state.clone();
        let answer = ask(self);
        assert_eq!((answer.status(), answer.problem()), (status, kind), "{}", answer.json);
        let mut after = self.authority.state.clone();
        after.nonces = before.nonces.clone();
        assert!(after == before, "what is refused leaves no trace");
        answer
    }

    /// The same, of what nobody has signed: not even the nonce is spent.
    #[track_caller]
    pub(super) fn ignored(
        &mut self,
        status: u16,
        kind: &str,
        ask: impl FnOnce(&mut Self) -> Answer,
    ) -> Answer {
        let before = self.authority.snapshot();
        let answer = self.refused(status, kind, ask);
        assert_eq!(self.authority.snapshot(), before, "no nonce is spent");
        answer
    }

    pub(super) fn spent(&self) -> &SpentNonces {
        &self.authority.state.nonces
    }

    /// An order for these names; answers its URL's path.
    pub(super) fn order(&mut self, client: &Client, names: &[&str]) -> String {
        let wish = json!({ "identifiers": identifiers(names) });
        let answer = self.post(client, "/acme/new-order", wish).ok();
        assert_eq!(answer.status(), 201);
        answer.location().strip_prefix(BASE).unwrap().to_owned()
    }

    pub(super) fn order_status(&mut self, client: &Client, order: &str) -> String {
        let answer = self.get(client, order).ok();
        answer.json["status"].as_str().unwrap().to_owned()
    }

    /// The paths of an order's authorizations.
    pub(super) fn authorizations(&mut self, client: &Client, order: &str) -> Vec<String> {
        let answer = self.get(client, order).ok();
        let urls = answer.json["authorizations"].as_array().unwrap().iter();
        urls.map(|url| url.as_str().unwrap().strip_prefix(BASE).unwrap().to_owned()).collect()
    }

    /// The tasks that are not the question for another policy.
    pub(super) fn validations(&self) -> Vec<maftia_activity::Task> {
        let is_validation = |task: &maftia_activity::Task| {
            let question = CaTask::from_wire(task.what.bytes().clone()).unwrap();
            matches!(question, CaTask::Validation(_))
        };
        self.authority.tasks().into_iter().filter(is_validation).collect()
    }

    /// The question for another policy.
    pub(super) fn policy_question(&self) -> TaskId {
        let validations = self.validations();
        let mut others = self.authority.tasks();
        others.retain(|task| !validations.contains(task));
        let [question] = &others[..] else { panic!("it is always asked, once") };
        question.id
    }

    /// Has the group go by another policy.
    pub(super) fn amend(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = settings(self.structure.n());
        change(&mut settings);
        let (id, wanted) = (self.policy_question(), settings.encoded().unwrap());
        (0..self.structure.n()).for_each(|server| self.vote_as(server, id, &wanted));
        assert_eq!(self.authority.policy().encoded(), &wanted);
    }

    /// Has a client ready for a challenge; answers the task.
    pub(super) fn begin(&mut self, client: &Client, authorization: &str, kind: &str) -> Validation {
        let number = last_number(authorization);
        let answer = self.post(client, &format!("/acme/challenge/{number}/{kind}"), json!({})).ok();
        assert!(answer.is("processing"), "{}", answer.json);
        let tasks = self.validations();
        let decode = |task: &maftia_activity::Task| {
            let question = CaTask::from_wire(task.what.bytes().clone()).unwrap();
            let CaTask::Validation(validation) = question else { unreachable!("it is filtered") };
            assert_eq!(validation.task(), task.id);
            validation
        };
        let mut validations = tasks.iter().map(decode);
        validations.find(|found| found.authorization == number).expect("it is wanted")
    }

    /// A server says yes.
    pub(super) fn vote(&mut self, server: usize, task: TaskId) {
        self.vote_as(server, task, VALIDATED);
    }

    pub(super) fn vote_as(&mut self, server: usize, task: TaskId, result: &[u8]) {
        let party = Party::new(server);
        self.step(Caller::Server(party), |authority, cx| {
            authority.task_result(party, task, result, cx);
        });
    }

    /// Has every authorization of an order validated, by the first challenge it offers.
    pub(super) fn validate(&mut self, client: &Client, order: &str) {
        for authorization in self.authorizations(client, order) {
            let shown = self.get(client, &authorization).ok();
            if shown.is("valid") {
                continue;
            }
            let kind = shown.json["challenges"][0]["type"].as_str().unwrap().to_owned();
            let task = self.begin(client, &authorization, &kind).task();
            for server in 0..self.structure.n() {
                self.vote(server, task);
            }
        }
    }

    pub(super) fn finalize(&mut self, client: &Client, order: &str, csr: &[u8]) -> Answer {
        let wish = json!({ "csr": base64url::encode(csr) });
        self.post(client, &format!("{order}/finalize"), wish)
    }

    /// The group signs everything that it is asked to, until there is nothing left.
    pub(super) fn sign(&mut self) {
        while let Some(ToSign { id, key, input }) = self.authority.to_sign().into_iter().next() {
            assert_eq!(key, KeyId(3));
            let signature = GROUP_KEY.sign(&input);
            self.signed(id, &signature);
        }
    }

    pub(super) fn signed(&mut self, id: TaskId, signature: &[u8]) {
        self.step(Caller::Group, |authority, cx| authority.signed(id, signature, cx));
    }

    /// A certificate for these names, from the order on; answers it in DER.
    pub(super) fn certificate(&mut self, client: &Client, names: &[&str]) -> Vec<u8> {
        self.certificate_of(client, names, &web_key())
    }

    pub(super) fn certificate_of(
        &mut self,
        client: &Client,
        names: &[&str],
        key: &Signer,
    ) -> Vec<u8> {
        let order = self.order(client, names);
        self.validate(client, &order);
        self.finalize(client, &order, &csr(key, names)).ok();
        self.sign();
        self.download(client, &order)
    }

    /// The certificate of an order that is valid.
    pub(super) fn download(&mut self, client: &Client, order: &str) -> Vec<u8> {
        let answer = self.get(client, order).ok();
        let url = answer.json["certificate"].as_str().expect("it is valid").to_owned();
        let chain = self.get(client, &url).ok();
        assert_eq!((chain.status(), chain.reply.content), (200, Content::PemChain));
        let chain = X509::stack_from_pem(&chain.reply.body).unwrap();
        assert_eq!(chain.len(), 2, "the certificate, and its issuer's");
        assert_eq!(chain[1].to_der().unwrap(), CHAIN[1]);
        chain[0].to_der().unwrap()
    }

    /// Lets time pass, and wakes the authority whenever it is due.
    pub(super) fn pass(&mut self, seconds: u64) {
        let end = self.now + seconds;
        while let Some(AgreedTime(at)) = self.authority.wake_at() {
            if at / 1_000_000 > end {
                break;
            }
            self.now = self.now.max(at.div_ceil(1_000_000));
            self.wake();
        }
        self.now = end;
    }

    pub(super) fn wake(&mut self) {
        let now = AgreedTime(self.now * 1_000_000 + 123_456);
        self.step(Caller::Group, |authority, cx| authority.wake(cx));
        assert!(self.authority.wake_at().is_none_or(|at| at > now), "it was woken");
    }

    pub(super) fn officer(&mut self, number: u8, command: OfficerCommand) -> CaAnswer {
        let caller = Caller::Client { key: officer(number), session: SessionId(1) };
        CaAnswer::from_wire(self.ordered(caller, &CaRequest::Officer(command))).unwrap()
    }

    pub(super) fn query(&mut self, query: CaQuery) -> CaAnswer {
        let before = self.authority.snapshot();
        let caller = Caller::Client { key: ClientKey([1; 32]), session: SessionId(1) };
        let answer = self.ordered(caller, &CaRequest::Query(query));
        assert_eq!(self.authority.snapshot(), before, "a question changes nothing");
        CaAnswer::from_wire(answer).unwrap()
    }

    pub(super) fn read(&self, read: CaRead) -> CaAnswer {
        CaAnswer::from_wire(self.authority.read(&read.to_wire()).unwrap()).unwrap()
    }

    /// The entries of the log that are kept.
    pub(super) fn log_entries(&self) -> Vec<AuditEntry> {
        let mut entries: Vec<AuditEntry> = Vec::new();
        loop {
            let from = entries.last().map_or(0, |last| last.number + 1);
            let page = self.authority.state.audit.page(from);
            if page.entries.is_empty() {
                return entries;
            }
            entries.extend(page.entries.into_vec());
        }
    }

    /// A copy that has only been told the snapshot.
    pub(super) fn restored(&self) -> Authority {
        let mut restored = Authority::new(self.policy.clone());
        restored.restore(self.authority.snapshot()).expect("of its own making");
        restored
    }

    /// Now, as JSON writes it.
    pub(super) fn date(&self, later: u64) -> String {
        date(self.now + later)
    }
}

/// Names as an order lists them.
pub(super) fn identifiers(names: &[&str]) -> Value {
    let identifier = |name: &&str| match name.parse::<core::net::IpAddr>() {
        Ok(_) => json!({ "type": "ip", "value": name }),
        Err(_) => json!({ "type": "dns", "value": name }),
    };
    names.iter().map(identifier).collect()
}

/// A key of a web server.
pub(super) fn web_key() -> Signer {
    Signer::p256()
}

/// A request for a certificate, by a stock tool.
pub(super) fn csr(key: &Signer, names: &[&str]) -> Vec<u8> {
    let mut request = X509ReqBuilder::new().unwrap();
    request.set_version(0).unwrap();
    request.set_subject_name(&X509NameBuilder::new().unwrap().build()).unwrap();
    request.set_pubkey(&key.secret).unwrap();
    let mut alternative = SubjectAlternativeName::new();
    for name in names {
        match name.parse::<core::net::IpAddr>() {
            Ok(_) => alternative.ip(name),
            Err(_) => alternative.dns(name),
        };
    }
    let extension = alternative.build(&request.x509v3_context(None)).unwrap();
    let mut extensions = Stack::new().unwrap();
    extensions.push(extension).unwrap();
    request.add_extensions(&extensions).unwrap();
    sign_request(&mut request, key);
    request.build().to_der().unwrap()
}

fn sign_request(request: &mut X509ReqBuilder, key: &Signer) {
    use openssl::hash::MessageDigest;
    let is_ed25519 = key.secret.id() == openssl::pkey::Id::ED25519;
    let digest = if is_ed25519 { MessageDigest::null() } else { MessageDigest::sha256() };
    request.sign(&key.secret, digest).unwrap();
}
