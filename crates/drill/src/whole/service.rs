//! The services of the drill's groups: those of production, registers, and a witness inside.

use super::authority::Wanted;
use super::suite::notary_keys;
use maftia_activity::{
    AgreedTime, ApplyContext, Caller, Either, Reply, StateMachine, Task, TaskId, ToSign,
};
use maftia_base::wire::{Blob, Bytes, Wire, wire_enum, wire_struct};
use maftia_base::{Digest, Party, ServiceId};
use maftia_crypto::{KeyId, SigningInput};
use maftia_services::ca::Authority;
use maftia_services::ledger::Ledger;
use maftia_services::notary::{CertificateTemplate, Notary, Profile};
use maftia_services::x509::rsa_public_key;
use maftia_services::{CA, LEDGER, NOTARY};
use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The number of the registers in every group: that of no service of production.
pub const REGISTERS: ServiceId = ServiceId(9);

/// What a client asks of the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// What is in the register?
    Read,
    /// This is in it from now on.
    Write(u64),
    /// The second value, if the first is in it.
    Swap(u64, u64),
    /// So much more.
    Add(u64),
}

wire_enum!(Op { 0 => Read, 1 => Write(value), 2 => Swap(expected, value), 3 => Add(value) });

/// A request to the registers; no two of a run are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// Which client.
    pub client: u64,
    /// Its number for it.
    pub number: u64,
    /// Which register.
    pub register: u64,
    /// What.
    pub op: Op,
    /// Makes it as long as the client wants it.
    pub padding: Blob<PADDING_MAX>,
}

wire_struct!(Asked { client, number, register, op, padding });

/// Longest padding of a request.
pub const PADDING_MAX: usize = 32 << 10;

/// Registers that hold numbers, 0 at first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Registers {
    values: BTreeMap<u64, u64>,
    /// Makes a state as large as a run wants it.
    ballast: Bytes,
}

impl Registers {
    /// With so many bytes of ballast.
    pub fn with_ballast(bytes: usize) -> Self {
        let ballast: Vec<u8> = (0..bytes).map(|place| (place / 7) as u8).collect();
        Self { values: BTreeMap::new(), ballast: ballast.into() }
    }

    /// What one operation does to one value, and answers.
    pub fn step(value: u64, op: Op) -> (u64, u64) {
        match op {
            Op::Read => (value, value),
            Op::Write(new) => (new, value),
            Op::Swap(expected, new) if expected == value => (new, value),
            Op::Swap(..) => (value, value),
            Op::Add(more) => (value.wrapping_add(more), value),
        }
    }
}

impl StateMachine for Registers {
    /// The reply is the value before.
    fn apply(&mut self, request: &[u8], _: &ApplyContext<'_>) -> Reply {
        let Ok(asked) = Asked::from_wire(Bytes::copy_from_slice(request)) else {
            return Reply::Plain(Bytes::new());
        };
        let value = self.values.entry(asked.register).or_default();
        let (after, before) = Self::step(*value, asked.op);
        *value = after;
        Reply::Plain(before.to_wire())
    }

    fn snapshot(&self) -> Bytes {
        let mut bytes: Vec<u8> = (self.values.len() as u64).to_le_bytes().to_vec();
        for (register, value) in &self.values {
            bytes.extend(register.to_le_bytes().iter().chain(&value.to_le_bytes()));
        }
        bytes.extend_from_slice(&self.ballast);
        bytes.into()
    }

    fn restore(&mut self, snapshot: Bytes) -> Option<()> {
        let (count, mut rest) = snapshot.split_first_chunk::<8>()?;
        self.values.clear();
        for _ in 0..u64::from_le_bytes(*count) {
            let (register, after) = rest.split_first_chunk::<8>()?;
            let (value, after) = after.split_first_chunk::<8>()?;
            self.values.insert(u64::from_le_bytes(*register), u64::from_le_bytes(*value));
            rest = after;
        }
        self.ballast = Bytes::copy_from_slice(rest);
        Some(())
    }
}

/// One request as one server executed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Its number among all of the group.
    pub position: u64,
    /// Of which service.
    pub service: ServiceId,
    /// The agreed time.
    pub time: AgreedTime,
    /// Who asked, what, with which agreed randomness, and what the answer was.
    pub digest: Digest,
    /// The request.
    pub request: Digest,
}

/// What one server executed and has not told yet. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<VecDeque<Executed>>>);

impl Recent {
    fn push(&self, executed: Executed) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(executed);
    }

    /// The first `count`, in order.
    pub fn take(&self, count: usize) -> Vec<Executed> {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = count.min(recent.len());
        recent.drain(..count).collect()
    }
}

/// All services, as one type.
pub type All = Either<Either<Notary, Authority>, Either<Ledger, Registers>>;

/// A service that remembers what it executed, for the witness, and what it wants signed.
#[derive(Clone, Debug)]
pub struct Watched {
    inner: All,
    recent: Recent,
    wanted: Option<Wanted>,
}

impl Watched {
    /// The certification authority, if it is this.
    pub fn authority(&self) -> Option<&Authority> {
        match &self.inner {
            Either::Left(Either::Right(authority)) => Some(authority),
            _ => None,
        }
    }

    fn wants(&self, key: KeyId, input: &SigningInput) {
        if let Some(wanted) = &self.wanted {
            wanted.add(key, input);
        }
    }
}

impl Hash for Watched {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl StateMachine for Watched {
    fn apply(&mut self, request: &[u8], cx: &ApplyContext<'_>) -> Reply {
        let reply = self.inner.apply(request, cx);
        let said = match &reply {
            Reply::Plain(body) => body.to_vec(),
            Reply::Sign { key, input, body } => {
                self.wants(*key, input);
                [&key.to_wire()[..], &input.to_wire()[..], body].concat()
            }
        };
        let caller = match cx.caller {
            Caller::Client { key, session } => [&key.0[..], &session.0.to_le_bytes()].concat(),
            other => format!("{other:?}").into_bytes(),
        };
        let whole = [&caller[..], request, &cx.batch_seed.0, &said].concat();
        self.recent.push(Executed {
            position: cx.position,
            service: cx.service,
            time: cx.time,
            digest: Digest::of("drill: executed", &whole),
            request: request_digest(cx.service, request),
        });
        reply
    }

    fn tasks(&self) -> Vec<Task> {
        self.inner.tasks()
    }

    fn task_result(&mut self, party: Party, id: TaskId, result: &[u8], cx: &ApplyContext<'_>) {
        self.inner.task_result(party, id, result, cx);
    }

    fn to_sign(&self) -> Vec<ToSign> {
        let to_sign = self.inner.to_sign();
        to_sign.iter().for_each(|one| self.wants(one.key, &one.input));
        to_sign
    }

    fn signed(&mut self, id: TaskId, signature: &[u8], cx: &ApplyContext<'_>) {
        self.inner.signed(id, signature, cx);
    }

    fn read(&self, question: &[u8]) -> Option<Bytes> {
        self.inner.read(question)
    }

    fn wake_at(&self) -> Option<AgreedTime> {
        self.inner.wake_at()
    }

    fn wake(&mut self, cx: &ApplyContext<'_>) {
        self.inner.wake(cx);
    }

    fn snapshot(&self) -> Bytes {
        self.inner.snapshot()
    }

    fn restore(&mut self, snapshot: Bytes) -> Option<()> {
        self.inner.restore(snapshot)
    }
}

/// Names a request of a run.
pub fn request_digest(service: ServiceId, request: &[u8]) -> Digest {
    Digest::of("drill: request", &[&service.0.to_le_bytes(), request].concat())
}

/// All services in their initial states; they tell `wanted`, if the server is honest, what they
/// want signed.
pub fn all(
    recent: &Recent,
    wanted: Option<&Wanted>,
    ballast: usize,
    authority: Option<Authority>,
) -> Vec<(ServiceId, Watched)> {
    let watched = |inner| Watched { inner, recent: recent.clone(), wanted: wanted.cloned() };
    let mut all = vec![
        (NOTARY, watched(Either::Left(Either::Left(Notary::new(profile()))))),
        (LEDGER, watched(Either::Right(Either::Left(Ledger::default())))),
        (REGISTERS, watched(Either::Right(Either::Right(Registers::with_ballast(ballast))))),
    ];
    all.extend(authority.map(|authority| (CA, watched(Either::Left(Either::Right(authority))))));
    all
}

/// The notary's key in every group.
pub const NOTARY_KEY: KeyId = KeyId(0);

/// The notary's settings; nobody looks at the certificate's signature.
pub fn profile() -> Profile {
    static PROFILE: OnceLock<Profile> = OnceLock::new();
    let make = || {
        let keys = notary_keys();
        let (modulus, exponent) = keys.rsa(NOTARY_KEY).expect("dealt with a key");
        let public_key = rsa_public_key(&modulus, &exponent).expect("well-formed");
        let template = CertificateTemplate {
            common_name: "Drill",
            organization: "Drill",
            not_before: 1_700_000_000,
            not_after: 2_200_000_000,
            serial: [5; 16],
            public_key: &public_key,
        };
        let unsigned = template.self_signed().expect("well-formed");
        let certificate = unsigned.finish(&[1; 256]);
        let policy = "1.3.6.1.4.1.32473.1".parse().expect("an object identifier");
        Profile::new(NOTARY_KEY, policy, 1_500_000, vec![certificate]).expect("well-formed")
    };
    PROFILE.get_or_init(make).clone()
}

/// A well-formed query for a time stamp; `nonce` tells queries apart.
pub fn query(nonce: u64) -> Bytes {
    let mut digest = [0x5a; 32];
    digest[..8].copy_from_slice(&nonce.to_le_bytes());
    // TimeStampReq: version 1, SHA-256 without parameters, the digest, a positive nonce.
    let mut query = vec![0x30, 0x3d, 0x02, 0x01, 0x01, 0x30, 0x2f, 0x30, 0x0b];
    query.extend([0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01]);
    query.extend([0x04, 0x20]);
    query.extend(digest);
    query.extend([0x02, 0x07, 0x01]);
    query.extend(&nonce.to_be_bytes()[2..]);
    query.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notary_takes_the_drills_queries() {
        for nonce in [0, 1, 0xffff_ffff] {
            assert_eq!(profile().screen(&query(nonce)), Ok(()), "{nonce}");
        }
    }
}
