//! Every protocol that the drill puts on, under a scripted network and scripted liars, judged by
//! all of the drill's checkers.

use maftia_base::Digest;
use maftia_drill::course::{COURSES, Course};
use maftia_drill::fuzz::play;
use maftia_drill::run::Options;

/// The courses to run: all, or the one that `MAFTIA_FUZZ_COURSE` names, so that libFuzzer can spend
/// all of its time on it.
fn courses() -> impl Iterator<Item = &'static Course> {
    let only = std::env::var("MAFTIA_FUZZ_COURSE").ok();
    COURSES.iter().filter(move |course| only.as_ref().is_none_or(|only| only == course.name))
}

/// Nobody complains of any protocol, whatever the script is: one script means a run of each, but
/// of the slow ones, each of which runs as many of the scripts as it runs of the drill's numbers.
pub fn scripted(script: &[u8]) {
    let is_only = std::env::var_os("MAFTIA_FUZZ_COURSE").is_some();
    let drawn = Digest::of("maftia fuzz course", script).0;
    let drawn = u64::from(u16::from_be_bytes([drawn[0], drawn[1]]));
    for course in courses().filter(|course| is_only || drawn.is_multiple_of(course.one_in)) {
        let (plan, verdict) = play(course, script, Options::default());
        if let Some(complaint) = verdict.complaints.first() {
            panic!("{plan}, by {} bytes: {complaint}", script.len());
        }
    }
}
