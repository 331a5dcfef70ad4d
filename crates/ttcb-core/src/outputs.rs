//! Where the effects of the trusted component go.

use crate::control::Control;
use maftia_ttcb_api::{Answer, BootKeys, Host, Sealed, Statement, Value};

/// What the state machine needs of the world. Nothing here blocks.
pub trait Outputs {
    /// Sends to a peer over the control channel.
    fn send(&mut self, to: Host, control: &Control);
    /// Answers a call of a local entity that could not be answered at once.
    fn answer(&mut self, role: u8, number: u64, answer: Answer);
    /// Signs with the key of this life.
    fn sign<T: Statement>(&mut self, said: T) -> Sealed<T>;
    /// Is this what the key guard with that key certified?
    fn is_certified(&self, keys: &Sealed<BootKeys>, guard: &[u8; 32]) -> bool;
    /// 256 uniformly distributed bits.
    fn random(&mut self) -> Value;
}
