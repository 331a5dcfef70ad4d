//! `maftia demo`: a group on this machine, attacked in acts, with OpenSSL as the judge: four
//! servers, or with `--hybrid` three servers and their trusted components.
//!
//! The faults of an act never exceed what the group survives, and each server is healthy again
//! before the next act; but for the last act, which exceeds it on purpose: then the group may fail
//! to answer, and still never answers wrong.

mod report;
mod stage;

use crate::args::Demo;
use crate::{Failure, judge};
use report::{Act, Report};
use stage::Stage;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long an answer may take while the group is within what it survives.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long it may take to admit a component: a server is admitted at most once a minute.
const ADMISSION: Duration = Duration::from_secs(90);

/// How long the last act waits for each answer that may never come.
const SILENCE: Duration = Duration::from_secs(2);

/// The server that is killed; the last one is taken over.
const VICTIM: usize = 1;

/// A takeover: the hostile program's name for it, what happens, and whether signatures prove it.
#[derive(Clone, Copy)]
struct Takeover {
    strategy: &'static str,
    title: &'static str,
    fault: Option<&'static str>,
}

impl Takeover {
    /// The second batch has no identifier: nobody takes it, and there is nothing to be proven.
    fn in_hybrid(self) -> Self {
        match self.fault {
            Some("Equivocation") => Self {
                title: "shows different servers different batches; its trusted component has \
                        identified only one",
                fault: None,
                ..self
            },
            _ => self,
        }
    }
}

const TAKEOVERS: [Takeover; 4] = [
    Takeover {
        strategy: "equivocate",
        title: "shows different servers different batches, both signed",
        fault: Some("Equivocation"),
    },
    Takeover {
        strategy: "bad-shares",
        title: "sends wrong shares of all that is shared, signed",
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
        "maftia demo: {} servers on this machine, any one of which may be taken over{}.",
        stage::servers(args.hybrid),
        if args.hybrid { "; a trusted component for each" } else { "" }
    );
    eprintln!("The judge of every time stamp is {judge}, which knows nothing of maftia.\n");
    let mut stage = Stage::build(args, files)?;
    let mut report = Report::new(judge);
    report.push(honest(&mut stage)?);
    for takeover in TAKEOVERS {
        let takeover = if args.hybrid { takeover.in_hybrid() } else { takeover };
        report.push(taken_over(&mut stage, takeover)?);
    }
    if args.hybrid {
        report.push(component_killed(&mut stage)?);
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
    let everybody = stage.everybody();
    act.stamped(stage.stamp_everything(&everybody, PATIENCE)?);
    Ok(act.end())
}

fn taken_over(stage: &mut Stage, takeover: Takeover) -> Result<Act, Failure> {
    let (traitor, everybody) = (stage.traitor(), stage.everybody());
    let title = format!("server-{traitor} is taken over: it {}", takeover.title);
    let mut act = Act::begin(&title);
    stage.stop(traitor)?;
    stage.start_hostile(traitor, takeover.strategy)?;
    let honest = stage.all_but(&[traitor]);
    act.stamped(stage.stamp_everything(&honest, PATIENCE)?);
    if let Some(fault) = takeover.fault {
        act.convicted(stage.wait_for_conviction(&honest, traitor, fault, PATIENCE)?);
    }
    stage.check_that_only(traitor, &honest)?;
    stage.stop(traitor)?;
    stage.start(traitor)?;
    stage.wait_until_healthy(traitor, PATIENCE)?;
    stage.check_that_only(traitor, &everybody)?;
    Ok(act.end())
}

/// A host's trusted component crashes, and comes back without what it knew: the group admits it.
fn component_killed(stage: &mut Stage) -> Result<Act, Failure> {
    let mut act = Act::begin(&format!(
        "the trusted component of server-{VICTIM} crashes (kill -9), and begins another life"
    ));
    let (traitor, everybody) = (stage.traitor(), stage.everybody());
    stage.kill_component(VICTIM);
    act.stamped(stage.stamp_everything(&stage.all_but(&[VICTIM]), PATIENCE)?);
    stage.start_component(VICTIM)?;
    let epoch = stage.wait_until_admitted(VICTIM, ADMISSION)?;
    act.note(format!("server-{VICTIM} is admitted with it, in epoch {epoch}"));
    stage.wait_until_healthy(VICTIM, PATIENCE)?;
    // Now its vote is needed.
    stage.kill(0);
    act.stamped(stage.stamp_everything(&stage.all_but(&[0]), PATIENCE)?);
    stage.start(0)?;
    stage.wait_until_healthy(0, PATIENCE)?;
    stage.check_that_only(traitor, &everybody)?;
    Ok(act.end())
}

fn killed(stage: &mut Stage) -> Result<Act, Failure> {
    let (traitor, everybody) = (stage.traitor(), stage.everybody());
    let mut act = Act::begin(&format!("server-{VICTIM} is killed (kill -9), later restarted"));
    stage.kill(VICTIM);
    let others = stage.all_but(&[VICTIM]);
    act.stamped(stage.stamp_everything(&others, PATIENCE)?);
    stage.start(VICTIM)?;
    stage.wait_until_healthy(VICTIM, PATIENCE)?;
    act.stamped(stage.stamp_everything(&[VICTIM], PATIENCE)?);
    stage.check_that_only(traitor, &everybody)?;
    Ok(act.end())
}

/// One more fault than the group survives: it may fall silent, but it must not lie.
fn beyond(stage: &mut Stage) -> Result<Act, Failure> {
    let (traitor, everybody) = (stage.traitor(), stage.everybody());
    let honest = stage.all_but(&[traitor]);
    let mut act = Act::begin(&format!(
        "too much on purpose: server-{traitor} does all of this at once while server-{VICTIM} is \
         killed"
    ));
    stage.stop(traitor)?;
    stage.start_hostile(traitor, "everything")?;
    stage.kill(VICTIM);
    let standing = stage.all_but(&[VICTIM]);
    let asked: Vec<usize> = standing.iter().chain(&standing).copied().collect();
    let answers = stage.ask_once(&asked, SILENCE)?;
    act.note(format!("{} queries, {} answers, no wrong one", asked.len(), answers.len()));
    act.stamped(answers);
    stage.start(VICTIM)?;
    act.stamped(stage.stamp_everything(&honest, PATIENCE)?);
    act.note("the killed server is back: the service has resumed".into());
    stage.check_that_only(traitor, &honest)?;
    stage.stop(traitor)?;
    stage.start(traitor)?;
    stage.wait_until_healthy(traitor, PATIENCE)?;
    stage.check_that_only(traitor, &everybody)?;
    Ok(act.end())
}
