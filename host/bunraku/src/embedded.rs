//! The default plugins, part of the program.

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The embedded component of that name.
pub fn component(name: &str) -> Option<&'static [u8]> {
    EMBEDDED.iter().find(|(n, _)| *n == name).map(|(_, bytes)| *bytes)
}
