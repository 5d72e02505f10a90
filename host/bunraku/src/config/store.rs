//! `[registry]` and `[stores.NAME]`: where objects are that plugins may be granted.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::reader::Section;

/// The name by which plugins are granted what `[registry]` describes.
pub const REGISTRY: &str = "registry";

/// Where node definitions are.
#[derive(Clone, Debug)]
pub struct Registry {
    /// The place itself.
    pub store: ObjectStore,
    /// How often pending requests are looked at for a changed object.
    pub poll: Duration,
    /// How old a node's last classification may be to serve while the registry
    /// does not answer.
    pub last_good: Duration,
}

/// One place of objects.
#[derive(Clone, Debug)]
pub struct ObjectStore {
    /// `dir:PATH` or `s3://BUCKET/PREFIX`.
    pub url: String,
    /// An S3 server other than AWS's.
    pub endpoint: Option<String>,
    /// The bucket's region.
    pub region: Option<String>,
    /// `http://host/bucket/key` rather than `http://bucket.host/key`.
    pub path_style: bool,
    /// All attempts for one object together.
    pub deadline: Duration,
    /// Attempts for one object.
    pub attempts: u32,
    /// Objects kept in memory.
    pub cache_entries: u32,
    /// The largest object read.
    pub max_object_bytes: u64,
}

/// Reads `[registry]`.
pub fn registry(section: Section<'_, '_>, state_dir: &Path) -> Registry {
    let out = Registry {
        store: object_store(&section, state_dir),
        poll: section.duration("poll").unwrap_or(Duration::from_secs(5)),
        last_good: section.duration("last_good").unwrap_or(Duration::from_secs(86_400)),
    };
    section.finish();
    out
}

/// Reads `[stores.NAME]`.
pub fn stores(top: &Section<'_, '_>, state_dir: &Path) -> BTreeMap<String, ObjectStore> {
    let mut out = BTreeMap::new();
    for (name, section) in top.named_sections("stores") {
        let spelt = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if name == REGISTRY {
            section.problem_here("is a name that is taken: it is the table `[registry]`");
        } else if name.is_empty() || !name.chars().all(spelt) {
            section.problem_here("is no name of a store; a-z, 0-9, `-` and `_` make one");
        }
        if !section.has("url") {
            section.problem_here("has no `url`");
        }
        out.insert(name, object_store(&section, state_dir));
        section.finish();
    }
    out
}

fn object_store(section: &Section<'_, '_>, state_dir: &Path) -> ObjectStore {
    let url = section.parsed("url", |text| match text.split_once(':') {
        Some(("dir", path)) if !path.is_empty() => Ok(format!("dir:{}", state_dir.join(path).display())),
        Some(("s3", rest))
            if rest.strip_prefix("//").is_some_and(|b| !b.is_empty() && !b.starts_with('/')) =>
        {
            Ok(text.to_owned())
        }
        _ => Err(format!("is {text:?}; write dir:PATH or s3://BUCKET/PREFIX")),
    });
    ObjectStore {
        url: url.unwrap_or_else(|| format!("dir:{}", state_dir.join(REGISTRY).display())),
        endpoint: section.string("endpoint"),
        region: section.string("region"),
        path_style: section.boolean("path_style").unwrap_or(false),
        deadline: section.duration("deadline").unwrap_or(Duration::from_secs(5)),
        attempts: section.number("attempts", 1..=20).unwrap_or(4),
        cache_entries: section.number("cache_entries", 0..=10_000_000).unwrap_or(20_000),
        max_object_bytes: section.bytes("max_object_bytes").unwrap_or(1 << 20),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Defaults};

    fn parse(text: &str) -> Result<Config, Vec<String>> {
        let defaults = Defaults::new("/state".into(), "m1.example.test").unwrap();
        let read = Config::parse(text, &defaults);
        read.map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn stores_have_names_of_their_own() {
        let text = "[stores.policy]\nurl = \"dir:policy\"\n[stores.tokens]\nurl = \"s3://bucket/t/\"\nendpoint = \"http://127.0.0.1:9\"\n";
        let stores = parse(text).unwrap().stores;
        let urls: Vec<_> = stores.iter().map(|(name, store)| (name.as_str(), store.url.as_str())).collect();
        assert_eq!(urls, [("policy", "dir:/state/policy"), ("tokens", "s3://bucket/t/")]);
        assert_eq!(stores["tokens"].endpoint.as_deref(), Some("http://127.0.0.1:9"));
        assert!(parse("").unwrap().stores.is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_store_is_said_with_its_line() {
        fn check(text: &str, expected: &str) {
            let said = parse(text).err().unwrap_or_default().join("\n");
            assert!(said.contains(expected), "{text}: {said}");
        }
        check("[stores.a]\nurl = \"ftp://x\"\n", "line 2, column 7: `stores.a.url` is \"ftp://x\"");
        check(
            "[stores.a]\nurl = \"dir:x\"\nendpiont = \"\"\n",
            "line 3, column 12: `stores.a.endpiont` is no setting; did you mean `endpoint`?",
        );
        check("[stores.a]\n", "line 1, column 1: `stores.a` has no `url`");
        check(
            "[stores.registry]\nurl = \"dir:x\"\n",
            "line 1, column 1: `stores.registry` is a name that is taken",
        );
        check("[stores.\"A b\"]\nurl = \"dir:x\"\n", "`stores.A b` is no name of a store");
        check("[stores]\na = 3\n", "line 2, column 5: `stores.a` must be a table, not an integer");
    }
}
