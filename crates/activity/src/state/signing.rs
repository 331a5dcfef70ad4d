//! Signatures of the group that a service keeps in its state. (A7)

use super::{Batch, Effect, Hosted, State};
use crate::session::Entry;
use crate::{Caller, SIGNED_AT_ONCE_MAX, StateMachine, TaskId, ToSign, Votes};
use maftia_base::wire::{Blob, List, wire_struct};
use maftia_base::{PARTIES_MAX, Party, ServiceId};
use maftia_crypto::{KeyId, SIGNATURE_BYTES_MAX, SigningInput};
use std::collections::BTreeMap;

type Signature = Blob<SIGNATURE_BYTES_MAX>;

/// A signature that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct UnderWay {
    position: u64,
    key: KeyId,
    input: SigningInput,
    /// Who has verified which.
    votes: Votes<Signature>,
}

/// What of a service is being signed.
pub(super) type Signing = BTreeMap<TaskId, UnderWay>;

pub(super) struct UnderWayImage {
    position: u64,
    key: KeyId,
    input: SigningInput,
    votes: List<Entry<Party, Signature>, PARTIES_MAX>,
}

wire_struct!(UnderWayImage { position, key, input, votes });

/// As it stands in a snapshot.
pub(super) type SigningImage = List<Entry<TaskId, UnderWayImage>, SIGNED_AT_ONCE_MAX>;

pub(super) fn image(signing: &Signing) -> SigningImage {
    let entry = |(id, under_way): (&TaskId, &UnderWay)| {
        let UnderWay { position, key, input, votes } = under_way.clone();
        let votes = votes.iter().map(|(party, said)| Entry(party, said.clone())).collect();
        let votes = List::new(votes).expect("one vote a server");
        Entry(*id, UnderWayImage { position, key, input, votes })
    };
    List::new(signing.iter().map(entry).collect()).expect("so many are under way at a time")
}

pub(super) fn restored(image: SigningImage) -> Signing {
    let entry = |Entry(id, UnderWayImage { position, key, input, votes })| {
        let mut restored = Votes::default();
        for Entry(party, said) in votes.into_vec() {
            restored.insert(party, said);
        }
        (id, UnderWay { position, key, input, votes: restored })
    };
    image.into_vec().into_iter().map(entry).collect()
}

impl<M: StateMachine> State<M> {
    /// Has what the services want signed, as many as may be under way. (A7)
    pub(super) fn begin_signatures(&mut self, effects: &mut Vec<Effect>) {
        for hosted in self.services.values_mut() {
            let wanted = hosted.machine.to_sign();
            hosted.signing.retain(|id, _| wanted.iter().any(|to_sign| to_sign.id == *id));
            for ToSign { id, key, input } in wanted.into_iter().take(SIGNED_AT_ONCE_MAX) {
                if hosted.signing.len() >= SIGNED_AT_ONCE_MAX || hosted.signing.contains_key(&id) {
                    continue;
                }
                let position = self.position;
                self.position += 1;
                effects.push(Effect::SignForState { position, key, input: input.clone() });
                let votes = Votes::default();
                hosted.signing.insert(id, UnderWay { position, key, input, votes });
            }
        }
    }

    /// A server has verified a signature; believed once an honest one has. (A7)
    pub(super) fn on_signed(
        &mut self,
        batch: &Batch<'_>,
        service: ServiceId,
        id: TaskId,
        signature: Signature,
    ) {
        let Some(hosted) = self.services.get_mut(&service) else { return };
        let Some(under_way) = hosted.signing.get_mut(&id) else { return };
        under_way.votes.insert(batch.lane, signature);
        let Some(signature) = under_way.votes.agreed(batch.structure).cloned() else { return };
        hosted.signing.remove(&id);
        let position = self.take_position();
        let cx = batch.context(self.clock.now(), service, Caller::Group, position);
        let hosted = self.services.get_mut(&service).expect("just found");
        hosted.machine.signed(id, &signature, &cx);
    }

    /// What is being signed for the state and `party` has not told yet: under which name of which
    /// service, and at which position.
    pub(crate) fn signatures_wanted_of(&self, party: Party) -> Vec<(ServiceId, TaskId, u64)> {
        let mut wanted = Vec::new();
        for (service, hosted) in &self.services {
            let open = hosted.signing.iter();
            let open = open.filter(|(_, under_way)| !under_way.votes.has_said(party));
            wanted.extend(open.map(|(id, under_way)| (*service, *id, under_way.position)));
        }
        wanted
    }
}

impl<M> Hosted<M> {
    /// What is being signed, by position.
    pub(super) fn under_way(&self) -> impl Iterator<Item = (u64, (KeyId, SigningInput))> {
        let signing = self.signing.values();
        signing.map(|signing| (signing.position, (signing.key, signing.input.clone())))
    }
}
