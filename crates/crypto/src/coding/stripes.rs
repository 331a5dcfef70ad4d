//! The code, stripe by stripe: what is worked on at a time fits a cache.

use super::{Code, Given, PIECE_BYTES};
use bytes::Bytes;
use maftia_base::wire::Blob;
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};
use std::ops::Range;

/// The bytes of every server's pieces.
pub(super) fn extend(code: Code, value: &Bytes) -> Vec<Vec<Blob<PIECE_BYTES>>> {
    let (n, k, pieces) = (code.n(), code.k(), code.pieces(value.len()));
    let mut fragments = vec![Vec::with_capacity(pieces); n];
    for number in 0..pieces {
        let width = code.piece_bytes(value.len(), number);
        let start = number * k * PIECE_BYTES;
        let mut stripe: Vec<Bytes> =
            (0..k).map(|i| padded(value, start + i * width, width)).collect();
        stripe.extend(redundancy(n - k, width, &stripe));
        for (fragment, bytes) in fragments.iter_mut().zip(stripe) {
            fragment.push(Blob::new(bytes).expect("no piece is longer"));
        }
    }
    fragments
}

/// `width` bytes from `start`; what lies behind the end is zeros.
fn padded(value: &Bytes, start: usize, width: usize) -> Bytes {
    let (from, to) = (start.min(value.len()), (start + width).min(value.len()));
    if to - from == width {
        return value.slice(from..to);
    }
    let mut bytes = value[from..to].to_vec();
    bytes.resize(width, 0);
    bytes.into()
}

fn redundancy(count: usize, width: usize, stripe: &[Bytes]) -> Vec<Bytes> {
    if count == 0 {
        return Vec::new();
    }
    // The library refuses other counts, sizes and odd widths than those that `Code` and the form
    // of stripes allow.
    let mut encoder = ReedSolomonEncoder::new(stripe.len(), count, width)
        .expect("at most 64 servers, and an even number of bytes");
    for piece in stripe {
        encoder.add_original_shard(piece).expect("as many and as long as announced");
    }
    let result = encoder.encode().expect("all have been added");
    result.recovery_iter().map(Bytes::copy_from_slice).collect()
}

/// Stripes that are restored at once. Each restoration has a fixed cost of about a millisecond, for
/// a transform over the whole field.
const RESTORED_MAX: usize = 8;

/// The value of at least `k` fragments of the right form, of different servers.
pub(super) fn reduce(code: Code, length: usize, given: &[Given]) -> Option<Vec<u8>> {
    let (k, pieces) = (code.k(), code.pieces(length));
    let mut given: Vec<&Given> = given.iter().collect();
    // Those that are the value itself need no decoding.
    given.sort_by_key(|(party, _)| *party);
    given.truncate(k);
    let originals = given.iter().take_while(|(party, _)| party.index() < k).count();
    let width = |number| code.piece_bytes(length, number);
    let mut value = vec![0; (0..pieces).map(|number| k * width(number)).sum()];
    for (number, stripe) in value.chunks_mut(k * PIECE_BYTES).enumerate() {
        for (party, fragment) in &given[..originals] {
            piece_of(stripe, party.index(), width(number)).copy_from_slice(&fragment[number]);
        }
    }
    if originals < k {
        for from in (0..pieces).step_by(RESTORED_MAX) {
            let to = pieces.min(from + RESTORED_MAX);
            let stripes = &mut value[from * k * PIECE_BYTES..];
            restore(code, from..to, &given, stripes, width)?;
        }
    }
    value.truncate(length);
    Some(value)
}

fn piece_of(stripe: &mut [u8], index: usize, width: usize) -> &mut [u8] {
    &mut stripe[index * width..(index + 1) * width]
}

/// Fills in what is missing of some stripes. The code works on each 64 bytes alone, and all pieces
/// but the last are a multiple of that: so these stripes side by side are one wider stripe.
fn restore(
    code: Code,
    numbers: Range<usize>,
    given: &[&Given],
    stripes: &mut [u8],
    width: impl Fn(usize) -> usize,
) -> Option<()> {
    let k = code.k();
    let wide = numbers.clone().map(&width).sum();
    let mut decoder = ReedSolomonDecoder::new(k, code.n() - k, wide).ok()?;
    for (party, fragment) in given {
        let pieces: Vec<&[u8]> = fragment[numbers.clone()].iter().map(|piece| &**piece).collect();
        let (index, shard) = (party.index(), pieces.concat());
        if index < k {
            decoder.add_original_shard(index, shard).ok()?;
        } else {
            decoder.add_recovery_shard(index - k, shard).ok()?;
        }
    }
    let result = decoder.decode().ok()?;
    for (index, shard) in result.restored_original_iter() {
        let pieces = shard.chunks(PIECE_BYTES);
        for ((stripe, piece), number) in
            stripes.chunks_mut(k * PIECE_BYTES).zip(pieces).zip(numbers.clone())
        {
            piece_of(stripe, index, width(number)).copy_from_slice(piece);
        }
    }
    Some(())
}

const _: () = assert!(PIECE_BYTES.is_multiple_of(64), "stripes can be put side by side");
