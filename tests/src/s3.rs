//! A real S3 server (s3s-fs) inside the test: real signatures, real HTTP, a folder as its bucket.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;

use crate::loopback::Loopback;

/// A server with one empty bucket; it ends when it is dropped.
pub struct Server {
    at: Loopback,
    folder: TempDir,
}

impl Server {
    /// The name of its bucket.
    pub const BUCKET: &'static str = "nodes";

    /// The environment variables with which the AWS SDK finds its credentials.
    pub const CREDENTIALS: &'static [(&'static str, &'static str)] = &[
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test-secret"),
        ("AWS_REGION", "us-east-1"),
    ];

    /// Starts it on a free loopback port.
    ///
    /// # Errors
    /// No port, or no folder.
    pub fn start() -> Result<Server> {
        let folder = TempDir::with_prefix("bunraku-s3-")?;
        std::fs::create_dir(folder.path().join(Server::BUCKET))?;
        let service = service(folder.path())?;
        let at = Loopback::start(service_fn(move |request: Request<Incoming>| {
            let service = service.clone();
            async move { service.call(request.map(s3s::Body::from)).await }
        }))?;
        Ok(Server { at, folder })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.at.address()
    }

    /// The master's configuration for a registry in this server's bucket, below a prefix.
    pub fn registry(&self, prefix: &str) -> String {
        format!(
            "[registry]\nurl = \"s3://{}/{prefix}\"\nendpoint = \"http://{}\"\nregion = \"us-east-1\"\n\
             path_style = true\npoll = \"1s\"\n",
            Server::BUCKET,
            self.address()
        )
    }

    /// The file that holds an object.
    pub fn object(&self, key: &str) -> PathBuf {
        self.folder.path().join(Server::BUCKET).join(key)
    }
}

fn service(folder: &Path) -> Result<S3Service> {
    let files = s3s_fs::FileSystem::new(folder).map_err(|error| anyhow!("{error:?}"))?;
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single("test", "test-secret"));
    Ok(builder.build())
}
