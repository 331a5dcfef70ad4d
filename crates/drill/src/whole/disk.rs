//! The disk of one simulated server: knows what is durable, and what goes wrong when.
//!
//! # Model
//! - A change is seen at once, and is durable once a sync that began after it has ended.
//! - When the *process* dies, all that was written is still there. When the *power* fails, each
//!   change that is not durable survives or not, by itself, and one that survives may be torn in
//!   sectors of [`SECTOR`] bytes.
//! - Every operation is counted, and the disk can stop at a given one; a durable write then is in
//!   flight, so that all, some or none of it survives.
//! - A disk may be full, and its bytes may rot.

use commonware_runtime::{
    Blob, BlobVersion, Error, Handle, IoBufs, IoBufsMut, ReadOptions, Storage, WriteOptions,
};
use commonware_storage::Context;
use maftia_activity::Nonce;
use maftia_node::server::ServerError;
use maftia_node::start::Beside;
use maftia_node::storage::wrap_context;
use maftia_sim::Random;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// What a disk writes at once, or not at all.
pub const SECTOR: usize = 512;

/// A disk. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Told when the disk stops.
    stopped: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<(String, Vec<u8>), Arc<Mutex<File>>>,
    /// Handles of an earlier session do nothing any more.
    session: u64,
    operations: u64,
    stop_at: Option<u64>,
    is_stopped: bool,
    is_full: bool,
    /// Longest usual sync, in microseconds.
    sync_micros: u64,
    random: Random,
    /// What is remembered beside the log.
    begun: Option<u64>,
    nonce: Option<Nonce>,
}

#[derive(Debug, Default)]
struct File {
    version: BlobVersion,
    /// As it is read.
    seen: Vec<u8>,
    /// What is on the platter.
    stored: Vec<u8>,
    /// Changes since, in their order.
    pending: VecDeque<Change>,
    /// How many changes are on the platter.
    settled: u64,
}

#[derive(Debug)]
struct Change {
    what: What,
    /// Durable by itself.
    is_sure: bool,
}

#[derive(Debug)]
enum What {
    Write(usize, Vec<u8>),
    Resize(usize),
}

impl What {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
            Self::Resize(len) => content.resize(*len, 0),
        }
    }

    /// As much of it as survives when the power fails.
    fn apply_torn(&self, content: &mut Vec<u8>, random: &mut Random) {
        let Self::Write(offset, bytes) = self else { return self.apply(content) };
        let mut at = 0;
        while at < bytes.len() {
            let to_boundary = SECTOR - (offset + at) % SECTOR;
            let end = bytes.len().min(at + to_boundary);
            if random.chance(500) {
                Self::Write(offset + at, bytes[at..end].to_vec()).apply(content);
            }
            at = end;
        }
    }
}

impl File {
    fn change(&mut self, what: What) -> u64 {
        what.apply(&mut self.seen);
        self.pending.push_back(Change { what, is_sure: false });
        self.settled + self.pending.len() as u64
    }

    fn settle(&mut self, until: u64) {
        while self.settled < until
            && let Some(change) = self.pending.pop_front()
        {
            change.what.apply(&mut self.stored);
            self.settled += 1;
        }
    }

    /// Change number `number`, counted from 1, is durable.
    fn make_sure(&mut self, number: u64) {
        if let Some(index) = number.checked_sub(self.settled + 1)
            && let Some(change) = self.pending.get_mut(index as usize)
        {
            change.is_sure = true;
        }
        while self.pending.front().is_some_and(|change| change.is_sure) {
            self.settle(self.settled + 1);
        }
    }

    fn lose_power(&mut self, random: &mut Random) {
        for Change { what, is_sure } in std::mem::take(&mut self.pending) {
            self.settled += 1;
            if is_sure {
                what.apply(&mut self.stored);
            } else {
                match random.below(3) {
                    0 => what.apply(&mut self.stored),
                    1 => what.apply_torn(&mut self.stored, random),
                    _ => {}
                }
            }
        }
        self.seen.clone_from(&self.stored);
    }
}

/// What an operation does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Look,
    Change,
}

impl Disk {
    /// An empty disk, a sync of which takes up to `sync_micros`; tells `stopped` when it stops.
    pub fn new(random: Random, sync_micros: u64, stopped: Arc<Notify>) -> Self {
        let state = State {
            files: BTreeMap::new(),
            session: 0,
            operations: 0,
            stop_at: None,
            is_stopped: false,
            is_full: false,
            sync_micros,
            random,
            begun: None,
            nonce: None,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), stopped }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process that used it is gone. What it wrote is there.
    pub fn close(&self) {
        let mut state = self.lock();
        state.session += 1;
        (state.is_stopped, state.stop_at) = (false, None);
    }

    /// The machine that used it is without power: what was not durable is there or not.
    pub fn lose_power(&self) {
        self.close();
        let state = &mut *self.lock();
        let mut random = state.random.fork(1);
        for file in state.files.values() {
            file.lock().unwrap_or_else(PoisonError::into_inner).lose_power(&mut random);
        }
    }

    /// Stops at the operation that comes after `operations` more.
    pub fn stop_after(&self, operations: u64) {
        let mut state = self.lock();
        state.stop_at = Some(state.operations + operations);
    }

    /// Does not stop any more, unless it has.
    pub fn go_on(&self) {
        self.lock().stop_at = None;
    }

    /// Has it stopped?
    pub fn is_stopped(&self) -> bool {
        self.lock().is_stopped
    }

    /// How many operations there were.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// From now on there is no room, or there is again.
    pub fn set_full(&self, is_full: bool) {
        self.lock().is_full = is_full;
    }

    /// All is lost, but not that there was something.
    pub fn wipe(&self) {
        let mut state = self.lock();
        state.files.clear();
        state.session += 1;
    }

    /// An operator declares the journal lost, with a number drawn now.
    pub fn declare_lost(&self) {
        let mut state = self.lock();
        let bits: [u64; 4] = std::array::from_fn(|_| state.random.bits());
        let mut digest = [0; 32];
        digest
            .chunks_mut(8)
            .zip(bits)
            .for_each(|(to, bits)| to.copy_from_slice(&bits.to_le_bytes()));
        state.begun = state.begun.or(Some(0));
        state.nonce = Some(Nonce(maftia_base::Digest(digest)));
    }

    /// Changes bytes of a file that is not empty; false if there is none.
    pub fn rot(&self) -> bool {
        self.damage(|file, random| {
            let at = random.below(file.stored.len() as u64) as usize;
            file.stored[at] ^= 1 << random.below(8);
        })
    }

    /// Cuts off the end of a file.
    pub fn tear(&self) -> bool {
        self.damage(|file, random| {
            let len = file.stored.len() as u64;
            file.stored.truncate((len - 1 - random.below(len.min(2048))) as usize);
        })
    }

    fn damage(&self, how: impl FnOnce(&mut File, &mut Random)) -> bool {
        let state = &mut *self.lock();
        let mut random = state.random.fork(2);
        let files: Vec<_> = state.files.values().cloned().collect();
        let content = |file: &Arc<Mutex<File>>| {
            !file.lock().unwrap_or_else(PoisonError::into_inner).stored.is_empty()
        };
        let files: Vec<_> = files.into_iter().filter(content).collect();
        if files.is_empty() {
            return false;
        }
        let file = &files[random.below(files.len() as u64) as usize];
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let all = file.settled + file.pending.len() as u64;
        file.settle(all);
        how(&mut file, &mut random);
        file.seen = file.stored.clone();
        true
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> usize {
        let state = self.lock();
        let len = |file: &Arc<Mutex<File>>| {
            file.lock().unwrap_or_else(PoisonError::into_inner).seen.len()
        };
        state.files.values().map(len).sum()
    }

    /// Counts an operation; may stop there.
    fn enter(&self, session: u64, kind: Kind) -> Result<(), Error> {
        let mut state = self.lock();
        if state.session != session || state.is_stopped {
            return Err(Error::Closed);
        }
        if state.stop_at.is_some_and(|at| state.operations >= at) {
            state.is_stopped = true;
            drop(state);
            self.0.stopped.notify_one();
            return Err(Error::Closed);
        }
        state.operations += 1;
        if kind == Kind::Change && state.is_full {
            return Err(io::Error::from(io::ErrorKind::StorageFull).into());
        }
        Ok(())
    }

    fn is_open(&self, session: u64) -> Result<(), Error> {
        let state = self.lock();
        if state.session == session && !state.is_stopped { Ok(()) } else { Err(Error::Closed) }
    }

    /// How long a sync takes now.
    fn sync_time(&self) -> Duration {
        let state = &mut *self.lock();
        let most = state.sync_micros.max(1);
        let usual = most / 4 + state.random.below(most);
        // Now and then a disk is busy with something else.
        let busy = if state.random.chance(4) { 20 * most } else { 0 };
        Duration::from_micros(usual + busy)
    }
}

impl Beside for Disk {
    fn run(&self) -> Result<Option<u64>, ServerError> {
        Ok(self.lock().begun)
    }

    fn note(&self, run: u64) -> Result<(), ServerError> {
        self.lock().begun = Some(run);
        Ok(())
    }

    fn nonce(&self) -> Result<Option<Nonce>, ServerError> {
        Ok(self.lock().nonce)
    }

    fn forget_nonce(&self) -> Result<(), ServerError> {
        self.lock().nonce = None;
        Ok(())
    }
}

/// A context with such a disk.
#[derive(Debug)]
pub struct OnDisk<E> {
    inner: E,
    clock: Arc<E>,
    disk: Disk,
    session: u64,
}

impl<E: Context> OnDisk<E> {
    /// A new session with `disk`.
    pub fn new(context: E, disk: &Disk) -> Self {
        let clock = Arc::new(context.child("disk"));
        let session = disk.lock().session;
        Self { inner: context, clock, disk: disk.clone(), session }
    }
}

wrap_context!(OnDisk, inner, [clock, disk, session]);

impl<E: Context> Storage for OnDisk<E> {
    type Blob = DiskBlob<E>;

    async fn open_versioned(
        &self,
        partition: &str,
        name: &[u8],
        versions: RangeInclusive<BlobVersion>,
    ) -> Result<(Self::Blob, u64, BlobVersion), Error> {
        self.disk.enter(self.session, Kind::Change)?;
        let (disk, clock, session) = (self.disk.clone(), Arc::clone(&self.clock), self.session);
        let file = {
            let mut state = self.disk.lock();
            let file =
                state.files.entry((partition.to_owned(), name.to_vec())).or_insert_with(|| {
                    Arc::new(Mutex::new(File { version: *versions.end(), ..File::default() }))
                });
            Arc::clone(file)
        };
        let blob = DiskBlob { file, disk, clock, session };
        let (len, version) = blob.with(|file| (file.seen.len() as u64, file.version));
        Ok((blob, len, version))
    }

    async fn remove(&self, partition: &str, name: Option<&[u8]>) -> Result<(), Error> {
        self.disk.enter(self.session, Kind::Look)?;
        let mut state = self.disk.lock();
        let before = state.files.len();
        match name {
            Some(name) => drop(state.files.remove(&(partition.to_owned(), name.to_vec()))),
            None => state.files.retain(|(of, _), _| of != partition),
        }
        if state.files.len() == before {
            return Err(Error::PartitionMissing(partition.to_owned()));
        }
        Ok(())
    }

    async fn scan(&self, partition: &str) -> Result<Vec<Vec<u8>>, Error> {
        self.disk.enter(self.session, Kind::Look)?;
        let state = self.disk.lock();
        let names = state.files.keys().filter(|(of, _)| of == partition);
        let names: Vec<Vec<u8>> = names.map(|(_, name)| name.clone()).collect();
        if names.is_empty() {
            return Err(Error::PartitionMissing(partition.to_owned()));
        }
        Ok(names)
    }
}

/// A file that is open.
#[derive(Debug)]
pub struct DiskBlob<E> {
    file: Arc<Mutex<File>>,
    disk: Disk,
    clock: Arc<E>,
    session: u64,
}

impl<E: Context> DiskBlob<E> {
    fn with<T>(&self, look: impl FnOnce(&mut File) -> T) -> T {
        look(&mut self.file.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        self.disk.enter(self.session, Kind::Look)?;
        let start = usize::try_from(offset).map_err(|_| Error::OffsetOverflow)?;
        let end = start.checked_add(len).ok_or(Error::OffsetOverflow)?;
        self.with(|file| file.seen.get(start..end).map(<[u8]>::to_vec))
            .ok_or(Error::BlobInsufficientLength)
    }
}

impl<E: Context> Blob for DiskBlob<E> {
    async fn read_at_buf(
        &self,
        offset: u64,
        len: usize,
        bufs: impl Into<IoBufsMut> + Send,
        _options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        let (found, mut bufs) = (self.read(offset, len)?, bufs.into());
        if bufs.len() == len {
            bufs.copy_from_slice(&found);
            return Ok(bufs);
        }
        Ok(found.into())
    }

    async fn read_at(
        &self,
        offset: u64,
        len: usize,
        _options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        Ok(self.read(offset, len)?.into())
    }

    async fn write_at(
        &self,
        offset: u64,
        bufs: impl Into<IoBufs> + Send,
        options: WriteOptions,
    ) -> Result<(), Error> {
        let bytes = bufs.into().coalesce().as_ref().to_vec();
        let is_durable = options.contains(WriteOptions::SYNC);
        let entered = self.disk.enter(self.session, Kind::Change);
        if entered.is_err() && !(is_durable && self.is_the_stop()) {
            return entered;
        }
        let number = self.with(|file| file.change(What::Write(offset as usize, bytes)));
        entered?;
        if is_durable {
            let pause = self.disk.sync_time();
            self.clock.sleep(pause).await;
            self.disk.is_open(self.session)?;
            self.with(|file| file.make_sure(number));
        }
        Ok(())
    }

    async fn resize(&self, len: u64) -> Result<(), Error> {
        self.disk.enter(self.session, Kind::Change)?;
        self.with(|file| file.change(What::Resize(len as usize)));
        Ok(())
    }

    async fn sync(&self) -> Result<(), Error> {
        self.disk.enter(self.session, Kind::Change)?;
        let until = self.with(|file| file.settled + file.pending.len() as u64);
        let pause = self.disk.sync_time();
        self.clock.sleep(pause).await;
        self.disk.is_open(self.session)?;
        self.with(|file| file.settle(until));
        Ok(())
    }

    async fn start_sync(&self) -> Handle<()> {
        Handle::ready(self.sync().await)
    }
}

impl<E: Context> DiskBlob<E> {
    /// Did the disk stop at the operation that was refused just now?
    fn is_the_stop(&self) -> bool {
        let state = self.disk.lock();
        state.session == self.session && state.stop_at == Some(state.operations)
    }
}
