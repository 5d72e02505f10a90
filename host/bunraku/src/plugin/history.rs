//! `bunraku plugin history`: what went live when, by whom, and from where.

use master::plugins::Event;

use super::{PATH, short};
use crate::arguments::Online;
use crate::call::Call;
use crate::config::Config;
use crate::print::{out, printable};
use crate::setup::Failure;

/// Prints the events, the newest last.
pub async fn run(config: &Config, limit: u32, online: &Online) -> Result<(), Failure> {
    let call = Call::daemon(config, online)?;
    let path = format!("{PATH}/history?limit={limit}");
    let events: Vec<Event> = call.list(&path).await?;
    if online.output.json {
        out(&format!("{}\n", serde_json::json!(events)));
    } else {
        out(&as_text(&events));
    }
    Ok(())
}

/// A line for each, as they came: the newest first.
fn as_text(events: &[Event]) -> String {
    if events.is_empty() {
        return "Nothing has happened yet.\n".to_owned();
    }
    let width = events.iter().map(|event| event.event.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for Event { at, event, set, by, from, reason } in events.iter().rev() {
        let set = set.as_deref().map_or("-", short);
        // The guard comes from nowhere.
        let from = if from.is_empty() { String::new() } else { format!(", from {from}") };
        let line = format!("{at}  {event:width$}  {set:12}  {by}{from}");
        text.push_str(&format!("{}\n", printable(&line)));
        if !reason.is_empty() {
            let indent = at.chars().count() + 2;
            text.push_str(&format!("{:indent$}{}\n", "", printable(reason)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_read_from_top_to_bottom() {
        let event = |at: &str, event: &str, set: Option<&str>, by: &str, reason: &str| Event {
            at: format!("2026-11-23T01:{at}:00Z"),
            event: event.to_owned(),
            set: set.map(|set| set.repeat(32)),
            by: by.to_owned(),
            from: "control socket".to_owned(),
            reason: reason.to_owned(),
        };
        let events = [
            event("42", "rolled-back", Some("9f"), "guard", "5 decisions ended in faults"),
            event("41", "swapped", Some("44"), "root (uid 0)", ""),
            event("40", "refused", None, "admin\u{1b}.test", "plugin a: is no component"),
        ];
        let expected = "\
2026-11-23T01:40:00Z  refused      -             admin\\u{1b}.test, from control socket
                      plugin a: is no component
2026-11-23T01:41:00Z  swapped      444444444444  root (uid 0), from control socket
2026-11-23T01:42:00Z  rolled-back  9f9f9f9f9f9f  guard, from control socket
                      5 decisions ended in faults
";
        assert_eq!(as_text(&events), expected);
        assert_eq!(as_text(&[]), "Nothing has happened yet.\n");
    }
}
