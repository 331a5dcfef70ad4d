//! Local authentication and the control channel's frames, with an adversary on both.

use crate::world::{Chance, value};
use ed25519_dalek::{Signer, SigningKey};
use maftia_ttcb_api::session::{Impostor, VERSION, exchange_key, other_version};
use maftia_ttcb_api::wire::{Fixed, Reader, Writer};
use maftia_ttcb_api::{
    Answer, BootKeys, Call, HOSTS_MAX, Handshake, Host, Numbered, Refusal, Sealed, Session,
    Statement, Value,
};
use maftia_ttcb_core::admission::{Admission, Overload, Reservation};
use maftia_ttcb_core::channel::{ControlChannel, DATAGRAM_BYTES, Received};
use maftia_ttcb_core::sessions::Sessions;
use maftia_ttcb_core::{Control, Outputs};

struct Shell {
    key: SigningKey,
    chance: Chance,
}

impl Outputs for Shell {
    fn send(&mut self, _: Host, _: &Control) {}
    fn answer(&mut self, _: u8, _: u64, _: Answer) {}
    fn sign<T: Statement>(&mut self, said: T) -> Sealed<T> {
        let seal = self.key.sign(&said.digest()).to_bytes();
        Sealed { said, seal }
    }
    fn is_certified(&self, keys: &Sealed<BootKeys>, guard: &[u8; 32]) -> bool {
        keys.is_signed_by(guard)
    }
    fn random(&mut self) -> Value {
        let mut value = [0; 32];
        value.iter_mut().for_each(|byte| *byte = self.chance.bits() as u8);
        value
    }
}

fn guard(host: u8) -> SigningKey {
    SigningKey::from_bytes(&[host + 100; 32])
}

/// One life of a component: its shell, its certified keys, and its exchange secret.
fn life(host: u8, epoch: u64) -> (Shell, Sealed<BootKeys>, [u8; 32]) {
    let mut chance = Chance::new(u64::from(host) * 1_000 + epoch);
    let mut bytes = || {
        let mut bytes = [0; 32];
        bytes.iter_mut().for_each(|byte| *byte = chance.bits() as u8);
        bytes
    };
    let (key, secret) = (SigningKey::from_bytes(&bytes()), bytes());
    let signing = key.verifying_key().to_bytes();
    let said = BootKeys { host: Host(host), epoch, signing, exchange: exchange_key(secret) };
    let seal = guard(host).sign(&said.digest()).to_bytes();
    (Shell { key, chance }, Sealed { said, seal }, secret)
}

fn session(sessions: &mut Sessions, shell: &mut Shell, role: u8) -> Session {
    let handshake = Handshake::new([3; 32], [4; 32]);
    let welcome = sessions.welcome(role, &handshake.frame(), shell).expect("it is welcome");
    handshake.finish(&welcome, &guard(0).verifying_key().to_bytes()).expect("it is genuine")
}

#[test]
fn calls_and_answers_travel_and_nobody_else_makes_replays_or_changes_them() {
    let (mut shell, boot, _) = life(0, 1);
    let mut sessions = Sessions::new(boot);
    let session = session(&mut sessions, &mut shell, 2);
    assert_eq!((session.entity.host, session.entity.role), (Host(0), 2));
    let call = Numbered { number: 1, body: Call::Random };
    let frame = session.key.seal_call(&call);
    for bit in 0..frame.len() * 8 {
        let mut changed = frame;
        changed[bit / 8] ^= 1 << (bit % 8);
        // The last bytes of a frame are not used.
        if bit / 8 < 312 {
            assert_eq!(sessions.claim(2, &changed), Err(Refusal::Malformed));
        }
    }
    assert_eq!(sessions.claim(1, &frame), Err(Refusal::Unknown), "another role's session");
    assert_eq!(sessions.open(2, &frame), Err(Refusal::Unknown), "it has not called yet");
    assert_eq!(sessions.claim(2, &frame), Ok(call));
    assert_eq!(sessions.claim(2, &frame), Err(Refusal::Unknown), "it has the role now");
    assert_eq!(sessions.open(2, &frame), Err(Refusal::Contradiction), "a replay");
    let answer = Answer::Random(value(1));
    let frame = sessions.seal(2, 1, answer).expect("there is a session");
    let opened = session.key.open_answer(&frame).expect("it is genuine");
    assert_eq!(opened, Numbered { number: 1, body: answer });
    assert!(session.key.open_call(&frame).is_err(), "an answer is no call");
}

#[test]
fn whoever_is_welcomed_takes_nobodys_place_before_it_calls() {
    let (mut shell, boot, _) = life(0, 1);
    let mut sessions = Sessions::new(boot);
    let call = |number| Numbered { number, body: Call::Random };
    let first = session(&mut sessions, &mut shell, 0);
    let frame = first.key.seal_call(&call(1));
    assert_eq!(sessions.claim(0, &frame), Ok(call(1)));
    let second = session(&mut sessions, &mut shell, 0);
    assert_eq!(sessions.claim(0, &first.key.seal_call(&call(2))), Err(Refusal::Malformed));
    assert_eq!(sessions.open(0, &first.key.seal_call(&call(2))), Ok(call(2)));
    let answer = sessions.seal(0, 2, Answer::Done).expect("the first has the role");
    assert!(first.key.open_answer(&answer).is_ok());
    assert_eq!(sessions.claim(0, &second.key.seal_call(&call(0))), Err(Refusal::Contradiction));
    assert_eq!(sessions.claim(0, &second.key.seal_call(&call(1))), Ok(call(1)));
    assert_eq!(sessions.open(0, &first.key.seal_call(&call(3))), Err(Refusal::Malformed));
}

#[test]
fn a_process_of_another_version_is_told_the_components() {
    let (mut shell, boot, _) = life(0, 1);
    let mut sessions = Sessions::new(boot);
    let handshake = Handshake::new([3; 32], [4; 32]);
    let mut frame = handshake.frame();
    frame[..2].copy_from_slice(&(VERSION - 1).to_le_bytes());
    assert_eq!(sessions.welcome(0, &frame, &mut shell), Err(Refusal::Unknown));
    let mut told = other_version();
    let key = guard(0).verifying_key().to_bytes();
    let finish = |told| handshake.finish(&told, &key).map(drop);
    assert_eq!(finish(told), Err(Impostor::Uncertified), "who speaks this one has no reason to");
    told[1..3].copy_from_slice(&(VERSION + 1).to_le_bytes());
    assert_eq!(finish(told), Err(Impostor::OtherVersion(VERSION + 1)));
}

#[test]
fn an_impostor_is_not_taken_for_the_component() {
    let (mut shell, boot, _) = life(0, 1);
    let key = guard(0).verifying_key().to_bytes();
    let handshake = Handshake::new([3; 32], [4; 32]);
    let mut sessions = Sessions::new(boot);
    let welcome = sessions.welcome(0, &handshake.frame(), &mut shell).expect("it is welcome");
    let wrong = guard(1).verifying_key().to_bytes();
    assert_eq!(handshake.finish(&welcome, &wrong).map(drop), Err(Impostor::Uncertified));
    let other = Handshake::new([5; 32], [4; 32]);
    let replayed = other.finish(&welcome, &key).map(drop);
    assert_eq!(replayed, Err(Impostor::Unsigned), "an answer to another process");
    let (mut thief, _, _) = life(0, 2);
    let mut forged = Sessions::new(boot);
    let welcome = forged.welcome(0, &handshake.frame(), &mut thief).expect("it answers");
    let unsigned = handshake.finish(&welcome, &key).map(drop);
    assert_eq!(unsigned, Err(Impostor::Unsigned), "without the key of this life");
}

#[test]
fn whatever_decodes_encodes_again_to_the_same_bytes() {
    let mut chance = Chance::new(1);
    let mut decoded = 0;
    for _ in 0..200_000 {
        let mut bytes = [0; 272];
        let len = chance.below(64) as usize;
        bytes[..len].iter_mut().for_each(|byte| *byte = chance.below(4) as u8);
        bytes[0] = chance.below(17) as u8;
        if let Ok(call) = Reader::new(&bytes).take::<Call>() {
            let mut again = [0; Call::SIZE];
            Writer::new(&mut again).put(&call);
            assert_eq!(again, bytes);
            decoded += 1;
        }
        if let Ok(answer) = Reader::new(&bytes).take::<Answer>() {
            let mut again = [0; Answer::SIZE];
            Writer::new(&mut again).put(&answer);
            assert_eq!(again, bytes);
        }
    }
    assert!(decoded > 1_000, "{decoded}");
}

fn channels() -> (ControlChannel, Shell, ControlChannel, Shell) {
    let mut guards = [None; HOSTS_MAX];
    for host in 0..3 {
        guards[usize::from(host)] = Some(guard(host).verifying_key().to_bytes());
    }
    let (mut shell_a, boot_a, secret_a) = life(0, 1);
    let (mut shell_b, boot_b, secret_b) = life(1, 1);
    let mut a = ControlChannel::new(boot_a, secret_a, guards);
    let mut b = ControlChannel::new(boot_b, secret_b, guards);
    assert!(matches!(a.open(&b.hello(), &mut shell_a), Received::Introduced(_)));
    assert!(matches!(b.open(&a.hello(), &mut shell_b), Received::Introduced(_)));
    (a, shell_a, b, shell_b)
}

#[test]
fn a_frame_arrives_once_however_often_it_is_sent_and_unchanged_or_not_at_all() {
    let (mut a, _, mut b, mut shell) = channels();
    let control = Control::Probe { sent: 42 };
    let datagram = a.seal(Host(1), &control).expect("it is known");
    for bit in (0..DATAGRAM_BYTES * 8).step_by(37) {
        let mut changed = datagram;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!matches!(b.open(&changed, &mut shell), Received::Frame(..)), "bit {bit}");
    }
    assert!(matches!(b.open(&datagram, &mut shell), Received::Frame(_, got) if got == control));
    for _ in 0..3 {
        assert_eq!(b.open(&datagram, &mut shell), Received::Nothing);
    }
    // Out of order within the window, and too old beyond it.
    let datagrams: Vec<_> =
        (0..80).filter_map(|sent| a.seal(Host(1), &Control::Probe { sent })).collect();
    assert!(matches!(b.open(&datagrams[70], &mut shell), Received::Frame(..)));
    assert!(matches!(b.open(&datagrams[60], &mut shell), Received::Frame(..)));
    assert_eq!(b.open(&datagrams[60], &mut shell), Received::Nothing);
    assert_eq!(b.open(&datagrams[2], &mut shell), Received::Nothing);
    assert!(a.seal(Host(2), &control).is_none(), "who has not introduced itself is sent nothing");
}

#[test]
fn an_introduction_counts_only_if_certified_and_newer() {
    let (mut a, mut shell, ..) = channels();
    let guards = [None; HOSTS_MAX];
    let hello = |host, epoch, change: &dyn Fn(&mut Sealed<BootKeys>)| {
        let (_, mut boot, secret) = life(host, epoch);
        change(&mut boot);
        ControlChannel::new(boot, secret, guards).hello()
    };
    let same = hello(1, 1, &|_| ());
    assert_eq!(a.open(&same, &mut shell), Received::Nothing, "it is known");
    let rolled_back = hello(1, 0, &|_| ());
    assert_eq!(a.open(&rolled_back, &mut shell), Received::Nothing);
    let forged = hello(1, 2, &|boot| boot.said.signing[0] ^= 1);
    assert_eq!(a.open(&forged, &mut shell), Received::Nothing);
    let of_another_guard = hello(2, 2, &|boot| boot.said.host = Host(1));
    assert_eq!(a.open(&of_another_guard, &mut shell), Received::Nothing);
    let newer = hello(1, 2, &|_| ());
    assert!(matches!(a.open(&newer, &mut shell), Received::Introduced(_)));
}

#[test]
fn reservations_beyond_what_there_is_are_refused() {
    let reservation = |budget, period| {
        Some(Reservation {
            budget: maftia_ttcb_api::Span::from_micros(budget),
            period: maftia_ttcb_api::Span::from_micros(period),
        })
    };
    let mut all = [None; maftia_ttcb_api::ROLES_MAX];
    all[0] = reservation(100, 1_000);
    all[1] = reservation(300, 1_000);
    assert!(Admission::new(&all, 400).is_ok());
    all[2] = reservation(1, 1_000_000);
    let refused = Admission::new(&all, 400).map(drop);
    assert_eq!(refused, Err(Overload::Sum { wanted: 401, available: 400 }));
    all[2] = reservation(2, 1);
    assert_eq!(Admission::new(&all, 9_000).map(drop), Err(Overload::Absurd(2)));
}
