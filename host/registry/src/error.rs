/// What can go wrong, by what a caller can do about it. Every message names the place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such object: the one answer that means "the registry does not expect this node".
    #[error("{url}: not found")]
    NotFound {
        /// Where.
        url: String,
    },
    /// The store will not say whether the object is there (403). S3 answers so for missing objects
    /// too, where listing is not granted: never take it for either answer.
    #[error(
        "{url}: denied-or-missing ({reason}): check the credentials, and grant read and list on the prefix"
    )]
    DeniedOrMissing {
        /// Where.
        url: String,
        /// What the store said, such as `403 AccessDenied`.
        reason: String,
    },
    /// No usable answer within the deadline and the attempts.
    #[error("{url}: unavailable after {attempts} attempts: {source}")]
    Unavailable {
        /// Where.
        url: String,
        /// How many requests were begun.
        attempts: u32,
        /// Whether the last one got no answer in its time, as opposed to a bad one.
        timed_out: bool,
        /// Why the last one failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The object is larger than `max_object_bytes`; it was not read.
    #[error("{url}: larger than {limit} bytes")]
    TooLarge {
        /// Where.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// Not a key that this registry will ask for.
    #[error("{key:?} is no registry key: {why}")]
    BadKey {
        /// The key as given.
        key: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// `put` with `only_new`, and the object is there.
    #[error("{url}: exists already")]
    Exists {
        /// Where.
        url: String,
    },
    /// An answer that asking again will not change.
    #[error("{url}: refused ({reason})")]
    Refused {
        /// Where.
        url: String,
        /// What the store said, such as `400 InvalidArgument`.
        reason: String,
    },
    /// The settings cannot work.
    #[error("registry: {0}")]
    Config(String),
}
