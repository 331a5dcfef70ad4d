//! The log, and what is on record about a certificate.

use super::world::{World, csr, web_key};
use crate::ca::*;
use crate::x509::{Reason, Serial};
use maftia_base::{Digest, Party, PartySet};
use serde_json::json;
use sha2::Digest as _;

fn page(world: &mut World, from: u64) -> LogPage {
    match world.query(CaQuery::Log { from }) {
        CaAnswer::Log(page) => page,
        other => panic!("{other:?}"),
    }
}

/// All entries, whose chain is checked as anybody can.
fn log(world: &mut World) -> Vec<AuditEntry> {
    let mut entries = Vec::new();
    let mut digest = Digest::default();
    loop {
        let page = page(world, entries.len() as u64);
        assert_eq!(page.before, digest);
        for entry in page.entries.iter() {
            assert_eq!(entry.number, entries.len() as u64);
            digest = entry.digest(digest);
            entries.push(entry.clone());
        }
        if entries.len() as u64 == page.length {
            assert_eq!(digest, page.head);
            return entries;
        }
    }
}

fn voters(parties: &[usize]) -> PartySet {
    parties.iter().map(|party| Party::new(*party)).collect()
}

#[test]
fn everything_that_was_decided_is_in_the_log_with_those_on_whose_word() {
    let (mut world, client) = World::with_client(|_| {});
    let thumbprint = client.key.jwk().thumbprint();
    let names = ["bank.example.org"];
    let path = world.order(&client, &names);
    let authorization = world.authorizations(&client, &path).remove(0);
    let task = world.begin(&client, &authorization, "dns-01");
    for server in [3, 0, 1] {
        world.vote(server, task.task());
    }
    world.finalize(&client, &path, &csr(&web_key(), &names)).ok();
    let order = super::world::last_number(&path);
    for officer in [0, 2] {
        world.officer(officer, OfficerCommand::Approve { order });
    }
    world.sign();
    let leaf = world.download(&client, &path);
    let serial = Serial::of_certificate(&leaf).unwrap();
    let wish = json!({ "certificate": jose::base64url::encode(&leaf), "reason": 5 });
    world.post(&client, "/acme/revoke-cert", wish).ok();
    let gone = json!({ "status": "deactivated" });
    world.post(&client, &authorization, gone.clone()).ok();
    let account_path = client.kid.clone().unwrap().replace(super::world::BASE, "");
    world.post(&client, &account_path, gone).ok();

    let account = client.account();
    let number = super::world::last_number(&authorization);
    let kind = ChallengeKind::Dns01;
    let identifier = Identifier::from_acme("dns", names[0]).unwrap();
    let vote = |party: usize| {
        let party = Party::new(party);
        AuditEvent::VoteCast { authorization: number, kind, party }
    };
    let spoke = |officer, is_done| {
        let command = OfficerCommand::Approve { order };
        AuditEvent::OfficerSpoke { officer, command, is_done }
    };
    let digest = names_digest([&identifier]);
    let front_end = Party::new(0);
    let by = RevokedBy::Account(account);
    let sha256 = sha2::Sha256::digest(&leaf).into();
    let voters = voters(&[0, 1, 3]);
    let expected = [
        AuditEvent::AccountCreated { account, thumbprint, front_end, binding: None },
        AuditEvent::OrderCreated { order, account, names: 1, digest },
        vote(3),
        vote(0),
        vote(1),
        AuditEvent::Validated { authorization: number, account, identifier, kind, voters },
        spoke(0, false),
        spoke(2, true),
        AuditEvent::Issued { serial, order, account, sha256 },
        AuditEvent::Revoked { serial, reason: Reason::CessationOfOperation, by },
        AuditEvent::AuthorizationDeactivated { authorization: number },
        AuditEvent::AccountDeactivated { account },
    ];
    let events: Vec<AuditEvent> = log(&mut world).into_iter().map(|entry| entry.event).collect();
    assert_eq!(events, expected);
}

#[test]
fn a_certificates_record_says_who_validated_each_name() {
    let (mut world, client) = World::with_client(|_| {});
    let names = ["a.example.org", "b.example.org"];
    let path = world.order(&client, &names);
    for (authorization, (kind, servers)) in world
        .authorizations(&client, &path)
        .iter()
        .zip([("http-01", [0, 1, 2]), ("dns-01", [3, 2, 0])])
    {
        let task = world.begin(&client, authorization, kind).task();
        for server in servers {
            world.pass(1);
            world.vote(server, task);
        }
    }
    world.finalize(&client, &path, &csr(&web_key(), &names)).ok();
    world.pass(10);
    world.sign();
    let leaf = world.download(&client, &path);
    let serial = Serial::of_certificate(&leaf).unwrap();
    let CaAnswer::Certificate(view) = world.query(CaQuery::Inspect { serial }) else {
        panic!("it is known");
    };
    assert_eq!((&view.certificate[..], view.account), (&leaf[..], client.account()));
    assert_eq!((view.issued, view.revocation, view.approvals.len()), (world.now, None, 0));
    let proofs: Vec<_> = (view.proofs.iter())
        .map(|proof| (proof.identifier.acme_value(), proof.kind, proof.voters, proof.at))
        .collect();
    let expected = [
        ("a.example.org".to_owned(), ChallengeKind::Http01, voters(&[0, 1, 2]), world.now - 13),
        ("b.example.org".to_owned(), ChallengeKind::Dns01, voters(&[0, 2, 3]), world.now - 10),
    ];
    assert_eq!(proofs, expected);
    let entries = log(&mut world);
    assert!(matches!(entries[view.entry as usize].event, AuditEvent::Issued { .. }));
    let serial = Serial::new([9; 16]).unwrap();
    let unknown = world.query(CaQuery::Inspect { serial });
    assert_eq!(unknown, CaAnswer::Refused(CaRefusal::Unknown));
}

#[test]
fn the_log_keeps_its_last_entries_and_the_digest_of_all() {
    let (mut world, _) = World::with_client(|_| {});
    let first = page(&mut world, 0);
    let event = || AuditEvent::AccountDeactivated { account: 9 };
    let mut digest = first.head;
    for number in first.length..AUDIT_ENTRIES_MAX as u64 + 500 {
        let entry = AuditEntry { number, at: world.now, event: event() };
        digest = entry.digest(digest);
        world.authority.state.audit.enter(world.now, event());
    }
    let last = page(&mut world, u64::MAX);
    assert_eq!((last.head, last.before, last.entries.len()), (digest, digest, 0));
    assert_eq!(last.length, AUDIT_ENTRIES_MAX as u64 + 500);
    let oldest = page(&mut world, 0);
    assert_eq!((oldest.entries[0].number, oldest.entries.len()), (500, LOG_PAGE_MAX));
    let mut digest = oldest.before;
    let mut from = 500;
    while from < last.length {
        let page = page(&mut world, from);
        assert_eq!(page.before, digest);
        digest = page.entries.iter().fold(digest, |digest, entry| entry.digest(digest));
        from += page.entries.len() as u64;
    }
    assert_eq!(digest, last.head);
}

#[test]
fn an_entry_that_is_altered_left_out_or_moved_shows() {
    let (mut world, client) = World::with_client(|_| {});
    world.certificate(&client, &["a.example.org"]);
    let entries = log(&mut world);
    let digest = |entries: &[AuditEntry]| {
        entries.iter().fold(Digest::default(), |digest, entry| entry.digest(digest))
    };
    let right = digest(&entries);
    for number in 0..entries.len() {
        let mut altered = entries.clone();
        altered[number].at += 1;
        assert_ne!(digest(&altered), right);
        let mut cut = entries.clone();
        cut.remove(number);
        assert_ne!(digest(&cut), right);
        let mut moved = entries.clone();
        moved.swap(number, (number + 1) % entries.len());
        assert_ne!(digest(&moved), right);
    }
}

#[test]
fn an_order_can_be_read_as_its_account_sees_it() {
    let (mut world, client) = World::with_client(|_| {});
    let path = world.order(&client, &["a.example.org"]);
    let shown = world.get(&client, &path).ok();
    let order = super::world::last_number(&path);
    let CaAnswer::Acme(reply) = world.read(CaRead::Order { order }) else { panic!("it is there") };
    assert_eq!(reply, shown.reply);
    let unknown = world.read(CaRead::Order { order: order + 1 });
    assert_eq!(unknown, CaAnswer::Refused(CaRefusal::Unknown));
    assert_eq!(world.authority.read(b""), None);
    assert_eq!(world.authority.read(&[9]), None);
}
