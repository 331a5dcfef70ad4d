//! A daemon with each of the key guards: a fresh life each time it boots, certified by the guard,
//! and a sentence if the guard does not open.
//!
//! Those in devices are behind their features: see the tests of `maftia-guard`, whose emulated
//! devices these are.

#![allow(clippy::unwrap_used)]

mod common;
#[cfg(feature = "pkcs11")]
#[path = "../../guard/tests/devices/softhsm.rs"]
mod softhsm;
#[cfg(any(feature = "tpm2", feature = "pkcs11"))]
#[allow(dead_code, reason = "each back end's tests use a part of it")]
#[path = "../../guard/tests/devices/support.rs"]
mod support;
#[cfg(feature = "tpm2")]
#[path = "../../guard/tests/devices/swtpm.rs"]
mod swtpm;

use common::{FILE_GUARD, PATIENCE, PROGRAM, Running, alone, as_user, folder, run};
use maftia_ttcb::client::Client;
use maftia_ttcb::config::Config;
use maftia_ttcb::testnet::PAYLOAD;
use maftia_ttcb_api::{BootKeys, Sealed};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// What no daemon has that shares the machine's network.
const ACCEPT: [&str; 3] = ["control-network", "control-firewall", "processor"];

const LAUNCH: [&str; 4] = ["launch", "--profile", "plain", "--config"];

/// Boots the component, and has its role's process ask it who it is.
fn boot(config: &str) -> Sealed<BootKeys> {
    let launch = [&LAUNCH[..], &[config, "--", "sleep", "60"]].concat();
    let mut running = Running::start(&launch);
    assert!(running.line().contains("daemon"), "what it said is above");
    let read = Config::load(Path::new(config)).unwrap();
    let status = maftia_ttcb::status::ask(&read.status).unwrap();
    assert!(status.contains(&format!("\"guard\":\"{}\"", read.guard.kind())), "{status}");
    let connect = move || Client::connect(&read.socket, &read.hosts[0].guard, PATIENCE);
    as_user(None, PAYLOAD, connect).join().unwrap().unwrap().session().boot
}

/// Why the component does not boot.
fn refusal(config: &str) -> String {
    let (code, said) = run(&[&LAUNCH[..], &[config, "--", "true"]].concat());
    assert_eq!(code, Some(1), "{said}");
    assert!(!said.contains("serves") && !said.contains("panicked"), "{said}");
    said
}

/// Puts something else into a configuration, and says why the component does not boot with it.
fn refusal_with(config: &str, from: &str, to: &str) -> String {
    let honest = fs::read_to_string(config).unwrap();
    assert!(honest.contains(from), "{honest} has `{from}`");
    fs::write(config, honest.replace(from, to)).unwrap();
    let said = refusal(config);
    fs::write(config, honest).unwrap();
    said
}

/// Three boots: numbers grow, keys are new, and the one guard has certified them all.
fn each_boot_is_another_life(config: &str) {
    let guard = Config::load(Path::new(config)).unwrap().hosts[0].guard;
    let lives: Vec<Sealed<BootKeys>> = (0..3).map(|_| boot(config)).collect();
    assert!(lives.iter().all(|life| life.is_signed_by(&guard)));
    for pair in lives.windows(2) {
        let (before, after) = (pair[0].said, pair[1].said);
        assert!(before.epoch < after.epoch, "{} before {}", before.epoch, after.epoch);
        assert!(before.signing != after.signing && before.exchange != after.exchange);
    }
    // The configuration of a host whose guard is another.
    let key = maftia_ttcb::settings::hex(&guard);
    let said = refusal_with(config, &key, &"07".repeat(32));
    assert!(said.contains("is not that of the key guard here"), "{said}");
}

/// Files of the daemon's user.
#[cfg(feature = "pkcs11")]
mod owned {
    pub(super) use super::common::hand_over;
    use maftia_ttcb::testnet::DAEMON;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    /// The user.
    pub(super) const USER: u32 = DAEMON.uid;

    /// A file with a secret, or with what was meant to be one.
    pub(super) fn secret(path: &Path, contents: &str, mode: u32) {
        fs::write(path, contents).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        hand_over(path, USER);
    }
}

fn keygen(config: &str) -> (Option<i32>, String) {
    run(&["keygen", "--config", config])
}

#[test]
fn a_guard_in_a_file_certifies_a_fresh_life_at_each_boot() {
    let folder = folder();
    let config = alone(folder.path(), FILE_GUARD, &ACCEPT);
    each_boot_is_another_life(&config);
    let (code, said) = keygen(&config);
    assert_eq!(code, Some(1));
    assert!(said.contains("a guard is made once"), "{said}");
    let existing = ["keygen", "--existing", "--config", &config];
    let output = Command::new(PROGRAM).args(existing).output().unwrap();
    let key = Config::load(Path::new(&config)).unwrap().hosts[0].guard;
    assert_eq!(output.stdout, format!("{}\n", maftia_ttcb::settings::hex(&key)).into_bytes());
}

#[test]
fn a_sealed_file_does_not_open_for_a_thief_nor_after_a_rollback() {
    let folder = folder();
    let config = alone(folder.path(), FILE_GUARD, &ACCEPT);
    let path = |name: &str| folder.path().join(name);
    let key = fs::read(path("guard.key")).unwrap();
    let young = fs::read(path("guard.seed")).unwrap();
    boot(&config);
    boot(&config);
    fs::write(path("guard.key"), [7; 32]).unwrap();
    let said = refusal(&config);
    assert!(said.contains("the passphrase or key file is not its own"), "{said}");
    fs::write(path("guard.key"), key).unwrap();
    fs::set_permissions(path("guard.key"), Permissions::from_mode(0o644)).unwrap();
    assert!(refusal(&config).contains("has mode 644"));
    fs::set_permissions(path("guard.key"), Permissions::from_mode(0o600)).unwrap();
    let old = fs::read(path("guard.seed")).unwrap();
    fs::write(path("guard.seed"), young).unwrap();
    let said = refusal(&config);
    assert!(said.contains("it was rolled back"), "{said}");
    fs::write(path("guard.seed"), old).unwrap();
    boot(&config);
    let passphrase = FILE_GUARD.replace("key_file", "passphrase_file");
    let said = refusal_with(&config, FILE_GUARD, &passphrase.replace("guard.key", "nothing"));
    assert!(said.contains("reading") && said.contains("nothing: No such file"), "{said}");
}

#[test]
fn a_guard_that_was_not_built_in_is_named() {
    let folder = folder();
    let config = alone(folder.path(), FILE_GUARD, &ACCEPT);
    for (built, kind, table) in [
        (
            cfg!(feature = "tpm2"),
            "tpm2",
            "{ kind = \"tpm2\", tcti = \"device:/dev/null\", file = \"seed\", counter = \
             0x0180_0000, pcrs = [0] }",
        ),
        (
            cfg!(feature = "pkcs11"),
            "pkcs11",
            "{ kind = \"pkcs11\", module = \"nothing.so\", token = \"t\", pin_file = \
             \"guard.key\", lock = \"lock\" }",
        ),
        (cfg!(feature = "card"), "card", "{ kind = \"card\", pin_file = \"guard.key\" }"),
    ] {
        let said = refusal_with(&config, FILE_GUARD, table);
        let wanted = match built {
            true => format!("the key guard \"{kind}\": "),
            false => format!("built without the key guard \"{kind}\": build it with --features"),
        };
        assert!(said.contains(&wanted), "{said}\n  should contain {wanted}");
    }
}

#[test]
#[cfg(feature = "tpm2")]
fn a_guard_in_a_tpm_certifies_a_fresh_life_at_each_boot_of_this_machine_only() {
    let (folder, state) = (folder(), tempfile::tempdir().unwrap());
    let (tpm, port) = swtpm::boot(state.path());
    let table = |port: u16| {
        format!(
            "{{ kind = \"tpm2\", tcti = \"swtpm:host=127.0.0.1,port={port}\", file = \
             \"guard.seed\", counter = 0x0180_4d41, pcrs = [0, 4, 16] }}"
        )
    };
    let config = alone(folder.path(), &table(port), &ACCEPT);
    each_boot_is_another_life(&config);
    let said = refusal_with(&config, "[0, 4, 16]", "[0, 4]");
    assert!(said.contains("PCRs [0, 4] are not as they were when it was sealed"), "{said}");
    // Another machine's TPM, with this one's disk; then none at all.
    let other_state = tempfile::tempdir().unwrap();
    let (other, other_port) = swtpm::boot(other_state.path());
    let said = refusal_with(&config, &table(port), &table(other_port));
    assert!(said.contains("the key guard \"tpm2\": tpm2: "), "{said}");
    drop((tpm, other));
    let said = refusal(&config);
    assert!(said.contains("the key guard \"tpm2\": tpm2: reaching it"), "{said}");
}

#[test]
#[cfg(feature = "pkcs11")]
fn a_guard_in_a_token_certifies_a_fresh_life_at_each_boot_with_its_pin_only() {
    let test = "a_guard_in_a_token_certifies_a_fresh_life_at_each_boot_with_its_pin_only";
    let Some(home) = softhsm::folder() else {
        return softhsm::again_with_a_token(test, |folder| {
            owned::hand_over(folder, owned::USER);
        });
    };
    let pin = home.join("pin");
    owned::secret(&pin, &format!("{}\n", softhsm::PIN), 0o600);
    let table = format!(
        "{{ kind = \"pkcs11\", module = \"{}\", token = \"{}\", pin_file = \"{}\", lock = \
         \"guard\" }}",
        softhsm::MODULE,
        softhsm::LABEL,
        pin.display()
    );
    let folder = folder();
    let config = alone(folder.path(), &table, &ACCEPT);
    each_boot_is_another_life(&config);
    let said = refusal_with(&config, softhsm::LABEL, "lost");
    assert!(said.contains("the token's label is \"lost\": it has to be that of exactly"), "{said}");
    owned::secret(&pin, "a wrong one", 0o600);
    assert!(refusal(&config).contains("the key guard \"pkcs11\": the PIN is wrong"));
    owned::secret(&pin, softhsm::PIN, 0o640);
    let said = refusal(&config);
    assert!(said.contains("has mode 640"), "{said}");
    let (code, said) = keygen(&config);
    assert_eq!(code, Some(1), "{said}");
    owned::secret(&pin, softhsm::PIN, 0o600);
    boot(&config);
}
