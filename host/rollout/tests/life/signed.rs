//! Which components are believed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bunraku_rollout::{Error, Settings, SigningKeys};

use crate::support::*;

fn openssl(dir: &Path, arguments: &str) {
    let run = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().unwrap();
    assert!(run.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&run.stderr));
}

/// Makes a key in the place's folder, and has it believed.
fn believe(place: &mut Place, name: &str) {
    openssl(&place.dir, &format!("genpkey -quiet -algorithm ED25519 -out {name}.key"));
    openssl(&place.dir, &format!("pkey -in {name}.key -pubout -out {name}.pem"));
    let path = place.path(&format!("{name}.pem")).display().to_string();
    place.keys = SigningKeys::parse(&BTreeMap::from([(name.to_owned(), path)])).unwrap();
}

async fn refused(open: &Open, spec: bunraku_rollout::SetSpec, expected: &str) {
    let problems = open.rollout.stage(spec, me()).await.unwrap_err();
    assert!(problems.len() == 1 && problems[0].to_string().contains(expected), "{problems:?}");
}

#[tokio::test]
async fn what_is_not_signed_or_wrongly_is_refused_also_after_a_restart() {
    let settings = Settings { require_signature: true, ..Settings::default() };
    let mut place = Place { settings, ..Place::new() };
    believe(&mut place, "release");
    let first = place.start(set([])).await;
    let file = place.write("base.wasm", &padded("base", b"1"));
    refused(&first, set([base(&file)]), "plugin base: is not signed").await;
    openssl(&place.dir, "pkeyutl -sign -rawin -inkey release.key -in base.wasm -out base.wasm.sig");
    let live = first.reload(set([base(&file)])).await;
    assert_eq!(first.rollout.current().plugins()[0].signed_by.as_deref(), Some("release"));
    // Another component beside the same signature.
    place.write("base.wasm", &padded("base", b"2"));
    refused(&first, set([base(&file)]), "plugin base: its signature is").await;
    let digest = first.rollout.put_component(padded("base", b"3"), None).await.unwrap();
    let uploaded = bunraku_rollout::PluginSpec::new("base", bunraku_rollout::Source::Digest(digest));
    refused(&first, set([uploaded]), "plugin base: is not signed").await;
    assert_eq!(first.live(), live);
    first.close().await;
    // The signature is kept with the component; what lies in the place of its file is no better now.
    let again = place.open(set([base(&file)])).await;
    assert_eq!(again.live(), live);
    assert!(again.problems[0].to_string().contains("its signature is"), "{:?}", again.problems);
    assert_eq!(again.rollout.current().plugins()[0].signed_by.as_deref(), Some("release"));
    again.close().await;
    // Its key is believed no more.
    believe(&mut place, "other");
    let error = place.try_open(set([base(&file)])).await.err().expect("nobody believes it any more");
    assert!(matches!(&error, Error::Plugins(_)) && error.to_string().contains("its signature is"), "{error}");
}

#[tokio::test]
async fn where_signatures_are_not_needed_a_wrong_one_is_refused_all_the_same() {
    let mut place = Place::new();
    believe(&mut place, "release");
    let open = place.start(set([])).await;
    let file = place.write("base.wasm", &padded("base", b"1"));
    let unsigned = open.rollout.stage(set([base(&file)]), me()).await.unwrap();
    assert_eq!(unsigned.plugins()[0].signed_by, None);
    place.write("base.wasm.sig", b"nonsense");
    refused(&open, set([base(&file)]), "plugin base: its signature is").await;
    open.close().await;
}
