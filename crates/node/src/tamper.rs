//! The seam at which a server that an intruder took over differs from an honest one.
//!
//! Everything that a real intruder controls passes here: what leaves for each peer, what the
//! clock says, and what the server's own keys are used for. The server that is shipped is built
//! with [`Honest`], a type without any state: no configuration and no input can make it anything
//! else, because the seam is a type parameter. The hostile implementations live in a package that
//! the shipped server does not depend on.

use maftia_base::Party;
use maftia_base::protocol::Vocabulary;
use maftia_base::time::Reading;
use std::borrow::Cow;

/// What an intruder does differently.
pub trait Tamper<V: Vocabulary>: Send + Sync + 'static {
    /// A message is about to leave for `to`: what leaves instead?
    fn outgoing<'m>(&self, _to: Party, message: &'m V::Message) -> Option<Cow<'m, V::Message>> {
        Some(Cow::Borrowed(message))
    }

    /// How often it leaves.
    fn copies(&self) -> usize {
        1
    }

    /// The clock says `truth`: what does the server say that it says?
    fn reading(&self, truth: Reading) -> Reading {
        truth
    }

    /// The server's keys are about to be used for `work` by `run`.
    fn work(&self, work: Vec<V::Work>, run: &dyn Fn(Vec<V::Work>) -> Vec<V::Done>) -> Vec<V::Done> {
        run(work)
    }
}

/// Nothing is done differently.
#[derive(Clone, Copy, Debug, Default)]
pub struct Honest;

impl<V: Vocabulary> Tamper<V> for Honest {}
