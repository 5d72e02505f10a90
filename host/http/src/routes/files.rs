//! `/puppet/v3/file_metadata`, `file_metadatas` and `file_content`: plugins, external facts and module
//! files. The crate `files` finds them; here is only how agents ask.

use std::io::{Read, Take};
use std::str::FromStr;

use bytes::Bytes;
use files::{ChecksumType, Content as Found, Error, Links, Options, Permissions, Tree, Walk};
use tokio::fs::File;

use crate::answer::{Answer, Content, OCTETS, Outcome, Refusal};
use crate::backend::Backend;
use crate::exchange::{AS_JSON, Exchange, bad_pairs, no_environment};
use crate::route::FileKey;

/// Files up to this many bytes are read whole, and so may be compressed; larger ones are streamed.
const WHOLE_FILE: u64 = 1 << 20;

/// GET `file_metadata/<mount>/<path>`.
pub async fn metadata<B: Backend>(exchange: &Exchange<'_, B>, key: FileKey<'_>) -> Outcome {
    let content_type = exchange.accepted(AS_JSON)?;
    let options = options(exchange)?;
    let found = look(exchange, "file_metadata", key, move |tree, mount, path, environment| {
        tree.metadata(mount, path, environment, &options)
    });
    Ok(Answer { content_type: Some(content_type), ..Answer::json(&found.await?)? })
}

/// GET `file_metadatas/<mount>[/<path>]`.
pub async fn metadatas<B: Backend>(exchange: &Exchange<'_, B>, key: FileKey<'_>) -> Outcome {
    let content_type = exchange.accepted(AS_JSON)?;
    let options = options(exchange)?;
    let walk = walk(exchange)?;
    let found = look(exchange, "file_metadata", key, move |tree, mount, path, environment| {
        tree.metadatas(mount, path, environment, &options, &walk)
    });
    Ok(Answer { content_type: Some(content_type), ..Answer::json(&found.await?)? })
}

/// GET `file_content/<mount>/<path>`.
pub async fn content<B: Backend>(exchange: &Exchange<'_, B>, key: FileKey<'_>) -> Outcome {
    let found = look(exchange, "file_content", key, |tree, mount, path, environment| {
        let Found { file, length } = tree.content(mount, path, environment)?;
        if length > WHOLE_FILE {
            return Ok(Err((file, length)));
        }
        let mut whole = Vec::new();
        let mut reading: Take<_> = file.take(length);
        let read = reading.read_to_end(&mut whole);
        Ok(Ok(read.map(|_| Bytes::from(whole))))
    });
    match found.await? {
        Ok(Ok(whole)) => Ok(Answer::ok(OCTETS, whole)),
        Ok(Err(error)) => {
            tracing::error!(%error, "a module's file cannot be read");
            Err(Refusal::internal())
        }
        Err((file, length)) => {
            Ok(Answer { content: Content::File(File::from_std(file), length), ..Answer::ok(OCTETS, "") })
        }
    }
}

/// Asks the tree, on a thread that may block.
async fn look<B: Backend, T: Send + 'static>(
    exchange: &Exchange<'_, B>,
    thing: &str,
    key: FileKey<'_>,
    ask: impl FnOnce(&Tree, &str, &str, &str) -> Result<T, Error> + Send + 'static,
) -> Result<T, Refusal> {
    let environment = exchange.environment()?.to_owned();
    if !exchange.backend.environment_exists(&environment) {
        return Err(no_environment(&environment));
    }
    let tree = exchange.backend.files().clone();
    let (mount, path) = (key.mount.to_owned(), key.path);
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

fn options<B>(exchange: &Exchange<'_, B>) -> Result<Options, Refusal> {
    Ok(Options {
        checksum: parameter::<ChecksumType, B>(exchange, "checksum_type")?.unwrap_or_default(),
        links: parameter::<Links, B>(exchange, "links")?.unwrap_or_default(),
        permissions: parameter::<Permissions, B>(exchange, "source_permissions")?.unwrap_or_default(),
    })
}

fn walk<B>(exchange: &Exchange<'_, B>) -> Result<Walk, Refusal> {
    // Agents say -1 or 0 for no limit of their own.
    let max_files = parameter::<i64, B>(exchange, "max_files")?.filter(|limit| *limit > 0);
    Ok(Walk {
        recurse: parameter::<bool, B>(exchange, "recurse")?.unwrap_or(false),
        depth: parameter::<u32, B>(exchange, "recurselimit")?,
        max_files: max_files.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        ignore: exchange.query.all("ignore").map(str::to_owned).collect(),
    })
}

fn parameter<T: FromStr, B>(exchange: &Exchange<'_, B>, name: &'static str) -> Result<Option<T>, Refusal> {
    match exchange.query.one(name) {
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
