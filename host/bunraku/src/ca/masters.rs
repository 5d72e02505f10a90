//! `bunraku ca masters`: the catalog masters that follow this CA.

use client::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::arguments::Masters;
use super::list::{instant, text};
use super::tally::Tally;
use crate::arguments::Online;
use crate::call::{Call, said, segment};
use crate::config::Config;
use crate::print::{out, table};
use crate::setup::Failure;

const PATH: &str = "/bunraku/v1/ca/masters";

/// Runs one of the masters' commands.
pub async fn run(config: &Config, command: Option<Masters>, online: Online) -> Result<(), Failure> {
    match command {
        None => list(config, &online).await,
        Some(Masters::List { online }) => list(config, &online).await,
        Some(Masters::Add { name, dns_alt_names, online }) => {
            let call = Call::ca(config, &online)?;
            let mut tally = Tally::of("certname", online.output);
            let body = json!({"dns_alt_names": dns_alt_names});
            let answered = call.ask(Method::PUT, &format!("{PATH}/{}", segment(&name)), Some(&body)).await?;
            if answered.status.is_success() {
                let names = if dns_alt_names.is_empty() {
                    "; its certificate has no other name".to_owned()
                } else {
                    format!(" as {}", dns_alt_names.join(", "))
                };
                let next = format!("declared {name}{names}; sign its request with: bunraku ca sign {name}");
                tally.done(&name, "added", &next, Map::new());
            } else {
                tally.failed(&name, &said(&answered));
            }
            tally.finish("")
        }
        Some(Masters::Rm { names, online }) => {
            let call = Call::ca(config, &online)?;
            let mut tally = Tally::of("certname", online.output);
            for name in &names {
                let answered = call.ask(Method::DELETE, &format!("{PATH}/{}", segment(name)), None).await?;
                match answered.status {
                    status if status.is_success() => {
                        let sentence = format!(
                            "removed {name}; its certificate stays: `bunraku ca clean {name}` revokes it"
                        );
                        tally.done(name, "removed", &sentence, Map::new());
                    }
                    StatusCode::NOT_FOUND => tally.failed(name, "is no catalog master of this CA"),
                    _ => tally.failed(name, &said(&answered)),
                }
            }
            tally.finish("")
        }
    }
}

async fn list(config: &Config, online: &Online) -> Result<(), Failure> {
    let call = Call::ca(config, online)?;
    let answer = call.json(PATH).await?;
    if online.output.json {
        out(&format!("{answer}\n"));
        return Ok(());
    }
    let masters = answer.as_array().map_or(&[][..], Vec::as_slice);
    if masters.is_empty() {
        out("No catalog masters are declared: bunraku ca masters add NAME --dns-alt-name NAME\n");
        return Ok(());
    }
    let latest = match call.json("/bunraku/v1/ca/crl").await {
        Ok(crl) => crl.get("number").and_then(Value::as_u64),
        // It would only say who is late.
        Err(_) => None,
    };
    let rows: Vec<[String; 5]> = masters.iter().map(|master| row(master, latest)).collect();
    out(&table(["NAME", "ENFORCES CRL", "LAST SEEN", "FROM", "ALT NAMES"], &rows));
    Ok(())
}

fn row(master: &Value, latest: Option<u64>) -> [String; 5] {
    let number = master.get("crl_number").and_then(Value::as_u64);
    let enforces = match (number, latest) {
        (None, _) => "none yet".to_owned(),
        (Some(number), Some(latest)) if number < latest => format!("{number}, latest is {latest}"),
        (Some(number), _) => number.to_string(),
    };
    let seen = match text(master, "seen_at") {
        "" => "never".to_owned(),
        at => instant(at),
    };
    let names = master.get("alt_names").and_then(Value::as_array);
    let names: Vec<&str> = names.into_iter().flatten().filter_map(Value::as_str).collect();
    [text(master, "certname").to_owned(), enforces, seen, text(master, "address").to_owned(), names.join(" ")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_that_is_behind_is_pointed_at() {
        fn check(number: Value, latest: Option<u64>, expected: &str) {
            let master = json!({"certname": "m1", "crl_number": number, "seen_at": "2026-11-18T09:46:40UTC", "alt_names": ["a", "b"]});
            let row = row(&master, latest);
            assert_eq!(row[1], expected);
            assert_eq!([&*row[0], &*row[2], &*row[4]], ["m1", "2026-11-18T09:46:40Z", "a b"]);
        }
        check(json!(7), Some(7), "7");
        check(json!(6), Some(7), "6, latest is 7");
        check(json!(7), None, "7");
        check(Value::Null, Some(7), "none yet");
    }
}
