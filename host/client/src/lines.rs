//! A held answer, line by line.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::Error;
use crate::client::{MAX_BODY_BYTES, failed};

/// Lines of an answer that has no end of its own. Dropping it closes the connection.
#[derive(Debug)]
pub struct Lines {
    at: String,
    body: Incoming,
    silence: Duration,
    heard: Instant,
    buffer: BytesMut,
    /// So many bytes of the buffer have no end of line.
    searched: usize,
    _connection: AbortOnDropHandle<()>,
}

impl Lines {
    pub(crate) fn new(
        at: String,
        body: Incoming,
        silence: Duration,
        connection: AbortOnDropHandle<()>,
    ) -> Lines {
        let (heard, buffer) = (Instant::now(), BytesMut::new());
        Lines { at, body, silence, heard, buffer, searched: 0, _connection: connection }
    }

    /// The next line, without its end; `None` when the server has ended its answer. A call that is
    /// dropped loses nothing, and the silence goes on counting.
    ///
    /// # Errors
    /// [`Error::Silent`] when nothing at all came for the limit, [`Error::TooLarge`] for a line of more
    /// than [`MAX_BODY_BYTES`], [`Error::Broken`] when the connection ends half way. All are final.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(end) = unsearched.iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(self.searched + end + 1);
                self.searched = 0;
                line.truncate(line.trim_ascii_end().len());
                return Ok(Some(line.freeze()));
            }
            self.searched = self.buffer.len();
            if self.searched > MAX_BODY_BYTES {
                return Err(Error::TooLarge { at: self.at.clone(), cap: MAX_BODY_BYTES });
            }
            let silent = || Error::Silent { at: self.at.clone(), after: self.silence };
            let frame = timeout_at(self.heard + self.silence, self.body.frame()).await;
            let Some(frame) = frame.map_err(|_| silent())? else {
                // What has no end of line was cut off.
                return Ok(None);
            };
            if let Ok(data) = frame.map_err(|error| failed(&self.at, &error))?.into_data() {
                self.heard = Instant::now();
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}
