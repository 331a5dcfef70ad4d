//! What a local trusted component signs with the key of its life, and its key guard certifies.

use crate::entity::{Boot, Elist, EntityId, Function, Host, Interval, Moment, Value};
use crate::fixed_struct;
use crate::wire::{Fixed, Writer};
use ed25519_dalek::{Signature, VerifyingKey};

/// An Ed25519 signature (RFC 8032), or what stands for one in a simulation.
pub type Seal = [u8; 64];

/// Names an agreement: a digest of who takes part, when it starts, how it decides and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tag(pub [u8; 32]);

fixed_struct!(Tag { 0: [u8; 32] });

/// Everything that tells one agreement from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    /// Who may propose.
    pub elist: Elist,
    /// When proposals are closed: nobody can delay it beyond.
    pub tstart: Moment,
    /// How it decides.
    pub function: Function,
    /// What it is about; of no meaning to the wormhole.
    pub context: Value,
}

fixed_struct!(Instance { elist: Elist, tstart: Moment, function: Function, context: Value });

impl Instance {
    /// Its name.
    pub fn tag(&self) -> Tag {
        Tag(digest("maftia ttcb agreement", self))
    }
}

/// The members of an order, and what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel {
    /// Who vouches for values and is told the order.
    pub elist: Elist,
    /// How many have to vouch for a value before it is ordered.
    pub threshold: u8,
    /// Greater than those of all channels that the entity opened before.
    pub sequence: u64,
    /// What it is about; of no meaning to the wormhole.
    pub context: Value,
}

fixed_struct!(Channel { elist: Elist, threshold: u8, sequence: u64, context: Value });

impl Channel {
    /// Its name.
    pub fn tag(&self) -> Tag {
        Tag(digest("maftia ttcb channel", self))
    }
}

/// Something that a local trusted component says and anyone can check.
pub trait Statement: Fixed {
    /// What keeps its signature apart from all others.
    const KIND: &'static str;

    /// What is signed in place of the statement.
    fn digest(&self) -> [u8; 32] {
        digest(Self::KIND, self)
    }
}

/// What an agreement decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decision {
    /// Which agreement.
    pub tag: Tag,
    /// The decided value; `None` if whoever had to propose one did not.
    pub value: Option<Value>,
    /// Who proposed that value: a bit for each position in the list (`proposed-ok`).
    pub proposed_value: u32,
    /// Who proposed any (`proposed-any`).
    pub proposed_any: u32,
}

fixed_struct!(Decision {
    tag: Tag,
    value: Option<Value>,
    proposed_value: u32,
    proposed_any: u32,
});

impl Statement for Decision {
    const KIND: &'static str = "maftia ttcb decision";
}

/// A value's place in the order of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ordered {
    /// Which channel.
    pub channel: Tag,
    /// The place; the first is 1.
    pub number: u64,
    /// What stands there.
    pub value: Value,
    /// Who had vouched for it: a bit for each position in the list.
    pub vouchers: u32,
    /// Randomness that was not known to anybody outside before.
    pub seed: Value,
}

fixed_struct!(Ordered { channel: Tag, number: u64, value: Value, vouchers: u32, seed: Value });

impl Statement for Ordered {
    const KIND: &'static str = "maftia ttcb order";
}

/// A unique sequential identifier: at this position of this counter the entity identified this
/// value and no other. The last one before that was *marked* is named, so that it cannot be hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Identifier {
    /// Who.
    pub entity: EntityId,
    /// In which of its counters.
    pub counter: u8,
    /// The position of the last marked identifier before this one; 0 if there is none.
    pub last: u128,
    /// What was identified there.
    pub last_value: Value,
    /// The position.
    pub position: u128,
    /// What is identified.
    pub value: Value,
    /// Is this one to be named by those that follow?
    pub marked: bool,
    /// When it was; unknown if the clock was not synchronised.
    pub time: Option<Interval>,
}

fixed_struct!(Identifier {
    entity: EntityId,
    counter: u8,
    last: u128,
    last_value: Value,
    position: u128,
    value: Value,
    marked: bool,
    time: Option<Interval>,
});

impl Statement for Identifier {
    const KIND: &'static str = "maftia ttcb identifier";
}

/// The public keys of one life of a local trusted component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootKeys {
    /// On which host.
    pub host: Host,
    /// The key guard's counter when it booted: greater than at any boot before, unless the guard's
    /// state was rolled back.
    pub epoch: u64,
    /// With which it signs (Ed25519).
    pub signing: [u8; 32],
    /// With which keys are agreed on over the control channel (X25519).
    pub exchange: [u8; 32],
}

fixed_struct!(BootKeys { host: Host, epoch: u64, signing: [u8; 32], exchange: [u8; 32] });

impl BootKeys {
    /// The life that these are the keys of.
    pub fn boot(&self) -> Boot {
        Boot::of_key(&self.signing)
    }
}

impl Statement for BootKeys {
    const KIND: &'static str = "maftia ttcb boot keys";
}

/// A statement with the signature of who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sealed<T> {
    /// What is said.
    pub said: T,
    /// The signature on its digest.
    pub seal: Seal,
}

impl<T: Statement> Fixed for Sealed<T> {
    const SIZE: usize = T::SIZE + 64;
    fn write(&self, to: &mut Writer<'_>) {
        to.put(&self.said).put(&self.seal);
    }
    fn read(from: &mut crate::wire::Reader<'_>) -> Result<Self, crate::wire::Malformed> {
        Ok(Self { said: from.take()?, seal: from.take()? })
    }
}

impl<T: Statement> Sealed<T> {
    /// Is this the Ed25519 signature of who has that key?
    pub fn is_signed_by(&self, key: &[u8; 32]) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(key) else { return false };
        key.verify_strict(&self.said.digest(), &Signature::from_bytes(&self.seal)).is_ok()
    }
}

/// A digest of a value in a domain of its own, without allocation.
pub fn digest<T: Fixed>(domain: &'static str, value: &T) -> [u8; 32] {
    let mut buffer = [0; DIGESTED_MAX];
    let mut writer = Writer::new(&mut buffer);
    writer.put(value);
    let len = writer.len();
    blake3::derive_key(domain, &buffer[..len])
}

/// Room for the largest value that is ever digested.
const DIGESTED_MAX: usize = 1024;
