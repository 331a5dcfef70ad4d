//! Failing seeds are kept and run for ever; and a kept seed catches each canary.

use maftia_drill::canary::{REGISTRY, Song};
use maftia_drill::course::replay;
use maftia_drill::ledger::{LEDGER, entries};
use maftia_drill::run::Options;
use std::collections::BTreeSet;

#[test]
fn what_once_failed_never_fails_again_and_every_canary_is_caught_by_its_seed() {
    let mut caught = BTreeSet::new();
    for entry in entries(LEDGER).expect("the ledger is well-formed") {
        let canary = entry.canary.map(|name| {
            let known = REGISTRY.iter().find(|canary| canary.name == name);
            known.unwrap_or_else(|| panic!("`{name}` is no canary"))
        });
        let song = canary.map(|canary| Song::of(canary.name));
        let (plan, verdict) = replay(entry.token, Options::default()).expect("a token");
        drop(song);
        match canary {
            Some(canary) => {
                assert!(!verdict.complaints.is_empty(), "{} survives {plan}", canary.name);
                let (_, unbroken) = replay(entry.token, Options::default()).expect("a token");
                assert!(unbroken.complaints.is_empty(), "{plan} fails without any canary");
                caught.insert(canary.name);
            }
            None => {
                assert!(
                    verdict.complaints.is_empty(),
                    "{plan} fails again ({}): {}",
                    entry.about,
                    verdict.complaints[0]
                );
            }
        }
    }
    let missing: Vec<&str> =
        REGISTRY.iter().map(|canary| canary.name).filter(|name| !caught.contains(name)).collect();
    assert!(missing.is_empty(), "no kept seed catches {missing:?}");
}

#[test]
fn a_ledger_line_without_a_reason_is_refused() {
    assert!(entries("binary:1\n").is_err());
    assert!(entries("binary:1 twice # why\n").is_err());
    let entries = entries("# a comment\n\ncanary x binary:1 # why\n").expect("well-formed");
    assert_eq!((entries[0].canary, entries[0].token), (Some("x"), "binary:1"));
}
