use super::{FrontEndReply, Outcome, Replica, Tap, Ticket};
use crate::state::Effect;
use crate::{
    REPLIES_MAX, Refusal, Reply, ReplyBody, ReplyBundle, SequencedReply, SessionId, SigningCommand,
    StateMachine, ThresholdReply, replies_statement,
};
use maftia_base::wire::{Blob, Bytes, EncodeSize, List};
use maftia_base::{Context, Event};
use maftia_crypto::{ClientKey, KeyId, Signed, SigningInput, Suite, Work};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Clients that can be attached to one server.
pub const ATTACHED_MAX: usize = 16 * 1024;

/// Replies to one client that wait to be signed; a client that lets more come up asks again.
const UNSIGNED_MAX: usize = 4 * REPLIES_MAX;

/// Bytes of replies in one bundle, unless a single one is longer.
const BUNDLE_BYTES: usize = 512 * 1024;

/// What is on its way to clients.
#[derive(Clone, Debug, Hash, Default)]
pub(super) struct Answers {
    attached: BTreeMap<ClientKey, Outbox>,
    /// Who waits for the group's signature at a position; each has a collection.
    awaiting: BTreeMap<u64, Awaiting>,
    /// Positions whose signature is to be collected here, perhaps again.
    again: BTreeSet<u64>,
    /// Attached clients for whom there is something new.
    fresh: BTreeSet<ClientKey>,
    signings: u64,
}

/// What is on its way to one client.
#[derive(Clone, Debug, Hash, Default)]
struct Outbox {
    replies: VecDeque<SequencedReply>,
    signatures: Vec<ThresholdReply>,
    /// What is being signed.
    signing: Option<(u64, List<SequencedReply, REPLIES_MAX>)>,
}

/// Who waits for a signature of the group.
#[derive(Clone, Debug, Hash)]
enum Awaiting {
    FrontEnd { id: u64, body: Bytes, key: KeyId, input: SigningInput },
    Client { key: ClientKey, session: SessionId, sequence: u64 },
}

impl Answers {
    pub(super) fn attach(&mut self, key: ClientKey) {
        if self.attached.len() < ATTACHED_MAX {
            self.attached.entry(key).or_default();
        }
    }

    pub(super) fn detach(&mut self, key: ClientKey) {
        self.attached.remove(&key);
        self.fresh.remove(&key);
    }

    pub(super) fn awaiting(&self) -> usize {
        self.awaiting.len()
    }

    /// The driver's names for all requests of the front end that wait for a signature.
    pub(super) fn take_front_ends(&mut self) -> Vec<u64> {
        let mut ids = Vec::new();
        self.awaiting.retain(|_, awaiting| match awaiting {
            Awaiting::FrontEnd { id, .. } => {
                ids.push(*id);
                false
            }
            Awaiting::Client { .. } => true,
        });
        ids
    }

    pub(super) fn footprint(&self) -> usize {
        let waiting = |outbox: &Outbox| outbox.replies.len() + outbox.signatures.len();
        self.awaiting.len() + self.attached.values().map(waiting).sum::<usize>()
    }

    /// Has a reply signed and told, if its client is attached.
    pub(super) fn push(&mut self, key: ClientKey, reply: SequencedReply) {
        let Some(outbox) = self.attached.get_mut(&key) else { return };
        outbox.replies.push_back(reply);
        if outbox.replies.len() > UNSIGNED_MAX {
            outbox.replies.pop_front();
        }
        self.fresh.insert(key);
    }

    /// Will tell an attached client the signature at `position`.
    pub(super) fn await_signature_for(
        &mut self,
        position: u64,
        key: ClientKey,
        reply: &SequencedReply,
    ) {
        if self.attached.contains_key(&key) {
            let (session, sequence) = (reply.session, reply.sequence);
            self.awaiting.insert(position, Awaiting::Client { key, session, sequence });
            self.again.insert(position);
        }
    }

    fn push_signature(&mut self, key: ClientKey, signature: ThresholdReply) {
        let Some(outbox) = self.attached.get_mut(&key) else { return };
        if outbox.signatures.len() < REPLIES_MAX {
            outbox.signatures.push(signature);
            self.fresh.insert(key);
        }
    }

    /// The bundle of which this is the signature; `None` if the client has gone since.
    pub(super) fn signed<S: Suite>(
        &mut self,
        key: ClientKey,
        number: u64,
        signed: Signed<S>,
    ) -> Option<ReplyBundle<S>> {
        let outbox = self.attached.get_mut(&key)?;
        let (_, replies) = outbox.signing.take_if(|(signing, _)| *signing == number)?;
        self.fresh.insert(key);
        Some(outbox.bundle(key, replies, Some(signed.signature)))
    }
}

impl Outbox {
    fn bundle<S: Suite>(
        &mut self,
        key: ClientKey,
        replies: List<SequencedReply, REPLIES_MAX>,
        signature: Option<S::Signature>,
    ) -> ReplyBundle<S> {
        let signatures = List::new(std::mem::take(&mut self.signatures)).expect("bounded on entry");
        ReplyBundle { key, replies, signatures, signature }
    }

    /// The replies that are signed next.
    fn take_replies(&mut self) -> List<SequencedReply, REPLIES_MAX> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(reply) = self.replies.front() {
            bytes += reply.encode_size();
            if taken.len() == REPLIES_MAX || (bytes > BUNDLE_BYTES && !taken.is_empty()) {
                break;
            }
            taken.extend(self.replies.pop_front());
        }
        List::new(taken).expect("just counted")
    }
}

impl<S: Suite, M: StateMachine> Replica<S, M> {
    /// Answers whoever asked this server. `mine`: the request came through this server's lane.
    /// (R5, R6)
    pub(super) fn on_answer<C: Context<Self>>(
        &mut self,
        effect: Effect,
        mine: bool,
        cx: &mut Tap<'_, C>,
    ) {
        match effect {
            Effect::Client { key, reply, position } => {
                if mine && matches!(reply.body, ReplyBody::Sign { .. }) {
                    self.answers.await_signature_for(position, key, &reply);
                }
                self.answers.push(key, reply);
            }
            Effect::FrontEnd { number, position, reply, .. } if mine => {
                self.on_front_end_answer(number, position, reply, cx);
            }
            Effect::Rejoin { party } if mine => self.on_rejoin_ordered(party),
            Effect::FrontEnd { .. } | Effect::Rejoin { .. } => {}
            Effect::Sign { .. } | Effect::SignForState { .. } => {
                panic!("what is to be signed is no answer")
            }
        }
    }

    /// Answers a client from what its session remembers. (R1)
    pub(super) fn answer_known(&mut self, key: ClientKey, replies: Vec<(u64, SequencedReply)>) {
        for (position, reply) in replies {
            if matches!(reply.body, ReplyBody::Sign { .. }) {
                self.answers.await_signature_for(position, key, &reply);
            }
            self.answers.push(key, reply);
        }
    }

    fn on_front_end_answer<C: Context<Self>>(
        &mut self,
        number: u64,
        position: u64,
        reply: Result<Reply, Refusal>,
        cx: &mut Tap<'_, C>,
    ) {
        // Asked before a restart: nobody waits any more.
        let Some(id) = self.intake.answered(number) else { return };
        let reply = match reply {
            Ok(Reply::Sign { key, input, body }) => {
                let awaiting = Awaiting::FrontEnd { id, body, key, input };
                self.answers.awaiting.insert(position, awaiting);
                return;
            }
            Ok(Reply::Plain(body)) => FrontEndReply::Plain(body),
            Err(refusal) => FrontEndReply::Refused(refusal),
        };
        cx.output(Outcome::FrontEndReply { id, reply });
    }

    /// The group's signature is there, or cannot be had. (R6)
    pub(super) fn on_signature<C: Context<Self>>(
        &mut self,
        position: u64,
        signature: Option<Bytes>,
        cx: &mut Tap<'_, C>,
    ) {
        match (self.answers.awaiting.remove(&position), signature) {
            (Some(Awaiting::FrontEnd { id, body, key, input }), Some(signature)) => {
                let reply = FrontEndReply::Signed { body, key, input, signature };
                cx.output(Outcome::FrontEndReply { id, reply });
            }
            (Some(Awaiting::FrontEnd { id, .. }), None) => {
                let reply = FrontEndReply::Refused(Refusal::Overloaded);
                cx.output(Outcome::FrontEndReply { id, reply });
            }
            (Some(Awaiting::Client { key, session, sequence }), Some(signature)) => {
                let signature = Blob::new(signature).expect("signatures are bounded");
                let reply = ThresholdReply { session, sequence, signature };
                self.answers.push_signature(key, reply);
            }
            (Some(Awaiting::Client { .. }) | None, _) => {}
        }
    }

    /// Starts, or starts again, the collections that somebody waits for.
    pub(super) fn collect_again<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        for position in std::mem::take(&mut self.answers.again) {
            self.step_signing(Event::Command(SigningCommand::Collect { position }), cx);
        }
    }

    /// Has the replies signed that have come up, one bundle a client at a time. (R5)
    pub(super) fn sign_replies<C: Context<Self>>(&mut self, cx: &mut Tap<'_, C>) {
        for key in std::mem::take(&mut self.answers.fresh) {
            let Some(outbox) = self.answers.attached.get_mut(&key) else { continue };
            if outbox.signing.is_some() {
                continue;
            }
            if outbox.replies.is_empty() {
                if !outbox.signatures.is_empty() {
                    let bundle = outbox.bundle(key, List::default(), None);
                    cx.output(Outcome::ClientReplies(bundle));
                }
                continue;
            }
            let replies = outbox.take_replies();
            let statement = replies_statement(cx.group().id(), key, &replies);
            let number = self.answers.signings;
            self.answers.signings += 1;
            outbox.signing = Some((number, replies));
            cx.offload(Ticket::Replies { key, number }, Work::Sign(statement));
        }
    }
}
