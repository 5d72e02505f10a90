//! `/puppet/v3/file_metadata`, `file_metadatas` and `file_content`: plugins, external facts and module
//! files. The crate `files` finds them; here is only how agents ask.

use std::io::{Read, Take};
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use bytes::Bytes;
use files::{ChecksumType, Content, Error, Links, Options, Permissions, Tree, Walk};
use tokio::fs::File;

use crate::answer::{self, OCTETS, Outcome, Refusal};
use crate::backend::Backend;
use crate::extract::{AsJson, Asked, Environment, bad_pairs, no_environment};
use crate::pairs::Pairs;
use crate::server::Shared;

/// Files up to this many bytes are read whole, and so may be compressed; larger ones are streamed.
const WHOLE_FILE: u64 = 1 << 20;

/// A file as agents name it: `<mount>[/<path>]`. Without a mount there is no such route.
#[derive(Debug)]
pub struct FileKey {
    mount: String,
    /// Without empty segments; empty for the mount itself.
    path: String,
}

/// How the query wants a file described. A 400 for a value that it cannot have.
#[derive(Debug)]
pub struct Described(Options);

/// How the query wants a folder walked. A 400 for a value that it cannot have.
#[derive(Debug)]
pub struct Walked(Walk);

/// GET `file_metadata/<mount>/<path>`.
pub async fn metadata<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    key: FileKey,
    AsJson(content_type): AsJson,
    Described(options): Described,
    environment: Environment,
) -> Outcome {
    let found = look(&shared, "file_metadata", key, environment, move |tree, mount, path, environment| {
        tree.metadata(mount, path, environment, &options)
    });
    answer::json(content_type, &found.await?)
}

/// GET `file_metadatas/<mount>[/<path>]`.
pub async fn metadatas<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    key: FileKey,
    AsJson(content_type): AsJson,
    Described(options): Described,
    Walked(walk): Walked,
    environment: Environment,
) -> Outcome {
    let found = look(&shared, "file_metadata", key, environment, move |tree, mount, path, environment| {
        tree.metadatas(mount, path, environment, &options, &walk)
    });
    answer::json(content_type, &found.await?)
}

/// GET `file_content/<mount>/<path>`.
pub async fn content<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    key: FileKey,
    environment: Environment,
) -> Outcome {
    let found = look(&shared, "file_content", key, environment, |tree, mount, path, environment| {
        let Content { file, length } = tree.content(mount, path, environment)?;
        if length > WHOLE_FILE {
            return Ok(Err((file, length)));
        }
        let mut whole = Vec::new();
        let mut reading: Take<_> = file.take(length);
        let read = reading.read_to_end(&mut whole);
        Ok(Ok(read.map(|_| Bytes::from(whole))))
    });
    match found.await? {
        Ok(Ok(whole)) => Ok(answer::ok(OCTETS, whole)),
        Ok(Err(error)) => {
            tracing::error!(%error, "a module's file cannot be read");
            Err(Refusal::internal())
        }
        Err((file, length)) => Ok(answer::file(File::from_std(file), length)),
    }
}

/// Asks the tree, on a thread that may block.
async fn look<B: Backend, T: Send + 'static>(
    shared: &Shared<B>,
    thing: &str,
    FileKey { mount, path }: FileKey,
    Environment(environment): Environment,
    ask: impl FnOnce(&Tree, &str, &str, &str) -> Result<T, Error> + Send + 'static,
) -> Result<T, Refusal> {
    if !shared.backend.environment_exists(&environment) {
        return Err(no_environment(&environment));
    }
    let tree = shared.backend.files().clone();
    let name = if path.is_empty() { mount.clone() } else { format!("{mount}/{path}") };
    let asked = tokio::task::spawn_blocking(move || ask(&tree, &mount, &path, &environment)).await;
    match asked {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(Error::NotFound(_))) => Err(Refusal::not_found(&format!("{thing} {name}"))),
        Ok(Err(error @ (Error::BadPath(_) | Error::BadPattern { .. } | Error::TooMany { .. }))) => {
            Err(Refusal::bad_request(error.to_string()))
        }
        // Which folder it is, is for the log alone.
        Ok(Err(error)) => {
            tracing::error!(%error, "a module's file cannot be served");
            Err(Refusal::internal())
        }
        Err(_) => Err(Refusal::internal()),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for FileKey {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<FileKey, Refusal> {
        let asked = Asked::from_request_parts(parts, state).await?;
        let Path(key) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| asked.forbid())?;
        let (mount, path) = key.split_once('/').unwrap_or((&key, ""));
        if mount.is_empty() {
            return Err(asked.forbid());
        }
        let path: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        Ok(FileKey { mount: mount.to_owned(), path: path.join("/") })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Described {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Described, Refusal> {
        let asked = Asked::from_request_parts(parts, state).await?;
        Ok(Described(Options {
            checksum: parameter::<ChecksumType>(asked.query(), "checksum_type")?.unwrap_or_default(),
            links: parameter::<Links>(asked.query(), "links")?.unwrap_or_default(),
            permissions: parameter::<Permissions>(asked.query(), "source_permissions")?.unwrap_or_default(),
        }))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Walked {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Walked, Refusal> {
        let asked = Asked::from_request_parts(parts, state).await?;
        // Agents say -1 or 0 for no limit of their own.
        let max_files = parameter::<i64>(asked.query(), "max_files")?.filter(|limit| *limit > 0);
        Ok(Walked(Walk {
            recurse: parameter::<bool>(asked.query(), "recurse")?.unwrap_or(false),
            depth: parameter::<u32>(asked.query(), "recurselimit")?,
            max_files: max_files.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            ignore: asked.query().all("ignore").map(str::to_owned).collect(),
        }))
    }
}

fn parameter<T: FromStr>(query: &Pairs, name: &'static str) -> Result<Option<T>, Refusal> {
    match query.one(name) {
        Ok(Some(text)) => match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => {
                Err(Refusal::bad_request(format!("the parameter {name} has a value that it cannot have")))
            }
        },
        Ok(None) => Ok(None),
        Err(error) => Err(bad_pairs(&error)),
    }
}
