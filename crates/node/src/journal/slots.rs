//! A small value that is overwritten again and again, and that a torn write cannot destroy.
//!
//! # Promise
//! - The value that was last made durable, or a later one, is found after every crash.
//! - Bytes that were not written here as a value of this name are not taken for one.
//!
//! # Rules
//! - R1. There are two slots. At any time one is *sure*: it holds the last value that is durable.
//!   A write goes to the other.
//! - R2. The other becomes the sure one when it is durable: by a durable write, or because
//!   opening makes all durable that it finds.
//! - R3. A slot has a serial number and a digest. Of two that are sound the later one counts.
//!
//! # Why it holds
//! What a crash can tear is only what is not durable (R1), and the sure slot is. Slots are a page
//! apart, so that no disk writes them at once.

use bytes::{BufMut, Bytes, BytesMut};
use commonware_runtime::{Blob, Error, ReadOptions, Storage, WriteOptions};

/// Distance of the slots.
const SLOT_BYTES: usize = 4096;

const DIGEST_BYTES: usize = 16;

/// Serial number, length of the value, digest.
const OVERHEAD: usize = 8 + 4 + DIGEST_BYTES;

/// A value in two slots.
#[derive(Debug)]
pub(super) struct Slots<B> {
    blob: B,
    name: &'static str,
    /// The slot that holds the last durable value. (R1)
    sure: usize,
    serial: u64,
}

/// What was found in the slots.
#[derive(Debug)]
pub(super) struct Stored {
    /// The value.
    pub(super) value: Option<Bytes>,
    /// Something else is there as well, or instead: a torn write, or rot.
    pub(super) unreadable: bool,
}

impl<B: Blob> Slots<B> {
    /// Opens the value called `name`, which need not exist.
    pub(super) async fn open(
        storage: &impl Storage<Blob = B>,
        partition: &str,
        name: &'static str,
    ) -> Result<(Self, Stored), Error> {
        let (blob, size) = storage.open(partition, name.as_bytes()).await?;
        // What a killed process wrote is there, and yet may not be durable. (R2)
        blob.sync().await?;
        let mut slots = Self { blob, name, sure: 0, serial: 0 };
        let mut stored = Stored { value: None, unreadable: false };
        for slot in 0..2 {
            let start = slot * SLOT_BYTES;
            let there = usize::try_from(size).unwrap_or(usize::MAX).saturating_sub(start);
            let bytes = slots.read(start, there.min(SLOT_BYTES)).await?;
            match decode(name, &bytes) {
                Some((serial, value)) if serial > slots.serial => {
                    (slots.sure, slots.serial, stored.value) = (slot, serial, Some(value));
                }
                Some(_) => {}
                None => stored.unreadable |= bytes.iter().any(|byte| *byte != 0),
            }
        }
        Ok((slots, stored))
    }

    async fn read(&self, start: usize, len: usize) -> Result<Bytes, Error> {
        if len == 0 {
            return Ok(Bytes::new());
        }
        let found = self.blob.read_at(start as u64, len, ReadOptions::default()).await?;
        Ok(Bytes::copy_from_slice(found.coalesce().as_ref()))
    }

    /// Writes `value`; it may be durable any time from now on. (R1)
    pub(super) async fn write(&mut self, value: &[u8]) -> Result<(), Error> {
        self.put(value, WriteOptions::default()).await
    }

    /// Writes `value` and makes it durable. (R2)
    pub(super) async fn write_durably(&mut self, value: &[u8]) -> Result<(), Error> {
        self.put(value, WriteOptions::SYNC).await?;
        self.sure = 1 - self.sure;
        Ok(())
    }

    async fn put(&mut self, value: &[u8], options: WriteOptions) -> Result<(), Error> {
        self.serial += 1;
        let start = (1 - self.sure) * SLOT_BYTES;
        self.blob.write_at(start as u64, encode(self.name, self.serial, value), options).await
    }
}

fn encode(name: &str, serial: u64, value: &[u8]) -> Bytes {
    assert!(OVERHEAD + value.len() <= SLOT_BYTES, "a value fits its slot");
    let mut bytes = BytesMut::with_capacity(OVERHEAD + value.len());
    bytes.put_u64(serial);
    bytes.put_u32(value.len() as u32);
    bytes.put_slice(value);
    let digest = digest(name, &bytes);
    bytes.put_slice(&digest);
    bytes.freeze()
}

/// The serial number and the value of a slot, if it holds one.
fn decode(name: &str, slot: &Bytes) -> Option<(u64, Bytes)> {
    let serial = u64::from_be_bytes(*slot.first_chunk()?);
    let len = u32::from_be_bytes(*slot.get(8..)?.first_chunk()?) as usize;
    let end = len.checked_add(12)?;
    let (told, found) = (slot.get(..end)?, slot.get(end..)?.get(..DIGEST_BYTES)?);
    (digest(name, told) == found).then(|| (serial, slot.slice(12..end)))
}

fn digest(name: &str, told: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key("maftia journal: value in slots");
    hasher.update(&(name.len() as u64).to_be_bytes()).update(name.as_bytes()).update(told);
    *hasher.finalize().as_bytes().first_chunk().expect("a digest is longer")
}
