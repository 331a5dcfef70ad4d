//! A codec for values of fixed size: the trusted component decodes nothing else.

/// What cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A value that takes the same number of bytes whatever it is.
pub trait Fixed: Sized {
    /// How many bytes it takes.
    const SIZE: usize;
    /// Appends it.
    fn write(&self, to: &mut Writer<'_>);
    /// Takes it from the front.
    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// Fills a buffer that is large enough: all sizes are known when the program is compiled.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// Begins at the front of `buffer`.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, at: 0 }
    }

    /// Appends bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        assert!(end <= self.buffer.len(), "a buffer is made for what is written to it");
        self.buffer[self.at..end].copy_from_slice(bytes);
        self.at = end;
    }

    /// Appends a value.
    pub fn put(&mut self, value: &impl Fixed) -> &mut Self {
        value.write(self);
        self
    }

    /// How much has been written.
    pub fn len(&self) -> usize {
        self.at
    }

    /// Has nothing been written?
    pub fn is_empty(&self) -> bool {
        self.at == 0
    }
}

/// Takes values from the front of received bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (first, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    /// The next value.
    pub fn take<T: Fixed>(&mut self) -> Result<T, Malformed> {
        T::read(self)
    }

    /// Complains unless the rest is zeros, as an honest writer leaves it.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.0.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(Malformed) }
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Fixed for $type {
            const SIZE: usize = size_of::<$type>();
            fn write(&self, to: &mut Writer<'_>) {
                to.bytes(&self.to_le_bytes());
            }
            fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                Ok(<$type>::from_le_bytes(from.array()?))
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, u128);

impl<const N: usize> Fixed for [u8; N] {
    const SIZE: usize = N;
    fn write(&self, to: &mut Writer<'_>) {
        to.bytes(self);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array()
    }
}

impl Fixed for bool {
    const SIZE: usize = 1;
    fn write(&self, to: &mut Writer<'_>) {
        to.bytes(&[u8::from(*self)]);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::read(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }
}

impl<T: Fixed + Default + PartialEq> Fixed for Option<T> {
    const SIZE: usize = 1 + T::SIZE;
    fn write(&self, to: &mut Writer<'_>) {
        to.put(&self.is_some());
        match self {
            Some(value) => value.write(to),
            None => T::default().write(to),
        }
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let is_some = bool::read(from)?;
        let value = T::read(from)?;
        // Each value has one encoding.
        if !is_some && value != T::default() {
            return Err(Malformed);
        }
        Ok(is_some.then_some(value))
    }
}

/// Implements [`Fixed`] for a structure, field after field.
#[macro_export]
macro_rules! fixed_struct {
    ($type:ident { $($field:tt: $of:ty),* $(,)? }) => {
        impl $crate::wire::Fixed for $type {
            const SIZE: usize = 0 $(+ <$of as $crate::wire::Fixed>::SIZE)*;
            fn write(&self, to: &mut $crate::wire::Writer<'_>) {
                $($crate::wire::Fixed::write(&self.$field, to);)*
            }
            fn read(
                from: &mut $crate::wire::Reader<'_>,
            ) -> Result<Self, $crate::wire::Malformed> {
                Ok(Self { $($field: <$of as $crate::wire::Fixed>::read(from)?),* })
            }
        }
    };
}

/// Implements [`Fixed`] for an enumeration without fields.
#[macro_export]
macro_rules! fixed_enum {
    ($type:ident { $($number:literal => $variant:ident),* $(,)? }) => {
        impl $crate::wire::Fixed for $type {
            const SIZE: usize = 1;
            fn write(&self, to: &mut $crate::wire::Writer<'_>) {
                let number: u8 = match self { $(Self::$variant => $number),* };
                to.put(&number);
            }
            fn read(
                from: &mut $crate::wire::Reader<'_>,
            ) -> Result<Self, $crate::wire::Malformed> {
                match u8::read(from)? {
                    $($number => Ok(Self::$variant),)*
                    _ => Err($crate::wire::Malformed),
                }
            }
        }
    };
}
