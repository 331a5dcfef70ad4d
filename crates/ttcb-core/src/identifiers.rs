//! Unique sequential identifiers (USIG): no two values ever stand at one position of one counter.
//!
//! # Promise
//! - *uniqueness*: an entity's counter never identifies two values at one position.
//! - *sequentiality*: positions grow, and each identifier names the position and value before it.
//!   Nothing lies between, so that whoever sees an identifier knows what its entity identified last
//!   before: it cannot hide it.
//!
//! # Rules
//! - **U1** A position greater than the last is identified; it becomes the last.
//! - **U2** The last position with the last value is identified once more, with the same result: a
//!   server that crashed before it wrote the identifier down asks again.
//! - **U3** Everything else is refused.
//!
//! # Why it holds
//! The only state is the last identifier of each counter, which U1 replaces by one with a greater
//! position. It dies with the key that signs: another life of the component has another key, hence
//! other entities.
//!
//! # Bounds
//! [`COUNTERS`] counters for each entity, a few hundred bytes each, no table that fills up.
//!
//! # Sources
//! The USIG of Veronese, Correia, Bessani, Lung and Verissimo, "Efficient Byzantine
//! fault-tolerance" (2013; MinBFT). Deviations: (a) the caller chooses the position, so that it
//! can be the place in a protocol (epoch, round, view, step), and may skip some: that a message
//! was not sent can then be seen in the identifier that follows, as in TrInc (Levin, Douceur,
//! Lorch, Moscibroda, 2009), where MinBFT's receivers must have every message of a sender. A
//! caller that always takes the next number has exactly MinBFT's identifiers. (b) The identifier
//! carries the time when it was made.

use crate::outputs::Outputs;
use maftia_ttcb_api::{Answer, EntityId, Identifier, Interval, ROLES_MAX, Refusal, Value};

/// How many counters an entity has.
pub const COUNTERS: usize = 8;

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
        counter: u8,
        position: u128,
        value: Value,
        time: Option<Interval>,
        out: &mut impl Outputs,
    ) -> Answer {
        let counters = self.last.get_mut(usize::from(entity.role));
        let Some(last) = counters.and_then(|counters| counters.get_mut(usize::from(counter)))
        else {
            return Answer::Refused(Refusal::Unknown);
        };
        if let Some(same) = last.filter(|last| (last.position, last.value) == (position, value)) {
            return Answer::Identified(out.sign(same));
        }
        let (previous, previous_value) =
            last.map_or((0, Value::default()), |last| (last.position, last.value));
        if position <= previous {
            return Answer::Refused(Refusal::Contradiction);
        }
        let identifier =
            Identifier { entity, counter, previous, previous_value, position, value, time };
        *last = Some(identifier);
        Answer::Identified(out.sign(identifier))
    }
}
