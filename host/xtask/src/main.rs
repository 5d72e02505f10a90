//! Building plugins, demo, tests and benches.

fn main() {}
