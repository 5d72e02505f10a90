//! `bunraku ca crl`: the revocation lists of a running CA.

use std::path::PathBuf;

use bytes::Bytes;
use client::Method;
use serde_json::Value;

use super::list::{instant, text};
use crate::arguments::Online;
use crate::call::{Call, said};
use crate::config::Config;
use crate::print::{out, table};
use crate::setup::Failure;

/// Where a list is described, and signed anew.
const PATH: &str = "/bunraku/v1/ca/crl";

/// Shows, signs or takes lists.
pub async fn run(
    config: &Config,
    publish: bool,
    install: &[PathBuf],
    online: &Online,
) -> Result<(), Failure> {
    let call = Call::ca(config, online)?;
    if !install.is_empty() {
        return upload(&call, install, online).await;
    }
    let method = if publish { Method::POST } else { Method::GET };
    let answered = call.ask(method, PATH, None).await?;
    let described = call.read(&answered)?;
    if online.output.json {
        out(&format!("{described}\n"));
    } else {
        if publish {
            out("signed a new list\n");
        }
        out(&describe(&described));
    }
    Ok(())
}

async fn upload(call: &Call, files: &[PathBuf], online: &Online) -> Result<(), Failure> {
    let mut pem = Vec::new();
    for file in files {
        let read = std::fs::read(file);
        pem.extend(
            read.map_err(|e| Failure::with_code(2, format_args!("cannot read {}: {e}", file.display())))?,
        );
        pem.push(b'\n');
    }
    let path = "/puppet-ca/v1/certificate_revocation_list";
    let answered = call.send(Method::PUT, path, Some(("text/plain", Bytes::from(pem)))).await?;
    if !answered.status.is_success() {
        return Err(Failure::new(said(&answered)));
    }
    let said = if answered.body.is_empty() { "the lists were taken".to_owned() } else { answered.text() };
    let said = if online.output.json { serde_json::json!({"result": said}).to_string() } else { said };
    out(&format!("{said}\n"));
    Ok(())
}

/// What agents and masters enforce, and below it each list.
fn describe(described: &Value) -> String {
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64).unwrap_or(0);
    let at = |value: &Value, key: &str| instant(text(value, key));
    let mut out = format!(
        "CRL number {}, until {}, {} bytes\n",
        number(described, "number"),
        at(described, "next_update"),
        number(described, "bytes"),
    );
    let lists = described.get("lists").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let rows: Vec<[String; 5]> = lists
        .iter()
        .map(|list| {
            let issuer = text(list, "issuer").to_owned();
            let [number, entries] = ["number", "entries"].map(|key| number(list, key).to_string());
            [issuer, number, entries, at(list, "this_update"), at(list, "next_update")]
        })
        .collect();
    out.push_str(&table(["ISSUER", "NUMBER", "REVOKED", "THIS UPDATE", "NEXT UPDATE"], &rows));
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_described_and_each_of_its_cas() {
        let described = json!({
            "number": 7, "this_update": "2026-11-18T09:46:40UTC", "next_update": "2026-11-25T09:46:40UTC",
            "bytes": 900, "lists": [{
                "issuer": "Root\u{1b}", "number": 1, "entries": 2,
                "this_update": "2026-11-18T09:46:40UTC", "next_update": "2026-11-25T09:46:40UTC",
            }],
        });
        assert_eq!(
            describe(&described),
            "CRL number 7, until 2026-11-25T09:46:40Z, 900 bytes\n\
             ISSUER      NUMBER  REVOKED  THIS UPDATE           NEXT UPDATE\n\
             Root\\u{1b}  1       2        2026-11-18T09:46:40Z  2026-11-25T09:46:40Z\n"
        );
    }
}
