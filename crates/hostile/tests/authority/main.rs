//! Certbot and lego, unmodified, at groups of real server processes, of which one may be taken
//! over, killed, or left for another in the middle of an order.
#![allow(clippy::unwrap_used)]

mod believers;
mod city;
mod hosts;
mod keepers;
mod lint;
mod negatives;
#[path = "../../../cli/tests/processes/support.rs"]
#[allow(dead_code, reason = "other tests need the rest")]
mod support;
mod tools;
#[path = "../../../node/src/tests/zone.rs"]
mod zone;

use city::{City, said, succeed};
use maftia_agreement::hybrid::OrderedBy;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use support::wait_until;

/// The server that is taken over.
const TRAITOR: usize = 2;

/// A script that a client runs.
fn script(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/bin/sh\nset -e\n{text}")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Starts all servers, that of the traitor in the hands of somebody who does `strategy`.
fn start_with_traitor(city: &mut City, strategy: &str) {
    let home = city.home(TRAITOR);
    let arguments = ["--home", home.to_str().unwrap(), "--strategy", strategy];
    for index in (0..city.config().servers.len()).filter(|index| *index != TRAITOR) {
        city.start(index).unwrap();
    }
    city.start_program(TRAITOR, tools::hostile(), &arguments).unwrap();
}

/// A certificate is obtained, renewed and revoked, each through another front end.
fn a_whole_life(city: &City, fronts: &[usize]) {
    let front = |step: usize| fronts[step % fronts.len()];
    city.lead_to(front(0));
    succeed(&mut city.certbot_http(&["www.test", "api.test"]));
    let certificate = city.live("www.test", "cert.pem");
    let first = city.path("first.pem");
    std::fs::copy(&certificate, &first).unwrap();
    for server in fronts {
        wait_until(&format!("server {server} says that it is good"), || {
            city.verify(&first, *server).is_ok() && city.status_of(&first, *server) == "good"
        });
    }
    city.lead_to(front(1));
    let renewal = ["renew", "--force-renewal", "--no-random-sleep-on-renew"];
    succeed(&mut city.certbot(&renewal));
    assert_ne!(std::fs::read(&certificate).unwrap(), std::fs::read(&first).unwrap(), "another one");
    city.verify(&certificate, front(1)).unwrap();
    city.lead_to(front(2));
    let path = first.to_str().unwrap();
    let revocation = ["revoke", "--reason", "superseded", "--no-delete-after-revoke"];
    succeed(city.certbot(&revocation).args(["--cert-path", path]));
    for server in fronts {
        wait_until(&format!("server {server} says that it is revoked"), || {
            city.status_of(&first, *server) == "revoked"
        });
    }
    city.verify(&certificate, front(2)).unwrap();
    let revoked = city.logged("revoked");
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0]["about"]["reason"], "superseded");
}

#[test]
fn certbot_obtains_renews_and_revokes_through_a_front_end_after_the_other() {
    let mut city = City::found(4, None, "");
    city.start_all().unwrap();
    a_whole_life(&city, &[0, 1, 3, 2]);
    let issued = city.logged("issued");
    assert_eq!(issued.len(), 2);
    let serial = issued[1]["about"]["serial"].as_str().unwrap();
    let seen = city.ca(&["inspect", serial]);
    assert!(seen.contains("www.test: http-01"), "{seen}");
    assert_eq!(city.logged("account-created").len(), 1);
}

#[test]
fn certbot_notices_nothing_of_a_server_that_was_taken_over() {
    let mut city = City::found(4, None, "");
    start_with_traitor(&mut city, "everything");
    a_whole_life(&city, &[0, 1, 3]);
}

#[test]
fn three_servers_with_trusted_components_are_the_same_authority() {
    let mut city = City::found(3, Some(OrderedBy::Identifiers), "");
    city.start_all().unwrap();
    a_whole_life(&city, &[0, 1, 2]);
}

#[test]
fn lego_proves_names_by_http_by_tls_and_by_dns_with_one_server_taken_over() {
    let mut city = City::found(4, None, "");
    start_with_traitor(&mut city, "everything");
    let (http, tls) = (city.ports.http, city.ports.tls);
    let (http, tls) = (format!("127.0.0.1:{http}"), format!("127.0.0.1:{tls}"));
    let by_http = ["--http", "--http.port", &http];
    succeed(&mut city.lego(&["one.test"], &by_http, &["run"]));
    city.lead_to(1);
    succeed(&mut city.lego(&["two.test"], &["--tls", "--tls.port", &tls], &["run"]));
    city.lead_to(3);
    let hook = city.path("hook");
    let texts = city.texts().display().to_string();
    let file = format!("{texts}/$(echo \"$2\" | sed 's/\\.$//')");
    let present =
        format!("case $1 in present) echo \"$3\" >> \"{file}\";; *) rm -f \"{file}\";; esac\n");
    script(&hook, &present);
    let resolver = format!("127.0.0.1:{}", city.names());
    let dns = ["--dns", "exec", "--dns.disable-cp", "--dns.resolvers", &resolver];
    let mut lego = city.lego(&["*.three.test", "three.test"], &dns, &["run"]);
    lego.env("EXEC_PATH", &hook).env("EXEC_SEQUENCE_INTERVAL", "1");
    succeed(lego.env("EXEC_POLLING_INTERVAL", "1"));
    for name in ["one.test", "two.test", "*.three.test"] {
        city.verify(&city.got(name, "crt"), 3).unwrap();
    }
    let kinds = |kind: &str| {
        let valid = city.logged("validated");
        valid.iter().filter(|entry| entry["about"]["challenge"] == kind).count()
    };
    assert_eq!(["http-01", "tls-alpn-01", "dns-01"].map(kinds), [1, 1, 2]);
    city.lead_to(0);
    let first = std::fs::read(city.got("one.test", "crt")).unwrap();
    succeed(&mut city.lego(
        &["one.test"],
        &by_http,
        &["renew", "--days", "9999", "--no-random-sleep"],
    ));
    assert_ne!(std::fs::read(city.got("one.test", "crt")).unwrap(), first, "another one");
    city.lead_to(1);
    succeed(&mut city.lego(&["one.test"], &[], &["revoke"]));
    wait_until("it is revoked", || {
        let archived = city.path("lego/archives");
        let mut found = std::fs::read_dir(archived).into_iter().flatten().flatten();
        let certificate = found.find(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            name.ends_with(".crt") && !name.ends_with(".issuer.crt")
        });
        certificate.is_some_and(|file| city.status_of(&file.path(), 3) == "revoked")
    });
}

#[test]
fn an_order_outlives_the_server_that_it_was_begun_at() {
    let mut city = City::found(4, None, "");
    city.start_all().unwrap();
    let (reached, go) = (city.path("reached"), city.path("go"));
    let hook = city.path("hook");
    let record = city.texts().join("_acme-challenge.$CERTBOT_DOMAIN");
    let text = format!(
        "echo \"$CERTBOT_VALIDATION\" >> {}\ntouch {}\nwhile [ ! -e {} ]; do sleep 0.1; done\n",
        record.display(),
        reached.display(),
        go.display()
    );
    script(&hook, &text);
    let dns = ["certonly", "--manual", "--preferred-challenges", "dns", "--agree-tos"];
    let mut certbot = city.certbot(&dns);
    certbot.args(["--email", "hostmaster@example.test", "-d", "moved.test"]);
    certbot.arg("--manual-auth-hook").arg(&hook);
    let running = certbot.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("certbot is in the middle of its order", || reached.exists());
    city.kill([0]);
    city.lead_to(1);
    std::fs::write(&go, []).unwrap();
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    city.verify(&city.live("moved.test", "cert.pem"), 3).unwrap();
    city.start(0).unwrap();
    wait_until("the server that was killed has caught up", || {
        city.verify(&city.live("moved.test", "cert.pem"), 0).is_ok()
            && city.status_of(&city.live("moved.test", "cert.pem"), 0) == "good"
    });
}

#[test]
fn who_vouches_for_names_that_nobody_else_has_seen_gets_nothing() {
    let mut city = City::found(4, None, "");
    let vouching = [1, TRAITOR];
    for index in [0, 3] {
        city.start(index).unwrap();
    }
    // One more than may be: what is wrong must not be issued even then.
    for index in vouching {
        let home = city.home(index);
        let arguments = ["--home", home.to_str().unwrap(), "--strategy", "vouch-for-all"];
        city.start_program(index, tools::hostile(), &arguments).unwrap();
    }
    let hook = city.path("hook");
    script(&hook, "true\n");
    let dns = ["certonly", "--manual", "--preferred-challenges", "dns", "--agree-tos"];
    let mut certbot = city.certbot(&dns);
    certbot.args(["--email", "hostmaster@example.test", "-d", "stolen.test"]);
    certbot.arg("--manual-auth-hook").arg(&hook);
    let mut running = certbot.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("both have vouched", || city.logged("vote-cast").len() == vouching.len());
    // Long enough for the honest ones to have looked several times.
    std::thread::sleep(Duration::from_secs(8));
    let log = city.log();
    let of = |kind: &str| log.iter().filter(|entry| entry["event"] == kind).count();
    assert_eq!((of("vote-cast"), of("validated"), of("issued")), (2, 0, 0));
    for vote in log.iter().filter(|entry| entry["event"] == "vote-cast") {
        let server = vote["about"]["server"].as_str().unwrap();
        assert!(["server-1", "server-2"].contains(&server), "{server} has seen nothing");
    }
    running.kill().unwrap();
    running.wait().unwrap();
    // What all can see is certified.
    succeed(&mut city.certbot_http(&["honest.test"]));
    city.verify(&city.live("honest.test", "cert.pem"), 0).unwrap();
}
