//! What a host may do to a server: fill its disk, set its clock, stop its process. The server goes
//! on by itself afterwards; here it notices, and says so.
//!
//! # Promise
//! - A server that was stopped, or did not get to run, for longer than [`PAUSE`], says for how
//!   long. Nothing else depends on it: no protocol here knows a time-out.
//! - A step of the wall clock by more than [`STEP`] is told. Signed readings are held back where
//!   the clock goes back; agreed time is right as long as the group has enough right clocks.
//! - While the disk has less room than [`ROOM_LEAST`], the server hears nothing, so that it writes
//!   nothing more than what it has begun; when there is room again it goes on. Nothing is lost.

use crate::clock::Clock;
use maftia_base::time::{Reading, Time};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A server that did nothing for so long is told that it was stopped.
pub const PAUSE: Duration = Duration::from_secs(5);

/// A wall clock that moves by so much more or less than time passed was set.
pub const STEP: Duration = Duration::from_secs(2);

/// With less room than this on its disk a server begins nothing: four times what may wait to be
/// written.
pub const ROOM_LEAST: u64 = 4 * crate::engine::UNSYNCED_BYTES_MAX as u64;

/// A server that waits for room goes on with this much.
const ENOUGH: u64 = 2 * ROOM_LEAST;

/// How often the room on the disk is looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Something that happened to this server's host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The process did not run for so long.
    Paused(Duration),
    /// The wall clock was set forward.
    Forward(Duration),
    /// The wall clock was set back.
    Back(Duration),
    /// There is too little room on the disk: so many bytes.
    DiskFull(u64),
    /// There is room again.
    DiskRoom(u64),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused(time) => {
                write!(f, "this process did not run for {:.1} s", time.as_secs_f64())
            }
            Self::Forward(by) => {
                write!(f, "the clock was set forward by {:.1} s", by.as_secs_f64())
            }
            Self::Back(by) => write!(f, "the clock was set back by {:.1} s", by.as_secs_f64()),
            Self::DiskFull(bytes) => write!(
                f,
                "no room on the disk: {} MiB are left; waiting until there are {} MiB",
                bytes >> 20,
                ENOUGH >> 20
            ),
            Self::DiskRoom(bytes) => {
                write!(f, "there is room on the disk again: {} MiB", bytes >> 20)
            }
        }
    }
}

/// Looks at the clocks again and again.
#[derive(Debug, Default)]
pub struct Watch {
    last: Option<(Time, Reading)>,
    was_full: bool,
}

impl Watch {
    /// What has happened since the last look.
    pub fn look(&mut self, clock: &dyn Clock, room: &Room) -> Vec<Trouble> {
        let (now, wall) = (clock.now(), clock.wall());
        let mut troubles = Vec::new();
        if let Some((then, before)) = self.last.replace((now, wall)) {
            let passed = Duration::from_micros(now.0.saturating_sub(then.0));
            let shown = i128::from(wall.0) - i128::from(before.0);
            let step = shown - i128::try_from(passed.as_micros()).unwrap_or(i128::MAX);
            let size = Duration::from_micros(step.unsigned_abs().try_into().unwrap_or(u64::MAX));
            if passed >= PAUSE {
                troubles.push(Trouble::Paused(passed));
            }
            if size >= STEP {
                let trouble = if step > 0 { Trouble::Forward } else { Trouble::Back };
                troubles.push(trouble(size));
            }
        }
        if room.is_low() != self.was_full {
            self.was_full = !self.was_full;
            let left = room.left();
            let trouble = if self.was_full { Trouble::DiskFull } else { Trouble::DiskRoom };
            troubles.push(trouble(left));
        }
        troubles
    }
}

/// The room on the disk that the log is on, as it was when it was last looked at.
#[derive(Debug)]
pub struct Room {
    left: AtomicU64,
    low: AtomicBool,
}

impl Default for Room {
    /// Room enough, for ever.
    fn default() -> Self {
        Self { left: AtomicU64::new(u64::MAX), low: AtomicBool::new(false) }
    }
}

impl Room {
    /// Is there too little to begin anything?
    pub fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    /// Bytes that are left.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Notes what is left. Room that was low is enough again only at twice the least, so that a
    /// server at the edge does not stop and go.
    pub fn note(&self, left: u64) {
        self.left.store(left, Ordering::Relaxed);
        let least = if self.is_low() { ENOUGH } else { ROOM_LEAST };
        self.low.store(left < least, Ordering::Relaxed);
    }

    /// Looks at the file system of `folder` now; what cannot be looked at counts as room enough,
    /// for the log itself will say what is wrong with it.
    pub fn look_at(&self, folder: &PathBuf) {
        // A file system of no size at all does not say how much room it has.
        let sized = rustix::fs::statvfs(folder).ok().filter(|room| room.f_blocks > 0);
        let left = sized.map_or(u64::MAX, |room| room.f_bavail.saturating_mul(room.f_frsize));
        self.note(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Set(Mutex<(u64, u64)>);

    impl Set {
        fn to(&self, now: u64, wall: u64) {
            *self.0.lock().expect("one thread") = (now, wall);
        }
    }

    impl Clock for Set {
        fn now(&self) -> Time {
            Time(self.0.lock().expect("one thread").0)
        }

        fn reading(&self) -> Reading {
            Reading(self.0.lock().expect("one thread").1)
        }
    }

    const S: u64 = 1_000_000;

    #[test]
    fn tells_a_stopped_process_from_a_set_clock() {
        let (clock, room, mut watch) = (Set::default(), Room::default(), Watch::default());
        let mut look = |now: u64, wall: u64| {
            clock.to(now, wall);
            watch.look(&clock, &room)
        };
        assert_eq!(look(10 * S, 500 * S), []);
        assert_eq!(look(11 * S, 501 * S + 300), [], "nothing happened");
        let paused = Duration::from_secs(120);
        assert_eq!(look(131 * S, 621 * S), [Trouble::Paused(paused)]);
        assert_eq!(look(132 * S, 4_222 * S), [Trouble::Forward(Duration::from_secs(3_600))]);
        assert_eq!(look(133 * S, 223 * S), [Trouble::Back(Duration::from_secs(4_000))]);
        let both = [Trouble::Paused(paused), Trouble::Forward(Duration::from_secs(60))];
        assert_eq!(look(253 * S, 403 * S), both);
    }

    #[test]
    fn a_disk_at_the_edge_does_not_make_a_server_stop_and_go() {
        let (clock, room, mut watch) = (Set::default(), Room::default(), Watch::default());
        let mut look = |left: u64| {
            room.note(left);
            watch.look(&clock, &room)
        };
        assert_eq!(look(ROOM_LEAST), []);
        assert_eq!(look(ROOM_LEAST - 1), [Trouble::DiskFull(ROOM_LEAST - 1)]);
        assert_eq!(look(ROOM_LEAST + 1), [], "told once, and not yet enough");
        assert_eq!(look(2 * ROOM_LEAST), [Trouble::DiskRoom(2 * ROOM_LEAST)]);
    }
}
