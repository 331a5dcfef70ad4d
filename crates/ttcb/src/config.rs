//! What is configured on one host: one file for the daemon and its launcher.

use crate::barriers::Barrier;
use crate::guard::GuardConfig;
use crate::settings::{Section, Source};
use maftia_ttcb_api::{HOSTS_MAX, Host, ROLES_MAX, Span};
use maftia_ttcb_core::admission::{FORGERY, HANDSHAKE, Reservation};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

pub use crate::settings::ConfigError;

/// What one host's component is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file of this configuration.
    pub file: PathBuf,
    /// Which host this is: its place in `hosts`.
    pub host: Host,
    /// The bound that the control channel is expected to keep.
    pub bound: Span,
    /// The most that a host's clock drifts, in parts per million.
    pub drift_ppm: u64,
    /// How many sendings of one frame the control channel may lose.
    pub omission_degree: u8,
    /// How much of a processor all roles may take together, in thousandths.
    pub permille: u64,
    /// The priority under SCHED_FIFO; 0: it is scheduled as everything else is.
    pub priority: u8,
    /// Where processes connect.
    pub socket: PathBuf,
    /// Where operators ask how it is.
    pub status: PathBuf,
    /// The barriers without which it serves nevertheless.
    pub accept_missing: Vec<Barrier>,
    /// The key guard.
    pub guard: GuardConfig,
    /// All hosts, in their order.
    pub hosts: Vec<HostEntry>,
    /// What is reserved, and for which user, by role.
    pub roles: [Option<Role>; ROLES_MAX],
    /// As which user and group the daemon runs.
    pub user: User,
    /// What the launcher makes.
    pub launch: Launch,
}

/// One host of the wormhole.
#[derive(Clone, Copy, Debug)]
pub struct HostEntry {
    /// Where its component is on the control network.
    pub address: SocketAddr,
    /// The public key of its key guard.
    pub guard: [u8; 32],
}

/// One role.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// Who runs as this user has the role.
    pub uid: u32,
    /// What it may use of the component's time.
    pub reservation: Reservation,
}

/// A user and its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// What the launcher makes around the daemon.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The processor that is the daemon's own, if there are at least two; none: all share all.
    pub processor: Option<usize>,
    /// As which user the payload runs.
    pub payload: User,
    /// A user that has no role: with it the launcher tests that strangers are turned away.
    pub stranger: u32,
    /// How the daemon's name space gets its interface.
    pub control: Option<Link>,
    /// How the payload's name space gets its interface; none: it has only its loopback.
    pub payload_link: Option<Link>,
}

/// An interface of a name space.
#[derive(Clone, Debug)]
pub struct Link {
    /// What it hangs on.
    pub at: Attachment,
    /// Its address.
    pub address: IpAddr,
    /// How many bits of that are the network's.
    pub prefix: u8,
}

/// What an interface hangs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// One end of a new pair; the other is put into this bridge of the launcher's name space.
    Bridge(String),
    /// This interface of the machine, which is moved, and comes back when its name space ends.
    Interface(String),
}

impl Config {
    /// Reads the file.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::parse(file, &read(file)?)
    }

    /// The key guard and the daemon's user in a file of which nothing else has to be there yet:
    /// the public keys of the guards are known only when all of them are made.
    pub fn load_guard(file: &Path) -> Result<(GuardConfig, User), ConfigError> {
        let text = read(file)?;
        let source = Source { file, text: &text };
        let table = source.parse()?;
        let top = Section::whole(&source, &table);
        Ok((GuardConfig::read(&top)?, user(&top, "uid", "gid")?))
    }

    /// Reads what stands in a file.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let source = Source { file, text };
        let table = source.parse()?;
        let top = Section::whole(&source, &table);
        top.only(&KEYS)?;
        let hosts = hosts(&top)?;
        let host = top.get("host", "the place of this host in `hosts`, from 0")?;
        let host = host.integer(0..=hosts.len() as u8 - 1)?;
        let permille = match top.find("permille") {
            Some(entry) => entry.integer(1..=1_000)?,
            None => 500,
        };
        Ok(Self {
            file: file.into(),
            host: Host(host),
            bound: top.get("bound", "a length of time such as \"5ms\"")?.span()?,
            drift_ppm: match top.find("drift_ppm") {
                // The core looks at a watched operation once it has lasted a thousandth longer
                // than it may: by then it is certainly late only if the clock drifts by less.
                Some(entry) => entry.integer(1..=900)?,
                None => 50,
            },
            omission_degree: match top.find("omission_degree") {
                Some(entry) => entry.integer(0..=7)?,
                None => 1,
            },
            permille,
            priority: match top.find("priority") {
                Some(entry) => entry.integer(0..=99)?,
                None => 80,
            },
            socket: socket(&top, "socket")?,
            status: socket(&top, "status")?,
            accept_missing: accept_missing(&top)?,
            guard: GuardConfig::read(&top)?,
            roles: roles(&top, permille)?,
            user: user(&top, "uid", "gid")?,
            launch: launch(&top, hosts[usize::from(host)].address.ip())?,
            hosts,
        })
    }

    /// What the state machine is told.
    pub fn core(&self) -> maftia_ttcb_core::Config {
        maftia_ttcb_core::Config {
            host: self.host,
            hosts: self.hosts.len(),
            bound: self.bound,
            drift_ppm: self.drift_ppm,
            reservations: self.roles.map(|role| role.map(|role| role.reservation)),
            permille: self.permille,
        }
    }

    /// Where this host's component is on the control network.
    pub fn address(&self) -> SocketAddr {
        self.hosts[usize::from(self.host.0)].address
    }

    /// The role of a user.
    pub fn role_of(&self, uid: u32) -> Option<u8> {
        let has = |role: &Option<Role>| role.is_some_and(|role| role.uid == uid);
        self.roles.iter().position(has).map(|role| role as u8)
    }
}

const KEYS: [&str; 15] = [
    "host",
    "bound",
    "drift_ppm",
    "omission_degree",
    "permille",
    "priority",
    "socket",
    "status",
    "accept_missing",
    "guard",
    "hosts",
    "roles",
    "uid",
    "gid",
    "launch",
];

fn read(file: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(file).map_err(|error| ConfigError {
        file: file.into(),
        line: 0,
        key: "(file)".into(),
        what: format!("cannot be read: {error}"),
    })
}

/// The longest path that a socket's address has room for.
const SOCKET_PATH_MAX: usize = 107;

fn socket(top: &Section<'_>, key: &str) -> Result<PathBuf, ConfigError> {
    let entry = top.get(key, "the path of a socket")?;
    let path = entry.path()?;
    match path.as_os_str().len() {
        0..=SOCKET_PATH_MAX => Ok(path),
        len => Err(entry.wrong(format!(
            "{} has {len} bytes; a socket's path has at most {SOCKET_PATH_MAX}",
            path.display()
        ))),
    }
}

fn hosts(top: &Section<'_>) -> Result<Vec<HostEntry>, ConfigError> {
    let right = "one table `[[hosts]]` for each host";
    let entry = top.get("hosts", right)?;
    let list = entry.list(right)?;
    if list.is_empty() || list.len() > HOSTS_MAX {
        return Err(entry.wrong(format!("{} hosts; it wants 1 to {HOSTS_MAX}", list.len())));
    }
    let host = |host: crate::settings::Entry<'_>| {
        let host = host.section()?;
        host.only(&["address", "guard"])?;
        let right = "an address and a port, such as \"10.77.0.1:7700\"";
        let address = host.get("address", right)?.parsed(right)?;
        let guard = host.get("guard", "the public key of the host's key guard")?.key()?;
        Ok(HostEntry { address, guard })
    };
    list.into_iter().map(host).collect()
}

fn roles(top: &Section<'_>, permille: u64) -> Result<[Option<Role>; ROLES_MAX], ConfigError> {
    let right = "one table `[[roles]]` for each process that may use the component";
    let entry = top.get("roles", right)?;
    let mut roles: [Option<Role>; ROLES_MAX] = [None; ROLES_MAX];
    let mut wanted = 0;
    for table in entry.list(right)? {
        let table = table.section()?;
        table.only(&["role", "uid", "budget", "period"])?;
        let number = table.get("role", "a number from 0")?;
        let role: u8 = number.integer(0..=ROLES_MAX as u8 - 1)?;
        let uid = table.get("uid", "a user's number")?;
        let (uid, place) = (uid.integer(0..=u32::MAX)?, uid);
        let budget = table.get("budget", "a length of time such as \"1ms\"")?;
        let period = table.get("period", "a length of time such as \"10ms\"")?;
        let (budget, place_of_budget) = (budget.span()?, budget);
        let period = period.span()?;
        if budget > period {
            return Err(place_of_budget.wrong("greater than the period; it is a part of it"));
        }
        let least = FORGERY.0 + HANDSHAKE.0;
        if budget.0 < least {
            let least = least / 1_000;
            return Err(place_of_budget
                .wrong(format!("too little even for a handshake, which takes \"{least}us\"")));
        }
        if roles.iter().flatten().any(|other| other.uid == uid) {
            return Err(place.wrong(format!("{uid} has another role; each user has one")));
        }
        wanted += (u128::from(budget.0) * 1_000).div_ceil(u128::from(period.0)) as u64;
        let reservation = Reservation { budget, period };
        if roles[usize::from(role)].replace(Role { uid, reservation }).is_some() {
            return Err(number.wrong(format!("{role} is there already; each role has one table")));
        }
    }
    if wanted > permille {
        let what = format!(
            "the roles reserve {wanted} thousandths of a processor, and `permille` is {permille}: \
             raise it, or reserve less"
        );
        return Err(entry.wrong(what));
    }
    Ok(roles)
}

fn accept_missing(top: &Section<'_>) -> Result<Vec<Barrier>, ConfigError> {
    let right = "a list of names of barriers";
    let Some(entry) = top.find("accept_missing") else { return Ok(Vec::new()) };
    let mut barriers = Vec::new();
    for entry in entry.list(right)? {
        let name = entry.text("the name of a barrier")?;
        let names: Vec<&str> = Barrier::ALL.iter().map(|barrier| barrier.name()).collect();
        let barrier = Barrier::of_name(name).ok_or_else(|| {
            entry.wrong(format!("\"{name}\" is no barrier; these are: {}", names.join(", ")))
        })?;
        barriers.push(barrier);
    }
    Ok(barriers)
}

fn user(section: &Section<'_>, uid: &str, gid: &str) -> Result<User, ConfigError> {
    let right = "a user's number, and not root's";
    let uid = section.get(uid, right)?.integer(1..=u32::MAX - 1)?;
    let gid = match section.find(gid) {
        Some(gid) => gid.integer(1..=u32::MAX - 1)?,
        None => uid,
    };
    Ok(User { uid, gid })
}

fn launch(top: &Section<'_>, control: IpAddr) -> Result<Launch, ConfigError> {
    let launch = top.get("launch", "a table with what the launcher makes")?.section()?;
    let known = ["processor", "payload_uid", "payload_gid", "stranger_uid", "control", "payload"];
    launch.only(&known)?;
    let payload = user(&launch, "payload_uid", "payload_gid")?;
    if payload.uid == user(top, "uid", "gid")?.uid {
        let what = "the daemon's own user; the payload runs as another".into();
        return Err(launch.wrong("payload_uid", what));
    }
    let stranger = match launch.find("stranger_uid") {
        Some(entry) => entry.integer(1..=u32::MAX - 1)?,
        None => 65_534,
    };
    let roles = roles(top, 1_000_000)?;
    if roles.iter().flatten().any(|role| role.uid == stranger) {
        let what = format!("{stranger} has a role; it wants a user that has none");
        return Err(launch.wrong("stranger_uid", what));
    }
    Ok(Launch {
        processor: match launch.find("processor") {
            Some(entry) if entry.is_text("shared") => None,
            Some(entry) => Some(entry.integer(0..=1_023)?),
            None => Some(0),
        },
        payload,
        stranger,
        control: link(&launch, "control", Some(control))?,
        payload_link: link(&launch, "payload", None)?,
    })
}

/// An interface: what it hangs on, and its address, unless that is known.
fn link(
    launch: &Section<'_>,
    key: &str,
    known: Option<IpAddr>,
) -> Result<Option<Link>, ConfigError> {
    let Some(entry) = launch.find(key) else { return Ok(None) };
    let table = entry.section()?;
    table.only(&["bridge", "interface", "address", "prefix"])?;
    let name = |key: &str| match table.find(key) {
        None => Ok(None),
        Some(entry) => {
            let text = entry.text("an interface's name")?;
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            match text.len() {
                1..=15 if text.chars().all(plain) && !text.starts_with('-') => {
                    Ok(Some(text.to_owned()))
                }
                _ => Err(entry.wrong("it wants an interface's name, of at most 15 letters")),
            }
        }
    };
    let at = match (name("bridge")?, name("interface")?) {
        (Some(bridge), None) => Attachment::Bridge(bridge),
        (None, Some(interface)) => Attachment::Interface(interface),
        _ => return Err(entry.wrong("it wants either `bridge` or `interface`")),
    };
    let address = match known {
        Some(address) => address,
        None => table.get("address", "an address")?.parsed("an address")?,
    };
    let prefix = match table.find("prefix") {
        Some(entry) => entry.integer(1..=127)?,
        None => 24,
    };
    Ok(Some(Link { at, address, prefix }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("../tests/good.toml");

    fn complaint(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "the good file has `{from}`");
        let text = GOOD.replacen(from, to, 1);
        Config::parse(Path::new("/etc/t.toml"), &text).expect_err("it is wrong").to_string()
    }

    #[test]
    fn a_good_file_is_read() {
        let config = Config::parse(Path::new("/etc/t.toml"), GOOD).unwrap();
        assert_eq!(config.host, Host(1));
        assert_eq!(config.bound, Span::from_millis(5));
        assert_eq!(config.address(), "10.77.0.2:7700".parse().unwrap());
        assert_eq!(config.role_of(60_002), Some(0));
        assert_eq!(config.role_of(60_003), None);
        assert_eq!(config.socket, Path::new("/etc/run/ttcb.sock"));
        assert_eq!(config.accept_missing, [Barrier::Processor]);
        assert_eq!(config.guard.kind(), "file");
    }

    #[test]
    fn a_host_may_have_no_processor_and_no_priority_for_its_daemon() {
        let read = |text: &str| Config::parse(Path::new("/etc/t.toml"), text).unwrap();
        assert_eq!(read(GOOD).launch.processor, Some(0));
        let text = GOOD.replace("[launch]", "[launch]\nprocessor = \"shared\"");
        let shared = read(&text.replace("host = 1", "host = 1\npriority = 0"));
        assert_eq!((shared.launch.processor, shared.priority), (None, 0));
    }

    #[test]
    fn a_guard_is_known_before_the_hosts_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.toml");
        let (head, rest) = GOOD.split_once("uid = 60001\n").unwrap();
        std::fs::write(&path, format!("{head}uid = 60001\n")).unwrap();
        let (found, user) = Config::load_guard(&path).unwrap();
        assert_eq!((found.kind(), user), ("file", User { uid: 60_001, gid: 60_001 }));
        std::fs::write(&path, rest).unwrap();
        assert!(Config::load_guard(&path).unwrap_err().to_string().contains("`guard`: missing"));
    }

    #[test]
    fn a_complaint_names_file_line_key_and_what_would_be_right() {
        for (from, to, wanted) in [
            ("host = 1", "host = 2", "/etc/t.toml:1: `host`: 2 is out of range; it wants a whole"),
            ("\"5ms\"", "\"5m\"", "/etc/t.toml:2: `bound`: \"5m\" is not a length of time such as"),
            ("\"5ms\"", "5", "`bound`: it wants a length of time such as"),
            ("bound = \"5ms\"", "bond = \"5ms\"", ":2: `bond`: no such key; those here are: host"),
            ("bound = \"5ms\"", "", "`bound`: missing; it wants a length of time"),
            ("host = 1", "host = ", "/etc/t.toml:1: `(file)`: not TOML"),
            ("\"processor\"", "\"moat\"", "`accept_missing[0]`: \"moat\" is no barrier; these are"),
            ("10.77.0.2:7700", "10.77.0.2", "`hosts[1].address`: \"10.77.0.2\" is not an address"),
            ("role = 0", "role = 8", "`roles[0].role`: 8 is out of range; it wants a whole number"),
            ("\"1ms\"", "\"100us\"", "too little even for a handshake, which takes \"310us\""),
            ("\"1ms\"", "\"20ms\"", "`roles[0].budget`: greater than the period"),
            ("\"1ms\"", "\"9ms\"", "`roles`: the roles reserve 900 thousandths of a processor"),
            (
                "payload_uid = 60002",
                "payload_uid = 60001",
                "`launch.payload_uid`: the daemon's own",
            ),
            ("stranger_uid = 65534", "stranger_uid = 60002", "60002 has a role; it wants a user"),
            ("guard = {", "# {", "`guard`: missing; it wants a table such as { kind = \"file\""),
            ("\"file\"", "\"faith\"", ":6: `guard.kind`: \"faith\" is no guard; it wants the kind"),
            ("\"file\"", "\"card\"", "`guard.file`: no such key; those here are: kind, reader"),
            ("key_file =", "pin =", "`guard.pin`: no such key; those here are: kind, file, mark"),
            (
                ", key_file = \"guard.key\"",
                "",
                "`guard.key_file`: it wants either `key_file` or `passphrase_file`",
            ),
            (
                "\"guard.key\" }",
                "\"guard.key\", memory = \"short\" }",
                "`guard.memory`: \"short\" is not \"secret\", or \"ordinary\" where",
            ),
            (
                "{ kind = \"file\", file =",
                "{ kind = \"tpm2\", tcti = \"t\", file = \"s\", counter = 1, pcrs = [0] }\n#",
                "`guard.counter`: 1 is out of range; it wants a whole number from 25165824 to",
            ),
            ("host = 1", "host = 1\ndrift_ppm = 1000", ":2: `drift_ppm`: 1000 is out of range"),
            ("bridge = \"control0\"", "", "`launch.control`: it wants either `bridge` or"),
            ("uid = 60001", "uid = 0", "`uid`: 0 is out of range"),
        ] {
            let complaint = complaint(from, to);
            assert!(complaint.contains(wanted), "{complaint}\n  should contain {wanted}");
        }
    }
}
