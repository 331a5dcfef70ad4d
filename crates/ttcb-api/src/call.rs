//! What an entity asks of its local trusted component, and what it is answered.

use crate::entity::{EntityId, Interval, Moment, Span, Value};
use crate::fixed_enum;
use crate::signed::{Channel, Decision, Identifier, Instance, Ordered, Sealed, Tag};
use crate::wire::{Fixed, Malformed, Reader, Writer};

/// A call of one of the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Trusted block agreement: take part, with a value or without. Answer: [`Answer::Tag`].
    /// Repeating it changes nothing.
    Propose {
        /// In which agreement.
        instance: Instance,
        /// The value; `None` takes part without one.
        value: Option<Value>,
    },
    /// What was decided? Answered when it is. Answer: [`Answer::Decided`] or [`Answer::Timeout`].
    Decide(Tag),
    /// Uniformly distributed bits. Answer: [`Answer::Random`].
    Random,
    /// The present. Answer: [`Answer::Time`].
    Timestamp,
    /// Begin to measure a duration. Answer: [`Answer::Begun`].
    Begin,
    /// How long is it since that began? Answer: [`Answer::Lasted`].
    End(u16),
    /// Watch whether a local operation is completed in time. Answer: [`Answer::Begun`].
    Watch {
        /// How long it may take.
        within: Span,
    },
    /// The watched operation is completed. Answer: [`Answer::Verdict`].
    Complete(u16),
    /// Tell when the watched operation is completed or late, whichever is first.
    /// Answer: [`Answer::Verdict`].
    Await(u16),
    /// Watch whether a message reaches another entity in time: called as it is sent.
    /// Answer: [`Answer::Done`].
    Sent {
        /// To whom.
        to: EntityId,
        /// The message's digest.
        value: Value,
        /// How long it may take.
        within: Span,
    },
    /// A message has come: was it in time? Answered when the sender's component has told.
    /// Answer: [`Answer::Verdict`].
    Received {
        /// From whom.
        from: EntityId,
        /// The message's digest.
        value: Value,
    },
    /// Execute an operation at a time. Answer: [`Answer::Executed`].
    Execute {
        /// Which.
        operation: Operation,
        /// Not before this.
        at: Moment,
        /// And not later than this: else it is refused.
        by: Moment,
    },
    /// Trusted ordering: join a channel. Answer: [`Answer::Tag`]. Repeating it changes nothing.
    Open(Channel),
    /// Vouch for a value, which is ordered when enough have. Answer: [`Answer::Done`].
    Order {
        /// In which channel.
        channel: Tag,
        /// The value.
        value: Value,
    },
    /// What stands at this place? Answered when something does, and with [`Refusal::TooLate`] if
    /// that takes long. Answer: [`Answer::Ordered`].
    Next {
        /// In which channel.
        channel: Tag,
        /// The place.
        number: u64,
    },
    /// Identify a value, at a position beyond all before, or once more what was identified last.
    /// Answer: [`Answer::Identified`].
    Identify {
        /// In which of the entity's counters.
        counter: u8,
        /// The position.
        position: u128,
        /// The value.
        value: Value,
        /// Are later identifiers to name this one, until another is marked?
        marked: bool,
        /// Must it say when it was made? Then the call has no effect while the clock is not
        /// synchronised: [`Refusal::Unsynchronised`].
        timed: bool,
    },
}

/// What can be executed within the trusted component at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Nothing but the answer: a trusted alarm clock.
    Alarm,
    /// Put out a random value that was not known to anybody before.
    Disclose,
}

fixed_enum!(Operation { 0 => Alarm, 1 => Disclose });

/// What a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The name of the agreement or channel.
    Tag(Tag),
    /// The decision, with the signature of the local trusted component.
    Decided(Sealed<Decision>),
    /// Not decided here; perhaps elsewhere. A later agreement may be tried.
    Timeout,
    /// 256 random bits.
    Random(Value),
    /// The present.
    Time(Interval),
    /// The handle of a measurement or of a watched operation.
    Begun(u16),
    /// Between these two.
    Lasted {
        /// At least.
        least: Span,
        /// At most.
        most: Span,
    },
    /// Was it in time?
    Verdict(Verdict),
    /// The call has had its effect.
    Done,
    /// The operation was executed.
    Executed {
        /// When.
        time: Interval,
        /// What it put out, or zeros.
        value: Value,
    },
    /// The place in the order.
    Ordered(Sealed<Ordered>),
    /// The identifier.
    Identified(Sealed<Identifier>),
    /// The call had no effect.
    Refused(Refusal),
}

/// What is known of an operation's timeliness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It certainly took no longer than it may.
    InTime,
    /// It certainly took longer.
    Late,
    /// The uncertainty of the clocks does not allow to say.
    Unknown,
}

fixed_enum!(Verdict { 0 => InTime, 1 => Late, 2 => Unknown });

/// Why a call had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It cannot be decoded.
    Malformed,
    /// It names something that is not there, or no longer.
    Unknown,
    /// The caller is not among those who may.
    NotMember,
    /// The time for it has passed.
    TooLate,
    /// It lies too far in the future.
    TooFar,
    /// It contradicts what the caller said before.
    Contradiction,
    /// The caller has used up its share of the component's places.
    Full,
    /// The caller has used up its share of the component's time.
    Quota,
    /// The clock is not synchronised with those of the other hosts.
    Unsynchronised,
    /// The local trusted component has stopped taking part in this, because it noticed that it was
    /// too slow.
    Stopped,
}

fixed_enum!(Refusal {
    0 => Malformed,
    1 => Unknown,
    2 => NotMember,
    3 => TooLate,
    4 => TooFar,
    5 => Contradiction,
    6 => Full,
    7 => Quota,
    8 => Unsynchronised,
    9 => Stopped,
});

/// A call with the number by which its answer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Numbered<T> {
    /// Greater than all before in the session.
    pub number: u64,
    /// The call or answer.
    pub body: T,
}

impl<T: Fixed> Fixed for Numbered<T> {
    const SIZE: usize = 8 + T::SIZE;
    fn write(&self, to: &mut Writer<'_>) {
        to.put(&self.number).put(&self.body);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { number: from.take()?, body: from.take()? })
    }
}

/// Room for any call and for any answer, without its number.
pub const BODY_BYTES: usize = 272;

/// Implements the codec of an enumeration whose variants hold at most one thing each: its number,
/// its fields, and zeros up to [`BODY_BYTES`].
macro_rules! body {
    ($type:ident {
        $($number:literal => $variant:ident $(($tuple:ty))? $({$($field:ident),*})?),* $(,)?
    }) => {
        impl Fixed for $type {
            const SIZE: usize = BODY_BYTES;
            fn write(&self, to: &mut Writer<'_>) {
                let end = to.len() + BODY_BYTES;
                match self {
                    $(Self::$variant $((body!(@name inner $tuple)))? $({$($field),*})? => {
                        to.put(&($number as u8));
                        $(let inner: &$tuple = inner; to.put(inner);)?
                        $($(to.put($field);)*)?
                    })*
                }
                while to.len() < end {
                    to.put(&0u8);
                }
            }
            fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                let bytes: [u8; BODY_BYTES] = from.array()?;
                let mut body = Reader::new(&bytes);
                let value = match body.take::<u8>()? {
                    $($number => Self::$variant $((body.take::<$tuple>()?))?
                        $({$($field: body.take()?),*})?,)*
                    _ => return Err(Malformed),
                };
                body.finish()?;
                Ok(value)
            }
        }
    };
    (@name $inner:ident $tuple:ty) => { $inner };
}

body!(Call {
    0 => Propose { instance, value },
    1 => Decide(Tag),
    2 => Random,
    3 => Timestamp,
    4 => Begin,
    5 => End(u16),
    6 => Watch { within },
    7 => Complete(u16),
    8 => Await(u16),
    9 => Sent { to, value, within },
    10 => Received { from, value },
    11 => Execute { operation, at, by },
    12 => Open(Channel),
    13 => Order { channel, value },
    14 => Next { channel, number },
    15 => Identify { counter, position, value, marked, timed },
});

body!(Answer {
    0 => Tag(Tag),
    1 => Decided(Sealed<Decision>),
    2 => Timeout,
    3 => Random(Value),
    4 => Time(Interval),
    5 => Begun(u16),
    6 => Lasted { least, most },
    7 => Verdict(Verdict),
    8 => Done,
    9 => Executed { time, value },
    10 => Ordered(Sealed<Ordered>),
    11 => Identified(Sealed<Identifier>),
    12 => Refused(Refusal),
});
