//! The checks across keys, and what comes out of them.

use super::authority::{self, CaSection};
use super::file::{Faults, GroupFile, Notary, Server, Sharing};
use super::{ConfigError, component, line_of};
use maftia_agreement::hybrid::OrderedBy;
use maftia_base::{
    AdversaryStructure, Attribute, Digest, Formula, FormulaError, PARTIES_MAX, Party, PartySet,
    StructureError,
};
use maftia_node::wormhole::WormholeConfig;
use maftia_services::notary::ObjectIdentifier;
use maftia_ttcb_api::HOSTS_MAX;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// A checked group configuration.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// Name of the group.
    pub name: String,
    /// The servers; a server's position is its party index.
    pub servers: Vec<ServerConfig>,
    /// Which of them may be corrupt at once.
    pub structure: AdversaryStructure,
    /// Are there trusted components?
    pub is_hybrid: bool,
    /// In the hybrid configuration, by what rounds are agreed on.
    pub ordered_by: OrderedBy,
    /// Who can combine shares.
    pub sharing: Formula,
    /// The notary.
    pub notary: NotarySection,
    /// The certification authority, if there is one.
    pub ca: Option<CaSection>,
}

/// The RFC 3161 time-stamping service of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotarySection {
    /// Modulus of the service's RSA key, in bits: 2048, 3072 or 4096.
    pub key_bits: usize,
    /// Time-stamping policy, as an object identifier.
    pub policy: String,
    /// Accuracy stated in tokens, in milliseconds: how far apart honest clocks may be.
    pub accuracy_ms: u64,
    /// Organization in the certificate's subject.
    pub organization: String,
}

/// One server of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Name, unique in the group.
    pub name: String,
    /// Where the other servers reach it.
    pub peers: SocketAddr,
    /// Where clients of the library reach it.
    pub clients: SocketAddr,
    /// Where stock clients reach it by HTTP.
    pub http: SocketAddr,
    /// Where clients of ACME reach it, in a group with a certification authority.
    pub acme: Option<SocketAddr>,
    /// In the hybrid configuration, its trusted component.
    pub component: Option<WormholeConfig>,
}

impl GroupConfig {
    /// The server called `name`.
    pub fn party(&self, name: &str) -> Option<Party> {
        self.servers.iter().position(|server| server.name == name).map(Party::new)
    }

    /// Digest of all that keys are dealt for: everything but addresses and trusted components,
    /// which come and go with their hosts.
    pub fn context(&self) -> Digest {
        let mut text = format!("{:?}\n", self.name);
        for server in &self.servers {
            text += &format!("{:?}\n", server.name);
        }
        let NotarySection { key_bits, policy, accuracy_ms, organization } = &self.notary;
        text += &format!("{:?}\n{:?}\n", self.structure, self.sharing);
        if self.is_hybrid {
            text += "hybrid\n";
        }
        if self.ordered_by == OrderedBy::Service {
            text += "ordered by the service\n";
        }
        text += &format!("{key_bits} {policy:?} {accuracy_ms} {organization:?}\n");
        if let Some(ca) = &self.ca {
            text += &format!("{ca:?}\n");
        }
        Digest::of("maftia group configuration", text.as_bytes())
    }

    /// Names of a set of servers, for people.
    pub fn names(&self, set: PartySet) -> String {
        names(self.servers.iter().map(|server| server.name.as_str()), set)
    }
}

fn names<'a>(all: impl Iterator<Item = &'a str>, set: PartySet) -> String {
    let members: Vec<&str> = all
        .enumerate()
        .filter(|(index, _)| set.contains(Party::new(*index)))
        .map(|(_, name)| name)
        .collect();
    format!("{{{}}}", members.join(", "))
}

/// Where complaints about one file come from.
pub(crate) struct Source<'a> {
    /// The file.
    pub(crate) path: &'a Path,
    /// What is in it.
    pub(crate) text: &'a str,
}

impl Source<'_> {
    /// The complaint about the value that stands there.
    pub(crate) fn refuse<T>(
        &self,
        at: &Spanned<T>,
        key: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ConfigError {
        ConfigError {
            file: PathBuf::from(self.path),
            line: line_of(self.text, at.span().start),
            key: key.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

pub(super) fn check(path: &Path, text: &str, file: GroupFile) -> Result<GroupConfig, ConfigError> {
    let source = Source { path, text };
    let is_hybrid = check_head(&source, &file)?;
    let ordered_by = check_ordering(&source, &file, is_hybrid)?;
    let servers = check_servers(&source, &file, is_hybrid)?;
    let attributes = attributes(&source, &file.server)?;
    let structure = structure(&source, &file, &attributes, is_hybrid)?;
    let sharing = sharing(&source, &file, &structure, &attributes)?;
    let notary = check_notary(&source, &file.notary)?;
    let ca = file.ca.as_ref().map(|ca| authority::check(&source, ca)).transpose()?;
    let name = file.name.into_inner();
    Ok(GroupConfig { name, servers, structure, is_hybrid, ordered_by, sharing, notary, ca })
}

/// Also says whether there are trusted components.
fn check_head(source: &Source<'_>, file: &GroupFile) -> Result<bool, ConfigError> {
    if *file.format.get_ref() != 1 {
        let problem = format!("format {} is not known to this program", file.format.get_ref());
        return Err(source.refuse(&file.format, "format", problem, "format = 1"));
    }
    if !is_name(file.name.get_ref()) {
        let problem = format!("{:?} is not a name", file.name.get_ref());
        return Err(source.refuse(&file.name, "name", problem, NAME_RULE));
    }
    match file.configuration.get_ref().as_str() {
        "asynchronous" => Ok(false),
        "hybrid" => Ok(true),
        other => Err(source.refuse(
            &file.configuration,
            "configuration",
            format!("{other:?} is not a configuration"),
            "configuration = \"asynchronous\", or \"hybrid\" with a trusted component on each host",
        )),
    }
}

/// By what the hybrid configuration orders: by identifiers, unless it is said.
fn check_ordering(
    source: &Source<'_>,
    file: &GroupFile,
    is_hybrid: bool,
) -> Result<OrderedBy, ConfigError> {
    const REMEDY: &str = "ordering = \"identifiers\", or \"service\"";
    let Some(ordering) = &file.ordering else { return Ok(OrderedBy::default()) };
    if !is_hybrid {
        let problem = "the asynchronous configuration orders by chance alone";
        return Err(source.refuse(ordering, "ordering", problem, "no `ordering`"));
    }
    match ordering.get_ref().as_str() {
        "identifiers" => Ok(OrderedBy::Identifiers),
        "service" => Ok(OrderedBy::Service),
        other => {
            let problem = format!("{other:?} is nothing to order by");
            Err(source.refuse(ordering, "ordering", problem, REMEDY))
        }
    }
}

const NAME_RULE: &str = "1 to 64 letters, digits, '-', '_' or '.'";

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && !name.starts_with('.')
}

fn check_servers(
    source: &Source<'_>,
    file: &GroupFile,
    is_hybrid: bool,
) -> Result<Vec<ServerConfig>, ConfigError> {
    let servers = &file.server;
    let most = if is_hybrid { HOSTS_MAX } else { PARTIES_MAX };
    if servers.len() > most {
        let problem = format!("there are {} servers", servers.len());
        let remedy = format!("at most {most} servers");
        return Err(source.refuse(&servers[most], "server", problem, remedy));
    }
    let mut names = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    let mut checked = Vec::new();
    for entry in servers {
        let server = entry.get_ref();
        let name = server.name.get_ref();
        if !is_name(name) {
            let problem = format!("{name:?} is not a name");
            return Err(source.refuse(&server.name, "server.name", problem, NAME_RULE));
        }
        if names.insert(name.clone(), ()).is_some() {
            let problem = format!("two servers are called {name:?}");
            let remedy = "a name of its own for each server";
            return Err(source.refuse(&server.name, "server.name", problem, remedy));
        }
        authority::check_address(source, entry, file.ca.is_some())?;
        let listens =
            [("peers", &server.peers), ("clients", &server.clients), ("http", &server.http)];
        let acme = server.acme.as_ref().map(|acme| ("acme", acme));
        for (key, address) in listens.into_iter().chain(acme) {
            check_address(source, &mut addresses, name, key, address)?;
        }
        checked.push(ServerConfig {
            name: name.clone(),
            peers: *server.peers.get_ref(),
            clients: *server.clients.get_ref(),
            http: *server.http.get_ref(),
            acme: server.acme.as_ref().map(|acme| *acme.get_ref()),
            component: component::check(source, entry, is_hybrid)?,
        });
    }
    Ok(checked)
}

fn check_address(
    source: &Source<'_>,
    seen: &mut BTreeMap<SocketAddr, String>,
    server: &str,
    key: &str,
    address: &Spanned<SocketAddr>,
) -> Result<(), ConfigError> {
    let key = format!("server.{key}");
    let value = *address.get_ref();
    if value.port() == 0 || value.ip().is_unspecified() || value.ip().is_multicast() {
        let problem = format!("{value} cannot be reached by others");
        let remedy = "an address and port of this server, for example \"192.0.2.7:7100\"";
        return Err(source.refuse(address, key, problem, remedy));
    }
    let here = format!("{server}, {key}");
    if let Some(other) = seen.insert(value, here) {
        let problem = format!("{value} is already taken by {other}");
        return Err(source.refuse(address, key, problem, "an address and port of its own"));
    }
    Ok(())
}

/// The attributes that servers carry, and `server`, in which each is a class of its own.
fn attributes(
    source: &Source<'_>,
    servers: &[Spanned<Server>],
) -> Result<BTreeMap<String, Attribute>, ConfigError> {
    let mut classes: BTreeMap<String, BTreeMap<String, PartySet>> = BTreeMap::new();
    for (index, server) in servers.iter().enumerate() {
        let server = server.get_ref();
        for (attribute, value) in &server.attributes {
            if attribute == "server" {
                let key = "server.attributes.server";
                let problem = "the attribute `server` exists for every server by itself";
                return Err(source.refuse(value, key, problem, "another name"));
            }
            let members = classes.entry(attribute.clone()).or_default();
            members.entry(value.get_ref().clone()).or_default().insert(Party::new(index));
        }
        let alone = [Party::new(index)].into_iter().collect();
        classes.entry("server".into()).or_default().insert(server.name.get_ref().clone(), alone);
    }
    Ok(classes
        .into_iter()
        .map(|(name, classes)| {
            let attribute =
                Attribute { name: name.clone(), classes: classes.into_iter().collect() };
            (name, attribute)
        })
        .collect())
}

fn structure(
    source: &Source<'_>,
    file: &GroupFile,
    attributes: &BTreeMap<String, Attribute>,
    is_hybrid: bool,
) -> Result<AdversaryStructure, ConfigError> {
    let n = file.server.len();
    let Faults { threshold, alternatives } = file.faults.get_ref();
    match (threshold, alternatives) {
        (Some(f), None) => {
            let refuse = |problem: String| {
                let factor = if is_hybrid { 2 } else { 3 };
                let most = n.saturating_sub(1) / factor;
                let needed = f.get_ref().saturating_mul(factor).saturating_add(1);
                let remedy = format!(
                    "threshold = {most} with these {n} servers, or {needed} servers for \
                     threshold = {}",
                    f.get_ref()
                );
                source.refuse(f, "faults.threshold", problem, remedy)
            };
            let structure = AdversaryStructure::threshold(n, *f.get_ref())
                .map_err(|_| refuse(format!("{} of {n} servers", f.get_ref())))?;
            let checked = check_bound(&structure, is_hybrid);
            checked.map_err(|error| refuse(explain(file, &error)))?;
            Ok(structure)
        }
        (None, Some(alternatives)) => general(source, file, alternatives, attributes, is_hybrid),
        _ => Err(source.refuse(
            &file.faults,
            "faults",
            "it needs one of `threshold` and `alternatives`, and not both",
            "threshold = 1, or alternatives = [{ site = 1, os = 1 }]",
        )),
    }
}

fn general(
    source: &Source<'_>,
    file: &GroupFile,
    alternatives: &[Spanned<BTreeMap<String, usize>>],
    attributes: &BTreeMap<String, Attribute>,
    is_hybrid: bool,
) -> Result<AdversaryStructure, ConfigError> {
    const KEY: &str = "faults.alternatives";
    let n = file.server.len();
    if alternatives.is_empty() {
        let problem = "`alternatives` is empty: it would say that no server can be taken over";
        return Err(source.refuse(&file.faults, KEY, problem, "alternatives = [{ site = 1 }]"));
    }
    let mut sets = Vec::new();
    for alternative in alternatives {
        let refuse =
            |problem: String, remedy: String| source.refuse(alternative, KEY, problem, remedy);
        if alternative.get_ref().is_empty() {
            let problem = "an alternative without attributes: no server would be taken over";
            return Err(refuse(problem.into(), "{ site = 1 }".into()));
        }
        let mut together = Vec::new();
        for (name, count) in alternative.get_ref() {
            let Some(attribute) = attributes.get(name) else {
                let known: Vec<&str> = attributes.keys().map(String::as_str).collect();
                return Err(refuse(
                    format!("no server has an attribute {name:?}"),
                    format!("one of: {}", known.join(", ")),
                ));
            };
            all_carry(source, file, attribute)?;
            if *count == 0 || *count > attribute.classes.len() {
                let classes = attribute.classes.len();
                return Err(refuse(
                    format!("{count} of the {classes} values of {name:?}"),
                    format!("a number from 1 to {classes}"),
                ));
            }
            together.push((attribute, *count));
        }
        let structure = AdversaryStructure::from_attributes(n, &together)
            .map_err(|error| refuse(error.to_string(), "fewer combinations".into()))?;
        sets.extend(structure.maximal_sets());
    }
    let refuse = |error: StructureError| {
        let at = alternatives.first().map_or(0, |first| line_of(source.text, first.span().start));
        ConfigError {
            file: source.path.to_owned(),
            line: at,
            key: KEY.into(),
            problem: explain(file, &error),
            remedy: "fewer servers in each alternative, or more servers".into(),
        }
    };
    let structure = AdversaryStructure::general(n, &sets).map_err(refuse)?;
    check_bound(&structure, is_hybrid).map_err(refuse)?;
    Ok(structure)
}

/// Are there enough servers for what may be corrupt? Trusted components do with fewer.
fn check_bound(structure: &AdversaryStructure, is_hybrid: bool) -> Result<(), StructureError> {
    if is_hybrid { structure.check_q2() } else { structure.check_q3() }
}

/// A server without a value of the attribute would be in no set that may be corrupt: it would be
/// trusted blindly, and could use every key alone.
fn all_carry(
    source: &Source<'_>,
    file: &GroupFile,
    attribute: &Attribute,
) -> Result<(), ConfigError> {
    let Attribute { name, classes } = attribute;
    for (index, server) in file.server.iter().enumerate() {
        if !classes.iter().any(|(_, members)| members.contains(Party::new(index))) {
            let problem = format!(
                "{} has no attribute {name:?}, which [faults] or [[sharing]] counts",
                server.get_ref().name.get_ref()
            );
            let remedy = format!("attributes = {{ {name} = \"...\" }} on every server");
            return Err(source.refuse(server, "server.attributes", problem, remedy));
        }
    }
    Ok(())
}

/// The error with the servers' names in place of their numbers.
fn explain(file: &GroupFile, error: &StructureError) -> String {
    let name = |set: PartySet| {
        names(file.server.iter().map(|server| server.get_ref().name.get_ref().as_str()), set)
    };
    match error {
        StructureError::Q3(a, b, c) => format!(
            "the sets {}, {} and {} may each be corrupt, and together they are the whole group \
             (Q3)",
            name(*a),
            name(*b),
            name(*c)
        ),
        StructureError::Q2(a, b) => format!(
            "the sets {} and {} may each be corrupt, and together they are the whole group (Q2)",
            name(*a),
            name(*b)
        ),
        other => other.to_string(),
    }
}

fn sharing(
    source: &Source<'_>,
    file: &GroupFile,
    structure: &AdversaryStructure,
    attributes: &BTreeMap<String, Attribute>,
) -> Result<Formula, ConfigError> {
    let Some(first) = file.sharing.first() else {
        let exact = Formula::exact(structure);
        return exact.check(structure).map(|()| exact).map_err(|error| {
            let remedy = "a [[sharing]] rule with fewer shares";
            source.refuse(&file.faults, "faults", error.to_string(), remedy)
        });
    };
    let mut conditions = Vec::new();
    for entry in &file.sharing {
        conditions.push(condition(source, file, entry.get_ref(), attributes)?);
    }
    let formula = Formula::Gate { threshold: conditions.len(), children: conditions };
    let named = |set: PartySet| {
        names(file.server.iter().map(|server| server.get_ref().name.get_ref().as_str()), set)
    };
    formula.check(structure).map_err(|error| match error {
        FormulaError::CorruptQualified(set) => source.refuse(
            first,
            "sharing",
            format!("{} may all be corrupt, and could combine every key", named(set)),
            "more classes or members, or no [[sharing]] at all for the exact rule",
        ),
        FormulaError::HonestUnqualified(set) => source.refuse(
            first,
            "sharing",
            format!("{} may all be corrupt, and the others could then not combine", named(set)),
            "fewer classes or members, or no [[sharing]] at all for the exact rule",
        ),
        other => source.refuse(first, "sharing", other.to_string(), "a smaller rule"),
    })?;
    Ok(formula)
}

fn condition(
    source: &Source<'_>,
    file: &GroupFile,
    rule: &Sharing,
    attributes: &BTreeMap<String, Attribute>,
) -> Result<Formula, ConfigError> {
    let name = rule.attribute.get_ref();
    let Some(attribute) = attributes.get(name) else {
        let problem = format!("no server has an attribute {name:?}");
        let remedy = "an attribute that the servers carry";
        return Err(source.refuse(&rule.attribute, "sharing.attribute", problem, remedy));
    };
    all_carry(source, file, attribute)?;
    let classes = attribute.classes.len();
    if !(1..=classes).contains(rule.classes.get_ref()) {
        let problem = format!("{} of the {classes} values", rule.classes.get_ref());
        let remedy = format!("a number from 1 to {classes}");
        return Err(source.refuse(&rule.classes, "sharing.classes", problem, remedy));
    }
    let smallest = attribute.classes.iter().map(|(_, set)| set.len()).min().unwrap_or(0);
    if !(1..=smallest).contains(rule.members.get_ref()) {
        let problem = format!("{} of {smallest} members", rule.members.get_ref());
        let remedy = format!("a number from 1 to {smallest}");
        return Err(source.refuse(&rule.members, "sharing.members", problem, remedy));
    }
    let children = attribute
        .classes
        .iter()
        .map(|(_, members)| Formula::Gate {
            threshold: *rule.members.get_ref(),
            children: members.iter().map(Formula::Leaf).collect(),
        })
        .collect();
    Ok(Formula::Gate { threshold: *rule.classes.get_ref(), children })
}

fn check_notary(source: &Source<'_>, section: &Notary) -> Result<NotarySection, ConfigError> {
    let notary = NotarySection {
        key_bits: *section.key_bits.get_ref(),
        policy: section.policy.get_ref().clone(),
        accuracy_ms: *section.accuracy_ms.get_ref(),
        organization: section.organization.get_ref().clone(),
    };
    if ![2048, 3072, 4096].contains(&notary.key_bits) {
        let problem = format!("{} bits", notary.key_bits);
        let remedy = "2048, 3072 or 4096";
        return Err(source.refuse(&section.key_bits, "notary.key_bits", problem, remedy));
    }
    if object_identifier(&notary.policy).is_none() {
        let problem = format!("{:?} is not an object identifier that we can use", notary.policy);
        let remedy = "numbers below 2^28 with dots, for example \"1.3.6.1.4.1.99999.1\"";
        return Err(source.refuse(&section.policy, "notary.policy", problem, remedy));
    }
    if !(1..=86_400_000).contains(&notary.accuracy_ms) {
        let problem = format!("{} milliseconds", notary.accuracy_ms);
        let remedy = "1 to 86400000: how far apart honest clocks may be";
        return Err(source.refuse(&section.accuracy_ms, "notary.accuracy_ms", problem, remedy));
    }
    let characters = notary.organization.chars().count();
    if !(1..=64).contains(&characters) || notary.organization.chars().any(char::is_control) {
        let problem = format!("{:?} has {characters} characters", notary.organization);
        let (key, remedy) = ("notary.organization", "1 to 64 characters, on one line");
        return Err(source.refuse(&section.organization, key, problem, remedy));
    }
    Ok(notary)
}

/// The library that encodes object identifiers takes no number of 2^28 or more, and its arithmetic
/// must not be given one.
pub fn object_identifier(text: &str) -> Option<ObjectIdentifier> {
    let small = |arc: &str| arc.len() <= 9 && arc.parse::<u32>().is_ok_and(|arc| arc < 1 << 28);
    text.split('.').all(small).then(|| ObjectIdentifier::new(text).ok()).flatten()
}
