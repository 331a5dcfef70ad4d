//! Admission control: each role has a reservation of the component's time, and no more.
//!
//! # Promise
//! Whatever a local process does, the others of its host get what is reserved for them.
//!
//! # Rules
//! - **N1** A configuration whose reservations exceed the component's share of a processor is
//!   refused (the utilisation test of earliest-deadline-first scheduling).
//! - **N2** A role's credit grows with time, at the rate of its reservation, up to its budget. A
//!   call costs what its kind takes at most; without credit it is refused.
//!
//! # Sources
//! Abeni and Buttazzo, "Integrating multimedia applications in hard real-time systems" (1998), the
//! constant bandwidth server, as in SCHED_DEADLINE.

use crate::clock::Local;
use maftia_ttcb_api::{Call, ROLES_MAX, Span};

/// How much of the component's time a role may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reservation {
    /// So much...
    pub budget: Span,
    /// ...in each such time.
    pub period: Span,
}

/// What calls are taken to cost at most, by kinds: at least twice what they took on average where
/// that was measured (docs/performance.md). Too little would make reservations overlap.
pub const PRICES: [Span; 3] =
    [Span::from_micros(40), Span::from_micros(60), Span::from_micros(150)];

/// What this call is taken to cost at most.
pub fn cost(call: &Call) -> Span {
    let [low, middle, high] = PRICES;
    match call {
        Call::Decide(_) | Call::Next { .. } | Call::Identify { .. } => middle,
        Call::Propose { .. } | Call::Open(_) | Call::Order { .. } => high,
        _ => low,
    }
}

/// What a frame costs that cannot be authenticated.
pub const FORGERY: Span = Span::from_micros(10);

/// What a handshake costs.
pub const HANDSHAKE: Span = Span::from_micros(300);

/// The credit of one role.
#[derive(Clone, Copy, Debug, Hash)]
struct Credit {
    reservation: Reservation,
    left: u64,
    at: Local,
}

/// The credits of all roles.
#[derive(Clone, Debug, Hash)]
pub struct Admission {
    credits: [Option<Credit>; ROLES_MAX],
}

/// Why reservations are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// A period of zero, or a budget greater than its period.
    Absurd(u8),
    /// All together want so many thousandths of a processor, of so many.
    Sum {
        /// What is wanted.
        wanted: u64,
        /// What there is.
        available: u64,
    },
}

impl Admission {
    /// Admits reservations that take at most `permille` of a processor together. (N1)
    pub fn new(
        reservations: &[Option<Reservation>; ROLES_MAX],
        permille: u64,
    ) -> Result<Self, Overload> {
        let mut wanted = 0;
        let mut credits = [None; ROLES_MAX];
        for (role, reservation) in reservations.iter().enumerate() {
            let Some(reservation) = *reservation else { continue };
            let Reservation { budget, period } = reservation;
            if period.0 == 0 || budget > period {
                return Err(Overload::Absurd(role as u8));
            }
            wanted += (u128::from(budget.0) * 1_000).div_ceil(u128::from(period.0)) as u64;
            credits[role] = Some(Credit { reservation, left: budget.0, at: Local(0) });
        }
        if wanted > permille {
            return Err(Overload::Sum { wanted, available: permille });
        }
        Ok(Self { credits })
    }

    /// Takes `cost` from a role's credit, if it has that much. (N2)
    pub fn admit(&mut self, role: u8, cost: Span, now: Local) -> bool {
        let Some(Some(credit)) = self.credits.get_mut(usize::from(role)) else { return false };
        let Reservation { budget, period } = credit.reservation;
        let elapsed = u128::from(now.0.saturating_sub(credit.at.0));
        let grown = elapsed * u128::from(budget.0) / u128::from(period.0);
        if grown > 0 {
            // What is less than a nanosecond stays for the next time.
            credit.at = now;
            credit.left = (u128::from(credit.left) + grown).min(u128::from(budget.0)) as u64;
        }
        let enough = credit.left >= cost.0;
        if enough {
            credit.left -= cost.0;
        }
        enough
    }

    /// How many roles there are.
    pub fn roles(&self) -> usize {
        self.credits.iter().flatten().count()
    }
}
