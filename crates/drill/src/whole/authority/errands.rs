//! Outside work in simulated time.

use super::is_there;
use crate::whole::server::{Door, Gate};
use crate::whole::suite::WholeSuite;
use commonware_runtime::deterministic::Context;
use commonware_runtime::{Clock, Spawner, Supervisor};
use maftia_activity::{TASK_BYTES_MAX, Task};
use maftia_base::ServiceId;
use maftia_base::wire::{Blob, Wire};
use maftia_node::host::{Arrival, ConnectionId};
use maftia_node::replica::Request;
use maftia_services::ca::{CaTask, VALIDATED};
use maftia_sim::Random;
use std::time::Duration;

/// Mean time that a try takes, in microseconds.
const TRY: u64 = 100_000;

/// Pause after a try that failed, in microseconds.
const PAUSE: u64 = 1_000_000;

/// In how many of 1000 tries the outside cannot be reached.
const FAILED_PERMILLE: u32 = 250;

/// What a server sees of the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// What is there.
    Honest,
    /// Whatever the intruder shows it.
    Deceived,
    /// It does not look.
    Corrupt,
}

/// How one process does what services want done outside.
pub struct Errands<S: WholeSuite> {
    context: Context,
    gate: Gate,
    door: Door<S>,
    sight: Sight,
    random: Random,
}

impl<S: WholeSuite> Errands<S> {
    /// For a process that this gate can stop, with this way into it.
    pub fn new(context: Context, gate: Gate, door: Door<S>, sight: Sight, random: Random) -> Self {
        Self { context, gate, door, sight, random }
    }

    /// A service wants this done.
    pub fn start(&mut self, service: ServiceId, task: &Task) {
        let Ok(wanted) = CaTask::from_wire(task.what.bytes().clone()) else { return };
        let Some((result, after)) = self.result(&wanted) else { return };
        let (id, door) = (task.id, self.door.clone());
        let gate = self.gate.clone();
        self.context.child("errand").spawn(move |context| {
            gate.guard(async move {
                context.sleep(Duration::from_micros(after)).await;
                let done = Request::TaskResult { service, id, result };
                // Nobody hears it if the server has ended.
                let _ = door.send(Arrival::Request(ConnectionId(0), done)).await;
            })
        });
    }

    /// What comes of it, after how many microseconds; nothing if it never succeeds.
    fn result(&mut self, wanted: &CaTask) -> Option<(Blob<TASK_BYTES_MAX>, u64)> {
        let is_corrupt = self.sight == Sight::Corrupt;
        match wanted {
            // It says yes at once, or looks like anybody.
            CaTask::Validation(_) if is_corrupt && self.random.chance(700) => {
                Some((Blob::new(VALIDATED)?, self.random.below(1_000)))
            }
            CaTask::Validation(validation)
                if self.sight == Sight::Deceived || is_there(validation) =>
            {
                let mut after = self.random.exponential(TRY);
                while self.random.chance(FAILED_PERMILLE) {
                    after += PAUSE + self.random.exponential(TRY);
                }
                Some((Blob::new(VALIDATED)?, after))
            }
            CaTask::Policy { .. } if is_corrupt => Some((Blob::new(vec![0xff; 40])?, 0)),
            CaTask::Validation(_) | CaTask::Policy { .. } => None,
        }
    }
}
