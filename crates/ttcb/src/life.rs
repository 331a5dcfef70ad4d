//! One life of the component: the keys that it makes when it boots, and loses when it ends.

use crate::Fatal;
use crate::certify::Certifier;
use ed25519_dalek::{Signer, SigningKey};
use maftia_ttcb_api::session::exchange_key;
use maftia_ttcb_api::{Answer, BootKeys, Host, Sealed, Statement, Value};
use maftia_ttcb_core::{Control, Outputs};
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroize;

/// What signs, for as long as the daemon runs.
pub(crate) struct Life {
    signing: SigningKey,
    /// The public keys, as the guard certified them.
    pub(crate) boot: Sealed<BootKeys>,
}

impl Life {
    /// Makes fresh keys, and has them certified. Also gives the secret of the exchange key.
    pub(crate) fn begin(host: Host, mut guard: Certifier) -> Result<(Self, [u8; 32]), Fatal> {
        let epoch = guard.begin_epoch()?;
        let mut secret = random();
        let signing = SigningKey::from_bytes(&secret);
        secret.zeroize();
        let exchange = random();
        let said = BootKeys {
            host,
            epoch,
            signing: signing.verifying_key().to_bytes(),
            exchange: exchange_key(exchange),
        };
        let boot = Sealed { said, seal: guard.certify(&said)? };
        Ok((Self { signing, boot }, exchange))
    }

    /// Signs with the key of this life.
    pub(crate) fn seal<T: Statement>(&self, said: T) -> Sealed<T> {
        let seal = self.signing.sign(&said.digest()).to_bytes();
        Sealed { said, seal }
    }
}

/// 256 uniformly distributed bits of the kernel's.
pub(crate) fn random() -> Value {
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < bytes.len() {
        match getrandom(&mut bytes[at..], GetRandomFlags::empty()) {
            Ok(len) => at += len,
            Err(rustix::io::Errno::INTR) => {}
            // Without random bits there is no key and no answer: a crash is what is left.
            Err(error) => panic!("the kernel gives no random bits: {error}"),
        }
    }
    bytes
}

/// What opening a datagram and welcoming a process need; neither sends or answers anything.
impl Outputs for Life {
    fn send(&mut self, _: Host, _: &Control) {
        unreachable!("a key sends nothing");
    }
    fn answer(&mut self, _: u8, _: u64, _: Answer) {
        unreachable!("a key answers nothing");
    }
    fn sign<T: Statement>(&mut self, said: T) -> Sealed<T> {
        self.seal(said)
    }
    fn is_certified(&self, keys: &Sealed<BootKeys>, guard: &[u8; 32]) -> bool {
        keys.is_signed_by(guard)
    }
    fn random(&mut self) -> Value {
        random()
    }
}
