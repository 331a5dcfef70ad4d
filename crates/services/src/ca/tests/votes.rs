//! Who has to have validated a name before it is certified.

use super::world::{BASE, Client, DAY, World, csr, web_key};
use crate::ca::*;
use maftia_activity::{StateMachine, TaskId};
use maftia_base::{AdversaryStructure, Party, PartySet};
use serde_json::json;

/// An order for one name whose servers are at work; answers its authorization and the task.
fn at_work(world: &mut World, client: &Client, name: &str) -> (String, String, TaskId) {
    let order = world.order(client, &[name]);
    let authorization = world.authorizations(client, &order).remove(0);
    let shown = world.get(client, &authorization).ok();
    let kind = shown.json["challenges"][0]["type"].as_str().unwrap().to_owned();
    let task = world.begin(client, &authorization, &kind).task();
    (order, authorization, task)
}

/// Has these servers vote, and answers whether a name is valid then.
fn is_valid(structure: AdversaryStructure, voters: &[usize]) -> bool {
    let mut world = World::of(structure, |_| {});
    world.sign();
    let client = world.client();
    let (order, authorization, task) = at_work(&mut world, &client, "a.example.org");
    for voter in voters {
        world.vote(*voter, task);
    }
    let is_valid = world.get(&client, &authorization).ok().is("valid");
    assert_eq!(world.order_status(&client, &order), if is_valid { "ready" } else { "pending" });
    if !is_valid {
        // Whatever the client asks for, nothing is signed for it.
        let request = csr(&web_key(), &["a.example.org"]);
        world.refused(403, "orderNotReady", |world| world.finalize(&client, &order, &request));
        assert!(world.authority.to_sign().is_empty());
    }
    is_valid
}

#[test]
fn of_four_servers_three_have_to_say_yes() {
    let structure = || AdversaryStructure::optimal(4).unwrap();
    assert!(!is_valid(structure(), &[]));
    assert!(!is_valid(structure(), &[3]), "one may be corrupt");
    assert!(!is_valid(structure(), &[0, 3]), "one of two may be, and the other seeing wrong");
    assert!(is_valid(structure(), &[0, 2, 3]));
}

#[test]
fn of_seven_servers_five_have_to_say_yes() {
    let structure = || AdversaryStructure::optimal(7).unwrap();
    assert!(!is_valid(structure(), &[0, 1]));
    assert!(!is_valid(structure(), &[0, 1, 2, 3]));
    assert!(is_valid(structure(), &[2, 3, 4, 5, 6]));
}

#[test]
fn of_three_servers_with_trusted_components_two_have_to_say_yes() {
    let structure = || AdversaryStructure::threshold(3, 1).unwrap();
    assert!(structure().check_q3().is_err() && structure().check_q2().is_ok());
    assert!(!is_valid(structure(), &[]));
    assert!(!is_valid(structure(), &[2]));
    assert!(is_valid(structure(), &[0, 2]));
}

#[test]
fn under_a_general_structure_two_sets_that_may_be_corrupt_are_not_enough() {
    // Sites of two servers each, one of which may be corrupt as a whole.
    let site = |site: usize| [2 * site, 2 * site + 1].map(Party::new).into_iter().collect();
    let sites: Vec<PartySet> = (0..4).map(site).collect();
    let structure = || AdversaryStructure::general(8, &sites).unwrap();
    assert!(!is_valid(structure(), &[0, 1]));
    assert!(!is_valid(structure(), &[0, 1, 2, 3]), "two sites");
    assert!(is_valid(structure(), &[0, 2, 4]), "three sites");
}

#[test]
fn a_server_that_votes_twice_counts_once() {
    assert!(!is_valid(AdversaryStructure::optimal(4).unwrap(), &[1, 1, 1, 1, 0, 0, 1]));
    assert!(is_valid(AdversaryStructure::optimal(4).unwrap(), &[1, 1, 0, 0, 2]));
}

#[test]
fn nothing_but_yes_counts() {
    let (mut world, client) = World::with_client(|_| {});
    let (_, authorization, task) = at_work(&mut world, &client, "a.example.org");
    let before = world.authority.snapshot();
    for result in [&b"no"[..], b"", b"YES", b"yes ", b"yes\0", &[0xff; 16_384]] {
        for server in 0..4 {
            world.vote_as(server, task, result);
        }
    }
    assert_eq!(world.authority.snapshot(), before, "and no server can veto");
    for server in 0..3 {
        world.vote(server, task);
    }
    assert!(world.get(&client, &authorization).ok().is("valid"));
}

#[test]
fn votes_for_what_is_not_wanted_change_nothing() {
    let (mut world, client) = World::with_client(|_| {});
    let (_, authorization, task) = at_work(&mut world, &client, "a.example.org");
    let before = world.authority.snapshot();
    // The same authorization by other challenges, another authorization, and what is signed.
    for id in [task.0 + 1, task.0 + 2, task.0 + 7, task.0 + 8, 7, u64::MAX, u64::MAX - 7] {
        for server in 0..4 {
            world.vote(server, TaskId(id));
        }
    }
    assert_eq!(world.authority.snapshot(), before);
    for server in 0..3 {
        world.vote(server, task);
    }
    let before = world.authority.snapshot();
    world.vote(3, task);
    assert_eq!(world.authority.snapshot(), before, "it is over");
    assert!(world.get(&client, &authorization).ok().is("valid"));
    assert!(world.validations().is_empty());
}

#[test]
fn votes_for_different_challenges_are_not_added_up() {
    let (mut world, client) = World::with_client(|_| {});
    let order = world.order(&client, &["a.example.org"]);
    let authorization = world.authorizations(&client, &order).remove(0);
    for kind in ["http-01", "dns-01", "tls-alpn-01"] {
        world.begin(&client, &authorization, kind);
    }
    let tasks: Vec<TaskId> = world.validations().iter().map(|task| task.id).collect();
    assert_eq!(tasks.len(), 3);
    for (server, task) in tasks.iter().enumerate() {
        world.vote(server, *task);
    }
    assert!(world.get(&client, &authorization).ok().is("pending"));
    world.vote(2, tasks[0]);
    world.vote(3, tasks[0]);
    let shown = world.get(&client, &authorization).ok();
    assert!(shown.is("valid"));
    let challenges = shown.json["challenges"].as_array().unwrap();
    assert_eq!(challenges.len(), 1, "that which was validated");
    assert_eq!(challenges[0]["type"], "http-01");
    assert_eq!(challenges[0]["validated"], world.date(0));
}

#[test]
fn what_is_not_validated_in_time_is_invalid_and_its_order_with_it() {
    let (mut world, client) = World::with_client(|_| {});
    let (order, authorization, task) = at_work(&mut world, &client, "a.example.org");
    world.vote(0, task);
    world.vote(1, task);
    world.pass(599);
    assert!(world.get(&client, &authorization).ok().is("pending"));
    world.pass(1);
    assert!(world.validations().is_empty());
    world.vote(2, task);
    let shown = world.get(&client, &authorization).ok();
    assert!(shown.is("invalid"));
    let challenges = shown.json["challenges"].as_array().unwrap();
    assert_eq!(challenges.len(), 1, "that which failed");
    assert_eq!(challenges[0]["status"], "invalid");
    assert!(challenges[0]["error"]["type"].is_string());
    let shown = world.get(&client, &order).ok();
    assert!(shown.is("invalid"));
    assert_eq!(shown.json["error"]["type"], "urn:ietf:params:acme:error:unauthorized");
    // It is shown for a while, and then forgotten.
    world.pass(3600);
    world.refused(404, "malformed", |world| world.get(&client, &authorization));
}

#[test]
fn asking_again_changes_nothing() {
    let (mut world, client) = World::with_client(|_| {});
    let (_, authorization, task) = at_work(&mut world, &client, "a.example.org");
    world.vote(0, task);
    let challenge = authorization.replace("authz", "challenge") + "/http-01";
    let before = world.authority.state.authorizations.clone();
    let answer = world.post(&client, &challenge, json!({})).ok();
    assert!(answer.is("processing"));
    let [up] = &answer.reply.links[..] else { panic!("its authorization") };
    assert_eq!(super::world::text(&up.url), format!("{BASE}{authorization}"));
    assert_eq!(up.relation, Relation::Up);
    assert!(world.get(&client, &challenge).ok().is("processing"));
    assert!(world.authority.state.authorizations == before);
    world.vote(1, task);
    world.vote(2, task);
    assert!(world.post(&client, &challenge, json!({})).ok().is("valid"));
    // Another challenge of an authorization that is valid is not tried.
    let other = authorization.replace("authz", "challenge") + "/dns-01";
    assert!(world.post(&client, &other, json!({})).ok().is("pending"));
    assert!(world.validations().is_empty());
}

#[test]
fn a_task_stays_the_same_when_the_account_moves_to_another_key() {
    let (mut world, client) = World::with_client(|_| {});
    let (_, _, task) = at_work(&mut world, &client, "a.example.org");
    let before = world.validations();
    let new = jose::tests::signer::Signer::ed25519();
    let url = format!("{BASE}/acme/key-change");
    let payload = json!({ "account": client.kid, "oldKey": client.key.json() });
    let header = json!({ "alg": "EdDSA", "jwk": new.json(), "url": url });
    let wish = new.jws(&header, payload.to_string().as_bytes());
    world.post(&client, "/acme/key-change", wish).ok();
    assert_eq!(world.validations(), before);
    assert_eq!(before[0].id, task);
}

#[test]
fn an_authorization_that_is_given_up_ends_the_orders_that_need_it() {
    let (mut world, client) = World::with_client(|_| {});
    let names = ["a.example.org", "b.example.org"];
    let order = world.order(&client, &names);
    let other = world.order(&client, &["c.example.org"]);
    world.validate(&client, &order);
    let issued = world.order(&client, &names);
    world.finalize(&client, &issued, &csr(&web_key(), &names)).ok();
    let authorization = world.authorizations(&client, &order).remove(0);
    let shut = json!({ "status": "deactivated" });
    assert!(world.post(&client, &authorization, shut.clone()).ok().is("deactivated"));
    assert_eq!(world.order_status(&client, &order), "invalid");
    assert_eq!(world.order_status(&client, &other), "pending", "it does not need it");
    world.refused(400, "malformed", |world| world.post(&client, &authorization, shut));
    // What is being signed is not called back.
    world.sign();
    assert_eq!(world.order_status(&client, &issued), "valid");
}

#[test]
fn an_authorization_that_expires_takes_ready_orders_with_it() {
    let (mut world, client) = World::with_client(|settings| {
        settings.periods.authorization = DAY;
    });
    let order = world.order(&client, &["a.example.org"]);
    world.validate(&client, &order);
    assert_eq!(world.order_status(&client, &order), "ready");
    world.pass(DAY - 1);
    assert_eq!(world.order_status(&client, &order), "ready");
    world.pass(1);
    assert_eq!(world.order_status(&client, &order), "invalid");
    let authorization = world.authorizations(&client, &order).remove(0);
    assert!(world.get(&client, &authorization).ok().is("expired"));
}

#[test]
fn validations_under_way_are_limited_for_each_front_end() {
    let (mut world, client) = World::with_client(|_| {});
    let names: Vec<String> = (0..257).map(|number| format!("n{number}.example.org")).collect();
    let mut refused = 0;
    for names in names.chunks(100) {
        let order = world.order(&client, &names.iter().map(String::as_str).collect::<Vec<_>>());
        for authorization in world.authorizations(&client, &order) {
            let challenge = authorization.replace("authz", "challenge") + "/http-01";
            let answer = world.post(&client, &challenge, json!({}));
            refused += usize::from(answer.status() == 429);
        }
    }
    assert_eq!((world.validations().len(), refused), (256, 1));
    world.front_end = 1;
    let other = world.client();
    at_work(&mut world, &other, "other.example.org");
}
