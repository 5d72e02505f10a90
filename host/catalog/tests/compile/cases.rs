//! Classes, fragments and compilations as short as the tests need them.

use std::{collections::HashMap, sync::Arc};

use bunraku_catalog::{
    ClassIndex, ClassSpec, CompileError, Compiled, Compiler, Fragment, FragmentResource, IncludedClass, Map,
    ParamValue, ResourceRef, RunStage, Step, Target,
};
use serde_json::{Value, json};

pub const NODE: &str = "worker1.example.net";

/// A set of classes with what their plugins answer.
#[derive(Default)]
pub struct Plugins {
    specs: Vec<ClassSpec>,
    answers: HashMap<String, Fragment>,
}

impl Plugins {
    /// A class of a plugin that takes any parameters.
    pub fn class(self, plugin: &str, name: &str, fragment: Fragment) -> Self {
        self.class_with(plugin, name, json!({}), fragment)
    }

    pub fn class_with(mut self, plugin: &str, name: &str, schema: Value, fragment: Fragment) -> Self {
        self.specs.push(ClassSpec { name: name.into(), plugin: plugin.into(), parameters_schema: schema });
        self.answers.insert(name.into(), fragment);
        self
    }

    pub fn compile(&self, classes: Value) -> Result<Compiled, CompileError> {
        self.compile_and_tell(classes, &mut Vec::new())
    }

    /// Also notes whom the compiler asked, with what.
    pub fn compile_and_tell(
        &self,
        classes: Value,
        asked: &mut Vec<(String, Value)>,
    ) -> Result<Compiled, CompileError> {
        let Value::Array(classes) = classes else { panic!("classes are a list of [name, parameters]") };
        let classes = classes.into_iter().map(|class| match class {
            Value::String(name) => (name, Map::new()),
            class => serde_json::from_value(class).unwrap(),
        });
        let index = ClassIndex::new(self.specs.clone()).unwrap();
        let mut compiler = Compiler::new(target(), classes.collect(), Arc::new(index))?;
        while let Step::Ask(ask) = compiler.next() {
            asked.push((ask.class.clone(), Value::Object(ask.parameters.clone())));
            let fragment = self.answers[&ask.class].clone();
            compiler.answer(fragment)?;
        }
        compiler.finish()
    }
}

pub fn target() -> Target {
    Target {
        certname: NODE.into(),
        environment: "production".into(),
        version: "1".into(),
        catalog_uuid: "310659e1-8c14-4a79-8d8a-7c482fa63223".into(),
    }
}

/// A fragment of resources; the rest by the functions below.
pub fn fragment(resources: impl IntoIterator<Item = FragmentResource>) -> Fragment {
    Fragment { resources: resources.into_iter().collect(), ..Fragment::default() }
}

pub trait More {
    fn include(self, name: &str) -> Self;
    fn include_in(self, stage: &str, name: &str) -> Self;
    fn include_with(self, name: &str, parameters: Value) -> Self;
    fn stage(self, name: &str, before: &str) -> Self;
    fn warning(self, text: &str) -> Self;
}

impl More for Fragment {
    fn include(mut self, name: &str) -> Self {
        self.includes.push(IncludedClass { name: name.into(), ..IncludedClass::default() });
        self
    }

    fn include_in(mut self, stage: &str, name: &str) -> Self {
        let in_stage = Some(stage.into());
        self.includes.push(IncludedClass { name: name.into(), in_stage, ..IncludedClass::default() });
        self
    }

    fn include_with(mut self, name: &str, parameters: Value) -> Self {
        let Value::Object(parameters) = parameters else { panic!("parameters are an object") };
        self.includes.push(IncludedClass { name: name.into(), parameters, in_stage: None });
        self
    }

    fn stage(mut self, name: &str, before: &str) -> Self {
        self.stages.push(RunStage { name: name.into(), before: before.into() });
        self
    }

    fn warning(mut self, text: &str) -> Self {
        self.warnings.push(text.into());
        self
    }
}

/// A resource with plain parameters.
pub fn resource(resource_type: &str, title: &str, parameters: Value) -> FragmentResource {
    let parameters = match parameters {
        Value::Object(parameters) => {
            parameters.into_iter().map(|(name, value)| (name, ParamValue::Plain(value)))
        }
        _ => panic!("parameters are an object"),
    };
    FragmentResource {
        resource_type: resource_type.into(),
        title: title.into(),
        parameters: parameters.collect(),
        ..FragmentResource::default()
    }
}

pub trait With {
    fn refs(self, parameter: &str, refs: &[(&str, &str)]) -> Self;
    fn sensitive(self, parameter: &str, value: Value) -> Self;
    fn exported(self) -> Self;
    fn tagged(self, tag: &str) -> Self;
}

impl With for FragmentResource {
    fn refs(mut self, parameter: &str, refs: &[(&str, &str)]) -> Self {
        let refs =
            refs.iter().map(|(resource_type, title)| ResourceRef::new(*resource_type, *title)).collect();
        self.parameters.push((parameter.into(), ParamValue::Refs(refs)));
        self
    }

    fn sensitive(mut self, parameter: &str, value: Value) -> Self {
        self.parameters.push((parameter.into(), ParamValue::Sensitive(value)));
        self
    }

    fn exported(mut self) -> Self {
        self.exported = true;
        self
    }

    fn tagged(mut self, tag: &str) -> Self {
        self.tags.push(tag.into());
        self
    }
}
