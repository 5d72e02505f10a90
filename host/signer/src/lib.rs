//! Holds the private key of the CA.
