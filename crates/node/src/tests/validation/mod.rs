//! What a server sees of the outside, and what it makes of it.

mod caa;
mod certificates;
mod dns;
mod http;
mod outside;
mod tls;

use super::zone::Zone;
use crate::errands::Errands;
use crate::validation::{ValidationConfig, Validations, Validator, Why};
use maftia_activity::{Task, TaskId};
use maftia_base::ServiceId;
use maftia_base::wire::{Blob, Wire};
use maftia_services::ca::{
    CaTask, ChallengeKind, Identifier, VALIDATED, Validation, policy_digest,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::time::timeout;

/// The host that most tests look at.
const HOST: &str = "www.example.test";

const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";

/// Token and thumbprint.
const RIGHT: &str =
    "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI";

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

fn name(name: &str) -> Identifier {
    Identifier::from_acme("dns", name).expect("a name")
}

/// A zone in which [`HOST`] is this host.
fn here() -> Zone {
    Zone::default().address(HOST, HERE)
}

/// Looks at the ports of these servers, and asks a name server that knows `zone`.
async fn config(zone: &Zone, http: SocketAddr, tls: SocketAddr) -> ValidationConfig {
    ValidationConfig {
        resolvers: vec![zone.serve().await],
        http_port: http.port(),
        tls_port: tls.port(),
        ..ValidationConfig::default()
    }
}

/// Nobody listens there, for a moment at least.
async fn nobody() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((HERE, 0)).await.expect("a free port");
    listener.local_addr().expect("bound")
}

/// One look.
async fn look(
    config: ValidationConfig,
    kind: ChallengeKind,
    subject: &Identifier,
) -> Result<(), Why> {
    let validator = Validator::new(config).expect("resolvers");
    validator.validate(true, kind, subject, TOKEN, RIGHT).await
}

/// For looks that are to end by themselves.
fn hasty(config: ValidationConfig) -> ValidationConfig {
    let soon = Duration::from_millis(300);
    ValidationConfig { patience: soon, connect_patience: soon, ..config }
}

#[test]
fn what_a_challenge_says_nothing_about_is_not_looked_at() {
    run(async {
        let zone = here();
        let all = name("*.www.example.test");
        let address = Identifier::Ip(HERE);
        for (kind, subject) in [
            (ChallengeKind::Http01, &all),
            (ChallengeKind::TlsAlpn01, &all),
            (ChallengeKind::Dns01, &address),
        ] {
            let config = config(&zone, nobody().await, nobody().await).await;
            let seen = look(config, kind, subject).await;
            assert!(matches!(seen, Err(Why::Unsuitable(_))), "{seen:?}");
        }
        assert_eq!(zone.asked(HOST), 0);
    });
}

#[test]
fn the_work_of_the_authority_is_reported_when_it_succeeds_and_only_then() {
    run(async {
        for (said, expected) in [(RIGHT, Some(VALIDATED)), (TOKEN, None)] {
            let web = outside::web(HERE, move |_| outside::Say::body(said)).await;
            let config = config(&here(), web, web).await;
            let validator = Validator::new(config).expect("resolvers");
            let work = Validations::new(validator, Blob::default());
            let bounded = |text: &str| text.as_bytes().to_vec();
            let validation = Validation {
                authorization: 7,
                kind: ChallengeKind::Http01,
                identifier: name(HOST),
                token: Blob::new(bounded(TOKEN)).expect("short"),
                key_authorization: Blob::new(bounded(RIGHT)).expect("short"),
            };
            let (id, question) = (validation.task(), CaTask::Validation(validation));
            let task = Task { id, what: Blob::new(question.to_wire()).expect("short") };
            let result = work.attempt(ServiceId(3), &task, 0).await;
            assert_eq!(result.as_deref(), expected);
        }
    });
}

#[test]
fn a_server_says_which_policy_it_has_if_the_group_has_another() {
    run(async {
        let config = config(&here(), nobody().await, nobody().await).await;
        let validator = Validator::new(config).expect("resolvers");
        let own = Blob::new(&b"its own"[..]).expect("short");
        let work = Validations::new(validator, own.clone());
        let question = |policy: &[u8]| {
            let what = CaTask::Policy { digest: policy_digest(policy) }.to_wire();
            Task { id: TaskId(6), what: Blob::new(what).expect("short") }
        };
        let other = work.attempt(ServiceId(3), &question(b"another"), 0).await;
        assert_eq!(other.as_deref(), Some(&own[..]));
        let same = work.attempt(ServiceId(3), &question(b"its own"), 0);
        assert!(timeout(Duration::from_millis(50), same).await.is_err(), "nothing to say");
    });
}

#[test]
fn new_looks_do_not_wait_for_those_that_failed_before() {
    run(async {
        let web = outside::web(HERE, |_| outside::Say::Stall(Vec::new())).await;
        let zone = here();
        let config = ValidationConfig { looks_max: 2, ..config(&zone, web, web).await };
        let validator = std::sync::Arc::new(Validator::new(config).expect("resolvers"));
        let begin = |is_new: bool| {
            let validator = std::sync::Arc::clone(&validator);
            tokio::spawn(async move {
                let subject = name(HOST);
                validator.validate(is_new, ChallengeKind::Http01, &subject, TOKEN, RIGHT).await
            })
        };
        let old = [begin(false), begin(false)];
        // One is asked for, the other one waits.
        while zone.asked(HOST) < 2 {
            tokio::task::yield_now().await;
        }
        let new = begin(true);
        while zone.asked(HOST) < 4 {
            tokio::task::yield_now().await;
        }
        assert!(!new.is_finished() && old.iter().all(|old| !old.is_finished()));
        old.iter().for_each(tokio::task::JoinHandle::abort);
    });
}
