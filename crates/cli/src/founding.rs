//! The file `founders` of a home folder: with which lives of trusted components a group was
//! founded, and how often and with what it was founded anew since.
//!
//! # Promise
//! - Servers of different foundings never meet, and nothing that was signed under one counts under
//!   another: the digest of all that the file says is in the name of the network and in every
//!   scope.
//! - The file is replaced as a whole or not at all; with it, and with nothing else, a server
//!   changes from one founding to the next.

use crate::Failure;
use crate::config::GroupConfig;
use crate::home::Home;
use maftia_activity::{Refounding, SignedTestimony, Testimony};
use maftia_agreement::checkpoint;
use maftia_agreement::hybrid::{Life, Member, Members};
use maftia_base::wire::Wire;
use maftia_base::{Digest, Party, PartySet};
use maftia_crypto::{RealSuite, Suite};
use maftia_node::wormhole::WormholeConfig;
use maftia_ttcb_api::wire::Reader;
use maftia_ttcb_api::{BootKeys, Host, Sealed};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The file.
pub const FOUNDERS: &str = "founders";

/// Servers have this role with their trusted components.
pub const ROLE: u8 = 0;

/// What the file says of itself to people.
const HEAD: &str = "# The lives of the trusted components with which this group began: the same on \
                    every server.\n";

/// The line after which the testimonies of the next founding stand.
const ANEW: &str = "anew";

/// With what a group began, or began anew.
#[derive(Clone, Debug)]
pub struct Founding {
    /// The members, as far as foundings say; an ordered decision may have admitted others since.
    pub members: Members,
    /// The name of this founding and of all before it.
    pub digest: Digest,
    /// How many there were before it.
    pub generation: u64,
    /// The testimonies of the last one, as they stand in the file.
    pub last: String,
}

/// What servers say that have stopped.
pub type Testimonies = Vec<(Party, Testimony)>;

impl Founding {
    /// That of a server of the hybrid configuration.
    pub fn read(home: &Home) -> Result<Self, Failure> {
        let path = home.folder.join(FOUNDERS);
        let text = fs::read_to_string(&path).map_err(|error| {
            let remedy = format!(
                "{error}. Right would be: `maftia wormhole show` on each host, and all lines to \
                 `maftia wormhole found` for each home folder"
            );
            Failure::file(&path, "cannot be read", &remedy)
        })?;
        let between = format!("\n{ANEW}\n");
        let mut sections = text.split(&between);
        let mut founding = Self::first(&home.public.config, &path, sections.next().unwrap_or(""))?;
        for section in sections {
            let said = founding.testimonies(home, &path, section)?;
            let structure = &home.public.config.structure;
            let left_out = PartySet::all(structure.n()).difference(parties(&said));
            let refounding = Refounding::of(&said, left_out, structure);
            let refounding = refounding.map_err(|_| {
                let problem = "these testimonies make no founding: the file was altered";
                Failure::file(&path, "is refused", &problem)
            })?;
            founding = Self { last: section.into(), ..founding.next(&refounding) };
        }
        Ok(founding)
    }

    /// The first one, by the lines of `maftia wormhole show` in `text`.
    fn first(config: &GroupConfig, path: &Path, text: &str) -> Result<Self, Failure> {
        let (members, generation) = (first_members(config, path, text)?, 0);
        let mut bytes = Vec::new();
        for Member { host, role, guard, life } in members.iter() {
            bytes.extend_from_slice(&[host.0, *role]);
            bytes.extend_from_slice(guard);
            bytes.extend_from_slice(&life.number.to_be_bytes());
            bytes.extend_from_slice(&life.key);
        }
        let digest = Digest::of("maftia founders", &bytes);
        Ok(Self { members, digest, generation, last: String::new() })
    }

    /// The one that follows.
    pub fn next(&self, refounding: &Refounding) -> Self {
        let lives: Vec<Life> = (0..)
            .map(Party::new)
            .zip(self.members.iter())
            .map(|(party, member)| refounding.lives.get(&party).copied().unwrap_or(member.life))
            .collect();
        let members = self.members.with_lives(&lives).expect("as many as before");
        let digest = refounding.founding(self.digest);
        Self { members, digest, generation: self.generation + 1, last: String::new() }
    }

    /// The testimonies in `text`, which `path` says where it comes from: one a server, signed under
    /// this founding, in the order of the servers.
    pub fn testimonies(
        &self,
        home: &Home,
        path: &Path,
        text: &str,
    ) -> Result<Testimonies, Failure> {
        let refused = |problem: String| Failure::file(path, "is refused", &problem);
        let scope = home.group.clone().founded(self.digest).scope();
        let mut said = BTreeMap::new();
        for line in lines(text) {
            let (name, party, bytes) = split(&home.public.config, line).map_err(refused)?;
            let signed = SignedTestimony::<RealSuite>::from_wire(bytes.into());
            let signed = signed.map_err(|_| refused(format!("{name}: this is no testimony")))?;
            let testimony = signed.testimony;
            let holds = signed.verification(party, &self.members, scope).is_some_and(|work| {
                let done = RealSuite::run_many(vec![work], &home.keyring, Default::default());
                done.first().is_some_and(checkpoint::holds)
            });
            if !holds {
                return Err(refused(format!(
                    "{name} did not sign this testimony under the present founding, or its guard \
                     did not certify the life in it"
                )));
            }
            if said.insert(party, testimony).is_some_and(|other| other != testimony) {
                return Err(refused(format!(
                    "{name} gives two testimonies; right would be its last one"
                )));
            }
        }
        Ok(said.into_iter().collect())
    }

    /// Adds a founding with these testimonies to the file: from then on, whatever crashes, it is
    /// the one that counts.
    pub fn add(folder: &Path, text: &str) -> Result<(), Failure> {
        let path = folder.join(FOUNDERS);
        let written = fs::read_to_string(&path).and_then(|before| {
            let said: Vec<&str> = lines(text).collect();
            replace(&path, &format!("{}\n{ANEW}\n{}\n", before.trim_end(), said.join("\n")))
        });
        written.map_err(|error| Failure::file(&path, "cannot be replaced", &error))
    }
}

/// The server of this name.
pub fn party_called(config: &GroupConfig, name: &str) -> Result<Party, Failure> {
    config.party(name).ok_or_else(|| {
        let names: Vec<&str> = config.servers.iter().map(|server| server.name.as_str()).collect();
        Failure::because(format!("no server is called {name:?}; there are {}", names.join(", ")))
    })
}

/// Who speaks in them.
pub fn parties(said: &Testimonies) -> PartySet {
    said.iter().map(|(party, _)| *party).collect()
}

/// The lines in which something is said.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Begins the file with the lines of `maftia wormhole show`, if there is none.
pub fn begin(config: &GroupConfig, folder: &Path, text: &str) -> Result<(), Failure> {
    let path = folder.join(FOUNDERS);
    let said: Vec<&str> = lines(text).collect();
    let text = format!("{HEAD}{}\n", said.join("\n"));
    first_members(config, &path, &text)?;
    let failed = |error| Failure::file(&path, "exists and is not replaced, or not written", &error);
    let mut file = File::create_new(&path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

/// Writes a file beside, durably, and puts it in the place of the one that is there.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let beside = PathBuf::from(format!("{}.new", path.display()));
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// The server that a line names, and the bytes that it says of it.
fn split<'a>(config: &GroupConfig, line: &'a str) -> Result<(&'a str, Party, Vec<u8>), String> {
    let (name, digits) =
        line.split_once(' ').ok_or_else(|| format!("{line:?} is no line of `maftia wormhole`"))?;
    let party = config.party(name).ok_or_else(|| format!("no server is called {name:?}"))?;
    let bytes = const_hex::decode(digits.trim());
    let bytes = bytes.map_err(|_| format!("{name}: these are not hexadecimal digits"))?;
    Ok((name, party, bytes))
}

fn first_members(config: &GroupConfig, path: &Path, text: &str) -> Result<Members, Failure> {
    let refused = |problem: String| Failure::file(path, "is refused", &problem);
    let mut members = vec![None; config.servers.len()];
    for line in lines(text) {
        let (name, party, bytes) = split(config, line).map_err(refused)?;
        let host = Host(party.index() as u8);
        let member = member(&bytes, host, &component(config, party.index())?.guard);
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
fn member(bytes: &[u8], host: Host, guard: &[u8; 32]) -> Result<Member, &'static str> {
    let mut reader = Reader::new(bytes);
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

/// The trusted component of a server.
pub fn component(config: &GroupConfig, index: usize) -> Result<&WormholeConfig, Failure> {
    config.servers[index].component.as_ref().ok_or_else(|| {
        Failure::because(
            "this group has no trusted components: its configuration is \"asynchronous\"",
        )
    })
}
