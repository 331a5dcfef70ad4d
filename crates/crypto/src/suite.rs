//! The cryptography that protocols use, as a type parameter, and the work that it does.
//!
//! Secrets never sit in protocol state or in work: work is data without secrets, and a worker runs
//! many pieces at once against one server's keyring, so that verification can batch.

use crate::{Claim, Code, CodedValue, Commitment, Decoded, Encoded, Given};
use maftia_base::time::Reading;
use maftia_base::wire::{Blob, Bytes, Wire, wire_enum, wire_struct};
use maftia_base::{Digest, Evidence, Fault, Formula, Party, Scope, SignedStatement, Statement};
use maftia_ttcb_api::{Answer, Call, Seal, Sealed};
use std::fmt::Debug;
use std::hash::Hash;

/// Largest threshold signature: RSA of 4096 bit.
pub const SIGNATURE_BYTES_MAX: usize = 512;

/// Everything a wire type of a suite must be.
pub trait Element: Wire + Clone + Debug + Eq + Ord + Hash + Send + Sync + 'static {}

impl<T: Wire + Clone + Debug + Eq + Ord + Hash + Send + Sync + 'static> Element for T {}

/// One choice of signature, coin and threshold-signature schemes.
///
/// There are two: the real one, and for volume in simulations an ideal one, which is unforgeable
/// because only its keyrings can construct its signatures and shares.
pub trait Suite: Clone + Copy + Debug + Eq + Ord + Hash + Default + Send + Sync + 'static {
    /// Name for reports.
    const NAME: &'static str;
    /// A server's signature on a [`Statement`]; encodes to at most 128 bytes.
    type Signature: Element;
    /// A share of a coin with its proof of correctness: one part for each of the party's leaves.
    type CoinShare: Element;
    /// A share of a threshold signature, with its proof of correctness where one was asked for.
    type SignatureShare: Element;
    /// One server's secrets, and everybody's public keys.
    type Keyring: Send + Sync + 'static;

    /// Runs `work` and returns the results in the same order. `clock` is this server's clock now;
    /// it goes nowhere but into [`Work::SignReading`].
    fn run_many(work: Vec<Work<Self>>, keyring: &Self::Keyring, clock: Reading) -> Vec<Done<Self>>;

    /// The formula by which the keyring's secrets are shared.
    fn sharing(keyring: &Self::Keyring) -> &Formula;
}

/// Which threshold-signature key of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct KeyId(pub u16);

wire_struct!(KeyId { 0 });

/// Hash with which a message was digested before signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

wire_enum!(HashAlgorithm { 0 => Sha256, 1 => Sha384, 2 => Sha512 });

/// What a threshold signature is put on: a digest, and with which hash it was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SigningInput {
    /// The hash.
    pub hash: HashAlgorithm,
    /// The digest; its length is the hash's.
    pub digest: Blob<64>,
}

wire_struct!(SigningInput { hash, digest });

/// A client's Ed25519 public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey(pub [u8; 32]);

/// A client's Ed25519 signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientSignature(pub [u8; 64]);

wire_struct!(ClientKey { 0 });
wire_struct!(ClientSignature { 0 });

/// A claim that a client signed `message`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientClaim {
    /// Who is said to have signed.
    pub key: ClientKey,
    /// The statement that is said to be signed.
    pub statement: Statement,
    /// The signature.
    pub signature: ClientSignature,
}

/// A statement with its signature.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signed<S: Suite> {
    /// What is said.
    pub statement: Statement,
    /// By whom is known from where it came.
    pub signature: S::Signature,
}

wire_struct!(<S: Suite> Signed<S> { statement, signature });

impl<S: Suite> Signed<S> {
    /// The form in which evidence carries it.
    pub fn to_evidence(&self) -> SignedStatement {
        crate::share::signed_statement::<S>(self.statement, &self.signature)
    }
}

/// A share, and the sender's signature on its digest, so that a bad one is evidence.
///
/// The signature is looked at only when the share turns out to be bad.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignedShare<S: Suite, T: Element> {
    /// The share.
    pub share: T,
    /// Signature on the statement that [`Suite`] makes for such a share.
    pub signature: S::Signature,
}

wire_struct!(<S: Suite, T: Element> SignedShare<S, T> { share, signature });

/// A claim that a trusted component signed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SealClaim {
    /// The key of its present life.
    pub key: [u8; 32],
    /// The digest of what is said to be signed.
    pub digest: [u8; 32],
    /// The signature.
    pub seal: Seal,
}

impl SealClaim {
    /// That the component with this key signed this.
    pub fn new<T: maftia_ttcb_api::Statement>(key: [u8; 32], sealed: &Sealed<T>) -> Self {
        Self { key, digest: sealed.said.digest(), seal: sealed.seal }
    }
}

/// Work for the cryptography; every variant says which [`Done`] answers it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Work<S: Suite> {
    /// Sign as this server. Answer: [`Done::Signed`].
    Sign(Statement),
    /// Sign as this server, with the present reading of its clock as the annotation.
    /// Answer: [`Done::Signed`].
    SignReading(Statement),
    /// Which of these claims hold? Answer: [`Done::Verified`], in the same order.
    Verify(Vec<Claim<S>>),
    /// Which of these claims of clients hold? Answer: [`Done::Verified`], in the same order.
    VerifyClients(Vec<ClientClaim>),
    /// This server's share of the coin of this name. Answer: [`Done::CoinShare`].
    CoinShare(Scope),
    /// Check the shares and combine them. Answer: [`Done::Coin`].
    CombineCoin {
        /// The coin's name.
        name: Scope,
        /// Shares of different parties.
        shares: Vec<(Party, SignedShare<S, S::CoinShare>)>,
    },
    /// This server's share of a threshold signature. Answer: [`Done::SignatureShare`].
    SignatureShare {
        /// Under which key.
        key: KeyId,
        /// On what.
        input: SigningInput,
        /// With the proof of correctness? It costs two more exponentiations, and is wanted only
        /// after an optimistic combination failed.
        with_proof: bool,
    },
    /// Combine optimistically, and check once; if that fails, find the bad shares among those that
    /// carry a proof. Answer: [`Done::Signature`].
    CombineSignature {
        /// Under which key.
        key: KeyId,
        /// On what.
        input: SigningInput,
        /// Shares of different parties.
        shares: Vec<(Party, SignedShare<S, S::SignatureShare>)>,
    },
    /// Does this prove that `culprit` misbehaved? Answer: [`Done::Convicted`].
    Convict {
        /// The accused.
        culprit: Party,
        /// The proof.
        evidence: Box<Evidence>,
    },
    /// Which of these did the trusted component with that key sign? Answer: [`Done::Verified`], in
    /// the same order.
    VerifySeals(Vec<SealClaim>),
    /// Which of these claims hold, and of these of trusted components? Answer: [`Done::Verified`],
    /// in the same order, the former first.
    VerifyWithSeals(Vec<Claim<S>>, Vec<SealClaim>),
    /// A call of this server's trusted component, for [`consult`](maftia_base::Context::consult).
    /// Answer: [`Done::Trusted`].
    Trusted(Box<Call>),
    /// Cut this value into fragments. Answer: [`Done::Encoded`].
    Encode {
        /// Into how many.
        code: Code,
        /// The value.
        value: CodedValue,
    },
    /// Make up the value of these fragments, whose pieces hold under the commitment, and check that
    /// it has this commitment. Answer: [`Done::Decoded`].
    Decode {
        /// Of how many there are.
        code: Code,
        /// What the value is to have.
        commitment: Commitment,
        /// Fragments of different parties.
        fragments: Vec<Given>,
        /// Whose fragment is wanted, too.
        me: Party,
    },
}

/// The result of [`Work`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Done<S: Suite> {
    /// The statement, with its annotation filled in, and this server's signature.
    Signed(Signed<S>),
    /// Verdicts, in the order of the claims.
    Verified(Vec<bool>),
    /// This server's share.
    CoinShare(SignedShare<S, S::CoinShare>),
    /// The coin.
    Coin {
        /// Its 256 unpredictable bits; `None` if the good shares are not a qualified set.
        value: Option<Digest>,
        /// Whose shares are good.
        good: Vec<Party>,
        /// Whose are bad; with evidence if their signature holds.
        faults: Vec<Fault>,
    },
    /// This server's share.
    SignatureShare(SignedShare<S, S::SignatureShare>),
    /// The threshold signature.
    Signature {
        /// The signature, already verified under the public key; `None` if these shares do not
        /// make one.
        signature: Option<Bytes>,
        /// Whose shares carry a proof that fails; with evidence if their signature holds.
        faults: Vec<Fault>,
        /// Whose shares carry no proof although the combination failed: ask them again.
        unproven: Vec<Party>,
    },
    /// The verdict.
    Convicted(bool),
    /// The trusted component's answer.
    Trusted(Box<Answer>),
    /// The commitment, and everybody's fragments.
    Encoded(Encoded),
    /// The value; `None` if the commitment is none to an encoding of a value. The answer is the
    /// same for all sufficient sets of fragments.
    Decoded(Option<Decoded>),
}
