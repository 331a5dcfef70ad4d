//! Searches the models of the trusted component's protocols with SPIN: the sound ones completely
//! and without an error, the broken ones until the error that they are there for.

use crate::{root, tools};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// What a search may take, of memory in megabytes and of time in minutes.
const MEMORY_MAX: &str = "-DMEMLIM=4000";
const TIME_MAX: &str = "-Q2";
/// No run of a model is as long; SPIN says so if one is.
const DEPTH_MAX: &str = "-m100000";

/// One model in one configuration.
struct Case {
    model: &'static str,
    switches: &'static str,
    claim: Claim,
    /// What SPIN says of the error that has to be there, if one has.
    error: Option<&'static str>,
}

/// What is claimed of every run: assertions, or also the formula that the switches select.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    Assertions,
    Formula,
}

const AGREEMENT: &str = "trusted-block-agreement";
const MULTICAST: &str = "reliable-multicast";
const ORDERING: &str = "trusted-ordering";

const ASSERTION: Option<&str> = Some("assertion violated");
const NEVER: Option<&str> = Some("acceptance cycle");

const fn sound(model: &'static str, claim: Claim, switches: &'static str) -> Case {
    Case { model, switches, claim, error: None }
}

const fn broken(
    model: &'static str,
    claim: Claim,
    switches: &'static str,
    error: Option<&'static str>,
) -> Case {
    Case { model, switches, claim, error }
}

/// The longest first, so that no processor waits at the end.
const CASES: &[Case] = &[
    sound(AGREEMENT, Claim::Assertions, ""),
    sound(AGREEMENT, Claim::Assertions, "RESTART VALUES=1 FEW"),
    sound(AGREEMENT, Claim::Formula, "VALUES=1 AGREEMENT"),
    sound(AGREEMENT, Claim::Formula, "SYNC TERMINATION CRASH=1 VALUES=1"),
    sound(AGREEMENT, Claim::Formula, "SYNC TERMINATION CRASH=2 DECIDER_VOTES VALUES=1"),
    broken(AGREEMENT, Claim::Assertions, "NAIVE", ASSERTION),
    broken(AGREEMENT, Claim::Assertions, "CLOCK_BACK", ASSERTION),
    broken(AGREEMENT, Claim::Assertions, "RESTART VALUES=1 FEW ANY_LIFE_TELLS", ASSERTION),
    broken(AGREEMENT, Claim::Formula, "SYNC TERMINATION LATEST VALUES=1", NEVER),
    broken(AGREEMENT, Claim::Formula, "SYNC TERMINATION CRASH=2 VALUES=1", NEVER),
    broken(AGREEMENT, Claim::Formula, "SYNC TERMINATION CRASH=3 DECIDER_VOTES VALUES=1", NEVER),
    sound(MULTICAST, Claim::Formula, "N=4 F=2 AGREEMENT FORGETS"),
    sound(MULTICAST, Claim::Formula, "N=4 F=2 AGREEMENT TIMELY EAGER_SENDER"),
    sound(MULTICAST, Claim::Formula, "N=4 F=2 VALIDITY TIMELY"),
    sound(MULTICAST, Claim::Formula, "N=4 F=2 AGREEMENT"),
    sound(MULTICAST, Claim::Formula, "N=4 F=1 AGREEMENT"),
    sound(MULTICAST, Claim::Formula, "N=3 F=1 AGREEMENT"),
    broken(MULTICAST, Claim::Formula, "N=3 F=1 AGREEMENT NO_FORWARDING", NEVER),
    broken(MULTICAST, Claim::Formula, "N=3 F=1 AGREEMENT NO_COMPARISON", NEVER),
    broken(MULTICAST, Claim::Assertions, "N=3 F=1 NO_COMPARISON", ASSERTION),
    broken(MULTICAST, Claim::Formula, "N=3 F=1 AGREEMENT EAGER_SENDER", NEVER),
    broken(MULTICAST, Claim::Formula, "N=3 F=1 AGREEMENT FORGETS UNSIGNED", NEVER),
    sound(ORDERING, Claim::Assertions, "PLACES=3 OPEN_MAX=2"),
    sound(ORDERING, Claim::Formula, "ORDER"),
    sound(ORDERING, Claim::Assertions, "LAG N=5 PLACES=5 OPEN_MAX=2 KEPT=5 BALLOTS=2"),
    broken(ORDERING, Claim::Assertions, "FORGETS_VALUES", ASSERTION),
    broken(
        ORDERING,
        Claim::Assertions,
        "LAG N=5 PLACES=5 OPEN_MAX=2 KEPT=5 BALLOTS=2 PROMISES_SKIPPED",
        ASSERTION,
    ),
    broken(
        ORDERING,
        Claim::Assertions,
        "PLACES=3 OPEN_MAX=2 BALLOTS=2 SKIPS_UNCHOSEN PROMISES_SKIPPED",
        ASSERTION,
    ),
];

/// Runs every case, two at a time; fails if one of them is not as expected.
pub(crate) fn run() -> ExitCode {
    if let Err(problem) = tools::install_missing(tools::MODELS) {
        eprintln!("models: {problem}");
        return ExitCode::FAILURE;
    }
    println!("{:<24}{:<64}{:>9}{:>6}  result", "model", "switches", "states", "s");
    let folder = std::env::temp_dir().join(format!("maftia-models-{}", std::process::id()));
    let (next, failures) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while let Some((index, case)) = take(&next) {
            let started = Instant::now();
            let folder = folder.join(index.to_string());
            let (states, result) = match search(case, &folder) {
                Ok(report) => (count_of(&report, "states, stored"), judge(case, &report)),
                Err(problem) => ("".into(), Err(problem)),
            };
            let seconds = started.elapsed().as_secs();
            let shown = result.as_deref().unwrap_or_else(|problem| problem);
            println!("{:<24}{:<64}{states:>9}{seconds:>6}  {shown}", case.model, case.switches);
            failures.fetch_add(usize::from(result.is_err()), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    // Whatever is left there does no harm.
    let _ = fs::remove_dir_all(&folder);
    match failures.into_inner() {
        0 => ExitCode::SUCCESS,
        failures => {
            eprintln!("models: {failures} of {} are not as expected", CASES.len());
            ExitCode::FAILURE
        }
    }
}

fn take(next: &AtomicUsize) -> Option<(usize, &'static Case)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    CASES.get(index).map(|case| (index, case))
}

/// Makes the program that searches, runs it, and returns what it says.
fn search(case: &Case, folder: &Path) -> Result<String, String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let model: PathBuf = root().join("models").join(case.model).with_extension("pml");
    let mut spin = Command::new("spin");
    spin.args(case.switches.split_whitespace().map(|switch| format!("-D{switch}")));
    output(spin.arg("-a").arg(model).current_dir(folder))?;
    let mut gcc = Command::new("gcc");
    // What is broken is found soon: it is the compiler that takes the time.
    let level = if case.error.is_some() { "-O1" } else { "-O2" };
    gcc.args([level, MEMORY_MAX, "-o", "pan", "pan.c"]);
    let mut pan = Command::new(folder.join("pan"));
    pan.args([DEPTH_MAX, TIME_MAX]);
    match case.claim {
        Claim::Assertions => gcc.arg("-DSAFETY"),
        Claim::Formula => pan.arg("-a"),
    };
    output(gcc.current_dir(folder))?;
    output(pan.current_dir(folder))
}

fn output(command: &mut Command) -> Result<String, String> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(text),
        false => Err(format!("{program}: {text}{}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// A search that was cut short has shown nothing.
fn judge(case: &Case, report: &str) -> Result<String, String> {
    let errors = count_of(report, "errors: ");
    let complete = !["Search not completed", "max search depth too small", "pan: reached"]
        .iter()
        .any(|limit| report.contains(limit));
    match case.error {
        None if errors == "0" && complete => Ok("sound, complete".into()),
        None if errors == "0" => Err("NOT COMPLETE".into()),
        None => Err("AN ERROR, and there should be none".into()),
        Some(error) if errors == "1" && report.contains(error) => Ok(format!("broken: {error}")),
        Some(error) => Err(format!("NOT FOUND: {error}")),
    }
}

/// The number before or behind some words of SPIN's.
fn count_of(report: &str, words: &str) -> String {
    let Some(line) = report.lines().find(|line| line.contains(words)) else { return "?".into() };
    let (before, behind) = line.split_once(words).unwrap_or_default();
    let number = if words.ends_with(": ") { behind } else { before };
    number.split_whitespace().next().unwrap_or_default().into()
}
