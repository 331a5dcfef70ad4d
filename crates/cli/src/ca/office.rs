//! What auditors and officers do: `maftia ca log`, `inspect`, `pending`, `approve` and so on.
//!
//! Everything is asked of the group, in its order: what comes back an honest server has said, too.

use super::proposal::write_new;
use super::{authority, show};
use crate::Failure;
use crate::args::{OfficerKey, Officers, Page, Query};
use crate::home::{self, PublicHome};
use base64ct::{Base64UrlUnpadded, Encoding};
use maftia_activity::client::ClientReply;
use maftia_base::wire::Wire;
use maftia_base::{Digest, Party};
use maftia_crypto::ClientSecret;
use maftia_node::caller::{Caller, CallerSettings};
use maftia_services::CA;
use maftia_services::ca::{
    CaAnswer, CaQuery, CaRefusal, CaRequest, LogPage, OfficerCommand, policy_digest,
};
use maftia_services::x509::Serial;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long a server may take to answer before another one is asked.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How long the group may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Prints the log, checked against its own digests.
pub(super) fn log(args: &Page) -> Result<(), Failure> {
    let public = public_of(&args.query)?;
    let asking = Asking::new(&public, nobody())?;
    let (mut from, mut before) = (args.from, None);
    loop {
        let page = match asking.ask(&CaRequest::Query(CaQuery::Log { from }))? {
            CaAnswer::Log(page) => page,
            other => return Err(unexpected(&other)),
        };
        before = Some(check_page(&page, before)?);
        for entry in page.entries.iter() {
            let line = match args.query.json {
                true => show::entry_json(&public.config, entry).to_string(),
                false => show::entry(&public.config, entry),
            };
            println!("{line}");
        }
        match page.entries.last() {
            Some(last) if last.number + 1 < page.length => from = last.number + 1,
            _ => {
                eprintln!("{} entries, digest {}", page.length, page.head);
                return Ok(());
            }
        }
    }
}

/// Entries follow each other, and what came before them; answers the digest after the last.
fn check_page(page: &LogPage, before: Option<Digest>) -> Result<Digest, Failure> {
    let broken = || Failure::because("the log does not fit together: a server altered it");
    if before.is_some_and(|before| before != page.before) {
        return Err(broken());
    }
    let after = page.entries.iter().fold(page.before, |before, entry| entry.digest(before));
    let is_last = page.entries.last().is_none_or(|last| last.number + 1 == page.length);
    if is_last && after != page.head { Err(broken()) } else { Ok(after) }
}

/// Prints everything about a certificate.
pub(super) fn inspect(query: &Query, serial: &str) -> Result<(), Failure> {
    let serial = parse_serial(serial)?;
    let public = public_of(query)?;
    let asking = Asking::new(&public, nobody())?;
    match asking.ask(&CaRequest::Query(CaQuery::Inspect { serial }))? {
        CaAnswer::Certificate(view) if query.json => {
            println!("{}", show::certificate_json(&public.config, serial, &view));
            Ok(())
        }
        CaAnswer::Certificate(view) => {
            print!("{}", show::certificate(&public.config, serial, &view)?);
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}

/// Prints which policy the group goes by.
pub(super) fn policy(query: &Query) -> Result<(), Failure> {
    let public = public_of(query)?;
    let asking = Asking::new(&public, nobody())?;
    let own = authority::wish(&query.home, &public).ok();
    let own = own.map(|policy| policy_digest(policy.encoded()));
    match asking.ask(&CaRequest::Query(CaQuery::Policy))? {
        CaAnswer::Policy(view) if query.json => {
            println!("{}", show::policy_json(&public.config, &view, own));
            Ok(())
        }
        CaAnswer::Policy(view) => {
            print!("{}", show::policy(&public.config, &view, own));
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}

/// Prints the orders that wait for officers.
pub(super) fn pending(args: &Page) -> Result<(), Failure> {
    let public = public_of(&args.query)?;
    let asking = Asking::new(&public, nobody())?;
    let mut from = args.from;
    loop {
        let orders = match asking.ask(&CaRequest::Query(CaQuery::Pending { from }))? {
            CaAnswer::Pending(orders) => orders,
            other => return Err(unexpected(&other)),
        };
        for order in orders.iter() {
            let line = match args.query.json {
                true => show::pending_json(order).to_string(),
                false => show::pending(order),
            };
            println!("{line}");
        }
        match orders.last() {
            Some(last) => from = last.order + 1,
            None => return Ok(()),
        }
    }
}

/// Has an officer say something.
pub(super) fn say(officer: &Officers, command: OfficerCommand) -> Result<(), Failure> {
    let seed = Zeroizing::new(home::read_secret(&officer.key)?);
    let text = std::str::from_utf8(&seed).unwrap_or_default();
    let seed = const_hex::decode_to_array(text.trim()).map(Zeroizing::new).map_err(|_| {
        let remedy = "it is no key. Right would be: a file that `maftia ca officer-key` wrote";
        Failure::file(&officer.key, "is refused", &remedy)
    })?;
    let public = PublicHome::load(&officer.home)?;
    let asking = Asking::new(&public, ClientSecret::from_seed(&seed))?;
    match asking.ask(&CaRequest::Officer(command))? {
        CaAnswer::Noted(standing) => {
            let (said, needed) = (standing.said, standing.needed);
            let done = if standing.is_done { "; it is done" } else { "" };
            println!("noted: {said} of {needed} officers that are needed have said so{done}");
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}

/// A certificate's number, as it is printed.
pub(super) fn parse_serial(text: &str) -> Result<Serial, Failure> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    Serial::from_hex(&digits.to_lowercase()).ok_or_else(|| {
        Failure::because(format!(
            "{text:?} is not the serial number of a certificate of this authority. Right would \
             be: 32 hexadecimal digits, as `openssl x509 -noout -serial` prints them"
        ))
    })
}

/// Makes an officer's key.
pub(super) fn officer_key(args: &OfficerKey) -> Result<(), Failure> {
    let seed: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
    let text = Zeroizing::new(const_hex::encode(*seed) + "\n");
    write_new(&args.out, true, text.as_bytes())?;
    println!("{}", const_hex::encode(ClientSecret::from_seed(&seed).key().0));
    eprintln!("{} is the officer's secret; the line above goes into ca.toml", args.out.display());
    Ok(())
}

/// Makes the secret of an external account.
pub(super) fn account_key() {
    let key: [u8; 32] = rand::random();
    println!("{}", Base64UrlUnpadded::encode_string(&key));
}

/// Whoever may ask without being somebody.
fn nobody() -> ClientSecret {
    ClientSecret::from_seed(&rand::random())
}

fn public_of(query: &Query) -> Result<PublicHome, Failure> {
    PublicHome::load(&query.home)
}

/// Asks the group, one question after the other.
struct Asking {
    runtime: tokio::runtime::Runtime,
    caller: Caller,
}

impl Asking {
    fn new(public: &PublicHome, secret: ClientSecret) -> Result<Self, Failure> {
        if public.config.ca.is_none() {
            return Err(Failure::because("this group has no authority: no [ca] in group.toml"));
        }
        let settings = CallerSettings {
            keys: public.keys.clone(),
            structure: public.config.structure.clone(),
            servers: public.config.servers.iter().map(|server| server.clients).collect(),
            service: CA,
            secret,
            nonce: rand::random(),
            home: Party::new(0),
            retry_after: RETRY_AFTER,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::because(error.to_string()))?;
        let caller = runtime.block_on(async { Caller::start(settings) });
        let caller = caller.map_err(|error| Failure::because(error.to_string()))?;
        Ok(Self { runtime, caller })
    }

    fn ask(&self, request: &CaRequest) -> Result<CaAnswer, Failure> {
        let call = self.caller.call(request.to_wire());
        let answer = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, call).await });
        let answer = answer.map_err(|_| {
            Failure::because(format!("the group has not answered for {} s", PATIENCE.as_secs()))
        })?;
        match answer.map_err(|error| Failure::because(error.to_string()))? {
            ClientReply::Plain(reply) => CaAnswer::from_wire(reply)
                .map_err(|error| Failure::because(format!("an answer of the group: {error}"))),
            other => Err(Failure::because(format!("the group refuses: {other:?}"))),
        }
    }
}

fn unexpected(answer: &CaAnswer) -> Failure {
    Failure::because(match answer {
        CaAnswer::Refused(CaRefusal::NotAnOfficer) => {
            "this key is none of the officers' in ca.toml".into()
        }
        CaAnswer::Refused(CaRefusal::Unknown) => {
            "there is no such certificate, account or order, or none of which this can be said"
                .into()
        }
        CaAnswer::Refused(CaRefusal::Repeated) => "this officer has had a say on it".into(),
        CaAnswer::Refused(CaRefusal::Full) => {
            "too many matters wait for a decision; decide on others first".into()
        }
        CaAnswer::Refused(CaRefusal::NotYet) => {
            "the servers have not agreed on a time yet; ask again".into()
        }
        other => format!("the group answers {other:?}"),
    })
}
