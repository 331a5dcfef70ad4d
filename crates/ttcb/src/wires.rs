//! What the state machine's effects go through: the control channel, the sessions and the sockets.

use crate::Fatal;
use crate::config::Config;
use crate::life::{Life, random};
use crate::status::Counters;
use maftia_ttcb_api::session::{FRAME_BYTES, other_version};
use maftia_ttcb_api::{
    Answer, BootKeys, Call, Frame, HOSTS_MAX, Host, Numbered, ROLES_MAX, Refusal, Sealed,
    Statement, Value,
};
use maftia_ttcb_core::channel::{ControlChannel, DATAGRAM_BYTES, Datagram, Received};
use maftia_ttcb_core::sessions::Sessions;
use maftia_ttcb_core::{Control, Local, Outputs};
use rustix::net::{RecvFlags, SendFlags, recv, send, sendto};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

/// How many bytes the launcher's test sends to the control socket: no other datagram has as many.
pub(crate) const PROBE_BYTES: usize = 32;

/// How often a component introduces itself to who does not know it yet.
pub(crate) const HELLO_PERIOD: u64 = 250_000_000;

/// How often it introduces itself at most to one that says something it cannot open.
const HELLO_PAUSE: u64 = 20_000_000;

/// A connection of a process that has a role, or of one that may get it.
pub(crate) struct Client {
    pub(crate) socket: OwnedFd,
    /// Has it had its welcome?
    pub(crate) greeted: bool,
    /// When its role will have the credit for its next frame to be looked at.
    pub(crate) ready_at: Local,
}

/// Everything that an effect can reach.
pub(crate) struct Wires {
    pub(crate) life: Life,
    pub(crate) channel: ControlChannel,
    pub(crate) sessions: Sessions,
    pub(crate) udp: UdpSocket,
    /// Who has each role.
    pub(crate) clients: [Option<Client>; ROLES_MAX],
    /// Who connected last with each role's user, and has not called yet. (D8)
    pub(crate) candidates: [Option<Client>; ROLES_MAX],
    pub(crate) counters: Counters,
    /// What a test sent to the control socket last.
    pub(crate) probe: Option<[u8; PROBE_BYTES]>,
    host: Host,
    peers: Vec<SocketAddr>,
    /// How often each datagram is sent: once more than may be lost.
    times: u8,
    introduced_at: [Option<Local>; HOSTS_MAX],
    /// Which peers are known to know this life: they sealed something for it. (D7)
    knows_us: [bool; HOSTS_MAX],
}

/// What a client's socket held.
// A frame is read in each turn and goes no further: a box for it would have to be allocated.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Heard {
    /// A frame.
    Frame(Frame),
    /// Bytes of another length.
    Nonsense,
    /// Nothing for now.
    Nothing,
    /// The end.
    Closed,
}

impl Wires {
    pub(crate) fn new(
        config: &Config,
        life: Life,
        exchange: [u8; 32],
        udp: UdpSocket,
    ) -> Result<Self, Fatal> {
        let mut guards = [None; HOSTS_MAX];
        for (guard, host) in guards.iter_mut().zip(&config.hosts) {
            *guard = Some(host.guard);
        }
        let own = config.hosts[usize::from(config.host.0)].guard;
        if !life.boot.is_signed_by(&own) {
            let host = config.host.0;
            let what = "is not that of the key guard here: put in what `keygen` printed";
            return Err(Fatal(format!(
                "the public key of host {host} in the configuration {what}"
            )));
        }
        Ok(Self {
            channel: ControlChannel::new(life.boot, exchange, guards),
            sessions: Sessions::new(life.boot),
            life,
            udp,
            clients: [const { None }; ROLES_MAX],
            candidates: [const { None }; ROLES_MAX],
            counters: Counters::default(),
            probe: None,
            host: config.host,
            peers: config.hosts.iter().map(|host| host.address).collect(),
            times: config.omission_degree + 1,
            introduced_at: [None; HOSTS_MAX],
            knows_us: [false; HOSTS_MAX],
        })
    }

    /// The next datagram of the control network; nothing comes of those that are there before this
    /// component serves.
    pub(crate) fn receive(&mut self, serving: bool) -> Option<Received> {
        let mut buffer = [0; DATAGRAM_BYTES + 1];
        match recv(&self.udp, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((DATAGRAM_BYTES, _)) if serving => {
                let datagram: &Datagram = buffer.first_chunk()?;
                Some(self.channel.open(datagram, &mut self.life))
            }
            Ok((PROBE_BYTES, _)) => {
                self.probe = buffer.first_chunk().copied();
                Some(Received::Nothing)
            }
            Ok(_) => Some(Received::Nothing),
            Err(_) => None,
        }
    }

    /// Introduces this component, unless it has just done so. (C4)
    pub(crate) fn introduce(&mut self, to: Host, now: Local) {
        let Some(last) = self.introduced_at.get_mut(usize::from(to.0)) else { return };
        if last.is_some_and(|last| now.0 < last.0 + HELLO_PAUSE) {
            return;
        }
        *last = Some(now);
        self.introduce_at_once(to);
    }

    /// Introduces this component to a life that has just introduced itself: lives are few, as each
    /// takes a certificate of its guard, and this one has heard nothing of before.
    pub(crate) fn introduce_at_once(&mut self, to: Host) {
        let hello = self.channel.hello();
        self.transmit(to, &hello);
    }

    /// Notes whether a peer knows this life.
    pub(crate) fn note_knows_us(&mut self, peer: Host, knows: bool) {
        if let Some(place) = self.knows_us.get_mut(usize::from(peer.0)) {
            *place = knows;
        }
    }

    /// Introduces this component to all that are not known to know it. (D7)
    pub(crate) fn introduce_to_unknowing(&mut self, now: Local) {
        for host in 0..self.peers.len() {
            if host != usize::from(self.host.0) && !self.knows_us[host] {
                self.introduce(Host(host as u8), now);
            }
        }
    }

    fn transmit(&mut self, to: Host, datagram: &Datagram) {
        let Some(address) = self.peers.get(usize::from(to.0)) else { return };
        for _ in 0..self.times {
            if sendto(&self.udp, datagram, SendFlags::DONTWAIT, address).is_err() {
                // As good as lost on the way.
                self.counters.datagrams_unsent += 1;
            }
        }
    }

    /// The next frame of a connection.
    pub(crate) fn hear(client: Option<&Client>) -> Heard {
        let Some(client) = client else { return Heard::Nothing };
        let mut buffer = [0; FRAME_BYTES + 1];
        match recv(&client.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => Heard::Closed,
            Ok((FRAME_BYTES, _)) => {
                buffer.first_chunk().map_or(Heard::Nothing, |frame| Heard::Frame(*frame))
            }
            Ok(_) => Heard::Nonsense,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Heard::Nothing,
            Err(_) => Heard::Closed,
        }
    }

    /// Answers the first frame of a candidate; one that is not welcome goes. (A6 of the interface)
    pub(crate) fn welcome(&mut self, role: u8, frame: &Frame) {
        let welcome = self.sessions.welcome(role, frame, &mut self.life);
        let place = &mut self.candidates[usize::from(role)];
        let Some(candidate) = place else { return };
        let answer = match &welcome {
            Ok(answer) => Some(*answer),
            Err(Refusal::Unknown) => Some(other_version()),
            Err(_) => None,
        };
        candidate.greeted = welcome.is_ok();
        let is_told = answer.is_some_and(|answer| tell(candidate, &answer));
        if welcome.is_err() {
            self.counters.forgeries += 1;
            *place = None;
        } else if !is_told {
            self.counters.unwritable += 1;
            *place = None;
        }
    }

    /// The first call of a candidate: it has the role from now on. (D8)
    pub(crate) fn claim(&mut self, role: u8, frame: &Frame) -> Result<Numbered<Call>, Refusal> {
        let call = self.sessions.claim(role, frame)?;
        let place = usize::from(role);
        self.clients[place] = self.candidates[place].take();
        Ok(call)
    }

    /// The call in a frame.
    pub(crate) fn call(&mut self, role: u8, frame: &Frame) -> Result<Numbered<Call>, Refusal> {
        self.sessions.open(role, frame)
    }

    /// Writes to a role's connection; one that does not read is dropped, so that nobody waits.
    fn write(&mut self, role: u8, frame: &Frame) {
        let place = &mut self.clients[usize::from(role)];
        let Some(client) = place else { return };
        if !tell(client, frame) {
            *place = None;
            self.counters.unwritable += 1;
        }
    }
}

/// Writes to a connection; false if it did not take it at once.
fn tell(client: &Client, frame: &Frame) -> bool {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    send(&client.socket, frame, flags).is_ok_and(|len| len == frame.len())
}

impl Outputs for Wires {
    fn send(&mut self, to: Host, control: &Control) {
        // Who has not introduced itself gets nothing: frames may be lost at any time.
        if let Some(datagram) = self.channel.seal(to, control) {
            self.transmit(to, &datagram);
        }
    }

    fn answer(&mut self, role: u8, number: u64, answer: Answer) {
        if self.clients[usize::from(role)].is_none() {
            return;
        }
        self.counters.answers += 1;
        match answer {
            Answer::Decided(_) => self.counters.decided += 1,
            Answer::Timeout => self.counters.timeouts += 1,
            Answer::Refused(Refusal::Quota) => self.counters.quota += 1,
            _ => {}
        }
        if let Some(frame) = self.sessions.seal(role, number, answer) {
            self.write(role, &frame);
        }
    }

    fn sign<T: Statement>(&mut self, said: T) -> Sealed<T> {
        self.life.seal(said)
    }

    fn is_certified(&self, keys: &Sealed<BootKeys>, guard: &[u8; 32]) -> bool {
        keys.is_signed_by(guard)
    }

    fn random(&mut self) -> Value {
        random()
    }
}
