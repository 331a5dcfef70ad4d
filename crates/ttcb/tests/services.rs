//! Three daemons in name spaces of their own, joined by a bridge, and what they agree on.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Net, PATIENCE, Running, as_root, eventually, now};
use maftia_ttcb::client::Client;
use maftia_ttcb_api::{
    Answer, Call, Channel, Elist, Function, Instance, Refusal, Sealed, Span, Statement, Tag,
};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;

const NET: [&str; 4] = ["--bound", "100ms", "--hosts", "3"];

/// A client of each host. All know all others by then: what is said to one that is not known yet is
/// lost, and an agreement may end without a decision when frames are lost.
fn clients(net: &Net) -> Vec<Client> {
    for host in 0..3 {
        let peers = || net.status(host)["peers"].as_array().map(Vec::len);
        eventually("all know each other", || peers() == Some(2));
    }
    (0..3).map(|host| net.client(host)).collect()
}

fn elist(clients: &[Client]) -> Elist {
    let entities: Vec<_> = clients.iter().map(Client::entity).collect();
    Elist::new(&entities).unwrap()
}

fn check<T: Statement>(client: &Client, sealed: &Sealed<T>) {
    assert!(sealed.is_signed_by(&client.session().boot.said.signing), "signed by this life");
}

fn tag(answer: Answer) -> Tag {
    match answer {
        Answer::Tag(tag) => tag,
        other => panic!("{other:?}"),
    }
}

/// What each client is told of an agreement in which the first of them propose their number.
fn agree(clients: &mut [Client], list: Elist, proposing: usize) -> Vec<(u32, Option<[u8; 32]>)> {
    let tstart = now(&mut clients[0]).latest + Span::from_millis(500);
    let instance = Instance { elist: list, tstart, function: Function::Majority, context: [9; 32] };
    for (index, client) in clients.iter_mut().enumerate().take(proposing) {
        let value = Some([1 + index as u8 / 2; 32]);
        assert_eq!(
            tag(client.call(Call::Propose { instance, value }, PATIENCE).unwrap()),
            instance.tag()
        );
    }
    let mut told = Vec::new();
    for client in clients.iter_mut() {
        match client.call(Call::Decide(instance.tag()), PATIENCE).unwrap() {
            Answer::Decided(decision) => {
                check(client, &decision);
                assert_eq!(decision.said.tag, instance.tag());
                told.push((decision.said.proposed_any, decision.said.value));
            }
            other => panic!("{other:?}"),
        }
    }
    told
}

#[test]
fn three_daemons_tell_the_same_decision() {
    let net = Net::start(&NET);
    let mut clients = clients(&net);
    let list = elist(&clients);
    // Two propose 1, one proposes 2.
    assert_eq!(agree(&mut clients, list, 3), [(7, Some([1; 32])); 3]);
    let status = net.status(0);
    assert_eq!(status["decided"], 1);
    assert_eq!(status["overruns"], 0);
    assert_eq!(status["peers"].as_array().unwrap().len(), 2);
}

#[test]
fn a_killed_daemon_does_not_stop_the_other_two() {
    let net = Net::start(&NET);
    let mut clients = clients(&net);
    let list = elist(&clients);
    clients.pop();
    kill_process(Pid::from_raw(net.daemon(2)).unwrap(), Signal::KILL).unwrap();
    assert_eq!(agree(&mut clients, list, 2), [(3, Some([1; 32])); 2]);
    let mut left = clients.pop().unwrap();
    assert!(matches!(left.call(Call::Random, PATIENCE), Ok(Answer::Random(_))));
}

#[test]
fn a_component_that_comes_back_is_another_life() {
    let net = Net::start(&NET);
    let mut clients = clients(&net);
    let before = elist(&clients);
    let gone = clients.pop().unwrap().entity();
    kill_process(Pid::from_raw(net.daemon(2)).unwrap(), Signal::KILL).unwrap();
    let config = net.config(2);
    eventually("its launcher has cleaned up", || !config.socket.exists());
    let file = net.folder.join("host2/config.toml").to_str().unwrap().to_owned();
    // On the same networks, which are in the name space of the test net's process.
    let space = format!("/proc/{}/ns/net", net.running.child.id());
    let started = as_root(Path::new(&space), move || {
        let mut running = Running::start(&["launch", "--config", &file]);
        assert!(running.line().contains("daemon"));
        running
    });
    for host in 0..2 {
        let knows = || net.status(host)["peers"][1]["epoch"] == 2;
        eventually("the others know its new life", knows);
    }
    clients.push(net.client(2));
    assert_ne!(clients[2].entity(), gone);
    let now_list = elist(&clients);
    assert_eq!(agree(&mut clients, now_list, 3), [(7, Some([1; 32])); 3]);
    // It takes no part in what names its life before.
    let tstart = now(&mut clients[2]).latest + Span::from_millis(100);
    let function = Function::Majority;
    let instance = Instance { elist: before, tstart, function, context: [0; 32] };
    let propose = Call::Propose { instance, value: None };
    let refused = Ok(Answer::Refused(Refusal::NotMember));
    assert_eq!(clients[2].call(propose, PATIENCE), refused);
    drop(started);
}

#[test]
fn values_get_the_same_places_everywhere() {
    let net = Net::start(&NET);
    let mut clients = clients(&net);
    let channel = Channel { elist: elist(&clients), threshold: 2, sequence: 1, context: [3; 32] };
    for client in &mut clients {
        let answer = client.call(Call::Open(channel), PATIENCE).unwrap();
        assert_eq!(tag(answer), channel.tag());
    }
    for value in [[1; 32], [2; 32]] {
        for client in &mut clients[1..] {
            let order = Call::Order { channel: channel.tag(), value };
            assert_eq!(client.call(order, PATIENCE), Ok(Answer::Done));
        }
    }
    let mut places = Vec::new();
    for client in &mut clients {
        let mut own = Vec::new();
        for number in [1, 2] {
            let next = Call::Next { channel: channel.tag(), number };
            match client.call(next, PATIENCE).unwrap() {
                Answer::Ordered(ordered) => {
                    check(client, &ordered);
                    assert_eq!(ordered.said.number, number);
                    own.push(ordered.said);
                }
                other => panic!("{other:?}"),
            }
        }
        places.push(own);
    }
    assert!(places.iter().all(|own| *own == places[0]), "one order: {places:?}");
    let mut values: Vec<_> = places[0].iter().map(|place| place.value).collect();
    values.sort_unstable();
    assert_eq!(values, [[1; 32], [2; 32]]);
}

#[test]
fn an_identifier_is_signed_and_its_position_is_not_given_again() {
    let net = Net::start(&["--hosts", "1", "--accept", "control-firewall"]);
    let config = net.config(0);
    let mut client = Client::connect(&config.socket, &config.hosts[0].guard, PATIENCE).unwrap();
    let identify = |position, value| Call::Identify {
        counter: 0,
        position,
        value: [value; 32],
        marked: true,
        timed: false,
    };
    for (position, previous) in [(5, 0), (6, 5)] {
        match client.call(identify(position, 1), PATIENCE).unwrap() {
            Answer::Identified(identifier) => {
                check(&client, &identifier);
                assert_eq!(identifier.said.entity, client.entity());
                assert_eq!(identifier.said.last, previous);
            }
            other => panic!("{other:?}"),
        }
    }
    let refused = Ok(Answer::Refused(Refusal::Contradiction));
    assert_eq!(client.call(identify(6, 2), PATIENCE), refused);
    assert_eq!(client.call(identify(5, 1), PATIENCE), refused);
}

#[test]
fn coverage_is_measured_on_a_running_net() {
    let net = Net::start(&["--bound", "50ms", "--measure"]);
    let folder = net.folder.to_str().unwrap();
    let output = std::process::Command::new(common::PROGRAM)
        .args(["coverage", "--dir", folder, "--seconds", "2", "--bound", "5ms", "--json"])
        .output()
        .unwrap();
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(read["count"].as_u64().unwrap() > 0, "{read}");
    assert!(read["miss_probability_95"].as_f64().unwrap() > 0.0);
}
