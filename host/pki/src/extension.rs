//! Puppet's certificate extensions: trusted facts below `1.3.6.1.4.1.34380.1`.

use std::fmt;

use crate::der::{self, Value};

/// Marks the certificate of an administrator, or of a server that administers its CA.
pub const PP_CLI_AUTH: &str = "1.3.6.1.4.1.34380.1.3.39";

/// Extensions that hold secrets and so are never written into a certificate, which anyone may read.
/// Some guides put a pre-shared key into `extension_requests`, where only an attribute is safe; the
/// approver plugins still see it, the certificate does not get it.
pub const KNOWN_SECRETS: &[&str] = &["1.3.6.1.4.1.34380.1.1.4"];

const REGISTERED: &str = "1.3.6.1.4.1.34380.1.1.";
const PRIVATE: &str = "1.3.6.1.4.1.34380.1.2.";
const AUTHORIZATION: &str = "1.3.6.1.4.1.34380.1.3.";
const CHALLENGE_PASSWORD: &str = "1.2.840.113549.1.9.7";

/// Last arc and short name below [`REGISTERED`] (Puppet's `ppRegCertExt`).
const REGISTERED_NAMES: [&str; 26] = [
    "pp_uuid",
    "pp_instance_id",
    "pp_image_name",
    "pp_preshared_key",
    "pp_cost_center",
    "pp_product",
    "pp_project",
    "pp_application",
    "pp_service",
    "pp_employee",
    "pp_created_by",
    "pp_environment",
    "pp_role",
    "pp_software_version",
    "pp_department",
    "pp_cluster",
    "pp_provisioner",
    "pp_region",
    "pp_datacenter",
    "pp_zone",
    "pp_network",
    "pp_securitypolicy",
    "pp_cloudplatform",
    "pp_apptier",
    "pp_hostname",
    "pp_owner",
];

const AUTHORIZATION_NAMES: [(&str, &str); 4] =
    [("1", "pp_authorization"), ("2", "pp_auth_auto_renew"), ("13", "pp_auth_role"), ("39", "pp_cli_auth")];

/// One of Puppet's extensions, as requested or as certified. `Debug` shows no value: it may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Extension {
    /// Dotted object identifier.
    pub oid: String,
    /// Puppet's short name, if the identifier has one.
    pub name: Option<&'static str>,
    /// The text in it.
    pub value: String,
    /// The text as a DER UTF8String: our encoding, whatever string type was asked for.
    pub der: Vec<u8>,
}

/// Where below Puppet's arc an identifier lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arc {
    /// `ppRegCertExt` or `ppPrivCertExt`: facts.
    Fact,
    /// `ppAuthCertExt`: rights.
    Authorization,
}

pub(crate) fn arc_of(oid: &str) -> Option<Arc> {
    if oid.starts_with(REGISTERED) || oid.starts_with(PRIVATE) {
        Some(Arc::Fact)
    } else if oid.starts_with(AUTHORIZATION) {
        Some(Arc::Authorization)
    } else {
        None
    }
}

impl Extension {
    /// An extension with this text.
    pub fn new(oid: &str, value: &str) -> Extension {
        Extension {
            oid: oid.to_owned(),
            name: short_name(oid),
            value: value.to_owned(),
            der: der::utf8_string(value),
        }
    }

    /// Reads an extension's value, which must be a DER string; `None` if it is anything else.
    pub(crate) fn read(oid: &str, value: &[u8]) -> Option<Extension> {
        let text = Value::only(value).and_then(|v| v.text()).ok()?;
        Some(Extension::new(oid, text))
    }

    /// The short name, or else the identifier.
    pub fn label(&self) -> &str {
        self.name.unwrap_or(&self.oid)
    }
}

impl fmt::Debug for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Extension({}: {} bytes)", self.label(), self.value.len())
    }
}

/// Puppet's short name of an extension or attribute: `1.3.6.1.4.1.34380.1.1.13` is `pp_role`,
/// and `challengePassword` is the only name from outside its arc.
pub fn short_name(oid: &str) -> Option<&'static str> {
    if oid == CHALLENGE_PASSWORD {
        return Some("challengePassword");
    }
    if let Some(arc) = oid.strip_prefix(REGISTERED) {
        let mut names = (1..).zip(REGISTERED_NAMES);
        return names.find_map(|(number, name): (u32, _)| (number.to_string() == arc).then_some(name));
    }
    let arc = oid.strip_prefix(AUTHORIZATION)?;
    AUTHORIZATION_NAMES.iter().find_map(|(number, name)| (*number == arc).then_some(*name))
}

/// The identifier of a short name: `pp_role` is `1.3.6.1.4.1.34380.1.1.13`.
pub fn oid_of(short_name: &str) -> Option<String> {
    if short_name == "challengePassword" {
        return Some(CHALLENGE_PASSWORD.to_owned());
    }
    let mut registered = (1..).zip(REGISTERED_NAMES);
    if let Some((number, _)) = registered.find(|(_, name): &(u32, _)| *name == short_name) {
        return Some(format!("{REGISTERED}{number}"));
    }
    AUTHORIZATION_NAMES
        .iter()
        .find_map(|(number, name)| (*name == short_name).then(|| format!("{AUTHORIZATION}{number}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_puppets() {
        for (oid, name) in [
            ("1.3.6.1.4.1.34380.1.1.1", "pp_uuid"),
            ("1.3.6.1.4.1.34380.1.1.13", "pp_role"),
            ("1.3.6.1.4.1.34380.1.1.26", "pp_owner"),
            ("1.3.6.1.4.1.34380.1.3.2", "pp_auth_auto_renew"),
            ("1.3.6.1.4.1.34380.1.3.39", "pp_cli_auth"),
            ("1.2.840.113549.1.9.7", "challengePassword"),
        ] {
            assert_eq!(short_name(oid), Some(name));
            assert_eq!(oid_of(name).as_deref(), Some(oid));
        }
        for oid in [
            "1.3.6.1.4.1.34380.1.1.27",
            "1.3.6.1.4.1.34380.1.1.0",
            "1.3.6.1.4.1.34380.1.1.01",
            "1.3.6.1.4.1.34380.1.2.1",
            "2.5.29.17",
            "",
        ] {
            assert_eq!(short_name(oid), None, "{oid}");
        }
    }

    #[test]
    fn a_value_does_not_show_in_debug_output() {
        assert_eq!(
            format!("{:?}", Extension::new("1.3.6.1.4.1.34380.1.1.4", "psk")),
            "Extension(pp_preshared_key: 3 bytes)"
        );
    }
}
