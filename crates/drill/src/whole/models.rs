//! The services once more, as sequential objects in other words.

use super::service::Op;
use crate::check::linear::Model;
use maftia_base::Digest;
use maftia_base::wire::{Bytes, Wire};
use maftia_services::ledger::Ledger;

/// One register.
#[derive(Clone, Debug)]
pub enum Register {}

impl Model for Register {
    type Op = Op;
    type Answer = u64;
    type State = u64;

    fn step(state: &u64, op: &Op) -> (u64, u64) {
        let after = match op {
            Op::Read => *state,
            Op::Write(value) => *value,
            Op::Swap(expected, value) => {
                if expected == state {
                    *value
                } else {
                    *state
                }
            }
            Op::Add(more) => state + more,
        };
        (after, *state)
    }
}

/// The ledger: its state and its answer are its encoding.
#[derive(Clone, Debug)]
pub enum Counted {}

impl Model for Counted {
    type Op = Bytes;
    type Answer = Bytes;
    type State = Bytes;

    fn step(state: &Bytes, entry: &Bytes) -> (Bytes, Bytes) {
        let mut ledger = Ledger::from_wire(state.clone()).unwrap_or_default();
        let digest = Digest::of("maftia ledger entry", entry);
        ledger.entries += 1;
        ledger.chain = Digest::of_encoded("maftia ledger chain", &(ledger.chain, digest));
        ledger.sum.add(entry);
        let after = ledger.to_wire();
        (after.clone(), after)
    }
}
