//! Where components come from that are no files: this program, a bucket, the CA.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::StatusCode;
use follower::Follower;
use rollout::{BoxFuture, Component, Fetch};

use crate::config::Config;
use crate::config::store::ObjectStore;
use crate::embedded;
use crate::setup;

/// The largest component fetched, in bytes.
const MAX_COMPONENT: u64 = 64 << 20;
/// How long an object of that size may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The header of a component's signature.
const SIGNATURE: &str = "bunraku-signature";

/// Gets components for plugin sets.
pub struct Sources {
    /// How buckets are reached: as the registry is.
    like: ObjectStore,
    /// The CA, once this catalog master is enrolled there.
    ca: OnceLock<Arc<Follower>>,
}

impl Sources {
    /// As the configuration says.
    pub fn new(config: &Config) -> Sources {
        Sources { like: config.registry.store.clone(), ca: OnceLock::new() }
    }

    /// Components may come from this CA from now on.
    pub fn ask_too(&self, ca: Arc<Follower>) {
        // It is told once.
        let _ = self.ca.set(ca);
    }

    async fn object_of(&self, url: &str) -> Result<Vec<u8>, String> {
        let no_object = || format!("{url:?} is no object; write s3://BUCKET/KEY");
        let key = url.strip_prefix("s3://").ok_or_else(no_object)?;
        let (bucket, key) = key.split_once('/').ok_or_else(no_object)?;
        let place = ObjectStore {
            url: format!("s3://{bucket}"),
            deadline: PATIENCE,
            cache_entries: 0,
            max_object_bytes: MAX_COMPONENT,
            ..self.like.clone()
        };
        let store = setup::object_store("the component", &place).await.map_err(|failure| failure.message)?;
        store.get(key).await.map(|object| object.body.clone()).map_err(|error| error.to_string())
    }

    async fn component_of(&self, digest: &str) -> Result<Option<Component>, String> {
        let Some(ca) = self.ca.get() else { return Ok(None) };
        let path = format!("/bunraku/v1/plugins/components/{digest}");
        let answer = ca.get(&path).await.map_err(|error| error.to_string())?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(format!("the CA at {} answered {status}: {}", ca.at(), answer.text())),
        }
        let signature = answer.header(SIGNATURE).map(|text| STANDARD.decode(text)).transpose();
        let signature = signature.map_err(|_| format!("the CA at {} sent an odd signature", ca.at()))?;
        Ok(Some(Component { bytes: answer.body.to_vec(), signature }))
    }
}

impl Fetch for Sources {
    fn embedded(&self, name: &str) -> Option<&'static [u8]> {
        embedded::component(name)
    }

    fn object<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        Box::pin(self.object_of(url))
    }

    fn component<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Result<Option<Component>, String>> {
        Box::pin(self.component_of(digest))
    }
}
