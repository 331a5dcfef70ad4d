//! Three hosts as network name spaces of this machine, each with a payload network and a control
//! network, its trusted component and its server under users of their own: the notary answers,
//! with one of the three servers taken over.
//!
//! Needs root, name spaces, iproute2 and the programs of the other packages; fails without them.
#![allow(clippy::unwrap_used)]

use maftia::config::{self, GroupConfig, NewGroup};
use maftia::home::CERTIFICATE;
use maftia::{deal, judge, process, wormhole};
use maftia_agreement::hybrid::OrderedBy;
use maftia_node::wormhole::WormholeConfig;
use rustix::process::{Gid, Pid, Signal, Uid, kill_process};
use rustix::thread::{
    LinkNameSpaceType, move_into_link_name_space, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};
use serde_json::Value;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const HOSTS: usize = 3;

/// The host whose server is taken over.
const TRAITOR: usize = 2;

/// As whom the test net runs servers: role 0.
const PAYLOAD: u32 = 60_002;

const PATIENCE: Duration = Duration::from_secs(60);

/// A program of this or another package: all of them are in one folder.
fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_maftia-hostile")).with_file_name(name);
    assert!(
        path.is_file(),
        "{} is missing: this test needs it. Right would be: cargo test --workspace, which builds \
         it, or cargo build --package maftia --package maftia-ttcb before",
        path.display()
    );
    path
}

/// The hosts, and what they run. All of it ends with this.
struct Hosts {
    net: Child,
    told: Vec<Value>,
    config: GroupConfig,
    folder: PathBuf,
    _outer: tempfile::TempDir,
}

impl Drop for Hosts {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.net), Signal::TERM).unwrap();
        self.net.wait().unwrap();
        if thread::panicking() {
            for host in 0..HOSTS {
                let log = fs::read_to_string(self.folder.join(format!("server-{host}.log")));
                eprintln!("--- server-{host}\n{}", log.unwrap_or_default());
            }
        }
    }
}

impl Hosts {
    /// Starts the hosts. Their servers wait until keys are dealt and the group is founded.
    fn start(strategy: &str) -> Self {
        assert!(rustix::process::getuid().is_root(), "this test makes name spaces: it needs root");
        let all = Permissions::from_mode(0o755);
        let outer = tempfile::Builder::new().permissions(all).tempdir().unwrap();
        let folder = outer.path().to_owned();
        // Where the programs are, other users may not look.
        for name in ["maftia", "maftia-hostile"] {
            fs::copy(program(name), folder.join(name)).unwrap();
        }
        let script = format!(
            "cd {folder}; until [ -e begin ]; do sleep 0.05; done
             exec > server-{{host}}.log 2>&1
             home=server-{{host}}
             [ {{host}} = {TRAITOR} ] && exec ./maftia-hostile --home $home --strategy {strategy}
             exec ./maftia server --home $home",
            folder = folder.display()
        );
        let mut net = Command::new(program("maftia-ttcb"))
            .arg("test-net")
            .arg("--dir")
            .arg(folder.join("net"))
            .args(["--bound", "50ms", "--", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(net.stdout.take().unwrap()).lines();
        let told: Vec<Value> = lines
            .by_ref()
            .map(Result::unwrap)
            .take_while(|line| line != "ready")
            .map(|line| serde_json::from_str(&line).unwrap())
            .collect();
        assert_eq!(told.len(), HOSTS, "all hosts are up; what they said is above");
        // Nobody may be stopped by a full pipe.
        thread::spawn(move || lines.for_each(drop));
        let config = deal_on(&folder, &told);
        let hosts = Self { net, told, config, folder, _outer: outer };
        hosts.found();
        hosts
    }

    /// The operators' ceremony: on each host, as the server's user.
    fn found(&self) {
        let mut lives = String::new();
        for host in 0..HOSTS {
            let config = self.config.clone();
            let name = format!("server-{host}");
            let life = self.at(host, move || {
                let deadline = Instant::now() + PATIENCE;
                loop {
                    match wormhole::show(&config, &name) {
                        Err(_) if Instant::now() < deadline => {
                            thread::sleep(Duration::from_millis(50));
                        }
                        life => break life.unwrap(),
                    }
                }
            });
            lives += &life;
            lives.push('\n');
        }
        for server in &self.config.servers {
            let home = self.folder.join(&server.name);
            wormhole::found(&self.config, &home, &lives).unwrap();
            for entry in fs::read_dir(&home).unwrap() {
                chown(entry.unwrap().path(), Some(PAYLOAD), Some(PAYLOAD)).unwrap();
            }
            chown(&home, Some(PAYLOAD), Some(PAYLOAD)).unwrap();
        }
        // The servers open their logs there.
        fs::set_permissions(&self.folder, Permissions::from_mode(0o777)).unwrap();
        fs::write(self.folder.join("begin"), "").unwrap();
    }

    /// Does something in the place of a host's payload, as its user.
    fn at<T: Send + 'static>(&self, host: usize, what: impl FnOnce() -> T + Send + 'static) -> T {
        let space = File::open(self.told[host]["payload_space"].as_str().unwrap()).unwrap();
        let thread = thread::spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(space.as_fd(), kind).unwrap();
            let (uid, gid) = (Uid::from_raw(PAYLOAD), Gid::from_raw(PAYLOAD));
            set_thread_groups(&[]).unwrap();
            set_thread_res_gid(gid, gid, gid).unwrap();
            set_thread_res_uid(uid, uid, uid).unwrap();
            what()
        });
        thread.join().unwrap()
    }

    /// Asks a server for a time stamp, as a stock client on another host would, until it answers;
    /// the judge must accept it.
    fn stamp(&self, asker: usize, server: usize, file: &Path) {
        let query = self.folder.join(format!("{server}.tsq"));
        let reply = self.folder.join(format!("{server}.tsr"));
        judge::make_query(file, &query, "-sha256").unwrap();
        let (bytes, http) = (fs::read(&query).unwrap(), self.config.servers[server].http);
        let answer = self.at(asker, move || {
            let deadline = Instant::now() + PATIENCE;
            loop {
                match process::post_query(http, &bytes, Duration::from_secs(5)) {
                    Err(_) if Instant::now() < deadline => {
                        thread::sleep(Duration::from_millis(100));
                    }
                    answer => break answer.unwrap(),
                }
            }
        });
        fs::write(&reply, answer).unwrap();
        let authority = self.folder.join("server-0").join(CERTIFICATE);
        judge::verify(&reply, &query, file, &authority).unwrap();
    }
}

/// Deals keys for three servers on the payload network, with the components that were told of.
fn deal_on(folder: &Path, told: &[Value]) -> GroupConfig {
    let table = fs::read_to_string(folder.join("net/host0/config.toml")).unwrap();
    let guards = table.lines().filter_map(|line| line.strip_prefix("guard = \""));
    let guards = guards.filter_map(|line| line.strip_suffix('"')).filter(|key| key.len() == 64);
    let components = guards.zip(told).map(|(guard, host)| WormholeConfig {
        socket: host["socket"].as_str().unwrap().into(),
        status: host["status"].as_str().unwrap().into(),
        guard: const_hex::decode_to_array(guard).unwrap(),
    });
    let new = NewGroup {
        name: "hosts".into(),
        servers: HOSTS,
        host: IpAddr::from([127, 0, 0, 1]),
        base_port: 7100,
        key_bits: 2048,
        components: components.collect(),
        ordered_by: OrderedBy::Identifiers,
        authority: None,
    };
    assert_eq!(new.components.len(), HOSTS);
    let text = (0..HOSTS).fold(config::render(&new), |text, host| {
        (0..3).fold(text, |text, offset| {
            let port = 7100 + 3 * host as u16 + offset;
            let there = SocketAddr::new(Ipv4Addr::new(10, 78, 0, host as u8 + 1).into(), port);
            text.replace(&format!("127.0.0.1:{port}"), &there.to_string())
        })
    });
    let config = config::parse(&folder.join("group.toml"), &text).unwrap();
    deal::deal_to(&config, (&text, None), folder, None).unwrap();
    config
}

#[test]
fn the_notary_answers_on_three_hosts_one_of_which_is_hostile() {
    let hosts = Hosts::start("everything");
    let file = hosts.folder.join("group.toml");
    fs::write(&file, "what is to be stamped").unwrap();
    for _ in 0..3 {
        hosts.stamp(TRAITOR, 0, &file);
        hosts.stamp(0, 1, &file);
    }
    for honest in [0, 1] {
        let http = hosts.config.servers[honest].http;
        let page = hosts.at(honest, move || process::get(http, "/status").unwrap());
        let status: Value = serde_json::from_str(&page).unwrap();
        assert_eq!(status["standing"], "member");
        for list in ["convicted", "suspected"] {
            let accused = status[list].as_array().unwrap().iter();
            let others = accused.filter(|entry| entry[0].as_u64() != Some(TRAITOR as u64));
            assert_eq!(others.count(), 0, "server-{honest} blames an honest one: {status}");
        }
    }
}
