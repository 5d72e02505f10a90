//! What the daemon and its signer say to each other: frames over a socket pair.
//!
//! A frame is the length of the rest (4 bytes, big endian), an id (8 bytes, chosen by whoever asks), a
//! kind (1 byte) and a body. Both ends know the most that the other may send, and read no further.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Counted up whenever something here changes: the program may be replaced while the daemon runs.
pub(crate) const VERSION: u32 = 1;
/// Most bytes that are signed at once: a revocation list of a million entries has some 40 MiB.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// Most bytes of anything else: certificates, public keys, signatures, errors.
pub(crate) const MAX_SMALL: usize = 256 * 1024;

/// Length of the id and the kind.
const HEAD: usize = 9;
/// Bytes that are made room for before they are there.
const STEP: usize = 1024 * 1024;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// To the signer, first and once: a [`Start`].
    Start = 1,
    /// To the signer: bytes to sign.
    Sign = 2,
    /// Answers a start: the SubjectPublicKeyInfo.
    Started = 3,
    /// Answers a start: an [`crate::Error`].
    NotStarted = 4,
    /// Answers a request to sign: the signature.
    Signed = 5,
    /// Answers a request to sign: why the key may not sign this.
    Refused = 6,
    /// Answers a request to sign: why it did not work.
    Failed = 7,
}

impl Kind {
    const ALL: [Kind; 7] =
        [Kind::Start, Kind::Sign, Kind::Started, Kind::NotStarted, Kind::Signed, Kind::Refused, Kind::Failed];

    #[expect(clippy::as_conversions, reason = "the number that the enum itself gives it")]
    fn byte(self) -> u8 {
        self as u8
    }
}

/// What is said at once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub id: u64,
    pub kind: Kind,
    pub body: Vec<u8>,
}

impl Frame {
    /// The body as words.
    pub fn words(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What a signer is to do with a key before it signs anything.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub version: u32,
    pub task: Task,
    pub path: PathBuf,
    pub passphrase_file: Option<PathBuf>,
    pub threads: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Make it; the kind as `pki::KeyKind` shows it.
    Create { kind: String },
    /// Open it; seal it to this certificate in PEM.
    Open { sealed_to: Option<String> },
}

/// Reads a frame of at most `max` bytes of body; `None` if the other end closed before one.
pub(crate) fn read(from: &mut impl Read, max: usize) -> Result<Option<Frame>> {
    let mut length = [0; 4];
    if !whole(from, &mut length)? {
        return Ok(None);
    }
    let mut head = [0; HEAD];
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(Error::other)?;
    let Some(mut left) = length.checked_sub(HEAD).filter(|body| *body <= max) else {
        return Err(invalid(format!("a frame of {length} bytes where {HEAD} to {} may come", HEAD + max)));
    };
    from.read_exact(&mut head)?;
    let (id, [kind]) = head.split_at(8) else { return Err(invalid("a frame without a kind".into())) };
    let id = id.try_into().map(u64::from_be_bytes).map_err(Error::other)?;
    let Some(kind) = Kind::ALL.into_iter().find(|known| known.byte() == *kind) else {
        return Err(invalid(format!("a frame of the unknown kind {kind}")));
    };
    // A length is only a claim: room is made as the bytes come.
    let mut body = Vec::new();
    while left > 0 {
        let (had, step) = (body.len(), left.min(STEP));
        body.resize(had + step, 0);
        from.read_exact(body.get_mut(had..).unwrap_or_default())?;
        left -= step;
    }
    Ok(Some(Frame { id, kind, body }))
}

/// Writes a frame.
pub(crate) fn write(to: &mut impl Write, id: u64, kind: Kind, body: &[u8]) -> Result<()> {
    let length = u32::try_from(HEAD + body.len()).map_err(Error::other)?;
    let mut head = Vec::with_capacity(4 + HEAD + if body.len() <= MAX_SMALL { body.len() } else { 0 });
    head.extend(length.to_be_bytes());
    head.extend(id.to_be_bytes());
    head.push(kind.byte());
    if body.len() <= MAX_SMALL {
        // One call to the system, not two: this is every certificate.
        head.extend(body);
        return to.write_all(&head);
    }
    to.write_all(&head)?;
    to.write_all(body)
}

/// Fills `buffer`; `false` if there was nothing at all.
fn whole(from: &mut impl Read, buffer: &mut [u8; 4]) -> Result<bool> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_as_they_went() {
        for size in [0, 1, 5000, MAX_SMALL, MAX_SMALL + 1, 3 * STEP + 7] {
            let body: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
            for kind in Kind::ALL {
                let mut wire = Vec::new();
                write(&mut wire, u64::MAX - 1, kind, &body).unwrap();
                let mut rest = wire.as_slice();
                let frame = read(&mut rest, size).unwrap().unwrap();
                assert_eq!(frame, Frame { id: u64::MAX - 1, kind, body: body.clone() });
                assert_eq!(read(&mut rest, size).unwrap(), None, "the end");
            }
        }
    }

    #[test]
    fn nothing_that_is_sent_is_taken_for_more_than_it_is() {
        fn check(what: &str, wire: &[u8], expected: ErrorKind) {
            let error = read(&mut &*wire, 100).unwrap_err();
            assert_eq!(error.kind(), expected, "{what}: {error}");
        }
        let frame =
            |length: u32, kind: u8, body: &[u8]| [&length.to_be_bytes()[..], &[0; 8], &[kind], body].concat();
        check("half a length", &[0, 0], ErrorKind::UnexpectedEof);
        check("a length alone", &[0, 0, 0, 9], ErrorKind::UnexpectedEof);
        check("half a head", &[0, 0, 0, 9, 1, 2], ErrorKind::UnexpectedEof);
        check("too short for a head", &frame(8, 2, &[]), ErrorKind::InvalidData);
        check("no length", &frame(0, 2, &[]), ErrorKind::InvalidData);
        check("a byte more than allowed", &frame(110, 2, &[0; 101]), ErrorKind::InvalidData);
        check("4 GiB", &frame(u32::MAX, 2, &[]), ErrorKind::InvalidData);
        check("a body that ends early", &frame(20, 2, &[0; 10]), ErrorKind::UnexpectedEof);
        check("kind 0", &frame(9, 0, &[]), ErrorKind::InvalidData);
        check("kind 8", &frame(9, 8, &[]), ErrorKind::InvalidData);
        check("kind 255", &frame(9, 255, &[]), ErrorKind::InvalidData);
    }

    #[test]
    fn a_claimed_length_costs_no_memory() {
        /// Gives a head that promises the most, then fails, and notes the room that was made.
        struct Promise(Vec<u8>, usize);
        impl Read for Promise {
            fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
                self.1 = self.1.max(buffer.len());
                let count = self.0.len().min(buffer.len());
                buffer[..count].copy_from_slice(&self.0[..count]);
                self.0.drain(..count);
                Ok(count)
            }
        }
        let length = u32::try_from(MAX_MESSAGE + HEAD).unwrap().to_be_bytes();
        let mut promise = Promise([&length[..], &[0; 8], &[2]].concat(), 0);
        assert_eq!(read(&mut promise, MAX_MESSAGE).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(promise.1, STEP);
    }
}
