use crate::network::Network;
use crate::report::Failure;
use crate::simulation::Simulation;
use maftia_base::protocol::TimedProtocol;

/// What reaching a goal costs, in units that do not depend on any machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Message delays on the critical path.
    pub delays: u64,
    /// Forced writes to disk on the critical path.
    pub durable_waits: u64,
    /// Messages sent by all servers together.
    pub messages: u64,
    /// Their bytes, if the scenario measures them.
    pub bytes: u64,
}

/// Measures a scenario: once with messages that take one unit and all else nothing, once with
/// syncs that do. The scenario builds a simulation with the network it is given and runs it to its
/// goal; [`Simulation::mark`] says from where on it counts.
pub fn figures<P: TimedProtocol>(
    mut scenario: impl FnMut(Network) -> Result<Simulation<P>, Failure>,
) -> Result<Figures, Failure> {
    let by_messages = scenario(Network::unit_delay())?;
    let by_syncs = scenario(Network::unit_sync())?;
    Ok(Figures {
        delays: by_messages.elapsed_units(),
        durable_waits: by_syncs.elapsed_units(),
        messages: by_messages.messages_since_mark(),
        bytes: by_messages.bytes_since_mark(),
    })
}
