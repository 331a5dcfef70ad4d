//! The applet of `maftia_guard::card` in software: what a Java Card would run, for the tests.

use ed25519_dalek::{Signer, SigningKey};
use maftia_guard::card::AID;
use maftia_ttcb_api::{BootKeys, Host, Statement};
use std::sync::{Arc, Mutex};
use vpicc::VSmartCard;

/// What a card remembers without power.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) seed: [u8; 32],
    pub(crate) pin: Vec<u8>,
    pub(crate) tries: u8,
    pub(crate) counter: u64,
    /// What a card that is hostile does with its answers.
    pub(crate) mischief: fn(u8, Vec<u8>) -> Vec<u8>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        let mischief = |_ins, answer| answer;
        Self { seed: [7; 32], pin: b"123456".to_vec(), tries: TRIES, counter: 0, mischief }
    }
}

/// A card in its reader.
#[derive(Debug)]
pub(crate) struct Applet {
    memory: Arc<Mutex<Memory>>,
    is_selected: bool,
    is_verified: bool,
    has_epoch: bool,
    certified: Option<Vec<u8>>,
}

impl Applet {
    pub(crate) fn new(memory: Arc<Mutex<Memory>>) -> Self {
        let certified = None;
        Self { memory, is_selected: false, is_verified: false, has_epoch: false, certified }
    }

    /// What *select* and a loss of power make it forget. (C1)
    fn forget(&mut self) {
        *self = Self::new(Arc::clone(&self.memory));
    }

    fn run(&mut self, header: [u8; 4], data: &[u8]) -> Result<Vec<u8>, [u8; 2]> {
        if header == [0x00, 0xa4, 0x04, 0x00] {
            self.forget();
            self.is_selected = data == AID;
            return if self.is_selected { Ok(vec![1]) } else { Err([0x6a, 0x82]) };
        }
        if !self.is_selected {
            return Err([0x6d, 0x00]);
        }
        match header {
            [0x00, 0x20, 0, 0] => self.verify(data),
            [0x80, 0x10, 0, 0] => Ok(self.key().verifying_key().to_bytes().to_vec()),
            [0x80, 0x20 | 0x30, 0, 0] if !self.is_verified => Err([0x69, 0x82]),
            [0x80, 0x20, 0, 0] => self.begin_epoch(),
            [0x80, 0x30, 0, 0] => self.certify(data),
            _ => Err([0x6d, 0x00]),
        }
    }

    fn key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.memory.lock().unwrap().seed)
    }

    fn verify(&mut self, pin: &[u8]) -> Result<Vec<u8>, [u8; 2]> {
        let mut memory = self.memory.lock().unwrap();
        self.is_verified = false;
        if memory.tries == 0 {
            return Err([0x69, 0x83]);
        }
        // Counted before it is compared, so that no power cut gives a try for nothing.
        memory.tries -= 1;
        if pin != memory.pin {
            return Err([0x63, 0xc0 | memory.tries]);
        }
        memory.tries = TRIES;
        self.is_verified = true;
        Ok(Vec::new())
    }

    fn begin_epoch(&mut self) -> Result<Vec<u8>, [u8; 2]> {
        let mut memory = self.memory.lock().unwrap();
        memory.counter = memory.counter.checked_add(1).ok_or([0x6a, 0x84])?;
        self.has_epoch = true;
        self.certified = None;
        Ok(memory.counter.to_be_bytes().to_vec())
    }

    /// Signs keys with its own number; one set of them. (C3)
    fn certify(&mut self, data: &[u8]) -> Result<Vec<u8>, [u8; 2]> {
        if data.len() != 65 {
            return Err([0x67, 0x00]);
        }
        let is_other = self.certified.as_ref().is_some_and(|certified| certified != data);
        if !self.has_epoch || is_other {
            return Err([0x69, 0x85]);
        }
        self.certified = Some(data.to_vec());
        let epoch = self.memory.lock().unwrap().counter;
        let (signing, exchange) = data[1..].split_at(32);
        let keys = BootKeys {
            host: Host(data[0]),
            epoch,
            signing: signing.try_into().unwrap(),
            exchange: exchange.try_into().unwrap(),
        };
        let seal = self.key().sign(&keys.digest()).to_bytes();
        Ok([&epoch.to_be_bytes()[..], &seal].concat())
    }
}

impl VSmartCard for Applet {
    fn power_on(&mut self) {
        self.forget();
    }

    fn power_off(&mut self) {
        self.forget();
    }

    fn reset(&mut self) {
        self.forget();
    }

    fn execute(&mut self, command: &[u8]) -> Vec<u8> {
        let Some((header, rest)) = command.split_first_chunk::<4>() else {
            return vec![0x67, 0x00];
        };
        // Nothing or a lone length of the answer follows, or data after its length.
        let data = match rest {
            [] | [_] => &[],
            [len, rest @ ..] => rest.get(..usize::from(*len)).unwrap_or_default(),
        };
        let answer = match self.run(*header, data) {
            Ok(mut answer) => {
                answer.extend([0x90, 0x00]);
                answer
            }
            Err(status) => status.to_vec(),
        };
        let mischief = self.memory.lock().unwrap().mischief;
        mischief(header[1], answer)
    }
}

const TRIES: u8 = 3;
