//! Values cut into fragments, one for each server, of which any `k` make up the value; and one
//! digest that commits to all of them.
//!
//! # Promise
//! - *Any `k` suffice.* [`decode`] makes the value of any `k` fragments of it.
//! - *Binding.* A piece that [holds](Commitment::holds) is the one that its committer put at this
//!   place of this server's fragment.
//! - *One verdict.* For one commitment, all sets of `k` fragments whose pieces hold decode to the
//!   same value, or none of them decodes: after decoding, the value is encoded again, and its
//!   commitment must be this one. So a commitment to what is no encoding, to other padding than
//!   zeros, or with a wrong length, is refused by whoever decodes, whatever fragments he has.
//! - *Total.* Nothing here fails or panics, whatever pieces it is given.
//!
//! # Form
//! A value of `length` bytes is cut into stripes of `k` pieces of [`PIECE_BYTES`] each; the pieces
//! of the last stripe are shorter, equally long, of an even number of bytes, at least two; what is
//! missing is zeros. Each stripe is extended by a Reed-Solomon code over GF(2^16) to `n` pieces, of
//! which the first `k` are the value itself. A server's fragment is its piece of every stripe. A
//! Merkle tree has all pieces for leaves, fragment after fragment. The commitment is the length and
//! the digest of length, `n`, `k` and root.
//!
//! Stripes rather than one code word, because a message has a bound that a fragment exceeds; and
//! one tree rather than one for each stripe, because then a piece of any stripe names the whole
//! value. A piece costs its path: at most 13 digests on 128 KiB.
//!
//! # Why it holds
//! Let two sets of `k` fragments hold under one commitment, and let the first decode to `v`, whose
//! encoding has this commitment. By collision resistance the second are fragments of that encoding,
//! too, so that they decode to `v`.
//!
//! # Bounds
//! Values of at most [`CODED_BYTES_MAX`]; working memory of the code `2n` pieces beside the value
//! and its fragments.
//!
//! # Sources
//! I. Reed, G. Solomon, 1960, as `reed-solomon-simd` does it; R. Merkle, 1987; the check by
//! encoding again is that of C. Cachin, S. Tessaro, "Asynchronous verifiable information
//! dispersal", 2005.

mod stripes;
mod tree;

use bytes::Bytes;
use maftia_base::wire::{
    self, Blob, Buf, BufMut, EncodeSize, List, Read, ReadExt, Write, wire_struct,
};
use maftia_base::{Digest, PARTIES_MAX, Party, PartySet};

/// Largest value that can be coded.
pub const CODED_BYTES_MAX: usize = 16 << 20;

/// Bytes of a piece, but for those of the last stripe.
pub const PIECE_BYTES: usize = 128 << 10;

/// Most pieces of a fragment: when each fragment is the whole value.
pub const PIECES_MAX: usize = CODED_BYTES_MAX / PIECE_BYTES;

/// Digests on the way up from a piece: a group of the largest size has [`PARTIES_MAX`] times
/// [`PIECES_MAX`] pieces at most.
const PATH_MAX: usize = (PARTIES_MAX * PIECES_MAX).ilog2() as usize;

/// A value that can be coded.
pub type CodedValue = Blob<CODED_BYTES_MAX>;

/// `n` fragments, any `k` of which make up the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code {
    n: u8,
    k: u8,
}

impl Code {
    /// `None` unless `1 <= k <= n <= PARTIES_MAX`.
    pub fn new(n: usize, k: usize) -> Option<Self> {
        let fits = 1 <= k && k <= n && n <= PARTIES_MAX;
        fits.then_some(Self { n: n as u8, k: k as u8 })
    }

    /// Number of fragments.
    pub fn n(self) -> usize {
        usize::from(self.n)
    }

    /// How many make up the value.
    pub fn k(self) -> usize {
        usize::from(self.k)
    }

    /// Pieces in each fragment of a value of `length` bytes.
    pub fn pieces(self, length: usize) -> usize {
        length.div_ceil(self.k() * PIECE_BYTES).max(1)
    }

    /// Pieces in each fragment of the largest value.
    pub fn pieces_max(self) -> usize {
        self.pieces(CODED_BYTES_MAX)
    }

    /// Bytes of each piece of stripe `number`.
    fn piece_bytes(self, length: usize, number: usize) -> usize {
        let rest = length.saturating_sub(number * self.k() * PIECE_BYTES);
        rest.div_ceil(self.k()).next_multiple_of(2).clamp(2, PIECE_BYTES)
    }
}

/// Commits whoever names it to a value, its length and every piece of every fragment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commitment {
    length: u32,
    root: Digest,
}

impl Commitment {
    /// What a peer may claim; `None` if the value would be too long.
    pub fn new(length: usize, root: Digest) -> Option<Self> {
        (length <= CODED_BYTES_MAX).then_some(Self { length: length as u32, root })
    }

    /// Commits to a tree over all pieces.
    fn of(code: Code, length: usize, tree: Digest) -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&(length as u64).to_le_bytes());
        bytes.extend_from_slice(&[code.n, code.k]);
        bytes.extend_from_slice(&tree.0);
        let root = Digest::of("maftia coded value", &bytes);
        Self { length: length as u32, root }
    }

    /// Bytes of the value.
    pub fn length(&self) -> usize {
        self.length as usize
    }

    /// Names the value: the same for the same value under the same code.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// Is this a piece of `owner`'s fragment? Takes one pass over its bytes.
    pub fn holds(&self, code: Code, owner: Party, piece: &Piece) -> bool {
        let (pieces, number) = (code.pieces(self.length()), usize::from(piece.number));
        if owner.index() >= code.n()
            || number >= pieces
            || piece.bytes.len() != code.piece_bytes(self.length(), number)
        {
            return false;
        }
        let (index, count) = (owner.index() * pieces + number, code.n() * pieces);
        tree::root_of(tree::leaf(&piece.bytes), index, count, &piece.path)
            .is_some_and(|tree| Self::of(code, self.length(), tree) == *self)
    }
}

impl std::fmt::Debug for Commitment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} of {} bytes", self.root, self.length)
    }
}

impl EncodeSize for Commitment {
    fn encode_size(&self) -> usize {
        self.length.encode_size() + self.root.encode_size()
    }
}

impl Write for Commitment {
    fn write(&self, buf: &mut impl BufMut) {
        self.length.write(buf);
        self.root.write(buf);
    }
}

impl Read for Commitment {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, wire::Error> {
        let (length, root) = (u32::read(buf)?, Digest::read(buf)?);
        let refused = wire::Error::Invalid("Commitment", "longer than any value");
        Self::new(length as usize, root).ok_or(refused)
    }
}

/// One piece of a fragment, with what proves it under a commitment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Piece {
    /// Of which stripe.
    pub number: u8,
    /// The piece itself.
    pub bytes: Blob<PIECE_BYTES>,
    /// Its way up the tree.
    pub path: List<Digest, PATH_MAX>,
}

wire_struct!(Piece { number, bytes, path });

/// A value's commitment, and the fragment of every server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Encoded {
    /// Names the value.
    pub commitment: Commitment,
    /// For each server its pieces, in the order of the stripes.
    pub fragments: Vec<Vec<Piece>>,
}

/// A value that has the commitment that it should have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decoded {
    /// The value.
    pub value: CodedValue,
    /// The fragment of the server that asked.
    pub fragment: Vec<Piece>,
}

/// Whose fragment this is said to be, and the bytes of its pieces.
pub type Given = (Party, Vec<Blob<PIECE_BYTES>>);

/// Names `value` without sending it anywhere: what a client signs.
pub fn commitment_of(code: Code, value: &CodedValue) -> Commitment {
    encode(code, value).commitment
}

/// Encodes a value.
pub(crate) fn encode(code: Code, value: &CodedValue) -> Encoded {
    commit(code, value.len(), stripes::extend(code, value.bytes()))
}

/// Decodes the value of these fragments, and encodes it again; `None` if they are too few or not
/// of this form, or if the value's commitment is another one. Also makes the fragment of `me`.
pub(crate) fn decode(
    code: Code,
    commitment: &Commitment,
    given: &[Given],
    me: Party,
) -> Option<Decoded> {
    let length = commitment.length();
    let pieces = code.pieces(length);
    let fits = |(party, fragment): &Given| {
        let right = |(number, piece): (usize, &Blob<PIECE_BYTES>)| {
            piece.len() == code.piece_bytes(length, number)
        };
        party.index() < code.n()
            && fragment.len() == pieces
            && fragment.iter().enumerate().all(right)
    };
    let owners: PartySet = given.iter().map(|(party, _)| *party).collect();
    let distinct = owners.len() == given.len();
    if !distinct || owners.len() < code.k() || !given.iter().all(fits) {
        return None;
    }
    let value = stripes::reduce(code, length, given)?;
    let value = CodedValue::new(Bytes::from(value))?;
    let mut encoded = encode(code, &value);
    if encoded.commitment != *commitment || me.index() >= code.n() {
        return None;
    }
    let fragment = encoded.fragments.swap_remove(me.index());
    Some(Decoded { value, fragment })
}

/// Commits to fragments, which an honest server makes only by [`encode`].
pub(crate) fn commit(code: Code, length: usize, fragments: Vec<Vec<Blob<PIECE_BYTES>>>) -> Encoded {
    let leaves = fragments.iter().flatten().map(|piece| tree::leaf(piece)).collect();
    let tree = tree::Tree::new(leaves);
    let commitment = Commitment::of(code, length, tree.root());
    let mut index = 0..;
    let mut proven = |(number, bytes)| {
        let path = tree.path(index.next().unwrap_or(0));
        let path = List::new(path).expect("no tree is higher");
        Piece { number: number as u8, bytes, path }
    };
    let mut fragment = |pieces: Vec<Blob<PIECE_BYTES>>| -> Vec<Piece> {
        pieces.into_iter().enumerate().map(&mut proven).collect()
    };
    let fragments = fragments.into_iter().map(&mut fragment).collect();
    Encoded { commitment, fragments }
}

#[cfg(test)]
mod tests {
    use super::*;
    use maftia_base::wire::Wire;

    fn code(n: usize, k: usize) -> Code {
        Code::new(n, k).expect("well-formed")
    }

    fn value(length: usize) -> CodedValue {
        let byte = |i: usize| (i * 31 + i / 251) as u8;
        CodedValue::new((0..length).map(byte).collect::<Vec<u8>>()).expect("short")
    }

    fn given(encoded: &Encoded, owners: &[usize]) -> Vec<Given> {
        let bytes = |owner: &usize| {
            let pieces = encoded.fragments[*owner].iter().map(|piece| piece.bytes.clone());
            (Party::new(*owner), pieces.collect())
        };
        owners.iter().map(bytes).collect()
    }

    /// All sets of `k` of `n`.
    fn choices(n: usize, k: usize) -> Vec<Vec<usize>> {
        let set = |bits: u32| (0..n).filter(|i| bits >> i & 1 == 1).collect::<Vec<_>>();
        (0..1 << n).map(set).filter(|set| set.len() == k).collect()
    }

    #[test]
    fn any_k_fragments_make_up_the_value_whatever_its_length() {
        let me = Party::new(0);
        for (n, k) in [(1, 1), (3, 3), (4, 1), (4, 2), (5, 3), (7, 3), (6, 2), (10, 4)] {
            let stripe = k * PIECE_BYTES;
            for length in [0, 1, 2, 3, 63, 64, 65, 1000, stripe - 1, stripe, 9 * stripe + 1] {
                let code = code(n, k);
                let value = value(length);
                let encoded = encode(code, &value);
                for set in choices(n, k).into_iter().step_by(if length > 5000 { 23 } else { 1 }) {
                    let decoded = decode(code, &encoded.commitment, &given(&encoded, &set), me);
                    let decoded = decoded.expect("k fragments suffice");
                    assert_eq!(decoded.value, value);
                    assert_eq!(decoded.fragment, encoded.fragments[0]);
                }
                let few: Vec<_> = (0..k - 1).collect();
                assert_eq!(decode(code, &encoded.commitment, &given(&encoded, &few), me), None);
            }
        }
    }

    #[test]
    fn the_largest_group_and_the_largest_value_fit_the_bounds() {
        let me = Party::new(63);
        let one = encode(code(64, 1), &value(CODED_BYTES_MAX));
        let last = one.fragments[63].last().expect("not empty");
        assert_eq!(one.fragments[63].len(), PIECES_MAX);
        assert_eq!(last.path.len(), PATH_MAX, "the longest path");
        assert!(one.commitment.holds(code(64, 1), me, last));
        let many = encode(code(64, 22), &value(100_000));
        let owners: Vec<_> = (42..64).collect();
        let decoded = decode(code(64, 22), &many.commitment, &given(&many, &owners), me);
        assert_eq!(decoded.expect("k fragments suffice").value, value(100_000));
    }

    #[test]
    fn a_piece_holds_at_its_place_only_and_unchanged() {
        let code = code(4, 2);
        let encoded = encode(code, &value(3 * 2 * PIECE_BYTES - 7));
        for (owner, fragment) in encoded.fragments.iter().enumerate() {
            for piece in fragment {
                let holds = |owner: usize, piece: &Piece| {
                    encoded.commitment.holds(code, Party::new(owner), piece)
                };
                assert!(holds(owner, piece));
                for other in (0..64).filter(|other| *other != owner) {
                    assert!(!holds(other, piece), "another server's");
                }
                for number in (0..=u8::MAX).filter(|number| *number != piece.number) {
                    assert!(!holds(owner, &Piece { number, ..piece.clone() }), "another stripe");
                }
                let mut bytes = piece.bytes.to_vec();
                bytes[0] ^= 1;
                let changed = Blob::new(bytes.clone()).expect("as long");
                assert!(!holds(owner, &Piece { bytes: changed, ..piece.clone() }));
                bytes.pop();
                let shorter = Blob::new(bytes).expect("shorter");
                assert!(!holds(owner, &Piece { bytes: shorter, ..piece.clone() }));
                let path = List::default();
                assert!(!holds(owner, &Piece { path, ..piece.clone() }));
            }
        }
        let length = encoded.commitment.length();
        let longer = Commitment::new(length + 1, encoded.commitment.root()).expect("short");
        assert!(!longer.holds(code, Party::new(0), &encoded.fragments[0][0]), "another length");
    }

    #[test]
    fn what_is_no_encoding_is_refused_whoever_decodes_it_from_whatever_fragments() {
        let (n, k) = (7, 3);
        let code = code(n, k);
        let value = value(2 * k * PIECE_BYTES + 100);
        let honest = encode(code, &value);
        let bytes = |fragment: &Vec<Piece>| -> Vec<Blob<PIECE_BYTES>> {
            fragment.iter().map(|piece| piece.bytes.clone()).collect()
        };
        let fragments: Vec<_> = honest.fragments.iter().map(bytes).collect();
        let spoiled = |owner: usize, at: usize| {
            let mut fragments = fragments.clone();
            let mut bytes = fragments[owner][2].to_vec();
            bytes[at] ^= 1;
            fragments[owner][2] = Blob::new(bytes).expect("as long");
            commit(code, value.len(), fragments)
        };
        // A piece of the value, its redundancy, and the padding; and a length that leaves more
        // padding than there is.
        let shorter = commit(code, value.len() - 1, fragments.clone());
        for bad in [spoiled(0, 0), spoiled(5, 3), spoiled(k - 1, 33), shorter] {
            assert_ne!(bad.commitment, honest.commitment);
            for set in choices(n, k) {
                for owner in &set {
                    let owner = (Party::new(*owner), &bad.fragments[*owner]);
                    assert!(owner.1.iter().all(|p| bad.commitment.holds(code, owner.0, p)));
                }
                let given = given(&bad, &set);
                assert_eq!(decode(code, &bad.commitment, &given, Party::new(1)), None);
            }
        }
    }

    #[test]
    fn fragments_of_any_form_are_refused_without_a_panic() {
        let (code, me) = (code(4, 2), Party::new(0));
        let encoded = encode(code, &value(2 * PIECE_BYTES + 10));
        let good = given(&encoded, &[1, 3]);
        let decodes = |given: &[Given]| decode(code, &encoded.commitment, given, me).is_some();
        assert!(decodes(&good));
        let (one, other) = (good[0].clone(), good[1].clone());
        let piece = |bytes: usize| Blob::new(vec![0; bytes]).expect("short");
        assert!(!decodes(&[]));
        assert!(!decodes(&[one.clone(), one.clone()]), "the same twice");
        assert!(!decodes(&[one.clone(), one.clone(), other.clone()]));
        assert!(!decodes(&[one.clone(), (Party::new(63), other.1.clone())]), "of nobody");
        assert!(!decodes(&[one.clone(), (other.0, Vec::new())]), "without pieces");
        assert!(!decodes(&[one.clone(), (other.0, other.1[..1].to_vec())]));
        for bytes in [0, 1, 2, 5, 64, PIECE_BYTES] {
            let odd = vec![piece(bytes), other.1[1].clone()];
            assert!(!decodes(&[one.clone(), (other.0, odd)]));
            let odd = vec![other.1[0].clone(), piece(bytes)];
            assert!(!decodes(&[one.clone(), (other.0, odd)]));
        }
        let foreign = decode(code, &encoded.commitment, &good, Party::new(9));
        assert_eq!(foreign, None, "who is not of the group");
        for length in [0, 1, 200_000, CODED_BYTES_MAX] {
            let claimed = Commitment::new(length, encoded.commitment.root()).expect("short");
            assert_eq!(decode(code, &claimed, &good, me), None, "another length");
        }
    }

    #[test]
    fn commitments_to_longer_values_than_allowed_do_not_decode() {
        let claim = |length: u32| {
            let mut bytes = length.to_wire().to_vec();
            bytes.extend_from_slice(&[7; 32]);
            Commitment::from_wire(bytes.into())
        };
        assert!(claim(CODED_BYTES_MAX as u32).is_ok());
        assert!(claim(CODED_BYTES_MAX as u32 + 1).is_err());
        assert!(Commitment::new(CODED_BYTES_MAX + 1, Digest::default()).is_none());
    }

    #[test]
    fn pieces_and_commitments_keep_their_encoding() {
        let encoded = encode(code(7, 3), &value(5));
        let piece = &encoded.fragments[6][0];
        assert_eq!(&Piece::from_wire(piece.to_wire()).expect("round trip"), piece);
        let commitment = Commitment::from_wire(encoded.commitment.to_wire());
        assert_eq!(commitment.expect("round trip"), encoded.commitment);
    }
}
