//! A group with a certification authority, and what stands around it: a name server, an address
//! that leads to one front end or another, and stock clients.

use crate::support::Town;
use crate::tools::{self, certbot};
use crate::zone::Zone;
use maftia::config::NewAuthority;
use maftia_agreement::hybrid::OrderedBy;
use serde_json::Value;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tokio::runtime::Runtime;

/// What the servers issue, and where they look.
fn rules(ports: &Ports, suffix: &str) -> String {
    format!(
        "\
default_profile = \"server\"

[[profile]]
name = \"server\"
description = \"TLS servers\"
usage = \"server\"
hours = 720
names = [\"{suffix}\", \"127.0.0.0/8\"]

[validation]
resolvers = [\"127.0.0.1:{dns}\"]
http_port = {http}
tls_port = {tls}
",
        dns = ports.dns,
        http = ports.http,
        tls = ports.tls,
    )
}

/// Where things are, beside the servers' own ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// Where clients find the authority.
    door: u16,
    dns: u16,
    /// Where http-01 is looked at.
    pub(crate) http: u16,
    /// Where tls-alpn-01 is.
    pub(crate) tls: u16,
}

impl Ports {
    /// After the first ones, which the servers take for ACME.
    fn after(first: u16) -> Self {
        Self { door: first, dns: first + 1, http: first + 2, tls: first + 3 }
    }
}

/// The whole.
pub(crate) struct City {
    town: Town,
    door: Door,
    pub(crate) ports: Ports,
    host: &'static str,
    suffix: &'static str,
    /// Runs the name server.
    _runtime: Runtime,
}

impl City {
    /// A group of `servers` that has not been started, and all around it. Rules that are `added`
    /// stand at the end of what is issued to whom.
    pub(crate) fn found(servers: usize, hybrid: Option<OrderedBy>, added: &str) -> Self {
        Self::found_under(("localhost", "test"), servers, hybrid, added)
    }

    /// The same with another host in the authority's URL, and certificates for other names.
    pub(crate) fn found_under(
        (host, suffix): (&'static str, &'static str),
        servers: usize,
        hybrid: Option<OrderedBy>,
        added: &str,
    ) -> Self {
        let mut seen = None;
        let town = Town::deal_with(&tools::honest(), servers, hybrid, |base_port| {
            let ports = Ports::after(base_port + u16::try_from(servers).unwrap());
            seen = Some(ports);
            Some(NewAuthority {
                url: format!("https://{host}:{}", ports.door),
                base_port,
                permitted: [suffix, host, "127.0.0.0/8"].map(String::from).into(),
                rules: rules(&ports, suffix) + added,
            })
        });
        let ports = seen.expect("it was asked");
        let fronts = town.config().servers.iter().map(|server| server.acme.unwrap()).collect();
        let door = Door::open(ports.door, fronts);
        let runtime = Runtime::new().unwrap();
        let city = Self { town, door, ports, host, suffix, _runtime: runtime };
        std::fs::create_dir(city.texts()).unwrap();
        city.serve_names();
        city
    }

    fn serve_names(&self) {
        let zone = Zone::default().below(self.suffix, Ipv4Addr::LOCALHOST).texts_in(&self.texts());
        self._runtime.block_on(async {
            let address = (Ipv4Addr::LOCALHOST, self.ports.dns);
            let socket = tokio::net::UdpSocket::bind(address).await.unwrap();
            zone.serve_at(socket, tokio::net::TcpListener::bind(address).await.unwrap());
        });
    }

    /// The port of the name server.
    pub(crate) fn names(&self) -> u16 {
        self.ports.dns
    }

    /// In files here are the texts of names.
    pub(crate) fn texts(&self) -> PathBuf {
        self.town.folder().join("texts")
    }

    /// From now on clients come to the front end of this server.
    pub(crate) fn lead_to(&self, server: usize) {
        self.door.target.store(server, Ordering::Relaxed);
    }

    /// The authority's directory.
    pub(crate) fn directory(&self) -> String {
        format!("https://{}:{}/acme/directory", self.host, self.ports.door)
    }

    /// Where clients come to.
    pub(crate) fn door(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.door).into()
    }

    /// A file of the first server's home folder.
    pub(crate) fn public(&self, name: &str) -> PathBuf {
        self.home(0).join(name)
    }

    /// A file or folder of this test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.town.folder().join(name)
    }

    /// Certbot, with what it always needs.
    pub(crate) fn certbot(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(certbot());
        command.args(arguments).arg("--non-interactive");
        for part in ["config", "work", "logs"] {
            command.arg(format!("--{part}-dir")).arg(self.path("certbot").join(part));
        }
        command.args(["--server", &self.directory()]);
        command.env("REQUESTS_CA_BUNDLE", self.public("root.pem"));
        command
    }

    /// Certbot, serving HTTP itself.
    pub(crate) fn certbot_http(&self, names: &[&str]) -> Command {
        let mut command = self.certbot(&["certonly", "--standalone", "--agree-tos"]);
        command.args(["--email", "hostmaster@example.test", "--http-01-address", "127.0.0.1"]);
        command.args(["--http-01-port", &self.ports.http.to_string()]);
        command.args(names.iter().flat_map(|name| ["-d", name]));
        command
    }

    /// What certbot got.
    pub(crate) fn live(&self, name: &str, file: &str) -> PathBuf {
        self.path("certbot/config/live").join(name).join(file)
    }

    /// Lego, with what it always needs.
    pub(crate) fn lego(&self, names: &[&str], how: &[&str], what: &[&str]) -> Command {
        let mut command = Command::new(tools::lego());
        command.args(["--server", &self.directory(), "--accept-tos"]);
        command.args(["--email", "hostmaster@example.test", "--path"]).arg(self.path("lego"));
        command.args(names.iter().flat_map(|name| ["-d", name]));
        command.args(how).args(what);
        command.env("LEGO_CA_CERTIFICATES", self.public("root.pem"));
        command
    }

    /// What lego got.
    pub(crate) fn got(&self, name: &str, kind: &str) -> PathBuf {
        self.path("lego/certificates").join(format!("{}.{kind}", name.replace('*', "_")))
    }

    /// A command of `maftia ca`, which must succeed, and what it says.
    pub(crate) fn ca(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(tools::honest());
        command.arg("ca").args(arguments).arg("--home").arg(self.home(0));
        succeed(&mut command)
    }

    /// The entries of the log.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = self.ca(&["log", "--json"]);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Entries of one kind.
    pub(crate) fn logged(&self, event: &str) -> Vec<Value> {
        self.log().into_iter().filter(|entry| entry["event"] == event).collect()
    }

    /// OpenSSL believes the certificate, by itself and with the revocation list of `server`.
    pub(crate) fn verify(&self, certificate: &Path, server: usize) -> Result<(), String> {
        let list = self.list(server);
        let mut command = Command::new("openssl");
        command.args(["verify", "-x509_strict", "-purpose", "sslserver"]);
        command.arg("-CAfile").arg(self.public("root.pem"));
        command.arg("-untrusted").arg(self.public("issuing.pem"));
        command.arg("-crl_check").arg("-CRLfile").arg(&list).arg(certificate);
        let output = command.output().unwrap();
        if output.status.success() { Ok(()) } else { Err(said(&output)) }
    }

    /// What OpenSSL learns by OCSP from `server`, or that it has nothing to say yet.
    pub(crate) fn status_of(&self, certificate: &Path, server: usize) -> String {
        let mut command = Command::new("openssl");
        command
            .arg("ocsp")
            .arg("-respout")
            .arg(self.path("response.der"))
            .arg("-CAfile")
            .arg(self.public("root.pem"));
        command.arg("-issuer").arg(self.public("issuing.pem")).arg("-cert").arg(certificate);
        command.args(["-no_nonce", "-url", &format!("{}/ocsp", self.plain(server))]);
        let output = command.output().unwrap();
        let text = said(&output);
        if text.contains("Responder Error") {
            return "nothing yet".into();
        }
        assert!(text.contains("Response verify OK"), "{text}");
        let line = text.lines().find(|line| line.contains(".pem: ") || line.contains(".crt: "));
        line.and_then(|line| line.split(": ").nth(1)).expect("a status").to_owned()
    }

    /// The revocation list of `server`, in PEM.
    pub(crate) fn list(&self, server: usize) -> PathBuf {
        let list = self.path("list.pem");
        let der = tools::get(&format!("{}/crl/issuing.crl", self.plain(server)));
        std::fs::write(&list, tools::crl_to_pem(&der)).unwrap();
        list
    }

    /// OpenSSL believes the certificate, with all revocation lists that `server` has.
    pub(crate) fn verify_all(&self, certificate: &Path, server: usize) -> Result<(), String> {
        let lists = self.path("lists.pem");
        let urls =
            ["issuing.crl", "root.crl"].map(|name| format!("{}/crl/{name}", self.plain(server)));
        let pem = urls.map(|url| tools::crl_to_pem(&tools::get(&url)));
        std::fs::write(&lists, pem.concat()).unwrap();
        let mut command = Command::new("openssl");
        command.args(["verify", "-x509_strict", "-crl_check_all", "-CAfile"]);
        command.arg(self.public("root.pem")).arg("-untrusted").arg(self.public("issuing.pem"));
        let output = command.arg("-CRLfile").arg(&lists).arg(certificate).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(said(&output)) }
    }

    fn plain(&self, server: usize) -> String {
        format!("http://{}", self.config().servers[server].http)
    }
}

impl Deref for City {
    type Target = Town;

    fn deref(&self) -> &Town {
        &self.town
    }
}

impl DerefMut for City {
    fn deref_mut(&mut self) -> &mut Town {
        &mut self.town
    }
}

/// Both outputs of a command.
pub(crate) fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    format!("{out}{err}")
}

/// Runs a command, which must succeed; answers what it says.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// One address for all front ends, as a name with several addresses, or a balancer, would be.
struct Door {
    target: Arc<AtomicUsize>,
}

impl Door {
    fn open(port: u16, fronts: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let target = Arc::new(AtomicUsize::new(0));
        let chosen = Arc::clone(&target);
        // As long as the process: a test that has ended does not knock any more.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let front = fronts[chosen.load(Ordering::Relaxed)];
                thread::spawn(move || lead(&client, front));
            }
        });
        Self { target }
    }
}

/// Moves bytes both ways until one side has nothing more to say.
fn lead(client: &TcpStream, front: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(front)?;
    thread::scope(|scope| {
        scope.spawn(|| copy(client, &server));
        copy(&server, client);
    });
    Ok(())
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = from.shutdown(Shutdown::Read);
    let _ = to.shutdown(Shutdown::Write);
}
