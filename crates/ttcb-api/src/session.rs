//! Local authentication: how a process and its local trusted component know each other.
//!
//! # Rules
//! - **A1** The process sends a fresh X25519 key and a challenge.
//! - **A2** The component answers with a fresh X25519 key of its own, the process's entity id, the
//!   keys of its life as its key guard certifies them, and its signature on all of it.
//! - **A3** Both derive one session key from the two X25519 keys and everything said.
//! - **A4** Every later call and answer carries its number and a MAC under that key. Numbers grow;
//!   an answer has the number of its call.
//! - **A5** A handshake alone gives nobody the role, for it shows who the component is, and of the
//!   process only its user. The process whose first call opens under the key of its handshake *has*
//!   the role from then on, in the place of the one that had it: whoever only asks who the
//!   component is, or says nothing further, disturbs nobody.
//! - **A6** A process that greets in another version is told the component's, and nothing else.
//!
//! The socket tells the component which user the process runs as, and with that its role. Whoever
//! holds a session's key *is* that entity: if it is stolen, the server that it belongs to counts
//! as corrupt (the source says so, too).
//!
//! # Sources
//! The local authentication service of the TTCB (document 5 of the project, section 8.2).
//! Deviation: X25519 and Ed25519 for what was then RSA; hence the session key is secret even from
//! one that learns the component's key later.

use crate::call::{Answer, BODY_BYTES, Call, Numbered};
use crate::entity::{EntityId, HOSTS_MAX};
use crate::fixed_struct;
use crate::signed::{BootKeys, Seal, Sealed, Statement};
use crate::wire::{Fixed, Malformed, Reader, Writer};
use curve25519_dalek::MontgomeryPoint;
use zeroize::Zeroize;

/// What a process sends first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The version of this interface.
    pub version: u16,
    /// A fresh X25519 key.
    pub exchange: [u8; 32],
    /// Random bits.
    pub challenge: [u8; 32],
}

fixed_struct!(Hello { version: u16, exchange: [u8; 32], challenge: [u8; 32] });

/// The version of this interface. Every version begins its first frame with it.
pub const VERSION: u16 = 2;

/// What the component answers a process of another version. (A6)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OtherVersion {
    /// [`NO_HOST`]: no [`Welcome`] begins with it.
    mark: u8,
    /// The component's version.
    version: u16,
}

fixed_struct!(OtherVersion { mark: u8, version: u16 });

/// The number of no host.
const NO_HOST: u8 = u8::MAX;

const _: () = assert!(HOSTS_MAX < NO_HOST as usize);

/// The frame that tells a process of another version this one. (A6)
pub fn other_version() -> Frame {
    let mut frame = [0; FRAME_BYTES];
    Writer::new(&mut frame).put(&OtherVersion { mark: NO_HOST, version: VERSION });
    frame
}

/// The version that a component tells in place of a welcome.
fn version_told(frame: &Frame) -> Option<u16> {
    let told: OtherVersion = Reader::new(frame).take().ok()?;
    (told.mark == NO_HOST && told.version != VERSION).then_some(told.version)
}

/// What the component answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Who the process is before the wormhole.
    pub entity: EntityId,
    /// A fresh X25519 key.
    pub exchange: [u8; 32],
    /// The keys of the component's life, certified by its key guard.
    pub boot: Sealed<BootKeys>,
    /// The component's signature on the [`Transcript`].
    pub seal: Seal,
}

fixed_struct!(Welcome {
    entity: EntityId,
    exchange: [u8; 32],
    boot: Sealed<BootKeys>,
    seal: Seal,
});

/// Everything said in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// What the process said.
    pub hello: Hello,
    /// Who it is.
    pub entity: EntityId,
    /// The component's X25519 key.
    pub exchange: [u8; 32],
    /// The component's life.
    pub boot: BootKeys,
}

fixed_struct!(Transcript { hello: Hello, entity: EntityId, exchange: [u8; 32], boot: BootKeys });

impl Statement for Transcript {
    const KIND: &'static str = "maftia ttcb local authentication";
}

/// The largest of what travels over the local socket; every frame has this size.
pub const FRAME_BYTES: usize = 320;

/// One frame of the local socket.
pub type Frame = [u8; FRAME_BYTES];

/// The X25519 key that belongs to these secret bits.
pub fn exchange_key(secret: [u8; 32]) -> [u8; 32] {
    MontgomeryPoint::mul_base_clamped(secret).to_bytes()
}

/// What two X25519 keys have in common; `None` if the other's is of small order, so that everybody
/// knew it.
pub fn shared_secret(secret: [u8; 32], other: [u8; 32]) -> Option<[u8; 32]> {
    let shared = MontgomeryPoint(other).mul_clamped(secret).to_bytes();
    (shared != [0; 32]).then_some(shared)
}

/// Which way a frame goes: no answer can be played back as a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Call,
    Answer,
}

/// The key of one session. It is wiped when it is dropped, and never printed.
#[derive(Clone)]
pub struct SessionKey([u8; 32]);

impl Drop for SessionKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

impl SessionKey {
    /// The key that follows from a handshake. (A3)
    pub fn new(mut shared: [u8; 32], transcript: &Transcript) -> Self {
        let mut input = [0; 64];
        input[..32].copy_from_slice(&shared);
        input[32..].copy_from_slice(&transcript.digest());
        let key = Self(blake3::derive_key("maftia ttcb session", &input));
        input.zeroize();
        shared.zeroize();
        key
    }

    fn mac(&self, way: Way, bytes: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&[way as u8]);
        hasher.update(bytes);
        hasher.finalize()
    }

    fn seal<T: Fixed>(&self, way: Way, what: &Numbered<T>) -> Frame {
        let mut frame = [0; FRAME_BYTES];
        Writer::new(&mut frame).put(what);
        let mac = self.mac(way, &frame[..MAC_AT]);
        frame[MAC_AT..MAC_AT + 32].copy_from_slice(mac.as_bytes());
        frame
    }

    fn open<T: Fixed>(&self, way: Way, frame: &Frame) -> Result<Numbered<T>, Malformed> {
        let (body, rest) = frame.split_at(MAC_AT);
        let mac: [u8; 32] = Reader::new(rest).array()?;
        // The comparison of two hashes takes the same time whatever they are.
        if self.mac(way, body) != blake3::Hash::from_bytes(mac) {
            return Err(Malformed);
        }
        let mut reader = Reader::new(body);
        let what = reader.take()?;
        reader.finish()?;
        Ok(what)
    }

    /// The frame of a call. (A4)
    pub fn seal_call(&self, call: &Numbered<Call>) -> Frame {
        self.seal(Way::Call, call)
    }

    /// The call in a frame, if whoever has this key made it. (A4)
    pub fn open_call(&self, frame: &Frame) -> Result<Numbered<Call>, Malformed> {
        self.open(Way::Call, frame)
    }

    /// The frame of an answer. (A4)
    pub fn seal_answer(&self, answer: &Numbered<Answer>) -> Frame {
        self.seal(Way::Answer, answer)
    }

    /// The answer in a frame, if the component made it. (A4)
    pub fn open_answer(&self, frame: &Frame) -> Result<Numbered<Answer>, Malformed> {
        self.open(Way::Answer, frame)
    }
}

/// Where the MAC stands: behind the number and the body.
const MAC_AT: usize = 8 + BODY_BYTES;

const _: () = assert!(MAC_AT + 32 <= FRAME_BYTES && Welcome::SIZE <= FRAME_BYTES);

/// A process in the midst of the handshake.
pub struct Handshake {
    hello: Hello,
    secret: [u8; 32],
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// Why a process does not accept who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impostor {
    /// The answer cannot be decoded.
    Malformed,
    /// The keys are not certified by the key guard of this host.
    Uncertified,
    /// The answer is not signed by these keys, or is one to another process.
    Unsigned,
    /// Perhaps no impostor: it says that it speaks this version of the interface. (A6)
    OtherVersion(u16),
}

impl Handshake {
    /// Begins, with fresh random bits. (A1)
    pub fn new(secret: [u8; 32], challenge: [u8; 32]) -> Self {
        let hello = Hello { version: VERSION, exchange: exchange_key(secret), challenge };
        Self { hello, secret }
    }

    /// The first frame.
    pub fn frame(&self) -> Frame {
        let mut frame = [0; FRAME_BYTES];
        Writer::new(&mut frame).put(&self.hello);
        frame
    }

    /// Checks the answer, with the key of the guard of this host.
    pub fn finish(&self, frame: &Frame, guard: &[u8; 32]) -> Result<Session, Impostor> {
        if let Some(version) = version_told(frame) {
            return Err(Impostor::OtherVersion(version));
        }
        let welcome: Welcome = Reader::new(frame).take().map_err(|_| Impostor::Malformed)?;
        let Welcome { entity, exchange, boot, seal } = welcome;
        let named = (entity.host, entity.boot) == (boot.said.host, boot.said.boot());
        if !named || !boot.is_signed_by(guard) {
            return Err(Impostor::Uncertified);
        }
        let transcript = Transcript { hello: self.hello, entity, exchange, boot: boot.said };
        let said = Sealed { said: transcript, seal };
        let shared = shared_secret(self.secret, exchange);
        let shared = shared.filter(|_| said.is_signed_by(&boot.said.signing));
        let shared = shared.ok_or(Impostor::Unsigned)?;
        Ok(Session { entity, boot, key: SessionKey::new(shared, &transcript) })
    }
}

/// An authenticated process.
#[derive(Clone, Debug)]
pub struct Session {
    /// Who it is before the wormhole.
    pub entity: EntityId,
    /// The keys of its local trusted component.
    pub boot: Sealed<BootKeys>,
    /// What its calls are authenticated with.
    pub key: SessionKey,
}
