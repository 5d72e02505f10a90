//! The classes' resources, and what the README says of them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails where it finds something else"
)]

use sdk::testing::FakeHost;
use sdk::{Fragment, ParamValue, Request, Resource, ResourceProvider, Value, json};

const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJ1111111111111111111111111111111111111111111";

fn provide(class: &str, parameters: Value) -> Fragment {
    let Value::Object(parameters) = parameters else { panic!("no object") };
    let request = Request { class: class.into(), parameters, ..Request::default() };
    base::Base::provide(&FakeHost::new().call(), &request).unwrap()
}

/// Type, title and parameters; references as text.
fn shown(resource: &Resource) -> Value {
    let parameters: sdk::Map = resource
        .parameters
        .iter()
        .map(|(name, value)| {
            let value = match value {
                ParamValue::Plain(value) => value.clone(),
                ParamValue::Sensitive(_) => panic!("nothing here is secret"),
                ParamValue::Refs(refs) => {
                    refs.iter().map(|r| format!("{}[{}]", r.resource_type, r.title)).collect()
                }
            };
            (name.clone(), value)
        })
        .collect();
    json!({"resource": format!("{}[{}]", resource.resource_type, resource.title), "parameters": parameters})
}

#[test]
fn a_login_key_is_one_line_of_the_users_file() {
    let all = |parameters| {
        let fragment = provide("login_allowed", parameters);
        assert_eq!(fragment.resources.len(), 1);
        shown(&fragment.resources[0])
    };
    assert_eq!(
        all(json!({"key": KEY})),
        json!({
            "resource": "Ssh_authorized_key[login-allowed-ubuntu]",
            "parameters": {"ensure": "present", "user": "ubuntu", "type": "ssh-rsa", "key": KEY},
        })
    );
    assert_eq!(
        all(json!({"key": KEY, "user": "admin", "key_type": "ssh-ed25519", "comment": "me@home"})),
        json!({
            "resource": "Ssh_authorized_key[me@home]",
            "parameters": {"ensure": "present", "user": "admin", "type": "ssh-ed25519", "key": KEY},
        })
    );
}

#[test]
fn the_first_name_of_login_allowed_still_works() {
    let fragment = provide("login-allowed", json!({"key": KEY, "user": "admin"}));
    assert_eq!(fragment.resources, []);
    assert_eq!(fragment.includes.len(), 1);
    assert_eq!(fragment.includes[0].name, "login_allowed");
    assert_eq!(Value::Object(fragment.includes[0].parameters.clone()), json!({"key": KEY, "user": "admin"}));
}

#[test]
fn repositories_are_keys_then_lists_and_one_update() {
    let key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nx\n-----END PGP PUBLIC KEY BLOCK-----";
    let fragment = provide(
        "apt",
        json!({"repositories": {
            "a": {"lines": ["deb file:/a ./", "deb-src file:/a ./"]},
            "b": {"lines": ["deb file:/b ./"], "key": key},
            "c": {"lines": ["deb file:/c ./"], "key_source": "puppet:///modules/apt/c.key"},
        }}),
    );
    let shown: Vec<Value> = fragment.resources.iter().map(shown).collect();
    let names: Vec<&str> = shown.iter().map(|one| one["resource"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "File[/etc/apt/b.key]",
            "Exec[import apt key b]",
            "File[/etc/apt/c.key]",
            "Exec[import apt key c]",
            "File[/etc/apt/sources.list.d/a.list]",
            "File[/etc/apt/sources.list.d/b.list]",
            "File[/etc/apt/sources.list.d/c.list]",
        ]
    );
    assert_eq!(shown[0]["parameters"]["content"], format!("{key}\n"));
    assert_eq!(shown[1]["parameters"]["subscribe"], json!(["File[/etc/apt/b.key]"]));
    assert_eq!(shown[1]["parameters"]["notify"], json!(["Exec[apt-get_update]"]));
    assert_eq!(shown[2]["parameters"]["source"], "puppet:///modules/apt/c.key");
    assert_eq!(shown[4]["parameters"]["content"], "deb file:/a ./\ndeb-src file:/a ./\n");
    assert_eq!(shown[4]["parameters"]["notify"], json!(["Exec[apt-get_update]"]));

    assert_eq!(fragment.includes[0].name, "apt::apt");
    let update = provide("apt::apt", json!({}));
    assert_eq!(update.resources[0].title, "apt-get_update");
    assert_eq!(update.resources[0].parameter("refreshonly"), Some(&ParamValue::Plain(json!(true))));
}

#[test]
fn a_class_of_another_plugin_is_refused() {
    let request = Request { class: "hadoop::worker".into(), ..Request::default() };
    let failure = base::Base::provide(&FakeHost::new().call(), &request).unwrap_err();
    assert_eq!(failure.to_string(), "internal: class hadoop::worker is none of this plugin's");
}

#[test]
fn the_readme_tells_every_class_and_parameter() {
    let readme = include_str!("../README.md");
    for class in base::Base::classes() {
        assert!(readme.contains(&format!("`{}`", class.name)), "{}", class.name);
        let none = sdk::Map::new();
        for (name, schema) in class.parameters_schema["properties"].as_object().unwrap_or(&none) {
            assert!(readme.contains(&format!("`{name}`")), "{} {name}", class.name);
            assert!(schema["description"].is_string(), "{} {name}", class.name);
        }
    }
}

#[test]
fn schemas_take_what_they_should_and_nothing_else() {
    let check = |class: &str, parameters: Value, fits: bool| {
        let Some(info) = base::Base::classes().into_iter().find(|c| c.name == class) else {
            panic!("{class}")
        };
        let index = catalog::ClassIndex::new([catalog::ClassSpec {
            name: info.name,
            plugin: "base".into(),
            parameters_schema: info.parameters_schema,
        }]);
        let index = index.map_err(|errors| format!("{errors:?}")).unwrap();
        let Value::Object(parameters) = parameters else { panic!("no object") };
        let shown = format!("{class} {parameters:?}");
        let classes = vec![(class.to_owned(), parameters)];
        let target = catalog::Target { certname: "n".into(), ..catalog::Target::default() };
        let compiler = catalog::Compiler::new(target, classes, index.into());
        assert_eq!(compiler.is_ok(), fits, "{shown}");
    };
    for class in ["login_allowed", "login-allowed"] {
        check(class, json!({"key": KEY}), true);
        check(class, json!({}), false);
        check(class, json!({"key": format!("ssh-rsa {KEY}")}), false);
        check(class, json!({"key": format!("{KEY}\nssh-rsa AAAA")}), false);
        check(class, json!({"key": KEY, "user": "a b"}), false);
        check(class, json!({"key": KEY, "key_type": "ssh-dss"}), false);
        check(class, json!({"key": KEY, "more": 1}), false);
    }
    check("apt", json!({}), true);
    check("apt", json!({"repositories": {"a": {"lines": ["deb x ./"]}}}), true);
    check("apt", json!({"repositories": {"../a": {"lines": ["deb x ./"]}}}), false);
    check("apt", json!({"repositories": {"a": {"lines": ["deb x ./\ndeb y ./"]}}}), false);
    check("apt", json!({"repositories": {"a": {"lines": []}}}), false);
    check("apt", json!({"repositories": {"a": {"lines": ["x"], "key": "none"}}}), false);
    let key = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
    check("apt", json!({"repositories": {"a": {"lines": ["x"], "key": key, "key_source": "/k"}}}), false);
    check("apt::apt", json!({"a": 1}), false);
}
