//! Canaries of the hybrid configuration.

use super::{Canary, canary};

/// One in agreement in views.
macro_rules! views {
    ($name:literal, $file:literal, $broken:literal) => {
        canary(
            false,
            concat!("views-", $name),
            concat!("crates/agreement/src/hybrid/views/", $file),
            &["views", "hybrid-order"],
            $broken,
        )
    };
}

/// One in another protocol.
macro_rules! single {
    ($course:literal, $name:literal, $file:literal, $broken:literal) => {
        canary(
            false,
            concat!($course, "-", $name),
            concat!("crates/agreement/src/hybrid/", $course, "/", $file),
            &[$course],
            $broken,
        )
    };
}

/// One that the stand-in for the daemon plays: the core itself has no room for any.
macro_rules! ttcb {
    ($name:literal, $file:literal, $broken:literal) => {
        canary(
            false,
            concat!("ttcb-", $name),
            concat!("crates/drill/src/ttcb/", $file),
            &["ttcb"],
            $broken,
        )
    };
}

/// All of them.
pub(super) const HYBRID: &[Canary] = &[
    views!("decides-few", "machine.rs", "decides upon the leader's proposal alone"),
    views!("forgets-intent", "machine.rs", "what was to be identified is not, after a restart"),
    views!(
        "other-life-unnoticed",
        "machine.rs",
        "identifiers of another life than the group knows are used"
    ),
    views!("entry-hides-vote", "verify.rs", "an entry need not show the last vote"),
    views!(
        "identifier-unplaced",
        "justification.rs",
        "what an identifier says, and at which position, is not looked at"
    ),
    views!(
        "leader-forgets-votes",
        "enter.rs",
        "the leader of a later view proposes its own value whatever was voted for"
    ),
    views!("waits-for-ever", "enter.rs", "nobody leaves a view"),
    views!("trusts-in-a-quorum", "enter.rs", "only what a quorum may have voted for is asked for"),
    single!(
        "placed",
        "vouch-not-durable",
        "machine.rs",
        "what is vouched for is not waited for on the disk"
    ),
    single!(
        "placed",
        "vouches-for-anything",
        "machine.rs",
        "a proposal is vouched for before the application found it acceptable"
    ),
    single!(
        "placed",
        "keeps-to-itself",
        "machine.rs",
        "who decides does not say so to those that may not have heard of the proposal"
    ),
    single!(
        "placed",
        "asks-once",
        "machine.rs",
        "a component that had no answer is not asked again"
    ),
    single!(
        "placed",
        "decision-of-another",
        "message.rs",
        "a decision need not be of the value that comes with it"
    ),
    single!(
        "multicast",
        "believes-its-sender",
        "machine.rs",
        "a message is delivered whatever digest was decided"
    ),
    single!(
        "multicast",
        "delivered-not-durable",
        "machine.rs",
        "others are told before the record of what was delivered is durable"
    ),
    single!(
        "dissemination",
        "held-not-durable",
        "machine.rs",
        "a value is told to be held before it is durable"
    ),
    single!(
        "dissemination",
        "mixes-fragments",
        "machine.rs",
        "pieces of one value are passed on as those of another"
    ),
    single!("multicast", "keeps-to-itself", "machine.rs", "who delivered does not tell others"),
    single!("simple", "lock-not-durable", "machine.rs", "a lock leaves before it is durable"),
    single!("simple", "forgets-its-lock", "attempt.rs", "a lock does not bind"),
    single!("simple", "locks-on-few", "attempt.rs", "locks on what one honest server proposed"),
    ttcb!("decides-on-one", "daemon.rs", "one acknowledgement counts as everybody's"),
    ttcb!("takes-late-proposals", "daemon.rs", "a proposal is taken after its time"),
    ttcb!("takes-two-proposals", "daemon.rs", "an entity's second proposal is taken, too"),
    ttcb!("tag-unbound", "daemon.rs", "a decision is signed for whatever agreement was asked for"),
    ttcb!("two-at-a-place", "daemon.rs", "two values are identified at one position"),
    ttcb!("hides-marked", "daemon.rs", "an identifier names nothing before it: gaps go unseen"),
    ttcb!("takes-forged-calls", "daemon.rs", "the MAC of a call is not checked"),
    ttcb!("takes-replayed-calls", "daemon.rs", "the number of a call is not compared"),
    ttcb!(
        "lives-on-without-memory",
        "world.rs",
        "a component that has forgotten everything goes on in the same life"
    ),
];
