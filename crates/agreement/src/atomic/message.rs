//! What one epoch's servers say to each other, to their log, and to the layer above.

use super::agreement::{Leaders, RoundAgreement, RoundDecision};
use super::batch::{
    ArchiveKey, Batch, BatchVote, Delivery, Head, Heads, Height, Item, Items, Round,
};
use super::seal::BatchSeal;
use maftia_base::protocol::Vocabulary;
use maftia_base::wire::{List, wire_enum, wire_struct};
use maftia_base::{Digest, Epoch, Party};
use maftia_crypto::Suite;
use std::collections::BTreeMap;

/// Most decided rounds in one message.
pub const ROUNDS_PER_MESSAGE_MAX: usize = 16;

/// What the layer above asks for.
#[derive(Clone, Debug)]
pub enum Command<S: Suite> {
    /// Order this item. The parent has checked what [`Outcome::Inspect`] asks of others.
    Submit(Item),
    /// The items of this batch of another lane are acceptable.
    Admit {
        /// In whose lane.
        lane: Party,
        /// At which height.
        height: Height,
        /// The batch's digest.
        digest: Digest,
    },
    /// These items must not be ordered; no honest server would have put them there.
    Refuse {
        /// In whose lane.
        lane: Party,
        /// At which height.
        height: Height,
        /// The batch's digest.
        digest: Digest,
    },
    /// This server wants the epoch to end.
    Turn,
    /// The answer to [`Outcome::Recall`].
    Recalled {
        /// Who needs it.
        to: Party,
        /// What was asked for.
        key: ArchiveKey,
        /// What the log has under that key.
        record: Option<Box<Record<S>>>,
    },
    /// This peer is known to be in a later epoch: whatever is missing here, it has.
    Ahead(Party),
    /// Everything up to these heads, and all rounds before this one, count as delivered.
    Install(Round, Leaders, Heads<S>),
    /// The layer above has kept what it needs of the mark at which this instance pauses.
    Continue {
        /// How much is delivered until the next mark.
        interval: u64,
        /// The number of each lane's next [`Load`](super::Load).
        loads: BTreeMap<Party, u64>,
    },
}

/// What the layer above is told.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Are these items acceptable? The answer is [`Command::Admit`] or
    /// [`Command::Refuse`], at any later time or never;
    /// until then this server does not vote for the batch.
    Inspect {
        /// In whose lane.
        lane: Party,
        /// At which height.
        height: Height,
        /// The batch's digest.
        digest: Digest,
        /// What is to be inspected.
        items: Items,
    },
    /// The next batch of the total order.
    Delivered(Delivery),
    /// All batches of this round have been delivered.
    RoundCompleted(Round),
    /// This server has signed something that is not in its log: the log was lost in part, and the
    /// server must sign nothing more. Told once.
    Forgot,
    /// This server's trusted component answers in another life than the group knows in this epoch:
    /// nothing that it identifies counts. Told once.
    OtherLife,
    /// Enough was delivered for a mark: nothing more is until [`Command::Continue`].
    Paused,
    /// A peer needs what is no longer in memory: read the log, answer [`Command::Recalled`].
    Recall {
        /// Who needs it.
        to: Party,
        /// What.
        key: ArchiveKey,
    },
}

/// A round with the proof of what it decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DecidedRound<S: Suite> {
    /// Which round.
    pub round: Round,
    /// What it decided.
    pub heads: Heads<S>,
    /// Why that is so.
    pub decision: RoundDecision<S>,
}

wire_struct!(<S: Suite> DecidedRound<S> { round, heads, decision });

/// What peers exchange.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "batches and heads are most of them")]
pub enum Message<S: Suite> {
    /// The sender's next batch, with its own vote for it.
    Batch {
        /// The batch.
        batch: Batch<S>,
        /// The sender's vote.
        vote: BatchVote<S>,
        /// In the hybrid configuration, its identifier.
        seal: Option<BatchSeal>,
    },
    /// "I store the batch of this digest at this height of your lane."
    Vote {
        /// At which height.
        height: Height,
        /// The batch's digest.
        digest: Digest,
        /// The vote.
        vote: BatchVote<S>,
    },
    /// A certified batch, of the sender's lane or of the receiver's.
    Head(Head<S>),
    /// A message of a round's agreement.
    Agree {
        /// Of which round.
        round: Round,
        /// The message.
        message: <RoundAgreement<S> as Vocabulary>::Message,
    },
    /// "Send me this batch."
    Want {
        /// In whose lane.
        lane: Party,
        /// At which height.
        height: Height,
        /// Its digest.
        digest: Digest,
    },
    /// The answer to `Want`.
    Found {
        /// In whose lane.
        lane: Party,
        /// The batch.
        batch: Batch<S>,
        /// The owner's vote for it, if the sender has it: proof against an owner that showed the
        /// receiver another batch.
        owner: Option<BatchVote<S>>,
    },
    /// "This is the round I am in; send again what I need for it."
    Status {
        /// The first round that the sender has not decided.
        round: Round,
    },
    /// Decided rounds, for one that is behind.
    Rounds(List<DecidedRound<S>, ROUNDS_PER_MESSAGE_MAX>),
}

wire_enum!(<S: Suite> Message<S> {
    0 => Batch { batch, vote, seal },
    1 => Vote { height, digest, vote },
    2 => Head(head),
    3 => Agree { round, message },
    4 => Want { lane, height, digest },
    5 => Found { lane, batch, owner },
    6 => Status { round },
    7 => Rounds(rounds),
});

/// What must survive a crash.
#[derive(Clone, Debug, Hash)]
pub enum Record<S: Suite> {
    /// This server's own next batch, with its vote for it.
    Own {
        /// This server.
        lane: Party,
        /// The batch.
        batch: Batch<S>,
        /// Its vote.
        vote: BatchVote<S>,
    },
    /// A batch of another lane that this server voted for. It forbids a vote for another batch at
    /// that place.
    Voted {
        /// In whose lane.
        lane: Party,
        /// The batch.
        batch: Batch<S>,
        /// Its owner's vote, which makes a second batch at that place evidence.
        owner: BatchVote<S>,
        /// This server's vote.
        vote: BatchVote<S>,
    },
    /// A vote of which the batch, if it is still needed, is in another record.
    Cast {
        /// In whose lane.
        lane: Party,
        /// At which height.
        height: Height,
        /// The batch's digest.
        digest: Digest,
        /// Its owner's vote, which makes a second batch at that place evidence.
        owner: BatchVote<S>,
        /// This server's vote.
        vote: BatchVote<S>,
    },
    /// A note: this server's own batch was certified.
    Certified(Head<S>),
    /// A note, but durable before what follows from it with trusted components, as is what an
    /// agreement decides: a round that this server learned by its certificate. One that it decided
    /// itself is among the records of that round's agreement.
    Learned {
        /// The round.
        decided: DecidedRound<S>,
        /// The agreed seed.
        seed: Digest,
    },
    /// The same: a batch that was ordered and that no other record of this log has.
    Kept {
        /// In whose lane.
        lane: Party,
        /// The batch.
        batch: Batch<S>,
    },
    /// A record of a round's agreement.
    Agree {
        /// Of which round.
        round: Round,
        /// The record.
        record: <RoundAgreement<S> as Vocabulary>::Record,
    },
}

wire_enum!(<S: Suite> Record<S> {
    0 => Own { lane, batch, vote },
    1 => Voted { lane, batch, owner, vote },
    2 => Certified(head),
    3 => Learned { decided, seed },
    4 => Kept { lane, batch },
    5 => Agree { round, record },
    6 => Cast { lane, height, digest, owner, vote },
});

impl<S: Suite> Record<S> {
    /// Under which name a peer may ask for it, if it is a record of `epoch`.
    pub fn archive_key(&self, epoch: Epoch) -> Option<ArchiveKey> {
        match self {
            Self::Own { lane, batch, .. }
            | Self::Voted { lane, batch, .. }
            | Self::Kept { lane, batch } => {
                Some(ArchiveKey::Batch { epoch, lane: *lane, height: batch.height })
            }
            Self::Learned { decided, .. } => {
                Some(ArchiveKey::Round { epoch, round: decided.round })
            }
            Self::Agree { round, record } if record.is_decided() => {
                Some(ArchiveKey::Round { epoch, round: *round })
            }
            Self::Certified(_) | Self::Cast { .. } | Self::Agree { .. } => None,
        }
    }

    /// What a peer that asked for it is sent.
    pub(super) fn answer(self) -> Option<Message<S>> {
        match self {
            Self::Own { lane, batch, vote: owner } | Self::Voted { lane, batch, owner, .. } => {
                Some(Message::Found { lane, batch, owner: Some(owner) })
            }
            Self::Kept { lane, batch } => Some(Message::Found { lane, batch, owner: None }),
            Self::Learned { decided, .. } => List::new(vec![decided]).map(Message::Rounds),
            Self::Agree { round, record } => {
                let (heads, decision, _) = record.decided()?;
                List::new(vec![DecidedRound { round, heads, decision }]).map(Message::Rounds)
            }
            Self::Certified(_) | Self::Cast { .. } => None,
        }
    }
}

/// Names a piece of work.
#[derive(Clone, Debug)]
pub enum Ticket<S: Suite> {
    /// Signing this server's own batch at this height.
    Own(Height),
    /// Having this server's own batch at this height identified.
    Seal(Height),
    /// Verifying the votes for this server's own batch at this height.
    Votes(Height),
    /// Verifying the owner's vote and the predecessor's certificate of the batch of a lane.
    Batch {
        /// In whose lane.
        lane: Party,
        /// The batch's digest.
        digest: Digest,
    },
    /// Signing the vote for the batch of a lane.
    Vote {
        /// In whose lane.
        lane: Party,
        /// The batch's digest.
        digest: Digest,
    },
    /// Verifying the owner's votes for two batches at the same place.
    Conflict {
        /// In whose lane.
        lane: Party,
        /// From whom the second vote came: from the owner, or from one that it sent it to.
        from: Party,
    },
    /// Verifying a head that this peer sent.
    Head {
        /// Who sent it.
        from: Party,
        /// In whose lane.
        lane: Party,
    },
    /// Verifying the certificates in a value that was proposed in a round.
    Value {
        /// Of which round.
        round: Round,
        /// The value's digest.
        digest: Digest,
    },
    /// One of the checks of a decided round.
    Decided {
        /// Of which round.
        round: Round,
        /// Which check.
        part: u64,
    },
    /// Work of a round's agreement.
    Agree {
        /// Of which round.
        round: Round,
        /// Which work.
        ticket: <RoundAgreement<S> as Vocabulary>::Ticket,
    },
}
