//! `[ca]`: the certificate authority here, or the one that a catalog master
//! follows.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use pki::{Certname, KeyKind};

use super::reader::Section;

/// The port of a CA where none is said.
const PORT: u16 = 8140;
/// What has no meaning where the CA is another machine.
const AUTHORITY_ONLY: [&str; 14] = [
    "name",
    "key",
    "passphrase_file",
    "certificate_ttl",
    "crl_ttl",
    "renewal",
    "infra_crl",
    "admins",
    "min_free",
    "allow_subject_alt_names",
    "allow_authorization_extensions",
    "max_pending",
    "max_pending_per_name",
    "pending_ttl",
];
/// What has no meaning where the CA is here.
const FOLLOWER_ONLY: [&str; 3] = ["server", "fingerprint", "bundle"];

/// The certificate authority.
#[derive(Clone, Debug)]
pub struct Ca {
    /// The CA that this catalog master follows; where none, the CA is here.
    pub follows: Option<Follows>,
    /// How long after the end of the CRL certificates are still believed.
    pub grace: Duration,
    /// The CA's common name; made from the server's certname where none.
    pub name: Option<String>,
    /// The key of a CA that does not exist yet.
    pub key: KeyKind,
    /// The file of the passphrase that the CA's key is encrypted with.
    pub passphrase_file: Option<PathBuf>,
    /// How long a node's certificate is valid.
    pub certificate_ttl: Duration,
    /// How long a CRL is valid; it is signed anew at half of it.
    pub crl_ttl: Duration,
    /// Give a node that shows its certificate a new one.
    pub renewal: bool,
    /// Give agents a CRL of the servers' certificates only.
    pub infra_crl: bool,
    /// Certificates that may administer the CA, beside those with `pp_cli_auth`.
    pub admins: Vec<Certname>,
    /// Free bytes on the disk of the state directory below which nothing is
    /// issued; 0 is off.
    pub min_free: u64,
    /// Sign alternative names beyond a node's own.
    pub allow_subject_alt_names: bool,
    /// Sign authorisation extensions (`pp_authorization`, `pp_auth_role`).
    pub allow_authorization_extensions: bool,
    /// Pending requests kept at once.
    pub max_pending: u32,
    /// Pending requests kept for one name.
    pub max_pending_per_name: u32,
    /// How long a pending request is kept.
    pub pending_ttl: Duration,
}

/// The CA that a catalog master follows.
#[derive(Clone, Debug)]
pub struct Follows {
    /// Where it listens.
    pub server: Address,
    /// What its certificates must be; trusted on first use where nothing is said.
    pub pin: Option<Pin>,
}

/// What the CA's certificates must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// SHA-256 of the PEM that the CA serves, in lower hex.
    Fingerprint(String),
    /// A file with that PEM.
    Bundle(PathBuf),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl FromStr for Address {
    type Err = String;

    /// `HOST`, `HOST:PORT`, `[ADDRESS]` or `[ADDRESS]:PORT`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("is {text:?}; write HOST or HOST:PORT, such as ca.example.test:8140");
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or_else(wrong)?)),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let sound = match text.starts_with('[') {
            true => host.parse::<std::net::Ipv6Addr>().is_ok(),
            false => !host.is_empty() && host.chars().all(named),
        };
        if !sound {
            return Err(wrong());
        }
        let port = port.map_or(Ok(PORT), |port| port.parse().map_err(|_| wrong()))?;
        if port == 0 {
            return Err(wrong());
        }
        Ok(Address { host: host.to_owned(), port })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Reads `[ca]`.
pub fn read(section: Section<'_, '_>, state_dir: &Path) -> Ca {
    let follows = follows(&section, state_dir);
    let admins = section.strings("admins").unwrap_or_default();
    let admins = admins.iter().filter_map(|name| {
        let read = Certname::parse(name);
        read.inspect_err(|e| section.problem("admins", format_args!("holds {name:?}: {e}"))).ok()
    });
    let days = |n: u64| Duration::from_secs(n * 86_400);
    let out = Ca {
        follows,
        grace: section.duration("grace").unwrap_or(days(7)),
        name: section.string("name"),
        key: section
            .parsed("key", |text| text.parse().map_err(|e| format!("is {text:?}: {e}")))
            .unwrap_or_default(),
        passphrase_file: section.string("passphrase_file").map(|p| state_dir.join(p)),
        certificate_ttl: section.duration("certificate_ttl").unwrap_or(days(5 * 365)),
        crl_ttl: section.duration("crl_ttl").unwrap_or(days(7)),
        renewal: section.boolean("renewal").unwrap_or(true),
        infra_crl: section.boolean("infra_crl").unwrap_or(false),
        admins: admins.collect(),
        min_free: section.bytes("min_free").unwrap_or(64 << 20),
        allow_subject_alt_names: section.boolean("allow_subject_alt_names").unwrap_or(false),
        allow_authorization_extensions: section.boolean("allow_authorization_extensions").unwrap_or(false),
        max_pending: section.number("max_pending", 1..=10_000_000).unwrap_or(100_000),
        max_pending_per_name: section.number("max_pending_per_name", 1..=1_000).unwrap_or(5),
        pending_ttl: section.duration("pending_ttl").unwrap_or(days(7)),
    };
    section.finish();
    out
}

fn follows(section: &Section<'_, '_>, state_dir: &Path) -> Option<Follows> {
    let enabled = section.boolean("enabled").unwrap_or(true);
    let server = section.parsed("server", str::parse::<Address>);
    let fingerprint = section.parsed("fingerprint", fingerprint);
    let bundle = section.string("bundle").map(|p| state_dir.join(p));
    if enabled {
        for key in FOLLOWER_ONLY.into_iter().filter(|key| section.has(key)) {
            section.problem(key, "is for catalog masters; with it goes `enabled = false`");
        }
        return None;
    }
    for key in AUTHORITY_ONLY.into_iter().filter(|key| section.has(key)) {
        section.problem(key, "is the CA's to say, and `ca.enabled` is false: set it there, not here");
    }
    if !section.has("server") {
        section.problem("enabled", "is false, but there is no `ca.server`: say which CA to follow");
    }
    let pin = match (fingerprint, bundle) {
        (Some(_), Some(_)) => {
            section.problem("bundle", "and `ca.fingerprint` say the same thing: leave one out");
            None
        }
        (Some(fingerprint), None) => Some(Pin::Fingerprint(fingerprint)),
        (None, Some(bundle)) => Some(Pin::Bundle(bundle)),
        (None, None) => None,
    };
    server.map(|server| Follows { server, pin })
}

/// A SHA-256 in hex, with or without colons.
fn fingerprint(text: &str) -> Result<String, String> {
    let hex: String = text.chars().filter(|c| *c != ':').collect();
    if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(hex.to_lowercase());
    }
    Err("must be the SHA-256 of the PEM that the CA serves, in hex with or without colons".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Defaults};
    use super::*;

    fn parse(text: &str) -> Result<Ca, Vec<String>> {
        let defaults = Defaults::new("/state".into(), "m1.example.test").unwrap();
        let config = Config::parse(text, &defaults).map(|c| c.ca);
        config.map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        fn check(text: &str, expected: Option<(&str, u16)>) {
            let read = text.parse::<Address>().ok();
            assert_eq!(read.as_ref().map(|a| (a.host.as_str(), a.port)), expected, "{text:?}");
        }
        check("ca", Some(("ca", 8140)));
        check("ca.example.test:9140", Some(("ca.example.test", 9140)));
        check("192.0.2.1", Some(("192.0.2.1", 8140)));
        check("[2001:db8::1]", Some(("2001:db8::1", 8140)));
        check("[2001:db8::1]:9140", Some(("2001:db8::1", 9140)));
        for wrong in
            ["", ":8140", "ca:", "ca:0", "ca:70000", "2001:db8::1", "https://ca", "[ca]", "[::1", "c a"]
        {
            check(wrong, None);
        }
        let shown = |text: &str| text.parse::<Address>().unwrap().to_string();
        assert_eq!([shown("ca"), shown("[::1]:1")], ["ca:8140", "[::1]:1"]);
    }

    #[test]
    fn a_ca_is_here_unless_it_is_said_to_be_elsewhere() {
        let ca = parse("").unwrap();
        assert!(ca.follows.is_none() && ca.renewal && !ca.infra_crl && ca.admins.is_empty());
        assert_eq!((ca.key, ca.min_free, ca.grace.as_secs()), (KeyKind::EcP256, 64 << 20, 604_800));
        let text =
            "[ca]\nenabled = false\nserver = \"ca.example.test\"\nbundle = \"ca.pem\"\ngrace = \"1d\"\n";
        let ca = parse(text).unwrap();
        let follows = ca.follows.unwrap();
        assert_eq!(follows.server.to_string(), "ca.example.test:8140");
        assert_eq!(follows.pin, Some(Pin::Bundle("/state/ca.pem".into())));
        assert_eq!(ca.grace.as_secs(), 86_400);
        let pinned = format!(
            "[ca]\nenabled = false\nserver = \"ca\"\nfingerprint = \"{}\"\n",
            "AB:".repeat(31) + "CD"
        );
        let pin = parse(&pinned).unwrap().follows.unwrap().pin;
        assert_eq!(pin, Some(Pin::Fingerprint("ab".repeat(31) + "cd")));
    }

    #[test]
    fn what_is_set_for_the_other_role_is_refused() {
        fn check(text: &str, line: usize, words: &str) {
            let problems = parse(text).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(
                problems[0].starts_with(&format!("line {line},")) && problems[0].contains(words),
                "{problems:?}"
            );
        }
        let follower = |more: &str| format!("[ca]\nenabled = false\nserver = \"ca\"\n{more}\n");
        check("[ca]\nenabled = false\n", 2, "`ca.enabled` is false, but there is no `ca.server`");
        check(&follower("key = \"rsa-4096\""), 4, "`ca.key` is the CA's to say");
        check(&follower("passphrase_file = \"x\""), 4, "`ca.passphrase_file` is the CA's");
        check(&follower("admins = [\"a\"]"), 4, "`ca.admins` is the CA's");
        check("[ca]\nserver = \"ca\"\n", 2, "`ca.server` is for catalog masters");
        check("[ca]\nadmins = [\"web1\", \"No Name\"]\n", 2, "`ca.admins` holds \"No Name\"");
        check("[ca]\nkey = \"dsa\"\n", 2, "`ca.key` is \"dsa\"");
        check("[ca]\nmin_free = \"64\"\n", 2, "`ca.min_free` is \"64\", which is no size");
        check(&follower("fingerprint = \"ab\""), 4, "must be the SHA-256");
        let both = format!("fingerprint = \"{}\"\nbundle = \"b\"", "00".repeat(32));
        check(&follower(&both), 5, "leave one out");
    }

    #[test]
    fn every_key_belongs_to_a_role_or_to_both() {
        let both = ["enabled", "grace"];
        let text = "[ca]\nnothing = 1\n";
        let said = parse(text).unwrap_err().join("\n");
        for key in both.iter().chain(&AUTHORITY_ONLY).chain(&FOLLOWER_ONLY) {
            assert!(said.contains(&format!("`{key}`")), "{key} is read nowhere: {said}");
        }
        let known = said.matches('`').count() / 2 - 1;
        assert_eq!(known, both.len() + AUTHORITY_ONLY.len() + FOLLOWER_ONLY.len(), "{said}");
    }
}
