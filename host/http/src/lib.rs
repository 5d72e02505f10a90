//! Routes of the agent protocol; identity from TLS; no decisions.
