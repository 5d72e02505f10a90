//! `s3_server FOLDER [PORT]`: an S3 server over a folder, for tests and demonstrations only. It prints
//! its endpoint once it listens; the key is `test`, the secret `test-secret`, and a bucket is a folder
//! in FOLDER.

use std::error::Error;
use std::path::Path;

mod server;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: s3_server FOLDER [PORT]")?;
    let port = arguments.next().map_or(Ok(0), |port| port.parse())?;
    let server = server::Server::start(Path::new(&folder), port).await?;
    println!("{}", server.endpoint());
    std::future::pending().await
}
