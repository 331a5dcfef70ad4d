use super::batch::{Items, Predecessor};
use super::fetch::Librarian;
use super::*;
use maftia_base::wire::{Bytes, Wire};
use maftia_base::{Digest, Epoch, Party};
use maftia_crypto::{Certificate, IdealSuite};

fn batch(height: u64, items: usize) -> Batch<IdealSuite> {
    let certificate = Certificate::new(Vec::new());
    let previous =
        (height > 1).then(|| Predecessor { digest: Digest::default(), certificate, seal: None });
    let items = (0..items).map(|_| Item::new(Bytes::from_static(b"item")).expect("small"));
    let items = Items::new(items.collect()).expect("few");
    Batch { height: Height(height), previous, turn: false, items }
}

#[test]
fn batches_round_trip_and_every_field_is_in_the_digest() {
    let plain = batch(2, 3);
    assert_eq!(Batch::from_wire(plain.to_wire()).expect("decodes"), plain);
    let others = [
        batch(3, 3),
        batch(2, 2),
        Batch { turn: true, ..batch(2, 3) },
        Batch { previous: None, ..batch(2, 3) },
    ];
    assert!(others.iter().all(|other| other.digest() != plain.digest()));
}

#[test]
fn only_the_first_batch_has_no_predecessor_and_none_is_empty() {
    assert!(batch(1, 1).is_well_formed() && batch(2, 1).is_well_formed());
    assert!(!batch(0, 1).is_well_formed() && !batch(1, 0).is_well_formed());
    assert!(!Batch { previous: None, ..batch(2, 1) }.is_well_formed());
    assert!(Batch { turn: true, ..batch(1, 0) }.is_well_formed());
}

#[test]
fn a_batch_takes_no_more_bytes_than_its_bound_however_they_are_cut() {
    let largest = Item::new(vec![0; ITEM_BYTES_MAX]).expect("at the bound");
    assert!(Items::new(vec![largest.clone(); BATCH_BYTES_MAX / ITEM_BYTES_MAX]).is_none());
    let fits = Items::new(vec![largest.clone(); 3]).expect("three fit");
    assert_eq!(Items::from_wire(fits.to_wire()).expect("decodes"), fits);
    // The same list with a fourth item, as a liar would encode it.
    let mut bytes = fits.to_wire().to_vec();
    bytes[0] = 4;
    bytes.extend_from_slice(&largest.to_wire());
    assert!(Items::from_wire(bytes.into()).is_err());
}

#[test]
fn a_log_is_asked_one_question_of_a_peer_at_a_time_and_each_once() {
    let key = |round| ArchiveKey::Round { epoch: Epoch(0), round: Round(round) };
    let (peer, mut librarian) = (Party::new(1), Librarian::default());
    assert_eq!(librarian.ask(peer, key(1)), Some(key(1)));
    assert_eq!(librarian.ask(peer, key(2)), None);
    assert_eq!(librarian.ask(peer, key(2)), None);
    assert_eq!(librarian.ask(Party::new(2), key(2)), Some(key(2)), "another peer has its own turn");
    assert_eq!(librarian.answered(peer, key(9)), None, "nobody asked that");
    assert_eq!(librarian.answered(peer, key(1)), Some(key(2)));
    assert_eq!(librarian.answered(peer, key(2)), None);
    assert_eq!(librarian.footprint(), 1);
}

#[test]
fn questions_to_the_log_are_bounded_and_the_newest_stay() {
    let key = |round| ArchiveKey::Round { epoch: Epoch(0), round: Round(round) };
    let (peer, mut librarian) = (Party::new(1), Librarian::default());
    for round in 0..10_000 {
        librarian.ask(peer, key(round));
    }
    assert!(librarian.footprint() < 3_000);
    let (mut last, mut next) = (key(0), Some(key(0)));
    while let Some(key) = next {
        last = key;
        next = librarian.answered(peer, key);
    }
    assert_eq!(last, key(9_999));
}
