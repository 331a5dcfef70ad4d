//! A value as the parts in which a log has it.

use super::PART_BYTES_MAX;
use maftia_base::wire::Blob;
use maftia_crypto::CodedValue;

/// The parts of a value, at least one: each with its number, from 0.
pub(crate) fn parts_of(
    value: &CodedValue,
) -> impl Iterator<Item = (u8, Blob<PART_BYTES_MAX>)> + use<'_> {
    let count = value.len().div_ceil(PART_BYTES_MAX).max(1);
    (0..count).map(|number| {
        let from = number * PART_BYTES_MAX;
        let to = value.len().min(from + PART_BYTES_MAX);
        let bytes = Blob::new(value.bytes().slice(from..to)).expect("cut to fit");
        (number as u8, bytes)
    })
}

/// What a log that is being replayed has told.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Parts(Vec<Blob<PART_BYTES_MAX>>);

impl Parts {
    /// The next part; number 0 begins anew.
    pub(crate) fn push(&mut self, number: u8, bytes: Blob<PART_BYTES_MAX>) {
        // What is behind a gap or a crash belongs to no value.
        self.0.truncate(usize::from(number));
        self.0.push(bytes);
    }

    /// The value of the parts just replayed; `None` if there are none.
    pub(crate) fn assemble(&mut self) -> Option<CodedValue> {
        let parts = std::mem::take(&mut self.0);
        let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
        CodedValue::new(parts.concat()).filter(|_| !parts.is_empty())
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
