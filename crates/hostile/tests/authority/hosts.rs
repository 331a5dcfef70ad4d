//! Hosts that keep their certificates fresh by themselves: a web server's, an address's, and the
//! authority's own front ends; and what an old word about one is worth.

use crate::city::{City, said, succeed};
use crate::support::wait_until;
use crate::tools::debian;
use maftia::acme::{self, Acme, Challenges};
use openssl::x509::X509;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A process that ends with its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn certbot_obtains_a_certificate_for_an_address() {
    let mut city = City::found(4, None, "");
    city.start_all().unwrap();
    let mut certbot = city.certbot_http(&[]);
    succeed(certbot.args(["--ip-address", "127.0.0.1", "--cert-name", "address"]));
    let certificate = city.live("address", "cert.pem");
    city.verify(&certificate, 3).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-checkip", "127.0.0.1", "-in"]).arg(&certificate);
    assert!(succeed(&mut openssl).contains("does match"));
}

#[test]
fn caddy_is_reached_under_the_root_with_two_lines_in_its_settings() {
    let mut city = City::found(4, None, "");
    city.start_all().unwrap();
    let settings = city.path("Caddyfile");
    let text = format!(
        "\
{{
    acme_ca {directory}
    acme_ca_root {root}
    admin off
    http_port {http}
    https_port {tls}
    skip_install_trust
    storage file_system {storage}
}}
caddy.test {{
    bind 127.0.0.1
    respond \"behind Caddy\"
}}
",
        directory = city.directory(),
        root = city.public("root.pem").display(),
        http = city.ports.http,
        tls = city.ports.tls,
        storage = city.path("caddy").display(),
    );
    std::fs::write(&settings, text).unwrap();
    let mut caddy = Command::new(debian("caddy", "caddy"));
    caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(&settings);
    caddy.env("HOME", city.path("")).stdin(Stdio::null());
    let log = std::fs::File::create(city.path("caddy.log")).unwrap();
    let caddy = caddy.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let _caddy = Process(caddy);
    let (tls, root) = (city.ports.tls, city.public("root.pem"));
    let page = || {
        let mut curl = Command::new(debian("curl", "curl"));
        curl.args(["--silent", "--fail", "--max-time", "5", "--cacert"]).arg(&root);
        curl.args(["--resolve", &format!("caddy.test:{tls}:127.0.0.1")]);
        curl.arg(format!("https://caddy.test:{tls}/")).output().unwrap()
    };
    wait_until("Caddy is believed", || said(&page()).contains("behind Caddy"));
    assert_eq!(city.logged("issued").len(), 1);
}

#[test]
fn a_front_end_shows_the_certificate_that_its_own_group_has_renewed() {
    const HOST: &str = "ca.front.test";
    let mut city = City::found_under((HOST, "front.test"), 4, None, "");
    city.start_all().unwrap();
    let challenges = Challenges::serve((Ipv4Addr::LOCALHOST, city.ports.http).into()).unwrap();
    let root = std::fs::read(city.public("root.pem")).unwrap();
    let join = || Acme::register(&city.directory(), &root, city.door(), challenges.clone());
    let key = acme::key().unwrap();
    let chain = join().unwrap().obtain(&[HOST], &acme::request(&key, &[HOST]).unwrap()).unwrap();
    let first = shown(&city, HOST);
    let home = city.home(0);
    std::fs::write(home.join("acme.key"), key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    std::fs::write(home.join("acme.pem"), &chain).unwrap();
    wait_until("it shows another one", || shown(&city, HOST) != first);
    let leaf = X509::stack_from_pem(&chain).unwrap().remove(0).to_pem().unwrap();
    assert_eq!(shown(&city, HOST).trim(), String::from_utf8(leaf).unwrap().trim());
    // Whoever comes now believes it.
    join().unwrap();
}

/// The certificate that whoever asks for the authority is shown, in PEM.
fn shown(city: &City, host: &str) -> String {
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-connect", &city.door().to_string(), "-servername", host]);
    let output = openssl.stdin(Stdio::null()).output().unwrap();
    let text = said(&output);
    let begin = text.find("-----BEGIN CERTIFICATE").expect("a certificate");
    let end = begin + text[begin..].find("-----END CERTIFICATE-----").unwrap() + 25;
    text[begin..end].to_owned()
}

#[test]
fn an_old_word_that_a_certificate_is_good_is_not_believed_for_ever() {
    let mut city = City::found(4, None, "");
    city.start_all().unwrap();
    succeed(&mut city.certbot_http(&["old.test"]));
    let certificate = city.live("old.test", "cert.pem");
    wait_until("it is good", || city.status_of(&certificate, 1) == "good");
    let old = city.path("old.der");
    std::fs::copy(city.path("response.der"), &old).unwrap();
    let mut revoke = city.certbot(&["revoke", "--no-delete-after-revoke"]);
    succeed(revoke.arg("--cert-path").arg(&certificate));
    wait_until("it is revoked", || city.status_of(&certificate, 1) == "revoked");
    // What a hostile front end can still show.
    assert!(judged(&city, &old, &certificate, "+1h").is_ok());
    let refusal = judged(&city, &old, &certificate, "+30d").expect_err("it has ended");
    assert!(refusal.contains("status expired"), "{refusal}");
}

/// What OpenSSL makes of a response so much later.
fn judged(city: &City, old: &Path, certificate: &Path, later: &str) -> Result<(), String> {
    let mut command = Command::new(debian("faketime", "faketime"));
    command.args(["-f", later, "openssl", "ocsp", "-no_nonce", "-respin"]).arg(old);
    command.arg("-CAfile").arg(city.public("root.pem"));
    command.arg("-issuer").arg(city.public("issuing.pem")).arg("-cert").arg(certificate);
    let output = command.output().unwrap();
    let text = said(&output);
    assert!(text.contains("Response verify OK"), "{text}");
    match output.status.success() && text.contains(": good") && !text.contains("invalid") {
        true => Ok(()),
        false => Err(text),
    }
}
