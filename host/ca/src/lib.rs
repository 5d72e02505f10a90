//! Issues, renews and revokes; the only crate near the CA key.
