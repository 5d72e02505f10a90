//! Everything that reads bytes of strangers, as functions that must neither panic nor contradict
//! themselves, whatever the bytes.
//!
//! `cargo xtask fuzz` runs each for a while under libFuzzer, guided by coverage; `cargo test` runs each
//! over its corpus in `corpus/TARGET/`: seeds, what added coverage, and what once went wrong. Never part
//! of the product. Sources that belong to a larger crate are compiled in here by path.

mod certificates;
mod der;
mod texts;

#[path = "../../../host/ca/src/inventory.rs"]
mod inventory;
#[path = "../../../host/follower/src/judge.rs"]
#[allow(dead_code, reason = "the rest of it is the follower's")]
mod judge;
#[path = "../../../host/http/src/pairs.rs"]
#[allow(dead_code, reason = "the rest of it is for routes")]
mod pairs;
#[path = "../../../host/signer/src/protocol.rs"]
#[allow(dead_code, reason = "the rest of it is the signer's")]
mod protocol;
#[path = "../../../host/http/src/target.rs"]
#[allow(dead_code, reason = "the rest of it is for routes")]
mod target;

/// What is done with an input. It panics if the input shows a fault.
pub type Target = fn(&[u8]);

/// Every target under its name.
pub const TARGETS: [(&str, Target); 12] = [
    ("csr", certificates::csr),
    ("certificate", certificates::certificate),
    ("crl", certificates::crl),
    ("seal", certificates::seal),
    ("keys", certificates::keys),
    ("import", texts::import),
    ("offer", texts::offer),
    ("frames", texts::frames),
    ("target", texts::target),
    ("pairs", texts::pairs),
    ("definition", texts::definition),
    ("origin", texts::origin),
];

/// The target of a name.
pub fn target_named(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}
