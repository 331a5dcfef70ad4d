//! What peers say is checked before it counts: one message of each kind at a time, and the newest
//! of those that come meanwhile.

use super::machine::ViewAgreement;
use super::message::{Enter, Message, Prepare, Step, View};
use super::{Here, proposal_of};
use crate::{Value, digest_of};
use maftia_base::canary;
use maftia_base::{Context, Digest, Fault, FaultKind, Party};
use maftia_crypto::{SealClaim, Suite, Work};

/// The kinds of messages that are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A leader's proposal.
    Prepare,
    /// A vote.
    Commit,
    /// An entry into a view.
    Enter,
    /// A decision.
    Decided,
}

/// Which work came back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ticket {
    /// The check of what this party sent.
    Check(Party, Kind),
    /// This server's proposal is identified.
    Prepare(View),
    /// This server's vote.
    Commit(View),
    /// This server's entry.
    Enter(View),
    /// The trusted component watches how long this takes: the handle.
    Watch(View, Stage),
    /// ... and says that it takes too long.
    Late(View, Stage),
}

/// How far patience has gone in a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Three quarters are over: tell all what there is to propose.
    Uneasy,
    /// It is over: enter the next view.
    Over,
}

/// A message under verification, and the newest that came after it.
#[derive(Clone, Debug, Hash)]
pub(super) struct Checking<V: Value> {
    pub(super) now: Message<V>,
    pub(super) next: Option<Message<V>>,
}

impl Kind {
    fn of<V: Value>(message: &Message<V>) -> Option<Self> {
        match message {
            Message::Prepare(_) => Some(Self::Prepare),
            Message::Commit { .. } => Some(Self::Commit),
            Message::Enter(_) => Some(Self::Enter),
            Message::Decided { .. } => Some(Self::Decided),
            Message::Input { .. } | Message::Ask { .. } => None,
        }
    }
}

/// What must hold of a proposal; `None` if it cannot. (V7)
fn prepare_claims<V: Value>(here: &Here<'_>, prepare: &Prepare<V>) -> Option<Vec<SealClaim>> {
    let Prepare { view, origin, first, identifier, justification, .. } = prepare;
    let proposal = proposal_of(prepare);
    let mut claims = justification.claims(here, *view, (*origin, proposal))?;
    claims.push(here.claim(here.leader(*view), (*view, Step::Prepare, proposal), identifier)?);
    match first {
        None if origin == view => {}
        Some(first) if origin < view => {
            let step = (*origin, Step::Prepare, proposal);
            claims.push(here.claim(here.leader(*origin), step, first)?);
        }
        _ => return None,
    }
    Some(claims)
}

/// What must hold of an entry: the vote that it shows is the last one.
fn enter_claims<V: Value>(
    here: &Here<'_>,
    from: Party,
    enter: &Enter<V>,
) -> Option<Vec<SealClaim>> {
    let Enter { view, identifier, vote } = enter;
    let step = (*view, Step::Enter, Digest::default());
    let mut claims = vec![here.claim(from, step, identifier)?];
    match canary!("views-entry-hides-vote", (None, &None), (here.last_vote(identifier), vote)) {
        (None, None) => {}
        (Some(last), Some(prepare)) if last == prepare.view && last < *view => {
            if !here.is_vote(identifier, last, proposal_of(prepare)) {
                return None;
            }
            claims.extend(prepare_claims(here, prepare)?);
        }
        _ => return None,
    }
    Some(claims)
}

impl<S: Suite, V: Value> ViewAgreement<S, V> {
    /// Takes in a message that has to be checked. (V3, V4, V6)
    pub(super) fn receive(
        &mut self,
        from: Party,
        message: Message<V>,
        cx: &mut impl Context<Self>,
    ) {
        let Some(kind) = Kind::of(&message) else { return };
        if self.barred.contains(&(from, kind)) || !self.is_of_use(from, &message) {
            return;
        }
        if let Some(checking) = self.checking.get_mut(&(from, kind)) {
            if checking.now != message {
                checking.next = Some(message);
            }
            return;
        }
        self.check(from, kind, message, cx);
    }

    /// Could it change anything?
    fn is_of_use(&self, from: Party, message: &Message<V>) -> bool {
        match message {
            Message::Prepare(prepare) => {
                prepare.view >= self.view
                    && self
                        .prepares
                        .get(&self.leader(prepare.view))
                        .is_none_or(|known| known.view < prepare.view)
            }
            Message::Commit { view, .. } => {
                self.commits.get(&from).is_none_or(|known| known.view < *view)
            }
            Message::Enter(enter) => {
                let newer = self.entered.get(&from).is_none_or(|known| known.view < enter.view);
                newer && enter.view >= self.view && self.leader(enter.view) == self.me
            }
            Message::Decided { .. } => true,
            Message::Input { .. } | Message::Ask { .. } => false,
        }
    }

    fn check(&mut self, from: Party, kind: Kind, message: Message<V>, cx: &mut impl Context<Self>) {
        let here = self.here(cx);
        let claims = match &message {
            Message::Prepare(prepare) => prepare_claims(&here, prepare),
            Message::Commit { view, proposal, identifier } => {
                let leads = here.leader(*view) == from;
                let claim = here.claim(from, (*view, Step::Commit, *proposal), identifier);
                claim.filter(|_| !leads).map(|claim| vec![claim])
            }
            Message::Enter(enter) => enter_claims(&here, from, enter),
            Message::Decided { value, decision } => {
                match decision.check::<S>(&here, digest_of(value)) {
                    Some(Work::VerifySeals(claims)) => Some(claims),
                    _ => None,
                }
            }
            Message::Input { .. } | Message::Ask { .. } => None,
        };
        let Some(claims) = claims else {
            self.barred.insert((from, kind));
            return cx.blame(Fault::suspected(from, FaultKind::InvalidValue));
        };
        self.checking.insert((from, kind), Checking { now: message, next: None });
        cx.offload(Ticket::Check(from, kind), Work::VerifySeals(claims));
    }

    /// Handles the verdict on a message.
    pub(super) fn on_checked(
        &mut self,
        from: Party,
        kind: Kind,
        verdicts: &[bool],
        cx: &mut impl Context<Self>,
    ) {
        let Some(Checking { now, next }) = self.checking.remove(&(from, kind)) else { return };
        if verdicts.iter().all(|good| *good) {
            self.on_good(from, now, cx);
        } else {
            self.barred.insert((from, kind));
            cx.blame(Fault::suspected(from, FaultKind::BadSignature));
        }
        if let Some(next) = next {
            self.receive(from, next, cx);
        }
    }
}
