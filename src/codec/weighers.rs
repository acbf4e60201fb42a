//! What the user knows better than an estimate: how many bytes a decoded value takes up.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::error::catching;

type Weigh = Arc<dyn Fn(&dyn Any) -> Option<u64> + Send + Sync>;

/// A function for each type that has one.
#[derive(Clone, Default)]
pub(crate) struct Weighers(HashMap<TypeId, Weigh>);

impl Weighers {
    /// The last of a type counts.
    pub(crate) fn add<T: Any>(&mut self, weigh: impl Fn(&T) -> u64 + Send + Sync + 'static) {
        self.0.insert(TypeId::of::<T>(), Arc::new(move |value| value.downcast_ref().map(&weigh)));
    }

    /// Bytes that the value takes up; `None` where its type has no function, or that panics.
    pub(crate) fn weigh<T: Any>(&self, value: &T) -> Option<u64> {
        if self.0.is_empty() {
            return None;
        }
        let weigh = self.0.get(&TypeId::of::<T>())?;
        catching(|| weigh(value)).ok().flatten()
    }
}

impl fmt::Debug for Weighers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weighers({})", self.0.len())
    }
}
