//! Follows a CA from a catalog master.
