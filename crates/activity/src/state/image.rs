//! The state as bytes, and back.

use super::signing::{self, SigningImage};
use super::{Hosted, State, bounded};
use crate::lives::LivesImage;
use crate::rejoin::{Rejoins, RejoinsImage};
use crate::session::{Entry, FrontEndNumbers, NumbersImage, Sessions, map};
use crate::{AgreedTime, Clock, StateMachine, TaskId};
use maftia_base::wire::{Blob, Bytes, Encode, List, Wire, wire_struct};
use maftia_base::{PARTIES_MAX, Party, PartySet, ServiceId};

/// Services that a group can have: with 64 servers, each lane still has the share of one full
/// session in each.
pub(super) const SERVICES_MAX: usize = 64;
const SNAPSHOT_BYTES_MAX: usize = 1 << 30;
const TASKS_MAX: usize = 1 << 20;

struct HostedImage {
    service: ServiceId,
    machine: Blob<SNAPSHOT_BYTES_MAX>,
    sessions: Blob<SNAPSHOT_BYTES_MAX>,
    reported: List<Entry<TaskId, PartySet>, TASKS_MAX>,
    signing: SigningImage,
}

wire_struct!(HostedImage { service, machine, sessions, reported, signing });

struct StateImage {
    clock: Clock,
    position: u64,
    services: List<HostedImage, SERVICES_MAX>,
    front_ends: List<Entry<Party, NumbersImage>, PARTIES_MAX>,
    passed: List<Entry<Party, AgreedTime>, PARTIES_MAX>,
    rejoins: RejoinsImage,
    floors: List<Entry<Party, u64>, PARTIES_MAX>,
}

wire_struct!(StateImage { clock, position, services, front_ends, passed, rejoins, floors });

/// In the hybrid configuration.
struct HybridImage {
    state: StateImage,
    lives: LivesImage,
}

wire_struct!(HybridImage { state, lives });

impl<M: StateMachine> State<M> {
    /// The whole of it; equal states give equal bytes.
    pub(crate) fn snapshot(&self) -> Bytes {
        let hosted = |(service, hosted): (&ServiceId, &Hosted<M>)| HostedImage {
            service: *service,
            machine: bounded(hosted.machine.snapshot()),
            sessions: bounded(hosted.sessions.snapshot()),
            reported: list(hosted.reported.iter().map(|(id, parties)| Entry(*id, *parties))),
            signing: signing::image(&hosted.signing),
        };
        let state = StateImage {
            clock: self.clock,
            position: self.position,
            services: list(self.services.iter().map(hosted)),
            front_ends: list(self.front_ends.iter().map(|(party, own)| Entry(*party, own.image()))),
            passed: list(self.passed.iter().map(|(party, at)| Entry(*party, *at))),
            rejoins: self.rejoins.image(),
            floors: list(self.floors.iter().map(|(home, floor)| Entry(*home, *floor))),
        };
        match &self.lives {
            None => state.encode(),
            Some(lives) => HybridImage { state, lives: lives.image() }.encode(),
        }
    }

    /// Takes the state from a snapshot of the same services; `None` if it is not one.
    #[must_use]
    pub(crate) fn restore(&mut self, snapshot: Bytes) -> Option<()> {
        let (image, lives) = match &self.lives {
            None => (StateImage::from_wire(snapshot).ok()?, None),
            Some(lives) => {
                let image = HybridImage::from_wire(snapshot).ok()?;
                (image.state, Some(lives.restored(image.lives)?))
            }
        };
        if image.services.len() != self.services.len() {
            return None;
        }
        for saved in image.services.into_vec() {
            let hosted = self.services.get_mut(&saved.service)?;
            hosted.machine.restore(saved.machine.into_bytes())?;
            hosted.sessions = Sessions::restored(saved.sessions.into_bytes())?;
            hosted.reported = map(saved.reported);
            hosted.signing = signing::restored(saved.signing);
        }
        self.lives = lives;
        self.clock = image.clock;
        self.position = image.position;
        let front_ends = image.front_ends.into_vec().into_iter();
        self.front_ends =
            front_ends.map(|Entry(party, own)| (party, FrontEndNumbers::restored(own))).collect();
        self.passed = map(image.passed);
        self.rejoins = Rejoins::restored(image.rejoins);
        self.floors = map(image.floors);
        Some(())
    }
}

fn list<T, const MAX: usize>(items: impl Iterator<Item = T>) -> List<T, MAX> {
    List::new(items.collect()).expect("the state is bounded")
}
