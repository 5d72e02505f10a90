//! The resources of a Debian package repository: its key, its list, and the update of the package
//! lists that both notify.
//!
//! Plugin `hadoop` compiles this file too (by path): two components share no code, and these few
//! lines must not differ between them.

use sdk::{Resource, Value, json};

/// The class with the Exec that the resources below notify. Whoever adds them includes it.
pub const UPDATE_CLASS: &str = "apt::apt";

/// The title of that Exec.
pub const UPDATE: &str = "apt-get_update";

/// The resources of repositories that have passed [`schema`], by name: every key before any list.
pub fn all(repositories: &Value) -> Vec<Resource> {
    let (mut keys, mut lists) = (vec![], vec![]);
    for (name, repository) in repositories.as_object().into_iter().flatten() {
        let text = |field| repository.get(field).and_then(Value::as_str);
        let known = text("key").map(Key::Text).or_else(|| text("key_source").map(Key::Source));
        keys.extend(known.iter().flat_map(|known| key(name, known)));
        let lines = repository.get("lines").and_then(Value::as_array).into_iter().flatten();
        lists.push(sources_list(name, lines.filter_map(Value::as_str)));
    }
    keys.extend(lists);
    keys
}

/// The JSON Schema of a map of repositories by name.
pub fn schema(description: &str) -> Value {
    json!({
        "type": "object",
        "description": description,
        "propertyNames": {"pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "additionalProperties": {
            "type": "object",
            "additionalProperties": false,
            "required": ["lines"],
            "properties": {
                "lines": {
                    "type": "array",
                    "minItems": 1,
                    "description": "Lines as in sources.list(5).",
                    "items": {"type": "string", "pattern": "^[^\\n\\r]+$"},
                },
                "key": {
                    "type": "string",
                    "pattern": "^-----BEGIN PGP PUBLIC KEY BLOCK-----",
                    "description": "The repository's armoured public key.",
                },
                "key_source": {
                    "type": "string",
                    "pattern": "^(puppet:///|/)[^\\s]+$",
                    "description": "Where the agent gets the key from instead.",
                },
            },
            "not": {"required": ["key", "key_source"]},
        },
    })
}

/// A repository's public key: what file has it, or where the agent gets it from.
enum Key<'a> {
    /// The armoured key itself.
    Text(&'a str),
    /// A path on the node or a `puppet:///` URL.
    Source(&'a str),
}

/// The key `/etc/apt/<name>.key`, and the Exec that has apt trust it, which runs when the file changes.
///
/// `apt-key` is gone from newer releases and needs gnupg on older ones; since apt 1.4 a file in
/// `trusted.gpg.d` whose name ends in `.asc` is all it takes.
fn key(name: &str, key: &Key<'_>) -> [Resource; 2] {
    let path = format!("/etc/apt/{name}.key");
    let command = format!("/usr/bin/install -m 0644 {path} /etc/apt/trusted.gpg.d/{name}.asc");
    let file = match key {
        Key::Text(text) => root_file(&path).param("content", format!("{}\n", text.trim_end())),
        Key::Source(source) => root_file(&path).param("source", *source),
    };
    let import = Resource::new("Exec", format!("import apt key {name}"))
        .param("command", command)
        .param("refreshonly", true)
        .refs("subscribe", [("File", path)])
        .refs("notify", [("Exec", UPDATE)]);
    [file, import]
}

/// The list `/etc/apt/sources.list.d/<name>.list`.
fn sources_list<'a>(name: &str, lines: impl Iterator<Item = &'a str>) -> Resource {
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    root_file(&format!("/etc/apt/sources.list.d/{name}.list"))
        .param("content", lines)
        .refs("notify", [("Exec", UPDATE)])
}

fn root_file(path: &str) -> Resource {
    Resource::new("File", path)
        .param("ensure", "file")
        .param("owner", "root")
        .param("group", "root")
        .param("mode", "0644")
}
