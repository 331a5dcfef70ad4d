//! Every protocol that the drill puts on, under a scripted network and scripted liars, judged by
//! all of the drill's checkers.

use maftia_drill::course::{COURSES, Course};
use maftia_drill::fuzz::play;
use maftia_drill::run::Options;

/// The courses to run: all, or the one that `MAFTIA_FUZZ_COURSE` names, so that libFuzzer can spend
/// all of its time on it.
fn courses() -> impl Iterator<Item = &'static Course> {
    let only = std::env::var("MAFTIA_FUZZ_COURSE").ok();
    COURSES.iter().filter(move |course| only.as_ref().is_none_or(|only| only == course.name))
}

/// Nobody complains of any protocol, whatever the script is: one script means a run of each.
pub fn scripted(script: &[u8]) {
    for course in courses() {
        let (plan, verdict) = play(course, script, Options::default());
        if let Some(complaint) = verdict.complaints.first() {
            panic!("{plan}, by {} bytes: {complaint}", script.len());
        }
    }
}
