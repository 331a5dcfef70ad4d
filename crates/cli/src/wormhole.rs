//! `maftia wormhole`: with which lives of their trusted components a group begins, and begins anew.
//!
//! A trusted component makes fresh keys whenever it boots, and its host's key guard certifies them.
//! A group must begin with the same lives everywhere: its operators gather one certificate a host
//! and put the same list into every home folder. From then on the group admits new lives by itself,
//! in its own order, as long as no more hosts boot at once than may be faulty; after that see
//! [`refound`](crate::refound).

use crate::args::{Wormhole, WormholeWhat};
use crate::config::{self, GroupConfig};
use crate::founding::{self, ROLE, component, party_called};
use crate::home::{BEGUN, JOURNAL};
use crate::{Failure, refound};
use maftia_node::wormhole::{Life, ask_life};
use maftia_ttcb_api::wire::{Fixed, Writer};
use maftia_ttcb_api::{BootKeys, Sealed};
use rand::rngs::SysRng;
use rand_core::UnwrapErr;
use std::fs;
use std::path::{Path, PathBuf};

/// Runs one of the commands.
pub fn run(args: &Wormhole) -> Result<(), Failure> {
    match &args.what {
        WormholeWhat::Show { group, server } => {
            let config = config::load(group)?;
            println!("{}", show(&config, server)?);
            Ok(())
        }
        WormholeWhat::Found { home, lives } => {
            let config = config::load(&home.join(crate::home::CONFIG))?;
            found(&config, home, &read_all(lives)?)?;
            println!("{} begins with these lives.", config.name);
            Ok(())
        }
        WormholeWhat::Testify { home, passphrase_file } => {
            refound::testify(home, passphrase_file.as_deref())
        }
        WormholeWhat::Refound(args) => refound::run(args),
    }
}

/// What stands in these files.
pub(crate) fn read_all(paths: &[PathBuf]) -> Result<String, Failure> {
    let mut text = String::new();
    for path in paths {
        text += &fs::read_to_string(path)
            .map_err(|error| Failure::file(path, "cannot be read", &error))?;
        text.push('\n');
    }
    Ok(text)
}

/// The line that tells the present life of a server's component, which is on this host.
pub fn show(config: &GroupConfig, server: &str) -> Result<String, Failure> {
    let party = party_called(config, server)?;
    let life = present_life(config, party.index())?;
    let mut bytes = vec![0; Sealed::<BootKeys>::SIZE];
    Writer::new(&mut bytes).put(&life.boot);
    Ok(format!("{server} {}", const_hex::encode(bytes)))
}

/// The present life of a server's component, which is on this host.
pub(crate) fn present_life(config: &GroupConfig, index: usize) -> Result<Life, Failure> {
    let component = component(config, index)?;
    let life = ask_life(component, &mut UnwrapErr(SysRng))
        .map_err(|error| Failure::because(error.to_string()))?;
    if life.entity.role != ROLE {
        return Err(Failure::because(format!(
            "this user has role {} with the trusted component. Right would be: the user that the \
             server runs as, who has role {ROLE}",
            life.entity.role
        )));
    }
    Ok(life)
}

/// Puts the lives in `text` into a home folder, once; another ceremony is told to remove the file.
pub fn found(config: &GroupConfig, home: &Path, text: &str) -> Result<(), Failure> {
    for name in [JOURNAL, BEGUN] {
        let there = home.join(name);
        if there.symlink_metadata().is_ok() {
            let problem = "a group that has run is not founded from nothing: what it signed counts \
                           for ever. Right would be: `maftia wormhole testify`, then `refound`";
            return Err(Failure::file(&there, "exists", &problem));
        }
    }
    founding::begin(config, home, text)
}
