//! Broadcasts: one sender, and a promise about what the others deliver.
