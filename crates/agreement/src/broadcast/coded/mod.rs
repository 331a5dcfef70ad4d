//! Coded broadcast: reliable broadcast of large values, whose cost is shared.
//!
//! # Promise
//!
//! That of [reliable broadcast](super::reliable), for values of up to [`CODED_BYTES_MAX`]:
//!
//! - *Validity.* If the sender is honest and broadcasts `v`, every honest server delivers `v`.
//! - *Agreement.* No two honest servers deliver different values.
//! - *Integrity.* An honest server delivers at most once, and from an honest sender only what it
//!   broadcast.
//! - *Totality.* If one honest server delivers, all do.
//! - *Cost.* Without faults and losses, each server sends `(n - 1) / k` times the value, the sender
//!   twice that, and each receives `n / k` times the value; `k` is at least a third of `n` at a
//!   threshold. In reliable broadcast it is `n` times the value for each.
//!
//! # Model
//!
//! Any adversary structure with Q3 (no three corruptible sets cover the group), asynchronous
//! authenticated links with eventual delivery in the sense of [`maftia_base::protocol`]; servers
//! may crash and restart with their log. Collision resistance of the hash; no signatures.
//!
//! A value is cut into `n` fragments, one for each server, of which any `k` make it up; each
//! fragment is cut into pieces, each of which holds under one commitment to all of them and to the
//! value's length: see [`Work::Encode`](maftia_crypto::Work::Encode). Here `k` is the least number
//! of honest servers in any quorum, [`honest_in_any_quorum`]: `n - 2f` at a threshold. A fragment
//! is *complete* once all its pieces are here and hold.
//!
//! # Rules
//!
//! - R1. On the command, the sender logs the value and has it encoded. Then it sends each server
//!   the pieces of that server's fragment, SEND(c, piece), and ECHO(c, piece) of its own to all.
//! - R2. Upon a piece of this server's fragment from the sender, if it holds under the first
//!   commitment c that the sender named: log it and send ECHO(c, piece) to all.
//! - R3. Upon complete fragments under c from a quorum: have them decoded and encoded again. If
//!   that gives c, send READY(c) to all, if no READY was sent; if not, the sender lied, and nothing
//!   follows from c.
//! - R4. Upon READY(c) from a set that has an honest server: the same READY.
//! - R5. Upon READY(c) from a set that has an honest quorum, and k complete fragments under c: have
//!   them decoded, if they were not; deliver the value.
//! - R6. Upon decoding a value under c: log and echo what is missing of our own fragment of it,
//!   unless we have echoed under another commitment; then, upon delivery, log the fragment of the
//!   value in place of the other.
//! - R7. Upon a peer's reconnection: send it our READY again, and OFFER(c) if we have a fragment to
//!   give. Upon an OFFER that names what is lacking here, before delivery: answer WANT. Upon the
//!   first WANT after each OFFER: send READY, the whole fragment, and, at the sender, SEND of the
//!   peer's fragment if the peer lacks it. The fragment goes as ECHO, or as GIVE(c, piece) once we
//!   have delivered.
//! - R8. Upon GIVE(c, piece): as upon ECHO, and what its sender echoed under another commitment
//!   counts no more.
//!
//! # Why it holds
//!
//! *Agreement.* Two quorums share an honest server (see [reliable broadcast](super::reliable)), and
//! an honest server echoes under one commitment only: R2 takes the first, R6 respects it. So at
//! most one c passes R3 at any honest server. The first honest READY is sent by R3, the others
//! repeat it (R4 needs an honest one), so all honest READY carry that c, and R5 needs one. Who sent
//! the first has encoded the value again and got c: hence all fragments that hold under c are of
//! that value, and R5 gives it everywhere. That a GIVE counts as an ECHO changes nothing: an honest
//! one comes after a delivery under its c, which then has passed R3 by ECHO alone.
//!
//! *Totality.* If R5 held somewhere, the honest ones among its READY pass R4 everywhere; then all
//! honest servers send READY, and these have an honest quorum. The value: some honest server had
//! complete fragments from a quorum, of which at least k are of honest servers. Each of these had
//! its pieces in its log before it sent them, sends all of them to all, and offers them at every
//! reconnection. So k fragments arrive everywhere. Neither the sender nor a fragment of one's own
//! is needed.
//!
//! *Validity.* All honest servers echo all pieces, and they are a quorum. (R6 echoes, too: else
//! who decodes before it has its fragment from the sender would be missing in the quorums of the
//! others.) The sender's value is in its log before anything of it leaves; encoding it again after
//! a restart gives the same pieces.
//!
//! *A faulty sender.* What is not the encoding of a value is refused by everyone who decodes it,
//! with whatever fragments, and nobody delivers anything: the outcome is the same everywhere, and
//! the instance never settles, as with a sender that is silent. So it is a suspicion and no
//! outcome; honest servers echo only what the sender itself gave them, so that a quorum of
//! fragments under c convicts the sender in the eyes of whoever has them.
//!
//! *R7.* The WANT that follows an OFFER, and its answer, are delivered, or both ends are told
//! `Reconnected` and there is another OFFER. A WANT is not answered only if an earlier one was
//! answered after that OFFER was sent. Whom a corrupt sender gave a fragment of something else
//! serves that of the value once it has delivered (R6, R8): all who delivered can help, and not
//! only those that the sender chose. An answer is always the whole fragment, and SEND is declined
//! only by who has its fragment in its log; so a WANT of an earlier incarnation does no harm.
//! Questions rather than everything at once: a server that restarts would otherwise be sent by all
//! what it has delivered long ago.
//!
//! # Bounds
//!
//! `2n^2 + n` messages for a value of one stripe, `n^2 + n` more for each further one. Messages
//! have at most [`PIECE_BYTES`](maftia_crypto::PIECE_BYTES) and a path. Three delays and three
//! sequential durable waits: the sender's value, the pieces (logged as they arrive, each echoed at
//! once), and READY. A server logs its fragment, and after delivery notes the value.
//!
//! A server holds [`footprint_max`] items at most, whatever peers send: of each peer one fragment,
//! under the commitment that it echoed first or gave, and its own; the sender also holds
//! everybody's. In bytes, each of these is at most the largest value divided by `k`, and of one
//! value no more than `k` are held. Whoever sent a piece that does not hold, or of a second
//! commitment, has no more pieces checked. One value is decoded in each instance, since only one c
//! passes R3 or R5. Upon delivery all is dropped but the own fragment.
//!
//! What R7 sends without being asked is two short messages. An answer is two fragments at most:
//! for `k > 1` at most the largest value, half of what a link queues for one peer. For `k = 1` its
//! tail may be dropped; then the peer has its own fragment and asks for the other next time. How
//! many instances a sender may have open is up to the layer above, and so is when one that has
//! delivered is dropped. Who comes after the others have delivered asks by [`Command::Ask`] and
//! delivers by R4 and R5.
//!
//! # Sources
//!
//! C. Cachin, S. Tessaro, "Asynchronous verifiable information dispersal", SRDS 2005; READY without
//! a fragment is from A. Miller et al., "The honey badger of BFT protocols", CCS 2016. Deviations:
//! (a) quorums of an adversary structure instead of numbers, and k derived from it; (b) dispersal
//! and retrieval are one: who has READY of an honest quorum decodes; (c) pieces, echoed one by one;
//! (d) a Merkle tree for the vector of hashes; (e) restart and reconnection.

pub(crate) mod fragments;
mod machine;
mod message;
pub(crate) mod parts;

pub use machine::CodedBroadcast;
pub use message::{Command, Message, Outcome, PART_BYTES_MAX, Record, Ticket};

use maftia_base::{AdversaryStructure, PartySet};
use maftia_crypto::Code;

pub use maftia_crypto::CODED_BYTES_MAX;

/// The least number of honest servers that any quorum contains, whatever the adversary chose: the
/// least that any two corruptible sets together leave over. `n - 2f` at a threshold; at least 1
/// under Q3.
pub fn honest_in_any_quorum(structure: &AdversaryStructure) -> usize {
    if let Some(f) = structure.threshold_f() {
        return structure.n().saturating_sub(2 * f);
    }
    let (all, maximal) = (PartySet::all(structure.n()), structure.maximal_sets());
    let left = |a: &PartySet, b: &PartySet| all.difference(a.union(*b)).len();
    let pairs = maximal.iter().enumerate().flat_map(|(i, a)| {
        let left = &left;
        maximal[i..].iter().map(move |b| left(a, b))
    });
    pairs.min().unwrap_or(structure.n())
}

/// How many fragments make up a value in groups with this structure: under Q3
/// [`honest_in_any_quorum`]; where only two sets do not cover the group, as many servers as are
/// honest for certain (`n - f`), see [`dissemination`](crate::hybrid::dissemination).
pub fn fragments_needed(structure: &AdversaryStructure) -> usize {
    if structure.check_q3().is_ok() {
        return honest_in_any_quorum(structure);
    }
    let largest = match structure.threshold_f() {
        Some(f) => f,
        None => structure.maximal_sets().iter().map(|set| set.len()).max().unwrap_or(0),
    };
    structure.n() - largest
}

/// The code for groups with this structure. For a general structure it looks at all triples of its
/// sets: make it once, not for each broadcast.
pub fn code_of(structure: &AdversaryStructure) -> Code {
    let k = fragments_needed(structure);
    Code::new(structure.n(), k).expect("no corruptible set is the group, nor two under Q3")
}

/// Most items that an instance holds: pieces and votes.
pub fn footprint_max(code: Code) -> usize {
    (2 * code.n() + 1) * code.pieces_max() + code.n()
}
