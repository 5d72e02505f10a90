use crate::text::one_line_of;
use crate::{Host, Level};

/// What is left of a call's log.
pub(crate) struct Log {
    lines: u32,
    line_bytes: usize,
    dropped: u64,
}

impl Log {
    pub(crate) fn new(lines: u32, line_bytes: usize) -> Self {
        Log { lines, line_bytes, dropped: 0 }
    }

    /// Passes a line on, or counts it.
    pub(crate) fn write(
        &mut self,
        host: &dyn Host,
        level: Level,
        message: &str,
        fields: Vec<(String, String)>,
    ) {
        let Some(left) = self.lines.checked_sub(1) else {
            self.dropped = self.dropped.saturating_add(1);
            return;
        };
        self.lines = left;
        let message = one_line_of(message, self.line_bytes);
        let mut room = self.line_bytes.saturating_sub(message.len());
        let mut kept = Vec::new();
        for (name, value) in fields {
            if room == 0 {
                break;
            }
            let (name, value) = (one_line_of(&name, room.min(64)), one_line_of(&value, room));
            room = room.saturating_sub(name.len().saturating_add(value.len()).max(1));
            kept.push((name, value));
        }
        host.log(level, &message, &kept);
    }

    /// Tells how many lines were dropped.
    pub(crate) fn finish(&mut self, host: &dyn Host) {
        if self.dropped > 0 {
            let message = format!("{} more log lines were dropped", self.dropped);
            self.dropped = 0;
            host.log(Level::Warn, &message, &[]);
        }
    }
}
