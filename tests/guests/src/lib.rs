//! A plugin that misbehaves on demand.
//!
//! It is an approver, a classifier and a provider. What it does is told by the
//! certname up to the first dot, such as `loop.example.test`, or by the class
//! in `provide`. What `describe` does is told by [`AT_LOAD`], which a test
//! overwrites in the component's bytes. It never becomes part of a release.

#![expect(clippy::panic, reason = "that is what it is for")]
#![allow(missing_docs, reason = "most of it is generated from the contract")]

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package bunraku:hostile;

        world hostile {
            include bunraku:plugin/csr-approver@0.1.0;
            include bunraku:plugin/node-classifier@0.1.0;
            include bunraku:plugin/resource-provider@0.1.0;

            import wasi:clocks/wall-clock@0.2.0;
            import wasi:clocks/monotonic-clock@0.2.0;
            import wasi:random/random@0.2.0;
            import wasi:random/insecure-seed@0.2.0;
            import wasi:cli/environment@0.2.0;
            import wasi:cli/exit@0.2.0;
            import wasi:filesystem/preopens@0.2.0;
            import wasi:sockets/tcp-create-socket@0.2.0;
            import wasi:sockets/instance-network@0.2.0;
            import wasi:sockets/ip-name-lookup@0.2.0;
        }

        // As much of WASI 0.2 as is tried.
        package wasi:io@0.2.0 {
            interface poll {
                resource pollable { block: func(); }
            }
        }
        package wasi:clocks@0.2.0 {
            interface wall-clock {
                record datetime { seconds: u64, nanoseconds: u32 }
                now: func() -> datetime;
            }
            interface monotonic-clock {
                use wasi:io/poll@0.2.0.{pollable};
                now: func() -> u64;
                subscribe-duration: func(when: u64) -> pollable;
            }
        }
        package wasi:random@0.2.0 {
            interface random { get-random-bytes: func(len: u64) -> list<u8>; }
            interface insecure-seed { insecure-seed: func() -> tuple<u64, u64>; }
        }
        package wasi:cli@0.2.0 {
            interface environment {
                get-environment: func() -> list<tuple<string, string>>;
                get-arguments: func() -> list<string>;
            }
            interface exit { exit: func(status: result); }
        }
        package wasi:filesystem@0.2.0 {
            interface types { resource descriptor; }
            interface preopens {
                use types.{descriptor};
                get-directories: func() -> list<tuple<descriptor, string>>;
            }
        }
        package wasi:sockets@0.2.0 {
            interface network {
                resource network;
                enum error-code {
                    unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout,
                    concurrency-conflict, not-in-progress, would-block, invalid-state, new-socket-limit,
                    address-not-bindable, address-in-use, remote-unreachable, connection-refused,
                    connection-reset, connection-aborted, datagram-too-large, name-unresolvable,
                    temporary-resolver-failure, permanent-resolver-failure,
                }
                enum ip-address-family { ipv4, ipv6 }
            }
            interface instance-network {
                use network.{network};
                instance-network: func() -> network;
            }
            interface tcp { resource tcp-socket; }
            interface tcp-create-socket {
                use network.{error-code, ip-address-family};
                use tcp.{tcp-socket};
                create-tcp-socket: func(address-family: ip-address-family) -> result<tcp-socket, error-code>;
            }
            interface ip-name-lookup {
                use network.{network, error-code};
                resource resolve-address-stream;
                resolve-addresses: func(network: borrow<network>, name: string)
                    -> result<resolve-address-stream, error-code>;
            }
        }
    ",
    world: "bunraku:hostile/hostile",
    generate_all,
});

use bunraku::plugin::{clock, facts, log, object_store, stored_config, types::HostError};
use exports::bunraku::plugin::{
    csr_approval::{Approval, CallContext, Csr, Failure, Guest as Approver, Verdict},
    manifest::{Capability, Guest as Manifest, Metadata, Problem},
    node_classification::{Class, Classification, Guest as Classifier, Node, Outcome},
    resource_provision::{
        CatalogResource, ClassInfo, Fragment, Guest as Provider, IncludedClass, Parameter, Request,
        ResourceRef, RunStage, Value,
    },
};

struct Hostile;

/// What `describe` does: `fine`, `loop`, `panic`, `name`, `twice` or `schema`.
#[unsafe(no_mangle)]
static AT_LOAD: [u8; 16] = *b"at load: fine   ";

fn at_load() -> String {
    let text = black_box(&AT_LOAD);
    String::from_utf8_lossy(&text[9..]).trim().to_owned()
}

impl Manifest for Hostile {
    fn describe() -> Metadata {
        match at_load().as_str() {
            "loop" => spin(),
            "panic" => panic!("describe"),
            _ => {}
        }
        let name = if at_load() == "name" { "Not a name" } else { "hostile" };
        Metadata {
            name: name.into(),
            version: "0.1.0".into(),
            summary: "misbehaves\non demand".into(),
            capabilities: vec![Capability {
                name: "object-store".into(),
                reason: "to flood it".into(),
                optional: true,
            }],
            settings_schema: Some(r#"{"type":"object"}"#.into()),
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
}

impl Approver for Hostile {
    fn decide(ctx: CallContext, request: Csr) -> Result<Verdict, Failure> {
        let word = request.certname.split('.').next().unwrap_or_default();
        let text = match word {
            "approve" => {
                return Ok(Verdict::Approve(Approval { reason: "asked to".into(), lifetime: Some(60) }));
            }
            "deny" => return Ok(Verdict::Deny("asked\nto".into())),
            "abstain" => return Ok(Verdict::Abstain),
            "failure" => return Err(Failure::Unavailable("the bucket is down".into())),
            "loop" => spin(),
            "hog" => hog(),
            "recurse" => recurse(0).to_string(),
            "panic" => panic!("asked to"),
            "exit" => {
                wasi::cli::exit::exit(Ok(()));
                String::new()
            }
            "sleep" => {
                wasi::clocks::monotonic_clock::subscribe_duration(3_600_000_000_000).block();
                "slept".into()
            }
            "huge" => "x".repeat(32 << 20),
            "log-flood" => {
                (0..1_000_000).for_each(|n| log::write(log::Level::Info, &format!("line {n}"), &[]));
                "logged".into()
            }
            "long-line" => {
                log::write(log::Level::Warn, &"é".repeat(100_000), &[("k".into(), "v".repeat(100_000))]);
                log::write(log::Level::Info, "two\nlines", &[("k".into(), "v\r\n".into())]);
                "logged".into()
            }
            "object-flood" => {
                (0..10_000).for_each(|n| drop(object_store::head("registry", &n.to_string())));
                "asked".into()
            }
            "fact-flood" => {
                (0..10_000).for_each(|n| drop(facts::get(&n.to_string())));
                "asked".into()
            }
            "clock-flood" => {
                let later = (0..200_000).filter(|_| clock::now() != ctx.now).count();
                format!("{later} other instants")
            }
            "ask" => object_text(&request.certname),
            "ask-then-loop" => {
                let _ = object_text(&request.certname);
                spin()
            }
            "state" => {
                static CALLS: AtomicU32 = AtomicU32::new(0);
                format!("call {}", CALLS.fetch_add(1, Ordering::Relaxed) + 1)
            }
            "context" => format!("{ctx:?} {request:?}"),
            "wasi" => wasi_text(),
            "time" => format!("{}", clock::remaining()),
            other => format!("unknown word {other}"),
        };
        Ok(Verdict::Pending(text))
    }
}

impl Classifier for Hostile {
    fn classify(ctx: CallContext, node: Node) -> Result<Outcome, Failure> {
        let word = node.trusted.certname.split('.').next().unwrap_or_default();
        let class = |parameters: &str| Class { name: "role".into(), parameters: parameters.into() };
        let found = |classes: Vec<Class>, because: Vec<String>| {
            Ok(Outcome::Matched(Classification {
                environment: Some("production".into()),
                classes,
                parameters: "{}".into(),
                because,
            }))
        };
        match word {
            "abstain" => Ok(Outcome::Abstain),
            "reject" => Ok(Outcome::Reject("not-found: asked to".into())),
            "broken-json" => found(vec![class("{")], vec![]),
            "no-object" => found(vec![class("[]")], vec![]),
            "deep-json" => found(vec![class(&"[".repeat(100_000))], vec![]),
            // Every element is the same megabyte: small here, 10 GB for a careless host.
            "quadratic" => {
                let text = "x".repeat(1 << 20).leak();
                // SAFETY: freed more than once if it ever were; the host is to end the call before.
                let same = |_| unsafe { String::from_raw_parts(text.as_mut_ptr(), text.len(), text.len()) };
                found(vec![], (0..10_000).map(same).collect())
            }
            _ => {
                let os = facts::get("os.family").unwrap_or_default();
                let nodes = stored_config::nodes(&[("role".into(), "\"x\"".into())], &["ip".into()], None);
                let nodes = match nodes {
                    Ok(page) => page.nodes.into_iter().map(|n| format!("{}={}", n.node, n.facts)).collect(),
                    Err(error) => error_text(error),
                };
                let because = vec![os, facts::all(), nodes, ctx.settings, node.trusted.external];
                found(vec![class(r#"{"b":1,"a":[true]}"#)], because)
            }
        }
    }
}

impl Provider for Hostile {
    fn classes() -> Vec<ClassInfo> {
        let schema = if at_load() == "schema" { "{" } else { r#"{"type":"object"}"# };
        let info = || ClassInfo {
            name: "hostile".into(),
            summary: "misbehaves".into(),
            parameters_schema: schema.into(),
        };
        if at_load() == "twice" { vec![info(), info()] } else { vec![info()] }
    }

    fn provide(_ctx: CallContext, request: Request) -> Result<Fragment, Failure> {
        let parameter = |name: &str, value: Value| Parameter { name: name.into(), value };
        let secret = if request.class == "broken-secret" { "hunter2" } else { "\"hunter2\"" };
        let resource = CatalogResource {
            resource_type: "File".into(),
            title: "/etc/motd".into(),
            parameters: vec![
                parameter("content", Value::Plain(request.parameters)),
                parameter("owner", Value::Plain(request.node_parameters)),
                parameter("secret", Value::Sensitive(secret.into())),
                parameter(
                    "require",
                    Value::Refs(vec![ResourceRef { resource_type: "Package".into(), title: "x".into() }]),
                ),
            ],
            tags: vec!["motd".into()],
            exported: false,
        };
        Ok(Fragment {
            resources: vec![resource],
            includes: vec![IncludedClass {
                name: "other".into(),
                parameters: "{}".into(),
                in_stage: Some("early".into()),
            }],
            stages: vec![RunStage { name: "early".into(), before: "main".into() }],
            warnings: vec!["nothing\nyet".into()],
        })
    }
}

export!(Hostile);

fn spin() -> ! {
    loop {
        black_box(0);
    }
}

fn hog() -> ! {
    let mut all = vec![];
    loop {
        all.push(black_box(vec![1_u8; 1 << 20]));
    }
}

fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if frame[2] == u64::MAX {
        return 0;
    }
    recurse(frame[0] + 1) + frame[1]
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

fn wasi_text() -> String {
    use wasi::sockets::network::IpAddressFamily;
    let wall = wasi::clocks::wall_clock::now();
    let network = wasi::sockets::instance_network::instance_network();
    let name = wasi::sockets::ip_name_lookup::resolve_addresses(&network, "localhost");
    let socket = wasi::sockets::tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4);
    format!(
        "wall={}.{:09} monotonic={} random={:02x?} seed={:?} environment={} arguments={} folders={} \
         name={:?} socket={:?}",
        wall.seconds,
        wall.nanoseconds,
        wasi::clocks::monotonic_clock::now(),
        wasi::random::random::get_random_bytes(8),
        wasi::random::insecure_seed::insecure_seed(),
        wasi::cli::environment::get_environment().len(),
        wasi::cli::environment::get_arguments().len(),
        wasi::filesystem::preopens::get_directories().len(),
        name.err(),
        socket.err(),
    )
}
