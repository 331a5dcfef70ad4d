//! Unique sequential identifiers (USIG): no two values ever stand at one position of one counter.
//!
//! # Promise
//! - *uniqueness*: an entity's counter never identifies two values at one position.
//! - *sequentiality*: positions grow, and each identifier names the last one before it that was
//!   marked. No marked one lies between: whoever sees an identifier knows what its entity marked
//!   last, and the entity cannot hide it.
//!
//! # Rules
//! - **U1** A position greater than the last is identified; it becomes the last.
//! - **U2** The last position with the last value is identified once more, with the same result: a
//!   server that crashed before it had the identifier asks again.
//! - **U3** Everything else is refused; so is, without effect, what must say its time while that
//!   is not known.
//!
//! # Why it holds
//! The only state is the last identifier of each counter, which U1 replaces by one with a greater
//! position; what is to be named next follows from it. It dies with the key that signs: another
//! life of the component has another key, hence other entities.
//!
//! # Bounds
//! [`COUNTERS`] counters for each entity, a few hundred bytes each; no table that fills up.
//!
//! # Sources
//! The USIG of Veronese, Correia, Bessani, Lung and Verissimo, "Efficient Byzantine
//! fault-tolerance" (2013; MinBFT). Deviations: (a) The caller chooses the position, so that it can
//! be the place in a protocol (epoch, round, view, step), and may skip some: that a message was not
//! sent can then be seen in the identifier that follows, as in TrInc (Levin, Douceur, Lorch,
//! Moscibroda, 2009), where MinBFT's receivers must have every message of a sender. A caller that
//! always takes the next number and marks it has exactly MinBFT's identifiers. (b) The identifier
//! carries the time when it was made.

use crate::outputs::Outputs;
use maftia_ttcb_api::{Answer, EntityId, Identifier, Interval, ROLES_MAX, Refusal, Value};

/// How many counters an entity has.
pub const COUNTERS: usize = 8;

/// What is to be identified, and where.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// In which counter.
    pub counter: u8,
    /// At which position.
    pub position: u128,
    /// What.
    pub value: Value,
    /// Is it to be named by those that follow?
    pub marked: bool,
    /// Must the time be known?
    pub timed: bool,
}

/// What the entities of one local component identified last.
#[derive(Clone, Debug, Hash)]
pub struct Identifiers {
    last: [[Option<Identifier>; COUNTERS]; ROLES_MAX],
}

impl Default for Identifiers {
    fn default() -> Self {
        Self { last: [[None; COUNTERS]; ROLES_MAX] }
    }
}

impl Identifiers {
    /// Identifies a value of `entity`, which is a local one. (U1, U2, U3)
    pub fn identify(
        &mut self,
        entity: EntityId,
        wish: Wish,
        time: Option<Interval>,
        out: &mut impl Outputs,
    ) -> Answer {
        let Wish { counter, position, value, marked, timed } = wish;
        let counters = self.last.get_mut(usize::from(entity.role));
        let Some(known) = counters.and_then(|counters| counters.get_mut(usize::from(counter)))
        else {
            return Answer::Refused(Refusal::Unknown);
        };
        let wished = (position, value, marked);
        if let Some(same) = known.filter(|it| (it.position, it.value, it.marked) == wished) {
            return Answer::Identified(out.sign(same));
        }
        let (last, last_value) = match *known {
            Some(known) if position <= known.position => {
                return Answer::Refused(Refusal::Contradiction);
            }
            Some(known) if known.marked => (known.position, known.value),
            Some(known) => (known.last, known.last_value),
            None if position == 0 => return Answer::Refused(Refusal::Contradiction),
            None => (0, Value::default()),
        };
        if timed && time.is_none() {
            return Answer::Refused(Refusal::Unsynchronised);
        }
        let identifier =
            Identifier { entity, counter, last, last_value, position, value, marked, time };
        *known = Some(identifier);
        Answer::Identified(out.sign(identifier))
    }
}
