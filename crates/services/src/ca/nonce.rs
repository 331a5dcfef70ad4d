//! Nonces of ACME: made by one server, known to all, good for one request.
//!
//! # Promise
//! - *Once*: a nonce is spent at most once, whichever server a request comes through.
//! - *Bounded*: whoever asks for nonces, or spends them, makes the state grow up to a bound that is
//!   each server's own; beyond it the server's older nonces are refused.
//!
//! # Rules
//! - N1. A server makes a nonce without asking anybody: it signs its name, the time, and a random
//!   number.
//! - N2. A nonce is good if its server signed it, the agreed time is no more than
//!   [`NONCE_SECONDS_MAX`] later and [`NONCE_AHEAD_SECONDS_MAX`] earlier than it says, it is not
//!   below its server's floor, and it was not spent.
//! - N3. A spent one is remembered until it is too old. Beyond [`NONCES_PER_SERVER_MAX`] of one
//!   server, the oldest are forgotten, and the floor rises above them.
//!
//! # Bounds
//! 24 bytes for each spent nonce: at most 6 MiB for 64 servers.
//!
//! # Sources
//! RFC 8555, 6.5. What is refused as `badNonce` a client repeats with a fresh one, so refusing too
//! many costs a round trip, and accepting one too many would be a replay.

use super::jose::base64url;
use super::table::{Set, Table};
use maftia_base::wire::{Bytes, Wire, wire_struct};
use maftia_base::{PARTIES_MAX, Party, WIRE_VERSION};
use ring::signature::{ED25519, UnparsedPublicKey};

/// How long a nonce is good, in seconds.
pub const NONCE_SECONDS_MAX: u64 = 3600;

/// How far its server's clock may be ahead of the agreed time, in seconds.
pub const NONCE_AHEAD_SECONDS_MAX: u64 = 60;

/// Spent nonces of one server that are remembered.
pub const NONCES_PER_SERVER_MAX: usize = 4096;

/// Characters of a nonce: those of its bytes in base64url.
pub const NONCE_CHARACTERS: usize = (BYTES * 8).div_ceil(6);

/// Bytes of a nonce.
const BYTES: usize = 1 + 8 + 16 + 64;

/// What a server signs begins with this; nothing else does that it signs with the key.
const DOMAIN: &[u8] = b"maftia acme nonce";

/// With which key a server signs its nonces: Ed25519.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NonceKey(pub [u8; 32]);

wire_struct!(NonceKey { 0 });

/// A nonce, as it goes to a client in `Replay-Nonce`: [`text`](Self::text).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce {
    /// Who made it.
    pub server: Party,
    /// When, by that server's clock: seconds since 1970-01-01 UTC.
    pub at: u64,
    /// Tells the nonces of one second apart.
    pub random: [u8; 16],
    /// Of the server's [`NonceKey`], on [`message`](Self::message).
    pub signature: [u8; 64],
}

wire_struct!(Nonce { server, at, random, signature });

impl Nonce {
    /// Has `sign` sign a nonce of `server` for the authority with this base URL. (N1)
    pub fn signed(
        base: &str,
        server: Party,
        at: u64,
        random: [u8; 16],
        sign: impl FnOnce(&[u8]) -> [u8; 64],
    ) -> Self {
        let signature = sign(&Self::message(base, server, at, random));
        Self { server, at, random, signature }
    }

    /// What is signed: bound to the authority and to the version of the format.
    pub fn message(base: &str, server: Party, at: u64, random: [u8; 16]) -> Vec<u8> {
        let mut message = DOMAIN.to_vec();
        message.extend(WIRE_VERSION.to_be_bytes());
        message.push(server.index() as u8);
        message.extend(at.to_be_bytes());
        message.extend(random);
        // What follows is the only part without a fixed length.
        message.extend(base.as_bytes());
        message
    }

    /// As it stands in a header, and in a JWS.
    pub fn text(&self) -> String {
        base64url::encode(&self.to_wire())
    }

    /// The nonce of this text; `None` if it is none.
    pub fn from_text(text: &str) -> Option<Self> {
        if text.len() != NONCE_CHARACTERS {
            return None;
        }
        let bytes = base64url::decode(text)?;
        Self::from_wire(Bytes::from(bytes)).ok()
    }

    fn name(&self) -> SpentNonce {
        SpentNonce { at: self.at, random: self.random }
    }

    /// Did its server sign it?
    fn is_signed(&self, base: &str, key: &NonceKey) -> bool {
        let message = Self::message(base, self.server, self.at, self.random);
        UnparsedPublicKey::new(&ED25519, &key.0).verify(&message, &self.signature).is_ok()
    }
}

/// What tells the nonces of one server apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct SpentNonce {
    at: u64,
    random: [u8; 16],
}

wire_struct!(SpentNonce { at, random });

/// The spent nonces of one server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Spent {
    /// All before this second are refused.
    floor: u64,
    nonces: Set<SpentNonce, { NONCES_PER_SERVER_MAX + 1 }>,
}

wire_struct!(Spent { floor, nonces });

/// All spent nonces that are still to be remembered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct SpentNonces(Table<Party, Spent, PARTIES_MAX>);

wire_struct!(SpentNonces { 0 });

impl SpentNonces {
    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.values().map(|spent| spent.nonces.len()).sum()
    }

    /// Could it be spent now? Looks at what costs least first. (N2)
    pub(super) fn is_good(&self, nonce: &Nonce, base: &str, keys: &[NonceKey], now: u64) -> bool {
        let Some(key) = keys.get(nonce.server.index()) else { return false };
        let is_of_now = nonce.at <= now.saturating_add(NONCE_AHEAD_SECONDS_MAX)
            && now <= nonce.at.saturating_add(NONCE_SECONDS_MAX);
        let is_unspent = self
            .0
            .get(&nonce.server)
            .is_none_or(|spent| nonce.at >= spent.floor && !spent.nonces.contains(&nonce.name()));
        is_of_now && is_unspent && nonce.is_signed(base, key)
    }

    /// Remembers one that is good, and forgets what is too old to be. (N3)
    pub(super) fn spend(&mut self, nonce: &Nonce, now: u64) {
        if !self.0.contains_key(&nonce.server) {
            self.0.insert(nonce.server, Spent::default());
        }
        let spent = self.0.get_mut(&nonce.server).expect("just entered");
        let oldest_good = now.saturating_sub(NONCE_SECONDS_MAX);
        spent.forget_below(oldest_good);
        let is_new = spent.nonces.insert(nonce.name());
        assert!(is_new && nonce.at >= spent.floor, "only a good nonce is spent");
        if spent.nonces.len() > NONCES_PER_SERVER_MAX {
            let oldest = spent.nonces.first().expect("there are too many").at;
            // The others of that second go with it, since the floor counts seconds.
            spent.floor = oldest + 1;
            spent.forget_below(spent.floor);
        }
    }
}

impl Spent {
    fn forget_below(&mut self, second: u64) {
        while self.nonces.first().is_some_and(|oldest| oldest.at < second) {
            self.nonces.pop_first();
        }
    }
}
