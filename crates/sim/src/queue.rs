use maftia_base::time::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What is to happen, in order of time, and of insertion among what is simultaneous.
pub(crate) struct Queue<T> {
    order: BinaryHeap<Reverse<(u64, u64, u32)>>,
    items: Vec<Option<T>>,
    free: Vec<u32>,
    inserted: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { order: BinaryHeap::new(), items: Vec::new(), free: Vec::new(), inserted: 0 }
    }

    pub(crate) fn push(&mut self, at: Time, item: T) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.items[slot as usize] = Some(item);
                slot
            }
            None => {
                self.items.push(Some(item));
                u32::try_from(self.items.len() - 1).expect("four billion pending events do not fit")
            }
        };
        self.order.push(Reverse((at.0, self.inserted, slot)));
        self.inserted += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<(Time, T)> {
        let Reverse((at, _, slot)) = self.order.pop()?;
        let item = self.items[slot as usize].take().expect("each slot is in the order once");
        self.free.push(slot);
        Some((Time(at), item))
    }

    pub(crate) fn next_at(&self) -> Option<Time> {
        self.order.peek().map(|Reverse((at, ..))| Time(*at))
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}
