//! What a trusted component signed, as it travels between servers and stands in their logs.

use crate::SealClaim;
use maftia_base::wire::{self, Buf, BufMut, EncodeSize, Read, Write};
use maftia_ttcb_api::wire::{Fixed, Reader, Writer};
use maftia_ttcb_api::{Sealed, Statement};

/// A statement of a trusted component, with its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attested<T>(pub Sealed<T>);

/// Room for the largest statement.
const ROOM: usize = 512;

impl<T: Statement> Attested<T> {
    /// The claim that the component with this key signed it.
    pub fn claim(&self, key: [u8; 32]) -> SealClaim {
        SealClaim::new(key, &self.0)
    }
}

impl<T: Statement> Write for Attested<T> {
    fn write(&self, buf: &mut impl BufMut) {
        let mut bytes = [0; ROOM];
        let mut writer = Writer::new(&mut bytes);
        writer.put(&self.0);
        let len = writer.len();
        buf.put_slice(&bytes[..len]);
    }
}

impl<T: Statement> EncodeSize for Attested<T> {
    fn encode_size(&self) -> usize {
        Sealed::<T>::SIZE
    }
}

impl<T: Statement> Read for Attested<T> {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, wire::Error> {
        let mut bytes = [0; ROOM];
        let bytes = &mut bytes[..Sealed::<T>::SIZE];
        if buf.remaining() < bytes.len() {
            return Err(wire::Error::EndOfBuffer);
        }
        buf.copy_to_slice(bytes);
        let malformed = |_| wire::Error::Invalid("Attested", "no statement of this kind");
        Reader::new(bytes).take().map(Self).map_err(malformed)
    }
}
