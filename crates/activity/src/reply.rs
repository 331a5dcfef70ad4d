//! What servers answer to clients that sign their requests.

use crate::SessionId;
use maftia_base::wire::{Blob, Encode, List, wire_enum, wire_struct};
use maftia_base::{Digest, Epoch, GroupId, Place, Scope, Statement, StatementKind};
use maftia_crypto::{ClientKey, KeyId, SIGNATURE_BYTES_MAX, SigningInput, Suite};

/// Longest body of a reply.
pub const REPLY_BYTES_MAX: usize = 64 * 1024;

/// Most replies in one bundle.
pub const REPLIES_MAX: usize = 1024;

/// Why a request was not executed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// No such session: it was never opened, or it was evicted. Nothing is known any more about
    /// what was executed in it; nothing asked in it will ever be executed.
    UnknownSession,
    /// The number lies beyond the session's window.
    BeyondWindow,
    /// It was executed, and the reply is no longer kept.
    Forgotten,
    /// No such service.
    UnknownService,
    /// This server has too much to do: ask again later, or elsewhere.
    Overloaded,
    /// Too long, or otherwise nothing that can be ordered.
    Malformed,
    /// This server is catching up with the others, or has just done so: it cannot tell whether the
    /// request was executed. Ask elsewhere.
    CatchingUp,
}

wire_enum!(Refusal {
    0 => UnknownSession,
    1 => BeyondWindow,
    2 => Forgotten,
    3 => UnknownService,
    4 => Overloaded,
    5 => Malformed,
    6 => CatchingUp,
});

/// The answer to one request, the same from every honest server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReplyBody {
    /// The session that was asked for.
    Opened {
        /// With this nonce.
        nonce: u64,
    },
    /// The service's answer.
    Plain(Blob<REPLY_BYTES_MAX>),
    /// The service's answer, which the group is signing: see [`ThresholdReply`].
    Sign {
        /// Under which key.
        key: KeyId,
        /// What is signed.
        input: SigningInput,
        /// What goes with the signature.
        body: Blob<REPLY_BYTES_MAX>,
    },
    /// Not executed.
    Refused(Refusal),
}

wire_enum!(ReplyBody {
    0 => Opened { nonce },
    1 => Plain(body),
    2 => Sign { key, input, body },
    3 => Refused(refusal),
});

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SequencedReply {
    /// In which session.
    pub session: SessionId,
    /// To which request; 0 answers the opening.
    pub sequence: u64,
    /// What.
    pub body: ReplyBody,
}

wire_struct!(SequencedReply { session, sequence, body });

/// The threshold signature for one request, from the server that combined it. Anyone checks it
/// with the group's public key, so it needs no votes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ThresholdReply {
    /// In which session.
    pub session: SessionId,
    /// For which request.
    pub sequence: u64,
    /// The signature.
    pub signature: Blob<SIGNATURE_BYTES_MAX>,
}

wire_struct!(ThresholdReply { session, sequence, signature });

/// Replies of one server to one client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReplyBundle<S: Suite> {
    /// To whom.
    pub key: ClientKey,
    /// The server's votes.
    pub replies: List<SequencedReply, REPLIES_MAX>,
    /// Signatures that it combined.
    pub signatures: List<ThresholdReply, REPLIES_MAX>,
    /// The server's signature on [`replies_statement`]; `None` if there are no votes.
    pub signature: Option<S::Signature>,
}

wire_struct!(<S: Suite> ReplyBundle<S> { key, replies, signatures, signature });

/// What a server signs for `replies` to `key`. Replies are grouped as they come, so the place is
/// taken from the digest: no two groupings conflict.
pub fn replies_statement(
    group: GroupId,
    key: ClientKey,
    replies: &List<SequencedReply, REPLIES_MAX>,
) -> Statement {
    let scope = Scope::root(group, Epoch(0)).child("client replies", 0);
    let mut bytes = key.0.to_vec();
    bytes.extend_from_slice(&replies.encode());
    let value = Digest::of("maftia client replies", &bytes);
    let half = |from: usize| {
        let bytes = value.0[from..from + 8].try_into().expect("eight bytes");
        u64::from_be_bytes(bytes)
    };
    Statement::new(scope, StatementKind::Replies, Place(half(0), half(8)), value)
}
