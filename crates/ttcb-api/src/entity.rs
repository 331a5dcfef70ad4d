//! Who uses the trusted component, and where.

use crate::wire::{Fixed, Malformed, Reader, Writer};
use crate::{fixed_enum, fixed_struct};

/// Most hosts of one wormhole, and most entities that one call names.
pub const HOSTS_MAX: usize = 16;

/// Most roles on one host.
pub const ROLES_MAX: usize = 8;

/// A local trusted component, by its number in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Host(pub u8);

/// One life of a local trusted component, from a boot to the next: the front of a digest of the
/// key that it made for itself when it booted. What it remembers and what it signs ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Boot(pub u64);

impl Boot {
    /// The life that has this key.
    pub fn of_key(signing: &[u8; 32]) -> Self {
        let digest = blake3::derive_key("maftia ttcb boot", signing);
        let (front, _) = digest.split_first_chunk().expect("a digest has 32 bytes");
        Self(u64::from_le_bytes(*front))
    }
}

/// The identity of a local process before the whole wormhole, the `eid` of the source. A process
/// that comes back has the same one, as the role is given to its user; a trusted component that
/// comes back has others, because it has forgotten what it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntityId {
    /// On which host.
    pub host: Host,
    /// Which of the processes that the host's configuration names.
    pub role: u8,
    /// In which life of the host's trusted component.
    pub boot: Boot,
}

fixed_struct!(Host { 0: u8 });
fixed_struct!(Boot { 0: u64 });
fixed_struct!(EntityId { host: Host, role: u8, boot: Boot });

/// The entities that take part in something, in an order that all of them give: the `elist` of the
/// source. No host is named twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Elist {
    len: u8,
    entities: [EntityId; HOSTS_MAX],
}

impl Elist {
    /// Wraps `entities`; `None` if there is none, too many, or two of one host.
    pub fn new(entities: &[EntityId]) -> Option<Self> {
        let mut list = Self { len: 0, entities: Default::default() };
        list.entities.get_mut(..entities.len())?.copy_from_slice(entities);
        list.len = u8::try_from(entities.len()).ok()?;
        let hosts = list.hosts();
        let once = hosts.count_ones() as usize == entities.len();
        let known = entities.iter().all(|entity| usize::from(entity.role) < ROLES_MAX);
        (once && known && !entities.is_empty()).then_some(list)
    }

    /// The entities, in their order.
    pub fn entities(&self) -> &[EntityId] {
        &self.entities[..usize::from(self.len)]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Never: a list names at least one.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where `host` stands in the list.
    pub fn position_of(&self, host: Host) -> Option<usize> {
        self.entities().iter().position(|entity| entity.host == host)
    }

    /// A bit for each host that is named.
    pub fn hosts(&self) -> u32 {
        self.entities().iter().fold(0, |set, entity| set | host_bit(entity.host))
    }

    /// More than half of the hosts: any two such sets share one.
    pub fn is_majority(&self, count: u32) -> bool {
        count as usize * 2 > self.len()
    }
}

/// The bit of a host in a set of hosts; none for a host that cannot exist.
pub fn host_bit(host: Host) -> u32 {
    if usize::from(host.0) < HOSTS_MAX { 1 << host.0 } else { 0 }
}

impl Fixed for Elist {
    const SIZE: usize = 1 + HOSTS_MAX * EntityId::SIZE;
    fn write(&self, to: &mut Writer<'_>) {
        to.put(&self.len);
        self.entities.iter().for_each(|entity| entity.write(to));
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let len = usize::from(u8::read(from)?);
        let mut entities = [EntityId::default(); HOSTS_MAX];
        for entity in &mut entities {
            *entity = from.take()?;
        }
        let (named, rest) = entities.split_at_checked(len).ok_or(Malformed)?;
        if rest.iter().any(|entity| *entity != EntityId::default()) {
            return Err(Malformed);
        }
        Self::new(named).ok_or(Malformed)
    }
}

/// A point of the wormhole's common time: nanoseconds since 1970-01-01 UTC. Nobody is ever told a
/// point: see [`Interval`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub u64);

/// A length of time, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub u64);

impl Span {
    /// `millis` milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// `micros` microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros * 1_000)
    }

    /// `times` as long.
    pub const fn times(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl std::ops::Add<Span> for Moment {
    type Output = Moment;
    fn add(self, span: Span) -> Moment {
        Moment(self.0.saturating_add(span.0))
    }
}

impl std::ops::Sub<Span> for Moment {
    type Output = Moment;
    fn sub(self, span: Span) -> Moment {
        Moment(self.0.saturating_sub(span.0))
    }
}

/// The present lies in here, on the common time scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Interval {
    /// It is not earlier.
    pub earliest: Moment,
    /// It is not later.
    pub latest: Moment,
}

fixed_struct!(Moment { 0: u64 });
fixed_struct!(Span { 0: u64 });
fixed_struct!(Interval { earliest: Moment, latest: Moment });

/// What the wormhole agrees on: 256 bits, of which the profile of the original interface uses the
/// first 160 and leaves the others zero.
pub type Value = [u8; 32];

/// How an agreement's result follows from what was proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Function {
    /// The value of the first entity of the list (`TTCB_TBA_RMULTICAST`).
    Multicast,
    /// The value that most proposed; of several, the one that was proposed by the entity that
    /// stands first (`TTCB_TBA_MAJORITY`).
    Majority,
}

fixed_enum!(Function { 0 => Multicast, 1 => Majority });
