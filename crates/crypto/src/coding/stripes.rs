//! The code, stripe by stripe: what is worked on at a time fits a cache.

use super::{Code, Given, PIECE_BYTES};
use bytes::Bytes;
use maftia_base::wire::Blob;
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

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

/// The value of at least `k` fragments of the right form, of different servers.
pub(super) fn reduce(code: Code, length: usize, given: &[Given]) -> Option<Vec<u8>> {
    let (k, pieces) = (code.k(), code.pieces(length));
    // Those that are the value itself need no decoding.
    let mut given: Vec<&Given> = given.iter().collect();
    given.sort_by_key(|(party, _)| *party);
    given.truncate(k);
    let mut value = Vec::with_capacity(length + k * PIECE_BYTES);
    for number in 0..pieces {
        let width = code.piece_bytes(length, number);
        let start = value.len();
        value.resize(start + k * width, 0);
        let mut stripe: Vec<&mut [u8]> = value[start..].chunks_exact_mut(width).collect();
        let originals = given.iter().take_while(|(party, _)| party.index() < k);
        for (party, fragment) in originals.clone() {
            stripe[party.index()].copy_from_slice(&fragment[number]);
        }
        if originals.count() < k {
            restore(code, width, number, &given, &mut stripe)?;
        }
    }
    value.truncate(length);
    Some(value)
}

/// Fills in what is missing of a stripe.
fn restore(
    code: Code,
    width: usize,
    number: usize,
    given: &[&Given],
    stripe: &mut [&mut [u8]],
) -> Option<()> {
    let k = code.k();
    let mut decoder = ReedSolomonDecoder::new(k, code.n() - k, width).ok()?;
    for (party, fragment) in given {
        let (index, piece) = (party.index(), &fragment[number][..]);
        if index < k {
            decoder.add_original_shard(index, piece).ok()?;
        } else {
            decoder.add_recovery_shard(index - k, piece).ok()?;
        }
    }
    let result = decoder.decode().ok()?;
    for (index, piece) in result.restored_original_iter() {
        stripe.get_mut(index)?.copy_from_slice(piece);
    }
    Some(())
}
