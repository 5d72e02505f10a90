//! What is granted: origins, and what goes with requests to each.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Method;
use hyper::header::HeaderName;
use url::{Host, Url};

/// One granted origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where requests may go.
    pub origin: Origin,
    /// What they may ask for.
    pub methods: Vec<Method>,
    /// Bytes of a request's body, and of an answer's, at most.
    pub max_body: u64,
    /// From the name to the end of the answer.
    pub timeout: Duration,
    /// Whether addresses that the internet does not route may be reached, loopback among them.
    pub private: bool,
    /// Headers that the host adds. A plugin's own of these names is dropped.
    pub credentials: Vec<Credential>,
    /// PEM certificates of the only CAs believed for this origin; the machine's own where none.
    pub ca_file: Option<PathBuf>,
}

/// A header that the host adds. It holds where the value is, not the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The header's name.
    pub header: HeaderName,
    /// Where its value comes from.
    pub from: From,
}

/// Where a credential's value comes from. It is read for each request, so a rotated one is used at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// An environment variable of this process.
    Env(String),
    /// A file, without the newline at its end.
    File(PathBuf),
}

/// Headers that belong to one connection or say how its messages are framed (RFC 9110 §7.6.1, §10.1.1):
/// the host's own, whatever a plugin or a grant says.
const OURS: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether only the host writes a header, for it belongs to the connection.
pub fn is_ours(header: &HeaderName) -> bool {
    OURS.contains(&header.as_str())
}

/// Scheme, host and port: what the web calls an origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// How.
    pub scheme: Scheme,
    /// Whom: a name in lower case and ASCII, or an address.
    pub host: Host,
    /// Where.
    pub port: u16,
}

/// The two that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Origin {
    /// Reads `https://api.example` or `https://api.example:8443`.
    ///
    /// # Errors
    /// A sentence that says what is understood.
    pub fn parse(text: &str) -> Result<Origin, String> {
        let (url, origin) = split(text)?;
        // A lone `/` is how a URL without a path is written out.
        let more = url.path() != "/" || text.contains(['?', '#', '@']);
        if more {
            return Err(format!("{text:?} says more than an origin; write only https://HOST:PORT"));
        }
        match &origin.host {
            Host::Domain(name) if !is_plain(name) => Err(format!(
                "{text:?} names no single host; write its whole name, without wildcards and without a dot at its end"
            )),
            _ => Ok(origin),
        }
    }
}

fn is_plain(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || ['-', '_'].contains(&c))
    };
    name.split('.').all(label)
}

/// A URL and its origin.
pub(crate) fn split(text: &str) -> Result<(Url, Origin), String> {
    let odd = |why: &dyn fmt::Display| {
        format!("{text:?} is no address of a web server: {why}; write it as https://HOST:PORT")
    };
    let url = Url::parse(text).map_err(|error| odd(&error))?;
    let scheme = match url.scheme() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err(odd(&"its scheme is neither http nor https")),
    };
    let host = url.host().map(|host| host.to_owned()).ok_or_else(|| odd(&"it names no host"))?;
    let port = url.port_or_known_default().filter(|port| *port > 0).ok_or_else(|| odd(&"it has no port"))?;
    Ok((url, Origin { scheme, host, port }))
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A rule for an origin that allows `GET` to public addresses.
    pub(crate) fn rule(origin: &str) -> Rule {
        Rule {
            origin: Origin::parse(origin).unwrap(),
            methods: vec![Method::GET],
            max_body: 1 << 10,
            timeout: Duration::from_secs(2),
            private: false,
            credentials: vec![],
            ca_file: None,
        }
    }

    #[test]
    fn an_origin_has_one_spelling() {
        let check = |text: &str, expected: Option<&str>| {
            let read = Origin::parse(text);
            assert_eq!(read.as_ref().map(ToString::to_string).ok().as_deref(), expected, "{text}: {read:?}");
        };
        check("https://api.example", Some("https://api.example:443"));
        check("HTTPS://API.Example:443/", Some("https://api.example:443"));
        check("http://api.example:8080", Some("http://api.example:8080"));
        check("https://bücher.example", Some("https://xn--bcher-kva.example:443"));
        check("http://0x7f.1", Some("http://127.0.0.1:80"));
        check("https://[::1]:8443", Some("https://[::1]:8443"));
        for bad in [
            "api.example",
            "api.example:443",
            "ftp://api.example",
            "file:///etc/passwd",
            "https://",
            "https://api.example:0",
            "https://api.example:99999",
            "https://api.example/v1",
            "https://api.example/?a",
            "https://api.example?a",
            "https://api.example#a",
            "https://user:word@api.example",
            "https://@api.example",
            "https://*.example",
            "https://api.example.",
            "",
        ] {
            check(bad, None);
        }
    }
}
