//! Officers: what takes the word of several people.

use super::world::{BASE, Client, DAY, World, csr, identifiers, web_key};
use crate::ca::*;
use crate::x509::{Reason, Serial};
use maftia_activity::{Caller, SessionId};
use maftia_base::wire::Wire;
use maftia_crypto::ClientKey;
use serde_json::json;

const NAMES: [&str; 2] = ["bank.example.org", "www.example.org"];

fn noted(said: u8, needed: u8, is_done: bool) -> CaAnswer {
    CaAnswer::Noted(Standing { said, needed, is_done })
}

fn refused(refusal: CaRefusal) -> CaAnswer {
    CaAnswer::Refused(refusal)
}

/// An order that officers have to approve, all else being done; answers its path and number.
fn finalized(world: &mut World, client: &Client) -> (String, u64) {
    let order = world.order(client, &NAMES);
    world.validate(client, &order);
    let answer = world.finalize(client, &order, &csr(&web_key(), &NAMES)).ok();
    assert!(answer.is("processing") && answer.reply.retry_after.is_some());
    let number = super::world::last_number(&order);
    (order, number)
}

#[test]
fn one_approval_too_few_issues_nothing_and_the_last_one_does() {
    let (mut world, client) = World::with_client(|_| {});
    let (path, order) = finalized(&mut world, &client);
    assert!(world.authority.to_sign().is_empty(), "nobody has approved");
    assert_eq!(world.officer(0, OfficerCommand::Approve { order }), noted(1, 2, false));
    assert!(world.authority.to_sign().is_empty(), "one of two has");
    // The same one again is no second one.
    let again = world.officer(0, OfficerCommand::Approve { order });
    assert_eq!(again, refused(CaRefusal::Repeated));
    assert!(world.authority.to_sign().is_empty());
    assert_eq!(world.officer(2, OfficerCommand::Approve { order }), noted(2, 2, true));
    assert_eq!(world.order_status(&client, &path), "processing");
    world.sign();
    let leaf = world.download(&client, &path);
    let serial = Serial::of_certificate(&leaf).unwrap();
    let CaAnswer::Certificate(view) = world.query(CaQuery::Inspect { serial }) else {
        panic!("it is known");
    };
    assert_eq!(&view.approvals[..], [0, 2]);
}

#[test]
fn approvals_may_come_before_the_order_is_ready() {
    let (mut world, client) = World::with_client(|_| {});
    let path = world.order(&client, &NAMES);
    let order = super::world::last_number(&path);
    for number in [1, 2] {
        world.officer(number, OfficerCommand::Approve { order });
    }
    assert_eq!(world.order_status(&client, &path), "pending", "its names are not validated");
    let request = csr(&web_key(), &NAMES);
    world.refused(403, "orderNotReady", |world| world.finalize(&client, &path, &request));
    world.validate(&client, &path);
    world.finalize(&client, &path, &request).ok();
    world.sign();
    assert_eq!(world.order_status(&client, &path), "valid");
}

#[test]
fn an_order_ends_when_too_few_can_still_approve() {
    let (mut world, client) = World::with_client(|_| {});
    let (path, order) = finalized(&mut world, &client);
    assert_eq!(world.officer(0, OfficerCommand::Refuse { order }), noted(1, 2, false));
    assert_eq!(world.officer(0, OfficerCommand::Approve { order }), refused(CaRefusal::Repeated));
    assert_eq!(world.order_status(&client, &path), "processing", "the other two may approve");
    assert_eq!(world.officer(1, OfficerCommand::Refuse { order }), noted(2, 2, true));
    let shown = world.get(&client, &path).ok();
    assert!(shown.is("invalid"));
    assert_eq!(shown.json["error"]["type"], "urn:ietf:params:acme:error:rejectedIdentifier");
    assert_eq!(world.officer(2, OfficerCommand::Approve { order }), refused(CaRefusal::Unknown));
    assert!(world.authority.to_sign().is_empty());
}

#[test]
fn an_order_that_nobody_decides_on_expires() {
    let (mut world, client) = World::with_client(|_| {});
    let (path, order) = finalized(&mut world, &client);
    world.officer(0, OfficerCommand::Approve { order });
    world.pass(7 * DAY);
    assert_eq!(world.order_status(&client, &path), "invalid");
    assert_eq!(world.officer(1, OfficerCommand::Approve { order }), refused(CaRefusal::Unknown));
    world.sign();
    assert!(world.authority.state.certificates.is_empty());
}

#[test]
fn an_order_whose_authorization_ends_meanwhile_is_not_approved() {
    let (mut world, client) = World::with_client(|_| {});
    let (path, order) = finalized(&mut world, &client);
    world.officer(0, OfficerCommand::Approve { order });
    let authorization = world.authorizations(&client, &path).remove(0);
    world.post(&client, &authorization, json!({ "status": "deactivated" })).ok();
    assert_eq!(world.order_status(&client, &path), "invalid");
    assert_eq!(world.officer(1, OfficerCommand::Approve { order }), refused(CaRefusal::Unknown));
}

#[test]
fn officers_have_no_say_on_other_orders_and_others_have_none_at_all() {
    let (mut world, client) = World::with_client(|_| {});
    let path = world.order(&client, &["www.example.org"]);
    let order = super::world::last_number(&path);
    for order in [order, order + 1] {
        for command in [OfficerCommand::Approve { order }, OfficerCommand::Refuse { order }] {
            assert_eq!(world.officer(0, command), refused(CaRefusal::Unknown));
        }
    }
    let (_, order) = finalized(&mut world, &client);
    for key in [ClientKey([0; 32]), ClientKey([0xa3; 32])] {
        let caller = Caller::Client { key, session: SessionId(1) };
        let request = CaRequest::Officer(OfficerCommand::Approve { order });
        let answer = CaAnswer::from_wire(world.ordered(caller, &request)).unwrap();
        assert_eq!(answer, refused(CaRefusal::NotAnOfficer));
    }
}

#[test]
fn what_waits_for_officers_is_listed_as_long_as_it_does() {
    let (mut world, client) = World::with_client(|_| {});
    let orders: Vec<u64> = (0..6).map(|_| finalized(&mut world, &client).1).collect();
    world.order(&client, &["www.example.org"]);
    let pending = |world: &mut World, from| match world.query(CaQuery::Pending { from }) {
        CaAnswer::Pending(orders) => orders.into_vec(),
        other => panic!("{other:?}"),
    };
    let page = pending(&mut world, 0);
    assert!(page.iter().map(|each| each.order).eq(orders[..4].iter().copied()));
    assert_eq!(page[0].thumbprint, client.key.jwk().thumbprint());
    assert_eq!((page[0].account, page[0].names.len()), (client.account(), 2));
    let page = pending(&mut world, orders[3] + 1);
    assert!(page.iter().map(|each| each.order).eq(orders[4..].iter().copied()));
    let order = orders[4];
    world.officer(1, OfficerCommand::Approve { order });
    let page = pending(&mut world, order);
    assert_eq!((&page[0].approvals[..], &page[0].refusals[..]), (&[1][..], &[][..]));
    world.officer(2, OfficerCommand::Approve { order });
    assert!(pending(&mut world, order).iter().all(|each| each.order != order));
}

#[test]
fn officers_revoke_a_certificate_together() {
    let (mut world, client) = World::with_client(|_| {});
    let leaf = world.certificate(&client, &["www.example.org"]);
    let serial = Serial::of_certificate(&leaf).unwrap();
    let revoke = |reason| OfficerCommand::Revoke { serial, reason };
    let revocation = |world: &World| world.authority.state.certificates[&serial].revocation;
    let withdrawn = revoke(Reason::PrivilegeWithdrawn);
    assert_eq!(world.officer(0, withdrawn), noted(1, 2, false));
    assert_eq!(world.officer(0, withdrawn), refused(CaRefusal::Repeated));
    // Another reason is another matter.
    assert_eq!(world.officer(1, revoke(Reason::KeyCompromise)), noted(1, 2, false));
    assert_eq!(revocation(&world), None);
    assert_eq!(world.officer(1, withdrawn), noted(2, 2, true));
    let (at, by) = (world.now, RevokedBy::Officers);
    let expected = Revocation { at, reason: Reason::PrivilegeWithdrawn, by };
    assert_eq!(revocation(&world), Some(expected));
    assert_eq!(world.officer(2, revoke(Reason::KeyCompromise)), refused(CaRefusal::Unknown));
    let serial = Serial::new([3; 16]).unwrap();
    let unknown = OfficerCommand::Revoke { serial, reason: Reason::Unspecified };
    assert_eq!(world.officer(0, unknown), refused(CaRefusal::Unknown));
}

#[test]
fn officers_shut_an_account_together_and_for_ever() {
    let (mut world, client) = World::with_client(|_| {});
    let open = world.order(&client, &["www.example.org"]);
    let suspend = OfficerCommand::Suspend { account: client.account() };
    assert_eq!(world.officer(0, suspend), noted(1, 2, false));
    assert_eq!(world.order_status(&client, &open), "pending");
    assert_eq!(world.officer(1, suspend), noted(2, 2, true));
    let answer = world.refused(401, "unauthorized", |world| world.get(&client, &open));
    assert!(answer.json["detail"].as_str().unwrap().contains("revoked"));
    assert_eq!(world.officer(2, suspend), refused(CaRefusal::Unknown));
    let nobody = OfficerCommand::Suspend { account: 77 };
    assert_eq!(world.officer(2, nobody), refused(CaRefusal::Unknown));
}

#[test]
fn a_matter_on_which_officers_do_not_agree_in_time_is_dropped() {
    let (mut world, client) = World::with_client(|_| {});
    let suspend = OfficerCommand::Suspend { account: client.account() };
    world.officer(0, suspend);
    world.pass(MOTION_SECONDS);
    assert_eq!(world.officer(1, suspend), noted(1, 2, false), "the first word is forgotten");
    assert_eq!(world.officer(0, suspend), noted(2, 2, true));
}

#[test]
fn one_officer_cannot_fill_the_table_with_matters() {
    let (mut world, _) = World::with_client(|_| {});
    let accounts: Vec<u64> = (0..20).map(|_| world.client().account()).collect();
    for (number, account) in accounts.iter().enumerate() {
        let answer = world.officer(0, OfficerCommand::Suspend { account: *account });
        match number < 16 {
            true => assert_eq!(answer, noted(1, 2, false)),
            false => assert_eq!(answer, refused(CaRefusal::Full)),
        }
    }
    // Others are not concerned, and what is decided makes room.
    let account = accounts[19];
    assert_eq!(world.officer(1, OfficerCommand::Suspend { account }), noted(1, 2, false));
    assert_eq!(world.officer(0, OfficerCommand::Suspend { account }), noted(2, 2, true));
    let account = accounts[0];
    assert_eq!(world.officer(1, OfficerCommand::Suspend { account }), noted(2, 2, true));
    let account = accounts[18];
    assert_eq!(world.officer(0, OfficerCommand::Suspend { account }), noted(1, 2, false));
}

#[test]
fn an_approval_for_which_there_is_no_room_can_be_given_again() {
    let (mut world, client) = World::with_client(|_| {});
    let (path, order) = finalized(&mut world, &client);
    world.officer(0, OfficerCommand::Approve { order });
    let names = ["www.example.org"];
    let request = csr(&web_key(), &names);
    let first = world.order(&client, &names);
    world.validate(&client, &first);
    world.is_flooded = true;
    let mut filled = 0;
    loop {
        let other = world.order(&client, &names);
        let answer = world.finalize(&client, &other, &request);
        if answer.status() == 429 {
            break;
        }
        filled += 1;
    }
    assert_eq!(filled, 512);
    let answer = world.officer(1, OfficerCommand::Approve { order });
    assert_eq!(answer, refused(CaRefusal::Full));
    let id = world.authority.to_sign().remove(0).id;
    world.signed(id, &[1; 256]);
    let answer = world.officer(1, OfficerCommand::Approve { order });
    assert_eq!(answer, noted(2, 2, true));
    world.sign();
    assert_eq!(world.order_status(&client, &path), "valid");
}

#[test]
fn without_officers_nothing_waits_for_them() {
    let (mut world, client) = World::with_client(|settings| {
        settings.officers = Officers { needed: 0, keys: Vec::new(), names: NameRules::default() };
    });
    world.certificate(&client, &NAMES);
    let wish = json!({ "identifiers": identifiers(&NAMES) });
    let answer = world.post(&client, "/acme/new-order", wish).ok();
    assert!(answer.location().starts_with(BASE));
    let suspend = OfficerCommand::Suspend { account: 0 };
    assert_eq!(world.officer(0, suspend), refused(CaRefusal::NotAnOfficer));
}

#[test]
fn what_was_signed_for_an_account_that_officers_shut_meanwhile_is_revoked_at_once() {
    let (mut world, client) = World::with_client(|_| {});
    let names = ["www.example.org"];
    let path = world.order(&client, &names);
    world.validate(&client, &path);
    world.finalize(&client, &path, &csr(&web_key(), &names)).ok();
    for number in [0, 1] {
        world.officer(number, OfficerCommand::Suspend { account: client.account() });
    }
    world.sign();
    let certificates: Vec<_> = world.authority.state.certificates.values().collect();
    let [certificate] = certificates[..] else { panic!("there is one") };
    let revocation = certificate.revocation.expect("it is revoked");
    let expected = (Reason::PrivilegeWithdrawn, RevokedBy::Officers);
    assert_eq!((revocation.reason, revocation.by), expected);
}
