use super::Share;
use maftia_base::Party;
use maftia_base::wire::{Bytes, wire_enum};
use maftia_crypto::{KeyId, SigningInput, Suite};

/// Who wants a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Collectors {
    /// One server.
    One(Party),
    /// Every server.
    All,
}

impl Collectors {
    /// Is `party` one of them?
    pub fn include(self, party: Party) -> bool {
        match self {
            Self::One(one) => one == party,
            Self::All => true,
        }
    }
}

/// What the layer above asks for; positions ascend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SigningCommand {
    /// The group is to sign.
    Sign {
        /// Number of the signature.
        position: u64,
        /// Under which key.
        key: KeyId,
        /// What.
        input: SigningInput,
        /// Who wants it.
        collectors: Collectors,
    },
    /// The group was to sign, before this server restarted: whoever needs it will ask.
    Remember {
        /// Number of the signature.
        position: u64,
        /// Under which key.
        key: KeyId,
        /// What.
        input: SigningInput,
    },
    /// This server needs the signature, though it may not be the collector.
    Collect {
        /// Number of the signature.
        position: u64,
    },
}

/// What the layer above is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SigningOutcome {
    /// The signature, verified.
    Signed {
        /// Its number.
        position: u64,
        /// The signature.
        signature: Bytes,
    },
    /// It can no longer be had, or too much is being collected.
    Unavailable {
        /// Its number.
        position: u64,
    },
}

/// What peers exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SigningMessage<S: Suite> {
    /// The sender's share.
    Share {
        /// Number of the signature.
        position: u64,
        /// Does it carry a proof?
        proven: bool,
        /// The share.
        share: Share<S>,
    },
    /// "Send me your share."
    Want {
        /// Number of the signature.
        position: u64,
        /// With a proof?
        proven: bool,
    },
    /// "Shares that I sent to you may be lost: ask for what you lack, also where you come later."
    Lost {
        /// Of positions below this.
        below: u64,
    },
}

wire_enum!(<S: Suite> SigningMessage<S> {
    0 => Share { position, proven, share },
    1 => Want { position, proven },
    2 => Lost { below },
});

/// Names work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SigningTicket {
    /// Making this server's share.
    Share {
        /// Number of the signature.
        position: u64,
        /// With a proof?
        proven: bool,
    },
    /// Combining.
    Combine {
        /// Number of the signature.
        position: u64,
    },
}
