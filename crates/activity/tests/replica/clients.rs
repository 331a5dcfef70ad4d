//! The client alone, against servers that say what the test wants.

use crate::world::{client, keyrings, p};
use maftia_activity::client::{ClientEffect, ClientReply};
use maftia_activity::{
    Ask, ClientBundle, Refusal, ReplyBody, ReplyBundle, SequencedReply, SessionId,
    replies_statement,
};
use maftia_base::time::Time;
use maftia_base::wire::{Blob, Bytes, List};
use maftia_base::{GroupId, Party};
use maftia_crypto::ideal::{self, IdealSuite};
use maftia_crypto::{ClientKey, Done, Suite, Work};

const SEED: u64 = 1;
const SESSION: SessionId = SessionId(4);

type Client = maftia_activity::client::Client<IdealSuite, crate::world::Powers>;

fn key() -> ClientKey {
    ideal::client(SEED, 1).key()
}

/// What `party` would say if it were asked to vouch for this.
fn said(party: Party, sequence: u64, body: ReplyBody) -> ReplyBundle<IdealSuite> {
    let reply = SequencedReply { session: SESSION, sequence, body };
    let replies = List::new(vec![reply]).expect("one");
    let statement = replies_statement(GroupId::default(), key(), &replies);
    let keyring = keyrings(4, SEED).remove(party.index());
    let done = IdealSuite::run_many(vec![Work::Sign(statement)], &keyring, Default::default());
    let [Done::Signed(signed)] = &done[..] else { panic!("one signature") };
    let signature = Some(signed.signature);
    ReplyBundle { key: key(), replies, signatures: List::default(), signature }
}

fn plain(text: &'static [u8]) -> ReplyBody {
    ReplyBody::Plain(Blob::new(text).expect("short"))
}

fn effects(client: &mut Client) -> Vec<ClientEffect> {
    std::iter::from_fn(|| client.poll_effect()).collect()
}

fn sent(effects: &[ClientEffect]) -> Vec<(Party, &ClientBundle)> {
    let sends = effects.iter().filter_map(|effect| match effect {
        ClientEffect::Send { to, bundle, .. } => Some((*to, bundle)),
        ClientEffect::Replied { .. } => None,
    });
    sends.collect()
}

fn replies(effects: &[ClientEffect]) -> Vec<&ClientReply> {
    let replies = effects.iter().filter_map(|effect| match effect {
        ClientEffect::Replied { reply, .. } => Some(reply),
        ClientEffect::Send { .. } => None,
    });
    replies.collect()
}

/// A client with an open session and one request sent.
fn waiting() -> Client {
    let mut client = client(4, SEED, 1);
    client.submit(Bytes::from_static(b"hello"), Time(0)).expect("room");
    client.flush(Time(0));
    for index in 0..2 {
        let opened = said(p(index), 0, ReplyBody::Opened { nonce: 1000 });
        client.replies(p(index), opened, Time(1));
    }
    let effects = effects(&mut client);
    let sent = sent(&effects);
    assert!(matches!(sent[0].1.ask, Ask::Open { nonce: 1000, home } if home == p(1)));
    assert!(matches!(sent[1].1.ask, Ask::Requests { session: SESSION, first: 1, .. }));
    client
}

#[test]
fn one_server_is_not_believed_and_two_that_agree_are() {
    let mut client = waiting();
    client.replies(p(3), said(p(3), 1, plain(b"lie")), Time(2));
    client.replies(p(3), said(p(3), 1, plain(b"lie")), Time(2));
    client.replies(p(0), said(p(0), 1, plain(b"truth")), Time(3));
    assert!(effects(&mut client).is_empty());
    client.replies(p(1), said(p(1), 1, plain(b"truth")), Time(4));
    let effects = effects(&mut client);
    assert_eq!(replies(&effects), [&ClientReply::Plain(Bytes::from_static(b"truth"))]);
    assert_eq!(client.unanswered(), 0);
}

#[test]
fn nobody_speaks_for_another() {
    let mut client = waiting();
    client.replies(p(0), said(p(3), 1, plain(b"lie")), Time(2));
    client.replies(p(1), said(p(3), 1, plain(b"lie")), Time(2));
    client.replies(p(63), said(p(3), 1, plain(b"lie")), Time(2));
    assert!(effects(&mut client).is_empty());
}

#[test]
fn what_a_driver_cannot_send_goes_to_the_next_server_after_a_while() {
    // The line to the server is full, so that nothing is flushed; nothing else is open.
    let mut client = waiting();
    for index in 0..2 {
        client.replies(p(index), said(p(index), 1, plain(b"done")), Time(2));
    }
    assert_eq!(client.deadline(), None, "there is nothing to wait for");
    client.submit(Bytes::from_static(b"next"), Time(10)).expect("room");
    for turns in 1..=3 {
        let (before, deadline) = (client.server(), client.deadline().expect("something waits"));
        assert!(deadline.0 >= 10 + turns * 100_000, "it has patience with each");
        client.tick(deadline);
        assert_eq!(client.server(), p((before.index() + 1) % 4));
    }
    client.flush(client.deadline().expect("it still waits"));
    let effects = effects(&mut client);
    assert_eq!(sent(&effects)[0].0, p(0), "its home is server 1");

    let mut fresh = crate::world::client(4, SEED, 1);
    fresh.submit(Bytes::from_static(b"hello"), Time(0)).expect("room");
    fresh.tick(fresh.deadline().expect("it waits, though it never asked"));
    let asked = std::iter::from_fn(|| fresh.poll_effect()).collect::<Vec<_>>();
    assert!(matches!(sent(&asked)[..], [(to, _)] if to == p(2)), "for a session, at the next");
}

#[test]
fn silence_makes_it_ask_the_next_server_the_same() {
    let mut client = waiting();
    client.tick(Time(50_000));
    assert!(effects(&mut client).is_empty(), "not yet");
    let deadline = client.deadline().expect("it waits");
    client.tick(deadline);
    let effects = effects(&mut client);
    let sent = sent(&effects);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, p(2), "its home is server 1");
    let Ask::Requests { first: 1, requests, .. } = &sent[0].1.ask else { panic!("a request") };
    assert_eq!(&*requests[0], b"hello");
}

#[test]
fn a_lost_session_is_reported_and_another_is_opened() {
    let mut client = waiting();
    for index in 0..2 {
        let refused = ReplyBody::Refused(Refusal::UnknownSession);
        client.replies(p(index), said(p(index), 1, refused), Time(2));
    }
    let first = effects(&mut client);
    assert_eq!(replies(&first), [&ClientReply::Refused(Refusal::UnknownSession)]);
    client.submit(Bytes::from_static(b"again"), Time(3)).expect("room");
    client.flush(Time(3));
    let second = effects(&mut client);
    let (asked, bundle) = sent(&second)[0];
    assert_eq!(asked, p(2), "whoever lost the session may do so again");
    assert!(matches!(bundle.ask, Ask::Open { nonce: 1001, home } if home == asked));
}

#[test]
fn the_window_bounds_what_is_open() {
    let mut client = waiting();
    for _ in 0..3_000 {
        client.submit(Bytes::from_static(b"more"), Time(3)).expect("room");
    }
    client.flush(Time(3));
    let effects = effects(&mut client);
    let count = |bundle: &ClientBundle| match &bundle.ask {
        Ask::Requests { requests, .. } => requests.len(),
        Ask::Open { .. } => 0,
        Ask::Large { .. } => 1,
    };
    let asked: usize = sent(&effects).iter().map(|(_, bundle)| count(bundle)).sum();
    assert_eq!(asked as u64, maftia_activity::SESSION_WINDOW - 1, "one was open before");
}

#[test]
fn a_lone_request_leaves_at_once_and_others_gather_for_a_fraction_of_an_answers_time() {
    let mut client = waiting();
    let hello = |client: &mut Client, at| {
        client.submit(Bytes::from_static(b"more"), Time(at)).expect("room");
    };
    for index in 0..2 {
        client.replies(p(index), said(p(index), 1, plain(b"ok")), Time(80_000));
    }
    assert_eq!(client.flush_at(), None, "nothing waits");
    hello(&mut client, 100_000);
    assert_eq!(client.flush_at(), Some(Time(0)), "nothing else is open");
    client.flush(Time(100_000));
    hello(&mut client, 100_100);
    hello(&mut client, 100_900);
    let at = client.flush_at().expect("two wait");
    assert!((100_101..=110_000).contains(&at.0), "{at:?}");
    for _ in 0..10_000 {
        hello(&mut client, 101_000);
    }
    assert_eq!(client.flush_at(), Some(Time(0)), "a bundle is full");
    client.flush(Time(101_000));
    assert_eq!(client.flush_at(), None, "the window is full");
}

#[test]
fn a_server_that_drops_one_request_and_answers_all_others_is_left_all_the_same() {
    let mut client = waiting();
    for sequence in 2..200 {
        let now = Time(sequence * 1_000);
        client.submit(Bytes::from_static(b"another"), now).expect("room");
        client.flush(now);
        for index in 0..2 {
            client.replies(p(index), said(p(index), sequence, plain(b"ok")), now);
        }
        let at = client.deadline().expect("the first is not answered");
        assert!(at <= Time(1 + 100_000), "{at:?}");
        if now >= at {
            client.tick(now);
            let effects = effects(&mut client);
            let (asked, bundle) = *sent(&effects).last().expect("it is sent again");
            assert_eq!(asked, p(2));
            assert!(matches!(bundle.ask, Ask::Requests { first: 1, .. }));
            return;
        }
    }
    panic!("the first request was given up");
}
