//! CAA records.

use super::super::zone::{FAILING, Zone};
use super::outside::{Say, web};
use super::{ChallengeKind, HERE, HOST, Identifier, RIGHT, config, hasty, name, run};
use crate::validation::{ValidationConfig, Validator, Why};
use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

const US: &str = "ca.example.net";

/// Looks at a name of this zone that answers every challenge rightly.
async fn look_at(zone: Zone, subject: &Identifier, kind: ChallengeKind) -> Result<(), Why> {
    let Identifier::Dns(name) = subject else { panic!("only names have records") };
    let digest = Base64UrlUnpadded::encode_string(&Sha256::digest(RIGHT));
    let zone = zone
        .address(name.base(), HERE)
        .text(&format!("_acme-challenge.{}", name.base()), &[&digest]);
    let web = web(HERE, |_| Say::body(RIGHT)).await;
    let caa_identities = vec!["other.test".into(), US.into()];
    let config = ValidationConfig { caa_identities, ..config(&zone, web, web).await };
    let validator = Validator::new(hasty(config)).expect("resolvers");
    validator.validate(true, kind, subject, super::TOKEN, RIGHT).await
}

async fn look(zone: Zone) -> Result<(), Why> {
    look_at(zone, &name(HOST), ChallengeKind::Http01).await
}

#[test]
fn a_zone_without_records_or_with_this_authority_among_them_lets_it_issue() {
    run(async {
        let zone = Zone::default;
        for zone in [
            zone(),
            zone().caa(HOST, false, "issue", US),
            zone().caa(HOST, true, "ISSUE", "CA.Example.Net"),
            zone().caa(HOST, false, "issue", ";").caa(HOST, false, "issue", US),
            zone().caa(HOST, false, "issue", &format!(" {US} ; ")),
            zone().caa(HOST, false, "iodef", "mailto:x@example.test"),
            zone().caa(HOST, false, "issuewild", ";"),
            zone().caa(HOST, false, "future", "x"),
            zone().caa(HOST, false, "issue", &format!("{US}; validationmethods=dns-01,http-01")),
            // Only the lowest that has any counts.
            zone().caa(HOST, false, "issue", US).caa("example.test", false, "issue", ";"),
            zone().alias(HOST, "away.test").caa("away.test", false, "issue", US),
        ] {
            look(zone).await.expect("let");
        }
    });
}

#[test]
fn a_zone_that_names_others_or_asks_for_more_than_is_known_does_not() {
    run(async {
        let zone = Zone::default;
        let with =
            |parameter: &str| zone().caa(HOST, false, "issue", &format!("{US}; {parameter}"));
        for zone in [
            zone().caa(HOST, false, "issue", ";"),
            zone().caa(HOST, false, "issue", ""),
            zone().caa(HOST, false, "issue", "ca.example.org"),
            zone().caa(HOST, false, "issue", &format!("x.{US}")),
            zone().caa("example.test", false, "issue", ";"),
            zone().caa("test", false, "issue", ";"),
            zone().caa(HOST, false, "issue", US).caa(HOST, true, "future", "x"),
            with("validationmethods=dns-01"),
            with("accounturi=https://ca.example.net/acme/account/1"),
            with("policy=ev"),
            with("noise"),
        ] {
            let seen = look(zone).await;
            assert!(matches!(seen, Err(Why::Forbidden { .. })), "{seen:?}");
        }
    });
}

#[test]
fn wildcards_have_issuers_of_their_own() {
    run(async {
        let all = name("*.www.example.test");
        let look = async |zone| look_at(zone, &all, ChallengeKind::Dns01).await;
        let both = |issue: &str, wild: &str| {
            Zone::default().caa(HOST, false, "issue", issue).caa(HOST, false, "issuewild", wild)
        };
        look(both(";", US)).await.expect("let");
        assert!(matches!(look(both(US, ";")).await, Err(Why::Forbidden { .. })));
        look(Zone::default().caa(HOST, false, "issue", US)).await.expect("let by that");
        let other = Zone::default().caa(HOST, false, "issue", ";");
        assert!(matches!(look(other).await, Err(Why::Forbidden { .. })));
    });
}

#[test]
fn when_nobody_says_whether_there_are_records_nobody_is_let() {
    run(async {
        let kind = ChallengeKind::Http01;
        let failing = format!("www.{FAILING}");
        let seen = look_at(Zone::default(), &name(&failing), kind).await;
        assert!(matches!(seen, Err(Why::Unresolved { .. })), "{seen:?}");
    });
}
