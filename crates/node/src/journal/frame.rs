//! A record as it lies in the log: with its place, and chained to all that came before it.

use super::error::DamageKind;
use bytes::Bytes;
use maftia_base::wire::{Buf, BufMut, EncodeSize, Error, RangeCfg, Read, Write};

/// Stands for everything in a log up to some record.
pub(super) type Link = [u8; LINK_BYTES];

/// Damage is an accident, not an adversary: whoever can write to the disk can also make it all
/// over again. Against accidents 16 bytes are plenty.
const LINK_BYTES: usize = 16;

/// What a log that has no record yet is chained to: nothing of another log ever fits.
pub(super) fn origin(identity: &[u8]) -> Link {
    cut(blake3::Hasher::new_derive_key("maftia journal: origin").update(identity))
}

/// One record of the log.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Its place.
    position: u64,
    /// What it is chained to.
    pub(super) before: Link,
    /// Stands for this record and all before it.
    pub(super) link: Link,
    /// The record.
    pub(super) payload: Bytes,
}

impl Frame {
    /// The record `payload` at `position`, after what `before` stands for.
    pub(super) fn new(position: u64, before: Link, payload: Bytes) -> Self {
        Self { position, before, link: link(position, &before, &payload), payload }
    }

    /// Is this the record at `position`, as it was written?
    pub(super) fn check(&self, position: u64) -> Result<(), DamageKind> {
        if self.link != link(self.position, &self.before, &self.payload) {
            Err(DamageKind::Rotten)
        } else if self.position != position {
            Err(DamageKind::Misdirected { of: self.position })
        } else {
            Ok(())
        }
    }

    /// Is this the record at `position`, written after what `before` stands for?
    pub(super) fn check_after(&self, position: u64, before: &Link) -> Result<(), DamageKind> {
        self.check(position)?;
        if self.before == *before { Ok(()) } else { Err(DamageKind::OtherHistory) }
    }
}

fn link(position: u64, before: &Link, payload: &[u8]) -> Link {
    let mut hasher = blake3::Hasher::new();
    cut(hasher.update(before).update(&position.to_be_bytes()).update(payload))
}

fn cut(hasher: &blake3::Hasher) -> Link {
    let digest = hasher.finalize();
    *digest.as_bytes().first_chunk().expect("a digest is longer than a link")
}

impl Write for Frame {
    fn write(&self, buf: &mut impl BufMut) {
        self.position.write(buf);
        self.before.write(buf);
        self.link.write(buf);
        self.payload.write(buf);
    }
}

impl EncodeSize for Frame {
    fn encode_size(&self) -> usize {
        size_of::<u64>() + 2 * LINK_BYTES + self.payload.encode_size()
    }
}

impl Read for Frame {
    type Cfg = RangeCfg<usize>;

    fn read_cfg(buf: &mut impl Buf, payload: &RangeCfg<usize>) -> Result<Self, Error> {
        Ok(Self {
            position: u64::read_cfg(buf, &())?,
            before: Link::read_cfg(buf, &())?,
            link: Link::read_cfg(buf, &())?,
            payload: Bytes::read_cfg(buf, payload)?,
        })
    }
}
