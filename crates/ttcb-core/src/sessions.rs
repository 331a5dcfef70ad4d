//! The component's side of local authentication: see [`maftia_ttcb_api::session`] for the rules.

use crate::outputs::Outputs;
use maftia_ttcb_api::session::{Hello, Transcript, VERSION, Welcome, exchange_key, shared_secret};
use maftia_ttcb_api::wire::{Reader, Writer};
use maftia_ttcb_api::{
    Answer, BootKeys, Call, EntityId, Frame, Numbered, ROLES_MAX, Refusal, Sealed, SessionKey,
};

/// The session of each role, and of who was welcomed last and has not called yet. (A5)
#[derive(Debug)]
pub struct Sessions {
    boot: Sealed<BootKeys>,
    keys: [Option<(SessionKey, u64)>; ROLES_MAX],
    candidates: [Option<SessionKey>; ROLES_MAX],
}

impl Sessions {
    /// No session; with the keys of this life, as the key guard certifies them.
    pub fn new(boot: Sealed<BootKeys>) -> Self {
        Self { boot, keys: Default::default(), candidates: Default::default() }
    }

    /// Answers a first frame: [`Refusal::Unknown`] means one of another version. (A2, A6)
    pub fn welcome(
        &mut self,
        role: u8,
        frame: &Frame,
        out: &mut impl Outputs,
    ) -> Result<Frame, Refusal> {
        let hello: Hello = Reader::new(frame).take().map_err(|_| Refusal::Malformed)?;
        if hello.version != VERSION || usize::from(role) >= ROLES_MAX {
            return Err(Refusal::Unknown);
        }
        let secret = out.random();
        let exchange = exchange_key(secret);
        let shared = shared_secret(secret, hello.exchange).ok_or(Refusal::Malformed)?;
        let boot = self.boot.said;
        let entity = EntityId { host: boot.host, role, boot: boot.boot() };
        let transcript = Transcript { hello, entity, exchange, boot };
        let seal = out.sign(transcript).seal;
        self.candidates[usize::from(role)] = Some(SessionKey::new(shared, &transcript));
        let mut answer = [0; maftia_ttcb_api::session::FRAME_BYTES];
        Writer::new(&mut answer).put(&Welcome { entity, exchange, boot: self.boot, seal });
        Ok(answer)
    }

    /// The first call of the process that was welcomed last: with it that has the role. (A5)
    pub fn claim(&mut self, role: u8, frame: &Frame) -> Result<Numbered<Call>, Refusal> {
        let place = usize::from(role);
        let candidate = self.candidates.get(place).and_then(Option::as_ref);
        let call = candidate.ok_or(Refusal::Unknown)?.open_call(frame);
        let call = call.map_err(|_| Refusal::Malformed)?;
        if call.number == 0 {
            return Err(Refusal::Contradiction);
        }
        self.keys[place] = self.candidates[place].take().map(|key| (key, call.number));
        Ok(call)
    }

    /// The call in a frame, if the role's process made it, and now: numbers grow. (A4)
    pub fn open(&mut self, role: u8, frame: &Frame) -> Result<Numbered<Call>, Refusal> {
        let session = self.keys.get_mut(usize::from(role)).and_then(Option::as_mut);
        let (key, last) = session.ok_or(Refusal::Unknown)?;
        let call = key.open_call(frame).map_err(|_| Refusal::Malformed)?;
        if call.number <= *last {
            return Err(Refusal::Contradiction);
        }
        *last = call.number;
        Ok(call)
    }

    /// The frame of an answer; nothing if the session has ended meanwhile. (A4)
    pub fn seal(&self, role: u8, number: u64, answer: Answer) -> Option<Frame> {
        let (key, last) = self.keys.get(usize::from(role))?.as_ref()?;
        // An answer to a call of an earlier session: nobody waits for it.
        (number <= *last).then(|| key.seal_answer(&Numbered { number, body: answer }))
    }
}
