//! The program: arguments, configuration, wiring, signals and exit codes.

fn main() {}
