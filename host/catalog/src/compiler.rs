//! The catalog in the making: which class to ask for next, and what the answers add.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    ops::Range,
    sync::Arc,
};

use serde_json::Value;

use crate::{
    Map,
    error::{CompileError, Fault, Origin, Owner},
    fragment::{Fragment, FragmentResource, IncludedClass, ParamValue, RunStage},
    index::ClassIndex,
    name,
    resource::{self, Checked},
};

/// What a catalog may hold: well over what nodes have, and little enough for any machine.
const CLASSES: usize = 2_000;
const RESOURCES: usize = 50_000;
const STAGES: usize = 100;
const WARNINGS: usize = 100;

/// Whom the catalog is for, and how it calls itself.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// The node.
    pub certname: String,
    /// The environment the agent is told.
    pub environment: String,
    /// What reports call the configuration; may be set later on the catalog.
    pub version: String,
    /// What reports call this very catalog.
    pub catalog_uuid: String,
}

/// What the compiler needs next.
#[derive(Debug)]
pub enum Step<'a> {
    /// Ask this plugin for this class, and [`answer`](Compiler::answer).
    Ask(&'a ClassAsk),
    /// Nothing: [`finish`](Compiler::finish).
    Done,
}

/// A class to be asked for. Each is asked for once.
#[derive(Clone, PartialEq)]
pub struct ClassAsk {
    /// The plugin that provides it.
    pub plugin: String,
    /// The class, by its own name, not an alias.
    pub class: String,
    /// Valid for the class's schema, with the defaults filled in and without metaparameters.
    pub parameters: Map,
}

impl fmt::Debug for ClassAsk {
    /// Without the values, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.parameters.keys().collect();
        write!(f, "{} of {} with {names:?}", self.class, self.plugin)
    }
}

/// Compiles one catalog.
///
/// The classes of the classifier are declared first, with their parameters, and then asked for in order.
/// A class's includes are asked for right after it, depth first, and stand before its own resources in the
/// catalog. Including a class that is already declared adds nothing but containment.
#[derive(Debug)]
pub struct Compiler {
    pub(crate) target: Target,
    pub(crate) index: Arc<ClassIndex>,
    pub(crate) classes: Vec<Declared>,
    pub(crate) by_name: HashMap<String, usize>,
    pub(crate) resources: Vec<Checked>,
    /// By reference, the resource of the catalog, also by what else the agent knows it as.
    pub(crate) by_reference: HashMap<String, usize>,
    pub(crate) exports: Vec<(usize, Checked)>,
    exported: HashMap<String, usize>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) log: Vec<Event>,
    stack: Vec<Pending>,
    current: Option<(usize, ClassAsk)>,
}

/// A class of the catalog.
#[derive(Debug)]
pub(crate) struct Declared {
    pub owner: Owner,
    pub origin: Origin,
    /// As it was declared, without `stage`; to compare later declarations with.
    explicit: Map,
    pub stage: Option<(String, Origin)>,
    /// The class that brought it in, if the classifier did not.
    pub includer: Option<usize>,
    /// Every class that includes it.
    pub containers: Vec<usize>,
    /// Metaparameters of the class.
    pub meta: Vec<(String, Value)>,
    /// Taken by the question that is asked for the class, and given back by the answer.
    pub parameters: Map,
    pub tags: Vec<Arc<str>>,
    /// Its own tags alone, for the catalog as a whole.
    pub own_tags: usize,
    asked: bool,
    /// Which of the compiler's resources are its own.
    pub resources: Range<usize>,
}

/// A run stage but `main`.
#[derive(Debug)]
pub(crate) struct Stage {
    pub name: String,
    /// Stages that it comes before, and who says so.
    pub before: Vec<(String, usize)>,
}

/// The order of the catalog's resources.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// The class itself.
    Enter(usize),
    /// The class's resources.
    Leave(usize),
}

#[derive(Debug)]
enum Pending {
    Listed(usize),
    Include(usize, IncludedClass),
    Leave(usize),
}

impl Compiler {
    /// Starts with the classes of the classifier, in its order. Classes that no plugin provides and
    /// parameters that do not fit are errors at once.
    pub fn new(
        target: Target,
        classes: Vec<(String, Map)>,
        index: Arc<ClassIndex>,
    ) -> Result<Self, CompileError> {
        let mut compiler = Self {
            target,
            index,
            classes: Vec::with_capacity(classes.len()),
            by_name: HashMap::new(),
            resources: Vec::new(),
            by_reference: HashMap::new(),
            exports: Vec::new(),
            exported: HashMap::new(),
            stages: Vec::new(),
            log: Vec::new(),
            stack: Vec::new(),
            current: None,
        };
        for (name, parameters) in classes {
            compiler.declare(&name, parameters, None, None)?;
        }
        compiler.stack = (0..compiler.classes.len()).rev().map(Pending::Listed).collect();
        compiler.advance()?;
        Ok(compiler)
    }

    /// Whom to ask next. The same until it is answered.
    pub fn next(&self) -> Step<'_> {
        match &self.current {
            Some((_, ask)) => Step::Ask(ask),
            None => Step::Done,
        }
    }

    /// Takes the fragment of the class that [`next`](Self::next) names, checks it against itself and what is
    /// there already, and steps on.
    pub fn answer(&mut self, fragment: Fragment) -> Result<(), CompileError> {
        let Some((class, ask)) = self.current.take() else {
            return Err(self.misstep("answered without having asked"));
        };
        let Fragment { resources, includes, stages, warnings } = fragment;
        self.within("warnings of one class", warnings.len(), WARNINGS, class)?;
        for stage in stages {
            self.declare_stage(class, stage)?;
        }
        let first = self.resources.len();
        for resource in resources {
            self.add(class, resource)?;
        }
        for warning in notices(&ask.class, warnings) {
            self.add(class, warning)?;
        }
        self.within("resources", self.resources.len() + self.exports.len(), RESOURCES, class)?;
        if let Some(declared) = self.classes.get_mut(class) {
            declared.parameters = ask.parameters;
            declared.resources = first..self.resources.len();
        }
        self.stack.push(Pending::Leave(class));
        self.stack.extend(includes.into_iter().rev().map(|include| Pending::Include(class, include)));
        self.advance()
    }

    pub(crate) fn misstep(&self, what: &'static str) -> CompileError {
        self.fail(Fault::Misstep(what))
    }

    pub(crate) fn fail(&self, fault: Fault) -> CompileError {
        CompileError::new(&self.target.certname, fault)
    }

    fn within(
        &self,
        what: &'static str,
        count: usize,
        limit: usize,
        class: usize,
    ) -> Result<(), CompileError> {
        match count > limit {
            true => Err(self.fail(Fault::TooMany { owner: self.owner(class), what, limit })),
            false => Ok(()),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.current.is_none()
    }

    pub(crate) fn bad_name(&self, class: usize, what: String) -> CompileError {
        self.fail(Fault::BadName { owner: self.owner(class), what })
    }

    pub(crate) fn owner(&self, class: usize) -> Owner {
        let unknown = || Owner { class: String::new(), plugin: String::new() };
        self.classes.get(class).map_or_else(unknown, |class| class.owner.clone())
    }

    /// Works off what needs no answer, up to the next class to be asked for.
    fn advance(&mut self) -> Result<(), CompileError> {
        while let Some(pending) = self.stack.pop() {
            let class = match pending {
                Pending::Leave(class) => {
                    self.log.push(Event::Leave(class));
                    continue;
                }
                Pending::Listed(class) => class,
                Pending::Include(by, IncludedClass { name, parameters, in_stage }) => {
                    self.declare(&name, parameters, Some(by), in_stage)?
                }
            };
            let Some(declared) = self.classes.get_mut(class).filter(|declared| !declared.asked) else {
                continue;
            };
            declared.asked = true;
            let ask = ClassAsk {
                plugin: declared.owner.plugin.clone(),
                class: declared.owner.class.clone(),
                parameters: std::mem::take(&mut declared.parameters),
            };
            self.log.push(Event::Enter(class));
            self.current = Some((class, ask));
            return Ok(());
        }
        Ok(())
    }

    /// Declares a class, or checks that it is declared alike already.
    fn declare(
        &mut self,
        raw: &str,
        parameters: Map,
        by: Option<usize>,
        in_stage: Option<String>,
    ) -> Result<usize, CompileError> {
        let origin = by.map_or(Origin::Classification, |by| Origin::Class(self.owner(by)));
        let index = self.index.clone();
        let Some(known) = index.get(raw) else {
            let suggestion = index.nearest(raw);
            return Err(self.fail(Fault::UnknownClass { name: name::shown(raw), origin, suggestion }));
        };
        let owner = &known.owner;
        let bad = |problem: String| {
            let what = format!("{problem}, as {origin} declares it");
            self.fail(Fault::BadName { owner: owner.clone(), what })
        };
        let mut explicit: Map = parameters.into_iter().filter(|(_, value)| !value.is_null()).collect();
        let mut stage = match explicit.remove("stage") {
            None => None,
            Some(Value::String(stage)) => Some(stage),
            Some(_) => return Err(bad("its stage is no name".into())),
        };
        if let Some(wanted) = in_stage {
            if stage.as_ref().is_some_and(|stage| *stage != wanted) {
                return Err(bad("it has two stages".into()));
            }
            stage = Some(wanted);
        }

        if let Some(&class) = self.by_name.get(&owner.class) {
            self.declare_again(class, explicit, stage, origin, by)?;
            return Ok(class);
        }

        let mut own = explicit.clone();
        let meta: Vec<(String, Value)> =
            METAPARAMETERS.iter().filter_map(|name| own.remove_entry(*name)).collect();
        let mut tags = Vec::new();
        for (_, value) in meta.iter().filter(|(name, _)| name == "tag") {
            let texts =
                resource::texts(value).ok_or_else(|| bad("its tag is no text or list of texts".into()))?;
            for tag in texts {
                resource::add_tag(&mut tags, tag).map_err(|why| bad(format!("its tag is {why}")))?;
            }
        }
        let parameters = known.schema.complete(own).map_err(|problems| {
            self.fail(Fault::Parameters { owner: owner.clone(), origin: origin.clone(), problems })
        })?;
        resource::push_tag(&mut tags, "class".into());
        resource::add_names(&mut tags, &owner.class);
        let own_tags = tags.len();
        if let Some(includer) = by.and_then(|by| self.classes.get(by)) {
            includer.tags.iter().for_each(|tag| resource::push_tag(&mut tags, tag.clone()));
        }
        let class = self.classes.len();
        self.by_name.insert(owner.class.clone(), class);
        self.classes.push(Declared {
            owner: owner.clone(),
            stage: stage.map(|stage| (stage, origin.clone())),
            origin,
            explicit,
            includer: by,
            containers: by.into_iter().collect(),
            meta,
            parameters,
            tags,
            own_tags,
            asked: false,
            resources: 0..0,
        });
        self.within("classes", self.classes.len(), CLASSES, class)?;
        Ok(class)
    }

    fn declare_again(
        &mut self,
        class: usize,
        explicit: Map,
        stage: Option<String>,
        origin: Origin,
        by: Option<usize>,
    ) -> Result<(), CompileError> {
        let node = &self.target.certname;
        let Some(declared) = self.classes.get_mut(class) else { return Ok(()) };
        let conflict = |first: &Origin, owner: &Owner, what: String| {
            let (owner, first, second) = (owner.clone(), first.clone(), origin.clone());
            Err(CompileError::new(node, Fault::ConflictingParameters { owner, first, second, what }))
        };
        if !explicit.is_empty() && explicit != declared.explicit {
            let both: BTreeMap<&String, ()> =
                explicit.keys().chain(declared.explicit.keys()).map(|name| (name, ())).collect();
            let differing: Vec<String> = both
                .into_keys()
                .filter(|name| explicit.get(*name) != declared.explicit.get(*name))
                .map(|name| format!("{name:?}"))
                .collect();
            return conflict(&declared.origin, &declared.owner, differing.join(", "));
        }
        match (&declared.stage, stage) {
            (Some((first, who)), Some(second)) if *first != second => {
                return conflict(who, &declared.owner, format!("the run stage, {first:?} and {second:?}"));
            }
            (None, Some(stage)) => declared.stage = Some((stage, origin.clone())),
            _ => {}
        }
        declared.containers.extend(by.filter(|by| !declared.containers.contains(by)));
        Ok(())
    }

    fn declare_stage(&mut self, class: usize, stage: RunStage) -> Result<(), CompileError> {
        let RunStage { name, before } = stage;
        for text in
            [&name, &before].into_iter().filter(|text| !(std::ptr::eq(*text, &before) && text.is_empty()))
        {
            if !name::is_stage(text) {
                return Err(
                    self.bad_name(class, format!("\"{}\" is no name of a run stage", name::shown(text)))
                );
            }
        }
        let known = self.stages.iter().position(|stage| stage.name == name);
        if known.is_none() {
            self.stages.push(Stage { name, before: Vec::new() });
            self.within("run stages", self.stages.len(), STAGES, class)?;
        }
        let place = known.unwrap_or(self.stages.len().saturating_sub(1));
        if let Some(stage) = self.stages.get_mut(place)
            && !before.is_empty()
            && !stage.before.iter().any(|(name, _)| *name == before)
        {
            stage.before.push((before, class));
        }
        Ok(())
    }

    /// Adds a resource of a class, to the catalog or to the exports.
    fn add(&mut self, class: usize, raw: FragmentResource) -> Result<(), CompileError> {
        let exported = raw.exported;
        let tags = self.classes.get(class).map(|class| &*class.tags).unwrap_or_default();
        let checked = resource::check(raw, tags).map_err(|what| self.bad_name(class, what))?;
        if exported {
            if let Some(&first) = self.exported.get(&*checked.reference) {
                return Err(self.duplicate(&checked.reference, None, first, class));
            }
            self.exported.insert(checked.reference.to_string(), class);
            self.exports.push((class, checked));
            return Ok(());
        }
        let place = self.resources.len();
        for reference in std::iter::once(&*checked.reference).chain(checked.also.iter().map(String::as_str)) {
            match self.by_reference.get(reference) {
                Some(&other) if other != place => {
                    let first = self.resources.get(other).map(|other| &other.reference);
                    let other_name =
                        first.filter(|first| **first != checked.reference).map(|first| first.to_string());
                    return Err(self.duplicate(&checked.reference, other_name, self.class_of(other), class));
                }
                Some(_) => {}
                None => {
                    self.by_reference.insert(reference.to_owned(), place);
                }
            }
        }
        self.resources.push(checked);
        Ok(())
    }

    fn duplicate(&self, reference: &str, other: Option<String>, first: usize, second: usize) -> CompileError {
        self.fail(Fault::Duplicate {
            resource: name::shown(reference),
            other: other.map(|other| name::shown(&other)),
            first: self.owner(first),
            second: self.owner(second),
        })
    }

    /// The class that a resource belongs to; the one being answered where none has it yet.
    fn class_of(&self, resource: usize) -> usize {
        let owns = |class: &Declared| class.resources.contains(&resource);
        let current = self.log.iter().rev().find_map(|event| match event {
            Event::Enter(class) => Some(*class),
            Event::Leave(_) => None,
        });
        self.classes.iter().position(owns).or(current).unwrap_or_default()
    }
}

/// Parameters of a class that are the catalog's business and not the plugin's; `stage` is one more.
const METAPARAMETERS: [&str; 9] =
    ["before", "require", "notify", "subscribe", "tag", "noop", "loglevel", "schedule", "alias"];

/// A class's warnings as resources that write them to the agent's log.
fn notices(class: &str, warnings: Vec<String>) -> Vec<FragmentResource> {
    let mut notices: Vec<FragmentResource> = Vec::with_capacity(warnings.len());
    for warning in warnings {
        let text: String = warning.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let title = format!("{class}: {text}");
        if text.is_empty() || notices.iter().any(|other| other.title == title) {
            continue;
        }
        notices.push(FragmentResource {
            resource_type: "Notify".into(),
            title,
            parameters: vec![
                ("message".into(), ParamValue::Plain(text.into())),
                ("loglevel".into(), ParamValue::Plain("warning".into())),
            ],
            ..FragmentResource::default()
        });
    }
    notices
}
