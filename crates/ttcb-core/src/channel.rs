//! The control channel's frames: who sent one, in which life, and only once.
//!
//! # Rules
//! - **C1** A component introduces itself with the keys of its life, which its key guard certifies.
//!   Of two lives of one host the one with the greater epoch counts; an earlier one, and another
//!   with the same epoch, is ignored for ever: a guard that was rolled back is noticed here.
//! - **C2** Two components share a key for each direction, which follows from their X25519 keys and
//!   both introductions.
//! - **C3** Every frame is encrypted and authenticated under that key (ChaCha20-Poly1305, RFC 8439)
//!   with a number that is used once. A number that was seen, or is too old, is ignored: a frame
//!   that is sent several times, against losses, arrives once.
//! - **C4** Who gets a frame that it cannot open introduces itself. That does not mend a lost
//!   introduction towards one that is known here: the shell introduces itself again and again until
//!   the peer has sealed a frame for this life.
//!
//! The private network is the barrier; this is the second one behind it.

use crate::control::{CONTROL_BYTES, Control, Peer};
use crate::outputs::Outputs;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use maftia_ttcb_api::session::shared_secret;
use maftia_ttcb_api::signed::digest;
use maftia_ttcb_api::wire::{Fixed, Reader, Writer};
use maftia_ttcb_api::{BootKeys, HOSTS_MAX, Host, Sealed, fixed_struct};
use zeroize::Zeroize;

/// The size of every datagram.
pub const DATAGRAM_BYTES: usize = 2 + 8 + CONTROL_BYTES + 16;

/// One datagram.
pub type Datagram = [u8; DATAGRAM_BYTES];

/// How many numbers behind the latest one may arrive.
const WINDOW: u64 = 64;

const HELLO: u8 = 0;
const SEALED: u8 = 1;

/// What two components derive their keys from, apart from the shared secret.
struct Pair {
    shared: [u8; 32],
    from: BootKeys,
    to: BootKeys,
}

fixed_struct!(Pair { shared: [u8; 32], from: BootKeys, to: BootKeys });

/// What is shared with one life of a peer.
struct Link {
    boot: BootKeys,
    sending: ChaCha20Poly1305,
    receiving: ChaCha20Poly1305,
    sent: u64,
    /// The greatest number seen, and which of those below it were.
    latest: u64,
    seen: u64,
}

/// The control channel of one component.
pub struct ControlChannel {
    boot: Sealed<BootKeys>,
    secret: [u8; 32],
    /// The keys of all hosts' guards; that of the own host is not used.
    guards: [Option<[u8; 32]>; HOSTS_MAX],
    links: [Option<Link>; HOSTS_MAX],
}

impl Drop for ControlChannel {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl std::fmt::Debug for ControlChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ControlChannel({:?})", self.boot.said.host)
    }
}

/// What a datagram was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)]
pub enum Received {
    /// A frame of this peer.
    Frame(Peer, Control),
    /// This peer has introduced itself, and is new: introduce yourself to it.
    Introduced(Peer),
    /// It cannot be opened: introduce yourself to whoever sent it. (C4)
    Unopened(Host),
    /// Nothing: a repetition, or nonsense.
    Nothing,
}

impl ControlChannel {
    /// With the keys of this life, the secret of the exchange key among them, and the public keys
    /// of the guards.
    pub fn new(
        boot: Sealed<BootKeys>,
        secret: [u8; 32],
        guards: [Option<[u8; 32]>; HOSTS_MAX],
    ) -> Self {
        Self { boot, secret, guards, links: Default::default() }
    }

    /// The lives that are known.
    pub fn peers(&self) -> impl Iterator<Item = BootKeys> {
        self.links.iter().flatten().map(|link| link.boot)
    }

    /// An introduction. (C1)
    pub fn hello(&self) -> Datagram {
        let mut datagram = [0; DATAGRAM_BYTES];
        let mut writer = Writer::new(&mut datagram);
        writer.put(&HELLO).put(&self.boot.said.host).put(&self.boot);
        datagram
    }

    /// The datagram of a frame; `None` if the peer has not introduced itself. (C3)
    pub fn seal(&mut self, to: Host, control: &Control) -> Option<Datagram> {
        let link = self.links.get_mut(usize::from(to.0))?.as_mut()?;
        link.sent += 1;
        let mut datagram = [0; DATAGRAM_BYTES];
        let mut writer = Writer::new(&mut datagram);
        writer.put(&SEALED).put(&self.boot.said.host).put(&link.sent).put(control);
        let (head, body) = datagram.split_at_mut(HEAD_BYTES);
        let (body, tag) = body.split_at_mut(CONTROL_BYTES);
        let sealed = link.sending.encrypt_inout_detached(&nonce(link.sent), head, body.into());
        tag.copy_from_slice(&sealed.ok()?);
        Some(datagram)
    }

    /// Opens a datagram. Nothing that it says is believed of anybody but its author.
    pub fn open(&mut self, datagram: &Datagram, out: &mut impl Outputs) -> Received {
        let mut reader = Reader::new(datagram);
        let (Ok(kind), Ok(host)) = (reader.take::<u8>(), reader.take::<Host>()) else {
            return Received::Nothing;
        };
        let known = usize::from(host.0) < HOSTS_MAX && host != self.boot.said.host;
        match kind {
            HELLO if known => match reader.take() {
                Ok(hello) => self.on_hello(host, &hello, out),
                Err(_) => Received::Nothing,
            },
            SEALED if known => self.on_sealed(host, datagram),
            _ => Received::Nothing,
        }
    }

    /// A peer introduces itself. (C1, C2)
    fn on_hello(
        &mut self,
        host: Host,
        hello: &Sealed<BootKeys>,
        out: &mut impl Outputs,
    ) -> Received {
        let index = usize::from(host.0);
        let theirs = hello.said;
        let newer = self.links[index].as_ref().is_none_or(|link| theirs.epoch > link.boot.epoch);
        let guard = self.guards[index].filter(|_| newer && theirs.host == host);
        if guard.is_none_or(|guard| !out.is_certified(hello, &guard)) {
            return Received::Nothing;
        }
        let Some(shared) = shared_secret(self.secret, theirs.exchange) else {
            return Received::Nothing;
        };
        let key = |from, to| {
            let mut pair = Pair { shared, from, to };
            let key = digest("maftia ttcb control channel", &pair);
            pair.shared.zeroize();
            ChaCha20Poly1305::new(&Key::from(key))
        };
        let ours = self.boot.said;
        let (sending, receiving) = (key(ours, theirs), key(theirs, ours));
        self.links[index] =
            Some(Link { boot: theirs, sending, receiving, sent: 0, latest: 0, seen: 0 });
        Received::Introduced(Peer { host, boot: theirs.boot() })
    }

    /// A frame. (C3)
    fn on_sealed(&mut self, host: Host, datagram: &Datagram) -> Received {
        let Some(link) = &mut self.links[usize::from(host.0)] else {
            return Received::Unopened(host);
        };
        let (head, rest) = datagram.split_at(HEAD_BYTES);
        let (sealed, tag) = rest.split_at(CONTROL_BYTES);
        let mut body = [0; CONTROL_BYTES];
        body.copy_from_slice(sealed);
        let (Ok(number), Ok(tag)) = (Reader::new(&head[2..]).take::<u64>(), Tag::try_from(tag))
        else {
            return Received::Nothing;
        };
        if link.has_seen(number) {
            return Received::Nothing;
        }
        let opened = link.receiving.decrypt_inout_detached(
            &nonce(number),
            head,
            body.as_mut_slice().into(),
            &tag,
        );
        if opened.is_err() {
            return Received::Unopened(host);
        }
        link.note_seen(number);
        match Reader::new(&body).take() {
            Ok(control) => Received::Frame(Peer { host, boot: link.boot.boot() }, control),
            Err(_) => Received::Nothing,
        }
    }
}

impl Link {
    fn has_seen(&self, number: u64) -> bool {
        if number > self.latest {
            return false;
        }
        let behind = self.latest - number;
        number == 0 || behind >= WINDOW || self.seen & (1 << behind) != 0
    }

    fn note_seen(&mut self, number: u64) {
        if number > self.latest {
            let shift = number - self.latest;
            self.seen = if shift < WINDOW { self.seen << shift } else { 0 };
            self.latest = number;
        }
        self.seen |= 1 << (self.latest - number);
    }
}

const HEAD_BYTES: usize = 2 + 8;

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Nonce::from(bytes)
}

const _: () = assert!(<Sealed<BootKeys> as Fixed>::SIZE + 2 <= DATAGRAM_BYTES);
