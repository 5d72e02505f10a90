//! Faults under every write of the CA and its store: a disk that is full, fails or goes read-only, and
//! the power going at any instant. Faults rows 21, 22, 23; invariants 1, 2 and 10.
//!
//! `examples/workload.rs` is a small life of a CA that tells each fact as it is acknowledged. `strace`
//! puts errors under its system calls (`injection`), or writes them all down, and then a model of what
//! a disk may keep of them (`disk`) makes the folders that a power cut could leave (`power`). Whatever
//! is left is opened with no faults and has to bear out all that was acknowledged (`verdict`).
//!
//! It needs `strace` and leave to trace. Without either the tests fail, for nothing else here looks at
//! what reaches the disk. `BUNRAKU_FAULTS=all` tries every place instead of a choice of them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed, loudly"
)]

mod disk;
mod injection;
mod power;
mod settings;
mod trace;
mod verdict;
mod workload;
