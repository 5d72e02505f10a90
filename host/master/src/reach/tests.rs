//! What a plugin reaches of real stores, by its grants.

use rollout::HttpGrant;

use super::*;

fn granted(store: &str, grant: StoreGrant) -> Grants {
    Grants { object_store: [(store.to_owned(), grant)].into(), ..Grants::default() }
}

fn request(url: &str) -> HttpRequest {
    HttpRequest { method: "GET".into(), url: url.into(), headers: vec![], body: vec![] }
}

/// A registry with the node `n1`, and what a plugin with these grants reaches of it.
async fn reach(grants: Grants) -> (tempfile::TempDir, Arc<Reach>) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("dir:{}", folder.path().join("registry").display()).parse().unwrap();
    let registry = Arc::new(Registry::open(&registry::Settings::new(url)).await.unwrap());
    registry.put("n1", b"classes: []\n", true).await.unwrap();
    registry.put("nodes/n2", b"four", true).await.unwrap();
    registry.put("nodesx/n3", b"four", true).await.unwrap();
    let store = Some(Arc::new(Store::open(&folder.path().join("db")).await.unwrap()));
    let stores = [REGISTRY, "images"].map(|name| (name.to_owned(), registry.clone())).into();
    let outgoing = Arc::new(Outgoing::new(outgoing::Settings::default()));
    let reach = Reach::new("p", &grants, "d", &stores, &outgoing, store, Arc::new(Value::Null));
    (folder, reach)
}

fn all_types() -> ResourceQuery {
    ResourceQuery { resource_type: "Any".into(), title: None, tags: vec![], environment: None }
}

#[tokio::test]
async fn a_plugin_without_grants_reaches_nothing() {
    let (_folder, reach) = reach(Grants::default()).await;
    let denied = |error: HostError| assert!(matches!(error, HostError::Denied(_)), "{error}");
    denied(reach.get("registry", "n1", None).await.unwrap_err());
    denied(reach.head("registry", "n1").await.unwrap_err());
    denied(reach.list("registry", "", None).await.unwrap_err());
    denied(reach.exported_resources(&all_types(), None).await.unwrap_err());
    denied(reach.nodes(&[], &[], None).await.unwrap_err());
    denied(reach.http(&request("https://api.example/")).await.unwrap_err());
    assert_eq!(reach.seen(), Seen::new());
}

#[tokio::test]
async fn a_grant_opens_what_it_names_and_nothing_else() {
    let (_folder, reach) = reach(granted("registry", StoreGrant::default())).await;
    assert_eq!(reach.get("registry", "n1", None).await.unwrap().body, b"classes: []\n");
    assert!(matches!(reach.get("registry", "n2", None).await, Err(HostError::NotFound)));
    assert!(matches!(reach.get("registry", "../db", None).await, Err(HostError::Invalid(_))));
    assert!(matches!(reach.get("other", "n1", None).await, Err(HostError::Denied(_))));
    assert!(matches!(reach.nodes(&[], &[], None).await, Err(HostError::Denied(_))));
    let seen = reach.seen();
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["n1", "n2"]);
    assert!(seen["n1"].is_some() && seen["n2"].is_none());
}

#[tokio::test]
async fn a_store_granted_in_part_ends_at_its_prefix() {
    let grant = StoreGrant { prefix: "nodes/".to_owned(), ..StoreGrant::default() };
    let (_folder, reach) = reach(granted("images", grant)).await;
    assert_eq!(reach.get("images", "nodes/n2", None).await.unwrap().body, b"four");
    for outside in ["n1", "nodesx/n3", "nodes", "", "NODES/n2"] {
        let denied = reach.get("images", outside, None).await;
        assert!(matches!(denied, Err(HostError::Denied(_))), "{outside}: {denied:?}");
        assert!(matches!(reach.head("images", outside).await, Err(HostError::Denied(_))), "{outside}");
    }
    assert!(matches!(reach.get("images", "nodes/../n1", None).await, Err(HostError::Invalid(_))));
    for (prefix, expected) in [("", 1), ("nodes", 1), ("nodes/", 1), ("nodes/n", 1), ("n1", 0), ("nodesx", 0)]
    {
        let page = reach.list("images", prefix, None).await.unwrap();
        assert_eq!(page.objects.len(), expected, "{prefix:?}: {page:?}");
        assert!(page.objects.iter().all(|object| object.key == "nodes/n2") && page.prefixes.is_empty());
    }
    // Another store than the registry is named in what was seen.
    let (seen, stores) = (reach.seen(), &reach.stores);
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["//images/nodes/n2"]);
    let (store, key) = seen_in(stores, "//images/nodes/n2").unwrap();
    assert_eq!((store.version(key).await.unwrap(), key), (seen["//images/nodes/n2"].clone(), "nodes/n2"));
    assert!(seen_in(stores, "n1").is_some() && seen_in(stores, "//gone/n1").is_none());
}

// faults row 49
#[tokio::test]
async fn a_call_has_so_many_questions_and_bytes_and_no_more() {
    let limit =
        |found: Result<(), HostError>| assert!(matches!(found, Err(HostError::Limit(_))), "{found:?}");
    let (_folder, first) =
        reach(granted(REGISTRY, StoreGrant { max_calls: 3, ..StoreGrant::default() })).await;
    first.head(REGISTRY, "n1").await.unwrap();
    assert!(matches!(first.get(REGISTRY, "none", None).await, Err(HostError::NotFound)));
    first.list(REGISTRY, "", None).await.unwrap();
    limit(first.head(REGISTRY, "n1").await.map(|_| ()));
    limit(first.get(REGISTRY, "n1", None).await.map(|_| ()));
    limit(first.list(REGISTRY, "", None).await.map(|_| ()));
    let (_folder, second) =
        reach(granted(REGISTRY, StoreGrant { max_bytes: 9, ..StoreGrant::default() })).await;
    let four = async || second.get(REGISTRY, "nodes/n2", None).await.map(|_| ());
    limit(second.get(REGISTRY, "n1", None).await.map(|_| ()));
    four().await.unwrap();
    four().await.unwrap();
    limit(four().await);
    // What is asked for in part counts in part.
    let byte = Some(ByteRange { start: 1, length: 1 });
    assert_eq!(second.get(REGISTRY, "nodes/n2", byte).await.unwrap().body, b"o");
    limit(second.get(REGISTRY, "nodes/n2", byte).await.map(|_| ()));
    second.head(REGISTRY, "nodes/n2").await.unwrap();
}

#[tokio::test]
async fn a_request_goes_where_it_is_granted_and_tells_no_plugin_of_our_files() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let parse = |entry: Value| {
        let configured = [("http".to_owned(), Value::Array(vec![entry]))].into();
        Grants::parse("p", &configured, &[].into()).unwrap()
    };
    let private = serde_json::json!({"origin": &origin, "private": true, "timeout": "100ms"});
    let (_folder, open) = reach(parse(private)).await;
    // It takes the connection and says nothing.
    let late = open.http(&request(&origin)).await;
    assert!(matches!(late, Err(HostError::Unavailable(_))) && open.is_late(), "{late:?}");
    let elsewhere = open.http(&request("http://127.0.0.1:1/")).await;
    assert!(matches!(elsewhere, Err(HostError::Denied(_))), "{elsewhere:?}");
    assert!(matches!(open.http(&request("x")).await, Err(HostError::Invalid(_))));
    let (_folder, closed) = reach(parse(serde_json::json!({"origin": &origin}))).await;
    let inside = closed.http(&request(&origin)).await;
    assert!(
        matches!(&inside, Err(HostError::Denied(why)) if why.contains("a loopback address")),
        "{inside:?}"
    );
    assert!(!closed.is_late());
    let file = serde_json::json!({
        "origin": &origin, "private": true, "header": "X-Key", "value_file": "/nowhere/key"
    });
    let grants = parse(file);
    assert!(matches!(grants.http.as_slice(), [HttpGrant { private: true, .. }]));
    let (_folder, lost) = reach(grants).await;
    let unusable = lost.http(&request(&origin)).await.unwrap_err();
    assert!(matches!(&unusable, HostError::Unavailable(why) if !why.contains("nowhere")), "{unusable}");
}

#[test]
fn a_cursor_comes_back_as_it_went() {
    let cursor = ExportCursor { title: "a \"b\"".into(), exported_by: "n1".into() };
    assert_eq!(parse_cursor(&write_cursor(&cursor)).unwrap(), cursor);
    assert!(matches!(parse_cursor("x"), Err(HostError::Invalid(_))));
}

#[test]
fn a_range_never_leaves_the_object() {
    let range = |start, length| ByteRange { start, length };
    assert_eq!(slice(b"hello", range(1, 3)).unwrap(), b"ell");
    assert_eq!(slice(b"hello", range(3, 99)).unwrap(), b"lo");
    assert!(slice(b"hello", range(6, 1)).is_err());
    assert!(slice(b"hello", range(u64::MAX, u64::MAX)).is_err());
}
