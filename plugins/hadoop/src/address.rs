//! The addresses of a cluster's masters, which reach the other nodes as exported resources.
//!
//! The rules, one test each (`tests/addresses.rs`):
//! - A master exports `Hadoop::Address[namenode]` or `Hadoop::Address[jobtracker]` with `host` and
//!   `port`, tagged with its cluster.
//! - None exported: the reader warns and leaves out what depends on it. The next run completes it.
//! - Two different ones in a cluster: a failure that names both exporters, on the masters too, so that
//!   a second master of a running cluster never gets as far as exporting.
//! - A node that is its own master reads that fact, not the address, from its last catalog: the address
//!   is worked out anew from the parameters, as the master's class does in the same run.

use sdk::{Call, ExportedResource, Failure, Map, Request, Resource, ResourceQuery, Value, json};

use crate::distribution::Distribution;
use crate::parameters::Parameters;

/// The type of the exported resources. No agent knows it: they are never applied.
const ADDRESS: &str = "Hadoop::Address";

/// A master of a cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Master {
    /// Of HDFS.
    Namenode,
    /// Of jobs; the resource manager of YARN.
    Jobtracker,
}

impl Master {
    /// The title of its exported address.
    pub fn title(self) -> &'static str {
        match self {
            Self::Namenode => "namenode",
            Self::Jobtracker => "jobtracker",
        }
    }

    fn port(self, distribution: &Distribution, parameters: &Parameters<'_>) -> u16 {
        match self {
            Self::Namenode => parameters.port("namenode_port").unwrap_or(distribution.namenode_port),
            Self::Jobtracker => parameters.port("jobtracker_port").unwrap_or(distribution.jobtracker_port),
        }
    }
}

/// Where a master listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address; never empty.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

impl Address {
    /// From an object with `host` and `port`; none where it has not both.
    pub fn from_object(object: &Map) -> Option<Self> {
        let host = object.get("host")?.as_str().filter(|host| is_host(host))?;
        let port = object.get("port")?.as_u64().and_then(|port| u16::try_from(port).ok())?;
        (port != 0).then(|| Self { host: host.into(), port })
    }

    /// As a parameter of the classes that write configuration files.
    pub fn to_value(&self) -> Value {
        json!({"host": self.host, "port": self.port})
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The address of a master on this very node, whether it has one or not.
///
/// A fact is the node's own word: what is no host name is passed over for the certname.
pub fn own(
    call: &Call,
    request: &Request,
    distribution: &Distribution,
    parameters: &Parameters<'_>,
    master: Master,
) -> Address {
    let fqdn = || call.fact("networking.fqdn").and_then(|fact| Some(fact.as_str()?.to_owned()));
    let host = parameters
        .text("host")
        .map(str::to_owned)
        .or_else(fqdn)
        .filter(|host| is_host(host))
        .unwrap_or_else(|| request.node.certname.clone());
    Address { host, port: master.port(distribution, parameters) }
}

/// The resource by which other nodes learn of a master.
pub fn exported(master: Master, cluster: &str, address: &Address) -> Resource {
    Resource::new(ADDRESS, master.title())
        .param("host", address.host.as_str())
        .param("port", address.port)
        .tag(tag(cluster))
        .exported()
}

/// The address that the cluster's nodes agree on. `own` is this node's, `is_master` whether the class
/// asking makes this node that master.
///
/// # Errors
/// There are two; or one cannot be read; or the host does not answer.
pub fn agreed(
    call: &Call,
    request: &Request,
    cluster: &str,
    master: Master,
    own: Address,
    is_master: bool,
) -> Result<Option<Address>, Failure> {
    let query = ResourceQuery::new(ADDRESS).title(master.title()).tag(tag(cluster));
    let exports = call.exported(&query)?;
    let this = &request.node.certname;
    let mut known: Vec<(String, Address)> = vec![];
    for export in exports.iter().filter(|export| export.exported_by != *this) {
        known.push((export.exported_by.clone(), read(export)?));
    }
    if is_master || exports.iter().any(|export| export.exported_by == *this) {
        known.push((this.clone(), own));
    }
    let Some((_, address)) = known.first().cloned() else { return Ok(None) };
    if known.iter().all(|(_, other)| *other == address) {
        return Ok(Some(address));
    }
    let all: Vec<String> = known.iter().map(|(node, address)| format!("{node} ({address})")).collect();
    Err(Failure::InvalidInput(format!(
        "cluster {cluster} has more than one {}: {}; retire those that are gone, or give the others a cluster \
         of their own",
        master.title(),
        all.join(" and "),
    )))
}

fn read(export: &ExportedResource) -> Result<Address, Failure> {
    Address::from_object(&export.parameters).ok_or_else(|| {
        Failure::InvalidInput(format!(
            "{ADDRESS}[{}], exported by {}, has no usable host and port",
            export.title, export.exported_by
        ))
    })
}

fn tag(cluster: &str) -> String {
    format!("hadoop_cluster:{cluster}")
}

/// A host name or an IPv4 address, as far as its characters tell.
fn is_host(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 253
        && edge(text.chars().next())
        && edge(text.chars().last())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}
