//! A start function without an end keeps nobody waiting: its plugin is not loaded.

use hostile::*;

struct Hostile;

impl Guest for Hostile {}

/// Runs while the component is instantiated.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    spin()
}

hostile::export!(Hostile);
