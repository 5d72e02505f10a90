//! What may be shown of a plugin's HTTP calls: to whom and what came of it, not what was said.

use serde_json::{Value, json};
use url::Url;

/// How the journal calls them.
pub const CALL: &str = "http";

/// A request or an answer without what may be secret: of the address a user's name, a password and the
/// query, the headers' values, and the body.
pub fn without_secrets(message: &Value) -> Value {
    let mut message = message.clone();
    let Value::Object(members) = &mut message else { return json!({}) };
    if let Some(Value::String(url)) = members.get_mut("url") {
        *url = address(url);
    }
    if let Some(Value::Array(headers)) = members.get_mut("headers") {
        headers.iter_mut().for_each(|header| *header = header.get(0).cloned().unwrap_or_default());
    }
    members.remove("body");
    message
}

fn address(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return "an address that is none".to_owned() };
    let more = if url.query().is_some() || url.fragment().is_some() { "?…" } else { "" };
    url.set_query(None);
    url.set_fragment(None);
    // These fail where an address can have neither.
    let _ = (url.set_username(""), url.set_password(None));
    format!("{url}{more}")
}
