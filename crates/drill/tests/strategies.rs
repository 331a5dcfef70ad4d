//! Each strategy does what its sentence says: it acts, and its acts are seen from outside.

use maftia_drill::adversary::{CONDUCTS, NETWORKS, garbled};
use maftia_drill::course::{COURSES, Course};
use maftia_drill::plan::{Plan, Wishes};
use maftia_drill::run::{Options, STORAGES, Verdict};
use maftia_sim::Random;
use std::collections::BTreeSet;

const SEEDS: u64 = 40;

/// Runs of what lies above are longer.
fn seeds(course: &Course) -> u64 {
    match course.name {
        "linked-replica" => 1,
        "replica" | "hybrid-replica" | "atomic" | "hybrid-order" | "links" => 5,
        "simple" | "vector" | "ordered" => 5,
        _ => SEEDS,
    }
}

/// Runs of every protocol under one strategy, all else drawn.
fn runs(name: &'static str, mut look: impl FnMut(&'static Course, &Plan, &Verdict)) {
    for course in COURSES {
        let choices = (course.choices)();
        let known = [&choices.conducts, &choices.networks, &choices.storages];
        if !known.iter().any(|list| list.contains(&name)) {
            continue;
        }
        for number in 0..seeds(course) {
            let wishes = Wishes { adversary: Some(name), real: Some(false), ..Wishes::default() };
            let plan = choices.draw(number, &wishes);
            let verdict = (course.run)(&plan, Options { writes: true, digests: false });
            look(course, &plan, &verdict);
        }
    }
}

/// Lines of the transcript in which a corrupt server says something: from, to, what.
fn lies(plan: &Plan, verdict: &Verdict) -> Vec<(String, String, String)> {
    let corrupt: BTreeSet<String> = plan.corrupt().iter().map(|p| p.to_string()).collect();
    let said = verdict.transcript.iter().filter_map(|line| {
        let (from, rest) = line.split_once(" -> ")?;
        let (to, what) = rest.split_once(": ")?;
        Some((from.to_owned(), to.to_owned(), what.to_owned()))
    });
    said.filter(|(from, ..)| corrupt.contains(from)).collect()
}

#[test]
fn there_are_at_least_thirty_and_each_has_a_name_and_a_sentence() {
    let mut names = BTreeSet::new();
    // Some share theirs: the replica on links and without, and courses of both configurations.
    let specials: BTreeSet<_> = COURSES.iter().flat_map(|course| (course.specials)()).collect();
    let all = CONDUCTS.iter().chain(NETWORKS).chain(STORAGES).copied().chain(specials);
    for (name, about) in all {
        assert!(names.insert(name), "{name} is there twice");
        assert!(about.split_whitespace().count() >= 2, "{name}: {about}");
    }
    assert!(names.len() >= 30, "{}", names.len());
}

#[test]
fn every_conduct_and_every_special_acts_somewhere() {
    let courses = COURSES.iter().filter(|course| course.name != "linked-replica");
    let specials = courses.flat_map(|course| (course.specials)());
    let is_conduct =
        |name: &str| name != "none" && !name.starts_with("wiped") && !name.starts_with("component");
    let conducts = CONDUCTS.iter().copied().chain(specials);
    for (name, _) in conducts.filter(|(name, _)| is_conduct(name)) {
        let wishes = Wishes { adversary: Some(name), real: Some(false), ..Wishes::default() };
        let acts = |course: &Course, number| {
            let choices = (course.choices)();
            let plan = choices.draw(number, &wishes);
            plan.conduct == name && (course.run)(&plan, Options::default()).acts > 0
        };
        let acts = COURSES.iter().any(|course| (0..SEEDS).any(|number| acts(course, number)));
        assert!(acts, "{name} never acts");
    }
}

#[test]
fn every_network_acts_in_every_protocol() {
    for (name, _) in NETWORKS {
        let coins = ["coin", "binary", "multivalued", "atomic", "replica", "linked-replica"];
        let has_coins = |name: &str| coins.contains(&name);
        for course in
            COURSES.iter().filter(|course| *name != "coin-aware" || has_coins(course.name))
        {
            let wishes = Wishes { adversary: Some(name), ..Wishes::default() };
            let acts = (0..SEEDS).any(|number| {
                let plan = (course.choices)().draw(number, &wishes);
                (course.run)(&plan, Options::default()).network_acts > 0
            });
            assert!(acts, "{name} never acts in {}", course.name);
        }
    }
}

#[test]
fn every_storage_but_calm_makes_servers_crash() {
    for (name, _) in STORAGES {
        let mut crashes = 0;
        runs(name, |_, _, verdict| crashes += verdict.crashes);
        assert_eq!(crashes > 0, *name != "calm", "{name}: {crashes} crashes");
    }
}

#[test]
fn the_silent_say_nothing_and_the_mute_say_nothing_to_some() {
    runs("silent", |_, _, verdict| assert_eq!(verdict.corrupt_letters, 0));
    let mut towards_some = 0;
    runs("mute", |_, plan, verdict| {
        let heard: BTreeSet<String> =
            lies(plan, verdict).into_iter().map(|(_, to, _)| to).collect();
        let others = plan.shape.n() - plan.corrupt().len();
        towards_some += usize::from(!heard.is_empty() && heard.len() < others);
    });
    assert!(towards_some > 20, "{towards_some} runs in which some hear nothing");
}

/// In how many runs a corrupt server says two different things of one kind.
fn contradictions(name: &'static str, kind: &str) -> usize {
    let mut found = 0;
    runs(name, |course, plan, verdict| {
        if course.name == "reliable" {
            let mut said: Vec<(String, String)> = lies(plan, verdict)
                .into_iter()
                .filter(|(_, _, what)| what.starts_with(kind))
                .map(|(from, _, what)| (from, what))
                .collect();
            said.sort();
            said.dedup();
            found += usize::from(said.windows(2).any(|pair| pair[0].0 == pair[1].0));
        }
    });
    found
}

#[test]
fn whoever_equivocates_says_two_things_and_the_correct_say_one() {
    for name in ["twins", "doppelganger", "liar", "two-faced", "split-init", "gambler", "babbler"] {
        let kind = if name == "babbler" { "READY" } else { "ECHO" };
        assert!(contradictions(name, kind) > 0, "{name} contradicts itself in {kind}");
    }
    assert_eq!(contradictions("correct", "ECHO"), 0);
    assert_eq!(contradictions("slow", "ECHO"), 0);
}

#[test]
fn flooders_say_the_same_many_times_and_replayers_repeat() {
    for (name, times) in [("flooder", 4), ("replayer", 2), ("twister", 2)] {
        let mut most = 0;
        runs(name, |_, plan, verdict| {
            let mut said = lies(plan, verdict);
            said.sort();
            most = most
                .max(said.chunk_by(|one, other| one == other).map(<[_]>::len).max().unwrap_or(0));
        });
        assert!(most >= times, "{name} repeats something {most} times");
    }
}

#[test]
fn bad_shares_and_bad_signatures_are_blamed_for_what_they_are() {
    for (name, word) in [
        ("bad-shares", "BadShare"),
        ("bad-signatures", "BadSignature"),
        ("thin-certificates", "BadCertificate"),
        ("conflicting-votes", "Equivocation, with evidence"),
        ("double-send", "Equivocation, with evidence"),
        ("double-propose", "Equivocation, with evidence"),
        ("forged-certificates", "BadCertificate"),
    ] {
        let mut blamed = 0;
        runs(name, |_, _, verdict| {
            blamed += verdict.transcript.iter().filter(|line| line.contains(word)).count();
        });
        assert!(blamed > 0, "{name} is never blamed for {word}");
    }
}

#[test]
fn the_garbler_changes_what_it_says_and_nothing_else_decodes() {
    let mut random = Random::new(1);
    let garbled: Vec<u64> = (0..100).filter_map(|_| garbled(&7, &mut random)).collect();
    assert!(garbled.len() > 50 && garbled.iter().all(|value| *value != 7));
}
