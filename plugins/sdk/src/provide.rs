//! Turning classes into catalog resources (`wit/provide.wit`).

use crate::{Call, Failure, Map, Plugin, Trusted, Value};

/// Turns the classes of a node into catalog resources.
pub trait ResourceProvider: Plugin {
    /// The classes this plugin provides. Called once, at load, with no capability.
    fn classes() -> Vec<ClassInfo>;

    /// The resources of one class on one node.
    ///
    /// # Errors
    /// The plugin cannot tell; the node gets no catalog.
    fn provide(call: &Call, request: &Request) -> Result<Fragment, Failure>;
}

/// What a plugin tells of a class it provides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassInfo {
    /// As catalogs and classifiers name it, such as `hadoop::worker`.
    pub name: String,
    /// One line.
    pub summary: String,
    /// A JSON Schema of the class's parameters, with their defaults; the host checks and completes
    /// them before the call.
    pub parameters_schema: Value,
}

/// One class wanted on one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The node as its certificate presents it.
    pub node: Trusted,
    /// The catalog's environment.
    pub environment: String,
    /// One of this plugin's classes.
    pub class: String,
    /// Already valid for the class's schema, defaults filled in.
    pub parameters: Map,
    /// The parameters the classifier set for the node as a whole.
    pub node_parameters: Map,
}

/// What a class puts into the catalog.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fragment {
    /// Unique by type and title. The host contains them in the class.
    pub resources: Vec<Resource>,
    /// Classes that this class needs in the catalog too.
    pub includes: Vec<IncludedClass>,
    /// Run stages that this class or its includes use.
    pub stages: Vec<RunStage>,
    /// For the agent's log, such as "no namenode has registered yet".
    pub warnings: Vec<String>,
}

impl Fragment {
    /// A fragment with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a resource and hands it back, so that a later line can still add to it.
    pub fn add(&mut self, resource: Resource) -> &mut Resource {
        push(&mut self.resources, resource)
    }

    /// Adds a class, and hands it back for [`IncludedClass::param`] and [`IncludedClass::stage`].
    pub fn include(&mut self, class: impl Into<String>) -> &mut IncludedClass {
        let class = IncludedClass { name: class.into(), ..IncludedClass::default() };
        push(&mut self.includes, class)
    }

    /// Declares a run stage that is applied before another; `main` always exists.
    pub fn stage(&mut self, name: impl Into<String>, before: impl Into<String>) -> &mut Self {
        self.stages.push(RunStage { name: name.into(), before: before.into() });
        self
    }

    /// Adds a line for the agent's log.
    pub fn warn(&mut self, message: impl Into<String>) -> &mut Self {
        self.warnings.push(message.into());
        self
    }
}

/// A catalog resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    /// As catalogs write it, such as `File` or `Nagios::Host`.
    pub resource_type: String,
    /// Unique among the catalog's resources of this type.
    pub title: String,
    /// In the order they were added; a name occurs once.
    pub parameters: Vec<(String, ParamValue)>,
    /// Added to the tags the host gives every resource.
    pub tags: Vec<String>,
    /// Stored for other nodes to collect; not applied on this one.
    pub exported: bool,
}

impl Resource {
    /// A resource without parameters.
    pub fn new(resource_type: impl Into<String>, title: impl Into<String>) -> Self {
        Self { resource_type: resource_type.into(), title: title.into(), ..Self::default() }
    }

    /// Sets a parameter; an earlier value of the same name is replaced.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set(name.into(), ParamValue::Plain(value.into()));
        self
    }

    /// Sets a parameter that is masked in logs, reports and the journal, and that the agent treats as
    /// Sensitive.
    #[must_use]
    pub fn sensitive(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set(name.into(), ParamValue::Sensitive(value.into()));
        self
    }

    /// Adds references to `require`, `before`, `notify` or `subscribe`; earlier ones are kept.
    #[must_use]
    pub fn refs<T: Into<String>, U: Into<String>>(
        mut self,
        name: impl Into<String>,
        targets: impl IntoIterator<Item = (T, U)>,
    ) -> Self {
        let name = name.into();
        let new = targets.into_iter().map(|(resource_type, title)| ResourceRef {
            resource_type: resource_type.into(),
            title: title.into(),
        });
        match self.parameters.iter_mut().find(|(n, _)| *n == name) {
            Some((_, ParamValue::Refs(refs))) => refs.extend(new),
            Some((_, value)) => *value = ParamValue::Refs(new.collect()),
            None => self.parameters.push((name, ParamValue::Refs(new.collect()))),
        }
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Marks it as stored for other nodes to collect.
    #[must_use]
    pub fn exported(mut self) -> Self {
        self.exported = true;
        self
    }

    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&ParamValue> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    fn set(&mut self, name: String, value: ParamValue) {
        match self.parameters.iter_mut().find(|(n, _)| *n == name) {
            Some((_, old)) => *old = value,
            None => self.parameters.push((name, value)),
        }
    }
}

/// The value of a resource's parameter.
#[derive(Clone, PartialEq)]
pub enum ParamValue {
    /// Any JSON value.
    Plain(Value),
    /// Masked wherever it would be shown.
    Sensitive(Value),
    /// What `require`, `before`, `notify` and `subscribe` hold.
    Refs(Vec<ResourceRef>),
}

/// A sensitive value is left out.
impl std::fmt::Debug for ParamValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(value) => f.debug_tuple("Plain").field(value).finish(),
            Self::Sensitive(_) => f.write_str("Sensitive(..)"),
            Self::Refs(refs) => f.debug_tuple("Refs").field(refs).finish(),
        }
    }
}

/// A resource reference, `Type[title]` in a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceRef {
    /// Such as `Package`.
    pub resource_type: String,
    /// Such as `hadoop-0.20`.
    pub title: String,
}

/// A class that another class needs in the catalog. It may belong to another plugin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IncludedClass {
    /// Such as `apt::update`.
    pub name: String,
    /// Empty for the class's defaults.
    pub parameters: Map,
    /// The run stage to put it in; the including class's own where none.
    pub in_stage: Option<String>,
}

impl IncludedClass {
    /// Sets a parameter.
    pub fn param(&mut self, name: impl Into<String>, value: impl Into<Value>) -> &mut Self {
        self.parameters.insert(name.into(), value.into());
        self
    }

    /// Puts it in a run stage.
    pub fn stage(&mut self, stage: impl Into<String>) -> &mut Self {
        self.in_stage = Some(stage.into());
        self
    }
}

/// A run stage, placed before another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunStage {
    /// Such as `apt`.
    pub name: String,
    /// `main`, or another declared stage.
    pub before: String,
}

fn push<T>(list: &mut Vec<T>, item: T) -> &mut T {
    let at = list.len();
    list.push(item);
    #[expect(clippy::indexing_slicing, reason = "the item was just pushed at this index")]
    &mut list[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_set_once_and_references_add_up() {
        let file = Resource::new("File", "/x")
            .param("ensure", "absent")
            .param("ensure", "file")
            .refs("require", [("Package", "a")])
            .refs("require", [("Package", "b")])
            .tag("t")
            .exported();
        assert_eq!(file.parameters.len(), 2);
        assert_eq!(file.parameter("ensure"), Some(&ParamValue::Plain("file".into())));
        let Some(ParamValue::Refs(refs)) = file.parameter("require") else { panic!("no references") };
        assert_eq!(refs.iter().map(|r| r.title.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(file.exported && file.tags == ["t"]);
    }

    #[test]
    fn an_include_takes_parameters_and_a_stage() {
        let mut fragment = Fragment::new();
        fragment.include("hadoop::base").param("version", 3).stage("hadoop-base");
        fragment.stage("hadoop-base", "main").warn("no namenode yet");
        assert_eq!(fragment.includes[0].in_stage.as_deref(), Some("hadoop-base"));
        assert_eq!(fragment.includes[0].parameters["version"], 3);
        assert_eq!(fragment.stages[0].before, "main");
        assert_eq!(fragment.warnings, ["no namenode yet"]);
    }

    #[test]
    fn debug_output_hides_sensitive_values() {
        let user = Resource::new("User", "u").sensitive("password", "hunter2");
        assert!(!format!("{user:?}").contains("hunter2"));
    }
}
