//! The trusted components of a local group, as processes of this user: for the demonstration, the
//! benchmarks and tests. Nothing stands between them and the servers but the kernel's ordinary
//! rights, which are those of one user: no barrier is claimed, and each is accepted to be missing.

use crate::Failure;
use crate::config::{NewGroup, component_at};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The key guard of each, and the user that its daemon would have if a launcher started it. The
/// memory is ordinary: a demonstration runs in containers, too, which have no other.
const GUARD: &str = "guard = { kind = \"file\", file = \"guard.seed\", mark = \"guard.mark\", \
                     key_file = \"guard.key\", memory = \"ordinary\" }\nuid = 60001\n";

/// What a component without a launcher cannot have, or need not.
const BARRIERS: [&str; 16] = [
    "control-network",
    "control-firewall",
    "memory",
    "tracing",
    "socket-user",
    "user-namespaces",
    "payload-capabilities",
    "processor",
    "own-user",
    "real-time",
    "locked-memory",
    "undumpable",
    "capabilities",
    "no-new-privileges",
    "file-system",
    "system-calls",
];

/// The components of a group. They are killed when this is dropped.
#[derive(Debug)]
pub struct Components {
    folders: Vec<PathBuf>,
    program: PathBuf,
    processes: Vec<Option<Child>>,
}

impl Drop for Components {
    fn drop(&mut self) {
        (0..self.processes.len()).for_each(|index| self.kill(index));
    }
}

impl Components {
    /// Makes key guards and configurations for the components of `new` under `dir`, and names them
    /// there; starts nothing. `program` is the `maftia` binary, beside which `maftia-ttcb` lies.
    pub fn make(dir: &Path, program: &Path, new: &mut NewGroup) -> Result<Self, Failure> {
        let program = program.with_file_name("maftia-ttcb");
        if !program.is_file() {
            return Err(Failure::because(format!(
                "{} is missing: the trusted components are a program of their own. Right would \
                 be: cargo build --release -p maftia-ttcb (cargo xtask demo --hybrid does it)",
                program.display()
            )));
        }
        let folders: Vec<PathBuf> =
            (0..new.servers).map(|index| dir.join(format!("ttcb-{index}"))).collect();
        for folder in &folders {
            fs::create_dir_all(folder)
                .map_err(|error| Failure::file(folder, "cannot be made", &error))?;
            let path = folder.join("ttcb.toml");
            write(&path, GUARD)?;
            let guard = keygen(&program, &path)?;
            new.components.push(component_at(folder.join("ttcb.sock"), guard, None));
        }
        for (index, folder) in folders.iter().enumerate() {
            write(&folder.join("ttcb.toml"), &configuration(index, new))?;
        }
        let processes = folders.iter().map(|_| None).collect();
        Ok(Self { folders, program, processes })
    }

    /// Starts one; it serves when its socket answers.
    pub fn start(&mut self, index: usize) -> Result<(), Failure> {
        let folder = &self.folders[index];
        let log = folder.join("log");
        let output = File::options().create(true).append(true).open(&log);
        let output = output.map_err(|error| Failure::file(&log, "cannot be written", &error))?;
        let child = Command::new(&self.program)
            .arg("run")
            .arg("--config")
            .arg(folder.join("ttcb.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn();
        let child =
            child.map_err(|error| Failure::file(&self.program, "cannot be started", &error))?;
        self.processes[index] = Some(child);
        Ok(())
    }

    /// kill -9: its life is over.
    pub fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.processes[index].take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Lets them run on after this program has ended; returns their process numbers.
    pub fn release(mut self) -> Vec<u32> {
        self.processes.iter_mut().filter_map(Option::take).map(|child| child.id()).collect()
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::file(path, "cannot be written", &error))
}

fn keygen(program: &Path, config: &Path) -> Result<[u8; 32], Failure> {
    let mut command = Command::new(program);
    let output = command.args(["keygen", "--own-user", "--config"]).arg(config).output();
    let output = output.map_err(|error| Failure::file(program, "cannot be started", &error))?;
    let key = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    const_hex::decode_to_array(&key).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        Failure::because(format!("{} made no key: {}", program.display(), said.trim()))
    })
}

/// What one component is told. Its control network is loopback.
fn configuration(index: usize, new: &NewGroup) -> String {
    let accepted: Vec<String> = BARRIERS.iter().map(|name| format!("\"{name}\"")).collect();
    let mut text = format!(
        "host = {index}\nbound = \"20ms\"\npermille = 800\nsocket = \"ttcb.sock\"\n\
         status = \"status.sock\"\naccept_missing = [{}]\n{GUARD}",
        accepted.join(", ")
    );
    for (host, component) in new.components.iter().enumerate() {
        let port = usize::from(new.base_port) + 3 * new.servers + host;
        let key = const_hex::encode(component.guard);
        let _ = write!(text, "\n[[hosts]]\naddress = \"{}:{port}\"\n", new.host);
        let _ = writeln!(text, "guard = \"{key}\"");
    }
    let uid = rustix::process::getuid().as_raw();
    let _ = write!(
        text,
        "\n[[roles]]\nrole = 0\nuid = {uid}\nbudget = \"8ms\"\nperiod = \"10ms\"\n\
         \n[launch]\npayload_uid = 60002\n"
    );
    text
}
