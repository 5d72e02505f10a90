//! Node definitions in S3 or a directory.
