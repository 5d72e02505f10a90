//! What is kept of sets of plugins, and for how long.

use bunraku_store::{PLUGIN_EVENTS, PLUGIN_SETS, PluginEventRow, PluginRecord, PluginSetRow, Store};
use tempfile::TempDir;

fn record(id: &str, at: i64, needed: &[&str]) -> PluginRecord {
    PluginRecord {
        set: Some(PluginSetRow {
            id: id.to_owned(),
            spec: r#"{"settings":"hunter2"}"#.to_owned(),
            written: "{}".to_owned(),
            made_at: at,
            made_by: "root".to_owned(),
            source: "a file".to_owned(),
        }),
        event: PluginEventRow {
            at,
            event: "staged".to_owned(),
            set: Some(id.to_owned()),
            made_by: "root".to_owned(),
            source: "a file".to_owned(),
            reason: String::new(),
        },
        standing: Some(format!("{id} stands")),
        needed: needed.iter().map(|id| (*id).to_owned()).collect(),
    }
}

#[tokio::test]
async fn what_is_too_old_goes_and_what_is_needed_stays() {
    let temp = TempDir::new().unwrap();
    let store = Store::open(&temp.path().join("state.db")).await.unwrap();
    assert_eq!(store.plugin_standing().await.unwrap(), None);
    let last = i64::from(PLUGIN_EVENTS) + 100;
    for n in 0..=last {
        store.record_plugins(record(&format!("set-{n}"), n, &["set-7"])).await.unwrap();
    }
    let events = store.plugin_events(u32::MAX).await.unwrap();
    assert_eq!(events.len(), usize::try_from(PLUGIN_EVENTS).unwrap());
    assert_eq!((events[0].at, events.last().unwrap().at), (last, last - i64::from(PLUGIN_EVENTS) + 1));
    let sets = store.plugin_sets(u32::MAX).await.unwrap();
    assert_eq!(sets.len(), usize::try_from(PLUGIN_SETS).unwrap() + 1);
    assert_eq!((sets[0].id.as_str(), sets.last().unwrap().id.as_str()), (&*format!("set-{last}"), "set-7"));
    assert_eq!(store.plugin_set("set-8").await.unwrap(), None);
    assert_eq!(store.plugin_standing().await.unwrap(), Some(format!("set-{last} stands")));
    assert!(!format!("{sets:?}").contains("hunter2"));

    // Staged once more it is new again, and there once.
    store.record_plugins(record("set-7", last + 1, &[])).await.unwrap();
    let sets = store.plugin_sets(u32::MAX).await.unwrap();
    assert_eq!((sets[0].id.as_str(), sets.len()), ("set-7", usize::try_from(PLUGIN_SETS).unwrap()));
}
