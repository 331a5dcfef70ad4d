//! What a whole group needs of cryptography, of both suites.

use crate::world::{DrillSuite, Shape};
use maftia_activity::client::Authority;
use maftia_base::{Formula, Statement};
use maftia_crypto::{
    Claim, ClientKey, ClientSecret, ClientSignature, Done, GroupKeys, IdealSuite, KeyId,
    RealKeyring, RealSuite, SigningInput, Work, fixture, ideal,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Decides the keys of all groups of whole servers.
const KEYS: u64 = 1;

/// A suite that whole servers can run with.
pub trait WholeSuite: DrillSuite {
    /// A client's power to sign.
    type Client: Clone + Send + Sync + 'static;

    /// The keys of the servers of such a group.
    fn servers(shape: Shape) -> Vec<Arc<Self::Keyring>>;

    /// The keys of client number `number`.
    fn client(number: u64) -> Self::Client;

    /// Its public key.
    fn key(client: &Self::Client) -> ClientKey;

    /// Its signature.
    fn sign(client: &Self::Client, statement: &Statement) -> ClientSignature;

    /// Is this the group's signature?
    fn is_group_signature(
        keyring: &Self::Keyring,
        key: KeyId,
        input: &SigningInput,
        signature: &[u8],
    ) -> bool;
}

impl WholeSuite for IdealSuite {
    type Client = ideal::IdealClient;

    fn servers(shape: Shape) -> Vec<Arc<Self::Keyring>> {
        let structure = shape.quorums().structure();
        let keyrings = ideal::keyrings(&structure, &Formula::exact(&structure), KEYS);
        keyrings.into_iter().map(Arc::new).collect()
    }

    fn client(number: u64) -> Self::Client {
        ideal::client(KEYS, number)
    }

    fn key(client: &Self::Client) -> ClientKey {
        client.key()
    }

    fn sign(client: &Self::Client, statement: &Statement) -> ClientSignature {
        client.sign(statement)
    }

    fn is_group_signature(
        keyring: &Self::Keyring,
        key: KeyId,
        input: &SigningInput,
        signature: &[u8],
    ) -> bool {
        keyring.is_threshold_signature(key, input, signature)
    }
}

impl WholeSuite for RealSuite {
    type Client = Arc<ClientSecret>;

    fn servers(shape: Shape) -> Vec<Arc<Self::Keyring>> {
        thread_local! {
            static KEYRINGS: RefCell<BTreeMap<Shape, Vec<Arc<RealKeyring>>>> =
                const { RefCell::new(BTreeMap::new()) };
        }
        KEYRINGS.with_borrow_mut(|made| {
            let make = || {
                let structure = shape.quorums().structure();
                let keyrings = fixture::keyrings(&structure, &Formula::exact(&structure), KEYS);
                keyrings.into_iter().map(Arc::new).collect()
            };
            made.entry(shape).or_insert_with(make).clone()
        })
    }

    fn client(number: u64) -> Self::Client {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        Arc::new(ClientSecret::from_seed(&seed))
    }

    fn key(client: &Self::Client) -> ClientKey {
        client.key()
    }

    fn sign(client: &Self::Client, statement: &Statement) -> ClientSignature {
        client.sign(statement)
    }

    fn is_group_signature(
        keyring: &Self::Keyring,
        key: KeyId,
        input: &SigningInput,
        signature: &[u8],
    ) -> bool {
        keyring.verify_signature(key, input, signature)
    }
}

/// Public keys of a group whose notary has a certificate.
pub(super) fn notary_keys() -> GroupKeys {
    let structure = Shape::Four.quorums().structure();
    fixture::dealt(&structure, &Formula::exact(&structure), KEYS).0
}

/// What a client can do: sign for itself, and check what servers say.
pub struct Powers<S: WholeSuite> {
    /// Its own keys.
    pub client: S::Client,
    /// Anybody's, of which only the public ones are used.
    pub keyring: Arc<S::Keyring>,
}

impl<S: WholeSuite> Authority<S> for Powers<S> {
    fn sign(&self, statement: &Statement) -> ClientSignature {
        S::sign(&self.client, statement)
    }

    fn verify(&self, claim: &Claim<S>) -> bool {
        let work = vec![Work::Verify(vec![claim.clone()])];
        let done = S::run_many(work, &self.keyring, Default::default());
        matches!(done.as_slice(), [Done::Verified(verdicts)] if verdicts.as_slice() == [true])
    }

    fn verify_threshold(&self, key: KeyId, input: &SigningInput, signature: &[u8]) -> bool {
        S::is_group_signature(&self.keyring, key, input, signature)
    }
}
