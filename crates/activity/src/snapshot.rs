//! Snapshots: the replicated state at a mark, cut into chunks that can be checked one by one.
//!
//! # Promise
//! The digest of a [`Manifest`] fixes all that a server must know to go on from its mark: where the
//! order stands, who was admitted again and when, and the state itself, chunk by chunk. Equal
//! states at one mark give equal digests.

use crate::rejoin::Admission;
use maftia_agreement::atomic::Frontier;
use maftia_agreement::checkpoint::Mark;
use maftia_base::wire::{Blob, Bytes, List, wire_struct};
use maftia_base::{Digest, PARTIES_MAX};
use maftia_crypto::Suite;

/// Bytes of a chunk; only the last one may be shorter.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// Most chunks of a snapshot: a state takes at most 1 GiB.
pub const CHUNKS_MAX: usize = 4096;

/// A piece of the state.
pub type Chunk = Blob<CHUNK_BYTES>;

/// What a checkpoint certifies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Manifest<S: Suite> {
    /// Where the order stands.
    pub frontier: Frontier<S>,
    /// Who was admitted again after it had lost its log.
    pub admitted: List<Admission, PARTIES_MAX>,
    /// Digests of the chunks of the state.
    pub chunks: List<Digest, CHUNKS_MAX>,
}

wire_struct!(<S: Suite> Manifest<S> { frontier, admitted, chunks });

impl<S: Suite> Manifest<S> {
    /// Cuts `state` into chunks, and describes them.
    pub fn of(
        frontier: Frontier<S>,
        admitted: List<Admission, PARTIES_MAX>,
        state: &Bytes,
    ) -> (Self, Vec<Chunk>) {
        let cuts = (0..state.len()).step_by(CHUNK_BYTES);
        let chunk = |from: usize| state.slice(from..state.len().min(from + CHUNK_BYTES));
        let chunks: Vec<Chunk> =
            cuts.map(|from| Blob::new(chunk(from)).expect("cut to this length")).collect();
        let digests = List::new(chunks.iter().map(|chunk| chunk_digest(chunk)).collect());
        let chunks_digests = digests.expect("services keep their states within the bound");
        (Self { frontier, admitted, chunks: chunks_digests }, chunks)
    }

    /// Its mark.
    pub fn mark(&self) -> Mark {
        self.frontier.mark
    }

    /// What is certified.
    pub fn digest(&self) -> Digest {
        Digest::of_encoded("maftia checkpoint manifest", self)
    }
}

/// The digest of a chunk.
pub fn chunk_digest(chunk: &[u8]) -> Digest {
    Digest::of("maftia snapshot chunk", chunk)
}

/// A snapshot of which not all chunks are there.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Assembly<S: Suite> {
    pub(crate) manifest: Manifest<S>,
    chunks: Vec<Option<Bytes>>,
    missing: usize,
}

impl<S: Suite> Assembly<S> {
    pub(crate) fn new(manifest: Manifest<S>) -> Self {
        let missing = manifest.chunks.len();
        Self { manifest, chunks: vec![None; missing], missing }
    }

    /// Is this chunk missing?
    pub(crate) fn lacks(&self, index: u32) -> bool {
        matches!(self.chunks.get(index as usize), Some(None))
    }

    /// Puts a chunk in its place; false if it does not belong there.
    #[must_use]
    pub(crate) fn put(&mut self, index: u32, chunk: Bytes) -> bool {
        let place = index as usize;
        if self.manifest.chunks.get(place) != Some(&chunk_digest(&chunk)) {
            return false;
        }
        if self.chunks[place].replace(chunk).is_none() {
            self.missing -= 1;
        }
        true
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.chunks.len()
    }

    pub(crate) fn present(&self) -> usize {
        self.chunks.len() - self.missing
    }

    /// The chunks that are there, by digest.
    pub(crate) fn into_present(self) -> impl Iterator<Item = (Digest, Bytes)> {
        let digests = self.manifest.chunks.into_vec();
        digests.into_iter().zip(self.chunks).filter_map(|(digest, chunk)| Some((digest, chunk?)))
    }

    /// Manifest and state, if complete.
    pub(crate) fn finish(self) -> Option<(Manifest<S>, Bytes)> {
        let chunks: Option<Vec<Bytes>> = self.chunks.into_iter().collect();
        Some((self.manifest, chunks?.concat().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use maftia_agreement::atomic::{Heads, Leaders, Round};
    use maftia_base::{Epoch, PartySet};
    use maftia_crypto::ideal::IdealSuite;

    fn manifest(state: &[u8]) -> (Manifest<IdealSuite>, Vec<Chunk>) {
        let frontier = Frontier {
            mark: Mark(1),
            epoch: Epoch(0),
            round: Round(1),
            heads: Heads::default(),
            turned: PartySet::EMPTY,
            leaders: Leaders::default(),
        };
        Manifest::of(frontier, List::default(), &Bytes::copy_from_slice(state))
    }

    #[test]
    fn a_state_of_any_length_is_put_together_again_from_chunks_in_any_order() {
        for len in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7] {
            let state: Vec<u8> = (0..len).map(|place| (place % 251) as u8).collect();
            let (manifest, chunks) = manifest(&state);
            assert_eq!(chunks.len(), len.div_ceil(CHUNK_BYTES));
            let mut assembly = Assembly::new(manifest.clone());
            for (index, chunk) in chunks.iter().enumerate().rev() {
                assert!(assembly.lacks(index as u32) && !assembly.is_complete());
                assert!(assembly.put(index as u32, chunk.bytes().clone()));
            }
            let (same, bytes) = assembly.finish().expect("complete");
            assert_eq!((same, &bytes[..]), (manifest, &state[..]));
        }
    }

    #[test]
    fn a_chunk_fits_only_where_it_belongs() {
        let state: Vec<u8> = (0..2 * CHUNK_BYTES).map(|place| (place / 999) as u8).collect();
        let (manifest, chunks) = manifest(&state);
        let mut assembly = Assembly::new(manifest);
        assert!(!assembly.put(1, chunks[0].bytes().clone()), "of another place");
        assert!(!assembly.put(2, chunks[0].bytes().clone()), "there is no such place");
        let mut changed = chunks[0].to_vec();
        changed[17] ^= 1;
        assert!(!assembly.put(0, changed.into()));
        assert!(assembly.put(0, chunks[0].bytes().clone()));
        assert!(assembly.put(0, chunks[0].bytes().clone()), "again");
        assert!(!assembly.is_complete() && assembly.finish().is_none());
    }
}
