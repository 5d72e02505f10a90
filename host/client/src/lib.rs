//! A small HTTP client for a CA.
