use crate::Letter;
use maftia_base::protocol::TimedProtocol;
use maftia_base::{Fault, Party};

/// Sees everything that happens in a run, and changes nothing. What corrupt servers do inside is
/// not shown, what they say is.
pub trait Observer<P: TimedProtocol> {
    /// A letter sets out, honest or not.
    fn sent(&mut self, letter: &Letter<P::Message>) {
        let _ = letter;
    }

    /// An honest server is about to handle a letter.
    fn arrived(&mut self, letter: &Letter<P::Message>) {
        let _ = letter;
    }

    /// An honest server is about to handle its own message.
    fn heard_itself(&mut self, party: Party, body: &P::Message) {
        let _ = (party, body);
    }

    /// An honest server is about to handle a command.
    fn commanded(&mut self, party: Party, command: &P::Command) {
        let _ = (party, command);
    }

    /// The layer above an honest server is told something.
    fn told(&mut self, party: Party, outcome: &P::Outcome) {
        let _ = (party, outcome);
    }

    /// The workers of an honest server have done something.
    fn worked(&mut self, party: Party, done: &[P::Done]) {
        let _ = (party, done);
    }

    /// An honest server blames somebody.
    fn blamed(&mut self, by: Party, fault: &Fault) {
        let _ = (by, fault);
    }

    /// A server goes down; so many records are left.
    fn crashed(&mut self, party: Party, kept: usize) {
        let _ = (party, kept);
    }

    /// A server comes back.
    fn restarted(&mut self, party: Party) {
        let _ = party;
    }

    /// An honest server learns that a channel may have lost something.
    fn reconnected(&mut self, party: Party, peer: Party) {
        let _ = (party, peer);
    }
}
