//! Programs that others have written. What is missing is installed, or the test fails.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// From PyPI.
const CLIENTS: [&str; 2] = ["certbot==5.8.0", "pkilint==0.13.3"];

/// The hostile server.
pub(crate) fn hostile() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_maftia-hostile"))
}

/// The honest one, which belongs to another package: it is where the hostile one is.
pub(crate) fn honest() -> PathBuf {
    let path = hostile().with_file_name("maftia");
    assert!(
        path.is_file(),
        "{} is missing. Right would be: cargo test --workspace, which builds it, too",
        path.display()
    );
    path
}

/// Certbot, in a Python environment of its own.
pub(crate) fn certbot() -> PathBuf {
    environment().join("bin/certbot")
}

/// A Python environment, beside what cargo builds, with what the tests need.
pub(crate) fn environment() -> &'static Path {
    static ENVIRONMENT: OnceLock<PathBuf> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let folder = hostile().parent().expect("it is in a folder").join("acme-clients");
        let marker = folder.join("complete");
        if std::fs::read_to_string(&marker).is_ok_and(|what| what == CLIENTS.join(" ")) {
            return folder;
        }
        let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).output();
        if !made.is_ok_and(|made| made.status.success()) {
            apt(&["python3-venv", "python3-pip"]);
            run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        }
        let mut pip = Command::new(folder.join("bin/pip"));
        run(pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(CLIENTS));
        std::fs::write(marker, CLIENTS.join(" ")).unwrap();
        folder
    })
}

/// Lego, from Debian.
pub(crate) fn lego() -> PathBuf {
    debian("lego", "lego")
}

/// A program, and the package of Debian that it is in.
pub(crate) fn debian(program: &str, package: &str) -> PathBuf {
    let found = || {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|it| it.is_file())
    };
    found()
        .or_else(|| {
            apt(&[package]);
            found()
        })
        .unwrap_or_else(|| panic!("{program} is missing, also after {package} was installed"))
}

/// Installs packages of Debian, one test at a time.
fn apt(packages: &[&str]) {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let with = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command.args(["-q", "-o", "DPkg::Lock::Timeout=300"]).args(arguments);
        command
    };
    let install = [&["install", "-y", "--no-install-recommends"], packages].concat();
    if !with(&install).output().is_ok_and(|output| output.status.success()) {
        run(&mut with(&["update"]));
        run(&mut with(&install));
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{said}");
}

/// What is there, by HTTP.
pub(crate) fn get(url: &str) -> Vec<u8> {
    let mut command = Command::new(debian("curl", "curl"));
    let output = command.args(["--silent", "--show-error", "--fail", url]).output().unwrap();
    assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A revocation list in PEM.
pub(crate) fn crl_to_pem(der: &[u8]) -> String {
    use std::io::Write;
    use std::process::Stdio;
    let mut command = Command::new("openssl");
    command.args(["crl", "-inform", "DER"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(der).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "it is no revocation list");
    String::from_utf8(output.stdout).unwrap()
}
