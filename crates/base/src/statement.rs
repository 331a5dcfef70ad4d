use crate::canary;
use crate::wire::{Encode, Wire, wire_enum, wire_struct};
use crate::{Digest, Epoch, GroupId, WIRE_VERSION};

/// The place of one protocol instance: a digest of wire version, group, epoch and the path of
/// labels down to the instance. Whatever is signed, shared or stored is bound to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Digest);

wire_struct!(Scope { 0 });

impl Scope {
    /// The scope of a whole epoch.
    pub fn root(group: GroupId, epoch: Epoch) -> Self {
        Self(Digest::of_encoded("maftia scope root", &(WIRE_VERSION, (group.0, epoch.0))))
    }

    /// The same under one founding of the group.
    pub fn founded(self, founding: Digest) -> Self {
        Self(Digest::of_encoded("maftia scope founding", &(self.0, founding)))
    }

    /// The scope of the child instance called `name` with number `label`.
    pub fn child(self, name: &'static str, label: u64) -> Self {
        let mut bytes = Vec::with_capacity(48 + name.len());
        bytes.extend_from_slice(&self.0.0);
        bytes.extend_from_slice(&label.to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
        Self(Digest::of("maftia scope child", &bytes))
    }

    /// The digest itself.
    pub fn digest(self) -> Digest {
        self.0
    }
}

/// What kind of thing a statement says. One list for the whole system, so that no two protocols
/// can mistake each other's signatures even within one scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatementKind {
    /// A vote in a consistent broadcast: place (step, sender), value = digest of what was sent.
    Echo,
    /// A vote that a batch is stored: place (lane, height), value = digest of the batch.
    BatchVote,
    /// Multi-valued agreement, "no lock on the leader": place (view, 0).
    PreVote,
    /// Multi-valued agreement, vote on the elected leader: place (view, 0).
    Vote,
    /// Binary agreement.
    Binary,
    /// A coin share: place (0, 0), value = digest of the share.
    CoinShare,
    /// A threshold-signature share: place = first 16 bytes of the message's digest.
    SignatureShare,
    /// A client's bundle of requests; signed by a client key, not by a party.
    Bundle,
    /// A bundle of replies to a client.
    Replies,
    /// A command that a server submits as itself.
    ServerCommand,
    /// A link's handshake or acknowledgement.
    Link,
    /// The state at a checkpoint: place (mark, 0), value = digest of the state.
    Checkpoint,
    /// What a server that has stopped holds of the order: place (epoch, round), value = digest of
    /// that and of the life of its trusted component with which it would begin anew.
    Testimony,
}

wire_enum!(StatementKind {
    0 => Echo,
    1 => BatchVote,
    2 => PreVote,
    3 => Vote,
    4 => Binary,
    5 => CoinShare,
    6 => SignatureShare,
    7 => Bundle,
    8 => Replies,
    9 => ServerCommand,
    10 => Link,
    11 => Checkpoint,
    12 => Testimony,
});

/// A position within an instance: what the numbers mean is the statement kind's affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Place(pub u64, pub u64);

wire_struct!(Place { 0, 1 });

/// Data that a signature covers and that takes no part in deciding whether two statements
/// conflict: for example the clock reading in a batch vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Annotation(pub u64);

wire_struct!(Annotation { 0 });

/// The one form of everything that servers sign.
///
/// An honest server signs at most one `value` for a `(scope, kind, place)`. Hence two statements of
/// one signer that agree in these and differ in `value` are proof of misbehaviour that anyone can
/// check without knowing the protocol: see [`Evidence`](crate::Evidence).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Statement {
    /// The instance that it belongs to.
    pub scope: Scope,
    /// What kind of thing is said.
    pub kind: StatementKind,
    /// The position within the instance.
    pub place: Place,
    /// What is said there.
    pub value: Digest,
    /// What rides along.
    pub annotation: Annotation,
}

wire_struct!(Statement { scope, kind, place, value, annotation });

impl Statement {
    /// A statement without annotation.
    pub fn new(scope: Scope, kind: StatementKind, place: Place, value: Digest) -> Self {
        Self { scope, kind, place, value, annotation: Annotation::default() }
    }

    /// The bytes that are signed.
    pub fn signing_bytes(&self) -> Vec<u8> {
        let mut bytes = b"maftia statement".to_vec();
        let place = canary!("crypto-place-unsigned", Place::default(), self.place);
        let scope = canary!("crypto-scope-unsigned", Scope(Digest::default()), self.scope);
        bytes.extend_from_slice(&Self { scope, place, ..*self }.encode());
        bytes
    }

    /// Would one honest server never sign both?
    pub fn conflicts_with(&self, other: &Self) -> bool {
        (self.scope, self.kind, self.place) == (other.scope, other.kind, other.place)
            && self.value != other.value
    }
}

const _: fn() = || {
    fn is_wire<T: Wire>() {}
    is_wire::<Statement>();
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Bytes;

    fn statement(value: u8) -> Statement {
        let scope = Scope::root(GroupId::default(), Epoch(3)).child("lane", 7);
        Statement::new(scope, StatementKind::BatchVote, Place(1, 2), Digest([value; 32]))
    }

    #[test]
    fn statements_round_trip() {
        let bytes: Bytes = statement(1).to_wire();
        assert_eq!(Statement::from_wire(bytes).expect("decodes"), statement(1));
    }

    #[test]
    fn only_another_value_in_the_same_place_conflicts() {
        let mut other_place = statement(2);
        other_place.place = Place(1, 3);
        let mut annotated = statement(1);
        annotated.annotation = Annotation(9);
        assert!(statement(1).conflicts_with(&statement(2)));
        assert!(!statement(1).conflicts_with(&other_place));
        assert!(!statement(1).conflicts_with(&annotated));
    }

    #[test]
    fn scopes_differ_by_group_epoch_founding_name_and_label() {
        let root = |epoch| Scope::root(GroupId::default(), Epoch(epoch));
        let founded = |by| root(0).founded(Digest([by; 32]));
        assert_ne!(root(0), founded(0));
        assert_ne!(founded(0), founded(1));
        assert_ne!(root(0), root(1));
        assert_ne!(root(0).child("a", 0), root(0).child("a", 1));
        assert_ne!(root(0).child("a", 0), root(0).child("b", 0));
        assert_ne!(root(0), Scope::root(GroupId(Digest([1; 32])), Epoch(0)));
    }
}
