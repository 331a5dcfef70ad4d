//! A new configuration file, with what an operator needs to know beside each key.

use maftia_agreement::hybrid::OrderedBy;
use maftia_node::wormhole::WormholeConfig;
use maftia_services::ca::host_of;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// What `maftia init` was asked for.
#[derive(Clone, Debug)]
pub struct NewGroup {
    /// Name of the group.
    pub name: String,
    /// Number of servers.
    pub servers: usize,
    /// Address of all servers, to be edited where they are on different hosts.
    pub host: IpAddr,
    /// First of the ports; each server takes three.
    pub base_port: u16,
    /// Modulus of the notary's key, in bits.
    pub key_bits: usize,
    /// In the hybrid configuration, the trusted component of each server.
    pub components: Vec<WormholeConfig>,
    /// In the hybrid configuration, by what rounds are agreed on.
    pub ordered_by: OrderedBy,
    /// The certification authority, if there is one.
    pub authority: Option<NewAuthority>,
}

/// The certification authority that `maftia init` was asked for.
#[derive(Clone, Debug)]
pub struct NewAuthority {
    /// Where clients find it.
    pub url: String,
    /// The first of the servers' ports for ACME; each server takes one.
    pub base_port: u16,
    /// All that may ever be issued for.
    pub permitted: Vec<String>,
    /// The text of `ca.toml`.
    pub rules: String,
}

const ASYNCHRONOUS: &str = "\
# No timing assumption: an attacker who delays messages only delays. (\"hybrid\" does with 2f+1
# servers in place of 3f+1, and has a trusted component, maftia-ttcb, on each host.)
configuration = \"asynchronous\"
";

const HYBRID: &str = "\
# A trusted component, maftia-ttcb, on each host, which an intruder of the server cannot change; by
# its `guard`, a public key, the others know it. Host i of the components is the i-th server here,
# and the server has role 0 there. (\"asynchronous\" does without, and needs 3f+1 servers.)
configuration = \"hybrid\"
# By what the servers agree on an order: \"identifiers\" of the components (two message delays), or
# the ordering \"service\" of the components (fewer messages, more work for the components).
";

fn configuration(new: &NewGroup) -> String {
    match (new.components.is_empty(), new.ordered_by) {
        (true, _) => ASYNCHRONOUS.to_owned(),
        (false, OrderedBy::Identifiers) => format!("{HYBRID}ordering = \"identifiers\"\n"),
        (false, OrderedBy::Service) => format!("{HYBRID}ordering = \"service\"\n"),
    }
}

/// The text of `group.toml` for `new`.
pub fn render(new: &NewGroup) -> String {
    let mut text = render_group(new);
    for index in 0..new.servers {
        text += &render_server(new, index);
    }
    let _ = write!(
        text,
        "
# The time-stamping service (RFC 3161).
[notary]
key_bits = {}
policy = \"2.25.83746182.1\"
accuracy_ms = 1000  # how far apart honest clocks may be
organization = \"{}\"
",
        new.key_bits, new.name,
    );
    if let Some(authority) = &new.authority {
        text += &render_authority(new, authority);
    }
    text
}

fn render_group(new: &NewGroup) -> String {
    let n = new.servers;
    let f = n.saturating_sub(1) / if new.components.is_empty() { 3 } else { 2 };
    let configuration = configuration(new);
    format!(
        "\
# A maftia group. This file is the same on every server and holds no secrets.
# Check a change with `maftia check`; hand out keys with `maftia deal`.

format = 1
name = \"{name}\"

{configuration}
# Which servers may be taken over at the same time. With {n} servers, any {f}.
# By attributes instead, for example all servers of any one site together with all of any one
# operating system: alternatives = [{{ site = 1, os = 1 }}]
[faults]
threshold = {f}
",
        name = new.name,
    )
}

fn render_server(new: &NewGroup, index: usize) -> String {
    let address = |offset: usize| {
        let port = usize::from(new.base_port) + 3 * index + offset;
        SocketAddr::new(new.host, u16::try_from(port).unwrap_or(u16::MAX))
    };
    let acme = acme_line(new, index);
    let mut text = format!(
        "
[[server]]
name = \"server-{index}\"
peers = \"{}\"    # the other servers
clients = \"{}\"  # the client library
http = \"{}\"     # openssl ts, curl, Prometheus
{acme}# attributes = {{ site = \"zurich\", os = \"debian\" }}
",
        address(0),
        address(1),
        address(2),
    );
    if let Some(WormholeConfig { socket, status, guard }) = new.components.get(index) {
        let _ = write!(
            text,
            "guard = \"{}\"
component = {:?}  # the socket of maftia-ttcb on that host
component_status = {:?}  # where it says how it is
",
            const_hex::encode(guard),
            socket.display().to_string(),
            status.display().to_string(),
        );
    }
    text
}

fn acme_line(new: &NewGroup, index: usize) -> String {
    let Some(NewAuthority { base_port, .. }) = &new.authority else { return String::new() };
    let port = base_port.saturating_add(u16::try_from(index).unwrap_or(u16::MAX));
    let acme = SocketAddr::new(new.host, port);
    format!("acme = \"{acme}\"     # clients of ACME, by HTTPS\n")
}

fn render_authority(new: &NewGroup, authority: &NewAuthority) -> String {
    let NewAuthority { url, permitted, .. } = authority;
    let plain = SocketAddr::new(new.host, new.base_port.saturating_add(2));
    let plain = match host_of("https://", url) {
        Some(host) if host.parse::<IpAddr>().is_err() => format!("{host}:{}", plain.port()),
        _ => plain.to_string(),
    };
    let permitted = match permitted.as_slice() {
        [] => "# permitted = [\"example.org\"]  # nothing else could then ever be issued\n".into(),
        some => format!("permitted = {some:?}  # nothing else can ever be issued\n"),
    };
    format!(
        "
# The certification authority (ACME). What of it is in certificates; what is issued to whom is in
# ca.toml, beside this file: `maftia ca example` prints one.
[ca]
url = \"{url}\"        # one name for all servers' `acme`, as clients write it
plain_url = \"http://{plain}\"   # the same for the servers' `http`: in certificates
organization = \"{name}\"
common_name = \"{name} issuing CA\"
key_bits = {bits}
{permitted}years = 5            # the issuing certificate
root_years = 20
front_end_days = 365 # the certificates with which the front ends begin
# The root's key is shared among people, or safes; so many of them sign another issuing certificate.
custodians = 3
needed = 2
",
        name = new.name,
        bits = new.key_bits,
    )
}
