//! `tls-alpn-01`.

use super::super::zone::Zone;
use super::certificates::{Kind, Made, digest};
use super::outside::{Say, Shake, tls};
use super::{ChallengeKind, HERE, HOST, Identifier, config, hasty, here, look, name, nobody, run};
use crate::validation::Why;
use rustls::version::{TLS12, TLS13};
use std::net::{IpAddr, Ipv6Addr};

const ACME: &[&str] = &["acme-tls/1"];

/// Looks at [`HOST`], which shakes hands so.
async fn look_at(shake: Shake) -> Result<(), Why> {
    let (tls, names) = tls(HERE, shake, |head| panic!("nothing is said: {head}")).await;
    let config = config(&here(), nobody().await, tls).await;
    let seen = look(config, ChallengeKind::TlsAlpn01, &name(HOST)).await;
    assert_eq!(*names.lock().expect("whole"), [HOST], "asked for by name");
    seen
}

/// Looks at a host that shows this.
async fn look_shown(made: Made) -> Result<(), Why> {
    look_at(made.shake(ACME)).await
}

fn right() -> Made {
    Made::for_name(HOST)
}

#[test]
fn a_certificate_made_for_the_challenge_is_a_yes_with_all_keys_and_versions() {
    run(async {
        for kind in [Kind::P256, Kind::P384, Kind::Rsa, Kind::Ed25519] {
            for versions in [vec![&TLS12], vec![&TLS13], vec![&TLS12, &TLS13]] {
                let made = Made { kind, ..right() };
                look_at(Shake { versions, ..made.shake(ACME) }).await.expect("right");
            }
        }
        let upper = Made { names: vec!["DNS:WWW.Example.Test".into()], ..right() };
        look_shown(upper).await.expect("names have no case");
        let expired = Made { expired: true, ..right() };
        look_shown(expired).await.expect("when it is valid does not matter");
        look_shown(Made { more: true, ..right() }).await.expect("what else there is, neither");
        let among_others = right().shake(&["h2", "acme-tls/1"]);
        look_at(among_others).await.expect("it may speak other protocols, too");
    });
}

#[test]
fn addresses_are_asked_for_by_their_names_in_the_reverse_zones() {
    run(async {
        let long: IpAddr = Ipv6Addr::LOCALHOST.into();
        let reversed = format!("1.{}ip6.arpa", "0.".repeat(31));
        for (address, asked) in [(HERE, "1.0.0.127.in-addr.arpa"), (long, reversed.as_str())] {
            let made = Made { names: vec![format!("IP:{address}")], ..right() };
            let (tls, names) = tls(address, made.shake(ACME), |_| Say::body("")).await;
            let config = config(&Zone::default(), nobody().await, tls).await;
            let subject = Identifier::Ip(address);
            look(config, ChallengeKind::TlsAlpn01, &subject).await.expect("right");
            assert_eq!(*names.lock().expect("whole"), [asked]);
        }
    });
}

#[test]
fn a_host_that_does_not_speak_the_protocol_is_no_yes() {
    run(async {
        for protocols in [&["http/1.1"][..], &["h2", "acme-tls/2"], &[]] {
            let seen = look_at(right().shake(protocols)).await;
            assert!(matches!(seen, Err(Why::Handshake(_))), "{protocols:?}: {seen:?}");
        }
    });
}

#[test]
fn a_certificate_that_was_not_made_for_this_is_no_yes() {
    let names =
        |names: &[&str]| Made { names: names.iter().map(|n| n.to_string()).collect(), ..right() };
    let here = format!("DNS:{HOST}");
    let cases = [
        ("another name", names(&["DNS:example.test"])),
        ("a name more", names(&[&here, "DNS:example.test"])),
        ("the same name twice", names(&[&here, &here])),
        ("an address more", names(&[&here, "IP:127.0.0.1"])),
        ("an address instead", names(&["IP:127.0.0.1"])),
        ("the name as mail", names(&["email:www.example.test"])),
        ("a wildcard", names(&["DNS:*.example.test"])),
        ("no name", names(&[])),
        ("another digest", Made { digest: Some((digest("another"), true)), ..right() }),
        (
            "a short digest",
            Made { digest: Some((digest(super::RIGHT)[..31].into(), true)), ..right() },
        ),
        ("not critical", Made { digest: Some((digest(super::RIGHT), false)), ..right() }),
        ("no digest", Made { digest: None, ..right() }),
        ("digest twice", Made { twice: true, ..right() }),
        ("no string", Made { raw: true, ..right() }),
        ("signed by another key", Made { other_signer: true, ..right() }),
        ("issued by another", Made { other_issuer: true, ..right() }),
    ];
    run(async {
        for (what, made) in cases {
            let seen = look_shown(made).await;
            assert!(matches!(seen, Err(Why::Certificate(_))), "{what}: {seen:?}");
        }
    });
}

#[test]
fn a_certificate_of_another_address_is_no_yes() {
    run(async {
        for wrong in ["IP:127.0.0.2", "DNS:1.0.0.127.in-addr.arpa", "DNS:127.0.0.1"] {
            let made = Made { names: vec![wrong.into()], ..right() };
            let (tls, _) = tls(HERE, made.shake(ACME), |_| Say::body("")).await;
            let config = config(&Zone::default(), nobody().await, tls).await;
            let seen = look(config, ChallengeKind::TlsAlpn01, &Identifier::Ip(HERE)).await;
            assert!(matches!(seen, Err(Why::Certificate(_))), "{wrong}: {seen:?}");
        }
    });
}

#[test]
fn who_shows_a_certificate_must_hold_its_key() {
    run(async {
        for versions in [vec![&TLS12], vec![&TLS13]] {
            let stolen = right().shake(ACME).certificate;
            let shake = Shake { certificate: stolen, versions, ..right().shake(ACME) };
            let seen = look_at(shake).await;
            assert!(matches!(seen, Err(Why::Handshake(_))), "{seen:?}");
        }
    });
}

#[test]
fn garbage_and_silence_are_no_yes() {
    run(async {
        let noise = tokio::net::TcpListener::bind((HERE, 0)).await.expect("a free port");
        let address = noise.local_addr().expect("bound");
        let mut held = Vec::new();
        let config = hasty(config(&here(), nobody().await, address).await);
        let subject = name(HOST);
        let silent = async { held.push(noise.accept().await) };
        let (seen, ()) =
            tokio::join!(look(config.clone(), ChallengeKind::TlsAlpn01, &subject), silent);
        assert!(matches!(seen, Err(Why::TooLate)), "{seen:?}");
        let loud = async {
            let (mut stream, _) = noise.accept().await.expect("a visitor");
            let noise = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, noise).await;
        };
        let (seen, ()) = tokio::join!(look(config, ChallengeKind::TlsAlpn01, &subject), loud);
        assert!(matches!(seen, Err(Why::Handshake(_))), "{seen:?}");
        drop(held);
    });
}
