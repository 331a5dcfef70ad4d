//! A log whose bytes were changed: it is refused, or what it serves is what was written.

use bytes::Bytes;
use commonware_runtime::deterministic::{Context, Runner};
use commonware_runtime::{
    Blob as _, ReadOptions, Runner as _, Storage as _, Supervisor as _, WriteOptions,
};
use commonware_utils::{NZU16, NZU64};
use maftia_base::wire::{Blob, Wire};
use maftia_node::journal::{Journal, JournalError, Layout, LogConfig, inspect, partitions};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Files of few records and small pages, so that a small log has many of both.
const LAYOUT: Layout =
    Layout { records_per_file: NZU64!(4), page_bytes: NZU16!(52), checkpoint_bytes: 150 };

/// Records that were written, and the first that was not cut.
const RECORDS: u64 = 14;
const FIRST: u64 = 5;

fn config() -> LogConfig {
    LogConfig { begun: Some(1), layout: LAYOUT, ..LogConfig::new("log", "me") }
}

/// The record at `position`; differs from every other.
fn record(position: u64) -> Blob<64> {
    let len = 1 + position as usize * 7 % 23;
    let bytes: Vec<u8> = (0..len).map(|index| (position as usize * 31 + index) as u8).collect();
    Blob::new(bytes).expect("short")
}

/// Which partition of the log, and which blob in it.
type Place = (usize, Vec<u8>);

/// The bytes of an undamaged log.
fn image() -> &'static BTreeMap<Place, Vec<u8>> {
    static IMAGE: OnceLock<BTreeMap<Place, Vec<u8>>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        Runner::default().start(|context| async move {
            let fresh = LogConfig { begun: None, ..config() };
            let mut journal = Journal::open(context.child("log"), fresh).await.expect("opens");
            journal.replay(|_, _: Blob<64>| {}).await.expect("empty");
            for (first, end, durably) in [(0, 3, false), (3, 9, true), (9, RECORDS, false)] {
                let records: Vec<Bytes> =
                    (first..end).map(|position| record(position).to_wire()).collect();
                journal = journal.commit(&records, durably).await.expect("commits");
                if end == 9 {
                    journal = journal.cut(FIRST).await.expect("cuts");
                }
            }
            drop(journal);
            read(&context).await
        })
    })
}

async fn read(context: &Context) -> BTreeMap<Place, Vec<u8>> {
    let mut blobs = BTreeMap::new();
    for (index, partition) in partitions("log").iter().enumerate() {
        for name in context.scan(partition).await.unwrap_or_default() {
            let (blob, size) = context.open(partition, &name).await.expect("opens");
            let bytes = blob.read_at(0, size as usize, ReadOptions::default()).await;
            blobs.insert((index, name), bytes.expect("reads").coalesce().as_ref().to_vec());
        }
    }
    blobs
}

async fn write(context: &Context, image: &BTreeMap<Place, Vec<u8>>) {
    let partitions = partitions("log");
    for ((index, name), bytes) in image {
        let (blob, _) = context.open(&partitions[*index], name).await.expect("opens");
        let written = blob.write_at(0, bytes.clone(), WriteOptions::default()).await;
        written.expect("writes");
        blob.sync().await.expect("syncs");
    }
}

/// The image with the changes that `bytes` say: six bytes each name a blob, a place in it, and what
/// is done there.
fn changed(bytes: &[u8]) -> BTreeMap<Place, Vec<u8>> {
    let mut image = image().clone();
    let places: Vec<Place> = image.keys().cloned().collect();
    for change in bytes.as_chunks::<6>().0 {
        let [blob, act, high, low, len, with] = *change;
        let place = &places[usize::from(blob) % places.len()];
        let Some(bytes) = image.get_mut(place) else { continue };
        let at = usize::from(u16::from_be_bytes([high, low])) % bytes.len().max(1);
        let end = (at + usize::from(len)).min(bytes.len());
        match act % 6 {
            0 => bytes[at..end].iter_mut().take(1).for_each(|byte| *byte ^= with),
            1 => bytes[at..end].fill(with),
            2 => bytes.truncate(at),
            3 => bytes.extend(std::iter::repeat_n(with, usize::from(len))),
            4 => {
                // Sound bytes of the same blob, elsewhere.
                let from = usize::from(with) * 64 % bytes.len().max(1);
                let source = bytes[from..(from + end - at).min(bytes.len())].to_vec();
                bytes[at..at + source.len().min(end - at)].copy_from_slice(&source);
            }
            _ => drop(image.remove(place)),
        }
    }
    image
}

async fn open(context: Context) -> Result<BTreeMap<u64, Blob<64>>, JournalError> {
    let mut journal = Journal::open(context, config()).await?;
    let mut found = BTreeMap::new();
    journal.replay(|position, record: Blob<64>| drop(found.insert(position, record))).await?;
    Ok(found)
}

/// Opening, replaying and inspecting a log with changed bytes ends with an error that says what is
/// wrong, or with records as they were written, without a gap.
pub fn altered(bytes: &[u8]) {
    let image = changed(bytes);
    let is_sound = image == *self::image();
    Runner::default().start(|context| async move {
        write(&context, &image).await;
        let looked = inspect(context.child("look"), config(), &mut |_| Ok(())).await;
        if let Ok(report) = looked {
            assert!(!is_sound || report.trouble.is_none(), "{:?}", report.trouble);
        }
        match open(context.child("log")).await {
            Ok(found) => {
                let first = *found.keys().next().expect("what was durable is not gone");
                assert!(first <= FIRST, "the beginning is lost: {found:?}");
                for (position, (at, found)) in (first..).zip(&found) {
                    assert_eq!((*at, found), (position, &record(position)));
                }
            }
            Err(error) => {
                assert!(!is_sound, "{error}");
                assert!(!error.to_string().is_empty());
            }
        }
    });
}
