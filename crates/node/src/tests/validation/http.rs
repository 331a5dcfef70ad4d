//! `http-01`.

use super::super::zone::Zone;
use super::certificates::Made;
use super::outside::{Say, tls, web};
use super::{
    ChallengeKind, HERE, HOST, Identifier, RIGHT, TOKEN, config, hasty, here, look, name, nobody,
    run,
};
use crate::validation::{BODY_BYTES_MAX, REDIRECTS_MAX, ValidationConfig, Why};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Looks at [`HOST`], which is a web server that does this.
async fn look_at(script: impl Fn(&str) -> Say + Send + Sync + 'static) -> Result<(), Why> {
    let web = web(HERE, script).await;
    look(config(&here(), web, nobody().await).await, ChallengeKind::Http01, &name(HOST)).await
}

/// The same; it ends soon whatever the server does.
async fn look_soon_at(script: impl Fn(&str) -> Say + Send + Sync + 'static) -> Result<(), Why> {
    let web = web(HERE, script).await;
    let config = hasty(config(&here(), web, nobody().await).await);
    look(config, ChallengeKind::Http01, &name(HOST)).await
}

/// The right answer to the right question, of whatever host.
fn answer(head: &str) -> Say {
    let wanted = format!("GET /.well-known/acme-challenge/{TOKEN} HTTP/1.1\r\n");
    assert!(head.starts_with(&wanted), "{head}");
    Say::body(RIGHT)
}

fn host_of(head: &str) -> &str {
    let host = head.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("every request names the host")
}

#[test]
fn the_right_resource_of_a_name_is_a_yes_with_white_space_behind_it_too() {
    run(async {
        let web = web(HERE, |head| {
            assert!(host_of(head).starts_with("www.example.test:"));
            answer(head)
        });
        let config = config(&here(), web.await, nobody().await).await;
        look(config, ChallengeKind::Http01, &name(HOST)).await.expect("right");
        look_at(|_| Say::body(&format!("{RIGHT} \r\n\t\n"))).await.expect("white space");
        let chunked = |_: &str| {
            let (a, b) = RIGHT.split_at(16);
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            let body = format!("10\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n", b.len());
            Say::Bytes(format!("{head}{body}").into_bytes())
        };
        look_at(chunked).await.expect("in chunks");
    });
}

#[test]
fn the_right_resource_of_an_address_is_a_yes() {
    run(async {
        for address in [HERE, Ipv6Addr::LOCALHOST.into()] {
            let web = web(address, move |head| {
                let expected = SocketAddr::new(address, 0).to_string();
                let expected = expected.strip_suffix('0').expect("the port");
                assert!(host_of(head).starts_with(expected), "{head}");
                answer(head)
            });
            let config = config(&Zone::default(), web.await, nobody().await).await;
            look(config, ChallengeKind::Http01, &Identifier::Ip(address)).await.expect("right");
        }
    });
}

#[test]
fn the_other_kind_of_address_is_tried_when_nobody_answers_at_the_first() {
    run(async {
        let long = Ipv6Addr::LOCALHOST;
        for at in [HERE, long.into()] {
            let web = web(at, answer).await;
            let config = config(&here().address(HOST, long), web, nobody().await).await;
            look(config, ChallengeKind::Http01, &name(HOST)).await.expect("one of the two answers");
        }
        let nobody = nobody().await;
        let subject = name(HOST);
        let seen = look(config(&here(), nobody, nobody).await, ChallengeKind::Http01, &subject);
        assert!(matches!(seen.await, Err(Why::Unreachable { address, .. }) if address == nobody));
    });
}

#[test]
fn a_name_without_an_address_is_no_yes() {
    run(async {
        let web = web(HERE, answer).await;
        let text = Zone::default().text(HOST, &["no address"]);
        for zone in [Zone::default(), text, Zone::default().alias(HOST, "gone.test")] {
            let config = config(&zone, web, nobody().await).await;
            let seen = look(config, ChallengeKind::Http01, &name(HOST)).await;
            assert!(matches!(seen, Err(Why::Unresolved { .. })), "{seen:?}");
        }
    });
}

#[test]
fn another_answer_is_no_yes() {
    run(async {
        let other_token = RIGHT.replacen('e', "f", 1);
        let lower = RIGHT.to_lowercase();
        for wrong in ["", TOKEN, &other_token, &lower, &format!(" {RIGHT}"), &RIGHT[..80]] {
            let said = wrong.to_owned();
            let seen = look_at(move |_| Say::body(&said)).await;
            assert!(matches!(&seen, Err(Why::Found(found)) if found == wrong), "{seen:?}");
        }
        for status in [201, 204, 303, 403, 404, 500] {
            let said = format!("HTTP/1.1 {status} x\r\nlocation: /x\r\n\r\n{RIGHT}");
            let seen = look_at(move |_| Say::Bytes(said.clone().into_bytes())).await;
            assert!(matches!(seen, Err(Why::Status(said)) if said == status), "{seen:?}");
        }
        for noise in ["", RIGHT, "SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 200"] {
            let seen = look_at(|_| Say::Bytes(noise.into())).await;
            assert!(matches!(seen, Err(Why::Http(_))), "{seen:?}");
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{RIGHT}");
        let seen = look_at(move |_| Say::Bytes(head.clone().into_bytes())).await;
        assert!(matches!(seen, Err(Why::Http(_))), "cut off: {seen:?}");
    });
}

#[test]
fn no_more_is_read_than_the_bounds_allow() {
    run(async {
        let body = vec![b'x'; BODY_BYTES_MAX + 1];
        let head = &b"HTTP/1.1 200 OK\r\n\r\n"[..];
        let long = [head, &body].concat();
        let seen = look_at(move |_| Say::Bytes(long.clone())).await;
        assert!(matches!(seen, Err(Why::TooLong(_))), "{seen:?}");
        let endless = [head, b"x"].concat();
        let seen = look_at(move |_| {
            let mut bytes = endless.clone();
            bytes.resize(1 << 16, b'x');
            Say::Endless(bytes)
        });
        assert!(matches!(seen.await, Err(Why::TooLong(_))));
        let padded = [head, RIGHT.as_bytes(), &vec![b' '; BODY_BYTES_MAX - RIGHT.len()]].concat();
        look_at(move |_| Say::Bytes(padded.clone())).await.expect("just short enough");
        // A head that never ends, and one with too many lines.
        let seen = look_at(|_| Say::Endless(b"HTTP/1.1 200 OK\r\nx".repeat(1 << 12))).await;
        assert!(matches!(seen, Err(Why::Http(_))), "{seen:?}");
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n{RIGHT}", "x: y\r\n".repeat(101));
        let seen = look_at(move |_| Say::Bytes(many.clone().into_bytes())).await;
        assert!(matches!(seen, Err(Why::Http(_))), "{seen:?}");
    });
}

#[test]
fn a_server_that_takes_its_time_does_not_hold_a_look_up() {
    run(async {
        let started = "HTTP/1.1 200 OK\r\n\r\nevaGx";
        let looks: [fn(&str) -> Say; 3] = [
            |_| Say::Stall(Vec::new()),
            |_| Say::Stall("HTTP/1.1 200 OK\r\n\r\nevaGx".into()),
            |_| Say::Trickle("HTTP/1.1 200 OK\r\n\r\nevaGx ".repeat(99).into()),
        ];
        assert!(RIGHT.starts_with(&started[started.len() - 5..]));
        for script in looks {
            let seen = look_soon_at(script).await;
            assert!(matches!(seen, Err(Why::TooLate)), "{seen:?}");
        }
    });
}

#[test]
fn redirects_are_followed_to_other_paths_and_hosts() {
    run(async {
        for status in [301, 302, 307, 308] {
            let web = web(HERE, move |head| match head.split(' ').nth(1).expect("a path") {
                "/deep?x=%20y" if host_of(head).starts_with("other.test:") => Say::body(RIGHT),
                "/.well-known/next" => {
                    let port = host_of(head).rsplit(':').next().expect("a port");
                    Say::moved(status, &format!("http://other.test:{port}/deep?x=%20y#z"))
                }
                path if path.ends_with(TOKEN) => Say::moved(status, "../next"),
                path => panic!("nobody was sent to {path}"),
            });
            let zone = here().address("other.test", HERE);
            let config = config(&zone, web.await, nobody().await).await;
            look(config, ChallengeKind::Http01, &name(HOST)).await.expect("found in the end");
            assert_eq!(zone.asked("other.test"), 2, "both kinds of addresses");
        }
    });
}

#[test]
fn redirects_are_followed_to_https_whoever_certifies_it() {
    run(async {
        let made = Made { expired: true, ..Made::for_name("unrelated.test") };
        let (tls, names) = tls(HERE, made.shake(&["http/1.1"]), |head| {
            assert!(head.starts_with("GET /secure HTTP/1.1"), "{head}");
            Say::body(RIGHT)
        })
        .await;
        let to = format!("https://other.test:{}/secure", tls.port());
        let web = web(HERE, move |_| Say::moved(301, &to)).await;
        let zone = here().address("other.test", HERE);
        look(config(&zone, web, tls).await, ChallengeKind::Http01, &name(HOST))
            .await
            .expect("there");
        assert_eq!(*names.lock().expect("whole"), ["other.test"]);
    });
}

#[test]
fn who_is_sent_in_circles_gives_up() {
    run(async {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let seen = look_at(move |_| {
            let count = counter.fetch_add(1, Ordering::Relaxed);
            Say::moved(302, &format!("/again/{count}"))
        })
        .await;
        assert!(matches!(seen, Err(Why::SentInCircles)), "{seen:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 1 + REDIRECTS_MAX);
        let asked = AtomicUsize::new(0);
        look_at(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
            REDIRECTS_MAX => Say::body(RIGHT),
            _ => Say::moved(302, "/again"),
        })
        .await
        .expect("the last one counts");
    });
}

#[test]
fn nobody_is_sent_to_other_ports_or_schemes() {
    run(async {
        for to in [
            "http://www.example.test:22/",
            "https://www.example.test:25/",
            "ftp://www.example.test/",
            "file:///etc/passwd",
            "http://",
            "",
        ] {
            let seen = look_at(move |_| Say::moved(302, to)).await;
            let is_loop = to.is_empty() && matches!(seen, Err(Why::SentInCircles));
            assert!(is_loop || matches!(seen, Err(Why::SentOn { .. })), "{to}: {seen:?}");
        }
        let seen = look_at(|head| {
            let port = host_of(head).rsplit(':').next().expect("a port");
            Say::moved(302, &format!("http://me:secret@{HOST}:{port}/"))
        });
        assert!(matches!(seen.await, Err(Why::SentOn { .. })), "no credentials");
        let nowhere = |_: &str| Say::Bytes("HTTP/1.1 302 x\r\n\r\n".into());
        assert!(matches!(look_at(nowhere).await, Err(Why::SentOn { .. })));
        // The port is right for one scheme only.
        let seen = look_at(|head| {
            let port = host_of(head).rsplit(':').next().expect("a port");
            Say::moved(302, &format!("https://{HOST}:{port}/"))
        });
        assert!(matches!(seen.await, Err(Why::SentOn { .. })));
    });
}

#[test]
fn private_addresses_are_refused_wherever_they_come_from() {
    run(async {
        let web = web(HERE, answer).await;
        let zone = here().alias("alias.test", HOST);
        let refuses = async |subject: Identifier| {
            let config = config(&zone, web, web).await;
            let config = ValidationConfig { refuse_private: true, ..config };
            for kind in [ChallengeKind::Http01, ChallengeKind::TlsAlpn01] {
                let seen = look(config.clone(), kind, &subject).await;
                assert!(matches!(seen, Err(Why::Private(at)) if at == HERE), "{seen:?}");
            }
        };
        refuses(name(HOST)).await;
        refuses(name("alias.test")).await;
        refuses(Identifier::Ip(HERE)).await;
    });
}
