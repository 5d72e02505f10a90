//! The use cases: enrol, classify, compile, report.
