//! The programs that building and testing need besides Rust itself, all of them in Debian.

use std::process::Command;

/// A program, how to ask whether it is there, its Debian package.
type Tool = (&'static str, &'static [&'static str], &'static str);

/// For the build and its tests.
pub(crate) const BUILD: &[Tool] = &[
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

/// For the models: SPIN writes a program in C.
pub(crate) const MODELS: &[Tool] = &[("spin", &["-V"], "spin"), ("gcc", &["--version"], "gcc")];

/// Installs whichever is missing, which takes root and a Debian system.
pub(crate) fn install_missing(tools: &[Tool]) -> Result<(), String> {
    let missing: Vec<_> = tools.iter().filter(|tool| !is_there(tool)).collect();
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

fn is_there((program, arguments, _): &Tool) -> bool {
    Command::new(program).args(*arguments).output().is_ok_and(|output| output.status.success())
}
