//! Storage that reads another's and keeps all changes in memory: whoever only wants to look opens
//! a log with the code that opens it for use, repairs included, and the disk stays as it is.
//!
//! # Rules
//! - R1. A blob is read from the inner storage until it is changed for the first time; then it is
//!   copied into memory, and lives there.
//! - R2. What does not exist in the inner storage is not opened there, since that would create it.

use crate::storage::wrap_context;
use bytes::BufMut;
use commonware_runtime::{
    Blob, BlobVersion, Error, Handle, IoBufs, IoBufsMut, ReadOptions, Storage, WriteOptions,
};
use commonware_storage::Context;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Partition and name.
type Key = (String, Vec<u8>);

/// Contents of what was changed; `None` for what was removed.
type Changes = Arc<Mutex<BTreeMap<Key, Option<Vec<u8>>>>>;

/// A context on whose storage everything can be done, and nothing is.
#[derive(Clone, Debug)]
pub(super) struct Untouched<E> {
    inner: E,
    changes: Changes,
}

wrap_context!(Untouched, inner, [changes]);

impl<E> Untouched<E> {
    pub(super) fn new(inner: E) -> Self {
        Self { inner, changes: Changes::default() }
    }
}

fn lock(changes: &Changes) -> MutexGuard<'_, BTreeMap<Key, Option<Vec<u8>>>> {
    changes.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E: Context> Storage for Untouched<E> {
    type Blob = UntouchedBlob<E::Blob>;

    async fn open_versioned(
        &self,
        partition: &str,
        name: &[u8],
        versions: RangeInclusive<BlobVersion>,
    ) -> Result<(Self::Blob, u64, BlobVersion), Error> {
        let key = (partition.to_owned(), name.to_vec());
        let changes = Arc::clone(&self.changes);
        let changed = lock(&changes).get(&key).cloned();
        let exists = match changed {
            Some(_) => false,
            // (R2)
            None => match self.inner.scan(partition).await {
                Ok(names) => names.iter().any(|existing| existing == name),
                Err(Error::PartitionMissing(_)) => false,
                Err(error) => return Err(error),
            },
        };
        if exists {
            let (inner, size, version) =
                self.inner.open_versioned(partition, name, versions).await?;
            return Ok((UntouchedBlob { inner: Some((inner, size)), key, changes }, size, version));
        }
        let content = changed.flatten().unwrap_or_default();
        let size = content.len() as u64;
        lock(&changes).insert(key.clone(), Some(content));
        Ok((UntouchedBlob { inner: None, key, changes }, size, *versions.end()))
    }

    async fn remove(&self, partition: &str, name: Option<&[u8]>) -> Result<(), Error> {
        let names = match name {
            Some(name) => vec![name.to_vec()],
            None => self.scan(partition).await?,
        };
        let removed = names.into_iter().map(|name| ((partition.to_owned(), name), None));
        lock(&self.changes).extend(removed);
        Ok(())
    }

    async fn scan(&self, partition: &str) -> Result<Vec<Vec<u8>>, Error> {
        let inner = self.inner.scan(partition).await;
        let missing = matches!(inner, Err(Error::PartitionMissing(_)));
        let mut names: BTreeSet<_> =
            if missing { BTreeSet::new() } else { inner?.into_iter().collect() };
        for ((of, name), content) in &*lock(&self.changes) {
            match content {
                _ if of != partition => {}
                Some(_) => drop(names.insert(name.clone())),
                None => drop(names.remove(name)),
            }
        }
        match missing && names.is_empty() {
            true => Err(Error::PartitionMissing(partition.to_owned())),
            false => Ok(names.into_iter().collect()),
        }
    }
}

/// A blob that may have moved into memory. (R1)
#[derive(Debug)]
pub(super) struct UntouchedBlob<B> {
    inner: Option<(B, u64)>,
    key: Key,
    changes: Changes,
}

impl<B: Blob> UntouchedBlob<B> {
    /// Changes the copy in memory, which it makes if there is none. (R1)
    async fn change(&self, change: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        let present = lock(&self.changes).contains_key(&self.key);
        if let Some((inner, size)) = self.inner.as_ref().filter(|_| !present) {
            let size = usize::try_from(*size).map_err(|_| Error::OffsetOverflow)?;
            let content = inner.read_at(0, size, ReadOptions::default()).await?;
            let content = content.coalesce().as_ref().to_vec();
            lock(&self.changes).insert(self.key.clone(), Some(content));
        }
        // Whoever changes what is removed changes nothing that anybody will see.
        if let Some(content) = lock(&self.changes).get_mut(&self.key).and_then(Option::as_mut) {
            change(content);
        }
        Ok(())
    }

    /// The bytes in memory, if the blob lives there.
    fn changed(&self, offset: u64, len: usize) -> Option<Result<Vec<u8>, Error>> {
        let changes = lock(&self.changes);
        let content = changes.get(&self.key)?.as_ref()?;
        let start = usize::try_from(offset).ok();
        let range = start.and_then(|start| content.get(start..start.checked_add(len)?));
        Some(range.map(<[u8]>::to_vec).ok_or(Error::BlobInsufficientLength))
    }
}

impl<B: Blob> Blob for UntouchedBlob<B> {
    async fn read_at_buf(
        &self,
        offset: u64,
        len: usize,
        bufs: impl Into<IoBufsMut> + Send,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        if let Some(bytes) = self.changed(offset, len) {
            let (bytes, mut bufs) = (bytes?, bufs.into());
            match bufs.len() {
                0 => bufs.put_slice(&bytes),
                full if full == len => bufs.copy_from_slice(&bytes),
                _ => bufs = bytes.into(),
            }
            return Ok(bufs);
        }
        match &self.inner {
            Some((inner, _)) => inner.read_at_buf(offset, len, bufs, options).await,
            None => Err(Error::BlobInsufficientLength),
        }
    }

    async fn read_at(
        &self,
        offset: u64,
        len: usize,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        match (self.changed(offset, len), &self.inner) {
            (Some(bytes), _) => Ok(bytes?.into()),
            (None, Some((inner, _))) => inner.read_at(offset, len, options).await,
            (None, None) => Err(Error::BlobInsufficientLength),
        }
    }

    async fn write_at(
        &self,
        offset: u64,
        bufs: impl Into<IoBufs> + Send,
        _: WriteOptions,
    ) -> Result<(), Error> {
        let start = usize::try_from(offset).map_err(|_| Error::OffsetOverflow)?;
        let bytes = bufs.into().coalesce();
        let bytes = bytes.as_ref();
        let end = start.checked_add(bytes.len()).ok_or(Error::OffsetOverflow)?;
        self.change(|content| {
            content.resize(content.len().max(end), 0);
            content[start..end].copy_from_slice(bytes);
        })
        .await
    }

    async fn resize(&self, len: u64) -> Result<(), Error> {
        let len = usize::try_from(len).map_err(|_| Error::OffsetOverflow)?;
        self.change(|content| content.resize(len, 0)).await
    }

    async fn sync(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn start_sync(&self) -> Handle<()> {
        Handle::ready(Ok(()))
    }
}
