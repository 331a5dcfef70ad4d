//! The group of the demonstration, and what can be done to it.

use crate::Failure;
use crate::args::Demo;
use crate::config::NewGroup;
use crate::home::CERTIFICATE;
use crate::judge;
use crate::local::{self, LocalGroup};
use crate::process::{self, Cost};
use maftia_agreement::hybrid::OrderedBy;
use serde::Serialize;
use serde_json::Value;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How many servers play: as many as survive one corrupt server.
pub(super) fn servers(hybrid: bool) -> usize {
    if hybrid { 3 } else { 4 }
}

/// How long a server that is taken over is waited for.
const TEMPTATION: Duration = Duration::from_millis(500);

/// One token that the judge has accepted.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Stamp {
    /// Which front end answered.
    pub(super) server: usize,
    /// Of which file.
    pub(super) file: PathBuf,
    /// The token's serial number, as the judge prints it.
    pub(super) serial: String,
    /// The token's time, as the judge prints it.
    pub(super) time: String,
    /// From query to answer.
    pub(super) milliseconds: f64,
}

/// A time-stamp query.
struct Question {
    path: PathBuf,
    bytes: Vec<u8>,
    asked: SystemTime,
}

/// The group, and what it puts time stamps on.
pub(super) struct Stage {
    group: LocalGroup,
    temporary: bool,
    files: Vec<PathBuf>,
    hostile: PathBuf,
    queries: usize,
}

impl Stage {
    /// Writes a configuration, deals keys, starts all servers.
    pub(super) fn build(args: &Demo, files: Vec<PathBuf>) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::because(format!("this program's own file: {error}")))?;
        let hostile = program.with_file_name("maftia-hostile");
        if !hostile.is_file() {
            return Err(Failure::because(format!(
                "{} is missing: the demonstration needs a hostile server, which is a program of \
                 its own. Right would be: cargo xtask demo, which builds both",
                hostile.display()
            )));
        }
        let dir = match &args.dir {
            Some(dir) => dir.clone(),
            None => local::temporary("demo"),
        };
        let new = NewGroup {
            name: "demo".into(),
            servers: servers(args.hybrid),
            host: IpAddr::from([127, 0, 0, 1]),
            base_port: args.base_port,
            key_bits: args.key_bits,
            components: Vec::new(),
            ordered_by: OrderedBy::default(),
            authority: None,
        };
        let mut group = LocalGroup::deal_as(&dir, &program, new, args.hybrid)?;
        group.start_all()?;
        eprintln!("Keys dealt, all servers started; everything is in {}\n", dir.display());
        let temporary = args.dir.is_none() && !args.keep;
        Ok(Self { group, temporary, files, hostile, queries: 0 })
    }

    /// Starts an honest server.
    pub(super) fn start(&mut self, index: usize) -> Result<(), Failure> {
        self.group.start(index)
    }

    /// Starts a server that an intruder has taken over.
    pub(super) fn start_hostile(&mut self, index: usize, strategy: &str) -> Result<(), Failure> {
        let home = self.group.home(index);
        let arguments = ["--home", &home.to_string_lossy(), "--strategy", strategy];
        self.group.start_program(index, &self.hostile, &arguments)
    }

    /// All servers.
    pub(super) fn everybody(&self) -> Vec<usize> {
        self.all_but(&[])
    }

    /// All servers but some.
    pub(super) fn all_but(&self, some: &[usize]) -> Vec<usize> {
        (0..self.group.config().servers.len()).filter(|index| !some.contains(index)).collect()
    }

    /// The server that is taken over: the last.
    pub(super) fn traitor(&self) -> usize {
        self.group.config().servers.len() - 1
    }

    /// Kills the trusted component of a server's host.
    pub(super) fn kill_component(&mut self, index: usize) {
        self.group.kill_component(index);
    }

    /// Starts it again: another life of it.
    pub(super) fn start_component(&mut self, index: usize) -> Result<(), Failure> {
        self.group.start_component(index)
    }

    /// Waits until a server is a member again, in a later epoch; returns that.
    pub(super) fn wait_until_admitted(
        &self,
        index: usize,
        patience: Duration,
    ) -> Result<u64, Failure> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.group.server(index).and_then(|it| it.status().ok()) {
                let epoch = status["progress"]["epoch"].as_u64().unwrap_or(0);
                if status["standing"] == "member" && epoch > 0 {
                    return Ok(epoch);
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let log = self.group.log(index);
        Err(Failure::because(format!(
            "server-{index} was not admitted with the new life of its trusted component; see {}",
            log.display()
        )))
    }

    /// Asks a server to stop.
    pub(super) fn stop(&mut self, index: usize) -> Result<(), Failure> {
        self.group.stop(index)
    }

    /// Kills a server.
    pub(super) fn kill(&mut self, index: usize) {
        self.group.kill([index]);
    }

    /// What a server that runs has used.
    pub(super) fn cost(&self, index: usize) -> Option<Cost> {
        self.group.server(index)?.cost()
    }

    fn http(&self, index: usize) -> SocketAddr {
        self.group.config().servers[index].http
    }

    /// Has every file stamped by each of these front ends, and judged.
    pub(super) fn stamp_everything(
        &mut self,
        front_ends: &[usize],
        patience: Duration,
    ) -> Result<Vec<Stamp>, Failure> {
        let mut stamps = Vec::new();
        for file in self.files.clone() {
            for index in front_ends {
                stamps.push(self.stamp(*index, &file, patience)?);
            }
        }
        Ok(stamps)
    }

    /// One token for `file` from front end `index`; a client tries again until its patience ends.
    fn stamp(&mut self, index: usize, file: &Path, patience: Duration) -> Result<Stamp, Failure> {
        let question = self.question(file)?;
        let started = Instant::now();
        loop {
            let left = patience.saturating_sub(started.elapsed());
            match process::post_query(self.http(index), &question.bytes, left) {
                Ok(answer) => return self.judged(index, file, &question, &answer),
                Err(failure) if started.elapsed() >= patience => return Err(failure),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// The judge's verdict on an answer; with serial number and time, if it is good.
    fn judged(
        &self,
        server: usize,
        file: &Path,
        question: &Question,
        answer: &[u8],
    ) -> Result<Stamp, Failure> {
        let answered = SystemTime::now();
        let reply = question.path.with_extension("tsr");
        fs::write(&reply, answer)
            .map_err(|error| Failure::file(&reply, "cannot be written", &error))?;
        judge::verify(&reply, &question.path, file, &self.group.home(0).join(CERTIFICATE))?;
        let judge::Described { serial, time, instant } = judge::describe(&reply)?;
        // All servers have this machine's clock: a time outside this span is a liar's.
        let accuracy = Duration::from_millis(self.group.config().notary.accuracy_ms);
        if instant + accuracy < question.asked || instant > answered + accuracy {
            let problem = format!("says {time}, which is not when it was asked for");
            return Err(Failure::file(&reply, "is wrong", &problem));
        }
        let milliseconds =
            answered.duration_since(question.asked).unwrap_or_default().as_secs_f64() * 1000.0;
        Ok(Stamp { server, file: file.to_owned(), serial, time, milliseconds })
    }

    fn question(&mut self, file: &Path) -> Result<Question, Failure> {
        self.queries += 1;
        let path = self.group.dir().join(format!("{}.tsq", self.queries));
        let hashes = ["-sha256", "-sha384", "-sha512"];
        judge::make_query(file, &path, hashes[self.queries % hashes.len()])?;
        let bytes =
            fs::read(&path).map_err(|error| Failure::file(&path, "cannot be read", &error))?;
        Ok(Question { path, bytes, asked: SystemTime::now() })
    }

    /// Asks each of these front ends once. Whatever they answer must convince the judge.
    pub(super) fn ask_once(
        &mut self,
        front_ends: &[usize],
        patience: Duration,
    ) -> Result<Vec<Stamp>, Failure> {
        let file = self.files.first().cloned().expect("there is a file to stamp");
        let mut stamps = Vec::new();
        for index in front_ends {
            let question = self.question(&file)?;
            let server = self.http(*index);
            if let Ok(answer) = process::post_query(server, &question.bytes, patience) {
                stamps.push(self.judged(*index, &file, &question, &answer)?);
            }
        }
        Ok(stamps)
    }

    /// Waits until a server gives tokens again.
    pub(super) fn wait_until_healthy(
        &mut self,
        index: usize,
        patience: Duration,
    ) -> Result<(), Failure> {
        let file = self.files.first().cloned().expect("there is a file to stamp");
        self.stamp(index, &file, patience).map(|_| ())
    }

    /// Waits until each of `observers` holds evidence of `fault` against `culprit`.
    pub(super) fn wait_for_conviction(
        &mut self,
        observers: &[usize],
        culprit: usize,
        fault: &str,
        patience: Duration,
    ) -> Result<String, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            let mut missing = Vec::new();
            for index in observers {
                let held = self.convictions(*index)?;
                if !held.contains(&(culprit, fault.to_owned())) {
                    missing.push(*index);
                }
            }
            if missing.is_empty() {
                return Ok(format!(
                    "server-{culprit}: {fault}, proven by its own signatures, held by {} servers",
                    observers.len()
                ));
            }
            if Instant::now() >= deadline {
                return Err(Failure::because(format!(
                    "servers {missing:?} hold no evidence of {fault} against server-{culprit}"
                )));
            }
            // An occasion for the culprit to convict itself, and to give a false token.
            self.ask_once(&[culprit], TEMPTATION)?;
        }
    }

    /// Fails if any of these servers, if it runs, blames anyone but `culprit`, with evidence or
    /// without.
    pub(super) fn check_that_only(
        &self,
        culprit: usize,
        observers: &[usize],
    ) -> Result<(), Failure> {
        for index in observers {
            let suspected = self.accused(*index, "suspected")?;
            for (accused, fault) in self.convictions(*index)?.into_iter().chain(suspected) {
                if accused != culprit {
                    return Err(Failure::because(format!(
                        "server-{index} blames the honest server-{accused} for {fault}"
                    )));
                }
            }
        }
        Ok(())
    }

    fn convictions(&self, index: usize) -> Result<Vec<(usize, String)>, Failure> {
        self.accused(index, "convicted")
    }

    fn accused(&self, index: usize, list: &str) -> Result<Vec<(usize, String)>, Failure> {
        let Some(server) = self.group.server(index) else { return Ok(Vec::new()) };
        let status = server.status()?;
        let convicted = status[list].as_array().cloned().unwrap_or_default();
        let read = |entry: &Value| {
            let accused = usize::try_from(entry[0].as_u64()?).ok()?;
            Some((accused, entry[1].as_str()?.to_owned()))
        };
        Ok(convicted.iter().filter_map(read).collect())
    }

    /// Stops everything and removes what was not asked to stay. After a failure, by contrast, the
    /// folder stays: it has the logs.
    pub(super) fn strike(mut self) -> Result<(), Failure> {
        self.group.stop_all()?;
        if self.temporary {
            let dir = self.group.dir();
            fs::remove_dir_all(dir)
                .map_err(|error| Failure::file(dir, "cannot be removed", &error))?;
        }
        Ok(())
    }

    /// Leaves everything running, and says how to use it by hand.
    pub(super) fn keep(self) {
        let dir = self.group.dir().to_owned();
        let dir = dir.display();
        let file = self.files.first().map(|file| file.display().to_string()).unwrap_or_default();
        eprintln!("\nThe group is left running. By hand:\n");
        eprintln!("  openssl ts -query -data {file} -sha256 -cert -out {dir}/my.tsq");
        eprintln!(
            "  curl -sS -H 'Content-Type: application/timestamp-query' --data-binary @{dir}/my.tsq \
             http://{}/tsa -o {dir}/my.tsr",
            self.http(0)
        );
        eprintln!(
            "  openssl ts -verify -data {file} -in {dir}/my.tsr \
             -CAfile {dir}/server-0/{CERTIFICATE}"
        );
        eprintln!("  maftia status --group {dir}/group.toml\n");
        let pids: Vec<String> = self.group.release().iter().map(u32::to_string).collect();
        eprintln!("To end it: kill {}; rm -r {dir}", pids.join(" "));
    }
}
