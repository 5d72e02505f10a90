//! What may be shown of a plugin's HTTP calls: to whom and what came of it, not what was said.

use serde_json::{Value, json};

/// How the journal calls them.
pub const CALL: &str = "http";

/// A request or an answer without what may be secret: the query, the headers' values and the body.
pub fn without_secrets(message: &Value) -> Value {
    let mut message = message.clone();
    let Value::Object(members) = &mut message else { return json!({}) };
    if let Some(Value::String(url)) = members.get_mut("url")
        && let Some(end) = url.find(['?', '#'])
    {
        url.truncate(end);
        url.push_str("?…");
    }
    if let Some(Value::Array(headers)) = members.get_mut("headers") {
        headers.iter_mut().for_each(|header| *header = header.get(0).cloned().unwrap_or_default());
    }
    members.remove("body");
    message
}
