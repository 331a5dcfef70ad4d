//! The programs that building and testing need besides Rust itself, all of them in Debian.

use std::process::Command;

/// What must be there: the program, how to ask whether it is, its Debian package.
const TOOLS: &[(&str, &[&str], &str)] = &[
    ("openssl", &["version"], "openssl"),
    ("cc", &["--version"], "gcc"),
    ("make", &["--version"], "make"),
    // OpenSSL's own configuration script uses modules that `perl-base` lacks.
    ("perl", &["-MFindBin", "-MFile::Compare", "-MTime::Piece", "-e", "1"], "perl"),
    // Libraries of the key guards' devices.
    ("pkg-config", &["--version"], "pkg-config"),
    ("pkg-config", &["--exists", "tss2-esys"], "libtss2-dev"),
    ("pkg-config", &["--exists", "libpcsclite"], "libpcsclite-dev"),
    // The trusted component's launcher, and its tests: name spaces' interfaces and a firewall.
    ("ip", &["-Version"], "iproute2"),
    ("nft", &["--version"], "nftables"),
];

/// Installs whichever is missing, which takes root and a Debian system.
pub(crate) fn install_missing() -> Result<(), String> {
    let missing: Vec<_> = TOOLS.iter().filter(|tool| !is_there(tool)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, _, package)| *package).collect();
    println!("Installing {}", packages.join(", "));
    let install = [&["install", "-y", "--no-install-recommends"][..], &packages].concat();
    for arguments in [&["update"][..], &install] {
        let status = Command::new("apt-get").args(arguments).status();
        if !status.is_ok_and(|status| status.success()) {
            let packages = packages.join(" ");
            return Err(format!("missing, and `apt-get` could not install them: {packages}"));
        }
    }
    match missing.iter().find(|tool| !is_there(tool)) {
        None => Ok(()),
        Some((program, _, package)) => {
            Err(format!("`{program}` is missing still, with {package} installed"))
        }
    }
}

fn is_there((program, arguments, _): &(&str, &[&str], &str)) -> bool {
    Command::new(program).args(*arguments).output().is_ok_and(|output| output.status.success())
}
