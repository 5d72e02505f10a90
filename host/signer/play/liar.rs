//! Signers that don't keep to what was agreed.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use pki::{Sign as _, SigningKey};
use serde_json::Value;

use crate::Result;

/// Numbers of kinds on the wire.
const STARTED: u8 = 3;
const NOT_STARTED: u8 = 4;
const SIGNED: u8 = 5;
const REFUSED: u8 = 6;

pub(crate) fn run(lie: &str) -> Result {
    let mut socket = UnixStream::from(rustix::io::dup(rustix::stdio::stdin())?);
    let start: Value = serde_json::from_slice(&read(&mut socket)?.1)?;
    let path = start.get("path").and_then(Value::as_str).ok_or("a start without a path")?;
    let public = SigningKey::from_pem(&std::fs::read(path)?)?.public().spki_der.clone();
    match lie {
        "greets-not" => return Ok(()),
        "greets-with-4-gib" => return Ok(socket.write_all(&[255; 64])?),
        "greets-in-half" => return Ok(socket.write_all(&[0, 0, 0, 100, 0])?),
        "greets-with-another-kind" => return Ok(write(&mut socket, 0, SIGNED, b"")?),
        "greets-with-an-unknown-kind" => return Ok(write(&mut socket, 0, 200, b"")?),
        "greets-with-no-key" => return Ok(write(&mut socket, 0, STARTED, &[7; 1000])?),
        "greets-with-no-error" => return Ok(write(&mut socket, 0, NOT_STARTED, b"{\"Mode\":{\"path\":")?),
        _ => write(&mut socket, 0, STARTED, &public)?,
    }
    let (id, _) = read(&mut socket)?;
    match lie {
        "dies" => {}
        "answers-with-4-gib" => socket.write_all(&[255; 64])?,
        "answers-with-too-much" => write(&mut socket, id, SIGNED, &vec![0; 300 * 1024])?,
        "answers-in-half" => socket.write_all(&[0, 0, 0, 100, 0])?,
        "answers-with-an-unknown-kind" => write(&mut socket, id, 200, b"")?,
        "answers-with-another-kind" => write(&mut socket, id, STARTED, b"")?,
        "answers-others-first" => {
            for other in [0, id + 1, u64::MAX] {
                write(&mut socket, other, REFUSED, b"not yours")?;
            }
            write(&mut socket, id, SIGNED, b"yours")?;
            write(&mut socket, id, REFUSED, b"twice")?;
        }
        "refuses-in-no-words" => write(&mut socket, id, REFUSED, &[0xff, 0xfe])?,
        "never-answers" => {}
        _ => return Err("no such part".into()),
    }
    if lie != "dies" {
        // Until the daemon has had enough.
        socket.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

fn read(socket: &mut UnixStream) -> Result<(u64, Vec<u8>)> {
    let (mut length, mut id) = ([0; 4], [0; 8]);
    socket.read_exact(&mut length)?;
    socket.read_exact(&mut id)?;
    let mut rest = Vec::new();
    let left = u64::from(u32::from_be_bytes(length)).saturating_sub(8);
    socket.take(left).read_to_end(&mut rest)?;
    let body = rest.get(1..).ok_or("a frame without a kind")?.to_vec();
    Ok((u64::from_be_bytes(id), body))
}

fn write(socket: &mut UnixStream, id: u64, kind: u8, body: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(9 + body.len()).map_err(std::io::Error::other)?;
    let head = [&length.to_be_bytes()[..], &id.to_be_bytes(), &[kind]].concat();
    socket.write_all(&[&head, body].concat())
}
