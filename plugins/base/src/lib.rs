//! Provider of what any node may need: an authorized key for the first login, and package repositories.
//!
//! It never decides which node gets a class (see plugin `s3-registry`) and knows no Hadoop (see plugin
//! `hadoop`, whose `hadoop::apt` includes `apt::apt` from here).

mod repository;

use sdk::{
    Call, ClassInfo, Failure, Fragment, Map, Metadata, Plugin, Request, Resource, ResourceProvider, Value,
    json,
};

/// The plugin.
pub struct Base;

impl Plugin for Base {
    fn describe() -> Metadata {
        Metadata::new(
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
            "login keys and package repositories (login_allowed, apt)",
        )
    }
}

impl ResourceProvider for Base {
    fn classes() -> Vec<ClassInfo> {
        let class = |name: &str, summary: &str, schema| ClassInfo {
            name: name.into(),
            summary: summary.into(),
            parameters_schema: schema,
        };
        vec![
            class(LOGIN_ALLOWED, "an authorized SSH key for a user", login_schema()),
            class(LOGIN_ALLOWED_2010, "login_allowed by its first name", login_schema()),
            class("apt", "package repositories: keys and lists", apt_schema()),
            class(repository::UPDATE_CLASS, "updates the package lists when notified", empty_schema()),
        ]
    }

    fn provide(_: &Call, request: &Request) -> Result<Fragment, Failure> {
        let mut fragment = Fragment::new();
        match request.class.as_str() {
            LOGIN_ALLOWED => {
                fragment.add(authorized_key(&request.parameters)?);
            }
            // One class holds the key under either name, so that both on a node are one key or an error.
            LOGIN_ALLOWED_2010 => fragment.include(LOGIN_ALLOWED).parameters = request.parameters.clone(),
            "apt" => repositories(&request.parameters, &mut fragment),
            repository::UPDATE_CLASS => {
                fragment.add(update());
            }
            other => return Err(Failure::Internal(format!("class {other} is none of this plugin's"))),
        }
        Ok(fragment)
    }
}

sdk::export!(Base: provider);

const LOGIN_ALLOWED: &str = "login_allowed";
/// What node definitions of 2010 call it. Puppet has allowed no hyphen in a class name since 2012.
const LOGIN_ALLOWED_2010: &str = "login-allowed";
const DEFAULT_USER: &str = "ubuntu";
const DEFAULT_KEY_TYPE: &str = "ssh-rsa";

fn authorized_key(parameters: &Map) -> Result<Resource, Failure> {
    let text = |name: &str| parameters.get(name).and_then(Value::as_str);
    let user = text("user").unwrap_or(DEFAULT_USER);
    let Some(key) = text("key") else {
        return Err(Failure::InvalidInput("login_allowed has no key: set parameter key".into()));
    };
    // The type names a line of authorized_keys by its comment.
    let comment = text("comment").map_or_else(|| format!("login-allowed-{user}"), str::to_owned);
    Ok(Resource::new("Ssh_authorized_key", comment)
        .param("ensure", "present")
        .param("user", user)
        .param("type", text("key_type").unwrap_or(DEFAULT_KEY_TYPE))
        .param("key", key))
}

fn repositories(parameters: &Map, fragment: &mut Fragment) {
    fragment.include(repository::UPDATE_CLASS);
    fragment.resources = parameters.get("repositories").map(repository::all).unwrap_or_default();
}

/// It is told of a change only once, so an archive that does not answer is asked again before it fails.
fn update() -> Resource {
    Resource::new("Exec", repository::UPDATE)
        .param("command", "/usr/bin/apt-get update")
        .param("refreshonly", true)
        .param("tries", 3)
        .param("try_sleep", 5)
}

fn login_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
        "required": ["key"],
        "properties": {
            "user": {
                "type": "string",
                "pattern": "^[a-z_][a-z0-9_-]*$",
                "default": DEFAULT_USER,
                "description": "The user who may log in; it must exist.",
            },
            "key": {
                "type": "string",
                "pattern": "^[A-Za-z0-9+/]+={0,3}$",
                "description": "The public key: the middle field of its line, no type and no comment.",
            },
            "key_type": {
                "enum": [
                    "ssh-rsa", "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384",
                    "ecdsa-sha2-nistp521", "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
                ],
                "default": DEFAULT_KEY_TYPE,
                "description": "The key's type: the first field of its line.",
            },
            "comment": {
                "type": "string",
                "pattern": "^[A-Za-z0-9_.@:+-]+$",
                "description": "The comment, which names the line; `login-allowed-<user>` where none.",
            },
        },
    })
}

fn apt_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
        "properties": {"repositories": repository::schema("Repositories by name.")},
    })
}

fn empty_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
    })
}
