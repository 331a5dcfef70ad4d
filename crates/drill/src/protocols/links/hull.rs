//! Replicas on links.

use super::frames;
use crate::protocols::Asynchronous;
use crate::protocols::replica::{Hull, Sut};
use crate::world::{DrillSuite, scope_of};
use maftia_activity::Message;
use maftia_base::Group;
use maftia_base::wire::Wire;
use maftia_links::{Linked, Packet};
use maftia_sim::Random;

/// Links between the replicas, as in a server.
pub struct OnLinks;

impl<S: DrillSuite> Hull<S> for OnLinks {
    type Protocol = Linked<Sut<S>>;
    const NAME: &'static str = "linked-replica";
    const IS_AIDED: bool = false;
    type Assumes = Asynchronous;

    fn make(replica: Sut<S>, group: &Group, restarts: u32) -> Linked<Sut<S>> {
        Linked::new(replica, group, 1 + u64::from(restarts))
    }

    fn replica(protocol: &Linked<Sut<S>>) -> &Sut<S> {
        protocol.inner()
    }

    fn open(said: &Packet<Message<S>>) -> Vec<Message<S>> {
        frames::messages(said)
    }

    fn exchanged(
        said: &Packet<Message<S>>,
        other: &mut dyn FnMut(&Message<S>) -> Vec<Message<S>>,
    ) -> Vec<Packet<Message<S>>> {
        match said {
            // A link numbers what it sends: each message is exchanged for one.
            Packet::Frame(frame) => {
                let frame = frame.clone().map_messages(|bytes| {
                    let message = Message::from_wire(bytes.clone()).ok()?;
                    Some(other(&message).into_iter().next()?.to_wire())
                });
                vec![Packet::Frame(frame)]
            }
            Packet::Local(message) => other(message).into_iter().map(Packet::Local).collect(),
        }
    }

    fn packed(message: Message<S>) -> Packet<Message<S>> {
        let place = scope_of(0).digest().short();
        let raw = frames::guessed(place, vec![message.to_wire()], &mut Random::new(place));
        frames::write(&raw).expect("a frame is a frame")
    }
}
