//! Broadcasts: one sender, and a promise about what the others deliver.
//!
//! - [`ReliableBroadcast`]: all or none deliver; costs O(n^2) messages and needs no signature.
//! - [`CodedBroadcast`]: the same promise for large values, of which each server sends a part.
//! - [`ConsistentBroadcast`]: nobody delivers anything else; O(n) messages, and whoever delivers
//!   holds a certificate that convinces others.

pub mod coded;
pub mod consistent;
pub mod reliable;

pub use coded::CodedBroadcast;
pub use consistent::ConsistentBroadcast;
pub use reliable::ReliableBroadcast;
