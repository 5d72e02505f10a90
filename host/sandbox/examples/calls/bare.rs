//! The same call with nothing around it.

use std::num::NonZeroUsize;
use std::sync::Arc;

use bunraku_sandbox::Csr;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result, Store};
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package bunraku:bench;

        world approver {
            include bunraku:plugin/csr-approver@0.1.0;
            import bunraku:plugin/facts@0.1.0;
        }
    ",
    world: "bunraku:bench/approver",
    exports: { default: async },
});

use bunraku::plugin::{clock, facts, log, object_store, stored_config, types};
use exports::bunraku::plugin::csr_approval as wit;

/// A component, ready to be instantiated.
#[derive(Clone)]
pub struct Bare(Arc<ApproverPre<Host>>);

impl Bare {
    pub fn new(bytes: &[u8]) -> Result<Self> {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(64)
            .total_stacks(64)
            .total_memories(256)
            .total_tables(4096)
            .total_core_instances(4096)
            .max_component_instance_size(4 << 20)
            .max_core_instance_size(4 << 20)
            .table_elements(64 << 10)
            .max_memory_size(64 << 20)
            .linear_memory_keep_resident(512 << 10)
            .table_keep_resident(64 << 10);
        if PoolingAllocationConfig::is_pagemap_scan_available() {
            pool.pagemap_scan(Enabled::Yes);
        }
        let mut config = Config::new();
        config
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
            .concurrency_support(false)
            .wasm_backtrace_max_frames(NonZeroUsize::new(16));
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        Approver::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host)?;
        let component = Component::from_binary(&engine, bytes)?;
        Ok(Bare(Arc::new(ApproverPre::new(linker.instantiate_pre(&component)?)?)))
    }

    pub async fn decide(&self, csr: &Csr) -> Result<()> {
        let mut store = Store::new(self.0.engine(), Host { wasi: None });
        let plugin = self.0.instantiate_async(&mut store).await?;
        let answer =
            plugin.bunraku_plugin_csr_approval().call_decide(&mut store, &context(), &request(csr)).await?;
        let _ = std::hint::black_box(answer);
        Ok(())
    }
}

fn context() -> types::CallContext {
    types::CallContext {
        decision_id: "0190b9f0-7c1e-7000-8000-000000000000".into(),
        mode: types::Mode::Enforce,
        now: 1_767_323_045_000_000_000,
        settings: "{}".into(),
        annotations: vec![("object-store.registry".into(), "s3://bucket/prefix".into())],
    }
}

fn request(csr: &Csr) -> wit::Csr {
    wit::Csr {
        certname: csr.certname.clone(),
        fingerprint: csr.fingerprint.clone(),
        der: csr.der.clone(),
        key_algorithm: csr.key_algorithm.clone(),
        key_bits: csr.key_bits,
        alt_names: csr
            .alt_names
            .iter()
            .map(|name| wit::AltName { kind: name.kind.clone(), value: name.value.clone() })
            .collect(),
        extensions: csr.extensions.clone(),
        attributes: csr.attributes.clone(),
        occasion: wit::Occasion::First,
        peer: csr.peer.clone(),
    }
}

/// Answers as a host that grants nothing.
struct Host {
    wasi: Option<Box<(WasiCtx, ResourceTable)>>,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi =
            self.wasi.get_or_insert_with(|| Box::new((WasiCtx::builder().build(), ResourceTable::new())));
        WasiCtxView { ctx: &mut wasi.0, table: &mut wasi.1 }
    }
}

fn denied<T>() -> std::result::Result<T, types::HostError> {
    Err(types::HostError::Denied("not granted".into()))
}

impl types::Host for Host {}

impl log::Host for Host {
    fn write(&mut self, _: log::Level, _: String, _: Vec<(String, String)>) {}
}

impl clock::Host for Host {
    fn now(&mut self) -> u64 {
        0
    }

    fn remaining(&mut self) -> u64 {
        0
    }
}

impl facts::Host for Host {
    fn get(&mut self, _: String) -> Option<String> {
        None
    }

    fn all(&mut self) -> String {
        "{}".into()
    }
}

impl object_store::Host for Host {
    fn head(
        &mut self,
        _: String,
        _: String,
    ) -> std::result::Result<object_store::ObjectInfo, types::HostError> {
        denied()
    }

    fn get(
        &mut self,
        _: String,
        _: String,
        _: Option<object_store::ByteRange>,
    ) -> std::result::Result<object_store::Object, types::HostError> {
        denied()
    }

    fn list(
        &mut self,
        _: String,
        _: String,
        _: Option<String>,
    ) -> std::result::Result<object_store::Listing, types::HostError> {
        denied()
    }
}

impl stored_config::Host for Host {
    fn exported_resources(
        &mut self,
        _: stored_config::ResourceQuery,
        _: Option<String>,
    ) -> std::result::Result<stored_config::ResourcePage, types::HostError> {
        denied()
    }

    fn nodes(
        &mut self,
        _: Vec<(String, String)>,
        _: Vec<String>,
        _: Option<String>,
    ) -> std::result::Result<stored_config::NodePage, types::HostError> {
        denied()
    }
}
