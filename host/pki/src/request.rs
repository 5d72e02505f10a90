//! Certificate requests (PKCS#10, RFC 2986): every check that the host makes before it asks a plugin.

use std::collections::BTreeSet;
use std::fmt;

use crate::certname::{Certname, CertnameError};
use crate::der::{self, NotDer, Value};
use crate::extension::{self, Arc, Extension, PP_CLI_AUTH};
use crate::fingerprint::Fingerprint;
use crate::key::{KeyError, PublicKey, signature_algorithm};
use crate::name::AltName;
use crate::pem::{self, PemError};

/// Most bytes of a request, in PEM. An agent's with a 4096-bit key has about 2,000.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

const COMMON_NAME: &str = "2.5.4.3";
const EXTENSION_REQUEST: &str = "1.2.840.113549.1.9.14";
const SUBJECT_ALT_NAME: &str = "2.5.29.17";
const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const KEY_USAGE: &str = "2.5.29.15";

/// What a request may ask for beyond its own name. Both are off unless the operator turns them on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestRules {
    /// Host names other than the certname, and addresses, as subject alternative names.
    pub allow_subject_alt_names: bool,
    /// Extensions below `1.3.6.1.4.1.34380.1.3`, except `pp_cli_auth`, which no agent may ask for.
    pub allow_authorization_extensions: bool,
}

/// A request that has passed every check: what it asks for is readable, allowed, and asked by the
/// holder of the key. `Debug` shows no attribute and no extension value: they may be secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The subject's one common name. Other parts of the subject are dropped.
    pub certname: Certname,
    /// SHA-256 of the request in DER, which `puppet ssl` shows on the agent too.
    pub fingerprint: Fingerprint,
    /// SHA-256 of the public key.
    pub key_digest: Fingerprint,
    /// The request as it came, for showing and for reading again; never for copying from.
    pub der: Vec<u8>,
    /// The key to certify.
    pub key: PublicKey,
    /// Subject alternative names asked for, in the order asked.
    pub alt_names: Vec<AltName>,
    /// Puppet extensions asked for, in the order asked, secrets included.
    pub extensions: Vec<Extension>,
    /// Attributes with a text in them: short name or identifier, and the text. Attributes of another
    /// shape are here with an empty text.
    pub attributes: Vec<(String, String)>,
}

/// Why a request is refused. The text is one line and goes to the agent with status 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// More than [`MAX_REQUEST_BYTES`].
    #[error("the certificate request has {0} bytes; the most is {MAX_REQUEST_BYTES}")]
    TooLarge(usize),
    /// Not one PEM block of the right label.
    #[error("the certificate request is not PEM: {0}")]
    Pem(String),
    /// Not PKCS#10 in DER.
    #[error("the certificate request is malformed: {0}")]
    Encoding(&'static str),
    /// A subject without exactly one readable common name.
    #[error("the certificate request's subject is not usable: {0}")]
    Subject(&'static str),
    /// A common name that is no certname.
    #[error("{0}")]
    Certname(#[from] CertnameError),
    /// A weak or unknown key.
    #[error("the certificate request's key is refused: {0}")]
    Key(#[from] KeyError),
    /// A signature with MD5, SHA-1 or something unknown.
    #[error(
        "the certificate request is signed with the algorithm {0}, which is not accepted for a key of the kind {1}; SHA-256 or better is"
    )]
    SignatureAlgorithm(String, String),
    /// The signature is not of the key in the request.
    #[error("the certificate request contains a public key that does not correspond to the signing key")]
    Signature,
    /// Alternative names beyond what the rules allow.
    #[error(
        "certificate request '{certname}' contains subject alternative names ({names}), which are not allowed"
    )]
    AltNames {
        /// Who asks.
        certname: Certname,
        /// What for, escaped.
        names: String,
    },
    /// Extensions beyond what the rules allow.
    #[error("certificate request '{certname}' contains extensions that are not permitted: {oids}")]
    Extensions {
        /// Who asks.
        certname: Certname,
        /// Which, by identifier and, where it helps, what is wrong.
        oids: String,
    },
    /// The same extension or attribute twice.
    #[error("certificate request '{certname}' contains {oid} more than once")]
    Duplicate {
        /// Who asks.
        certname: Certname,
        /// Which.
        oid: String,
    },
    /// A Puppet extension that is no string.
    #[error(
        "certificate request '{certname}' contains the extension {oid} with a value that is not a DER string"
    )]
    ExtensionValue {
        /// Who asks.
        certname: Certname,
        /// Which.
        oid: String,
    },
    /// Sent under another name than the one in it.
    #[error("instance name \"{certname}\" does not match requested key {requested:?}")]
    NameMismatch {
        /// The name in the request.
        certname: Certname,
        /// The name in the path, at most 255 characters.
        requested: String,
    },
}

impl RequestError {
    /// A stable word for logs, metrics and the admin API.
    pub fn kind(&self) -> &'static str {
        match self {
            RequestError::TooLarge(_) => "too-large",
            RequestError::Pem(_) | RequestError::Encoding(_) => "malformed",
            RequestError::Subject(_) => "bad-subject",
            RequestError::Certname(_) => "bad-certname",
            RequestError::Key(_) => "bad-key",
            RequestError::SignatureAlgorithm(..) => "weak-signature",
            RequestError::Signature => "bad-signature",
            RequestError::AltNames { .. } => "disallowed-alt-name",
            RequestError::Extensions { .. } => "disallowed-extension",
            RequestError::Duplicate { .. } => "duplicate",
            RequestError::ExtensionValue { .. } => "bad-extension-value",
            RequestError::NameMismatch { .. } => "name-mismatch",
        }
    }
}

impl CertificateRequest {
    /// Reads a request and makes every check, the signature last of those that need no rules.
    ///
    /// # Errors
    /// [`RequestError`], the first thing that is wrong.
    pub fn parse(text: &[u8], rules: &RequestRules) -> Result<CertificateRequest, RequestError> {
        if text.len() > MAX_REQUEST_BYTES {
            return Err(RequestError::TooLarge(text.len()));
        }
        let labels = ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];
        let der = pem::one(text, &labels).map_err(|e: PemError| RequestError::Pem(e.to_string()))?;
        CertificateRequest::parse_der(der, rules)
    }

    fn parse_der(der: Vec<u8>, rules: &RequestRules) -> Result<CertificateRequest, RequestError> {
        let outer = sequence(&der, "it is not one DER sequence")?;
        let [info, algorithm, signature] = outer.as_slice() else {
            return Err(RequestError::Encoding("it is not information, algorithm and signature"));
        };
        let fields = info.children(der::SEQUENCE).map_err(encoding("its information is no sequence"))?;
        let (version, subject, key, attributes) = match fields.as_slice() {
            [version, subject, key] => (version, subject, key, Vec::new()),
            [version, subject, key, attributes] => {
                let attributes =
                    attributes.context_children(0).map_err(encoding("its attributes are no set"))?;
                (version, subject, key, attributes)
            }
            _ => {
                return Err(RequestError::Encoding(
                    "its information is not version, subject, key and attributes",
                ));
            }
        };
        // There is but the 0 of RFC 2986 §4.1; `puppetserver ca generate` writes 2 and means the same.
        if !matches!(version.primitive(der::INTEGER), Ok([0] | [2])) {
            return Err(RequestError::Encoding("its version is not 0"));
        }
        let certname = Certname::parse(&common_name(subject)?)?;
        let key = PublicKey::parse(key.raw)?;
        verify(&key, info.raw, algorithm, signature)?;

        let mut request = CertificateRequest {
            certname,
            fingerprint: Fingerprint::of(&der),
            key_digest: key.digest(),
            key,
            alt_names: Vec::new(),
            extensions: Vec::new(),
            attributes: Vec::new(),
            der: Vec::new(),
        };
        request.read_attributes(&attributes, rules)?;
        request.der = der;
        Ok(request)
    }

    /// The request in PEM.
    pub fn to_pem(&self) -> String {
        pem::write("CERTIFICATE REQUEST", &self.der)
    }

    /// Checks that the request is for the name it was sent under.
    ///
    /// # Errors
    /// [`RequestError::NameMismatch`].
    pub fn check_name(&self, requested: &str) -> Result<(), RequestError> {
        if requested == self.certname.as_str() {
            return Ok(());
        }
        Err(RequestError::NameMismatch {
            certname: self.certname.clone(),
            requested: requested.chars().take(255).collect(),
        })
    }

    /// The challenge password, if the request has one.
    pub fn challenge_password(&self) -> Option<&str> {
        self.attribute("challengePassword")
    }

    /// An attribute's text, by short name or identifier.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn read_attributes(
        &mut self,
        attributes: &[Value<'_>],
        rules: &RequestRules,
    ) -> Result<(), RequestError> {
        let mut seen = BTreeSet::new();
        for attribute in attributes {
            let fields =
                attribute.children(der::SEQUENCE).map_err(encoding("an attribute is no sequence"))?;
            let [oid, values] = fields.as_slice() else {
                return Err(RequestError::Encoding("an attribute is not identifier and values"));
            };
            let oid = oid.oid().map_err(encoding("an attribute's identifier is malformed"))?;
            let values = values.children(der::SET).map_err(encoding("an attribute's values are no set"))?;
            if !seen.insert(oid.clone()) {
                return Err(RequestError::Duplicate { certname: self.certname.clone(), oid });
            }
            if oid == EXTENSION_REQUEST {
                let [wanted] = values.as_slice() else {
                    return Err(RequestError::Encoding("its extension request is not one value"));
                };
                self.read_extensions(wanted, rules)?;
                continue;
            }
            let text = match values.as_slice() {
                [one] => one.text().unwrap_or_default(),
                _ => "",
            };
            let name = extension::short_name(&oid).map_or(oid, str::to_owned);
            self.attributes.push((name, text.to_owned()));
        }
        Ok(())
    }

    fn read_extensions(&mut self, wanted: &Value<'_>, rules: &RequestRules) -> Result<(), RequestError> {
        let wanted =
            wanted.children(der::SEQUENCE).map_err(encoding("its extension request is no sequence"))?;
        let mut seen = BTreeSet::new();
        let mut refused = Vec::new();
        for extension in wanted {
            let fields =
                extension.children(der::SEQUENCE).map_err(encoding("an extension is no sequence"))?;
            let (oid, value) = match fields.as_slice() {
                [oid, value] => (oid, value),
                // DER leaves a FALSE out, and TRUE is 0xff.
                [oid, critical, value] if critical.primitive(der::BOOLEAN) == Ok(&[0xff]) => (oid, value),
                _ => return Err(RequestError::Encoding("an extension is not identifier and value")),
            };
            let oid = oid.oid().map_err(encoding("an extension's identifier is malformed"))?;
            let value = value
                .primitive(der::OCTET_STRING)
                .map_err(encoding("an extension's value is no octet string"))?;
            if !seen.insert(oid.clone()) {
                return Err(RequestError::Duplicate { certname: self.certname.clone(), oid });
            }
            let allowed = match (oid.as_str(), extension::arc_of(&oid)) {
                (PP_CLI_AUTH, _) => false,
                (_, Some(Arc::Authorization)) => rules.allow_authorization_extensions,
                (_, Some(Arc::Fact)) | (SUBJECT_ALT_NAME, _) => true,
                // What asks for no more than every certificate of ours is given anyway is let through.
                (BASIC_CONSTRAINTS, _) => {
                    Value::only(value).and_then(|v| v.children(der::SEQUENCE)).is_ok_and(|f| f.is_empty())
                }
                (KEY_USAGE, _) => !may_sign_certificates(value),
                _ => false,
            };
            if !allowed {
                refused.push(match extension::short_name(&oid) {
                    Some(name) => format!("{oid} ({name})"),
                    None => described(&oid),
                });
            } else if oid == SUBJECT_ALT_NAME {
                self.read_alt_names(value, rules)?;
            } else if extension::arc_of(&oid).is_some() {
                let extension = Extension::read(&oid, value)
                    .ok_or_else(|| RequestError::ExtensionValue { certname: self.certname.clone(), oid })?;
                self.extensions.push(extension);
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        Err(RequestError::Extensions { certname: self.certname.clone(), oids: list(&refused) })
    }

    fn read_alt_names(&mut self, value: &[u8], rules: &RequestRules) -> Result<(), RequestError> {
        let names = sequence(value, "its subject alternative names are no sequence")?;
        let mut refused = Vec::new();
        for name in names {
            let read = match name.context_primitive() {
                Ok((2, text)) => {
                    let text = String::from_utf8_lossy(text);
                    AltName::dns(&text).map_err(|_| format!("DNS:{}", text.escape_debug()))
                }
                Ok((7, bytes)) => AltName::ip(bytes).ok_or_else(|| "a malformed IP address".to_owned()),
                Ok((1, text)) => Err(format!("email:{}", String::from_utf8_lossy(text).escape_debug())),
                Ok((6, text)) => Err(format!("URI:{}", String::from_utf8_lossy(text).escape_debug())),
                Ok((8, _)) => Err("a registered ID".to_owned()),
                _ => Err("a name of another kind than DNS or IP".to_owned()),
            };
            match read {
                Ok(name)
                    if name == AltName::Dns(self.certname.as_str().to_owned())
                        || rules.allow_subject_alt_names =>
                {
                    if !self.alt_names.contains(&name) {
                        self.alt_names.push(name);
                    }
                }
                Ok(name) => refused.push(name.to_string()),
                Err(what) => refused.push(what.chars().take(120).collect()),
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        Err(RequestError::AltNames { certname: self.certname.clone(), names: list(&refused) })
    }
}

impl fmt::Debug for CertificateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateRequest")
            .field("certname", &self.certname)
            .field("fingerprint", &self.fingerprint)
            .field("key", &format_args!("{} {}", self.key.algorithm, self.key.bits))
            .field("alt_names", &self.alt_names)
            .field("extensions", &self.extensions)
            .field("attributes", &self.attributes.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

fn encoding(what: &'static str) -> impl Fn(NotDer) -> RequestError {
    move |_| RequestError::Encoding(what)
}

fn sequence<'a>(bytes: &'a [u8], what: &'static str) -> Result<Vec<Value<'a>>, RequestError> {
    Value::only(bytes).and_then(|v| v.children(der::SEQUENCE)).map_err(encoding(what))
}

/// The first few of a list, for a message of bounded length.
fn list(items: &[String]) -> String {
    let more = if items.len() > 10 { format!(" and {} more", items.len() - 10) } else { String::new() };
    items.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ") + &more
}

fn described(oid: &str) -> String {
    match oid {
        BASIC_CONSTRAINTS => format!("{oid} (basicConstraints of a CA)"),
        KEY_USAGE => format!("{oid} (keyUsage for signing certificates or CRLs)"),
        _ => oid.chars().take(80).collect(),
    }
}

/// Whether a key usage asks for keyCertSign (bit 5) or cRLSign (bit 6), or cannot be read.
fn may_sign_certificates(value: &[u8]) -> bool {
    let bits = Value::only(value).and_then(|v| v.primitive(der::BIT_STRING));
    !matches!(bits, Ok([_, first, ..]) if first & 0b0000_0110 == 0)
}

fn common_name(subject: &Value<'_>) -> Result<String, RequestError> {
    let mut names = Vec::new();
    let unreadable = encoding("its subject is malformed");
    for set in subject.children(der::SEQUENCE).map_err(&unreadable)? {
        for pair in set.children(der::SET).map_err(&unreadable)? {
            let pair = pair.children(der::SEQUENCE).map_err(&unreadable)?;
            let [oid, value] = pair.as_slice() else { return Err(unreadable(NotDer)) };
            if oid.oid().map_err(&unreadable)? == COMMON_NAME {
                let text = value.text().map_err(|_| {
                    RequestError::Subject("the common name is no UTF8String, PrintableString or IA5String")
                })?;
                names.push(text.to_owned());
            }
        }
    }
    match names.len() {
        1 => names.pop().ok_or(RequestError::Subject("it has no common name")),
        0 => Err(RequestError::Subject("it has no common name")),
        _ => Err(RequestError::Subject("it has more than one common name")),
    }
}

fn verify(
    key: &PublicKey,
    message: &[u8],
    algorithm: &Value<'_>,
    signature: &Value<'_>,
) -> Result<(), RequestError> {
    let malformed = encoding("its signature algorithm is malformed");
    let fields = algorithm.children(der::SEQUENCE).map_err(&malformed)?;
    let (oid, parameters) = fields.split_first().ok_or_else(|| malformed(NotDer))?;
    let oid = oid.oid().map_err(&malformed)?;
    if signature_algorithm(key.algorithm, &oid).is_none() {
        let name = signature_name(&oid).map_or_else(|| oid.clone(), str::to_owned);
        return Err(RequestError::SignatureAlgorithm(name, key.algorithm.to_string()));
    }
    if !matches!(parameters, []) && !matches!(parameters, [null] if null.primitive(der::NULL) == Ok(&[])) {
        return Err(malformed(NotDer));
    }
    let signature = signature.whole_bits().map_err(encoding("its signature is no bit string"))?;
    if key.verify(&oid, message, signature) { Ok(()) } else { Err(RequestError::Signature) }
}

/// Names of signature algorithms that people still send and we refuse.
fn signature_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "1.2.840.113549.1.1.4" => "md5WithRSAEncryption",
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" => "sha1WithRSAEncryption",
        "1.2.840.113549.1.1.10" => "RSASSA-PSS",
        "1.2.840.113549.1.1.14" => "sha224WithRSAEncryption",
        "1.2.840.10045.4.1" => "ecdsa-with-SHA1",
        "1.2.840.10045.4.3.1" => "ecdsa-with-SHA224",
        _ => return None,
    })
}
