//! Node definitions and claims: objects by certname, in S3 or in a directory.
//!
//! `dir:/path` is the embedded default; `s3://bucket/prefix` goes through aws-sdk-s3 and works with any
//! S3-compatible store. An object's key in the store is the prefix and the key as given, nothing
//! between: `s3://bucket/nodes/` for a folder.
//!
//! It never says what an object means: `definition` reads node definitions, and plugins decide. It
//! never turns "I could not ask" into "not there": [`Error::NotFound`] stands apart from
//! [`Error::DeniedOrMissing`] and [`Error::Unavailable`]. Durable state of the master's own is `store`'s.

mod dir;
mod error;
mod key;
mod retry;
mod s3;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use time::OffsetDateTime;
use url::Url;

pub use error::Error;

use dir::Dir;
use retry::{Failure, Retry};
use s3::S3;

/// Where the registry is, and the bounds on asking it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `dir:/path` or `s3://bucket/prefix`.
    pub url: Url,
    /// An S3-compatible server, such as `http://127.0.0.1:9000`; `None` is AWS.
    pub endpoint: Option<String>,
    /// The region; `None` asks the SDK's chain, or says `us-east-1` where there is an endpoint.
    pub region: Option<String>,
    /// Bucket in the path and not in the host name; most S3-compatible servers want that.
    pub path_style: bool,
    /// For one call, all its attempts and pauses included.
    pub deadline: Duration,
    /// Requests per call, at least 1.
    pub attempts: u32,
    /// Objects kept to be revalidated; 0 keeps none. They take up to this times `max_object_bytes`.
    pub cache_entries: usize,
    /// Larger objects are [`Error::TooLarge`].
    pub max_object_bytes: u64,
}

impl Settings {
    /// The usual bounds: 5 s, 4 attempts, 1,024 cached objects of at most 1 MiB.
    pub fn new(url: Url) -> Settings {
        Settings {
            url,
            endpoint: None,
            region: None,
            path_style: false,
            deadline: Duration::from_secs(5),
            attempts: 4,
            cache_entries: 1024,
            max_object_bytes: 1 << 20,
        }
    }
}

/// An object with its body. `Debug` leaves the body out: a node definition may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Object {
    /// Without the registry's prefix.
    pub key: String,
    /// The content.
    pub body: Vec<u8>,
    /// Changes when the content does.
    pub etag: Option<String>,
    /// When it was last written.
    pub modified: Option<OffsetDateTime>,
    /// Its media type, where the store keeps one.
    pub content_type: Option<String>,
    /// For log lines.
    pub url: String,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("url", &self.url)
            .field("etag", &self.etag)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// An object without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Without the registry's prefix.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Changes when the content does. A directory's listing leaves it out.
    pub etag: Option<String>,
    /// When it was last written.
    pub modified: Option<OffsetDateTime>,
    /// Its media type, where the store keeps one; listings leave it out.
    pub content_type: Option<String>,
    /// For log lines.
    pub url: String,
}

/// One page of keys, in key order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Objects at this level.
    pub objects: Vec<ObjectInfo>,
    /// Keys up to and with the next `/`, for what lies deeper.
    pub prefixes: Vec<String>,
    /// The cursor of the next page; `None` on the last.
    pub next: Option<String>,
}

/// An open registry. Share it with `Arc`.
pub struct Registry {
    backend: Backend,
    retry: Retry,
    cache: Option<Mutex<LruCache<String, Arc<Object>>>>,
    /// What stands before a key in a URL.
    base: String,
}

enum Backend {
    Dir(Dir),
    S3(S3),
}

/// The answer to a conditional get.
enum Fetched {
    Unchanged,
    Object(Object),
}

impl Registry {
    /// Takes the settings; makes the folder of a `dir:` registry (0700) where there is none. A bucket
    /// is not asked for yet: see [`Registry::check`].
    pub async fn open(settings: &Settings) -> Result<Registry, Error> {
        if settings.attempts == 0 || settings.deadline.is_zero() {
            return Err(Error::Config("deadline and attempts must be more than 0".to_owned()));
        }
        let (backend, base) = match settings.url.scheme() {
            "dir" => {
                let dir = Dir::open(&settings.url, settings.max_object_bytes)?;
                let base = format!("{}/", dir.describe());
                (Backend::Dir(dir), base)
            }
            "s3" => {
                let s3 = S3::open(settings).await?;
                let base = s3.describe();
                (Backend::S3(s3), base)
            }
            other => {
                let message = format!("url: \"{other}:\" is unknown, use dir:/path or s3://bucket/prefix");
                return Err(Error::Config(message));
            }
        };
        let retry = Retry { deadline: settings.deadline, attempts: settings.attempts };
        let cache = NonZeroUsize::new(settings.cache_entries).map(|size| Mutex::new(LruCache::new(size)));
        Ok(Registry { backend, retry, cache, base })
    }

    /// Whether the registry can be read and listed: what an operator should know at the start.
    pub async fn check(&self) -> Result<(), Error> {
        self.list("", None).await.map(|_| ())
    }

    /// The object, as the store has it now: a cached one is served only after the store has confirmed
    /// it in this very call.
    pub async fn get(&self, key: &str) -> Result<Arc<Object>, Error> {
        key::check(key)?;
        let url = self.url_of(key);
        let known = self.cached(key);
        let etag = known.as_ref().and_then(|object| object.etag.as_deref());
        let fetched = self
            .retry
            .run(&url, async || match &self.backend {
                Backend::Dir(dir) => dir.get(key, &url, etag).await,
                Backend::S3(s3) => s3.get(key, &url, etag).await,
            })
            .await;
        match (fetched, known) {
            (Ok(Fetched::Unchanged), Some(object)) => Ok(object),
            (Ok(Fetched::Object(object)), _) => {
                let object = Arc::new(object);
                self.keep(key, &object);
                Ok(object)
            }
            (Ok(Fetched::Unchanged), None) => {
                Err(Error::Refused { url, reason: "304 to an unconditional request".to_owned() })
            }
            (Err(error), _) => {
                if matches!(error, Error::NotFound { .. } | Error::TooLarge { .. }) {
                    self.forget(key);
                }
                Err(error)
            }
        }
    }

    /// The object without its body.
    pub async fn head(&self, key: &str) -> Result<ObjectInfo, Error> {
        key::check(key)?;
        let url = self.url_of(key);
        self.retry
            .run(&url, async || match &self.backend {
                Backend::Dir(dir) => dir.head(key, &url).await,
                Backend::S3(s3) => s3.head(key, &url).await,
            })
            .await
    }

    /// Changes when the object does; `None` when it is not there. Cheap: no body is moved.
    pub async fn version(&self, key: &str) -> Result<Option<String>, Error> {
        match self.head(key).await {
            Ok(info) => Ok(Some(info.etag.unwrap_or_else(|| format!("{:?}/{}", info.modified, info.size)))),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One page of the keys that begin with `prefix`, up to the next `/`. `cursor`: the `next` of the
    /// page before.
    pub async fn list(&self, prefix: &str, cursor: Option<&str>) -> Result<Listing, Error> {
        key::check_prefix(prefix)?;
        let url = self.url_of(prefix);
        self.retry
            .run(&url, async || match &self.backend {
                Backend::Dir(dir) => dir.list(prefix, &url, cursor).await,
                Backend::S3(s3) => s3.list(prefix, &url, cursor).await,
            })
            .await
    }

    /// Writes an object, whole or not at all; answers with its etag. `only_new`: [`Error::Exists`]
    /// where it is there. Of two at once, one wins. (If the answer to the winning request is lost, the
    /// next attempt finds the object there: `Exists` then means "by somebody, perhaps by me".)
    pub async fn put(&self, key: &str, body: &[u8], only_new: bool) -> Result<Option<String>, Error> {
        key::check(key)?;
        let url = self.url_of(key);
        self.forget(key);
        self.retry
            .run(&url, async || match &self.backend {
                Backend::Dir(dir) => dir.put(key, &url, body, only_new).await,
                Backend::S3(s3) => s3.put(key, &url, body, only_new).await,
            })
            .await
    }

    /// Deletes an object; one that is not there is deleted already.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        key::check(key)?;
        let url = self.url_of(key);
        self.forget(key);
        self.retry
            .run(&url, async || match &self.backend {
                Backend::Dir(dir) => dir.delete(key, &url).await,
                Backend::S3(s3) => s3.delete(key, &url).await,
            })
            .await
    }

    /// Where the key's object is, such as `s3://bucket/nodes/host1`: for log lines.
    pub fn url_of(&self, key: &str) -> String {
        format!("{}{key}", self.base)
    }

    /// Where the registry is, such as `s3://bucket/nodes/` or `dir:/var/lib/bunraku/registry`.
    pub fn describe(&self) -> String {
        match &self.backend {
            Backend::Dir(dir) => dir.describe(),
            Backend::S3(s3) => s3.describe(),
        }
    }

    fn cache(&self) -> Option<MutexGuard<'_, LruCache<String, Arc<Object>>>> {
        // Nothing panics while it is held; were it so, entries would still be whole.
        self.cache.as_ref().map(|cache| cache.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn cached(&self, key: &str) -> Option<Arc<Object>> {
        self.cache()?.get(key).map(Arc::clone)
    }

    fn keep(&self, key: &str, object: &Arc<Object>) {
        if let Some(mut cache) = self.cache() {
            cache.put(key.to_owned(), Arc::clone(object));
        }
    }

    fn forget(&self, key: &str) {
        if let Some(mut cache) = self.cache() {
            cache.pop(key);
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.describe()).finish()
    }
}
