use crate::wire::{Blob, Wire, wire_enum, wire_struct};
use crate::{Party, Statement};

/// Largest evidence attachment: an RSA share of 4096 bit with its proof, of a server that has
/// several leaves in the sharing formula.
pub const ATTACHMENT_BYTES_MAX: usize = 16 * 1024;

/// How a party misbehaved. One flat list, so that blame passes through layers unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// Two different values where the protocol allows one.
    Equivocation,
    /// A share whose proof of correctness fails.
    BadShare,
    /// A signature that does not verify.
    BadSignature,
    /// A certificate that lacks votes or whose votes do not verify.
    BadCertificate,
    /// A value that the external validity predicate refuses and no honest party proposes.
    InvalidValue,
    /// Bytes that do not decode, or a message that its protocol has no place for.
    Malformed,
    /// More than the receiver granted.
    Flood,
}

wire_enum!(FaultKind {
    0 => Equivocation,
    1 => BadShare,
    2 => BadSignature,
    3 => BadCertificate,
    4 => InvalidValue,
    5 => Malformed,
    6 => Flood,
});

/// One statement with its signature, as bytes that any crypto suite can check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignedStatement {
    /// What was said.
    pub statement: Statement,
    /// The signature, in the suite's encoding.
    pub signature: Blob<128>,
}

wire_struct!(SignedStatement { statement, signature });

/// Proof of misbehaviour that convinces a third party who knows only the group's public keys.
///
/// `crypto` checks it; nothing here does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Evidence {
    /// The accused signed both, and an honest server signs at most one.
    Conflict(SignedStatement, SignedStatement),
    /// The accused signed the digest of `share`, and `share` fails its own check.
    BadShare {
        /// The statement whose value is the digest of `share`.
        signed: SignedStatement,
        /// What the share is a share of: coin name or message to be signed.
        subject: Blob<ATTACHMENT_BYTES_MAX>,
        /// The share itself, encoded.
        share: Blob<ATTACHMENT_BYTES_MAX>,
    },
}

wire_enum!(Evidence {
    0 => Conflict(first, second),
    1 => BadShare { signed, subject, share },
});

/// Somebody misbehaved. Without evidence it is a local suspicion and never leaves this server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fault {
    /// Who.
    pub culprit: Party,
    /// How.
    pub kind: FaultKind,
    /// Proof for others, where signatures allow one.
    pub evidence: Option<Box<Evidence>>,
}

impl Fault {
    /// A suspicion that cannot be shown to others.
    pub fn suspected(culprit: Party, kind: FaultKind) -> Self {
        Self { culprit, kind, evidence: None }
    }

    /// Two conflicting signed statements of `culprit`.
    pub fn conflict(culprit: Party, first: SignedStatement, second: SignedStatement) -> Self {
        assert!(
            first.statement.conflicts_with(&second.statement),
            "evidence of equivocation needs two statements that conflict"
        );
        let evidence = Some(Box::new(Evidence::Conflict(first, second)));
        Self { culprit, kind: FaultKind::Equivocation, evidence }
    }

    /// A signed share that fails its check.
    pub fn bad_share(culprit: Party, evidence: Evidence) -> Self {
        Self { culprit, kind: FaultKind::BadShare, evidence: Some(Box::new(evidence)) }
    }
}

const _: fn() = || {
    fn is_wire<T: Wire>() {}
    is_wire::<Evidence>();
};
