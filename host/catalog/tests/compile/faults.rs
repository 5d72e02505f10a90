//! What a catalog is refused for. Every text names the node, and the classes and plugins to look at.

use bunraku_catalog::{ClassIndex, Compiler, Fragment, Map, ParamValue, Step};
use serde_json::{Value, json};

use crate::cases::*;

/// Compiles the class `a` of plugin `x`, with `b` of plugin `y` beside it, and compares the error.
fn check(a: Fragment, b: Fragment, expected: &str) {
    check_classes(json!(["a", "b"]), a, b, expected);
}

fn check_classes(classes: Value, a: Fragment, b: Fragment, expected: &str) {
    let schema = json!({"additionalProperties": false, "properties": {
        "port": {"type": "integer"}, "host": {"type": "string"}, "password": {"type": "string"}
    }});
    let plugins = Plugins::default().class_with("x", "a", schema.clone(), a).class_with("y", "b", schema, b);
    let plugins = plugins.class("z", "c", fragment([]));
    match plugins.compile(classes) {
        Ok(_) => panic!("compiled, and should not: {expected}"),
        Err(error) => {
            let expected = expected.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(error.to_string(), format!("node {NODE}: {expected}"));
            assert!(!error.to_string().contains(['\n', '\0']), "{error}");
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
        }
    }
}

fn file(path: &str) -> bunraku_catalog::FragmentResource {
    resource("file", path, json!({}))
}

#[test]
fn titles_that_collide_name_both_classes_and_plugins() {
    // faults row 62
    let both = "is declared by class a (plugin x) and again by class b (plugin y)";
    check(fragment([file("/a")]), fragment([file("/a")]), &format!("File[/a] {both}"));
    check(fragment([file("/a")]), fragment([file("//a/")]), &format!("File[//a/] {both} as File[/a]"));
    check(
        fragment([resource("File", "t", json!({"path": "/a"}))]),
        fragment([file("/a")]),
        &format!("File[/a] {both} as File[t]"),
    );
    check(
        fragment([resource("service", "ssh", json!({}))]),
        fragment([resource("service", "s\n", json!({"name": "ssh"}))]),
        &format!("Service[s\\n] {both} as Service[ssh]"),
    );
    check(
        fragment([resource("notify", "n", json!({"alias": ["m", "o"]}))]),
        fragment([resource("notify", "o", json!({}))]),
        &format!("Notify[o] {both} as Notify[n]"),
    );
    check(
        fragment([file("/a"), file("/a")]),
        fragment([]),
        "File[/a] is declared by class a (plugin x) and again by class a (plugin x)",
    );
    check(
        fragment([resource("a::b", "t", json!({})).exported()]),
        fragment([resource("A::B", "t", json!({})).exported()]),
        &format!("A::B[t] {both}"),
    );
}

#[test]
fn what_is_exported_collides_with_nothing_that_is_applied() {
    // faults row 67: two namenodes exporting is the collector's to judge; one node may apply what it exports.
    let plugins = Plugins::default().class("x", "a", fragment([file("/a"), file("/a").exported()]));
    let compiled = plugins.compile(json!(["a"])).unwrap();
    assert_eq!(compiled.exports.len(), 1);
    assert_eq!(compiled.catalog.resources.iter().filter(|resource| resource.title == "/a").count(), 1);
}

#[test]
fn a_stage_that_no_class_declares_names_class_plugin_and_node() {
    // faults rows 62 and 67
    check(
        fragment([]).stage("apt", "main").include_in("hadoop-base", "c"),
        fragment([]),
        r#"class c (plugin z) names run stage "hadoop-base" (where class a (plugin x) puts it),
           which no class of the catalog declares; declared are main, apt"#,
    );
    check_classes(
        json!([["a", {"stage": "apt"}]]),
        fragment([]),
        fragment([]),
        r#"class a (plugin x) names run stage "apt" (where the node's classification puts it),
           which no class of the catalog declares; declared are main"#,
    );
    check(
        fragment([]),
        fragment([]).stage("apt", "hadoop-base"),
        r#"class b (plugin y) names run stage "hadoop-base" (which stage "apt" precedes),
           which no class of the catalog declares; declared are main, apt"#,
    );
}

#[test]
fn a_class_of_the_classifier_sees_stages_that_any_class_declares() {
    // reference/hadoop-roles.md §5.1 (d): the seed ran into this one.
    let plugins = Plugins::default().class("x", "early", fragment([file("/a")])).class(
        "y",
        "late",
        fragment([]).stage("apt", "main"),
    );
    let catalog = plugins.compile(json!([["early", {"stage": "apt"}], "late"])).unwrap().catalog;
    let edges: Vec<String> =
        catalog.edges.iter().map(|edge| format!("{} {}", edge.source, edge.target)).collect();
    assert!(edges.contains(&"Stage[apt] Class[Early]".into()), "{edges:#?}");
}

#[test]
fn stages_in_a_circle_are_told_with_whoever_declares_them() {
    // faults row 67
    check(
        fragment([]).stage("apt", "base").stage("base", "main"),
        fragment([]).stage("base", "apt"),
        "run stages come before each other in a circle: apt before base before apt
         (declared by class a (plugin x), class b (plugin y))",
    );
    check(
        fragment([]).stage("main", "main"),
        fragment([]),
        "run stages come before each other in a circle: main before main (declared by class a (plugin x))",
    );
}

#[test]
fn resources_that_wait_for_each_other_are_told_one_after_the_other() {
    let wait = |title: &str, after: (&str, &str)| file(title).refs("require", &[after]);
    check(
        fragment([wait("/1", ("File", "/2")), file("/2").refs("subscribe", &[("notify", "n")])]),
        fragment([resource("notify", "n", json!({"require": ["File[/1]"]}))]),
        "dependency cycle: File[/1] of class a (plugin x) => Notify[n] of class b (plugin y)
         => File[/2] of class a (plugin x) => File[/1] of class a (plugin x)",
    );
    check(
        fragment([wait("/1", ("Class", "A"))]),
        fragment([]),
        "dependency cycle: Class[A] => File[/1] of class a (plugin x) => Class[A]",
    );
    check(
        fragment([wait("/1", ("File", "/1"))]),
        fragment([]),
        "dependency cycle: File[/1] of class a (plugin x) => File[/1] of class a (plugin x)",
    );
    // The stage is over before `main` begins.
    check_classes(
        json!([["a", {"stage": "pre"}], "b"]),
        fragment([wait("/1", ("File", "/2"))]).stage("pre", "main"),
        fragment([file("/2")]),
        "dependency cycle: Stage[main] => Class[B] => File[/2] of class b (plugin y)
         => File[/1] of class a (plugin x) => Class[A] => Stage[pre] => Stage[main]",
    );
}

#[test]
fn a_reference_to_nothing_names_the_resource_that_has_it() {
    check(
        fragment([resource("service", "s", json!({})).refs("require", &[("package", "hadop")])]),
        fragment([resource("package", "hadoop", json!({}))]),
        "class a (plugin x): Service[s] has require => Package[hadop], which is not in the catalog;
         did you mean Package[hadoop]?",
    );
    check(
        fragment([file("/a").refs("before", &[("File", "/exported")])]),
        fragment([file("/exported").exported()]),
        "class a (plugin x): File[/a] has before => File[/exported], which is not in the catalog",
    );
    check(
        fragment([file("/a")]),
        fragment([resource("notify", "n", json!({"notify": "Class[nope]"}))]),
        "class b (plugin y): Notify[n] has notify => Class[nope], which is not in the catalog",
    );
    check_classes(
        json!([["a", {"require": "File[/x]"}]]),
        fragment([]),
        fragment([]),
        "class a (plugin x): Class[A] has require => File[/x], which is not in the catalog",
    );
}

#[test]
fn a_class_that_there_is_not_names_who_asks_for_it() {
    check_classes(
        json!(["hadoop::worker"]),
        fragment([]),
        fragment([]),
        r#"no plugin provides class "hadoop::worker", which the node's classification asks for"#,
    );
    check(
        fragment([]).include("B::\n"),
        fragment([]),
        r#"no plugin provides class "B::\n", which class a (plugin x) asks for"#,
    );
    let plugins = Plugins::default().class("x", "hadoop::worker", fragment([]));
    let error = plugins.compile(json!(["hadoop::workre"])).unwrap_err().to_string();
    assert!(error.ends_with("did you mean hadoop::worker?"), "{error}");
}

#[test]
fn every_parameter_that_does_not_fit_is_told_at_once() {
    check_classes(
        json!([["a", {"prot": 1, "port": "hunter2", "tag": "ok"}]]),
        fragment([]),
        fragment([]),
        r#"class a (plugin x), as the node's classification declares it:
           parameter "port": value is not of type "integer";
           parameter "prot": there is no such parameter; did you mean "port"?"#,
    );
    check(
        fragment([]).include_with("c", json!({})).include_with("b", json!({"port": null})),
        fragment([]).include_with("a", json!({"host": 1})),
        r#"class a (plugin x) is declared by the node's classification and again by class b (plugin y), which differ
           in "host": declare it once, such as among the node's classes, and include it without parameters elsewhere"#,
    );
}

#[test]
fn a_class_declared_twice_must_be_declared_alike() {
    let rest =
        "declare it once, such as among the node's classes, and include it without parameters elsewhere";
    let classes = json!([["a", {"port": 1}], ["b", {"port": 2, "host": "h"}]]);
    let alike = fragment([]).include_with("b", json!({"port": 2, "host": "h"})).include("b");
    let plugins = Plugins::default().class("x", "a", alike).class("y", "b", fragment([]).include("a"));
    assert!(plugins.compile(classes.clone()).is_ok());
    check_classes(
        classes,
        fragment([]).include_with("b", json!({"port": 2, "password": "hunter2"})),
        fragment([]),
        &format!(
            r#"class b (plugin y) is declared by the node's classification and again by class a (plugin x),
               which differ in "host", "password": {rest}"#
        ),
    );
    check_classes(
        json!([["a", {"port": 1}], ["A", {"port": 2}]]),
        fragment([]),
        fragment([]),
        &format!(
            r#"class a (plugin x) is declared by the node's classification and again by the node's classification,
               which differ in "port": {rest}"#
        ),
    );
    check(
        fragment([]).stage("s", "main").stage("t", "main").include_in("s", "c"),
        fragment([]).include_in("t", "c"),
        &format!(
            r#"class c (plugin z) is declared by class a (plugin x) and again by class b (plugin y),
               which differ in the run stage, "s" and "t": {rest}"#
        ),
    );
}

#[test]
fn names_that_the_agent_would_fail_on_are_refused() {
    let wrong = |resource, expected: &str| {
        check(fragment([resource]), fragment([]), &format!("class a (plugin x): {expected}"));
    };
    wrong(
        resource("class", "b", json!({})),
        "class[b]: a plugin cannot make a Class; classes are included and stages declared",
    );
    wrong(
        resource("Stage", "s", json!({})),
        "Stage[s]: a plugin cannot make a Stage; classes are included and stages declared",
    );
    wrong(
        resource("node", "n", json!({})).exported(),
        "node[n]: a plugin cannot make a Node; classes are included and stages declared",
    );
    wrong(resource("fi le", "x", json!({})), r#"fi le[x]: "fi le" is no resource type"#);
    wrong(resource("a::b", "x", json!({})), r#"a::b[x]: "a::b" is no resource type"#);
    wrong(resource("", "x", json!({})), r#"[x]: "" is no resource type"#);
    wrong(file(""), "file[]: a title is a text that is not empty and holds no NUL");
    wrong(file("a\0"), "file[a\\0]: a title is a text that is not empty and holds no NUL");
    wrong(resource("file", "/a", json!({"Mode": 1})), r#"file[/a]: parameter "Mode" is no parameter name"#);
    wrong(
        resource("file", "/a", json!({"stage": "main"})),
        r#"file[/a]: parameter "stage" is for classes: only a class has a run stage"#,
    );
    let mut twice = resource("file", "/a", json!({"mode": "0600"}));
    twice.parameters.push(("mode".into(), ParamValue::Plain(json!("0644"))));
    wrong(twice, r#"file[/a]: parameter "mode" is given twice"#);
    let no_reference = "is no reference of the form Type[title], or list of them";
    for value in [json!("/b"), json!(1), json!(["File[/b]", 1]), json!("File[]")] {
        wrong(
            resource("file", "/a", json!({"require": value})),
            &format!(r#"file[/a]: parameter "require" {no_reference}"#),
        );
    }
    wrong(
        file("/a").sensitive("notify", json!("File[/b]")),
        r#"file[/a]: parameter "notify" cannot be sensitive"#,
    );
    wrong(
        file("/a").tagged("no tag"),
        r#"file[/a]: its tags hold "no tag", which is no tag: [a-z0-9_][a-z0-9_:.-]*"#,
    );
    wrong(
        resource("file", "/a", json!({"tag": ["ok", "-"]})),
        r#"file[/a]: parameter "tag" holds "-", which is no tag: [a-z0-9_][a-z0-9_:.-]*"#,
    );
    check(
        fragment([]).stage("a b", ""),
        fragment([]),
        r#"class a (plugin x): "a b" is no name of a run stage"#,
    );
    check(
        fragment([]).stage("", "main"),
        fragment([]),
        r#"class a (plugin x): "" is no name of a run stage"#,
    );
    check_classes(
        json!([["a", {"before": "nothing"}]]),
        fragment([]),
        fragment([]),
        &format!("class a (plugin x): its before {no_reference}"),
    );
    check_classes(
        json!([["a", {"stage": 1}]]),
        fragment([]),
        fragment([]),
        "class a (plugin x): its stage is no name, as the node's classification declares it",
    );
    check_classes(
        json!([["a", {"tag": "a b"}]]),
        fragment([]),
        fragment([]),
        r#"class a (plugin x): its tag is "a b", which is no tag: [a-z0-9_][a-z0-9_:.-]*,
           as the node's classification declares it"#,
    );
}

#[test]
fn a_compiler_that_is_stepped_wrongly_says_so() {
    let index = std::sync::Arc::new(ClassIndex::new([]).unwrap());
    let mut done = Compiler::new(target(), vec![], index).unwrap();
    assert!(matches!(done.next(), Step::Done));
    let error = done.answer(Fragment::default()).unwrap_err().to_string();
    assert_eq!(error, format!("node {NODE}: the catalog's compiler was answered without having asked"));
    let spec =
        bunraku_catalog::ClassSpec { name: "a".into(), plugin: "x".into(), parameters_schema: json!({}) };
    let index = std::sync::Arc::new(ClassIndex::new([spec]).unwrap());
    let open = Compiler::new(target(), vec![("a".into(), Map::new())], index).unwrap();
    assert!(open.finish().unwrap_err().to_string().ends_with("finished before every class was answered"));
}

#[test]
fn a_fragment_without_measure_is_refused_and_not_worked_off() {
    let many = |count: usize| (0..count).map(|n| format!("n{n}"));
    let mut tagged = file("/a");
    tagged.tags = many(50_000).collect();
    check(
        fragment([tagged]),
        fragment([]),
        "class a (plugin x): file[/a]: its tags hold one of more than 256 tags",
    );
    let mut big = file("/a");
    big.parameters = many(50_000).map(|name| (name, ParamValue::Plain(json!(1)))).collect();
    check(fragment([big]), fragment([]), "class a (plugin x): file[/a]: more than 256 parameters");
    let warnings = many(101).fold(fragment([]), |fragment, text| fragment.warning(&text));
    check(
        warnings,
        fragment([]),
        "class a (plugin x) brings the catalog to more than 100 warnings of one class",
    );
    let stages = many(101).fold(fragment([]), |fragment, name| fragment.stage(&name, "main"));
    check(stages, fragment([]), "class a (plugin x) brings the catalog to more than 100 run stages");
    let resources = fragment(many(50_001).map(|name| resource("notify", &name, json!({}))));
    check(resources, fragment([]), "class a (plugin x) brings the catalog to more than 50000 resources");
    let title = "t".repeat(1 << 20);
    let long = Plugins::default().class("x", "a", fragment([file(&title), file(&title)]));
    let error = long.compile(json!(["a"])).unwrap_err().to_string();
    assert!(error.len() < 400, "{}", error.len());
    let circle = many(1000).map(|n| file(&n)).enumerate();
    let circle = circle.map(|(n, file)| file.refs("require", &[("File", &format!("n{}", (n + 1) % 1000))]));
    let error =
        Plugins::default().class("x", "a", fragment(circle)).compile(json!(["a"])).unwrap_err().to_string();
    assert!(error.contains("=> (980 more) => File[n0]") && error.len() < 2000, "{error}");
}

#[test]
fn a_hundred_classes_that_include_each_other_in_a_circle_are_in_the_catalog_once() {
    let name = |class: usize| format!("c{}", class % 100);
    let plugins = (0..100).fold(Plugins::default(), |plugins, class| {
        let next = fragment([resource("notify", &name(class), json!({}))])
            .include(&name(class + 1))
            .include(&name(class + 50));
        plugins.class("x", &name(class), next)
    });
    let catalog = plugins.compile(json!(["c0"])).unwrap().catalog;
    assert_eq!(catalog.resources.len(), 3 + 200);
    // Each is in the main stage and in the class that brought it in; some in one more.
    assert!(catalog.edges.len() >= 2 + 100 + 99 + 100, "{}", catalog.edges.len());
}
