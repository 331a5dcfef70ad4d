//! Broadcasts: one sender, and a promise about what the others deliver.
//!
//! - [`ReliableBroadcast`]: all or none deliver; costs O(n^2) messages and needs no signature.
//! - [`ConsistentBroadcast`]: nobody delivers anything else; O(n) messages, and whoever delivers
//!   holds a certificate that convinces others.

pub mod consistent;
pub mod reliable;

pub use consistent::ConsistentBroadcast;
pub use reliable::ReliableBroadcast;
