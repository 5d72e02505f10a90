//! Any one target under libFuzzer: `BUNRAKU_FUZZ_TARGET=csr fuzz [FOLDER|FILE]…`.
#![no_main]

use std::sync::OnceLock;

use bunraku_fuzz::{Target, target_named};
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(|input: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("BUNRAKU_FUZZ_TARGET").unwrap_or_default();
        let Some(target) = target_named(&name) else {
            eprintln!("set BUNRAKU_FUZZ_TARGET to a target's name, not to {name:?}");
            std::process::exit(2);
        };
        target
    });
    target(input);
});
