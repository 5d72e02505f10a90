//! Masters that follow a fake CA on loopback: from the first contact over bad lists and crashes to a CA
//! that is gone.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

#[path = "../../../client/tests/authority/mod.rs"]
mod authority;

mod absence;
mod crash;
mod disk;
mod enrolment;
mod fake;
mod lists;
mod world;
