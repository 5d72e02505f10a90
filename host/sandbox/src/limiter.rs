use std::sync::Arc;

use wasmtime::{ResourceLimiter, Result};

use crate::meter::Meter;

/// Elements of all tables of one call; each takes eight bytes of the host.
const TABLE_ELEMENTS: usize = 256 << 10;
/// Most memories, tables and core instances of one component. Guests in
/// JavaScript and Python are made of many core instances.
pub(crate) const MEMORIES: u32 = 4;
/// See [`MEMORIES`].
pub(crate) const TABLES: u32 = 64;
/// See [`MEMORIES`].
pub(crate) const INSTANCES: u32 = 64;

/// Bounds what a call holds, over all its memories, and remembers a refusal:
/// most guests end in `unreachable` after one, which says nothing by itself.
pub(crate) struct Limiter {
    memory_bytes: usize,
    memory_left: usize,
    elements_left: usize,
    refused: bool,
    meter: Arc<Meter>,
}

impl Limiter {
    pub(crate) fn new(memory_bytes: usize, meter: Arc<Meter>) -> Self {
        Limiter {
            memory_bytes,
            memory_left: memory_bytes,
            elements_left: TABLE_ELEMENTS,
            refused: false,
            meter,
        }
    }

    pub(crate) fn refused(&self) -> bool {
        self.refused
    }
}

fn take(left: &mut usize, current: usize, desired: usize) -> bool {
    match left.checked_sub(desired.saturating_sub(current)) {
        Some(rest) => {
            *left = rest;
            true
        }
        None => false,
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        // A memory that declares its own maximum was never promised more.
        if maximum.is_some_and(|most| desired > most) {
            self.refused = true;
            return Ok(false);
        }
        let granted = take(&mut self.memory_left, current, desired);
        self.meter.hold(self.memory_bytes.saturating_sub(self.memory_left));
        self.refused |= !granted;
        Ok(granted)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> Result<()> {
        self.refused = true;
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let granted = take(&mut self.elements_left, current, desired);
        self.refused |= !granted;
        Ok(granted)
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> Result<()> {
        self.refused = true;
        Ok(())
    }

    fn instances(&self) -> usize {
        usize::try_from(INSTANCES).unwrap_or(usize::MAX)
    }

    fn tables(&self) -> usize {
        usize::try_from(TABLES).unwrap_or(usize::MAX)
    }

    fn memories(&self) -> usize {
        usize::try_from(MEMORIES).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn memories_of_one_call_add_up() {
        let mut limiter = Limiter::new(2 * MIB, Arc::default());
        assert!(limiter.memory_growing(0, MIB, None).unwrap());
        assert!(limiter.memory_growing(0, MIB, None).unwrap());
        assert!(!limiter.refused());
        assert_eq!(limiter.meter.memory(), 2 << 20);
        assert!(!limiter.memory_growing(MIB, MIB + 65536, None).unwrap());
        assert!(limiter.refused());
    }

    #[test]
    fn tables_of_one_call_add_up() {
        let mut limiter = Limiter::new(MIB, Arc::default());
        assert!(limiter.table_growing(0, TABLE_ELEMENTS, None).unwrap());
        assert!(!limiter.table_growing(0, 1, None).unwrap());
        assert!(limiter.refused());
    }
}
