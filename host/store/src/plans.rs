//! Which indexes SQLite uses.
