//! Plays the daemon and its signer for the tests.

use bunraku_signer as signer;

fn main() {
    if let Err(error) = signer::run_child() {
        eprintln!("{error}");
    }
}
