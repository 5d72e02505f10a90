//! The low-space watermark: a full disk must find the CA with room left to revoke.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};

use store::Store;

use crate::Error;
use crate::authority::Inner;

/// How long an answer of the file system is good for.
const KEPT: Duration = Duration::from_secs(1);

pub(crate) struct Space {
    min_free: u64,
    /// When it was looked at last.
    looked: Mutex<Option<Instant>>,
    /// What was free then; `u64::MAX` where the file system would not say.
    free: AtomicU64,
}

impl Space {
    pub(crate) fn new(min_free: u64) -> Space {
        Space { min_free, looked: Mutex::new(None), free: AtomicU64::new(u64::MAX) }
    }

    /// Bytes left. Looked at once a second at most, by one caller; the others take what it saw last.
    pub(crate) fn free(&self, store: &Store) -> u64 {
        let looked = match self.looked.try_lock() {
            Ok(looked) => Some(looked),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        if let Some(mut looked) = looked
            && looked.is_none_or(|when| when.elapsed() >= KEPT)
        {
            *looked = Some(Instant::now());
            self.free.store(store.free_bytes().unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        self.free.load(Ordering::Relaxed)
    }

    /// What is left, if it is too little.
    pub(crate) fn low(&self, store: &Store) -> Option<u64> {
        if self.min_free == 0 {
            return None;
        }
        Some(self.free(store)).filter(|free| *free < self.min_free)
    }
}

impl Inner {
    /// An error if there is too little room to issue.
    pub(crate) fn refuse_low_space(&self) -> Result<(), Error> {
        match self.space.low(&self.store) {
            Some(free) => Err(Error::LowSpace {
                path: self.store.path().to_owned(),
                free,
                min_free: self.settings.min_free,
            }),
            None => Ok(()),
        }
    }
}
