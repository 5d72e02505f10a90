//! Whether a component's imports and exports are those of the contract, by name.

use wasmtime::Engine;
use wasmtime::component::types::Component;

use crate::{Kinds, LoadError};

/// The contract's package and its only version so far.
const PACKAGE: &str = "bunraku:plugin";
const VERSION: &str = "0.1.0";

const IMPORTS: [&str; 6] = ["types", "log", "clock", "facts", "object-store", "stored-config"];

/// What `wasmtime_wasi::p2::add_to_linker_async` links, and the outgoing half of HTTP.
const WASI: [(&str, &[&str]); 7] = [
    ("wasi:io", &["error", "poll", "streams"]),
    ("wasi:clocks", &["wall-clock", "monotonic-clock"]),
    ("wasi:random", &["random", "insecure", "insecure-seed"]),
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stdin",
            "stdout",
            "stderr",
            "terminal-input",
            "terminal-output",
            "terminal-stdin",
            "terminal-stdout",
            "terminal-stderr",
        ],
    ),
    ("wasi:http", &["types", "outgoing-handler"]),
    ("wasi:filesystem", &["types", "preopens"]),
    (
        "wasi:sockets",
        &[
            "network",
            "instance-network",
            "tcp",
            "tcp-create-socket",
            "udp",
            "udp-create-socket",
            "ip-name-lookup",
        ],
    ),
];

/// Checks the names and tells the kinds.
pub(crate) fn check(component: &Component, engine: &Engine) -> Result<Kinds, LoadError> {
    let imports = component.imports(engine).map(|(name, _)| name);
    let exports = component.exports(engine).map(|(name, _)| name);
    check_names(&imports.collect::<Vec<_>>(), &exports.collect::<Vec<_>>())
}

fn check_names(imports: &[&str], exports: &[&str]) -> Result<Kinds, LoadError> {
    for name in imports.iter().chain(exports) {
        let Name { package, interface, version } = Name::parse(name);
        if package == PACKAGE && version != VERSION {
            return Err(LoadError::WrongVersion {
                found: format!("{PACKAGE}/{interface}@{}", if version.is_empty() { "none" } else { version }),
                wanted: format!("{PACKAGE}@{VERSION}"),
            });
        }
    }
    let ours = |interface: &str| format!("{PACKAGE}/{interface}@{VERSION}");
    let exported = |interface: &str| exports.contains(&ours(interface).as_str());
    let missing: Vec<_> =
        ["manifest"].into_iter().filter(|interface| !exported(interface)).map(ours).collect();
    let unknown_imports: Vec<_> =
        imports.iter().filter(|name| !is_linked(name)).map(|name| (*name).to_owned()).collect();
    if !missing.is_empty() || !unknown_imports.is_empty() {
        return Err(LoadError::WrongWorld { missing, unknown_imports });
    }
    let kinds = Kinds {
        approver: exported("csr-approval"),
        classifier: exported("node-classification"),
        provider: exported("resource-provision"),
    };
    if kinds == Kinds::default() { Err(LoadError::NoKind) } else { Ok(kinds) }
}

fn is_linked(name: &str) -> bool {
    let Name { package, interface, version } = Name::parse(name);
    let wasi = WASI.iter().any(|(known, interfaces)| package == *known && interfaces.contains(&interface));
    (package == PACKAGE && IMPORTS.contains(&interface)) || (wasi && version.starts_with("0.2."))
}

/// `package/interface@version`; what is not there is empty.
struct Name<'a> {
    package: &'a str,
    interface: &'a str,
    version: &'a str,
}

impl<'a> Name<'a> {
    fn parse(name: &'a str) -> Self {
        let (path, version) = name.split_once('@').unwrap_or((name, ""));
        let (package, interface) = path.split_once('/').unwrap_or(("", path));
        Name { package, interface, version }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(imports: &[&str], exports: &[&str], expected: &str) {
        let found = match check_names(imports, exports) {
            Ok(kinds) => format!("{kinds:?}"),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{found}");
    }

    const MANIFEST: &str = "bunraku:plugin/manifest@0.1.0";
    const APPROVAL: &str = "bunraku:plugin/csr-approval@0.1.0";

    #[test]
    fn a_component_may_be_of_several_kinds() {
        check(&[], &[MANIFEST, APPROVAL], "approver: true, classifier: false, provider: false");
        check(
            &["bunraku:plugin/facts@0.1.0", "wasi:cli/environment@0.2.3", "wasi:http/outgoing-handler@0.2.0"],
            &[MANIFEST, APPROVAL, "bunraku:plugin/node-classification@0.1.0", "init"],
            "approver: true, classifier: true, provider: false",
        );
    }

    // faults row 56
    #[test]
    fn another_version_of_the_contract_is_refused() {
        check(&[], &[MANIFEST, "bunraku:plugin/csr-approval@0.2.0"], "csr-approval@0.2.0, this host speaks");
        check(&["bunraku:plugin/log@0.1.1"], &[MANIFEST, APPROVAL], "built for bunraku:plugin/log@0.1.1");
        check(&["bunraku:plugin/log"], &[MANIFEST, APPROVAL], "built for bunraku:plugin/log@none");
    }

    // faults row 56
    #[test]
    fn the_wrong_world_is_refused_with_every_name() {
        check(&[], &[APPROVAL], "does not export bunraku:plugin/manifest@0.1.0");
        check(
            &["wasi:http/incoming-handler@0.2.0", "wasi:cli/environment@0.3.0", "run"],
            &[],
            "it does not export bunraku:plugin/manifest@0.1.0; it imports \
             wasi:http/incoming-handler@0.2.0, wasi:cli/environment@0.3.0, run, unknown",
        );
        check(&[], &[MANIFEST], "no kind");
    }
}
