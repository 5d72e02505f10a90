//! A real S3 server (s3s-fs) inside the test: real signatures, real HTTP, a folder as its bucket.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// A server with one empty bucket; it ends when it is dropped.
pub struct Server {
    address: SocketAddr,
    folder: TempDir,
    _runtime: Runtime,
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
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        runtime.spawn(serve(listener, service));
        Ok(Server { address, folder, _runtime: runtime })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The master's configuration for a registry in this server's bucket, below a prefix.
    pub fn registry(&self, prefix: &str) -> String {
        format!(
            "[registry]\nurl = \"s3://{}/{prefix}\"\nendpoint = \"http://{}\"\nregion = \"us-east-1\"\n\
             path_style = true\npoll = \"1s\"\n",
            Server::BUCKET,
            self.address
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

async fn serve(listener: TcpListener, service: S3Service) {
    while let Ok((tcp, _)) = listener.accept().await {
        let service = service.clone();
        let answer = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let service = service.clone();
            async move { service.call(request.map(s3s::Body::from)).await }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), answer));
    }
}
