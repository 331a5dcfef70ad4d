//! The fragments that are here: this server's own, and what others echoed of theirs.

use super::message::Record;
use maftia_base::wire::Blob;
use maftia_base::{FaultKind, Party, PartySet};
use maftia_crypto::{Code, Commitment, Given, PIECE_BYTES, PIECES_MAX, Piece};
use std::collections::BTreeMap;

/// This server's fragment, as far as it is here.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Own {
    pub(super) commitment: Commitment,
    pub(super) pieces: BTreeMap<u8, Piece>,
    /// It took the place of a fragment of something else. (R6)
    pub(super) corrected: bool,
}

impl Own {
    pub(super) fn new(commitment: Commitment) -> Self {
        Self { commitment, pieces: BTreeMap::new(), corrected: false }
    }

    pub(super) fn whole(commitment: Commitment, fragment: Vec<Piece>) -> Self {
        let pieces = fragment.into_iter().map(|piece| (piece.number, piece)).collect();
        Self { commitment, pieces, corrected: false }
    }

    pub(super) fn is_complete(&self, code: Code) -> bool {
        self.pieces.len() == code.pieces(self.commitment.length())
    }

    /// What is in the log of it.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> {
        let (commitment, corrected) = (self.commitment, self.corrected);
        self.pieces.values().cloned().map(move |piece| match corrected {
            true => Record::Corrected { commitment, piece },
            false => Record::Echoed { commitment, piece },
        })
    }

    fn bytes(&self) -> Vec<Blob<PIECE_BYTES>> {
        self.pieces.values().map(|piece| piece.bytes.clone()).collect()
    }
}

/// Which pieces have been seen.
type Seen = u128;

const _: () = assert!(PIECES_MAX <= Seen::BITS as usize, "a bit for each piece");

/// What one peer echoed.
#[derive(Clone, Debug, Hash)]
struct Echoed {
    commitment: Commitment,
    /// It has delivered the value, and gives this.
    given: bool,
    seen: Seen,
    /// The bytes of what was seen, as long as they may be needed.
    bytes: BTreeMap<u8, Blob<PIECE_BYTES>>,
}

impl Echoed {
    fn is_complete(&self, code: Code) -> bool {
        self.seen.count_ones() as usize == code.pieces(self.commitment.length())
    }
}

/// What others echoed: of each the fragment under the first commitment that it named.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Fragments {
    code: Code,
    echoed: BTreeMap<Party, Echoed>,
    /// False once something has been decoded: nothing else will be.
    keeps_bytes: bool,
}

impl Fragments {
    pub(crate) fn new(code: Code) -> Self {
        Self { code, echoed: BTreeMap::new(), keeps_bytes: true }
    }

    /// Takes a piece that its owner echoed, or has given (R8). True if it is news; an error if no
    /// honest server sends it.
    pub(crate) fn add(
        &mut self,
        from: Party,
        commitment: Commitment,
        piece: &Piece,
        given: bool,
    ) -> Result<bool, FaultKind> {
        let known = self.echoed.get(&from);
        let other = known.filter(|known| known.commitment != commitment);
        match other.map(|other| (other.given, given)) {
            // What it echoed before it delivered comes late.
            Some((true, false)) => return Ok(false),
            Some((true, true) | (false, false)) => return Err(FaultKind::Equivocation),
            Some((false, true)) | None => {}
        }
        let known = known.filter(|known| known.commitment == commitment);
        let bit = Seen::from(1u8).checked_shl(u32::from(piece.number)).unwrap_or(0);
        if known.is_some_and(|known| known.seen & bit != 0) {
            return Ok(false);
        }
        if !commitment.holds(self.code, from, piece) {
            return Err(FaultKind::BadShare);
        }
        if other.is_some() {
            self.echoed.remove(&from);
        }
        let wanted = self.keeps_bytes && self.with_bytes(commitment).count() < self.code.k();
        let echoed = self.echoed.entry(from).or_insert_with(|| {
            let (seen, bytes) = (0, BTreeMap::new());
            Echoed { commitment, given, seen, bytes }
        });
        echoed.given |= given;
        echoed.seen |= bit;
        if wanted {
            echoed.bytes.insert(piece.number, own_copy(&piece.bytes));
        } else {
            echoed.bytes.clear();
        }
        Ok(true)
    }

    /// Drops what is here of `owner`'s fragment, if it is under another commitment.
    pub(crate) fn drop_other(&mut self, owner: Party, commitment: Commitment) {
        if self.echoed.get(&owner).is_some_and(|echoed| echoed.commitment != commitment) {
            self.echoed.remove(&owner);
        }
    }

    /// Whose fragments under this commitment are complete.
    pub(crate) fn complete(&self, commitment: Commitment) -> PartySet {
        let complete = |(_, echoed): &(&Party, &Echoed)| {
            echoed.commitment == commitment && echoed.is_complete(self.code)
        };
        self.echoed.iter().filter(complete).map(|(party, _)| *party).collect()
    }

    /// As many complete fragments as are needed, and no more. After that, no bytes are kept.
    pub(crate) fn take(
        &mut self,
        commitment: Commitment,
        me: Party,
        own: Option<&Own>,
    ) -> Vec<Given> {
        let own = own.filter(|own| own.commitment == commitment && own.is_complete(self.code));
        let own = own.map(|own| (me, own.bytes()));
        let others = self
            .with_bytes(commitment)
            .map(|(party, echoed)| (party, echoed.bytes.values().cloned().collect()));
        let fragments = own.into_iter().chain(others).take(self.code.k()).collect();
        self.keeps_bytes = false;
        self.echoed.values_mut().for_each(|echoed| echoed.bytes.clear());
        fragments
    }

    pub(crate) fn forget(&mut self) {
        self.echoed.clear();
    }

    pub(crate) fn footprint(&self) -> usize {
        self.echoed.values().map(|echoed| echoed.seen.count_ones() as usize).sum()
    }

    fn with_bytes(&self, commitment: Commitment) -> impl Iterator<Item = (Party, &Echoed)> {
        let whole = move |echoed: &Echoed| {
            echoed.commitment == commitment
                && echoed.is_complete(self.code)
                && echoed.bytes.len() == echoed.seen.count_ones() as usize
        };
        self.echoed.iter().filter(move |(_, echoed)| whole(echoed)).map(|(party, e)| (*party, e))
    }
}

/// A copy that does not keep alive the frame in which the bytes came, which may be larger.
pub(crate) fn own_copy(bytes: &Blob<PIECE_BYTES>) -> Blob<PIECE_BYTES> {
    Blob::new(bytes.to_vec()).expect("as long as before")
}
