//! Who gives shares, and who only could.

use crate::whole::Server;
use crate::whole::authority::Wanted;
use crate::whole::service::NOTARY_KEY;
use crate::whole::suite::WholeSuite;
use crate::whole::tamper::{Intruder, Watch};
use crate::whole::witness::Witness;
use crate::world::Shape;
use maftia_base::time::Reading;
use maftia_base::wire::Blob;
use maftia_base::{Party, PartySet};
use maftia_crypto::{HashAlgorithm, IdealSuite, SigningInput, Suite, Work};
use maftia_node::tamper::Tamper;
use maftia_sim::Random;
use std::sync::Arc;

/// Has server `index` of four, of which the last is corrupt, give a share; how often that is wrong.
fn complaints(index: usize, is_wanted: bool) -> usize {
    let honest: PartySet = (0..3).map(Party::new).collect();
    let watch = Watch { wanted: Wanted::default(), witness: Witness::new(honest, false) };
    let digest = Blob::new(vec![7; 32]).expect("short");
    let input = SigningInput { hash: HashAlgorithm::Sha256, digest };
    if is_wanted {
        watch.wanted.add(NOTARY_KEY, &input);
    }
    let keyring = Arc::clone(&IdealSuite::servers(Shape::Four)[index]);
    let (me, random) = (Party::new(index), Random::new(1));
    let run = |work| IdealSuite::run_many(work, &keyring, Reading::default());
    let server = Intruder::new("none", me, Arc::clone(&keyring), random, watch.clone());
    let work = vec![Work::SignatureShare { key: NOTARY_KEY, input, with_proof: false }];
    let done = Tamper::<Server<IdealSuite>>::work(&server, work, &run);
    assert_eq!(done.len(), 1);
    let (complaints, ..) = watch.witness.finish();
    assert!(complaints.iter().all(|complaint| complaint.checker == "secrecy"));
    complaints.len()
}

#[test]
fn an_honest_server_that_gives_a_share_of_what_no_state_wants_signed_is_noticed() {
    assert_eq!(complaints(0, false), 1);
    assert_eq!(complaints(0, true), 0);
}

#[test]
fn corrupt_servers_may_sign_what_they_like_with_their_own_shares() {
    assert_eq!(complaints(3, false), 0);
}
