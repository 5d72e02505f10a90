//! Which addresses a request may go to.
//!
//! The ranges are those of IANA's registries of special-purpose addresses (RFC 6890 and what updates it),
//! and the addresses at which clouds tell a machine its own secrets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Host;

use crate::rule::Rule;

/// What an address is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// The internet routes it.
    Public,
    /// Inside: of this machine, of its owner's network, or of its provider's.
    Private(&'static str),
    /// Of this link or this machine's cloud, which gives out credentials there.
    Nearby(&'static str),
    /// No server is there, or what is there hides another address.
    Never(&'static str),
}

/// Whether requests under a rule may go to this address.
///
/// What is nearby takes more than `private`: the rule names it itself. A name that a rule lets into the
/// owner's network does not lead to the machine's credentials.
///
/// # Errors
/// What the address is, and what would have to be granted.
pub fn check(rule: &Rule, address: IpAddr) -> Result<(), String> {
    let address = address.to_canonical();
    let named = match &rule.origin.host {
        Host::Ipv4(host) => Some(IpAddr::V4(*host)),
        Host::Ipv6(host) => Some(IpAddr::V6(*host).to_canonical()),
        Host::Domain(_) => None,
    };
    match class(address) {
        Class::Public => Ok(()),
        Class::Private(_) if rule.private => Ok(()),
        Class::Nearby(_) if rule.private && named == Some(address) => Ok(()),
        Class::Private(what) => Err(format!("{what}; it takes `private = true` to go there")),
        Class::Nearby(what) => Err(format!(
            "{what}; it takes an origin that names this very address, and `private = true`, to go there"
        )),
        Class::Never(what) => Err(format!("{what}; no request goes there")),
    }
}

fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => class_4(address),
        IpAddr::V6(address) => class_6(address),
    }
}

fn class_4(address: Ipv4Addr) -> Class {
    use Class::{Nearby, Never, Private, Public};
    match address.octets() {
        [0, ..] => Never("an address of no machine"),
        // Azure's host, and Alibaba's metadata service.
        [168, 63, 129, 16] | [100, 100, 100, 200] => Nearby("a cloud's own service for this machine"),
        [169, 254, ..] => Nearby("a link-local address"),
        [127, ..] => Private("a loopback address"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Private("a private address"),
        [100, 64..=127, ..] => Private("an address shared behind a provider's NAT"),
        [198, 18..=19, ..] => Private("an address for benchmarks"),
        [192, 0, 0, _] => Never("an address reserved for protocols"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Never("an address for documentation"),
        [192, 88, 99, _] => Never("an address of a 6to4 relay"),
        [224..=239, ..] => Never("a multicast address"),
        [240..=255, ..] => Never("a reserved address"),
        _ => Public,
    }
}

fn class_6(address: Ipv6Addr) -> Class {
    use Class::{Nearby, Never, Private, Public};
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Private("a loopback address"),
        [0, 0, 0, 0, 0, 0xffff, ..] => address.to_ipv4_mapped().map_or(Never("a reserved address"), class_4),
        // NAT64 carries it to the IPv4 address in its last four bytes (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            let [.., a, b, c, d] = address.octets();
            class_4(Ipv4Addr::new(a, b, c, d))
        }
        [0x64, 0xff9b, 1, ..] => Private("a local NAT64 address"),
        // The metadata services of AWS and of Google's cloud.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => {
            Nearby("a cloud's own service for this machine")
        }
        [0xfe80..=0xfebf, ..] => Nearby("a link-local address"),
        [0xfc00..=0xfdff, ..] => Private("a private address"),
        [0xff00..=0xffff, ..] => Never("a multicast address"),
        [0x2001, 0..=0x1ff, ..] => Never("an address reserved for protocols"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Never("an address for documentation"),
        [0x2002, ..] => Never("a 6to4 address"),
        [0x2000..=0x3fff, ..] => Public,
        _ => Never("a reserved address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::tests::rule;

    #[test]
    fn only_what_the_internet_routes_is_public() {
        let check = |addresses: &[&str], expected: &str| {
            for text in addresses {
                let found = match class(text.parse::<IpAddr>().unwrap().to_canonical()) {
                    Class::Public => "public",
                    Class::Private(_) => "private",
                    Class::Nearby(_) => "nearby",
                    Class::Never(_) => "never",
                };
                assert_eq!(found, expected, "{text}");
            }
        };
        check(&["1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"], "public");
        check(&["126.255.255.255", "128.0.0.0", "169.253.255.255", "172.15.0.1", "172.32.0.0"], "public");
        check(&["192.167.255.255", "192.169.0.0", "198.17.0.1", "198.20.0.0", "223.255.255.255"], "public");
        check(&["10.0.0.0", "10.255.255.255", "127.0.0.1", "127.255.255.255", "100.64.0.0"], "private");
        check(&["100.127.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.1", "198.18.0.1"], "private");
        check(&["169.254.169.254", "169.254.0.0", "168.63.129.16", "100.100.100.200"], "nearby");
        check(&["0.0.0.0", "0.1.2.3", "192.0.0.192", "192.0.2.1", "198.51.100.1", "203.0.113.1"], "never");
        check(&["192.88.99.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"], "never");
        check(&["2606:4700::1111", "2a00:1450::1", "2001:200::1", "64:ff9b::101:101"], "public");
        check(&["::ffff:1.1.1.1"], "public");
        check(&["::1", "fc00::1", "fd12:3456::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"], "private");
        check(&["64:ff9b:1::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"], "private");
        check(&["fe80::1", "febf::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"], "nearby");
        check(&["fd00:ec2::254", "fd20:ce::254"], "nearby");
        check(&["::", "::2", "::7f00:1", "::127.0.0.1", "ff02::1", "fec0::1", "100::1", "5f00::1"], "never");
        check(&["2001::1", "2001:10::1", "2001:20::1", "2001:db8::1", "3fff::1", "2002:7f00:1::"], "never");
        check(&["2002:808:808::1", "4000::1", "::ffff:0:1.1.1.1", "::ffff:255.255.255.255"], "never");
    }

    #[test]
    fn a_private_rule_opens_the_inside_and_not_the_machines_credentials() {
        let allowed = |origin: &str, private: bool, address: &str| {
            let rule = Rule { private, ..rule(origin) };
            super::check(&rule, address.parse().unwrap()).is_ok()
        };
        assert!(allowed("https://api.example", false, "1.1.1.1"));
        assert!(!allowed("https://api.example", false, "10.0.0.1"));
        assert!(!allowed("https://10.0.0.1", false, "10.0.0.1"));
        assert!(allowed("https://api.example", true, "10.0.0.1"));
        assert!(allowed("https://api.example", true, "::ffff:10.0.0.1"));
        assert!(!allowed("https://api.example", true, "169.254.169.254"));
        assert!(!allowed("https://api.example", true, "::ffff:169.254.169.254"));
        assert!(!allowed("http://169.254.169.254", false, "169.254.169.254"));
        assert!(allowed("http://169.254.169.254", true, "169.254.169.254"));
        assert!(allowed("http://[fd00:ec2::254]", true, "fd00:ec2::254"));
        assert!(!allowed("http://224.0.0.1", true, "224.0.0.1"));
        assert!(!allowed("http://0.0.0.0", true, "0.0.0.0"));
    }
}
