//! `maftia wormhole testify` and `refound`: the ceremony after which a group goes on of which more
//! trusted components have begun another life than may be faulty.
//!
//! Every server that has stopped says where its journal ends, and with which life of its component
//! it would begin; every server is given what all have said, checks it by itself, and writes its
//! next journal from what its own last one holds. Nobody fetches a state from anybody, and no
//! server takes another's word for what was ordered. [`maftia_activity::Testimony`] says why
//! nothing acknowledged is lost.

use crate::Failure;
use crate::args::Refound;
use crate::founding::{self, Founding, Testimonies};
use crate::home::Home;
use crate::server::Setting;
use crate::wormhole::{present_life, read_all};
use maftia_activity::{Disagreement, Held, Nonce, Refounding, Replica, SignedTestimony, Testimony};
use maftia_base::wire::Wire;
use maftia_base::{Digest, Party, PartySet};
use maftia_crypto::{Attested, Done, RealSuite, Suite, Work};
use maftia_node::lost::Lost;
use maftia_node::production;
use maftia_node::server::ServerConfig;
use maftia_services::Service;
use std::path::Path;

type Stopped = Replica<RealSuite, Service>;

/// Prints what this server, which has stopped, testifies.
pub fn testify(folder: &Path, passphrase_file: Option<&Path>) -> Result<(), Failure> {
    let setting = Setting::load(folder, passphrase_file)?;
    let held = replayed(&setting)?.held().ok_or_else(|| {
        Failure::because(
            "this server had lost its journal and is not back, or has stopped for good: it can \
             speak for nothing. Right would be: the testimonies of the others, and this one left \
             out by name",
        )
    })?;
    let Setting { home, lock: _lock, .. } = setting;
    let me = home.group.me();
    let life = Attested(present_life(&home.public.config, me.index())?.boot);
    let testimony = Testimony { held, life };
    let work = vec![Work::Sign(testimony.statement(home.group.scope()))];
    let done = RealSuite::run_many(work, &home.keyring, Default::default());
    let Some(Done::Signed(signed)) = done.into_iter().next() else {
        unreachable!("a signature is what was asked for")
    };
    let signed = SignedTestimony::<RealSuite> { testimony, signature: signed.signature };
    eprintln!("{} holds {}", home.name(), describe(&held));
    println!("{} {}", home.name(), const_hex::encode(signed.to_wire()));
    Ok(())
}

/// Has this server begin anew with what all have testified.
pub fn run(args: &Refound) -> Result<(), Failure> {
    let setting = Setting::load(&args.home, args.passphrase_file.as_deref())?;
    let text = read_all(&args.testimonies)?;
    let home = &setting.home;
    let founding = Founding::read(home)?;
    if founding::lines(&founding.last).eq(founding::lines(&text)) {
        println!("{} has begun anew with these testimonies already.", home.name());
        return Ok(());
    }
    let config = &home.public.config;
    let said = founding.testimonies(home, args.testimonies.first().unwrap_or(&args.home), &text)?;
    let left_out: Result<PartySet, Failure> =
        args.without.iter().map(|name| founding::party_called(config, name)).collect();
    let left_out = left_out?;
    let refounding = Refounding::of(&said, left_out, &config.structure)
        .map_err(|why| Failure::because(explain(home, &said, why)))?;
    let next = founding.next(&refounding);
    let group = home.group.clone().founded(next.digest);
    let config = ServerConfig { generation: next.generation, ..setting.config.clone() };
    let records = if left_out.contains(home.group.me()) {
        check_left_out(&setting, &refounding)?;
        // Its next journal begins empty, and with the question to be admitted.
        let declared = Lost::at(&config.lost).declare(Nonce(Digest(rand::random())));
        declared.map_err(|error| Failure::file(&config.lost, "cannot be written", &error))?;
        Vec::new()
    } else {
        let stopped = check_own(&setting, &said, &refounding)?;
        let records = stopped.refounded(&refounding.lives, home.group.parties());
        records.ok_or_else(|| Failure::because(CLOSED_LIFE))?
    };
    production::begin_log(&config, &group, &records)
        .map_err(|error| Failure::because(error.to_string()))?;
    Founding::add(&home.folder, &text)?;
    println!(
        "{} begins anew with {}. Start it when all have been told the same.",
        home.name(),
        describe(&refounding.held)
    );
    Ok(())
}

const CLOSED_LIFE: &str = "\
    a life in these testimonies was closed before, or its number is not above that of the life \
    that the group knows: that host's key guard was rolled back. Right would be: that server left \
    out by name, and its guard made to count on";

fn replayed(setting: &Setting) -> Result<Stopped, Failure> {
    let Setting { home, config, members, offer, .. } = setting;
    let members = members.clone().ok_or_else(|| {
        Failure::because("this group has no trusted components, and goes on by itself")
    })?;
    production::replayed(config, &home.group, members, offer)
        .map_err(|error| Failure::because(error.to_string()))
}

/// This server's own journal must show what it is said to hold. (No one is talked back.)
fn check_own(
    setting: &Setting,
    said: &Testimonies,
    refounding: &Refounding,
) -> Result<Stopped, Failure> {
    let (home, stopped) = (&setting.home, replayed(setting)?);
    let held = stopped.held();
    if held != Some(refounding.held) {
        return Err(Failure::because(format!(
            "this server's journal holds {}, and the testimonies say {}. It begins anew from \
             nothing but its own journal. Right would be: testimonies of the servers as they are \
             now",
            held.map_or("nothing that counts".into(), |held| describe(&held)),
            describe(&refounding.held)
        )));
    }
    let members = stopped.members().expect("there are trusted components");
    match refounding.is_needless(members, &home.public.config.structure) {
        Some(why) => Err(Failure::because(explain(home, said, why))),
        None => Ok(stopped),
    }
}

/// Who is left out comes back as one that lost its journal: it must hold nothing more.
fn check_left_out(setting: &Setting, refounding: &Refounding) -> Result<(), Failure> {
    let held = replayed(setting).ok().and_then(|stopped| stopped.held());
    match held.filter(|held| held.is_after(&refounding.held)) {
        None => Ok(()),
        Some(held) => Err(Failure::because(format!(
            "this server's journal holds {}, which is more than the testimonies say ({}): without \
             it that is lost. Right would be: its testimony, too",
            describe(&held),
            describe(&refounding.held)
        ))),
    }
}

fn describe(held: &Held) -> String {
    format!(
        "{} requests, up to round {} of epoch {}, in state {:.16}",
        held.position,
        held.round.0,
        held.epoch.0,
        held.digest.to_string()
    )
}

fn explain(home: &Home, said: &Testimonies, why: Disagreement) -> String {
    let names = |set| home.public.config.names(set);
    let holds = |party: Party| {
        let held = said.iter().find(|(speaker, _)| *speaker == party).map(|(_, it)| it.held);
        held.map_or_else(String::new, |held| describe(&held))
    };
    let one = |party: Party| names(PartySet::from_iter([party]));
    match why {
        Disagreement::Missing(set) if home.public.config.structure.may_be_corrupt(set) => format!(
            "{} did not testify. Right would be: the testimonies of all. If the journal of one is \
             lost for good, or its word is not to be believed, leave it out by name (--without): \
             it then counts among those that may be faulty",
            names(set)
        ),
        Disagreement::Missing(set) => format!(
            "{} did not testify: too few are left. What they alone were told by the group would be \
             lost. Right would be: the testimonies of a quorum at least",
            names(set)
        ),
        Disagreement::NotMissing(set) => {
            format!("{} testify, and are left out. Right would be: one of the two", names(set))
        }
        Disagreement::Behind(set) => {
            let each: Vec<String> = said
                .iter()
                .map(|(party, it)| format!("{} {}", one(*party), describe(&it.held)))
                .collect();
            format!(
                "{} hold less than others: {}. Right would be: start all servers until \
                 `maftia status` shows the same position everywhere, stop them, and let them \
                 testify again. If one claims to hold what it does not give to the others, it is \
                 faulty: leave it out by name (--without)",
                names(set),
                each.join("; ")
            )
        }
        Disagreement::Differ(one_party, other) => format!(
            "{} holds {}, and {} {}: one of them is faulty. Right would be: the faulty one left \
             out by name (--without)",
            one(one_party),
            holds(one_party),
            one(other),
            holds(other)
        ),
        Disagreement::CanGoOn(set) => format!(
            "the trusted components of {} may live as the group knows them, and are enough to go \
             on: the group admits the others by itself. Right would be: start the servers",
            names(set)
        ),
    }
}
