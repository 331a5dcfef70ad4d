//! `maftia wormhole`: with which lives of their trusted components a group begins.
//!
//! A trusted component makes fresh keys whenever it boots, and its host's key guard certifies them.
//! A group must begin with the same lives everywhere: its operators gather one certificate a host
//! and put the same list into every home folder. From then on the group admits new lives by itself,
//! in its own order, as long as no more hosts boot at once than may be faulty.

use crate::Failure;
use crate::args::{Wormhole, WormholeWhat};
use crate::config::{self, GroupConfig};
use crate::home::{BEGUN, JOURNAL};
use maftia_agreement::hybrid::{Member, Members};
use maftia_base::Digest;
use maftia_node::wormhole::{WormholeConfig, ask_life};
use maftia_ttcb_api::wire::{Fixed, Reader, Writer};
use maftia_ttcb_api::{BootKeys, Host, Sealed};
use rand::rngs::SysRng;
use rand_core::UnwrapErr;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// The lives with which the group begins, in a home folder.
pub const FOUNDERS: &str = "founders";

/// Servers have this role with their trusted components.
pub const ROLE: u8 = 0;

/// The file, where the group's own founders are described to people.
const HEAD: &str = "# The lives of the trusted components with which this group began: the same on \
                    every server.\n";

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
            let mut text = String::new();
            for path in lives {
                text += &fs::read_to_string(path)
                    .map_err(|error| Failure::file(path, "cannot be read", &error))?;
                text.push('\n');
            }
            found(&config, home, &text)?;
            println!("{} begins with these lives.", config.name);
            Ok(())
        }
    }
}

/// The line that tells the present life of a server's component, which is on this host.
pub fn show(config: &GroupConfig, server: &str) -> Result<String, Failure> {
    let party = config.party(server).ok_or_else(|| {
        let names: Vec<&str> = config.servers.iter().map(|server| server.name.as_str()).collect();
        Failure::because(format!("no server is called {server:?}; there are {}", names.join(", ")))
    })?;
    let component = component(config, party.index())?;
    let life = ask_life(component, &mut UnwrapErr(SysRng))
        .map_err(|error| Failure::because(error.to_string()))?;
    if life.entity.role != ROLE {
        return Err(Failure::because(format!(
            "this user has role {} with the trusted component. Right would be: the user that the \
             server runs as, who has role {ROLE}",
            life.entity.role
        )));
    }
    let mut bytes = vec![0; Sealed::<BootKeys>::SIZE];
    Writer::new(&mut bytes).put(&life.boot);
    Ok(format!("{server} {}", const_hex::encode(bytes)))
}

fn component(config: &GroupConfig, index: usize) -> Result<&WormholeConfig, Failure> {
    config.servers[index].component.as_ref().ok_or_else(|| {
        Failure::because(
            "this group has no trusted components: its configuration is \"asynchronous\"",
        )
    })
}

/// Puts the lives in `text` into a home folder, once; another ceremony is told to remove the file.
pub fn found(config: &GroupConfig, home: &Path, text: &str) -> Result<(), Failure> {
    let path = home.join(FOUNDERS);
    for name in [JOURNAL, BEGUN] {
        let there = home.join(name);
        if there.symlink_metadata().is_ok() {
            let problem = "a group that has run is not founded again: what it signed counts for \
                           ever. Right would be: keys dealt anew";
            return Err(Failure::file(&there, "exists", &problem));
        }
    }
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| is_said(line)).collect();
    let text = format!("{HEAD}{}\n", lines.join("\n"));
    read(config, &path, &text)?;
    let failed = |error| Failure::file(&path, "exists and is not replaced, or not written", &error);
    let mut file = File::create_new(&path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

fn is_said(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#')
}

/// The members with which the group of this home folder began; none in the asynchronous
/// configuration. Also a digest of them, by which servers that were told others never meet.
pub fn members(config: &GroupConfig, home: &Path) -> Result<Option<(Members, Digest)>, Failure> {
    if !config.is_hybrid {
        return Ok(None);
    }
    let path = home.join(FOUNDERS);
    let text = fs::read_to_string(&path).map_err(|error| {
        let remedy = format!(
            "{error}. Right would be: `maftia wormhole show` on each host, and all lines to \
             `maftia wormhole found` for each home folder"
        );
        Failure::file(&path, "cannot be read", &remedy)
    })?;
    let members = read(config, &path, &text)?;
    let mut bytes = Vec::new();
    for Member { host, role, guard, life } in members.iter() {
        bytes.extend_from_slice(&[host.0, *role]);
        bytes.extend_from_slice(guard);
        bytes.extend_from_slice(&life.number.to_be_bytes());
        bytes.extend_from_slice(&life.key);
    }
    Ok(Some((members, Digest::of("maftia founders", &bytes))))
}

fn read(config: &GroupConfig, path: &Path, text: &str) -> Result<Members, Failure> {
    let refused = |problem: String| Failure::file(path, "is refused", &problem);
    let mut members = vec![None; config.servers.len()];
    for line in text.lines().map(str::trim).filter(|line| is_said(line)) {
        let (name, life) = line
            .split_once(' ')
            .ok_or_else(|| refused(format!("{line:?} is no line of `maftia wormhole show`")))?;
        let party = config.party(name);
        let party = party.ok_or_else(|| refused(format!("no server is called {name:?}")))?;
        let host = Host(party.index() as u8);
        let member = member(life, host, &component(config, party.index())?.guard);
        let member = member.map_err(|problem| refused(format!("{name}: {problem}")))?;
        if members[party.index()].replace(member).is_some() {
            return Err(refused(format!("{name} has two lives; right would be one")));
        }
    }
    let names = config.servers.iter().map(|server| server.name.as_str());
    let missing = names.zip(&members).find(|(_, member)| member.is_none());
    if let Some((name, _)) = missing {
        return Err(refused(format!("{name} has none; right would be a line for each server")));
    }
    Ok(Members::new(members.into_iter().flatten()).ordering_by(config.ordered_by))
}

/// The member that a certificate makes.
fn member(life: &str, host: Host, guard: &[u8; 32]) -> Result<Member, &'static str> {
    let bytes = const_hex::decode(life).map_err(|_| "these are not hexadecimal digits")?;
    let mut reader = Reader::new(&bytes);
    let boot: Option<Sealed<BootKeys>> = reader.take().ok();
    let boot = boot.filter(|_| reader.finish().is_ok()).ok_or("this is no certificate")?;
    if !boot.is_signed_by(guard) {
        return Err("the guard that group.toml names has not certified this life");
    }
    if boot.said.host != host {
        return Err("this is a life of another host");
    }
    Ok(Member::of(&boot.said, ROLE, *guard))
}
