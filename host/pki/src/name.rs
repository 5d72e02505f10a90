//! Names in a subject alternative name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::certname::{Certname, CertnameError};

/// A subject alternative name of the two kinds that a certificate of ours may have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AltName {
    /// A host name in lower case; never a wildcard.
    Dns(String),
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
}

impl AltName {
    /// Reads an address or else a host name, as an operator writes it in a configuration file.
    ///
    /// # Errors
    /// [`CertnameError`], whose rules for names are those for host names too.
    pub fn parse(text: &str) -> Result<AltName, CertnameError> {
        match text.parse() {
            Ok(address) => Ok(AltName::Ip(address)),
            Err(_) => AltName::dns(text),
        }
    }

    /// `dns` or `ip`.
    pub fn kind(&self) -> &'static str {
        match self {
            AltName::Dns(_) => "dns",
            AltName::Ip(_) => "ip",
        }
    }

    /// The name or address without its kind.
    pub fn value(&self) -> String {
        match self {
            AltName::Dns(name) => name.clone(),
            AltName::Ip(address) => address.to_string(),
        }
    }

    /// A host name. Capital letters are lowered, for DNS does not tell them apart.
    pub(crate) fn dns(text: &str) -> Result<AltName, CertnameError> {
        Certname::parse(&text.to_ascii_lowercase()).map(|name| AltName::Dns(name.as_str().to_owned()))
    }

    /// An address from its 4 or 16 bytes.
    pub(crate) fn ip(bytes: &[u8]) -> Option<AltName> {
        let v4 = <[u8; 4]>::try_from(bytes).map(|b| IpAddr::V4(Ipv4Addr::from(b)));
        let v6 = <[u8; 16]>::try_from(bytes).map(|b| IpAddr::V6(Ipv6Addr::from(b)));
        v4.or(v6).ok().map(AltName::Ip)
    }
}

impl fmt::Display for AltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AltName::Dns(name) => write!(f, "DNS:{name}"),
            AltName::Ip(address) => write!(f, "IP:{address}"),
        }
    }
}
