//! Frames between the servers of a group, over commonware-p2p.
//!
//! Each pair of servers keeps one TCP connection, authenticated by the servers' Ed25519 identities
//! and encrypted. Frames may be lost, when a connection breaks or a queue is full: the links above
//! repair that, and notice a peer that restarted. Authentication of the sender is what they rely
//! on.
//!
//! # No clock decides who may connect
//! The stock handshake refuses a peer whose clock differs too much. In the asynchronous
//! configuration nothing may depend on clocks, so the window is opened to all of time. Little is
//! lost: the timestamp only keeps an old first message from being replayed to make a listener
//! answer. That answer is useless without the ephemeral secret behind the old message, so such a
//! handshake never completes; until it times out it holds what a stranger holds anyway who claims
//! the identity and then stays silent, and the listener's one signature for it falls under the
//! rate limits on handshakes.
//!
//! # Memory
//! The transport sizes its queues by the rate that a channel may have. The engine bundles all that
//! leaves in a turn into one frame for each peer, so that a low rate suffices; when a peer's rate
//! is used up, frames wait in the outbox and grow.

use crate::Driven;
use crate::inbox::Inbox;
use crate::metrics::Metrics;
use crate::outbox::{FRAME_BYTES_MAX, Post, Posted, read_frame};
use bytes::{Buf, Bytes};
use commonware_codec::DecodeExt;
use commonware_cryptography::ChaCha20Poly1305;
use commonware_cryptography::ed25519::{PrivateKey, PublicKey};
use commonware_p2p::authenticated::lookup;
use commonware_p2p::{
    Address, AddressableManager, CheckedSender, LimitedSender, Receiver, Recipients,
};
use commonware_runtime::{Clock, Metrics as RuntimeMetrics, Network, Quota, Resolver, Spawner};
use commonware_stream::cups::{self, Cups};
use commonware_stream::sake::{self, Sake};
use commonware_utils::{NZU32, NZUsize, ordered::Map};
use maftia_base::Party;
use rand_core::CryptoRng;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use thiserror::Error;
use tracing::{debug, warn};

/// Frames a second to each peer, and from it.
pub const FRAMES_PER_SECOND: NonZeroU32 = NZU32!(1_000);

/// The only channel.
const CHANNEL: u64 = 0;

/// Longest time for a handshake; it bounds resources, and a slow honest peer tries again.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// By how much the clocks of two servers may differ: no timing is assumed, so nothing depends on
/// it; as much as the handshake can compute with.
const ANY_CLOCK: Duration = Duration::from_millis(u64::MAX);

/// One server, as the others reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its Ed25519 identity.
    pub identity: [u8; 32],
    /// Where it listens.
    pub address: SocketAddr,
}

/// How this server meets the others.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// All servers of the group, this one included, in the order of their parties.
    pub peers: Vec<Peer>,
    /// Where this server listens.
    pub listen: SocketAddr,
    /// Name of the group and version: servers with another one cannot connect.
    pub namespace: Vec<u8>,
    /// Accept peers from private address ranges; wrong only on the open internet.
    pub allow_private_ips: bool,
    /// Frames a second to each peer. All servers of a group must agree on it.
    pub frames_per_second: NonZeroU32,
}

/// Why the network cannot be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// An identity is not a public key.
    #[error("the identity of server {0} is not an Ed25519 public key")]
    Identity(Party),
    /// Two servers with one identity.
    #[error("two servers of the group have the same identity")]
    Duplicate,
    /// The secret key is none.
    #[error("the identity key of this server is not an Ed25519 secret key")]
    Secret,
}

/// Sends frames to the other servers.
pub struct P2pPost<C: Clock> {
    sender: lookup::Sender<PublicKey, C>,
    context: C,
    peers: Vec<PublicKey>,
}

impl<C: Clock> std::fmt::Debug for P2pPost<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("P2pPost").field("peers", &self.peers.len()).finish_non_exhaustive()
    }
}

impl<C: Clock> Post for P2pPost<C> {
    fn post(&mut self, to: Party, frame: &mut dyn FnMut() -> Bytes) -> Posted {
        let recipient = Recipients::One(self.peers[to.index()].clone());
        match self.sender.check(recipient) {
            Ok(checked) => {
                // Refused or taken: the links count what arrives, and nothing else tells.
                let _ = checked.send(frame(), false);
                Posted::Taken
            }
            Err(earliest) => {
                let now: SystemTime = self.context.current();
                let wait = earliest.duration_since(now).unwrap_or_default();
                Posted::Busy(wait.clamp(Duration::from_micros(100), Duration::from_millis(100)))
            }
        }
    }
}

/// Joins the network: returns the way to the other servers, and the task that brings their frames
/// to the inbox, which must run beside it.
pub fn join<E, P>(
    context: &E,
    config: &NetworkConfig,
    identity: &[u8; 32],
    inbox: Inbox<P>,
    metrics: Arc<Metrics>,
) -> Result<(P2pPost<E>, impl Future<Output = ()> + Send + use<E, P>), NetworkError>
where
    E: Spawner + Clock + CryptoRng + Network + Resolver + RuntimeMetrics,
    P: Driven,
{
    let secret =
        PrivateKey::decode(Bytes::copy_from_slice(identity)).map_err(|_| NetworkError::Secret)?;
    let (keys, addresses) = directory(config)?;
    let (mut network, mut oracle) =
        lookup::Network::new(context.child("p2p"), transport(config, secret));
    // Nobody else hears of the answer: the network's own tasks act on it.
    let _ = oracle.track(0, addresses);
    let (sender, receiver) = network.register(CHANNEL, Quota::per_second(config.frames_per_second));
    // The network's tasks end with the runtime; an error in them ends the receiver.
    drop(network.start());
    let parties = keys.iter().cloned().zip((0..keys.len()).map(Party::new)).collect();
    let post = P2pPost { sender, context: context.child("post"), peers: keys };
    Ok((post, receive(receiver, parties, inbox, metrics)))
}

fn directory(
    config: &NetworkConfig,
) -> Result<(Vec<PublicKey>, Map<PublicKey, Address>), NetworkError> {
    let (mut keys, mut addresses) = (Vec::new(), Vec::new());
    for (index, peer) in config.peers.iter().enumerate() {
        let party = Party::new(index);
        let key = PublicKey::decode(Bytes::copy_from_slice(&peer.identity));
        let key = key.map_err(|_| NetworkError::Identity(party))?;
        keys.push(key.clone());
        addresses.push((key, Address::Symmetric(peer.address)));
    }
    let addresses = Map::try_from(addresses).map_err(|_| NetworkError::Duplicate)?;
    Ok((keys, addresses))
}

fn transport(
    config: &NetworkConfig,
    secret: PrivateKey,
) -> lookup::Config<Cups<Sake<PrivateKey>, ChaCha20Poly1305>> {
    let handshake = Sake {
        signer: secret,
        synchrony_bound: ANY_CLOCK,
        max_handshake_age: ANY_CLOCK,
        version: sake::Version::V1,
    };
    lookup::Config {
        handshake: Cups::new(handshake, cups::Version::V1),
        namespace: config.namespace.clone(),
        listen: config.listen,
        allow_private_ips: config.allow_private_ips,
        allow_dns: false,
        bypass_ip_check: false,
        max_message_size: FRAME_BYTES_MAX as u32,
        max_peers_per_set: NonZeroUsize::new(config.peers.len()).unwrap_or(NonZeroUsize::MIN),
        mailbox_size: NZUsize!(1024),
        send_batch_size: NZUsize!(8),
        handshake_timeout: HANDSHAKE_TIMEOUT,
        dial_timeout: HANDSHAKE_TIMEOUT * 2,
        peer_connection_cooldown: Duration::from_millis(500),
        max_concurrent_handshakes: NZU32!(256),
        allowed_handshake_rate_per_ip: Quota::per_second(NZU32!(64)),
        allowed_handshake_rate_per_subnet: Quota::per_second(NZU32!(256)),
        ping_frequency: Duration::from_secs(10),
        dial_frequency: Duration::from_millis(100),
        tracked_peer_sets: NZUsize!(1),
        block_duration: Duration::from_secs(60),
    }
}

/// Decodes what arrives and puts it into the inbox, until the network ends.
async fn receive<P: Driven>(
    mut receiver: lookup::Receiver<PublicKey>,
    parties: BTreeMap<PublicKey, Party>,
    inbox: Inbox<P>,
    metrics: Arc<Metrics>,
) {
    while let Ok((from, frame)) = receiver.recv().await {
        let Some(from) = parties.get(&from).copied() else {
            debug!(?from, "a frame of a stranger");
            continue;
        };
        let mut frame = frame;
        let bytes = frame.remaining();
        hand_over(from, frame.copy_to_bytes(bytes), &inbox, &metrics);
    }
    inbox.fail("the network ended".into());
}

/// Puts what a peer sent in one frame into the inbox.
pub fn hand_over<P: Driven>(from: Party, frame: Bytes, inbox: &Inbox<P>, metrics: &Metrics) {
    let bytes = frame.len();
    metrics.bytes_in.inc_by(bytes as u64);
    let (messages, whole) = read_frame::<P::Message>(frame);
    if !inbox.messages(from, messages, bytes) {
        metrics.dropped_in.inc();
    }
    if !whole {
        warn!(%from, "a frame that does not decode");
        inbox.malformed(from);
    }
}
