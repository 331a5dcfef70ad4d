//! Every kind of damage to the bytes of a log: it replays what was durable, or it is refused.

use super::hooked::{Hook, Hooked, Trouble};
use super::log::{Found, Image, append, config, content, image_after, open, record};
use crate::journal::{DamageKind, Journal, JournalError, LogConfig, RECORD_BYTES_MAX, inspect};
use commonware_codec::{EncodeSize, Error as CodecError, RangeCfg, Read, Write};
use commonware_runtime::buffer::paged::CacheRef;
use commonware_runtime::deterministic::{Checkpoint, Context, Runner};
use commonware_runtime::{Runner as _, Supervisor as _};
use commonware_storage::journal::contiguous::{Contiguous as _, variable};
use commonware_utils::NZUsize;
use maftia_base::wire::{Blob, Buf, BufMut};
use std::collections::BTreeMap;

/// Bytes of a page with its checksum.
const PAGE: usize = 64;

/// Index of the partition with the records, and of the one with the head and the watermark.
const DATA: usize = 0;
const GUARD: usize = 3;

/// A log of 19 records that is cut at 9 and whose process is killed.
async fn lived(context: Context) {
    let (journal, _) = open(context, config("log", None)).await.expect("opens");
    let journal = append(journal, 3, false).await.expect("commits");
    let journal = append(journal, 7, true).await.expect("commits");
    let journal = journal.cut(9).await.expect("cuts");
    let journal = append(journal, 6, false).await.expect("commits");
    let journal = append(journal, 2, true).await.expect("commits");
    append(journal, 1, false).await.expect("commits");
}

const POSITIONS: std::ops::Range<u64> = 9..19;

/// The same, without a cut.
async fn lived_uncut(context: Context) {
    let (journal, _) = open(context, config("log", None)).await.expect("opens");
    let journal = append(journal, 7, true).await.expect("commits");
    append(journal, 3, false).await.expect("commits");
}

/// Lets the log be used for another run.
async fn lives_on(context: Context) {
    let (journal, _) = open(context, config("log", Some(1))).await.expect("opens");
    append(journal, 2, false).await.expect("commits");
}

/// Is this all that was durable, and as it was written? What was cut may still be there.
fn is_whole(found: &Found) -> bool {
    let positions: Vec<_> = found.keys().copied().collect();
    positions.first().is_some_and(|first| *first <= POSITIONS.start)
        && positions == (positions[0]..POSITIONS.end).collect::<Vec<_>>()
        && found.iter().all(|(position, bytes)| *bytes == content(*position))
}

/// Opens every image; counts which were whole and which were refused, and why.
async fn sweep(
    context: &Context,
    images: impl Iterator<Item = (String, Image)>,
) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for (what, image) in images {
        let verdict = match image.open(context, Some(1)).await {
            Ok((_, found)) => {
                assert!(is_whole(&found), "{what}: silently replayed {found:?}");
                "whole"
            }
            Err(JournalError::Damaged { .. }) => "damaged",
            Err(JournalError::Stale { .. }) => "stale",
            Err(JournalError::Gone { .. }) => "gone",
            Err(other) => panic!("{what}: {other}"),
        };
        *counts.entry(verdict).or_default() += 1;
    }
    counts
}

fn count(counts: &BTreeMap<&'static str, usize>, verdict: &str) -> usize {
    counts.get(verdict).copied().unwrap_or_default()
}

#[test]
fn an_undamaged_log_replays_from_its_cut_on() {
    let (image, _) = image_after(None, lived);
    Runner::default().start(|context| async move {
        let (journal, found) = image.open(&context, Some(1)).await.expect("opens");
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), POSITIONS.collect::<Vec<_>>());
        assert!(is_whole(&found));
        assert_eq!((journal.run(), journal.is_fresh()), (2, false));
    });
}

#[test]
fn no_changed_byte_anywhere_loses_or_changes_a_record_silently() {
    let (image, _) = image_after(None, lived);
    let mut kinds = [0; 4];
    Runner::default().start(|context| async move {
        for (place, bytes) in &image.0 {
            let flip = |index: usize| {
                let mut bytes = bytes.clone();
                bytes[index] ^= 1 << (index % 8);
                (format!("byte {index} of {place:?}"), image.with(place, bytes))
            };
            let counts = sweep(&context, (0..bytes.len()).map(flip)).await;
            println!("{place:?}, {} bytes: {counts:?}", bytes.len());
            kinds[place.0] += bytes.len();
            if place.0 == DATA {
                assert!(count(&counts, "damaged") > bytes.len() / 2, "{place:?}: {counts:?}");
            }
        }
        assert!(kinds.iter().all(|bytes| *bytes > 0), "every part of a log was touched: {kinds:?}");
    });
}

#[test]
fn no_truncation_loses_a_record_silently() {
    let (image, _) = image_after(None, lived);
    Runner::default().start(|context| async move {
        for (place, bytes) in &image.0 {
            let cut = |len: usize| {
                (format!("{len} bytes of {place:?}"), image.with(place, bytes[..len].to_vec()))
            };
            let counts = sweep(&context, (0..bytes.len()).map(cut)).await;
            println!("{place:?}, {} bytes: {counts:?}", bytes.len());
            if place.0 == DATA {
                assert!(count(&counts, "damaged") > bytes.len() / 2, "{place:?}: {counts:?}");
            }
            let mut without = image.clone();
            without.0.remove(place);
            sweep(&context, std::iter::once((format!("without {place:?}"), without))).await;
        }
    });
}

#[test]
fn no_zeroed_misdirected_or_older_page_loses_or_changes_a_record_silently() {
    let (image, _) = image_after(None, lived);
    // The same log a while ago: its pages are sound, in their places, and older.
    let older = [1, 2, 3].map(|steps| {
        image_after(None, move |context| async move {
            let (journal, _) = open(context, config("log", None)).await.expect("opens");
            let mut journal = append(journal, 3, false).await.expect("commits");
            for step in 0..steps {
                journal = append(journal, [7, 3, 5][step], step == 0).await.expect("commits");
            }
        })
        .0
    });
    Runner::default().start(|context| async move {
        let mut images = Vec::new();
        for (place, bytes) in &image.0 {
            let pages = bytes.len().div_ceil(PAGE);
            let page = |index: usize| index * PAGE..bytes.len().min((index + 1) * PAGE);
            for target in 0..pages {
                let mut put = |what: &str, source: &[u8]| {
                    let mut bytes = bytes.clone();
                    let target = page(target);
                    let len = target.len().min(source.len());
                    bytes[target.start..][..len].copy_from_slice(&source[..len]);
                    let what = format!("{what} at {target:?} of {place:?}");
                    images.push((what, image.with(place, bytes)));
                };
                put("zeros", &[0; PAGE]);
                // The slots of the guard are not made of pages.
                if place.0 != GUARD {
                    (0..pages).for_each(|source| put("another page", &bytes[page(source)]));
                }
                for older in older.iter().filter_map(|older| older.0.get(place)) {
                    put("an older page", older.get(page(target)).unwrap_or_default());
                }
            }
        }
        images.retain(|(_, changed)| *changed != image);
        let counts = sweep(&context, images.into_iter()).await;
        println!("{counts:?}");
        assert!(count(&counts, "damaged") > 60, "{counts:?}");
    });
}

#[test]
fn no_older_copy_is_taken_for_the_log() {
    let (old, checkpoint) = image_after(None, lived);
    let (new, _) = image_after(Some(checkpoint), lives_on);
    Runner::default().start(|context| async move {
        let error = old.open(&context, Some(2)).await.expect_err("an older copy of everything");
        assert!(matches!(error, JournalError::Stale { found: 1, begun: 2, .. }), "{error}");
        assert!(error.to_string().contains("maftia repair"), "{error}");
        let error = old.open(&context, Some(2)).await.expect_err("however often one tries");
        assert!(matches!(error, JournalError::Stale { found: 1, begun: 2, .. }), "{error}");

        // Only the records are older, or only what is beside them.
        let mixed = |of_old: fn(usize) -> bool| {
            let pick = |image: &Image, old: bool| {
                let chosen = image.0.iter().filter(|(place, _)| of_old(place.0) == old);
                chosen.map(|(place, bytes)| (place.clone(), bytes.clone())).collect::<Vec<_>>()
            };
            Image(pick(&old, true).into_iter().chain(pick(&new, false)).collect())
        };
        let records = mixed(|partition| partition != GUARD).open(&context, Some(2)).await;
        let error = records.expect_err("the watermark is higher");
        let JournalError::Damaged { damage, .. } = &error else { panic!("{error}") };
        assert_eq!((damage.kind, damage.records.clone()), (DamageKind::Lost, Some(19..21)));
        let guard = mixed(|partition| partition == GUARD).open(&context, Some(2)).await;
        assert!(matches!(guard.expect_err("its run is lower"), JournalError::Stale { .. }));
        for (place, bytes) in &old.0 {
            if let Ok((_, found)) = new.with(place, bytes.clone()).open(&context, Some(2)).await {
                assert_eq!(found.len(), 12, "an older {place:?} went unnoticed: {found:?}");
            }
        }
        let nothing = Image(BTreeMap::new());
        for _ in 0..2 {
            let error = nothing.open(&context, Some(2)).await.expect_err("the log is gone");
            assert!(matches!(error, JournalError::Gone { begun: 2, .. }), "{error}");
        }
    });
}

#[test]
fn another_history_of_the_same_log_is_told_by_the_watermark_and_by_the_chain() {
    // A copy from before the kill is put back, and is used without the file that counts runs;
    // then the records of one history meet the watermark of the other.
    let (_, checkpoint) = image_after(None, lived_uncut);
    let (one, _) = image_after(Some(checkpoint), lives_on);
    let (_, checkpoint) = image_after(None, lived_uncut);
    let (other, _) = image_after(Some(checkpoint), |context| async move {
        let (journal, _) = open(context, config("log", Some(1))).await.expect("opens");
        journal.commit(&[record(77), record(78)], false).await.expect("commits");
    });
    Runner::default().start(|context| async move {
        let guard = other.0.iter().filter(|(place, _)| place.0 == GUARD);
        let mut mixed = one.clone();
        mixed.0.extend(guard.map(|(place, bytes)| (place.clone(), bytes.clone())));
        let error = mixed.open(&context, Some(2)).await.expect_err("of two histories");
        let JournalError::Damaged { damage, .. } = &error else { panic!("{error}") };
        assert_eq!(damage.kind, DamageKind::OtherHistory, "{error}");
    });
}

/// A stored record as its bytes, so that a test can put it elsewhere.
#[derive(Clone)]
struct Raw(Vec<u8>);

impl Write for Raw {
    fn write(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }
}

impl EncodeSize for Raw {
    fn encode_size(&self) -> usize {
        self.0.len()
    }
}

impl Read for Raw {
    type Cfg = RangeCfg<usize>;

    fn read_cfg(buf: &mut impl Buf, _: &Self::Cfg) -> Result<Self, CodecError> {
        let mut bytes = vec![0; buf.remaining()];
        buf.copy_to_slice(&mut bytes);
        Ok(Self(bytes))
    }
}

async fn library(context: Context, log: &str) -> variable::Journal<Context, Raw> {
    let LogConfig { layout, .. } = config(log, None);
    let settings = variable::Config {
        partition: log.to_owned(),
        items_per_section: layout.records_per_file,
        compression: None,
        codec_config: RangeCfg::from(0..=RECORD_BYTES_MAX),
        page_cache: CacheRef::new(layout.page_bytes, NZUsize!(16)),
        write_buffer: NZUsize!(1024),
        replay_buffer: NZUsize!(1024),
    };
    variable::Journal::init(context, settings).await.expect("opens")
}

/// The stored records of a log.
async fn stored(context: Context) -> Vec<Raw> {
    let journal = library(context, "log").await;
    let mut records = Vec::new();
    for position in journal.bounds() {
        records.push(journal.read(position).await.expect("reads"));
    }
    records
}

/// The log after a `change` to its stored records, all of which have valid checksums again.
fn forged(checkpoint: Checkpoint, change: impl FnOnce(&mut Vec<Raw>) + Send + 'static) -> Image {
    let (image, _) = Runner::from(checkpoint).start_and_recover(|context| async move {
        let mut records = stored(context.child("old")).await;
        change(&mut records);
        let mut journal = library(context.child("new"), "forged").await;
        for record in records {
            journal = journal.append(&record).await.expect("appends").0;
        }
        drop(journal.sync().await.expect("syncs"));
        let (old, mut image) =
            (Image::read(&context, "log").await, Image::read(&context, "forged").await);
        image.0.extend(old.0.into_iter().filter(|(place, _)| place.0 == GUARD));
        image
    });
    image
}

#[test]
fn records_with_valid_checksums_in_wrong_places_are_named() {
    type Change = fn(&mut Vec<Raw>);
    let cases: [(&str, Change, DamageKind, std::ops::Range<u64>); 5] = [
        ("two swapped", |all| all.swap(2, 5), DamageKind::Misdirected { of: 5 }, 2..3),
        ("one twice", |all| all[4] = all[3].clone(), DamageKind::Misdirected { of: 3 }, 4..5),
        ("one missing", |all| drop(all.remove(6)), DamageKind::Lost, 9..10),
        ("a changed payload", |all| all[3].0[45] ^= 1, DamageKind::Rotten, 3..4),
        ("a changed place", |all| all[3].0[7] ^= 1, DamageKind::Rotten, 3..4),
    ];
    for (what, change, kind, records) in cases {
        let (_, checkpoint) = image_after(None, lived_uncut);
        let image = forged(checkpoint, change);
        Runner::default().start(|context| async move {
            let error = image.open(&context, Some(1)).await.expect_err(what);
            let JournalError::Damaged { damage, .. } = &error else { panic!("{what}: {error}") };
            assert_eq!((damage.kind, damage.records.clone()), (kind, Some(records)), "{what}");
        });
    }
}

#[test]
fn a_sound_record_of_another_history_is_found_though_all_around_it_fits() {
    let (_, checkpoint) = image_after(None, |context| async move {
        let (journal, _) = open(context, config("log", None)).await.expect("opens");
        let records: Vec<_> = [0, 1, 77, 3].map(record).into();
        journal.commit(&records, false).await.expect("commits");
    });
    let other = Runner::from(checkpoint).start(stored)[3].clone();
    let (_, checkpoint) = image_after(None, lived_uncut);
    let image = forged(checkpoint, |records| {
        assert!(records[3].0.len() == other.0.len() && records[3].0 != other.0);
        records[3] = other;
    });
    Runner::default().start(|context| async move {
        let error = image.open(&context, Some(1)).await.expect_err("it is of another history");
        let JournalError::Damaged { damage, .. } = &error else { panic!("{error}") };
        assert_eq!((damage.kind, damage.records.clone()), (DamageKind::OtherHistory, Some(3..4)));
    });
}

#[test]
fn a_record_of_another_log_does_not_fit() {
    let strange = |context: Context| async move {
        let other = LogConfig { identity: "you".into(), ..config("log", None) };
        let (journal, _) = open(context, other).await.expect("opens");
        append(journal, 10, true).await.expect("commits");
    };
    let (strange, _) = image_after(None, strange);
    let (ours, _) = image_after(None, lived_uncut);
    Runner::default().start(|context| async move {
        let mut mixed = strange.clone();
        mixed.0.extend(ours.0.clone().into_iter().filter(|(place, _)| place.0 == GUARD));
        let error = mixed.open(&context, Some(1)).await.expect_err("other records");
        let JournalError::Damaged { damage, .. } = &error else { panic!("{error}") };
        assert_eq!((damage.kind, damage.records.clone()), (DamageKind::OtherHistory, Some(0..1)));
        let error = strange.open(&context, Some(1)).await.expect_err("another's log");
        assert!(matches!(error, JournalError::Foreign { ref found, .. } if found == b"you"));
    });
}

#[test]
fn a_record_that_rots_while_the_server_runs_is_not_handed_out() {
    Runner::default().start(|context| async move {
        let hook = Hook::default();
        let hooked = Hooked { inner: context.child("disk"), hook: hook.clone() };
        let (journal, _) = open(hooked.child("first"), config("log", None)).await.expect("opens");
        drop(append(journal, 40, true).await.expect("commits"));
        // What was just written is still in memory.
        let (journal, _) = open(hooked, config("log", Some(1))).await.expect("opens");
        hook.set(Trouble::Rot);
        let error = journal.record::<Blob<64>>(1).await.expect_err("it is rotten");
        assert!(error.to_string().contains("record 1 "), "{error}");
        assert!(error.to_string().contains("maftia repair"), "{error}");
        hook.set(Trouble::None);
        assert_eq!(journal.record::<Blob<64>>(1).await.expect("reads").to_vec(), content(1));
    });
}

#[test]
fn an_inspection_finds_the_damage_and_changes_nothing() {
    let (image, _) = image_after(None, lived);
    Runner::default().start(|context| async move {
        let look = |image: Image, begun| {
            let context = context.child("look");
            async move {
                image.write(&context, "log").await;
                let mut look = |_| Ok(());
                let report =
                    inspect(context.child("inspect"), config("log", begun), &mut look).await;
                assert!(Image::read(&context, "log").await == image, "nothing changed");
                report.expect("there is no other trouble")
            }
        };
        let report = look(image.clone(), Some(1)).await;
        assert!(report.trouble.is_none(), "{report:?}");
        assert_eq!((report.records, report.run), (POSITIONS, 1));
        assert_eq!(report.bytes, image.0.values().map(|bytes| bytes.len() as u64).sum::<u64>());

        // A torn tail, which opening would cut off.
        let last = image.0.keys().rfind(|place| place.0 == DATA).expect("there are records");
        let mut torn = image.0[last].clone();
        torn.truncate(torn.len() - 3);
        let report = look(image.with(last, torn), Some(1)).await;
        assert!(matches!(report.trouble, Some(JournalError::Damaged { .. })), "{report:?}");

        let report = look(image.clone(), Some(7)).await;
        assert!(matches!(report.trouble, Some(JournalError::Stale { .. })), "{report:?}");
        let report = look(Image(BTreeMap::new()), None).await;
        assert!(report.trouble.is_none() && report.records.is_empty(), "{report:?}");
    });
}

#[test]
#[should_panic(expected = "a log is replayed before anything is appended")]
fn nothing_is_appended_to_a_log_that_was_not_checked() {
    Runner::default().start(|context| async move {
        let journal = Journal::open(context, config("log", None)).await.expect("opens");
        let _ = append(journal, 1, false).await;
    });
}
