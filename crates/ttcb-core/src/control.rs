//! What local trusted components say to each other over the control channel.

use maftia_ttcb_api::wire::{Fixed, Malformed, Reader, Writer};
use maftia_ttcb_api::{
    Boot, EntityId, HOSTS_MAX, Host, Instance, Moment, Ordered, Span, Tag, Value, fixed_struct,
};

/// Who sent a frame: a host's component, in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// On which host.
    pub host: Host,
    /// In which life.
    pub boot: Boot,
}

/// A vector of proposals, by position in the list: nothing at those that proposed nothing, or
/// whose component was not heard in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Vector {
    /// What was proposed.
    pub values: [Option<Value>; HOSTS_MAX],
}

impl Fixed for Vector {
    const SIZE: usize = HOSTS_MAX * 33;
    fn write(&self, to: &mut Writer<'_>) {
        self.values.iter().for_each(|value| value.write(to));
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut vector = Self::default();
        for value in &mut vector.values {
            *value = from.take()?;
        }
        Ok(vector)
    }
}

/// Ballots of an order, greater ones later; the leader is the member at the ballot's remainder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ballot(pub u32);

/// An entry of an order as it travels: where it stands, what, and in which ballot it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Entry {
    /// In which ballot a leader put it there.
    pub ballot: Ballot,
    /// The place.
    pub number: u64,
    /// What stands there.
    pub value: Value,
    /// Who had vouched for it.
    pub vouchers: u32,
    /// The leader's random bits.
    pub seed: Value,
    /// Is it known to be chosen?
    pub chosen: bool,
}

impl Entry {
    /// As it is told outside.
    pub fn ordered(&self, channel: Tag) -> Ordered {
        let Self { number, value, vouchers, seed, .. } = *self;
        Ordered { channel, number, value, vouchers, seed }
    }
}

fixed_struct!(Ballot { 0: u32 });
fixed_struct!(Entry {
    ballot: Ballot,
    number: u64,
    value: Value,
    vouchers: u32,
    seed: Value,
    chosen: bool,
});

/// How many entries a promise carries, and hence how many may be open at once.
pub const OPEN_MAX: usize = 8;

/// What stands in the log from some place on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Entries {
    /// In ascending order of their numbers; those with number 0 are none.
    pub entries: [Entry; OPEN_MAX],
}

impl Fixed for Entries {
    const SIZE: usize = OPEN_MAX * Entry::SIZE;
    fn write(&self, to: &mut Writer<'_>) {
        self.entries.iter().for_each(|entry| entry.write(to));
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut entries = Self::default();
        for entry in &mut entries.entries {
            *entry = from.take()?;
        }
        Ok(entries)
    }
}

/// A frame of the control channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant)]
pub enum Control {
    /// Clocks: what does yours show?
    Probe {
        /// The asker's local time.
        sent: u64,
    },
    /// Clocks: this.
    Reading {
        /// The asker's local time.
        sent: u64,
        /// The common time as the answerer's clock shows it.
        time: Moment,
        /// The time of its host's own clock.
        host: Moment,
        /// Is its clock synchronised?
        synchronised: bool,
    },
    /// Agreement: what the sender's entity proposed, for good.
    Proposal {
        /// In which agreement.
        instance: Instance,
        /// The value, if there is one.
        value: Option<Value>,
    },
    /// Agreement: the sender acknowledges this vector, and never another.
    Vote {
        /// In which agreement.
        instance: Instance,
        /// The vector.
        vector: Vector,
    },
    /// Order: the sender's entity vouches for this value.
    Vouch {
        /// In which channel.
        channel: Tag,
        /// The value.
        value: Value,
    },
    /// Order: the sender has joined, and has everything before this place.
    Joined {
        /// Which channel.
        channel: Tag,
        /// The first place that it has not.
        from: u64,
    },
    /// Order: the leader of a ballot puts a value at a place.
    Accept {
        /// In which channel.
        channel: Tag,
        /// The entry.
        entry: Entry,
    },
    /// Order: the sender has accepted it.
    Accepted {
        /// In which channel.
        channel: Tag,
        /// In which ballot.
        ballot: Ballot,
        /// Which place.
        number: u64,
    },
    /// Order: promise to accept nothing of earlier ballots, and tell what you have from there on.
    Prepare {
        /// In which channel.
        channel: Tag,
        /// Which ballot begins.
        ballot: Ballot,
        /// The first place that is not known to be chosen.
        from: u64,
    },
    /// Order: the promise.
    Promise {
        /// In which channel.
        channel: Tag,
        /// Which ballot.
        ballot: Ballot,
        /// What the sender has accepted.
        entries: Entries,
    },
    /// Order: these are chosen.
    Chosen {
        /// In which channel.
        channel: Tag,
        /// What stands where.
        entries: Entries,
    },
    /// Timing failure detection: this message was sent.
    Sent {
        /// By whom.
        from: EntityId,
        /// To whom.
        to: EntityId,
        /// The message's digest.
        value: Value,
        /// What the sender's clock showed.
        at: Moment,
        /// How long it may take.
        within: Span,
    },
}

/// The size of whatever is said.
pub const CONTROL_BYTES: usize = 832;

macro_rules! control {
    ($($number:literal => $variant:ident { $($field:ident),* }),* $(,)?) => {
        impl Fixed for Control {
            const SIZE: usize = CONTROL_BYTES;
            fn write(&self, to: &mut Writer<'_>) {
                let end = to.len() + Self::SIZE;
                match self {
                    $(Self::$variant { $($field),* } => {
                        to.put(&($number as u8));
                        $(to.put($field);)*
                    })*
                }
                while to.len() < end {
                    to.put(&0u8);
                }
            }
            fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                let bytes: [u8; CONTROL_BYTES] = from.array()?;
                let mut body = Reader::new(&bytes);
                let control = match body.take::<u8>()? {
                    $($number => Self::$variant { $($field: body.take()?),* },)*
                    _ => return Err(Malformed),
                };
                body.finish()?;
                Ok(control)
            }
        }
    };
}

control! {
    0 => Probe { sent },
    1 => Reading { sent, time, host, synchronised },
    2 => Proposal { instance, value },
    3 => Vote { instance, vector },
    4 => Vouch { channel, value },
    5 => Joined { channel, from },
    6 => Accept { channel, entry },
    7 => Accepted { channel, ballot, number },
    8 => Prepare { channel, ballot, from },
    9 => Promise { channel, ballot, entries },
    10 => Chosen { channel, entries },
    11 => Sent { from, to, value, at, within },
}
