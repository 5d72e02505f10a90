//! The host behind a call of a component.

use std::time::Duration;

use super::contract::bunraku::plugin::{clock, facts, log, object_store, stored_config};
use super::convert::{object, value};
use crate::call::{Host, Page};
use crate::{
    ExportedResource, HostError, Level, Listing, NodeFacts, Object, ObjectInfo, ResourceQuery, Value,
};

/// The contract's imports.
pub struct Imports;

impl Host for Imports {
    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let level = match level {
            Level::Trace => log::Level::Trace,
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        };
        let fields: Vec<(String, String)> =
            fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        log::write(level, message, &fields);
    }

    fn remaining(&self) -> Duration {
        Duration::from_nanos(clock::remaining())
    }

    fn fact(&self, path: &str) -> Option<Value> {
        facts::get(path).map(|json| value(&json))
    }

    fn facts(&self) -> Value {
        value(&facts::all())
    }

    fn head_object(&self, store: &str, key: &str) -> Result<ObjectInfo, HostError> {
        Ok(object_store::head(store, key)?.into())
    }

    fn get_object(&self, store: &str, key: &str, range: Option<(u64, u64)>) -> Result<Object, HostError> {
        let range = range.map(|(start, length)| object_store::ByteRange { start, length });
        let object = object_store::get(store, key, range)?;
        Ok(Object { info: object.info.into(), body: object.body })
    }

    fn list_objects(&self, store: &str, prefix: &str, cursor: Option<&str>) -> Result<Listing, HostError> {
        let page = object_store::list(store, prefix, cursor)?;
        let objects = page.objects.into_iter().map(ObjectInfo::from).collect();
        Ok(Listing { objects, prefixes: page.prefixes, next: page.next })
    }

    fn exported_resources(
        &self,
        query: &ResourceQuery,
        cursor: Option<&str>,
    ) -> Result<Page<ExportedResource>, HostError> {
        let query = stored_config::ResourceQuery {
            resource_type: query.resource_type.clone(),
            title: query.title.clone(),
            tags: query.tags.clone(),
            environment: query.environment.clone(),
        };
        let page = stored_config::exported_resources(&query, cursor)?;
        let resources = page.resources.into_iter().map(|r| ExportedResource {
            resource_type: r.resource_type,
            title: r.title,
            exported_by: r.exported_by,
            tags: r.tags,
            parameters: object(&r.parameters),
        });
        Ok((resources.collect(), page.next))
    }

    fn nodes(
        &self,
        equals: &[(&str, Value)],
        select: &[&str],
        cursor: Option<&str>,
    ) -> Result<Page<NodeFacts>, HostError> {
        let equals: Vec<(String, String)> =
            equals.iter().map(|(path, value)| ((*path).to_owned(), value.to_string())).collect();
        let select: Vec<String> = select.iter().map(|path| (*path).to_owned()).collect();
        let page = stored_config::nodes(&equals, &select, cursor)?;
        let nodes = page.nodes.into_iter().map(|n| NodeFacts { node: n.node, facts: object(&n.facts) });
        Ok((nodes.collect(), page.next))
    }
}

impl From<object_store::ObjectInfo> for ObjectInfo {
    fn from(info: object_store::ObjectInfo) -> Self {
        Self {
            key: info.key,
            size: info.size,
            etag: info.etag,
            modified: info.modified,
            content_type: info.content_type,
        }
    }
}
