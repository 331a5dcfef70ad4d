//! What the group need not be asked: posts that every server would refuse, whatever else it knows.
//!
//! Only the group knows accounts, and which nonces were used. So who names an account that is not
//! his is found out by the group; but who has nothing to do with ACME, or has not even fetched a
//! nonce, does not get that far.

use super::Publication;
use maftia_services::ca::jose::{Jws, KeyRef};
use maftia_services::ca::{Nonce, Problem, ProblemType};
use ring::signature::{ED25519, UnparsedPublicKey};

/// Could this post to `path` come to anything?
pub(super) fn screen(publication: &Publication, path: &str, body: &[u8]) -> Result<(), Problem> {
    let jws = Jws::parse(body)?;
    if jws.url().strip_prefix(&publication.base) != Some(path) {
        let detail = "the request is signed for another URL";
        return Err(Problem::new(ProblemType::Unauthorized, detail));
    }
    let nonce = jws.nonce().and_then(Nonce::from_text);
    if !nonce.is_some_and(|nonce| is_ours(publication, &nonce)) {
        return Err(Problem::new(ProblemType::BadNonce, "the nonce is none of ours"));
    }
    match jws.key() {
        KeyRef::Jwk(key) => jws.verify(key),
        KeyRef::Kid(_) => Ok(()),
    }
}

/// Has one of the group's servers made it?
fn is_ours(publication: &Publication, nonce: &Nonce) -> bool {
    let Nonce { server, at, random, signature } = nonce;
    let message = Nonce::message(&publication.base, *server, *at, *random);
    publication.nonce_keys.get(server.index()).is_some_and(|key| {
        UnparsedPublicKey::new(&ED25519, &key.0).verify(&message, signature).is_ok()
    })
}
