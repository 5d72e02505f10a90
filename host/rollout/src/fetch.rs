//! Where components come from that are not files.

pub use sandbox::BoxFuture;

/// A component as bytes, with its detached signature if it has one.
#[derive(Clone, PartialEq, Eq)]
pub struct Component {
    /// WebAssembly in binary form.
    pub bytes: Vec<u8>,
    /// As its author made it; see [`SigningKeys`](crate::SigningKeys).
    pub signature: Option<Vec<u8>>,
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Component({} bytes, signed: {})", self.bytes.len(), self.signature.is_some())
    }
}

/// Gets components that are no files of this machine. What it gives is checked as any other.
pub trait Fetch: Send + Sync {
    /// The component of that name in this program.
    fn embedded(&self, name: &str) -> Option<&'static [u8]>;

    /// The object behind an `s3://` URL; the text says why not.
    fn object<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Vec<u8>, String>>;

    /// A component by its SHA-256, from the CA that this master follows; none where there is no CA to ask
    /// or it has none.
    fn component<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Result<Option<Component>, String>>;
}

/// Has nothing to give.
#[derive(Clone, Copy, Debug)]
pub struct NoFetch;

impl Fetch for NoFetch {
    fn embedded(&self, _: &str) -> Option<&'static [u8]> {
        None
    }

    fn object<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        Box::pin(async { Err("no object is fetched here".to_owned()) })
    }

    fn component<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Component>, String>> {
        Box::pin(async { Ok(None) })
    }
}
