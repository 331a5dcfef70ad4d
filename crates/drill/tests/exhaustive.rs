//! What can be explored to the end is, and what cannot says so.

use maftia_drill::explore::MODELS;

fn explore(name: &str, states_max: usize) -> maftia_drill::explore::Explored {
    let (_, _, explore) = MODELS.iter().find(|(known, ..)| *known == name).expect("it is there");
    explore(states_max)
}

#[test]
fn every_order_and_every_lie_leaves_the_promises_of_the_broadcasts_and_of_a_coin() {
    let complete =
        ["consistent-honest", "consistent-corrupt", "reliable-honest", "coin", "blocks-two"];
    for name in complete {
        let explored = explore(name, 2_000_000);
        assert_eq!(explored.violation, None, "{name}");
        assert!(explored.is_complete && explored.states >= 100, "{explored:?}");
    }
}

#[test]
fn what_does_not_fit_is_reported_as_incomplete() {
    for name in ["binary-0-1-1", "multivalued", "checkpoint", "blocks-three"] {
        let explored = explore(name, 20_000);
        assert!(!explored.is_complete && explored.violation.is_none(), "{explored:?}");
    }
}

#[test]
fn a_broken_quorum_is_found_by_exploration_too() {
    let _song = maftia_drill::canary::Song::of("reliable-delivers-on-few");
    let few = explore("reliable-corrupt", 300_000).violation;
    drop(_song);
    let _song = maftia_drill::canary::Song::of("consistent-certificate-short");
    let short = explore("consistent-corrupt", 300_000).violation;
    assert!(few.is_some() || short.is_some(), "{few:?}, {short:?}");
}

#[test]
fn twins_under_partitions_break_no_promise() {
    for report in maftia_drill::twins::run_all(None, 3, 150) {
        assert_eq!((report.failed, &report.first), (0, &None), "{}", report.protocol);
        assert!(report.after < report.before && report.run == 150);
    }
}
