//! The revocation lists compressed once for everybody: with 100,000 revoked certificates they have
//! megabytes, and every agent asks for them.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::gzip;

/// The last lists, compressed.
#[derive(Debug, Default)]
pub struct Packed(Mutex<Option<(Arc<str>, Bytes)>>);

impl Packed {
    /// The lists compressed; `None` where that gains nothing.
    pub async fn of(&self, lists: &Arc<str>) -> Option<Bytes> {
        if let Some(packed) = self.known(lists) {
            return gains(packed, lists);
        }
        let (packed, _) = gzip::smaller(Bytes::copy_from_slice(lists.as_bytes())).await;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((lists.clone(), packed.clone()));
        gains(packed, lists)
    }

    fn known(&self, lists: &Arc<str>) -> Option<Bytes> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The same text in memory, which is there for as long as this refers to it.
        last.as_ref().filter(|(known, _)| Arc::ptr_eq(known, lists)).map(|(_, packed)| packed.clone())
    }
}

fn gains(packed: Bytes, lists: &str) -> Option<Bytes> {
    (packed.len() < lists.len()).then_some(packed)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn lists_are_compressed_once_and_new_ones_take_their_place() {
        let packed = Packed::default();
        let (old, new): (Arc<str>, Arc<str>) = ("old ".repeat(1000).into(), "new ".repeat(1000).into());
        let first = packed.of(&old).await.unwrap();
        assert_eq!(packed.of(&old).await.unwrap().as_ptr(), first.as_ptr());
        let second = packed.of(&new).await.unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&second[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, *new);
        assert_eq!(packed.of(&"x".into()).await, None);
    }
}
