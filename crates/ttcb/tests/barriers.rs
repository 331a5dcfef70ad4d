//! What a payload, another user and a flood can do to a daemon: nothing that is not theirs.

#![allow(clippy::unwrap_used)]

mod common;

use common::{
    FILE_GUARD, Net, PATIENCE, PROGRAM, Running, alone, as_user, connect, eventually, folder,
    hand_over, is_alive, run,
};
use maftia_ttcb::barriers::Barrier;
use maftia_ttcb::client::{self, Client, ClientError};
use maftia_ttcb::config::User;
use maftia_ttcb::testnet::{DAEMON, NEIGHBOUR, PAYLOAD};
use maftia_ttcb_api::{Answer, Call, Handshake, Numbered, Refusal};
use maftia_ttcb_core::channel::DATAGRAM_BYTES;
use rustix::net::{SendFlags, send};
use rustix::process::Signal;
use std::io::{ErrorKind, IoSliceMut};
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const NET: [&str; 4] = ["--bound", "50ms", "--hosts", "2"];

/// A user without a role.
const STRANGER: User = User { uid: 60_009, gid: 60_009 };

#[test]
fn a_payload_reaches_neither_the_control_network_nor_the_daemons_memory() {
    let net = Net::start(&NET);
    for barrier in Barrier::ALL {
        let state = &net.status(0)["barriers"][barrier.name()];
        assert!(state["state"] == "held" || state["accepted"] == true, "{}", barrier.name());
    }
    let daemon = net.daemon(0);
    let tried = net.as_payload(0, PAYLOAD, move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for address in ["10.77.0.1:7700", "10.77.0.2:7700"] {
            let error = socket.send_to(&[0; 32], address).expect_err("no way there");
            assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
        }
        // Its own network works: the test before is not about a broken socket.
        socket.send_to(&[0], "10.78.0.2:7700").unwrap();
        for file in ["mem", "ns/net", "maps", "environ", "fd", "stack"] {
            let error = match file {
                "fd" => std::fs::read_dir(format!("/proc/{daemon}/fd")).err(),
                file => std::fs::read(format!("/proc/{daemon}/{file}")).err(),
            };
            let error = error.unwrap_or_else(|| panic!("{file} was read"));
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{file}");
        }
        let pid = nix::unistd::Pid::from_raw(daemon);
        assert_eq!(nix::sys::ptrace::attach(pid), Err(nix::Error::EPERM));
        let remote = [nix::sys::uio::RemoteIoVec { base: 0x40_0000, len: 8 }];
        let mut bytes = [0; 8];
        let mut local = [IoSliceMut::new(&mut bytes)];
        let copied = nix::sys::uio::process_vm_readv(pid, &mut local, &remote);
        assert_eq!(copied, Err(nix::Error::EPERM));
        assert_eq!(nix::sys::signal::kill(pid, None), Err(nix::Error::EPERM));
    });
    tried.join().unwrap();
    // Nor can it once it is in the daemon's name space, where only the daemon's user may send.
    let space = net.hosts[0]["control_space"].as_str().unwrap().to_owned();
    let send = || UdpSocket::bind("0.0.0.0:0").unwrap().send_to(&[0], "10.77.0.2:7700");
    let by_payload = as_user(Some(Path::new(&space)), PAYLOAD, send).join().unwrap();
    let accepted = net.status(0)["barriers"]["control-firewall"]["accepted"] == true;
    assert!(accepted || by_payload.is_err_and(|it| it.kind() == ErrorKind::PermissionDenied));
    as_user(Some(Path::new(&space)), DAEMON, send).join().unwrap().unwrap();
}

#[test]
fn the_kernel_says_the_same_of_the_daemon_as_it_does_itself() {
    let net = Net::start(&NET);
    let read =
        |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", net.daemon(0))).unwrap();
    let status = read("status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}")).split_whitespace().next().unwrap().to_owned()
    };
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    for (name, wanted) in [("Uid:", "60001"), ("Gid:", "60001"), ("NoNewPrivs:", "1")] {
        assert_eq!(field(name), wanted, "{name}");
    }
    assert_eq!(field("Seccomp:"), "2", "system calls are filtered");
    assert_eq!(field("Threads:"), "1");
    assert_ne!(field("VmLck:"), "0", "memory is locked");
    let stat = read("stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // The fields 40 and 41, of which the first two stand before the bracket.
    assert_eq!((fields[37], fields[38]), ("80", "1"), "priority 80 under SCHED_FIFO");
}

#[test]
fn nonsense_on_the_control_network_changes_nothing() {
    let net = Net::start(&NET);
    let mut client = net.client(0);
    let space = net.hosts[1]["control_space"].as_str().unwrap().to_owned();
    // Even from the peer's own place: the network is one barrier, and authentication another.
    let sent = as_user(Some(Path::new(&space)), DAEMON, || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for number in 0..2_000u32 {
            let mut datagram = [number as u8; DATAGRAM_BYTES];
            // An introduction, a sealed frame, something else; of the peer, of the own host.
            (datagram[0], datagram[1]) = ((number % 3) as u8, (number / 3 % 3) as u8);
            let len = if number % 7 == 0 { number as usize % 900 } else { DATAGRAM_BYTES };
            let bytes = &datagram[..len.min(DATAGRAM_BYTES)];
            socket.send_to(bytes, "10.77.0.1:7700").unwrap();
        }
    });
    sent.join().unwrap();
    assert!(matches!(client.call(Call::Timestamp, PATIENCE), Ok(Answer::Time(_))));
    let status = net.status(0);
    assert_eq!(status["peers"].as_array().unwrap().len(), 1);
    assert_eq!(status["overruns"], 0);
    assert_eq!(status["barriers"]["control-network"]["state"], "held");
}

#[test]
fn a_user_without_a_role_is_turned_away_and_one_with_a_role_is_not() {
    let net = Net::start(&NET);
    let config = net.config(0);
    let guard = config.hosts[0].guard;
    let socket = config.socket.clone();
    let connect = move || Client::connect(&socket, &guard, PATIENCE).map(|it| it.entity().role);
    assert_eq!(as_user(None, STRANGER, connect.clone()).join().unwrap(), Err(ClientError::Closed));
    assert_eq!(net.as_payload(0, PAYLOAD, connect.clone()).join().unwrap(), Ok(0));
    assert_eq!(net.as_payload(0, NEIGHBOUR, connect.clone()).join().unwrap(), Ok(1));
    assert_eq!(connect(), Ok(2));
    // The test of the launcher is another one.
    assert!(net.status(0)["strangers"].as_u64().unwrap() >= 2);
}

#[test]
fn forged_and_replayed_frames_are_not_answered() {
    let net = Net::start(&NET);
    let mut client = net.client(0);
    let number = client.send(Call::Random).unwrap();
    assert!(client.receive(Instant::now() + PATIENCE).is_ok());
    let key = client.session().key.clone();
    let seal = |number| key.seal_call(&Numbered { number, body: Call::Random });
    let mut forged = seal(number + 1);
    forged[20] ^= 1;
    let before = net.status(0)["forgeries"].as_u64().unwrap();
    for frame in [&seal(number)[..], &forged, &seal(number + 1)[..319]] {
        client.send_frame(frame).unwrap();
        let answer = client.receive(Instant::now() + Duration::from_millis(100));
        assert_eq!(answer, Err(ClientError::Late));
    }
    assert_eq!(net.status(0)["forgeries"].as_u64().unwrap(), before + 3);
    // None of them used up the number.
    assert!(matches!(client.call(Call::Random, PATIENCE), Ok(Answer::Random(_))));
    // What was said to one component means nothing to another.
    let mut other = net.client(1);
    other.send_frame(&seal(number + 100)).unwrap();
    assert_eq!(other.receive(Instant::now() + Duration::from_millis(100)), Err(ClientError::Late));
}

#[test]
fn a_new_connection_takes_the_place_of_the_one_before_with_its_first_call_only() {
    let net = Net::start(&NET);
    let config = net.config(0);
    let connect = || Client::connect(&config.socket, &config.hosts[0].guard, PATIENCE).unwrap();
    let calls = |client: &mut Client| client.call(Call::Random, PATIENCE);
    let mut first = net.client(0);
    // Who says nothing, who only greets, who greets and forges a call, and who hangs up.
    let silent = client::open(&config.socket).unwrap();
    assert!(matches!(calls(&mut first), Ok(Answer::Random(_))));
    let greeter = connect();
    assert!(matches!(calls(&mut first), Ok(Answer::Random(_))), "it is not disturbed");
    let mut forger = connect();
    forger.send_frame(&[0; 320]).unwrap();
    assert!(matches!(calls(&mut first), Ok(Answer::Random(_))));
    drop((silent, greeter, forger));
    let mut second = connect();
    assert!(matches!(calls(&mut first), Ok(Answer::Random(_))));
    assert!(matches!(calls(&mut second), Ok(Answer::Random(_))));
    assert_eq!(calls(&mut first), Err(ClientError::Closed));
    assert_eq!(net.status(0)["roles_connected"], 1);
}

#[test]
fn a_process_of_another_version_is_told_both() {
    let net = Net::start(&NET);
    let mut first = net.client(0);
    let socket = client::open(&net.config(0).socket).unwrap();
    let handshake = Handshake::new([1; 32], [2; 32]);
    let mut frame = handshake.frame();
    frame[..2].copy_from_slice(&1_u16.to_le_bytes());
    send(&socket, &frame, SendFlags::NOSIGNAL).unwrap();
    let told = client::receive(&socket, Instant::now() + PATIENCE).unwrap();
    // To a program of version 1 this says 2; to this one it would say nothing new.
    assert_eq!(told[..3], [255, 2, 0]);
    assert!(matches!(first.call(Call::Random, PATIENCE), Ok(Answer::Random(_))));
    let sentence = ClientError::OtherVersion(1).to_string();
    assert!(sentence.contains("version 1 of its interface and this program version 2"));
}

#[test]
fn a_flooding_role_gets_its_quota_and_others_their_service() {
    let net = Net::start(&NET);
    let config = net.config(0);
    let length = Duration::from_secs(2);
    let flooded = config.clone();
    let flood = net.as_payload(0, PAYLOAD, move || {
        let mut client = connect(&flooded);
        let (mut served, end) = (0u64, Instant::now() + length);
        while Instant::now() < end {
            // Always several frames on their way.
            for _ in 0..8 {
                client.send(Call::Random).unwrap();
            }
            for _ in 0..8 {
                let answer = client.receive(Instant::now() + PATIENCE).unwrap().body;
                served += u64::from(answer != Answer::Refused(Refusal::Quota));
            }
        }
        served
    });
    let calm = config.clone();
    let neighbour = net.as_payload(0, NEIGHBOUR, move || {
        let mut client = connect(&calm);
        let (mut calls, end) = (0u64, Instant::now() + length);
        while Instant::now() < end {
            let answer = client.call(Call::Random, PATIENCE).unwrap();
            assert!(matches!(answer, Answer::Random(_)), "within its reservation: {answer:?}");
            calls += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        calls
    });
    let (served, calls) = (flood.join().unwrap(), neighbour.join().unwrap());
    // Two of ten milliseconds, and 30 us for each call and its frame.
    let most = (2_000_000 / 5 + 2_000) / 30 + 1;
    assert!(served <= most, "{served} calls served, {most} reserved");
    assert!(calls > 0);
    assert!(net.status(0)["overruns"] == 0);
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_delays_nobody() {
    let net = Net::start(&NET);
    let config = net.config(0);
    let deaf = net.as_payload(0, PAYLOAD, move || {
        let mut client = connect(&config);
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if client.send(Call::Random).is_err() {
                return true;
            }
        }
        false
    });
    let mut other = net.client(0);
    assert!(deaf.join().unwrap(), "it was dropped");
    assert!(matches!(other.call(Call::Random, PATIENCE), Ok(Answer::Random(_))));
    assert_eq!(net.status(0)["unwritable_clients"], 1);
}

#[test]
fn a_missing_barrier_refuses_to_start_unless_accepted_by_name() {
    let folder = folder();
    let config = alone(folder.path(), FILE_GUARD, &["control-firewall", "processor"]);
    let launch = ["launch", "--config", &config, "--profile", "plain", "--", "true"];
    let (code, said) = run(&launch);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the barrier `control-network` is missing"), "{said}");
    assert!(!said.contains("serves"), "{said}");
    std::fs::create_dir(folder.path().join("run")).unwrap();
    hand_over(folder.path(), 0);
    // The daemon alone cannot know what a payload could do, and says so of each.
    let (code, said) = run(&["run", "--config", &config]);
    assert_eq!(code, Some(1));
    for name in ["memory", "tracing", "own-user"] {
        assert!(said.contains(&format!("the barrier `{name}`")), "{said}");
    }
    hand_over(folder.path(), DAEMON.uid);
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("\"processor\"", "\"processor\", \"control-network\"");
    std::fs::write(&config, text).unwrap();
    let inside = format!("test $(id -u) = {} && ! unshare -U true", PAYLOAD.uid);
    let (code, said) = run(&[&launch[..6], &["sh", "-c", &inside]].concat());
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn what_the_kernel_refuses_is_a_barrier_by_name() {
    let folder = folder();
    let config = alone(folder.path(), FILE_GUARD, &["control-firewall", "processor"]);
    let output = Command::new("setpriv")
        .args(["--bounding-set", "-sys_nice", "--inh-caps", "-all", PROGRAM])
        .args(["launch", "--config", &config, "--", "true"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the barrier `real-time` is missing"), "{said}");
}

#[test]
fn an_interface_of_the_machine_is_given_back() {
    let folder = folder();
    let config = alone(folder.path(), FILE_GUARD, &["control-firewall", "processor"]);
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("127.0.0.1", "10.77.0.1") + "control = { interface = \"lent0\" }\n";
    std::fs::write(&config, text).unwrap();
    let inside = std::thread::spawn(move || {
        // A machine of its own, for this thread and what it starts.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let ip = |arguments: &str| {
            let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
            assert!(output.status.success(), "ip {arguments}");
            String::from_utf8(output.stdout).unwrap()
        };
        ip("link add lent0 type veth peer name lent1");
        let script = "ip -o link | grep -c lent && exit 9; exit 0";
        let (code, said) = run(&["launch", "--config", &config, "--", "sh", "-c", script]);
        assert_eq!(code, Some(0), "{said}");
        assert!(ip("-o link").contains("lent0"));
    });
    inside.join().unwrap();
}

#[test]
fn a_barrier_that_is_found_missing_later_ends_the_life() {
    let net = Net::start(&["--bound", "50ms", "--hosts", "2", "--test-every", "1"]);
    let space = net.hosts[0]["control_space"].as_str().unwrap();
    let open = ["enter", "--net", space, "--", "nft", "delete", "table", "inet", "maftia_ttcb"];
    assert_eq!(run(&open).0, Some(0), "the firewall was there, and is open now");
    let daemon = i64::from(net.daemon(0));
    eventually("the daemon ends rather than serve without a barrier", || !is_alive(daemon));
    assert!(is_alive(i64::from(net.daemon(1))), "the other host has its own");
    assert_eq!(net.status(1)["barriers"]["control-firewall"]["state"], "held");
}

#[test]
fn the_launcher_forwards_signals_and_leaves_nothing_behind() {
    let folder = folder();
    let config = alone(folder.path(), FILE_GUARD, &["control-firewall", "processor"]);
    let script = "trap 'exit 7' TERM; sleep 1000 & while :; do wait; done";
    let mut running = Running::start(&["launch", "--config", &config, "--", "sh", "-c", script]);
    let told: serde_json::Value = serde_json::from_str(&running.line()).unwrap();
    let pid = |name: &str| told[name].as_i64().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", pid("payload"));
    eventually("the payload runs", || {
        std::fs::read_to_string(&children).is_ok_and(|children| !children.trim().is_empty())
    });
    let child: i64 = std::fs::read_to_string(&children).unwrap().trim().parse().unwrap();
    running.signal(Signal::TERM);
    assert_eq!(running.child.wait().unwrap().code(), Some(7));
    for pid in [pid("daemon"), pid("payload"), child] {
        eventually("it has ended", || !is_alive(pid));
    }
    assert!(!folder.path().join("run").exists());
    if let Some(group) = told["group"].as_str() {
        assert!(!Path::new(group).exists(), "{group}");
    }
}

#[test]
fn what_a_killed_launcher_started_ends_with_it() {
    let folder = folder();
    let config = alone(folder.path(), FILE_GUARD, &["control-firewall", "processor"]);
    let mut running = Running::start(&["launch", "--config", &config, "--", "sleep", "1000"]);
    let told: serde_json::Value = serde_json::from_str(&running.line()).unwrap();
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    for name in ["daemon", "payload"] {
        let pid = told[name].as_i64().unwrap();
        eventually("it ends with the launcher", || !is_alive(pid));
    }
}

#[test]
fn a_test_net_leaves_nothing_behind() {
    let mut net = Net::start(&NET);
    assert!(net.running.end().success());
    assert!(!net.folder.exists());
    for host in &net.hosts {
        eventually("the daemon has ended", || !is_alive(host["daemon"].as_i64().unwrap()));
        if let Some(group) = host["group"].as_str() {
            assert!(!Path::new(group).exists(), "{group}");
        }
    }
    let links = Command::new("ip").args(["-o", "link"]).output().unwrap();
    let links = String::from_utf8_lossy(&links.stdout).into_owned();
    assert!(!links.contains("control0") && !links.contains("payload0"), "{links}");
}
