//! A small client of ACME (RFC 8555), for the benchmark and the tests: what certbot does, in this
//! process and many times a second. It serves HTTP challenges itself.

use crate::Failure;
use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::{Signer, SigningKey};
use maftia_services::ca::jose::flattened;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::stack::Stack;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509NameBuilder, X509ReqBuilder};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// How long an answer may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// How long an authorization, or a certificate, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether it is there.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// An account, and a connection to one front end.
#[derive(Debug)]
pub struct Acme {
    agent: ureq::Agent,
    /// Where the connection goes; URLs are those of the directory all the same.
    directory: Value,
    key: SigningKey,
    account: Option<String>,
    nonce: Option<String>,
    challenges: Challenges,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header `Location`.
    pub location: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body.
    pub fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::because(format!("an answer of the authority: {error}")))
    }

    fn expect(self, what: &str) -> Result<Self, Failure> {
        match self.status {
            200..300 => Ok(self),
            status => Err(Failure::because(format!(
                "{what}: status {status}, {}",
                String::from_utf8_lossy(&self.body)
            ))),
        }
    }
}

impl Acme {
    /// A new account at the authority with this directory, through the front end at `via`, which
    /// shows a certificate under `root`, in PEM.
    pub fn register(
        directory: &str,
        root: &[u8],
        via: SocketAddr,
        challenges: Challenges,
    ) -> Result<Self, Failure> {
        let agent = agent(root, via)?;
        let key = SigningKey::from_bytes(&rand::random());
        let response = agent.get(directory).call();
        let mut response = response.map_err(|error| failed("the directory", &error))?;
        let text = response.body_mut().read_to_string();
        let text = text.map_err(|error| failed("the directory", &error))?;
        let directory = serde_json::from_str(&text);
        let directory = directory.map_err(|error| failed("the directory", &error))?;
        let mut acme = Self { agent, directory, key, account: None, nonce: None, challenges };
        let url = acme.resource("newAccount")?;
        let payload = json!({ "termsOfServiceAgreed": true });
        let answer = acme.post(&url, Some(&payload))?.expect("a new account")?;
        acme.account = answer.location;
        Ok(acme)
    }

    /// A certificate for these names with this request, from the order on: the chain, in PEM.
    pub fn obtain(&mut self, names: &[&str], request: &[u8]) -> Result<Vec<u8>, Failure> {
        let order = self.order(names)?;
        self.authorize(&order)?;
        let url = self.finalize(&order, request)?;
        self.download(&url)
    }

    /// An order for these names or addresses.
    pub fn order(&mut self, names: &[&str]) -> Result<Order, Failure> {
        let identifier = |name: &&str| {
            let kind = if name.parse::<IpAddr>().is_ok() { "ip" } else { "dns" };
            json!({ "type": kind, "value": name })
        };
        let identifiers: Vec<Value> = names.iter().map(identifier).collect();
        let url = self.resource("newOrder")?;
        let answer = self.post(&url, Some(&json!({ "identifiers": identifiers })))?;
        let answer = answer.expect("a new order")?;
        let url = answer.location.clone().unwrap_or_default();
        Ok(Order { url, about: answer.json()? })
    }

    /// Answers the challenge by HTTP of each authorization that an order needs.
    pub fn authorize(&mut self, order: &Order) -> Result<(), Failure> {
        for url in order.about["authorizations"].as_array().into_iter().flatten() {
            let url = url.as_str().unwrap_or_default();
            let authorization = self.fetch(url)?;
            if authorization["status"] == "valid" {
                continue;
            }
            let challenges = authorization["challenges"].as_array();
            let challenge = challenges
                .and_then(|all| all.iter().find(|challenge| challenge["type"] == "http-01"))
                .ok_or_else(|| Failure::because("no challenge by HTTP is offered"))?;
            let token = challenge["token"].as_str().unwrap_or_default();
            self.challenges.put(token, format!("{token}.{}", self.thumbprint()));
            let ready = challenge["url"].as_str().unwrap_or_default();
            self.post(ready, Some(&json!({})))?.expect("a challenge")?;
            self.poll(url, "pending")?;
        }
        Ok(())
    }

    /// Has a certificate made; answers where it is, as soon as it is there.
    pub fn finalize(&mut self, order: &Order, request: &[u8]) -> Result<String, Failure> {
        let url = order.about["finalize"].as_str().unwrap_or_default();
        let csr = Base64UrlUnpadded::encode_string(request);
        let answer = self.post(url, Some(&json!({ "csr": csr })))?.expect("to finalize")?;
        let mut about = answer.json()?;
        if about["status"] == "processing" {
            about = self.poll(&order.url, "processing")?;
        }
        let found = about["certificate"].as_str().map(str::to_owned);
        found.ok_or_else(|| Failure::because(format!("the order has no certificate: {about}")))
    }

    /// A certificate and what stands between it and the root, in PEM.
    pub fn download(&mut self, url: &str) -> Result<Vec<u8>, Failure> {
        Ok(self.post(url, None)?.expect("a certificate")?.body)
    }

    /// What is at a URL, when its status is no longer this one; it must then be valid.
    fn poll(&mut self, url: &str, status: &str) -> Result<Value, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let about = self.fetch(url)?;
            match about["status"].as_str() {
                Some("valid") => return Ok(about),
                Some(seen) if seen == status && Instant::now() < deadline => {
                    thread::sleep(POLL_EVERY);
                }
                _ => return Err(Failure::because(format!("{url} does not become valid: {about}"))),
            }
        }
    }

    fn fetch(&mut self, url: &str) -> Result<Value, Failure> {
        self.post(url, None)?.expect(url)?.json()
    }

    /// What the directory calls so.
    pub fn resource(&self, name: &str) -> Result<String, Failure> {
        let url = self.directory[name].as_str().map(str::to_owned);
        url.ok_or_else(|| Failure::because(format!("the directory has no {name}")))
    }

    /// Posts a payload, or nothing, signed; with another nonce if the first one is refused.
    pub fn post(&mut self, url: &str, payload: Option<&Value>) -> Result<Answer, Failure> {
        let payload = payload.map_or(String::new(), Value::to_string);
        for last in [false, true] {
            let header = self.header(url)?;
            let body = self.sign(&header, payload.as_bytes());
            let answer = self.send(url, &body)?;
            if last || !answer.json().is_ok_and(|about| is_bad_nonce(&about)) {
                return Ok(answer);
            }
        }
        unreachable!("the last try is answered")
    }

    /// The protected header of a request to this URL, with a nonce that was not used.
    pub fn header(&mut self, url: &str) -> Result<Value, Failure> {
        let nonce = match self.nonce.take() {
            Some(nonce) => nonce,
            None => self.fresh_nonce()?,
        };
        let mut header = json!({ "alg": "EdDSA", "nonce": nonce, "url": url });
        match &self.account {
            Some(account) => header["kid"] = json!(account),
            None => header["jwk"] = self.jwk(),
        }
        Ok(header)
    }

    /// The body of a request with this protected header and payload.
    pub fn sign(&self, header: &Value, payload: &[u8]) -> Vec<u8> {
        flattened(header.to_string().as_bytes(), payload, |message| {
            self.key.sign(message).to_bytes().to_vec()
        })
    }

    /// Posts what was signed, and keeps the nonce that comes back.
    pub fn send(&mut self, url: &str, body: &[u8]) -> Result<Answer, Failure> {
        let request = self.agent.post(url).header("content-type", "application/jose+json");
        let mut response = request.send(body).map_err(|error| failed(url, &error))?;
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let (nonce, location) = (header("replay-nonce"), header("location"));
        self.nonce = nonce;
        let status = response.status().as_u16();
        let body = response.body_mut().read_to_vec().map_err(|error| failed(url, &error))?;
        Ok(Answer { status, location, body })
    }

    fn fresh_nonce(&self) -> Result<String, Failure> {
        let url = self.resource("newNonce")?;
        let response = self.agent.head(&url).call().map_err(|error| failed(&url, &error))?;
        let nonce = response.headers().get("replay-nonce").and_then(|nonce| nonce.to_str().ok());
        nonce.map(str::to_owned).ok_or_else(|| Failure::because("there is no nonce"))
    }

    fn jwk(&self) -> Value {
        let x = Base64UrlUnpadded::encode_string(self.key.verifying_key().as_bytes());
        json!({ "crv": "Ed25519", "kty": "OKP", "x": x })
    }

    /// RFC 7638.
    fn thumbprint(&self) -> String {
        Base64UrlUnpadded::encode_string(&openssl::sha::sha256(self.jwk().to_string().as_bytes()))
    }
}

/// What is at a URL, if whoever is at `via` shows a certificate for it under `root`, in PEM.
pub fn fetch(url: &str, root: &[u8], via: SocketAddr) -> Result<String, Failure> {
    let response = agent(root, via)?.get(url).call();
    let page = response.and_then(|mut response| response.body_mut().read_to_string());
    page.map_err(|error| failed(url, &error))
}

fn agent(root: &[u8], via: SocketAddr) -> Result<ureq::Agent, Failure> {
    let root = Certificate::from_pem(root).map_err(|error| failed("the root", &error))?;
    let roots = RootCerts::Specific(Arc::new(vec![root]));
    let config = ureq::Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .http_status_as_error(false)
        .timeout_global(Some(ANSWER_PATIENCE))
        .build();
    Ok(ureq::Agent::with_parts(config, DefaultConnector::default(), Via(via)))
}

/// All names lead to one address.
#[derive(Debug)]
struct Via(SocketAddr);

impl Resolver for Via {
    fn resolve(
        &self,
        _: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut found = self.empty();
        found.push(self.0);
        Ok(found)
    }
}

/// An order, and where it is.
#[derive(Debug)]
pub struct Order {
    /// Its URL.
    pub url: String,
    /// What the authority said about it when it was made.
    pub about: Value,
}

fn is_bad_nonce(about: &Value) -> bool {
    about["type"] == "urn:ietf:params:acme:error:badNonce"
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::because(format!("{what}: {error}"))
}

/// A new key on P-256.
pub fn key() -> Result<PKey<Private>, openssl::error::ErrorStack> {
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&curve)?)
}

/// What is sent to finalize an order: PKCS #10, in DER.
pub fn request(key: &PKey<Private>, names: &[&str]) -> Result<Vec<u8>, openssl::error::ErrorStack> {
    let mut builder = X509ReqBuilder::new()?;
    builder.set_pubkey(key)?;
    builder.set_subject_name(&X509NameBuilder::new()?.build())?;
    let mut alternative = SubjectAlternativeName::new();
    for name in names {
        match name.parse::<IpAddr>() {
            Ok(_) => alternative.ip(name),
            Err(_) => alternative.dns(name),
        };
    }
    let mut extensions = Stack::new()?;
    extensions.push(alternative.build(&builder.x509v3_context(None))?)?;
    builder.add_extensions(&extensions)?;
    builder.sign(key, MessageDigest::sha256())?;
    builder.build().to_der()
}

/// A web server that answers challenges.
#[derive(Clone, Debug, Default)]
pub struct Challenges(Arc<Mutex<BTreeMap<String, String>>>);

impl Challenges {
    /// Listens there, as long as this process runs.
    pub fn serve(address: SocketAddr) -> Result<Self, Failure> {
        let listener = TcpListener::bind(address)
            .map_err(|error| Failure::because(format!("cannot listen on {address}: {error}")))?;
        let challenges = Self::default();
        let known = challenges.clone();
        thread::spawn(move || {
            for visitor in listener.incoming().flatten() {
                let known = known.clone();
                thread::spawn(move || known.answer(visitor));
            }
        });
        Ok(challenges)
    }

    fn put(&self, token: &str, answer: String) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(token.to_owned(), answer);
    }

    fn answer(&self, mut visitor: TcpStream) -> std::io::Result<()> {
        visitor.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut line = String::new();
        BufReader::new(&visitor).read_line(&mut line)?;
        let path = line.split(' ').nth(1).unwrap_or_default();
        let token = path.strip_prefix("/.well-known/acme-challenge/").unwrap_or_default();
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned();
        match found {
            None => write!(visitor, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
            Some(text) => {
                let length = text.len();
                write!(visitor, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{text}")
            }
        }
    }
}
