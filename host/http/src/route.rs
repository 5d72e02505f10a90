//! Which route a request is for, and who may take it: the one table of both.
//!
//! The order of the peer's `auth.conf` does not matter here, since no two rows of the table match
//! one request. A method or path below a known mount that has no row is forbidden, as there;
//! a path outside of the mounts is not found.

use hyper::Method;

/// A request, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route<'a> {
    /// GET `/puppet-ca/v1/certificate/ca`: `routes/ca.rs`
    CaBundle,
    /// GET `/puppet-ca/v1/certificate/<name>`: `routes/ca.rs`
    Certificate(&'a str),
    /// PUT `/puppet-ca/v1/certificate_request/<name>`: `routes/ca.rs`
    SubmitRequest(&'a str),
    /// GET `/puppet-ca/v1/certificate_request/<name>`: `routes/ca.rs`
    PendingRequest(&'a str),
    /// GET `/puppet-ca/v1/certificate_revocation_list/<anything>`: `routes/ca.rs`
    Crl,
    /// POST `/puppet-ca/v1/certificate_renewal`: `routes/ca.rs`
    Renew,
    /// GET `/puppet/v3/node/<certname>`: `routes/node.rs`
    Node(&'a str),
    /// GET `/puppet/v3/environments`: `routes/node.rs`
    Environments,
    /// POST and GET `/puppet/v3/catalog/<certname>`: `routes/catalog.rs`
    Catalog(&'a str),
    /// PUT `/puppet/v3/facts/<certname>`: `routes/catalog.rs`
    Facts(&'a str),
    /// PUT `/puppet/v3/report/<certname>`: `routes/report.rs`
    Report(&'a str),
    /// GET `/puppet/v3/file_metadata/<mount>/<path>`: `routes/files.rs`
    FileMetadata(FileKey<'a>),
    /// GET `/puppet/v3/file_metadatas/<mount>[/<path>]`: `routes/files.rs`
    FileMetadatas(FileKey<'a>),
    /// GET `/puppet/v3/file_content/<mount>/<path>`: `routes/files.rs`
    FileContent(FileKey<'a>),
    /// HEAD and GET `/puppet/v3/file_bucket_file/<kind>/<sum>[/<path>]`: `routes/filebucket.rs`
    ReadBackup(BackupKey<'a>),
    /// PUT and POST of the same: `routes/filebucket.rs`
    SaveBackup(BackupKey<'a>),
    /// GET `/status/v1/simple[/<service>]`: `routes/status.rs`
    SimpleStatus(Option<&'a str>),
    /// GET `/status/v1/services[/<service>]`: `routes/status.rs`
    Services(Option<&'a str>),
}

/// A file as agents name it: mount and path below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileKey<'a> {
    /// `plugins`, `pluginfacts`, `modules`, …
    pub mount: &'a str,
    /// Without empty segments; empty for the mount itself.
    pub path: String,
}

/// A backup as agents name it. The original path that may follow says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupKey<'a> {
    /// The kind of checksum.
    pub kind: &'a str,
    /// The checksum in hex.
    pub sum: &'a str,
}

/// Who may take a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who<'a> {
    /// Also a stranger without a certificate.
    Anyone,
    /// Whoever holds a certificate of the CA.
    Holder,
    /// Only the holder of the certificate of this name.
    Owner(&'a str),
}

/// A request that has no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoute {
    /// 404.
    Unknown,
    /// 403, as for whatever the peer's rules do not name.
    Forbidden,
}

/// Finds the route of a request.
///
/// # Errors
/// [`NoRoute`].
pub fn find<'a>(method: &Method, segments: &[&'a str]) -> Result<Route<'a>, NoRoute> {
    match segments {
        ["puppet-ca", "v1", rest @ ..] => ca(method, rest).ok_or(NoRoute::Forbidden),
        ["puppet", "v3", rest @ ..] => puppet(method, rest).ok_or(NoRoute::Forbidden),
        ["status", "v1", rest @ ..] => status(method, rest),
        ["puppet", "v4", ..] | ["puppet-admin-api", ..] => Err(NoRoute::Forbidden),
        _ => Err(NoRoute::Unknown),
    }
}

fn ca<'a>(method: &Method, rest: &[&'a str]) -> Option<Route<'a>> {
    Some(match (method.as_str(), rest) {
        ("GET", ["certificate", "ca"]) => Route::CaBundle,
        ("GET", ["certificate", name]) => Route::Certificate(name),
        ("PUT", ["certificate_request", name]) => Route::SubmitRequest(name),
        ("GET", ["certificate_request", name]) => Route::PendingRequest(name),
        ("GET", ["certificate_revocation_list", _]) => Route::Crl,
        ("POST", ["certificate_renewal"]) => Route::Renew,
        _ => return None,
    })
}

fn puppet<'a>(method: &Method, rest: &[&'a str]) -> Option<Route<'a>> {
    Some(match (method.as_str(), rest) {
        ("GET", ["node", name]) => Route::Node(name),
        ("GET", ["environments"]) => Route::Environments,
        ("GET" | "POST", ["catalog", name]) => Route::Catalog(name),
        ("PUT", ["facts", name]) => Route::Facts(name),
        ("PUT", ["report", name]) => Route::Report(name),
        ("GET", ["file_metadata", key @ ..]) => Route::FileMetadata(FileKey::new(key)?),
        ("GET", ["file_metadatas", key @ ..]) => Route::FileMetadatas(FileKey::new(key)?),
        ("GET", ["file_content", key @ ..]) => Route::FileContent(FileKey::new(key)?),
        ("GET" | "HEAD", ["file_bucket_file", kind, sum, ..]) => Route::ReadBackup(BackupKey { kind, sum }),
        ("PUT" | "POST", ["file_bucket_file", kind, sum, ..]) => Route::SaveBackup(BackupKey { kind, sum }),
        _ => return None,
    })
}

fn status<'a>(method: &Method, rest: &[&'a str]) -> Result<Route<'a>, NoRoute> {
    let route = match rest {
        ["simple"] => Route::SimpleStatus(None),
        ["simple", service] => Route::SimpleStatus(Some(service)),
        ["services"] => Route::Services(None),
        ["services", service] => Route::Services(Some(service)),
        _ => return Err(NoRoute::Unknown),
    };
    if method == Method::GET { Ok(route) } else { Err(NoRoute::Forbidden) }
}

impl<'a> Route<'a> {
    /// Who may take the route. Every route is named, so that a new one has to decide.
    pub fn who(&self) -> Who<'a> {
        match self {
            Route::CaBundle
            | Route::Certificate(_)
            | Route::SubmitRequest(_)
            | Route::PendingRequest(_)
            | Route::Crl
            | Route::SimpleStatus(_)
            | Route::Services(_) => Who::Anyone,
            Route::Renew
            | Route::Environments
            | Route::FileMetadata(_)
            | Route::FileMetadatas(_)
            | Route::FileContent(_)
            | Route::ReadBackup(_)
            | Route::SaveBackup(_) => Who::Holder,
            Route::Node(name) | Route::Catalog(name) | Route::Facts(name) | Route::Report(name) => {
                Who::Owner(name)
            }
        }
    }
}

impl<'a> FileKey<'a> {
    fn new(segments: &[&'a str]) -> Option<FileKey<'a>> {
        let (mount, path) = segments.split_first()?;
        let path: Vec<&str> = path.iter().copied().filter(|segment| !segment.is_empty()).collect();
        (!mount.is_empty()).then(|| FileKey { mount, path: path.join("/") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Target;

    #[test]
    fn every_request_has_one_route_or_none() {
        let check = |line: &str, expected: Result<Route<'_>, NoRoute>| {
            let (method, path) = line.split_once(' ').unwrap();
            let target = Target::parse(path, None).unwrap();
            let segments = target.segments();
            assert_eq!(find(&method.parse().unwrap(), &segments), expected, "{line}");
        };
        let file = |mount, path: &str| FileKey { mount, path: path.to_owned() };
        let backup = BackupKey { kind: "sha256", sum: "ab" };
        check("GET /puppet-ca/v1/certificate/ca", Ok(Route::CaBundle));
        check("GET /puppet-ca/v1/certificate/a.b", Ok(Route::Certificate("a.b")));
        check("POST /puppet-ca/v1/certificate/ca", Err(NoRoute::Forbidden));
        check("PUT /puppet-ca/v1/certificate_request/%61", Ok(Route::SubmitRequest("a")));
        check("GET /puppet-ca/v1/certificate_request/a", Ok(Route::PendingRequest("a")));
        check("DELETE /puppet-ca/v1/certificate_request/a", Err(NoRoute::Forbidden));
        check("GET /puppet-ca/v1/certificate_revocation_list/any", Ok(Route::Crl));
        check("POST /puppet-ca/v1/certificate_renewal", Ok(Route::Renew));
        check("GET /puppet-ca/v1/certificate_statuses/all", Err(NoRoute::Forbidden));
        check("GET /puppet-ca/v1//certificate/ca", Err(NoRoute::Forbidden));
        check("GET /puppet/v3/node/a", Ok(Route::Node("a")));
        check("GET /puppet/v3/node/a/", Err(NoRoute::Forbidden));
        check("GET /puppet/v3/environments", Ok(Route::Environments));
        check("POST /puppet/v3/catalog/a", Ok(Route::Catalog("a")));
        check("GET /puppet/v3/catalog/a", Ok(Route::Catalog("a")));
        check("PUT /puppet/v3/catalog/a", Err(NoRoute::Forbidden));
        check("PUT /puppet/v3/facts/a", Ok(Route::Facts("a")));
        check("PUT /puppet/v3/report/a", Ok(Route::Report("a")));
        check("GET /puppet/v3/file_metadata/modules/m//f", Ok(Route::FileMetadata(file("modules", "m/f"))));
        check("GET /puppet/v3/file_metadatas/plugins", Ok(Route::FileMetadatas(file("plugins", ""))));
        check("GET /puppet/v3/file_metadatas/", Err(NoRoute::Forbidden));
        check("GET /puppet/v3/file_content/plugins/a%20b", Ok(Route::FileContent(file("plugins", "a b"))));
        check("HEAD /puppet/v3/file_bucket_file/sha256/ab//etc/x", Ok(Route::ReadBackup(backup)));
        check("PUT /puppet/v3/file_bucket_file/sha256/ab", Ok(Route::SaveBackup(backup)));
        check("DELETE /puppet/v3/file_bucket_file/sha256/ab", Err(NoRoute::Forbidden));
        check("POST /puppet/v4/catalog", Err(NoRoute::Forbidden));
        check("DELETE /puppet-admin-api/v1/environment-cache", Err(NoRoute::Forbidden));
        check("GET /status/v1/simple", Ok(Route::SimpleStatus(None)));
        check("GET /status/v1/simple/ca", Ok(Route::SimpleStatus(Some("ca"))));
        check("POST /status/v1/simple/ca", Err(NoRoute::Forbidden));
        check("GET /status/v1/services", Ok(Route::Services(None)));
        check("GET /nosuch", Err(NoRoute::Unknown));
        check("GET /", Err(NoRoute::Unknown));
    }
}
