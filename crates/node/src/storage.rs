//! Storage that makes a small write durable in one call to the operating system instead of two.
//!
//! A log commits by a write and then a sync, and each of them costs a change of thread and back.
//! Here a plain write is held back until the next operation on its blob. Is that a sync, both
//! become one durable write.
//!
//! # Promise
//! - What a sync of this storage covers is as durable as a sync of the inner storage makes it.
//! - Every read and resize sees every write that completed before it.
//!
//! # Rules
//! - R1. At most one write is held back; any next operation on the blob but a sync first hands it
//!   to the inner blob, in the order of the calls.
//! - R2. A durable write says nothing about earlier ones. It stands for a sync only if the inner
//!   blob has no other change that was not synced.
//! - R3. A held write reports its failure at the next operation, and the blob fails from then on.
//!   So does one whose handing over was cancelled: nobody knows whether it took place.
//! - R4. A blob that is dropped may lose the write that it holds back, as it may lose any that was
//!   not synced.

use commonware_runtime::{
    Blob, BlobVersion, Error, Handle, IoBufs, IoBufsMut, ReadOptions, Storage, WriteOptions,
};
use commonware_storage::Context;
use futures::{Stream, TryStreamExt, stream};
use std::ops::RangeInclusive;
use tokio::sync::{Mutex, MutexGuard};

/// A context whose storage is another's, with writes and syncs fused.
#[derive(Clone, Debug)]
pub struct Fused<E>(pub E);

impl<E: Context> Storage for Fused<E> {
    type Blob = FusedBlob<E::Blob>;

    async fn open_versioned(
        &self,
        partition: &str,
        name: &[u8],
        versions: RangeInclusive<BlobVersion>,
    ) -> Result<(Self::Blob, u64, BlobVersion), Error> {
        let (inner, size, version) = self.0.open_versioned(partition, name, versions).await?;
        Ok((FusedBlob::new(inner), size, version))
    }

    async fn remove(&self, partition: &str, name: Option<&[u8]>) -> Result<(), Error> {
        self.0.remove(partition, name).await
    }

    async fn scan(&self, partition: &str) -> Result<Vec<Vec<u8>>, Error> {
        self.0.scan(partition).await
    }
}

/// A blob that may hold back its last write.
#[derive(Debug)]
pub struct FusedBlob<B> {
    inner: B,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    held: Held,
    /// The inner blob may have changes that are not durable.
    dirty: bool,
}

#[derive(Debug)]
enum Held {
    Nothing,
    Write {
        offset: u64,
        bytes: IoBufs,
        options: WriteOptions,
    },
    /// A held write failed, or may have. (R3)
    Failed(Error),
}

impl<B: Blob> FusedBlob<B> {
    pub(crate) fn new(inner: B) -> Self {
        // Nobody knows what the last one who had it open left unsynced. (R2)
        Self { inner, state: Mutex::new(State { held: Held::Nothing, dirty: true }) }
    }

    /// Hands over what is held back. (R1)
    async fn settle(&self) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.state.lock().await;
        self.hand_over(&mut state, WriteOptions::default()).await?;
        Ok(state)
    }

    /// Hands over what is held back, with `more` options; true if there was a write. (R3)
    async fn hand_over(&self, state: &mut State, more: WriteOptions) -> Result<bool, Error> {
        match std::mem::replace(&mut state.held, Held::Failed(Error::WriteFailed)) {
            Held::Nothing => {
                state.held = Held::Nothing;
                Ok(false)
            }
            Held::Write { offset, bytes, options } => {
                state.dirty |= !more.contains(WriteOptions::SYNC);
                let written = self.inner.write_at(offset, bytes, options | more).await;
                state.held = match &written {
                    Ok(()) => Held::Nothing,
                    Err(error) => Held::Failed(error.clone()),
                };
                written.map(|()| true)
            }
            Held::Failed(error) => {
                state.held = Held::Failed(error.clone());
                Err(error)
            }
        }
    }
}

impl<B: Blob> Blob for FusedBlob<B> {
    async fn read_at_buf(
        &self,
        offset: u64,
        len: usize,
        bufs: impl Into<IoBufsMut> + Send,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        drop(self.settle().await?);
        self.inner.read_at_buf(offset, len, bufs, options).await
    }

    async fn read_at(
        &self,
        offset: u64,
        len: usize,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        drop(self.settle().await?);
        self.inner.read_at(offset, len, options).await
    }

    fn read_many(
        &self,
        ranges: &[(u64, usize)],
        options: ReadOptions,
    ) -> impl Stream<Item = Result<(usize, IoBufsMut), Error>> + Send {
        let read = async move {
            drop(self.settle().await?);
            Ok::<_, Error>(self.inner.read_many(ranges, options))
        };
        stream::once(read).try_flatten()
    }

    async fn start_read_many(
        &self,
        ranges: &[(u64, usize)],
        options: ReadOptions,
    ) -> Handle<Vec<IoBufsMut>> {
        match self.settle().await {
            Ok(state) => drop(state),
            Err(error) => return Handle::ready(Err(error)),
        }
        self.inner.start_read_many(ranges, options).await
    }

    async fn write_at(
        &self,
        offset: u64,
        bufs: impl Into<IoBufs> + Send,
        options: WriteOptions,
    ) -> Result<(), Error> {
        let bytes = bufs.into();
        let mut state = self.settle().await?;
        if options.contains(WriteOptions::SYNC) {
            let was_dirty = std::mem::replace(&mut state.dirty, true);
            self.inner.write_at(offset, bytes, options).await?;
            state.dirty = was_dirty;
            return Ok(());
        }
        state.held = Held::Write { offset, bytes, options };
        Ok(())
    }

    async fn resize(&self, len: u64) -> Result<(), Error> {
        let mut state = self.settle().await?;
        state.dirty = true;
        self.inner.resize(len).await
    }

    async fn sync(&self) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        if !state.dirty {
            self.hand_over(&mut state, WriteOptions::SYNC).await?;
            return Ok(());
        }
        self.hand_over(&mut state, WriteOptions::default()).await?;
        self.inner.sync().await?;
        state.dirty = false;
        Ok(())
    }

    /// The sync is complete when this returns: a log that waits for it anyway gains nothing from
    /// another task.
    async fn start_sync(&self) -> Handle<()> {
        Handle::ready(self.sync().await)
    }
}

/// Has a context that wraps another do as that one does in everything but storage:
/// `wrap_context!(Name, field of the inner context, [other fields])`. Whoever uses it depends on
/// `commonware_runtime`, `commonware_storage` and `governor`.
#[macro_export]
macro_rules! wrap_context {
    ($wrapper:ident, $inner:tt, [$($other:ident),*]) => {
        impl<E: commonware_storage::Context> commonware_runtime::Supervisor for $wrapper<E> {
            fn name(&self) -> commonware_runtime::Name {
                self.$inner.name()
            }

            fn child(&self, label: &'static str) -> Self {
                Self { $inner: self.$inner.child(label), $($other: self.$other.clone()),* }
            }

            fn with_attribute(self, key: &'static str, value: impl std::fmt::Display) -> Self {
                let inner = self.$inner.with_attribute(key, value);
                Self { $inner: inner, $($other: self.$other),* }
            }
        }

        impl<E: commonware_storage::Context> commonware_runtime::Metrics for $wrapper<E> {
            fn register<N, H, M>(
                &self,
                name: N,
                help: H,
                metric: M,
            ) -> commonware_runtime::telemetry::metrics::Registered<M>
            where
                N: Into<String>,
                H: Into<String>,
                M: commonware_runtime::telemetry::metrics::Metric,
            {
                self.$inner.register(name, help, metric)
            }

            fn encode(&self) -> String {
                self.$inner.encode()
            }
        }

        impl<E: commonware_storage::Context> governor::clock::Clock for $wrapper<E> {
            type Instant = std::time::SystemTime;

            fn now(&self) -> std::time::SystemTime {
                self.$inner.now()
            }
        }

        impl<E: commonware_storage::Context> governor::clock::ReasonablyRealtime for $wrapper<E> {
            fn reference_point(&self) -> std::time::SystemTime {
                self.$inner.reference_point()
            }
        }

        impl<E: commonware_storage::Context> commonware_runtime::Clock for $wrapper<E> {
            fn current(&self) -> std::time::SystemTime {
                self.$inner.current()
            }

            fn sleep(
                &self,
                duration: std::time::Duration,
            ) -> impl Future<Output = ()> + Send + 'static + use<E> {
                self.$inner.sleep(duration)
            }

            fn sleep_until(
                &self,
                deadline: std::time::SystemTime,
            ) -> impl Future<Output = ()> + Send + 'static + use<E> {
                self.$inner.sleep_until(deadline)
            }
        }
    };
}

pub use wrap_context;

wrap_context!(Fused, 0, []);
