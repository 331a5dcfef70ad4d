//! Officers: what takes the word of several people.
//!
//! # Promise
//! *Never fewer*: nothing that needs officers happens before as many of them as the policy asks for
//! have said the same, each with a key of his own.
//!
//! # Rules
//! - F1. Officers approve or refuse an order that names what needs their approval, as long as it
//!   waits. The first word of each counts. With enough approvals a finalized order goes on; when so
//!   many refuse that enough can no longer approve, it ends.
//! - F2. Officers have a certificate revoked, or an account shut, when enough of them have said the
//!   same within [`MOTION_SECONDS`].
//!
//! # Bounds
//! Each officer has a word in at most [`MOTIONS_PER_OFFICER_MAX`] matters of the second kind that
//! are open.

use super::account::AccountStatus;
use super::agenda::Due;
use super::audit::AuditEvent;
use super::order::{Ending, Order, Progress, Voices};
use super::table::Table;
use super::wire::{
    CaAnswer, CaRefusal, OFFICERS_MAX, OfficerCommand, PENDING_PAGE_MAX, PendingOrder, RevokedBy,
    Standing,
};
use super::{Authority, Identifier, Step};
use maftia_base::wire::{List, wire_struct};
use maftia_crypto::ClientKey;

/// How long officers have to agree on a revocation, or on shutting an account: a week.
pub const MOTION_SECONDS: u64 = 7 * 86_400;

/// Open matters in which one officer has a word, orders aside.
const MOTIONS_PER_OFFICER_MAX: usize = 16;

const MOTIONS_MAX: usize = MOTIONS_PER_OFFICER_MAX * OFFICERS_MAX;

/// The matters that are open, orders aside.
pub(super) type Motions = Table<OfficerCommand, Motion, MOTIONS_MAX>;

/// Who is for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Motion {
    /// A bit for each officer.
    said: u32,
    pub(super) expires: u64,
}

wire_struct!(Motion { said, expires });

impl Authority {
    /// An officer has a say.
    pub(super) fn on_officer(
        &mut self,
        key: ClientKey,
        command: OfficerCommand,
        step: &Step<'_>,
    ) -> CaAnswer {
        let officers = &self.policy.settings().officers.keys;
        let Some(officer) = officers.iter().position(|officer| *officer == key) else {
            return CaAnswer::Refused(CaRefusal::NotAnOfficer);
        };
        let said = match command {
            OfficerCommand::Approve { order } => self.on_word(officer, order, true, step),
            OfficerCommand::Refuse { order } => self.on_word(officer, order, false, step),
            OfficerCommand::Revoke { .. } | OfficerCommand::Suspend { .. } => {
                self.on_motion(officer, command, step)
            }
        };
        match said {
            Ok(standing) => CaAnswer::Noted(standing),
            Err(refusal) => CaAnswer::Refused(refusal),
        }
    }

    /// Have officers to approve one of these names?
    pub(super) fn needs_approval<'a>(
        &self,
        names: impl IntoIterator<Item = &'a Identifier>,
    ) -> bool {
        names.into_iter().any(|name| self.policy.settings().officers.names.permits(name))
    }

    /// Have enough officers approved it, if any must?
    pub(super) fn has_approval(&self, order: &Order) -> bool {
        let needed = self.policy.settings().officers.needed;
        order.voices.is_none_or(|voices| voices.approvals.count_ones() as usize >= needed)
    }

    /// The orders on which officers have a say, from one number on.
    pub(super) fn pending(&self, from: u64) -> List<PendingOrder, PENDING_PAGE_MAX> {
        let numbers = self.index.before_officers.range(from..).take(PENDING_PAGE_MAX);
        let shown = numbers.map(|number| {
            let order = &self.state.orders[number];
            let voices = order.voices.unwrap_or_default();
            PendingOrder {
                order: *number,
                account: order.account,
                thumbprint: self.state.accounts[&order.account].key.thumbprint(),
                names: order.names.clone(),
                expires: order.expires,
                approvals: officers_of(voices.approvals),
                refusals: officers_of(voices.refusals),
            }
        });
        List::new(shown.collect()).expect("no more than a page")
    }

    /// They have not agreed in time.
    pub(super) fn on_motion_due(&mut self, command: OfficerCommand) {
        if let Some(motion) = self.state.motions.remove(&command) {
            self.index.agenda.remove(motion.expires, Due::Motion(command));
        }
    }

    /// A word on an order. (F1)
    fn on_word(
        &mut self,
        officer: usize,
        id: u64,
        is_approval: bool,
        step: &Step<'_>,
    ) -> Result<Standing, CaRefusal> {
        let order = self.state.orders.get(&id).filter(|order| order.is_before_officers());
        let Some(order) = order else { return Err(CaRefusal::Unknown) };
        let mut voices = order.voices.unwrap_or_default();
        let bit = 1 << officer;
        if (voices.approvals | voices.refusals) & bit != 0 {
            return Err(CaRefusal::Repeated);
        }
        let officers = &self.policy.settings().officers;
        let (said, needed) = if is_approval {
            voices.approvals |= bit;
            (voices.approvals.count_ones() as usize, officers.needed)
        } else {
            voices.refusals |= bit;
            (voices.refusals.count_ones() as usize, officers.keys.len() + 1 - officers.needed)
        };
        let is_done = said >= needed;
        let wish = match &order.progress {
            Progress::Approving(wish) if is_approval && is_done => Some(wish.clone()),
            _ => None,
        };
        if wish.is_some() && !self.state.signing.has_room() {
            return Err(CaRefusal::Full);
        }
        self.change_order(id, |order| order.voices = Some(voices));
        let command = match is_approval {
            true => OfficerCommand::Approve { order: id },
            false => OfficerCommand::Refuse { order: id },
        };
        self.note(officer, command, is_done, step);
        if let Some(wish) = wish {
            // What cannot be issued now will not be issued later: nobody is left waiting.
            if self.begin_certificate(id, wish, step).is_err() {
                self.end_order(id, Ending::NotIssuable, step.now);
            }
        } else if is_done && !is_approval {
            self.end_order(id, Ending::Refused, step.now);
        }
        Ok(Standing { said: said as u8, needed: needed as u8, is_done })
    }

    /// A word on a certificate or an account. (F2)
    fn on_motion(
        &mut self,
        officer: usize,
        command: OfficerCommand,
        step: &Step<'_>,
    ) -> Result<Standing, CaRefusal> {
        if !self.is_possible(command, step.now) {
            return Err(CaRefusal::Unknown);
        }
        let bit = 1 << officer;
        let before = self.state.motions.get(&command).copied();
        if before.is_some_and(|motion| motion.said & bit != 0) {
            return Err(CaRefusal::Repeated);
        }
        let own = self.state.motions.values().filter(|motion| motion.said & bit != 0).count();
        let expires = step.now.saturating_add(MOTION_SECONDS);
        let mut motion = before.unwrap_or(Motion { said: 0, expires });
        motion.said |= bit;
        let (said, needed) =
            (motion.said.count_ones() as usize, self.policy.settings().officers.needed);
        let is_done = said >= needed;
        if !is_done && own >= MOTIONS_PER_OFFICER_MAX {
            return Err(CaRefusal::Full);
        }
        self.note(officer, command, is_done, step);
        if is_done {
            self.on_motion_due(command);
            self.carry_out(command, step);
        } else {
            self.state.motions.insert(command, motion);
            self.index.agenda.insert(motion.expires, Due::Motion(command));
        }
        Ok(Standing { said: said as u8, needed: needed as u8, is_done })
    }

    fn is_possible(&self, command: OfficerCommand, now: u64) -> bool {
        match command {
            OfficerCommand::Revoke { serial, .. } => {
                let certificate = self.state.certificates.get(&serial);
                certificate
                    .is_some_and(|found| found.revocation.is_none() && now <= found.not_after)
            }
            OfficerCommand::Suspend { account } => {
                let account = self.state.accounts.get(&account);
                account.is_some_and(|account| account.status != AccountStatus::Revoked)
            }
            OfficerCommand::Approve { .. } | OfficerCommand::Refuse { .. } => false,
        }
    }

    fn carry_out(&mut self, command: OfficerCommand, step: &Step<'_>) {
        match command {
            OfficerCommand::Revoke { serial, reason } => {
                self.revoke(serial, reason, RevokedBy::Officers, step.now);
            }
            OfficerCommand::Suspend { account } => {
                self.shut_account(account, AccountStatus::Revoked, step);
            }
            OfficerCommand::Approve { .. } | OfficerCommand::Refuse { .. } => {}
        }
    }

    fn note(&mut self, officer: usize, command: OfficerCommand, is_done: bool, step: &Step<'_>) {
        let officer = officer as u8;
        self.state.audit.enter(step.now, AuditEvent::OfficerSpoke { officer, command, is_done });
    }
}

/// The officers whose bits are set.
pub(super) fn officers_of(bits: u32) -> List<u8, OFFICERS_MAX> {
    let officers = (0..OFFICERS_MAX as u8).filter(|officer| bits & (1 << officer) != 0);
    List::new(officers.collect()).expect("no more than there are bits")
}

const _: () = assert!(OFFICERS_MAX == u32::BITS as usize, "a bit for each officer");

impl Voices {
    /// No officer has both approved and refused.
    pub(super) fn is_sound(self) -> bool {
        self.approvals & self.refusals == 0
    }
}
