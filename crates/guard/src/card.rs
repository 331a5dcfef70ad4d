//! A key guard in a smart card, with an applet of five commands.
//!
//! # Promise
//! - Key and counter never leave the card.
//! - Only who has the PIN has the card sign or count, and gets three tries.
//! - The card itself puts its number into what it signs, and signs one set of keys for each.
//!
//! # The applet's protocol
//! ISO 7816-4, short commands, T=1. Numbers are big-endian.
//!
//! | command | header | data | answer |
//! | --- | --- | --- | --- |
//! | select | 00 A4 04 00 | [`AID`] | version (1 byte: 1) |
//! | verify PIN | 00 20 00 00 | 4 to 16 bytes | |
//! | public key | 80 10 00 00 | | 32 bytes |
//! | begin epoch | 80 20 00 00 | | number (8) |
//! | certify | 80 30 00 00 | host (1), signing (32), exchange (32) | number (8), signature (64) |
//!
//! Refusals: 6A82 no such applet; 63Cx wrong PIN, x tries left; 6983 PIN blocked; 6982 PIN not
//! verified; 6A84 the counter is at its end; 6985 no epoch has begun, or other keys were certified
//! for it; 6700 wrong length; 6D00 another command.
//!
//! - C1. *select* forgets that a PIN was verified and that an epoch began.
//! - C2. *begin epoch* answers after the new number is in the card's lasting memory.
//! - C3. *certify* makes the [`BootKeys`] of its data and its own number, and signs their digest:
//!   Ed25519 over BLAKE3 in the mode that derives keys, as `maftia-ttcb-api` has it. It signs
//!   the same keys again, and no others for the same number.
//! - C4. Whoever makes the card puts key and PIN into it; no command does.
//!
//! # Rules of this side
//! - H1. The card is opened for this process only, until the guard is closed.
//! - H2. The card is believed nothing that can be checked: the number has to grow and to be that of
//!   the keys, and the signature has to verify.
//!
//! # Bounds
//! An answer has at most 258 bytes. The PIN crosses the reader's cable in the clear.
//!
//! # What a rollback means
//! The memory of a card cannot be put back by who holds it. That of an emulated one can, and
//! nothing shows it.
//!
//! # Sources
//! ISO 7816-4. MAFTIA had Java Cards as tamper-resistant components of hosts; here the card
//! certifies the component beside it when that boots, and is not asked afterwards.

use crate::KeyGuard;
use crate::attestation::Attestation;
use crate::error::GuardError;
use crate::life::Life;
use maftia_ttcb_api::{BootKeys, Sealed};
use pcsc::{Card, Context, Disposition, Error, MAX_BUFFER_SIZE, Protocols, Scope, ShareMode};
use std::ffi::CString;
use std::fmt;
use zeroize::Zeroizing;

/// The applet's name: unregistered, then `MAFTIA`, then the version of the protocol.
pub const AID: [u8; 8] = *b"\xf0MAFTIA\x01";

/// Which card, and how to use it.
#[derive(Clone)]
pub struct Settings {
    /// The reader's name, as the card service shows it; the first with a card that has the applet
    /// if none is given.
    pub reader: Option<String>,
    /// The PIN.
    pub pin: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Settings").field("reader", &self.reader).finish_non_exhaustive()
    }
}

/// A guard in a card, open.
pub struct CardGuard {
    card: Applet,
    public_key: [u8; 32],
    life: Life,
}

impl fmt::Debug for CardGuard {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CardGuard").field("life", &self.life).finish_non_exhaustive()
    }
}

impl CardGuard {
    /// Opens the guard of a card.
    pub fn open(settings: &Settings) -> Result<Self, GuardError> {
        let len = settings.pin.len();
        if !(PIN_MIN..=PIN_MAX).contains(&len) {
            return Err(GuardError::UnfitSecret { what: "PIN", len, min: PIN_MIN, max: PIN_MAX });
        }
        let card = Applet::find(settings.reader.as_deref())?;
        card.ask([0x00, 0x20], &settings.pin, &[])?;
        let public_key = card.ask_array([0x80, 0x10], &[])?;
        Ok(Self { card, public_key, life: Life::default() })
    }
}

impl KeyGuard for CardGuard {
    fn name(&self) -> &'static str {
        "card"
    }

    fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    fn begin_epoch(&mut self) -> Result<u64, GuardError> {
        let epoch = u64::from_be_bytes(self.card.ask_array([0x80, 0x20], &[])?);
        // (H2)
        if self.life.epoch().is_some_and(|last| epoch <= last) {
            return Err(implausible("its counter did not grow when it was advanced"));
        }
        self.life.begin(epoch);
        Ok(epoch)
    }

    fn certify(&mut self, keys: &BootKeys) -> Result<Sealed<BootKeys>, GuardError> {
        self.life.admit(keys)?;
        let mut asked = vec![keys.host.0];
        asked.extend_from_slice(&keys.signing);
        asked.extend_from_slice(&keys.exchange);
        let answer: [u8; 72] = self.card.ask_array([0x80, 0x30], &asked)?;
        let (epoch, seal) = answer.split_first_chunk().expect("8 of 72 bytes");
        // (H2)
        if u64::from_be_bytes(*epoch) != keys.epoch {
            return Err(implausible("it signed for another epoch than it had begun"));
        }
        let seal = seal.try_into().expect("64 of 72 bytes");
        let sealed = Sealed { said: *keys, seal };
        if !sealed.is_signed_by(&self.public_key) {
            return Err(implausible("its signature is not by the key that it shows"));
        }
        Ok(sealed)
    }

    fn attest(&mut self, _challenge: [u8; 32]) -> Result<Attestation, GuardError> {
        Ok(Attestation::Nothing {
            why: "a card knows nothing of the machine that its reader is plugged into",
        })
    }
}

/// A card whose applet is selected, for this process only. (H1)
struct Applet(Option<Card>);

impl Applet {
    /// The applet in the reader of that name, or in the first that has it.
    fn find(reader: Option<&str>) -> Result<Self, GuardError> {
        let context =
            Context::establish(Scope::User).map_err(failed("reaching the card service"))?;
        let readers = context.list_readers_owned().map_err(failed("looking for readers"))?;
        let is_asked = |name: &&CString| reader.is_none_or(|asked| name.to_str() == Ok(asked));
        // What a card said is of more use than that other readers have none.
        let (mut refused, mut absent) = (None, None);
        for name in readers.iter().filter(is_asked) {
            match context.connect(name, ShareMode::Exclusive, Protocols::T1) {
                Ok(card) => match Self(Some(card)).select() {
                    Ok(applet) => return Ok(applet),
                    Err(error) => refused = refused.or(Some(error)),
                },
                Err(Error::SharingViolation) => {
                    let path = name.to_string_lossy().into_owned().into();
                    refused = refused.or(Some(GuardError::Busy { path }));
                }
                Err(error) => absent = absent.or(Some(failed("connecting to the card")(error))),
            }
        }
        Err(refused.or(absent).unwrap_or_else(|| GuardError::Setting {
            back_end: BACK_END,
            what: "the reader",
            found: reader.map_or_else(|| "any".to_owned(), |reader| format!("{reader:?}")),
            right: "one that the card service shows, with a card that has the applet",
        }))
    }

    fn select(self) -> Result<Self, GuardError> {
        match self.transmit(&[0x00, 0xa4, 0x04, 0x00], &AID, &[0])?.as_slice() {
            [VERSION] => Ok(self),
            _ => Err(implausible("its applet is of another version")),
        }
    }

    /// Gives a command without parameters.
    fn ask(&self, [cla, ins]: [u8; 2], data: &[u8], le: &[u8]) -> Result<Vec<u8>, GuardError> {
        self.transmit(&[cla, ins, 0, 0], data, le)
    }

    /// Gives a command whose answer has `N` bytes.
    fn ask_array<const N: usize>(
        &self,
        command: [u8; 2],
        data: &[u8],
    ) -> Result<[u8; N], GuardError> {
        let answer = self.ask(command, data, &[0])?;
        answer.try_into().map_err(|_| implausible("an answer has not the length it should have"))
    }

    /// Gives a command, with at most 255 bytes of data; the answer, if it is no refusal.
    fn transmit(&self, header: &[u8; 4], data: &[u8], le: &[u8]) -> Result<Vec<u8>, GuardError> {
        let mut command = Zeroizing::new(Vec::with_capacity(6 + data.len()));
        command.extend_from_slice(header);
        if !data.is_empty() {
            command.push(u8::try_from(data.len()).expect("commands of the protocol are short"));
            command.extend_from_slice(data);
        }
        command.extend_from_slice(le);
        let card = self.0.as_ref().expect("there is a card until this is dropped");
        let mut buffer = [0; MAX_BUFFER_SIZE];
        let answer =
            card.transmit(&command, &mut buffer).map_err(failed("giving the card a command"))?;
        let (answer, status) =
            answer.split_last_chunk::<2>().ok_or_else(|| implausible("an answer has no status"))?;
        match *status {
            [0x90, 0x00] => Ok(answer.to_vec()),
            [0x63, left @ 0xc0..=0xcf] => Err(GuardError::WrongPin { left: Some(left & 0x0f) }),
            [0x69, 0x83] => Err(GuardError::PinBlocked),
            [0x6a, 0x84] => Err(GuardError::Exhausted),
            [0x69, 0x82] => Err(implausible("it asks for a PIN that it was given")),
            [0x69, 0x85] => Err(implausible("it has begun no epoch, or certified other keys")),
            [0x6a, 0x82] => Err(implausible("it has no applet of ours")),
            _ => Err(implausible("it refuses a command that its applet has to know")),
        }
    }
}

impl Drop for Applet {
    /// Takes the card's power, so that nobody finds the PIN verified.
    fn drop(&mut self) {
        if let Some(card) = self.0.take() {
            // If that fails the card or the service is gone, and the PIN with it.
            let _ = card.disconnect(Disposition::UnpowerCard);
        }
    }
}

fn failed(doing: &'static str) -> impl FnOnce(Error) -> GuardError {
    move |source| GuardError::Device { back_end: BACK_END, doing, source: Box::new(source) }
}

fn implausible(problem: &'static str) -> GuardError {
    GuardError::Implausible { back_end: BACK_END, problem }
}

const BACK_END: &str = "card";
/// Of the protocol.
const VERSION: u8 = 1;
/// Fewest and most bytes of a PIN.
const PIN_MIN: usize = 4;
const PIN_MAX: usize = 16;
