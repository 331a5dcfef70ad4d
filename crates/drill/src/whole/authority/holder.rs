//! Clients of ACME: those whose names they are, and those who want the names of others.

use super::{BASE, Key, digest_of, name};
use crate::whole::client::Town;
use crate::whole::network::micros;
use crate::whole::server::DAWN;
use crate::whole::suite::WholeSuite;
use commonware_runtime::deterministic::Context;
use commonware_runtime::{Clock, Spawner, Supervisor};
use maftia_activity::FrontEndReply;
use maftia_base::Party;
use maftia_base::wire::{Blob, Wire};
use maftia_node::host::{Arrival, ConnectionId};
use maftia_node::replica::Request;
use maftia_services::CA;
use maftia_services::ca::jose::{base64url, flattened};
use maftia_services::ca::{AcmeReply, CaRequest, Nonce};
use maftia_sim::Random;
use openssl::hash::MessageDigest;
use openssl::stack::Stack;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509NameBuilder, X509ReqBuilder};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a client waits before it asks through another front end.
const PATIENCE: Duration = Duration::from_secs(4);

/// Mean pause before it looks again, in microseconds.
const PAUSE: u64 = 300_000;

/// How often it looks before it begins anew.
const LOOKS: u64 = 100;

/// How often somebody looks whether he was taken in for another.
const HOPES: u64 = 10;

/// By how much clocks may be wrong, in seconds.
const WRONG: u64 = 10_000;

/// Who asks, and for whose names.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// The client.
    pub number: u64,
    /// The client whose names they are.
    pub of: u64,
    /// How many.
    pub orders: u64,
    /// Decides the rest.
    pub seed: u64,
}

/// A client with an account.
struct Holder<S: WholeSuite> {
    town: Town<S>,
    context: Context,
    wish: Wish,
    key: Key,
    random: Random,
    account: Option<String>,
    /// By how many seconds the agreed time may differ from what it is.
    skew: i64,
}

impl<S: WholeSuite> Town<S> {
    /// A client of the authority begins to ask.
    pub fn start_holder(&self, context: &Context, wish: Wish) {
        self.busy.fetch_add(1, Ordering::Relaxed);
        let town = self.clone();
        context.child("holder").spawn(move |context| {
            let (key, random) = (Key::of_account(wish.number), Random::new(wish.seed));
            let holder = Holder { town, context, wish, key, random, account: None, skew: 0 };
            holder.live()
        });
    }
}

impl<S: WholeSuite> Holder<S> {
    async fn live(mut self) {
        let Wish { number, of, orders, .. } = self.wish;
        for host in 0..orders {
            self.pause().await;
            let name = name(of, host);
            // Whose it is gets it in the end, whatever happens.
            while self.obtain(&name).await.is_none() && of == number {
                self.pause().await;
            }
        }
        self.town.busy.fetch_sub(1, Ordering::Relaxed);
    }

    async fn pause(&mut self) {
        let pause = self.random.exponential(PAUSE);
        self.context.sleep(Duration::from_micros(pause)).await;
    }

    /// A certificate for this name, from the order on.
    async fn obtain(&mut self, name: &str) -> Option<()> {
        self.register().await?;
        let order = json!({ "identifiers": [{ "type": "dns", "value": name }] });
        let reply = self.post("/acme/new-order", &order.to_string()).await;
        let order = path(&location(&reply)?)?;
        let authorization = path(text(&json_of(&reply)["authorizations"][0])?)?;
        let about = json_of(&self.post(&authorization, "").await);
        let challenges = about["challenges"].as_array()?;
        let challenge = challenges.iter().find(|challenge| challenge["type"] == "http-01")?;
        let challenge = path(text(&challenge["url"])?)?;
        self.post(&challenge, "{}").await;
        self.until_valid(&authorization).await?;
        let csr = base64url::encode(&request(&Key::of_hosts(self.wish.number), name));
        // One that was repeated is refused: what became of the first shows in the order.
        let finalize = format!("{order}/finalize");
        self.post(&finalize, &json!({ "csr": csr }).to_string()).await;
        let about = self.until_valid(&order).await?;
        let certificate = path(text(&about["certificate"])?)?;
        self.download(&certificate).await
    }

    async fn register(&mut self) -> Option<()> {
        if self.account.is_none() {
            let reply = self.post("/acme/new-account", r#"{"termsOfServiceAgreed":true}"#).await;
            self.account = Some(location(&reply)?);
        }
        Some(())
    }

    /// What is there, when it has become valid.
    async fn until_valid(&mut self, path: &str) -> Option<Value> {
        let looks = if self.wish.number == self.wish.of { LOOKS } else { HOPES };
        for _ in 0..looks {
            let about = json_of(&self.post(path, "").await);
            match about["status"].as_str() {
                Some("valid") => return Some(about),
                Some("pending" | "processing" | "ready") => self.pause().await,
                _ => return None,
            }
        }
        None
    }

    async fn download(&mut self, path: &str) -> Option<()> {
        let (from, reply) = loop {
            if let Some(answered) = self.try_post(path, "").await {
                break answered;
            }
        };
        let certificate = X509::stack_from_pem(&reply.body).ok()?.into_iter().next()?;
        let digest = digest_of(&certificate.to_der().ok()?);
        self.town.witness.given(from, self.wish.number, digest);
        Some(())
    }

    /// Posts until there is an answer that counts.
    async fn post(&mut self, path: &str, payload: &str) -> AcmeReply {
        loop {
            if let Some((_, reply)) = self.try_post(path, payload).await {
                return reply;
            }
        }
    }

    async fn try_post(&mut self, path: &str, payload: &str) -> Option<(Party, AcmeReply)> {
        let n = self.town.structure.n() as u64;
        let at = Party::new(self.random.below(n) as usize);
        match self.ask(at, path, payload).await {
            Some(reply) if is_bad_nonce(&reply) => {
                self.skew = self.random.below(2 * WRONG) as i64 - WRONG as i64;
                None
            }
            Some(reply) => Some((at, reply)),
            None => {
                self.pause().await;
                None
            }
        }
    }

    /// One request through one front end.
    async fn ask(&mut self, at: Party, path: &str, payload: &str) -> Option<AcmeReply> {
        let door = self.town.doors.of(at)?;
        let acme = CaRequest::Acme {
            path: Blob::new(path.as_bytes().to_vec())?,
            body: Blob::new(self.signed(at, path, payload))?,
        };
        let request = acme.to_wire();
        let asked = self.town.witness.asked(self.wish.number, CA, request.clone());
        let (answer, answered) = oneshot::channel();
        let front_end = Request::FrontEnd { service: CA, request, answer };
        let connection = ConnectionId(self.town.doors.connection());
        door.send(Arrival::Request(connection, front_end)).await.ok()?;
        let patience = self.context.sleep(PATIENCE);
        let reply = tokio::select! {
            biased;
            reply = answered => reply.ok()?,
            () = patience => return None,
        };
        let FrontEndReply::Plain(body) = reply else { return None };
        self.town.witness.answered(asked, body.clone());
        AcmeReply::from_wire(body).ok()
    }

    /// What it signs, with a nonce of the server's.
    fn signed(&mut self, at: Party, path: &str, payload: &str) -> Vec<u8> {
        let now = (DAWN + micros(&self.context)) / 1_000_000;
        let mut random = [0; 16];
        random[..8].copy_from_slice(&self.random.bits().to_le_bytes());
        random[8..].copy_from_slice(&self.wish.number.to_le_bytes());
        let now = now.saturating_add_signed(self.skew);
        let nonce = Nonce::signed(BASE, at, now, random, |message| {
            let signature = Key::of_nonces(at.index()).sign(message);
            signature.try_into().expect("64 bytes")
        });
        let url = format!("{BASE}{path}");
        let mut header = json!({ "alg": "EdDSA", "nonce": nonce.text(), "url": url });
        match &self.account {
            Some(account) => header["kid"] = json!(account),
            None => header["jwk"] = jwk(&self.key),
        }
        flattened(header.to_string().as_bytes(), payload.as_bytes(), |message| {
            self.key.sign(message)
        })
    }
}

/// The public half, as JSON: its members are in the order of RFC 7638.
pub(super) fn jwk(key: &Key) -> Value {
    json!({ "crv": "Ed25519", "kty": "OKP", "x": base64url::encode(&key.public().0) })
}

fn json_of(reply: &AcmeReply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_default()
}

fn is_bad_nonce(reply: &AcmeReply) -> bool {
    text(&json_of(reply)["type"]).is_some_and(|kind| kind.ends_with(":badNonce"))
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

fn location(reply: &AcmeReply) -> Option<String> {
    String::from_utf8(reply.location.as_ref()?.to_vec()).ok()
}

/// What of a URL is behind the authority's name.
fn path(url: &str) -> Option<String> {
    url.strip_prefix(BASE).map(str::to_owned)
}

/// A request for a certificate, in DER: PKCS #10.
fn request(key: &Key, name: &str) -> Vec<u8> {
    let make = || {
        let mut builder = X509ReqBuilder::new()?;
        builder.set_pubkey(&key.0)?;
        builder.set_subject_name(&X509NameBuilder::new()?.build())?;
        let mut names = SubjectAlternativeName::new();
        let names = names.dns(name).build(&builder.x509v3_context(None))?;
        let mut extensions = Stack::new()?;
        extensions.push(names)?;
        builder.add_extensions(&extensions)?;
        builder.sign(&key.0, MessageDigest::null())?;
        builder.build().to_der()
    };
    let made: Result<Vec<u8>, openssl::error::ErrorStack> = make();
    made.expect("a name and a key")
}
