//! What servers say as themselves.

use super::{Batch, Effect, Hosted, State};
use crate::{AgreedTime, Caller, ServerCommand, StateMachine, TaskId, batch_time};
use maftia_base::ServiceId;
use maftia_base::time::Reading;

impl<M: StateMachine> State<M> {
    pub(super) fn on_server_command(
        &mut self,
        batch: &Batch<'_>,
        command: ServerCommand,
        effects: &mut Vec<Effect>,
    ) {
        match command {
            ServerCommand::TaskResult { service, id, result } => {
                self.on_task_result(batch, service, id, &result);
            }
            ServerCommand::Signed { service, id, signature } => {
                self.on_signed(batch, service, id, signature);
            }
            ServerCommand::Wake(at) => self.on_wake(batch, at),
            ServerCommand::Rejoin { party, nonce } => {
                let now = self.clock.now();
                if self.lives.is_none() {
                    self.rejoins.ask(batch.structure, batch.lane, (party, nonce), now);
                }
                effects.push(Effect::Rejoin { party });
            }
            ServerCommand::Admit { party, life } => {
                let (voter, now) = (batch.lane, self.clock.now());
                if let Some(lives) = &mut self.lives {
                    let rejoins = &mut self.rejoins;
                    lives.ask(rejoins, batch.structure, voter, (party, life), now);
                }
                effects.push(Effect::Rejoin { party });
            }
        }
    }

    /// A result counts once a server, and only while the task is wanted. (A4)
    fn on_task_result(&mut self, batch: &Batch<'_>, service: ServiceId, id: TaskId, result: &[u8]) {
        let Some(hosted) = self.services.get_mut(&service) else { return };
        let wanted = hosted.machine.tasks().iter().any(|task| task.id == id);
        if !wanted || !hosted.reported.entry(id).or_default().insert(batch.lane) {
            return;
        }
        let position = self.take_position();
        let cx = batch.context(self.clock.now(), service, Caller::Server(batch.lane), position);
        let hosted = self.services.get_mut(&service).expect("just found");
        hosted.machine.task_result(batch.lane, id, result, &cx);
        hosted.forget_finished_tasks();
    }

    /// Once an honest server's clock has passed a time, so does the agreed time. (A3)
    fn on_wake(&mut self, batch: &Batch<'_>, at: AgreedTime) {
        let passed = self.passed.entry(batch.lane).or_default();
        *passed = at.max(*passed);
        let readings = self.passed.iter().map(|(party, at)| (*party, Reading(at.0)));
        if let Some(time) = batch_time(batch.structure, readings) {
            self.clock.advance(time);
            self.wake_due(batch);
        }
    }

    pub(super) fn wake_due(&mut self, batch: &Batch<'_>) {
        let now = self.clock.now();
        self.rejoins.settle(batch.structure, now);
        let is_due = |hosted: &Hosted<M>| hosted.machine.wake_at().is_some_and(|at| at <= now);
        let due: Vec<_> =
            self.services.iter().filter(|(_, hosted)| is_due(hosted)).map(|(id, _)| *id).collect();
        for service in due {
            let position = self.take_position();
            let cx = batch.context(now, service, Caller::Group, position);
            let hosted = self.services.get_mut(&service).expect("just found");
            hosted.machine.wake(&cx);
            assert!(!is_due(hosted), "a service that was woken wants to be woken later or never");
        }
    }
}
