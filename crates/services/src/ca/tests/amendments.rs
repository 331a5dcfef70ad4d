//! A group changes its policy, and nobody else does.

use super::world::{Client, DAY, World, csr, last_number, names, officer, settings, web_key};
use crate::ca::settings::POLICY_BYTES_MAX;
use crate::ca::*;
use maftia_activity::StateMachine;
use maftia_base::wire::Blob;
use maftia_base::{AdversaryStructure, Party, PartySet};
use serde_json::json;

/// The policy of the world, changed.
fn changed(change: impl FnOnce(&mut Settings)) -> Blob<POLICY_BYTES_MAX> {
    let mut settings = settings(4);
    change(&mut settings);
    settings.encoded().expect("it fits")
}

/// One with which nothing but this can be named.
fn narrow() -> Blob<POLICY_BYTES_MAX> {
    changed(|settings| settings.profiles[0].names = names(&["narrow.example.org"]))
}

fn view(world: &mut World) -> PolicyView {
    match world.query(CaQuery::Policy) {
        CaAnswer::Policy(view) => view,
        other => panic!("{other:?}"),
    }
}

/// May somebody have this name certified?
fn is_issued(world: &mut World, client: &Client, name: &str) -> bool {
    let names = json!({ "identifiers": [{ "type": "dns", "value": name }] });
    world.post(client, "/acme/new-order", names).status() == 201
}

#[test]
fn a_policy_is_another_one_when_a_quorum_of_honest_servers_wants_it_and_not_before() {
    let (mut world, client) = World::with_client(|_| {});
    let (id, wanted) = (world.policy_question(), narrow());
    for server in [3, 1] {
        world.vote_as(server, id, &wanted);
        assert!(is_issued(&mut world, &client, "wide.example.org"), "two are too few");
    }
    assert_eq!(view(&mut world).wanted.len(), 2);
    world.vote_as(0, id, &wanted);
    assert!(!is_issued(&mut world, &client, "wide.example.org"));
    assert!(is_issued(&mut world, &client, "narrow.example.org"));
    let view = view(&mut world);
    assert_eq!((view.digest, view.wanted.len()), (policy_digest(&wanted), 0));
    let voters: PartySet = [0, 1, 3].map(Party::new).into_iter().collect();
    let digest = view.digest;
    let last = world.log_entries().into_iter().rev();
    let mut changes = last.filter(|it| matches!(it.event, AuditEvent::PolicyChanged { .. }));
    assert_eq!(changes.next().unwrap().event, AuditEvent::PolicyChanged { digest, voters });
    assert_ne!(world.policy_question(), id, "what was answered before says nothing about this one");
    assert_eq!(world.restored().snapshot(), world.authority.snapshot());
    assert_eq!(world.restored().policy().encoded(), &wanted);
}

#[test]
fn servers_that_want_different_things_change_nothing_and_are_asked_again() {
    let (mut world, client) = World::with_client(|_| {});
    let id = world.policy_question();
    let others = ["a.example.org", "b.example.org"]
        .map(|name| changed(|settings| settings.profiles[0].names = names(&[name])));
    world.vote_as(0, id, &others[0]);
    world.vote_as(1, id, &others[1]);
    world.vote_as(2, id, &others[0]);
    assert_eq!(world.policy_question(), id);
    world.pass(DAY);
    world.wake();
    let again = world.policy_question();
    assert_ne!(again, id);
    assert_eq!(view(&mut world).wanted.len(), 0, "it is over");
    world.vote_as(3, id, &others[0]);
    assert_eq!(view(&mut world).wanted.len(), 0, "an answer to the last question is none");
    for server in [0, 1, 2] {
        world.vote_as(server, again, &others[1]);
    }
    assert!(is_issued(&mut world, &client, "b.example.org"));
    assert!(!is_issued(&mut world, &client, "a.example.org"));
}

#[test]
fn what_is_no_policy_of_this_authority_counts_for_nothing() {
    let (mut world, _) = World::with_client(|_| {});
    let id = world.policy_question();
    let before = world.authority.snapshot();
    let root = settings(4).root;
    let refused = [
        Vec::new(),
        b"yes".to_vec(),
        narrow()[..100].to_vec(),
        [&narrow()[..], b"0"].concat(),
        vec![0; POLICY_BYTES_MAX + 1],
        // It would sign in another's name, with another key, or have no profile.
        changed(|settings| settings.issuing = root).to_vec(),
        changed(|settings| settings.key = maftia_crypto::KeyId(1)).to_vec(),
        changed(|settings| settings.default_profile = "none".into()).to_vec(),
    ];
    for proposal in &refused {
        for server in 0..4 {
            world.vote_as(server, id, proposal);
        }
    }
    assert_eq!(world.authority.snapshot(), before);
}

#[test]
fn what_former_officers_have_said_does_not_count_for_new_ones() {
    let (mut world, client) = World::with_client(|_| {});
    let path = world.order(&client, &["bank.example.org"]);
    let order = last_number(&path);
    world.validate(&client, &path);
    world.finalize(&client, &path, &csr(&web_key(), &["bank.example.org"])).ok();
    world.officer(0, OfficerCommand::Approve { order });
    let shut = OfficerCommand::Suspend { account: client.account() };
    world.officer(0, shut);
    let id = world.policy_question();
    let wanted = changed(|settings| settings.officers.keys = [7, 8, 2].map(officer).to_vec());
    for server in 0..3 {
        world.vote_as(server, id, &wanted);
    }
    assert_eq!(world.officer(0, OfficerCommand::Approve { order }), {
        CaAnswer::Refused(CaRefusal::NotAnOfficer)
    });
    let standing = |said, is_done| CaAnswer::Noted(Standing { said, needed: 2, is_done });
    assert_eq!(world.officer(2, OfficerCommand::Approve { order }), standing(1, false));
    assert_eq!(world.officer(2, shut), standing(1, false));
    assert!(world.authority.to_sign().is_empty(), "one of two has approved");
    assert_eq!(world.officer(7, OfficerCommand::Approve { order }), standing(2, true));
}

#[test]
fn with_trusted_components_an_honest_server_is_enough() {
    let structure = AdversaryStructure::threshold(3, 1).unwrap();
    let mut world = World::of(structure, |_| {});
    let id = world.policy_question();
    let mut wanted = settings(3);
    wanted.dates_allowed = true;
    let wanted = wanted.encoded().unwrap();
    world.vote_as(1, id, &wanted);
    assert_ne!(world.authority.policy().encoded(), &wanted);
    world.vote_as(2, id, &wanted);
    assert_eq!(world.authority.policy().encoded(), &wanted);
}

#[test]
fn settings_are_the_same_after_a_journey_as_bytes() {
    let settings = settings(4);
    let bytes = settings.encoded().unwrap();
    let again = Settings::decoded(&bytes).unwrap();
    assert_eq!(again.encoded().unwrap(), bytes);
    assert_eq!(format!("{again:?}"), format!("{settings:?}"));
    for cut in 0..bytes.len() {
        assert!(Settings::decoded(&bytes[..cut]).is_none());
    }
}
