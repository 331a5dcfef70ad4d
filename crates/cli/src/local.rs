//! A whole group on this machine, each server a process: for the demonstration, the benchmarks and
//! the tests.

use crate::Failure;
use crate::components::Components;
use crate::config::{self, GroupConfig, NewGroup};
use crate::deal;
use crate::process::ServerProcess;
use crate::wormhole;
use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A name for a folder under the system's temporary one, which nobody can guess and make before.
pub fn temporary(purpose: &str) -> PathBuf {
    std::env::temp_dir().join(format!("maftia-{purpose}-{:016x}", rand::random::<u64>()))
}

/// How long a trusted component may take to come up.
const COMPONENT_PATIENCE: Duration = Duration::from_secs(20);

/// The group, its folders, its processes. They are killed when this is dropped.
#[derive(Debug)]
pub struct LocalGroup {
    dir: PathBuf,
    config: GroupConfig,
    program: PathBuf,
    servers: Vec<Option<ServerProcess>>,
    components: Option<Components>,
}

impl LocalGroup {
    /// Writes the configuration under `dir` and deals the keys; starts nothing. `program` is the
    /// `maftia` binary.
    pub fn deal(dir: &Path, program: &Path, new: &NewGroup) -> Result<Self, Failure> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| Failure::file(dir, "cannot be made", &error))?;
        let text = config::render(new);
        let path = dir.join("group.toml");
        File::create_new(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| Failure::file(&path, "cannot be written", &error))?;
        let config = config::parse(&path, &text)?;
        let rules = new.authority.as_ref().map(|authority| authority.rules.as_str());
        deal::deal_to(&config, (&text, rules), dir, None)?;
        let servers = config.servers.iter().map(|_| None).collect();
        let (dir, program) = (dir.into(), program.into());
        Ok(Self { dir, config, program, servers, components: None })
    }

    /// The same in either configuration: in the hybrid one with trusted components, which run.
    pub fn deal_as(
        dir: &Path,
        program: &Path,
        mut new: NewGroup,
        is_hybrid: bool,
    ) -> Result<Self, Failure> {
        if !is_hybrid {
            return Self::deal(dir, program, &new);
        }
        let mut components = Components::make(dir, program, &mut new)?;
        (0..new.servers).try_for_each(|index| components.start(index))?;
        let mut group = Self::deal(dir, program, &new)?;
        group.components = Some(components);
        group.found()?;
        Ok(group)
    }

    /// The ceremony of `maftia wormhole`, once the components serve.
    fn found(&self) -> Result<(), Failure> {
        let mut lives = String::new();
        for server in &self.config.servers {
            let deadline = Instant::now() + COMPONENT_PATIENCE;
            let life = loop {
                match wormhole::show(&self.config, &server.name) {
                    Err(_) if Instant::now() < deadline => {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    life => break life?,
                }
            };
            lives += &life;
            lives.push('\n');
        }
        let homes = (0..self.servers.len()).map(|index| self.home(index));
        homes.into_iter().try_for_each(|home| wormhole::found(&self.config, &home, &lives))
    }

    /// Kills the trusted component of a server's host.
    pub fn kill_component(&mut self, index: usize) {
        if let Some(components) = &mut self.components {
            components.kill(index);
        }
    }

    /// Starts the trusted component of a server's host: another life of it.
    pub fn start_component(&mut self, index: usize) -> Result<(), Failure> {
        self.components.as_mut().map_or(Ok(()), |components| components.start(index))
    }

    /// Where everything is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The checked configuration.
    pub fn config(&self) -> &GroupConfig {
        &self.config
    }

    /// The home folder of a server.
    pub fn home(&self, index: usize) -> PathBuf {
        self.dir.join(&self.config.servers[index].name)
    }

    /// Where a server writes its log.
    pub fn log(&self, index: usize) -> PathBuf {
        self.dir.join(format!("{}.log", self.config.servers[index].name))
    }

    /// The process of a server that runs.
    pub fn server(&self, index: usize) -> Option<&ServerProcess> {
        self.servers[index].as_ref()
    }

    /// Starts all servers, and waits until each answers.
    pub fn start_all(&mut self) -> Result<(), Failure> {
        for index in 0..self.servers.len() {
            self.spawn(index)?;
        }
        self.wait_until_up()
    }

    /// Starts an honest server, and waits until it answers.
    pub fn start(&mut self, index: usize) -> Result<(), Failure> {
        self.spawn(index)?;
        self.wait_until_up()
    }

    fn spawn(&mut self, index: usize) -> Result<(), Failure> {
        let home = self.home(index);
        let arguments = ["server", "--home", &home.to_string_lossy()];
        self.spawn_program(index, &self.program.clone(), &arguments)
    }

    /// Starts any program as a server, and waits until it answers.
    pub fn start_program(
        &mut self,
        index: usize,
        program: &Path,
        arguments: &[&str],
    ) -> Result<(), Failure> {
        self.spawn_program(index, program, arguments)?;
        self.wait_until_up()
    }

    fn spawn_program(
        &mut self,
        index: usize,
        program: &Path,
        arguments: &[&str],
    ) -> Result<(), Failure> {
        let log = self.log(index);
        let server = &self.config.servers[index];
        let process = ServerProcess::start(&server.name, server.http, program, arguments, &log)?;
        self.servers[index] = Some(process);
        Ok(())
    }

    fn wait_until_up(&mut self) -> Result<(), Failure> {
        self.servers.iter_mut().flatten().try_for_each(ServerProcess::wait_until_up)
    }

    /// Asks a server to stop, and waits until it has.
    pub fn stop(&mut self, index: usize) -> Result<(), Failure> {
        self.servers[index].take().map_or(Ok(()), |mut server| server.stop())
    }

    /// Asks all servers to stop.
    pub fn stop_all(&mut self) -> Result<(), Failure> {
        (0..self.servers.len()).try_for_each(|index| self.stop(index))
    }

    /// kill -9 of these servers, as nearly at once as one process can.
    pub fn kill(&mut self, which: impl IntoIterator<Item = usize>) {
        let mut dying: Vec<ServerProcess> =
            which.into_iter().filter_map(|index| self.servers[index].take()).collect();
        dying.iter_mut().for_each(ServerProcess::send_kill);
        dying.iter_mut().for_each(ServerProcess::kill);
    }

    /// Lets all servers run on after this program has ended; returns their process numbers.
    pub fn release(mut self) -> Vec<u32> {
        let running: Vec<ServerProcess> = self.servers.drain(..).flatten().collect();
        let pids: Vec<u32> = running.iter().filter_map(ServerProcess::pid).collect();
        running.into_iter().for_each(ServerProcess::release);
        let components = self.components.take().map(Components::release);
        pids.into_iter().chain(components.into_iter().flatten()).collect()
    }
}
