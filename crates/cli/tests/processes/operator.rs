//! What an operator types, and what is refused of it.

use crate::support::{PATIENCE, Ports, Town, wait_until};
use crate::{maftia, running};
use maftia::home::{CERTIFICATE, CONFIG, JOURNAL, KEYS, SHARE};
use maftia::process::ServerProcess;
use serde_json::Value;
use std::fs::{self, File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// It failed with `code`, and said each of `words` to the operator.
    fn refused(self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is missing in {self:?}");
        }
    }
}

/// Runs `maftia` with these arguments, to its end.
fn run(arguments: &[&str]) -> Ended {
    let said = tempfile::tempdir().unwrap();
    let (out, err) = (said.path().join("out"), said.path().join("err"));
    let mut child = Command::new(maftia())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(File::create(&out).unwrap())
        .stderr(File::create(&err).unwrap())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            panic!("maftia {arguments:?} does not end: {:?}", fs::read_to_string(err));
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    let read = |path| fs::read_to_string(path).unwrap();
    Ended { code: status.code(), out: read(out), err: read(err) }
}

/// A group of one, by the commands that an operator types.
struct Desk {
    folder: TempDir,
    http: SocketAddr,
    _ports: Ports,
}

impl Desk {
    /// With a configuration, and no keys.
    fn new() -> Self {
        let (folder, ports) = (tempfile::tempdir().unwrap(), Ports::claim());
        let (dir, first) = (folder.path().to_str().unwrap(), ports.first.to_string());
        run(&["init", "--dir", dir, "--servers", "1", "--base-port", &first]).succeeded();
        let http = SocketAddr::from(([127, 0, 0, 1], ports.first + 2));
        Self { folder, http, _ports: ports }
    }

    fn dealt() -> Self {
        let desk = Self::new();
        desk.deal(&[]).succeeded();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), contents).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn home(&self, file: &str) -> PathBuf {
        self.path("server-0").join(file)
    }

    fn deal(&self, more: &[&str]) -> Ended {
        let (group, out) = (self.path(CONFIG), self.folder.path().to_str().unwrap());
        run(&[&["deal", "--group", group.to_str().unwrap(), "--out", out], more].concat())
    }

    fn server_arguments(&self, more: &[&str]) -> Vec<String> {
        let home = self.path("server-0");
        let arguments = ["server", "--home", home.to_str().unwrap()];
        arguments.iter().chain(more).map(|argument| (*argument).to_owned()).collect()
    }

    /// Runs the server, which must end by itself and leave no trace.
    fn server(&self, more: &[&str]) -> Ended {
        let arguments = self.server_arguments(more);
        let ended = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!self.home(JOURNAL).exists(), "a server that is refused begins no journal");
        ended
    }

    /// Runs the server, which must come up, and stop with success.
    fn serves(&self, more: &[&str]) {
        let arguments = self.server_arguments(more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let log = self.path("log");
        let mut server =
            ServerProcess::start("server-0", self.http, maftia(), &arguments, &log).unwrap();
        server.wait_until_up().unwrap();
        server.stop().unwrap();
    }
}

#[test]
fn an_encrypted_share_opens_with_its_passphrase_only() {
    let desk = Desk::new();
    let right = desk.write("right", "correct horse\r\na second line\n");
    let wrong = desk.write("wrong", "battery staple\n");
    let empty = desk.write("empty", "\n");
    desk.deal(&["--passphrase-file", &empty]).refused(1, &[&empty, "empty"]);
    desk.deal(&["--passphrase-file", &right]).succeeded();
    let share = desk.home(SHARE);
    let share = share.to_str().unwrap();
    desk.server(&[]).refused(1, &[share, "passphrase"]);
    desk.server(&["--passphrase-file", &wrong]).refused(1, &[share, "passphrase"]);
    let missing = desk.path("missing");
    let missing = missing.to_str().unwrap();
    desk.server(&["--passphrase-file", missing]).refused(1, &[missing]);
    // Only the first line counts, and not how it ends.
    let same = desk.write("same", "correct horse");
    desk.serves(&["--passphrase-file", &same]);
    desk.serves(&["--passphrase-file", &right]);
}

#[test]
fn a_share_that_others_can_read_is_refused() {
    let desk = Desk::dealt();
    let share = desk.home(SHARE);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&share), 0o600);
    for wide in [0o640, 0o604, 0o644, 0o660, 0o777] {
        fs::set_permissions(&share, Permissions::from_mode(wide)).unwrap();
        desk.server(&[]).refused(1, &[share.to_str().unwrap(), "chmod 600"]);
    }
    fs::set_permissions(&share, Permissions::from_mode(0o600)).unwrap();
    desk.serves(&[]);
}

#[test]
fn a_wrong_configuration_is_refused_with_file_line_and_key_before_anything_starts() {
    let desk = Desk::new();
    let right = fs::read_to_string(desk.path(CONFIG)).unwrap();
    let cases = [
        ("threshold = 0", "threshold = 1", "faults.threshold"),
        ("format = 1", "format = 2", "format"),
        ("accuracy_ms = 1000", "acuracy_ms = 1000", "acuracy_ms"),
        ("clients = \"127.0.0.1", "clients = \"0.0.0.0", "server.clients"),
        ("key_bits = 2048", "key_bits = 1024", "notary.key_bits"),
        ("policy = \"2.25", "policy = \"9.25", "notary.policy"),
        ("configuration = \"asynchronous\"", "configuration = \"synchronous\"", "configuration"),
    ];
    let wrong: Vec<(String, String, &str)> = cases
        .iter()
        .map(|(from, to, key)| {
            let text = right.replacen(from, to, 1);
            let line = text.lines().position(|line| line.contains(to)).unwrap() + 1;
            (text, format!("line {line}"), *key)
        })
        .collect();
    for (text, line, key) in &wrong {
        let path = desk.write(CONFIG, text);
        run(&["check", &path]).refused(2, &[&path, line, key, "Right would be"]);
        desk.deal(&[]).refused(2, &[&path, line, key]);
        assert!(!desk.path("server-0").exists(), "nothing is dealt for a wrong configuration");
    }
    desk.write(CONFIG, &right);
    desk.deal(&[]).succeeded();
    let path = desk.home(CONFIG);
    for (text, line, key) in &wrong {
        fs::write(&path, text).unwrap();
        desk.server(&[]).refused(2, &[path.to_str().unwrap(), line, key]);
    }
    // Correct in itself, and not what the keys were dealt for.
    fs::write(&path, right.replace("accuracy_ms = 1000", "accuracy_ms = 2000")).unwrap();
    desk.server(&[]).refused(1, &[path.to_str().unwrap(), "do not belong together"]);
    fs::write(&path, &right).unwrap();
    desk.serves(&[]);
}

#[test]
fn public_keys_certificates_and_shares_that_were_tampered_with_are_refused() {
    let (desk, other) = (Desk::dealt(), Desk::dealt());
    for (file, step) in [(KEYS, 37), (SHARE, 53), (CERTIFICATE, 211)] {
        let path = desk.home(file);
        let right = fs::read(&path).unwrap();
        let mut wrong = vec![Vec::new(), right[..right.len() / 2].to_vec()];
        // The last characters of PEM have bits that mean nothing.
        for index in (0..right.len() - 70).step_by(step) {
            let mut flipped = right.clone();
            flipped[index] ^= 4;
            wrong.push(flipped);
        }
        wrong.push(fs::read(other.home(file)).unwrap());
        for contents in wrong {
            fs::write(&path, contents).unwrap();
            desk.server(&[]).refused(1, &[desk.path("server-0").to_str().unwrap()]);
        }
        fs::write(&path, right).unwrap();
    }
    desk.serves(&[]);
}

#[test]
fn nothing_that_exists_is_overwritten_by_init_or_deal() {
    let desk = Desk::dealt();
    let files = [desk.path(CONFIG), desk.home(CONFIG), desk.home(KEYS), desk.home(SHARE)];
    let read = || files.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
    let before = read();
    let group = desk.path(CONFIG);
    run(&["init", "--dir", desk.folder.path().to_str().unwrap()])
        .refused(1, &[group.to_str().unwrap(), "not overwritten"]);
    desk.deal(&[]).refused(1, &[desk.home(SHARE).to_str().unwrap(), "not overwritten"]);
    assert!(read() == before, "the files are what they were");
    fs::rename(desk.home(SHARE), desk.path("elsewhere")).unwrap();
    desk.deal(&[]).refused(1, &[desk.home(CONFIG).to_str().unwrap(), "not overwritten"]);
}

#[test]
fn the_journal_of_another_server_is_refused() {
    let mut town = Town::deal(maftia(), 4);
    town.start(0).unwrap();
    town.stop(0).unwrap();
    fs::rename(town.home(0).join(JOURNAL), town.home(1).join(JOURNAL)).unwrap();
    let home = town.home(1);
    run(&["server", "--home", home.to_str().unwrap()]).refused(1, &["belongs to another server"]);
    // And it is still good for its owner.
    fs::rename(town.home(1).join(JOURNAL), town.home(0).join(JOURNAL)).unwrap();
    town.start_all().unwrap();
    town.stamp(1);
    town.stop_all().unwrap();
}

#[test]
fn a_server_that_runs_is_not_started_a_second_time() {
    let mut town = running(1);
    let home = town.home(0);
    run(&["server", "--home", home.to_str().unwrap()])
        .refused(1, &["is in use", "its server runs"]);
    run(&["repair", "--home", home.to_str().unwrap()]).refused(1, &["is in use"]);
    town.stamp(0);
    town.stop_all().unwrap();
}

#[test]
fn what_is_asked_for_as_json_is_json() {
    let mut town = Town::deal(maftia(), 4);
    let group = town.dir().join(CONFIG);
    let group = group.to_str().unwrap();
    let json = |ended: &Ended| serde_json::from_str::<Value>(&ended.out).unwrap();
    let checked = json(&run(&["check", "--json", group]).succeeded());
    assert_eq!(checked["servers"].as_array().unwrap().len(), 4);
    assert_eq!(checked["threshold"], 1);
    let status = || run(&["status", "--json", "--group", group]);
    let nobody = status();
    assert!(json(&nobody)["servers"][0]["unreachable"].is_string(), "{nobody:?}");
    nobody.refused(1, &["fewer servers answer"]);
    town.start_all().unwrap();
    town.stamp(0);
    wait_until("the status of every server says that it has executed the request", || {
        let servers = json(&status().succeeded())["servers"].clone();
        let servers = servers.as_array().unwrap();
        servers.iter().all(|server| server["status"]["progress"]["position"] == 1)
    });
    town.kill([2]);
    let three = status().succeeded();
    assert!(json(&three)["servers"][2]["unreachable"].is_string(), "{three:?}");
    town.stop_all().unwrap();
}

#[test]
fn help_says_what_each_command_does_and_takes() {
    let cases: [(&[&str], &[&str]); 10] = [
        (&[], &["init", "check", "deal", "server", "status", "demo", "bench", "maftia demo"]),
        (&["init"], &["--dir", "--servers", "--base-port", "--key-bits", "survives one"]),
        (&["check"], &["--json", "what is wrong and where"]),
        (&["deal"], &["--group", "--out", "--passphrase-file", "overwritten", "offline"]),
        (&["server"], &["--home", "--passphrase-file", "--log-json", "SIGTERM"]),
        (&["status"], &["--group", "--json"]),
        (&["demo"], &["--keep", "--json", "OpenSSL"]),
        (&["bench"], &["atomic", "delays"]),
        (&["bench", "atomic"], &["--servers", "--payload", "--json"]),
        (&["bench", "delays"], &["--servers", "--seeds", "--json"]),
    ];
    for (command, words) in cases {
        let help = run(&[command, &["--help"]].concat()).succeeded().out;
        for word in words {
            assert!(help.contains(word), "{word:?} is missing in the help of {command:?}: {help}");
        }
    }
    run(&["serve"]).refused(2, &["unrecognized subcommand", "server"]);
}
