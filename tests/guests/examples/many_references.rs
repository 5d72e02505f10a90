//! A megabyte that is named ten thousand times counts ten thousand times.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn classify(_: CallContext, _: Node) -> Result<Outcome, Failure> {
        let text = "x".repeat(1 << 20).leak();
        // SAFETY: freed more than once if it ever were; the host is to end the call before.
        let same = |_| unsafe { String::from_raw_parts(text.as_mut_ptr(), text.len(), text.len()) };
        Ok(hostile::matched("{}", (0..10_000).map(same).collect()))
    }
}

hostile::export!(Hostile);
