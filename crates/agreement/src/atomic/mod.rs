//! Atomic broadcast: one total order of batches, in lanes.
