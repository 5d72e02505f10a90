//! What the guests in `examples/` are made of: the contract's bindings, and a [`Guest`] that does nothing,
//! so that each of them is no longer than its misbehaviour.
//!
//! `cargo xtask plugins` makes `target/plugins/hostile/NAME.wasm` of each. None is ever part of a release.

#![allow(missing_docs, reason = "most of it is generated from the contract")]

use std::hint::black_box;

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    Scheme,
};

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package bunraku:hostile;

        world hostile {
            include bunraku:plugin/csr-approver@0.1.0;
            include bunraku:plugin/node-classifier@0.1.0;
            include bunraku:plugin/resource-provider@0.1.0;
        }
    ",
    world: "bunraku:hostile/hostile",
    pub_export_macro: true,
    default_bindings_module: "hostile",
    generate_all,
});

pub use exports::bunraku::plugin::csr_approval::{Approval, CallContext, Csr, Failure, Verdict};
pub use exports::bunraku::plugin::manifest::{Capability, Metadata, Problem};
pub use exports::bunraku::plugin::node_classification::{Class, Classification, Node, Outcome};
pub use exports::bunraku::plugin::resource_provision::{
    CatalogResource, ClassInfo, Fragment, IncludedClass, Parameter, Request, ResourceRef, RunStage, Value,
};
use exports::bunraku::plugin::{csr_approval, manifest, node_classification, resource_provision};

/// A plugin of every kind that has no opinion.
pub trait Guest {
    fn describe() -> Metadata {
        modest()
    }

    fn validate_settings(_: String) -> Vec<Problem> {
        vec![]
    }

    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        Ok(Verdict::Abstain)
    }

    fn classify(_: CallContext, _: Node) -> Result<Outcome, Failure> {
        Ok(Outcome::Abstain)
    }

    fn classes() -> Vec<ClassInfo> {
        vec![]
    }

    fn provide(_: CallContext, _: Request) -> Result<Fragment, Failure> {
        Ok(Fragment { resources: vec![], includes: vec![], stages: vec![], warnings: vec![] })
    }
}

impl<T: Guest> manifest::Guest for T {
    fn describe() -> Metadata {
        T::describe()
    }

    fn validate_settings(settings: String) -> Vec<Problem> {
        T::validate_settings(settings)
    }
}

impl<T: Guest> csr_approval::Guest for T {
    fn decide(ctx: CallContext, request: Csr) -> Result<Verdict, Failure> {
        T::decide(ctx, request)
    }
}

impl<T: Guest> node_classification::Guest for T {
    fn classify(ctx: CallContext, node: Node) -> Result<Outcome, Failure> {
        T::classify(ctx, node)
    }
}

impl<T: Guest> resource_provision::Guest for T {
    fn classes() -> Vec<ClassInfo> {
        T::classes()
    }

    fn provide(ctx: CallContext, request: Request) -> Result<Fragment, Failure> {
        T::provide(ctx, request)
    }
}

/// A description that nobody objects to.
pub fn modest() -> Metadata {
    Metadata {
        name: "hostile".into(),
        version: "0.1.0".into(),
        summary: "misbehaves".into(),
        capabilities: vec![],
        settings_schema: Some(r#"{"type":"object"}"#.into()),
    }
}

/// A class whose parameters' schema is this.
pub fn class(schema: &str) -> ClassInfo {
    ClassInfo { name: "hostile".into(), summary: "misbehaves".into(), parameters_schema: schema.into() }
}

/// One class with these parameters.
pub fn matched(parameters: &str, because: Vec<String>) -> Outcome {
    Outcome::Matched(Classification {
        environment: Some("production".into()),
        classes: vec![Class { name: "role".into(), parameters: parameters.into() }],
        parameters: "{}".into(),
        because,
    })
}

/// A loop without an end.
pub fn spin() -> ! {
    loop {
        black_box(0);
    }
}

/// Posts a body to a host and reads the answer. It is asked over TLS, unless `http://` comes first.
pub fn fetch(authority: &str, body: &[u8]) -> Result<(u16, Vec<u8>), ErrorCode> {
    let response = ask(authority, body)?;
    let incoming = response.consume().map_err(|()| ErrorCode::HttpProtocolError)?;
    let stream = incoming.stream().map_err(|()| ErrorCode::HttpProtocolError)?;
    let mut read = vec![];
    while let Ok(piece) = stream.blocking_read(1 << 16) {
        read.extend(piece);
    }
    Ok((response.status(), read))
}

/// Posts a body to a host and leaves the answer's unread.
pub fn ask(authority: &str, body: &[u8]) -> Result<IncomingResponse, ErrorCode> {
    let answer = send(authority, body)?;
    answer.subscribe().block();
    match answer.get() {
        Some(Ok(answered)) => answered,
        _ => Err(ErrorCode::HttpProtocolError),
    }
}

/// Posts a body to a host and does not wait.
pub fn send(authority: &str, body: &[u8]) -> Result<FutureIncomingResponse, ErrorCode> {
    let impossible = |()| ErrorCode::HttpRequestUriInvalid;
    let request = OutgoingRequest::new(Fields::new());
    request.set_method(&Method::Post).map_err(impossible)?;
    let (scheme, authority) =
        authority.strip_prefix("http://").map_or((Scheme::Https, authority), |rest| (Scheme::Http, rest));
    request.set_scheme(Some(&scheme)).map_err(impossible)?;
    request.set_authority(Some(authority)).map_err(impossible)?;
    request.set_path_with_query(Some("/path?query=1")).map_err(impossible)?;
    let outgoing = request.body().map_err(impossible)?;
    let answer = handle(request, None)?;
    let stream = outgoing.write().map_err(impossible)?;
    for piece in body.chunks(4096) {
        if stream.blocking_write_and_flush(piece).is_err() {
            break;
        }
    }
    drop(stream);
    OutgoingBody::finish(outgoing, None)?;
    Ok(answer)
}
