//! What devices and callers were told is theirs.
use crate::factory::Device;
use std::sync::{Mutex, PoisonError};

/// Whatever a server has said that it has done.
#[derive(Default)]
pub struct Ledger(Mutex<Vec<Promise>>);

/// One such thing.
pub enum Promise {
    /// There is a thing of this name, and an ACTIVE certificate is attached to it.
    Thing(String),
    /// The certificate of this id is ACTIVE.
    Certificate(String),
    /// Whoever has this certificate may connect.
    Claim(Box<Device>),
}

impl Ledger {
    pub fn enter(&self, promise: Promise) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(promise);
    }

    /// All of them, in the order in which they were made.
    pub fn close(&self) -> Vec<Promise> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
