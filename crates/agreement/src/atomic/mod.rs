//! Atomic broadcast: every honest server delivers the same batches in the same order.
//!
//! Each server owns a *lane*, an endless chain of batches. A batch is certified by a quorum that
//! stores it; all lanes run at once and wait for nobody. *Rounds* of [validated
//! agreement](crate::multivalued) decide nothing but a vector of certified lane heads, which
//! orders every batch up to them. Hence the bulk of the data is sent once, and latency does not
//! grow with throughput. [`AtomicBroadcast`] is one epoch; [`EpochChain`] is what runs for ever.
//!
//! # Promise
//! - *total order*, *agreement*: the sequences that two honest servers deliver are the same, one
//!   perhaps longer for now; with them go the same readings and the same seed for each batch.
//! - *integrity*: a batch is delivered once, and in an honest server's lane only what it
//!   submitted.
//! - *validity*: what an honest server submits and does not lose by crashing is delivered by all.
//! - *external validity*: a quorum's application admitted each delivered batch.
//! - *fairness*: once a head is known to all honest servers, every later round that decides an
//!   honest server's proposal orders it. A round does with probability at least about one half, so
//!   that no lane can be kept out for more than two rounds in expectation.
//! - *silence*: when everything certified is ordered, no message is sent; also with servers down.
//! - *durability*: what was delivered anywhere is delivered by all, though all crash at once.
//! - *lost memory is noticed*: a server whose log lacks a vote that the others hold is told so
//!   before it votes in that lane again, if they send it the certificate first; see below.
//! - *evidence*: an owner that shows two batches of one height to one honest server is convicted;
//!   one that shows them to two is, too, if one batch is ordered and the server that voted for the
//!   other fetches it from an honest one.
//!
//! # Model
//! Q3 (n > 3f), asynchronous, authenticated links with eventual delivery, no trusted component.
//! Servers may crash and come back with their log; one that lost it counts as corrupt.
//!
//! # Rules
//! - **L1** When items are pending and the last batch of the own lane is certified: make the next
//!   one, sign it with the present reading of the clock, persist both, send them to all.
//! - **L2** Upon a batch of its owner, at most the window ahead: check the owner's signature and
//!   the certificate of the batch before, then have the application inspect the items. Of what
//!   comes meanwhile the newest is kept. An owner that fails either has no more work made for it.
//! - **L3** When all hold, and this server never voted at that place: sign a vote with the present
//!   reading, persist batch and vote together, send the vote to the owner. Asked again, repeat it.
//! - **L4** Upon votes of a quorum: verify them all at once; bad ones are dropped and blamed.
//! - **L5** With a quorum of good votes: certify, and send the head to all. Upon a head: verify
//!   and remember it. The next batch carries the certificate, too.
//! - **L6** Upon a second batch at one place: verify both of the owner's signatures; blame.
//! - **L7** What is beyond the window is ignored; once the window moves, its owner is asked for
//!   what it has now.
//! - **L8** What is fetched comes with the owner's vote for it. If this server voted for another
//!   batch at that place: verify the owner's signatures on both; blame.
//! - **L10** In the hybrid configuration the owner has its trusted component identify a batch at
//!   its height, when it is in the log and before it is sent; nobody votes for one that is not.
//!   Heads and predecessors carry the identifier.
//! - **L11** When the component answers in another life than the group knows in this epoch: say so,
//!   and send nothing of it. A server of which that is so counts as corrupt until the layer above
//!   has the group admit the new life, with another epoch.
//! - **L9** When a certificate has this server's vote, and its log does not: say so. Somebody put
//!   an old log in place of the newer one, or a disk lost what it had promised to keep.
//! - **R1** When the round before is decided and some lane has a new head: propose the newest
//!   heads.
//! - **R2** Take part in the agreements of this round and the next; what belongs to later ones is
//!   dropped and its sender asked again.
//! - **R3** A vector is valid if its lanes ascend, each is higher than decided, there is one, and
//!   every certificate verifies. Known certificates are not verified again.
//! - **R4** The heads in a valid vector are news: they make this server propose as well.
//! - **R5** Rounds are taken in order. The vector of a round moves the window at once; the next
//!   round need not wait for the batches, since validity depends on heads alone.
//! - **D1** Deliver a decided round when all its batches are here: lane after lane, each from
//!   where it stood up to its head.
//! - **D2** The digest of a batch is in the decided vector, or in the batch above it; so is its
//!   certificate, and with it the readings.
//! - **F1** A missing batch is asked of a smallest set of its voters that has an honest one, since
//!   without a clock a silent one cannot be told from a slow one.
//! - **F2** Answer from memory, or from the log, one question of a peer at a time.
//! - **F3** Take a batch only if its digest is the one that was ordered.
//! - **C1, C2** Whoever shows to be in a later round is asked, once in each round, by `Status`;
//!   and once more when this server has got there.
//! - **C3** Upon `Status`: give the decided rounds that the sender lacks, and say where this server
//!   is, so that it asks on; if it is in this round say again all that is current. If it is, and
//!   was told last that this server is in an earlier round, tell it the present one: its answer to
//!   the earlier word lacked what is current.
//! - **C4** A decided round is taken on its certificate alone. Who gives a false one is ignored.
//! - **C5** Whoever has come further by C4 tells everybody where it is: it has skipped agreements
//!   in which others may wait for what it would have said.
//!
//! # Why it holds
//! *One digest at a place.* Two quorums share an honest server (Q3), which votes once at a place,
//! also after a crash: the vote is durable before it leaves. So certified batches of a lane form
//! one chain, and a vector of heads fixes all content below it. *Availability.* A quorum's honest
//! part has an honest server, so F1 reaches one that holds the batch durably and answers. *Order.*
//! Agreement gives one vector a round, D1 and D2 are functions of these. The certificates, hence
//! the readings, are fixed by the vector and the digests, although an owner can make several.
//! *Validity.* Every honest server admits and votes, so an honest owner's batch is certified; its
//! head reaches all honest servers, by L5 or by R4, or after a crash because it is sent again.
//! Then none is silent (R1), so that rounds are decided, each by an honest proposal with the
//! probability of [`multivalued`](crate::multivalued), and an honest proposal made after that
//! contains the head or a later one of that lane. *Silence.* A message of a round follows from a
//! proposal, that from a head that is not ordered; heads follow from items. *Durability.* Effects
//! follow the log. A note that is lost can be had again: certificates from votes, decisions from
//! the agreement's own durable votes or from peers, batches from voters.
//!
//! *Durability* with a trusted component (Q2): as long as components go on, as above. If all begin
//! another life at once, nobody can be made to repeat a vote, and a voter that denies its own may
//! be all that two quorums share. So what is decided, and the batches, are durable in the log of
//! each server before anything that follows from them leaves it: whatever an honest server told
//! anybody is in its own log, with proof.
//!
//! *With a trusted component* (Q2) two quorums may share nobody honest, and a certificate proves
//! only that a batch is stored: one of its voters is honest. That voter saw the identifier, of
//! which there is one at a place: again certified batches of a lane form one chain. Rounds are
//! decided by [`hybrid::views`](crate::hybrid::views); a batch's time is that of its identifier,
//! since the readings of a quorum's voters may all but one be false.
//!
//! *The window needs no check in R3.* A certified head has an honest voter, which saw the head
//! within the window of a vector decided before. Whoever is so far behind that the head is beyond
//! its own window is in a round that is already decided.
//!
//! # Cost
//! Nine message delays from a request at its first server to its delivery there (batch, vote,
//! head, then six of agreement), and seven durable waits in a row (batch, vote, proposal, the
//! echoes of the two broadcasts and their locks). Both are measured by the tests. A batch costs
//! each other server two signature checks at n = 4 and one signature: the owner's vote and its own
//! are in the certificate that follows, and not verified twice.
//!
//! # Bounds
//! For each lane: batches from [`KEPT_BATCHES`] below what is delivered to at most twice
//! [`WINDOW`] above, as many votes, [`WINDOW`] heads, one batch under inspection. Two agreements,
//! [`KEPT_ROUNDS`] decided rounds, [`BACKLOG_MAX`] that wait for batches: a server that is further
//! behind rests from agreement until it has fetched. For each peer one head under verification and
//! one waiting, and a bounded queue of questions to the log. Being ahead is never misconduct.
//!
//! # Left to the layer above
//! Exactly-once for what a client submits twice. A server that lost its log must not take part in
//! the epoch again: it is brought back by an epoch change. What to keep of a mark, and when a log
//! may be cut there.
//!
//! # Sources
//! Gao, Lu, Lu, Tang, Xu, Zhang, "Dumbo-NG" (CCS 2022), over Guo et al., "Speeding Dumbo" (NDSS
//! 2022). Deviations: (a) a round needs one lane that grew, not n-f, and a lane's head is sent to
//! all when it is certified: silent when idle, and one busy lane is ordered alone; fairness is
//! restated above. (b) Certificates are lists of signatures that carry clock readings, and
//! agreement is on the certificate, because the readings make the agreed time. (c) Batches link to
//! the digest of the one before, so that what is fetched is checked without its certificate. (d)
//! Credit: the window. (e) Crashes and restarts, with one durable wait for a vote.

mod agreement;
mod batch;
mod catch_up;
pub mod epochs;
mod fetch;
mod lane;
mod machine;
mod marks;
mod message;
mod order;
mod own;
mod restore;
mod round;
mod seal;
#[cfg(test)]
mod tests;

pub use agreement::{
    AgreeMessage, AgreeOutcome, AgreeRecord, AgreeTicket, Leaders, RoundAgreement, RoundDecision,
};
pub use batch::{
    ArchiveKey, BATCH_BYTES_MAX, Batch, BatchVote, Delivery, Head, Heads, Height, ITEM_BYTES_MAX,
    ITEMS_MAX, Item, Items, Predecessor, Round, batch_statement,
};
pub use epochs::EpochChain;
pub use machine::AtomicBroadcast;
pub use marks::{BATCH_WEIGHT, Frontier, Load, MARK_INTERVAL, Weigh};
pub use message::{
    Command, DecidedRound, Message, Outcome, ROUNDS_PER_MESSAGE_MAX, Record, Ticket,
};
pub use seal::BatchSeal;

/// How many batches a lane may run ahead of what is ordered.
pub const WINDOW: u64 = 16;

/// How many delivered batches of a lane stay in memory for those that fetch them.
pub const KEPT_BATCHES: u64 = 4;

/// How many decided rounds stay in memory for those that are behind.
pub const KEPT_ROUNDS: u64 = 16;

/// How many decided rounds may wait for their batches before this server rests from agreement.
pub const BACKLOG_MAX: usize = 8;

/// How far ahead of the present round a decided one is accepted.
pub const LEARNED_MAX: u64 = 32;

/// Bytes of submitted items that wait for a batch.
pub const PENDING_BYTES_MAX: usize = 16 * 1024 * 1024;
