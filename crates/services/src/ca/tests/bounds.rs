//! Whatever is asked, the state has its bounds; and it can be given away and taken up at any time.

use super::world::{BASE, Client, DAY, World, csr, identifiers, web_key};
use crate::ca::account::{ACCOUNT_BYTES_MAX, ACCOUNTS_MAX};
use crate::ca::jose::tests::signer::Signer;
use crate::ca::*;
use maftia_activity::StateMachine;
use maftia_base::Party;
use maftia_base::wire::{Encode, EncodeSize, Wire};
use serde_json::json;

#[test]
fn a_flood_of_nonces_raises_the_floor_of_one_server_and_none_is_good_twice() {
    let (mut world, client) = World::with_client(|_| {});
    let spend = |world: &mut World, server: usize, at: u64, number: u64| {
        let mut random = [0; 16];
        random[..8].copy_from_slice(&number.to_be_bytes());
        let nonce = world.nonce_of(server, at, random);
        let settings = world.policy.settings();
        let nonces = &mut world.authority.state.nonces;
        let is_good = nonces.is_good(&nonce, BASE, &settings.nonce_keys, world.now);
        if is_good {
            nonces.spend(&nonce, world.now);
        }
        is_good
    };
    let start = world.now;
    let old = start - 100;
    assert!(spend(&mut world, 1, old, 0) && spend(&mut world, 2, old, 0));
    for number in 0..3 * NONCES_PER_SERVER_MAX as u64 {
        spend(&mut world, 1, start - 50 + number / 200, number);
        assert!(world.spent().len() <= NONCES_PER_SERVER_MAX + 5);
    }
    // Of the flooded server what is older is refused, spent or not; of the others nothing is.
    for number in [0, 1] {
        assert!(!spend(&mut world, 1, old, number));
    }
    assert!(!spend(&mut world, 2, old, 0), "spent");
    assert!(spend(&mut world, 2, old, 1));
    for number in 0..3 * NONCES_PER_SERVER_MAX as u64 {
        assert!(!spend(&mut world, 1, start - 50 + number / 200, number), "good twice");
    }
    assert!(spend(&mut world, 1, start + 60, 1 << 40));
    let kid = client.kid.clone().unwrap();
    assert_eq!(world.get(&client, &kid).status(), 200);
}

#[test]
fn a_front_end_fills_its_own_share_with_accounts_and_idle_ones_make_room() {
    let mut world = World::with(|settings| settings.limits.accounts_per_hour = u32::MAX);
    let client = world.client();
    let active = world.client();
    let share = ACCOUNTS_MAX / 4;
    world.is_flooded = true;
    // As many as there can be, with the keys of nobody.
    for number in world.authority.index.usage(Party::new(0)).accounts..share {
        let mut account = world.authority.state.accounts[&client.account()].clone();
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(number as u64).to_be_bytes());
        account.key = jose::Jwk::P256 { x: key, y: [1; 32] };
        let id = world.authority.state.next_account;
        world.authority.state.next_account += 1;
        world.authority.index.add_account(id, &account);
        world.authority.state.accounts.insert(id, account);
    }
    let ask =
        |world: &mut World| world.post_with_key(&Signer::ed25519(), "/acme/new-account", json!({}));
    world.refused(429, "rateLimited", ask);
    world.front_end = 1;
    assert_eq!(ask(&mut world).status(), 201, "another front end has its own share");
    world.front_end = 0;
    world.pass(25 * DAY);
    world.order(&active, &["a.example.org"]);
    world.pass(5 * DAY);
    assert_eq!(ask(&mut world).status(), 201, "one that was idle makes room");
    assert_eq!(world.authority.index.usage(Party::new(0)).accounts, share);
    let kid = client.kid.clone().unwrap();
    world.ignored(400, "accountDoesNotExist", |world| world.get(&client, &kid));
    let kid = active.kid.clone().unwrap();
    assert_eq!(world.get(&active, &kid).status(), 200, "who orders stays");
    world.check();
}

#[test]
fn a_flood_of_orders_fills_the_share_of_its_front_end() {
    let (mut world, _) = World::with_client(|settings| {
        settings.limits.orders_per_hour = u32::MAX;
        settings.limits.pending_authorizations = u32::MAX;
    });
    let names: Vec<String> =
        (0..100).map(|number| format!("{}{number}.example.org", "a".repeat(40))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let wish = json!({ "identifiers": identifiers(&names) });
    let ask = |world: &mut World, client: &Client| {
        world.post(client, "/acme/new-order", wish.clone()).status()
    };
    let client = world.client();
    let mut made = 0;
    world.is_flooded = true;
    while ask(&mut world, &client) == 201 {
        made += 1;
        assert!(made <= order::ORDERS_MAX / 4);
    }
    assert!(made >= 50, "{made}");
    // Neither does another account of that front end find room, and one of another does.
    let other = world.client();
    assert_eq!(ask(&mut world, &other), 429);
    world.front_end = 1;
    let far = world.client();
    assert_eq!(ask(&mut world, &far), 201);
    let state = &world.authority.state;
    let authorizations: usize = state.authorizations.encode_size();
    assert!(authorizations <= authorization::AUTHORIZATIONS_BYTES_MAX);
    assert!(state.orders.encode_size() <= order::ORDERS_BYTES_MAX);
    world.check();
    // And when all of it has expired there is room again.
    world.front_end = 0;
    world.pass(8 * DAY);
    assert!(world.authority.state.authorizations.is_empty());
    assert_eq!(ask(&mut world, &other), 201);
}

#[test]
fn what_is_set_aside_for_a_record_is_enough_for_it() {
    let (mut world, client) = World::with_client(|settings| {
        settings.officers.names = NameRules::everything();
    });
    let check = |world: &World| {
        let state = &world.authority.state;
        for account in state.accounts.values() {
            assert!(account.encode_size() + 8 <= ACCOUNT_BYTES_MAX);
        }
        for authorization in state.authorizations.values() {
            assert!(authorization.encode_size() + 8 <= authorization.weight());
        }
        for order in state.orders.values() {
            assert!(order.encode_size() + 8 <= order.weight(), "{order:?}");
        }
        for certificate in state.certificates.values() {
            assert!(certificate.encode_size() + 16 <= certificate.weight());
        }
        for entry in &world.log_entries() {
            assert!(entry.encode_size() + 8 + 32 <= audit::ENTRY_BYTES_MAX);
        }
    };
    // The largest key that is accepted, many names, and all that an order can have.
    let name = |number| format!("{number:02}{}.{}.example.org", "a".repeat(60), "b".repeat(40));
    let names: Vec<String> = (0..90).map(name).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    let longest = format!("*.{}.example.org", vec!["c".repeat(62); 3].join("."));
    names.push(&longest);
    names.push("2001:db8::1");
    let key = Signer::rsa(4096);
    let path = world.order(&client, &names);
    world.validate(&client, &path);
    check(&world);
    world.finalize(&client, &path, &csr(&key, &names)).ok();
    check(&world);
    let order = super::world::last_number(&path);
    for officer in [0, 1] {
        world.officer(officer, OfficerCommand::Approve { order });
    }
    let promised = world.authority.index.certificate_bytes;
    world.sign();
    assert!(world.authority.index.certificate_bytes <= promised, "no more than was set aside");
    check(&world);
    let leaf = world.download(&client, &path);
    let wish = json!({ "certificate": jose::base64url::encode(&leaf), "reason": 1 });
    world.post(&client, "/acme/revoke-cert", wish).ok();
    world.sign();
    check(&world);
    let mut account = world.authority.state.accounts[&client.account()].clone();
    account.key = Signer::rsa(4096).jwk();
    assert!(account.encode_size() + 4 * 130 + 66 + 8 <= ACCOUNT_BYTES_MAX);
}

#[test]
fn answers_fit_into_replies_even_for_the_largest_orders() {
    let (mut world, client) = World::with_client(|settings| {
        settings.profiles[0].names = super::world::names(&["example.org"]);
    });
    let name = |number| format!("{number:02}{}.{}.example.net", "a".repeat(60), "b".repeat(40));
    let names: Vec<String> = (0..100).map(name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let wish = json!({ "identifiers": identifiers(&names) });
    let answer = world
        .refused(400, "rejectedIdentifier", |world| world.post(&client, "/acme/new-order", wish));
    assert_eq!(answer.json["subproblems"].as_array().unwrap().len(), 100);
    assert!(answer.reply.encode_size() <= maftia_activity::REPLY_BYTES_MAX);
}

/// From a key to a revoked certificate; every answer on the way, and the state at the end. Keys and
/// certificate requests are given, so that two runs ask the same.
fn life(key: &Signer, request: &[u8], is_restored: bool) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut world = World::with(|_| {});
    world.is_restored_at_each_step = is_restored;
    let mut answers = Vec::new();
    let secret = openssl::pkey::PKey::private_key_from_raw_bytes(
        &key.secret.raw_private_key().unwrap(),
        openssl::pkey::Id::ED25519,
    );
    let key = Signer { secret: secret.unwrap(), algorithm: "EdDSA" };
    let mut client = Client { key, kid: None };
    let made = world.post(&client, "/acme/new-account", json!({})).ok();
    client.kid = Some(made.location());
    let names = ["bank.example.org", "www.example.org"];
    let path = world.order(&client, &names);
    let wish = json!({ "identifiers": identifiers(&names) });
    answers.push(world.post(&client, "/acme/new-order", wish).reply.to_wire().to_vec());
    world.validate(&client, &path);
    world.pass(60);
    answers.push(world.finalize(&client, &path, request).ok().reply.to_wire().to_vec());
    let order = super::world::last_number(&path);
    for officer in [2, 1] {
        answers.push(world.officer(officer, OfficerCommand::Approve { order }).to_wire().to_vec());
    }
    world.sign();
    let leaf = world.download(&client, &path);
    answers.push(leaf.clone());
    world.pass(3 * DAY);
    world.officer(0, OfficerCommand::Suspend { account: 5 });
    let wish = json!({ "certificate": jose::base64url::encode(&leaf), "reason": 1 });
    answers.push(world.post(&client, "/acme/revoke-cert", wish).ok().reply.to_wire().to_vec());
    world.pass(DAY);
    world.sign();
    (answers, world.authority.snapshot().to_vec())
}

#[test]
fn a_server_that_is_restored_at_every_stage_goes_on_as_the_others() {
    let key = Signer::ed25519();
    let request = csr(&web_key(), &["bank.example.org", "www.example.org"]);
    assert!(life(&key, &request, false) == life(&key, &request, true));
}

#[test]
fn a_snapshot_that_cannot_have_come_about_is_not_taken() {
    let (mut world, client) = World::with_client(|_| {});
    world.certificate(&client, &["a.example.org"]);
    world.order(&client, &["a.example.org", "b.example.org"]);
    let good = world.authority.snapshot();
    let fresh = || Authority::new(world.policy.clone());
    let mut restored = fresh();
    restored.restore(good.clone()).unwrap();
    assert!(restored.state == world.authority.state && restored.index == world.authority.index);
    for cut in (0..good.len()).step_by(13) {
        assert!(fresh().restore(good.slice(..cut)).is_none());
    }
    let changes: [fn(&mut image::State); 8] = [
        |state| state.next_account = 0,
        |state| state.next_order = 0,
        |state| state.next_authorization = 0,
        |state| drop(state.accounts.pop_first()),
        |state| state.audit.forge(),
        |state| {
            let (_, authorization) = state.authorizations.pop_first().unwrap();
            state.authorizations.insert(0, authorization.forged());
        },
        |state| {
            let (id, mut order) = state.orders.pop_first().unwrap();
            order.authorizations = Default::default();
            state.orders.insert(id, order);
        },
        |state| {
            let twin = state.accounts.values().next().unwrap().clone();
            state.next_account += 1;
            state.accounts.insert(state.next_account - 1, twin);
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut state = world.authority.state.clone();
        change(&mut state);
        let mut other = fresh();
        let before = other.snapshot();
        assert!(other.restore(state.encode()).is_none(), "change {number}");
        assert_eq!(other.snapshot(), before, "what is not taken changes nothing");
    }
}
