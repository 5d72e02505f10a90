//! Provider: Hadoop roles.
