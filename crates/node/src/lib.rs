//! Drives a protocol in a real server: the one place with sockets, disks, clocks and threads.
//!
//! - [`core`]: which effect may leave when, without any I/O.
//! - [`engine`]: the loop that owns the protocol.
//! - [`journal`], [`archive`], [`begun`]: the write-ahead log, where in it old records are, and
//!   what remembers it outside; [`storage`]: its commits, in one call to the operating system each.
//! - [`outbox`], [`network`]: frames to and from the other servers.
//! - [`workers`]: threads for heavy work. [`wormhole`]: the way to the trusted component.
//! - [`host`]: what a server does around its protocol.
//! - [`start`], [`server`], [`production`]: all of it together, for a replica; [`replica`],
//!   [`client`], [`http`], [`notary`]: what surrounds one. [`caller`]: the client library.
//! - [`tamper`]: the seam for hostile servers in tests and demonstrations.
//!
//! Deliberately absent: what protocols and services do. Only [`replica`] knows which protocol it
//! is, and only [`production`] which services.
#![forbid(unsafe_code)]

pub mod acme;
pub mod archive;
pub mod asking;
pub mod begun;
pub mod caller;
pub mod client;
pub mod clock;
pub mod component;
pub mod core;
pub mod engine;
pub mod errands;
pub mod host;
pub mod http;
pub mod inbox;
pub mod inspect;
pub mod journal;
pub mod last_life;
pub mod lost;
pub mod metrics;
pub mod network;
pub mod notary;
pub mod outbox;
mod places;
pub mod production;
pub mod refound;
pub mod replica;
pub mod server;
pub mod start;
pub mod storage;
pub mod tamper;
#[cfg(test)]
mod tests;
pub mod validation;
mod visitors;
pub mod watch;
pub mod workers;
pub mod wormhole;

use maftia_base::protocol::TimedProtocol;
use maftia_base::wire::Wire;

/// A protocol that a node can drive: what it exchanges and what it stores can be encoded, and all
/// of it can move between threads.
pub trait Driven:
    TimedProtocol<
        Command: Send + 'static,
        Outcome: Send + 'static,
        Message: Wire + Send + Sync + 'static,
        Timer: Send + 'static,
        Ticket: Send + 'static,
        Work: Send + 'static,
        Done: Send + 'static,
        Record: Wire + Send + 'static,
    > + Send
    + 'static
{
}

impl<P> Driven for P where
    P: TimedProtocol<
            Command: Send + 'static,
            Outcome: Send + 'static,
            Message: Wire + Send + Sync + 'static,
            Timer: Send + 'static,
            Ticket: Send + 'static,
            Work: Send + 'static,
            Done: Send + 'static,
            Record: Wire + Send + 'static,
        > + Send
        + 'static
{
}
