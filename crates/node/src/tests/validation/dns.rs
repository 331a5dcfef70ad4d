//! `dns-01`.

use super::super::zone::{SILENT, Zone};
use super::{ChallengeKind, HOST, Identifier, RIGHT, TOKEN, hasty, name, run};
use crate::validation::{ValidationConfig, Validator, Why};
use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};
use std::time::Duration;

const PLACE: &str = "_acme-challenge.www.example.test";

/// What the record must be.
fn digest() -> String {
    Base64UrlUnpadded::encode_string(&Sha256::digest(RIGHT))
}

async fn validator(zone: &Zone) -> Validator {
    let resolvers = vec![zone.serve().await];
    Validator::new(ValidationConfig { resolvers, ..ValidationConfig::default() }).expect("named")
}

async fn look(zone: &Zone, subject: &Identifier) -> Result<(), Why> {
    validator(zone).await.validate(true, ChallengeKind::Dns01, subject, TOKEN, RIGHT).await
}

#[test]
fn the_right_record_is_found_alone_among_others_in_pieces_and_behind_aliases() {
    run(async {
        let right = digest();
        let (first, second) = right.split_at(20);
        let many: Zone = (0..60).fold(Zone::default(), |zone, at| {
            zone.text(PLACE, &[&format!("{at:02}{}", "x".repeat(60))])
        });
        for zone in [
            Zone::default().text(PLACE, &[&right]),
            Zone::default().text(PLACE, &["another account's"]).text(PLACE, &[&right]),
            Zone::default().text(PLACE, &[first, second]),
            Zone::default()
                .alias(PLACE, "away.example.test")
                .alias("away.example.test", "further.example.test")
                .text("further.example.test", &[&right]),
            many.text(PLACE, &[&right]),
        ] {
            look(&zone, &name(HOST)).await.expect("found");
            let all = name("*.www.example.test");
            look(&zone, &all).await.expect("it says the same of all names below");
        }
    });
}

#[test]
fn other_records_no_records_and_no_name_are_no_yes() {
    run(async {
        let upper = digest().to_uppercase();
        for wrong in [RIGHT, TOKEN, "", &upper, &format!("{} ", digest())] {
            let zone = Zone::default().text(PLACE, &[wrong]);
            let seen = look(&zone, &name(HOST)).await;
            assert!(matches!(&seen, Err(Why::Found(found)) if found == wrong), "{seen:?}");
        }
        let elsewhere = Zone::default().text(HOST, &[&digest()]);
        let no_text = Zone::default().address(PLACE, super::HERE);
        let circle = Zone::default().alias(PLACE, "a.test").alias("a.test", PLACE);
        for zone in [elsewhere, no_text, circle] {
            let seen = look(&zone, &name(HOST)).await;
            assert!(matches!(seen, Err(Why::Unresolved { .. })), "{seen:?}");
        }
    });
}

#[test]
fn a_long_list_of_records_does_not_reach_the_log() {
    run(async {
        let zone = (0..9).fold(Zone::default(), |zone, at| {
            zone.text(PLACE, &[&at.to_string(), &"x".repeat(200), &"y".repeat(200)])
        });
        let Err(Why::Found(found)) = look(&zone, &name(HOST)).await else { panic!("not there") };
        assert!(found.len() < 600, "{found}");
    });
}

#[test]
fn nothing_is_remembered_from_one_look_to_the_next() {
    run(async {
        let zone = Zone::default().text(PLACE, &[&digest()]);
        let validator = validator(&zone).await;
        let look = async || {
            validator.validate(true, ChallengeKind::Dns01, &name(HOST), TOKEN, RIGHT).await
        };
        look().await.expect("there");
        zone.clear();
        assert!(matches!(look().await, Err(Why::Unresolved { .. })), "gone at once");
        let _ = zone.clone().text(PLACE, &[&digest()]);
        look().await.expect("back at once, though nothing there was good for an hour");
    });
}

#[test]
fn a_name_server_that_says_nothing_does_not_hold_a_look_up() {
    run(async {
        let resolvers = vec![Zone::default().serve().await];
        let config = ValidationConfig { resolvers, ..ValidationConfig::default() };
        let look = async |config| {
            let validator = Validator::new(config).expect("named");
            validator.validate(true, ChallengeKind::Dns01, &name(SILENT), TOKEN, RIGHT).await
        };
        assert!(matches!(look(hasty(config.clone())).await, Err(Why::TooLate)));
        let queries = (2, Duration::from_millis(50));
        let seen = look(ValidationConfig { queries, ..config }).await;
        assert!(matches!(seen, Err(Why::Unresolved { .. })), "{seen:?}");
    });
}
