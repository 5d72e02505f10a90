//! The registry as a bucket. What an answer means goes by its HTTP status first and by code strings
//! second, since S3-compatible servers agree on the former only.
//!
//! Redirects are never followed: neither the SDK nor the HTTP client does, and a 3xx is
//! [`Error::Refused`].

use std::error::Error as StdError;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, retry::RetryConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::{RequestChecksumCalculation, StalledStreamProtectionConfig};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_smithy_http_client::tls;
use percent_encoding::percent_decode_str;
use time::OffsetDateTime;

use crate::retry::Cause;
use crate::{Error, Failure, Fetched, Listing, Object, ObjectInfo, Settings, key};

/// RFC 9512.
const YAML: &str = "application/yaml";

pub(crate) struct S3 {
    client: Client,
    bucket: String,
    prefix: String,
    max_object_bytes: u64,
}

impl S3 {
    pub(crate) async fn open(settings: &Settings) -> Result<S3, Error> {
        let (bucket, prefix) = place(settings)?;
        // One crypto provider in the whole program, and never the process default.
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            // Our own deadline and attempts cover it all, bodies included.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // Older S3-compatible servers do not understand the trailers.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
        if let Some(endpoint) = &settings.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let region =
            settings.region.clone().or_else(|| settings.endpoint.as_ref().map(|_| "us-east-1".to_owned()));
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        let shared = loader.load().await;
        if shared.region().is_none() {
            return Err(Error::Config(
                "region: none is set, here, in the environment or by the instance".to_owned(),
            ));
        }
        let config = aws_sdk_s3::config::Builder::from(&shared).force_path_style(settings.path_style).build();
        Ok(S3 {
            client: Client::from_conf(config),
            bucket,
            prefix,
            max_object_bytes: settings.max_object_bytes,
        })
    }

    pub(crate) fn describe(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }

    pub(crate) async fn get(&self, key: &str, url: &str, etag: Option<&str>) -> Result<Fetched, Failure> {
        let request = self.client.get_object().bucket(&self.bucket).key(self.full(key));
        let answer = request.set_if_none_match(etag.map(str::to_owned)).send().await;
        let found = match answer {
            Err(error) if status(&error) == Some(304) => return Ok(Fetched::Unchanged),
            answer => answer.map_err(|error| judge(url, &error))?,
        };
        let length = found.content_length().and_then(|length| u64::try_from(length).ok());
        let body = self.read(found.body, length, url).await?;
        Ok(Fetched::Object(Object {
            key: key.to_owned(),
            body,
            etag: found.e_tag,
            modified: found.last_modified.and_then(moment),
            content_type: found.content_type,
            url: url.to_owned(),
        }))
    }

    pub(crate) async fn head(&self, key: &str, url: &str) -> Result<ObjectInfo, Failure> {
        let answer = self.client.head_object().bucket(&self.bucket).key(self.full(key)).send().await;
        let found = answer.map_err(|error| judge(url, &error))?;
        Ok(ObjectInfo {
            key: key.to_owned(),
            size: size(found.content_length),
            etag: found.e_tag,
            modified: found.last_modified.and_then(moment),
            content_type: found.content_type,
            url: url.to_owned(),
        })
    }

    pub(crate) async fn list(
        &self,
        prefix: &str,
        url: &str,
        cursor: Option<&str>,
    ) -> Result<Listing, Failure> {
        let request =
            self.client.list_objects_v2().bucket(&self.bucket).prefix(self.full(prefix)).delimiter("/");
        let answer = request.set_continuation_token(cursor.map(str::to_owned)).send().await;
        let page = answer.map_err(|error| judge(url, &error))?;
        let short = |key: &str| key.strip_prefix(&self.prefix).map(str::to_owned);
        let objects = page.contents().iter().filter_map(|object| {
            // A key that could not be asked for (a folder's marker, odd characters) is no object of ours.
            let key = short(object.key()?).filter(|key| key::check(key).is_ok())?;
            Some(ObjectInfo {
                url: format!("{}{key}", self.describe()),
                key,
                size: size(object.size()),
                etag: object.e_tag().map(str::to_owned),
                modified: object.last_modified().copied().and_then(moment),
                content_type: None,
            })
        });
        let prefixes = page.common_prefixes().iter().filter_map(|deeper| short(deeper.prefix()?));
        Ok(Listing {
            objects: objects.collect(),
            prefixes: prefixes.collect(),
            next: page.next_continuation_token().map(str::to_owned),
        })
    }

    pub(crate) async fn put(
        &self,
        key: &str,
        url: &str,
        body: &[u8],
        only_new: bool,
    ) -> Result<Option<String>, Failure> {
        let request = self.client.put_object().bucket(&self.bucket).key(self.full(key));
        let request = request.content_type(YAML).body(ByteStream::from(body.to_vec()));
        let answer = request.set_if_none_match(only_new.then(|| "*".to_owned())).send().await;
        Ok(answer.map_err(|error| judge(url, &error))?.e_tag)
    }

    pub(crate) async fn delete(&self, key: &str, url: &str) -> Result<(), Failure> {
        let answer = self.client.delete_object().bucket(&self.bucket).key(self.full(key)).send().await;
        match answer.map_err(|error| judge(url, &error)) {
            Ok(_) | Err(Failure::Final(Error::NotFound { .. })) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Stops at the limit, whatever length was announced.
    async fn read(&self, mut body: ByteStream, length: Option<u64>, url: &str) -> Result<Vec<u8>, Failure> {
        let limit = self.max_object_bytes;
        let too_large = || Failure::Final(Error::TooLarge { url: url.to_owned(), limit });
        if length.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut all = Vec::new();
        while let Some(chunk) = body.next().await {
            all.extend_from_slice(&chunk.map_err(|error| Failure::Again(Cause::of(&error)))?);
            if u64::try_from(all.len()).is_ok_and(|read| read > limit) {
                return Err(too_large());
            }
        }
        match u64::try_from(all.len()) {
            Ok(read) if length.is_none_or(|length| length == read) => Ok(all),
            _ => Err(Failure::Again(Cause(format!("{} bytes came, {length:?} were announced", all.len())))),
        }
    }
}

/// Bucket and prefix.
fn place(settings: &Settings) -> Result<(String, String), Error> {
    let url = &settings.url;
    if !url.username().is_empty() || url.password().is_some() {
        // The text is not repeated: it holds a secret.
        let message = "url: credentials do not belong here, use the environment or a profile";
        return Err(Error::Config(message.to_owned()));
    }
    let wrong = || Error::Config(format!("url: \"{url}\" must be s3://bucket/prefix"));
    let bucket = url.host_str().filter(|bucket| !bucket.is_empty()).ok_or_else(wrong)?;
    if url.port().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong());
    }
    let path = percent_decode_str(url.path()).decode_utf8().map_err(|_| wrong())?;
    let prefix = path.strip_prefix('/').unwrap_or(&path);
    key::check_prefix(prefix)?;
    Ok((bucket.to_owned(), prefix.to_owned()))
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn judge<E>(url: &str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let url = url.to_owned();
    let Some(status) = status(error) else {
        // No answer at all: no connection, no credentials, a broken connection.
        return Failure::Again(Cause::of(error));
    };
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    let reason = code.map_or_else(|| status.to_string(), |code| format!("{status} {code}"));
    Failure::Final(match status {
        404 if code == Some("NoSuchBucket") => Error::Config(format!("{url}: there is no such bucket")),
        404 => Error::NotFound { url },
        403 => Error::DeniedOrMissing { url, reason },
        412 => Error::Exists { url },
        // 409: two conditional writes at once. 200..300: an answer that could not be read.
        200..300 | 408 | 409 | 429 | 500 | 502..=504 => return Failure::Again(Cause(reason)),
        300..400 => Error::Refused {
            url,
            reason: format!("{reason}: redirects are not followed, set region and endpoint"),
        },
        _ => Error::Refused { url, reason },
    })
}

fn size(length: Option<i64>) -> u64 {
    length.and_then(|length| u64::try_from(length).ok()).unwrap_or_default()
}

fn moment(at: DateTime) -> Option<OffsetDateTime> {
    let nanos = i128::from(at.secs()) * 1_000_000_000 + i128::from(at.subsec_nanos());
    OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()
}
