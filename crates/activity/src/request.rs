//! What is ordered: bundles of clients, requests of front ends, commands of servers.

use crate::{AgreedTime, Nonce, TASK_BYTES_MAX, TaskId};
use maftia_agreement::atomic;
use maftia_agreement::hybrid::Life;
use maftia_base::wire::{Blob, Bytes, Encode, List, Wire, wire_enum, wire_struct};
use maftia_base::{
    Digest, Epoch, GroupId, Party, Place, Scope, ServiceId, Statement, StatementKind,
};
use maftia_crypto::{
    CODED_BYTES_MAX, ClientClaim, ClientKey, ClientSignature, Commitment, SIGNATURE_BYTES_MAX,
};

/// Longest request.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// Longest large request: [`Ask::Large`].
pub const LARGE_BYTES_MAX: usize = 10 << 20;

const _: () = assert!(LARGE_BYTES_MAX <= CODED_BYTES_MAX, "it can be broadcast");

/// Most requests in one bundle.
pub const BUNDLE_REQUESTS_MAX: usize = 512;

/// Names a session, for ever: the group hands them out in order and never again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub u64);

wire_struct!(SessionId { 0 });

/// What a client signs: one signature for many requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientBundle {
    /// Who asks.
    pub key: ClientKey,
    /// Which service.
    pub service: ServiceId,
    /// What.
    pub ask: Ask,
    /// Of `key`, on [`bundle_statement`].
    pub signature: ClientSignature,
}

wire_struct!(ClientBundle { key, service, ask, signature });

/// What a bundle asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// A session. Asking again with the same nonce, while the session lasts, gives the same one.
    Open {
        /// Random; tells a client's sessions apart.
        nonce: u64,
        /// Through whose lane: there alone it is opened, and there alone it counts.
        home: Party,
    },
    /// Requests with the sequence numbers `first`, `first + 1`, ...
    Requests {
        /// In which session.
        session: SessionId,
        /// Number of the first request; the first of a session is 1.
        first: u64,
        /// The client needs no reply below this number any more, and asks nothing there.
        acknowledged: u64,
        /// The requests.
        requests: List<Blob<REQUEST_BYTES_MAX>, BUNDLE_REQUESTS_MAX>,
    },
    /// One request that is too long for a bundle, and goes beside it.
    Large {
        /// In which session.
        session: SessionId,
        /// Its number there.
        sequence: u64,
        /// As in [`Ask::Requests`].
        acknowledged: u64,
        /// Names the request and its length, under the code of the group's structure.
        value: Commitment,
    },
}

wire_enum!(Ask {
    0 => Open { nonce, home },
    1 => Requests { session, first, acknowledged, requests },
    2 => Large { session, sequence, acknowledged, value },
});

/// What a client signs for `ask`. Bound to group and service but to no epoch: a client's request
/// stays the same request, to be executed once, whichever epoch orders it.
pub fn bundle_statement(group: GroupId, service: ServiceId, ask: &Ask) -> Statement {
    let scope = Scope::root(group, Epoch(0)).child("client bundles", u64::from(service.0));
    let place = match ask {
        Ask::Open { nonce, .. } => Place(0, *nonce),
        Ask::Requests { session, first, .. } => Place(session.0, *first),
        Ask::Large { session, sequence, .. } => Place(session.0, *sequence),
    };
    let value = Digest::of("maftia client bundle", &ask.encode());
    Statement::new(scope, StatementKind::Bundle, place, value)
}

impl ClientBundle {
    /// Has `sign` sign `ask`.
    pub fn signed(
        group: GroupId,
        service: ServiceId,
        ask: Ask,
        key: ClientKey,
        sign: impl FnOnce(&Statement) -> ClientSignature,
    ) -> Self {
        let signature = sign(&bundle_statement(group, service, &ask));
        Self { key, service, ask, signature }
    }

    /// What has to be verified before it may be ordered.
    pub fn claim(&self, group: GroupId) -> ClientClaim {
        let statement = bundle_statement(group, self.service, &self.ask);
        ClientClaim { key: self.key, statement, signature: self.signature }
    }
}

/// A request of a stock client, which knows nothing of us: its server's front end asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FrontEndRequest {
    /// Number among the requests of this front end; a server never uses one twice.
    pub number: u64,
    /// Which service.
    pub service: ServiceId,
    /// The request.
    pub request: Blob<REQUEST_BYTES_MAX>,
}

wire_struct!(FrontEndRequest { number, service, request });

/// What a server says as itself. It stands in the server's own lane, and needs no other proof.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerCommand {
    /// It has done a task.
    TaskResult {
        /// Whose task.
        service: ServiceId,
        /// Which one.
        id: TaskId,
        /// What came of it.
        result: Blob<TASK_BYTES_MAX>,
    },
    /// Its clock has passed this time, at which a service wants to be woken.
    Wake(AgreedTime),
    /// A server that lost its log has told it so.
    Rejoin {
        /// Who.
        party: Party,
        /// With which number.
        nonce: Nonce,
    },
    /// In the hybrid configuration: a server has told it, with the certificate of its key guard,
    /// that its trusted component lives another life.
    Admit {
        /// Who.
        party: Party,
        /// Which life.
        life: Life,
    },
    /// It has verified a signature that the group made for the state of a service.
    Signed {
        /// Whose state.
        service: ServiceId,
        /// Under which name it was wanted.
        id: TaskId,
        /// The signature.
        signature: Blob<SIGNATURE_BYTES_MAX>,
    },
}

wire_enum!(ServerCommand {
    0 => TaskResult { service, id, result },
    1 => Wake(at),
    2 => Rejoin { party, nonce },
    3 => Admit { party, life },
    4 => Signed { service, id, signature },
});

/// One item of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// A client's.
    Bundle(ClientBundle),
    /// A front end's: the lane owner's.
    FrontEnd(FrontEndRequest),
    /// The lane owner's own.
    Server(ServerCommand),
    /// A client's large request, which the lane's owner has broadcast. It counts in the order of
    /// the numbers, once: after a restart its owner may say it again.
    Large {
        /// Under which number.
        number: u64,
        /// What the client signed: [`Ask::Large`].
        bundle: ClientBundle,
    },
}

/// As below.
const LARGE_TAG: u8 = 3;

wire_enum!(Item {
    0 => Bundle(bundle),
    1 => FrontEnd(request),
    2 => Server(command),
    3 => Large { number, bundle },
});

/// A large request that an item refers to: its number, and what the client signed.
pub(crate) fn reference(item: &Bytes) -> Option<(u64, ClientBundle)> {
    // Most items are something else, and are told by their first byte.
    let is_large = item.first() == Some(&LARGE_TAG);
    match is_large.then(|| Item::from_wire(item.clone())) {
        Some(Ok(Item::Large { number, bundle })) => Some((number, bundle)),
        _ => None,
    }
}

/// The value that a client signed for; `None` if no honest server orders it.
pub(crate) fn named_value(bundle: &ClientBundle) -> Option<Commitment> {
    match &bundle.ask {
        Ask::Large { value, .. } if value.length() <= LARGE_BYTES_MAX => Some(*value),
        _ => None,
    }
}

/// What goes with an item: its value counts towards the next mark, in its turn.
pub fn large_load(item: &atomic::Item) -> Option<atomic::Load> {
    let (number, bundle) = reference(item.bytes())?;
    let Ask::Large { value, .. } = bundle.ask else { return None };
    Some(atomic::Load { number, weight: value.length() as u64 })
}
