//! Durations, timing failures and timely execution.
//!
//! # Promise
//! A verdict is never wrong: [`Verdict::InTime`] and [`Verdict::Late`] are told only when the
//! uncertainty of the clocks allows no other, and otherwise [`Verdict::Unknown`].
//!
//! # Rules
//! - **M1** `Begin` notes the local time; `End` tells between which lengths the duration lies,
//!   given how much the local clock may drift.
//! - **M2** `Watch` is a duration with a limit. `Complete` judges it; `Await` is answered when it
//!   is completed or certainly late.
//! - **M3** `Sent` tells the receiver's component what the sender's clock showed when a message was
//!   sent, and how long it may take. When the receiver says that it came, the two are compared;
//!   who says so before the notice has come is answered when it does.
//! - **M4** `Execute` is done when it is certainly the time for it; if it is then perhaps later
//!   than allowed, it is refused.
//!
//! # Bounds
//! [`HANDLES`] for each role, which the oldest leaves for a new one; and apart from these, for each
//! role and each host, [`NOTICES`] messages that were sent from there: nobody takes another's
//! places.
//!
//! # Sources
//! The duration measurement, timing failure detection and timely execution services of the TTCB.

use crate::clock::Local;
use crate::outputs::Outputs;
use maftia_ttcb_api::{
    Answer, EntityId, HOSTS_MAX, Interval, Moment, Operation, ROLES_MAX, Refusal, Span, Value,
    Verdict,
};

/// How much of each kind a role may have under way.
pub const HANDLES: usize = 32;

/// How many messages from one host to one role may be announced and not received.
pub const NOTICES: usize = 4;

/// A message that was sent to a local entity.
#[derive(Clone, Copy, Debug, Hash)]
struct Notice {
    from: EntityId,
    value: Value,
    at: Moment,
    within: Span,
}

/// Something that one role has under way.
#[derive(Clone, Copy, Debug, Hash)]
struct Handle {
    number: u16,
    kind: Kind,
    /// The call that waits for it.
    waiting: Option<u64>,
}

#[derive(Clone, Copy, Debug, Hash)]
enum Kind {
    Measurement { begun: Local },
    Watch { begun: Local, within: Span, verdict: Option<Verdict> },
    Arrival { from: EntityId, value: Value, came: Interval },
    Execution { operation: Operation, at: Moment, by: Moment },
}

/// What is under way for all roles of one local component.
#[derive(Clone, Debug, Hash)]
pub struct Timing {
    drift_ppm: u64,
    next: u16,
    handles: Box<[[Option<Handle>; HANDLES]]>,
    /// By role, and by the sender's host: the latest last.
    notices: Box<[[[Option<Notice>; NOTICES]; HOSTS_MAX]]>,
}

impl Timing {
    /// With the most that the local clock drifts, in parts per million.
    pub fn new(drift_ppm: u64) -> Self {
        let handles = vec![[None; HANDLES]; ROLES_MAX].into_boxed_slice();
        let notices = vec![[[None; NOTICES]; HOSTS_MAX]; ROLES_MAX].into_boxed_slice();
        Self { drift_ppm, next: 1, handles, notices }
    }

    /// Begins to measure. (M1)
    pub fn begin(&mut self, role: u8, now: Local, out: &mut impl Outputs) -> Answer {
        Answer::Begun(self.insert(role, Kind::Measurement { begun: now }, None, out))
    }

    /// Ends a measurement. (M1)
    pub fn end(&mut self, role: u8, number: u16, now: Local) -> Answer {
        let Some(place) = self.find(role, number) else {
            return Answer::Refused(Refusal::Unknown);
        };
        match *place {
            Some(Handle { kind: Kind::Measurement { begun }, .. }) => {
                *place = None;
                let (least, most) = self.lasted(begun, now);
                Answer::Lasted { least, most }
            }
            _ => Answer::Refused(Refusal::Unknown),
        }
    }

    /// Begins to watch. (M2)
    pub fn watch(&mut self, role: u8, within: Span, now: Local, out: &mut impl Outputs) -> Answer {
        let kind = Kind::Watch { begun: now, within, verdict: None };
        Answer::Begun(self.insert(role, kind, None, out))
    }

    /// The watched operation is completed. (M2)
    pub fn complete(
        &mut self,
        role: u8,
        number: u16,
        now: Local,
        out: &mut impl Outputs,
    ) -> Answer {
        let Some(mut handle) = self.find(role, number).and_then(|place| *place) else {
            return Answer::Refused(Refusal::Unknown);
        };
        let Kind::Watch { begun, within, verdict } = handle.kind else {
            return Answer::Refused(Refusal::Unknown);
        };
        let verdict = verdict.unwrap_or_else(|| judge(self.lasted(begun, now), within));
        if let Some(waiting) = handle.waiting.take() {
            out.answer(role, waiting, Answer::Verdict(verdict));
        }
        handle.kind = Kind::Watch { begun, within, verdict: Some(verdict) };
        self.replace(role, number, Some(handle));
        Answer::Verdict(verdict)
    }

    /// Tells when the watched operation is completed or late. (M2)
    pub fn wait(&mut self, role: u8, number: u16, call: u64) -> Option<Answer> {
        match self.find(role, number) {
            Some(Some(handle)) => match handle.kind {
                Kind::Watch { verdict: Some(verdict), .. } => Some(Answer::Verdict(verdict)),
                Kind::Watch { .. } => {
                    handle.waiting = Some(call);
                    None
                }
                _ => Some(Answer::Refused(Refusal::Unknown)),
            },
            _ => Some(Answer::Refused(Refusal::Unknown)),
        }
    }

    /// A message to a local entity was sent. (M3)
    pub fn on_sent(
        &mut self,
        from: EntityId,
        to: EntityId,
        value: Value,
        at: Moment,
        within: Span,
        out: &mut impl Outputs,
    ) {
        let arrived = |handle: &Handle| match handle.kind {
            Kind::Arrival { from: of, value: what, came } if (of, what) == (from, value) => {
                Some(came)
            }
            _ => None,
        };
        for place in self.of(to.role) {
            let Some((handle, came)) = place.and_then(|handle| Some((handle, arrived(&handle)?)))
            else {
                continue;
            };
            *place = None;
            if let Some(waiting) = handle.waiting {
                let verdict = judge_travel(at, came, within);
                out.answer(to.role, waiting, Answer::Verdict(verdict));
            }
            return;
        }
        let notices = self.notices_of(to.role, from);
        notices.rotate_left(1);
        notices[NOTICES - 1] = Some(Notice { from, value, at, within });
    }

    /// A message has come to a local entity. (M3)
    pub fn received(
        &mut self,
        role: u8,
        from: EntityId,
        value: Value,
        came: Interval,
        call: u64,
        out: &mut impl Outputs,
    ) -> Option<Answer> {
        let is_it = |notice: &mut Notice| (notice.from, notice.value) == (from, value);
        let notices = self.notices_of(role, from).iter_mut();
        let taken = notices.filter_map(|place| place.take_if(is_it)).next();
        if let Some(Notice { at, within, .. }) = taken {
            return Some(Answer::Verdict(judge_travel(at, came, within)));
        }
        self.insert(role, Kind::Arrival { from, value, came }, Some(call), out);
        None
    }

    /// Executes an operation at a time. (M4)
    pub fn execute(
        &mut self,
        role: u8,
        operation: Operation,
        (at, by): (Moment, Moment),
        call: u64,
        out: &mut impl Outputs,
    ) {
        self.insert(role, Kind::Execution { operation, at, by }, Some(call), out);
    }

    /// Does what is due. (M2, M4)
    pub fn tick(&mut self, now: Local, time: Option<Interval>, out: &mut impl Outputs) {
        for role in 0..ROLES_MAX as u8 {
            for index in 0..HANDLES {
                let Some(handle) = self.of(role)[index] else { continue };
                if let Some(left) = self.due(role, handle, now, time, out) {
                    self.of(role)[index] = left;
                }
            }
        }
    }

    /// What becomes of a handle whose time has come; `None` if it has not.
    fn due(
        &self,
        role: u8,
        mut handle: Handle,
        now: Local,
        time: Option<Interval>,
        out: &mut impl Outputs,
    ) -> Option<Option<Handle>> {
        match handle.kind {
            Kind::Watch { begun, within, verdict: None } => {
                let verdict = judge(self.lasted(begun, now), within);
                (verdict == Verdict::Late).then(|| {
                    if let Some(waiting) = handle.waiting.take() {
                        out.answer(role, waiting, Answer::Verdict(verdict));
                    }
                    handle.kind = Kind::Watch { begun, within, verdict: Some(verdict) };
                    Some(handle)
                })
            }
            Kind::Execution { operation, at, by } => {
                let time = time.filter(|time| time.earliest >= at)?;
                let answer = match time.latest <= by {
                    true => {
                        let disclosed = operation == Operation::Disclose;
                        let value = if disclosed { out.random() } else { Value::default() };
                        Answer::Executed { time, value }
                    }
                    false => Answer::Refused(Refusal::TooLate),
                };
                if let Some(waiting) = handle.waiting {
                    out.answer(role, waiting, answer);
                }
                Some(None)
            }
            _ => None,
        }
    }

    /// Nobody waits any more for what a role asked.
    pub fn forget_calls(&mut self, role: u8) {
        self.of(role).iter_mut().flatten().for_each(|handle| handle.waiting = None);
    }

    /// In how much local time something will be due, given the present common time.
    pub fn next_due(&self, now: Local, time: Option<Interval>) -> Option<Span> {
        let due = |handle: &Handle| match handle.kind {
            Kind::Watch { begun, within, verdict: None } => {
                let late = begun.0.saturating_add(within.0).saturating_add(within.0 / 1_000);
                Some(Span(late.saturating_sub(now.0).saturating_add(1)))
            }
            Kind::Execution { at, .. } => Some(Span(at.0.saturating_sub(time?.earliest.0))),
            _ => None,
        };
        self.handles.iter().flatten().flatten().filter_map(due).min()
    }

    /// Between which lengths the time since `begun` lies.
    fn lasted(&self, begun: Local, now: Local) -> (Span, Span) {
        let measured = now.0.saturating_sub(begun.0);
        let error = measured.div_ceil(1_000_000) * self.drift_ppm + 1;
        (Span(measured.saturating_sub(error)), Span(measured.saturating_add(error)))
    }

    /// Messages to a role from the host of `from`.
    fn notices_of(&mut self, role: u8, from: EntityId) -> &mut [Option<Notice>; NOTICES] {
        &mut self.notices[usize::from(role) % ROLES_MAX][usize::from(from.host.0) % HOSTS_MAX]
    }

    fn of(&mut self, role: u8) -> &mut [Option<Handle>; HANDLES] {
        &mut self.handles[usize::from(role) % ROLES_MAX]
    }

    fn find(&mut self, role: u8, number: u16) -> Option<&mut Option<Handle>> {
        self.of(role).iter_mut().find(|place| place.is_some_and(|handle| handle.number == number))
    }

    fn replace(&mut self, role: u8, number: u16, handle: Option<Handle>) {
        if let Some(place) = self.find(role, number) {
            *place = handle;
        }
    }

    /// Puts something at a free place, or at that of the oldest.
    fn insert(
        &mut self,
        role: u8,
        kind: Kind,
        waiting: Option<u64>,
        out: &mut impl Outputs,
    ) -> u16 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let age = |place: &Option<Handle>| match place {
            Some(handle) => number.wrapping_sub(handle.number),
            None => u16::MAX,
        };
        let places = self.of(role);
        let oldest = (0..HANDLES).max_by_key(|index| age(&places[*index])).unwrap_or_default();
        if let Some(waiting) = places[oldest].and_then(|handle| handle.waiting) {
            out.answer(role, waiting, Answer::Refused(Refusal::Full));
        }
        places[oldest] = Some(Handle { number, kind, waiting });
        number
    }
}

fn judge((least, most): (Span, Span), within: Span) -> Verdict {
    if most <= within {
        Verdict::InTime
    } else if least > within {
        Verdict::Late
    } else {
        Verdict::Unknown
    }
}

/// The sender's clock showed `at` when it sent, and when the message came something in `came`, as
/// the receiver's interval contains what the sender's clock shows.
fn judge_travel(at: Moment, came: Interval, within: Span) -> Verdict {
    let most = Span(came.latest.0.saturating_sub(at.0));
    let least = Span(came.earliest.0.saturating_sub(at.0));
    judge((least, most), within)
}
