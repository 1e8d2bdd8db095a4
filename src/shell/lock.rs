//! Locks that are held for a moment only.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock, also after a panic of whoever held it: what is kept so is whole at any time.
pub(in crate::shell) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
