//! Storage that stops working when the test says so.

use crate::storage::wrap_context;
use commonware_runtime::{
    Blob, BlobVersion, Error, Handle, IoBufs, IoBufsMut, ReadOptions, Storage, WriteOptions,
};
use commonware_storage::Context;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Trouble {
    #[default]
    None,
    /// The machine stops at its n-th operation from now; a durable write then is torn.
    CrashAfter(usize),
    /// The disk has room for so many more changes.
    FullAfter(usize),
    /// The first byte of what is read is another one.
    Rot,
}

/// Decides what goes wrong, and counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hook(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    trouble: Trouble,
    operations: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Look,
    Change,
}

impl Hook {
    pub(crate) fn set(&self, trouble: Trouble) {
        *self.lock() = State { trouble, operations: 0 };
    }

    /// Operations since the trouble was set.
    pub(crate) fn operations(&self) -> usize {
        self.lock().operations
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panicked meanwhile")
    }

    fn pass(&self, kind: Kind) -> Result<(), Error> {
        let mut state = self.lock();
        let done = state.operations;
        match state.trouble {
            Trouble::FullAfter(_) => state.operations += usize::from(kind == Kind::Change),
            _ => state.operations += 1,
        }
        match state.trouble {
            Trouble::CrashAfter(limit) if done >= limit => Err(Error::Closed),
            Trouble::FullAfter(limit) if done >= limit && kind == Kind::Change => {
                Err(io::Error::from(io::ErrorKind::StorageFull).into())
            }
            _ => Ok(()),
        }
    }

    /// Is this the operation at which the machine stops?
    fn stops_here(&self) -> bool {
        let state = self.lock();
        state.trouble == Trouble::CrashAfter(state.operations)
    }

    fn rots(&self) -> bool {
        self.lock().trouble == Trouble::Rot
    }
}

/// A context with such storage.
#[derive(Clone, Debug)]
pub(crate) struct Hooked<E> {
    pub(crate) inner: E,
    pub(crate) hook: Hook,
}

wrap_context!(Hooked, inner, [hook]);

impl<E: Context> Storage for Hooked<E> {
    type Blob = HookedBlob<E::Blob>;

    async fn open_versioned(
        &self,
        partition: &str,
        name: &[u8],
        versions: RangeInclusive<BlobVersion>,
    ) -> Result<(Self::Blob, u64, BlobVersion), Error> {
        self.hook.pass(Kind::Change)?;
        let (inner, size, version) = self.inner.open_versioned(partition, name, versions).await?;
        Ok((HookedBlob { inner, hook: self.hook.clone() }, size, version))
    }

    async fn remove(&self, partition: &str, name: Option<&[u8]>) -> Result<(), Error> {
        self.hook.pass(Kind::Look)?;
        self.inner.remove(partition, name).await
    }

    async fn scan(&self, partition: &str) -> Result<Vec<Vec<u8>>, Error> {
        self.hook.pass(Kind::Look)?;
        self.inner.scan(partition).await
    }
}

pub(crate) struct HookedBlob<B> {
    inner: B,
    hook: Hook,
}

impl<B> HookedBlob<B> {
    fn rot(&self, bufs: IoBufsMut) -> IoBufsMut {
        let mut bytes = bufs.coalesce().as_ref().to_vec();
        if let (true, Some(first)) = (self.hook.rots(), bytes.first_mut()) {
            *first ^= 1;
        }
        bytes.into()
    }
}

impl<B: Blob> Blob for HookedBlob<B> {
    async fn read_at_buf(
        &self,
        offset: u64,
        len: usize,
        bufs: impl Into<IoBufsMut> + Send,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        self.hook.pass(Kind::Look)?;
        let mut found = self.inner.read_at_buf(offset, len, bufs, options).await?;
        if self.hook.rots() && len > 0 {
            let rotten = self.rot(self.inner.read_at(offset, len, options).await?);
            found.copy_from_slice(rotten.coalesce().as_ref());
        }
        Ok(found)
    }

    async fn read_at(
        &self,
        offset: u64,
        len: usize,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        self.hook.pass(Kind::Look)?;
        Ok(self.rot(self.inner.read_at(offset, len, options).await?))
    }

    async fn write_at(
        &self,
        offset: u64,
        bufs: impl Into<IoBufs> + Send,
        options: WriteOptions,
    ) -> Result<(), Error> {
        if options.contains(WriteOptions::SYNC) && self.hook.stops_here() {
            self.inner.write_at(offset, bufs, WriteOptions::default()).await?;
            return self.hook.pass(Kind::Change);
        }
        self.hook.pass(Kind::Change)?;
        self.inner.write_at(offset, bufs, options).await
    }

    async fn resize(&self, len: u64) -> Result<(), Error> {
        self.hook.pass(Kind::Change)?;
        self.inner.resize(len).await
    }

    async fn sync(&self) -> Result<(), Error> {
        self.hook.pass(Kind::Change)?;
        self.inner.sync().await
    }

    async fn start_sync(&self) -> Handle<()> {
        match self.hook.pass(Kind::Change) {
            Ok(()) => self.inner.start_sync().await,
            Err(error) => Handle::ready(Err(error)),
        }
    }
}
