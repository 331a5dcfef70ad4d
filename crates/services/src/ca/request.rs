//! Who asks: what a request has to show before anything is done about it.
//!
//! # Promise
//! - *Signed*: whatever changes the state is signed by the key of the account for which it does.
//! - *For this URL, once*: a request counts at one resource of this authority, and once.
//! - *Nothing for nothing*: a request whose signature does not verify leaves no trace.
//!
//! # Rules
//! - Q1. In the order of what they cost, and so that little is told to strangers: the size; the
//!   path; the form; the URL; whether a key stands there or an account; the nonce, its signature
//!   last; the account; its signature; whether the account is shut.
//! - Q2. The nonce comes before the account and its signature. A client repeats a request that is
//!   refused for its nonce, and that should not cost the verification of its key, which may be RSA.
//! - Q3. A nonce is spent as soon as the signature verifies, whatever comes of the request, and not
//!   before. Before, anybody could have nonces remembered without signing anything; and what is not
//!   signed by its client is no use of the client's nonce. After, a request that is refused could
//!   be sent again by whoever saw it, to be granted when its client no longer means it.
//! - Q4. Whether an account is shut is told to who has its key only.
//!
//! # Sources
//! RFC 8555, 6.2 to 6.5.

use super::account::{Account, require_valid};
use super::answer::{Outcome, Refused, refuse, refuse_as};
use super::jose::{Jwk, Jws, KeyRef, json};
use super::nonce::Nonce;
use super::route::Route;
use super::wire::AcmeReply;
use super::{Authority, ProblemType, Step};
use serde_json::{Map, Value};

/// Who signed a request.
#[derive(Clone, Debug)]
pub(super) enum Signer {
    /// An account, as it was when the request came.
    Account(u64, Box<Account>),
    /// Whoever has this key.
    Key(Jwk),
}

/// A request whose signature verifies.
#[derive(Clone, Debug)]
pub(super) struct Request {
    signer: Signer,
    payload: Vec<u8>,
}

impl Request {
    pub(super) fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The account that signed.
    pub(super) fn account(&self) -> (u64, &Account) {
        match &self.signer {
            Signer::Account(id, account) => (*id, account),
            Signer::Key(_) => unreachable!("such a request is refused where an account has to ask"),
        }
    }

    /// The key that came with it.
    pub(super) fn embedded_key(&self) -> &Jwk {
        match &self.signer {
            Signer::Key(key) => key,
            Signer::Account(..) => unreachable!("such a request is refused where a key has to be"),
        }
    }

    /// Is something only to be shown? (POST-as-GET)
    pub(super) fn is_get(&self) -> bool {
        self.payload.is_empty()
    }

    pub(super) fn require_get(&self) -> Result<(), Refused> {
        match self.is_get() {
            true => Ok(()),
            false => refuse(ProblemType::Malformed, "there is nothing to be changed here"),
        }
    }

    /// What is asked for.
    pub(super) fn object(&self) -> Result<Map<String, Value>, Refused> {
        match json::parse(&self.payload)? {
            Value::Object(object) => Ok(object),
            _ => refuse(ProblemType::Malformed, "the payload is no object"),
        }
    }
}

impl Authority {
    /// Answers a POST.
    pub(super) fn on_acme(&mut self, path: &[u8], body: &[u8], step: &Step<'_>) -> AcmeReply {
        AcmeReply::of(self.handle(path, body, step))
    }

    fn handle(&mut self, path: &[u8], body: &[u8], step: &Step<'_>) -> Outcome {
        let route = std::str::from_utf8(path).ok().and_then(Route::parse);
        let Some(route) = route else {
            return refuse_as(404, ProblemType::Malformed, "there is nothing at this path");
        };
        let request = self.authenticate(route, body, step)?;
        match route {
            Route::NewAccount => self.on_new_account(&request, step),
            Route::NewOrder => self.on_new_order(&request, step),
            Route::RevokeCertificate => self.on_revoke(&request, step),
            Route::KeyChange => self.on_key_change(&request, step),
            Route::Account(id) => self.on_account(&request, id, step),
            Route::Orders(id, from) => self.on_orders(&request, id, from),
            Route::Order(id) => self.on_order(&request, id),
            Route::Finalize(id) => self.on_finalize(&request, id, step),
            Route::Authorization(id) => self.on_authorization(&request, id, step),
            Route::Challenge(id, kind) => self.on_challenge(&request, (id, kind), step),
            Route::Certificate(serial) => self.on_certificate(&request, serial),
        }
    }

    /// Who asks. (Q1)
    fn authenticate(
        &mut self,
        route: Route,
        body: &[u8],
        step: &Step<'_>,
    ) -> Result<Request, Refused> {
        let jws = Jws::parse(body)?;
        if jws.url() != self.policy.url(route) {
            return refuse(ProblemType::Unauthorized, "the request is signed for another URL");
        }
        let named = self.named_account(route, jws.key())?;
        let nonce = self.good_nonce(&jws, step)?; // Q2
        let signer = match (named, jws.key()) {
            (Some(id), _) => match self.state.accounts.get(&id) {
                Some(account) => Signer::Account(id, Box::new(account.clone())),
                None => return no_account(),
            },
            (None, KeyRef::Jwk(key)) => Signer::Key(key.clone()),
            (None, KeyRef::Kid(_)) => return no_account(),
        };
        match &signer {
            Signer::Account(_, account) => jws.verify(&account.key)?,
            Signer::Key(key) => jws.verify(key)?,
        }
        self.state.nonces.spend(&nonce, step.now); // Q3
        if let Signer::Account(_, account) = &signer {
            require_valid(account)?; // Q4
        }
        Ok(Request { signer, payload: jws.payload().to_vec() })
    }

    /// The number of the account that it names; none if it brings a key where it has to, or may.
    fn named_account(&self, route: Route, key: &KeyRef) -> Result<Option<u64>, Refused> {
        match (route, key) {
            (Route::NewAccount | Route::RevokeCertificate, KeyRef::Jwk(_)) => Ok(None),
            (Route::NewAccount, KeyRef::Kid(_)) => {
                refuse(ProblemType::Malformed, "a new account's request has its key in \"jwk\"")
            }
            (_, KeyRef::Jwk(_)) => {
                refuse(ProblemType::Malformed, "an account is to be named in \"kid\"")
            }
            (_, KeyRef::Kid(kid)) => {
                let path = kid.strip_prefix(&self.policy.settings().base);
                match path.and_then(Route::parse) {
                    Some(Route::Account(id)) => Ok(Some(id)),
                    _ => no_account(),
                }
            }
        }
    }

    fn good_nonce(&self, jws: &Jws, step: &Step<'_>) -> Result<Nonce, Refused> {
        let settings = self.policy.settings();
        let (base, keys) = (&settings.base, &settings.nonce_keys);
        let nonce = jws.nonce().and_then(Nonce::from_text);
        match nonce.filter(|nonce| self.state.nonces.is_good(nonce, base, keys, step.now)) {
            Some(nonce) => Ok(nonce),
            None => refuse(ProblemType::BadNonce, "the nonce is none, too old, or used"),
        }
    }
}

fn no_account<T>() -> Result<T, Refused> {
    refuse(ProblemType::AccountDoesNotExist, "\"kid\" names no account")
}
