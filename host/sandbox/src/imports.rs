//! The contract's imports, each led to the call's [`Host`].

use serde_json::Value;

use crate::bindings::bunraku::plugin::{clock, facts, log, object_store, stored_config, types};
use crate::state::State;
use crate::{ByteRange, Level, ResourceQuery};

type Answer<T> = wasmtime::Result<Result<T, types::HostError>>;

impl types::Host for State {}

impl log::Host for State {
    fn write(
        &mut self,
        level: log::Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Trace => Level::Trace,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        self.log.write(&*self.host, level, &message, fields);
        Ok(())
    }
}

impl clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.now)
    }

    fn remaining(&mut self) -> wasmtime::Result<u64> {
        Ok(self.run.clock.remaining())
    }
}

impl facts::Host for State {
    fn get(&mut self, path: String) -> wasmtime::Result<Option<String>> {
        Ok(self.charge()?.fact(&path).map(|value| value.to_string()))
    }

    fn all(&mut self) -> wasmtime::Result<String> {
        Ok(self.charge()?.facts().to_string())
    }
}

impl object_store::Host for State {
    async fn head(&mut self, store: String, key: String) -> Answer<object_store::ObjectInfo> {
        let host = self.charge()?;
        let answer = self.wait(async move { host.head(&store, &key).await }).await;
        Ok(answer.map(Into::into).map_err(Into::into))
    }

    async fn get(
        &mut self,
        store: String,
        key: String,
        range: Option<object_store::ByteRange>,
    ) -> Answer<object_store::Object> {
        let host = self.charge()?;
        let range = range.map(|range| ByteRange { start: range.start, length: range.length });
        let answer = self.wait(async move { host.get(&store, &key, range).await }).await;
        Ok(answer.map(Into::into).map_err(Into::into))
    }

    async fn list(
        &mut self,
        store: String,
        prefix: String,
        cursor: Option<String>,
    ) -> Answer<object_store::Listing> {
        let host = self.charge()?;
        let answer = self.wait(async move { host.list(&store, &prefix, cursor.as_deref()).await }).await;
        Ok(answer.map(Into::into).map_err(Into::into))
    }
}

impl stored_config::Host for State {
    async fn exported_resources(
        &mut self,
        query: stored_config::ResourceQuery,
        cursor: Option<String>,
    ) -> Answer<stored_config::ResourcePage> {
        let host = self.charge()?;
        let query = ResourceQuery {
            resource_type: query.resource_type,
            title: query.title,
            tags: query.tags,
            environment: query.environment,
        };
        let answer = self.wait(async move { host.exported_resources(&query, cursor.as_deref()).await }).await;
        Ok(answer.map(Into::into).map_err(Into::into))
    }

    async fn nodes(
        &mut self,
        equals: Vec<(String, String)>,
        select: Vec<String>,
        cursor: Option<String>,
    ) -> Answer<stored_config::NodePage> {
        let host = self.charge()?;
        let mut parsed = Vec::with_capacity(equals.len());
        for (path, json) in equals {
            match serde_json::from_str::<Value>(&json) {
                Ok(value) => parsed.push((path, value)),
                Err(error) => {
                    return Ok(Err(types::HostError::Invalid(format!("the value for `{path}`: {error}"))));
                }
            }
        }
        let answer = self.wait(async move { host.nodes(&parsed, &select, cursor.as_deref()).await }).await;
        Ok(answer.map(Into::into).map_err(Into::into))
    }
}
