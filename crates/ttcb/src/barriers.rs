//! The barriers around the trusted component, by name, and what each test of them proves.
//!
//! | name | what is tried | by whom |
//! | --- | --- | --- |
//! | `control-network` | to send to the control sockets; does its own host's get it? | payload |
//! | `control-firewall` | to send from within the daemon's name space | payload's user |
//! | `memory` | to read the daemon's memory, in two ways | payload |
//! | `tracing` | to attach to the daemon with ptrace | payload |
//! | `socket-user` | to connect, as a user without a role and as the payload's | two users |
//! | `user-namespaces` | to make a user name space | payload |
//! | `payload-capabilities` | which it has, and whether it could get any | payload |
//! | `processor` | to move to the daemon's processor | payload |
//! | `own-user` | whether it runs as a user of its own | daemon |
//! | `real-time` | whether it is scheduled by SCHED_FIFO | daemon |
//! | `locked-memory` | whether the kernel locked all of it | daemon |
//! | `undumpable` | whether the kernel says so | daemon |
//! | `capabilities` | whether all its sets are empty, the bounding set too | daemon |
//! | `no-new-privileges` | whether the kernel says so | daemon |
//! | `file-system` | to open a folder, after Landlock | daemon |
//! | `system-calls` | whether the kernel filters them | daemon |
//!
//! "Payload" is a process of the launcher's that is started as the payload is: in its name space,
//! as its user, with its filters. It tells the launcher through a pipe, which no other process of
//! that user can write to. What such a test cannot prove: that a fault of the kernel does not open
//! another way.

use std::fmt;

/// One barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Barrier {
    /// The payload cannot reach the control network.
    ControlNetwork,
    /// Only the daemon's user may send on the control network.
    ControlFirewall,
    /// The payload cannot read the daemon's memory.
    Memory,
    /// The payload cannot trace the daemon.
    Tracing,
    /// Only users with a role are served.
    SocketUser,
    /// The payload cannot make a user name space, in which it would have capabilities.
    UserNamespaces,
    /// The payload has no capabilities.
    PayloadCapabilities,
    /// The payload cannot run on the daemon's processor.
    Processor,
    /// The daemon runs as a user of its own.
    OwnUser,
    /// The daemon runs before everything else.
    RealTime,
    /// The daemon's memory stays in memory.
    LockedMemory,
    /// The daemon leaves no dump, and belongs to root in /proc.
    Undumpable,
    /// The daemon has no capabilities.
    Capabilities,
    /// The daemon can gain none.
    NoNewPrivileges,
    /// The daemon can open no file and no TCP connection.
    FileSystem,
    /// The daemon can make only the system calls of its list.
    SystemCalls,
}

/// What is known of a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was tested and holds.
    Held,
    /// It was tested and does not.
    Missing,
    /// It was not tested, or the test was disturbed.
    Untested,
}

impl State {
    /// Held or missing.
    pub fn of(held: bool) -> Self {
        if held { Self::Held } else { Self::Missing }
    }

    /// As it is told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Missing => "missing",
            Self::Untested => "untested",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        [Self::Held, Self::Missing, Self::Untested].into_iter().find(|state| state.name() == name)
    }
}

impl Barrier {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::ControlNetwork,
        Self::ControlFirewall,
        Self::Memory,
        Self::Tracing,
        Self::SocketUser,
        Self::UserNamespaces,
        Self::PayloadCapabilities,
        Self::Processor,
        Self::OwnUser,
        Self::RealTime,
        Self::LockedMemory,
        Self::Undumpable,
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::FileSystem,
        Self::SystemCalls,
    ];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::ControlNetwork => "control-network",
            Self::ControlFirewall => "control-firewall",
            Self::Memory => "memory",
            Self::Tracing => "tracing",
            Self::SocketUser => "socket-user",
            Self::UserNamespaces => "user-namespaces",
            Self::PayloadCapabilities => "payload-capabilities",
            Self::Processor => "processor",
            Self::OwnUser => "own-user",
            Self::RealTime => "real-time",
            Self::LockedMemory => "locked-memory",
            Self::Undumpable => "undumpable",
            Self::Capabilities => "capabilities",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::FileSystem => "file-system",
            Self::SystemCalls => "system-calls",
        }
    }

    /// The barrier of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|barrier| barrier.name() == name)
    }
}

/// What is known of all barriers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report([State; Barrier::ALL.len()]);

impl Default for Report {
    fn default() -> Self {
        Self([State::Untested; Barrier::ALL.len()])
    }
}

impl Report {
    /// Notes the result of a test.
    pub fn note(&mut self, barrier: Barrier, state: State) {
        self.0[barrier as usize] = state;
    }

    /// What is known of one.
    pub fn state(&self, barrier: Barrier) -> State {
        self.0[barrier as usize]
    }

    /// Takes the results of another report that has any.
    pub fn merge(&mut self, other: &Self) {
        for barrier in Barrier::ALL {
            if other.state(barrier) != State::Untested {
                self.note(barrier, other.state(barrier));
            }
        }
    }

    /// Reads lines of a name and a state each; whatever else stands behind is for people.
    pub fn read(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split(' ');
            let barrier = words.next().and_then(Barrier::of_name);
            let state = words.next().and_then(State::of_name);
            if let (Some(barrier), Some(state)) = (barrier, state) {
                self.note(barrier, state);
            }
        }
    }

    /// The barriers that do not hold, and that the configuration does not accept to be missing.
    pub fn unacceptable<'a>(
        &'a self,
        accepted: &'a [Barrier],
    ) -> impl Iterator<Item = (Barrier, State)> + 'a {
        Barrier::ALL
            .into_iter()
            .map(|barrier| (barrier, self.state(barrier)))
            .filter(|(barrier, state)| *state != State::Held && !accepted.contains(barrier))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for barrier in Barrier::ALL {
            writeln!(f, "{} {}", barrier.name(), self.state(barrier).name())?;
        }
        Ok(())
    }
}

/// Why the daemon does not start, as a sentence.
pub fn refusal(barrier: Barrier, state: State) -> String {
    let how = match state {
        State::Missing => "is missing",
        _ => "was not tested",
    };
    let name = barrier.name();
    format!(
        "the barrier `{name}` {how}, and the configuration does not accept that: \
         put it up, or add \"{name}\" to `accept_missing`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_barrier_has_its_place_and_its_name() {
        for (index, barrier) in Barrier::ALL.into_iter().enumerate() {
            assert_eq!(barrier as usize, index);
            assert_eq!(Barrier::of_name(barrier.name()), Some(barrier));
        }
    }

    #[test]
    fn what_is_not_known_to_hold_has_to_be_accepted_by_name() {
        let mut report = Report::default();
        for barrier in Barrier::ALL {
            report.note(barrier, State::Held);
        }
        report.read("processor missing one processor only\nmemory untested\nnonsense held\n");
        let accepted = [Barrier::Processor];
        let left: Vec<_> = report.unacceptable(&accepted).collect();
        assert_eq!(left, [(Barrier::Memory, State::Untested)]);
        assert!(refusal(Barrier::Memory, State::Missing).contains("`memory` is missing"));
    }
}
