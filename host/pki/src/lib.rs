//! X.509 and PKCS#10 as checked types of our own. Pure: no files, no clock, no store.
