//! Patience, and how a server leaves a view whose leader is dead, slow or lying.

use super::justification::Justification;
use super::machine::{Intent, ViewAgreement};
use super::message::{Enter, Message, Prepare, Record, Step, View};
use super::verify::{Stage, Ticket};
use super::{DOUBLINGS_MAX, PATIENCE_MS};
use crate::hybrid::members::Cast;
use crate::{Value, digest_of};
use maftia_base::canary;
use maftia_base::wire::List;
use maftia_base::{Context, Digest, PartySet, Target};
use maftia_crypto::{Attested, Suite, Work};
use maftia_ttcb_api::{Answer, Call, Identifier, Span, Verdict};

impl<S: Suite, V: Value> ViewAgreement<S, V> {
    /// Begins to wait, once there is something to wait for. (V1, V5)
    pub(super) fn try_wait(&mut self, cx: &mut impl Context<Self>) {
        let awaits = self.has_begun() || !self.unasked().is_empty();
        if awaits && self.verdict.is_none() && self.waits_in.is_none_or(|in_| in_ < self.view) {
            self.waits_in = Some(self.view);
            canary!("views-waits-for-ever", (), self.watch(Stage::Uneasy, cx));
        }
    }

    /// Not before the value may be valid is a view left: what is identified here ends what came
    /// before.
    fn has_begun(&self) -> bool {
        self.input.is_some() || self.vote.is_some()
    }

    fn watch(&self, stage: Stage, cx: &mut impl Context<Self>) {
        let doubled = PATIENCE_MS << self.view.0.min(DOUBLINGS_MAX);
        let within = match stage {
            Stage::Uneasy => Span::from_millis(doubled / 4 * 3),
            Stage::Over => Span::from_millis(doubled / 4),
        };
        let call = Box::new(Call::Watch { within });
        cx.consult(Ticket::Watch(self.view, stage), Work::Trusted(call));
    }

    /// The trusted component watches.
    pub(super) fn on_watch(
        &mut self,
        view: View,
        stage: Stage,
        answer: &Answer,
        cx: &mut impl Context<Self>,
    ) {
        if view != self.view || self.verdict.is_some() {
            return;
        }
        match answer {
            Answer::Begun(handle) => {
                let call = Box::new(Call::Await(*handle));
                cx.consult(Ticket::Late(view, stage), Work::Trusted(call));
            }
            _ => self.unwatched = true, // Too much under way: the next message tries again.
        }
    }

    /// It takes too long. (V5)
    pub(super) fn on_late(
        &mut self,
        view: View,
        stage: Stage,
        answer: &Answer,
        cx: &mut impl Context<Self>,
    ) {
        if view != self.view || self.verdict.is_some() {
            return;
        }
        if *answer != Answer::Verdict(Verdict::Late) {
            self.unwatched = true;
            return;
        }
        // The trusted component had no time, perhaps.
        self.try_identify(cx);
        match stage {
            Stage::Uneasy => {
                if let Some(value) = self.input.clone() {
                    cx.send(Target::Others, Message::Input { value });
                }
                let unasked = self.unasked().into_iter();
                canary!(
                    "views-trusts-in-a-quorum",
                    (),
                    unasked.for_each(|(proposal, voters)| self.want(proposal, voters, cx))
                );
                match self.has_begun() {
                    true => self.watch(Stage::Over, cx),
                    false => self.waits_in = None,
                }
            }
            Stage::Over => self.is_over = true,
        }
    }

    /// Leaves a view in which patience is over. (V5)
    pub(super) fn try_enter(&mut self, cx: &mut impl Context<Self>) {
        if !self.is_over || !self.is_free() {
            return;
        }
        self.is_over = false;
        self.view = self.view.next();
        let view = self.view;
        cx.persist(Record::Enters(view));
        self.intend(Intent { view, step: Step::Enter, proposal: Digest::default() }, cx);
    }

    /// The entry is identified: the leader is shown the last vote. (V5)
    pub(super) fn on_entered(
        &mut self,
        view: View,
        identifier: Attested<Identifier>,
        cx: &impl Context<Self>,
    ) -> Option<(Target, Message<V>)> {
        let last = self.here(cx).last_vote(&identifier);
        let vote = self.vote.clone().filter(|vote| Some(vote.view) == last);
        let enter = Enter { view, identifier, vote };
        let leader = self.leader(view);
        self.own_entry = Some(enter.clone());
        if leader == self.me {
            self.entered.insert(leader, enter);
            return None;
        }
        Some((Target::One(leader), Message::Enter(enter)))
    }

    /// Proposes, if this server leads and has enough to do it. (V1, V6)
    pub(super) fn try_lead(&mut self, cx: &mut impl Context<Self>) {
        self.follow_those_that_entered(cx);
        let view = self.view;
        let proposed = self.proposed.is_some_and(|proposed| proposed >= view);
        if self.leader(view) != self.me || proposed || !self.is_free() {
            return;
        }
        if view == View(0) {
            if let Some(value) = self.input.clone() {
                self.propose(value, view, None, Justification::none(), cx);
            }
            return;
        }
        let here = self.here(cx);
        let usable = |enter: &&Enter<V>| {
            enter.view == view && enter.vote.as_ref().is_none_or(|vote| self.accepts(&vote.value))
        };
        let entered = self.entered.iter().filter(|(_, enter)| usable(enter));
        let casts: Vec<Cast> = entered
            .clone()
            .map(|(party, enter)| Cast { party: *party, identifier: enter.identifier })
            .collect();
        let parties: PartySet = casts.iter().map(|cast| cast.party).collect();
        if !here.structure.is_quorum(parties) {
            return;
        }
        let votes = entered.filter_map(|(_, enter)| enter.vote.as_ref());
        let latest = votes.max_by_key(|vote| vote.view).cloned();
        let casts = List::new(casts).expect("one a party");
        match (canary!("views-leader-forgets-votes", None, latest), self.input.clone()) {
            (Some(latest), _) => {
                let Prepare { view: at, value, origin, first, identifier, justification } = latest;
                let basis = (at, identifier);
                let again = Justification::again(view, casts, basis, &justification);
                let Some(justification) = again else { return };
                let first = first.unwrap_or(identifier);
                self.propose(value, origin, Some(first), justification, cx);
            }
            (None, Some(value)) => {
                self.propose(value, view, None, Justification::free(view, casts), cx);
            }
            (None, None) => {}
        }
    }

    /// A quorum that entered a later view is enough for its leader to go there. (V6)
    fn follow_those_that_entered(&mut self, cx: &mut impl Context<Self>) {
        let structure = cx.group().structure();
        let later: Vec<View> = self.entered.values().map(|enter| enter.view).collect();
        for view in later {
            let parties: PartySet = self
                .entered
                .iter()
                .filter(|(_, enter)| enter.view == view)
                .map(|(party, _)| *party)
                .collect();
            if view > self.view && structure.is_quorum(parties) {
                self.view = view;
                self.is_over = false;
            }
        }
    }

    fn propose(
        &mut self,
        value: V,
        origin: View,
        first: Option<Attested<Identifier>>,
        justification: Justification,
        cx: &mut impl Context<Self>,
    ) {
        let view = self.view;
        self.proposed = Some(view);
        let proposal = super::message::proposal_digest(origin, digest_of(&value));
        cx.persist(Record::Proposes {
            view,
            value: value.clone(),
            origin,
            first,
            justification: justification.clone(),
        });
        self.proposing = Some((view, value, origin, first, justification));
        self.intend(Intent { view, step: Step::Prepare, proposal }, cx);
    }

    /// This server's proposal is identified. (V2)
    pub(super) fn on_proposed(
        &mut self,
        view: View,
        identifier: Attested<Identifier>,
    ) -> Option<(Target, Message<V>)> {
        let (of, value, origin, first, justification) = self.proposing.take()?;
        assert!(of == view, "one thing is identified at a time");
        let prepare = Prepare { view, value, origin, first, identifier, justification };
        self.vote = Some(prepare.clone());
        self.prepares.insert(self.me, prepare.clone());
        Some((Target::Others, Message::Prepare(prepare)))
    }
}
