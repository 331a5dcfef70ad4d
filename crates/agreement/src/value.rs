//! What agreement can be about.

use maftia_base::Digest;
use maftia_base::wire::Wire;
use std::fmt::Debug;
use std::hash::Hash;

/// A value that servers can broadcast and agree on: bounded by its own wire type.
pub trait Value: Wire + Clone + Debug + Eq + Hash + Send + 'static {}

impl<T: Wire + Clone + Debug + Eq + Hash + Send + 'static> Value for T {}

/// The digest by which protocols name a value: of its encoding, hence the same at every server.
///
/// It binds no scope; statements about it do.
pub fn digest_of<V: Value>(value: &V) -> Digest {
    Digest::of_encoded("maftia agreement value", value)
}
