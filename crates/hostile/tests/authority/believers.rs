//! Stock clients of TLS believe what was issued, each with the root installed in its own way, and
//! none does without it.

use crate::city::{City, said, succeed};
use crate::tools::debian;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Whose certificate it is.
const HOST: &str = "web.test";

/// What the host's pages have in them.
const PAGE: &str = "s_server";

/// A host that shows its certificate; it ends with the test.
struct Host {
    child: Child,
    port: u16,
}

impl Host {
    fn start(city: &City) -> Self {
        // Nobody else listens there now, and hardly in a moment.
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-www", "-quiet", "-accept", &format!("127.0.0.1:{port}")]);
        command.arg("-cert").arg(city.live(HOST, "cert.pem"));
        command.arg("-cert_chain").arg(city.live(HOST, "chain.pem"));
        command.arg("-key").arg(city.live(HOST, "privkey.pem"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let host = Self { child: child.spawn().unwrap(), port };
        crate::support::wait_until("the host answers", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        host
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does this client get the host's page, if it believes this root?
type Believer = fn(port: u16, root: &Path, city: &City) -> Result<(), String>;

const BELIEVERS: [(&str, Believer); 7] = [
    ("OpenSSL", openssl),
    ("curl", curl),
    ("Python", python),
    ("Node", node),
    ("GnuTLS", gnutls),
    ("rustls", rustls),
    ("Chromium", chromium),
];

#[test]
fn stock_clients_believe_a_host_under_the_root_and_under_no_other() {
    let mut city = City::found(4, None, "");
    city.start_all().unwrap();
    succeed(&mut city.certbot_http(&[HOST, "other.test"]));
    let host = Host::start(&city);
    let (root, other) = (city.public("root.pem"), city.public("notary.pem"));
    for (name, believes) in BELIEVERS {
        believes(host.port, &root, &city).unwrap_or_else(|said| panic!("{name}: {said}"));
        assert!(believes(host.port, &other, &city).is_err(), "{name} believes without the root");
    }
}

/// It ends well, and says this.
fn says(command: &mut Command, what: &str) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = said(&output);
    match output.status.success() && text.contains(what) {
        true => Ok(()),
        false => Err(text),
    }
}

fn openssl(port: u16, root: &Path, _: &City) -> Result<(), String> {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-servername", HOST]);
    command.args(["-verify_hostname", HOST, "-verify_return_error", "-x509_strict"]);
    command.arg("-no-CApath").arg("-no-CAstore").arg("-CAfile").arg(root);
    says(command.stdin(Stdio::null()), "Verify return code: 0 (ok)")
}

fn curl(port: u16, root: &Path, _: &City) -> Result<(), String> {
    let mut command = Command::new(debian("curl", "curl"));
    command.args(["--silent", "--show-error", "--fail", "--max-time", "20"]);
    command.args(["--resolve", &format!("{HOST}:{port}:127.0.0.1")]);
    command.args(["--capath", "/nonexistent", "--cacert"]).arg(root);
    says(command.arg(format!("https://{HOST}:{port}/")), PAGE)
}

fn python(port: u16, root: &Path, _: &City) -> Result<(), String> {
    let script = "\
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
with socket.create_connection(('127.0.0.1', int(sys.argv[2])), 20) as plain:
    with context.wrap_socket(plain, server_hostname=sys.argv[3]) as secure:
        secure.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
        print(b''.join(iter(lambda: secure.recv(4096), b'')))
";
    let mut command = Command::new(debian("python3", "python3"));
    says(command.args(["-c", script]).arg(root).args([&port.to_string(), HOST]), PAGE)
}

fn node(port: u16, root: &Path, _: &City) -> Result<(), String> {
    let script = "\
const [root, port, servername] = process.argv.slice(1);
const ca = require('fs').readFileSync(root);
const options = { host: '127.0.0.1', port, servername, ca, headers: { host: servername } };
require('https').get(options, (response) => {
  response.on('data', (data) => process.stdout.write(data));
}).on('error', (error) => { console.error(error); process.exit(1); });
";
    let mut command = Command::new(debian("node", "nodejs"));
    says(command.args(["-e", script]).arg(root).args([&port.to_string(), HOST]), PAGE)
}

fn gnutls(port: u16, root: &Path, _: &City) -> Result<(), String> {
    let mut command = Command::new(debian("gnutls-cli", "gnutls-bin"));
    command.args(["--port", &port.to_string(), "--sni-hostname", HOST]);
    command.args(["--verify-hostname", HOST, "--x509cafile"]).arg(root).arg("127.0.0.1");
    says(command.stdin(Stdio::null()), "The certificate is trusted")
}

fn rustls(port: u16, root: &Path, _: &City) -> Result<(), String> {
    let root = std::fs::read(root).unwrap();
    let via = ([127, 0, 0, 1], port).into();
    let page = maftia::acme::fetch(&format!("https://{HOST}:{port}/"), &root, via);
    match page.map_err(|failure| failure.to_string())? {
        page if page.contains(PAGE) => Ok(()),
        page => Err(page),
    }
}

/// With the root among the user's authorities, as an administrator would put it there.
fn chromium(port: u16, root: &Path, city: &City) -> Result<(), String> {
    let chromium = debian("chromium", "chromium");
    let home = city.path(&format!("browser-{}", root.file_stem().unwrap().display()));
    let database = home.join(".pki/nssdb");
    std::fs::create_dir_all(&database).unwrap();
    let certutil = debian("certutil", "libnss3-tools");
    let store = format!("sql:{}", database.display());
    succeed(Command::new(&certutil).args(["-d", &store, "-N", "--empty-password"]));
    let mut add = Command::new(&certutil);
    succeed(add.args(["-d", &store, "-A", "-t", "C,,", "-n", "root", "-i"]).arg(root));
    let mut command = Command::new(chromium);
    command.env("HOME", &home).args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", home.join("profile").display()));
    command.arg(format!("--host-resolver-rules=MAP {HOST} 127.0.0.1"));
    command.args(["--timeout=20000", "--no-first-run", "--disable-background-networking"]);
    says(command.arg(format!("https://{HOST}:{port}/")), PAGE)
}
