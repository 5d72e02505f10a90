//! Every target over its corpus.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use bunraku_fuzz::TARGETS;

#[test]
fn no_input_of_the_corpus_shows_a_fault() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in TARGETS {
        let mut files = 0;
        for entry in fs::read_dir(corpus.join(name)).unwrap() {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            // Its name is seen if the target panics.
            println!("{}", path.display());
            target(&input);
            files += 1;
        }
        assert!(files > 0, "{name} has no seeds");
    }
}
