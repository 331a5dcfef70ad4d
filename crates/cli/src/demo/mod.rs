//! `maftia demo`: a group of four on this machine, attacked in acts, with OpenSSL as the judge.
//!
//! The faults of an act never exceed what the group survives, and each server is healthy again
//! before the next act; but for the last act, which exceeds it on purpose: then the group may fail
//! to answer, and still never answers wrong.

mod report;
mod stage;

use crate::args::Demo;
use crate::{Failure, judge};
use report::{Act, Report};
use stage::{SERVERS, Stage};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long an answer may take while the group is within what it survives.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the last act waits for each answer that may never come.
const SILENCE: Duration = Duration::from_secs(2);

/// The server that is taken over.
const TRAITOR: usize = 3;

/// The server that is killed.
const VICTIM: usize = 1;

const EVERYBODY: [usize; SERVERS] = [0, 1, 2, 3];

/// A takeover: the hostile program's name for it, what happens, and whether signatures prove it.
struct Takeover {
    strategy: &'static str,
    title: &'static str,
    fault: Option<&'static str>,
}

const TAKEOVERS: [Takeover; 4] = [
    Takeover {
        strategy: "equivocate",
        title: "shows different servers different batches, both signed",
        fault: Some("Equivocation"),
    },
    Takeover {
        strategy: "bad-shares",
        title: "sends wrong shares of the coin and of signatures, signed",
        fault: Some("BadShare"),
    },
    Takeover { strategy: "lie-about-time", title: "says it is an hour later", fault: None },
    Takeover { strategy: "mute-towards-some", title: "never speaks to server-0", fault: None },
];

/// Runs the whole demonstration.
pub fn run(args: &Demo) -> Result<(), Failure> {
    let judge = judge::version()?;
    let files = files(args)?;
    let started = Instant::now();
    eprintln!(
        "maftia demo: {SERVERS} servers on this machine, any one of which may be taken over."
    );
    eprintln!("The judge of every time stamp is {judge}, which knows nothing of maftia.\n");
    let mut stage = Stage::build(args, files)?;
    let mut report = Report::new(judge);
    report.push(honest(&mut stage)?);
    for takeover in &TAKEOVERS {
        report.push(taken_over(&mut stage, takeover)?);
    }
    report.push(killed(&mut stage)?);
    report.push(beyond(&mut stage)?);
    report.finish(&stage, started.elapsed())?;
    if args.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text());
    }
    if args.keep {
        stage.keep();
        return Ok(());
    }
    stage.strike()
}

/// The files to put time stamps on.
fn files(args: &Demo) -> Result<Vec<PathBuf>, Failure> {
    let mut files = args.files.clone();
    if files.is_empty() {
        let own = std::env::current_exe()
            .map_err(|error| Failure::because(format!("this program's own file: {error}")))?;
        files.push(own);
        files.extend([PathBuf::from("Cargo.lock")].into_iter().filter(|path| path.is_file()));
    }
    for file in &files {
        std::fs::metadata(file).map_err(|error| Failure::file(file, "cannot be read", &error))?;
    }
    Ok(files)
}

fn honest(stage: &mut Stage) -> Result<Act, Failure> {
    let mut act = Act::begin("all servers are honest");
    act.stamped(stage.stamp_everything(&EVERYBODY, PATIENCE)?);
    Ok(act.end())
}

fn taken_over(stage: &mut Stage, takeover: &Takeover) -> Result<Act, Failure> {
    let title = format!("server-{TRAITOR} is taken over: it {}", takeover.title);
    let mut act = Act::begin(&title);
    stage.stop(TRAITOR)?;
    stage.start_hostile(TRAITOR, takeover.strategy)?;
    let honest: Vec<usize> = (0..SERVERS).filter(|index| *index != TRAITOR).collect();
    act.stamped(stage.stamp_everything(&honest, PATIENCE)?);
    if let Some(fault) = takeover.fault {
        act.convicted(stage.wait_for_conviction(&honest, TRAITOR, fault, PATIENCE)?);
    }
    stage.check_that_only(TRAITOR, &honest)?;
    stage.stop(TRAITOR)?;
    stage.start(TRAITOR)?;
    stage.wait_until_healthy(TRAITOR, PATIENCE)?;
    stage.check_that_only(TRAITOR, &EVERYBODY)?;
    Ok(act.end())
}

fn killed(stage: &mut Stage) -> Result<Act, Failure> {
    let mut act = Act::begin(&format!("server-{VICTIM} is killed (kill -9), later restarted"));
    stage.kill(VICTIM);
    let others: Vec<usize> = (0..SERVERS).filter(|index| *index != VICTIM).collect();
    act.stamped(stage.stamp_everything(&others, PATIENCE)?);
    stage.start(VICTIM)?;
    stage.wait_until_healthy(VICTIM, PATIENCE)?;
    act.stamped(stage.stamp_everything(&[VICTIM], PATIENCE)?);
    stage.check_that_only(TRAITOR, &EVERYBODY)?;
    Ok(act.end())
}

/// One more fault than the group survives: it may fall silent, but it must not lie.
fn beyond(stage: &mut Stage) -> Result<Act, Failure> {
    let mut act = Act::begin(&format!(
        "too much on purpose: server-{TRAITOR} does all of this at once while server-{VICTIM} is \
         killed"
    ));
    stage.stop(TRAITOR)?;
    stage.start_hostile(TRAITOR, "everything")?;
    stage.kill(VICTIM);
    let asked = [0, 2, TRAITOR, 0, 2];
    let answers = stage.ask_once(&asked, SILENCE)?;
    act.note(format!("{} queries, {} answers, no wrong one", asked.len(), answers.len()));
    act.stamped(answers);
    stage.start(VICTIM)?;
    act.stamped(stage.stamp_everything(&[0, 2, VICTIM], PATIENCE)?);
    act.note("the killed server is back: the service has resumed".into());
    stage.check_that_only(TRAITOR, &[0, 2, VICTIM])?;
    stage.stop(TRAITOR)?;
    stage.start(TRAITOR)?;
    stage.wait_until_healthy(TRAITOR, PATIENCE)?;
    stage.check_that_only(TRAITOR, &EVERYBODY)?;
    Ok(act.end())
}
