//! What stands in for the daemon: it moves bytes between a core, its session and the network.

use super::judge::{Judge, Seen};
use maftia_base::canary;
use maftia_crypto::ideal;
use maftia_sim::Random;
use maftia_ttcb_api::session::{Hello, SessionKey, Transcript, VERSION, Welcome};
use maftia_ttcb_api::session::{exchange_key, shared_secret};
use maftia_ttcb_api::wire::{Reader, Writer};
use maftia_ttcb_api::{
    Answer, BootKeys, Call, Decision, EntityId, Frame, HOSTS_MAX, Host, Identifier, Numbered,
    ROLES_MAX, Refusal, Sealed, Span, Statement, Tag, Value,
};
use maftia_ttcb_core::admission::Reservation;
use maftia_ttcb_core::channel::{ControlChannel, Datagram, Received};
use maftia_ttcb_core::sessions::Sessions;
use maftia_ttcb_core::{Config, Control, Core, Local, Now, Outputs, Peer};

/// The bound that components expect the control channel to keep.
pub const BOUND: Span = Span::from_millis(5);

/// What an event may use: clocks, chance, and whoever watches.
pub struct Yard<'a> {
    /// What the host's clocks show.
    pub now: Now,
    /// For random bits.
    pub random: &'a mut Random,
    /// Sees everything.
    pub judge: &'a mut Judge,
}

/// What left a daemon.
#[derive(Default)]
pub struct Left {
    /// To other components.
    pub datagrams: Vec<(Host, Datagram)>,
    /// To the local server.
    pub frames: Vec<Frame>,
}

/// A component with what its process keeps beside the core.
pub struct Daemon {
    core: Core,
    channel: ControlChannel,
    sessions: Sessions,
    key: [u8; 32],
    /// Its present life.
    pub life: Sealed<BootKeys>,
    /// What was last asked about.
    asked: Tag,
}

struct Effects<'a> {
    key: [u8; 32],
    random: &'a mut Random,
    sent: Vec<(Host, Control)>,
    answers: Vec<(u64, Answer)>,
}

impl Effects<'_> {
    fn signed<T: Statement>(&self, said: T) -> Sealed<T> {
        let seal = ideal::seal(&self.key, &said.digest());
        Sealed { said, seal }
    }
}

impl Outputs for Effects<'_> {
    fn send(&mut self, to: Host, control: &Control) {
        self.sent.push((to, *control));
    }
    fn answer(&mut self, _: u8, number: u64, answer: Answer) {
        self.answers.push((number, answer));
    }
    fn sign<T: Statement>(&mut self, said: T) -> Sealed<T> {
        self.signed(said)
    }
    fn is_certified(&self, keys: &Sealed<BootKeys>, guard: &[u8; 32]) -> bool {
        keys.seal == ideal::seal(guard, &keys.said.digest())
    }
    fn random(&mut self) -> Value {
        bits(self.random)
    }
}

/// 256 bits of chance.
pub fn bits(random: &mut Random) -> [u8; 32] {
    let mut value = [0; 32];
    value.chunks_mut(8).for_each(|part| part.copy_from_slice(&random.bits().to_le_bytes()));
    value
}

/// The key of the guard of a host.
pub fn guard_of(host: usize) -> [u8; 32] {
    [100 + host as u8; 32]
}

impl Daemon {
    /// Begins a life, the one of this number, with these secrets.
    pub fn new(host: usize, hosts: usize, epoch: u64, [key, secret]: [[u8; 32]; 2]) -> Self {
        let said = BootKeys {
            host: Host(host as u8),
            epoch,
            signing: key,
            exchange: exchange_key(secret),
        };
        let life = Sealed { said, seal: ideal::seal(&guard_of(host), &said.digest()) };
        let mut guards = [None; HOSTS_MAX];
        (0..hosts).for_each(|host| guards[host] = Some(guard_of(host)));
        let (budget, period) = (Span::from_millis(300), Span::from_millis(500));
        let mut reservations = [None; ROLES_MAX];
        reservations[0] = Some(Reservation { budget, period });
        let config = Config {
            host: said.host,
            hosts,
            bound: BOUND,
            drift_ppm: 50,
            reservations,
            permille: 700,
        };
        Self {
            core: Core::new(&config, said.boot()).expect("the reservation fits"),
            channel: ControlChannel::new(life, secret, guards),
            sessions: Sessions::new(life),
            key,
            life,
            asked: Tag::default(),
        }
    }

    /// The local server before the wormhole.
    pub fn entity(&self) -> EntityId {
        self.core.entity(0)
    }

    /// Its introduction.
    pub fn hello(&self) -> Datagram {
        self.channel.hello()
    }

    /// Whom it has heard of.
    pub fn knows(&self, host: usize) -> bool {
        self.channel.peers().any(|peer| usize::from(peer.host.0) == host)
    }

    /// A session with the local server. That the server checks whom it speaks with is tried in the
    /// component's own tests.
    pub fn session(&mut self, random: &mut Random) -> SessionKey {
        let (secret, challenge) = (bits(random), bits(random));
        let hello = Hello { version: VERSION, exchange: exchange_key(secret), challenge };
        let mut frame = [0; maftia_ttcb_api::session::FRAME_BYTES];
        Writer::new(&mut frame).put(&hello);
        let mut effects = effects(self.key, random);
        let answer = self.sessions.welcome(0, &frame, &mut effects).expect("it is welcome");
        let welcome: Welcome = Reader::new(&answer).take().expect("it is well-formed");
        let Welcome { entity, exchange, boot, .. } = welcome;
        let transcript = Transcript { hello, entity, exchange, boot: boot.said };
        let shared = shared_secret(secret, exchange).expect("chance makes no weak key");
        SessionKey::new(shared, &transcript)
    }

    /// The common time, as it knows it.
    pub fn time(&mut self, now: Now) -> Option<maftia_ttcb_api::Interval> {
        self.core.time(now)
    }

    /// When it wants to be called next.
    pub fn next_due(&mut self, now: Now) -> Local {
        self.core.next_due(now)
    }

    /// A frame of the local socket.
    pub fn on_frame(&mut self, frame: &Frame, mut yard: Yard<'_>) -> Left {
        let claimed = self.sessions.claim(0, frame);
        if claimed.is_ok() {
            self.core.forget_calls(0);
        }
        let call = match claimed.or_else(|_| self.sessions.open(0, frame)) {
            Ok(call) => Some(call),
            Err(Refusal::Malformed) => canary!("ttcb-takes-forged-calls", read(frame), None),
            Err(Refusal::Contradiction) => {
                canary!("ttcb-takes-replayed-calls", read(frame), None)
            }
            Err(_) => None,
        };
        let Some(call) = call else { return Left::default() };
        yard.judge.executes(self.life.said, &call);
        if let Call::Decide(tag) = call.body {
            self.asked = tag;
        }
        self.act(&mut yard, Seen::Call(call), |core, now, out| core.call(0, &call, now, out))
    }

    /// A datagram of the network.
    pub fn on_datagram(&mut self, datagram: &Datagram, mut yard: Yard<'_>) -> Left {
        let mut effects = effects(self.key, yard.random);
        let mut left = Left::default();
        match self.channel.open(datagram, &mut effects) {
            Received::Frame(peer, control) => {
                return self.act(&mut yard, Seen::Frame(control), |core, now, out| {
                    core.control(peer, &control, now, out);
                    canary!("ttcb-decides-on-one", vote_of_all(core, &control, now, out));
                });
            }
            Received::Introduced(peer) => {
                self.core.introduced(peer);
                left.datagrams.push((peer.host, self.hello()));
            }
            Received::Unopened(host) => left.datagrams.push((host, self.hello())),
            Received::Nothing => {}
        }
        left
    }

    /// Time has passed.
    pub fn tick(&mut self, mut yard: Yard<'_>) -> Left {
        self.act(&mut yard, Seen::Nothing, |core, now, out| core.tick(now, out))
    }

    fn act(
        &mut self,
        yard: &mut Yard<'_>,
        seen: Seen,
        act: impl FnOnce(&mut Core, Now, &mut Effects<'_>),
    ) -> Left {
        let now = yard.now;
        let mut effects = effects(self.key, yard.random);
        act(&mut self.core, now, &mut effects);
        let mut answers = std::mem::take(&mut effects.answers);
        for (number, answer) in &mut answers {
            self.spoil(*number, answer, &seen, &mut effects);
        }
        let time = self.core.time(now);
        let mut left = Left::default();
        for (to, control) in effects.sent {
            yard.judge.sent(self.life.said, &control, &seen, time);
            left.datagrams.extend(self.channel.seal(to, &control).map(|datagram| (to, datagram)));
        }
        for (number, answer) in answers {
            yard.judge.answers(self.life.said, number, &answer, time);
            left.frames.extend(self.sessions.seal(0, number, answer));
        }
        left
    }

    /// What wrong cores would answer, while a canary sings.
    fn spoil(&self, number: u64, answer: &mut Answer, seen: &Seen, effects: &mut Effects<'_>) {
        let call = match seen {
            Seen::Call(call) if call.number == number => Some(call.body),
            _ => None,
        };
        match (*answer, call) {
            (Answer::Refused(Refusal::TooLate), Some(Call::Propose { instance, value })) => {
                canary!("ttcb-takes-late-proposals", {
                    let control = Control::Proposal { instance, value };
                    let entities = instance.elist.entities().iter();
                    entities.for_each(|entity| effects.send(entity.host, &control));
                    *answer = Answer::Tag(instance.tag())
                });
            }
            (Answer::Refused(Refusal::Contradiction), Some(Call::Propose { instance, .. })) => {
                canary!("ttcb-takes-two-proposals", *answer = Answer::Tag(instance.tag()));
            }
            (
                Answer::Refused(Refusal::Contradiction),
                Some(Call::Identify { counter, position, value, marked, .. }),
            ) => {
                canary!("ttcb-two-at-a-place", {
                    let entity = self.entity();
                    let said = Identifier {
                        entity,
                        counter,
                        position,
                        value,
                        marked,
                        ..Identifier::default()
                    };
                    *answer = Answer::Identified(effects.signed(said))
                });
            }
            (Answer::Identified(sealed), _) => {
                canary!("ttcb-hides-marked", {
                    let said = Identifier { last: 0, last_value: Value::default(), ..sealed.said };
                    *answer = Answer::Identified(effects.signed(said))
                });
            }
            (Answer::Decided(sealed), _) => {
                canary!("ttcb-tag-unbound", {
                    let said = Decision { tag: self.asked, ..sealed.said };
                    *answer = Answer::Decided(effects.signed(said))
                });
            }
            _ => {}
        }
    }
}

fn effects(key: [u8; 32], random: &mut Random) -> Effects<'_> {
    Effects { key, random, sent: Vec::new(), answers: Vec::new() }
}

/// The call in a frame, whoever made it.
fn read(frame: &Frame) -> Option<Numbered<Call>> {
    Reader::new(frame).take().ok()
}

/// One acknowledgement counts as everybody's.
fn vote_of_all(core: &mut Core, control: &Control, now: Now, out: &mut Effects<'_>) {
    let Control::Vote { instance, .. } = control else { return };
    let me = core.entity(0).host;
    for entity in instance.elist.entities().iter().filter(|entity| entity.host != me) {
        core.control(Peer { host: entity.host, boot: entity.boot }, control, now, out);
    }
}
