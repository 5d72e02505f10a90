//! What a well-behaved plugin is told and says comes through as it is.
//!
//! The certname up to its first dot says what to answer, such as `deny.example.test`. For tests of what is
//! around plugins; the only guest here that means no harm.

use std::sync::atomic::{AtomicU32, Ordering};

use hostile::bunraku::plugin::{clock, facts, object_store, stored_config, types::HostError};
use hostile::*;

struct Obedient;

impl Guest for Obedient {
    fn describe() -> Metadata {
        let object_store =
            Capability { name: "object-store".into(), reason: "to look".into(), optional: true };
        Metadata {
            name: "obedient".into(),
            summary: "answers\nas it is told".into(),
            capabilities: vec![object_store],
            ..modest()
        }
    }

    fn validate_settings(settings: String) -> Vec<Problem> {
        if settings == "{}" {
            return vec![];
        }
        // With nothing granted, and the text as the guest sees it.
        let denied = object_store::head("registry", "x").is_err();
        vec![Problem { path: "/".into(), message: format!("denied={denied} {settings}") }]
    }

    fn decide(ctx: CallContext, request: Csr) -> Result<Verdict, Failure> {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let text = match word(&request.certname) {
            "approve" => {
                return Ok(Verdict::Approve(Approval { reason: "asked to".into(), lifetime: Some(60) }));
            }
            "deny" => return Ok(Verdict::Deny("asked\nto".into())),
            "abstain" => return Ok(Verdict::Abstain),
            "failure" => return Err(Failure::Unavailable("the bucket is down".into())),
            "ask" => object_text(&request.certname),
            "state" => format!("call {}", CALLS.fetch_add(1, Ordering::Relaxed) + 1),
            "context" => format!("{ctx:?} {request:?}"),
            "wasi" => wasi_text(),
            "time" => format!("{}", clock::remaining()),
            other => format!("unknown word {other}"),
        };
        Ok(Verdict::Pending(text))
    }

    fn classify(ctx: CallContext, node: Node) -> Result<Outcome, Failure> {
        match word(&node.trusted.certname) {
            "abstain" => Ok(Outcome::Abstain),
            "reject" => Ok(Outcome::Reject("not-found: asked to".into())),
            _ => {
                let os = facts::get("os.family").unwrap_or_default();
                let nodes = stored_config::nodes(&[("role".into(), "\"x\"".into())], &["ip".into()], None);
                let nodes = match nodes {
                    Ok(page) => page.nodes.into_iter().map(|n| format!("{}={}", n.node, n.facts)).collect(),
                    Err(error) => error_text(error),
                };
                let because = vec![os, facts::all(), nodes, ctx.settings, node.trusted.external];
                Ok(matched(r#"{"b":1,"a":[true]}"#, because))
            }
        }
    }

    fn classes() -> Vec<ClassInfo> {
        vec![class(r#"{"type":"object"}"#)]
    }

    fn provide(_: CallContext, request: Request) -> Result<Fragment, Failure> {
        let parameter = |name: &str, value: Value| Parameter { name: name.into(), value };
        let package = ResourceRef { resource_type: "Package".into(), title: "x".into() };
        let resource = CatalogResource {
            resource_type: "File".into(),
            title: "/etc/motd".into(),
            parameters: vec![
                parameter("content", Value::Plain(request.parameters)),
                parameter("owner", Value::Plain(request.node_parameters)),
                parameter("secret", Value::Sensitive("\"hunter2\"".into())),
                parameter("require", Value::Refs(vec![package])),
            ],
            tags: vec!["motd".into()],
            exported: false,
        };
        let early =
            IncludedClass { name: "other".into(), parameters: "{}".into(), in_stage: Some("early".into()) };
        Ok(Fragment {
            resources: vec![resource],
            includes: vec![early],
            stages: vec![RunStage { name: "early".into(), before: "main".into() }],
            warnings: vec!["nothing\nyet".into()],
        })
    }
}

hostile::export!(Obedient);

fn word(certname: &str) -> &str {
    certname.split('.').next().unwrap_or_default()
}

fn object_text(key: &str) -> String {
    match object_store::get("registry", key, None) {
        Ok(object) => format!("{} bytes", object.body.len()),
        Err(error) => error_text(error),
    }
}

fn error_text(error: HostError) -> String {
    match error {
        HostError::Denied(text) => format!("denied: {text}"),
        HostError::NotFound => "not found".into(),
        HostError::Invalid(text) => format!("invalid: {text}"),
        HostError::Limit(text) => format!("limit: {text}"),
        HostError::Unavailable(text) => format!("unavailable: {text}"),
    }
}

/// What little of the world WASI shows.
fn wasi_text() -> String {
    use wasip2::sockets::network::IpAddressFamily;
    use wasip2::sockets::{instance_network, ip_name_lookup, tcp_create_socket};
    let wall = wasip2::clocks::wall_clock::now();
    let network = instance_network::instance_network();
    let name = ip_name_lookup::resolve_addresses(&network, "localhost");
    let socket = tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4);
    format!(
        "wall={}.{:09} monotonic={} random={:02x?} seed={:?} environment={} arguments={} folders={} \
         name={:?} socket={:?}",
        wall.seconds,
        wall.nanoseconds,
        wasip2::clocks::monotonic_clock::now(),
        wasip2::random::random::get_random_bytes(8),
        wasip2::random::insecure_seed::insecure_seed(),
        wasip2::cli::environment::get_environment().len(),
        wasip2::cli::environment::get_arguments().len(),
        wasip2::filesystem::preopens::get_directories().len(),
        name.err(),
        socket.err(),
    )
}
