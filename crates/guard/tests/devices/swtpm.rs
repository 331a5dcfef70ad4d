//! An emulated TPM, on a port of the loopback.

use crate::support::{Running, eventually, need};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

/// Switches one on whose state is in a folder: registers are as after a reset, the rest is what was
/// stored. Returns its port, too.
pub(crate) fn boot(state: &Path) -> (Running, u16) {
    need(&["swtpm", "libtss2-esys-3.0.2-0", "libtss2-tcti-swtpm0"]);
    eventually("a TPM on a free port", || {
        let port = two_free_ports()?;
        let mut tpm = Command::new("swtpm");
        tpm.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        tpm.arg("--tpmstate").arg(format!("dir={}", state.display()));
        for (channel, port) in [("--server", port), ("--ctrl", port + 1)] {
            tpm.arg(channel).arg(format!("type=tcp,bindaddr=127.0.0.1,port={port}"));
        }
        let mut tpm = Running(tpm.stderr(Stdio::null()).spawn().expect("swtpm starts"));
        eventually("the TPM to listen, or to find its port taken", || {
            let is_gone = tpm.0.try_wait().unwrap().is_some();
            (is_gone || TcpStream::connect(("127.0.0.1", port + 1)).is_ok()).then_some(())
        });
        let is_up = tpm.0.try_wait().unwrap().is_none();
        is_up.then_some((tpm, port))
    })
}

fn two_free_ports() -> Option<u16> {
    let first = TcpListener::bind(("127.0.0.1", 0)).ok()?;
    let port = first.local_addr().ok()?.port();
    TcpListener::bind(("127.0.0.1", port.checked_add(1)?)).ok().map(|_| port)
}
