//! Bounded encoding of everything that is sent, signed or stored.
//!
//! Built on `commonware-codec`. Bounds live in the types ([`List`], [`Blob`]), so that every type
//! decodes with `Cfg = ()` and no decoder can be called without a limit.

pub use bytes::{BufMut, Bytes};
pub use commonware_codec::{
    Buf, Decode, DecodeExt, Encode, EncodeSize, Error, FixedSize, RangeCfg, Read, ReadExt, Write,
};
use std::ops::Deref;

/// What can be put on the wire and taken off it: encodes, and decodes within its own bounds.
pub trait Wire: Write + EncodeSize + Read<Cfg = ()> + Sized {
    /// Decodes a value that fills `bytes` exactly.
    fn from_wire(bytes: Bytes) -> Result<Self, Error> {
        Self::decode_cfg(bytes, &())
    }

    /// Encodes into a buffer of its own.
    fn to_wire(&self) -> Bytes {
        self.encode()
    }
}

impl<T: Write + EncodeSize + Read<Cfg = ()>> Wire for T {}

/// At most `MAX` bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Blob<const MAX: usize>(Bytes);

impl<const MAX: usize> Blob<MAX> {
    /// Wraps `bytes`; `None` if there are more than `MAX`.
    pub fn new(bytes: impl Into<Bytes>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() <= MAX).then_some(Self(bytes))
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Unwraps the bytes.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl<const MAX: usize> Deref for Blob<MAX> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> std::fmt::Debug for Blob<MAX> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl<const MAX: usize> Write for Blob<MAX> {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.write(buf);
    }
}

impl<const MAX: usize> EncodeSize for Blob<MAX> {
    fn encode_size(&self) -> usize {
        self.0.encode_size()
    }
}

impl<const MAX: usize> Read for Blob<MAX> {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        Ok(Self(Bytes::read_cfg(buf, &RangeCfg::from(0..=MAX))?))
    }
}

/// At most `MAX` items.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> List<T, MAX> {
    /// Wraps `items`; `None` if there are more than `MAX`.
    pub fn new(items: Vec<T>) -> Option<Self> {
        (items.len() <= MAX).then_some(Self(items))
    }

    /// Unwraps the items.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Write, const MAX: usize> Write for List<T, MAX> {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.len().write(buf);
        self.0.iter().for_each(|item| item.write(buf));
    }
}

impl<T: EncodeSize, const MAX: usize> EncodeSize for List<T, MAX> {
    fn encode_size(&self) -> usize {
        self.0.len().encode_size() + self.0.iter().map(EncodeSize::encode_size).sum::<usize>()
    }
}

impl<T: Read<Cfg = ()>, const MAX: usize> Read for List<T, MAX> {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        let len = usize::read_cfg(buf, &RangeCfg::from(0..=MAX))?;
        // The length is the sender's word: memory is taken only as items really arrive.
        let mut items = Vec::with_capacity(len.min(64));
        for _ in 0..len {
            items.push(T::read_cfg(buf, &())?);
        }
        Ok(Self(items))
    }
}

/// Implements the codec for a struct: `wire_struct!(Vote { lane, height, digest })`,
/// `wire_struct!(Digest { 0 })`, `wire_struct!(<S: Suite> Certificate<S> { votes })`.
///
/// Fields are written in the order given, which must name every field.
#[macro_export]
macro_rules! wire_struct {
    (<$($g:ident : $bound:path),+> $name:ty { $($field:tt),* $(,)? }) => {
        $crate::wire_struct!(@impl [$($g: $bound),+] $name { $($field),* });
    };
    ($name:ty { $($field:tt),* $(,)? }) => {
        $crate::wire_struct!(@impl [] $name { $($field),* });
    };
    (@impl [$($g:ident : $bound:path),*] $name:ty { $($field:tt),* }) => {
        impl<$($g: $bound),*> $crate::reexport::commonware_codec::Write for $name {
            fn write(&self, _buf: &mut impl $crate::reexport::bytes::BufMut) {
                $( $crate::reexport::commonware_codec::Write::write(&self.$field, _buf); )*
            }
        }
        impl<$($g: $bound),*> $crate::reexport::commonware_codec::EncodeSize for $name {
            fn encode_size(&self) -> usize {
                0 $( + $crate::reexport::commonware_codec::EncodeSize::encode_size(&self.$field) )*
            }
        }
        impl<$($g: $bound),*> $crate::reexport::commonware_codec::Read for $name {
            type Cfg = ();
            fn read_cfg(
                _buf: &mut impl $crate::reexport::commonware_codec::Buf,
                _: &(),
            ) -> Result<Self, $crate::reexport::commonware_codec::Error> {
                Ok(Self {
                    $( $field: $crate::reexport::commonware_codec::Read::read_cfg(_buf, &())?, )*
                })
            }
        }
    };
}

/// Implements the codec for an enum whose variants are units, tuples or structs:
/// `wire_enum!(Message { 0 => Init(value), 1 => Echo { digest }, 2 => Stop })`.
///
/// The tag is one byte. Every variant must be named.
#[macro_export]
macro_rules! wire_enum {
    (<$($g:ident : $bound:path),+> $name:ty { $($body:tt)* }) => {
        $crate::wire_enum!(@impl [$($g: $bound),+] $name { $($body)* });
    };
    ($name:ty { $($body:tt)* }) => {
        $crate::wire_enum!(@impl [] $name { $($body)* });
    };
    (@impl [$($g:ident : $bound:path),*] $name:ty {
        $($tag:literal => $variant:ident
            $( ( $($item:ident),+ $(,)? ) )?
            $( { $($field:ident),+ $(,)? } )?
        ),* $(,)?
    }) => {
        impl<$($g: $bound),*> $crate::reexport::commonware_codec::Write for $name {
            fn write(&self, buf: &mut impl $crate::reexport::bytes::BufMut) {
                match self {
                    $( Self::$variant $( ( $($item),+ ) )? $( { $($field),+ } )? => {
                        $crate::reexport::bytes::BufMut::put_u8(buf, $tag);
                        $( $( $crate::reexport::commonware_codec::Write::write($item, buf); )+ )?
                        $( $( $crate::reexport::commonware_codec::Write::write($field, buf); )+ )?
                    } )*
                }
            }
        }
        impl<$($g: $bound),*> $crate::reexport::commonware_codec::EncodeSize for $name {
            fn encode_size(&self) -> usize {
                match self {
                    $( Self::$variant $( ( $($item),+ ) )? $( { $($field),+ } )? => {
                        1
                        $( $( + $crate::reexport::commonware_codec::EncodeSize
                            ::encode_size($item) )+ )?
                        $( $( + $crate::reexport::commonware_codec::EncodeSize
                            ::encode_size($field) )+ )?
                    } )*
                }
            }
        }
        impl<$($g: $bound),*> $crate::reexport::commonware_codec::Read for $name {
            type Cfg = ();
            fn read_cfg(
                buf: &mut impl $crate::reexport::commonware_codec::Buf,
                _: &(),
            ) -> Result<Self, $crate::reexport::commonware_codec::Error> {
                let tag: u8 = $crate::reexport::commonware_codec::Read::read_cfg(buf, &())?;
                match tag {
                    $( $tag => {
                        $( $( let $item =
                            $crate::reexport::commonware_codec::Read::read_cfg(buf, &())?; )+ )?
                        $( $( let $field =
                            $crate::reexport::commonware_codec::Read::read_cfg(buf, &())?; )+ )?
                        Ok(Self::$variant $( ( $($item),+ ) )? $( { $($field),+ } )?)
                    } )*
                    other => Err($crate::reexport::commonware_codec::Error::InvalidEnum(other)),
                }
            }
        }
    };
}

pub use crate::{wire_enum, wire_struct};

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Clone)]
    struct Pair {
        left: u64,
        right: Blob<8>,
    }
    wire_struct!(Pair { left, right });

    #[derive(Debug, PartialEq, Clone)]
    enum Shape {
        Unit,
        Tuple(u64, Pair),
        Named { items: List<u8, 3> },
    }
    wire_enum!(Shape { 0 => Unit, 1 => Tuple(a, b), 7 => Named { items } });

    fn check(shape: Shape) {
        let bytes = shape.to_wire();
        assert_eq!(bytes.len(), shape.encode_size());
        assert_eq!(Shape::from_wire(bytes.clone()).expect("round trip"), shape);
        for cut in 0..bytes.len() {
            assert!(Shape::from_wire(bytes.slice(..cut)).is_err(), "a prefix never decodes");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(Shape::from_wire(longer.into()).is_err(), "nothing may follow");
    }

    #[test]
    fn enums_and_structs_round_trip_and_reject_every_prefix() {
        check(Shape::Unit);
        let right = Blob::new(vec![1, 2, 3]).expect("short");
        check(Shape::Tuple(9, Pair { left: 3, right }));
        check(Shape::Named { items: List::new(vec![1, 2, 3]).expect("short") });
    }

    #[test]
    fn lengths_beyond_the_bound_are_refused() {
        assert!(Shape::from_wire(Bytes::from_static(&[7, 4, 1, 2, 3, 4])).is_err());
        assert!(Blob::<8>::from_wire(Bytes::from_static(&[9, 1, 2, 3, 4, 5, 6, 7, 8, 9])).is_err());
        assert!(Shape::from_wire(Bytes::from_static(&[2])).is_err(), "unknown tag");
    }

    #[test]
    fn a_huge_claimed_length_takes_no_memory() {
        // Claims 2^31 items and brings none.
        let claim = Bytes::from_static(&[0x80, 0x80, 0x80, 0x80, 0x08]);
        assert!(List::<u64, { usize::MAX >> 33 }>::from_wire(claim).is_err());
    }
}
