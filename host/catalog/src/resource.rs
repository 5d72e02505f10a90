//! One resource of a fragment, checked on its own and made ready for the catalog.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    Map,
    fragment::{FragmentResource, ParamValue, ResourceRef},
    name,
    wire::{Kind, Resource},
};

/// How many parameters a resource may have, and how many tags of its own.
const PARAMETERS: usize = 256;
const TAGS: usize = 256;

/// What a tag looks like, for errors.
const TAG: &str = "[a-z0-9_][a-z0-9_:.-]*";

/// A resource of the catalog whose references are still to be resolved.
#[derive(Debug)]
pub struct Checked {
    pub resource: Resource,
    /// `Type[title]`, as edges name it.
    pub reference: Arc<str>,
    /// Per parameter that holds references: its place among the parameters, and them.
    pub refs: Vec<(usize, References)>,
    /// Other references under which the agent knows the same thing; a second owner of one is an error.
    pub also: Vec<String>,
}

/// What a parameter refers to.
#[derive(Debug)]
pub struct References {
    pub refs: Vec<ResourceRef>,
    /// Whether they are an array in the catalog, even one alone.
    pub array: bool,
}

/// A metaparameter that orders resources; anything else that refers to one orders nothing.
pub fn is_relationship(parameter: &str) -> bool {
    matches!(parameter, "before" | "require" | "notify" | "subscribe")
}

/// Checks what can be checked without the rest of the catalog. The error says what is wrong with what, on
/// one line and without a value.
pub fn check(raw: FragmentResource, class_tags: &[Arc<str>]) -> Result<Checked, String> {
    let FragmentResource { resource_type: raw_type, title, parameters: raw_parameters, tags, exported } = raw;
    let shown = ResourceRef::new(&*raw_type, &*title).to_string();
    let resource_type = name::resource_type(&raw_type)
        .filter(|name| exported || !name.contains("::"))
        .ok_or_else(|| format!("{shown}: \"{}\" is no resource type", name::shown(&raw_type)))?;
    if matches!(&*resource_type, "Class" | "Stage" | "Node" | "Component" | "Whit") {
        return Err(format!(
            "{shown}: a plugin cannot make a {resource_type}; classes are included and stages declared"
        ));
    }
    if title.is_empty() || title.contains('\0') {
        return Err(format!("{shown}: a title is a text that is not empty and holds no NUL"));
    }

    let mut parameters = Vec::with_capacity(raw_parameters.len());
    let (mut sensitive_parameters, mut refs, mut own_tags) = (Vec::new(), Vec::new(), Vec::new());
    for tag in &tags {
        add_tag(&mut own_tags, tag).map_err(|why| format!("{shown}: its tags hold {why}"))?;
    }
    if raw_parameters.len() > PARAMETERS {
        return Err(format!("{shown}: more than {PARAMETERS} parameters"));
    }
    let twice = raw_parameters
        .iter()
        .enumerate()
        .find(|(place, (name, _))| raw_parameters.iter().take(*place).any(|(earlier, _)| earlier == name));
    if let Some((_, (name, _))) = twice {
        return Err(format!("{shown}: parameter \"{}\" is given twice", name::shown(name)));
    }
    let mut aliases = Vec::new();
    for (parameter, value) in raw_parameters {
        let wrong = |why: &str| format!("{shown}: parameter \"{}\" {why}", name::shown(&parameter));
        if !name::is_parameter(&parameter) {
            return Err(wrong("is no parameter name"));
        }
        if parameter == "stage" {
            return Err(wrong("is for classes: only a class has a run stage"));
        }
        let value = match value {
            ParamValue::Plain(Value::Null) | ParamValue::Sensitive(Value::Null) => continue,
            ParamValue::Sensitive(value) => {
                if is_relationship(&parameter) || matches!(&*parameter, "tag" | "alias") {
                    return Err(wrong("cannot be sensitive"));
                }
                sensitive_parameters.push(parameter.clone());
                value
            }
            ParamValue::Refs(list) if list.is_empty() => continue,
            ParamValue::Refs(list) => {
                let array = list.len() > 1;
                refs.push((parameters.len(), References { refs: list, array }));
                Value::Null
            }
            ParamValue::Plain(value) if is_relationship(&parameter) => {
                let list = references(&value).ok_or_else(|| wrong(NO_REFERENCES))?;
                if list.refs.is_empty() {
                    continue;
                }
                refs.push((parameters.len(), list));
                Value::Null
            }
            ParamValue::Plain(value) => {
                if parameter == "tag" {
                    for tag in texts(&value).ok_or_else(|| wrong("is no text or list of texts"))? {
                        add_tag(&mut own_tags, tag).map_err(|why| wrong(&format!("holds {why}")))?;
                    }
                } else if parameter == "alias" {
                    let names = texts(&value).ok_or_else(|| wrong("is no text or list of texts"))?;
                    aliases.extend(names.into_iter().map(|name| format!("{resource_type}[{name}]")));
                }
                value
            }
        };
        parameters.push((parameter, value));
    }

    add_names(&mut own_tags, &resource_type);
    if name::tag(&title).is_some() {
        add_names(&mut own_tags, &title);
    }
    class_tags.iter().for_each(|tag| push_tag(&mut own_tags, tag.clone()));
    let reference: Arc<str> = format!("{resource_type}[{title}]").into();
    let has_path = parameters.iter().any(|(name, _)| name == "path");
    if resource_type == "File" && title.len() > 1 && title.ends_with('/') && !has_path {
        // The agent's File has no slash at the end; puppetserver spells it out likewise.
        parameters.insert(0, ("path".into(), name::file_path(&title).into()));
        refs.iter_mut().for_each(|(place, _)| *place += 1);
    }
    let also = same_thing(&resource_type, &title, &parameters).into_iter().chain(aliases);
    let also = also.filter(|other| **other != *reference).collect();
    let resource = Resource {
        resource_type,
        title,
        tags: own_tags,
        kind: Kind::CompilableType,
        parameters,
        sensitive_parameters,
    };
    Ok(Checked { resource, reference, refs, also })
}

/// What a relationship metaparameter must be.
pub const NO_REFERENCES: &str = "is no reference of the form Type[title], or list of them";

/// Reads `"Type[title]"` or a list of such texts.
pub fn references(value: &Value) -> Option<References> {
    let array = value.is_array();
    let refs = texts(value)?
        .into_iter()
        .map(|text| name::split_reference(text).map(|(kind, title)| ResourceRef::new(kind, title)))
        .collect::<Option<_>>()?;
    Some(References { refs, array })
}

/// A text, or the texts of a list.
pub fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(values) => values.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// Adds a tag and, as Puppet does, the segments of one that holds `::`.
pub fn add_tag(tags: &mut Vec<Arc<str>>, raw: &str) -> Result<(), String> {
    let tag = name::tag(raw).ok_or_else(|| format!("\"{}\", which is no tag: {TAG}", name::shown(raw)))?;
    if tags.len() >= TAGS {
        return Err(format!("one of more than {TAGS} tags"));
    }
    add_names(tags, &tag);
    Ok(())
}

/// Adds a name that is known to be a tag, lower case, and its segments.
pub fn add_names(tags: &mut Vec<Arc<str>>, name: &str) {
    let name = name.to_ascii_lowercase();
    push_tag(tags, name.as_str().into());
    if name.contains("::") {
        name.split("::")
            .filter(|segment| !segment.is_empty())
            .for_each(|segment| push_tag(tags, segment.into()));
    }
}

/// Adds a tag if it is not there.
pub fn push_tag(tags: &mut Vec<Arc<str>>, tag: Arc<str>) {
    if !tags.contains(&tag) {
        tags.push(tag);
    }
}

/// References that the agent would take for this resource, by what identifies the thing on the node.
fn same_thing(resource_type: &str, title: &str, parameters: &[(String, Value)]) -> Option<String> {
    let text = |wanted: &str| {
        parameters.iter().find(|(name, _)| name == wanted).and_then(|(_, value)| value.as_str())
    };
    match resource_type {
        "File" => {
            let path = name::file_path(text("path").or_else(|| text("name")).unwrap_or(title));
            Some(format!("File[{path}]"))
        }
        // One package may be wanted of two providers, and one command run twice.
        "Package" | "Exec" => None,
        _ => text("name").map(|name| format!("{resource_type}[{name}]")),
    }
}

/// The parameters of an exported resource: no secret leaves the node, and references stay text, for they
/// resolve on the node that collects it.
pub fn exported_parameters(checked: Checked) -> Map {
    let Checked { resource, refs, .. } = checked;
    let mut parameters = resource.parameters;
    for (place, References { refs, array }) in refs {
        let mut texts: Vec<Value> = refs
            .into_iter()
            .map(|r| Value::String(format!("{}[{}]", name::capitalised(&r.resource_type), r.title)))
            .collect();
        if let Some((_, value)) = parameters.get_mut(place) {
            *value = match texts.pop() {
                Some(only) if !array && texts.is_empty() => only,
                last => Value::Array(texts.into_iter().chain(last).collect()),
            };
        }
    }
    let open = |(name, _): &(String, Value)| !resource.sensitive_parameters.contains(name);
    parameters.into_iter().filter(open).collect()
}
