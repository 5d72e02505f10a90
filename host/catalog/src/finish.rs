//! The end of a compilation: stages, references and order are checked, and the catalog is put together.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    assemble::Compiled,
    compiler::{Compiler, Event},
    error::{CompileError, Fault},
    fragment::ResourceRef,
    graph::Graph,
    name,
    resource::{self, References},
    wire::Edge,
};

/// The items that come first in every catalog: the main stage and the two classes of the language.
const MAIN_STAGE: usize = 0;
const SETTINGS: usize = 1;
const MAIN_CLASS: usize = 2;
pub(crate) const FIRST_STAGE: usize = 3;

/// Which item of the catalog is which.
struct Items {
    references: Vec<Arc<str>>,
    /// By the compiler's numbers.
    classes: Vec<usize>,
    resources: Vec<usize>,
    /// The class whose resource an item is.
    owners: Vec<Option<usize>>,
}

impl Compiler {
    /// Checks what only the whole can show and gives the catalog.
    pub fn finish(mut self) -> Result<Compiled, CompileError> {
        if !self.is_done() {
            return Err(self.misstep("finished before every class was answered"));
        }
        let stage_of = self.stages_of_classes()?;
        let items = self.items();
        let mut graph = Graph::new(items.references.len());
        for container in (0..FIRST_STAGE + self.stages.len()).chain(items.classes.iter().copied()) {
            graph.container(container);
        }
        self.order_stages(&mut graph)?;
        let edges = self.edges(&items, &stage_of, &mut graph);
        self.resolve_references(&items, &mut graph)?;
        if let Some(cycle) = graph.cycle() {
            return Err(self.cycle(&items, cycle));
        }
        let stage_name =
            |item: &usize| self.stages.get(item.wrapping_sub(FIRST_STAGE)).map(|stage| stage.name.clone());
        let explicit = self.classes.iter().map(|class| class.stage.as_ref().map(|(stage, _)| stage.clone()));
        let stages =
            explicit.zip(&stage_of).map(|(explicit, item)| explicit.or_else(|| stage_name(item))).collect();
        Ok(self.assemble(edges, stages))
    }

    /// The stage of each class, as an item: where it is put, else where the class is that brought it in.
    fn stages_of_classes(&self) -> Result<Vec<usize>, CompileError> {
        let mut stage_of: Vec<usize> = Vec::with_capacity(self.classes.len());
        for (class, declared) in self.classes.iter().enumerate() {
            // Whoever brings a class in is declared before it.
            let inherited =
                || declared.includer.and_then(|by| stage_of.get(by).copied()).unwrap_or(MAIN_STAGE);
            stage_of.push(match &declared.stage {
                None => inherited(),
                Some((stage, origin)) => {
                    let undeclared = || self.undeclared(class, stage, format!("where {origin} puts it"));
                    self.stage_item(stage).ok_or_else(undeclared)?
                }
            });
        }
        for stage in &self.stages {
            for (before, class) in &stage.before {
                let undeclared =
                    || self.undeclared(*class, before, format!("which stage {:?} precedes", stage.name));
                self.stage_item(before).ok_or_else(undeclared)?;
            }
        }
        Ok(stage_of)
    }

    fn stage_item(&self, name: &str) -> Option<usize> {
        // A provider may say that `main` comes before a stage; it stays the first item all the same.
        match name {
            "main" => Some(MAIN_STAGE),
            _ => self.stages.iter().position(|stage| stage.name == name).map(|place| FIRST_STAGE + place),
        }
    }

    fn undeclared(&self, class: usize, stage: &str, how: String) -> CompileError {
        let others = self.stages.iter().map(|stage| stage.name.clone()).filter(|name| name != "main");
        self.fail(Fault::UndeclaredStage {
            owner: self.owner(class),
            stage: name::shown(stage),
            how,
            declared: std::iter::once("main".into()).chain(others).collect(),
        })
    }

    fn items(&self) -> Items {
        let mut references: Vec<Arc<str>> =
            vec!["Stage[main]".into(), "Class[Settings]".into(), "Class[main]".into()];
        references.extend(self.stages.iter().map(|stage| format!("Stage[{}]", stage.name).into()));
        let mut owners = vec![None; references.len()];
        let mut classes = vec![MAIN_CLASS; self.classes.len()];
        let mut resources = vec![MAIN_CLASS; self.resources.len()];
        for event in &self.log {
            match event {
                Event::Enter(class) => {
                    if let (Some(item), Some(declared)) = (classes.get_mut(*class), self.classes.get(*class))
                    {
                        *item = references.len();
                        references
                            .push(format!("Class[{}]", name::capitalised(&declared.owner.class)).into());
                        owners.push(None);
                    }
                }
                Event::Leave(class) => {
                    for resource in
                        self.classes.get(*class).map(|class| class.resources.clone()).unwrap_or_default()
                    {
                        if let (Some(item), Some(checked)) =
                            (resources.get_mut(resource), self.resources.get(resource))
                        {
                            *item = references.len();
                            references.push(checked.reference.clone());
                            owners.push(Some(*class));
                        }
                    }
                }
            }
        }
        Items { references, classes, resources, owners }
    }

    fn order_stages(&self, graph: &mut Graph) -> Result<(), CompileError> {
        let mut stages = Graph::new(FIRST_STAGE + self.stages.len());
        for stage in &self.stages {
            for (before, _) in &stage.before {
                if let (Some(first), Some(second)) = (self.stage_item(&stage.name), self.stage_item(before)) {
                    stages.before(first, second);
                    graph.before(first, second);
                }
            }
        }
        let Some(cycle) = stages.cycle() else { return Ok(()) };
        let on_cycle = |item: usize| match item {
            MAIN_STAGE => self.stages.iter().find(|stage| stage.name == "main"),
            _ => self.stages.get(item.wrapping_sub(FIRST_STAGE)),
        };
        let mut owners = Vec::new();
        for (_, class) in cycle.iter().filter_map(|item| on_cycle(*item)).flat_map(|stage| &stage.before) {
            let owner = self.owner(*class).to_string();
            if !owners.contains(&owner) {
                owners.push(owner);
            }
        }
        let name = |item: &usize| on_cycle(*item).map_or("main", |stage| &stage.name).to_owned();
        let path = cycle.iter().chain(cycle.first()).map(name).collect();
        Err(self.fail(Fault::StageCycle { path, owners }))
    }

    /// Containment, in the catalog and in the graph: a class is in its stage, and in each class of the same
    /// stage that includes it, but for those that it contains itself.
    fn edges(&self, items: &Items, stage_of: &[usize], graph: &mut Graph) -> Vec<Edge> {
        let mut edges = Vec::with_capacity(items.references.len() + self.classes.len());
        let mut contain = |container: usize, member: usize| {
            if let (Some(source), Some(target)) =
                (items.references.get(container), items.references.get(member))
            {
                edges.push(Edge { source: source.clone(), target: target.clone() });
            }
            graph.contain(container, member);
        };
        contain(MAIN_STAGE, SETTINGS);
        contain(MAIN_STAGE, MAIN_CLASS);
        let holders = self.holders(stage_of);
        for event in &self.log {
            match event {
                Event::Enter(class) => {
                    let (Some(&item), Some(&stage)) = (items.classes.get(*class), stage_of.get(*class))
                    else {
                        continue;
                    };
                    contain(stage, item);
                    let holders = holders.get(*class).into_iter().flatten();
                    holders.filter_map(|by| items.classes.get(*by)).for_each(|by| contain(*by, item));
                }
                Event::Leave(class) => {
                    let own =
                        self.classes.get(*class).map(|class| class.resources.clone()).unwrap_or_default();
                    if let Some(&container) = items.classes.get(*class) {
                        own.filter_map(|resource| items.resources.get(resource))
                            .for_each(|item| contain(container, *item));
                    }
                }
            }
        }
        edges
    }

    /// Which classes hold a class: those of its stage that include it. Whoever brought it in comes first;
    /// another holds it only if that makes no circle, for classes may well include each other.
    fn holders(&self, stage_of: &[usize]) -> Vec<Vec<usize>> {
        let mut holders: Vec<Vec<usize>> = vec![Vec::new(); self.classes.len()];
        for first in [true, false] {
            for (class, declared) in self.classes.iter().enumerate() {
                let same_stage = |by: &&usize| stage_of.get(**by) == stage_of.get(class);
                for &by in declared.containers.iter().filter(same_stage) {
                    if (declared.includer == Some(by)) == first && !reaches(&holders, by, class) {
                        holders.get_mut(class).into_iter().for_each(|holders| holders.push(by));
                    }
                }
            }
        }
        holders
    }

    /// Puts into every parameter that refers to something what the agent shall read, and orders the graph.
    fn resolve_references(&mut self, items: &Items, graph: &mut Graph) -> Result<(), CompileError> {
        for resource in 0..self.resources.len() {
            let Some(checked) = self.resources.get_mut(resource) else { continue };
            let refs = std::mem::take(&mut checked.refs);
            let Some(&item) = items.resources.get(resource) else { continue };
            for (place, references) in refs {
                let parameter =
                    self.resources.get(resource).and_then(|checked| checked.resource.parameters.get(place));
                let Some(parameter) = parameter.map(|(name, _)| name.clone()) else { continue };
                let value = self.resolve(items, graph, item, &parameter, references)?;
                let checked = self.resources.get_mut(resource);
                if let Some((_, slot)) =
                    checked.and_then(|checked| checked.resource.parameters.get_mut(place))
                {
                    *slot = value;
                }
            }
        }
        for class in 0..self.classes.len() {
            let Some(&item) = items.classes.get(class) else { continue };
            let mut meta =
                self.classes.get_mut(class).map(|class| std::mem::take(&mut class.meta)).unwrap_or_default();
            for (parameter, value) in meta.iter_mut().filter(|(name, _)| resource::is_relationship(name)) {
                let wrong = || self.bad_name(class, format!("its {parameter} {}", resource::NO_REFERENCES));
                let references = resource::references(value).ok_or_else(wrong)?;
                *value = self.resolve(items, graph, item, parameter, references)?;
            }
            if let Some(class) = self.classes.get_mut(class) {
                class.meta = meta;
            }
        }
        Ok(())
    }

    fn resolve(
        &self,
        items: &Items,
        graph: &mut Graph,
        item: usize,
        parameter: &str,
        references: References,
    ) -> Result<Value, CompileError> {
        let mut resolved = Vec::with_capacity(references.refs.len());
        for reference in references.refs {
            let target = self.find(items, &reference);
            let Some((target, text)) =
                target.and_then(|target| Some((target, items.references.get(target)?)))
            else {
                return Err(self.dangling(items, item, parameter, &reference));
            };
            match parameter {
                "before" | "notify" => graph.before(item, target),
                "require" | "subscribe" => graph.before(target, item),
                _ => {}
            }
            resolved.push(Value::String(text.to_string()));
        }
        Ok(match resolved.pop() {
            Some(only) if !references.array && resolved.is_empty() => only,
            last => Value::Array(resolved.into_iter().chain(last).collect()),
        })
    }

    fn find(&self, items: &Items, reference: &ResourceRef) -> Option<usize> {
        let ResourceRef { resource_type, title } = reference;
        match &*name::resource_type(resource_type)? {
            "Stage" => self.stage_item(title),
            "Class" => match &*name::class(title)? {
                "main" => Some(MAIN_CLASS),
                "settings" => Some(SETTINGS),
                _ => {
                    let class = self.by_name.get(&self.index.get(title)?.owner.class)?;
                    items.classes.get(*class).copied()
                }
            },
            resource_type => {
                let by_title = self.by_reference.get(&format!("{resource_type}[{title}]"));
                let by_path = || match resource_type {
                    "File" => self.by_reference.get(&format!("File[{}]", name::file_path(title))),
                    _ => None,
                };
                items.resources.get(*by_title.or_else(by_path)?).copied()
            }
        }
    }

    fn dangling(&self, items: &Items, item: usize, parameter: &str, reference: &ResourceRef) -> CompileError {
        let owning = items.owners.get(item).copied().flatten();
        let class =
            owning.or_else(|| items.classes.iter().position(|class| *class == item)).unwrap_or_default();
        let same_type = |known: &&str| {
            let wanted = name::capitalised(&reference.resource_type);
            known.split_once('[').is_some_and(|(kind, _)| kind == wanted)
        };
        let known = items.references.iter().map(|reference| &**reference).filter(same_type);
        let wanted = format!("{}[{}]", name::capitalised(&reference.resource_type), reference.title);
        let shown = name::shown;
        self.fail(Fault::Dangling {
            owner: self.owner(class),
            resource: items.references.get(item).map(|text| shown(text)).unwrap_or_default(),
            parameter: parameter.into(),
            reference: shown(&wanted),
            suggestion: name::nearest(&wanted, known).map(shown),
        })
    }

    fn cycle(&self, items: &Items, cycle: Vec<usize>) -> CompileError {
        let shown = |item: &usize| {
            let reference = items.references.get(*item).map(|text| name::shown(text)).unwrap_or_default();
            match items.owners.get(*item).copied().flatten() {
                Some(class) => format!("{reference} of {}", self.owner(class)),
                None => reference,
            }
        };
        let path = cycle.iter().chain(cycle.first()).map(shown).collect();
        self.fail(Fault::Cycle { path })
    }
}

/// Whether going from a class to what holds it leads to another.
fn reaches(holders: &[Vec<usize>], from: usize, to: usize) -> bool {
    let mut seen = vec![false; holders.len()];
    let mut open = vec![from];
    while let Some(class) = open.pop() {
        if class == to {
            return true;
        }
        if let Some(seen) = seen.get_mut(class).filter(|seen| !**seen) {
            *seen = true;
            open.extend(holders.get(class).into_iter().flatten());
        }
    }
    false
}
