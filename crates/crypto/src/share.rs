//! What a share is bound to, and how a bad one becomes evidence.
//!
//! # Rules
//! - S1. A server signs the digest of its whole share, proof included: nobody can exchange the
//!   proof and so make an honest server's share look bad.
//! - S2. The scope of a signature share binds group, epoch, key, the whole message digest, and
//!   whether a proof is wanted: the two forms of one share are statements in different places.
//! - S3. Two different signed shares of one server are no evidence by themselves: only a share
//!   that fails its own check is. Proofs are made deterministically, but a later version of this
//!   software may make them otherwise, and an honest server must not be convicted for that.

use crate::{KeyId, SigningInput, Suite};
use bytes::Bytes;
use maftia_base::wire::{Blob, Wire, wire_enum};
use maftia_base::{
    Digest, Evidence, Fault, FaultKind, Party, Place, Scope, SignedStatement, Statement,
    StatementKind,
};

/// What a share is a share of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The coin of this name.
    Coin(Scope),
    /// A threshold signature.
    Signature {
        /// Under which key.
        key: KeyId,
        /// On what.
        input: SigningInput,
        /// Does it carry a proof of correctness?
        with_proof: bool,
    },
}

wire_enum!(Subject { 0 => Coin(name), 1 => Signature { key, input, with_proof } });

impl Subject {
    /// The statement that a server signs with its share. `keys` is the scope of the group's keys.
    pub(crate) fn statement(&self, keys: Scope, share: &[u8]) -> Statement {
        let value = Digest::of("maftia share", share);
        match self {
            Self::Coin(name) => {
                Statement::new(*name, StatementKind::CoinShare, Place::default(), value)
            }
            Self::Signature { key, input, with_proof } => {
                let message = Digest::of_encoded("maftia signing input", input);
                let words = words_of(message);
                let form = if *with_proof { "proven signature share" } else { "signature share" };
                let scope = words.iter().fold(keys.child(form, u64::from(key.0)), |scope, word| {
                    scope.child("message", *word)
                });
                let place = Place(words[0], words[1]);
                Statement::new(scope, StatementKind::SignatureShare, place, value)
            }
        }
    }

    /// The fault of having sent `share`, which fails its check, under a signature that holds.
    pub(crate) fn bad_share<S: Suite>(
        &self,
        keys: Scope,
        culprit: Party,
        share: Bytes,
        signature: &S::Signature,
    ) -> Fault {
        let statement = self.statement(keys, &share);
        // A share of a large general structure may be too long for evidence: then it stays a
        // suspicion, and is dropped by every server that receives it all the same.
        match (Blob::new(self.to_wire()), Blob::new(share)) {
            (Some(subject), Some(share)) => {
                let signed = signed_statement::<S>(statement, signature);
                Fault::bad_share(culprit, Evidence::BadShare { signed, subject, share })
            }
            _ => Fault::suspected(culprit, FaultKind::BadShare),
        }
    }
}

/// `statement` and its signature in the form in which evidence carries them.
pub(crate) fn signed_statement<S: Suite>(
    statement: Statement,
    signature: &S::Signature,
) -> SignedStatement {
    let signature = Blob::new(signature.to_wire()).expect("a signature has at most 128 bytes");
    SignedStatement { statement, signature }
}

/// What evidence claims, once its form has been checked: who judges it needs only verify these.
pub(crate) enum Charge<S: Suite> {
    /// Both signatures must hold.
    Conflict([(Statement, S::Signature); 2]),
    /// The signature must hold and the share must fail its check. `share` is `None` if it does not
    /// even decode.
    BadShare { statement: Statement, signature: S::Signature, subject: Subject, share: Bytes },
}

impl<S: Suite> Charge<S> {
    /// Reads evidence; `None` if it proves nothing whatever the signatures are.
    pub(crate) fn of(evidence: &Evidence, keys: Scope) -> Option<Self> {
        let signature = |signed: &SignedStatement| {
            S::Signature::from_wire(signed.signature.bytes().clone()).ok()
        };
        match evidence {
            Evidence::Conflict(first, second) => {
                let is_share = |statement: &Statement| {
                    matches!(
                        statement.kind,
                        StatementKind::CoinShare | StatementKind::SignatureShare // S3
                    )
                };
                if is_share(&first.statement) || !first.statement.conflicts_with(&second.statement)
                {
                    return None;
                }
                Some(Self::Conflict([
                    (first.statement, signature(first)?),
                    (second.statement, signature(second)?),
                ]))
            }
            Evidence::BadShare { signed, subject, share } => {
                let subject = Subject::from_wire(subject.bytes().clone()).ok()?;
                let share = share.bytes().clone();
                if signed.statement != subject.statement(keys, &share) {
                    return None;
                }
                let (statement, signature) = (signed.statement, signature(signed)?);
                Some(Self::BadShare { statement, signature, subject, share })
            }
        }
    }
}

/// A digest as four numbers.
fn words_of(digest: Digest) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(digest.0.chunks_exact(8)) {
        *word = u64::from_be_bytes(bytes.try_into().expect("chunks of eight bytes"));
    }
    words
}
