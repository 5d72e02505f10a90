//! What the pure part of a worker's catalog costs: 26 resources of five classes in three stages, from the
//! classifier's answer to the JSON. `cargo bench -p bunraku-catalog`.

use std::{hint::black_box, sync::Arc, time::Instant};

use bunraku_catalog::{
    ClassIndex, ClassSpec, Compiler, Fragment, FragmentResource, IncludedClass, Map, ParamValue, ResourceRef,
    RunStage, Step, Target,
};
use serde_json::json;

const ROUNDS: usize = 20_000;

fn main() {
    let classes = ["hadoop::worker", "hadoop::apt", "hadoop::base", "login_allowed", "hadoop::user"];
    let schema = json!({"type": "object", "additionalProperties": false, "properties": {
        "distribution": {"enum": ["cdh3", "apache3"], "default": "cdh3"},
        "namenode_port": {"type": "integer", "minimum": 1, "maximum": 65535, "default": 8200},
        "data_dirs": {"type": "array", "items": {"type": "string", "pattern": "^/"}, "default": ["/var/lib/hadoop/data"]}
    }});
    let spec = |name: &&str| ClassSpec {
        name: (*name).into(),
        plugin: "hadoop".into(),
        parameters_schema: schema.clone(),
    };
    let Ok(index) = ClassIndex::new(classes.iter().map(spec)) else { return };
    let index = Arc::new(index);
    let fragments: Vec<Fragment> =
        classes.iter().enumerate().map(|(place, name)| fragment(name, place == 0)).collect();

    let mut times = Vec::with_capacity(ROUNDS);
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        // What a plugin answers is made anew for every catalog, but not by this crate.
        let mut answers = fragments.clone().into_iter();
        let listed = vec![("hadoop::worker".to_owned(), Map::new())];
        let target = Target {
            certname: "worker1.example.net".into(),
            environment: "production".into(),
            ..Target::default()
        };
        let start = Instant::now();
        let Ok(mut compiler) = Compiler::new(target, listed, index.clone()) else { return };
        while let (Step::Ask(_), Some(fragment)) = (compiler.next(), answers.next()) {
            if let Err(error) = compiler.answer(fragment) {
                return println!("{error}");
            }
        }
        match compiler.finish() {
            Ok(compiled) => {
                let compiled_in = start.elapsed();
                bytes = black_box(compiled.catalog.to_json()).len();
                times.push((start.elapsed(), compiled_in));
            }
            Err(error) => return println!("{error}"),
        }
    }
    times.sort();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    let ((half, checks), (most, _)) = (at(50), at(99));
    println!("one catalog of {bytes} bytes: p50 {half:?} (all but the JSON {checks:?}), p99 {most:?}");
}

fn fragment(class: &str, first: bool) -> Fragment {
    let resources = (0..5 + usize::from(first)).map(|place| {
        let text = |text: &str| ParamValue::Plain(text.into());
        let mut parameters = vec![
            ("ensure".into(), text("file")),
            ("mode".into(), text("0644")),
            ("content".into(), ParamValue::Plain("<property/>\n".repeat(30).into())),
        ];
        if place > 0 {
            let before = ResourceRef::new("File", format!("/etc/{class}/{}", place - 1));
            parameters.push(("require".into(), ParamValue::Refs(vec![before])));
        }
        FragmentResource {
            resource_type: "File".into(),
            title: format!("/etc/{class}/{place}"),
            parameters,
            ..FragmentResource::default()
        }
    });
    let include = |name: &str, stage: Option<&str>| IncludedClass {
        name: name.into(),
        parameters: Map::new(),
        in_stage: stage.map(str::to_owned),
    };
    let stage = |name: &str, before: &str| RunStage { name: name.into(), before: before.into() };
    Fragment {
        resources: resources.collect(),
        includes: match first {
            true => vec![
                include("hadoop::apt", Some("apt")),
                include("hadoop::base", Some("hadoop-base")),
                include("login_allowed", None),
                include("hadoop::user", None),
            ],
            false => Vec::new(),
        },
        stages: match first {
            true => vec![stage("apt", "hadoop-base"), stage("hadoop-base", "main")],
            false => Vec::new(),
        },
        warnings: Vec::new(),
    }
}
