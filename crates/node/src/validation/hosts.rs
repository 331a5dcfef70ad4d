//! Finds hosts and connects to them, never remembering where they were.
//!
//! Names are absolute: no search list of this host is applied, and its file of hosts is not read.
//! IPv6 and IPv4 are tried in turn, IPv6 first, until a connection stands.

use super::public::is_public;
use super::{ValidationConfig, Why};
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::CAA;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Most addresses of one host that are tried.
pub const ADDRESSES_MAX: usize = 4;

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// The host of this name.
    Name(String),
    /// The host there.
    Address(IpAddr),
}

impl fmt::Display for Host {
    /// As in a URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Finds hosts.
pub(super) struct Hosts {
    resolver: TokioResolver,
    connect_patience: Duration,
    refuse_private: bool,
}

impl Hosts {
    pub(super) fn new(config: &ValidationConfig) -> Result<Self, NetError> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = match config.resolvers.as_slice() {
            [] => Resolver::builder(provider)?,
            named => {
                let servers = named.iter().map(name_server).collect();
                let servers = ResolverConfig::from_name_servers(servers);
                Resolver::builder_with_config(servers, provider)
            }
        };
        forget(builder.options_mut());
        (builder.options_mut().attempts, builder.options_mut().timeout) = config.queries;
        let resolver = builder.build()?;
        let (connect_patience, refuse_private) = (config.connect_patience, config.refuse_private);
        Ok(Self { resolver, connect_patience, refuse_private })
    }

    /// The values of all TXT records of `name`, each in one piece.
    pub(super) async fn texts(&self, name: &str) -> Result<Vec<Vec<u8>>, Why> {
        let found = self.records(name, RecordType::TXT).await?;
        let texts = found.into_iter().filter_map(|record| match record {
            RData::TXT(text) => Some(text.txt_data.concat()),
            _ => None,
        });
        Ok(texts.collect())
    }

    /// The CAA records of `name`, if it has any.
    pub(super) async fn caa(&self, name: &str) -> Result<Vec<CAA>, Why> {
        let found = match self.lookup(name, RecordType::CAA).await? {
            Ok(found) => found,
            // There are none.
            Err(error) if error.is_no_records_found() => return Ok(Vec::new()),
            Err(error) => return Err(unresolved(RecordType::CAA, name, &error)),
        };
        let code = found.message().metadata.response_code;
        if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
            return Err(unresolved(RecordType::CAA, name, &code));
        }
        let records = found.answers().iter().filter_map(|record| match &record.data {
            RData::CAA(record) => Some(record.clone()),
            _ => None,
        });
        Ok(records.collect())
    }

    /// A connection to that port of `host`.
    pub(super) async fn connect(&self, host: &Host, port: u16) -> Result<TcpStream, Why> {
        let mut last = None;
        for address in self.addresses(host).await? {
            let address = SocketAddr::new(address, port);
            let connected = timeout(self.connect_patience, TcpStream::connect(address)).await;
            match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => return Ok(stream),
                Err(source) => last = Some(Why::Unreachable { address, source }),
            }
        }
        Err(last.expect("a host without addresses is an error before"))
    }

    /// Where `host` is, as far as this server may look there; not empty.
    async fn addresses(&self, host: &Host) -> Result<Vec<IpAddr>, Why> {
        let mut addresses = match host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.addresses_of(name).await?,
        };
        let first = addresses[0];
        addresses.retain(|address| !self.refuse_private || is_public(*address));
        addresses.truncate(ADDRESSES_MAX);
        if addresses.is_empty() { Err(Why::Private(first)) } else { Ok(addresses) }
    }

    /// All addresses of the name, of both kinds in turn; not empty.
    async fn addresses_of(&self, name: &str) -> Result<Vec<IpAddr>, Why> {
        let (long, short) =
            tokio::join!(self.records(name, RecordType::AAAA), self.records(name, RecordType::A),);
        let only = |records: &Result<Vec<RData>, Why>| -> Vec<IpAddr> {
            records.iter().flatten().filter_map(RData::ip_addr).collect()
        };
        let kinds = [only(&long), only(&short)];
        let longest = kinds.iter().map(Vec::len).max().unwrap_or_default();
        let in_turn = (0..longest).flat_map(|at| kinds.iter().filter_map(move |kind| kind.get(at)));
        let addresses: Vec<IpAddr> = in_turn.copied().collect();
        if !addresses.is_empty() {
            return Ok(addresses);
        }
        // That there are none of the one kind says less than why there are none of the other.
        short.and(long)?;
        Err(Why::Unresolved { name: name.to_owned(), why: "no address".into() })
    }

    /// The records of that type; none is an error.
    async fn records(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, Why> {
        let found = self.lookup(name, kind).await?;
        let found = found.map_err(|error| unresolved(kind, name, &error))?;
        let of_kind = found.answers().iter().filter(|record| record.record_type() == kind);
        Ok(of_kind.map(|record| record.data.clone()).collect())
    }

    /// Asks the resolvers, for this very name.
    async fn lookup(&self, name: &str, kind: RecordType) -> Result<Result<Lookup, NetError>, Why> {
        let absolute = Name::from_ascii(name);
        let mut absolute = absolute.map_err(|error| unresolved(kind, name, &error))?;
        absolute.set_fqdn(true);
        Ok(self.resolver.lookup(absolute, kind).await)
    }
}

fn unresolved(kind: RecordType, name: &str, why: &impl ToString) -> Why {
    Why::Unresolved { name: format!("{kind} {name}"), why: why.to_string() }
}

/// A resolver, asked by UDP, and by TCP for what does not fit.
fn name_server(at: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = at.port();
        connection
    });
    NameServerConfig::new(at.ip(), true, connections.into())
}

/// Nothing that was told is kept, and only resolvers are asked.
fn forget(options: &mut ResolverOpts) {
    options.cache_size = 0;
    options.positive_max_ttl = Some(Duration::ZERO);
    options.negative_max_ttl = Some(Duration::ZERO);
    options.use_hosts_file = ResolveHosts::Never;
    options.edns0 = true;
    options.try_tcp_on_error = true;
}
