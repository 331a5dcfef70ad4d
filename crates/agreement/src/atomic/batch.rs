//! What lanes are made of: items, batches, certified heads, and what is delivered in the end.

use super::seal::BatchSeal;
use maftia_base::time::Reading;
use maftia_base::wire::{
    self, Blob, Buf, BufMut, EncodeSize, List, Read, ReadExt, Write, wire_enum, wire_struct,
};
use maftia_base::{
    Annotation, Digest, Epoch, PARTIES_MAX, Party, PartySet, Place, Scope, Statement, StatementKind,
};
use maftia_crypto::{Certificate, Claim, SealClaim, Signed, Suite, Work};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// Largest item.
pub const ITEM_BYTES_MAX: usize = 128 * 1024;

/// Most items in one batch.
pub const ITEMS_MAX: usize = 4096;

/// Most bytes of encoded items in one batch.
pub const BATCH_BYTES_MAX: usize = 512 * 1024;

/// What the layer above wants ordered; opaque here.
pub type Item = Blob<ITEM_BYTES_MAX>;

/// A batch's number in its lane; the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Height(pub u64);

/// A round's number in its epoch; the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Round(pub u64);

wire_struct!(Height { 0 });
wire_struct!(Round { 0 });

impl Height {
    /// The next one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The one before; the one before the first is 0.
    pub(super) fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// `by` further on.
    pub(super) fn plus(self, by: u64) -> Self {
        Self(self.0.saturating_add(by))
    }
}

impl Round {
    /// The next one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The items of one batch, cheap to clone: at most [`ITEMS_MAX`] of them and at most
/// [`BATCH_BYTES_MAX`] bytes together.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Items(Arc<[Item]>);

impl Items {
    /// Wraps `items`; `None` if they exceed a bound.
    pub fn new(items: Vec<Item>) -> Option<Self> {
        let bytes: usize = items.iter().map(EncodeSize::encode_size).sum();
        (items.len() <= ITEMS_MAX && bytes <= BATCH_BYTES_MAX).then(|| Self(items.into()))
    }
}

impl Default for Items {
    fn default() -> Self {
        Self(Vec::new().into())
    }
}

impl Deref for Items {
    type Target = [Item];
    fn deref(&self) -> &[Item] {
        &self.0
    }
}

impl fmt::Debug for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} items]", self.0.len())
    }
}

impl Write for Items {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.len().write(buf);
        self.0.iter().for_each(|item| item.write(buf));
    }
}

impl EncodeSize for Items {
    fn encode_size(&self) -> usize {
        self.0.len().encode_size() + self.0.iter().map(EncodeSize::encode_size).sum::<usize>()
    }
}

impl Read for Items {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, wire::Error> {
        let len = usize::read_cfg(buf, &wire::RangeCfg::from(0..=ITEMS_MAX))?;
        let mut items = Vec::with_capacity(len.min(64));
        let mut bytes = 0;
        for _ in 0..len {
            let item = Item::read(buf)?;
            bytes += item.encode_size();
            if bytes > BATCH_BYTES_MAX {
                return Err(wire::Error::Invalid("Items", "more bytes than a batch may have"));
            }
            items.push(item);
        }
        Ok(Self(items.into()))
    }
}

/// The batch before this one, with the proof that it is stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Predecessor<S: Suite> {
    /// Its digest.
    pub digest: Digest,
    /// A quorum's votes for it.
    pub certificate: Certificate<S>,
    /// In the hybrid configuration: its owner's trusted component identified it at its place.
    pub seal: Option<BatchSeal>,
}

wire_struct!(<S: Suite> Predecessor<S> { digest, certificate, seal });

/// One link of a lane. Whose lane it is follows from where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Batch<S: Suite> {
    /// Its number in the lane.
    pub height: Height,
    /// The batch before; `None` exactly for the first.
    pub previous: Option<Predecessor<S>>,
    /// Does the lane's owner want the epoch to end?
    pub turn: bool,
    /// What is to be ordered; empty only if `turn`.
    pub items: Items,
}

wire_struct!(<S: Suite> Batch<S> { height, previous, turn, items });

impl<S: Suite> Batch<S> {
    /// The digest that is voted for; it binds the whole lane up to here.
    pub fn digest(&self) -> Digest {
        Digest::of_encoded("maftia atomic batch", self)
    }

    /// Can an honest owner have made it?
    pub(super) fn is_well_formed(&self) -> bool {
        self.height >= Height(1)
            && self.previous.is_some() == (self.height > Height(1))
            && (self.turn || !self.items.is_empty())
    }
}

/// A batch with its digest, computed once.
#[derive(Clone, Debug)]
pub(super) struct Sealed<S: Suite> {
    pub(super) batch: Batch<S>,
    pub(super) digest: Digest,
}

impl<S: Suite> Sealed<S> {
    pub(super) fn new(batch: Batch<S>) -> Self {
        let digest = batch.digest();
        Self { batch, digest }
    }

    pub(super) fn into_batch(self) -> Batch<S> {
        self.batch
    }
}

impl<S: Suite> Hash for Sealed<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

/// The statement by which a server says that it stores a batch.
pub fn batch_statement(scope: Scope, lane: Party, height: Height, digest: Digest) -> Statement {
    let place = Place(lane.index() as u64, height.0);
    Statement::new(scope, StatementKind::BatchVote, place, digest)
}

/// A vote for a batch as it travels: the rest of the statement is known to the receiver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchVote<S: Suite> {
    /// The voter's clock when it voted.
    pub reading: Reading,
    /// Its signature on the statement with that reading.
    pub signature: S::Signature,
}

wire_struct!(<S: Suite> BatchVote<S> { reading, signature });

impl<S: Suite> BatchVote<S> {
    pub(super) fn of(signed: &Signed<S>) -> Self {
        let reading = Reading(signed.statement.annotation.0);
        Self { reading, signature: signed.signature.clone() }
    }

    pub(super) fn signed(&self, statement: Statement) -> Signed<S> {
        let annotation = Annotation(self.reading.0);
        Signed {
            statement: Statement { annotation, ..statement },
            signature: self.signature.clone(),
        }
    }

    pub(super) fn claim(&self, party: Party, statement: Statement) -> Claim<S> {
        let Signed { statement, signature } = self.signed(statement);
        Claim { party, statement, signature }
    }
}

/// A certified batch, as agreement sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Head<S: Suite> {
    /// In whose lane.
    pub lane: Party,
    /// At which height.
    pub height: Height,
    /// Its digest.
    pub digest: Digest,
    /// A quorum's votes for it.
    pub certificate: Certificate<S>,
    /// In the hybrid configuration: its owner's trusted component identified it at its place.
    pub seal: Option<BatchSeal>,
}

wire_struct!(<S: Suite> Head<S> { lane, height, digest, certificate, seal });

impl<S: Suite> Head<S> {
    pub(super) fn statement(&self, scope: Scope) -> Statement {
        batch_statement(scope, self.lane, self.height, self.digest)
    }
}

/// What a round decides: the lanes that grew, in ascending order, each with its new head.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Heads<S: Suite>(pub List<Head<S>, PARTIES_MAX>);

wire_struct!(<S: Suite> Heads<S> { 0 });

impl<S: Suite> Deref for Heads<S> {
    type Target = [Head<S>];
    fn deref(&self) -> &[Head<S>] {
        &self.0
    }
}

/// One batch at its place in the total order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Delivery {
    /// In which epoch.
    pub epoch: Epoch,
    /// By which round.
    pub round: Round,
    /// From whose lane.
    pub lane: Party,
    /// At which height of it.
    pub height: Height,
    /// What was ordered.
    pub items: Items,
    /// Does the lane's owner want the epoch to end?
    pub turn: bool,
    /// Who voted for the batch, and what each one's clock showed when it did. The same at every
    /// server; the voters are a quorum. Every honest reading is later than the voter's first sight
    /// of the batch.
    pub readings: Vec<(Party, Reading)>,
    /// In the hybrid configuration, when the owner's trusted component identified the batch: at the
    /// latest then, in microseconds since 1970-01-01 UTC. The same at every server.
    pub sealed: Option<Reading>,
    /// Randomness that no honest server could predict when the batch was certified, different for
    /// every batch; see [`multivalued`](crate::multivalued) for who may learn it early.
    pub seed: Digest,
}

/// Under which name a record is found again in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArchiveKey {
    /// A batch. Of several records with this key the last one counts.
    Batch {
        /// In which epoch.
        epoch: Epoch,
        /// In whose lane.
        lane: Party,
        /// At which height.
        height: Height,
    },
    /// A decided round.
    Round {
        /// In which epoch.
        epoch: Epoch,
        /// Which one.
        round: Round,
    },
}

wire_enum!(ArchiveKey { 0 => Batch { epoch, lane, height }, 1 => Round { epoch, round } });

impl ArchiveKey {
    /// The epoch that it is of.
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Batch { epoch, .. } | Self::Round { epoch, .. } => *epoch,
        }
    }
}

/// What is left to verify.
#[derive(Clone, Debug)]
pub(super) struct Open<S: Suite> {
    pub(super) claims: Vec<Claim<S>>,
    pub(super) seals: Vec<SealClaim>,
}

impl<S: Suite> Default for Open<S> {
    fn default() -> Self {
        Self { claims: Vec::new(), seals: Vec::new() }
    }
}

impl<S: Suite> Open<S> {
    pub(super) fn extend(&mut self, other: Self) {
        self.claims.extend(other.claims);
        self.seals.extend(other.seals);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.seals.is_empty()
    }

    pub(super) fn work(self) -> Work<S> {
        match self.seals.is_empty() {
            true => Work::Verify(self.claims),
            false => Work::VerifyWithSeals(self.claims, self.seals),
        }
    }
}

/// The claims that make `certificate` one for `statement`, without those whose signature is
/// already `known` to hold; `None` if its voters are not a quorum of `parties`.
pub(super) fn open_claims<S: Suite>(
    certificate: &Certificate<S>,
    statement: Statement,
    is_quorum: impl Fn(PartySet) -> bool,
    known: impl Fn(&Claim<S>) -> bool,
) -> Option<Vec<Claim<S>>> {
    let voters = certificate.voters()?;
    is_quorum(voters).then(|| certificate.claims(statement).filter(|claim| !known(claim)).collect())
}

/// The readings that a certificate carries.
pub(super) fn readings<S: Suite>(certificate: &Certificate<S>) -> Vec<(Party, Reading)> {
    certificate.ballots().iter().map(|vote| (vote.party, Reading(vote.annotation.0))).collect()
}
