//! New lives of trusted components, in the hybrid configuration: R11, R12, R16.

use super::{Halt, Message, Record, Replica, Tap, Ticket};
use crate::{Nonce, ServerCommand, StateMachine};
use maftia_agreement::hybrid::Life;
use maftia_base::{Context, Fault, FaultKind, Party, Target};
use maftia_crypto::{Attested, Suite, Work};
use maftia_ttcb_api::{BootKeys, EntityId};

/// With what a server asks to be admitted again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Question {
    /// In the asynchronous configuration: a number drawn for the occasion.
    Number(Nonce),
    /// In the hybrid one: a new life of its trusted component.
    Life(Attested<BootKeys>),
}

/// The certificate that is being checked, and the newest that came meanwhile.
pub(super) type Checking = (Attested<BootKeys>, Option<Attested<BootKeys>>);

impl Question {
    /// The number by which an admission answers it.
    pub(super) fn nonce(&self) -> Nonce {
        match self {
            Self::Number(nonce) => *nonce,
            Self::Life(life) => Nonce::of_life(&Life::from(&life.0.said)),
        }
    }

    pub(super) fn message<S: Suite>(&self) -> Message<S> {
        match self {
            Self::Number(nonce) => Message::Rejoin(*nonce),
            Self::Life(life) => Message::NewLife(*life),
        }
    }

    pub(super) fn record<S: Suite>(&self) -> Record<S> {
        match self {
            Self::Number(nonce) => Record::Rejoining(*nonce),
            Self::Life(life) => Record::NewLife(*life),
        }
    }

    /// Is this of a later life than the other? The server that asked with that one has signed
    /// nothing since, and its component has rebooted once more.
    fn is_later_than(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Life(life), Self::Life(other)) => life.0.said.epoch > other.0.said.epoch,
            _ => false,
        }
    }
}

impl<S: Suite, M: StateMachine> Replica<S, M> {
    /// In the hybrid configuration, for a server whose trusted component lives another life than
    /// the group knows, or that has lost its log: it asks to be admitted again with the present
    /// life, which must have begun after the last log was lost. The log must be new, or the one in
    /// which this server asked before: what was signed in earlier epochs is not in it. (R11)
    #[must_use]
    pub fn rejoining_as(mut self, life: Attested<BootKeys>) -> Self {
        self.recovery.question = Some(Question::Life(life));
        self
    }

    pub(super) fn restore_question(&mut self, question: Question) {
        let given = self.recovery.question.as_ref();
        if given.is_some_and(|given| given.is_later_than(&question)) {
            return;
        }
        self.recovery.question = Some(question);
        self.recovery.is_question_recorded = true;
    }

    /// In the hybrid configuration, as which entity before the wormhole the group knows `me`, who
    /// is this server, or is asked to know it.
    pub fn known_as(&self, me: Party) -> Option<EntityId> {
        let entity = self.members()?.member(me)?.entity();
        Some(match &self.recovery.question {
            Some(Question::Life(life)) => EntityId { boot: life.0.said.boot(), ..entity },
            _ => entity,
        })
    }

    /// The component answers as this entity: is that who the group knows? (R12)
    pub(super) fn on_component<C: Context<Self>>(&mut self, entity: EntityId, cx: &mut Tap<'_, C>) {
        if self.known_as(cx.group().me()).is_some_and(|known| known != entity) {
            self.halt(Halt::OtherLife, cx);
        }
    }

    /// The component lives this life, and the group knows another. (R11, R16)
    pub(super) fn on_other_life<C: Context<Self>>(
        &mut self,
        life: Attested<BootKeys>,
        cx: &mut Tap<'_, C>,
    ) {
        let asked = Question::Life(life);
        if let Some(question) = &mut self.recovery.question {
            if asked.is_later_than(question) {
                *question = asked;
                self.recovery.is_question_recorded = false;
                self.ask_to_rejoin(Target::Others, cx);
            }
            return;
        }
        self.recovery.waiting = Some((cx.group().me(), life));
        self.ask_to_be_admitted(Target::Others, cx);
    }

    /// With what this server asks to be admitted, until it is. (R16)
    fn waiting(&self) -> Option<Attested<BootKeys>> {
        let (me, life) = self.recovery.waiting?;
        let known = self.members()?.member(me)?.life;
        (known != Life::from(&life.0.said)).then_some(life)
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waiting().is_some()
    }

    pub(super) fn ask_to_be_admitted<C: Context<Self>>(&self, to: Target, cx: &mut Tap<'_, C>) {
        if let Some(life) = self.waiting() {
            cx.send(to, Message::NewLife(life));
        }
    }

    /// A server asks with a new life: the certificate is checked. (J1)
    pub(super) fn on_new_life<C: Context<Self>>(
        &mut self,
        from: Party,
        certified: Attested<BootKeys>,
        cx: &mut Tap<'_, C>,
    ) {
        let member = self.state.members().and_then(|members| members.member(from));
        let Some(claim) = member.and_then(|member| member.life_claim(&certified)) else {
            return cx.blame(Fault::suspected(from, FaultKind::InvalidValue));
        };
        let life = Life::from(&certified.0.said);
        // What was asked before may be sent again at any time: it is no fault.
        let is_known = self.state.knows_rejoin(from, Nonce::of_life(&life));
        let is_open = !is_known && self.state.may_follow(from, &life);
        if self.is_rejoining() || self.is_waiting() || !self.live || !is_open {
            return;
        }
        if let Some((now, next)) = self.recovery.checking.get_mut(&from) {
            *next = (*now != certified).then_some(certified);
            return;
        }
        self.recovery.checking.insert(from, (certified, None));
        cx.offload(Ticket::NewLife(from), Work::VerifySeals(vec![claim]));
    }

    /// The certificate was checked: the question is repeated in the lane. (J1)
    pub(super) fn on_life_checked<C: Context<Self>>(
        &mut self,
        from: Party,
        verdicts: &[bool],
        cx: &mut Tap<'_, C>,
    ) {
        let checked = self.recovery.checking.remove(&from);
        let (certified, next) = checked.expect("work is answered once");
        if verdicts == [true] {
            let life = Life::from(&certified.0.said);
            let question = ServerCommand::Admit { party: from, life };
            self.repeat(from, Nonce::of_life(&life), question);
        } else {
            cx.blame(Fault::suspected(from, FaultKind::BadSignature));
        }
        if let Some(next) = next {
            self.on_new_life(from, next, cx);
        }
    }
}
